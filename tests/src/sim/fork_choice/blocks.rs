//! All blocks of a run, and the leader election above each.

use crate::random::Random;
use astreum_core::atom::AtomId;
use astreum_core::chain::fork_choice::{BlockIndex, Branch, IndexedBlock, StakeSource};
use astreum_core::chain::{
    Address, ElectionSeeds, ProposerSchedule, SLOT_SECONDS, StakeTable, Stakes,
};
use astreum_core::integer::Natural;
use std::collections::{BTreeSet, HashMap};

/// Maximum number of cached schedules.
const MAX_SCHEDULES: usize = 4_096;

/// Number of a block, in the order of creation; the genesis is 0.
pub type Number = usize;
/// Number of a validator.
pub type Validator = usize;

/// Seed source of the leader election for a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Election {
    /// Product: the ids of the epoch before last.
    Epochs,
    /// Reference: the id of the parent, which its producer can grind.
    Parent,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    id: AtomId,
    parent: Number,
    height: u64,
    slot: u64,
    producer: Validator,
    seeds: ElectionSeeds,
}

/// Leaders of the slots after a block, computed as far as they were requested.
#[derive(Debug)]
struct Schedule {
    draw: ProposerSchedule,
    winners: Vec<Validator>,
}

/// Tree of blocks under one genesis. The stakes are the same at every block.
#[derive(Debug)]
pub struct Blocks {
    records: Vec<Record>,
    election: Election,
    stakes: Vec<u64>,
    table: StakeTable,
    schedules: HashMap<AtomId, Schedule>,
}

/// Two branches above their last common block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Last common block.
    pub fork: Number,
    /// First branch.
    pub ours: Branch,
    /// Second branch.
    pub theirs: Branch,
}

impl Blocks {
    /// Creates a tree that consists of a genesis with these stakes.
    #[must_use]
    pub fn new(stakes: &[u64], election: Election, random: &mut Random) -> Self {
        let amounts = stakes.iter().enumerate();
        let staked = amounts.map(|(validator, stake)| (address(validator), Natural::from(*stake)));
        let table = StakeTable::from(&staked.collect::<Stakes>());
        let mut blocks = Self {
            records: Vec::new(),
            election,
            stakes: stakes.to_vec(),
            table,
            schedules: HashMap::new(),
        };
        blocks.restart(random);
        blocks
    }

    /// Replaces the tree by one with another genesis.
    pub fn restart(&mut self, random: &mut Random) {
        let id = id_of(0, random);
        self.schedules.clear();
        self.records = vec![Record {
            id,
            parent: 0,
            height: 0,
            slot: 0,
            producer: 0,
            seeds: ElectionSeeds::genesis(id),
        }];
    }

    fn record(&self, block: Number) -> &Record {
        &self.records[block]
    }

    /// Returns the seed source of the leader election.
    #[must_use]
    pub const fn election(&self) -> Election {
        self.election
    }

    /// Returns the stakes.
    #[must_use]
    pub fn stakes(&self) -> &[u64] {
        &self.stakes
    }

