//! File of validated peers, which a node contacts after a restart.
//!
//! The file is text: a first line with the format, one line `address key` per peer, and a last line
//! with the hash of the lines before it. A damaged file is reported and ignored: the node can still
//! join through seeds and through peers that contact it.
//!
//! Invariants:
//! - At most [`MAX_PEERS`] peers are kept; one of each network group comes before further ones.
//! - The file is replaced as a whole and synced, or stays unchanged.

use super::line_file;
use crate::failure::Failure;
use crate::log;
use crate::net::{NetworkHandle, Peer};
use astreum_core::atom::AtomId;
use astreum_core::crypto::PublicKey;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Maximum number of peers kept.
pub(super) const MAX_PEERS: usize = 64;
/// Interval between updates of the file.
const INTERVAL: Duration = Duration::from_secs(60);
/// Delay of the first update: short, so that a short run leaves a file too.
const FIRST_SAVE_DELAY: Duration = Duration::from_secs(5);
const FILE_NAME: &str = "known_peers";
const FORMAT: &str = "astreum known peers 1";
/// Maximum file size in bytes; larger than any file that is written.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Address and key of a peer in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct KnownPeer {
    address: SocketAddr,
    key: PublicKey,
}

/// Thread that updates the file of a running node. Dropping it ends the thread after a last update.
#[derive(Debug)]
pub(super) struct KnownPeers {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl KnownPeers {
    /// Contacts the peers of the file in `directory`, and starts updating the file.
    pub(super) fn start(
        directory: &Path,
        network: NetworkHandle,
        failure: &Failure,
    ) -> io::Result<Self> {
        let path = directory.join(FILE_NAME);
        let known = load(&path);
        if !known.is_empty() {
            let addresses = known.iter().map(|peer| peer.address).collect();
            // A stopped network needs no peers.
            let _ = network.remember(addresses);
        }
        let (stop, stopped) = sync_channel(1);
        let failure = failure.clone();
        let thread = std::thread::Builder::new()
            .name("known-peers".into())
            .spawn(move || {
                let _ = failure.watch(|| {
                    let mut known = known;
                    let mut wait = FIRST_SAVE_DELAY;
                    loop {
                        let is_last = stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout);
                        wait = INTERVAL;
                        let Ok(peers) = network.peers() else {
                            return;
                        };
                        keep(&path, &mut known, &peers);
                        if is_last {
                            return;
                        }
                    }
                });
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for KnownPeers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been recorded already.
            let _ = thread.join();
        }
    }
}

/// Writes the file if the set of peers has changed.
fn keep(path: &Path, known: &mut Vec<KnownPeer>, peers: &[Peer]) {
    let chosen = choose(known, peers);
    if chosen == *known {
        return;
    }
    match save(path, &chosen) {
        Ok(()) => *known = chosen,
        Err(error) => {
            if let Some(more) = log::limited("known peers not saved") {
                let path = path.display();
                log::warn!("failed to save known peers to {path}: {error}{more}");
            }
        }
    }
}

/// Chooses the peers to keep: currently validated ones, one of each network group before further
/// ones, then those already in the file.
fn choose(known: &[KnownPeer], peers: &[Peer]) -> Vec<KnownPeer> {
    let mut validated: Vec<&Peer> = peers.iter().filter(|peer| peer.is_validated).collect();
    validated.sort_by_key(|peer| (peer.public_key, peer.address));
    let mut groups = BTreeSet::new();
    let (first, further): (Vec<&Peer>, Vec<&Peer>) = validated
        .into_iter()
        .partition(|peer| groups.insert(peer.group));
    let today = first.into_iter().chain(further).map(|peer| KnownPeer {
        address: peer.address,
        key: peer.public_key,
    });
    let (mut addresses, mut keys) = (BTreeSet::new(), BTreeSet::new());
    today
        .chain(known.iter().copied())
        .filter(|peer| {
            let is_new = !addresses.contains(&peer.address) && !keys.contains(&peer.key);
            if is_new {
                addresses.insert(peer.address);
                keys.insert(peer.key);
            }
            is_new
        })
        .take(MAX_PEERS)
        .collect()
}

/// Returns the peers of the file; an empty list if the file is missing or damaged.
fn load(path: &Path) -> Vec<KnownPeer> {
    let read = line_file::read(path, MAX_FILE_BYTES).and_then(|text| match text {
        Some(text) => parse(&text).map_err(io::Error::other),
        None => Ok(Vec::new()),
    });
    read.unwrap_or_else(|error| {
        let path = path.display();
        log::warn!("failed to read the known peers of the previous run: {path}: {error}");
        Vec::new()
    })
}

fn encode(peers: &[KnownPeer]) -> String {
    let lines = peers
        .iter()
        .map(|peer| format!("{} {}", peer.address, peer.key));
    line_file::encode(FORMAT, lines)
}

fn parse(text: &str) -> Result<Vec<KnownPeer>, &'static str> {
    let peer = |line: &str| {
        let (address, key) = line.split_once(' ')?;
        Some(KnownPeer {
            address: address.parse().ok()?,
            key: PublicKey::new(*key.parse::<AtomId>().ok()?.as_bytes()),
        })
    };
    let lines = line_file::parse(FORMAT, text)?;
    let peers = lines.take(MAX_PEERS).map(peer);
    peers.collect::<Option<_>>().ok_or(line_file::DAMAGED)
}

