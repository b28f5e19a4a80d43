//! Command-line arguments in raw form. They are interpreted later; parsing opens nothing.

use clap::{Args, Parser, Subcommand, ValueEnum};
use core::num::{NonZeroU32, NonZeroU64};

use super::chain_args::{AccountArgs, BlockArgs, GenesisArgs, ProofArgs, TxArgs, ValidatorsArgs};
use super::chain_cmd::ChainArgs;
use super::config_args::ConfigArgs;
use super::devnet::DevnetArgs;
use super::key_args::{KeysArgs, SignerArgs};
use super::language_args::{EvalArgs, ParseArgs, ReplArgs};
use super::node_args::{NodeArgs, RunArgs, RunningNode};
use super::path_arg::PathArg;
use super::script_args::{AsmArgs, CheckArgs, FmtArgs, TraceArgs};

/// Version of the program, with what it was built of.
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit    ",
    env!("NODE_BUILD_COMMIT"),
    "\ntarget    ",
    env!("NODE_BUILD_TARGET"),
    "\nfeatures  ",
    env!("NODE_BUILD_FEATURES"),
);

/// Astreum: a machine, storage and a network that share one unit, the atom.
///
/// Without a command, runs a node.
#[derive(Debug, Parser)]
#[command(
    name = "astreum",
    version,
    long_version = LONG_VERSION,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  astreum                                  run a node with the defaults
  astreum run --config node.toml           run a node with a configuration
  astreum eval '(1 2 ((a b (($0 $1 add) sk)) (a b) fn))'
  astreum status                           query the running node

Exit codes: 0 done, 1 the operation failed, 2 wrong usage or configuration.
`astreum run --help` lists the options of a node, which are also accepted without `run`."
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) run: RunArgs<true>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a node until it is stopped.
    #[command(after_help = "Examples:
  astreum run
  astreum run --config node.toml --verbose
  ASTREUM_INCOMING_PORT=0 astreum run --default-seed none --additional-seeds 192.0.2.7:52780

Precedence: flags, environment (ASTREUM_<KEY>), file, defaults.
An empty variable is unset; an unknown one is ignored with a warning.
Ctrl-C, or SIGTERM, stops the node.")]
    Run(RunArgs<false>),
    /// Show evaluation, storage, fetching, a transfer and a proof, in less than a minute.
    #[command(after_help = "Examples:
  astreum tour
  astreum tour --yes                       without pauses

Each step is a command, which is shown and executed. The nodes run on this machine, in a temporary
directory that is removed at the end. Without a terminal there are no pauses. The exit code is 1 if
a step fails.")]
    Tour(TourArgs),
    /// Run a local network with funded accounts, for development.
    #[command(after_help = super::devnet::HELP)]
    Devnet(Box<DevnetArgs>),
    /// Evaluate expressions and print one result per line.
    #[command(after_help = super::language_args::EVAL_HELP)]
    Eval(EvalArgs),
    /// Evaluate expressions interactively.
    #[command(after_help = super::language_args::REPL_HELP)]
    Repl(ReplArgs),
    /// Parse expressions and print them back.
    #[command(after_help = "Examples:
  astreum parse '(a (b 255))'
  astreum parse program.astreum --json")]
    Parse(ParseArgs),
    /// Assemble a script with labels, constants, macros and includes to plain source.
    #[command(after_help = super::script_args::ASM_HELP)]
    Asm(AsmArgs),
    /// Format scripts.
    #[command(after_help = super::script_args::FMT_HELP)]
    Fmt(FmtArgs),
    /// Find problems in scripts without evaluating them.
    #[command(after_help = super::script_args::CHECK_HELP)]
    Check(CheckArgs),
    /// Evaluate expressions step by step and print each state.
    #[command(after_help = super::script_args::TRACE_HELP)]
    Trace(TraceArgs),
    /// Show the status of the running node.
    #[command(after_help = "Examples:
  astreum status
  astreum status --json | jq .peers
  astreum status --watch                       again every two seconds, until Ctrl-C
  astreum status --check --max-head-age 60     for monitoring: exit code 1 if something is wrong

Exit codes: 0 done, 1 no node answers or a check failed, 2 wrong usage or configuration.")]
    Status(StatusArgs),
    /// Watch the running node on a screen: chain, network, mempool, storage, problems and log.
    #[command(after_help = "Examples:
  astreum top
  astreum top --interval 5