    /// Returns the total stake.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.stakes.iter().sum()
    }

    /// Returns the number of blocks, including the genesis.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// Returns the id of a block.
    #[must_use]
    pub fn id(&self, block: Number) -> AtomId {
        self.record(block).id
    }

    /// Returns the block with this id.
    ///
    /// # Panics
    /// Panics if there is none.
    #[must_use]
    pub fn number(&self, id: AtomId) -> Number {
        self.find(&id).expect("the id of a block")
    }

    fn find(&self, id: &AtomId) -> Option<Number> {
        let (_, number) = id.as_bytes().split_last_chunk::<8>()?;
        let number = usize::try_from(u64::from_be_bytes(*number)).ok()?;
        (self.records.get(number)?.id == *id).then_some(number)
    }

    /// Returns the parent of a block; for the genesis, the genesis itself.
    #[must_use]
    pub fn parent(&self, block: Number) -> Number {
        self.record(block).parent
    }

    /// Returns the height of a block.
    #[must_use]
    pub fn height(&self, block: Number) -> u64 {
        self.record(block).height
    }

    /// Returns the slot of a block, counted from the start of the run.
    #[must_use]
    pub fn slot(&self, block: Number) -> u64 {
        self.record(block).slot
    }

    /// Returns the producer of a block.
    #[must_use]
    pub fn producer(&self, block: Number) -> Validator {
        self.record(block).producer
    }

    /// Returns the seeds after a block.
    #[must_use]
    pub fn seeds(&self, block: Number) -> ElectionSeeds {
        self.record(block).seeds
    }

    /// Returns the validator that may make the child of `parent` in this slot.
    ///
    /// # Panics
    /// Panics if the slot does not lie after that of the parent.
    pub fn winner(&mut self, parent: Number, slot: u64) -> Validator {
        let seed = match self.election {
            Election::Epochs => self.seeds(parent).next_slot_seed(),
            Election::Parent => self.id(parent),
        };
        let gap = slot.checked_sub(self.slot(parent)).expect("a later slot");
        if self.schedules.len() >= MAX_SCHEDULES && !self.schedules.contains_key(&seed) {
            self.schedules.clear();
        }
        let table = &self.table;
        let schedule = self.schedules.entry(seed).or_insert_with(|| Schedule {
            draw: ProposerSchedule::new(table, seed).expect("there is stake"),
            winners: Vec::new(),
        });
        let index = usize::try_from(gap).expect("few slots") - 1;
        while schedule.winners.len() <= index {
            let winner = schedule.draw.next_validator();
            schedule.winners.push(validator(&winner));
        }
        schedule.winners[index]
    }

    /// Returns the validator of the first slot of a height with this seed.
    ///
    /// # Panics
    /// Panics if there is no stake.
    #[must_use]
    pub fn first_winner(&self, seed: AtomId) -> Validator {
        let mut draw = ProposerSchedule::new(&self.table, seed).expect("there is stake");
        validator(&draw.next_validator())
    }

    /// Makes a block with a random id and returns its number.
    pub fn add(
        &mut self,
        parent: Number,
        slot: u64,
        producer: Validator,
        random: &mut Random,
    ) -> Number {
        let id = id_of(self.records.len(), random);
        self.add_with(parent, slot, producer, id)
    }

    /// Makes a block with an id from [`Blocks::candidate_id`] and returns its number.
    pub fn add_with(
        &mut self,
        parent: Number,
        slot: u64,
        producer: Validator,
        id: AtomId,
    ) -> Number {
        let Record { height, seeds, .. } = *self.record(parent);
        self.records.push(Record {
            id,
            parent,
            height: height + 1,
            slot,
            producer,
            seeds: seeds.child(id),
        });
        self.records.len() - 1
    }

    /// Makes a block with one of `tries` ids, if possible one that gives the next slot to the
    /// producer. Only [`Election::Parent`] depends on the id; otherwise the id is random.
    pub fn grind(
        &mut self,
        parent: Number,
        slot: u64,
        producer: Validator,
        tries: u64,
        random: &mut Random,
    ) -> Number {
        let mut id = self.candidate_id(random);
        if self.election == Election::Parent {
            for _ in 0..tries {
                if self.first_winner(id) == producer {
                    break;
                }
                id = self.candidate_id(random);
            }
        }
        self.add_with(parent, slot, producer, id)
    }

    /// Returns an id that the next block may have.
    pub fn candidate_id(&self, random: &mut Random) -> AtomId {
        id_of(self.records.len(), random)
    }

    /// Removes the newest block, which must not have a child.
    pub fn take_back(&mut self) {
        self.records.pop();
    }

    /// Returns the last common block of two branches.
    #[must_use]
    pub fn fork(&self, mut a: Number, mut b: Number) -> Number {
        while a != b {
            if self.height(a) >= self.height(b) {
                a = self.parent(a);
            } else {
                b = self.parent(b);
            }
        }
        a
    }

    /// Returns the branch above `fork` that ends in `tip`.
    #[must_use]
    pub fn branch(&self, fork: Number, tip: Number) -> Branch {
        let mut producers = BTreeSet::new();
        let (mut at, mut first) = (tip, tip);
        while at != fork {
            producers.insert(self.producer(at));
            first = at;
            at = self.parent(at);
        }
        let stake: u64 = producers
            .iter()
            .map(|producer| self.stakes[*producer])
            .sum();
        Branch {
            blocks: self.height(tip) - self.height(fork),
            stake: stake.into(),
            first: self.id(first),
        }
    }

    /// Returns two branches above their fork.
    #[must_use]
    pub fn pair(&self, ours: Number, theirs: Number) -> Pair {
        let fork = self.fork(ours, theirs);
        Pair {
            fork,
            ours: self.branch(fork, ours),
            theirs: self.branch(fork, theirs),
        }
    }
}

impl BlockIndex for Blocks {
    fn block(&self, id: &AtomId) -> Option<IndexedBlock> {
        let record = self.records.get(self.find(id)?)?;
        let is_genesis = record.height == 0;
        Some(IndexedBlock {
            height: record.height,
            parent: if is_genesis {
                AtomId::ZERO
            } else {
                self.id(record.parent)
            },
            producer: address(record.producer),
            timestamp: record.slot * SLOT_SECONDS,
        })
    }
}

impl StakeSource for Blocks {
    type View = StakeTable;

    fn stakes_after(&self, _: &AtomId) -> Option<StakeTable> {
        Some(self.table.clone())
    }
}

/// Returns the address of a validator.
#[must_use]
pub fn address(validator: Validator) -> Address {
    let mut bytes = [0; 32];
    let (number, _) = bytes.split_at_mut(8);
    number.copy_from_slice(&(validator as u64).to_be_bytes());
    Address::new(bytes)
}

fn validator(address: &Address) -> Validator {
    let number = address.as_bytes().first_chunk::<8>();
    let number = number.map_or(0, |number| u64::from_be_bytes(*number));
    usize::try_from(number).expect("few validators")
}

/// Returns a random id that ends with the number.
fn id_of(number: Number, random: &mut Random) -> AtomId {
    let mut bytes = [0; 32];
    for word in bytes.as_chunks_mut::<8>().0 {
        *word = random.next().to_be_bytes();
    }
    if let Some(last) = bytes.last_chunk_mut::<8>() {
        *last = (number as u64).to_be_bytes();
    }
    AtomId::new(bytes)
}
