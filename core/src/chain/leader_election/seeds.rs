//! Seeds of leader election: one per height, derived from the block ids of the epoch before last.

use crate::atom::{AtomId, ID_BYTES};
use crate::crypto::hash;

/// Number of heights in an epoch.
pub const EPOCH_BLOCKS: u64 = 1_024;
/// Length of [`ElectionSeeds::to_bytes`], in bytes.
pub const ELECTION_SEEDS_BYTES: usize = 8 + 4 * ID_BYTES;

/// Seeds of the heights after one block. They belong to that block on its branch: two branches have
/// the same seeds as long as they share the epoch before last.
///
/// - The epoch of a height is `height / EPOCH_BLOCKS`.
/// - The seed of the epochs 0 and 1 is the id of the genesis.
/// - The seed of a later epoch `e` is computed from the ids of all blocks of the epoch `e - 2`, in
///   order: starting from 32 zero bytes, `acc' = BLAKE3(acc ‖ id)`.
/// - The seed of a height is `BLAKE3(epoch seed ‖ height as 64 bits, big-endian)`.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::{EPOCH_BLOCKS, ElectionSeeds};
///
/// let genesis = ElectionSeeds::genesis(AtomId::new([1; 32]));
/// let block = genesis.child(AtomId::new([2; 32]));
/// assert_eq!((block.height(), block.block()), (1, AtomId::new([2; 32])));
/// // The seeds of this epoch and of the next one are known.
/// assert!(block.slot_seed(2).is_some() && block.slot_seed(2 * EPOCH_BLOCKS - 1).is_some());
/// assert_eq!(block.slot_seed(2 * EPOCH_BLOCKS), None);
/// assert_eq!(ElectionSeeds::from_bytes(&block.to_bytes()), Some(block));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ElectionSeeds {
    height: u64,
    block: AtomId,
    /// Seed of the block's epoch.
    current: AtomId,
    /// Seed of the next epoch.
    next: AtomId,
    /// Hash accumulator over the ids of the block's epoch, up to the block.
    ids: AtomId,
}

impl ElectionSeeds {
    /// Returns the seeds after the genesis with this id.
    #[must_use]
    pub fn genesis(id: AtomId) -> Self {
        Self {
            height: 0,
            block: id,
            current: id,
            next: id,
            ids: chained(AtomId::ZERO, id),
        }
    }

    /// Returns the seeds after a child of the block; `id` is the child's id.
    #[must_use]
    pub fn child(self, id: AtomId) -> Self {
        // A chain does not reach the maximum height.
        let height = self.height.saturating_add(1);
        let (current, next, ids) = if height.is_multiple_of(EPOCH_BLOCKS) {
            (self.next, self.ids, AtomId::ZERO)
        } else {
            (self.current, self.next, self.ids)
        };
        Self {
            height,
            block: id,
            current,
            next,
            ids: chained(ids, id),
        }
    }

    /// Returns the height of the block.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// Returns the id of the block.
    #[must_use]
    pub const fn block(&self) -> AtomId {
        self.block
    }

    /// Returns the seed for a block of this height; `None` unless the height is in the block's
    /// epoch or in the next one. The height after the block always is.
    #[must_use]
    pub fn slot_seed(&self, height: u64) -> Option<AtomId> {
        let epoch = self.height / EPOCH_BLOCKS;
        let seed = match (height / EPOCH_BLOCKS).checked_sub(epoch)? {
            0 => self.current,
            1 => self.next,
            _ => return None,
        };
        let mut preimage = [0; ID_BYTES + 8];
        let (seed_bytes, height_bytes) = preimage.split_at_mut(ID_BYTES);
        seed_bytes.copy_from_slice(seed.as_bytes());
        height_bytes.copy_from_slice(&height.to_be_bytes());
        Some(AtomId::new(hash(&preimage)))
    }

    /// Returns the seed for the next block.
    #[must_use]
    pub fn next_slot_seed(&self) -> AtomId {
        let next = self.slot_seed(self.height.saturating_add(1));
        // The next height is in the epoch of this one or in the next epoch.
        next.unwrap_or_default()
    }

