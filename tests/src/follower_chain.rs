//! Chain of 100 blocks that the follower on bare metal syncs, with an invalid branch.
//!
//! Three validators make the blocks in their slots, and a fourth joins them. The recording holds
//! the genesis with its state, and the headers and transactions of all blocks: what a follower
//! fetches. It does not hold the state after a block, which a follower has to compute. The invalid
//! branch leaves the chain at [`INVALID_HEIGHT`] with a block that names a wrong transaction root;
//! its proof of work, signature and slot are valid.
//!
//! `cargo run -p astreum-tests --bin follower_chain` writes the recording to
//! `tests/no_std/chain.bin`; `tests/no_std/src/recording.rs` reads it.

use astreum_core::atom::{Atom, AtomId, MemoryStore, collect_list};
use astreum_core::chain::{
    Address, Block, Builder, ElectionCache, Genesis, Header, Miner, SLOT_SECONDS, TREASURY,
    Transaction, Unsigned, difficulty, validator_at, write_atoms,
};
use astreum_core::integer::Natural;
use astreum_core::testkit::{address, key};
use astreum_core::trie::Scalar;
use std::collections::BTreeSet;

/// Height of the chain's head.
pub const HEIGHT: u64 = 100;
/// Height of the first block of the invalid branch.
pub const INVALID_HEIGHT: u64 = 50;
/// Height of the head of the invalid branch.
const INVALID_HEAD_HEIGHT: u64 = 53;
/// Timestamp of the genesis.
const BEGINNING: u64 = 1_800_000_000;
/// Validators with a stake in the genesis.
const VALIDATORS: [u8; 3] = [1, 2, 3];
/// Account that pays for all transactions, and becomes a validator.
const PAYER: u8 = 4;
/// Height of the block in which the payer stakes.
const STAKE_HEIGHT: u64 = 30;
/// Interval of blocks with transfers.
const TRANSFER_INTERVAL: u64 = 5;
/// Maximum number of slots without a block.
const MAX_SLOT_GAP: u64 = 1_000;
/// Maximum number of nonces per block.
const MAX_NONCES: u64 = 1 << 20;

/// Chain and its encoded form.
#[derive(Clone, Debug)]
pub struct FollowerChain {
    /// Blocks by height, genesis first.
    pub blocks: Vec<Block>,
    /// First block of the invalid branch.
    pub invalid: Block,
    /// Recording.
    pub recording: Vec<u8>,
}

/// Makes the chain; every call returns the same one.
///
/// # Panics
/// Panics if the rules of the chain refuse one of its blocks.
#[must_use]
pub fn follower_chain() -> FollowerChain {
    let mut maker = Maker::new();
    while let Some(parent) = maker.blocks.last().cloned()
        && parent.height < HEIGHT
    {
        let header = maker.draft(&parent);
        let block = maker.mine(&parent, header);
        maker.blocks.push(block);
    }
    let invalid_branch = maker.invalid_branch();
    let (Some(genesis), Some(head)) = (maker.blocks.first(), maker.blocks.last()) else {
        panic!("the chain has a genesis");
    };
    let (Some(invalid), Some(invalid_head)) = (invalid_branch.first(), invalid_branch.last())
    else {
        panic!("the invalid branch has blocks");
    };
    let mut recording = Recording::default();
    for id in [genesis.id(), head.id(), invalid_head.id()] {
        recording.bytes.extend_from_slice(id.as_bytes());
    }
    recording.add(maker.genesis_atoms.clone());
    for block in maker.blocks.iter().chain(&invalid_branch) {
        recording.add(block.to_atoms().into_iter().map(|(_, atom)| atom));
        recording.add(maker.list(block.transactions));
    }
    for transaction in &maker.transactions {
        recording.add(transaction.to_atoms().into_iter().map(|(_, atom)| atom));
    }
    FollowerChain {
        invalid: invalid.clone(),
        recording: recording.bytes,
        blocks: maker.blocks,
    }
}

/// Three ids, then atoms with their length in front, each once.
#[derive(Default)]
struct Recording {
    bytes: Vec<u8>,
    known: BTreeSet<AtomId>,
}

impl Recording {
    fn add(&mut self, atoms: impl IntoIterator<Item = Atom>) {
        for atom in atoms {
            if !self.known.insert(atom.id()) {
                continue;
            }
            let stored = atom.to_bytes();
            let Ok(len) = u16::try_from(stored.len()) else {
                panic!("an atom of {} bytes", stored.len());
            };
            self.bytes.extend_from_slice(&len.to_le_bytes());
            self.bytes.extend_from_slice(&stored);
        }
    }
}

/// Maker of the blocks.
struct Maker {
    store: MemoryStore,
    genesis_atoms: Vec<Atom>,
    blocks: Vec<Block>,
    transactions: Vec<Transaction>,
    elections: ElectionCache,
}

impl Maker {
    fn new() -> Self {
        let mut genesis = Genesis::new(address(1), Natural::ZERO, BEGINNING.into());
        for validator in VALIDATORS {
            genesis
                .stakes
                .insert(address(validator), 250_000_u64.into());
        }
        genesis
            .balances
            .insert(address(PAYER), 1_000_000_u64.into());
        let mut store = MemoryStore::new();
        let block = match genesis.build(&mut Scalar, &mut store) {
            Ok(block) => block,
            Err(error) => panic!("{error}"),
        };
        // The order of a store is not defined.
        let mut genesis_atoms: Vec<(AtomId, Atom)> =
            store.iter().map(|(id, atom)| (*id, atom.clone())).collect();
        genesis_atoms.sort_unstable_by_key(|(id, _)| *id);
        let mut maker = Self {
            store,
            genesis_atoms: genesis_atoms.into_iter().map(|(_, atom)| atom).collect(),
            blocks: Vec::new(),
            transactions: Vec::new(),
            elections: ElectionCache::default(),
        };
        maker.write(&block);
        maker.blocks.push(block);
        maker
    }

