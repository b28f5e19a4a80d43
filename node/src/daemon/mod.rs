//! `astreum run`: starts all parts of a node and stops them in the right order.
//!
//! Shutdown order: evaluations are interrupted; the network sends acknowledged messages and ends,
//! and with it every wait for a peer; then RPC over HTTP and the control socket stop, whose requests
//! can finish because nothing delays them any more.

mod allocator;
mod atom_handlers;
mod atom_transfers;
mod chain_handlers;
mod chain_status;
mod conditions;
mod counters;
mod dump;
mod eval_handlers;
#[cfg(feature = "http")]
mod events;
mod fork_handlers;
mod handlers;
mod history_handlers;
#[cfg(feature = "http")]
mod http;
mod list_sender;
mod metrics;
mod node_status;
mod panics;
mod peer_handlers;
mod port_mapping;
mod preflight;
mod recent_warnings;
mod reload;
mod stop;
mod warnings;

pub(crate) use allocator::bound_arenas;
pub use dump::forbid_core_dumps;
pub use handlers::NodeHandler;
pub use panics::{PANIC_EXIT_CODE, exit_on_panic};
pub use preflight::{prepare_start, start_errors};
pub use reload::{ConfigSource, Reloader};
pub(crate) use stop::is_ignored;
pub use stop::{StopCause, StopHandle, Stopper, Wanted};
pub use warnings::{shared_address_warning, warnings};

use crate::config::{Paths, Settings};
use crate::key_file::NodeKeys;
use crate::log;
use crate::net::NetworkError;
use crate::node::{Node, NodeError, create_state_dir};
#[cfg(feature = "http")]
use crate::rpc::{HttpError, HttpServer};
use crate::rpc::{Server, ServerError, Service};
use core::fmt;
use core::net::SocketAddr;
use recent_warnings::RecentWarnings;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// Reason that a program without RPC over HTTP cannot listen for it, with advice.
#[cfg(not(feature = "http"))]
const NO_RPC: &str = "this program was built without the feature `http`; remove rpc_listen, or \
                      build it with the feature";

/// Reason the node does not run.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The node could not be created or connected.
    Node(NodeError),
    /// The control socket could not be opened.
    Control(ServerError),
    /// Signal handlers could not be installed.
    Signals(io::Error),
    /// RPC over HTTP could not be started.
    #[cfg(feature = "http")]
    Rpc(HttpError),
    /// This program was built without RPC over HTTP.
    #[cfg(not(feature = "http"))]
    NoRpc,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(error) => error.fmt(f),
            Self::Control(error) => error.fmt(f),
            Self::Signals(error) => write!(f, "cannot install signal handlers: {error}"),
            #[cfg(feature = "http")]
            Self::Rpc(error) => error.fmt(f),
            #[cfg(not(feature = "http"))]
            Self::NoRpc => write!(f, "rpc_listen: {NO_RPC}"),
        }
    }
}

impl core::error::Error for RunError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Node(error) => Some(error),
            Self::Control(error) => Some(error),
            Self::Signals(error) => Some(error),
            #[cfg(feature = "http")]
            Self::Rpc(error) => Some(error),
            #[cfg(not(feature = "http"))]
            Self::NoRpc => None,
        }
    }
}

impl RunError {
    /// Returns whether the cause is in the configuration or a file that it names, so that another
    /// start fails as well.
    #[must_use]
    pub const fn is_configuration(&self) -> bool {
        match self {
            Self::Node(error) => matches!(
                error,
                NodeError::Config(_) | NodeError::KeyFile(_) | NodeError::ValidationPublicKey
            ),
            #[cfg(feature = "http")]
            Self::Rpc(error) => matches!(error, HttpError::Token { .. }),
            #[cfg(not(feature = "http"))]
            Self::NoRpc => true,
            Self::Control(_) | Self::Signals(_) => false,
        }
    }

    /// Returns whether the node cannot start because its port is in use.
    #[must_use]
    pub fn is_port_taken(&self) -> bool {
        let Self::Node(NodeError::Network(NetworkError::Bind(error))) = self else {
            return false;
        };
        error.cause.kind() == io::ErrorKind::AddrInUse
    }
}

