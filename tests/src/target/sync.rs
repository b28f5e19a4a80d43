//! Fuzz target of sync under hostile inputs in any order: heads of peers that come and go, fetches
//! that fail, arrive in parts, late, repeated or unsolicited, storage that refuses writes, clocks
//! that are set, decisions of the operator, and restarts.
//!
//! Promises: a valid block is never condemned and an invalid one never verified; a block becomes a
//! verified head only after it was stored; fetches, followed branches and remembered state stay
//! within their bounds; sync comes to rest; and once an honest peer names the best head and
//! answers, it is followed, regardless of earlier inputs.

#![expect(
    clippy::indexing_slicing,
    reason = "blocks of branches with known lengths"
)]

use super::input::{array, operations};
use super::scene::{BEGINNING, group, key, peer, pick};
use arbitrary::{Arbitrary, Unstructured};
use astreum_core::atom::{Atom, AtomId, MemoryStore};
use astreum_core::chain::{
    Address, Block, Builder, Election, Genesis, Header, Miner, Unsigned, difficulty, write_atoms,
};
use astreum_core::consensus::sync::{
    ChainSync, MAX_BRANCHES, MAX_BYTES_IN_FLIGHT, MAX_HEADS, MAX_IN_FLIGHT, SyncConfig, SyncLimits,
};
use astreum_core::consensus::{
    Context, Effect, ForkDecisions, Head, HeadState, Input, Now, PART, StoreFailure,
};
use astreum_core::engine::{Extent, FetchError, FetchRequest, ListLimit};
use astreum_core::integer::Natural;
use astreum_core::testkit::{ChainHost, LocalStore};
use astreum_core::time::Instant;
use astreum_core::trie::Scalar;
use astreum_core::wire::handshake::ChainIdentity;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Wall clock at the start: no honest block is later.
const START: u64 = BEGINNING + 200;
/// Number of peers.
const PEERS: u8 = 24;
/// Maximum number of steps per run.
const MAX_STEPS: usize = 400;
/// Number of blocks of the trunk, and of each branch together with the trunk.
const TRUNK: usize = 12;
/// Number of times that the honest peer names its head in the final phase.
const MAX_ROUNDS: usize = 60;
/// Number of those times in a run whose chain the default seed or the operator has chosen, which may
/// follow another head.
const LED_ROUNDS: usize = 4;
/// Maximum number of consecutive calls until sync has come to rest.
const MAX_CALLS: usize = 4_000;
/// Honest peer of the final phase.
const HONEST: u8 = 250;

/// Operation of a hostile run. Blocks, fetches and peers are numbers of those that exist then.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// A peer names a head.
    Announce {
        block: u8,
        peer: u8,
        from: Source,
    },
    PeerGone(u8),
    /// A peer states its rules and chain; some blocks select a wrong one.
    PeerIdentity {
        block: u8,
        peer: u8,
    },
    /// A fetch ends with up to this many atoms.
    Answer {
        fetch: u8,
        most: usize,
        peer: u8,
    },
    /// A fetch fails.
    Fail {
        fetch: u8,
        error: u8,
    },
    /// Atoms arrive that were not requested, or were before.
    Unsolicited {
        atom: u8,
        most: usize,
    },
    EndStore {
        block: u8,
        is_stored: bool,
    },
    Pass(Duration),
    Settle,
    Restart,
    /// The store has the atoms that were kept, not those that were read.
    Forget,
    /// The wall clock is set forwards or backwards.
    Forward(Duration),
    Backward(Duration),
    /// The operator adopts a fork, or avoids a block.
    Adopt(u8),
    Avoid(u8),
    /// All requests are answered.
    AnswerAll,
}

/// Kind of a peer that names a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Peer,
    Seed,
    DefaultSeed,
}

impl<'a> Arbitrary<'a> for Operation {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let [code, a, b] = array(input)?;
        let peer = 1 + b % PEERS;
        Ok(match code % 16 {
            0..=3 => Self::Announce {
                block: a,
                peer,
                from: match code {
                    240 => Source::DefaultSeed,
                    241 => Source::Seed,
                    _ => Source::Peer,
                },
            },
            4 => Self::PeerGone(peer),
            5 => Self::PeerIdentity { block: a, peer },
            6..=8 => Self::Answer {
                fetch: a,
                most: match b & 1 {
                    0 => usize::MAX,
                    _ => usize::from(b),
                },
                peer,
            },
            9 => Self::Fail { fetch: a, error: b },
            10 => Self::Unsolicited {
                atom: a,
                most: usize::from(b),
            },
            11 => Self::EndStore {
                block: a,
                is_stored: b >= 64,
            },
            12 => Self::Pass(Duration::from_millis(u64::from(a) * u64::from(b))),
            13 => Self::Settle,
            14 => match b % 8 {
                0 => Self::Restart,
                1 => Self::Forget,
                2 => Self::Forward(Duration::from_secs(u64::from(a) * 50)),
                3 => Self::Backward(Duration::from_secs(u64::from(a) * 50)),
                4 => Self::Adopt(a),
                5 => Self::Avoid(a),
                _ => Self::AnswerAll,
            },
            _ => Self::AnswerAll,
        })
    }
}