    /// Returns the encoding in which the seeds are saved with a block.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ELECTION_SEEDS_BYTES] {
        let mut bytes = [0; ELECTION_SEEDS_BYTES];
        let (height, ids) = bytes.split_at_mut(8);
        height.copy_from_slice(&self.height.to_be_bytes());
        let (ids, _) = ids.as_chunks_mut::<ID_BYTES>();
        for (to, id) in ids
            .iter_mut()
            .zip([self.block, self.current, self.next, self.ids])
        {
            *to = *id.as_bytes();
        }
        bytes
    }

    /// Parses the output of [`to_bytes`](Self::to_bytes); `None` if the length is wrong. The
    /// content is not verifiable: save it with a checksum.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (height, ids) = bytes.split_first_chunk()?;
        let (ids, rest) = ids.as_chunks::<ID_BYTES>();
        let [block, current, next, ids] = ids else {
            return None;
        };
        rest.is_empty().then(|| Self {
            height: u64::from_be_bytes(*height),
            block: AtomId::new(*block),
            current: AtomId::new(*current),
            next: AtomId::new(*next),
            ids: AtomId::new(*ids),
        })
    }
}

fn chained(ids: AtomId, id: AtomId) -> AtomId {
    let mut preimage = [0; 2 * ID_BYTES];
    let (ids_bytes, id_bytes) = preimage.split_at_mut(ID_BYTES);
    ids_bytes.copy_from_slice(ids.as_bytes());
    id_bytes.copy_from_slice(id.as_bytes());
    AtomId::new(hash(&preimage))
}

/// Reconstruction of a block's seeds from a run of ids that ends with the block, such as the
/// headers below a trusted head.
///
/// The run begins at [`SeedRun::first_height`]: the epoch before last is needed from its start.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::{ElectionSeeds, SeedRun};
///
/// let ids = [1, 2, 3].map(|byte| AtomId::new([byte; 32]));
/// let mut run = SeedRun::to(2);
/// assert_eq!(SeedRun::first_height(2), 0);
/// ids.iter().for_each(|id| run.push(*id));
/// let derived = ElectionSeeds::genesis(ids[0]).child(ids[1]).child(ids[2]);
/// assert_eq!(run.finish(), Some(derived));
/// ```
#[derive(Clone, Debug)]
pub struct SeedRun {
    first_height: u64,
    target: u64,
    seeds: Option<ElectionSeeds>,
}

impl SeedRun {
    /// Returns the height at which the run for a block of this height must begin.
    #[must_use]
    pub const fn first_height(height: u64) -> u64 {
        (height / EPOCH_BLOCKS).saturating_sub(2) * EPOCH_BLOCKS
    }

    /// Creates the run for a block of this height.
    #[must_use]
    pub const fn to(height: u64) -> Self {
        Self {
            first_height: Self::first_height(height),
            target: height,
            seeds: None,
        }
    }

    /// Adds the id of the next height; the first is that of [`SeedRun::first_height`].
    pub fn push(&mut self, id: AtomId) {
        self.seeds = Some(match self.seeds {
            Some(seeds) => seeds.child(id),
            // Two epochs later, nothing of these placeholder seeds is left.
            None => ElectionSeeds {
                height: self.first_height,
                ..ElectionSeeds::genesis(id)
            },
        });
    }

