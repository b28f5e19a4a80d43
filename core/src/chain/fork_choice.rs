//! Fork choice: which of the verified branches a node builds on.
//!
//! Integers only, no clock and no peers: the choice is a function of the blocks that a node knows,
//! of where it stands and of what its operator decided. When a block arrived, how old it is and
//! which peer sent it play no part. The reasons for the rule, and the attacks that it was tried
//! against, are in `tests/docs/fork-choice.md`.
//!
//! # Rule
//!
//! Only verified blocks count (producer's turn, signature, body): otherwise producers are forged.
//! For a branch above the fork block F, b is the number of its blocks and D the stake, as of F, of
//! their distinct producers; T is the whole stake as of F. The branch has a *majority* if 2 D > T
//! and b ≥ 16. Between our branch O and another one C:
//! - C extends O: C. O extends C: O.
//! - *near*, both have at most [`NEAR_BLOCKS`] blocks: C if `b(C) > b(O)` and
//!   `8 b(C) D(C) ≥ b(O) D(O)`. An equally high branch never replaces ours.
//! - *deep*, else: C if `8 D(C) ≥ D(O)` and `(majority(C), b(C) D(C)) > (majority(O), b(O) D(O))`;
//!   if these are equal, the one whose first block above F has the lower id. A lower branch may win.
//! - Where C wins and O has more than [`max_reorg_depth`](Settings::max_reorg_depth) blocks, the
//!   operator decides.
//!
//! Among more than two branches pairs have cycles, so the tree is walked instead: from the last
//! block that all branches share, the branches are grouped by their first block; a group has the
//! largest b in it and the D of the union of its producers; [`select`] takes a group, and the walk
//! goes on at the next fork in it. Where no group is ours, the walk begins at the heaviest.
//!
//! # Properties
//!
//! - At most one of two branches replaces the other, and a second decision on the same blocks keeps
//!   the first one.
//! - The order in which blocks were [inserted](ForkChoice::insert) does not matter. Where every fork
//!   is deep, neither does the starting point, unless a branch is [vetoed](Cause::Light); between
//!   near branches of one height a node stays where it is.
//!
//! # Use
//!
//! A host inserts every block that it has verified, in any order, asks [`ForkChoice::decide`] after
//! each few of them, and tells the head that it then moved to by [`ForkChoice::set_head`]. Blocks of
//! its own it only tells by `set_head`. After a restart it sets the head that it saved, then
//! [`ForkChoice::restore_anchor`] and the operator's decisions.
//!
//! A node without a head inserts the tips of all chains that it was told of before it sets one:
//! what it adopts first it leaves only by the rule, and beyond `max_reorg_depth` not without the
//! operator. So while it verifies one chain after another it decides nothing.
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
//! stake it changes, at most [`MAX_TIPS`] of them; a new branch one pass over the headers of both
//! sides, at most [`MAX_WALK`]. At most [`MAX_TIPS`] tips and about [`MAX_BLOCKS`] blocks are kept:
//! the branches with least blocks times stake go first, and of longer runs the lower blocks are
//! counted and forgotten.
//! Branches that left and ended more than `max_reorg_depth` blocks ago and lose are dropped.

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

/// Blocks up to which a fork is near.
pub const NEAR_BLOCKS: u64 = 16;
/// How many times heavier than another one a branch may be and still be replaced by it.
pub const LIGHT_FACTOR: u64 = 8;
/// Depth beyond which a reorganization needs the operator, unless configured otherwise.
pub const MAX_REORG_DEPTH: u64 = 1_024;
/// Tips that are kept.
pub const MAX_TIPS: usize = 256;
/// Blocks that are kept one by one; runs of blocks beyond are counted only.
pub const MAX_BLOCKS: usize = 65_536;
/// Headers that one insertion reads at most.
pub const MAX_WALK: usize = 65_536;
/// Blocks that the operator may avoid.
pub const MAX_AVOIDED: usize = 256;

/// A verified block, as far as fork choice needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexedBlock {
    /// Blocks before it.
    pub height: u64,
    /// The block before it; [`AtomId::ZERO`] for a genesis.
    pub parent: AtomId,
    /// Its producer.
    pub producer: Address,
    /// When it was made, in seconds since the Unix epoch.
    pub timestamp: u64,
}

/// The verified blocks that a host knows.
pub trait BlockIndex {
    /// Returns a block; `None` if it is not known (any more).
    fn block(&self, id: &AtomId) -> Option<IndexedBlock>;
}

/// The stakes as of one block.
pub trait StakeView {
    /// Returns the stake of a validator, 0 if it has none.
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

/// The stakes as of any block.
pub trait StakeSource {
    /// Stakes as of one block, such as a [`StakeTable`]. A fork keeps those of its block, so that
    /// a clone should be cheap.
    type View: StakeView;

    /// Returns the stakes that `block` left; `None` if the host has yet to load them.
    fn stakes_after(&self, block: &AtomId) -> Option<Self::View>;
}

/// Limits of a [`ForkChoice`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Most blocks that are undone without the operator.
    pub max_reorg_depth: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_reorg_depth: MAX_REORG_DEPTH,
        }
    }
}

