//! Head of a chain: the newest block that a node accepts, and the basis for accepting it.

use crate::arc::Arc;
use crate::atom::AtomId;
use crate::chain::Block;
use alloc::vec::Vec;
use core::fmt;

/// Reason a block is the head.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HeadState {
    /// Named by the default seed or the configuration; only its own record was checked.
    Trusted,
    /// All rules were checked, from the root of the chain on.
    Verified,
    /// Made by this node.
    Own,
}

impl HeadState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Trusted, Self::Verified, Self::Own];

    /// Returns the name of the state in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Verified => "verified",
            Self::Own => "own",
        }
    }

    /// Returns the state with this [name](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl fmt::Display for HeadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Newest block that this node accepts. Clones share the block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    block: Arc<Block>,
    height: u64,
    timestamp: u64,
    state: HeadState,
}

impl Head {
    /// Creates a head from `block`. Returns `None` if its height or timestamp exceeds 64 bits,
    /// which cannot happen in a real chain.
    #[must_use]
    pub fn new(block: impl Into<Arc<Block>>, state: HeadState) -> Option<Self> {
        let block = block.into();
        Some(Self {
            height: block.height.to_u64()?,
            timestamp: block.timestamp.to_u64()?,
            block,
            state,
        })
    }

    /// Returns the block.
    #[must_use]
    pub const fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// Returns the block's id.
    #[must_use]
    pub fn id(&self) -> AtomId {
        self.block.id()
    }

    /// Returns the height: the number of blocks before it.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// Returns the block's timestamp, in seconds since 1970.
    #[must_use]
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// Returns the reason it is the head.
    #[must_use]
    pub const fn state(&self) -> HeadState {
        self.state
    }

    /// Returns the record to resume from, for a chain that was verified from `root` on.
    #[must_use]
    pub fn saved(&self, root: Option<AtomId>) -> SavedHead {
        SavedHead {
            id: self.id(),
            height: self.height,
            timestamp: self.timestamp,
            state: self.state,
            root,
            resume: ResumeData::default(),
        }
    }
}

/// Record of a head from which a node resumes after a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedHead {
    /// Block id.
    pub id: AtomId,
    /// Number of blocks before it.
    pub height: u64,
    /// Timestamp, in seconds since 1970.
    pub timestamp: u64,
    /// Reason it was the head.
    pub state: HeadState,
    /// Block that the chain was verified from: its genesis, or the block configured as
    /// `verified_up_to`. `None` if nothing was verified.
    pub root: Option<AtomId>,
    /// Further data of its branch.
    pub resume: ResumeData,
}

/// Data of a head's branch that a restart needs and that is not in any single block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResumeData {
    /// Encoded seeds of the leader election after the head; empty if unknown. At most
    /// [`MAX_ELECTION_SEEDS_BYTES`].
    pub election_seeds: Vec<u8>,
    /// Block far below the head that a reorganization does not pass without the operator.
    pub anchor: Option<Anchor>,
    /// Configured checkpoint that the branch contains.
    pub checkpoint: Option<AtomId>,
}

/// Maximum length of [`ResumeData::election_seeds`], in bytes.
pub const MAX_ELECTION_SEEDS_BYTES: usize = 512;

/// Block of the head's branch, by id and height.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// Block id.
    pub id: AtomId,
    /// Block height.
    pub height: u64,
}
