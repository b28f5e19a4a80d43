//! Existing blocks, transactions and lists, and the parts that peers have.

use crate::target::scene::{self, address, extend, transaction};
use astreum_core::atom::{AtomId, MemoryStore, bytes_list};
use astreum_core::chain::{BURN, Block, RecordAtoms, Transaction, Unsigned, contract, write_atoms};
use astreum_core::crypto::Signature;
use astreum_core::integer::Natural;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Balance of each sender in the first block.
pub(super) const BALANCE: Natural = Natural::new(4_000);
/// Key that sends only the honest transaction of the final phase.
pub(super) const HONEST_SENDER: u8 = 19;
/// Keys that send transactions.
const SENDERS: core::ops::Range<u8> = 10..15;
/// Key with nearly no balance.
const POOR: u8 = 16;
/// Key without an account.
const UNKNOWN: u8 = 17;
/// Number of transactions of each sender.
const EACH: u64 = 14;

/// All existing objects.
pub(super) struct World {
    /// Atoms that peers have.
    pub(super) network: MemoryStore,
    pub(super) genesis: AtomId,
    /// Blocks with the atoms that they added; the genesis with all its accounts.
    pub(super) blocks: BTreeMap<AtomId, (Block, RecordAtoms)>,
    /// Tip of the longest branch.
    pub(super) best: AtomId,
    /// Ids that may be announced: of transactions and of other objects.
    pub(super) ids: Vec<AtomId>,
    /// Lists and atoms that transactions may need.
    pub(super) data: Vec<AtomId>,
    /// Honest transaction of the final phase.
    pub(super) honest: AtomId,
    bodies: BTreeMap<AtomId, AtomId>,
    /// Transactions of each block.
    contents: BTreeMap<AtomId, BTreeSet<AtomId>>,
}

