//! Ten minutes of two validators and a follower, in virtual time. Each node is the whole state
//! machine of the chain, with a store in memory. This file contains its environment: a clock that
//! only mining and the network advance, links that can be cut, and nodes that stop and restart from
//! the content that their disk would have.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure fails the test"
)]

use astreum_core::atom::{Atom, AtomId, MemoryStore, collect_list};
use astreum_core::chain::{
    Account, Address, Block, Genesis, Transaction, Unsigned, read_ids, write_atoms,
};
use astreum_core::consensus::producer::NoInterrupt;
use astreum_core::crypto::{PublicKey, SigningKey};
use astreum_core::engine::{Extent, FetchError, FetchRequest};
use astreum_core::integer::Natural;
use astreum_core::time::Instant;
use astreum_core::trie::{self, Scalar};
use astreum_core::wire::network_group::NetworkGroup;
use astreum_node::chain_service::producer::{Activity, Producer, ProducerConfig};
use astreum_node::chain_service::{
    Chain, Effect, Environment, Head, HeadState, Input, Now, SavedHead, Serial, SigningRecord,
    SyncConfig,
};
use astreum_node::simd::Lanes;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Time at which the chain begins.
const BEGINNING: u64 = 1_800_000_000;
/// Duration of a nonce attempt.
const ATTEMPT: Duration = Duration::from_millis(6);
/// Number of nonces that are tried in one call.
const SLICE: u64 = 16;
/// Latency of a message.
const LATENCY: Duration = Duration::from_millis(15);
/// The first validator, the second, and a follower.
const NODES: [usize; 3] = [0, 1, 2];
const FOLLOWER: usize = 2;
/// Key numbers of the payer and of the payee.
const PAYER: u8 = 11;
const PAID: u8 = 12;

fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

fn address(number: u8) -> Address {
    Address::from(key(number).verifying_key())
}

/// Returns the number of the key that a validator signs with.
fn signer(at: usize) -> u8 {
    u8::try_from(at).unwrap() + 1
}

fn peer(at: usize) -> PublicKey {
    PublicKey::new([signer(at); 32])
}

/// Returns a transfer that is unique to its number.
fn transfer(number: u64) -> Transaction {
    let unsigned = Unsigned {
        chain_id: Natural::ZERO,
        amount: Natural::ONE,
        counter: number.into(),
        data: [].as_slice().into(),
        recipient: address(PAID),
    };
    unsigned.sign(&key(PAYER))
}

struct Node {
    chain: Chain,
    is_up: bool,
    /// True if an event has occurred since it last did its work.
    is_stirred: bool,
    // Content of a disk.
    store: MemoryStore,
    signed: SigningRecord,
    saved: Option<SavedHead>,
    /// Blocks of its own, in the order in which it announced them.
    own: Vec<Head>,
}

/// Message in transit.
enum Event {
    Head { from: usize, to: usize, id: AtomId },
    Fetch { at: usize, request: FetchRequest },
}

struct Net {
    now: Duration,
    nodes: Vec<Node>,
    /// Events by the time at which they arrive, and by the order in which they were sent.
    events: BTreeMap<(Duration, u64), Event>,
    sent: u64,
    /// True while the first validator is cut off from the others.
    is_cut: bool,
    genesis: AtomId,
}

impl Net {
    fn new() -> Self {
        let mut genesis = Genesis::new(address(1), Natural::ZERO, BEGINNING.into());
        for at in [0, 1] {
            let validator = address(signer(at));
            genesis.stakes.insert(validator, 1_000_u64.into());
        }
        genesis
            .balances
            .insert(address(PAYER), 1_000_000_000_u64.into());
        let mut store = MemoryStore::new();
        let block = genesis.build(&mut Scalar, &mut store).unwrap();
        write_atoms(block.to_atoms(), &mut store).unwrap();
        let id = block.id();
        let head = Head::new(block, HeadState::Own).unwrap();
        let mut net = Self {
            now: Duration::from_secs(BEGINNING),
            nodes: Vec::new(),
            events: BTreeMap::new(),
            sent: 0,
            is_cut: false,
            genesis: id,
        };
        for at in NODES {
            // The follower has no blocks; it learns of the chain from others.
            let is_validator = at != FOLLOWER;
            let saved = is_validator.then(|| head.saved(Some(id)));
            net.nodes.push(Node {
                chain: Self::chain_of(at, saved.clone(), SigningRecord::default()),
                is_up: true,
                is_stirred: true,
                store: if is_validator {
                    store.clone()
                } else {
                    MemoryStore::new()
                },
                signed: SigningRecord::default(),
                saved,
                own: Vec::new(),
            });
        }
        net
    }

