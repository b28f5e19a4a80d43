//! Simulated machine: a disk, a key, an address, and the node that runs on it while it is up.

use super::chain_files::{ChainFiles, Key, Refusal};
use super::disk::SimDisk;
use super::follow::Following;
use super::promises::Note;
use super::pruning::Pruning;
use crate::heap::{self, Part};
use crate::random::Random;
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use astreum_core::consensus::StreamRequest;
use astreum_core::crypto::SecretKey;
use astreum_core::engine::{Engine, EngineConfig, FetchId};
use astreum_core::stream;
use astreum_core::time::Instant;
use astreum_core::wire::handshake::StreamOffer;
use astreum_core::wire::object::PayloadType;
use astreum_node::chain_service::Chain;
use astreum_node::config::ColdStorageSync;
use astreum_node::store::Store;
use astreum_node::store::cold::{ColdError, ColdOptions, ColdStore};
use core::convert::Infallible;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// UDP port of every simulated node.
const PORT: u16 = 52_780;
/// Memory for atoms, in bytes: small, so that cold storage is read.
const HOT_BYTES: u64 = 256 << 10;
/// Limit of cold storage on the simulated disk, in bytes.
pub const COLD_LIMIT_BYTES: u64 = 8 << 20;
/// Size above which level 0 is collated, in bytes: small, so that short runs collate and merge.
const LEVEL_BYTES: u64 = 2_048;

/// Lookup in progress.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// Id that is looked up.
    pub id: AtomId,
    /// Start time.
    pub since: Instant,
}

/// Running node of a machine.
pub struct Running {
    /// Protocol engine.
    pub engine: Engine,
    /// Store of the node.
    pub store: Store,
    /// Time of its next planned wakeup.
    pub wakes_at: Option<Instant>,
    /// Chain of the node, if this world has one.
    pub following: Option<Following>,
    /// Lookups of the node by their fetches.
    pub lookups: BTreeMap<FetchId, Lookup>,
    /// Requests by stream of its chain, and their cancellations, that were not passed on so far.
    pub stream_commands: Vec<StreamCommand>,
}

/// Decision of a chain about its requests by stream.
pub enum StreamCommand {
    /// Requests objects.
    Request(StreamRequest),
    /// The request with this number is no longer needed.
    Cancel(u64),
}

/// Error of a machine's wall clock, in addition to its small constant skew.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClockError {
    /// No error.
    #[default]
    None,
    /// The clock is ahead by this time.
    Ahead(Duration),
    /// The clock is behind by this time.
    Behind(Duration),
    /// The clock was never set: it counts from 1970.
    Unset,
}

/// Ways in which a host breaks its contract, to prove that the checks detect it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// Its mempool file is empty at each start.
    ForgetsMempool,
    /// It starts a validator regardless of its files, as if it were the first one.
    StartsAnyway,
}

/// Simulated machine.
pub struct Host {
    /// Number of the machine.
    pub number: usize,
    secret: SecretKey,
    /// Disk, which survives power cuts.
    pub disk: SimDisk,
    /// Node, while it is up.
    pub running: Option<Running>,
    /// Atoms whose write was acknowledged as durable.
    pub acknowledged: BTreeSet<AtomId>,
    /// Lists among these atoms, which it advertises as such, by their first atoms.
    pub lists: BTreeSet<AtomId>,
    /// Time until which its disk keeps it busy.
    pub busy_until: Instant,
    /// True if it is hostile: see [`super::byzantine`].
    pub is_hostile: bool,
    /// True if its node follows the chain of the world, if there is one.
    pub follows: bool,
    /// True if it serves wrong atoms and damaged frames by stream, and nothing false by datagram.
    pub lies_by_stream: bool,
    /// True if it ignores every datagram that arrives.
    pub is_silent: bool,
    /// Atoms that an attacker serves instead of its store.
    pub serves: Option<MemoryStore>,
    /// Files of its chain.
    pub files: ChainFiles,
    /// True if it was given the first block's atoms.
    pub is_provisioned: bool,
    /// Validator key in its configuration.
    pub key: Option<Key>,
    /// True if its configuration names seeds.
    pub has_seeds: bool,
    /// Reasons of starts that its node refused until the operator intervened.
    pub refusals: Vec<Refusal>,
    /// Actions of the node since the last check of its promises.
    pub notes: Vec<Note>,
    /// Way in which it breaks its contract, if any.
    pub sabotage: Option<Sabotage>,
    /// Error of its clock.
    pub clock: ClockError,
    /// Limit of its cold storage, in bytes.
    pub cold_limit_bytes: u64,
    /// Level 0 of its cold storage is collated past this.
    pub cold_level_bytes: u64,
    /// Pruning of its cold storage.
    pub pruning: Pruning,
    /// Number of starts of its node.
    pub starts: u64,
    /// How far its clock is wrong.
    pub skew: Duration,
    /// True if the skew is ahead of true time.
    pub is_fast: bool,
    /// Duration of every write.
    pub write_time: Duration,
    /// True if all acknowledged atoms have been found since it started.
    pub is_checked: bool,
    /// Datagrams that it has received, which a hostile machine may replay.
    pub seen: Vec<Vec<u8>>,
}

