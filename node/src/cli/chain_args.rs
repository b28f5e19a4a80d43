//! Arguments of the commands about the chain, in raw form.

use clap::{Args, Subcommand};
use core::num::NonZeroU32;

use super::key_args::PassphraseArgs;
use super::node_args::{NodeArgs, RunArgs};
use super::path_arg::PathArg;
use super::wait::Wait;

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct TxArgs {
    #[command(subcommand)]
    pub(super) command: TxCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum TxCommand {
    /// Sign a transaction locally; the running node stores, advertises and announces it.
    #[command(after_help = "Examples:
  astreum tx send RECIPIENT 1_000 --key-file wallet.key
  astreum tx send RECIPIENT 5 --key-file wallet.key --data-text 'for the coffee' --wait
  astreum tx send treasury 100 --key-file wallet.key       stake: validate in proportion to it
  astreum tx send burn 0 --data 00LIST-ID --key-file wallet.key   let the network store a list

The recipient is an account's key, `treasury` (01 x 32) or `burn` (00 x 32). --key-file takes a file
of `astreum keys generate FILE --kind account`; without it the sender is the validation key of
the configuration (validation_secret_key_file, or ASTREUM_VALIDATION_SECRET_KEY_FILE). The secret
does not leave this process.

The counter distinguishes otherwise equal transactions; without --counter it is the time in
milliseconds. To try again without paying twice, repeat the command with the counter that was
printed: the same transaction has the same id, and is applied only once.

--wait, or --wait included, waits up to 60 seconds for a block, --wait 90 up to 90 seconds, and
--wait safe up to 600 seconds until a branch with less than half of the stake cannot undo the block;
--wait safe:900 sets another limit. The exit code is then 0 if it succeeded in a block, and 1 if it
failed there, was refused, expired or timed out.")]
    Send(Box<TxSendArgs>),
    /// Sign a transaction into a file, without a node.
    #[command(after_help = "Example:
  astreum tx sign RECIPIENT 1_000 --chain-id 1 --key-file wallet.key -o payment.json

For a key on a machine without a network: `astreum tx submit payment.json` sends it from another one.
Recipient, amount, data and counter are those of `astreum tx send`. The file has no secrets, and is
signed as it is: whoever has it can send it, once.")]
    Sign(Box<TxSignArgs>),
    /// Send a signed transaction from a file.
    #[command(after_help = "Examples:
  astreum tx submit payment.json
  astreum tx submit payment.json --dry-run         check signature, balance and costs
  astreum tx submit payment.json --wait safe

The same transaction is applied only once. The exit codes are those of `tx send`.")]
    Submit(TxSubmitArgs),
    /// Show the state of a transaction: waiting, included with its result, or unknown.
    #[command(after_help = "Examples:
  astreum tx status ID
  astreum tx status ID --wait
  astreum tx status ID --wait safe

The exit code is 0 if it succeeded or is pending, 1 if it failed or is unknown.")]
    Status(TxStatusArgs),
    /// Announce a transaction of this node or a peer again, such as one that expired, was rejected
    /// or was removed by a reorganization.
    #[command(after_help = "Examples:
  astreum tx resend ID
  astreum tx resend ID --wait

The same transaction is applied only once. A transaction that is already in the chain is
refused. The exit codes are those of `tx send`.")]
    Resend(TxResendArgs),
    /// Show the contents of a transaction, and whether its signature is valid.
    #[command(after_help = "Examples:
  astreum tx show ID
  astreum tx show ID --json | jq -r .amount")]
    Show(TxShowArgs),
}

/// Contents of a transaction, apart from its chain.
#[derive(Debug, Args)]
pub(super) struct TxContentArgs {
    /// Recipient: 64 hex digits, `treasury` or `burn`.
    pub(super) recipient: String,
    /// Amount; underscores may group the digits.
    #[arg(allow_negative_numbers = true)]
    pub(super) amount: String,
    /// Key file of the sender.
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathArg>,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
    /// Data of the transaction, in hex digits.
    #[arg(long, value_name = "HEX", conflicts_with = "data_text")]
    pub(super) data: Option<String>,
    /// Data of the transaction, as text.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) data_text: Option<String>,
    /// Counter of the transaction [default: the time in milliseconds].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) counter: Option<String>,
    /// Accept a recipient that cannot spend the amount: one that is not an Ed25519 public key, or is
    /// the public key of a relay.
    #[arg(long)]
    pub(super) force: bool,
}

/// Condition and time limit of a wait for a transaction.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct WaitArgs {
    /// Wait until it is `included` in a block, or until that block is `safe`; at most this many
    /// seconds, by default 60 or 600.
    #[arg(
        id = "wait",
        long = "wait",
        value_name = "included|safe|SECONDS",
        num_args = 0..=1,
        default_missing_value = "included"
    )]
    pub(super) until: Option<Wait>,
}

