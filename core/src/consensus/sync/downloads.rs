//! Data that sync downloads: its fetches, and the fetched atoms of undecided blocks.

use super::announcers::{Announcer, Announcers};
use super::call::Call;
use super::requests::{MissingAtom, Purpose, Requests};
use super::streams::Streams;
use super::working_set::{HostAtoms, View, WorkingSet};
use crate::atom::{Atom, AtomId};
use crate::crypto::PublicKey;
use crate::engine::FetchError;
use crate::time::Instant;
use alloc::vec::Vec;

/// Fetches and fetched atoms. Atoms are held only for blocks that sync is interested in, and only
/// until the block is decided.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    requests: Requests,
    held: WorkingSet,
    pub(super) streams: Streams,
}

impl Downloads {
    /// Creates the state of a node whose host has streams, or does not.
    pub(super) fn new(has_streams: bool) -> Self {
        Self {
            streams: Streams::new(has_streams),
            ..Self::default()
        }
    }

    /// Returns a source of the fetched atoms and those of the host.
    pub(super) const fn over<'a>(&'a self, host: HostAtoms<'a>) -> View<'a> {
        self.held.over(host)
    }

    /// Fetches a list that is needed now.
    pub(super) fn want(
        &mut self,
        call: &mut Call<'_, '_>,
        id: AtomId,
        purpose: Purpose<'_>,
    ) -> MissingAtom {
        self.requests.want(call, id, purpose)
    }

    /// Fetches an atom that is needed now, without its successors.
    pub(super) fn want_alone(
        &mut self,
        call: &mut Call<'_, '_>,
        id: AtomId,
        purpose: Purpose<'_>,
    ) -> MissingAtom {
        self.requests.want_alone(call, id, purpose)
    }

    /// Fetches an atom of a block that does not belong to a branch, from this peer first.
    pub(super) fn want_from(
        &mut self,
        call: &mut Call<'_, '_>,
        block: AtomId,
        missing: AtomId,
        from: Option<Announcer>,
    ) -> MissingAtom {
        let mut announcers = Announcers::default();
        if let Some(from) = from {
            announcers.add(from);
        }
        let announcers = &announcers;
        self.want(call, missing, Purpose { block, announcers })
    }

    /// Fetches a list that is needed later. Returns `false` if there is no room.
    pub(super) fn ahead(
        &mut self,
        call: &mut Call<'_, '_>,
        id: AtomId,
        purpose: Purpose<'_>,
    ) -> bool {
        self.requests.ahead(call, id, purpose)
    }

    /// Ends a fetch. Returns the block that it was for; `None` if it was not requested here.
    pub(super) fn fetch_ended(
        &mut self,
        now: Instant,
        id: AtomId,
        outcome: Result<&[Atom], FetchError>,
        from: Option<PublicKey>,
    ) -> Option<AtomId> {
        self.requests.fetch_ended(now, id, outcome, from)
    }

    /// Holds atoms that were fetched for `block`. `is_at_hand` returns whether a block is the next
    /// one of its branch.
    pub(super) fn hold(
        &mut self,
        block: AtomId,
        atoms: &[Atom],
        is_at_hand: impl Fn(&AtomId) -> bool,
    ) {
        self.held.hold(block, atoms, is_at_hand);
    }

    /// Drops the atoms held for a block that is decided.
    pub(super) fn release(&mut self, block: &AtomId) {
        self.held.release(block);
    }

    /// Drops the atoms of blocks that are not needed any more.
    pub(super) fn retain(&mut self, is_needed: impl Fn(&AtomId) -> bool) {
        let unneeded = self.held.blocks().filter(|block| !is_needed(block));
        for block in unneeded.collect::<Vec<_>>() {
            self.held.release(&block);
        }
    }

    /// Forgets failed fetches that have not been retried for a long time.
    pub(super) fn prune(&mut self, now: Instant) {
        self.requests.prune(now);
    }

    /// Returns the atoms held for a block.
    pub(super) fn of_block(&self, block: &AtomId) -> impl Iterator<Item = (AtomId, Atom)> {
        self.held.of_block(block)
    }

    /// Returns whether the last fetch of this atom failed.
    pub(super) fn has_failed(&self, id: &AtomId) -> bool {
        self.requests.has_failed(id)
    }

    /// Returns the state of the fetch of an atom, without a request.
    pub(super) fn missing(&self, id: AtomId) -> MissingAtom {
        self.requests.missing(id)
    }

    /// Forgets a peer that was removed.
    pub(super) fn remove_peer(&mut self, call: &mut Call<'_, '_>, peer: &PublicKey) {
        self.requests.forget_peer(peer);
        self.streams.forget(call, peer);
    }

