//! Known elections of other blocks, which a loader starts from.

use super::election::Election;
use super::stake_table::StakeTable;
use crate::atom::AtomId;

/// Elections that need not be read again.
pub trait KnownElections {
    /// Returns the election after this block.
    fn get(&self, block: &AtomId) -> Option<&Election>;

    /// Returns the best table to start from for the treasury data root `root` after a block of this
    /// height.
    fn nearest_stakes(&self, root: AtomId, height: u64) -> Option<StakeTable>;
}
