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
const MAX_SIGHTINGS: usize = 256;
/// Maximum number of fetches for an announced head: its block, its body, and one spare.
const MAX_FETCHES: u8 = 3;

#[derive(Debug)]
struct Sighting {
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
pub(super) struct Sightings {
    waiting: VecDeque<Sighting>,
    wanted: Vec<(AtomId, Option<PublicKey>)>,
}

impl Sightings {
    /// Adds a block that a peer announced as its head, to be fetched if necessary.
    pub(super) fn name(&mut self, block: AtomId, peer: PublicKey) {
        self.add(block, MAX_FETCHES, Some(peer));
    }

    /// Adds a block that is not fetched if it is missing.
    pub(super) fn note(&mut self, block: AtomId) {
        self.add(block, 0, None);
    }

    fn add(&mut self, block: AtomId, fetches: u8, from: Option<PublicKey>) {
        if self.waiting.iter().any(|sighting| sighting.block == block) {
            return;
        }
        if self.waiting.len() >= MAX_SIGHTINGS {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Sighting {
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
        for sighting in &mut self.waiting {
            if sighting.missing.as_ref() == Some(id) {
                sighting.missing = None;
            }
        }
    }

    /// Returns whether [`Sightings::check`] has something to read.
    pub(super) fn has_news(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|sighting| sighting.missing.is_none())
    }

    /// Returns whether a head that a peer announced has not been read yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.iter().any(|sighting| sighting.from.is_some())
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
        self.waiting.retain_mut(|sighting| {
            if verdict.is_some() || sighting.missing.is_some() {
                return true;
            }
            match Block::read(atoms, sighting.block) {
                Ok(block) => verdict = judge(&block),
                Err(error) => sighting.missing = error.missing(),
            }
            if let Some(missing) = sighting.missing
                && sighting.fetches > 0
            {
                sighting.fetches -= 1;
                wanted.push((missing, sighting.from));
            }
            sighting.missing.is_some()
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
    use crate::consensus::samples::header;

    const PEER: PublicKey = PublicKey::new([9; 32]);

    #[test]
    fn a_block_is_looked_at_once_it_can_be_read() {
        let mut store = MemoryStore::new();
        let block = header(3, AtomId::new([1; 32]), 7).signed(None);
        let mut sightings = Sightings::default();
        sightings.name(block.id(), PEER);
        assert_eq!(sightings.check(&store, |_| Some(())), None);
        assert!(!sightings.has_news());
        assert_eq!(sightings.take_wanted(), [(block.id(), Some(PEER))]);
        // Its body arrives in two parts.
        let atoms = block.to_atoms();
        let (body, head) = atoms.split_at(15);
        store.extend(head.iter().map(|(_, atom)| atom.clone()));
        sightings.fetched(&block.id(), None);
        assert!(sightings.has_news());
        assert_eq!(sightings.check(&store, |_| Some(())), None);
        store.extend(body.iter().map(|(_, atom)| atom.clone()));
        assert_eq!(sightings.take_wanted(), [(body[0].0, Some(PEER))]);
        sightings.fetched(&body[0].0, None);
        let seen = sightings.check(&store, |block| Some(block.id()));
        assert_eq!(seen, Some(block.id()));
        assert!(sightings.waiting.is_empty());
    }

    #[test]
    fn fetched_blocks_are_noted_and_there_are_never_too_many() {
        let mut sightings = Sightings::default();
        let block = header(3, AtomId::new([1; 32]), 7).signed(None);
        let atoms: Vec<Atom> = block.to_atoms().into_iter().map(|(_, atom)| atom).collect();
        sightings.fetched(&AtomId::new([8; 32]), Some(&atoms[..3]));
        assert!(!sightings.has_news(), "no block");
        let others = [Atom::symbol("blocks"), Atom::bytes(*b"block")];
        for other in others {
            sightings.fetched(&other.id(), Some(core::slice::from_ref(&other)));
            assert!(!sightings.has_news(), "{other:?}");
        }
        sightings.fetched(&block.id(), Some(&atoms[18..]));
        assert!(sightings.has_news());
        assert_eq!(sightings.check(&MemoryStore::new(), |_| Some(())), None);
        assert!(sightings.take_wanted().is_empty(), "only named heads are");
        let named = AtomId::new([9; 32]);
        sightings.name(named, PEER);
        for _ in 0..10 {
            assert_eq!(sightings.check(&MemoryStore::new(), |_| Some(())), None);
            sightings.fetched(&named, None);
        }
        assert_eq!(sightings.take_wanted().len(), usize::from(MAX_FETCHES));
        for number in 0..1_000u32 {
            sightings.note(Atom::bytes(number.to_be_bytes()).id());
        }
        assert_eq!(sightings.waiting.len(), MAX_SIGHTINGS);
    }
}