    /// Returns the number of fetches under way.
    pub(super) fn in_flight(&self) -> usize {
        self.requests.in_flight()
    }

    /// Returns when a failed fetch can be retried next.
    pub(super) fn next_retry(&self, now: Instant) -> Option<Instant> {
        self.requests.next_retry(now)
    }

    /// Returns the number of bytes held, including bookkeeping.
    #[cfg(test)]
    pub(super) const fn held_bytes(&self) -> usize {
        self.held.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::{NoStore, bytes_list};
    use crate::consensus::sync::tests::parts::{announcer, call_at, fetches, id};
    use crate::consensus::sync::{MAX_AHEAD, MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT};
    use crate::consensus::{Context, PART};
    use crate::engine::{Extent, FetchRequest, ListLimit};
    use alloc::vec;

    fn limit(request: &FetchRequest) -> ListLimit {
        match request.extent {
            Extent::Beginning(limit) | Extent::Whole(limit) => limit,
        }
    }

    #[test]
    fn fetches_stay_within_their_budget_and_leave_room_for_urgent_ones() {
        let (mut downloads, mut context) = (Downloads::default(), Context::new(None));
        let announcers = &Announcers::default();
        let block = id(255);
        let purpose = Purpose { block, announcers };
        call_at(1, &NoStore, &mut context, |call| {
            for number in 0..250 {
                let is_requested = downloads.ahead(call, id(number), purpose);
                assert_eq!(is_requested, usize::from(number) < MAX_AHEAD);
            }
            assert_eq!(downloads.in_flight(), MAX_AHEAD);
            for number in 0..250 {
                downloads.want(call, id(number), purpose);
            }
            assert_eq!(downloads.in_flight(), MAX_IN_FLIGHT);
        });
        let requests = fetches(&mut context);
        assert_eq!(requests.len(), MAX_IN_FLIGHT, "each once");
        let bytes: usize = requests.iter().map(|request| limit(request).bytes).sum();
        assert!(bytes <= MAX_BYTES_IN_FLIGHT, "{bytes}");
    }

    #[test]
    fn parts_of_a_long_list_double_and_a_failed_fetch_pauses() {
        let (mut downloads, mut context) = (Downloads::default(), Context::new(None));
        let announcers = &Announcers::default();
        let purpose = Purpose {
            block: id(1),
            announcers,
        };
        let (head, atoms) = bytes_list(&vec![[7_u8; 9]; 2 * PART.atoms]);
        let (first, rest) = atoms.split_at(PART.atoms);
        let now = Instant::from_secs(1);
        let next = rest[0].id();
        call_at(1, &NoStore, &mut context, |call| {
            downloads.want(call, head, purpose);
            let block = downloads.fetch_ended(now, head, Ok(first), None);
            assert_eq!(block, Some(id(1)));
            downloads.want(call, next, purpose);
        });
        let requests = fetches(&mut context);
        let limits: Vec<usize> = requests.iter().map(|it| limit(it).atoms).collect();
        assert_eq!(limits, [PART.atoms, 2 * PART.atoms]);
        let failure = Err(FetchError::NotFound);
        assert_eq!(downloads.fetch_ended(now, next, failure, None), Some(id(1)));
        assert_eq!(downloads.fetch_ended(now, next, failure, None), None);
        assert!(downloads.has_failed(&next));
        let retry = downloads.next_retry(now).unwrap();
        call_at(1, &NoStore, &mut context, |call| {
            let atom = downloads.want(call, next, purpose);
            assert_eq!(atom.failed, Some((FetchError::NotFound, 1)));
        });
        assert_eq!(fetches(&mut context), [], "not before its time");
        assert!(retry > now && downloads.in_flight() == 0);
        call_at(2, &NoStore, &mut context, |call| {
            downloads.want_from(call, id(1), next, Some(announcer(3)));
        });
        let from = fetches(&mut context)[0].from;
        assert_eq!(from, Some(announcer(3).peer));
    }

    #[test]
    fn atoms_are_held_only_for_blocks_that_are_needed() {
        let mut downloads = Downloads::default();
        for number in [1, 2] {
            let atom = Atom::bytes([number; 9]);
            downloads.hold(id(number), &[atom], |_| true);
        }
        let both = downloads.held_bytes();
        downloads.retain(|block| *block == id(2));
        assert_eq!(downloads.held_bytes(), both / 2);
        assert_eq!(downloads.of_block(&id(1)).count(), 0);
        downloads.release(&id(2));
        assert_eq!(downloads.held_bytes(), 0);
    }
}
