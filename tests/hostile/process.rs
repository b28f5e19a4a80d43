//! Live node: the real program, queried through its control socket.

use crate::Settings;
use astreum_core::atom::Atom;
use astreum_core::chain::Transaction;
use astreum_core::crypto::PublicKey;
use astreum_node::rpc::{Client, PeerReply, StatusReply, request};
use core::net::SocketAddr;
use core::time::Duration;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use tempfile::TempDir;

/// Maximum duration of a control request while the node is under load.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Limits of the node's memory and of its queue, in bytes: small, so that its bound is small.
pub(crate) const HOT_BYTES: u64 = 16 << 20;
pub(crate) const QUEUE_BYTES: u64 = 16 << 20;

/// Running node, killed when this is dropped.
pub(crate) struct Node {
    child: Child,
    home: TempDir,
    pub(crate) socket: PathBuf,
    client: Client,
    pub(crate) key: PublicKey,
    pub(crate) address: SocketAddr,
}

impl Node {
    pub(crate) fn start(settings: &Settings, name: &str) -> Self {
        Self::start_with(settings, name, &[])
    }

    /// Starts a node with more arguments. `HOME` at the start of an argument is replaced by its
    /// directory.
    pub(crate) fn start_with(settings: &Settings, name: &str, more: &[&str]) -> Self {
        Self::start_prepared(settings, name, more, |_| ())
    }

    /// Starts a node with a directory that `prepare` has filled.
    pub(crate) fn start_prepared(
        settings: &Settings,
        name: &str,
        more: &[&str],
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let directory = TempDir::with_prefix(format!("ast-hostile-{name}-")).unwrap();
        let home = directory.path();
        prepare(home);
        let socket = home.join("control.sock");
        let child = Command::new(&settings.node)
            .args(["run", "--incoming-port", "0", "--default-seed", "none"])
            .args(["--hot-storage-limit", &HOT_BYTES.to_string()])
            .args(["--incoming-queue-size-limit", &QUEUE_BYTES.to_string()])
            .args(["--outgoing-queue-size-limit", &QUEUE_BYTES.to_string()])
            .args(
                more.iter()
                    .map(|one| one.replacen("HOME", &home.display().to_string(), 1)),
            )
            .arg("--control-socket")
            .arg(&socket)
            .arg("--state-dir")
            .arg(home.join("state"))
            .arg("--log-dir")
            .arg(home.join("log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("cannot start the node");
        let client = Client::new(&socket, TIMEOUT);
        let status = (0..200).find_map(|_| {
            thread::sleep(Duration::from_millis(50));
            client.request(&request::Status {}).ok()
        });
        let status = status.expect("the node does not answer within ten seconds");
        let port = status.listen_address.rsplit(':').next().unwrap();
        Self {
            child,
            home: directory,
            socket,
            client,
            key: status.public_key,
            address: SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap())),
        }
    }

    pub(crate) fn status(&self) -> StatusReply {
        self.client
            .request(&request::Status {})
            .expect("the node does not answer")
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.status()
            .counters
            .get(name)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn peers(&self) -> Vec<PeerReply> {
        self.client
            .request(&request::Peers {})
            .expect("the node does not answer")
    }

    /// Makes it start a handshake with this address.
    pub(crate) fn connect(&self, address: &str) {
        let address = address.to_owned();
        let asked = self.client.request(&request::Connect { address });
        asked.expect("the node does not answer");
    }

    pub(crate) fn put(&self, atom: &Atom) {
        let atoms = vec![atom.clone()];
        let kept = self.client.request(&request::Put { atoms }).unwrap();
        assert_eq!(kept.ids, [atom.id()]);
    }

    /// Sends a transaction as the node's own user.
    pub(crate) fn send(&self, transaction: &Transaction) {
        let atoms = transaction.to_atoms();
        let sent = self.client.request(&request::SendTransaction {
            id: transaction.id(),
            atoms: atoms.into_iter().map(|(_, atom)| atom).collect(),
            dry_run: false,
            force: false,
        });
        sent.expect("the node does not accept the transaction");
    }

    /// Returns the height of the block that has a transaction, if one has it within this time.
    pub(crate) fn height_of(&self, transaction: &Transaction, wait_seconds: u64) -> Option<u64> {
        let status = self.client.request(&request::TransactionStatus {
            id: transaction.id(),
            wait_seconds,
            until_safe: false,
        });
        status.expect("the node does not answer").height?.0.to_u64()
    }

    /// Returns the resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("this case requires Linux: it reads /proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|line| line.split_whitespace().next())
            .unwrap();
        kib.parse::<u64>().unwrap() * 1_024
    }

    /// Returns the number of bytes in its log directory.
    pub(crate) fn log_bytes(&self) -> u64 {
        let files = fs::read_dir(self.home.path().join("log")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    }

    /// Returns the disk space of its cold storage, in bytes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let files = fs::read_dir(self.home.path().join("cold")).unwrap();
        let blocks = files.map(|file| file.unwrap().metadata().unwrap().blocks());
        blocks.sum::<u64>() * 512
    }

    /// Returns whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
