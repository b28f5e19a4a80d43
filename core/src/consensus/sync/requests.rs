//! Fetches under way, and fetches that failed.
//!
//! A peer that announces a head determines what is fetched for it, so a list is fetched in parts.
//! The first is a [`PART`], and after each full part the next one is twice as long, as long as the
//! fetches under way, and as many first parts as there may be, stay within [`MAX_BYTES_IN_FLIGHT`].

use super::announcers::{Announcers, Turns};
use super::call::Call;
use crate::atom::{Atom, AtomId};
use crate::consensus::{Effect, PART, PART_ATOM_BYTES};
use crate::crypto::PublicKey;
use crate::engine::{FetchError, FetchRequest, ListLimit};
use crate::time::Instant;
use alloc::collections::BTreeMap;
use core::fmt;
use core::time::Duration;

/// Maximum number of fetches under way.
pub const MAX_IN_FLIGHT: usize = 128;
/// Number of fetches under way above which lists that are only needed later are not requested.
pub const MAX_AHEAD: usize = 96;
/// Maximum number of bytes that all fetches under way may return.
pub const MAX_BYTES_IN_FLIGHT: usize = 24 << 20;
/// Maximum number of lists whose next part is remembered to be longer.
const MAX_LONG: usize = 256;
/// Maximum number of atoms in a part.
const MAX_PART_ATOMS: usize = 65_536;
/// Maximum number of failed fetches remembered. If full, the one to be retried next is forgotten.
const MAX_FAILED: usize = 1_024;
/// Initial time before a failed fetch is retried; doubles each time.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(10);

/// Atom that something waits for, and the state of its fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MissingAtom {
    /// The atom.
    pub id: AtomId,
    /// Error of its last fetch, and the number of failed fetches.
    pub failed: Option<(FetchError, u32)>,
}

impl fmt::Display for MissingAtom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failed {
            Some((error, count)) => {
                write!(f, "atom {}: {error}, requested {count} times", self.id)
            }
            None => write!(f, "atom {} is being fetched", self.id),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    count: u32,
    retry_at: Instant,
    error: FetchError,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    limit: ListLimit,
    /// Peer that is asked first.
    from: Option<PublicKey>,
    since: Instant,
    /// Block that it is for.
    block: AtomId,
}

/// Fetches of sync. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Requests {
    in_flight: BTreeMap<AtomId, InFlight>,
    bytes_in_flight: usize,
    /// Limits of the next parts of long lists, by their first atoms.
    long: BTreeMap<AtomId, ListLimit>,
    failed: BTreeMap<AtomId, Failed>,
    turns: Turns,
}

/// Purpose of a fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose<'n> {
    /// Block that the atoms belong to.
    pub(super) block: AtomId,
    /// Peers that announced it.
    pub(super) announcers: &'n Announcers,
}

impl Requests {
    /// Requests a list that is needed now.
    pub(super) fn want(
        &mut self,
        call: &mut Call<'_, '_>,
        id: AtomId,
        purpose: Purpose<'_>,
    ) -> MissingAtom {
        self.request(call, id, purpose, MAX_IN_FLIGHT, PART);
        self.missing(id)
    }

    /// Requests an atom that is needed now, without its successors.
    pub(super) fn want_alone(
        &mut self,
        call: &mut Call<'_, '_>,
        id: AtomId,
        purpose: Purpose<'_>,
    ) -> MissingAtom {
        let alone = ListLimit { atoms: 1, ..PART };
        self.request(call, id, purpose, MAX_IN_FLIGHT, alone);
        self.missing(id)
    }

    /// Returns the state of the fetch of an atom.
    pub(super) fn missing(&self, id: AtomId) -> MissingAtom {
        let failed = self.failed.get(&id);
        MissingAtom {
            id,
            failed: failed.map(|failed| (failed.error, failed.count)),
        }
    }

    /// Requests a list that is needed later. Returns `false` if there is no room.
    pub(super) fn ahead(
        &mut self,
        call: &mut Call<'_, '_>,
        id: AtomId,
        purpose: Purpose<'_>,
    ) -> bool {
        // Failed fetches beyond those remembered would be repeated without a pause.
        let is_known = self.failed.contains_key(&id);
        if self.failed.len() >= MAX_FAILED && !is_known && !self.in_flight.contains_key(&id) {
            return false;
        }
        self.request(call, id, purpose, MAX_AHEAD, PART)
    }

