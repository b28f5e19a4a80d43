//! Arguments that describe a node or identify the running one.

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::output::{Failure, complain};
use super::path_arg::PathArg;
use crate::config::{Allowed, Config, ConfigErrors, DisplayValue, Inputs, KEYS, Key, Loaded};
use crate::daemon::quoted;
use crate::rpc::Client;

/// Default of `--timeout`, in seconds.
const DEFAULT_TIMEOUT: &str = "60";

/// Options of a node. Hidden for commands that accept them only for convenience.
#[derive(Debug, Args)]
pub(super) struct RunArgs<const HIDDEN: bool> {
    /// Read options from this TOML file.
    #[arg(long, value_name = "FILE", hide = HIDDEN)]
    pub(super) config: Option<PathArg>,
    #[command(flatten)]
    pub(super) flags: KeyFlags<HIDDEN>,
}

impl<const HIDDEN: bool> RunArgs<HIDDEN> {
    /// Returns the options as shell words to type again.
    pub(super) fn options(&self) -> String {
        let config = self.config.as_ref();
        let config = config.map(|path| format!("--config {}", quoted(&path.to_string_lossy())));
        let flags = self.flags.0.iter().flat_map(|(key, values)| {
            let option = |value: &String| format!("--{}={}", key.flag(), quoted(value));
            values.iter().map(option)
        });
        config
            .into_iter()
            .chain(flags)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Loads the configuration without reporting anything.
    pub(super) fn try_load(self) -> Result<Loaded, ConfigErrors> {
        self.into_inputs().load()
    }

    /// Loads the configuration of the node that the arguments describe.
    pub(super) fn load(self) -> Result<Loaded, Failure> {
        load(self.into_inputs())
    }

    /// Loads the configuration, and returns what it was loaded from, to load it again.
    pub(super) fn load_with_inputs(self) -> Result<(Loaded, Inputs), Failure> {
        let mut inputs = self.into_inputs();
        // Messages at start show the path as it was typed.
        let loaded = load(inputs.clone())?;
        // The node may be reloaded from another working directory than it was started in.
        inputs.file = inputs
            .file
            .map(|file| std::path::absolute(&file).unwrap_or(file));
        Ok((loaded, inputs))
    }

    fn into_inputs(self) -> Inputs {
        Inputs {
            flags: self.flags.0,
            environment: std::env::vars_os().collect(),
            file: self.config.map(PathArg::into_path),
        }
    }
}

/// Flags for all keys of the configuration without secrets, which other users of the machine could
/// read in the list of processes.
#[derive(Debug, Default)]
pub(super) struct KeyFlags<const HIDDEN: bool>(Vec<(&'static Key, Vec<String>)>);

impl<const HIDDEN: bool> Args for KeyFlags<HIDDEN> {
    fn augment_args(command: clap::Command) -> clap::Command {
        let defaults = Config::default();
        command.args(flags().map(|key| flag(key, &defaults).hide(HIDDEN)))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

/// Returns the keys that have a flag.
fn flags() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| !key.is_secret())
}

fn flag(key: &'static Key, defaults: &Config) -> Arg {
    let default = match key.show_raw(defaults) {
        DisplayValue::Unset => String::new(),
        shown => format!(" [default: {shown}]"),
    };
    let help = format!("{}{default}", key.help());
    let arg = Arg::new(key.name)
        .long(key.flag())
        .alias(key.name)
        .help(help)
        .help_heading(key.section)
        .allow_negative_numbers(true)
        .action(ArgAction::Set);
    match key.allowed {
        Allowed::Seeds => arg.value_name("HOST:PORT").action(ArgAction::Append),
        Allowed::Hosts => arg.value_name("HOST").action(ArgAction::Append),
        Allowed::Origins => arg.value_name("ORIGIN").action(ArgAction::Append),
        Allowed::Switch => arg
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Allowed::Whole { .. } | Allowed::StreamRate => arg.value_name("N"),
        Allowed::WholeSeconds { .. } | Allowed::Seconds { .. } => arg.value_name("SECONDS"),
        Allowed::Path => arg.value_name("PATH"),
        Allowed::Text => arg.value_name("TEXT"),
        // Secrets have no flag.
        Allowed::Key | Allowed::Id | Allowed::PublicKey => arg.value_name("HEX"),
        Allowed::Seed => arg.value_name("HOST:PORT"),
        Allowed::IpAddress | Allowed::Ipv4Address => arg.value_name("IP"),
        Allowed::Address | Allowed::Listen => arg.value_name("IP:PORT"),
        Allowed::Sync
        | Allowed::SyncMode
        | Allowed::Chain
        | Allowed::LogFormat
        | Allowed::PortMapping => arg.value_name("WORD"),
        Allowed::LogFilter => arg.value_name("LEVELS"),
    }
}

impl<const HIDDEN: bool> FromArgMatches for KeyFlags<HIDDEN> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in flags() {
            if let Some(values) = matches.get_many::<String>(key.name) {
                self.0.push((key, values.cloned().collect()));
            }
        }
        Ok(())
    }
}

/// Options that identify the running node, and limit the wait for it.
#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    #[command(flatten)]
    node: RunningNode,
    /// Maximum seconds to wait for a reply.
    #[arg(long, value_name = "SECONDS", default_value = DEFAULT_TIMEOUT, value_parser = super::number_arg::number::<NonZeroU64>)]
    pub(super) timeout: NonZeroU64,
}