impl World {
    pub(super) fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(Self::new)
    }

    fn new() -> Self {
        let mut store = MemoryStore::new();
        let balance = BALANCE.to_u64().unwrap_or_default();
        let senders = SENDERS.chain([HONEST_SENDER]);
        let mut balances: Vec<(u8, u64)> = senders.map(|key| (key, balance)).collect();
        balances.push((POOR, 5));
        let genesis = scene::genesis(&[(1, 1_000)], &balances, &mut store);
        let accounts = store.iter().map(|(id, atom)| (*id, atom.clone())).collect();
        let mut world = Self {
            network: store,
            genesis: genesis.id(),
            blocks: BTreeMap::from([(genesis.id(), (genesis.clone(), accounts))]),
            best: AtomId::ZERO,
            ids: Vec::new(),
            data: Vec::new(),
            honest: AtomId::ZERO,
            bodies: BTreeMap::new(),
            contents: BTreeMap::new(),
        };
        let lists = world.lists();
        let transactions = world.transactions(&lists);
        // A trunk, a branch that leaves it near its start, and one near its end.
        let trunk = world.branch(&genesis, 22, 2, &transactions);
        let deep = trunk.get(2).cloned().unwrap_or_else(|| genesis.clone());
        world.branch(&deep, 20, 3, transactions.get(5..).unwrap_or_default());
        let near = trunk.get(18).cloned().unwrap_or_else(|| genesis.clone());
        world.branch(&near, 2, 3, &[]);
        world.best = trunk.last().map(Block::id).unwrap_or_default();
        world.spoil(&transactions, &genesis);
        let honest = transaction(HONEST_SENDER, address(9), 1, 1, b"");
        world.honest = world.publish(&honest);
        world.ids.pop();
        world
    }

    /// Creates lists that are available, long, broken off, and unavailable.
    fn lists(&mut self) -> [AtomId; 4] {
        let (short, atoms) = bytes_list(&[b"a".as_slice(), b"b", b"c"]);
        self.network.extend(atoms);
        let (long, atoms) = bytes_list(&vec![b"one of many".as_slice(); 1_300]);
        self.network.extend(atoms);
        let (cut, atoms) = bytes_list(&vec![b"one of some".as_slice(); 40]);
        self.network.extend(atoms.into_iter().skip(20));
        let lists = [short, long, cut, AtomId::new([0x71; 32])];
        self.data.extend(lists);
        lists
    }

    fn publish(&mut self, transaction: &Transaction) -> AtomId {
        let Ok(()) = write_atoms(transaction.to_atoms(), &mut self.network);
        let id = transaction.id();
        self.bodies.insert(id, transaction.body_hash());
        self.ids.push(id);
        id
    }

    fn transactions(&mut self, lists: &[AtomId]) -> Vec<Transaction> {
        let mut transactions = Vec::new();
        for counter in 0..EACH {
            for sender in SENDERS {
                let number = usize::from(sender) + usize::try_from(counter).unwrap_or(0);
                let long = vec![7; 900];
                let transaction = match (number % 4, lists.get(number / 4 % 4)) {
                    (0, Some(list)) => {
                        let data = [&[contract::OPEN][..], list.as_ref()].concat();
                        transaction(sender, BURN, 0, counter, &data)
                    }
                    (1, _) => transaction(sender, address(9), 1, counter, &long),
                    _ => transaction(sender, address(9), 2, counter, b""),
                };
                self.publish(&transaction);
                transactions.push(transaction);
            }
        }
        transactions
    }

    fn branch(
        &mut self,
        parent: &Block,
        count: usize,
        gap: u64,
        transactions: &[Transaction],
    ) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        for number in 0..count {
            let parent = blocks.last().unwrap_or(parent).clone();
            // Every second one is left for the mempool.
            let taken = transactions.iter().skip(number * 3).take(3).step_by(2);
            let taken: Vec<&Transaction> = taken.collect();
            let (block, atoms) = extend(&mut self.network, &parent, 1, gap, &taken);
            let list = block.transactions;
            let listed = astreum_core::atom::collect_list(&self.network, list, 16);
            let listed = listed.unwrap_or_default();
            let ids = listed
                .iter()
                .filter_map(|atom| AtomId::from_slice(atom.data()));
            self.contents.insert(block.id(), ids.collect());
            self.blocks.insert(block.id(), (block.clone(), atoms));
            blocks.push(block);
        }
        blocks
    }

    /// Adds objects that are invalid as transactions or unavailable.
    fn spoil(&mut self, transactions: &[Transaction], genesis: &Block) {
        for sender in [POOR, UNKNOWN] {
            let poor = transaction(sender, address(9), 1, 1, b"");
            self.publish(&poor);
        }
        let other_chain = Unsigned {
            chain_id: 9_u64.into(),
            amount: Natural::ONE,
            counter: Natural::ONE,
            data: [].as_slice().into(),
            recipient: address(9),
        };
        self.publish(&other_chain.clone().sign(&scene::key(10)));
        let unsigned = Unsigned {
            chain_id: Natural::ZERO,
            ..other_chain
        };
        let forged = unsigned
            .clone()
            .signed(address(11), Signature::new([3; 64]));
        self.publish(&forged);
        let Ok(huge) = Natural::from_bytes_le(&[1; 4_000]) else {
            panic!("cannot build a number of 4,000 bytes");
        };
        let too_large = Unsigned {
            counter: huge,
            ..unsigned
        };
        self.publish(&too_large.sign(&scene::key(12)));
        // Its body or its head is unavailable.
        for (number, transaction) in transactions.iter().rev().take(4).enumerate() {
            let missing = if number % 2 == 0 {
                transaction.body_hash()
            } else {
                transaction.id()
            };
            self.network.remove(&missing);
        }
        self.ids.extend([
            genesis.id(),
            genesis.accounts,
            AtomId::ZERO,
            AtomId::new([0x72; 32]),
        ]);
        self.data
            .extend([genesis.accounts, AtomId::new([0x73; 32])]);
    }

    /// Returns the heads of a transaction's two lists.
    pub(super) fn parts_of(&self, id: AtomId) -> Vec<AtomId> {
        [id].into_iter()
            .chain(self.bodies.get(&id).copied())
            .collect()
    }

    /// Returns whether the branch of a block contains a transaction.
    pub(super) fn includes(&self, head: AtomId, id: &AtomId) -> bool {
        let mut at = head;
        while let Some((block, _)) = self.blocks.get(&at) {
            if self.contents.get(&at).is_some_and(|ids| ids.contains(id)) {
                return true;
            }
            at = block.previous;
        }
        false
    }
}
