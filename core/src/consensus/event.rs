//! Events of components, as data. The host turns them into log lines and notifications.

use super::HeadState;
use super::mempool::{BranchReport, Refusal};
use super::producer::{Halt, MissedSlot, Problem};
use super::sync::SyncEvent;
use crate::atom::AtomId;
use crate::calendar::UtcTime;
use alloc::string::String;
use core::fmt;

/// Severity of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// The node cannot do its job.
    Error,
    /// Needs the attention of an operator.
    Warn,
    /// Normal operation.
    Info,
}

/// Event in a component.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// This node created a new chain.
    ChainCreated {
        /// Chain id.
        chain_id: u64,
        /// Genesis block.
        genesis: AtomId,
    },
    /// The head changed to a block that this node did not make.
    HeadChanged {
        /// Id of the new head.
        id: AtomId,
        /// Height of the new head.
        height: u64,
        /// Reason it is the head.
        state: HeadState,
        /// Age of the head, in seconds.
        age_seconds: u64,
    },
    /// This node made a block.
    BlockProduced {
        /// Id of the block.
        id: AtomId,
        /// Its height.
        height: u64,
        /// Number of transactions in the block.
        transactions: usize,
    },
    /// A block was published that the signer had signed before a restart, or too late for its slot.
    BlockRestored {
        /// Id of the block.
        id: AtomId,
        /// Its height.
        height: u64,
    },
    /// A slot of this validator passed without a block.
    SlotMissed {
        /// Height that the block would have had.
        height: u64,
        /// Timestamp of the slot, in seconds since 1970.
        timestamp: u64,
        /// Activity of the validator when the slot passed.
        during: MissedSlot,
    },
    /// A block of this node could not be stored.
    BlockNotStored {
        /// The block's height.
        height: u64,
        /// Error of the store.
        problem: String,
    },
    /// The validator has stopped signing for now.
    ProducerHalted(Halt),
    /// The validator signs again, after blocks of another node with its key.
    ProducerResumed {
        /// Newest block of the other node; only later blocks are signed.
        newest: AtomId,
    },
    /// No block can be produced at present.
    ProductionHalted(Problem),
    /// Blocks are produced again.
    ProductionResumed,
    /// A transaction was refused.
    TransactionRefused {
        /// The transaction.
        id: AtomId,
        /// Reason.
        refusal: Refusal,
    },
    /// Event in sync.
    Sync(SyncEvent),
    /// A transaction was not included in time.
    TransactionExpired {
        /// The transaction.
        id: AtomId,
        /// `true` if a local user sent it.
        is_own: bool,
    },
    /// The transactions of an abandoned branch have returned to the mempool.
    TransactionsReturned(BranchReport),
}

impl Event {
    /// Returns the severity.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Self::ProducerHalted(_) | Self::ProductionHalted(_) => Level::Error,
            Self::ChainCreated { .. }
            | Self::SlotMissed { .. }
            | Self::BlockNotStored { .. }
            | Self::BlockRestored { .. }
            | Self::ProducerResumed { .. } => Level::Warn,
            Self::TransactionExpired { is_own, .. } if *is_own => Level::Warn,
            Self::TransactionsReturned(report) if report.lost > 0 || report.fork.is_none() => {
                Level::Warn
            }
            Self::HeadChanged { .. }
            | Self::BlockProduced { .. }
            | Self::ProductionResumed
            | Self::TransactionRefused { .. }
            | Self::TransactionExpired { .. }
            | Self::TransactionsReturned(_) => Level::Info,
            Self::Sync(event) => event.level(),
        }
    }

    /// Returns a name for the kind of event, which a host uses to limit the rate of its log lines.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::HeadChanged { .. } => "head changed",
            Self::ChainCreated { .. } => "chain created",
            Self::BlockProduced { .. } => "block produced",
            Self::BlockRestored { .. } => "block restored",
            Self::SlotMissed { .. } => "slot missed",
            Self::BlockNotStored { .. } => "block not stored",
            Self::ProducerHalted(_) => "producer halted",
            Self::ProducerResumed { .. } => "producer resumed",
            Self::ProductionHalted(_) => "production halted",
            Self::ProductionResumed => "production resumed",
            Self::TransactionRefused { .. } => "transaction refused",
            Self::TransactionExpired { .. } => "transaction expired",
            Self::TransactionsReturned(_) => "transactions returned",
            Self::Sync(event) => event.kind(),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainCreated { chain_id, genesis } => {
                write!(
                    f,
                    "created a new chain: chain_id={chain_id} genesis={genesis}"
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
            Self::BlockProduced {
                id,
                height,
                transactions,
            } => write!(
                f,
                "produced a block: height={height} transactions={transactions} id={id}"
            ),
            Self::SlotMissed {
                height,
                timestamp,
                during,
            } => write!(
                f,
                "missed slot: height={height} timestamp={:#} during={during}",
                UtcTime(*timestamp)
            ),
            Self::BlockRestored { id, height } => write!(
                f,
                "published a block that the signer had signed before: height={height} id={id}"
            ),
            Self::BlockNotStored { height, problem } => {
                write!(f, "failed to store a block: height={height}: {problem}")
            }
            Self::ProducerHalted(halt) => halt.fmt(f),
            Self::ProducerResumed { newest } => write!(
                f,
                "resumed signing: no block of this key by another node since id={newest}"
            ),
            Self::ProductionHalted(problem) => write!(f, "production halted: {problem}"),
            Self::ProductionResumed => f.write_str("production resumed"),
            Self::TransactionRefused { id, refusal } => {
                write!(f, "refused a transaction: id={id}: {refusal}")
            }
            Self::TransactionExpired { id, .. } => {
                write!(f, "a transaction expired: id={id}")
            }
            Self::TransactionsReturned(report) => {
                let BranchReport {
                    head,
                    fork,
                    fork_height,
                    blocks,
                    returned,
                    lost,
                } = report;
                write!(
                    f,
                    "transactions of an abandoned branch returned to the mempool: head={head} \
                     blocks={blocks} fork_height={fork_height} returned={returned} lost={lost}"
                )?;
                match fork {
                    Some(_) => Ok(()),
                    None => f.write_str(": failed to read the branch down to its fork point"),
                }
            }
            Self::Sync(event) => event.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::fork_choice::InsertError;
    use crate::consensus::producer::Activity;
    use alloc::string::ToString as _;

    #[test]
    fn formats_unix_times_as_dates() {
        let timestamp = 1_795_838_684;
        let block = AtomId::new([1; 32]);
        let halt = Halt::DuplicateValidator { block, timestamp };
        let missed = Event::SlotMissed {
            height: 7,
            timestamp,
            during: MissedSlot::Assembling,
        };
        for (text, date) in [
            (missed.to_string(), "timestamp=2026-11-28T04:04:44Z "),
            (halt.to_string(), " at 2026-11-28 04:04:44 UTC;"),
            (
                Activity::Scheduled { timestamp }.to_string(),
                "next slot 2026-11-28 04:04:44 UTC",
            ),
            (
                InsertError::Early { timestamp }.to_string(),
                "block time 2026-11-28 04:04:44 UTC is in the future",
            ),
        ] {
            assert!(
                text.contains(date) && !text.contains("1795838684"),
                "{text}"
            );
        }
    }
}
