//! A follower in virtual time, and a maker of chains, good and bad.

use crate::chain::{
    Chain, Effect, Environment, Head, HeadState, Input, Now, SavedHead, Serial, VerifierConfig,
};
use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore};
use astreum_core::chain::{
    Address, Block, Builder, Genesis, Header, Miner, StakeTable, Transaction, Unsigned, difficulty,
    write_atoms,
};
use astreum_core::crypto::{PublicKey, SigningKey};
use astreum_core::integer::Natural;
use astreum_core::time::Instant;
use astreum_core::trie::Scalar;
use astreum_core::wire::engine::{FetchError, ListLimit};
use astreum_core::wire::network_group::NetworkGroup;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// When chains begin.
pub(super) const BEGINNING: u64 = 1_800_000_000;

pub(super) fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

pub(super) fn address(number: u8) -> Address {
    Address::from(key(number).verifying_key())
}

pub(super) fn peer(number: u8) -> PublicKey {
    PublicKey::new([number; 32])
}

/// Makes blocks for the only validator of a chain, 1; the account 2 has money.
pub(super) struct Maker {
    pub(super) store: MemoryStore,
    pub(super) genesis: Block,
}

impl Maker {
    pub(super) fn new() -> Self {
        Self::of_chain(0, BEGINNING)
    }

    pub(super) fn of_chain(chain_id: u64, begin: u64) -> Self {
        let mut store = MemoryStore::new();
        let mut genesis = Genesis::new(address(1), chain_id.into(), begin.into());
        genesis
            .balances
            .insert(address(2), 1_000_000_000_u64.into());
        let block = genesis.build(&mut Scalar, &mut store).unwrap();
        write_atoms(block.to_atoms(), &mut store).unwrap();
        Self {
            store,
            genesis: block,
        }
    }

    /// A transfer from the account 2, unlike any with another number.
    pub(super) fn transfer(number: u64) -> Transaction {
        let unsigned = Unsigned {
            chain_id: Natural::ZERO,
            amount: Natural::ONE,
            counter: number.into(),
            data: [].as_slice().into(),
            recipient: address(3),
        };
        unsigned.sign(&key(2))
    }

    /// What a block with these transactions would say, before the search for a nonce.
    pub(super) fn draft(&mut self, parent: &Block, gap: u64, of: &[Transaction]) -> Header {
        let timestamp = &parent.timestamp + &Natural::from(gap);
        let stakes = StakeTable::read(&self.store, parent.accounts).unwrap();
        let mut builder = Builder::new(&self.store, parent, &stakes);
        for transaction in of {
            builder.apply(transaction).unwrap().unwrap();
        }
        let body = builder.finish(&mut Scalar, None).unwrap();
        drop(builder);
        for transaction in of {
            transaction.write(&mut self.store).unwrap();
        }
        let asked = difficulty(&parent.timestamp, &timestamp, &parent.difficulty);
        let header = body.header(parent, address(1), timestamp, asked);
        write_atoms(body.atoms, &mut self.store).unwrap();
        header
    }

    pub(super) fn mine(&mut self, parent: &Block, header: Header, by: u8) -> Block {
        let mut miner = Miner::new(header, key(by), &parent.difficulty);
        let block = miner.try_nonces(1 << 20, &mut Scalar).unwrap();
        self.put(block)
    }

    pub(super) fn put(&mut self, block: Block) -> Block {
        block.write(&mut self.store).unwrap();
        block
    }

    pub(super) fn next(&mut self, parent: &Block, gap: u64, of: &[Transaction]) -> Block {
        let header = self.draft(parent, gap, of);
        self.mine(parent, header, 1)
    }

    /// So many empty blocks on `parent`, `parent` not among them.
    pub(super) fn extend(&mut self, parent: &Block, count: usize, gap: u64) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        for _ in 0..count {
            let last = blocks.last().unwrap_or(parent).clone();
            blocks.push(self.next(&last, gap, &[]));
        }
        blocks
    }
}

/// The beginning of a list, as a fetch brings it.
fn part(store: &MemoryStore, id: AtomId, limit: ListLimit) -> Option<Vec<Atom>> {
    let (mut atoms, mut bytes, mut next) = (Vec::new(), 0, id);
    while !next.is_zero() && atoms.len() < limit.atoms && bytes <= limit.bytes {
        let Ok(atom) = store.atom(&next) else { break };
        bytes += atom.stored_len();
        next = atom.next();
        atoms.push(atom);
    }
    (!atoms.is_empty()).then_some(atoms)
}

pub(super) fn time(block: &Block) -> u64 {
    block.timestamp.to_u64().unwrap()
}

/// One that follows. What others have is asked of the makers.
pub(super) struct Host {
    pub(super) chain: Chain,
    pub(super) store: MemoryStore,
    pub(super) now: Duration,
    pub(super) named: Vec<Head>,
    pub(super) saved: Option<SavedHead>,
    /// What nobody brings.
    pub(super) withheld: BTreeSet<AtomId>,
    pub(super) asked: BTreeMap<AtomId, usize>,
    pub(super) most_in_flight: usize,
    /// Most headers and blocks that the status told of.
    pub(super) told: (u64, u64),
    in_flight: VecDeque<(AtomId, ListLimit)>,
    /// The most bytes that all fetches under way might have brought.
    pub(super) most_bytes: usize,
    /// The most atoms that one of them might have.
    pub(super) largest_part: usize,
}

