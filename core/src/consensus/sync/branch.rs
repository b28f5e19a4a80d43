//! Head that is being synced: its headers down to a known block, then its blocks from there up.

use super::announcers::Announcers;
use super::body::CheckedTransactions;
use super::header_path::{HeaderPath, PathLimits};
use super::measures::ListMeasures;
use super::requests::Purpose;
use super::waiting::Waiting;
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::chain::Block;
use crate::time::Instant;
use alloc::collections::VecDeque;
use core::time::Duration;

/// Maximum number of headers of a short branch, which is given up quickly and does not need a place
/// among the long ones.
pub(super) const SHORT_HEADERS: u64 = 64;

/// Way in which the blocks of a branch enter the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// They are verified.
    Verified,
    /// They are verified, and the operator has adopted the branch: it is followed to any depth.
    Decided,
    /// The default seed is trusted for them: only their headers are linked.
    Trusted,
}

/// Direction of a branch.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Headers, downwards: this one is next.
    Headers { next: AtomId },
    /// Blocks, upwards from this verified one; `None` if the lowest block of the path is a genesis.
    Blocks { parent: Option<Arc<Block>> },
}

/// Branch. See the [module](self).
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) head: AtomId,
    pub(super) kind: Kind,
    /// Peers that announced the head, or a block on the branch.
    pub(super) announcers: Announcers,
    /// Known headers that are not verified.
    pub(super) path: HeaderPath,
    /// Lowest block of the path, while headers are read.
    pub(super) lowest: Option<Arc<Block>>,
    /// Height of the head; 0 until its header is known.
    pub(super) height: u64,
    /// Height of the verified block that the branch joins.
    pub(super) joined_at: u64,
    pub(super) phase: Phase,
    /// Block that it is verified from, once known.
    pub(super) root: Option<AtomId>,
    pub(super) since: Instant,
    pub(super) progressed: Instant,
    /// Wall time before which its next block is from the future, in seconds.
    pub(super) not_before: Option<u64>,
    pub(super) waits: Option<Waiting>,
    /// Atom that the next block waits for.
    pub(super) missing: Option<AtomId>,
    pub(super) bodies: VecDeque<AheadBody>,
    /// Transactions of the next block with the results of their signature checks, if available.
    pub(super) checked: Option<CheckedTransactions>,
    /// Lengths of the lists that the next block reads.
    pub(super) measures: ListMeasures,
    pub(super) storing: Option<Storing>,
    /// Number of failed attempts to store its next block.
    pub(super) store_failures: u32,
    /// `true` if it has a slot among the long branches.
    pub(super) has_slot: bool,
    /// `true` if the configured checkpoint is on it.
    pub(super) has_checkpoint: bool,
    /// `true` if the fetch that it waits for has failed so often that it counts as stalled.
    pub(super) is_stuck: bool,
}

/// Verified block that is not stored yet.
#[derive(Debug)]
pub(super) struct Storing {
    pub(super) block: Arc<Block>,
    /// Time of the next attempt to verify and store it, after it could not be stored.
    pub(super) retry_at: Option<Instant>,
}

/// Block whose transactions are being fetched in advance.
#[derive(Debug)]
pub(super) struct AheadBody {
    pub(super) block: Arc<Block>,
    /// Next atom of the transaction list to read; the zero id at its end.
    pub(super) list: AtomId,
    /// Number of transactions read from the list so far.
    pub(super) count: usize,
    /// `true` if its transactions were requested by stream.
    pub(super) was_streamed: bool,
    /// Those that have not been seen completely.
    pub(super) left: VecDeque<AtomId>,
}

impl Branch {
    pub(super) fn new(
        head: AtomId,
        announcers: Announcers,
        limits: PathLimits,
        now: Instant,
    ) -> Self {
        Self {
            head,
            kind: Kind::Verified,
            announcers,
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
            has_slot: false,
            has_checkpoint: false,
            is_stuck: false,
        }
    }

    /// Returns whether it still reads headers.
    pub(super) const fn is_reading_headers(&self) -> bool {
        matches!(self.phase, Phase::Headers { .. })
    }

    /// Returns whether it needs a slot among the long branches to continue.
    pub(super) fn needs_slot(&self) -> bool {
        !self.has_slot && self.is_reading_headers() && self.path.len() >= SHORT_HEADERS
    }

    /// Returns whether it has not progressed for `timeout`, or is not expected to.
    pub(super) fn is_stalled(&self, now: Instant, timeout: Duration) -> bool {
        self.is_stuck || now.since(self.progressed) >= timeout
    }

    /// Records progress.
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

    /// Returns whether it needs fetched atoms of `block`.
    pub(super) fn needs(&self, block: &AtomId) -> bool {
        self.at_hand() == Some(*block) || self.bodies.iter().any(|ahead| ahead.block.id() == *block)
    }

    /// Returns a block whose transactions are being fetched in advance.
    pub(super) fn ahead(&self, block: &AtomId) -> Option<Arc<Block>> {
        let mut ahead = self.bodies.iter().map(|ahead| &ahead.block);
        ahead.find(|ahead| ahead.id() == *block).cloned()
    }

    /// Returns the purpose of a fetch for `block`.
    pub(super) const fn purpose(&self, block: AtomId) -> Purpose<'_> {
        Purpose {
            block,
            announcers: &self.announcers,
        }
    }

    /// Takes over the state of `other`, whose head is the next header of this branch.
    pub(super) fn absorb(&mut self, other: Self) {
        self.announcers.add_all(&other.announcers);
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
        self.has_slot |= other.has_slot;
        self.has_checkpoint |= other.has_checkpoint;
        self.is_stuck = other.is_stuck;
        self.waits = other.waits;
    }
}
