//! One simulated machine: a disk, a key, an address, and the node that runs on it while it is up.

use super::chain_files::{ChainFiles, Key, Refusal};
use super::disk::SimDisk;
use super::follow::Following;
use super::promises::Note;
use crate::heap::{self, Part};
use crate::random::Random;
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use astreum_core::crypto::SecretKey;
use astreum_core::time::Instant;
use astreum_core::wire::engine::{Engine, EngineConfig, FetchId};
use astreum_core::wire::object::PayloadType;
use astreum_node::chain::Chain;
use astreum_node::config::ColdStorageSync;
use astreum_node::store::Store;
use astreum_node::store::cold::{ColdError, ColdOptions, ColdStore};
use core::convert::Infallible;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The port of every simulated node.
const PORT: u16 = 52_780;
/// Memory for atoms: small, so that cold storage is read.
const HOT_BYTES: u64 = 256 << 10;
/// What cold storage may take on the simulated disk.
pub const COLD_LIMIT_BYTES: u64 = 8 << 20;
/// Level 0 is collated past this, so that short runs collate and merge.
const LEVEL_BYTES: u64 = 2_048;

/// A lookup under way.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    /// What is looked for.
    pub id: AtomId,
    /// Since when.
    pub since: Instant,
}

/// What runs while the machine is up.
pub struct Running {
    /// The protocol.
    pub engine: Engine,
    /// The node's store.
    pub store: Store,
    /// When it is going to be woken.
    pub wakes_at: Option<Instant>,
    /// Its chain, if there is one in this world.
    pub following: Option<Following>,
    /// What it looks for.
    pub lookups: BTreeMap<FetchId, Lookup>,
}

/// What is wrong with the wall clock of a machine, beside the little that always is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClockError {
    /// Nothing.
    #[default]
    None,
    /// It is ahead.
    Ahead(Duration),
    /// It is behind.
    Behind(Duration),
    /// It was never set: it counts from 1970.
    Unset,
}

/// Ways in which a host breaks its contract, so that it can be seen that a check notices it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// Its mempool's file is empty at each start.
    ForgetsMempool,
    /// It starts a validator whatever it finds, as if it were the first one.
    StartsAnyway,
}

/// A machine.
pub struct Host {
    /// Which one.
    pub number: usize,
    secret: SecretKey,
    /// What is left of it when the power goes off.
    pub disk: SimDisk,
    /// The node, while it is up.
    pub running: Option<Running>,
    /// Atoms whose write was acknowledged as durable.
    pub acknowledged: BTreeSet<AtomId>,
    /// Until when its disk keeps it busy.
    pub busy_until: Instant,
    /// Whether it does harm: see [`super::mischief`].
    pub is_hostile: bool,
    /// Whether its node follows the chain, if there is one.
    pub follows: bool,
    /// Whether it ignores every datagram that arrives.
    pub is_silent: bool,
    /// Atoms that an attacker serves in place of its store.
    pub serves: Option<MemoryStore>,
    /// What it keeps of its chain.
    pub files: ChainFiles,
    /// Whether it was given the beginning of the chain.
    pub is_provisioned: bool,
    /// The validator's key that its configuration names.
    pub key: Option<Key>,
    /// Whether its configuration names seeds.
    pub has_seeds: bool,
    /// Why its node did not start without the operator, and how often.
    pub refusals: Vec<Refusal>,
    /// What it did, for those that check its promises.
    pub notes: Vec<Note>,
    /// How it breaks its contract, if it does.
    pub sabotage: Option<Sabotage>,
    /// What is wrong with its clock.
    pub clock: ClockError,
    /// What its cold storage may take.
    pub cold_limit_bytes: u64,
    /// Level 0 of its cold storage is collated past this.
    pub cold_level_bytes: u64,
    /// How far its clock is wrong.
    pub skew: Duration,
    /// Whether its clock is ahead.
    pub is_fast: bool,
    /// How long every write takes.
    pub write_time: Duration,
    /// Whether all that was acknowledged has been seen to be there since it started.
    pub is_checked: bool,
    /// Datagrams that it has seen, for a hostile one to send again.
    pub seen: Vec<Vec<u8>>,
}

/// The address of a node: each in a network of its own, and those of one network group (/16) are 256
/// numbers apart.
#[must_use]
pub fn address(number: usize) -> SocketAddr {
    let [.., high, middle, low] = (number as u64).to_be_bytes();
    SocketAddr::from(([20 + high, low, middle, 1], PORT))
}

/// Which node has this address.
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
    /// A machine that is off.
    #[must_use]
    pub fn new(number: usize, random: &mut Random) -> Self {
        Self {
            number,
            secret: SecretKey::from_bytes(seed(random)),
            disk: SimDisk::new(),
            running: None,
            acknowledged: BTreeSet::new(),
            busy_until: Instant::ZERO,
            is_hostile: false,
            follows: true,
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
            skew: Duration::ZERO,
            is_fast: false,
            write_time: Duration::ZERO,
            is_checked: false,
            seen: Vec::new(),
        }
    }

    /// The secret key of its node.
    #[must_use]
    pub const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Starts its node on what is on the disk. `false` when the disk refuses.
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
            Err(_) => return false,
        };
        let _scope = heap::enter(self.number, Part::Engine);
        let config = EngineConfig::new(self.secret.clone(), PORT);
        let mut engine = Engine::new(config, seed(random), now);
        if self.has_seeds {
            engine.set_seeds(now, &[], seeds);
        }
        let store = Store::with_cold(HOT_BYTES, cold);
        for id in &self.acknowledged {
            engine.advertise(now, *id, PayloadType::ATOM, None);
        }
        self.is_checked = false;
        self.running = Some(Running {
            engine,
            store,
            wakes_at: None,
            following: None,
            lookups: BTreeMap::new(),
        });
        true
    }

    /// The chain of its node, while it is up and follows one.
    #[must_use]
    pub fn chain(&self) -> Option<&Chain> {
        Some(self.running.as_ref()?.following.as_ref()?.chain())
    }

    /// The power goes off: what was not on the disk is lost or torn.
    pub fn cut_power(&mut self, random: &mut Random) {
        self.running = None;
        self.disk = self.disk.after_power_cut(random);
        if random.below(3) == 0 {
            self.files.tear(random);
        }
        self.seen.clear();
    }

    /// Puts atoms and offers them. Those whose write was acknowledged count from now on.
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

/// What a hostile node answers from: it has everything, and all of it is wrong.
pub struct Liar;

impl AtomSource for Liar {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        Ok(Atom::bytes(id.as_bytes().repeat(2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_tell_who_it_is() {
        for number in [0, 1, 255, 256, 65_536, 70_000] {
            assert_eq!(number_at(address(number)), Some(number));
        }
        assert_eq!(number_at(SocketAddr::from(([10, 0, 0, 1], 1))), None);
    }

    #[test]
    fn an_acknowledged_atom_is_there_after_a_power_cut_and_what_is_gone_is_noticed() {
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
