//! Directory of a development network: its files, its description and its locks.
//!
//! ```text
//! devnet.json       description, written last when a network is created
//! devnet.lock       locked by the process that runs the network
//! nodes.lock        locked, shared, by each of its nodes
//! devnet.sock       requests to the process that runs the network
//! keys/             account1.key …, faucet.key, validator1.key …
//! node1/ …          node.toml, cold/, state/, logs/, control.sock, output.log
//! snapshots/NAME/   node1 … : copies of cold/
//! ```

use core::time::Duration;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::output::Failure;
use crate::clock;

/// Version of the description.
const FORMAT: u32 = 1;
/// Prefix of the names of temporary directories.
const PREFIX: &str = "astreum-devnet-";
/// Maximum length of the path of a directory: the path of a socket has about a hundred bytes.
const MAX_PATH_BYTES: usize = 80;
/// Maximum size in bytes of a description.
const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;
/// Bytes of a node's output in which its greeting is.
const MAX_GREETING_BYTES: u64 = 16 << 10;
/// Time for which nodes may hold their lock after the process that ran them has ended.
pub(super) const NODES_TIMEOUT: Duration = Duration::from_secs(30);

/// Description of a network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    /// Version of the description.
    pub(super) format: u32,
    /// Chain id.
    pub(super) chain_id: u64,
    /// Number of nodes.
    pub(super) nodes: u32,
    /// Addresses of the validators, the first node's first.
    pub(super) validators: Vec<String>,
    /// Addresses of the funded accounts.
    pub(super) accounts: Vec<String>,
    /// Address of the faucet.
    pub(super) faucet: String,
    /// Initial balance of each account.
    pub(super) balance: String,
    /// Minimum seconds between two blocks.
    pub(super) block_time_seconds: u32,
    /// `true` if the directory is removed at the end.
    pub(super) is_temporary: bool,
}

impl Description {
    pub(super) const fn version() -> u32 {
        FORMAT
    }

    /// Returns the maximum seconds to wait for a block with a transaction: it may miss the next block,
    /// and nodes that have just started listen before they sign.
    pub(super) fn wait_seconds(&self) -> u64 {
        u64::from(self.block_time_seconds) * 2 + 60
    }
}

/// Directory of a network. The path is absolute.
#[derive(Clone, Debug)]
pub(super) struct Directory(PathBuf);

/// Lock of the process that runs a network, or changes one that does not run.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held until it is dropped")] File);

impl Directory {
    /// Creates a temporary directory, and removes those whose network was killed.
    pub(super) fn temporary() -> Result<Self, Failure> {
        let parent = std::env::temp_dir();
        for old in Self::all_temporary(&parent) {
            if old.is_abandoned() {
                let _ = fs::remove_dir_all(&old.0);
            }
        }
        let entropy = clock::entropy().map_err(Failure::failed)?;
        let name: String = hex::encode(entropy).chars().take(8).collect();
        let path = parent.join(format!("{PREFIX}{name}"));
        create_private(&path).map_err(|error| failed("cannot create", &path, &error))?;
        let directory = Self::at(&path);
        if directory.is_err() {
            let _ = fs::remove_dir(&path);
        }
        directory
    }

