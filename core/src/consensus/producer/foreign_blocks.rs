//! Foreign blocks: blocks that the validator's key signed and this node did not make; and the wait
//! before it signs again.
//!
//! They show that another node has the key, or had it: a key that moved to another machine and
//! back, a backup of an older directory, two nodes at once. In each case this node stops signing,
//! listens, and resumes once the key has been quiet. Then the foreign blocks are added to its
//! signing record, so that it signs only later blocks.
//!
//! The node that made the key's newest block goes first: it waits for [`QUIET`] and for one unused
//! slot of the key, any other node for [`QUIET_OTHER`] and for [`UNUSED_SLOTS_OTHER`] slots. Both
//! nodes agree on the newest block, so of two halted nodes that hear each other one signs: the
//! other sees its block before its own wait is over, and starts the wait again. Slots are counted
//! in addition to time because a small stake may have none for hours: silence proves something only
//! if the key could have signed.
//!
//! Invariants:
//! - Only blocks newer than all known blocks of the key restart the wait, so that old ones, sent
//!   again by any peer, do not delay it. The caller verifies signatures.
//! - Correctness does not depend on the wall clock; a clock that jumps back costs one more slot.

use crate::atom::{AtomId, AtomSource};
use crate::chain::{Address, Block};
use crate::consensus::{Head, SignedBlock, SigningRecord};
use crate::time::Instant;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

/// Time for which the key must be quiet before the node that made its newest block signs again.
pub const QUIET: Duration = Duration::from_secs(15);
/// Time for which the key must be quiet before any other node signs.
pub const QUIET_OTHER: Duration = Duration::from_secs(30);
/// Number of slots of the key that must pass unused before the node that made its newest block
/// signs again.
pub const UNUSED_SLOTS: u32 = 1;
/// Number of slots of the key that must pass unused before any other node signs.
pub const UNUSED_SLOTS_OTHER: u32 = 3;

/// Time after a slot in which a block of it may still arrive, in seconds.
const SLOT_GRACE_SECONDS: u64 = 3;
/// Maximum number of blocks remembered; the oldest are dropped.
const MAX_BLOCKS: usize = 32;
/// Maximum number of blocks, from the head down, that are searched for one of the key.
const MAX_WALK: u32 = 1_024;
/// Maximum number of blocks read in one call.
const WALK_PER_CALL: u32 = 64;

/// Remaining wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Remaining {
    pub(super) quiet: Duration,
    pub(super) slots: u32,
}

/// Blocks of the key that this node did not make.
#[derive(Debug, Default)]
pub(super) struct ForeignBlocks {
    /// Ordered by timestamp, then id.
    blocks: Vec<SignedBlock>,
    quiet_since: Instant,
    unused_slots: u32,
    /// Timestamp of the watched slot, and wall time at which it was found, both in seconds.
    slot: Option<(u64, u64)>,
    walk: Walk,
}

/// Search of the head's branch for the newest block of the key, down to the head of the last
/// search.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    /// Head that the search starts from.
    head: AtomId,
    /// Head of the last completed search.
    searched: AtomId,
    /// Block to read next; `None` if the search has ended.
    next: Option<AtomId>,
    left: u32,
}

impl ForeignBlocks {
    /// Adds a block. Returns whether it is newer than all known ones, in which case the wait
    /// restarts.
    pub(super) fn add(&mut self, now: Instant, block: SignedBlock) -> bool {
        if self.blocks.iter().any(|known| known.block == block.block) {
            return false;
        }
        let newest = self.newest();
        let is_newer = newest.is_none_or(|newest| order_key(newest) < order_key(&block));
        let at = self
            .blocks
            .partition_point(|known| order_key(known) < order_key(&block));
        self.blocks.insert(at, block);
        if self.blocks.len() > MAX_BLOCKS {
            self.blocks.remove(0);
        }
        if is_newer {
            self.quiet_since = now;
            self.unused_slots = 0;
            self.slot = None;
        }
        is_newer
    }

    /// Returns the newest block.
    pub(super) fn newest(&self) -> Option<&SignedBlock> {
        self.blocks.last()
    }

    /// Returns whether `own`, a block that this node made, is the newest of the key.
    pub(super) fn is_newest(&self, own: Option<&SignedBlock>) -> bool {
        own.is_some() && own.map(order_key) >= self.newest().map(order_key)
    }

