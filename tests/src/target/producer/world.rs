//! First block, and the transactions that peers have.

use super::{OTHER, OWN};
use crate::target::scene::{self, address, transaction};
use astreum_core::atom::MemoryStore;
use astreum_core::chain::{BURN, Block, Transaction, contract, write_atoms};
use std::sync::OnceLock;

/// Keys that send transactions.
const SENDERS: core::ops::Range<u8> = 10..14;

/// First block, transactions, and their atoms.
pub(super) struct World {
    pub(super) network: MemoryStore,
    /// Atoms of the first block and its state; transactions arrive by announcements.
    pub(super) state: MemoryStore,
    pub(super) genesis: Block,
    pub(super) transactions: Vec<Transaction>,
}

pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut network = MemoryStore::new();
        let balances: Vec<(u8, u64)> = SENDERS.map(|key| (key, 100_000)).collect();
        let stakes = [(OWN, 1_000), (OTHER, 400)];
        let genesis = scene::genesis(&stakes, &balances, &mut network);
        let state = network.clone();
        let mut transactions = Vec::new();
        let nowhere = [&[contract::OPEN][..], &[0x71; 32]].concat();
        for number in 0..64_u64 {
            let sender = SENDERS.start + u8::try_from(number % 4).unwrap_or(0);
            let transaction = match number % 8 {
                // On a list that does not exist, with an amount beyond the balance, with much data.
                5 => transaction(sender, BURN, 0, number, &nowhere),
                6 => transaction(sender, address(9), 60_000, number, b""),
                7 => transaction(sender, address(9), 1, number, &[7; 3_000]),
                _ => transaction(sender, address(9), 1, number, b""),
            };
            let Ok(()) = write_atoms(transaction.to_atoms(), &mut network);
            transactions.push(transaction);
        }
        World {
            network,
            state,
            genesis,
            transactions,
        }
    })
}
