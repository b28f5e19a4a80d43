//! Leader election: the block producer of each slot.
//!
//! Time after a block is divided into slots of two seconds. Each slot draws one validator with a
//! probability in proportion to the stakes that the block left ([`StakeTable`]), and halves the
//! stake that won for the slots after it; the halving ends with the next block
//! ([`ProposerSchedule`]). The algorithm is the reference's.
//!
//! The seed is this implementation's. The reference takes the id of the parent block, so that the
//! producer of a block, which can try 30,000 ids per second, chooses the producer of the next one:
//! there, a stake of 1 of 1,001 made 300 blocks in a row. Here each height has its own seed,
//! `BLAKE3(epoch seed ‖ height)`, and the epoch seed is computed from the ids of all blocks of the
//! epoch before last, [`EPOCH_BLOCKS`] heights ([`ElectionSeeds`]). Only the producer of the last
//! block of an epoch can choose among seeds, once per 1,024 heights, and it pays for the choice
//! with the chance to choose again. `tests/src/election` measures what this allows and prevents.
//!
//! - [`Election`] holds the inputs after one block: seeds and stakes.
//! - [`ElectionLoader`] reads it from a store, a bounded number of atoms per call.
//! - [`ElectionCache`] keeps the elections of recent blocks and finds the nearest to start from.
//! - [`Participation`] compares the stake of recent producers with the expected stake.

mod cache;
mod election;
mod known;
mod loader;
mod participation;
mod proposer_schedule;
mod random;
mod seeds;
mod stake_loader;
mod stake_table;
mod stake_tree;

pub use cache::{ElectionCache, MAX_CACHED_ELECTIONS};
pub use election::Election;
pub use known::KnownElections;
pub use loader::{ElectionLoader, MAX_GENESIS_STAKES};
pub use participation::{PARTICIPATION_BLOCKS, Participation};
pub use proposer_schedule::{ElectionError, MAX_SLOTS, ProposerSchedule, slot_of, validator_at};
pub use seeds::{ELECTION_SEEDS_BYTES, EPOCH_BLOCKS, ElectionSeeds, SeedRun};
pub use stake_loader::StakeLoader;
pub use stake_table::{StakeTable, Stakes};

#[cfg(test)]
mod tests;