#[derive(Debug, Args)]
pub(super) struct TxSendArgs {
    #[command(flatten)]
    pub(super) content: TxContentArgs,
    /// Chain id [default: that of the node's head].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) chain_id: Option<String>,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    /// Print the transaction without sending it.
    #[arg(long, conflicts_with = "wait")]
    pub(super) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct TxSignArgs {
    #[command(flatten)]
    pub(super) content: TxContentArgs,
    /// Chain id [default: that of the configuration].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) chain_id: Option<String>,
    /// File for the signed transaction, which must not exist; `-` for stdout.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathArg,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct TxSubmitArgs {
    /// File of `astreum tx sign`; `-` for stdin.
    pub(super) file: PathArg,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    /// Check the transaction and print it without sending it.
    #[arg(long, conflicts_with = "wait")]
    pub(super) dry_run: bool,
    /// Send even to the public key of a relay, which cannot spend the amount.
    #[arg(long)]
    pub(super) force: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct TxStatusArgs {
    /// Id of the transaction: 64 hex digits.
    pub(super) id: String,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct TxShowArgs {
    /// Id of the transaction: 64 hex digits.
    pub(super) id: String,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct TxResendArgs {
    /// Id of the transaction: 64 hex digits.
    pub(super) id: String,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct BlockArgs {
    #[command(subcommand)]
    pub(super) command: BlockCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum BlockCommand {
    /// Show a block of the running node's chain.
    #[command(after_help = "Examples:
  astreum block show
  astreum block show 12
  astreum block show ID --transactions 500 --json")]
    Show(BlockShowArgs),
    /// List the newest blocks, the head first.
    #[command(after_help = "Examples:
  astreum block list
  astreum block list --count 100 --from 5000 --json")]
    List(BlockListArgs),
}

#[derive(Debug, Args)]
pub(super) struct BlockShowArgs {
    /// Block: `head`, a height, or an id.
    #[arg(default_value = "head", allow_negative_numbers = true)]
    pub(super) block: String,
    /// Number of transactions to list.
    #[arg(long, value_name = "N", default_value = "20", value_parser = super::number_arg::number::<u32>)]
    pub(super) transactions: u32,
    /// Number of transactions to skip.
    #[arg(long, value_name = "N", default_value = "0", value_parser = super::number_arg::number::<u32>)]
    pub(super) skip: u32,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct BlockListArgs {
    /// Number of blocks.
    #[arg(long, value_name = "N", default_value = "10", value_parser = super::number_arg::number::<NonZeroU32>)]
    pub(super) count: NonZeroU32,
    /// Newest block to list: `head`, a height, or an id.
    #[arg(long, value_name = "BLOCK", default_value = "head")]
    pub(super) from: String,
    /// Print one JSON object per block.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct AccountArgs {
    #[command(subcommand)]
    pub(super) command: AccountCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Show an account at the running node's head.
    #[command(after_help = "Examples:
  astreum account show me
  astreum account show treasury --json
  astreum account show \"$(astreum keys show wallet.key --kind account)\"

`me` is the account of the node's validation key.")]
    Show(AccountShowArgs),
    /// List the transactions of an account, the newest first.
    #[command(after_help = "Examples:
  astreum account history me
  astreum account history KEY --recipient --from-height 5000 --limit 200
  astreum account history any --data-prefix 00 --json
  astreum account history KEY --after CURSOR

The node needs an index: set transaction_index = true and restart it. `any` is every account. With
more transactions than --limit, the last line is the command for the next page; blocks that arrive
meanwhile do not move it. The reply states the heights between which the index is complete; it does
not have what the node has pruned.")]
    History(AccountHistoryArgs),
}

/// Default of `--limit` of [`AccountHistoryArgs`].
pub(super) const DEFAULT_LIMIT: NonZeroU32 = NonZeroU32::new(50).unwrap();

#[derive(Debug, Args)]
pub(super) struct AccountHistoryArgs {
    /// Account: 64 hex digits, `me`, `treasury`, `burn`, or `any`.
    #[arg(default_value = "me")]
    pub(super) account: String,
    /// Only transactions that the account has sent.
    #[arg(long, conflicts_with = "recipient")]
    pub(super) sender: bool,
    /// Only transactions to the account.
    #[arg(long)]
    pub(super) recipient: bool,
    /// Lowest height of the block.
    #[arg(long, value_name = "N", value_parser = super::number_arg::number::<u64>)]
    pub(super) from_height: Option<u64>,
    /// Highest height of the block.
    #[arg(long, value_name = "N", value_parser = super::number_arg::number::<u64>)]
    pub(super) to_height: Option<u64>,
    /// First bytes of the data, in hex digits; 32 bytes at most.
    #[arg(long, value_name = "HEX")]
    pub(super) data_prefix: Option<String>,
    /// Maximum number of transactions.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, value_parser = super::number_arg::number::<NonZeroU32>)]
    pub(super) limit: NonZeroU32,
    /// Continue after this cursor of an earlier page.
    #[arg(long, value_name = "CURSOR")]
    pub(super) after: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct AccountShowArgs {
    /// Account: 64 hex digits, `me`, `treasury` or `burn`.
    #[arg(default_value = "me")]
    pub(super) account: String,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct ValidatorsArgs {
    /// Number of slots of the proposer schedule.
    #[arg(long, value_name = "N", default_value = "8", value_parser = super::number_arg::number::<u32>)]
    pub(super) slots: u32,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct GenesisArgs {
    /// Read the initial state from this TOML file; the flags below add to it.
    #[arg(long, value_name = "FILE", conflicts_with = "reference")]
    pub(super) file: Option<PathArg>,
    /// Account and its balance, repeatable; `treasury` and `burn` are accounts too.
    #[arg(long, value_name = "KEY=AMOUNT", conflicts_with = "reference")]
    pub(super) balance: Vec<String>,
    /// Validator and its stake, repeatable.
    #[arg(long, value_name = "KEY=AMOUNT", conflicts_with = "reference")]
    pub(super) stake: Vec<String>,
    /// List that the network stores from the start, with its owner, bytes and atoms; repeatable.
    #[arg(
        long,
        value_name = "ID=OWNER,BYTES,ATOMS",
        conflicts_with = "reference"
    )]
    pub(super) contract: Vec<String>,
    /// Fees that count as already paid: storage costs are divided by them.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "reference"
    )]
    pub(super) cumulative_total_fees: Option<String>,
    /// Validator of the genesis block [default: the configured validation key].
    #[arg(long, value_name = "KEY")]
    pub(super) validator: Option<String>,
    /// Timestamp in seconds since 1970 [default: now].
    #[arg(long, value_name = "SECONDS", value_parser = super::number_arg::number::<u64>)]
    pub(super) timestamp: Option<u64>,
    /// Create the genesis of the Python reference, in which no account can pay for a transaction.
    #[arg(long)]
    pub(super) reference: bool,
    /// Print the id without writing anything.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) run: RunArgs<true>,
}

#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct ProofArgs {
    #[command(subcommand)]
    pub(super) command: ProofCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ProofCommand {
    /// Prove an account, or its absence, at the running node's head.
    #[command(after_help = "Examples:
  astreum proof account KEY > proof.json
  astreum proof account treasury | astreum proof verify -

The proof is JSON: the atoms of the block, which link its id to its accounts, and the atoms on the
path from there to the account. Verification needs only a trusted block id.")]
    Account(ProofAccountArgs),
    /// Verify a proof, without a node or network.
    #[command(after_help = "Examples:
  astreum proof verify proof.json
  astreum proof verify proof.json --block ID --account KEY
  astreum proof verify - < proof.json --json

A proof is valid only for its block: compare the block id with a trusted one, or pass that as
--block. The exit code is 1 if the proof is invalid.")]
    Verify(ProofVerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct ProofAccountArgs {
    /// Account: 64 hex digits, `me`, `treasury` or `burn`.
    pub(super) account: String,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct ProofVerifyArgs {
    /// Proof file, or - for stdin.
    pub(super) file: PathArg,
    /// Block that the proof must be for.
    #[arg(long, value_name = "ID")]
    pub(super) block: Option<String>,
    /// Account that the proof must be for: 64 hex digits, `treasury` or `burn`.
    #[arg(long, value_name = "KEY")]
    pub(super) account: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}