    /// Returns the directory at a path, which is created if it is missing.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        if path.symlink_metadata().is_err() {
            check_length(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))?;
            create_private(path).map_err(|error| failed("cannot create", path, &error))?;
        }
        Self::at(path)
    }

    /// Returns the directory at a path that exists.
    pub(super) fn at(path: &Path) -> Result<Self, Failure> {
        let path = fs::canonicalize(path).map_err(|error| failed("cannot open", path, &error))?;
        if !path.is_dir() {
            return Err(Failure::Usage(format!(
                "{} is not a directory; choose another --dir",
                path.display()
            )));
        }
        check_length(&path)?;
        Ok(Self(path))
    }

    /// Returns the directory that a command is for: the given one, or the only temporary one of a
    /// network that runs.
    pub(super) fn find(dir: Option<&Path>) -> Result<Self, Failure> {
        if let Some(dir) = dir {
            return Self::at(dir);
        }
        let all = Self::all_temporary(&std::env::temp_dir());
        let mut running: Vec<Self> = all.into_iter().filter(Self::is_running).collect();
        match (running.pop(), running.len()) {
            (Some(found), 0) => Ok(found),
            (None, _) => Err(Failure::Failed(
                "no development network runs in a temporary directory; start one with `astreum \
                 devnet`, or name the directory of another one with --dir"
                    .to_owned(),
            )),
            (Some(last), _) => {
                let names = running.iter().chain([&last]);
                let names: Vec<String> = names.map(|it| it.0.display().to_string()).collect();
                Err(Failure::Usage(format!(
                    "several development networks are running; choose one with --dir: {}",
                    names.join(", ")
                )))
            }
        }
    }

    fn all_temporary(parent: &Path) -> Vec<Self> {
        let own = rustix::process::geteuid().as_raw();
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let named = entries.filter(|it| it.file_name().to_string_lossy().starts_with(PREFIX));
        let owned = named.filter(|it| {
            let metadata = it.path().symlink_metadata();
            metadata.is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own)
        });
        let mut all: Vec<Self> = owned.map(|it| Self(it.path())).collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// Returns whether this is the temporary directory of a network whose processes have ended.
    pub(super) fn is_abandoned(&self) -> bool {
        self.description().is_ok_and(|found| found.is_temporary) && !self.is_in_use()
    }

    /// Returns whether a process that runs the network, or a node, uses the directory.
    pub(super) fn is_in_use(&self) -> bool {
        let is_held = |path: PathBuf| File::open(path).is_ok_and(|file| file.try_lock().is_err());
        is_held(self.lock_path()) || is_held(self.nodes_lock())
    }

    /// Returns whether a process runs the network.
    pub(super) fn is_running(&self) -> bool {
        let is_held = |file: File| matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        self.description_path().exists() && File::open(self.lock_path()).is_ok_and(is_held)
    }

    /// Locks the directory, and waits for nodes whose process was killed.
    pub(super) fn lock(&self) -> Result<Lock, Failure> {
        let shown = self.0.display();
        let file = open_lock(&self.lock_path())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(self.already_running());
            }
            Err(TryLockError::Error(error)) => {
                return Err(failed("cannot lock", &self.lock_path(), &error));
            }
        }
        if !self.wait_for_nodes(NODES_TIMEOUT)? {
            return Err(Failure::Failed(format!(
                "nodes of an earlier run still use {shown}; end these processes: they have \
                 nodes.lock in it open"
            )));
        }
        Ok(Lock(file))
    }

    fn already_running(&self) -> Failure {
        Failure::Failed(format!(
            "a development network is already running in {}; stop it with `astreum devnet stop \
             --dir {}`, or choose another --dir",
            self.0.display(),
            self.0.display()
        ))
    }

    /// Waits until no node uses the directory; returns whether that is so in time.
    pub(super) fn wait_for_nodes(&self, timeout: Duration) -> Result<bool, Failure> {
        let file = open_lock(&self.nodes_lock())?;
        let deadline = Instant::now() + timeout;
        while file.try_lock().is_err() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(true)
    }

    /// Waits until the process that ran the network has ended, or removed the directory.
    pub(super) fn wait_until_unlocked(&self) -> Result<(), Failure> {
        match File::open(self.lock_path()) {
            Ok(file) => file
                .lock_shared()
                .map_err(|error| failed("cannot lock", &self.lock_path(), &error)),
            Err(_) => Ok(()),
        }
    }

    /// Returns whether a network was created here; an error if the directory has other contents.
    pub(super) fn has_network(&self) -> Result<bool, Failure> {
        if self.description_path().exists() {
            return Ok(true);
        }
        let entries =
            fs::read_dir(&self.0).map_err(|error| failed("cannot read", &self.0, &error))?;
        let names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let locks = ["devnet.lock", "nodes.lock"];
        if names.iter().all(|name| locks.contains(&name.as_str())) {
            return Ok(false);
        }
        if self.is_in_use() {
            return Err(self.already_running());
        }
        let shown = self.0.display();
        Err(Failure::Usage(
            match names.iter().any(|name| name == "devnet.lock") {
                true => format!(
                    "the creation of the development network in {shown} was interrupted; remove \
                     the directory, or choose another --dir"
                ),
                false => format!(
                    "{shown} is not empty and has no development network; choose another --dir"
                ),
            },
        ))
    }

    /// Reads the description.
    pub(super) fn description(&self) -> Result<Description, Failure> {
        let path = self.description_path();
        let shown = path.display();
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Failed(format!(
                "{} has no development network; `astreum devnet --dir DIR` creates one",
                self.0.display()
            )),
            _ => failed("cannot read", &path, &error),
        })?;
        let bytes = super::super::input::read_capped(file, MAX_DESCRIPTION_BYTES)
            .map_err(|error| failed("cannot read", &path, &error))?;
        let found: Description = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::Failed(format!("{shown} is damaged: {error}")))?;
        if found.format != FORMAT {
            let format = found.format;
            return Err(Failure::Failed(format!(
                "{shown} has format {format}, and this version reads {FORMAT}; use the version of \
                 astreum that created it"
            )));
        }
        Ok(found)
    }

    /// Writes the description.
    pub(super) fn save(&self, description: &Description) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(description).map_err(Failure::failed)? + "\n";
        let (path, part) = (self.description_path(), self.0.join("devnet.json.part"));
        let written = File::create(&part).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &path)
        });
        written.map_err(|error| failed("cannot write", &path, &error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn description_path(&self) -> PathBuf {
        self.0.join("devnet.json")
    }

    fn lock_path(&self) -> PathBuf {
        self.0.join("devnet.lock")
    }

    pub(super) fn nodes_lock(&self) -> PathBuf {
        self.0.join("nodes.lock")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.join("devnet.sock")
    }

    pub(super) fn node(&self, number: u32) -> PathBuf {
        self.0.join(format!("node{number}"))
    }

    pub(super) fn node_config(&self, number: u32) -> PathBuf {
        self.node(number).join("node.toml")
    }

    pub(super) fn control_socket(&self, number: u32) -> PathBuf {
        self.node(number).join("control.sock")
    }

    /// Returns the file with the output of a node since its last start.
    pub(super) fn output(&self, number: u32) -> PathBuf {
        self.node(number).join("output.log")
    }

    /// Returns the URL at which a running node serves RPC, as its greeting states it.
    pub(super) fn rpc_url(&self, number: u32) -> Option<String> {
        let mut greeting = Vec::new();
        let output = File::open(self.output(number)).ok()?;
        output
            .take(MAX_GREETING_BYTES)
            .read_to_end(&mut greeting)
            .ok()?;
        let greeting = String::from_utf8_lossy(&greeting);
        let (_, rest) = greeting.split_once("\n  RPC  ")?;
        // Without the rest, the greeting may not be complete yet.
        let (url, _) = rest.split_once('\n')?;
        Some(url.trim().to_owned())
    }

    /// Returns the file with the token of a node for RPC over HTTP, unless its configuration names
    /// another one.
    pub(super) fn rpc_token(&self, number: u32) -> PathBuf {
        self.node(number).join("state/rpc.token")
    }

    pub(super) fn key(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(format!("{name}.key"))
    }

    pub(super) fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// Removes the directory.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// Checks that the paths of sockets in a directory are not too long.
fn check_length(path: &Path) -> Result<(), Failure> {
    let bytes = path.as_os_str().len();
    if bytes <= MAX_PATH_BYTES {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "the path {} has {bytes} bytes, and the sockets in it allow {MAX_PATH_BYTES}; choose a \
         shorter --dir",
        path.display()
    )))
}

