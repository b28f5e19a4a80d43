//! Fork choice: selection of the verified branch that a node builds on.
//!
//! Integers only, without a clock or peers: the choice is a function of the blocks that a node
//! knows, of its current head and of the operator's decisions. The arrival time and the age of a
//! block and the peer that sent it play no part. The reasons for the rule, and the attacks that it
//! was tested against, are in `tests/docs/fork-choice.md`.
//!
//! # Rule
//!
//! Only verified blocks count (producer's slot, signature, body): otherwise producers could be
//! forged. For a branch above the fork block F, b is the number of its blocks and D the stake, as
//! of F, of their distinct producers; T is the total stake as of F. The branch has a *majority* if
//! 2 D > T and b ≥ 16. Between our branch O and another one C:
//! - C extends O: C. O extends C: O.
//! - *near*, both have at most [`NEAR_BLOCKS`] blocks: C if `b(C) > b(O)` and
//!   `8 b(C) D(C) ≥ b(O) D(O)`. A branch of equal height never replaces ours.
//! - *deep*, otherwise: C if `8 D(C) ≥ D(O)` and
//!   `(majority(C), b(C) D(C)) > (majority(O), b(O) D(O))`; if these are equal, the branch whose
//!   first block above F has the lower id. A lower branch may win.
//! - If C wins and O has more than [`max_reorg_depth`](Settings::max_reorg_depth) blocks, the
//!   operator decides.
//!
//! Pairwise comparison of more than two branches has cycles, so the tree is walked instead: from
//! the last block that all branches share, the branches are grouped by their first block; a group
//! has the largest b in it and the D of the union of its producers; [`select`] takes a group, and
//! the walk continues at the next fork in it. If no group is ours, the walk begins at the heaviest.
//!
//! # Properties
//!
//! - At most one of two branches replaces the other, and a second decision on the same blocks keeps
//!   the first one.
//! - The order in which blocks were [inserted](ForkChoice::insert) does not matter. If every fork
//!   is deep, neither does the starting point, unless a branch is [vetoed](Cause::Light); between
//!   near branches of equal height a node keeps its branch.
//!
//! # Use
//!
//! A host inserts every block that it has verified, in any order, calls [`ForkChoice::decide`]
//! after every few blocks, and reports the head to which it then moved with
//! [`ForkChoice::set_head`]. Its own blocks it reports only with `set_head`. After a restart it
//! sets the saved head, then calls [`ForkChoice::restore_anchor`] and repeats the operator's
//! decisions.
//!
//! A node without a head inserts the tips of all chains that it has learned of before it sets one:
//! it leaves the first adopted branch only by the rule, and beyond `max_reorg_depth` only with the
//! operator. So it does not decide while it verifies one chain after another.
//!
//! ```
//! use astreum_core::atom::AtomId;
//! use astreum_core::chain::Address;
//! use astreum_core::chain::fork_choice::{
//!     BlockIndex, Decision, ForkChoice, IndexedBlock, Settings, StakeSource, StakeView, Tip,
//! };
//! use astreum_core::integer::Natural;
//! use std::collections::BTreeMap;
//!
//! /// Verified blocks: id to height, parent, producer, timestamp.
//! struct Index(BTreeMap<AtomId, IndexedBlock>);
//!
//! impl BlockIndex for Index {
//!     fn block(&self, id: &AtomId) -> Option<IndexedBlock> {
//!         self.0.get(id).copied()
//!     }
//! }
//!
//! /// Ten validators with the same stake, at every block.
//! #[derive(Clone, Copy)]
//! struct Equal;
//!
//! impl StakeView for Equal {
//!     fn stake(&self, _: &Address) -> Natural {
//!         Natural::from(100_u64)
//!     }
//!     fn total(&self) -> Natural {
//!         Natural::from(1_000_u64)
//!     }
//! }
//!
//! impl StakeSource for Equal {
//!     type View = Equal;
//!     fn stakes_after(&self, _block: &AtomId) -> Option<Equal> {
//!         Some(*self) // `None` until the host has loaded them
//!     }
//! }
//!
//! let id = |n: u8| AtomId::new([n; 32]);
//! let mut index = Index(BTreeMap::new());
//! // Genesis 1, then 2, and on it the branches 3 and 4-5.
//! for (block, parent, height) in [(1, 0, 0), (2, 1, 1), (3, 2, 2), (4, 2, 2), (5, 4, 3)] {
//!     let producer = Address::new([block; 32]);
//!     let parent = if parent == 0 { AtomId::ZERO } else { id(parent) };
//!     let timestamp = 2 * u64::from(block);
//!     index.0.insert(id(block), IndexedBlock { height, parent, producer, timestamp });
//! }
//!
//! let mut choice = ForkChoice::new(Settings::default());
//! choice.set_head(&index, id(3)).unwrap();
//! let latest = 12; // now, plus the skew that is accepted
//! choice.insert(&index, Tip::from(id(5)), latest).unwrap();
//! let outcome = choice.decide(&Equal, &[]);
//! // Load the stakes after these blocks and decide again.
//! assert!(outcome.missing_stakes.is_empty());
//! // Show these to the operator; they do not keep the head from moving elsewhere.
//! assert!(outcome.contests.is_empty());
//! let Decision::Switch(reorganization) = outcome.decision else { panic!() };
//! assert_eq!((reorganization.to, reorganization.undone), (id(5), 1));
//! // Store the blocks, move the head, then:
//! choice.set_head(&index, reorganization.to).unwrap();
//! assert_eq!(choice.decide(&Equal, &[]).decision, Decision::Keep);
//! ```
//!
//! # Bounds
//!
//! A new block on a known tip costs one look-up in the index and `O(log n)` for each fork whose
//! stake it changes, at most [`MAX_TIPS`] of them; a new branch costs one pass over the headers of
//! both sides, at most [`MAX_WALK`]. At most [`MAX_TIPS`] tips and about [`MAX_BLOCKS`] blocks are
//! kept: the branches with the least blocks times stake are removed first, and the lower blocks of
//! longer runs are counted and forgotten. Branches that left and ended more than `max_reorg_depth`
//! blocks ago and lose are dropped.