    /// Continues the search for the newest block of `address` at `head` or below. Returns it once,
    /// if another node made it.
    pub(super) fn walk(
        &mut self,
        atoms: &dyn AtomSource<Error = Infallible>,
        head: &Head,
        address: &Address,
        is_foreign: impl Fn(&Block) -> bool,
    ) -> Option<SignedBlock> {
        let walk = &mut self.walk;
        if walk.head != head.id() {
            if walk.next.is_none() {
                walk.searched = walk.head;
            }
            walk.head = head.id();
            walk.next = Some(head.id());
            walk.left = MAX_WALK;
        }
        for _ in 0..WALK_PER_CALL {
            let id = walk.next.take()?;
            if walk.left == 0 || id == walk.searched {
                return None;
            }
            walk.left -= 1;
            // If the branch is not stored further down, the search ends here.
            let block = Block::read(atoms, id).ok()?;
            if block.validator == *address && !block.is_genesis() {
                return is_foreign(&block).then(|| signed_block(&block)).flatten();
            }
            if !block.is_genesis() {
                walk.next = Some(block.previous);
            }
        }
        None
    }

    /// Returns whether the search has not ended.
    pub(super) const fn is_walking(&self) -> bool {
        self.walk.next.is_some()
    }

    /// Follows a change of the head. The watched slot belongs to the former head; if the new head
    /// is later than that slot, the slot has passed unused.
    pub(super) fn follow_head(&mut self, head: &Head) {
        if let Some((slot, _)) = self.slot.take()
            && head.timestamp() > slot
        {
            self.unused_slots = self.unused_slots.saturating_add(1);
        }
    }

    /// Ends the wait: the known blocks are forgotten, so that the next foreign block restarts it.
    pub(super) fn resume(&mut self) {
        *self = Self {
            walk: self.walk,
            ..Self::default()
        };
    }

    /// Watches the slots of the key. Returns `Some` if the next slot must be found and passed to
    /// [`ForeignBlocks::watch_slot`]; the inner value is `true` if the wall clock has gone back
    /// since the last one was found.
    pub(super) const fn needs_slot(&mut self, unix_seconds: u64) -> Option<bool> {
        let Some((slot, found)) = self.slot else {
            return Some(false);
        };
        if unix_seconds < found {
            self.slot = None;
            return Some(true);
        }
        if unix_seconds > slot.saturating_add(SLOT_GRACE_SECONDS) {
            self.slot = None;
            self.unused_slots = self.unused_slots.saturating_add(1);
            return Some(false);
        }
        None
    }

    /// Watches the slot at `timestamp`.
    pub(super) const fn watch_slot(&mut self, timestamp: u64, unix_seconds: u64) {
        self.slot = Some((timestamp, unix_seconds));
    }

    /// Returns the remaining wait of a node with this signing record.
    pub(super) fn remaining(&self, now: Instant, signed: &SigningRecord) -> Remaining {
        let (quiet, slots) = if self.is_newest(signed.last()) {
            (QUIET, UNUSED_SLOTS)
        } else {
            (QUIET_OTHER, UNUSED_SLOTS_OTHER)
        };
        Remaining {
            quiet: quiet.saturating_sub(now.since(self.quiet_since)),
            slots: slots.saturating_sub(self.unused_slots),
        }
    }

    /// Returns the blocks that are not later than `unix_seconds`. Later ones were not accepted by
    /// any node; in the signing record they would keep the key from signing until their time.
    pub(super) fn until(&self, unix_seconds: u64) -> impl Iterator<Item = &SignedBlock> {
        let blocks = self.blocks.iter();
        blocks.take_while(move |block| block.timestamp <= unix_seconds)
    }
}

impl Remaining {
    /// Returns whether the wait is over.
    pub(super) const fn is_over(self) -> bool {
        self.quiet.is_zero() && self.slots == 0
    }
}

/// Returns the order of blocks of one key, which is the same for every node.
fn order_key(block: &SignedBlock) -> (u64, AtomId) {
    (block.timestamp, block.block)
}

