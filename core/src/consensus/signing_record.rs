//! Signing record (slashing protection): the blocks a validator has signed, so that it never signs
//! two conflicting blocks.
//!
//! Two different blocks of one validator on one parent are equivocation. They result from a crash
//! between signing and storing, or from two nodes that run with one key. Against the former the
//! host keeps the record on disk; against the latter, [`SigningRecord::is_foreign`] and
//! [`SigningRecord::allows`] are called before each block.
//!
//! Invariant: the record has at most one block for each parent, and timestamps strictly increase.

use crate::atom::AtomId;
use alloc::vec::Vec;
use core::fmt;

/// Maximum number of blocks in the record; older ones have children or were abandoned.
pub const MAX_SIGNED_BLOCKS: usize = 32;

/// Block that was signed for publication.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignedBlock {
    /// Parent of the block.
    pub parent: AtomId,
    /// Id of the block.
    pub block: AtomId,
    /// Height of the block: the number of blocks before it.
    pub height: u64,
    /// Timestamp of the block, in seconds since 1970.
    pub timestamp: u64,
}

/// Reason a block must not be signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conflict {
    /// Another block with the same parent was signed.
    SameParent(SignedBlock),
    /// A block with the same or a later timestamp was signed.
    NotLater(SignedBlock),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameParent(mark) => write!(
                f,
                "block {} at height {} is already signed on the same parent",
                mark.block, mark.height
            ),
            Self::NotLater(mark) => write!(
                f,
                "block {} is already signed for {}, which has not passed",
                mark.block, mark.timestamp
            ),
        }
    }
}

/// Blocks that were signed, oldest first.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::consensus::{Conflict, SignedBlock, SigningRecord};
///
/// let [parent, first, second] = [1, 2, 3].map(|byte| AtomId::new([byte; 32]));
/// let mut record = SigningRecord::default();
/// let block = SignedBlock { block: first, parent, height: 7, timestamp: 100 };
/// record.add(block)?;
/// // No second block is signed on the same parent, and none for the same slot or an earlier one.
/// assert_eq!(record.allows(&parent, 102), Err(Conflict::SameParent(block)));
/// assert_eq!(record.allows(&first, 100), Err(Conflict::NotLater(block)));
/// record.add(SignedBlock { block: second, parent: first, height: 8, timestamp: 102 })?;
/// assert_eq!(record.last().map(|block| block.height), Some(8));
/// # Ok::<(), Conflict>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SigningRecord {
    blocks: Vec<SignedBlock>,
}

impl SigningRecord {
    /// Returns all blocks of the record, oldest first.
    #[must_use]
    pub fn blocks(&self) -> &[SignedBlock] {
        &self.blocks
    }

    /// Returns the block with the latest timestamp.
    #[must_use]
    pub fn last(&self) -> Option<&SignedBlock> {
        self.blocks.last()
    }

    /// Returns the block that was signed on `parent`, if the record contains one.
    #[must_use]
    pub fn on(&self, parent: &AtomId) -> Option<&SignedBlock> {
        self.blocks.iter().find(|mark| mark.parent == *parent)
    }

    /// Checks that a block on `parent` with this timestamp may be signed.
    ///
    /// # Errors
    /// Returns [`Conflict`] if a block on the same parent was signed, or one that is not earlier.
    pub fn allows(&self, parent: &AtomId, timestamp: u64) -> Result<(), Conflict> {
        if let Some(mark) = self.on(parent) {
            return Err(Conflict::SameParent(*mark));
        }
        let later = self.blocks.iter().find(|mark| mark.timestamp >= timestamp);
        later.map_or(Ok(()), |mark| Err(Conflict::NotLater(*mark)))
    }

    /// Adds a block that is about to be published. Adding the same block again has no effect.
    ///
    /// # Errors
    /// Returns [`Conflict`] if the block must not be signed; the record is unchanged then.
    pub fn add(&mut self, mark: SignedBlock) -> Result<(), Conflict> {
        if self.on(&mark.parent) == Some(&mark) {
            return Ok(());
        }
        self.allows(&mark.parent, mark.timestamp)?;
        if self.blocks.len() >= MAX_SIGNED_BLOCKS {
            self.blocks.remove(0);
        }
        self.blocks.push(mark);
        Ok(())
    }

    /// Adds a block of the key that another node made, so that only later ones are signed. A block
    /// that conflicts with an entry (same parent, block or timestamp) is ignored.
    pub fn adopt(&mut self, block: SignedBlock) {
        let fits = |known: &SignedBlock| {
            known.parent != block.parent
                && known.block != block.block
                && known.timestamp != block.timestamp
        };
        if !self.blocks.iter().all(fits) {
            return;
        }
        let later = |known: &SignedBlock| known.timestamp < block.timestamp;
        let at = self.blocks.partition_point(later);
        self.blocks.insert(at, block);
        if self.blocks.len() > MAX_SIGNED_BLOCKS {
            self.blocks.remove(0);
        }
    }

