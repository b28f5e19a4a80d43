use super::*;
use core::cell::Cell;
use std::collections::BTreeMap;
use std::string::String;
use std::vec;

mod operator;
mod random;
mod rules;
mod tree;
mod walks;

/// Block index with numbered blocks, whose ids have the order of the numbers, and stakes that are
/// the same at every block unless set otherwise.
#[derive(Default)]
struct World {
    blocks: BTreeMap<AtomId, IndexedBlock>,
    stakes: BTreeMap<Address, u64>,
    /// Stakes as of individual blocks.
    stakes_at: BTreeMap<AtomId, BTreeMap<Address, u64>>,
    /// Blocks after which the stakes are not available.
    unavailable: BTreeSet<AtomId>,
    lookups: Cell<usize>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Table(BTreeMap<Address, u64>);

impl StakeView for Table {
    fn stake(&self, validator: &Address) -> Natural {
        self.0.get(validator).copied().unwrap_or_default().into()
    }

    fn total(&self) -> Natural {
        self.0.values().copied().sum::<u64>().into()
    }
}

impl BlockIndex for World {
    fn block(&self, id: &AtomId) -> Option<IndexedBlock> {
        self.lookups.set(self.lookups.get() + 1);
        self.blocks.get(id).copied()
    }
}

impl StakeSource for World {
    type View = Table;

    fn stakes_after(&self, block: &AtomId) -> Option<Table> {
        let stakes = self.stakes_at.get(block).unwrap_or(&self.stakes);
        (!self.unavailable.contains(block)).then(|| Table(stakes.clone()))
    }
}

type Choice = ForkChoice<Table>;

const NOW: u64 = u64::MAX;

fn id(number: u64) -> AtomId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    AtomId::new(bytes)
}

fn producer(number: usize) -> Address {
    Address::new([u8::try_from(number).unwrap(); 32])
}

impl World {
    /// Creates a genesis, number 1, and validators with these stakes.
    fn new(stakes: &[u64]) -> Self {
        let stakes = stakes.iter().enumerate();
        let mut world = Self {
            stakes: stakes.map(|(at, stake)| (producer(at), *stake)).collect(),
            next: 2,
            ..Self::default()
        };
        world.put(1, AtomId::ZERO, 0, 0);
        world
    }

    fn put(&mut self, number: u64, parent: AtomId, height: u64, by: usize) {
        let block = IndexedBlock {
            height,
            parent,
            producer: producer(by),
            timestamp: 2 * height,
        };
        self.blocks.insert(id(number), block);
    }

    /// Adds a block above `parent`.
    fn child(&mut self, parent: AtomId, by: usize) -> AtomId {
        let height = self.blocks[&parent].height + 1;
        let number = self.next;
        self.next += 1;
        self.put(number, parent, height, by);
        id(number)
    }

    /// Adds `blocks` blocks above `parent`, by these producers in rotation.
    fn run(&mut self, mut parent: AtomId, blocks: u64, by: &[usize]) -> AtomId {
        for by in by.iter().cycle().take(blocks.try_into().unwrap()) {
            parent = self.child(parent, *by);
        }
        parent
    }

    /// Creates a fork choice that knows these tips and has its head at `head`.
    fn choice(&self, head: Option<AtomId>, tips: &[AtomId]) -> Choice {
        let mut choice = Choice::new(Settings::default());
        if let Some(head) = head {
            choice.set_head(self, head).unwrap();
        }
        for tip in tips {
            choice.insert(self, (*tip).into(), NOW).unwrap();
        }
        choice
    }

    /// Returns the head that a node at `head` moves to if it knows these tips.
    fn chosen(&self, head: AtomId, tips: &[AtomId]) -> AtomId {
        let outcome = self.choice(Some(head), tips).decide(self, &[]);
        assert!(outcome.missing_stakes.is_empty());
        target(&outcome).unwrap_or(head)
    }

    fn block_at(&self, mut id: AtomId, height: u64) -> AtomId {
        while self.blocks[&id].height > height {
            id = self.blocks[&id].parent;
        }
        id
    }
}

fn target(outcome: &Outcome) -> Option<AtomId> {
    match &outcome.decision {
        Decision::Keep => None,
        Decision::Switch(reorganization) => Some(reorganization.to),
    }
}

fn causes(outcome: &Outcome) -> Vec<Cause> {
    outcome
        .contests
        .iter()
        .map(|contest| contest.cause)
        .collect()
}
