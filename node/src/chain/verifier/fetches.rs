//! What is being fetched, and what did not come.

use super::super::{Action, Context};
use astreum_core::atom::AtomId;
use astreum_core::time::Instant;
use astreum_core::wire::engine::FetchError;
use astreum_core::wire::object::PayloadType;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Fetches at once.
pub const MAX_IN_FLIGHT: usize = 128;
/// Fetches at once of what is only needed later.
pub const MAX_AHEAD: usize = 96;
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
    in_flight: BTreeSet<AtomId>,
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
        self.ask(context, now, id, MAX_AHEAD)
    }

    fn ask(&mut self, context: &mut Context, now: Instant, id: AtomId, limit: usize) -> bool {
        if self.in_flight.contains(&id) {
            return true;
        }
        let waits = self
            .failed
            .get(&id)
            .is_some_and(|failed| failed.retry_at > now);
        if waits || self.in_flight.len() >= limit {
            return waits;
        }
        self.in_flight.insert(id);
        // The chain that starts there is what is needed, and one answer may bring all of it.
        let kind = PayloadType::LIST;
        context.ask(Action::Fetch { id, kind });
        true
    }

    /// `false` if it was not asked for here.
    pub(super) fn ended(&mut self, now: Instant, id: AtomId, error: Option<FetchError>) -> bool {
        if !self.in_flight.remove(&id) {
            return false;
        }
        let Some(error) = error else {
            self.failed.remove(&id);
            return true;
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
