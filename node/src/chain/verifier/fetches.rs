//! What is being fetched, and what did not come.
//!
//! Whoever offers a head chooses what is fetched for it, so a list comes in parts: the first is a
//! [`PART`], and what goes on after a full one comes in ever larger ones, as long as all that is
//! under way, and as many first parts as there may be, stays within [`MAX_BYTES_IN_FLIGHT`].

use super::super::{Context, Effect, PART, PART_ATOM_BYTES};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::time::Instant;
use astreum_core::wire::engine::{FetchError, ListLimit};
use core::time::Duration;
use std::collections::BTreeMap;

/// Fetches at once.
pub const MAX_IN_FLIGHT: usize = 128;
/// Fetches at once of what is only needed later.
pub const MAX_AHEAD: usize = 96;
/// Bytes that all fetches under way may bring.
pub const MAX_BYTES_IN_FLIGHT: usize = 24 << 20;
/// Parts of long lists whose rest is remembered to be one.
const MAX_LONG: usize = 256;
/// Atoms of the longest part.
const MAX_PART_ATOMS: usize = 65_536;
/// Atoms that did not come and are remembered. When full, the one to be asked for next goes.
const MAX_FAILED: usize = 1_024;
/// Before something that did not come is asked for again; doubles each time.
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Failed {
    count: u32,
    retry_at: Instant,
    error: FetchError,
}

#[derive(Debug, Default)]
pub(super) struct Fetches {
    in_flight: BTreeMap<AtomId, ListLimit>,
    bytes_in_flight: usize,
    /// Where long lists go on, and how much is to be asked for next.
    long: BTreeMap<AtomId, ListLimit>,
    failed: BTreeMap<AtomId, Failed>,
}

impl Fetches {
    /// Asks for something that is needed now; what it is waiting for, in words.
    pub(super) fn want(&mut self, context: &mut Context, now: Instant, id: AtomId) -> String {
        self.ask(context, now, id, MAX_IN_FLIGHT);
        match self.failed.get(&id) {
            Some(failed) => format!("atom {id}: {}, asked {} times", failed.error, failed.count),
            None => format!("atom {id} is being fetched"),
        }
    }

    /// Asks for something that is needed later. `false` if there is no room.
    pub(super) fn ahead(&mut self, context: &mut Context, now: Instant, id: AtomId) -> bool {
        // More than can be remembered would be asked for over and over, without a pause.
        let is_known = self.failed.contains_key(&id);
        if self.failed.len() >= MAX_FAILED && !is_known && !self.in_flight.contains_key(&id) {
            return false;
        }
        self.ask(context, now, id, MAX_AHEAD)
    }

    fn ask(&mut self, context: &mut Context, now: Instant, id: AtomId, limit: usize) -> bool {
        if self.in_flight.contains_key(&id) {
            return true;
        }
        let waits = self
            .failed
            .get(&id)
            .is_some_and(|failed| failed.retry_at > now);
        if waits || self.in_flight.len() >= limit {
            return waits;
        }
        // The chain that starts there is what is needed, and one answer may bring all of it.
        let others = MAX_IN_FLIGHT.saturating_sub(self.in_flight.len()) * PART.bytes;
        let room = MAX_BYTES_IN_FLIGHT.saturating_sub(self.bytes_in_flight + others);
        let long = self.long.remove(&id).filter(|long| long.bytes <= room);
        let limit = long.unwrap_or(PART);
        self.bytes_in_flight += limit.bytes;
        self.in_flight.insert(id, limit);
        context.ask(Effect::Fetch {
            id,
            limit,
            from: None,
        });
        true
    }

    /// After a full part the next one is twice as long.
    fn note_length(&mut self, atoms: &[Atom], limit: ListLimit) {
        let is_full = atoms.len() >= limit.atoms;
        let Some(next) = atoms.last().map(Atom::next).filter(|next| !next.is_zero()) else {
            return;
        };
        if self.long.len() >= MAX_LONG {
            self.long.clear();
        }
        if is_full {
            let atoms = limit.atoms.saturating_mul(2).min(MAX_PART_ATOMS);
            let bytes = atoms.saturating_mul(PART_ATOM_BYTES);
            self.long.insert(next, ListLimit { atoms, bytes });
        }
    }

    /// `false` if it was not asked for here.
    pub(super) fn ended(
        &mut self,
        now: Instant,
        id: AtomId,
        outcome: Result<&[Atom], FetchError>,
    ) -> bool {
        let Some(limit) = self.in_flight.remove(&id) else {
            return false;
        };
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(limit.bytes);
        let error = match outcome {
            Ok(atoms) => {
                self.note_length(atoms, limit);
                self.failed.remove(&id);
                return true;
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
        true
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// When something can be asked for again.
    pub(super) fn next_retry(&self, now: Instant) -> Option<Instant> {
        let later = self.failed.values().map(|failed| failed.retry_at);
        later.filter(|at| *at > now).min()
    }

    /// Forgets what did not come and has not been asked for again.
    pub(super) fn tidy(&mut self, now: Instant) {
        let long_ago = now - MAX_RETRY * 6;
        self.failed.retain(|_, failed| failed.retry_at > long_ago);
    }
}
