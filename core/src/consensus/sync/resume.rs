//! Resumption at the start: the head of an earlier run or the configured one, and the stored part
//! of our own chain.

use super::block_index::{Basis, Entry, MAX_OWN_BLOCKS};
use super::call::Call;
use super::other_chains::OtherChain;
use super::{ChainSync, MissingAtom};
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::chain::Block;
use crate::chain::{Address, ElectionSeeds};
use crate::consensus::{Head, HeadState};
use crate::trie::BatchHasher;
use alloc::string::{String, ToString};
use core::fmt;

/// Maximum number of headers of our own chain read back in one call after a start.
const READ_BACK_PER_CALL: usize = 256;

/// Reason that the start, or following the default seed's head, has to wait.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum StartWait {
    /// An atom of the head to start from is missing.
    Head(MissingAtom),
    /// The head to start from is not a block.
    Malformed(String),
    /// The head to start from is of another chain.
    OtherChain(AtomId),
    /// An atom of the default seed's head is missing.
    SeedHead(MissingAtom),
    /// The default seed is on another chain.
    SeedOfOtherChain { theirs: Option<u64>, ours: u64 },
}

impl fmt::Display for StartWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(atom) => write!(f, "head to resume from: {atom}"),
            Self::Malformed(problem) => write!(f, "a valid head to resume from: {problem}"),
            Self::OtherChain(id) => {
                write!(f, "head to resume from: {id} belongs to another chain")
            }
            Self::SeedHead(atom) => write!(f, "head of the default seed: {atom}"),
            Self::SeedOfOtherChain { theirs, ours } => {
                let (theirs, ours) = (*theirs, *ours);
                let difference = OtherChain::ChainId { theirs, ours };
                write!(
                    f,
                    "head of the default seed on this chain: it announces {difference}"
                )
            }
        }
    }
}

impl<H: BatchHasher> ChainSync<H> {
    /// Loads the head of an earlier run, or the configured one.
    pub(super) fn resume(&mut self, call: &mut Call<'_, '_>) {
        let (id, state) = match call.context.saved() {
            Some(saved) => {
                let (id, state) = (saved.id, saved.state);
                if state != HeadState::Trusted
                    && !self.index.contains(&id)
                    && let Some(root) = saved.root
                {
                    // Other branches can be followed down to it before its block is loaded.
                    let entry = Entry {
                        height: saved.height,
                        timestamp: saved.timestamp,
                        previous: AtomId::ZERO,
                        producer: Address::new([0; 32]),
                        basis: Basis::Verified(root),
                    };
                    self.index.insert(id, entry);
                    let seeds = ElectionSeeds::from_bytes(&saved.resume.election_seeds);
                    self.elections.restore(seeds);
                    self.selection.restore(&saved.resume);
                }
                (id, state)
            }
            None if call.context.head().is_some() => return,
            None => match self.config.latest_block {
                Some(id) if Some(id) == self.config.verified_up_to => (id, HeadState::Verified),
                Some(id) => (id, HeadState::Trusted),
                None => return,
            },
        };
        let Some(block) = self.load(call, id) else {
            return;
        };
        match Head::new(block, state) {
            Some(head) if head.block().chain_id == self.chain_id => {
                self.start_waits = None;
                if Some(id) == self.config.verified_up_to {
                    let root = call.context.root().unwrap_or(id);
                    if let Some(entry) = Entry::of(head.block(), Basis::Verified(root)) {
                        self.index.insert(id, entry);
                    }
                }
                self.adopt(call, head);
                self.choice.request();
            }
            _ => self.start_waits = Some(StartWait::OtherChain(id)),
        }
    }

    /// Returns a block if it is stored or held; otherwise starts to fetch it and returns `None`.
    pub(super) fn load(&mut self, call: &mut Call<'_, '_>, id: AtomId) -> Option<Arc<Block>> {
        let error = match Block::read(&self.downloads.over(call.atoms()), id) {
            Ok(block) => {
                self.loading = None;
                self.downloads.release(&id);
                return Some(Arc::new(block));
            }
            Err(error) => error,
        };
        self.loading = Some(id);
        self.start_waits = Some(match error.missing() {
            Some(missing) => StartWait::Head(self.downloads.want_from(call, id, missing, None)),
            None => StartWait::Malformed(error.to_string()),
        });
        None
    }

    /// Adds the stored blocks of our own chain to the index as verified after a start, and looks
    /// for the checkpoint among them.
    pub(super) fn read_back(&mut self, call: &mut Call<'_, '_>) {
        let Some(root) = call.context.root() else {
            self.read_back = None;
            return;
        };
        for _ in 0..READ_BACK_PER_CALL {
            let Some(id) = self.read_back.take() else {
                return;
            };
            let head = call.context.head().map_or(0, Head::height);
            let Ok(block) = Block::read(&call.atoms(), id) else {
                return;
            };
            let Some(entry) = Entry::of(&block, Basis::Verified(root)) else {
                return;
            };
            // The last one is the block that the chain was verified from.
            let is_last = id == root || block.is_genesis();
            let depth = head.saturating_sub(entry.height);
            if self.config.checkpoint == Some(id) {
                let choice = &mut self.selection.choice;
                choice.restore_checkpoint(id, entry.height);
            }
            let lacks_checkpoint = self.config.checkpoint.is_some()
                && self.selection.choice.checkpoint_height().is_none();
            if depth < MAX_OWN_BLOCKS && !self.index.contains(&id) {
                self.index.insert(id, entry);
            } else if !lacks_checkpoint {
                return;
            }
            if !is_last {
                self.read_back = Some(block.previous);
            }
        }
        self.is_busy = true;
    }
}
