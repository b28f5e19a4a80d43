//! Validators in virtual time: stores in memory, a clock that mining moves on, and a network that
//! brings everything at once. What a follower does is done by the host: a longer chain is adopted.

use crate::atom::{Atom, AtomId, AtomSource, MemoryStore, collect_list};
use crate::chain::{
    Address, Block, Builder, Election, Genesis, RecordAtoms, Transaction, Unsigned, difficulty,
    has_work, validator_at,
};
use crate::consensus::producer::{Activity, Producer, ProducerConfig};
use crate::consensus::{
    Component, Context, Effect, Environment, Head, HeadState, Input, Now, SavedHead, Serial,
    SigningRecord, StoreFailure,
};
use crate::crypto::{PublicKey, SigningKey};
use crate::integer::Natural;
use crate::time::Instant;
use crate::trie::Scalar;
use crate::wire::engine::{FetchError, ListLimit};
use crate::wire::network_group::NetworkGroup;
use alloc::borrow::ToOwned;
use alloc::vec;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

/// What a nonce takes in virtual time: a second is about 170 of them, or seven bits.
pub(super) const ATTEMPT: Duration = Duration::from_millis(6);
/// When the tests begin.
pub(super) const BEGINNING: u64 = 1_800_000_000;

pub(super) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

pub(super) fn address(number: u8) -> Address {
    Address::from(key(number).verifying_key())
}

pub(super) fn config(number: u8) -> ProducerConfig {
    ProducerConfig {
        slice_attempts: 16,
        ..ProducerConfig::new(key(number))
    }
}

/// What survives a crash of a node, and what it is lent.
pub(super) struct Host {
    pub(super) machine: Producer<Scalar>,
    pub(super) context: Context,
    pub(super) store: MemoryStore,
    /// What the file of signed blocks holds.
    pub(super) file: SigningRecord,
    /// What the file of the head holds.
    pub(super) head_file: Option<SavedHead>,
    /// Heads that it named, in order.
    pub(super) named: Vec<Head>,
    pub(super) offered: Vec<AtomId>,
    /// Who was asked first for small lists, in order.
    pub(super) asked: Vec<Option<PublicKey>>,
    /// So many of its next fetches of small lists are not answered in time.
    pub(super) unanswered: u32,
    pub(super) is_validator: bool,
    /// Whether it takes part.
    pub(super) is_up: bool,
    /// Commits that fail before the next one succeeds.
    pub(super) failures: u32,
    attempts: u64,
}

pub(super) struct Net {
    pub(super) now: Duration,
    /// Nodes that are cut off from the others.
    pub(super) cut: Vec<usize>,
    pub(super) hosts: Vec<Host>,
}

impl Net {
    pub(super) fn new() -> Self {
        Self {
            now: Duration::from_secs(BEGINNING),
            cut: Vec::new(),
            hosts: Vec::new(),
        }
    }

