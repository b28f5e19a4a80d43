//! Arguments of `astreum keys`, and of passphrases.

use clap::{Args, Subcommand, ValueEnum};

use super::node_args::RunArgs;
use super::number_arg::within;
use super::path_arg::PathArg;
use crate::config::Settings;
use crate::key_file::age::{DEFAULT_WORK_FACTOR, MAX_WORK_FACTOR, MIN_WORK_FACTOR};
use crate::key_file::{KeyKind, PassphraseSource};

/// Place of the passphrase of an existing key file.
#[derive(Debug, Default, Args)]
pub(super) struct PassphraseArgs {
    /// Read the passphrase of the key file from the first line of this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathArg>,
    /// Read the passphrase of the key file from this open file descriptor.
    #[arg(long, value_name = "N", conflicts_with = "passphrase_file")]
    passphrase_fd: Option<u32>,
}

impl PassphraseArgs {
    /// Returns the source that the arguments name, else the configured file, else the terminal.
    pub(super) fn source(&self, settings: &Settings) -> PassphraseSource {
        self.given()
            .unwrap_or_else(|| PassphraseSource::of_or_terminal(settings))
    }

    /// Returns the source that the arguments name, else the terminal.
    pub(super) fn or_terminal(&self) -> PassphraseSource {
        self.given().unwrap_or_else(PassphraseSource::terminal)
    }

    /// Returns the source that the arguments name.
    fn given(&self) -> Option<PassphraseSource> {
        given(self.passphrase_file.as_ref(), self.passphrase_fd)
    }
}

fn given(file: Option<&PathArg>, descriptor: Option<u32>) -> Option<PassphraseSource> {
    let file = file.map(|path| PassphraseSource::file(path.to_path_buf()));
    file.or_else(|| descriptor.map(PassphraseSource::descriptor))
}

fn work_factor(text: &str) -> Result<u8, String> {
    const LEAST: u32 = MIN_WORK_FACTOR as u32;
    const MOST: u32 = MAX_WORK_FACTOR as u32;
    let factor = within::<LEAST, MOST>(text)?;
    u8::try_from(factor).map_err(|error| error.to_string())
}

/// Protection of a new key file.
#[derive(Debug, Args)]
pub(super) struct ProtectArgs {
    /// Protect the new file by a passphrase, which is asked for on the terminal.
    #[arg(long)]
    protect: bool,
    /// Protect the new file by the passphrase in the first line of this file.
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathArg>,
    /// Protect the new file by the passphrase from this open file descriptor.
    #[arg(long, value_name = "N", conflicts_with = "new_passphrase_file")]
    new_passphrase_fd: Option<u32>,
    /// Binary logarithm of the cost of guessing a passphrase (scrypt); each step doubles time and
    /// memory, and 17 takes 128 MiB.
    #[arg(
        long,
        value_name = "N",
        default_value_t = DEFAULT_WORK_FACTOR,
        value_parser = work_factor
    )]
    pub(super) work_factor: u8,
}

impl ProtectArgs {
    /// Returns the source of the passphrase, if the file is to be protected.
    pub(super) fn source(&self) -> Option<PassphraseSource> {
        let given = given(self.new_passphrase_file.as_ref(), self.new_passphrase_fd);
        given.or_else(|| self.protect.then(PassphraseSource::terminal))
    }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    pub(super) command: Option<KeysCommand>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) run: RunArgs<true>,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Generate a key into a new file that only its owner can read, and print its public half.
    #[command(after_help = "Examples:
  astreum keys generate relay.key && astreum run --relay-secret-key-file relay.key
  astreum keys generate wallet.key --kind account --protect

The file states the kind of the key, and is rejected where the other kind is required.")]
    Generate(GenerateKeyArgs),
    /// Print the public halves of the key in a file, with their kinds and uses.
    #[command(after_help = "Examples:
  astreum keys show wallet.key
  astreum keys show wallet.key --kind account      only the account's address, for scripts

A secret has two public halves: the public key of a relay (X25519), and the address of an account,
which is the public key of a validator (Ed25519). Coins that are sent to a relay key are lost. A
protected file states the half of its kind: the passphrase is only needed for the other one.")]
    Show(ShowKeyArgs),
    /// Write a key of another program or file to a new key file.
    #[command(after_help = "Examples:
  astreum keys import python.hex relay.key --kind relay
  astreum keys import wallet.pem wallet.key --protect
  astreum keys import - wallet.key --kind account < secret.hex