/// Runs a node with these settings and keys until a signal or the control socket stops it. Once it
/// runs, writes suggestions for the next commands to `out`. `source` reads the configuration again
/// when that is requested.
///
/// # Errors
/// Fails if the node cannot start.
pub fn run(
    settings: &Settings,
    keys: &NodeKeys,
    paths: &Paths,
    source: &ConfigSource,
    out: &mut dyn Write,
) -> Result<(), RunError> {
    // Checked before anything that peers could notice.
    let validates = keys.validation.is_some() || settings.validation_signer.is_some();
    let location = crate::chain_service::dir::location(settings, validates);
    location.map_err(|error| RunError::Node(error.into()))?;
    let stopper = Stopper::new().map_err(RunError::Signals)?;
    create_state_dir(&paths.state_dir);
    // Before the node: it may warn while it starts.
    let recent = RecentWarnings::new();
    let node = Node::with_settings(settings.clone(), keys.clone());
    let node = Arc::new(node.map_err(RunError::Node)?);
    node.join_network().map_err(RunError::Node)?;
    node.remember_peers(&paths.state_dir)
        .map_err(RunError::Node)?;
    node.remember_advertisements(&paths.state_dir)
        .map_err(RunError::Node)?;
    node.start_chain(&paths.state_dir).map_err(RunError::Node)?;
    let reloader = Arc::new(Reloader::new(Arc::clone(&node), source.clone()));
    let handler = NodeHandler::new(Arc::clone(&node), stopper.handle(), Arc::clone(&reloader));
    let handler = handler.with_warnings(recent);
    #[cfg(feature = "http")]
    let (handler, counters) = http::counted(handler, settings);
    #[cfg(not(feature = "http"))]
    if settings.rpc_listen.is_some() {
        return Err(RunError::NoRpc);
    }
    #[cfg(feature = "http")]
    let listening = handler.rpc_address();
    let handler: Arc<dyn Service> = Arc::new(handler);
    let server = Server::start(&paths.control_socket, Arc::clone(&handler));
    let server = server.map_err(RunError::Control)?;
    #[cfg(feature = "http")]
    let http = http::start(&node, settings, paths, handler, counters, &listening);
    #[cfg(feature = "http")]
    let http = http.map_err(RunError::Rpc)?;
    for warning in warnings(settings) {
        log::warn!("{warning}");
    }
    // A closed output does not stop the node.
    #[cfg(feature = "http")]
    let rpc = http.as_ref().map(HttpServer::address);
    #[cfg(not(feature = "http"))]
    let rpc = None;
    let _ = write_greeting(out, &node, paths, rpc).and_then(|()| out.flush());
    let cause = loop {
        match stopper.wait() {
            Wanted::Stop(cause) => break cause,
            Wanted::Reload => {
                log::reopen();
                // What was applied, and what was not, is in the log.
                let _ = reloader.reload();
            }
        }
    };
    log::info!("stopping: {cause}");
    server.interrupt();
    #[cfg(feature = "http")]
    if let Some(http) = &http {
        http.interrupt();
    }
    node.disconnect();
    #[cfg(feature = "http")]
    drop(http);
    server.stop();
    log::info!("stopped");
    Ok(())
}

/// Returns the command that starts this program from any directory.
fn program() -> String {
    let name = std::env::args_os().next().unwrap_or_default();
    match name.to_str() {
        Some(name) if name.contains('/') => quoted_path(Path::new(name)),
        Some(name) if !name.is_empty() => quoted(name),
        _ => "astreum".to_owned(),
    }
}

/// Returns `path` as a shell word that is valid in any directory.
fn quoted_path(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    quoted(&path.display().to_string())
}

/// Quotes `word` for a shell if necessary.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn write_greeting(
    out: &mut dyn Write,
    node: &Node,
    paths: &Paths,
    rpc: Option<SocketAddr>,
) -> io::Result<()> {
    let status = node.status();
    let port = status.port.unwrap_or_default();
    let socket = paths.control_socket.display();
    writeln!(out, "Astreum node {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  public key      {}", status.public_key)?;
    writeln!(out, "  UDP port        {port}")?;
    writeln!(out, "  control socket  {socket}")?;
    if let Some(address) = rpc {
        writeln!(out, "  RPC             http://{address}")?;
        if node.settings().explorer {
            writeln!(out, "  explorer        http://{address}/explorer")?;
        }
    }
    match status.log_problem {
        Some(problem) => writeln!(out, "  log             none: {problem}")?,
        None => writeln!(out, "  log             {}", paths.log_dir.display())?,
    }
    match status.cold.and_then(|cold| cold.write_failure) {
        Some(why) => writeln!(out, "  storage         refuses writes: {why}")?,
        None => writeln!(out, "  storage         {}", status.durability)?,
    }
    writeln!(out)?;
    writeln!(out, "Try in another terminal:")?;
    let program = program();
    // The commands find a socket at its default place on their own.
    let default = Paths::new(&Settings::default(), Path::new("")).control_socket;
    let at = match &paths.control_socket {
        socket if *socket == default => String::new(),
        socket => format!(" --control-socket {}", quoted_path(socket)),
    };
    writeln!(out, "  {program} status{at}")?;
    writeln!(out, "  echo hello | {program} put -{at}")?;
    writeln!(
        out,
        "  {program} eval '(1 2 ((a b (($0 $1 add) sk)) (a b) fn))'"
    )?;
    writeln!(out, "Ctrl-C stops the node.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_argument_is_one_shell_word() {
        for word in [
            "",
            "astreum",
            "/a/b-c.d",
            "/tmp/with space",
            "it's",
            "$HOME;`ls`",
            "\"\\\n",
        ] {
            let script = format!("printf %s {}", quoted(word));
            let shell = std::process::Command::new("sh")
                .args(["-c", &script])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), word);
        }
        assert_eq!(quoted("/a/b"), "/a/b");
        assert!(quoted_path(Path::new("a/b")).starts_with('/'));
    }
}
