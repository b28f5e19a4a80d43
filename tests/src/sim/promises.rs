//! Joint promises of nodes that follow a chain, and the record that they are checked against.
//!
//! - *No second genesis*: no node follows a chain that begins with another block.
//! - *No equivocation*: no key publishes two blocks on one parent, or two of one time.
//! - *No accepted transaction is forgotten*: a transaction that a node took from its own user is
//!   included, or waits in some mempool, or was refused by a rule, or has exceeded the maximum age
//!   of a mempool.
//! - *Equal knowledge, equal head*: nodes that compare the same branches stand on the same one,
//!   unless the fork choice prefers neither: of near branches of equal length each node keeps its
//!   own until the next block.
//!
//! An operator can release a node from some of this: a key that was made to run twice may
//! equivocate, and a mempool whose file was lost forgets its transactions.

use super::chain_files::Key;
use astreum_core::atom::AtomId;
use astreum_core::consensus::SignedBlock;
use astreum_core::consensus::mempool::pool::MAX_AGE;
use astreum_core::time::Instant;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Tolerance for the age of a transaction: correct clocks differ by less.
const AGE_TOLERANCE: Duration = Duration::from_secs(3);

/// Action of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Note {
    /// It follows a chain with this first block, or began one.
    Genesis(AtomId),
    /// It published a block that its key signed.
    Published(SignedBlock),
    /// Its key stopped signing because another node uses it.
    Halted,
    /// It refused a transaction, or removed it again.
    Refused(AtomId, String),
    /// Something that it has to keep is not there.
    Broken(String),
}

/// Transaction that a node took from its own user.
#[derive(Clone, Debug)]
struct Accepted {
    node: usize,
    since: Instant,
    refusal: Option<String>,
}

/// Record of all promises. See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Promises {
    genesis: Option<AtomId>,
    by_parent: BTreeMap<(Key, AtomId), AtomId>,
    by_time: BTreeMap<(Key, u64), AtomId>,
    newest: BTreeMap<Key, (Instant, SignedBlock)>,
    released_keys: BTreeSet<Key>,
    halts: u64,
    sent: BTreeMap<AtomId, usize>,
    accepted: BTreeMap<AtomId, Accepted>,
    broken: Option<String>,
}

impl Promises {
    /// Creates the promises of nodes that follow the chain with this first block.
    #[must_use]
    pub fn new(genesis: AtomId) -> Self {
        Self {
            genesis: Some(genesis),
            ..Self::default()
        }
    }

    /// Records an action of a node.
    pub fn take(&mut self, now: Instant, node: usize, key: Option<Key>, note: Note) {
        match note {
            Note::Genesis(genesis) => {
                if let Some(ours) = self.genesis.filter(|ours| *ours != genesis) {
                    self.breaks(format!(
                        "node {node} follows a second genesis {genesis} beside {ours}"
                    ));
                }
            }
            Note::Published(block) => {
                if let Some(key) = key {
                    self.publish(now, node, key, block);
                }
            }
            Note::Halted => self.halts += 1,
            Note::Broken(what) => self.breaks(format!("node {node} {what}")),
            Note::Refused(id, reason) => {
                if let Some(accepted) = self.accepted.get_mut(&id).filter(|it| it.node == node) {
                    accepted.refusal = Some(reason);
                }
            }
        }
    }

    fn publish(&mut self, now: Instant, node: usize, key: Key, block: SignedBlock) {
        let id = block.block;
        let on_parent = self.by_parent.insert((key, block.parent), id);
        let of_time = self.by_time.insert((key, block.timestamp), id);
        self.newest.insert(key, (now, block));
        let others = [on_parent, of_time].into_iter().flatten();
        let other = others.into_iter().find(|other| *other != id);
        if let Some(other) = other.filter(|_| !self.released_keys.contains(&key)) {
            self.breaks(format!(
                "node {node} published {id} of height {} with key {key}, which had published \
                 {other} on the same parent or for the same time",
                block.height
            ));
        }
    }