SOURCE contains 64 hex digits, a key file, an age file with a passphrase, or a private key in PEM
(PKCS #8, Ed25519 or X25519); `-` is stdin. SOURCE is not changed: delete it once the new file is in
use.")]
    Import(ImportKeyArgs),
    /// Write the key in a file to another new file: a backup, or a form for other programs.
    #[command(after_help = "Examples:
  astreum keys export wallet.key /media/stick/wallet.key --protect
  astreum keys export wallet.key wallet.pem --format pem

Only the owner can read the new file. Unless it is protected, it holds the secret in plain text.")]
    Export(ExportKeyArgs),
    /// Generate the successor of a key beside its file, and print the steps to take it into use.
    #[command(after_help = "Examples:
  astreum keys rotate relay.key                    writes relay.key.new
  astreum keys rotate validator.key --to validator-2.key

The old file is neither changed nor removed, and nothing uses the new key yet. The successor of a
protected file is protected as well; its passphrase is a new one.")]
    Rotate(RotateKeyArgs),
}

#[derive(Debug, Args)]
pub(super) struct GenerateKeyArgs {
    /// Path of the new file.
    pub(super) file: PathArg,
    /// Kind of the key.
    #[arg(long, value_enum, default_value = "relay")]
    pub(super) kind: KeyKindArg,
    #[command(flatten)]
    pub(super) protect: ProtectArgs,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowKeyArgs {
    /// Path of the key file.
    pub(super) file: PathArg,
    /// Print only the public half of this kind.
    #[arg(long, value_enum)]
    pub(super) kind: Option<KeyKindArg>,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ImportKeyArgs {
    /// File that contains the key, or `-`.
    #[arg(value_name = "FILE")]
    pub(super) source: PathArg,
    /// Path of the new file.
    #[arg(value_name = "NEW_FILE")]
    pub(super) file: PathArg,
    /// Kind of the key, if SOURCE does not state it.
    #[arg(long, value_enum)]
    pub(super) kind: Option<KeyKindArg>,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
    #[command(flatten)]
    pub(super) protect: ProtectArgs,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExportKeyArgs {
    /// Path of the key file.
    pub(super) file: PathArg,
    /// Path of the new file.
    #[arg(value_name = "NEW_FILE")]
    pub(super) to: PathArg,
    /// Form of the new file.
    #[arg(long, value_enum, default_value = "key")]
    pub(super) format: FormatArg,
    /// Kind of the key, if the file does not state it.
    #[arg(long, value_enum)]
    pub(super) kind: Option<KeyKindArg>,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
    #[command(flatten)]
    pub(super) protect: ProtectArgs,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RotateKeyArgs {
    /// Path of the key file.
    pub(super) file: PathArg,
    /// Path of the new file [default: FILE.new].
    #[arg(long, value_name = "FILE")]
    pub(super) to: Option<PathArg>,
    /// Kind of the key, if the file does not state it.
    #[arg(long, value_enum)]
    pub(super) kind: Option<KeyKindArg>,
    #[command(flatten)]
    pub(super) protect: ProtectArgs,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Form of an exported key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum FormatArg {
    /// Key file.
    Key,
    /// 64 hex digits, as the Python package takes them.
    Hex,
    /// PKCS #8 in PEM, as other programs read it.
    Pem,
}

/// Kind of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum KeyKindArg {
    /// X25519, for relay_secret_key.
    Relay,
    /// Ed25519, for validation_secret_key.
    Validation,
    /// Ed25519, for an account; the same as `validation`.
    Account,
}

impl From<KeyKindArg> for KeyKind {
    fn from(kind: KeyKindArg) -> Self {
        match kind {
            KeyKindArg::Relay => Self::Relay,
            KeyKindArg::Validation | KeyKindArg::Account => Self::Validation,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct SignerArgs {
    /// Key file of the validator.
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: PathArg,
    /// Directory of the signing record, created if missing. No other process may use it.
    #[arg(long, value_name = "DIR")]
    pub(super) record_dir: PathArg,
    /// Unix socket that nodes connect to.
    #[arg(long, value_name = "PATH")]
    pub(super) socket: PathArg,
    /// Id of the chain whose blocks are signed.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) chain_id: u64,
    /// Begin with an empty signing record; fails if there is one.
    #[arg(long)]
    pub(super) new_record: bool,
    /// Also let the group of the socket connect, not only its owner.
    #[arg(long)]
    pub(super) group_access: bool,
    #[command(flatten)]
    pub(super) passphrase: PassphraseArgs,
}
