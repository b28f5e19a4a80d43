//! Loading of blocks that do not belong to a branch: of the head to resume from, and of the head
//! that was chosen.

use super::call::Call;
use super::downloads::Downloads;
use super::other_chains::OtherChain;
use super::requests::MissingAtom;
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::chain::Block;
use alloc::string::{String, ToString};
use core::fmt;

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

/// Block that is being loaded, and the reason that the start waits.
#[derive(Debug, Default)]
pub(super) struct HeadLoader {
    block: Option<AtomId>,
    waits: Option<StartWait>,
}

impl HeadLoader {
    /// Returns a block if it is stored or held; otherwise starts to fetch it and returns `None`.
    pub(super) fn load(
        &mut self,
        call: &mut Call<'_, '_>,
        downloads: &mut Downloads,
        id: AtomId,
    ) -> Option<Arc<Block>> {
        let error = match Block::read(&downloads.over(call.atoms()), id) {
            Ok(block) => {
                self.block = None;
                downloads.release(&id);
                return Some(Arc::new(block));
            }
            Err(error) => error,
        };
        self.block = Some(id);
        self.waits = Some(match error.missing() {
            Some(missing) => StartWait::Head(downloads.want_from(call, id, missing, None)),
            None => StartWait::Malformed(error.to_string()),
        });
        None
    }

    /// Returns whether this block is being loaded.
    pub(super) fn needs(&self, block: &AtomId) -> bool {
        self.block == Some(*block)
    }

    /// Records the reason that the start waits.
    pub(super) fn wait(&mut self, reason: StartWait) {
        self.waits = Some(reason);
    }

    /// Records that the start does not wait any more.
    pub(super) fn stop_waiting(&mut self) {
        self.waits = None;
    }

    /// Returns the reason that the start waits, if it does.
    pub(super) const fn waits(&self) -> Option<&StartWait> {
        self.waits.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::{MemoryStore, NoStore};
    use crate::consensus::Context;
    use crate::consensus::sync::tests::parts::{call_at, fetches, store_headers};

    #[test]
    fn missing_block_is_fetched_and_needed_until_it_is_there() {
        let mut store = MemoryStore::new();
        let id = store_headers(&mut store, 1)[0].id();
        let (mut loader, mut downloads) = (HeadLoader::default(), Downloads::default());
        let mut context = Context::new(None);
        let loaded = call_at(1, &NoStore, &mut context, |call| {
            loader.load(call, &mut downloads, id)
        });
        assert!(loaded.is_none() && loader.needs(&id));
        assert_eq!(fetches(&mut context).len(), 1);
        let text = loader.waits().unwrap().to_string();
        assert!(text.contains("head to resume from"), "{text}");
        let loaded = call_at(2, &store, &mut context, |call| {
            loader.load(call, &mut downloads, id)
        });
        assert_eq!(loaded.map(|block| block.id()), Some(id));
        assert!(!loader.needs(&id));
        loader.stop_waiting();
        assert_eq!(loader.waits(), None);
    }
}