    /// Returns the seeds of the block; `None` unless its id was the last one added.
    #[must_use]
    pub fn finish(&self) -> Option<ElectionSeeds> {
        self.seeds.filter(|seeds| seeds.height == self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn id(height: u64) -> AtomId {
        AtomId::new(hash(&height.to_be_bytes()))
    }

    /// Computes the seed by its definition, from all ids of a chain.
    fn epoch_seed(epoch: u64, ids: &[AtomId]) -> AtomId {
        if epoch < 2 {
            return ids[0];
        }
        let start = usize::try_from((epoch - 2) * EPOCH_BLOCKS).unwrap();
        let count = usize::try_from(EPOCH_BLOCKS).unwrap();
        let chain =
            |seed: AtomId, id: &AtomId| AtomId::new(hash(&[seed.as_ref(), id.as_ref()].concat()));
        ids[start..start + count].iter().fold(AtomId::ZERO, chain)
    }

    fn slot_seed(height: u64, ids: &[AtomId]) -> AtomId {
        let seed = epoch_seed(height / EPOCH_BLOCKS, ids);
        AtomId::new(hash(&[seed.as_ref(), &height.to_be_bytes()].concat()))
    }

    #[test]
    fn seeds_depend_on_the_epoch_before_last() {
        let ids: Vec<AtomId> = (0..5 * EPOCH_BLOCKS).map(id).collect();
        let mut seeds = ElectionSeeds::genesis(ids[0]);
        for (height, id) in (0..).zip(&ids) {
            if height > 0 {
                seeds = seeds.child(*id);
            }
            assert_eq!((seeds.height(), seeds.block()), (height, *id));
            let expected = slot_seed(height + 1, &ids);
            assert_eq!(seeds.next_slot_seed(), expected, "height {height}");
            let epoch = height / EPOCH_BLOCKS;
            let last = (epoch + 2) * EPOCH_BLOCKS - 1;
            assert_eq!(seeds.slot_seed(last), Some(slot_seed(last, &ids)));
            assert_eq!(seeds.slot_seed(last + 1), None);
            let before = (epoch * EPOCH_BLOCKS).checked_sub(1);
            assert_eq!(before.and_then(|before| seeds.slot_seed(before)), None);
        }
    }

    #[test]
    fn last_block_of_an_epoch_is_the_last_to_change_a_seed() {
        let branch = |changed: u64| {
            let change = |height: u64| {
                if height == changed {
                    id(!height)
                } else {
                    id(height)
                }
            };
            let ids = (1..2 * EPOCH_BLOCKS).map(change);
            ids.fold(ElectionSeeds::genesis(id(0)), ElectionSeeds::child)
        };
        let honest = branch(0);
        for height in [1, EPOCH_BLOCKS - 1] {
            assert_ne!(branch(height).next_slot_seed(), honest.next_slot_seed());
        }
        for height in [EPOCH_BLOCKS, 2 * EPOCH_BLOCKS - 1] {
            assert_eq!(branch(height).next_slot_seed(), honest.next_slot_seed());
        }
    }

    #[test]
    fn seed_run_from_the_epoch_before_last_rebuilds_the_seeds() {
        let mut seeds = ElectionSeeds::genesis(id(0));
        for height in 0..5 * EPOCH_BLOCKS {
            if height > 0 {
                seeds = seeds.child(id(height));
            }
            let near = (height + 1) % EPOCH_BLOCKS < 3 || height < 3;
            if !near && height != 2_500 {
                continue;
            }
            let first = SeedRun::first_height(height);
            assert_eq!(first, (height / 1_024).saturating_sub(2) * 1_024);
            let mut run = SeedRun::to(height);
            for below in first..=height {
                assert_eq!(run.finish(), None, "not before its last id");
                run.push(id(below));
            }
            assert_eq!(run.finish(), Some(seeds), "height {height}");
            run.push(id(height + 1));
            assert_eq!(run.finish(), None, "not after it");
        }
    }

    #[test]
    fn bytes_round_trip_and_reject_other_lengths() {
        let seeds = (1..3_000).map(id);
        let seeds = seeds.fold(ElectionSeeds::genesis(id(0)), ElectionSeeds::child);
        let bytes = seeds.to_bytes();
        assert_eq!(ElectionSeeds::from_bytes(&bytes), Some(seeds));
        assert_eq!(ElectionSeeds::from_bytes(&bytes[1..]), None);
        assert_eq!(
            ElectionSeeds::from_bytes(&[&bytes[..], &[0]].concat()),
            None
        );
        assert_eq!(ElectionSeeds::from_bytes(&[]), None);
    }
}
