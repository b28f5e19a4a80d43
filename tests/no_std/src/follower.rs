//! Follower that syncs a recorded chain from a peer, in virtual time.
//!
//! The program on the board and a test on the host (`tests/it/follower.rs`) run it and compare
//! its [`Report`] with the same text: the trace in it depends on every fetch, stored atom, head and
//! event, in order, so that an order or a number that depends on the target changes it. The
//! follower knows the id of the genesis and nothing else.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use astreum_core::atom::{
    Atom, AtomId, AtomKind, AtomSource, MemoryStore, SourceError, atom_id, split_stored,
};
use astreum_core::chain::{Block, write_atoms};
use astreum_core::consensus::sync::{ChainSync, SyncConfig, SyncEvent};
use astreum_core::consensus::{
    Component, Context, Effect, Environment, Event, HeadState, Input, Now, Serial,
};
use astreum_core::crypto::PublicKey;
use astreum_core::engine::{Extent, FetchError, FetchRequest, ListLimit};
use astreum_core::time::Instant;
use astreum_core::trie::{Scalar, entries};
use astreum_core::wire::network_group::NetworkGroup;
use core::convert::Infallible;
use core::fmt;
use core::time::Duration;

/// Recording of a chain, written by `cargo run -p astreum-tests --bin follower_chain`.
pub(crate) const RECORDING: &[u8] = include_bytes!("../chain.bin");
/// Report of a follower to which the peer announces the head of the chain.
pub(crate) const HEAD_REPORT: &str = "\
    height 100, \
    head 1709c50b69884f5b3d0981284f1dc4c6eaa1b9d468557a1b4e18f009c6e77fc7, \
    101 blocks verified from 6105b6083ce72d2d17756a68e699a3cf86729d89fd74848088eeb012bab5ee93, \
    state root 1f91555fd14a64dc6902c4d8f763d32f71706a6a14f0b1be165f56d0dbd8c196, \
    8 accounts, \
    321 fetches of 120291 bytes, \
    trace c649f4bddcb2763d1e35ea0c1916c00a964f1d83fb8de3edccb7905fd62ead94";
/// Report of a follower to which the peer announces the head of the invalid branch.
pub(crate) const INVALID_HEAD_REPORT: &str = "\
    height 49, \
    head 5a464b37789aa7773f1503bc10f45940f39d3dde88e322b887b7f902ad66893e, \
    50 blocks verified from 6105b6083ce72d2d17756a68e699a3cf86729d89fd74848088eeb012bab5ee93, \
    state root 1cb73c129fd45a07a3923273bfc2bb3a92e43e08e311e27b287bea1081332d02, \
    8 accounts, \
    172 fetches of 64793 bytes, \
    trace 22041825b2898950b0ec9f57c5af196e1dcec621e3c848b3f71a3d62db150f2c, \
    invalid block 3a7ab501336703a98f9770d589db32b199731d91e762c4707e07a0f127e0cdc2: \
    receipts id mismatch: \
    stated bf7035b38e1b900a22e2320af4af184bd7506a554e27dd8fb99e54a21a0ecfea, \
    computed 0000000000000000000000000000000000000000000000000000000000000000";

/// Wall time of the start: after the last block.
const START: Duration = Duration::from_secs(1_800_010_000);
/// Virtual time for which a follower runs, which is longer than a node without a chain waits for
/// the heads of more peers.
const RUN: Duration = Duration::from_secs(30);
/// Virtual time from a fetch to its answer.
const LATENCY: Duration = Duration::from_millis(1);
/// Maximum number of calls of [`Component::advance`] in one run.
const MAX_CALLS: u32 = 100_000;
/// The only peer.
const PEER: PublicKey = PublicKey::new([1; 32]);

/// Ids and atoms of a recorded chain.
pub(crate) struct Recording {
    pub(crate) genesis: AtomId,
    pub(crate) head: AtomId,
    /// Head of a branch that has an invalid block.
    pub(crate) invalid_head: AtomId,
    pub(crate) atoms: MemoryStore,
}