Keys: q quits, p pauses, Tab and arrows choose and scroll a list, ? shows help. The terminal needs 80
columns and 24 lines. Without a terminal, use `astreum status --watch`. With NO_COLOR set there are no
colors.")]
    Top(TopArgs),
    /// Print metrics of the running node in the text format of Prometheus.
    #[command(after_help = "Example:
  astreum metrics > /var/lib/node_exporter/astreum.prom

A node with rpc_listen also serves them at /metrics.")]
    Metrics(MetricsArgs),
    /// List the peers of the running node.
    #[command(after_help = "Examples:
  astreum peers
  astreum peers --connect 192.0.2.7:52780  connect to an address first
  astreum peers --ban KEY                  ban a peer until the node stops")]
    Peers(PeersArgs),
    /// Get an atom, a list, a file or a folder from the running node, which fetches it from its peers
    /// if necessary.
    #[command(after_help = "Examples:
  astreum get ID
  astreum get ID -o picture.png            restore a file of `astreum put`
  astreum get ID -o photos                 restore a folder of `astreum put`
  astreum get ID --files                   list the files of a folder

With --output the whole object is written: the data of a list, a file of several lists, or a folder.
Existing files of that name are replaced when the new one is complete; a folder needs a new or an
empty directory. Everything is verified as it arrives.")]
    Get(GetArgs),
    /// Store a file or a folder with the running node and print its id.
    #[command(after_help = "Examples:
  astreum put picture.png --advertise
  astreum put photos
  echo hello | astreum put -
  echo '(a (b 1))' | astreum put - --kind expr

A file is split into a list of atoms of 3,900 bytes, which reference nodes can receive;
`astreum get ID -o FILE` joins them. A file of more than 1,022,361,600 bytes is several lists, and a
folder a list or more for each file; a manifest names them, and its id is printed. Of a folder, names,
permissions and contents are stored, with hidden files and empty directories, up to 262,144 entries;
symbolic links, devices, pipes and sockets are errors. A put that was interrupted is repeated: what is
stored already is not written again.")]
    Put(PutArgs),
    /// Advertise atoms or lists of the running node to other nodes.
    #[command(after_help = "Examples:
  astreum advertise add ID --list
  astreum advertise add ID --expires 3600
  astreum advertise list
  astreum advertise withdraw ID

Without --expires an advertisement does not expire, and it survives restarts.")]
    Advertise(AdvertiseArgs),
    /// Pin objects of the running node, so that pruning keeps them.
    #[command(after_help = "Example:
  astreum pin ID

An object is pinned with all that it leads to: a list with its atoms, an expression with its items,
a root of accounts with the whole state, up to 1,048,576 atoms in all: a larger object is refused.
Atoms that are not in cold storage are copied there, from memory or from peers; --timeout counts from
the last progress. The object is not pinned if a part of a list is not found, or the command is
interrupted. Objects that are stored with `astreum put` are pinned already.")]
    Pin(PinArgs),
    /// End the pins of objects, those of `astreum put` included. Pruning removes them later.
    #[command(after_help = "Example:
  astreum unpin ID")]
    Unpin(UnpinArgs),
    /// List the objects that pruning keeps.
    #[command(after_help = "Examples:
  astreum pins
  astreum pins --json | jq -r 'select(.stored) | .id'

The kinds are: stored with `put`, pinned with `pin`, and contract for a list on which a transaction
sent through this node has opened a storage contract or claimed a payment. `astreum unpin` ends all of
them.")]
    Pins(PinsArgs),
    /// Send transactions and show their state.
    #[command(after_help = "Examples:
  astreum tx send RECIPIENT 1_000 --key-file wallet.key --wait
  astreum tx status ID
  astreum tx show ID")]
    Tx(TxArgs),
    /// Show blocks.
    #[command(after_help = "Examples:
  astreum block show
  astreum block list --count 20")]
    Block(BlockArgs),
    /// Show accounts.
    #[command(after_help = "Examples:
  astreum account show me
  astreum account show treasury
  astreum account history KEY --limit 20")]
    Account(AccountArgs),
    /// Show the validators with their stakes and shares, and the proposer schedule.
    #[command(after_help = "Examples:
  astreum validators
  astreum validators --slots 50 --json