/// Returns the address of a node. Each is in a network of its own; those of one network group (/16)
/// are 256 numbers apart.
#[must_use]
pub fn address(number: usize) -> SocketAddr {
    let [.., high, middle, low] = (number as u64).to_be_bytes();
    SocketAddr::from(([20 + high, low, middle, 1], PORT))
}

/// Returns the number of the node with this address.
#[must_use]
pub fn number_at(address: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(v4) = address else {
        return None;
    };
    let [high, low, middle, _] = v4.ip().octets();
    let number = u32::from_be_bytes([0, high.checked_sub(20)?, middle, low]);
    usize::try_from(number).ok()
}

impl Host {
    /// Creates a machine that is off.
    #[must_use]
    pub fn new(number: usize, random: &mut Random) -> Self {
        Self {
            number,
            secret: SecretKey::from_bytes(seed(random)),
            disk: SimDisk::new(),
            running: None,
            acknowledged: BTreeSet::new(),
            lists: BTreeSet::new(),
            busy_until: Instant::ZERO,
            is_hostile: false,
            follows: true,
            lies_by_stream: false,
            is_silent: false,
            serves: None,
            files: ChainFiles::default(),
            is_provisioned: false,
            key: None,
            has_seeds: true,
            refusals: Vec::new(),
            notes: Vec::new(),
            sabotage: None,
            clock: ClockError::None,
            cold_limit_bytes: COLD_LIMIT_BYTES,
            cold_level_bytes: LEVEL_BYTES,
            pruning: Pruning::default(),
            starts: 0,
            skew: Duration::ZERO,
            is_fast: false,
            write_time: Duration::ZERO,
            is_checked: false,
            seen: Vec::new(),
        }
    }

    /// Returns the secret key of its node.
    #[must_use]
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Starts its node with the content of its disk. Returns `false` if the disk refuses.
    pub fn start(
        &mut self,
        now: Instant,
        random: &mut Random,
        with_cold: bool,
        seeds: &[SocketAddr],
    ) -> bool {
        let _scope = heap::enter(self.number, Part::Store);
        let cold = match with_cold.then(|| self.open()).transpose() {
            Ok(cold) => cold,
            Err(error) => {
                // Whatever was cut off, a disk that works opens.
                if !self.disk.is_faulty() {
                    let what = format!("cannot open its cold storage: {error}");
                    self.notes.push(Note::Broken(what));
                }
                return false;
            }
        };
        let _scope = heap::enter(self.number, Part::Engine);
        let mut config = EngineConfig::new(self.secret.clone(), PORT);
        config.stream_offer = Some(StreamOffer {
            port: PORT,
            key: stream::secret_key(&self.secret).public_key(),
        });
        let mut engine = Engine::new(config, seed(random), now);
        if self.has_seeds {
            engine.set_seeds(now, &[], seeds);
        }
        let store = Store::with_cold(HOT_BYTES, cold);
        for id in &self.acknowledged {
            engine.advertise(now, *id, PayloadType::ATOM, None);
        }
        for head in &self.lists {
            engine.advertise(now, *head, PayloadType::LIST, None);
        }
        self.is_checked = false;
        self.starts += 1;
        self.pruning.is_sweeping = false;
        self.running = Some(Running {
            engine,
            store,
            wakes_at: None,
            following: None,
            lookups: BTreeMap::new(),
            stream_commands: Vec::new(),
        });
        true
    }

