//! Arguments of `astreum config`.

use clap::{Args, Subcommand};

use super::node_args::{NodeArgs, RunArgs};
use super::path_arg::PathArg;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    pub(super) command: Option<ConfigCommand>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Print the tables of keys in Markdown.
    #[arg(long, conflicts_with = "json")]
    pub(super) markdown: bool,
    #[command(flatten)]
    pub(super) run: RunArgs<false>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Write a commented configuration file with every key, its values and its default.
    #[command(after_help = "Example:
  astreum config init node.toml

The file is new: an existing one is never overwritten. Nothing is configured until a line is
uncommented.")]
    Init(ConfigInitArgs),
    /// Check the configuration, and the files that it names, without starting a node.
    #[command(after_help = "Examples:
  astreum config check --config node.toml
  astreum config check --config node.toml --json

Exit code 0: a node can be started with it, as far as the configuration and the files that it names
are concerned; `astreum run` makes the same checks. Exit code 2: it has errors, all of which are
reported. A key file whose passphrase is asked for on a terminal is not opened.
Other options are those of `astreum run`.")]
    Check(ConfigCheckArgs),
    /// Show keys with their values.
    #[command(after_help = "Examples:
  astreum config show --origin --config node.toml
  astreum config show incoming_port peer_timeout --config node.toml

Other options are those of `astreum run`.")]
    Show(ConfigShowArgs),
    /// Let the running node read its configuration again, and show what it applied.
    #[command(after_help = "Example:
  astreum config reload

The node reads the file that it was started with; its flags and environment stay. Log, seeds, storage
limits and limits of evaluations are applied at once, and every other difference is listed: it needs
a restart. An invalid configuration changes nothing. SIGHUP does the same for a node without a
terminal, such as a service, and opens its log file again.")]
    Reload(ReloadArgs),
    /// Convert a configuration of the Python package: a JSON file, a dictionary in Python syntax, or
    /// a script that contains one.
    #[command(after_help = "Examples:
  astreum config from-python node.py -o node.toml
  astreum config from-python config.json

The source is read and not executed. Options whose value is not a literal, or that do not exist
here, are named. Secrets are never printed: with --output, they are written to key files beside it,
relay.key and validator.key.")]
    FromPython(FromPythonArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) at: NodeArgs,
}

#[derive(Debug, Args)]
pub(super) struct ConfigInitArgs {
    /// Path of the new file; `-` prints it.
    #[arg(default_value = "node.toml")]
    pub(super) file: PathArg,
}

#[derive(Debug, Args)]
pub(super) struct ConfigCheckArgs {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) run: RunArgs<true>,
}

#[derive(Debug, Args)]
pub(super) struct ConfigShowArgs {
    /// Keys; all if omitted.
    pub(super) keys: Vec<String>,
    /// Also show where each value comes from: a flag, an environment variable, a line of the file,
    /// or the default.
    #[arg(long)]
    pub(super) origin: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) run: RunArgs<true>,
}

#[derive(Debug, Args)]
pub(super) struct FromPythonArgs {
    /// JSON file or Python source; `-` is stdin.
    pub(super) file: PathArg,
    /// Write a new TOML file, and key files beside it, instead of printing.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathArg>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}
