//! One head that is being followed: its headers down to a block that we know, then up again, block
//! by block.

use super::Checked;
use astreum_core::atom::AtomId;
use astreum_core::chain::Block;
use astreum_core::time::Instant;
use std::collections::VecDeque;
use std::sync::Arc;

/// Blocks whose transactions are fetched before it is their turn.
pub const BODIES_AHEAD: usize = 32;
/// Ids of transactions, of all blocks whose turn has not come, that are held to be fetched.
pub const MAX_IDS_AHEAD: usize = 1 << 17;

/// Which way it goes.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Down: this header is next.
    Walking { next: AtomId },
    /// Up, from this verified block; from nothing where the lowest of the path is a genesis.
    Joined { parent: Option<Arc<Block>> },
}

#[derive(Debug)]
pub(super) struct Chase {
    pub(super) head: AtomId,
    /// Headers that are here and not verified, the head's first.
    pub(super) path: Vec<AtomId>,
    /// The block of the last of the path, until the walk is over.
    pub(super) lowest: Option<Arc<Block>>,
    /// Of the head; 0 until it is here.
    pub(super) height: u64,
    /// The height that it joined at, while it goes up.
    pub(super) joined_at: u64,
    pub(super) phase: Phase,
    /// The block that it is verified from, once it is known.
    pub(super) root: Option<AtomId>,
    pub(super) since: Instant,
    pub(super) progressed: Instant,
    /// Not before this instant: the next block is from the future.
    pub(super) not_before: Option<Instant>,
    /// What it waits for, in words.
    pub(super) waits: Option<String>,
    /// The atom that the next block waits for.
    pub(super) missing: Option<AtomId>,
    pub(super) bodies: VecDeque<Ahead>,
    /// The transactions of the next block and whether they are signed, if that was found out.
    pub(super) checked: Option<Checked>,
}

/// A block whose transactions are being fetched.
#[derive(Debug)]
pub(super) struct Ahead {
    pub(super) block: AtomId,
    /// Where the list of transactions goes on that has not been read; the zero id at its end.
    pub(super) list: AtomId,
    /// Transactions of the list so far.
    pub(super) count: usize,
    /// Those of them that have not been seen whole.
    pub(super) left: VecDeque<AtomId>,
}

impl Chase {
    pub(super) fn new(head: AtomId, now: Instant) -> Self {
        Self {
            head,
            path: Vec::new(),
            lowest: None,
            height: 0,
            joined_at: 0,
            phase: Phase::Walking { next: head },
            root: None,
            since: now,
            progressed: now,
            not_before: None,
            waits: None,
            missing: None,
            bodies: VecDeque::new(),
            checked: None,
        }
    }

    pub(super) const fn is_walking(&self) -> bool {
        matches!(self.phase, Phase::Walking { .. })
    }

    /// Goes on where `other` is, whose head is the next header here.
    pub(super) fn absorb(&mut self, other: Self) {
        self.path.extend(other.path);
        self.lowest = other.lowest;
        self.joined_at = other.joined_at;
        self.phase = other.phase;
        self.root = other.root;
        self.since = self.since.min(other.since);
        self.progressed = self.progressed.max(other.progressed);
        self.not_before = other.not_before;
        self.bodies = other.bodies;
        self.checked = other.checked;
        self.missing = other.missing;
    }
}