    fn write(&mut self, block: &Block) {
        let Ok(_) = block.write(&mut self.store);
    }

    /// Returns the atoms of a list.
    fn list(&self, head: AtomId) -> Vec<Atom> {
        match collect_list(&self.store, head, usize::MAX) {
            Ok(atoms) => atoms,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the transactions of the block at `height`.
    fn transactions_at(height: u64) -> Vec<Transaction> {
        let transaction = |counter: u64, amount: u64, recipient: Address| {
            let unsigned = Unsigned {
                chain_id: Natural::ZERO,
                amount: amount.into(),
                counter: counter.into(),
                data: [].as_slice().into(),
                recipient,
            };
            unsigned.sign(&key(PAYER))
        };
        let mut transactions = Vec::new();
        if height.is_multiple_of(TRANSFER_INTERVAL) {
            transactions.push(transaction(2 * height, height, address(5)));
            transactions.push(transaction(2 * height + 1, 1, Address::new([9; 32])));
        }
        if height == STAKE_HEIGHT {
            transactions.push(transaction(1, 250_000, TREASURY));
        }
        transactions
    }

    /// Returns the validator of the first slot after `parent` and the time of the slot.
    fn slot(&mut self, parent: &Block) -> (u8, Natural) {
        let election = match self.elections.load(&self.store, parent, u32::MAX) {
            Ok(Some(election)) => election,
            other => panic!("the election after block {}: {other:?}", parent.height),
        };
        let seed = election.seeds.next_slot_seed();
        for slot in 1..MAX_SLOT_GAP {
            let time = &parent.timestamp + &Natural::from(slot * SLOT_SECONDS);
            let scheduled = validator_at(&election.stakes, seed, &parent.timestamp, &time);
            let mut validators = VALIDATORS.into_iter().chain([PAYER]);
            if let Some(own) = validators.find(|number| scheduled == Ok(address(*number))) {
                return (own, time);
            }
        }
        panic!("no slot after block {}", parent.height)
    }

    /// Returns the header of the next block, before the search for a nonce.
    fn draft(&mut self, parent: &Block) -> Header {
        let (validator, time) = self.slot(parent);
        let Ok(Some(election)) = self.elections.load(&self.store, parent, u32::MAX) else {
            panic!("the election is cached");
        };
        let height = parent.height.to_u64().map_or(0, |height| height + 1);
        let transactions = Self::transactions_at(height);
        let mut builder = Builder::new(&self.store, parent, &election.stakes);
        for transaction in &transactions {
            let applied = builder.apply(transaction);
            assert!(matches!(applied, Ok(Ok(_))), "{applied:?}");
        }
        let body = match builder.finish(&mut Scalar, Some(address(validator))) {
            Ok(body) => body,
            Err(error) => panic!("{error}"),
        };
        drop(builder);
        let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
        let header = body.header(parent, address(validator), time, asked);
        let Ok(()) = write_atoms(body.atoms, &mut self.store);
        self.transactions.extend(transactions);
        header
    }

    /// Signs a block with the key of its validator.
    fn mine(&mut self, parent: &Block, header: Header) -> Block {
        let mut validators = VALIDATORS.into_iter().chain([PAYER]);
        let Some(number) = validators.find(|number| address(*number) == header.validator) else {
            panic!("validator {} is unknown", header.validator);
        };
        let mut miner = Miner::new(header, key(number), &parent.difficulty);
        let Some(block) = miner.try_nonces(MAX_NONCES, &mut Scalar) else {
            panic!("no nonce found at a low difficulty");
        };
        self.write(&block);
        block
    }

    /// Makes blocks on the parent of the block at [`INVALID_HEIGHT`]: the first one is that block
    /// without its transactions, the others follow it with empty bodies.
    fn invalid_branch(&mut self) -> Vec<Block> {
        let heights = self.blocks.iter().zip(self.blocks.iter().skip(1));
        let mut heights = heights.map(|(parent, block)| (parent.clone(), block.header().clone()));
        let found = heights.find(|(_, header)| header.height == INVALID_HEIGHT);
        let Some((parent, valid)) = found else {
            panic!("the chain is shorter than {INVALID_HEIGHT}");
        };
        assert!(!valid.transactions.is_zero());
        let header = Header {
            transactions: AtomId::ZERO,
            nonce: Natural::ZERO,
            ..valid
        };
        let mut branch = vec![self.mine(&parent, header)];
        while let Some(parent) = branch.last().cloned()
            && parent.height < INVALID_HEAD_HEIGHT
        {
            let time = &parent.timestamp + &Natural::from(SLOT_SECONDS);
            let header = Header {
                height: &parent.height + &Natural::ONE,
                previous: parent.id(),
                difficulty: difficulty(&parent.timestamp, &time, &parent.difficulty),
                timestamp: time,
                nonce: Natural::ZERO,
                ..parent.header().clone()
            };
            branch.push(self.mine(&parent, header));
        }
        branch
    }
}
