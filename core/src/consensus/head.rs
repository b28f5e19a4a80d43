//! The head of a chain: the newest block a node stands by, and why.

use crate::atom::AtomId;
use crate::chain::Block;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Why a block is the head.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HeadState {
    /// The default seed or the configuration says so; nothing but its own record was checked.
    Trusted,
    /// Every rule was checked, from the root of the chain on.
    Verified,
    /// This node made it.
    Own,
}

impl HeadState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Trusted, Self::Verified, Self::Own];

    /// The word for it in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::Verified => "verified",
            Self::Own => "own",
        }
    }

    /// The state with this [name](Self::name).
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

/// The newest block that this node stands by. Clones share the block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    block: Arc<Block>,
    height: u64,
    timestamp: u64,
    state: HeadState,
}

impl Head {
    /// `block` as a head; `None` if its height or its time passes 64 bits, which no chain of blocks
    /// reaches.
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

    /// The block.
    #[must_use]
    pub const fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// The block's id.
    #[must_use]
    pub fn id(&self) -> AtomId {
        self.block.id()
    }

    /// Blocks before it.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// When it was made, in seconds since 1970.
    #[must_use]
    pub const fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// Why it is the head.
    #[must_use]
    pub const fn state(&self) -> HeadState {
        self.state
    }

    /// What is to be remembered of it, in a chain that was verified from `root` on.
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
    /// Its id.
    pub id: AtomId,
    /// Blocks before it.
    pub height: u64,
    /// When it was made, in seconds since 1970.
    pub timestamp: u64,
    /// Why it was the head.
    pub state: HeadState,
    /// The block that the chain was verified from: its genesis, or what `verified_up_to` named.
    /// `None` while nothing was verified.
    pub root: Option<AtomId>,
    /// Further data of its branch.
    pub resume: ResumeData,
}

/// Data of a head's branch that a restart needs and that no single block holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResumeData {
    /// Encoded seeds of the leader election after the head; empty where they are not known. At most
    /// [`MAX_ELECTION_SEEDS_BYTES`].
    pub election_seeds: Vec<u8>,
    /// The block far below the head that no reorganization without the operator passes.
    pub anchor: Option<Anchor>,
    /// The configured checkpoint that the branch contains.
    pub checkpoint: Option<AtomId>,
}

/// Largest [`ResumeData::election_seeds`].
pub const MAX_ELECTION_SEEDS_BYTES: usize = 512;

/// A block of the head's branch, by id and height.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// Its id.
    pub id: AtomId,
    /// Its height.
    pub height: u64,
}
