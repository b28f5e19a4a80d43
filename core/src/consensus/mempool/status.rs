//! Snapshot of the mempool's status, for other threads and users.

use super::abandoned::BranchReport;
use super::outcomes::Outcome;
use crate::atom::AtomId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Standing of a transaction that is in the mempool or left it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It can be included in a block.
    Ready {
        /// Number of transactions that are included before it.
        before: usize,
        /// Total number of ready transactions.
        ready: usize,
    },
    /// It waits for a list or an atom.
    Waiting {
        /// The list or atom.
        data: AtomId,
        /// Total number of waiting transactions.
        waiting: usize,
    },
    /// It is being fetched or checked.
    Fetching,
    /// It left the mempool.
    Left(Outcome),
}

/// Status of the mempool.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MempoolStatus {
    /// Ready transactions, in the order in which blocks include them.
    pub ready: Vec<AtomId>,
    /// Waiting transactions with the data they wait for, in order of arrival.
    pub waiting: Vec<(AtomId, AtomId)>,
    /// Size of both, in bytes.
    pub bytes: usize,
    /// Own transactions that are announced to validators, with the number of validators that the
    /// last announcement went to.
    pub own: BTreeMap<AtomId, Option<usize>>,
    /// Latest outcomes of transactions that left, those of peers first, each oldest first.
    pub outcomes: Vec<(AtomId, Outcome)>,
    /// Number of transactions refused since the start.
    pub refused: u64,
    /// Report of the branch abandoned last.
    pub abandoned_branch: Option<BranchReport>,
}

impl MempoolStatus {
    /// Returns the standing of a transaction; `None` if the mempool does not know it.
    #[must_use]
    pub fn standing(&self, id: &AtomId) -> Option<Standing> {
        if let Some(before) = self.ready.iter().position(|ready| ready == id) {
            let ready = self.ready.len();
            return Some(Standing::Ready { before, ready });
        }
        if let Some((_, data)) = self.waiting.iter().find(|(waiting, _)| waiting == id) {
            return Some(Standing::Waiting {
                data: *data,
                waiting: self.waiting.len(),
            });
        }
        let mut outcomes = self.outcomes.iter();
        let outcome = outcomes.find(|(left, _)| left == id);
        outcome.map(|(_, outcome)| Standing::Left(outcome.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::mempool::Refusal;

    #[test]
    fn returns_the_standing_of_the_given_transaction() {
        let id = |number| AtomId::new([number; 32]);
        let status = MempoolStatus {
            ready: [id(1), id(2)].into(),
            waiting: [(id(3), id(30)), (id(4), id(40))].into(),
            outcomes: [
                (id(5), Outcome::Refused(Refusal::TooSlow)),
                (id(6), Outcome::Expired),
            ]
            .into(),
            ..MempoolStatus::default()
        };
        let (before, ready) = (1, 2);
        assert_eq!(
            status.standing(&id(2)),
            Some(Standing::Ready { before, ready })
        );
        let (data, waiting) = (id(40), 2);
        assert_eq!(
            status.standing(&id(4)),
            Some(Standing::Waiting { data, waiting })
        );
        let left = Standing::Left(Outcome::Refused(Refusal::TooSlow));
        assert_eq!(status.standing(&id(5)), Some(left));
        assert_eq!(status.standing(&id(7)), None);
    }
}
