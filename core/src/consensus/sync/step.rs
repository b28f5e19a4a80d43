//! Result of a piece of work for a branch.

use super::rejected::DeadEnd;
use crate::atom::AtomId;
use alloc::string::String;

/// Result of one piece of work for a branch.
#[derive(Debug)]
pub(super) enum Step {
    /// There is more to do at once.
    Progress,
    /// Another header was read; `next` is below it.
    Header { next: AtomId },
    /// The headers are complete, or two branches were merged.
    Joined,
    /// There is nothing to do until an input arrives.
    Waits,
    /// Same as [`Waits`](Self::Waits); the checked transactions of the next block are kept
    /// meanwhile, and count.
    LacksData,
    /// All blocks of the branch are verified.
    Finished,
    /// This block is invalid, for this reason.
    Bad(AtomId, String),
    /// This node does not follow the branch.
    DeadEnd(DeadEnd),
    /// A block is from the future; the branch is tried again at this wall time, in seconds. The
    /// second value is the number of seconds until the block is valid.
    Early(u64, u64),
    /// No peer has sent the head.
    Unanswered,
}