/// A block to [insert](ForkChoice::insert).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tip {
    /// The block.
    pub id: AtomId,
    /// Whether the host knows from headers that the configured checkpoint stands above this block.
    /// Irrelevant without a checkpoint and for blocks above it.
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

/// Why a block was not inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InsertError {
    /// Its timestamp is later than accepted. Insert it again when its time has come.
    Early {
        /// When it was made.
        timestamp: u64,
    },
    /// The operator avoids this block, which is the one to insert or one before it.
    Avoided(AtomId),
    /// Its chain does not contain the checkpoint.
    LacksCheckpoint,
    /// This block, which is the one to insert or one before it, is not in the index.
    NotIndexed(AtomId),
    /// It belongs to a chain with another genesis.
    Unrelated,
    /// It left the other branches more than [`MAX_WALK`] blocks ago, or at a block that is no longer
    /// kept (see [`MAX_BLOCKS`]).
    TooDeep,
}

impl fmt::Display for InsertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Early { timestamp } => {
                write!(f, "block time {} is in the future", UtcTime(*timestamp))
            }
            Self::Avoided(id) => write!(f, "the operator avoids block {id}"),
            Self::LacksCheckpoint => f.write_str("the branch does not contain the checkpoint"),
            Self::NotIndexed(id) => write!(f, "block {id} is not in the block index"),
            Self::Unrelated => f.write_str("the branch has another genesis"),
            Self::TooDeep => f.write_str("the branch left the others too many blocks ago"),
        }
    }
}

impl core::error::Error for InsertError {}

/// What to do with the head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Keep it.
    Keep,
    /// Move it.
    Switch(Reorganization),
}

/// A move of the head. It is an extension if nothing is undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reorganization {
    /// The head before; `None` if there was none.
    pub from: Option<AtomId>,
    /// The head to move to.
    pub to: AtomId,
    /// Its height.
    pub height: u64,
    /// The last block that both have in common; `to` itself if there was no head.
    pub fork: AtomId,
    /// Blocks that are undone: the depth.
    pub undone: u64,
    /// Blocks that are added.
    pub added: u64,
}

impl Reorganization {
    /// Returns whether more than [`NEAR_BLOCKS`] blocks are undone, which an operator should see.
    #[must_use]
    pub const fn is_deep(&self) -> bool {
        self.undone > NEAR_BLOCKS
    }
}

/// A branch above a fork, for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Side {
    /// Its first block; to be named in [`ForkChoice::adopt`] and [`ForkChoice::avoid`].
    pub first: AtomId,
    /// Its highest tip.
    pub tip: AtomId,
    /// Blocks above the fork.
    pub blocks: u64,
    /// Stake, as of the fork, of their distinct producers; `None` if it is not known yet.
    pub stake: Option<Natural>,
}

/// A fork with its branches, for the operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fork {
    /// The last block that the branches share.
    pub block: AtomId,
    /// Its height.
    pub height: u64,
    /// The whole stake as of that block; `None` if it is not known yet.
    pub total: Option<Natural>,
    /// The branch that the node is on, if it is on one.
    pub ours: Option<Side>,
    /// The other branches, the first by their first block in front.
    pub others: Vec<Side>,
}

/// Why a fork is not settled by the rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The rule prefers another branch, and ours left it more than `max_reorg_depth` blocks ago or
    /// below the anchor. It needs [`ForkChoice::adopt`] or [`ForkChoice::avoid`].
    NeedsOperator,
    /// The node is on neither of two branches of more than `max_reorg_depth` blocks, and the trusted
    /// heads do not agree. It needs [`ForkChoice::adopt`] or [`ForkChoice::avoid`].
    NeedsFirstDecision,
    /// Another branch has more blocks times stake than ours and less than an eighth of the stake,
    /// and neither has a majority. Ours is kept, and nodes on the other one keep theirs.
    Light,
}

/// A fork for the operator to look at. Its `others` are only the branches in question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contest {
    /// Why.
    pub cause: Cause,
    /// The fork.
    pub fork: Fork,
}

/// Result of [`ForkChoice::decide`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What to do with the head.
    pub decision: Decision,
    /// Forks that the operator should know of. The decision holds all the same: at such a fork it
    /// keeps the branch that the node is on.
    pub contests: Vec<Contest>,
    /// Blocks after which the stakes were needed and not available. At such a fork the decision
    /// keeps the branch that the node is on. Load them and decide again.
    pub missing_stakes: Vec<AtomId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Checkpoint {
    /// No decision has shown yet that the chain contains it.
    Pending(AtomId),
    /// All branches have it in common, at this height.
    Contained(AtomId, u64),
}

/// State of the fork choice. `T` holds the stakes as of one block, see [`StakeSource::View`].
#[derive(Debug)]
pub struct ForkChoice<T = StakeTable> {
    settings: Settings,
    tree: Option<Tree<T>>,
    /// The head as the host told it.
    head: Option<(AtomId, u64)>,
    /// The head, or the highest block of its chain that is below what the operator avoids.
    own: Option<(AtomId, u64)>,
    anchor: u64,
    avoided: BTreeSet<AtomId>,
    adopted: Option<AtomId>,
    checkpoint: Option<Checkpoint>,
}

#[cfg(test)]
mod tests;
