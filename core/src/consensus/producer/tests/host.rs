//! Validators in virtual time: stores in memory, a clock that mining advances, and a network that
//! delivers everything at once. The host also does a follower's work: it adopts a longer chain.

use super::signer::TestSigner;
use crate::arc::Arc;
use crate::atom::{Atom, AtomId, AtomSource, MemoryStore, collect_list};
use crate::chain::{
    Address, Block, Builder, Election, Genesis, RecordAtoms, Transaction, difficulty, has_work,
    validator_at,
};
use crate::consensus::mempool::{Mempool, MempoolConfig, Outcome, PoolLimits, Refusal, Save};
use crate::consensus::producer::{
    Activity, AssemblyBudget, Producer, ProducerConfig, UnsignedBlock,
};
use crate::consensus::{
    Commit, Component, Context, Effect, Environment, Event, Head, HeadState, Input, Now, SavedHead,
    Serial, SigningRecord, StoreFailure,
};
use crate::crypto::PublicKey;
use crate::engine::{Extent, FetchError, FetchRequest, ListLimit, Recipient};
use crate::integer::Natural;
use crate::testkit::{InterruptAfter, transaction};
use crate::time::Instant;
use crate::trie::Scalar;
use crate::wire::network_group::NetworkGroup;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

pub(super) use crate::testkit::{BEGINNING, address, key};

/// Virtual time of one nonce: a second is about 170 of them, or seven bits.
pub(super) const ATTEMPT: Duration = Duration::from_millis(6);
/// Maximum number of pieces of work of a mempool in a step of 20 ms, beyond those due at its start.
const MEMPOOL_TURNS: usize = 32;
/// Time until a peer that does not answer times out.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
pub(super) fn config(number: u8) -> ProducerConfig {
    ProducerConfig {
        slice_attempts: 16,
        ..ProducerConfig::new(key(number))
    }
}

pub(super) fn mempool_config() -> MempoolConfig {
    MempoolConfig {
        is_validator: true,
        ..MempoolConfig::default()
    }
}

pub(super) fn limits(limits: PoolLimits) -> MempoolConfig {
    MempoolConfig {
        limits,
        ..mempool_config()
    }
}

/// State of a node that survives a crash, and its environment.
pub(super) struct Host {
    pub(super) producer: Producer<Scalar>,
    pub(super) mempool: Mempool,
    pub(super) context: Context,
    pub(super) store: MemoryStore,
    /// Contents of the file of signed blocks.
    pub(super) file: SigningRecord,
    /// Contents of the file of the head.
    pub(super) head_file: Option<SavedHead>,
    /// Heads that it announced, in order.
    pub(super) announced_heads: Vec<Head>,
    pub(super) offered: Vec<AtomId>,
    /// Peers that were asked first for small lists, in order.
    pub(super) asked: Vec<Option<PublicKey>>,
    /// Peers that never answer.
    pub(super) silent: BTreeSet<PublicKey>,
    /// Parts of lists that it fetched, and whether there is room for them.
    pub(super) parts: usize,
    pub(super) keeps_parts: bool,
    /// Answers under way, and their duration.
    pub(super) coming: Vec<(Duration, Input)>,
    pub(super) latency: Duration,
    /// Number of its next fetches of small lists that time out.
    pub(super) unanswered: u32,
    pub(super) is_validator: bool,
    /// `true` if it runs.
    pub(super) is_up: bool,
    /// `true` if commits do not end; and those that have not.
    pub(super) holds_commits: bool,
    pub(super) held_commits: Vec<Commit>,
    /// Number of commits that fail before the next one succeeds.
    pub(super) failures: u32,
    /// Remaining storage, if limited. Passed to assembly only with [`Host::is_room_known`].
    pub(super) room: Option<u64>,
    /// `true` if assembly knows the remaining storage.
    pub(super) is_room_known: bool,
    /// Virtual time of an assembly.
    pub(super) assembly_time: Duration,
    /// Number of checks before an assembly is interrupted.
    pub(super) interrupt_after: Option<u32>,
    /// Jobs that are not answered.
    pub(super) lost_jobs: u32,
    /// Numbers and budgets of all jobs, and when they were given out.
    pub(super) budgets: Vec<(Instant, u64, AssemblyBudget)>,
    /// Transactions that it announced, and to which peers.
    pub(super) announced: Vec<(AtomId, Recipient)>,
    /// Number of validators that its announcements reach.
    pub(super) validators: usize,
    /// Contents of the mempool file.
    pub(super) mempool_file: Vec<u8>,
    pub(super) events: Vec<Event>,
    /// Offset of its wall clock, ahead or behind.
    pub(super) ahead: Duration,
    pub(super) behind: Duration,
    /// Signer of its key, if a signer has it; survives a restart.
    pub(super) signer: Option<TestSigner>,
    /// Contents of the file of the last signing request.
    pub(super) requested: Option<UnsignedBlock>,
    attempts: u64,
}

