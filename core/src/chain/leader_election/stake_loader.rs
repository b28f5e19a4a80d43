//! Incremental loading of a stake table from a store, based on the nearest known table.

use super::stake_table::StakeTable;
use super::stake_tree::StakeTree;
use crate::atom::{AtomId, AtomSource};
use crate::chain::{Account, Address, MAX_INTEGER_BYTES, RecordError, TREASURY};
use crate::integer::Natural;
use crate::trie::{Change, DiffCursor, DiffStep};

/// Loader that turns one table into another by the difference of their tries, with a bounded number
/// of nodes per call. From the empty table it reads all stakes.
///
/// All stakes that valid transactions have recorded can be read: the work is proportional to the
/// difference, and no trie shape is rejected. The state of a block that was not verified may claim
/// any number of stakes, or of nodes without stakes, because a few dozen nodes can represent 2^256
/// of them; a host that reads such a state sets a limit ([`StakeLoader::with_max_stakes`]).
///
/// ```
/// use astreum_core::chain::{StakeLoader, StakeTable, Stakes};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// let root = StakeLoader::find_root(&store, parent.accounts)?;
/// let mut loader = StakeLoader::new(StakeTable::from(&Stakes::new()), root);
/// let table = loop {
///     if let Some(table) = loader.run(&store, 100)? {
///         break table;
///     }
/// };
/// assert_eq!((table.root(), table.len()), (root, 1));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StakeLoader {
    root: AtomId,
    tree: StakeTree,
    cursor: DiffCursor,
    max_stakes: u64,
    /// Number of nodes that may still be compared.
    steps_left: u64,
}

/// Number of nodes compared per allowed stake, including nodes without a stake: a trie with many
/// keys has two nodes per key.
const STEPS_PER_STAKE: u64 = 4;
/// Number of nodes that may be compared in addition, however low the limit on stakes.
const MIN_STEPS: u64 = 4_096;

impl StakeLoader {
    /// Creates a loader that starts at a known table; the result is the table of the treasury data
    /// root `root`.
    #[must_use]
    pub fn new(known: StakeTable, root: AtomId) -> Self {
        Self {
            root,
            cursor: DiffCursor::new(known.root(), root),
            tree: known.tree().clone(),
            max_stakes: u64::MAX,
            steps_left: u64::MAX,
        }
    }

    /// Limits the number of stakes. [`run`](Self::run) fails as malformed once there are more
    /// stakes than `max_stakes`, or once more nodes are compared than that many stakes need,
    /// because nodes without a stake cost work as well.
    ///
    /// ```
    /// use astreum_core::atom::MemoryStore;
    /// use astreum_core::chain::{StakeLoader, StakeTable, Stakes};
    /// use astreum_core::trie::{Scalar, Trie};
    ///
    /// let mut store = MemoryStore::new();
    /// let stakes = [([1; 32], [9]), ([2; 32], [9])];
    /// let root = Trie::from_sorted(stakes)?.commit(&mut Scalar, &mut store)?;
    /// let empty = StakeTable::from(&Stakes::new());
    /// let mut limited = StakeLoader::new(empty.clone(), root).with_max_stakes(1);
    /// assert!(limited.run(&store, 100).is_err());
    /// let mut loader = StakeLoader::new(empty, root).with_max_stakes(2);
    /// assert_eq!(loader.run(&store, 100)?.map(|table| table.len()), Some(2));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_max_stakes(mut self, max_stakes: u64) -> Self {
        self.max_stakes = max_stakes;
        let stakes = self.tree.len().saturating_add(max_stakes);
        let steps = stakes.saturating_mul(STEPS_PER_STAKE);
        self.steps_left = steps.saturating_add(MIN_STEPS);
        self
    }

    /// Returns the root of the treasury's data trie in the state with this accounts root.
    ///
    /// # Errors
    /// Fails if an atom is missing or there is no treasury.
    pub fn find_root<S: AtomSource + ?Sized>(
        source: &S,
        accounts: AtomId,
    ) -> Result<AtomId, RecordError<S::Error>> {
        let treasury = Account::find(source, accounts, &TREASURY)?;
        let treasury = treasury.ok_or(RecordError::Malformed {
            record: accounts,
            problem: "missing treasury account",
        })?;
        Ok(treasury.data)
    }

    /// Compares up to `steps` nodes; returns the table once all are compared.
    ///
    /// # Errors
    /// Fails if an atom is missing, after which it may be called again, or if the trie holds
    /// anything but stakes or exceeds the limit.
    pub fn run<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        steps: u32,
    ) -> Result<Option<StakeTable>, RecordError<S::Error>> {
        for _ in 0..steps {
            let step = self.cursor.step(source)?;
            let Some(left) = self.steps_left.checked_sub(1) else {
                return Err(RecordError::Malformed {
                    record: self.root,
                    problem: "number of stake trie nodes exceeds the limit",
                });
            };
            self.steps_left = left;
            match step {
                DiffStep::Node => {}
                DiffStep::Change(change) => self.apply(&change)?,
                DiffStep::Done => {
                    return Ok(Some(StakeTable::new(self.root, self.tree.clone())));
                }
            }
        }
        Ok(None)
    }

    /// Returns the ids of trie nodes that will be read next, for prefetching.
    pub fn pending_nodes(&self) -> impl Iterator<Item = AtomId> {
        self.cursor.pending_nodes()
    }

    fn apply<E>(&mut self, change: &Change) -> Result<(), RecordError<E>> {
        let malformed = |problem| RecordError::Malformed {
            record: self.root,
            problem,
        };
        let validator = Address::from_slice(&change.key)
            .ok_or_else(|| malformed("stake owner is not 32 bytes"))?;
        let stake = match &change.after {
            None => Natural::ZERO,
            Some(value) if value.len() > MAX_INTEGER_BYTES => {
                return Err(malformed("a stake has more than 256 bytes"));
            }
            Some(value) => Natural::from_bytes_le(value)
                .map_err(|_| malformed("stake is not a canonical integer"))?,
        };
        self.tree.set(&validator, stake);
        if self.tree.len() > self.max_stakes {
            return Err(malformed("number of stakes exceeds the limit"));
        }
        Ok(())
    }
}

impl StakeTable {
    /// Reads all stakes of the state with this accounts root. Takes seconds if there are many: a
    /// node uses [`StakeLoader`] or [`ElectionLoader`](super::ElectionLoader).
    ///
    /// ```
    /// use astreum_core::chain::StakeTable;
    /// # use astreum_core::atom::MemoryStore;
    /// # use astreum_core::chain::{Address, Genesis};
    /// # use astreum_core::crypto::SigningKey;
    /// # use astreum_core::integer::Natural;
    /// # use astreum_core::trie::Scalar;
    /// # let key = SigningKey::from_seed(&[1; 32]);
    /// # let validator = Address::from(key.verifying_key());
    /// # let mut store = MemoryStore::new();
    /// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
    /// # let parent = genesis.build(&mut Scalar, &mut store)?;
    /// let stakes = StakeTable::read(&store, parent.accounts)?;
    /// assert_eq!(stakes, StakeTable::from(&genesis.stakes));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Fails if an atom is missing, there is no treasury, or its data trie holds anything but
    /// stakes.
    pub fn read<S: AtomSource + ?Sized>(
        source: &S,
        accounts: AtomId,
    ) -> Result<Self, RecordError<S::Error>> {
        let root = StakeLoader::find_root(source, accounts)?;
        let mut loader = StakeLoader::new(Self::default(), root);
        loop {
            if let Some(table) = loader.run(source, u32::MAX)? {
                return Ok(table);
            }
        }
    }
}