mod rule;
mod state;
mod tree;
mod walk;

pub use rule::{Branch, Selection, replaces, select};

use super::{Address, StakeTable};
use crate::atom::AtomId;
use crate::calendar::UtcTime;
use crate::integer::Natural;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use tree::Tree;

/// Maximum number of blocks of a branch in a near fork, and minimum number for a majority.
pub const NEAR_BLOCKS: u64 = 16;
/// Maximum factor by which a branch may be heavier than the branch that replaces it.
pub const LIGHT_FACTOR: u64 = 8;
/// Default depth beyond which a reorganization needs the operator.
pub const MAX_REORG_DEPTH: u64 = 1_024;
/// Maximum number of tips that are kept.
pub const MAX_TIPS: usize = 256;
/// Maximum number of blocks that are kept individually; further blocks of runs are only counted.
pub const MAX_BLOCKS: usize = 65_536;
/// Maximum number of headers that one insertion reads.
pub const MAX_WALK: usize = 65_536;
/// Maximum number of blocks that the operator may avoid.
pub const MAX_AVOIDED: usize = 256;

/// Verified block, reduced to the fields that fork choice needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexedBlock {
    /// Number of blocks before this one.
    pub height: u64,
    /// Id of the parent block; [`AtomId::ZERO`] for a genesis.
    pub parent: AtomId,
    /// Block producer.
    pub producer: Address,
    /// Time of creation, in seconds since the Unix epoch.
    pub timestamp: u64,
}

/// Index of the verified blocks that a host knows.
///
/// An index of one chain, in which the block with the id `[n; 32]` has the height `n`:
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::fork_choice::{BlockIndex, ForkChoice, IndexedBlock, Settings};
/// use astreum_core::chain::{Address, StakeTable};
///
/// struct Chain;
///
/// impl BlockIndex for Chain {
///     fn block(&self, id: &AtomId) -> Option<IndexedBlock> {
///         let height = u64::from(id.as_bytes()[0].checked_sub(1)?);
///         let parent = AtomId::new([id.as_bytes()[0] - 1; 32]);
///         let producer = Address::new([7; 32]);
///         Some(IndexedBlock { height, parent, producer, timestamp: 2 * height })
///     }
/// }
///
/// let head = AtomId::new([5; 32]);
/// let mut choice = ForkChoice::<StakeTable>::new(Settings::default());
/// choice.set_head(&Chain, head).unwrap();
/// assert_eq!(choice.head(), Some(head));
/// ```
pub trait BlockIndex {
    /// Returns a block; `None` if it is not in the index, or no longer.
    fn block(&self, id: &AtomId) -> Option<IndexedBlock>;
}

