//! Walk along abandoned branches, back to where they fork from the branch of the head.
//!
//! The walk descends both branches by height until they meet, at any depth, and returns the
//! transactions of each abandoned block, newest first. The caller checks against the state of the
//! head if the other branch applied one of them too.
//!
//! Invariant: one call reads at most [`BLOCKS_PER_CALL`] headers or [`IDS_PER_CALL`] ids. Missing
//! or malformed data end the walk of one block or of one branch, not of the others.

use crate::atom::{AtomId, AtomKind, AtomSource};
use crate::chain::{Block, MAX_BLOCK_TRANSACTIONS};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::convert::Infallible;

/// Maximum number of headers read in one call.
pub const BLOCKS_PER_CALL: usize = 16;
/// Maximum number of transaction ids read in one call.
pub const IDS_PER_CALL: usize = 1_024;
/// Maximum number of transactions returned by one call.
pub const TRANSACTIONS_PER_CALL: usize = 32;
/// Maximum number of branches queued for the walk. Beyond that, the oldest is given up.
pub const MAX_BRANCHES: usize = 16;
/// Maximum number of fetches for one missing header.
pub const MAX_FETCHES: u8 = 3;

/// Result of the walk along one branch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BranchReport {
    /// The abandoned head.
    pub head: AtomId,
    /// The block where the branches meet; `None` if the walk did not reach it.
    pub fork: Option<AtomId>,
    /// Height of the fork point, or of the lowest block that was visited.
    pub fork_height: u64,
    /// Number of abandoned blocks.
    pub blocks: u64,
    /// Number of their transactions that returned to the mempool.
    pub returned: u64,
    /// Number of their transactions that could not return.
    pub lost: u64,
}

/// Result of one step of the walk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// There is nothing to do, or a fetch has to end first.
    Idle,
    /// There is more to do.
    More,
    /// Transactions of an abandoned block, newest first.
    Transactions {
        /// The block.
        block: AtomId,
        /// Its height.
        height: u64,
        /// Ids of the transactions.
        ids: Vec<AtomId>,
    },
    /// The transaction list of an abandoned block cannot be read.
    Unreadable {
        /// The block.
        block: AtomId,
    },
    /// This atom is needed first, unless fetching it fails.
    Missing(AtomId),
    /// The walk along a branch has ended.
    Done(BranchReport),
}

/// Transaction ids of an abandoned block.
#[derive(Debug)]
struct List {
    block: AtomId,
    height: u64,
    /// Next atom to read; zero at the end.
    next: AtomId,
    ids: Vec<AtomId>,
}

/// Abandoned branch.
#[derive(Debug)]
struct Branch {
    /// Next block of the branch, and of the branch that replaced it.
    left: AtomId,
    kept: AtomId,
    list: Option<List>,
    /// Header that is being fetched, and the number of fetches for it.
    missing: Option<AtomId>,
    fetches: u8,
    report: BranchReport,
}

/// Abandoned branches whose walk has not ended. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Abandoned {
    branches: VecDeque<Branch>,
}

impl Abandoned {
    /// Adds a branch that was abandoned for another. Returns the report of a branch that was given
    /// up to make room.
    pub(super) fn add(&mut self, left: AtomId, kept: AtomId) -> Option<BranchReport> {
        let given_up = (self.branches.len() >= MAX_BRANCHES)
            .then(|| self.branches.pop_front())
            .flatten();
        self.branches.push_back(Branch {
            left,
            kept,
            list: None,
            missing: None,
            fetches: 0,
            report: BranchReport {
                head: left,
                fork: None,
                fork_height: 0,
                blocks: 0,
                returned: 0,
                lost: 0,
            },
        });
        given_up.map(|branch| branch.report)
    }

    /// Returns whether [`Abandoned::step`] has something to do before a fetch ends.
    pub(super) fn is_due(&self) -> bool {
        let first = self.branches.front();
        first.is_some_and(|branch| branch.missing.is_none())
    }

    /// Counts a transaction of the current branch.
    pub(super) fn count(&mut self, has_returned: bool) {
        if let Some(branch) = self.branches.front_mut() {
            match has_returned {
                true => branch.report.returned += 1,
                false => branch.report.lost += 1,
            }
        }
    }

    /// Records the end of a fetch, which may have been for this walk.
    pub(super) fn fetched(&mut self, id: &AtomId) {
        if let Some(branch) = self.branches.front_mut()
            && branch.missing.as_ref() == Some(id)
        {
            branch.missing = None;
        }
    }

    /// Does a bounded part of the walk.
    pub(super) fn step(&mut self, atoms: &dyn AtomSource<Error = Infallible>) -> Step {
        let Some(branch) = self.branches.front_mut() else {
            return Step::Idle;
        };
        if branch.missing.is_some() {
            return Step::Idle;
        }
        let step = match branch.list.as_mut() {
            Some(list) => match list.step(atoms) {
                Some(step) => step,
                None => {
                    branch.list = None;
                    Step::More
                }
            },
            None => branch.descend(atoms),
        };
        match step {
            Step::Done(_) => {
                self.branches.pop_front();
            }
            Step::Unreadable { .. } => branch.list = None,
            _ => {}
        }
        step
    }
}

