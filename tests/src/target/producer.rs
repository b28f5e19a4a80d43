//! Fuzz target of the block producer with its mempool, under hostile inputs in any order: heads on
//! any branch, blocks of its own key from elsewhere, unavailable heads that peers name, fetches
//! that fail or arrive late, assemblies and commits that fail, arrive twice or never, clocks that
//! are set, and crashes.
//!
//! Promises: a signed block is valid, in a slot of its key and at its time; the key never signs two
//! blocks on one parent for publication, nor one that is not later than all earlier ones, including
//! after a crash; an announced block is stored and recorded; it does not sign while it listens, nor
//! until its key has been quiet after a block from elsewhere; named heads cause a bounded number of
//! fetches; the producer comes to rest; and regardless of earlier inputs, it makes a block in the
//! end.

mod judge;
mod steps;
mod world;

use super::input::operations;
use super::scene::{self, extend, group, key, peer};
use arbitrary::Unstructured;
use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::{Block, RecordAtoms, Transaction, write_atoms};
use astreum_core::consensus::mempool::{Mempool, MempoolConfig};
use astreum_core::consensus::producer::{
    Activity, Assembled, AssemblyJob, LISTEN, LISTEN_FOR_PEERS, Producer, ProducerConfig, QUIET,
    Wait,
};
use astreum_core::consensus::{
    Commit, Component, Conflict, Context, Effect, Event, Head, HeadState, Input, Now, PART,
    SigningRecord, StoreFailure,
};
use astreum_core::engine::{Extent, FetchError, FetchRequest, ListLimit};
use astreum_core::testkit::{ChainHost, InterruptAfter, Validator};
use astreum_core::time::Instant;
use astreum_core::trie::Scalar;
use core::time::Duration;
use judge::Judge;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use world::world;

/// Maximum number of steps per run.
const MAX_STEPS: usize = 120;
/// Maximum number of consecutive calls until the producer has come to rest.
const MAX_CALLS: usize = 4_000;
/// Maximum number of blocks of others per run.
const MAX_FOREIGN: usize = 30;
/// Difficulty that blocks of others do not raise further: the producer must find a nonce in the
/// virtual time of [`TIMEOUT`], which is enough for about 8,000 attempts.
const MAX_FOREIGN_DIFFICULTY: u64 = 7;
/// Virtual time of a nonce attempt: about 32 of them, or five bits, in a second.
const ATTEMPT: Duration = Duration::from_millis(30);
/// The producer's key, and that of another validator.
const OWN: u8 = 1;
const OTHER: u8 = 2;
/// Maximum number of fetches that one named head causes.
const FETCHES_PER_HEAD: usize = 3;
/// Maximum time in which a producer makes a block once there is no further obstacle.
const TIMEOUT: Duration = Duration::from_secs(240);

/// Statistics of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reached {
    /// Blocks that it made.
    pub blocks: usize,
    /// Transactions in the bodies that were assembled.
    pub transactions: usize,
    /// Number of times that it stopped signing because of a block of its key.
    pub halts: usize,
    /// Number of times that it resumed signing.
    pub resumptions: usize,
    /// Slots that it missed.
    pub missed: usize,
    /// Blocks that could not be stored.
    pub not_stored: usize,
    /// Restarts during a commit.
    pub crashes: usize,
    /// Blocks of other nodes that became the head.
    pub foreign: usize,
}

/// Validator with the host state that its components use.
struct Node {
    config: ProducerConfig,
    host: ChainHost<Validator<Scalar>, MemoryStore>,
    /// Atoms that peers have.
    network: MemoryStore,
    /// Blocks that may be named or adopted, and the atoms that they added.
    blocks: Vec<AtomId>,
    atoms: BTreeMap<AtomId, RecordAtoms>,
    foreign: usize,
    /// Contents of the file of the signing record.
    signed: SigningRecord,
    /// Work in progress.
    job: Option<Box<AssemblyJob>>,
    results: Vec<Arc<Assembled>>,
    commits: VecDeque<Box<Commit>>,
    /// Blocks that were to be stored and have not been announced.
    committed: BTreeMap<AtomId, RecordAtoms>,
    /// True if commits stay in progress while all other requests are answered.
    holds_commits: bool,
    genesis: Option<(AtomId, RecordAtoms)>,
    lists: BTreeMap<AtomId, ListLimit>,
    small: BTreeMap<AtomId, ListLimit>,
    /// Number of heads that peers have named, and of the producer's small fetches.
    named: usize,
    fetches: usize,
    /// True while the producer is called, false while the mempool is.
    is_producers: bool,
    started: Instant,
    first_peer: Option<Instant>,
    /// End of the time in which signing is forbidden because of a block of the key from elsewhere.
    quiet_until: Option<Instant>,
    judge: Judge,
    reached: Reached,
}

