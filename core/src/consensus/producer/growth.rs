//! Growth of storage by blocks, and its limit for a producer.
//!
//! Every node keeps every block forever, so a chain that anyone can fill fills every disk. The
//! price of storage is the first limit; over long times, each producer's own limit applies.
//! [`Allowance`] lets blocks add a number of bytes on average (the option
//! `max_block_growth_bytes`). The unused part of a block is saved for later ones, up to
//! [`SAVED_BLOCKS`] times the allowance, so that a block of an idle chain can be as full as any.
//!
//! With the default of 32 KiB, a producer whose blocks are always full fills 10 GiB in a week
//! (43,200 blocks a day), and at most 128 MiB of it at once.

use crate::chain::{INDEX_ENTRY_BYTES, RecordAtoms};

/// Approximate number of bytes that an empty block adds to storage.
pub const EMPTY_BLOCK_BYTES: u64 = 8 << 10;
/// Number of bytes that a block's own record takes in storage: head, body and list, 22 atoms.
pub const BLOCK_BYTES: u64 = 22 * (INDEX_ENTRY_BYTES + 64);
/// Default of [`Allowance`] for each block, in bytes.
pub const DEFAULT_GROWTH_BYTES: u64 = 32 << 10;
/// Maximum number of blocks whose unused allowance is saved.
pub const SAVED_BLOCKS: u64 = 4_096;
/// Initial estimate of the bytes that a transaction adds beyond its own.
const FIRST_GUESS: u64 = 16 << 10;

/// Returns the number of bytes that atoms take in cold storage.
#[must_use]
pub fn stored_growth(atoms: &RecordAtoms) -> u64 {
    let bytes = atoms
        .iter()
        .map(|(_, atom)| atom.stored_len() as u64 + INDEX_ENTRY_BYTES);
    bytes.sum()
}

/// Bytes that the blocks of a producer may add to storage. See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// Allowance for each block, in bytes; 0 for no limit.
    per_block: u64,
    saved: u64,
    /// Moving average of the bytes that a transaction adds beyond its own.
    per_transaction: u64,
}

impl Allowance {
    /// Creates an allowance of `per_block` bytes for each block; 0 for no limit. The savings start
    /// at their maximum.
    #[must_use]
    pub const fn new(per_block: u64) -> Self {
        Self {
            per_block,
            saved: per_block.saturating_mul(SAVED_BLOCKS),
            per_transaction: FIRST_GUESS,
        }
    }

    /// Returns the number of bytes that the next block may add.
    #[must_use]
    pub const fn next_block(&self) -> u64 {
        match self.per_block {
            0 => u64::MAX,
            per_block => self.saved.saturating_add(per_block),
        }
    }

    /// Returns the expected number of bytes that a transaction adds beyond its own.
    #[must_use]
    pub const fn per_transaction(&self) -> u64 {
        self.per_transaction
    }

    /// Charges a block that added `bytes`, `own_bytes` of which are those of its transactions.
    pub fn spend(&mut self, bytes: u64, own_bytes: u64, transactions: usize) {
        let most = self.per_block.saturating_mul(SAVED_BLOCKS);
        let saved = self.saved.saturating_add(self.per_block);
        self.saved = saved.saturating_sub(bytes).min(most);
        let overhead = bytes
            .saturating_sub(own_bytes)
            .saturating_sub(EMPTY_BLOCK_BYTES);
        if let Some(seen) = overhead.checked_div(transactions as u64) {
            // Moving average of the last blocks. Transactions of full blocks add less: they share
            // trie nodes.
            self.per_transaction = (self.per_transaction / 4 * 3).saturating_add(seen / 4);
        }
    }
}

/// Limit of the next block after the storage refused one, in bytes; `None` if it refused none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Room(Option<u64>);

impl Room {
    /// Limit of zero: an empty block is tried next.
    pub(super) const EMPTY: Self = Self(Some(0));

    /// Returns the limit after a block that would have added `growth` was refused.
    pub(super) const fn after_refusal(growth: u64) -> Self {
        Self(Some(growth / 2))
    }