The schedule is valid until the next block, which starts a new leader election. The stake of an
elected validator counts half in the later slots of a schedule.")]
    Validators(ValidatorsArgs),
    /// Create the first block of a new chain in the cold storage of a node that is not running.
    #[command(after_help = "Examples:
  astreum genesis --config node.toml                       a usable default
  astreum genesis --config node.toml --balance KEY=100_000 --stake KEY=100_000
  astreum genesis --config node.toml --file genesis.toml --dry-run
  astreum genesis --config node.toml --reference           genesis of the Python reference

Without balances and stakes the validator gets a balance and a stake of 250_000 each. The validator
is --validator, or the key of validation_secret_key_file. The price of a byte of storage starts at
the treasury's balance divided by cumulative_total_fees and increases by that amount with every
block; stakes are added to the treasury's balance. With the defaults, a treasury of 1_000_000_000
and fees of 1_600_000_000_000_000_000, a transfer costs 3 at first and 10 after a year, and filling
10 GiB of disk costs more than a tenth of the 250_000. With a treasury of 0 storage is free.
The configuration names the files of the node: give --config, or options of `astreum run` such as
--cold-storage-path, --state-dir and --chain-id.

The same in a file:

  chain_id = 0
  cumulative_total_fees = \"1_600_000_000_000_000_000\"
  [balances]
  treasury = 1_000_000_000
  KEY = 100_000
  [stakes]
  KEY = 100_000
  [contracts]
  ID = { owner = \"KEY\", bytes = 1_000, atoms = 3 }")]
    Genesis(Box<GenesisArgs>),
    /// Show and recover the chain's files, and decide on forks.
    #[command(after_help = "Examples:
  astreum chain show --config node.toml
  astreum chain recover --config node.toml           show what can be recovered
  astreum chain recover --config node.toml --adopt   resume the best verified chain
  astreum chain forks                                list the forks known to the running node

A node resumes from the head journal in its chain directory, which is chain_dir, or chain in
cold_storage_path. If the journal is lost or damaged, recover searches cold storage for blocks of
the chain and verifies them from the genesis on.")]
    Chain(ChainArgs),
    /// Create proofs of accounts, and verify proofs without a node.
    #[command(after_help = "Examples:
  astreum proof account KEY > proof.json
  astreum proof verify proof.json")]
    Proof(ProofArgs),
    /// List the configured keys; generate, show, import, export and rotate key files.
    #[command(after_help = "Examples:
  astreum keys --config node.toml                  what each configured key is for
  astreum keys generate relay.key
  astreum keys generate validator.key --kind validation --protect
  astreum keys show relay.key

A passphrase is asked for on the terminal, or read from a file (--passphrase-file) or an open file
descriptor (--passphrase-fd). It is never an argument or an environment variable, which other users
can see.")]
    Keys(KeysArgs),
    /// Hold the key of a validator and sign its blocks for a node, as a process of its own.
    #[command(after_help = "Examples:
  astreum signer --key-file validator.key --record-dir record --socket signer.sock --new-record
  astreum run --validation-signer signer.sock --validation-public-key KEY

The signer signs one block for each slot, height and parent, whatever a node requests. Its record in
--record-dir is what prevents a second one: --new-record is only for a key that has never signed a
block; for any other key, copy its record from the chain directory of the node first.")]
    Signer(SignerArgs),
    /// Inspect, verify, maintain and copy cold storage.
    #[command(after_help = "Examples:
  astreum store stat --cold-storage-path atoms
  astreum store verify --config node.toml
  astreum store import ../astreum-python/atoms --config node.toml
  astreum store export backup --reference --config node.toml

The directory is cold_storage_path of the configuration: give --config, --cold-storage-path or
ASTREUM_COLD_STORAGE_PATH. A running node locks its directory; use `astreum status` for it.")]
    Store(StoreArgs),
    /// Copy cold storage and the files of the chain of the running node to a directory, without
    /// stopping it.
    #[command(after_help = "Examples:
  astreum backup /mnt/disk/2026-11-29
  astreum run --cold-storage-path /mnt/disk/2026-11-29