    fn request(
        &mut self,
        call: &mut Call<'_, '_>,
        id: AtomId,
        purpose: Purpose<'_>,
        max_in_flight: usize,
        first: ListLimit,
    ) -> bool {
        let now = call.now();
        if let Some(in_flight) = self.in_flight.get_mut(&id) {
            // Prefer the block that needs it now to one that needs it later.
            if max_in_flight == MAX_IN_FLIGHT {
                in_flight.block = purpose.block;
            }
            return true;
        }
        let failed = self.failed.get(&id);
        let waits = failed.is_some_and(|failed| failed.retry_at > now);
        if waits || self.in_flight.len() >= max_in_flight {
            return waits;
        }
        // A whole list is needed, and one answer may bring all of it.
        let others = MAX_IN_FLIGHT.saturating_sub(self.in_flight.len()) * PART.bytes;
        let room = MAX_BYTES_IN_FLIGHT.saturating_sub(self.bytes_in_flight + others);
        let long = self.long.remove(&id).filter(|long| long.bytes <= room);
        let limit = long.unwrap_or(first);
        self.bytes_in_flight += limit.bytes;
        let is_urgent = max_in_flight == MAX_IN_FLIGHT;
        let from = self.turns.next(now, purpose.announcers, is_urgent);
        let in_flight = InFlight {
            limit,
            from,
            since: now,
            block: purpose.block,
        };
        self.in_flight.insert(id, in_flight);
        let request = FetchRequest::beginning(id, limit).first_from(from);
        call.context.push_effect(Effect::Fetch(request));
        true
    }

    /// Makes the next part twice as long after a full one.
    fn note_length(&mut self, atoms: &[Atom], limit: ListLimit) {
        let bytes: usize = atoms.iter().map(Atom::stored_len).sum();
        let is_part = limit.atoms >= PART.atoms;
        let is_full = is_part && (atoms.len() >= limit.atoms || bytes >= limit.bytes);
        let Some(next) = atoms.last().map(Atom::next).filter(|next| !next.is_zero()) else {
            return;
        };
        if self.long.len() >= MAX_LONG {
            self.long.clear();
        }
        if is_full {
            let atoms = limit.atoms.saturating_mul(2).min(MAX_PART_ATOMS);
            let most = MAX_PART_ATOMS * PART_ATOM_BYTES;
            let bytes = limit.bytes.saturating_mul(2).min(most);
            self.long.insert(next, ListLimit { atoms, bytes });
        }
    }

    /// Ends a fetch. Returns the block that it was for; `None` if it was not requested here.
    pub(super) fn fetch_ended(
        &mut self,
        now: Instant,
        id: AtomId,
        outcome: Result<&[Atom], FetchError>,
        from: Option<PublicKey>,
    ) -> Option<AtomId> {
        let InFlight {
            limit,
            from: asked,
            since,
            block,
        } = self.in_flight.remove(&id)?;
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(limit.bytes);
        if let Some(from) = &from {
            // The time when another peer was asked is not known.
            let took = (asked == Some(*from)).then(|| now.since(since));
            self.turns.answered(from, took);
        }
        let is_silent = match outcome {
            Ok(_) => from.is_some() && from != asked,
            Err(FetchError::NotFound | FetchError::Timeout) => true,
            Err(FetchError::TooMany | FetchError::TooLarge) => false,
        };
        if let Some(asked) = asked.filter(|_| is_silent) {
            self.turns.fell_silent(now, &asked);
        }
        let error = match outcome {
            Ok(atoms) => {
                self.note_length(atoms, limit);
                self.failed.remove(&id);
                return Some(block);
            }
            Err(error) => error,
        };
        if self.failed.len() >= MAX_FAILED && !self.failed.contains_key(&id) {
            let next = self.failed.iter().min_by_key(|(_, failed)| failed.retry_at);
            if let Some(next) = next.map(|(id, _)| *id) {
                self.failed.remove(&next);
            }
        }
        let count = self.failed.get(&id).map_or(0, |failed| failed.count);
        let retry_at = now + (RETRY * (1 << count.min(8))).min(MAX_RETRY);
        let failed = Failed {
            count: count.saturating_add(1),
            retry_at,
            error,
        };
        self.failed.insert(id, failed);
        Some(block)
    }

    /// Returns whether the last fetch of this atom failed.
    pub(super) fn has_failed(&self, id: &AtomId) -> bool {
        self.failed.contains_key(id) && !self.in_flight.contains_key(id)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Forgets a peer that was removed.
    pub(super) fn forget_peer(&mut self, peer: &PublicKey) {
        self.turns.forget(peer);
    }

    /// Returns when a failed fetch can be retried next.
    pub(super) fn next_retry(&self, now: Instant) -> Option<Instant> {
        let later = self.failed.values().map(|failed| failed.retry_at);
        later.filter(|at| *at > now).min()
    }

    /// Forgets failed fetches that have not been retried for a long time.
    pub(super) fn prune(&mut self, now: Instant) {
        let long_ago = now - MAX_RETRY * 6;
        self.failed.retain(|_, failed| failed.retry_at > long_ago);
    }
}