    /// Returns whether another node made this block of our key: it is not in the record, and it is
    /// later than everything that this node had signed at `start`.
    #[must_use]
    pub fn is_foreign(&self, block: &AtomId, timestamp: u64, start: Start) -> bool {
        // A full record may have dropped blocks before its oldest.
        let is_full = self.blocks.len() >= MAX_SIGNED_BLOCKS;
        let oldest = self.blocks.first().filter(|_| is_full);
        let known_since = oldest.map_or(0, |mark| mark.timestamp).max(start.0);
        timestamp > known_since && !self.blocks.iter().any(|mark| mark.block == *block)
    }
}

/// Timestamp after which each block of the key that is not in the record is another node's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start(u64);

impl Start {
    /// Creates the start of a node with this record of earlier runs. If the record is empty, every
    /// block of the key counts as foreign: a record may have been lost.
    #[must_use]
    pub fn new(signed: &SigningRecord) -> Self {
        Self(signed.last().map_or(0, |mark| mark.timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::mark;

    #[test]
    fn allows_one_block_per_parent_and_only_later_timestamps() {
        let mut signed = SigningRecord::default();
        signed.add(mark(1, 2, 10)).unwrap();
        signed.add(mark(1, 2, 10)).unwrap();
        let second = signed.add(mark(1, 3, 12));
        assert_eq!(second, Err(Conflict::SameParent(mark(1, 2, 10))));
        let early = signed.add(mark(2, 4, 10));
        assert_eq!(early, Err(Conflict::NotLater(mark(1, 2, 10))));
        signed.add(mark(2, 4, 11)).unwrap();
        assert_eq!(signed.last(), Some(&mark(2, 4, 11)));
        for number in 0..100 {
            let (parent, time) = (100 + number, 12 + u64::from(number));
            signed.add(mark(parent, 0, time)).unwrap();
        }
        assert_eq!(signed.blocks.len(), MAX_SIGNED_BLOCKS);
    }

    #[test]
    fn later_blocks_missing_from_the_record_are_foreign() {
        let mut signed = SigningRecord::default();
        let fresh = Start::new(&signed);
        let old = AtomId::new([9; 32]);
        assert!(signed.is_foreign(&old, 1, fresh), "the record may be lost");
        signed.add(mark(1, 2, 50)).unwrap();
        let start = Start::new(&signed);
        // Made after this node's last block and before its start, so by another node.
        assert!(signed.is_foreign(&old, 51, start));
        assert!(!signed.is_foreign(&old, 50, start));
        signed.add(mark(2, 3, 120)).unwrap();
        assert!(!signed.is_foreign(&AtomId::new([3; 32]), 120, start));
        assert!(signed.is_foreign(&old, 119, start));
        // Forgotten blocks are not taken for another node's.
        for number in 0..32 {
            signed
                .add(mark(50 + number, 0, 130 + u64::from(number)))
                .unwrap();
        }
        assert!(!signed.is_foreign(&AtomId::new([3; 32]), 120, start));
        assert!(signed.is_foreign(&old, 131, start));
    }

    #[test]
    fn adopted_blocks_keep_the_order_and_forbid_earlier_timestamps() {
        let mut signed = SigningRecord::default();
        for (parent, time) in [(1, 10), (2, 20), (3, 30)] {
            signed.add(mark(parent, parent + 100, time)).unwrap();
        }
        // The parent, the time or the block is known.
        for left_out in [mark(2, 50, 25), mark(50, 51, 20), mark(50, 103, 40)] {
            let before = signed.clone();
            signed.adopt(left_out);
            assert_eq!(signed, before);
        }
        signed.adopt(mark(4, 104, 25));
        signed.adopt(mark(5, 105, 40));
        let times: Vec<u64> = signed
            .blocks()
            .iter()
            .map(|block| block.timestamp)
            .collect();
        assert_eq!(times, [10, 20, 25, 30, 40]);
        assert!(signed.allows(&AtomId::new([6; 32]), 40).is_err());
        assert!(
            signed.allows(&AtomId::new([4; 32]), 41).is_err(),
            "on one parent"
        );
        assert!(signed.allows(&AtomId::new([6; 32]), 41).is_ok());
        for number in 0..40 {
            signed.adopt(mark(
                100 + number,
                150 + number % 100,
                100 + u64::from(number),
            ));
        }
        assert_eq!(signed.blocks().len(), MAX_SIGNED_BLOCKS);
        // As it is saved and loaded.
        let mut again = SigningRecord::default();
        for block in signed.blocks() {
            again.add(*block).unwrap();
        }
        assert_eq!(again, signed);
    }
}
