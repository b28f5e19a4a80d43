//! Id grinding on the public chain.

use super::{SMALL, draw, has_first_slot, id};
use astreum_core::chain::{EPOCH_BLOCKS, ElectionSeeds, StakeTable};

/// Seed source of the leader election for a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seeding {
    /// Seeds of the product.
    Epochs,
    /// Id of the parent, as in the reference; the baseline that the product must improve on.
    Parent,
}

/// Number of slots that the small stake got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grinding {
    /// Slots, each with a block.
    pub slots: u64,
    /// Slots of the small stake.
    pub won: u64,
    /// Slots proportional to its stake.
    pub share: u64,
}

/// Lets `slots` slots pass, in which the small stake chooses among `tries` ids wherever its choice
/// has an effect. It starts with the last block of the first two epochs. It prefers seeds that give
/// it the last block of the epoch again, and among them the one with most slots.
#[must_use]
pub fn grinding(stakes: &StakeTable, seeding: Seeding, slots: u64, tries: u64) -> Grinding {
    let mut seeds = ElectionSeeds::genesis(id(0, 0, 0));
    let mut won = 0;
    for height in 1..=slots {
        let is_own = match seeding {
            Seeding::Epochs => has_first_slot(stakes, &seeds, height),
            Seeding::Parent => draw(stakes, seeds.block()).next_validator() == SMALL,
        };
        won += u64::from(is_own);
        let epoch = height / EPOCH_BLOCKS;
        let is_last = (height + 1).is_multiple_of(EPOCH_BLOCKS);
        let chosen = match seeding {
            Seeding::Epochs if is_last && (is_own || epoch < 2) => {
                best_of(stakes, &seeds, height, tries)
            }
            // The first block is given to it, so that the next slot is its own again.
            Seeding::Parent if is_own || height == 1 => (0..tries)
                .map(|attempt| id(2, height, attempt))
                .find(|id| draw(stakes, *id).next_validator() == SMALL),
            _ => None,
        };
        seeds = seeds.child(chosen.unwrap_or_else(|| id(1, height, 0)));
    }
    Grinding {
        slots,
        won,
        share: slots / 1_000,
    }
}

/// Returns the best id for the last block of an epoch.
fn best_of(
    stakes: &StakeTable,
    seeds: &ElectionSeeds,
    height: u64,
    tries: u64,
) -> Option<astreum_core::atom::AtomId> {
    let first = height + 1 + EPOCH_BLOCKS;
    let last = first + EPOCH_BLOCKS - 1;
    // The seed of the epoch after the next one does not depend on the blocks at the start of the
    // next one.
    let after = |attempt: u64| seeds.child(id(2, height, attempt)).child(id(3, height, 0));
    let keeps = (0..tries).filter(|attempt| has_first_slot(stakes, &after(*attempt), last));
    let slots = |attempt: &u64| {
        let seeds = after(*attempt);
        let own = (first..=last).filter(|height| has_first_slot(stakes, &seeds, *height));
        own.count()
    };
    keeps
        .max_by_key(slots)
        .map(|attempt| id(2, height, attempt))
}
