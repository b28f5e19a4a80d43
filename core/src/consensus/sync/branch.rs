//! One head that is being synced: its headers down to a known block, then its blocks from there up.

use super::body::CheckedTransactions;
use super::header_path::{HeaderPath, PathLimits};
use super::measures::ListMeasures;
use super::namers::Namers;
use super::requests::Purpose;
use super::status::Waiting;
use crate::atom::AtomId;
use crate::chain::Block;
use crate::time::Instant;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::time::Duration;

/// Headers of a branch that is still a short one: it is given up quickly and needs no place among
/// the long ones.
pub(super) const SHORT_HEADERS: u64 = 64;

/// How the blocks of a branch come into the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// They are verified.
    Verified,
    /// They are verified, and the operator has decided for the branch: no depth ends it.
    Decided,
    /// The default seed is trusted for them: their headers are linked.
    Trusted,
}

/// Direction of a branch.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Headers, downwards: this one is next.
    Headers { next: AtomId },
    /// Blocks, upwards from this verified one; from nothing where the lowest of the path is a
    /// genesis.
    Blocks { parent: Option<Arc<Block>> },
}

/// A branch. See the [module](self).
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) head: AtomId,
    pub(super) kind: Kind,
    /// Peers that named the head, or one on the branch.
    pub(super) namers: Namers,
    /// Headers that are known and not verified.
    pub(super) path: HeaderPath,
    /// The block of the lowest of them, while headers are read.
    pub(super) lowest: Option<Arc<Block>>,
    /// Of the head; 0 until its header is known.
    pub(super) height: u64,
    /// Height of the verified block that it stands on.
    pub(super) joined_at: u64,
    pub(super) phase: Phase,
    /// The block that it is verified from, once it is known.
    pub(super) root: Option<AtomId>,
    pub(super) since: Instant,
    pub(super) progressed: Instant,
    /// Wall time before which its next block is from the future, in seconds.
    pub(super) not_before: Option<u64>,
    pub(super) waits: Option<Waiting>,
    /// The atom that the next block waits for.
    pub(super) missing: Option<AtomId>,
    pub(super) bodies: VecDeque<AheadBody>,
    /// The transactions of the next block and whether they are signed, if that was found out.
    pub(super) checked: Option<CheckedTransactions>,
    /// Lengths of the lists that the next block looks at.
    pub(super) measures: ListMeasures,
    pub(super) storing: Option<Storing>,
    /// How often its next block could not be stored.
    pub(super) store_failures: u32,
    /// Whether it has a place among the long branches.
    pub(super) has_place: bool,
    /// Whether the configured checkpoint is on it.
    pub(super) has_checkpoint: bool,
    /// Whether what it waits for has not come for so many tries that it counts as stalled.
    pub(super) is_stuck: bool,
}

/// A verified block that is not stored yet.
#[derive(Debug)]
pub(super) struct Storing {
    pub(super) block: Arc<Block>,
    /// When it is verified and stored anew after it could not be stored.
    pub(super) retry_at: Option<Instant>,
}

/// A block whose transactions are being fetched before it is its turn.
#[derive(Debug)]
pub(super) struct AheadBody {
    pub(super) block: AtomId,
    /// Where the list of transactions goes on that has not been read; the zero id at its end.
    pub(super) list: AtomId,
    /// Transactions of the list so far.
    pub(super) count: usize,
    /// Those of them that have not been seen whole.
    pub(super) left: VecDeque<AtomId>,
}

impl Branch {
    pub(super) fn new(head: AtomId, namers: Namers, limits: PathLimits, now: Instant) -> Self {
        Self {
            head,
            kind: Kind::Verified,
            namers,
            path: HeaderPath::new(limits),
            lowest: None,
            height: 0,
            joined_at: 0,
            phase: Phase::Headers { next: head },
            root: None,
            since: now,
            progressed: now,
            not_before: None,
            waits: None,
            missing: None,
            bodies: VecDeque::new(),
            checked: None,
            measures: ListMeasures::default(),
            storing: None,
            store_failures: 0,
            has_place: false,
            has_checkpoint: false,
            is_stuck: false,
        }
    }

    /// Returns whether it still reads headers.
    pub(super) const fn is_reading_headers(&self) -> bool {
        matches!(self.phase, Phase::Headers { .. })
    }

    /// Returns whether it needs a place among the long branches to go on.
    pub(super) fn wants_place(&self) -> bool {
        !self.has_place && self.is_reading_headers() && self.path.len() >= SHORT_HEADERS
    }

    /// Returns whether it has not come nearer for so long, or is not going to.
    pub(super) fn is_stalled(&self, now: Instant, patience: Duration) -> bool {
        self.is_stuck || now.since(self.progressed) >= patience
    }

    /// Notes that it has come nearer.
    pub(super) fn has_progressed(&mut self, now: Instant) {
        self.progressed = now;
        self.is_stuck = false;
        self.waits = None;
    }

    /// Returns the block that is to be verified next, or whose header is to be read next.
    pub(super) fn at_hand(&self) -> Option<AtomId> {
        match self.phase {
            Phase::Headers { next } => Some(next),
            Phase::Blocks { .. } => self.path.lowest(),
        }
    }

    /// Returns whether fetched atoms of `block` are of use to it.
    pub(super) fn needs(&self, block: &AtomId) -> bool {
        self.at_hand() == Some(*block) || self.bodies.iter().any(|ahead| ahead.block == *block)
    }

    /// Returns the purpose of a fetch for `block`.
    pub(super) const fn purpose(&self, block: AtomId) -> Purpose<'_> {
        Purpose {
            block,
            namers: &self.namers,
        }
    }

    /// Continues where `other` is, whose head is the next header here.
    pub(super) fn absorb(&mut self, other: Self) {
        self.namers.add_all(&other.namers);
        self.path.join(other.path);
        self.lowest = other.lowest;
        self.joined_at = other.joined_at;
        self.phase = other.phase;
        self.root = other.root;
        self.since = self.since.min(other.since);
        self.progressed = self.progressed.max(other.progressed);
        self.not_before = other.not_before;
        self.bodies = other.bodies;
        self.checked = other.checked;
        self.measures = other.measures;
        self.missing = other.missing;
        self.storing = other.storing;
        self.store_failures = other.store_failures;
        self.has_place |= other.has_place;
        self.has_checkpoint |= other.has_checkpoint;
        self.is_stuck = other.is_stuck;
        self.waits = other.waits;
    }
}