impl Recording {
    /// Reads three ids and the atoms after them, each with its length in front; `None` if it is
    /// malformed.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut ids = [AtomId::ZERO; 3];
        for id in &mut ids {
            let (first, rest) = bytes.split_first_chunk()?;
            (*id, bytes) = (AtomId::new(*first), rest);
        }
        let [genesis, head, invalid_head] = ids;
        let mut atoms = MemoryStore::new();
        while !bytes.is_empty() {
            let (len, rest) = bytes.split_first_chunk()?;
            let (stored, rest) = rest.split_at_checked(u16::from_le_bytes(*len).into())?;
            let (kind, next, data) = split_stored(stored).ok()?;
            atoms.insert(Atom::new(kind, data, next));
            bytes = rest;
        }
        Some(Self {
            genesis,
            head,
            invalid_head,
            atoms,
        })
    }

    /// Returns the beginning of a list, as the peer sends it.
    fn part(&self, id: AtomId, limit: ListLimit) -> Result<Vec<Atom>, FetchError> {
        let (mut atoms, mut bytes, mut next) = (Vec::new(), 0, id);
        while !next.is_zero() && atoms.len() < limit.atoms && bytes <= limit.bytes {
            let Ok(atom) = self.atoms.atom(&next) else {
                break;
            };
            bytes += atom.stored_len();
            next = atom.next();
            atoms.push(atom);
        }
        match atoms.is_empty() {
            true => Err(FetchError::NotFound),
            false => Ok(atoms),
        }
    }
}

/// Atoms of the follower: fetched ones, and those of verified blocks.
struct Local {
    fetched: MemoryStore,
    stored: MemoryStore,
}

impl AtomSource for Local {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        self.stored.atom(id).or_else(|_| self.fetched.atom(id))
    }
}

/// Result of a run, the same on every target.
#[derive(Debug)]
pub(crate) struct Report {
    /// Height of the head; `None` without one.
    pub(crate) height: Option<u64>,
    /// Id of the head.
    pub(crate) head: AtomId,
    /// State root of the head.
    pub(crate) accounts: AtomId,
    /// Number of accounts below the state root.
    pub(crate) account_count: u64,
    /// Genesis that the follower states to its peers.
    pub(crate) genesis: AtomId,
    /// Number of blocks of the chain that were verified, head and genesis included.
    pub(crate) verified: u64,
    /// Number of lists that were fetched.
    pub(crate) fetches: u64,
    /// Stored bytes of the fetched atoms.
    pub(crate) fetched_bytes: u64,
    /// Invalid blocks and the reasons.
    pub(crate) invalid: Vec<(AtomId, String)>,
    /// Hash over all effects and events, in order.
    pub(crate) trace: AtomId,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.height {
            Some(height) => write!(f, "height {height}")?,
            None => f.write_str("no head")?,
        }
        let Self {
            head,
            accounts,
            account_count,
            genesis,
            verified,
            fetches,
            fetched_bytes,
            trace,
            ..
        } = self;
        write!(
            f,
            ", head {head}, {verified} blocks verified from {genesis}, state root {accounts}, {account_count} \
             accounts, {fetches} fetches of {fetched_bytes} bytes, trace {trace}"
        )?;
        for (id, reason) in &self.invalid {
            write!(f, ", invalid block {id}: {reason}")?;
        }
        Ok(())
    }
}

/// Follower and its host.
struct Follower<'a> {
    recording: &'a Recording,
    sync: ChainSync<Scalar>,
    context: Context,
    local: Local,
    /// Time since the start.
    elapsed: Duration,
    /// Fetches that the peer has not answered.
    asked: VecDeque<(AtomId, ListLimit)>,
    /// Inputs that follow from effects.
    inputs: VecDeque<Input>,
    /// Stored blocks, in order.
    stored_blocks: Vec<AtomId>,
    fetches: u64,
    fetched_bytes: u64,
    invalid: Vec<(AtomId, String)>,
    trace: AtomId,
}

/// Syncs from the genesis of `recording` while its peer announces `announced`.
///
/// # Panics
/// Panics if sync does not come to rest, or asks for what a follower does not do.
pub(crate) fn follow(recording: &Recording, announced: AtomId) -> Report {
    let mut context = Context::new(None);
    context.set_root(recording.genesis);
    let mut follower = Follower {
        recording,
        sync: ChainSync::new(SyncConfig::default(), Scalar),
        context,
        local: Local {
            fetched: MemoryStore::new(),
            stored: MemoryStore::new(),
        },
        elapsed: Duration::ZERO,
        asked: VecDeque::new(),
        inputs: VecDeque::new(),
        stored_blocks: Vec::new(),
        fetches: 0,
        fetched_bytes: 0,
        invalid: Vec::new(),
        trace: AtomId::ZERO,
    };
    follower.inputs.push_back(Input::PeerHead {
        peer: PEER,
        group: NetworkGroup::of([203, 0, 113, 1].into()),
        id: announced,
        is_default_seed: false,
        is_seed: false,
    });
    follower.handle_inputs();
    follower.run();
    follower.report()
}

