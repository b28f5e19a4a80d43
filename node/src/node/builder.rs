//! Builder that starts a whole node: log, store, network and chain, as configured.

use super::{Node, NodeError};
use crate::config::{Config, Paths, Settings};
use crate::key_file::NodeKeys;
use crate::log::{self, LogError};
use crate::net::Advertisement;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Log directories of all nodes in this process.
static LOG_DIRS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Log directory that no other node of this process uses while this value is alive.
#[derive(Debug)]
pub(super) struct LogDir(PathBuf);

impl LogDir {
    /// Reserves `wanted`, or `wanted` with a number appended.
    fn take(wanted: &Path) -> Self {
        let mut taken = LOG_DIRS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut path = wanted.to_owned();
        let mut number = 2_u32;
        while !taken.insert(path.clone()) {
            let mut name = wanted.as_os_str().to_owned();
            name.push(format!("-{number}"));
            path = name.into();
            number = number.saturating_add(1);
        }
        Self(path)
    }
}

impl Drop for LogDir {
    fn drop(&mut self) {
        let mut taken = LOG_DIRS.lock().unwrap_or_else(PoisonError::into_inner);
        taken.remove(&self.0);
    }
}

/// Log of a node that was started by its builder.
#[derive(Debug)]
pub(super) struct OwnLog {
    pub(super) directory: LogDir,
    // The last field that the node drops: its threads log until they end.
    handle: log::Handle,
}

impl OwnLog {
    pub(super) fn path(&self) -> &Path {
        &self.directory.0
    }

    /// Returns why it is not written, if it is not.
    pub(super) fn problem(&self) -> Option<String> {
        self.handle.problem()
    }
}

/// Starts a [`Node`] with everything that its settings ask for. See [`Node::builder`].
#[derive(Debug)]
pub struct NodeBuilder {
    settings: Settings,
    has_log: bool,
    entry_point: Option<PathBuf>,
    advertisements: Vec<Advertisement>,
}

impl NodeBuilder {
    /// Creates a builder of a node with these settings.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            has_log: true,
            entry_point: None,
            advertisements: Vec::new(),
        }
    }

    /// Sets the file after which the log's directory is named; without it, that is the executable.
    #[must_use]
    pub fn entry_point(mut self, path: &Path) -> Self {
        self.entry_point = Some(path.to_owned());
        self
    }

    /// Leaves logging to the program.
    #[must_use]
    pub const fn without_log(mut self) -> Self {
        self.has_log = false;
        self
    }

    /// Advertises objects from the start.
    #[must_use]
    pub fn advertise(mut self, advertisements: impl IntoIterator<Item = Advertisement>) -> Self {
        self.advertisements.extend(advertisements);
        self
    }

    /// Opens log and store, joins the network, contacts known peers and follows the chain;
    /// validates if there is a validation key. Files are in `state_dir`, or where the configuration
    /// places them. If the program has a logger of its own, log lines go there.
    ///
    /// # Errors
    /// Fails if a key file cannot be used, or if a part cannot be started.
    pub fn start(self) -> Result<Node, NodeError> {
        let (node, paths) = self.create()?;
        super::create_state_dir(&paths.state_dir);
        node.logged(|| {
            node.join_network()?;
            node.remember_peers(&paths.state_dir)?;
            node.remember_advertisements(&paths.state_dir)?;
            node.advertise_all(&self.advertisements)?;
            node.start_chain(&paths.state_dir)
        })?;
        Ok(node)
    }

    /// Opens log and store, and no more: [`Node::connect`] joins the network.
    ///
    /// # Errors
    /// Fails if a key file cannot be used, or if log or store cannot be opened.
    pub fn open(self) -> Result<Node, NodeError> {
        let (node, _) = self.create()?;
        node.advertise_all(&self.advertisements)?;
        Ok(node)
    }

    /// Creates the node with its log; returns the paths of its files too.
    fn create(&self) -> Result<(Node, Paths), NodeError> {
        let settings = &self.settings;
        let executable = || std::env::current_exe().unwrap_or_else(|_| "astreum".into());
        let entry_point = self.entry_point.clone().unwrap_or_else(executable);
        let mut paths = Paths::new(settings, &entry_point);
        if paths.log_dir.starts_with(&paths.state_dir) {
            super::create_state_dir(&paths.state_dir);
        }
        let mut own_log = None;
        if self.has_log {
            let directory = LogDir::take(&paths.log_dir);
            paths.log_dir.clone_from(&directory.0);
            own_log = match log::open(settings, &paths) {
                Ok((scope, handle)) => Some((scope, OwnLog { directory, handle })),
                Err(LogError::AlreadySet) => None,
                Err(error) => return Err(NodeError::Log(error)),
            };
        }
        let scope = own_log.as_ref().map(|(scope, _)| scope.clone());
        let mut node = log::within(scope.as_ref(), || {
            let keys = NodeKeys::read(settings).map_err(NodeError::KeyFile)?;
            Node::with_settings(settings.clone(), keys)
        })?;
        if let Some((scope, own_log)) = own_log {
            node.failure.set_log(scope);
            node.own_log = Some(own_log);
        }
        Ok((node, paths))
    }
}

impl Node {
    /// Resolves a configuration and returns a builder, which starts everything: log, store, network
    /// and chain. [`Node::new`] creates a node that only stores and evaluates;
    /// [`NodeBuilder::new`] takes resolved settings.
    ///
    /// ```no_run
    /// use astreum_node::{Config, Node};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let config = Config {
    ///     cold_storage_path: Some("data/node1".into()),
    ///     validation_secret_key_file: Some("validator.key".into()),
    ///     ..Config::default()
    /// };
    /// let node = Node::builder(config)?.start()?;
    /// println!("{:?}", node.chain().status().head);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Fails if the configuration is invalid.
    pub fn builder(config: Config) -> Result<NodeBuilder, NodeError> {
        let settings = config.resolve().map_err(NodeError::Config)?;
        Ok(NodeBuilder::new(settings))
    }

    /// Returns the directory of the node's own log, if its builder has opened one.
    #[must_use]
    pub fn log_dir(&self) -> Option<&Path> {
        self.own_log.as_ref().map(OwnLog::path)
    }
}
