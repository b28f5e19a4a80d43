//! Chains of any length, made faster than their clock.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a fixture that cannot be made panics with the place"
)]

use astreum_core::atom::{Atom, AtomId, MemoryStore, collect_list};
use astreum_core::chain::{
    Address, Block, Builder, ElectionCache, Genesis, Miner, SLOT_SECONDS, Transaction, Unsigned,
    difficulty, write_atoms,
};
use astreum_core::integer::Natural;
use astreum_core::testkit::{address, key};
use astreum_core::trie::Scalar;
use std::time::{SystemTime, UNIX_EPOCH};

const VALIDATOR: u8 = 1;
const PAYER: u8 = 2;
/// Maximum number of nonces per block.
const MAX_NONCES: u64 = 1 << 20;

/// Chain of a single validator, whose blocks are in the past.
#[derive(Debug)]
pub struct QuickChain {
    store: MemoryStore,
    /// Ids of the blocks, by height.
    pub blocks: Vec<AtomId>,
    /// Atoms that a node fetches to verify the chain; it makes the state after the genesis itself.
    pub fetched: Vec<(AtomId, Atom)>,
}

impl QuickChain {
    /// Makes a chain of this height with this number of transfers in each block.
    #[must_use]
    pub fn make(height: u64, transfers: u64) -> Self {
        Self::with_accounts(height, transfers, 0)
    }

    /// Like [`Self::make`], with so many further accounts, each with a balance of its own.
    ///
    /// # Panics
    /// Panics if the chain cannot be made.
    #[must_use]
    pub fn with_accounts(height: u64, transfers: u64, accounts: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let beginning = now.as_secs() - (height + 100) * SLOT_SECONDS;
        let mut genesis = Genesis::new(address(VALIDATOR), Natural::ZERO, beginning.into());
        genesis
            .balances
            .insert(address(PAYER), 1_000_000_000_000_u64.into());
        for number in 1..=accounts {
            genesis.balances.insert(account(number), number.into());
        }
        let mut store = MemoryStore::new();
        let mut parent = genesis.build(&mut Scalar, &mut store).unwrap();
        parent.write(&mut store).unwrap();
        let mut fetched = all(&store);
        let mut blocks = vec![parent.id()];
        let mut elections = ElectionCache::default();
        let mut counter = 0;
        for _ in 0..height {
            let transactions = transfers_from(&mut counter, transfers);
            parent = next(&mut store, &mut elections, &parent, &transactions);
            blocks.push(parent.id());
            fetched.extend(parent.to_atoms());
            fetched.extend(transactions.iter().flat_map(Transaction::to_atoms));
            let list = collect_list(&store, parent.transactions, usize::MAX).unwrap();
            fetched.extend(list.into_iter().map(|atom| (atom.id(), atom)));
        }
        Self {
            store,
            blocks,
            fetched,
        }
    }

    /// Returns the id of the block at a height; zeros above the head.
    #[must_use]
    pub fn block(&self, height: usize) -> AtomId {
        self.blocks.get(height).copied().unwrap_or_default()
    }

    /// Returns the id of the head.
    #[must_use]
    pub fn head(&self) -> AtomId {
        self.blocks.last().copied().unwrap_or_default()
    }

    /// Returns all atoms.
    #[must_use]
    pub fn atoms(&self) -> Vec<(AtomId, Atom)> {
        all(&self.store)
    }

    /// Returns the store with all atoms.
    #[must_use]
    pub const fn store(&self) -> &MemoryStore {
        &self.store
    }
}

/// Returns the address of a further account.
#[must_use]
pub fn account(number: u64) -> Address {
    Address::new(astreum_core::crypto::hash(&number.to_be_bytes()))
}

fn all(store: &MemoryStore) -> Vec<(AtomId, Atom)> {
    store.iter().map(|(id, atom)| (*id, atom.clone())).collect()
}

/// Returns transfers to accounts that repeat after 5,000.
fn transfers_from(counter: &mut u64, count: u64) -> Vec<Transaction> {
    let transfers = (0..count).map(|_| {
        *counter += 1;
        let mut recipient = [1; 32];
        recipient[..8].copy_from_slice(&(*counter % 5_000).to_be_bytes());
        let unsigned = Unsigned {
            chain_id: Natural::ZERO,
            amount: 1_u64.into(),
            counter: (*counter).into(),
            data: [].as_slice().into(),
            recipient: Address::new(recipient),
        };
        unsigned.sign(&key(PAYER))
    });
    transfers.collect()
}

fn next(
    store: &mut MemoryStore,
    elections: &mut ElectionCache,
    parent: &Block,
    transactions: &[Transaction],
) -> Block {
    let election = elections.load(store, parent, u32::MAX).unwrap();
    let stakes = election.expect("the election is complete").stakes.clone();
    let time = &parent.timestamp + &Natural::from(SLOT_SECONDS);
    let mut builder = Builder::new(&mut *store, parent, &stakes);
    for transaction in transactions {
        builder.apply(transaction).unwrap().unwrap();
    }
    let body = builder
        .finish(&mut Scalar, Some(address(VALIDATOR)))
        .unwrap();
    drop(builder);
    let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
    let header = body.header(parent, address(VALIDATOR), time, asked);
    write_atoms(body.atoms, store).unwrap();
    for transaction in transactions {
        write_atoms(transaction.to_atoms(), store).unwrap();
    }
    let mut miner = Miner::new(header, key(VALIDATOR), &parent.difficulty);
    let block = miner.try_nonces(MAX_NONCES, &mut Scalar);
    let block = block.expect("a nonce at a low difficulty");
    block.write(store).unwrap();
    block
}
