//! Validator that tries block ids in public.
//!
//! Ids affect only the seeds of the epoch after next, and the producer of the last block of an
//! epoch chooses among these: the ids before it are fixed, and those after it have no effect. It
//! chooses a seed that gives it the last block of the epoch after next, so that it can choose
//! again, and among those the one that gives it the most blocks.

use super::blocks::{Blocks, Election, Number, Validator};
use crate::random::Random;
use astreum_core::chain::{EPOCH_BLOCKS, ElectionSeeds};

/// Settings of a simulation of one chain without faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Seed of all random choices.
    pub seed: u64,
    /// Honest validators, of equal stake.
    pub honest: usize,
    /// Attacker's share of the total stake, in permille.
    pub share_permille: u64,
    /// Ids that it tries for one block.
    pub tries: u64,
    /// Number of epochs.
    pub epochs: u64,
    /// True if it makes the last block of the first epoch by luck.
    pub is_lucky: bool,
}

/// Result of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Blocks of the chain.
    pub blocks: u64,
    /// Blocks of the attacker among them.
    pub attacker: u64,
    /// Blocks for which it tried ids.
    pub ground: u64,
    /// Its longest run of consecutive blocks.
    pub longest_run: u64,
}

/// Runs a simulation.
#[must_use]
pub fn run(settings: &Settings) -> Report {
    const HONEST_STAKE: u64 = 100_000_000;
    let mut random = Random::new(settings.seed);
    let honest = settings.honest;
    let mut stakes = vec![HONEST_STAKE / honest as u64; honest];
    let share = settings.share_permille;
    stakes.push(stakes.iter().sum::<u64>() * share / (1_000 - share));
    let mut blocks = Blocks::new(&stakes, Election::Epochs, &mut random);
    let mut report = Report::default();
    let (mut head, mut slot, mut row): (Number, u64, u64) = (0, 0, 0);
    while blocks.height(head) + 1 < settings.epochs * EPOCH_BLOCKS {
        slot += 1;
        let height = blocks.height(head) + 1;
        let is_last = height % EPOCH_BLOCKS == EPOCH_BLOCKS - 1;
        let is_first_epoch = height < EPOCH_BLOCKS;
        let winner: Validator = match is_last && is_first_epoch && settings.is_lucky {
            true => honest,
            false => blocks.winner(head, slot),
        };
        head = if winner == honest && is_last {
            report.ground += 1;
            let id = grind(&blocks, head, settings.tries, &mut random);
            blocks.add_with(head, slot, winner, id)
        } else {
            blocks.add(head, slot, winner, &mut random)
        };
        row = if winner == honest { row + 1 } else { 0 };
        report.longest_run = report.longest_run.max(row);
        report.attacker += u64::from(winner == honest);
        report.blocks += 1;
    }
    report
}

/// Chooses among ids of the last block of an epoch.
fn grind(
    blocks: &Blocks,
    parent: Number,
    tries: u64,
    random: &mut Random,
) -> astreum_core::atom::AtomId {
    let seeds = blocks.seeds(parent);
    let candidates = (0..tries).map(|_| blocks.candidate_id(random));
    let mut best = None;
    for id in candidates {
        let first = first_slots(blocks, seeds.child(id));
        if best.is_none_or(|(most, _)| first > most) {
            best = Some((first, id));
        }
    }
    best.expect("at least one try").1
}

/// Returns whether the attacker has the first slot of the last height of the epoch after next, and
/// the number of first slots that it has in that epoch. Without the last one, the others are not
/// counted.
fn first_slots(blocks: &Blocks, last: ElectionSeeds) -> (bool, u64) {
    let attacker = blocks.stakes().len() - 1;
    // The seeds of the epoch after next are known once the next epoch has begun, regardless of the
    // id of its first block.
    let next = last.child(blocks.id(0));
    let start = (last.height() / EPOCH_BLOCKS + 2) * EPOCH_BLOCKS;
    let is_first = |height: u64| {
        let seed = next
            .slot_seed(height)
            .expect("the epoch after that of the block");
        blocks.first_winner(seed) == attacker
    };
    if !is_first(start + EPOCH_BLOCKS - 1) {
        return (false, 0);
    }
    let first = (start..start + EPOCH_BLOCKS).filter(|height| is_first(*height));
    (true, first.count() as u64)
}