    /// Returns the smaller of this limit and `allowed`.
    pub(super) fn bound(self, allowed: u64) -> u64 {
        self.0.map_or(allowed, |room| room.min(allowed))
    }

    /// Raises the limit after a block that added `growth` was stored. Drops it once it reaches
    /// `allowed`, the allowance of the next block.
    ///
    /// The limit grows in steps: the storage may be as full as before.
    pub(super) fn stored(&mut self, growth: u64, allowed: u64) {
        let left = growth.max(EMPTY_BLOCK_BYTES);
        let room = self.0.map(|room| room.max(left).saturating_mul(2));
        self.0 = room.filter(|room| *room < allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_size_is_halved_until_it_fits_and_grows_in_steps() {
        assert_eq!(Room::default().bound(1_000_000), 1_000_000);
        let mut room = Room::after_refusal(100_001);
        assert_eq!(room.bound(1_000_000), 50_000);
        assert_eq!(room.bound(40_000), 40_000);
        room.stored(50_000, 1_000_000);
        assert_eq!(room.bound(1_000_000), 100_000);
        // A block that added more shows that there is more room.
        room.stored(300_000, 1_000_000);
        assert_eq!(room.bound(1_000_000), 600_000);
        room.stored(10, 1_200_000);
        assert_eq!(room, Room::default(), "as much as is allowed is no bound");
        let mut room = Room::EMPTY;
        assert_eq!(room.bound(1_000_000), 0);
        room.stored(10, 1_000_000);
        assert_eq!(room.bound(1_000_000), 2 * EMPTY_BLOCK_BYTES);
        let mut unbounded = Room::default();
        unbounded.stored(10, 1_000_000);
        assert_eq!(unbounded, Room::default());
    }

    #[test]
    fn blocks_use_the_allowance_on_average_and_save_the_rest() {
        let mut allowance = Allowance::new(1_000);
        let most = 1_000 * SAVED_BLOCKS;
        assert_eq!(allowance.next_block(), most + 1_000);
        // Blocks as full as possible.
        let mut left = 0;
        for _ in 0..10_000_u64 {
            let bytes = allowance.next_block();
            allowance.spend(bytes, 0, 1);
            left += bytes;
        }
        assert_eq!(left, most + 10_000 * 1_000);
        assert_eq!(allowance.next_block(), 1_000);
        // Idle for a long time: savings do not exceed the maximum.
        for _ in 0..2 * SAVED_BLOCKS {
            allowance.spend(10, 0, 0);
        }
        assert_eq!(allowance.next_block(), most + 1_000);
        // A block that had to add more is paid for later.
        for _ in 0..3 {
            allowance.spend(u64::MAX, 0, 0);
        }
        assert_eq!(allowance.next_block(), 1_000);
    }

    #[test]
    fn zero_allowance_means_unlimited() {
        let mut allowance = Allowance::new(0);
        allowance.spend(u64::MAX, 0, 1);
        assert_eq!(allowance.next_block(), u64::MAX);
    }

    #[test]
    fn ten_gibibytes_hold_a_week_of_full_blocks() {
        let mut allowance = Allowance::new(DEFAULT_GROWTH_BYTES);
        let (mut filled, mut blocks) = (0_u64, 0);
        while filled < 10 << 30 {
            let bytes = allowance.next_block();
            allowance.spend(bytes, 0, 0);
            filled += bytes;
            blocks += 1;
        }
        let days = blocks * crate::chain::SLOT_SECONDS / 86_400;
        assert!((7..14).contains(&days), "{days} days");
    }

    #[test]
    fn learns_the_storage_cost_of_a_transaction() {
        let mut allowance = Allowance::new(0);
        for _ in 0..40 {
            let count = 100;
            let bytes = EMPTY_BLOCK_BYTES + count * (600 + 5_000);
            allowance.spend(bytes, count * 600, 100);
        }
        let learned = allowance.per_transaction();
        assert!((4_900..=5_010).contains(&learned), "{learned}");
    }
}