/// Options that identify the running node.
#[derive(Debug, Args)]
pub(super) struct RunningNode {
    /// TOML file of the running node.
    #[arg(long, value_name = "FILE")]
    config: Option<PathArg>,
    /// State directory of the running node.
    #[arg(long, alias = "state_dir", value_name = "PATH")]
    state_dir: Option<String>,
    /// Control socket of the running node.
    #[arg(long, alias = "control_socket", value_name = "PATH")]
    control_socket: Option<String>,
}

impl NodeArgs {
    /// Returns the options as shell words to type again, each after a space.
    pub(super) fn options(&self) -> String {
        let node = &self.node;
        let config = node.config.as_ref().map(|path| path.to_string_lossy());
        let timeout = self.timeout.to_string();
        let timeout = (timeout != DEFAULT_TIMEOUT).then_some(timeout);
        let options = [
            ("--config", config.as_deref()),
            ("--state-dir", node.state_dir.as_deref()),
            ("--control-socket", node.control_socket.as_deref()),
            ("--timeout", timeout.as_deref()),
        ];
        let given = options.into_iter().filter_map(|(name, value)| {
            let value = quoted(value?);
            Some(format!(" {name} {value}"))
        });
        given.collect()
    }

    /// Loads the configuration of the running node that the arguments identify.
    pub(super) fn load(&self) -> Result<Loaded, Failure> {
        self.node.load()
    }
}

impl RunningNode {
    fn load(&self) -> Result<Loaded, Failure> {
        load(self.inputs())
    }

    /// Creates a client for the node, which waits for at most `timeout` for a reply.
    pub(super) fn client(&self, timeout: Duration) -> Result<Client, Failure> {
        Ok(Client::new(self.load()?.paths().control_socket, timeout))
    }

    fn inputs(&self) -> Inputs {
        let flag = |name, value: &Option<String>| Some((Key::find(name)?, vec![value.clone()?]));
        let flags = [
            flag("state_dir", &self.state_dir),
            flag("control_socket", &self.control_socket),
        ];
        Inputs {
            flags: flags.into_iter().flatten().collect(),
            environment: std::env::vars_os().collect(),
            file: self.config.clone().map(PathArg::into_path),
        }
    }
}

/// Creates a client for the node that the arguments identify.
pub(super) fn client(args: &NodeArgs) -> Result<Client, Failure> {
    Ok(client_of(args, &args.load()?))
}

/// Like [`client`], for a configuration that is loaded.
pub(super) fn client_of(args: &NodeArgs, loaded: &Loaded) -> Client {
    let timeout = Duration::from_secs(args.timeout.get());
    Client::new(loaded.paths().control_socket, timeout)
}

/// Loads a configuration. Warnings about ignored input are printed only the first time, because
/// some commands load twice.
fn load(inputs: Inputs) -> Result<Loaded, Failure> {
    static HAS_WARNED: AtomicBool = AtomicBool::new(false);
    let loaded = inputs.load()?;
    if !HAS_WARNED.swap(true, Ordering::Relaxed) {
        for warning in &loaded.warnings {
            complain(&format!("warning: ignored {warning}"));
        }
    }
    Ok(loaded)
}