    fn chain_of(at: usize, saved: Option<SavedHead>, signed: SigningRecord) -> Chain {
        let chain = Chain::new(SyncConfig::default(), saved);
        if at == FOLLOWER {
            return chain;
        }
        let config = ProducerConfig {
            has_seeds: true,
            slice_attempts: SLICE,
            ..ProducerConfig::new(key(signer(at)))
        };
        chain.with_producer(Producer::new(config, signed, Lanes::new()))
    }

    fn instant(&self) -> Instant {
        Instant::ZERO + (self.now - Duration::from_secs(BEGINNING - 100))
    }

    fn are_linked(&self, one: usize, other: usize) -> bool {
        let is_cut = self.is_cut && (one == 0) != (other == 0);
        one != other && self.nodes[one].is_up && self.nodes[other].is_up && !is_cut
    }

    fn send(&mut self, event: Event) {
        self.sent += 1;
        self.events.insert((self.now + LATENCY, self.sent), event);
    }

    fn call(&mut self, at: usize, act: impl FnOnce(&mut Chain, &Environment<'_>)) {
        let now = Now {
            instant: self.instant(),
            unix: self.now,
        };
        let node = &mut self.nodes[at];
        let world = Environment {
            now,
            atoms: &node.store,
            parallel: &Serial,
        };
        act(&mut node.chain, &world);
        while let Some(action) = self.nodes[at].chain.poll_effect() {
            self.carry_out(at, action);
        }
    }

    fn input(&mut self, at: usize, input: &Input) {
        self.nodes[at].is_stirred = true;
        self.call(at, |chain, world| chain.handle_input(world, input));
    }

    fn carry_out(&mut self, at: usize, action: Effect) {
        let node = &mut self.nodes[at];
        match action {
            Effect::Store(atoms) => write_atoms(atoms, &mut node.store).unwrap(),
            Effect::StoreBlock { block, atoms } => {
                write_atoms(atoms, &mut node.store).unwrap();
                let outcome = Ok(());
                self.input(at, &Input::BlockStored { block, outcome });
            }
            Effect::Commit(commit) => {
                write_atoms(commit.atoms, &mut node.store).unwrap();
                node.signed = commit.signed;
                let (block, outcome) = (commit.block, Ok(()));
                self.input(at, &Input::Committed { block, outcome });
            }
            Effect::SetHead { head, saved } => {
                node.is_stirred = true;
                node.saved = Some(saved);
                let id = head.id();
                // After a start it announces the last one again.
                let is_named = node.own.iter().any(|own| own.id() == id);
                if head.state() == HeadState::Own && id != self.genesis && !is_named {
                    node.own.push(head);
                }
                for to in NODES {
                    self.send(Event::Head { from: at, to, id });
                }
            }
            Effect::Fetch(request) => {
                let store = &self.nodes[at].store;
                if let Extent::Beginning(_) = request.extent {
                    let id = request.id;
                    let is_here = collect_list(store, id, 1 << 20).is_ok();
                    assert!(!is_here, "node {at} requested {id} before it had stored it");
                }
                self.send(Event::Fetch { at, request });
            }
            Effect::Assemble(job) => {
                let store = &self.nodes[at].store;
                let assembled = job.run(store, &mut Scalar, &mut NoInterrupt, None);
                self.input(at, &Input::Assembled(Arc::new(assembled)));
            }
            Effect::Keep(atoms) => write_atoms(atoms, &mut node.store).unwrap(),
            Effect::SetValidator(_)
            | Effect::SaveDecisions(_)
            | Effect::Advertise { .. }
            | Effect::CancelAssembly
            | Effect::Sign(_)
            | Effect::CancelSigning
            | Effect::Announce { .. }
            | Effect::SaveMempool(_)
            | Effect::Stream(_)
            | Effect::CancelStream(_) => {}
        }
    }

    /// Returns the atoms of this id that any other reachable node has.
    fn fetched(&self, at: usize, id: AtomId) -> Result<Vec<Atom>, FetchError> {
        let mut others = NODES
            .into_iter()
            .filter(|other| self.are_linked(at, *other));
        let found = others.find_map(|other| {
            let store = &self.nodes[other].store;
            collect_list(store, id, 1 << 20).ok()
        });
        found.ok_or(FetchError::NotFound)
    }

    fn arrives(&mut self, event: Event) {
        match event {
            Event::Head { from, to, id } if self.are_linked(from, to) => {
                let input = Input::PeerHead {
                    peer: peer(from),
                    group: NetworkGroup::of([10, 0, 0, signer(from)].into()),
                    id,
                    is_default_seed: false,
                    is_seed: false,
                };
                self.input(to, &input);
            }
            Event::Fetch { at, request } if self.nodes[at].is_up => {
                let FetchRequest { id, from, .. } = request;
                let outcome = self.fetched(at, id);
                let atoms = outcome.iter().flatten().cloned();
                self.nodes[at].store.extend(atoms);
                let input = match request.extent {
                    Extent::Beginning(_) => Input::Fetched { id, outcome, from },
                    Extent::Whole(_) => Input::FetchedSmall {
                        id,
                        outcome: outcome.map(drop),
                    },
                };
                self.input(at, &input);
            }
            Event::Head { .. } | Event::Fetch { .. } => {}
        }
    }

    fn attempts(&self, at: usize) -> Option<u64> {
        match self.nodes[at].chain.status().validator?.activity {
            Activity::Mining { attempts, .. } => Some(attempts),
            _ => None,
        }
    }

    /// Lets a node do one piece of work if it is due. Returns whether it was.
    fn turn(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        let due = node.chain.poll_timeout();
        let is_stirred = core::mem::take(&mut node.is_stirred);
        let now = self.instant();
        if !self.nodes[at].is_up || !(is_stirred || due.is_some_and(|due| due <= now)) {
            return false;
        }
        let before = self.attempts(at);
        self.call(at, Chain::advance);
        if let Some(before) = before {
            // A search that has ended, or was restarted, has taken at most a slice.
            let after = self.attempts(at).filter(|after| *after >= before);
            let tried = after.map_or(SLICE, |after| after - before);
            self.now += ATTEMPT * u32::try_from(tried).unwrap();
        }
        true
    }

    /// Lets `seconds` pass.
    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            while let Some(entry) = self.events.first_entry()
                && entry.key().0 <= self.now
            {
                let event = entry.remove();
                self.arrives(event);
            }
            let mut is_busy = false;
            for at in NODES {
                is_busy |= self.turn(at);
            }
            if is_busy {
                continue;
            }
            let dues = NODES.into_iter().filter(|at| self.nodes[*at].is_up);
            let dues = dues.filter_map(|at| self.nodes[at].chain.poll_timeout());
            let dues = dues.map(|due| self.now + due.since(self.instant()));
            let next = self.events.keys().next().map(|key| key.0);
            self.now = dues.chain(next).chain([end]).min().unwrap();
        }
    }

    /// Makes every node send its head to every other, as nodes do when they connect.
    fn exchange_heads(&mut self) {
        for from in NODES {
            if let Some(id) = self.head_of(from) {
                for to in NODES {
                    self.send(Event::Head { from, to, id });
                }
            }
        }
    }

    fn stop(&mut self, at: usize) {
        self.nodes[at].is_up = false;
        for other in NODES.into_iter().filter(|other| *other != at) {
            self.input(other, &Input::PeerGone { peer: peer(at) });
        }
    }

    fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.chain = Self::chain_of(at, node.saved.clone(), node.signed.clone());
        node.is_up = true;
        node.is_stirred = true;
        self.exchange_heads();
    }

    /// Announces a transaction to these validators.
    fn announce(&mut self, to: &[usize], transaction: &Transaction) {
        for &at in to {
            assert!(self.nodes[at].is_up, "the announcement would be lost");
            let id = transaction.write(&mut self.nodes[at].store).unwrap();
            self.input(
                at,
                &Input::Transaction {
                    peer: None,
                    group: None,
                    id,
                },
            );
        }
    }

    fn head_of(&self, at: usize) -> Option<AtomId> {
        self.nodes[at].chain.context().head().map(Head::id)
    }

    fn height(&self, at: usize) -> u64 {
        let head = self.nodes[at].chain.context().head();
        head.map_or(0, Head::height)
    }

    /// Returns the chain up to a node's head, as stored there, the genesis first.
    fn blocks(&self, at: usize) -> Vec<Block> {
        let store = &self.nodes[at].store;
        let mut next = self.head_of(at).unwrap();
        let mut blocks = Vec::new();
        while !next.is_zero() {
            let block = Block::read(store, next).unwrap();
            next = block.previous;
            blocks.push(block);
        }
        blocks.reverse();
        blocks
    }

    fn balance(&self, at: usize, of: &Address) -> Natural {
        let store = &self.nodes[at].store;
        let accounts = self.blocks(at).last().unwrap().accounts;
        let id = trie::get(store, accounts, of.as_bytes()).unwrap().unwrap();
        let id = AtomId::from_slice(&id).unwrap();
        Account::read(store, id).unwrap().balance
    }
}