    /// Records a promise that was broken.
    pub fn breaks(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// Returns the first promise that was broken.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Returns the newest block that a key published, with its time of publication.
    #[must_use]
    pub fn newest(&self, key: Key) -> Option<(Instant, SignedBlock)> {
        self.newest.get(&key).copied()
    }

    /// Returns the number of times that a validator has halted because of another node with its
    /// key.
    #[must_use]
    pub const fn halts(&self) -> u64 {
        self.halts
    }

    /// Records that the operator lets two nodes run with this key.
    pub fn release_key(&mut self, key: Key) {
        self.released_keys.insert(key);
    }

    /// Records that a user sent a transaction at a node.
    pub fn sent(&mut self, id: AtomId, node: usize) {
        self.sent.insert(id, node);
    }

    /// Returns the transactions that were sent and not accepted so far, with their nodes.
    pub fn waiting(&self) -> impl Iterator<Item = (AtomId, usize)> {
        self.sent.iter().map(|(id, node)| (*id, *node))
    }

    /// Records that the node has taken a transaction of its user into its mempool.
    pub fn accept(&mut self, now: Instant, id: AtomId) {
        if let Some(node) = self.sent.remove(&id) {
            let (since, refusal) = (now, None);
            self.accepted.insert(
                id,
                Accepted {
                    node,
                    since,
                    refusal,
                },
            );
        }
    }

    /// Records that a node has lost its mempool file.
    pub fn forget_mempool(&mut self, node: usize) {
        self.accepted.retain(|_, accepted| accepted.node != node);
        self.sent.retain(|_, at| *at != node);
    }

    /// Checks every accepted transaction and returns their number. Transactions of the simulated
    /// wallet violate no rule, so that a refusal of one does not count.
    ///
    /// # Errors
    /// Fails with a transaction that was forgotten.
    pub fn check_transactions(
        &self,
        now: Instant,
        included: &BTreeSet<AtomId>,
        pending: &BTreeSet<AtomId>,
    ) -> Result<u64, String> {
        for (id, accepted) in &self.accepted {
            let is_old = now.since(accepted.since) + AGE_TOLERANCE >= MAX_AGE;
            if included.contains(id) || pending.contains(id) || is_old {
                continue;
            }
            let age = now.since(accepted.since);
            let refusal = accepted.refusal.as_deref().unwrap_or("no reason was given");
            return Err(format!(
                "transaction {id}, accepted by node {} {age:?} ago, is in no block and no mempool: \
                 {refusal}",
                accepted.node
            ));
        }
        Ok(self.accepted.len() as u64)
    }
}

/// Compared branches and head of a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForkView {
    /// Node.
    pub node: usize,
    /// Head of the node.
    pub head: AtomId,
    /// Tips of all branches that it compares, including its own.
    pub tips: BTreeSet<AtomId>,
    /// Tips for which the fork choice prefers neither them nor its own.
    pub equals: BTreeSet<AtomId>,
}

/// Checks that nodes which compare the same branches have the same head. Returns the number of
/// pairs that compare the same.
///
/// # Errors
/// Fails with two nodes that do not agree.
pub fn check_agreement(fork_views: &[ForkView]) -> Result<u64, String> {
    let mut pairs = 0;
    for (at, one) in fork_views.iter().enumerate() {
        for other in fork_views.iter().skip(at + 1) {
            if one.tips != other.tips || one.equals.contains(&other.head) {
                continue;
            }
            pairs += 1;
            if one.head != other.head {
                return Err(format!(
                    "nodes {} and {} compare the same {} branches and have the heads {} and {}",
                    one.node,
                    other.node,
                    one.tips.len(),
                    one.head,
                    other.head
                ));
            }
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> AtomId {
        AtomId::new([number; 32])
    }

    fn block(parent: u8, number: u8, timestamp: u64) -> Note {
        Note::Published(SignedBlock {
            parent: id(parent),
            block: id(number),
            height: 1,
            timestamp,
        })
    }

    fn broken(notes: impl IntoIterator<Item = Note>) -> bool {
        let mut promises = Promises::new(id(1));
        for note in notes {
            promises.take(Instant::ZERO, 0, Some(0), note);
        }
        promises.broken().is_some()
    }

    #[test]
    fn second_genesis_breaks_a_promise() {
        assert!(!broken([Note::Genesis(id(1)), Note::Genesis(id(1))]));
        assert!(broken([Note::Genesis(id(1)), Note::Genesis(id(2))]));
    }

    #[test]
    fn two_blocks_of_a_key_on_one_parent_or_of_one_time_break_a_promise() {
        assert!(!broken([block(1, 2, 10), block(1, 2, 10), block(2, 3, 11)]));
        assert!(broken([block(1, 2, 10), block(1, 3, 12)]));
        assert!(broken([block(1, 2, 10), block(4, 3, 10)]));
    }

    #[test]
    fn lost_accepted_transaction_breaks_a_promise() {
        let mut promises = Promises::new(id(1));
        promises.sent(id(5), 3);
        let check = |promises: &Promises, seconds, included, pending| {
            let set = |id: Option<AtomId>| id.into_iter().collect::<BTreeSet<_>>();
            let now = Instant::from_secs(seconds);
            promises.check_transactions(now, &set(included), &set(pending))
        };
        assert_eq!(
            check(&promises, 9, None, None),
            Ok(0),
            "it was not accepted"
        );
        promises.accept(Instant::ZERO, id(5));
        assert!(check(&promises, 9, None, Some(id(6))).is_err());
        assert_eq!(check(&promises, 9, None, Some(id(5))), Ok(1));
        assert_eq!(check(&promises, 9, Some(id(5)), None), Ok(1));
        assert_eq!(check(&promises, 3_600, None, None), Ok(1), "it has expired");
        promises.forget_mempool(3);
        assert_eq!(check(&promises, 9, None, None), Ok(0));
    }

    #[test]
    fn two_heads_over_the_same_branches_break_a_promise() {
        let stands = |node, head, tips: &[u8]| ForkView {
            node,
            head: id(head),
            tips: tips.iter().copied().map(id).collect(),
            equals: BTreeSet::new(),
        };
        let [one, two] = [stands(0, 1, &[1, 2]), stands(1, 1, &[1, 2])];
        assert_eq!(check_agreement(&[one.clone(), two]), Ok(1));
        assert_eq!(check_agreement(&[one.clone(), stands(1, 2, &[2])]), Ok(0));
        let other = stands(1, 2, &[1, 2]);
        assert!(check_agreement(&[one.clone(), other.clone()]).is_err());
        let equal = ForkView {
            equals: [id(2)].into(),
            ..one
        };
        assert_eq!(check_agreement(&[equal, other]), Ok(0));
    }
}