/// Creates a directory that only its owner can read.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

pub(super) fn open_lock(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).mode(0o600);
    options
        .open(path)
        .map_err(|error| failed("cannot open", path, &error))
}

pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            format: FORMAT,
            chain_id: 31_337,
            nodes: 1,
            validators: vec!["a".to_owned()],
            accounts: Vec::new(),
            faucet: "b".to_owned(),
            balance: "5".to_owned(),
            block_time_seconds: 2,
            is_temporary: true,
        }
    }

    fn text(result: Result<impl core::fmt::Debug, Failure>) -> String {
        match result.unwrap_err() {
            Failure::Usage(text) | Failure::Failed(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn directories_with_other_contents_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::create(&scratch.path().join("net")).unwrap();
        assert!(!directory.has_network().unwrap());
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(text(directory.has_network()).contains("is not empty"));
        let lock = directory.lock().unwrap();
        assert!(text(directory.has_network()).contains("already running"));
        assert!(text(directory.lock()).contains("already running"));
        drop(lock);
        assert!(text(directory.has_network()).contains("was interrupted"));
        directory.save(&description()).unwrap();
        assert!(directory.has_network().unwrap());
        assert_eq!(directory.description().unwrap(), description());
        let long = scratch.path().join("x".repeat(90));
        assert!(text(Directory::create(&long)).contains("shorter --dir"));
        assert!(!long.exists());
    }

    #[test]
    fn damaged_and_newer_descriptions_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::at(scratch.path()).unwrap();
        assert!(text(directory.description()).contains("has no development network"));
        let newer = Description {
            format: 2,
            ..description()
        };
        directory.save(&newer).unwrap();
        assert!(text(directory.description()).contains("has format 2"));
        fs::write(directory.description_path(), "{").unwrap();
        assert!(text(directory.description()).contains("is damaged"));
    }

    #[test]
    fn only_directories_without_processes_are_abandoned() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::at(scratch.path()).unwrap();
        assert!(!directory.is_abandoned());
        let lock = directory.lock().unwrap();
        directory.save(&description()).unwrap();
        assert!(directory.is_running() && !directory.is_abandoned());
        drop(lock);
        assert!(!directory.is_running() && directory.is_abandoned());
        let node = open_lock(&directory.nodes_lock()).unwrap();
        node.lock_shared().unwrap();
        assert!(!directory.is_abandoned());
        assert!(!directory.wait_for_nodes(Duration::from_millis(1)).unwrap());
        drop(node);
        let kept = Description {
            is_temporary: false,
            ..description()
        };
        directory.save(&kept).unwrap();
        assert!(!directory.is_abandoned());
    }

    #[test]
    fn rpc_url_is_that_of_a_complete_greeting() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = Directory::at(scratch.path()).unwrap();
        assert_eq!(directory.rpc_url(1), None);
        create_private(&directory.node(1)).unwrap();
        let greeting = |text: &str| {
            fs::write(directory.output(1), text).unwrap();
            directory.rpc_url(1)
        };
        assert_eq!(greeting("Astreum node\n  UDP port        1\n"), None);
        let line = "Astreum node\n  RPC             http://127.0.0.1:17";
        assert_eq!(greeting(line), None);
        let url = greeting(&format!("{line}\n  log             x\n"));
        assert_eq!(url.as_deref(), Some("http://127.0.0.1:17"));
    }
}
