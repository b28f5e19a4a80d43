//! Id grinding on a private branch.

use super::{SMALL, draw, id};
use astreum_core::chain::{EPOCH_BLOCKS, ElectionSeeds, MAX_SLOTS, StakeTable};

/// Length of a private branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrivateBranch {
    /// Slots that passed, each with a block of the honest branch.
    pub slots: u64,
    /// Blocks of the private branch.
    pub blocks: u64,
    /// Epochs whose seed was chosen.
    pub ground_epochs: u64,
}

/// Lets `slots` slots pass after a block of an honest chain of `honest` blocks. In them the small
/// stake builds a branch alone: at each height it waits for its slot. At the last block of each
/// epoch it chooses among `tries` ids the one that makes an epoch take the fewest slots.
#[must_use]
pub fn private_branch(stakes: &StakeTable, honest: u64, slots: u64, tries: u64) -> PrivateBranch {
    let mut seeds = (1..=honest).fold(ElectionSeeds::genesis(id(0, 0, 0)), |seeds, height| {
        seeds.child(id(1, height, 0))
    });
    let (mut passed, mut blocks, mut ground_epochs) = (0, 0, 0);
    loop {
        let height = seeds.height() + 1;
        passed += wait(stakes, &seeds, height);
        if passed > slots {
            break;
        }
        blocks += 1;
        let is_last = (height + 1).is_multiple_of(EPOCH_BLOCKS);
        let attempt = if is_last {
            ground_epochs += 1;
            fastest(stakes, &seeds, height, tries)
        } else {
            0
        };
        seeds = seeds.child(id(2, height, attempt));
    }
    PrivateBranch {
        slots,
        blocks,
        ground_epochs,
    }
}

/// Returns the number of slots until the first one of the small stake.
fn wait(stakes: &StakeTable, seeds: &ElectionSeeds, height: u64) -> u64 {
    let Some(seed) = seeds.slot_seed(height) else {
        return MAX_SLOTS;
    };
    let mut draw = draw(stakes, seed);
    let slots = (1..MAX_SLOTS).find(|_| draw.next_validator() == SMALL);
    slots.unwrap_or(MAX_SLOTS)
}

/// Returns the attempt with the shortest epoch after the next one. Evaluating every height of every
/// attempt would take hours: each round drops the slower remaining attempts and examines the rest
/// at more heights.
fn fastest(stakes: &StakeTable, seeds: &ElectionSeeds, height: u64, tries: u64) -> u64 {
    let first = height + 1 + EPOCH_BLOCKS;
    let mut left: Vec<u64> = (0..tries).collect();
    for (heights, kept) in [(2, 5_000), (16, 500), (128, 50), (EPOCH_BLOCKS, 1)] {
        if left.len() <= kept {
            continue;
        }
        left.sort_by_cached_key(|attempt| {
            let seeds = seeds.child(id(2, height, *attempt)).child(id(3, height, 0));
            let heights = first..first + heights;
            heights
                .map(|height| wait(stakes, &seeds, height))
                .sum::<u64>()
        });
        left.truncate(kept);
    }
    left.first().copied().unwrap_or_default()
}