fn config(code: u8) -> ProducerConfig {
    ProducerConfig {
        claim_reward: code & 1 == 0,
        reference_followers: code & 2 != 0,
        has_seeds: code & 4 != 0,
        max_block_growth_bytes: if code & 8 == 0 { 0 } else { 4 << 10 },
        max_block_transactions: if code & 16 == 0 { 4_096 } else { 2 },
        slice_attempts: 16,
        ..ProducerConfig::new(key(OWN))
    }
}

fn validator(config: &ProducerConfig, signed: &SigningRecord) -> Validator<Scalar> {
    Validator {
        producer: Producer::new(config.clone(), signed.clone(), Scalar),
        mempool: Mempool::new(MempoolConfig {
            reference_followers: config.reference_followers,
            is_validator: true,
            ..MempoolConfig::default()
        }),
    }
}

impl Node {
    fn new(code: u8) -> Self {
        let (world, config) = (world(), config(code));
        let now = Instant::from_secs(1_000);
        let clock = Now {
            instant: now,
            unix: Duration::from_secs(scene::BEGINNING + 10),
        };
        let validator = validator(&config, &SigningRecord::default());
        let mut node = Self {
            host: ChainHost::new(validator, MemoryStore::new(), clock),
            config,
            network: world.network.clone(),
            blocks: Vec::new(),
            atoms: BTreeMap::new(),
            foreign: 0,
            signed: SigningRecord::default(),
            job: None,
            results: Vec::new(),
            commits: VecDeque::new(),
            committed: BTreeMap::new(),
            holds_commits: false,
            genesis: None,
            lists: BTreeMap::new(),
            small: BTreeMap::new(),
            named: 0,
            fetches: 0,
            is_producers: false,
            started: now,
            first_peer: None,
            quiet_until: None,
            judge: Judge::default(),
            reached: Reached::default(),
        };
        if code & 96 != 96 {
            node.adopt_genesis();
        }
        node
    }

    fn adopt_genesis(&mut self) {
        let world = world();
        if self.host.store.is_empty() {
            self.host.store = world.state.clone();
        } else {
            let atoms = world.state.iter().map(|(_, atom)| atom.clone());
            self.host.store.extend(atoms);
        }
        self.blocks.push(world.genesis.id());
        let head = Head::new(world.genesis.clone(), HeadState::Verified);
        head.into_iter()
            .for_each(|head| self.host.context.set_head(head));
    }

