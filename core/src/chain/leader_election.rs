//! Leader election: which validator may make the block of a height in which slot.
//!
//! Time is cut into slots of two seconds, counted from a block. Each slot after it draws one
//! validator, with chances in proportion to the stakes that the block left ([`StakeTable`]), and
//! halves the stake that won for the slots after it; the halves are forgotten with the draw
//! ([`Draw`]). The draw is the reference's.
//!
//! The seed of the draw is this implementation's. The reference takes the id of the block, so that
//! the producer of a block, which can try 30,000 ids a second, chooses the producer of the next
//! one: a stake of 1 of 1,001 made 300 blocks in a row. Here each height has a seed of its own,
//! `BLAKE3(epoch seed ‖ height)`, and the epoch seed is made of the ids of all blocks of the epoch
//! before last, [`EPOCH_BLOCKS`] heights ([`ElectionSeeds`]). Only the producer of the last block
//! of an epoch can choose among seeds, once for 1,024 heights, and it pays for them with the chance
//! to do so again. What this allows, and what it does not, is measured in `tests/src/election`.
//!
//! - [`Election`] is what decides after one block: its seeds and its stakes.
//! - [`ElectionLoader`] reads it from a store, a bounded number of atoms per call.
//! - [`ElectionCache`] keeps that of recent blocks, and finds the nearest to start from.
//! - [`Participation`] tells whether the producers of recent blocks hold the stake they should.

mod cache;
mod draw;
mod election;
mod loader;
mod participation;
mod random;
mod seeds;
mod stake_loader;
mod stake_table;
mod stake_tree;

pub use cache::{ElectionCache, MAX_CACHED_ELECTIONS};
pub use draw::{Draw, ElectionError, MAX_SLOTS, slot_of, validator_at};
pub use election::Election;
pub use loader::{ElectionLoader, MAX_GENESIS_STAKES};
pub use participation::{PARTICIPATION_BLOCKS, Participation};
pub use seeds::{ELECTION_SEEDS_BYTES, EPOCH_BLOCKS, ElectionSeeds, SeedRun};
pub use stake_loader::StakeLoader;
pub use stake_table::{StakeTable, Stakes};

#[cfg(test)]
mod tests;