impl Host {
    pub(super) fn new(now: u64) -> Self {
        Self::with(now, VerifierConfig::default(), None)
    }

    pub(super) fn with(now: u64, config: VerifierConfig, saved: Option<SavedHead>) -> Self {
        Self {
            chain: Chain::new(config, saved.clone()),
            store: MemoryStore::new(),
            now: Duration::from_secs(now),
            named: Vec::new(),
            saved,
            withheld: BTreeSet::new(),
            asked: BTreeMap::new(),
            most_in_flight: 0,
            told: (0, 0),
            in_flight: VecDeque::new(),
            most_bytes: 0,
            largest_part: 0,
        }
    }

    pub(super) fn instant(&self) -> Instant {
        Instant::ZERO + (self.now - Duration::from_secs(BEGINNING - 100))
    }

    fn call(&mut self, call: impl FnOnce(&mut Chain, &Environment<'_>)) {
        let world = Environment {
            now: Now {
                instant: self.instant(),
                unix: self.now,
            },
            atoms: &self.store,
            parallel: &Serial,
        };
        call(&mut self.chain, &world);
        while let Some(action) = self.chain.poll_effect() {
            match action {
                Effect::Fetch { id, limit, .. } => {
                    *self.asked.entry(id).or_default() += 1;
                    self.in_flight.push_back((id, limit));
                    self.largest_part = self.largest_part.max(limit.atoms);
                }
                Effect::Store(atoms) => write_atoms(atoms, &mut self.store).unwrap(),
                Effect::StoreBlock { block, atoms } => {
                    write_atoms(atoms, &mut self.store).unwrap();
                    let outcome = Ok(());
                    self.input(&Input::BlockStored { block, outcome });
                }
                Effect::SetHead { head, saved } => {
                    self.saved = Some(saved);
                    self.named.push(head);
                }
                other => panic!("{other:?}"),
            }
        }
        self.most_in_flight = self.most_in_flight.max(self.in_flight.len());
        let bytes = self.in_flight.iter().map(|(_, limit)| limit.bytes).sum();
        self.most_bytes = self.most_bytes.max(bytes);
    }

    pub(super) fn input(&mut self, input: &Input) {
        self.call(|chain, world| chain.handle_input(world, input));
    }

    pub(super) fn hears(&mut self, from: u8, id: AtomId) {
        self.input(&Input::PeerHead {
            peer: peer(from),
            group: NetworkGroup::of([10, 0, 0, from].into()),
            id,
            is_default_seed: false,
            is_seed: false,
        });
    }

    pub(super) fn seed_says(&mut self, id: AtomId) {
        self.input(&Input::PeerHead {
            peer: peer(200),
            group: NetworkGroup::of([10, 0, 0, 200].into()),
            id,
            is_default_seed: true,
            is_seed: true,
        });
    }

    fn brings(
        &self,
        others: &[&Maker],
        id: AtomId,
        limit: ListLimit,
    ) -> Result<Vec<Atom>, FetchError> {
        let lists = others
            .iter()
            .filter_map(|maker| part(&maker.store, id, limit));
        let whole = |list: &Vec<Atom>| !list.iter().any(|atom| self.withheld.contains(&atom.id()));
        let mut lists = lists.filter(whole);
        lists.next().ok_or(FetchError::NotFound)
    }

    /// Lets `seconds` pass, in which all that can happen does.
    pub(super) fn run(&mut self, others: &[&Maker], seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        for _ in 0..1_000_000 {
            self.call(Chain::advance);
            for sync in self.chain.status().verifier.syncs {
                self.told.0 = self.told.0.max(sync.headers_done);
                self.told.1 = self.told.1.max(sync.blocks_done);
            }
            if self
                .chain
                .poll_timeout()
                .is_some_and(|at| at <= self.instant())
            {
                continue;
            }
            if !self.in_flight.is_empty() {
                for (id, limit) in core::mem::take(&mut self.in_flight) {
                    let outcome = self.brings(others, id, limit);
                    self.store.extend(outcome.iter().flatten().cloned());
                    self.input(&Input::Fetched {
                        id,
                        outcome,
                        from: None,
                    });
                }
                continue;
            }
            let due = self.chain.poll_timeout().unwrap_or(Instant::MAX);
            let due = self.now + due.since(self.instant());
            if due > end {
                self.now = end;
                return;
            }
            self.now = due;
        }
        panic!("it does not come to rest");
    }

    pub(super) fn head(&self) -> Option<(AtomId, HeadState)> {
        let head = self.chain.context().head();
        head.map(|head| (head.id(), head.state()))
    }

    pub(super) fn verified_head(&self) -> Option<AtomId> {
        let head = self.head();
        head.filter(|(_, state)| *state == HeadState::Verified)
            .map(|(id, _)| id)
    }

    pub(super) fn has(&self, id: &AtomId) -> bool {
        self.store.atom(id).is_ok()
    }

    pub(super) fn waits(&self) -> Vec<String> {
        let status = self.chain.status().verifier;
        let syncs = status.syncs.into_iter().filter_map(|sync| sync.waits);
        syncs.chain(status.waits).collect()
    }
}
