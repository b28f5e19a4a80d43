//! Arguments of `astreum devnet`, in raw form.

use clap::{Args, Subcommand};

use super::super::node_args::RunArgs;
use super::super::number_arg::{number, within};
use super::super::path_arg::PathArg;

/// Maximum number of nodes.
const MAX_NODES: u32 = 64;
/// Largest number of a port.
pub(super) const MAX_PORT: u32 = 65_535;

pub(in super::super) const HELP: &str = "Examples:
  astreum devnet                                   two nodes in a directory that is removed at the end
  astreum devnet --nodes 4 --validators 3 --dir net
  astreum devnet --dir net                         resume what was stopped
  astreum devnet show                              addresses, sockets and key files, in another terminal
  astreum devnet --rpc-port 52781                  also with RPC over HTTP, for wallets
  astreum devnet faucet ADDRESS 1_000
  astreum devnet snapshot before && astreum devnet restore before

All nodes are processes on this machine that listen on 127.0.0.1 only, on a chain with an id of its
own. Secret keys are printed, because this is a development network: use them on no other chain.
Ctrl-C stops the nodes; they also end if this process is killed. The commands find the network of
this user that runs in a temporary directory; for another one, give its --dir.

Nodes are configured by node.toml in the directory of each, which is written once and can be edited
while the network is stopped.";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in super::super) struct DevnetArgs {
    #[command(subcommand)]
    pub(super) command: Option<DevnetCommand>,
    #[command(flatten)]
    pub(super) start: StartArgs,
}

#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// Number of nodes, up to 64 [default: 2].
    #[arg(long, value_name = "N", value_parser = within::<1, MAX_NODES>)]
    pub(super) nodes: Option<u32>,
    /// Number of nodes that validate, with equal stakes [default: 1].
    #[arg(long, value_name = "M", value_parser = within::<1, MAX_NODES>)]
    pub(super) validators: Option<u32>,
    /// Number of funded accounts, up to 1000 [default: 5].
    #[arg(long, value_name = "K", value_parser = number::<u32>)]
    pub(super) accounts: Option<u32>,
    /// Balance of each account [default: 1000000000].
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(super) balance: Option<String>,
    /// Minimum seconds between two blocks, up to 3600 [default: 2, the length of a slot].
    #[arg(long, value_name = "SECONDS", value_parser = number::<u32>)]
    pub(super) block_time: Option<u32>,
    /// Chain id; 0 and 1 are those of the test and the main network [default: 31337].
    #[arg(long, value_name = "N", value_parser = number::<u64>)]
    pub(super) chain_id: Option<u64>,
    /// Directory of the network; what is in it is resumed. Without it, a temporary directory that
    /// is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathArg>,
    /// Port of the first node; the next ones follow. Without it, the system picks all ports.
    #[arg(long, value_name = "PORT", value_parser = within::<1, MAX_PORT>)]
    pub(super) port: Option<u32>,
    /// Serve RPC over HTTP and WebSocket at this TCP port of the first node; the next ones follow. 0
    /// lets the system pick all ports, anew at each start of the nodes.
    #[arg(long, value_name = "PORT", value_parser = within::<0, MAX_PORT>)]
    pub(super) rpc_port: Option<u32>,
    /// Stop when stdin is closed, too.
    #[arg(long, hide = true)]
    pub(super) until_stdin_closes: bool,
    /// Do not print a line for each block.
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print one JSON object for the start and for each block.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum DevnetCommand {
    /// Show nodes, accounts and key files of a network.
    Show {
        #[command(flatten)]
        at: AtArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send coins of the faucet to an account, and wait until they have arrived.
    Faucet {
        /// Account: 64 hex digits, `treasury` or `burn`.
        address: String,
        /// Amount; underscores may group the digits.
        #[arg(allow_negative_numbers = true)]
        amount: String,
        #[command(flatten)]
        at: AtArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Copy the chains and stored objects of all nodes under a name. Nodes that run continue.
    Snapshot {
        /// Name of the snapshot: letters, digits, `-`, `_` and `.`.
        name: String,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Bring all nodes back to a snapshot. Nodes that run are restarted; waiting transactions are
    /// dropped.
    Restore {
        /// Name of the snapshot.
        name: String,
        #[command(flatten)]
        at: AtArgs,
    },
    /// Begin a new chain with the same accounts. Nodes that run are restarted; stored objects are
    /// dropped, snapshots stay.
    Reset {
        #[command(flatten)]
        at: AtArgs,
    },
    /// Stop a network, as Ctrl-C does in its terminal.
    Stop {
        #[command(flatten)]
        at: AtArgs,
    },
    /// Run one node, until stdin is closed.
    #[command(hide = true)]
    Node(NodeCommand),
    /// Remove a temporary directory once stdin is closed and no node uses it.
    #[command(hide = true)]
    Janitor {
        /// Directory.
        dir: PathArg,
    },
}

#[derive(Debug, Args)]
pub(super) struct AtArgs {
    /// Directory of the network [default: the temporary one of this user that runs].
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathArg>,
}

#[derive(Debug, Args)]
pub(super) struct NodeCommand {
    /// File that is locked as long as the node runs.
    #[arg(long, value_name = "FILE")]
    pub(super) lock: PathArg,
    #[command(flatten)]
    pub(super) run: RunArgs<true>,
}