/// All existing blocks and their atoms.
struct World {
    store: MemoryStore,
    /// Blocks that may be named as a head.
    blocks: Vec<AtomId>,
    heights: BTreeMap<AtomId, u64>,
    valid: BTreeSet<AtomId>,
    /// Blocks that break no rule, nor do their ancestors. More than [`Self::valid`]: blocks of the
    /// future and of other chains break none.
    sound: BTreeSet<AtomId>,
    genesis: AtomId,
    /// Highest valid block of the chain.
    best: AtomId,
    /// Atoms of lists, headers and transactions, for unsolicited fetch results.
    atoms: Vec<AtomId>,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            store: MemoryStore::new(),
            blocks: Vec::new(),
            heights: BTreeMap::new(),
            valid: BTreeSet::new(),
            sound: BTreeSet::new(),
            genesis: AtomId::ZERO,
            best: AtomId::ZERO,
            atoms: Vec::new(),
        };
        let genesis = world.genesis(0, BEGINNING);
        world.genesis = genesis.id();
        let trunk = world.extend(&genesis, TRUNK, 2, true);
        world.extend(&trunk[3], 4, 3, false);
        let side = world.extend(&trunk[5], 9, 3, true);
        world.best = side[8].id();
        // Blocks that break a rule, with headers above them that look valid.
        for (number, at) in [(0, 2), (1, 7), (2, 11)] {
            let parent = &trunk[at];
            let mut header = world.draft(parent, 2, number + 40);
            match number {
                0 => header.cumulative_mint = 99_u64.into(),
                1 => header.accounts = AtomId::new([0x77; 32]),
                _ => header.transactions = AtomId::new([0x78; 32]),
            }
            let bad = world.mine(parent, header);
            let above = Header {
                height: &bad.height + &Natural::ONE,
                previous: bad.id(),
                timestamp: &bad.timestamp + &Natural::from(2_u64),
                difficulty: difficulty(
                    &bad.timestamp,
                    &(&bad.timestamp + &Natural::from(2_u64)),
                    &bad.difficulty,
                ),
                ..bad.header().clone()
            };
            let above = world.mine(&bad, above);
            for block in [&bad, &above] {
                world.name(block, false);
            }
        }
        // Blocks from the near and far future; of another chain id; of another genesis; a header
        // without an available parent.
        let near = world.next(&trunk[TRUNK - 1], 400, 0);
        world.name(&near, false);
        let far = world.next(&trunk[TRUNK - 1], 90_000, 0);
        world.name(&far, false);
        for (chain_id, begin) in [(5, BEGINNING), (0, BEGINNING - 77)] {
            let other = world.genesis(chain_id, begin);
            world.extend(&other, 5, 2, false);
        }
        let nowhere = Header {
            previous: AtomId::new([0x79; 32]),
            height: 70_u64.into(),
            ..trunk[4].header().clone()
        };
        let nowhere = world.mine(&trunk[4], nowhere);
        world.name(&nowhere, false);
        world.valid.insert(genesis.id());
        let blocks = world.blocks.clone();
        let ids = blocks
            .iter()
            .filter_map(|id| Block::read(&world.store, *id).ok());
        let atoms = ids.flat_map(|block| [block.accounts, block.transactions, block.id()]);
        world.atoms = atoms.filter(|id| !id.is_zero()).collect();
        let sound = world.blocks.iter().filter(|id| world.is_sound(id));
        world.sound = sound.copied().collect();
        world
    }

    /// Returns whether neither a block nor an ancestor of it breaks a rule.
    fn is_sound(&self, id: &AtomId) -> bool {
        let mut at = *id;
        while let Ok(block) = Block::read(&self.store, at) {
            let is_wrong = block.cumulative_mint == 99_u64
                || block.accounts == AtomId::new([0x77; 32])
                || block.transactions == AtomId::new([0x78; 32]);
            if is_wrong {
                return false;
            }
            if block.is_genesis() {
                return true;
            }
            at = block.previous;
        }
        false
    }

    fn genesis(&mut self, chain_id: u64, begin: u64) -> Block {
        let validator = Address::from(key(1).verifying_key());
        let mut genesis = Genesis::new(validator, chain_id.into(), begin.into());
        let sender = Address::from(key(2).verifying_key());
        genesis.balances.insert(sender, 1_000_000_000_u64.into());
        let Ok(block) = genesis.build(&mut Scalar, &mut self.store) else {
            panic!("invalid genesis");
        };
        self.write(&block);
        self.name(&block, false);
        block
    }

    fn write(&mut self, block: &Block) {
        let Ok(()) = write_atoms(block.to_atoms(), &mut self.store);
    }

    fn name(&mut self, block: &Block, is_valid: bool) {
        let id = block.id();
        self.blocks.push(id);
        let height = block.height.to_u64();
        self.heights.insert(id, height.unwrap_or(u64::MAX));
        if is_valid {
            self.valid.insert(id);
        }
    }

    /// Returns the header of a block of the only validator, with a transfer unless `number` is 0.
    fn draft(&mut self, parent: &Block, gap: u64, number: u64) -> Header {
        let Ok(election) = Election::read(&self.store, parent) else {
            panic!("the election after our own block is not readable");
        };
        let mut transactions = Vec::new();
        if number > 0 {
            let unsigned = Unsigned {
                chain_id: parent.chain_id.clone(),
                amount: Natural::ONE,
                counter: number.into(),
                data: [].as_slice().into(),
                recipient: Address::new([7; 32]),
            };
            transactions.push(unsigned.sign(&key(2)));
        }
        let mut builder = Builder::new(&self.store, parent, &election.stakes);
        for transaction in &transactions {
            let applied = builder.apply(transaction);
            assert!(matches!(applied, Ok(Ok(_))), "{applied:?}");
        }
        let Ok(body) = builder.finish(&mut Scalar, None) else {
            panic!("an atom of the state is missing");
        };
        drop(builder);
        let time = &parent.timestamp + &Natural::from(gap);
        let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
        let validator = Address::from(key(1).verifying_key());
        let header = body.header(parent, validator, time, asked);
        let Ok(()) = write_atoms(body.atoms, &mut self.store);
        for transaction in &transactions {
            let Ok(()) = write_atoms(transaction.to_atoms(), &mut self.store);
        }
        header
    }

    fn mine(&mut self, parent: &Block, header: Header) -> Block {
        let mut miner = Miner::new(header, key(1), &parent.difficulty);
        let Some(block) = miner.try_nonces(1 << 20, &mut Scalar) else {
            panic!("no nonce found at a low difficulty");
        };
        self.write(&block);
        block
    }

    fn next(&mut self, parent: &Block, gap: u64, number: u64) -> Block {
        let header = self.draft(parent, gap, number);
        self.mine(parent, header)
    }

    /// Makes valid blocks on `parent`, of which every third has a transfer.
    fn extend(&mut self, parent: &Block, count: usize, gap: u64, pays: bool) -> Vec<Block> {
        let is_ours = parent.id() == self.genesis || self.valid.contains(&parent.id());
        let mut blocks: Vec<Block> = Vec::new();
        for number in 0..count {
            let last = blocks.last().unwrap_or(parent).clone();
            let transfer = if pays && number % 3 == 0 {
                last.height.to_u64().unwrap_or(0) + 1
            } else {
                0
            };
            let block = self.next(&last, gap, transfer);
            self.name(&block, is_ours);
            blocks.push(block);
        }
        blocks
    }
}