/// Stakes as of one block.
///
/// ```
/// use astreum_core::chain::fork_choice::StakeView;
/// use astreum_core::chain::{Address, StakeTable, Stakes};
///
/// let validator = Address::new([7; 32]);
/// let table = StakeTable::from(&Stakes::from([(validator, 5_u64.into())]));
/// assert_eq!(StakeView::stake(&table, &validator), 5);
/// assert_eq!(StakeView::total(&table), 5);
/// ```
pub trait StakeView {
    /// Returns the stake of a validator; 0 if it has no stake.
    fn stake(&self, validator: &Address) -> Natural;
    /// Returns the sum of all stakes.
    fn total(&self) -> Natural;
}

impl StakeView for StakeTable {
    fn stake(&self, validator: &Address) -> Natural {
        self.stake(validator)
    }

    fn total(&self) -> Natural {
        self.total().clone()
    }
}

impl<V: StakeView + ?Sized> StakeView for &V {
    fn stake(&self, validator: &Address) -> Natural {
        (**self).stake(validator)
    }

    fn total(&self) -> Natural {
        (**self).total()
    }
}

/// Source of the stakes as of any block.
pub trait StakeSource {
    /// Stakes as of one block, such as a [`StakeTable`]. A fork keeps the stakes of its block, so a
    /// clone should be cheap.
    type View: StakeView;

    /// Returns the stakes that `block` left; `None` if the host has yet to load them.
    fn stakes_after(&self, block: &AtomId) -> Option<Self::View>;
}

/// Limits of a [`ForkChoice`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Maximum number of blocks that are undone without the operator.
    pub max_reorg_depth: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_reorg_depth: MAX_REORG_DEPTH,
        }
    }
}

/// Block to [insert](ForkChoice::insert).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tip {
    /// Id of the block.
    pub id: AtomId,
    /// Whether the host knows from headers that this block is below the configured checkpoint in
    /// its chain. Ignored without a checkpoint and for blocks above it.
    pub leads_to_checkpoint: bool,
}

impl From<AtomId> for Tip {
    fn from(id: AtomId) -> Self {
        Self {
            id,
            leads_to_checkpoint: false,
        }
    }
}

/// Reason that a block was not inserted.
///
/// ```
/// use astreum_core::atom::AtomId;
/// use astreum_core::chain::fork_choice::{
///     BlockIndex, ForkChoice, IndexedBlock, InsertError, Settings, Tip,
/// };
/// use astreum_core::chain::StakeTable;
///
/// struct Empty;
///
/// impl BlockIndex for Empty {
///     fn block(&self, _: &AtomId) -> Option<IndexedBlock> {
///         None
///     }
/// }
///
/// let id = AtomId::new([7; 32]);
/// let mut choice = ForkChoice::<StakeTable>::new(Settings::default());
/// let inserted = choice.insert(&Empty, Tip::from(id), 0);
/// assert_eq!(inserted, Err(InsertError::NotIndexed(id)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InsertError {
    /// The timestamp is later than accepted. Insert the block again once it is not.
    Early {
        /// Timestamp of the block, in seconds since the Unix epoch.
        timestamp: u64,
    },
    /// The operator avoids this block, which is the one to insert or one of its ancestors.
    Avoided(AtomId),
    /// The chain of the block does not contain the checkpoint.
    LacksCheckpoint,
    /// This block, which is the one to insert or one of its ancestors, is not in the index.
    NotIndexed(AtomId),
    /// The block belongs to a chain with another genesis.
    Unrelated,
    /// The block's branch left the other branches more than [`MAX_WALK`] blocks ago, or at a block
    /// that is no longer kept (see [`MAX_BLOCKS`]).
    TooDeep,
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early { timestamp } => {
                write!(f, "block time {} is in the future", UtcTime(*timestamp))
            }
            Self::Avoided(id) => write!(f, "block {id} is avoided by the operator"),
            Self::LacksCheckpoint => f.write_str("the branch does not contain the checkpoint"),
            Self::NotIndexed(id) => write!(f, "block {id} is not in the block index"),
            Self::Unrelated => f.write_str("the branch has another genesis"),
            Self::TooDeep => f.write_str("the fork point of the branch is too deep"),
        }
    }
}

impl core::error::Error for InsertError {}

