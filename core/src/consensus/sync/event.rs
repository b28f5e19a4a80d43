//! Events of sync, as data.

use super::other_chains::OtherChain;
use super::status::{self, DeepReorganization, SyncProgress};
use crate::atom::AtomId;
use crate::chain::fork_choice::Contest;
use crate::consensus::{Level, StoreFailure};
use crate::crypto::PublicKey;
use alloc::string::String;
use core::fmt;

/// Event in sync.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SyncEvent {
    /// A branch is being synced; reported periodically.
    Progress(SyncProgress),
    /// A block is invalid; it is not tried again.
    BadBlock {
        /// The block.
        block: AtomId,
        /// Reason.
        reason: String,
    },
    /// A peer announces a block that is known to be invalid.
    BadHead {
        /// The peer.
        peer: PublicKey,
        /// The block.
        block: AtomId,
        /// Reason.
        reason: String,
    },
    /// A head is not followed, although none of its blocks is known to be invalid.
    HeadDropped {
        /// The head.
        head: AtomId,
        /// Reason.
        reason: String,
    },
    /// A peer follows another chain; its heads are ignored. Reported once per peer.
    OtherChain {
        /// The peer.
        peer: PublicKey,
        /// Difference of its chain from ours.
        difference: OtherChain,
    },
    /// More than a few blocks of our chain were undone.
    Reorganized(DeepReorganization),
    /// The fork choice cannot settle a fork; the head does not move to it.
    Contested(Contest),
    /// A verified block could not be stored, so its branch does not advance.
    NotStored {
        /// The block.
        block: AtomId,
        /// Reason.
        failure: StoreFailure,
    },
    /// A block that could not be stored before was stored.
    Stored {
        /// The block.
        block: AtomId,
    },
}

impl SyncEvent {
    /// Returns the severity.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::NotStored { .. } => Level::Error,
            Self::BadBlock { .. }
            | Self::BadHead { .. }
            | Self::HeadDropped { .. }
            | Self::OtherChain { .. }
            | Self::Reorganized(_)
            | Self::Contested(_) => Level::Warn,
            Self::Progress(_) | Self::Stored { .. } => Level::Info,
        }
    }

    /// Returns a name for the kind of event, which a host uses to limit the rate of its log lines.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Progress(_) => "sync progress",
            Self::BadBlock { .. } => "invalid block",
            Self::BadHead { .. } => "invalid head",
            Self::HeadDropped { .. } => "head dropped",
            Self::OtherChain { .. } => "other chain",
            Self::Reorganized(_) => "reorganization",
            Self::Contested(_) => "contested fork",
            Self::NotStored { .. } => "verified block not stored",
            Self::Stored { .. } => "verified block stored",
        }
    }
}

impl fmt::Display for SyncEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Progress(progress) => progress.fmt(f),
            Self::BadBlock { block, reason } => {
                write!(f, "invalid block {block}, and all that follow it: {reason}")
            }
            Self::BadHead {
                peer,
                block,
                reason,
            } => write!(
                f,
                "peer {peer} announced the invalid block {block}: {reason}"
            ),
            Self::HeadDropped { head, reason } => {
                write!(f, "not following head {head}: {reason}")
            }
            Self::OtherChain { peer, difference } => {
                write!(f, "ignoring the heads of peer {peer}: {difference}")
            }
            Self::Reorganized(reorganization) => reorganization.fmt(f),
            Self::Contested(contest) => write!(f, "{}", status::ContestText(contest)),
            Self::NotStored { block, failure } => write!(
                f,
                "sync stopped: verified block {block} could not be stored: {failure}"
            ),
            Self::Stored { block } => write!(f, "sync continues: stored block {block}"),
        }
    }
}
