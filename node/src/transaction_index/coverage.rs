//! Blocks that the index has, from its newest one down without a gap.

use super::pages::FileError;
use super::record::IndexedBlock;
use super::segment::Segment;
use astreum_core::atom::AtomId;
use std::sync::Arc;

/// Consecutive blocks, in a file or in memory.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) source: PartSource,
}

#[derive(Clone, Debug)]
pub(super) enum PartSource {
    /// Blocks of a file, which may have further ones.
    File(Arc<Segment>),
    /// Exactly these blocks, the lowest first.
    Memory(Vec<Arc<IndexedBlock>>),
}

impl Part {
    /// Returns id and timestamp of the block at a height that the part has.
    pub(super) fn block(&self, height: u64) -> Result<Option<(AtomId, u64)>, FileError> {
        if !(self.low..=self.high).contains(&height) {
            return Ok(None);
        }
        match &self.source {
            PartSource::File(segment) => {
                let entry = segment.reader().block(height)?;
                Ok(Some((entry.id, entry.timestamp)))
            }
            PartSource::Memory(blocks) => {
                let index = usize::try_from(height - self.low).unwrap_or(usize::MAX);
                Ok(blocks.get(index).map(|block| (block.id, block.timestamp)))
            }
        }
    }
}

/// Blocks that the index has, as a query sees them.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage {
    /// Parts, the highest first; each begins below the one before it.
    pub(super) parts: Vec<Part>,
    /// Newest block.
    pub(super) top: Option<(u64, AtomId)>,
    /// True if the index has all blocks whose transactions the node keeps.
    pub(super) is_complete: bool,
}

impl Coverage {
    /// Returns the height of the lowest block.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.parts.last().map(|part| part.low)
    }

    /// Returns height and id of the newest block.
    pub(super) const fn top(&self) -> Option<(u64, AtomId)> {
        self.top
    }

    /// Returns whether the index goes down to the lowest block whose transactions the node keeps.
    pub(super) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Returns id and timestamp of the block at a height, if the index has it.
    pub(super) fn block(&self, height: u64) -> Result<Option<(AtomId, u64)>, FileError> {
        let part = self.parts.iter().find(|part| part.low <= height);
        part.map_or(Ok(None), |part| part.block(height))
    }
}