    /// Returns the chain of its node, while it is up and follows one.
    #[must_use]
    pub fn chain(&self) -> Option<&Chain> {
        Some(self.running.as_ref()?.following.as_ref()?.chain())
    }

    /// Cuts the power: data that was not synced is lost or torn.
    pub fn cut_power(&mut self, random: &mut Random) {
        self.running = None;
        self.disk = self.disk.after_power_cut(random);
        if random.below(3) == 0 {
            self.files.tear(random);
        }
        self.seen.clear();
    }

    /// Stores atoms and advertises them. If the write is acknowledged, they must not be lost later.
    pub fn put(&mut self, now: Instant, atoms: Vec<(AtomId, Atom)>) {
        let Some(running) = self.running.as_mut() else {
            return;
        };
        let ids: Vec<AtomId> = atoms.iter().map(|(id, _)| *id).collect();
        self.busy_until = now + self.write_time;
        let scope = heap::enter(self.number, Part::Store);
        let stored = running.store.put_all(atoms);
        drop(scope);
        if stored.is_ok() {
            let scope = heap::enter(self.number, Part::Engine);
            for id in &ids {
                running.engine.advertise(now, *id, PayloadType::ATOM, None);
            }
            drop(scope);
            self.acknowledged.extend(ids);
        }
    }

    /// Stores the atoms of a list and advertises it. If the write is acknowledged, they must not be
    /// lost later. A node that prunes pins the list.
    pub fn put_list(&mut self, now: Instant, head: AtomId, atoms: Vec<(AtomId, Atom)>) {
        let Some(running) = self.running.as_mut() else {
            return;
        };
        let ids: Vec<AtomId> = atoms.iter().map(|(id, _)| *id).collect();
        self.busy_until = now + self.write_time;
        let scope = heap::enter(self.number, Part::Store);
        let is_pinned = self.pruning.blocks > 0;
        let stored = match is_pinned {
            true => running.store.put_pinned(atoms),
            false => running.store.put_all(atoms),
        };
        drop(scope);
        if stored.is_ok() {
            let _scope = heap::enter(self.number, Part::Engine);
            running.engine.advertise(now, head, PayloadType::LIST, None);
            self.lists.insert(head);
            if is_pinned {
                self.pruning.pinned.extend(&ids);
            }
            self.acknowledged.extend(ids);
        }
    }

    fn open(&self) -> Result<ColdStore, ColdError> {
        let options = ColdOptions {
            level_size_bytes: self.cold_level_bytes,
            limit_bytes: self.cold_limit_bytes,
            sync: ColdStorageSync::Always,
            mapped: false,
            background: false,
        };
        ColdStore::open_on(Arc::new(self.disk.clone()), Path::new("/cold"), options)
    }

    /// The first acknowledged atom that is not here, while the node is up.
    #[must_use]
    pub fn lost(&self) -> Option<AtomId> {
        let running = self.running.as_ref()?;
        let here = |id: &&AtomId| running.store.get(id).is_none();
        self.acknowledged.iter().find(here).copied()
    }
}

fn seed(random: &mut Random) -> [u8; 32] {
    let mut seed = [0; 32];
    for chunk in seed.chunks_exact_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    seed
}

/// Store of a hostile node: it answers every id with a wrong atom.
pub struct FalseStore;

impl AtomSource for FalseStore {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        Ok(Atom::bytes(id.as_bytes().repeat(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_map_back_to_host_numbers() {
        for number in [0, 1, 255, 256, 65_536, 70_000] {
            assert_eq!(number_at(address(number)), Some(number));
        }
        assert_eq!(number_at(SocketAddr::from(([10, 0, 0, 1], 1))), None);
    }

    #[test]
    fn acknowledged_atom_survives_a_power_cut_and_a_lost_one_is_detected() {
        let mut random = Random::new(7);
        let mut host = Host::new(0, &mut random);
        assert!(host.start(Instant::ZERO, &mut random, true, &[]));
        host.put(Instant::ZERO, super::super::batch(3));
        assert!(!host.acknowledged.is_empty());
        host.cut_power(&mut random);
        assert!(host.start(Instant::ZERO, &mut random, true, &[]));
        assert_eq!(host.lost(), None);
        host.running = None;
        host.disk = SimDisk::new();
        assert!(host.start(Instant::ZERO, &mut random, true, &[]));
        assert!(host.lost().is_some());
    }
}
