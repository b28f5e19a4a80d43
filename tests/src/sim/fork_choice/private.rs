//! Branch that is built in private and published when it wins.

use super::blocks::{Blocks, Election, Number};
use super::rule::{Node, Rule};
use crate::random::Random;

/// Total stake of the honest validators.
const HONEST_STAKE: u64 = 100_000_000;
/// Ids that an attacker tries where that gives it the next slot.
const GRIND_TRIES: u64 = 4_000;
/// Candidate shares of the stake for a threshold, in permille.
pub const SHARES_PERMILLE: [u64; 19] = [
    1, 2, 5, 10, 20, 30, 50, 75, 100, 125, 150, 200, 250, 300, 350, 400, 450, 500, 600,
];

/// Stakes of the honest validators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Honest {
    /// This number of equal stakes.
    Equal(u64),
    /// This number of stakes in the proportions 1, 1/2, 1/3, …
    Zipf(u64),
}

impl Honest {
    /// Returns its name in tables.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Equal(1) => "1 validator".to_owned(),
            Self::Equal(count) => format!("{count} equal"),
            Self::Zipf(count) => format!("{count} Zipf"),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "parts of a small positive sum"
    )]
    fn amounts(self) -> Vec<u64> {
        match self {
            Self::Equal(count) => (0..count).map(|_| HONEST_STAKE / count).collect(),
            Self::Zipf(count) => {
                let sum: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
                let part = |rank: u64| (HONEST_STAKE as f64 / (sum * rank as f64)) as u64;
                (1..=count).map(part).collect()
            }
        }
    }
}

/// Private-branch attack. After the fork the honest validators continue without the attacker and
/// the attacker without them, each in the slots that its own branch gives it. The attacker forks at
/// a block after which the first slot is its own: it can try that at each such block, and an
/// attempt has no cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attack {
    /// Seed of all random choices.
    pub seed: u64,
    /// Rule of the victim.
    pub rule: Rule,
    /// Seed source of the leader election. The attacker tries ids where that has an effect.
    pub election: Election,
    /// Honest validators.
    pub honest: Honest,
    /// Attacker's share of the total stake, in permille.
    pub share_permille: u64,
    /// Keys that the attacker's stake is split among.
    pub keys: u64,
    /// Blocks above the fork that the victim waits for.
    pub depth: u64,
    /// Slots that honest validators miss, per thousand.
    pub missed_permille: u64,
    /// Slots after the fork in which all honest validators are down.
    pub outage_slots: u64,
}

impl Attack {
    /// Creates an attack with one key.
    #[must_use]
    pub const fn new(honest: Honest, share_permille: u64, depth: u64) -> Self {
        Self {
            seed: 1,
            rule: Rule::Product,
            election: Election::Epochs,
            honest,
            share_permille,
            keys: 1,
            depth,
            missed_permille: 0,
            outage_slots: 0,
        }
    }

    /// Returns whether the attacker undoes the blocks. It may publish its branch at any time from
    /// the moment at which the honest one has `depth` blocks until a quarter more time and 100
    /// slots have passed.
    #[must_use]
    pub fn succeeds(&self) -> bool {
        let mut random = Random::new(self.seed);
        let mut stakes = self.honest.amounts();
        let honest = stakes.len();
        let share = self.share_permille;
        let attacking = stakes.iter().sum::<u64>() * share / (1_000 - share);
        stakes.extend((0..self.keys).map(|_| (attacking / self.keys).max(1)));
        let mut blocks = Blocks::new(&stakes, self.election, &mut random);
        while blocks.winner(0, 1) < honest {
            blocks.restart(&mut random);
        }
        let mut node: Option<Node> = None;
        let (mut public, mut private): (Number, Number) = (0, 0);
        let mut end = u64::MAX;
        let mut slot = 0;
        while slot < end {
            slot += 1;
            let winner = blocks.winner(private, slot);
            if winner >= honest {
                private = blocks.grind(private, slot, winner, GRIND_TRIES, &mut random);
            }
            if slot > self.outage_slots {
                let winner = blocks.winner(public, slot);
                if winner < honest && random.next() % 1_000 >= self.missed_permille {
                    public = blocks.add(public, slot, winner, &mut random);
                }
            }
            if blocks.height(public) < self.depth || private == 0 {
                continue;
            }
            let victim = node.get_or_insert_with(|| {
                end = slot + self.depth / 4 + 100;
                Node::new(self.rule, &blocks)
            });
            victim.set_head(&blocks, public);
            if victim.receive(&blocks, private, slot).is_some() {
                return true;
            }
        }
        false
    }
}

/// Returns the number of trials of an attack that succeed.
#[must_use]
pub fn successes(attack: Attack, trials: u64) -> u64 {
    let trial = |seed: u64| Attack { seed, ..attack }.succeeds();
    (1..=trials).map(|seed| u64::from(trial(seed))).sum()
}

/// Returns the least of [`SHARES_PERMILLE`] with which at least `least` of the trials succeed;
/// `None` if none suffices.
#[must_use]
pub fn undo_share_permille(
    honest: Honest,
    depth: u64,
    missed_permille: u64,
    trials: u64,
    least: u64,
) -> Option<u64> {
    let is_enough = |share: &u64| {
        let attack = Attack {
            missed_permille,
            ..Attack::new(honest, *share, depth)
        };
        successes(attack, trials) >= least
    };
    let below = SHARES_PERMILLE.partition_point(|share| !is_enough(share));
    SHARES_PERMILLE.get(below).copied()
}