fn save(path: &Path, peers: &[KnownPeer]) -> io::Result<()> {
    line_file::replace(path, &encode(peers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::wire::network_group::NetworkGroup;
    use std::fs;

    fn peer(n: u8, address: &str) -> Peer {
        let address: SocketAddr = address.parse().unwrap();
        Peer {
            public_key: PublicKey::new([n; 32]),
            address,
            group: NetworkGroup::of(address.ip()),
            is_validated: true,
            is_validator: false,
            is_default_seed: false,
            is_seed: false,
            identity: None,
            difficulty: 1,
            head: None,
            offers_stream: false,
            last_heard: Duration::ZERO,
        }
    }

    fn known(n: u8) -> KnownPeer {
        let address = SocketAddr::from(([10, n, 0, 1], 52780));
        let key = PublicKey::new([n; 32]);
        KnownPeer { address, key }
    }

    #[test]
    fn known_peers_survive_a_restart() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(FILE_NAME);
        assert_eq!(load(&path), []);
        let mut kept = Vec::new();
        let unvalidated = Peer {
            is_validated: false,
            ..peer(9, "10.9.0.1:9")
        };
        keep(&path, &mut kept, &[peer(1, "10.1.0.1:52780"), unvalidated]);
        assert_eq!(load(&path), [known(1)]);
        // Peers that are currently not connected stay in the file.
        keep(&path, &mut kept, &[peer(2, "10.2.0.1:52780")]);
        assert_eq!(load(&path), [known(2), known(1)]);
        keep(&path, &mut kept, &[]);
        assert_eq!(load(&path), [known(2), known(1)]);
    }

    #[test]
    fn damaged_files_are_not_used_and_are_replaced() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(FILE_NAME);
        let text = encode(&[known(1), known(2)]);
        assert_eq!(parse(&text).unwrap().len(), 2);
        for cut in 0..text.len() {
            assert!(parse(&text[..cut]).is_err(), "{cut}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(flipped) = String::from_utf8(bytes) {
                assert!(parse(&flipped).is_err(), "{at}");
            }
        }
        fs::write(&path, [0xff; 10]).unwrap();
        assert_eq!(load(&path), []);
        keep(&path, &mut Vec::new(), &[peer(1, "10.1.0.1:52780")]);
        assert_eq!(load(&path), [known(1)]);
    }

    #[test]
    fn one_network_does_not_fill_the_file() {
        let mut peers: Vec<Peer> = (0..100).map(|n| peer(n, &format!("8.8.0.{n}:1"))).collect();
        peers.extend((100..110).map(|n| peer(n, &format!("{n}.1.0.1:1"))));
        let chosen = choose(&[], &peers);
        assert_eq!(chosen.len(), MAX_PEERS);
        let other = chosen.iter().filter(|peer| peer.key.as_bytes()[0] >= 100);
        assert_eq!(other.count(), 10);
    }
}