impl Branch {
    /// Descends both branches.
    fn descend(&mut self, atoms: &dyn AtomSource<Error = Infallible>) -> Step {
        for _ in 0..BLOCKS_PER_CALL {
            if self.left == self.kept {
                self.report.fork = Some(self.left);
                if let Ok((_, height)) = read(atoms, self.left) {
                    self.report.fork_height = height;
                }
                return Step::Done(self.report);
            }
            let blocks = read(atoms, self.left)
                .and_then(|left| read(atoms, self.kept).map(|kept| (left, kept)));
            let ((left, left_height), (kept, kept_height)) = match blocks {
                Ok(blocks) => blocks,
                Err(Some(missing)) if self.fetches < MAX_FETCHES => {
                    self.fetches += 1;
                    self.missing = Some(missing);
                    return Step::Missing(missing);
                }
                Err(_) => return Step::Done(self.report),
            };
            self.fetches = 0;
            if kept_height >= left_height {
                self.kept = kept.previous;
            }
            if left_height >= kept_height {
                let block = self.left;
                self.left = left.previous;
                self.report.blocks += 1;
                self.report.fork_height = left_height;
                if left_height == 0 {
                    // The two chains have different genesis blocks and share nothing.
                    self.kept = self.left;
                    return Step::Done(self.report);
                }
                if !left.transactions.is_zero() {
                    self.list = Some(List {
                        block,
                        height: left_height,
                        next: left.transactions,
                        ids: Vec::new(),
                    });
                    return Step::More;
                }
            }
        }
        Step::More
    }
}

impl List {
    /// Reads on, then returns the transactions from the last to the first; `None` at the end.
    fn step(&mut self, atoms: &dyn AtomSource<Error = Infallible>) -> Option<Step> {
        for _ in 0..IDS_PER_CALL {
            if self.next.is_zero() {
                break;
            }
            let unreadable = Some(Step::Unreadable { block: self.block });
            let Ok(atom) = atoms.atom(&self.next) else {
                return unreadable;
            };
            let id = AtomId::from_slice(atom.data()).filter(|_| atom.kind() == AtomKind::Bytes);
            match id {
                Some(id) if self.ids.len() < MAX_BLOCK_TRANSACTIONS => self.ids.push(id),
                _ => return unreadable,
            }
            self.next = atom.next();
        }
        if !self.next.is_zero() {
            return Some(Step::More);
        }
        if self.ids.is_empty() {
            return None;
        }
        let rest = self.ids.len().saturating_sub(TRANSACTIONS_PER_CALL);
        let mut ids = self.ids.split_off(rest);
        ids.reverse();
        Some(Step::Transactions {
            block: self.block,
            height: self.height,
            ids,
        })
    }
}

/// Reads a block; `Err` holds the missing atom, if that is the reason.
fn read(
    atoms: &dyn AtomSource<Error = Infallible>,
    id: AtomId,
) -> Result<(Block, u64), Option<AtomId>> {
    let block = Block::read(atoms, id).map_err(|error| error.missing())?;
    let height = block.height.to_u64().ok_or(None)?;
    Ok((block, height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::{Atom, MemoryStore};

    #[test]
    fn full_queue_drops_the_oldest_abandoned_branch() {
        let id = |number: u8| AtomId::new([number; 32]);
        let mut abandoned = Abandoned::default();
        for number in 1..=16 {
            assert_eq!(abandoned.add(id(number), id(99)), None);
        }
        let report = abandoned.add(id(17), id(99));
        assert_eq!(report.map(|report| report.head), Some(id(1)));
        assert_eq!(abandoned.branches.len(), MAX_BRANCHES);
    }

    /// Stores a list of ids; returns its first atom.
    fn list(store: &mut MemoryStore, count: usize) -> AtomId {
        (0..count).fold(AtomId::ZERO, |next, number| {
            let mut id = [7; 32];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            let atom = Atom::new(AtomKind::Bytes, id.as_slice(), next);
            let id = atom.id();
            store.extend([atom]);
            id
        })
    }

    /// Walks to the end; returns the number of transactions of each step, and whether all could be
    /// read.
    fn walk(mut list: List, store: &MemoryStore) -> (Vec<usize>, bool) {
        let mut lengths = Vec::new();
        loop {
            match list.step(store) {
                None => return (lengths, true),
                Some(Step::More) => {}
                Some(Step::Transactions { ids, .. }) => lengths.push(ids.len()),
                Some(step) => {
                    assert!(matches!(step, Step::Unreadable { block } if block == list.block));
                    return (lengths, false);
                }
            }
        }
    }

    #[test]
    fn transaction_list_is_returned_in_parts_up_to_the_block_limit() {
        for (count, is_readable) in [
            (1, true),
            (TRANSACTIONS_PER_CALL + 1, true),
            (IDS_PER_CALL, true),
            (IDS_PER_CALL + 1, true),
            (MAX_BLOCK_TRANSACTIONS, true),
            (MAX_BLOCK_TRANSACTIONS + 1, false),
        ] {
            let mut store = MemoryStore::new();
            let next = list(&mut store, count);
            let list = List {
                block: AtomId::new([1; 32]),
                height: 5,
                next,
                ids: Vec::new(),
            };
            let (lengths, is_whole) = walk(list, &store);
            assert_eq!(is_whole, is_readable, "{count}");
            if is_readable {
                assert_eq!(lengths.iter().sum::<usize>(), count);
                assert!(lengths.iter().all(|part| *part <= TRANSACTIONS_PER_CALL));
            }
        }
    }
}
