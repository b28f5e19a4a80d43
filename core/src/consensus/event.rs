//! Events: what happened, as data. The host turns them into log lines and notifications.

use super::HeadState;
use crate::atom::AtomId;
use core::fmt;

/// Severity of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// The node cannot do its job.
    Error,
    /// Something an operator should look at.
    Warn,
    /// Normal operation.
    Info,
}

/// Something that happened in a component.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// This node began a chain of its own.
    ChainBegun {
        /// Chain id.
        chain_id: u64,
        /// First block.
        genesis: AtomId,
    },
    /// The head changed to a block that this node did not make.
    HeadChanged {
        /// The new head.
        id: AtomId,
        /// Its height.
        height: u64,
        /// Why it is the head.
        state: HeadState,
        /// Its age, in seconds.
        age_seconds: u64,
    },
}

impl Event {
    /// Returns the severity.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::ChainBegun { .. } => Level::Warn,
            Self::HeadChanged { .. } => Level::Info,
        }
    }

    /// Returns a name for the kind of event, by which a host limits the rate of its log lines.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ChainBegun { .. } => "chain begun",
            Self::HeadChanged { .. } => "head changed",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainBegun { chain_id, genesis } => {
                write!(
                    f,
                    "began a new chain: chain_id={chain_id} genesis={genesis}"
                )
            }
            Self::HeadChanged {
                id,
                height,
                state,
                age_seconds,
            } => write!(
                f,
                "new head: height={height} id={id} state={state} age_seconds={age_seconds}"
            ),
        }
    }
}