/// Returns the entry of a block for signing records.
pub(super) fn signed_block(block: &Block) -> Option<SignedBlock> {
    Some(SignedBlock {
        parent: block.previous,
        block: block.id(),
        height: block.height.to_u64()?,
        timestamp: block.timestamp.to_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::HeadState;

    fn block(number: u8, timestamp: u64) -> SignedBlock {
        SignedBlock {
            parent: AtomId::new([number; 32]),
            block: AtomId::new([number + 100; 32]),
            height: timestamp,
            timestamp,
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn only_newer_blocks_restart_the_wait() {
        let mut foreign = ForeignBlocks::default();
        let signed = SigningRecord::default();
        assert!(foreign.add(at(10), block(5, 50)));
        assert!(!foreign.add(at(20), block(5, 50)), "known");
        for number in 0..5 {
            assert!(!foreign.add(at(20), block(number, 40 + u64::from(number))));
        }
        let left = foreign.remaining(at(30), &signed);
        assert_eq!((left.quiet, left.slots), (Duration::from_secs(10), 3));
        assert!(foreign.add(at(30), block(9, 60)));
        assert_eq!(foreign.remaining(at(30), &signed).quiet, QUIET_OTHER);
        for number in 10..90 {
            foreign.add(at(31), block(number, 60 + u64::from(number)));
        }
        assert_eq!(foreign.blocks.len(), MAX_BLOCKS);
        assert_eq!(foreign.until(148).count(), 31);
    }

    #[test]
    fn search_for_own_key_blocks_is_bounded() {
        let mut store = crate::atom::MemoryStore::new();
        let (mut parent, mut first, mut last) = (AtomId::new([1; 32]), None, None);
        for height in 1..=u64::from(MAX_WALK) + 200 {
            let block = crate::testkit::header(height, parent, height).signed(None);
            store.extend(block.to_atoms().into_iter().map(|(_, atom)| atom));
            parent = block.id();
            first.get_or_insert(block.validator);
            last = Some(block);
        }
        let head = Head::new(last.unwrap(), HeadState::Verified).unwrap();
        let search = |address: Address| {
            let mut foreign = ForeignBlocks::default();
            for calls in 1..100 {
                let found = foreign.walk(&store, &head, &address, |_| true);
                if found.is_some() || !foreign.is_walking() {
                    return (found.map(|block| block.height), calls);
                }
            }
            panic!("the search does not end");
        };
        let none = search(Address::new([77; 32]));
        assert_eq!(none, (None, MAX_WALK / WALK_PER_CALL + 1));
        let newest = search(first.unwrap());
        assert_eq!(newest, (Some(u64::from(MAX_WALK) + 200), 1));
    }

    #[test]
    fn producer_of_the_newest_block_resumes_first() {
        let (ours, theirs) = (block(1, 50), block(2, 50));
        let record = |block| {
            let mut signed = SigningRecord::default();
            signed.add(block).unwrap();
            signed
        };
        let sees = |block| {
            let mut foreign = ForeignBlocks::default();
            foreign.add(at(0), block);
            foreign
        };
        // At equal timestamps the ids decide, in the same way for both.
        let first = sees(ours).remaining(at(0), &record(theirs));
        let second = sees(theirs).remaining(at(0), &record(ours));
        assert_eq!((first.quiet, first.slots), (QUIET, UNUSED_SLOTS));
        assert_eq!(
            (second.quiet, second.slots),
            (QUIET_OTHER, UNUSED_SLOTS_OTHER)
        );
    }

    #[test]
    fn unused_slots_count_once_over_and_survive_a_backward_clock_jump() {
        let mut foreign = ForeignBlocks::default();
        foreign.add(at(0), block(1, 50));
        assert_eq!(foreign.needs_slot(100), Some(false));
        foreign.watch_slot(110, 100);
        assert_eq!(foreign.needs_slot(113), None);
        assert_eq!(foreign.needs_slot(114), Some(false));
        assert_eq!(foreign.unused_slots, 1);
        foreign.watch_slot(1_000_000, 120);
        assert_eq!(
            foreign.needs_slot(60),
            Some(true),
            "found for a time to come"
        );
        // A head later than the slot shows that it passed; an earlier one does not.
        let head = |timestamp| {
            let header = crate::testkit::header(1, AtomId::ZERO, timestamp);
            Head::new(header.signed(None), HeadState::Verified).unwrap()
        };
        foreign.watch_slot(70, 60);
        foreign.follow_head(&head(70));
        assert_eq!(
            (foreign.needs_slot(71), foreign.unused_slots),
            (Some(false), 1)
        );
        foreign.watch_slot(72, 71);
        foreign.follow_head(&head(73));
        assert_eq!(
            (foreign.needs_slot(73), foreign.unused_slots),
            (Some(false), 2)
        );
    }
}