pub(super) struct Net {
    /// Atoms of peers that are not hosts here.
    pub(super) elsewhere: MemoryStore,
    pub(super) now: Duration,
    /// Nodes that are cut off from the others.
    pub(super) cut: Vec<usize>,
    pub(super) hosts: Vec<Host>,
}

impl Net {
    pub(super) fn new() -> Self {
        Self {
            elsewhere: MemoryStore::new(),
            now: Duration::from_secs(BEGINNING),
            cut: Vec::new(),
            hosts: Vec::new(),
        }
    }

    /// Creates a chain in which each of `validators` has the same stake and `funded` a million.
    pub(super) fn with_chain(validators: &[u8], funded: &[u8]) -> (Self, Genesis) {
        let begin = Natural::from(BEGINNING);
        let mut genesis = Genesis::new(address(validators[0]), Natural::ZERO, begin);
        genesis.stakes = validators
            .iter()
            .map(|number| (address(*number), Natural::from(1_000_u64)))
            .collect();
        for number in funded {
            let balance = Natural::from(1_000_000_u64);
            genesis.balances.insert(address(*number), balance);
        }
        (Self::new(), genesis)
    }

    pub(super) fn add(&mut self, config: ProducerConfig, genesis: Option<&Genesis>) -> usize {
        let mempool = MempoolConfig {
            reference_followers: config.reference_followers,
            ..mempool_config()
        };
        self.add_with(config, mempool, genesis)
    }

    pub(super) fn add_with(
        &mut self,
        config: ProducerConfig,
        mempool: MempoolConfig,
        genesis: Option<&Genesis>,
    ) -> usize {
        let mut host = Host::new(config, mempool, SigningRecord::default());
        if let Some(genesis) = genesis {
            let block = genesis.build(&mut Scalar, &mut host.store).unwrap();
            let head = Head::new(block, HeadState::Verified).unwrap();
            host.head_file = Some(head.saved(None));
            host.context.set_head(head);
        }
        self.hosts.push(host);
        self.hosts.len() - 1
    }

    /// Ends a node and starts it again with the contents of its disk.
    pub(super) fn restart(&mut self, at: usize, config: ProducerConfig) {
        let old = &mut self.hosts[at];
        let mut host = Host::new(config, mempool_config(), old.file.clone());
        host.mempool_file = core::mem::take(&mut old.mempool_file);
        host.mempool.restore(&host.mempool_file).unwrap();
        host.store = core::mem::take(&mut old.store);
        host.file = old.file.clone();
        host.head_file = old.head_file.clone();
        host.signer = old.signer.take();
        host.requested = old.requested.clone();
        let producer = Producer::new(host.producer.config.clone(), host.file.clone(), Scalar);
        host.producer = producer.with_requested(host.requested.clone());
        if let Some(saved) = &host.head_file {
            // Work of sync at its start.
            let block = Block::read(&host.store, saved.id).unwrap();
            let head = Head::new(block, saved.state).unwrap();
            host.context.set_head(head);
        }
        self.hosts[at] = host;
    }

    pub(super) fn head(&self, at: usize) -> Head {
        self.hosts[at].context.head().cloned().unwrap()
    }

