//! Settings and results of a trial.

use super::pruning::{LATE, PruneReport};
use super::{SETTLE, SETTLE_AFTER_OPERATIONS};
use crate::random::Random;
use crate::sim::host::Sabotage;
use crate::sim::world::{Counts, StreamCounts};
use core::fmt;
use core::time::Duration;

/// Settings of a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Seed of all random choices.
    pub seed: u64,
    /// Total number of machines.
    pub nodes: usize,
    /// Number of hostile machines among them.
    pub hostile: usize,
    /// Number of validators among them, whose chain all honest ones verify; 0 for no chain.
    pub validators: usize,
    /// Duration of the fault phase.
    pub trouble: Duration,
    /// Interval between two actions or faults.
    pub pace: Duration,
    /// Datagrams lost per thousand, at all times.
    pub loss_permille: usize,
    /// True if no path carries datagrams that need several IP packets, at any time, and some atoms
    /// are larger.
    pub drops_fragments: bool,
    /// Time for which the validators' machines are off between two shifts of
    /// [`SHIFT`](super::SHIFT), so that a chain can take part in a long trial; zero for validators
    /// that are always on.
    pub rest: Duration,
    /// Number of operator events in each shift, if validators rest: clocks that are set, lost files
    /// and moved keys.
    pub operations: usize,
    /// Blocks that both halves of a partitioned network make, with transfers, before the other
    /// faults begin; 0 for no partition.
    pub partition_blocks: u64,
    /// Blocks whose state two thirds of the machines keep when they prune; 0 for no pruning. Two
    /// more machines join late.
    pub prune_blocks: u64,
    /// Way in which the followers break their contract, to prove that it is detected.
    pub sabotage: Option<Sabotage>,
}

impl Settings {
    /// Returns a short trial of five to eight nodes, one of which may be hostile.
    #[must_use]
    pub fn short(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let hostile = random.below(2);
        Self {
            seed,
            nodes: 5 + random.below(3) + hostile,
            hostile,
            validators: if seed.is_multiple_of(8) { 2 } else { 0 },
            trouble: Duration::from_secs(20),
            pace: Duration::from_millis(500),
            loss_permille: 0,
            drops_fragments: false,
            rest: Duration::ZERO,
            operations: if seed.is_multiple_of(8) {
                1 + random.below(4)
            } else {
                0
            },
            partition_blocks: 0,
            prune_blocks: 0,
            sabotage: None,
        }
    }

    /// Returns a short trial on paths that drop fragments.
    #[must_use]
    pub fn without_fragments(seed: u64) -> Self {
        Self {
            drops_fragments: true,
            ..Self::short(seed)
        }
    }

    /// Returns a trial whose network is partitioned for 200 blocks of each half.
    #[must_use]
    pub fn partition(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x0009_a270);
        Self {
            seed,
            nodes: 7 + random.below(2),
            hostile: random.below(2),
            validators: 4,
            trouble: Duration::ZERO,
            pace: Duration::from_secs(1),
            loss_permille: 0,
            drops_fragments: false,
            rest: Duration::ZERO,
            operations: 0,
            partition_blocks: 200,
            prune_blocks: 0,
            sabotage: None,
        }
    }

    /// Returns a trial of a chain that is pruned under faults.
    #[must_use]
    pub fn pruning(seed: u64) -> Self {
        let hostile = usize::from(seed % 2 == 1);
        Self {
            nodes: 6 + hostile,
            hostile,
            validators: 2,
            trouble: Duration::from_secs(150),
            operations: 0,
            prune_blocks: 32,
            ..Self::short(seed)
        }
    }

    /// Returns the number of machines, those that join late included.
    #[must_use]
    pub const fn machines(&self) -> usize {
        match self.prune_blocks {
            0 => self.nodes,
            _ => self.nodes + LATE,
        }
    }

    /// Returns the time that the nodes have once the faults have stopped.
    #[must_use]
    pub const fn settle(&self) -> Duration {
        if self.operations > 0 {
            SETTLE_AFTER_OPERATIONS
        } else {
            SETTLE
        }
    }
}

/// Statistics of a successful trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Hash over all events.
    pub trace: u64,
    /// Number of injected faults.
    pub faults: u64,
    /// Number of checks of the promises at nodes.
    pub checks: u64,
    /// Totals of the world.
    pub counts: Counts,
    /// Lookups at the end, all of which succeeded.
    pub lookups: u64,
    /// Duration of the slowest lookup.
    pub slowest: Duration,
    /// Blocks of the chain that all agree on, and transactions in it.
    pub chain: (u64, u64),
    /// Statistics of injected chain faults and of their checks.
    pub chains: ChainReport,
    /// Statistics of streams.
    pub streams: StreamCounts,
    /// Statistics of pruning.
    pub pruning: PruneReport,
}

/// Injected faults of the nodes of a chain, and their checks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ChainReport {
    /// Clocks that were set wrong.
    pub clocks: u64,
    /// Losses of files.
    pub losses: u64,
    /// Keys that moved.
    pub moves: u64,
    /// Operations that the state of the network did not permit, and that were retried or left out.
    pub skipped: u64,
    /// Starts that a node refused until the operator recovered the missing files.
    pub refused_starts: u64,
    /// Chain directories that the operator gave up.
    pub given_up: u64,
    /// Validators that stopped signing because of another node with their key.
    pub halts: u64,
    /// Transactions that were accepted and accounted for.
    pub transactions: u64,
    /// Transactions that only the blocks of one half of the network had, and that were found again.
    pub returned: u64,
    /// Pairs of nodes that compare the same branches, and agree.
    pub agreeing_pairs: u64,
}

impl core::ops::AddAssign for ChainReport {
    fn add_assign(&mut self, other: Self) {
        self.clocks += other.clocks;
        self.losses += other.losses;
        self.moves += other.moves;
        self.skipped += other.skipped;
        self.refused_starts += other.refused_starts;
        self.given_up += other.given_up;
        self.halts += other.halts;
        self.transactions += other.transactions;
        self.returned += other.returned;
        self.agreeing_pairs += other.agreeing_pairs;
    }
}

/// Broken promise, with the settings that reproduce it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Settings of the trial.
    pub settings: Box<Settings>,
    /// Description of the broken promise.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\nto repeat: cargo run -p astreum-tests --bin simulate -- --seed {} --nodes {} \
             --hostile {} --validators {} --seconds {} --pace-ms {} --loss {} --rest {} \
             --operations {} --partition-blocks {} --prune-blocks {}{}",
            self.what,
            self.settings.seed,
            self.settings.nodes,
            self.settings.hostile,
            self.settings.validators,
            self.settings.trouble.as_secs(),
            self.settings.pace.as_millis(),
            self.settings.loss_permille,
            self.settings.rest.as_secs(),
            self.settings.operations,
            self.settings.partition_blocks,
            self.settings.prune_blocks,
            match self.settings.drops_fragments {
                true => " --without-fragments 1",
                false => "",
            },
        )
    }
}
