//! Reading of announced blocks, for duplicate validator detection.
//!
//! The head that a peer announces is fetched, with a few small fetches. Blocks that sync fetches
//! are checked here as well, without further fetches.

use crate::atom::{Atom, AtomId, AtomKind, AtomSource};
use crate::chain::Block;
use crate::crypto::PublicKey;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::convert::Infallible;

/// Maximum number of blocks waiting to be read. Beyond that, the oldest is forgotten.
const MAX_OBSERVED_BLOCKS: usize = 256;
/// Maximum number of fetches for an announced head: its block, its body, and one spare.
const MAX_FETCHES: u8 = 3;

#[derive(Debug)]
struct ObservedBlock {
    block: AtomId,
    /// Atom that it waits for; `None` if it can be read.
    missing: Option<AtomId>,
    /// Number of fetches that it may still cause.
    fetches: u8,
    /// Peer that announced it.
    from: Option<PublicKey>,
}

/// Announced blocks that have not been read.
#[derive(Debug, Default)]
pub(super) struct ObservedBlocks {
    waiting: VecDeque<ObservedBlock>,
    wanted: Vec<(AtomId, Option<PublicKey>)>,
}

impl ObservedBlocks {
    /// Adds a block that a peer announced as its head, to be fetched if necessary.
    pub(super) fn announced(&mut self, block: AtomId, peer: PublicKey) {
        self.add(block, MAX_FETCHES, Some(peer));
    }

    /// Adds a block that is not fetched if it is missing.
    pub(super) fn note(&mut self, block: AtomId) {
        self.add(block, 0, None);
    }

    fn add(&mut self, block: AtomId, fetches: u8, from: Option<PublicKey>) {
        if self.waiting.iter().any(|observed| observed.block == block) {
            return;
        }
        if self.waiting.len() >= MAX_OBSERVED_BLOCKS {
            self.waiting.pop_front();
        }
        self.waiting.push_back(ObservedBlock {
            block,
            missing: None,
            fetches,
            from,
        });
    }

    /// Records the end of a fetch, which may have delivered a block.
    pub(super) fn fetched(&mut self, id: &AtomId, atoms: Option<&[Atom]>) {
        let first = atoms.and_then(<[Atom]>::first);
        if first.is_some_and(|atom| atom.kind() == AtomKind::Symbol && atom.data() == b"block") {
            self.note(*id);
        }
        for observed in &mut self.waiting {
            if observed.missing.as_ref() == Some(id) {
                observed.missing = None;
            }
        }
    }

    /// Returns whether [`ObservedBlocks::check`] has something to read.
    pub(super) fn has_readable(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|observed| observed.missing.is_none())
    }

    /// Returns whether a head that a peer announced has not been read yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.iter().any(|observed| observed.from.is_some())
    }

    /// Reads the available blocks and forgets them. Returns the first verdict of `judge`; the
    /// blocks after that one are left for the next call.
    pub(super) fn check<T>(
        &mut self,
        atoms: &dyn AtomSource<Error = Infallible>,
        judge: impl Fn(&Block) -> Option<T>,
    ) -> Option<T> {
        let mut verdict = None;
        let wanted = &mut self.wanted;
        self.waiting.retain_mut(|observed| {
            if verdict.is_some() || observed.missing.is_some() {
                return true;
            }
            match Block::read(atoms, observed.block) {
                Ok(block) => verdict = judge(&block),
                Err(error) => observed.missing = error.missing(),
            }
            if let Some(missing) = observed.missing
                && observed.fetches > 0
            {
                observed.fetches -= 1;
                wanted.push((missing, observed.from));
            }
            observed.missing.is_some()
        });
        verdict
    }

    /// Returns the atoms to fetch now, each with the peer to ask first.
    pub(super) fn take_wanted(&mut self) -> Vec<(AtomId, Option<PublicKey>)> {
        core::mem::take(&mut self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::testkit::header;

    const PEER: PublicKey = PublicKey::new([9; 32]);

    #[test]
    fn block_is_checked_once_it_is_readable() {
        let mut store = MemoryStore::new();
        let block = header(3, AtomId::new([1; 32]), 7).signed(None);
        let mut observed = ObservedBlocks::default();
        observed.announced(block.id(), PEER);
        assert_eq!(observed.check(&store, |_| Some(())), None);
        assert!(!observed.has_readable());
        assert_eq!(observed.take_wanted(), [(block.id(), Some(PEER))]);
        // Its body arrives in two parts.
        let atoms = block.to_atoms();
        let (body, head) = atoms.split_at(15);
        store.extend(head.iter().map(|(_, atom)| atom.clone()));
        observed.fetched(&block.id(), None);
        assert!(observed.has_readable());
        assert_eq!(observed.check(&store, |_| Some(())), None);
        store.extend(body.iter().map(|(_, atom)| atom.clone()));
        assert_eq!(observed.take_wanted(), [(body[0].0, Some(PEER))]);
        observed.fetched(&body[0].0, None);
        let seen = observed.check(&store, |block| Some(block.id()));
        assert_eq!(seen, Some(block.id()));
        assert!(observed.waiting.is_empty());
    }

    #[test]
    fn fetched_blocks_are_noted_within_bounds() {
        let mut observed = ObservedBlocks::default();
        let block = header(3, AtomId::new([1; 32]), 7).signed(None);
        let atoms: Vec<Atom> = block.to_atoms().into_iter().map(|(_, atom)| atom).collect();
        observed.fetched(&AtomId::new([8; 32]), Some(&atoms[..3]));
        assert!(!observed.has_readable(), "no block");
        let others = [Atom::symbol("blocks"), Atom::bytes(*b"block")];
        for other in others {
            observed.fetched(&other.id(), Some(core::slice::from_ref(&other)));
            assert!(!observed.has_readable(), "{other:?}");
        }
        observed.fetched(&block.id(), Some(&atoms[18..]));
        assert!(observed.has_readable());
        assert_eq!(observed.check(&MemoryStore::new(), |_| Some(())), None);
        assert!(
            observed.take_wanted().is_empty(),
            "only announced heads are"
        );
        let head = AtomId::new([9; 32]);
        observed.announced(head, PEER);
        for _ in 0..10 {
            assert_eq!(observed.check(&MemoryStore::new(), |_| Some(())), None);
            observed.fetched(&head, None);
        }
        assert_eq!(observed.take_wanted().len(), usize::from(MAX_FETCHES));
        for number in 0..1_000u32 {
            observed.note(Atom::bytes(number.to_be_bytes()).id());
        }
        assert_eq!(observed.waiting.len(), MAX_OBSERVED_BLOCKS);
    }
}