    pub(super) fn activity(&self, at: usize) -> Activity {
        self.hosts[at].producer.activity()
    }

    /// Returns the chain that ends at a node's head, genesis first.
    pub(super) fn chain(&self, at: usize) -> Vec<Block> {
        let store = &self.hosts[at].store;
        let mut chain = vec![Block::clone(self.head(at).block())];
        while let Some(previous) = chain.last().filter(|block| !block.is_genesis()) {
            chain.push(Block::read(store, previous.previous).unwrap());
        }
        chain.reverse();
        chain
    }

    pub(super) fn input(&mut self, at: usize, input: Input) {
        let now = self.now;
        self.hosts[at].call(now, |host, world, context| {
            host.mempool.handle_input(world, context, &input);
            host.producer
                .handle_input(world, context, &mut host.mempool, &input);
        });
        self.carry_out(at);
    }

    /// Runs until `done` or the time is over; returns whether it was done.
    pub(super) fn run_until(&mut self, seconds: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            if done(self) {
                return true;
            }
            let mut is_busy = false;
            for at in 0..self.hosts.len() {
                self.deliver(at);
                is_busy |= self.turn(at);
            }
            if !is_busy {
                self.now += Duration::from_millis(20);
            }
        }
        done(self)
    }

    pub(super) fn run(&mut self, seconds: u64) {
        self.run_until(seconds, |_| false);
    }

    /// Does a node's due work; returns whether there was any.
    fn turn(&mut self, at: usize) -> bool {
        let host = &mut self.hosts[at];
        let instant = instant(self.now);
        let due = [host.producer.poll_timeout(), host.mempool.poll_timeout()];
        let is_due = due.into_iter().flatten().any(|due| due <= instant);
        let is_new = host.producer.head.as_ref().map(Head::id) != host.context.head().map(Head::id)
            || host.attempts == u64::MAX;
        if !host.is_up || !(is_due || is_new) {
            return false;
        }
        host.attempts = host.producer.attempts();
        let before = host.attempts;
        host.call(self.now, |host, world, context| {
            host.mempool.advance(world, context);
            host.producer.advance(world, context, &mut host.mempool);
        });
        let tried = host.producer.attempts().saturating_sub(before);
        self.now += ATTEMPT * u32::try_from(tried).unwrap();
        self.carry_out(at);
        // A thread does more than one piece of work in the time of a step.
        for _ in 0..MEMPOOL_TURNS {
            let due = self.hosts[at].mempool.poll_timeout();
            if due.is_none_or(|due| due > instant) {
                break;
            }
            self.hosts[at].call(self.now, |host, world, context| {
                host.mempool.advance(world, context);
            });
            self.carry_out(at);
        }
        tried > 0
    }

    fn carry_out(&mut self, at: usize) {
        while let Some(action) = self.hosts[at].context.poll_effect() {
            let host = &mut self.hosts[at];
            match action {
                Effect::Store(atoms) => host.keep(atoms),
                Effect::StoreBlock { block, atoms } => {
                    host.keep(atoms);
                    let outcome = Ok(());
                    self.input(at, Input::BlockStored { block, outcome });
                }
                Effect::Commit(commit) => {
                    let block = commit.block;
                    if host.holds_commits {
                        host.held_commits.push(*commit);
                        continue;
                    }
                    if host.failures > 0 {
                        host.failures -= 1;
                        let outcome = Err(StoreFailure::Failed("the disk fails".to_owned()));
                        self.input(at, Input::Committed { block, outcome });
                        continue;
                    }
                    let bytes = crate::consensus::producer::growth::stored_growth(&commit.atoms);
                    match host.room {
                        Some(room) if bytes > room => {
                            let outcome = Err(StoreFailure::NoRoom("the disk is full".to_owned()));
                            self.input(at, Input::Committed { block, outcome });
                            continue;
                        }
                        Some(room) => host.room = Some(room - bytes),
                        None => {}
                    }
                    host.keep(commit.atoms);
                    host.file = commit.signed;
                    let outcome = Ok(());
                    self.input(at, Input::Committed { block, outcome });
                }
                Effect::SetHead { head, saved } => {
                    host.head_file = Some(saved);
                    if host.announced_heads.last().map(Head::id) != Some(head.id()) {
                        host.announced_heads.push(head.clone());
                        self.announce(at, &head);
                    }
                }
                Effect::Assemble(job) => {
                    let now = instant(self.now);
                    host.budgets.push((now, job.number, job.budget));
                    if host.lost_jobs > 0 {
                        host.lost_jobs -= 1;
                        continue;
                    }
                    let room = host.room.filter(|_| host.is_room_known);
                    let mut interrupt_after = InterruptAfter(host.interrupt_after);
                    let assembled = job.run(&host.store, &mut Scalar, &mut interrupt_after, room);
                    self.now += self.hosts[at].assembly_time;
                    self.input(at, Input::Assembled(Arc::new(assembled)));
                }
                Effect::CancelAssembly | Effect::CancelSigning => {}
                Effect::Sign(job) => self.sign(at, *job),
                Effect::Keep(atoms) => host.keep(atoms),
                Effect::Announce { transaction, to } => {
                    host.announced.push((transaction, to));
                    let validators = host.validators;
                    if to == Recipient::Validators {
                        self.input(
                            at,
                            Input::Announced {
                                transaction,
                                validators,
                            },
                        );
                    }
                }
                Effect::SaveMempool(Save::Append { bytes, .. }) => {
                    if host.mempool_file.is_empty() {
                        host.mempool_file
                            .extend(crate::consensus::mempool::saved::MAGIC);
                    }
                    host.mempool_file.extend(bytes);
                }
                Effect::SaveMempool(Save::Replace(bytes)) => host.mempool_file = bytes,
                Effect::SetValidator(is_validator) => host.is_validator = is_validator,
                Effect::SaveDecisions(_) | Effect::Stream(_) | Effect::CancelStream(_) => {}
                Effect::Advertise { id, .. } => host.offered.push(id),
                Effect::Fetch(FetchRequest {
                    id,
                    extent: Extent::Beginning(limit),
                    from,
                    ..
                }) => {
                    let outcome = self.fetch_part(at, id, limit);
                    let is_silent = from.is_some_and(|from| self.hosts[at].silent.contains(&from));
                    let outcome = match outcome {
                        Err(FetchError::NotFound) if is_silent => Err(FetchError::Timeout),
                        outcome => outcome,
                    };
                    self.answer(at, Input::Fetched { id, outcome, from });
                }
                Effect::Fetch(FetchRequest {
                    id,
                    extent: Extent::Whole(limit),
                    from,
                    ..
                }) => {
                    let host = &mut self.hosts[at];
                    host.asked.push(from);
                    let outcome = match host.unanswered.checked_sub(1) {
                        Some(rest) => {
                            host.unanswered = rest;
                            Err(FetchError::Timeout)
                        }
                        None => self.fetch(at, id, limit).map(|_| ()),
                    };
                    let host = &self.hosts[at];
                    let is_silent = from.is_some_and(|from| host.silent.contains(&from));
                    let outcome = match outcome {
                        Err(FetchError::NotFound) if is_silent => Err(FetchError::Timeout),
                        outcome => outcome,
                    };
                    self.answer(at, Input::FetchedSmall { id, outcome });
                }
            }
        }
    }

    /// Delivers an answer when it arrives.
    fn answer(&mut self, at: usize, input: Input) {
        let host = &mut self.hosts[at];
        let is_silent = matches!(
            &input,
            Input::Fetched {
                outcome: Err(FetchError::Timeout),
                ..
            } | Input::FetchedSmall {
                outcome: Err(FetchError::Timeout),
                ..
            }
        );
        let delay = match is_silent && !host.silent.is_empty() {
            true => FETCH_TIMEOUT,
            false => host.latency,
        };
        if delay.is_zero() {
            self.input(at, input);
        } else {
            host.coming.push((self.now + delay, input));
        }
    }

    fn deliver(&mut self, at: usize) {
        let now = self.now;
        let coming = core::mem::take(&mut self.hosts[at].coming);
        let (due, later) = coming.into_iter().partition(|(due, _)| *due <= now);
        self.hosts[at].coming = later;
        let due: Vec<(Duration, Input)> = due;
        for (_, input) in due {
            self.input(at, input);
        }
    }

    /// Returns the beginning of a list.
    fn fetch_part(
        &mut self,
        at: usize,
        id: AtomId,
        limit: ListLimit,
    ) -> Result<Vec<Atom>, FetchError> {
        let others = self.hosts.iter().enumerate();
        let others = others.filter(|(other, host)| *other != at && host.is_up);
        let others = others.map(|(_, host)| &host.store);
        let found = others
            .chain([&self.elsewhere])
            .find(|store| store.atom(&id).is_ok());
        let store = found.ok_or(FetchError::NotFound)?;
        let (mut atoms, mut bytes, mut next) = (Vec::new(), 0, id);
        while !next.is_zero()
            && atoms.len() < limit.atoms
            && let Ok(atom) = store.atom(&next)
        {
            bytes += atom.stored_len();
            if bytes > limit.bytes && !atoms.is_empty() {
                break;
            }
            next = atom.next();
            atoms.push(atom);
        }
        self.hosts[at].parts += 1;
        if self.hosts[at].keeps_parts {
            self.hosts[at].store.extend(atoms.clone());
        }
        Ok(atoms)
    }

    fn fetch(&mut self, at: usize, id: AtomId, limit: ListLimit) -> Result<Vec<Atom>, FetchError> {
        let others = self.hosts.iter().enumerate();
        let cut = &self.cut;
        let is_cut = |other: usize| cut.contains(&at) != cut.contains(&other);
        let others = others.filter(|(other, host)| *other != at && host.is_up && !is_cut(*other));
        let others = others.map(|(_, host)| &host.store);
        let found = others
            .chain([&self.elsewhere])
            .find_map(|store| collect_list(store, id, 1 << 20).ok());
        let atoms = found.ok_or(FetchError::NotFound)?;
        let bytes: usize = atoms.iter().map(Atom::stored_len).sum();
        if atoms.len() > limit.atoms || bytes > limit.bytes {
            return Err(FetchError::TooLarge);
        }
        self.hosts[at].store.extend(atoms.clone());
        Ok(atoms)
    }

    /// Announces a head to every other running node, which receives its atoms and follows the
    /// longer chain.
    pub(super) fn announce(&mut self, from: usize, head: &Head) {
        if self.hosts.len() == 1 {
            return;
        }
        let atoms: Vec<Atom> = self.hosts[from]
            .store
            .iter()
            .map(|(_, atom)| atom.clone())
            .collect();
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            let is_cut = self.cut.contains(&at) != self.cut.contains(&from);
            if at == from || !host.is_up || !self.hosts[from].is_up || is_cut {
                continue;
            }
            let host = &mut self.hosts[at];
            host.store.extend(atoms.clone());
            let is_longer = host
                .context
                .head()
                .is_none_or(|own| own.height() < head.height());
            if is_longer {
                let head = Head::new(head.block().clone(), HeadState::Verified).unwrap();
                host.context.set_head(head);
            }
            self.input(
                at,
                Input::PeerHead {
                    peer: PublicKey::new([u8::try_from(from).unwrap(); 32]),
                    group: NetworkGroup::of([10, 0, 0, u8::try_from(from).unwrap()].into()),
                    id: head.id(),
                    is_default_seed: false,
                    is_seed: false,
                },
            );
        }
    }
}

