//! Live node: the real program, queried through its control socket.

use crate::Settings;
use astreum_core::atom::Atom;
use astreum_core::chain::Transaction;
use astreum_core::crypto::PublicKey;
use astreum_node::rpc::{PeerReply, request};
use astreum_tests::testkit::{NodeCommand, NodeProcess, Output};
use core::net::SocketAddr;
use core::ops::Deref;
use core::time::Duration;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tempfile::TempDir;

/// Maximum duration of a control request while the node is under load.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Limits of the node's memory and of its queue, in bytes: small, so that its bound is small.
pub(crate) const HOT_BYTES: u64 = 16 << 20;
pub(crate) const QUEUE_BYTES: u64 = 16 << 20;

/// Running node, killed when this is dropped.
pub(crate) struct Node {
    process: NodeProcess,
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
        let more = more.iter();
        let more = more.map(|one| one.replacen("HOME", &home.display().to_string(), 1));
        let mut command = NodeCommand::new(&settings.node, home);
        command
            .option("hot-storage-limit", HOT_BYTES.to_string())
            .option("incoming-queue-size-limit", QUEUE_BYTES.to_string())
            .option("outgoing-queue-size-limit", QUEUE_BYTES.to_string())
            .arguments(&more.collect::<Vec<String>>())
            .request_timeout(TIMEOUT);
        let process = NodeProcess::start_in(directory, &command, Output::Discarded).unwrap();
        Self {
            key: process.key(),
            address: process.address(),
            process,
        }
    }

    pub(crate) fn peers(&self) -> Vec<PeerReply> {
        self.ask(&request::Peers {})
    }

    /// Makes it start a handshake with this address.
    pub(crate) fn connect(&self, address: &str) {
        let address = address.to_owned();
        self.ask(&request::Connect { address });
    }

    pub(crate) fn put(&self, atom: &Atom) {
        let atoms = vec![atom.clone()];
        let kept = self.ask(&request::Put { atoms });
        assert_eq!(kept.ids, [atom.id()]);
    }

    /// Sends a transaction as the node's own user.
    pub(crate) fn send(&self, transaction: &Transaction) {
        let atoms = transaction.to_atoms();
        self.ask(&request::SendTransaction {
            id: transaction.id(),
            atoms: atoms.into_iter().map(|(_, atom)| atom).collect(),
            dry_run: false,
            force: false,
        });
    }

    /// Returns the height of the block that has a transaction, if one has it within this time.
    pub(crate) fn height_of(&self, transaction: &Transaction, wait_seconds: u64) -> Option<u64> {
        let status = self.ask(&request::TransactionStatus {
            id: transaction.id(),
            wait_seconds,
            until_safe: false,
        });
        status.height?.0.to_u64()
    }

    /// Returns the number of bytes in its log directory.
    pub(crate) fn log_bytes(&self) -> u64 {
        let files = fs::read_dir(self.directory().join("log")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    }

    /// Returns the disk space of its cold storage, in bytes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        let files = fs::read_dir(self.directory().join("cold")).unwrap();
        let blocks = files.map(|file| file.unwrap().metadata().unwrap().blocks());
        blocks.sum::<u64>() * 512
    }

    /// Returns whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.process.exited().is_none()
    }
}

impl Deref for Node {
    type Target = NodeProcess;

    fn deref(&self) -> &NodeProcess {
        &self.process
    }
}