The copy has all that was stored when the command was started. It is a directory of cold storage,
with the files of the chain in its subdirectory `chain`. Keys, configuration and the files of
state_dir are not copied. The command waits until the copy is on the disk; an interrupted one leaves
nothing behind. Read the operating manual before a validator is restored.")]
    Backup(BackupArgs),
    /// Show the configuration; create, check, convert and reload configuration files.
    #[command(after_help = "Examples:
  astreum config init node.toml                    a commented file with every key
  astreum config check --config node.toml
  astreum config show --origin --config node.toml
  astreum config reload                            let the running node read it again
  astreum config from-python node.py -o node.toml
  astreum config --config node.toml --json         every key, its value and its source
  astreum config --markdown                        the table of keys

Secrets are not shown.")]
    Config(ConfigArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:
  astreum completions bash > ~/.local/share/bash-completion/completions/astreum")]
    Completions {
        /// Shell to complete for.
        shell: clap_complete::Shell,
    },
    /// Print a manual page.
    #[command(after_help = "Examples:
  astreum man | man -l -
  astreum man run > astreum-run.1
  astreum man keys generate | man -l -")]
    Man {
        /// Command to describe; the whole program if omitted.
        command: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Exit with 1 if there are problems, the head is stale, or there are too few peers.
    #[arg(long)]
    pub(super) check: bool,
    /// With --check: age in seconds from which the head is stale; 0 allows any age.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "300",
        requires = "check",
        value_parser = super::number_arg::number::<u64>,
    )]
    pub(super) max_head_age: u64,
    /// With --check: minimum number of peers.
    #[arg(long, value_name = "COUNT", default_value = "1", requires = "check", value_parser = super::number_arg::number::<u64>)]
    pub(super) min_peers: u64,
    /// Show the status repeatedly, with this pause in seconds; 2 if no value is given.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        conflicts_with = "check",
        value_parser = super::number_arg::number::<NonZeroU64>,
    )]
    pub(super) watch: Option<NonZeroU64>,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Seconds between requests to the node.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "1",
        value_parser = super::number_arg::number::<NonZeroU32>,
    )]
    pub(super) interval: NonZeroU32,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct MetricsArgs {
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct TourArgs {
    /// Do not wait for Enter before each step.
    #[arg(short, long)]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct PeersArgs {
    /// Connect to this address first, and wait up to two seconds for an answer.
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) connect: Option<String>,
    /// Remove the peer with this public key; it may connect again.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["connect", "ban", "unban"])]
    pub(super) remove: Option<String>,
    /// Remove the peer with this public key, and drop its packets until the node stops.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["connect", "unban"])]
    pub(super) ban: Option<String>,
    /// End the ban of this public key.
    #[arg(long, value_name = "KEY", conflicts_with = "connect")]
    pub(super) unban: Option<String>,
    /// Print one JSON object per peer.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// Id: 64 hex digits.
    pub(super) id: String,
    /// Get the whole list that starts with this atom.
    #[arg(long)]
    pub(super) list: bool,
    /// Print the raw data.
    #[arg(long, conflicts_with = "json")]
    pub(super) raw: bool,
    /// Print one JSON object per atom, or per entry with --files.
    #[arg(long)]
    pub(super) json: bool,
    /// Write the raw data to this file, or a folder to this directory.
    #[arg(short, long, value_name = "PATH", conflicts_with_all = ["raw", "json"])]
    pub(super) output: Option<PathArg>,
    /// With --output: keep what was written if the command is interrupted, and continue from there. A
    /// file of a single list begins again, from what the node has stored.
    #[arg(long, requires = "output")]
    pub(super) resume: bool,
    /// List the entries of a manifest: mode, size and path.
    #[arg(long, conflicts_with_all = ["raw", "list", "output"])]
    pub(super) files: bool,
    /// Do not show progress.
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct AdvertiseArgs {
    #[command(subcommand)]
    pub(super) command: AdvertiseCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum AdvertiseCommand {
    /// Advertise objects.
    Add {
        /// Ids: 64 hex digits each.
        #[arg(required = true)]
        ids: Vec<String>,
        /// Advertise the whole lists that start with these atoms.
        #[arg(long)]
        list: bool,
        /// Seconds until the advertisement ends; indefinite if omitted.
        #[arg(long, value_name = "SECONDS", value_parser = super::number_arg::number::<NonZeroU64>)]
        expires: Option<NonZeroU64>,
        #[command(flatten)]
        at: NodeArgs,
    },
    /// List the objects that users advertise; a validator also advertises its blocks.
    List {
        /// Print one JSON object per advertisement.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: NodeArgs,
    },
    /// End advertisements.
    Withdraw {
        /// Ids: 64 hex digits each.
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        at: NodeArgs,
    },
}

/// Stored form of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum PutKind {
    /// List of bytes atoms; a file over 1,022,361,600 bytes and a folder have a manifest.
    Bytes,
    /// Single symbol.
    Symbol,
    /// Expression that the text is parsed into.
    Expr,
}

#[derive(Debug, Args)]
pub(super) struct PutArgs {
    /// File or folder, or - for stdin; at most 1 GiB as an expression, or 65,368 bytes as a symbol.
    pub(super) file: PathArg,
    /// Stored form.
    #[arg(long, value_enum, default_value = "bytes")]
    pub(super) kind: PutKind,
    /// Let the node advertise the object, with all lists of a manifest.
    #[arg(long)]
    pub(super) advertise: bool,
    /// Do not show progress.
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct PinArgs {
    /// Ids: 64 hex digits each.
    #[arg(required = true)]
    pub(super) ids: Vec<String>,
    /// Print one JSON object per pin.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct UnpinArgs {
    /// Ids: 64 hex digits each.
    #[arg(required = true)]
    pub(super) ids: Vec<String>,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct PinsArgs {
    /// Print one JSON object per pin.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Directory for the copy, on the node's machine: it is created, or is empty.
    pub(super) directory: PathArg,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: RunningNode,
}

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    pub(super) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Show the contents, level by level.
    Stat(StoreOptions),
    /// Read every atom and check it against its id. The exit code is 1 if an atom is damaged, or if
    /// damaged files are still set aside.
    Verify(StoreOptions),
    /// Collate the journals, and level_0 of a reference node, into a pair of level_1.
    Collate(StoreOptions),
    /// Merge a level into one pair of the next level.
    Merge {
        /// Level to merge; all levels that exceed their size if omitted.
        #[arg(value_parser = super::number_arg::level)]
        level: Option<u32>,
        #[command(flatten)]
        options: StoreOptions,
    },
    /// Rewrite the intact atoms of damaged files, and set the damaged files aside. A running node
    /// repairs automatically.
    Repair(StoreOptions),
    /// Remove what is neither needed by the chain nor pinned.
    #[command(
        after_help = "Kept are all headers of the chain, transactions and state of the last \
prune_blocks blocks, and everything that users have stored, pinned or advertise. Blocks that were \
pruned cannot be restored from this directory; `--dry-run` shows what would be removed. A running node \
prunes automatically; if it has the directory open, the command asks it to prune now."
    )]
    Gc(StoreGcArgs),
    /// List the damaged files that were set aside, and how many of their atoms are still missing.
    #[command(
        after_help = "Each incident has a report in the subdirectory `damaged`, with the ids of \
the lost atoms. A running node fetches them again from its peers. `astreum store verify` and \
`astreum status` report incidents until they are cleared."
    )]
    Damaged {
        /// Remove the damaged files and the lists of atoms that were lost in them.
        #[arg(long)]
        clear: bool,
        #[command(flatten)]
        options: StoreOptions,
    },
    /// Copy every atom of another store, of this program or a reference node, without changing it.
    Import {
        /// Directory of the other store.
        directory: PathArg,
        #[command(flatten)]
        options: StoreOptions,
    },
    /// Copy every atom to a store in another directory.
    Export {
        /// Directory of the other store.
        directory: PathArg,
        /// Write a store that a reference node can open and serve completely; the directory must be
        /// empty.
        #[arg(long)]
        reference: bool,
        #[command(flatten)]
        options: StoreOptions,
    },
}

#[derive(Debug, Args)]
pub(super) struct StoreGcArgs {
    /// Only count what would be removed.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Record that everything that users want to keep is pinned; needed once in a directory that is
    /// older than pins, or that another program has written to.
    #[arg(long)]
    pub(super) accept_unpinned: bool,
    #[command(flatten)]
    pub(super) options: StoreOptions,
}

#[derive(Debug, Args)]
pub(super) struct StoreOptions {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) run: RunArgs<true>,
}