impl Host {
    fn new(config: ProducerConfig, mempool: MempoolConfig, signed: SigningRecord) -> Self {
        Self {
            producer: Producer::new(config, signed, Scalar),
            mempool: Mempool::new(mempool),
            context: Context::new(None),
            store: MemoryStore::new(),
            file: SigningRecord::default(),
            head_file: None,
            announced_heads: Vec::new(),
            offered: Vec::new(),
            asked: Vec::new(),
            silent: BTreeSet::new(),
            parts: 0,
            keeps_parts: true,
            coming: Vec::new(),
            latency: Duration::ZERO,
            unanswered: 0,
            is_validator: false,
            is_up: true,
            holds_commits: false,
            held_commits: Vec::new(),
            failures: 0,
            room: None,
            is_room_known: false,
            assembly_time: Duration::ZERO,
            interrupt_after: None,
            lost_jobs: 0,
            budgets: Vec::new(),
            announced: Vec::new(),
            validators: 0,
            mempool_file: Vec::new(),
            events: Vec::new(),
            ahead: Duration::ZERO,
            behind: Duration::ZERO,
            signer: None,
            requested: None,
            attempts: u64::MAX,
        }
    }

    pub(super) fn call(
        &mut self,
        now: Duration,
        act: impl FnOnce(&mut Self, &Environment<'_>, &mut Context),
    ) {
        let (store, mut context) = (
            core::mem::take(&mut self.store),
            core::mem::take(&mut self.context),
        );
        let world = Environment {
            now: Now {
                instant: instant(now),
                unix: (now + self.ahead).saturating_sub(self.behind),
            },
            atoms: &store,
            parallel: &Serial,
        };
        act(self, &world, &mut context);
        (self.store, self.context) = (store, context);
        while let Some(event) = self.context.poll_event() {
            self.events.push(event);
        }
    }

    /// Returns the last transaction that was refused, and the reason.
    pub(super) fn last_refusal(&self) -> Option<(AtomId, Refusal)> {
        match self.mempool.latest_outcome()? {
            (id, Outcome::Refused(refusal)) => Some((id, refusal)),
            _ => None,
        }
    }

    pub(super) fn keep(&mut self, atoms: RecordAtoms) {
        for (id, atom) in &atoms {
            assert_eq!(atom.id(), *id);
        }
        self.store.extend(atoms.into_iter().map(|(_, atom)| atom));
    }
}

pub(super) fn instant(now: Duration) -> Instant {
    Instant::ZERO + now.saturating_sub(Duration::from_secs(BEGINNING - 100))
}

/// Returns a transfer signed by `from`.
pub(super) fn transfer(from: u8, to: u8, amount: u64, counter: u64) -> Transaction {
    transaction(from, address(to), amount, counter, &[])
}

/// Checks everything about a block that follows from its parent and the store; returns its
/// transactions.
pub(super) fn verify(
    store: &(impl AtomSource<Error = Infallible> + Sync),
    parent: &Block,
    block: &Block,
    claimant: Option<Address>,
) -> Vec<AtomId> {
    block.verify_signature().unwrap();
    assert!(has_work(&block.id(), &parent.difficulty));
    assert_eq!(
        block.difficulty,
        difficulty(&parent.timestamp, &block.timestamp, &parent.difficulty)
    );
    assert!(block.timestamp > parent.timestamp);
    let Election { seeds, stakes } = Election::read(store, parent).unwrap();
    let seed = seeds.next_slot_seed();
    let scheduled = validator_at(&stakes, seed, &parent.timestamp, &block.timestamp);
    assert_eq!(scheduled.unwrap(), block.validator);
    let list = collect_list(store, block.transactions, 65_536).unwrap();
    let ids: Vec<AtomId> = list
        .iter()
        .map(|atom| AtomId::from_slice(atom.data()).unwrap())
        .collect();
    let mut builder = Builder::new(store, parent, &stakes);
    for id in &ids {
        let transaction = Transaction::read(store, *id).unwrap();
        transaction.verify_signature().unwrap();
        builder.apply(&transaction).unwrap().unwrap();
    }
    let body = builder.finish(&mut Scalar, claimant).unwrap();
    let header = body.header(
        parent,
        block.validator,
        block.timestamp.clone(),
        block.difficulty.clone(),
    );
    let expected = crate::chain::Header {
        nonce: block.nonce.clone(),
        ..header
    };
    assert_eq!(block.header(), &expected);
    for (id, _) in body.atoms {
        assert!(store.atom(&id).is_ok(), "everything is stored");
    }
    ids
}