    /// A chain in which each of `validators` has the same stake and `funded` a million.
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
        let mut host = Host::new(config, SigningRecord::default());
        if let Some(genesis) = genesis {
            let block = genesis.build(&mut Scalar, &mut host.store).unwrap();
            let head = Head::new(block, HeadState::Verified).unwrap();
            host.head_file = Some(head.saved(None));
            host.context.set_head(head);
        }
        self.hosts.push(host);
        self.hosts.len() - 1
    }

    /// Ends a node and starts it again with what its disk holds.
    pub(super) fn restart(&mut self, at: usize, config: ProducerConfig) {
        let old = &mut self.hosts[at];
        let mut host = Host::new(config, old.file.clone());
        host.store = core::mem::take(&mut old.store);
        host.file = old.file.clone();
        host.head_file = old.head_file.clone();
        if let Some(saved) = &host.head_file {
            // What a verifier does at its start.
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
        self.hosts[at].machine.activity()
    }

    /// The chain that ends at a node's head, genesis first.
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
        self.hosts[at].call(now, |machine, world, context| {
            machine.handle_input(world, context, &input);
        });
        self.carry_out(at);
    }

    /// Runs until `done` or the time is over; whether it was done.
    pub(super) fn run_until(&mut self, seconds: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            if done(self) {
                return true;
            }
            let mut is_busy = false;
            for at in 0..self.hosts.len() {
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

    /// Lets a node do what is due; whether there was anything.
    fn turn(&mut self, at: usize) -> bool {
        let host = &mut self.hosts[at];
        let instant = instant(self.now);
        let is_due = host
            .machine
            .poll_timeout()
            .is_some_and(|due| due <= instant);
        let is_new = host.machine.head.as_ref().map(Head::id) != host.context.head().map(Head::id)
            || host.attempts == u64::MAX;
        if !host.is_up || !(is_due || is_new) {
            return false;
        }
        host.attempts = host.machine.attempts();
        let before = host.attempts;
        host.call(self.now, Component::advance);
        let tried = host.machine.attempts().saturating_sub(before);
        self.now += ATTEMPT * u32::try_from(tried).unwrap();
        self.carry_out(at);
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
                    if host.failures > 0 {
                        host.failures -= 1;
                        let outcome = Err(StoreFailure::NoRoom("the disk is full".to_owned()));
                        self.input(at, Input::Committed(outcome));
                        continue;
                    }
                    host.keep(commit.atoms);
                    host.file = commit.signed;
                    self.input(at, Input::Committed(Ok(())));
                }
                Effect::SetHead { head, saved } => {
                    host.head_file = Some(saved);
                    if host.named.last().map(Head::id) != Some(head.id()) {
                        host.named.push(head.clone());
                        self.tell(at, &head);
                    }
                }
                Effect::SetValidator(is_validator) => host.is_validator = is_validator,
                Effect::SaveDecisions(_) => {}
                Effect::Advertise { id, .. } => host.offered.push(id),
                Effect::Fetch { id, .. } => {
                    let outcome = self.fetch(at, id, ListLimit::MAX);
                    let from = None;
                    self.input(at, Input::Fetched { id, outcome, from });
                }
                Effect::FetchSmall { id, limit, from } => {
                    let host = &mut self.hosts[at];
                    host.asked.push(from);
                    let outcome = match host.unanswered.checked_sub(1) {
                        Some(rest) => {
                            host.unanswered = rest;
                            Err(FetchError::Timeout)
                        }
                        None => self.fetch(at, id, limit).map(|_| ()),
                    };
                    self.input(at, Input::FetchedSmall { id, outcome });
                }
            }
        }
    }

    fn fetch(&mut self, at: usize, id: AtomId, limit: ListLimit) -> Result<Vec<Atom>, FetchError> {
        let others = self.hosts.iter().enumerate();
        let cut = &self.cut;
        let is_cut = |other: usize| cut.contains(&at) != cut.contains(&other);
        let found = others
            .filter(|(other, host)| *other != at && host.is_up && !is_cut(*other))
            .find_map(|(_, host)| collect_list(&host.store, id, 1 << 20).ok());
        let atoms = found.ok_or(FetchError::NotFound)?;
        let bytes: usize = atoms.iter().map(Atom::stored_len).sum();
        if atoms.len() > limit.atoms || bytes > limit.bytes {
            return Err(FetchError::TooLarge);
        }
        self.hosts[at].store.extend(atoms.clone());
        Ok(atoms)
    }

    /// Every other node that is up learns of a head, has its atoms, and follows the longer chain.
    pub(super) fn tell(&mut self, from: usize, head: &Head) {
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
    fn new(config: ProducerConfig, signed: SigningRecord) -> Self {
        Self {
            machine: Producer::new(config, signed, Scalar),
            context: Context::new(None),
            store: MemoryStore::new(),
            file: SigningRecord::default(),
            head_file: None,
            named: Vec::new(),
            offered: Vec::new(),
            asked: Vec::new(),
            unanswered: 0,
            is_validator: false,
            is_up: true,
            failures: 0,
            attempts: u64::MAX,
        }
    }

    fn call(
        &mut self,
        now: Duration,
        act: impl FnOnce(&mut Producer<Scalar>, &Environment<'_>, &mut Context),
    ) {
        let world = Environment {
            now: Now {
                instant: instant(now),
                unix: now,
            },
            atoms: &self.store,
            parallel: &Serial,
        };
        act(&mut self.machine, &world, &mut self.context);
    }

    fn keep(&mut self, atoms: RecordAtoms) {
        for (id, atom) in &atoms {
            assert_eq!(atom.id(), *id);
        }
        self.store.extend(atoms.into_iter().map(|(_, atom)| atom));
    }
}

fn instant(now: Duration) -> Instant {
    Instant::ZERO + now.saturating_sub(Duration::from_secs(BEGINNING - 100))
}

/// A transfer that `from` signs.
pub(super) fn transfer(from: u8, to: u8, amount: u64, counter: u64) -> Transaction {
    Unsigned {
        chain_id: Natural::ZERO,
        amount: amount.into(),
        counter: counter.into(),
        data: Vec::new().as_slice().into(),
        recipient: address(to),
    }
    .sign(&key(from))
}

/// Checks everything about a block that its parent and the store can tell; gives its transactions.
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
