//! Stake table: the stakes of one state, ordered by validator, with the root of the treasury's data
//! trie.

use super::stake_tree::StakeTree;
use crate::atom::AtomId;
use crate::chain::Address;
use crate::integer::Natural;
use crate::trie::{Scalar, Trie};
use alloc::collections::BTreeMap;
use core::fmt;

/// Stakes by validator, as a genesis lists them.
pub type Stakes = BTreeMap<Address, Natural>;

/// Stakes of one state: the entries of the treasury's data trie with this root. Stakes of zero are
/// omitted.
///
/// A table is a persistent value: a clone is cheap and shares everything, and a changed table
/// shares the unchanged parts, so a node can keep one for each of many blocks. Two tables are equal
/// if their roots are equal.
///
/// ```
/// use astreum_core::chain::{Address, StakeTable, Stakes};
///
/// let validator = Address::new([7; 32]);
/// let table = StakeTable::from(&Stakes::from([(validator, 5_u64.into())]));
/// assert_eq!((table.stake(&validator).to_u64(), table.total().to_u64()), (Some(5), Some(5)));
/// assert!(table.stake(&Address::new([8; 32])).is_zero());
/// ```
#[derive(Clone, Default)]
pub struct StakeTable {
    root: AtomId,
    tree: StakeTree,
}

impl StakeTable {
    pub(super) const fn new(root: AtomId, tree: StakeTree) -> Self {
        Self { root, tree }
    }

    pub(super) const fn tree(&self) -> &StakeTree {
        &self.tree
    }

    /// Returns a table in which `changes` replace the stakes of the same validators. `root` is the
    /// resulting root of the treasury's data trie.
    pub(in crate::chain) fn with(
        &self,
        root: AtomId,
        changes: impl IntoIterator<Item = (Address, Natural)>,
    ) -> Self {
        let mut tree = self.tree.clone();
        for (validator, stake) in changes {
            tree.set(&validator, stake);
        }
        Self { root, tree }
    }

    /// Returns the root of the treasury's data trie.
    #[must_use]
    pub const fn root(&self) -> AtomId {
        self.root
    }

    /// Returns the stake of a validator; zero if it has no stake.
    #[must_use]
    pub fn stake(&self, validator: &Address) -> Natural {
        self.tree.get(validator).cloned().unwrap_or_default()
    }

    /// Returns the sum of all stakes.
    #[must_use]
    pub const fn total(&self) -> &Natural {
        self.tree.total()
    }

    /// Returns the number of validators with a stake.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.tree.len()
    }

    /// Returns whether there is no stake.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the validators and their stakes, ordered by address.
    ///
    /// ```
    /// use astreum_core::chain::{Address, StakeTable, Stakes};
    /// let [first, second] = [1, 2].map(|byte| Address::new([byte; 32]));
    /// let stakes = Stakes::from([(second, 60_u64.into()), (first, 40_u64.into())]);
    /// let table = StakeTable::from(&stakes);
    /// assert!(table.iter().map(|(validator, _)| *validator).eq([first, second]));
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = (&Address, &Natural)> {
        self.tree.iter()
    }
}

/// Creates the table of a state that holds these stakes; hashes its trie.
impl From<&Stakes> for StakeTable {
    fn from(stakes: &Stakes) -> Self {
        let mut tree = StakeTree::default();
        let staked = || stakes.iter().filter(|(_, stake)| !stake.is_zero());
        for (validator, stake) in staked() {
            tree.set(validator, stake.clone());
        }
        let pairs = staked().map(|(validator, stake)| (validator, stake.to_bytes_le()));
        // Cannot fail: keys of 32 bytes in order, and no empty values.
        let trie = Trie::from_sorted(pairs).map(|mut trie| trie.root(&mut Scalar));
        Self {
            root: trie.unwrap_or_default(),
            tree,
        }
    }
}

impl PartialEq for StakeTable {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl Eq for StakeTable {}

impl fmt::Debug for StakeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StakeTable")
            .field("root", &self.root)
            .field("len", &self.len())
            .field("total", self.total())
            .finish()
    }
}