fn time(block: &Block) -> u64 {
    block.timestamp.to_u64().unwrap()
}

/// Lets `seconds` pass, with a transfer every five seconds to these validators, and adds the
/// transfers to `sent`.
fn live(net: &mut Net, seconds: u64, to: &[usize], sent: &mut Vec<AtomId>) {
    for _ in 0..seconds / 5 {
        let transaction = transfer(u64::try_from(sent.len()).unwrap());
        sent.push(transaction.id());
        net.announce(to, &transaction);
        net.run(5);
    }
}

/// Runs ten minutes and returns the resulting chain.
fn ten_minutes() -> Vec<AtomId> {
    let mut net = Net::new();
    let mut sent = Vec::new();
    net.exchange_heads();
    live(&mut net, 150, &[0, 1], &mut sent);
    let before = net.height(FOLLOWER);
    assert!(before > 30, "{before} blocks in 150 seconds");
    let made: BTreeSet<Address> = net.blocks(FOLLOWER)[1..]
        .iter()
        .map(|block| block.validator)
        .collect();
    assert_eq!(made, BTreeSet::from([address(1), address(2)]));

    // One validator stops; the other takes over its slots.
    net.stop(1);
    let stopped = (net.now.as_secs(), net.height(1));
    live(&mut net, 120, &[0], &mut sent);
    let alone = net.height(FOLLOWER) - before;
    assert!(alone > 15, "{alone} blocks of one validator in 120 seconds");

    // It restarts from its stored state, catches up, and makes blocks again.
    net.start(1);
    assert_eq!(net.height(1), 0, "nothing is loaded yet");
    net.run(5);
    assert!(net.height(1) > stopped.1);
    assert!(net.height(1) + 1 >= net.height(FOLLOWER));
    let restarted = net.now.as_secs();
    live(&mut net, 110, &[0, 1], &mut sent);
    let blocks = net.blocks(FOLLOWER);
    let by_second = |from: u64, to: u64| {
        let within = blocks
            .iter()
            .filter(|block| (from..to).contains(&time(block)));
        within.filter(|block| block.validator == address(2)).count()
    };
    assert_eq!(by_second(stopped.0 + 2, restarted), 0);
    assert!(by_second(restarted, u64::MAX) > 10);

    // Two forks, one of which only the first validator knows.
    net.is_cut = true;
    let parting = net.height(FOLLOWER);
    live(&mut net, 50, &[0], &mut sent);
    let (one, other) = (net.head_of(0).unwrap(), net.head_of(1).unwrap());
    assert!(net.height(0) > parting + 5 && net.height(1) > parting + 5);
    assert_eq!(net.head_of(FOLLOWER), Some(other));
    net.is_cut = false;
    net.exchange_heads();
    live(&mut net, 170, &[0, 1], &mut sent);
    // Until the last block has reached every node.
    for _ in 0..50 {
        if NODES.iter().all(|at| net.head_of(*at) == net.head_of(0)) {
            break;
        }
        net.now += Duration::from_millis(1);
        net.run(1);
    }

    let chain: Vec<AtomId> = net
        .blocks(FOLLOWER)
        .iter()
        .map(|block| block.id())
        .collect();
    for at in NODES {
        let ids: Vec<AtomId> = net.blocks(at).iter().map(|block| block.id()).collect();
        assert_eq!(ids, chain, "the chain of node {at}");
        let status = net.nodes[at].chain.status();
        assert_eq!(status.root, Some(net.genesis));
        assert_eq!(status.sync.bad_blocks, []);
        let paid = Natural::from(u64::try_from(sent.len()).unwrap());
        assert_eq!(net.balance(at, &address(PAID)), paid);
    }
    assert_ne!(
        chain.contains(&one),
        chain.contains(&other),
        "one branch has won"
    );
    let head = net.nodes[FOLLOWER].chain.context().head().unwrap();
    assert_eq!(head.state(), HeadState::Verified);
    assert!(head.height() > 200, "{} blocks", head.height());

    // Every transfer is included once, including those of the abandoned fork.
    let mut included = Vec::new();
    for block in net.blocks(FOLLOWER) {
        included.extend(read_ids(&net.nodes[FOLLOWER].store, block.transactions).unwrap());
    }
    included.sort_unstable();
    sent.sort_unstable();
    assert_eq!(included, sent);

    // No validator has signed two blocks on one parent, nor gone back in time, including across the
    // restart.
    for node in &net.nodes[..FOLLOWER] {
        let parents: BTreeSet<AtomId> = node.own.iter().map(|head| head.block().previous).collect();
        assert_eq!(parents.len(), node.own.len());
        assert!(
            node.own
                .is_sorted_by(|one, next| one.timestamp() < next.timestamp())
        );
    }
    chain
}

#[test]
fn two_validators_and_a_follower_agree_over_a_restart_and_a_fork() {
    let chain = ten_minutes();
    // The state machines use no other time and no other randomness than their inputs.
    assert_eq!(ten_minutes(), chain);
}
