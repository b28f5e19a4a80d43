//! Reads a stake table from a store, from the nearest known one.

use super::stake_table::StakeTable;
use super::stake_tree::StakeTree;
use crate::atom::{AtomId, AtomSource};
use crate::chain::{Account, Address, MAX_INTEGER_BYTES, RecordError, TREASURY};
use crate::integer::Natural;
use crate::trie::{Change, DiffCursor, DiffStep};

/// Turns one table into another by the difference of their tries, a bounded number of nodes per
/// call. From the empty table it reads all stakes.
///
/// Whatever valid transactions have staked can be read: the work is in proportion to what differs,
/// and no shape of a trie is refused. The state of a block that was not verified may pretend to
/// hold any number of stakes, or of nodes without any, since a few dozen nodes can stand for 2^256 of
/// them; a host that reads such a state gives a bound ([`StakeLoader::with_max_stakes`]).
#[derive(Clone, Debug)]
pub struct StakeLoader {
    root: AtomId,
    tree: StakeTree,
    cursor: DiffCursor,
    max_stakes: u64,
    /// Nodes that may still be compared.
    steps_left: u64,
}

/// Nodes that are compared for each stake that there may be, those without a stake included: a trie
/// of many keys has two for each.
const STEPS_PER_STAKE: u64 = 4;
/// Nodes that are compared however few stakes there may be.
const LEAST_STEPS: u64 = 4_096;

impl StakeLoader {
    /// Starts at a known table; the result is that of the treasury's data with this root.
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

    /// Gives up as malformed once there are more stakes than this, or once it takes more nodes to
    /// compare than so many stakes have: nodes without a stake are work as well.
    #[must_use]
    pub fn with_max_stakes(mut self, max_stakes: u64) -> Self {
        self.max_stakes = max_stakes;
        let stakes = self.tree.len().saturating_add(max_stakes);
        let steps = stakes.saturating_mul(STEPS_PER_STAKE);
        self.steps_left = steps.saturating_add(LEAST_STEPS);
        self
    }

    /// Returns the root of the treasury's data in the state with this accounts root.
    ///
    /// # Errors
    /// When an atom is missing, or there is no treasury.
    pub fn find_root<S: AtomSource + ?Sized>(
        source: &S,
        accounts: AtomId,
    ) -> Result<AtomId, RecordError<S::Error>> {
        let treasury = Account::find(source, accounts, &TREASURY)?;
        let treasury = treasury.ok_or(RecordError::Malformed {
            record: accounts,
            problem: "the accounts have no treasury",
        })?;
        Ok(treasury.data)
    }

    /// Compares up to `steps` nodes; the table once all are compared.
    ///
    /// # Errors
    /// When an atom is missing, after which it may be called again, or the trie does not hold
    /// stakes.
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
                    problem: "the stakes have more nodes than this reader takes",
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

    /// Returns the ids of trie nodes that will be read next, to be fetched ahead.
    pub fn pending_nodes(&self) -> impl Iterator<Item = AtomId> {
        self.cursor.pending_nodes()
    }

    fn apply<E>(&mut self, change: &Change) -> Result<(), RecordError<E>> {
        let malformed = |problem| RecordError::Malformed {
            record: self.root,
            problem,
        };
        let validator = Address::from_slice(&change.key)
            .ok_or_else(|| malformed("a stake's owner does not have 32 bytes"))?;
        let stake = match &change.after {
            None => Natural::ZERO,
            Some(value) if value.len() > MAX_INTEGER_BYTES => {
                return Err(malformed("a stake has more than 256 bytes"));
            }
            Some(value) => Natural::from_bytes_le(value)
                .map_err(|_| malformed("a stake is not an integer in shortest form"))?,
        };
        self.tree.set(&validator, stake);
        if self.tree.len() > self.max_stakes {
            return Err(malformed("there are more stakes than this reader takes"));
        }
        Ok(())
    }
}