/// Follower with the host state that sync uses.
struct Follower {
    world: &'static World,
    host: ChainHost<ChainSync<Scalar>>,
    fetches: BTreeMap<AtomId, ListLimit>,
    storing: BTreeMap<AtomId, Vec<(AtomId, Atom)>>,
    stored: BTreeSet<AtomId>,
    /// True once the default seed or the operator has influenced the choice of the chain.
    is_led: bool,
}

fn config(decisions: &ForkDecisions) -> SyncConfig {
    SyncConfig {
        max_reorg_depth: 30,
        first_adoption_wait: Duration::from_secs(3),
        decisions: decisions.clone(),
        limits: SyncLimits {
            unconfirmed_headers: 12,
            checkpoint_interval: 4,
            checkpoints: 4,
            resident_headers: 5,
        },
        ..SyncConfig::default()
    }
}

impl Follower {
    fn new() -> Self {
        let sync = ChainSync::new(config(&ForkDecisions::default()), Scalar);
        let clock = Now {
            instant: Instant::from_secs(1_000),
            unix: Duration::from_secs(START),
        };
        Self {
            world: world(),
            host: ChainHost::new(sync, LocalStore::default(), clock),
            fetches: BTreeMap::new(),
            storing: BTreeMap::new(),
            stored: BTreeSet::new(),
            is_led: false,
        }
    }