/// Decision about the head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Keep the head.
    Keep,
    /// Move the head.
    Switch(Reorganization),
}

/// Move of the head. It is an extension if no block is undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reorganization {
    /// Previous head; `None` if there was none.
    pub from: Option<AtomId>,
    /// New head.
    pub to: AtomId,
    /// Height of the new head.
    pub height: u64,
    /// Last common block of both heads; `to` itself if there was no head.
    pub fork: AtomId,
    /// Number of blocks that are undone: the depth.
    pub undone: u64,
    /// Number of blocks that are added.
    pub added: u64,
}

impl Reorganization {
    /// Returns whether more than [`NEAR_BLOCKS`] blocks are undone, which should be shown to the
    /// operator.
    ///
    /// ```
    /// use astreum_core::atom::AtomId;
    /// use astreum_core::chain::fork_choice::Reorganization;
    ///
    /// let [from, to, fork] = [1, 2, 3].map(|byte| AtomId::new([byte; 32]));
    /// let moved = Reorganization { from: Some(from), to, height: 90, fork, undone: 2, added: 3 };
    /// assert!(!moved.is_deep());
    /// assert!(Reorganization { undone: 17, ..moved }.is_deep());
    /// ```
    #[must_use]
    pub const fn is_deep(&self) -> bool {
        self.undone > NEAR_BLOCKS
    }
}

/// Branch above a fork, for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Side {
    /// First block of the branch; identifies it in [`ForkChoice::adopt`] and [`ForkChoice::avoid`].
    pub first: AtomId,
    /// Highest tip of the branch.
    pub tip: AtomId,
    /// Number of blocks above the fork.
    pub blocks: u64,
    /// Stake, as of the fork, of the distinct producers; `None` if it is not known yet.
    pub stake: Option<Natural>,
}

/// Fork with its branches, for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fork {
    /// Last block that the branches share.
    pub block: AtomId,
    /// Height of that block.
    pub height: u64,
    /// Total stake as of that block; `None` if it is not known yet.
    pub total: Option<Natural>,
    /// Branch of the node's head; `None` if the head is on none of them.
    pub ours: Option<Side>,
    /// Other branches, ordered by the id of their first block.
    pub others: Vec<Side>,
}

/// Reason that the rule does not settle a fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The rule prefers another branch, and ours left it more than `max_reorg_depth` blocks ago or
    /// below the anchor. The fork needs [`ForkChoice::adopt`] or [`ForkChoice::avoid`].
    NeedsOperator,
    /// The node is on neither of two branches of more than `max_reorg_depth` blocks, and the
    /// trusted heads do not agree. The fork needs [`ForkChoice::adopt`] or [`ForkChoice::avoid`].
    NeedsFirstDecision,
    /// Another branch has more blocks times stake than ours but less than an eighth of the stake,
    /// and neither has a majority. Ours is kept, and nodes on the other branch keep theirs.
    Light,
}

/// Fork that the operator should examine. Its `others` are only the branches in question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contest {
    /// Reason that the rule does not settle the fork.
    pub cause: Cause,
    /// Fork in question.
    pub fork: Fork,
}

/// Result of [`ForkChoice::decide`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Decision about the head.
    pub decision: Decision,
    /// Forks that the operator should know of. The decision is valid regardless: at such a fork it
    /// keeps the branch that the node is on.
    pub contests: Vec<Contest>,
    /// Blocks after which the stakes were needed but not available. At such a fork the decision
    /// keeps the branch that the node is on. Load them and decide again.
    pub missing_stakes: Vec<AtomId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Checkpoint {
    /// No decision has shown yet that the chain contains the checkpoint.
    Pending(AtomId),
    /// All branches contain the checkpoint, at this height.
    Contained(AtomId, u64),
}

/// State of fork choice. `T` holds the stakes as of one block, see [`StakeSource::View`].
#[derive(Debug)]
pub struct ForkChoice<T = StakeTable> {
    settings: Settings,
    tree: Option<Tree<T>>,
    /// Head as last set by the host.
    head: Option<(AtomId, u64)>,
    /// Head, or the highest block of its chain below all avoided blocks.
    own: Option<(AtomId, u64)>,
    anchor: u64,
    avoided: BTreeSet<AtomId>,
    adopted: Option<AtomId>,
    checkpoint: Option<Checkpoint>,
}

#[cfg(test)]
mod tests;