    /// Answers what the last call asked for.
    fn handle_results(&mut self) {
        while let Some(event) = self.host.context.poll_event() {
            let reached = &mut self.reached;
            match event {
                Event::BlockProduced { .. } => reached.blocks += 1,
                Event::ProducerHalted(_) => reached.halts += 1,
                Event::ProducerResumed { .. } => reached.resumptions += 1,
                Event::SlotMissed { .. } => reached.missed += 1,
                Event::BlockNotStored { .. } => reached.not_stored += 1,
                _ => {}
            }
        }
        while let Some(effect) = self.host.context.poll_effect() {
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
                self.lists.insert(id, limit);
            }
            Effect::Fetch(FetchRequest {
                id,
                extent: Extent::Whole(limit),
                ..
            }) => {
                self.fetches += usize::from(self.is_producers);
                self.small.insert(id, limit);
            }
            Effect::Assemble(job) => {
                assert!(self.job.is_none(), "one assembly at a time");
                self.job = Some(job);
            }
            Effect::CancelAssembly => self.job = None,
            Effect::StoreBlock { block, atoms } => self.genesis = Some((block, atoms)),
            Effect::Commit(commit) => {
                self.check_times();
                let now = self.host.clock.unix;
                self.judge
                    .commit(&self.host.store, &commit, now, &self.config);
                self.committed.insert(commit.block, commit.atoms.clone());
                self.commits.push_back(commit);
            }
            Effect::SetHead { ref head, .. } => {
                if head.state() == HeadState::Own {
                    self.judge.publish(&self.host.store, &self.signed, head);
                    self.publish(head.id());
                }
                self.host.carry_out(effect);
            }
            Effect::Keep(_) | Effect::Store(_) | Effect::SaveMempool(_) => {
                self.host.carry_out(effect);
            }
            Effect::Announce { .. } | Effect::SetValidator(_) | Effect::Advertise { .. } => {}
            other => panic!("unexpected effect of a producer: {other:?}"),
        }
    }

    /// Makes the atoms of one of its own blocks available to peers.
    fn publish(&mut self, id: AtomId) {
        if let Some(atoms) = self.committed.remove(&id) {
            let Ok(()) = write_atoms(atoms.clone(), &mut self.network);
            self.blocks.push(id);
            self.atoms.insert(id, atoms);
        }
    }

    /// Checks that signing is permitted at this time.
    fn check_times(&self) {
        let quiet = self.quiet_until.unwrap_or_default();
        assert!(
            self.host.instant() >= quiet,
            "signed while another node used the key"
        );
        if self.config.has_seeds {
            let alone = self.started + LISTEN_FOR_PEERS;
            let listened_until = self.first_peer.map_or(alone, |first| first + LISTEN);
            assert!(
                self.host.instant() >= listened_until.min(alone),
                "signed while it listened"
            );
        }
    }

    /// Calls both components until they wait for input or for a time.
    fn settle(&mut self) {
        for _ in 0..MAX_CALLS {
            self.host.call(|validator, environment, context| {
                validator.mempool.advance(environment, context);
            });
            self.handle_results();
            let tried = self.host.component.producer.attempts();
            self.is_producers = true;
            self.host.call(|validator, environment, context| {
                let Validator { producer, mempool } = validator;
                producer.advance(environment, context, mempool);
            });
            self.handle_results();
            self.is_producers = false;
            assert!(
                self.fetches <= FETCHES_PER_HEAD * self.named,
                "for {} heads",
                self.named
            );
            let tried = self
                .host
                .component
                .producer
                .attempts()
                .saturating_sub(tried);
            self.pass(ATTEMPT * u32::try_from(tried).unwrap_or(0));
            if !self.host.is_due() {
                return;
            }
        }
        panic!(
            "the producer does not become idle: {:?}",
            self.host.component.producer
        );
    }

    fn input(&mut self, input: &Input) {
        self.host.input(input);
        self.handle_results();
    }

    fn pass(&mut self, duration: Duration) {
        self.host.pass(duration);
    }

    fn name(&mut self, id: AtomId, from: u8) {
        self.named += 1;
        self.first_peer.get_or_insert(self.host.instant());
        self.input(&Input::PeerHead {
            peer: peer(from),
            group: group(from),
            id,
            is_default_seed: false,
            is_seed: false,
        });
    }

    /// Runs the requested assembly.
    fn assemble(&mut self, looks: Option<u32>, room: Option<u64>) {
        let Some(job) = self.job.take() else {
            return;
        };
        let assembled = Arc::new(job.run(
            &self.host.store,
            &mut Scalar,
            &mut InterruptAfter(looks),
            room,
        ));
        judge::assembled(&job, &assembled, room);
        let assembly = assembled.outcome.as_ref();
        self.reached.transactions += assembly.map_or(0, |made| made.transactions.len());
        self.results.push(Arc::clone(&assembled));
        self.input(&Input::Assembled(assembled));
    }

    /// Ends the commit in progress.
    fn end_commit(&mut self, code: u8) {
        let Some(commit) = self.commits.pop_front() else {
            return;
        };
        let block = commit.block;
        let failed = |message: &str| Err(StoreFailure::Failed(message.into()));
        let outcome = match code % 8 {
            5 => {
                self.judge.give_up(&commit);
                Err(StoreFailure::NoRoom("the disk is full".into()))
            }
            6 => failed("nothing was written"),
            7 => {
                let Ok(()) = write_atoms(commit.atoms, &mut self.host.store);
                if code & 8 == 0 {
                    self.signed = commit.signed;
                }
                failed("not all was written")
            }
            _ => {
                let Ok(()) = write_atoms(commit.atoms.clone(), &mut self.host.store);
                self.signed = commit.signed;
                Ok(())
            }
        };
        self.input(&Input::Committed { block, outcome });
    }

    fn end_genesis(&mut self, is_stored: bool) {
        let Some((block, atoms)) = self.genesis.take() else {
            return;
        };
        let outcome = match is_stored {
            true => {
                let Ok(()) = write_atoms(atoms.clone(), &mut self.host.store);
                let Ok(()) = write_atoms(atoms, &mut self.network);
                self.blocks.push(block);
                self.judge.genesis = Some(block);
                Ok(())
            }
            false => Err(StoreFailure::NoRoom("the disk is full".into())),
        };
        self.input(&Input::BlockStored { block, outcome });
    }

    /// Makes a block of another node on a block of any branch.
    fn make_foreign(&mut self, validator: u8, a: u8, b: u8) -> Option<Block> {
        if self.foreign >= MAX_FOREIGN {
            return None;
        }
        self.foreign += 1;
        let back = usize::from(a) % 4;
        let parent = match b & 1 == 0 {
            true => self.host.context.head().map(Head::id),
            false => self.blocks.iter().rev().nth(back).copied(),
        };
        let parent = Block::read(&self.network, parent?).ok()?;
        let transactions = world().transactions.iter().skip(usize::from(b)).take(2);
        let transactions: Vec<&Transaction> = transactions.collect();
        // A gap of 1 raises the difficulty.
        let is_hard = parent.difficulty >= MAX_FOREIGN_DIFFICULTY;
        let gap = (1 + u64::from(b >> 5)).max(if is_hard { 3 } else { 1 });
        let (block, atoms) = extend(&mut self.network, &parent, validator, gap, &transactions);
        self.blocks.push(block.id());
        self.atoms.insert(block.id(), atoms);
        Some(block)
    }

    fn adopt(&mut self, id: AtomId, with_state: bool) {
        let Ok(block) = Block::read(&self.network, id) else {
            return;
        };
        let Ok(()) = write_atoms(block.to_atoms(), &mut self.host.store);
        if with_state && let Some(atoms) = self.atoms.get(&id) {
            let Ok(()) = write_atoms(atoms.clone(), &mut self.host.store);
        }
        if let Some(head) = Head::new(block, HeadState::Verified) {
            self.reached.foreign += 1;
            self.host.context.set_head(head);
        }
    }

    /// Adopts a block of the key from elsewhere as the head, which forbids signing for a while.
    fn adopt_own(&mut self, block: &Block) {
        let marks = self.host.component.producer.signed().blocks().iter();
        let newest = marks.map(|mark| mark.timestamp).max().unwrap_or(0);
        let is_newer = block.timestamp.to_u64() > Some(newest.max(self.judge.newest_foreign));
        let quiet_until = self.host.instant() + QUIET;
        self.adopt(block.id(), true);
        self.settle();
        if is_newer {
            self.judge.newest_foreign = block.timestamp.to_u64().unwrap_or(u64::MAX);
            let activity = self.host.component.producer.activity();
            assert!(matches!(activity, Activity::Halted(_)), "{activity:?}");
            self.quiet_until = Some(quiet_until);
        }
    }

    fn end_small(&mut self, id: AtomId, error: Option<FetchError>) {
        let limit = self.small.remove(&id).unwrap_or(PART);
        let input = match error {
            Some(error) => Input::FetchedSmall {
                id,
                outcome: Err(error),
            },
            None => self.host.fetch_small(&self.network, id, limit),
        };
        self.input(&input);
    }

    fn end_list(&mut self, id: AtomId, error: Option<FetchError>) {
        let limit = self.lists.remove(&id).unwrap_or(PART);
        let input = match error {
            Some(error) => Input::Fetched {
                id,
                outcome: Err(error),
                from: None,
            },
            None => self.host.fetch(&self.network, id, limit, usize::MAX, None),
        };
        self.input(&input);
    }

    /// Crashes, and restarts with the content of the disk. Any part of a commit in progress may
    /// have been written.
    fn restart(&mut self, code: u8) {
        for commit in core::mem::take(&mut self.commits) {
            self.reached.crashes += 1;
            if code & 1 == 0 {
                let Ok(()) = write_atoms(commit.atoms.clone(), &mut self.host.store);
                if code & 2 == 0 {
                    self.signed = commit.signed.clone();
                }
            }
        }
        self.judge.crash(&self.signed);
        self.host.component = validator(&self.config, &self.signed);
        let restored = self
            .host
            .component
            .mempool
            .restore(&self.host.files.mempool);
        assert!(restored.is_ok(), "{restored:?}");
        self.host.context = Context::new(self.host.files.head.clone());
        (self.job, self.genesis) = (None, None);
        self.results.clear();
        self.lists.clear();
        self.small.clear();
        (self.named, self.fetches) = (0, 0);
        (self.started, self.first_peer) = (self.host.instant(), None);
        self.quiet_until = None;
    }

    fn announce(&mut self, a: u8, b: u8) {
        let transactions = &world().transactions;
        let at = usize::from(a) % transactions.len();
        let Some(transaction) = transactions.get(at) else {
            return;
        };
        let is_own = b & 1 == 0;
        if is_own {
            let Ok(()) = write_atoms(transaction.to_atoms(), &mut self.host.store);
        }
        self.input(&Input::Transaction {
            peer: (!is_own).then(|| peer(b)),
            group: (!is_own).then(|| group(b)),
            id: transaction.id(),
        });
    }

    /// Lets time pass, with all requests answered, until `done`.
    fn drive(&mut self, time: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.host.instant() + time;
        while self.host.instant() < end && !done(self) {
            self.settle();
            self.assemble(None, None);
            if !self.holds_commits {
                self.end_commit(0);
            }
            self.end_genesis(true);
            let small: Vec<AtomId> = self.small.keys().copied().collect();
            let lists: Vec<AtomId> = self.lists.keys().copied().collect();
            small.into_iter().for_each(|id| self.end_small(id, None));
            lists.into_iter().for_each(|id| self.end_list(id, None));
            if let Activity::Waiting(Wait::Signed(Conflict::SameParent(mark))) =
                self.host.component.producer.activity()
            {
                // Sync verifies and follows the block of the other node.
                self.adopt(mark.block, true);
            }
            self.pass(Duration::from_millis(100));
        }
    }

    /// Removes all obstacles and checks that the producer makes a block.
    fn recover(&mut self) {
        self.host.context.set_behind(false);
        if self.host.context.head().is_none()
            && self.host.context.saved().is_none()
            && self.config.has_seeds
        {
            self.adopt_genesis();
        }
        // Sync loads the head of the last run.
        if let Some(saved) = self.host.context.saved().cloned()
            && let Ok(block) = Block::read(&self.host.store, saved.id)
            && let Some(head) = Head::new(block, saved.state)
        {
            self.host.context.set_head(head);
        }
        let head = self.host.context.head().map_or(0, Head::timestamp);
        let marks = self.host.component.producer.signed().blocks().iter();
        let newest = marks.map(|mark| mark.timestamp).chain([head]).max();
        // Skips the wait for blocks that another node with the key made with a future time.
        self.host.clock.unix = self
            .host
            .clock
            .unix
            .max(Duration::from_secs(newest.unwrap_or(0) + 1));
        if self.has_lost_block() {
            // The block was abandoned while the disk failed: only a restart can determine whether
            // it is recorded.
            self.restart(1);
        }
        let made = self.host.component.producer.status().blocks_made;
        self.drive_until_made(made);
        if self.has_lost_block() {
            // It is recorded but not stored, so that the key signs nothing else on its parent. The
            // chain goes on with a block of another validator.
            self.foreign = 0;
            if let Some(block) = self.make_foreign(OTHER, 0, 0) {
                self.adopt(block.id(), true);
            }
            self.drive_until_made(made);
        }
        let status = self.host.component.producer.status();
        assert!(
            status.blocks_made > made,
            "no block is produced: {status:?}"
        );
    }

    fn has_lost_block(&self) -> bool {
        let activity = self.host.component.producer.activity();
        matches!(activity, Activity::Waiting(Wait::LostBlock(_)))
    }

    /// Lets time pass until the producer has made more blocks than these, or finds that it lost
    /// one.
    fn drive_until_made(&mut self, made: u64) {
        // A key that was used elsewhere waits for the head of a peer.
        if let Some(head) = self.host.context.head().map(Head::id) {
            self.name(head, 0);
        }
        // It learns of the head that was set last.
        self.settle();
        self.drive(TIMEOUT, |node| {
            node.host.component.producer.status().blocks_made > made || node.has_lost_block()
        });
    }
}

/// Drives a producer with the inputs that the bytes encode.
pub fn run(data: &[u8]) {
    let _ = reached(data);
}

/// Does the same as [`run`], and returns its statistics.
///
/// # Panics
/// Panics if a promise is broken.
#[must_use]
pub fn reached(data: &[u8]) -> Reached {
    let mut input = Unstructured::new(data);
    let mut node = Node::new(input.arbitrary().unwrap_or(0));
    for operation in operations(&mut input, MAX_STEPS) {
        node.act(operation);
    }
    node.recover();
    node.reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn promises_hold_in_random_runs() {
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let steps = random.below(MAX_STEPS);
            run(&random.bytes(1 + 3 * steps));
        }
    }
}