    fn restart(&mut self) {
        let files = &self.host.files;
        self.host.component = ChainSync::new(config(&files.decisions), Scalar);
        self.host.context = Context::new(files.head.clone());
        self.fetches.clear();
        self.storing.clear();
        self.host.store.forget();
    }

    /// Answers what the last call of sync asked for.
    fn handle_results(&mut self) {
        while self.host.context.poll_event().is_some() {}
        while let Some(effect) = self.host.context.poll_effect() {
            self.carry_out(effect);
        }
        self.check();
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch(FetchRequest {
                id,
                extent: Extent::Beginning(limit),
                ..
            }) => {
                let before = self.fetches.insert(id, limit);
                assert!(before.is_none(), "{id} is fetched twice at once");
            }
            Effect::StoreBlock { block, atoms } => {
                assert!(!self.is_bad(&block), "invalid block {block} is stored");
                self.storing.insert(block, atoms);
            }
            Effect::SetHead { ref head, .. } => {
                let is_stored = self.stored.contains(&head.id());
                assert!(
                    head.state() != HeadState::Verified || is_stored,
                    "{} became the head but is not stored",
                    head.id()
                );
                self.host.carry_out(effect);
            }
            Effect::SaveDecisions(_) => {
                self.host.carry_out(effect);
            }
            other => panic!("unexpected effect of sync: {other:?}"),
        }
    }

    /// Returns whether a block, or an ancestor of it, breaks a rule.
    fn is_bad(&self, id: &AtomId) -> bool {
        !self.world.sound.contains(id)
    }

    fn check(&self) {
        assert!(self.fetches.len() <= MAX_IN_FLIGHT);
        let bytes: usize = self.fetches.values().map(|limit| limit.bytes).sum();
        assert!(bytes <= MAX_BYTES_IN_FLIGHT, "{bytes} bytes in flight");
        let status = self.host.component.status();
        assert!(status.syncs.len() <= MAX_BRANCHES && status.candidates <= MAX_HEADS);
        for (id, reason) in &status.bad_blocks {
            assert!(
                !self.world.valid.contains(id),
                "valid block {id} is reported as invalid: {reason}"
            );
        }
        if let Some(head) = self.host.context.head()
            && head.state() == HeadState::Verified
        {
            assert!(!self.is_bad(&head.id()), "{} is the head", head.id());
        }
    }

    /// Calls sync until it waits for input or for a time.
    fn settle(&mut self) {
        for _ in 0..MAX_CALLS {
            self.host.advance();
            self.handle_results();
            if !self.host.is_due() {
                return;
            }
        }
        panic!(
            "sync does not become idle: {:?}",
            self.host.component.status()
        );
    }

    fn input(&mut self, input: &Input) {
        self.host.input(input);
        self.handle_results();
    }

    fn pass(&mut self, duration: Duration) {
        self.host.pass(duration);
    }

    fn announce(&mut self, from: u8, id: AtomId, source: Source) {
        let is_default_seed = source == Source::DefaultSeed;
        self.is_led |= is_default_seed;
        self.input(&Input::PeerHead {
            peer: peer(from),
            group: group(from),
            id,
            is_default_seed,
            is_seed: source != Source::Peer,
        });
    }

    /// Ends a fetch, requested or not, with up to `most` atoms or the error of this code.
    fn end_fetch(&mut self, id: AtomId, most: usize, error: Option<u8>, from: Option<u8>) {
        let limit = self.fetches.remove(&id);
        let limit = limit.unwrap_or(PART);
        let errors = [
            FetchError::NotFound,
            FetchError::Timeout,
            FetchError::TooMany,
            FetchError::TooLarge,
        ];
        let error = error.and_then(|code| errors.get(usize::from(code) % errors.len()).copied());
        let from = from.map(peer);
        let input = match error {
            Some(error) => Input::Fetched {
                id,
                outcome: Err(error),
                from,
            },
            None => {
                let network = &self.world.store;
                self.host.fetch(network, id, limit, most.max(1), from)
            }
        };
        self.input(&input);
    }

    fn end_store(&mut self, block: AtomId, is_stored: bool) {
        let atoms = self.storing.remove(&block);
        let outcome = match atoms {
            Some(atoms) if is_stored => {
                let Ok(()) = write_atoms(atoms, &mut self.host.store.stored);
                self.stored.insert(block);
                Ok(())
            }
            // A block for which no write was requested has not been stored either.
            _ => Err(StoreFailure::NoRoom("the storage limit is reached".into())),
        };
        self.input(&Input::BlockStored { block, outcome });
    }

    /// Returns the id of the block with this number, or an unknown one.
    fn block(&self, number: u8) -> AtomId {
        let known = pick(&self.world.blocks, number).filter(|_| number < 240);
        known.unwrap_or(AtomId::new([number; 32]))
    }

    /// Returns the id of the fetch with this number, or of a block if there is none.
    fn fetch(&self, number: u8) -> AtomId {
        let asked: Vec<AtomId> = self.fetches.keys().copied().collect();
        pick(&asked, number).unwrap_or(self.block(number))
    }

    /// Performs one operation of a hostile run.
    fn act(&mut self, operation: Operation) {
        match operation {
            Operation::Announce { block, peer, from } => {
                self.announce(peer, self.block(block), from);
            }
            Operation::PeerGone(number) => self.input(&Input::PeerGone { peer: peer(number) }),
            Operation::PeerIdentity {
                block,
                peer: number,
            } => {
                let rules_version = self.host.component.identity().rules_version;
                self.input(&Input::PeerIdentity {
                    peer: peer(number),
                    identity: ChainIdentity {
                        rules_version: rules_version + u32::from(block == 1),
                        chain_id: u64::from(block == 2),
                        genesis: (block == 3).then(|| self.block(block)),
                    },
                });
            }
            Operation::Answer { fetch, most, peer } => {
                self.end_fetch(self.fetch(fetch), most, None, Some(peer));
            }
            Operation::Fail { fetch, error } => {
                self.end_fetch(self.fetch(fetch), 1, Some(error), None);
            }
            Operation::Unsolicited { atom, most } => {
                let id = pick(&self.world.atoms, atom).unwrap_or(self.block(atom));
                if !self.fetches.contains_key(&id) {
                    self.end_fetch(id, most, None, None);
                }
            }
            Operation::EndStore { block, is_stored } => {
                let asked: Vec<AtomId> = self.storing.keys().copied().collect();
                let block = pick(&asked, block).unwrap_or(self.block(block));
                self.end_store(block, is_stored);
            }
            Operation::Pass(time) => {
                self.pass(time);
                self.settle();
            }
            Operation::Settle => self.settle(),
            Operation::Restart => self.restart(),
            Operation::Forget => self.host.store.forget(),
            Operation::Forward(time) => self.host.clock.unix += time,
            Operation::Backward(time) => self.host.clock.unix -= time,
            Operation::Adopt(block) => {
                self.is_led = true;
                self.input(&Input::AdoptFork(self.block(block)));
            }
            Operation::Avoid(block) => {
                self.is_led = true;
                self.input(&Input::AvoidBlock(self.block(block)));
            }
            Operation::AnswerAll => self.answer_all(),
        }
    }

    /// Answers all requests until none remains.
    fn answer_all(&mut self) {
        for _ in 0..MAX_CALLS {
            self.settle();
            let asked: Vec<AtomId> = self.fetches.keys().copied().collect();
            let storing: Vec<AtomId> = self.storing.keys().copied().collect();
            if asked.is_empty() && storing.is_empty() {
                return;
            }
            for id in asked {
                self.end_fetch(id, usize::MAX, None, Some(HONEST));
            }
            for block in storing {
                self.end_store(block, true);
            }
        }
        panic!("the requests do not end");
    }

    /// Checks that the best head is followed once an honest peer names it and all requests are
    /// answered.
    fn recover(&mut self) {
        self.host.clock.unix = Duration::from_secs(START);
        let best = self.world.best;
        for _ in 0..if self.is_led { LED_ROUNDS } else { MAX_ROUNDS } {
            for from in [HONEST, HONEST - 9] {
                self.announce(from, best, Source::Peer);
            }
            self.answer_all();
            self.pass(Duration::from_secs(11));
            if self.host.context.head().map(Head::id) == Some(best) {
                break;
            }
        }
        if self.is_led || self.host.context.root() != Some(self.world.genesis) {
            return;
        }
        let head = self.host.context.head();
        let height = head.map(|head| head.height());
        let expected = self.world.heights.get(&best).copied();
        assert!(
            height >= expected,
            "the best head is not followed: {:?}",
            self.host.component.status()
        );
    }
}

/// Drives sync with the inputs that the bytes encode.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let mut follower = Follower::new();
    for operation in operations(&mut input, MAX_STEPS) {
        follower.act(operation);
    }
    follower.recover();
}
