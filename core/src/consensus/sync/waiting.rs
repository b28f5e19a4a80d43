//! Conditions that a branch waits for.

use super::requests::MissingAtom;
use crate::atom::AtomId;
use crate::consensus::StoreFailure;
use core::fmt;

/// Number of failed fetches of one atom of a block after which the likely cause is named.
const HINT_AFTER: u32 = 4;
/// Likely cause, and what to do about it. Only headers are kept of blocks that were pruned.
const PRUNED_HINT: &str = "; its peers may have pruned the block: join with sync = \"snapshot\" and \
                           checkpoint, or add a peer that has all blocks (prune_blocks = 0)";

/// Condition that a branch waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// An atom of a header.
    Header {
        /// The block.
        block: AtomId,
        /// The atom.
        atom: MissingAtom,
    },
    /// An atom that a block needs.
    Block {
        /// The block.
        block: AtomId,
        /// The atom.
        atom: MissingAtom,
    },
    /// The time of its next block.
    Time {
        /// Number of seconds left, by the wall clock.
        seconds: u64,
    },
    /// A second network group, or a seed, that announces the branch: it has the maximum number of
    /// headers that are kept for one peer.
    Confirmation {
        /// Number of headers so far.
        headers: u64,
    },
    /// A slot among the long branches.
    LongBranchSlot,
    /// Storage of a verified block.
    Storage {
        /// The block.
        block: AtomId,
        /// Reason it was not stored.
        failure: StoreFailure,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header { block, atom } => write!(f, "header {block}: {atom}"),
            Self::Block { block, atom } => {
                write!(f, "block {block}: {atom}")?;
                match atom.failed {
                    Some((_, count)) if count >= HINT_AFTER => f.write_str(PRUNED_HINT),
                    _ => Ok(()),
                }
            }
            Self::Time { seconds } => write!(f, "a block that is {seconds} s in the future"),
            Self::Confirmation { headers } => write!(
                f,
                "confirmation of {headers} headers from a single peer: a seed or a peer of another \
                 network has to announce the same branch"
            ),
            Self::LongBranchSlot => {
                f.write_str("other branches: too many long ones are being synced")
            }
            Self::Storage { block, failure } => write!(f, "storage of block {block}: {failure}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FetchError;
    use alloc::string::ToString as _;

    #[test]
    fn unavailable_block_names_the_likely_cause() {
        let block = AtomId::new([1; 32]);
        let atom = |failures: u32| MissingAtom {
            id: AtomId::new([2; 32]),
            failed: (failures > 0).then_some((FetchError::NotFound, failures)),
        };
        for (failures, is_named) in [(0, false), (HINT_AFTER - 1, false), (HINT_AFTER, true)] {
            let atom = atom(failures);
            let text = Waiting::Block { block, atom }.to_string();
            for part in ["pruned", "sync = \"snapshot\"", "prune_blocks = 0"] {
                assert_eq!(text.contains(part), is_named, "{text}");
            }
            // Headers are not pruned.
            let text = Waiting::Header { block, atom }.to_string();
            assert!(!text.contains("pruned"), "{text}");
        }
    }
}