impl Follower<'_> {
    /// Does all work that becomes due within [`RUN`].
    fn run(&mut self) {
        for _ in 0..MAX_CALLS {
            self.call(|sync, environment, context| sync.advance(environment, context));
            self.handle_inputs();
            let now = Instant::ZERO + self.elapsed;
            let timeout = self.sync.poll_timeout();
            if timeout.is_some_and(|at| at <= now) {
                continue;
            }
            if let Some((id, limit)) = self.asked.pop_front() {
                self.elapsed += LATENCY;
                self.answer(id, limit);
                self.handle_inputs();
                continue;
            }
            let wait = timeout.map_or(RUN, |at| at.since(now));
            self.elapsed += wait;
            if self.elapsed >= RUN {
                return;
            }
        }
        panic!("sync does not come to rest");
    }

    /// Has the peer answer a fetch.
    fn answer(&mut self, id: AtomId, limit: ListLimit) {
        let outcome = self.recording.part(id, limit);
        for atom in outcome.iter().flatten() {
            self.fetched_bytes += atom.stored_len() as u64;
            self.local.fetched.insert(atom.clone());
        }
        let from = outcome.is_ok().then_some(PEER);
        self.inputs.push_back(Input::Fetched { id, outcome, from });
    }

    fn handle_inputs(&mut self) {
        while let Some(input) = self.inputs.pop_front() {
            self.call(|sync, environment, context| {
                sync.handle_input(environment, context, &input);
            });
        }
    }

    /// Calls sync, then carries out its effects.
    fn call(&mut self, call: impl FnOnce(&mut ChainSync<Scalar>, &Environment<'_>, &mut Context)) {
        let environment = Environment {
            now: Now {
                instant: Instant::ZERO + self.elapsed,
                unix: START + self.elapsed,
            },
            atoms: &self.local,
            parallel: &Serial,
        };
        call(&mut self.sync, &environment, &mut self.context);
        while let Some(event) = self.context.poll_event() {
            self.record(event.to_string().as_bytes());
            if let Event::Sync(SyncEvent::BadBlock { block, reason }) = event {
                self.invalid.push((block, reason));
            }
        }
        while let Some(effect) = self.context.poll_effect() {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch(FetchRequest {
                id,
                extent: Extent::Beginning(limit),
                ..
            }) => {
                self.record(id.as_bytes());
                self.fetches += 1;
                self.asked.push_back((id, limit));
            }
            Effect::StoreBlock { block, atoms } => {
                for (id, _) in &atoms {
                    self.record(id.as_bytes());
                }
                let Ok(()) = write_atoms(atoms, &mut self.local.stored);
                self.stored_blocks.push(block);
                let outcome = Ok(());
                self.inputs.push_back(Input::BlockStored { block, outcome });
            }
            Effect::SetHead { head, saved } => {
                self.record(head.id().as_bytes());
                self.record(&saved.resume.election_seeds);
            }
            other => panic!("not an effect of a follower: {other:?}"),
        }
    }

    fn record(&mut self, bytes: &[u8]) {
        self.trace = atom_id(AtomKind::Bytes, bytes, self.trace);
    }

    /// Counts the blocks from `head` down to the genesis that sync has verified, from the stored
    /// atoms alone; 0 unless they are all of them, stored from the genesis up, each once.
    fn verified_blocks(&self, head: AtomId) -> u64 {
        let (mut next, mut count) = (head, 0);
        for stored in self.stored_blocks.iter().rev() {
            let Ok(block) = Block::read(&self.local.stored, next) else {
                return 0;
            };
            if *stored != next || !self.sync.is_verified(&next) {
                return 0;
            }
            count += 1;
            next = block.previous;
        }
        let is_from_genesis = self.stored_blocks.first() == Some(&self.recording.genesis);
        if is_from_genesis { count } else { 0 }
    }

    /// Counts the accounts of a state, from the stored atoms alone.
    ///
    /// # Panics
    /// Panics if the state is not complete.
    fn account_count(&self, accounts: AtomId) -> u64 {
        let entries = entries(&self.local.stored, accounts);
        entries.fold(0, |count, entry| match entry {
            Ok(_) => count + 1,
            Err(error) => panic!("{error}"),
        })
    }

    fn report(self) -> Report {
        let head = self.context.head();
        let head = head.filter(|head| head.state() == HeadState::Verified);
        let id = head.map_or(AtomId::ZERO, |head| head.id());
        let accounts = head.map_or(AtomId::ZERO, |head| head.block().accounts);
        Report {
            height: head.map(|head| head.height()),
            head: id,
            accounts,
            account_count: self.account_count(accounts),
            genesis: self.sync.identity().genesis.unwrap_or(AtomId::ZERO),
            verified: self.verified_blocks(id),
            fetches: self.fetches,
            fetched_bytes: self.fetched_bytes,
            invalid: self.invalid,
            trace: self.trace,
        }
    }
}
