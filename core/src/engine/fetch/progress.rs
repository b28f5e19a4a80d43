//! Progress of fetches: retries, further candidates, and the end.

use super::{Fetch, Handle};
use crate::crypto::PublicKey;
use crate::engine::limits::{FETCH_FANOUT, FETCH_RETRY, MAX_FETCH_TRIES};
use crate::engine::{Engine, Event, FetchError};
use crate::time::Instant;
use crate::wire::object::PayloadType;
use alloc::vec::Vec;

impl Engine {
    /// Continues a fetch after a change: asks more peers if none that was asked can still answer,
    /// and ends the fetch if there are no more.
    pub(super) fn continue_fetch(&mut self, now: Instant, handle: Handle) {
        let Some(fetch) = self.fetches.by_handle.get(&handle) else {
            return;
        };
        let is_waiting = fetch.asked.values().any(|asked| !asked.is_done);
        let has_asked = !fetch.asked.is_empty();
        // If no peer could be asked at all, one may appear before the deadline.
        if !is_waiting
            && self.ask_more(now, handle, FETCH_FANOUT) == 0
            && has_asked
            && !self.waits_for_trial(now, handle)
        {
            return self.fail(handle, FetchError::NotFound);
        }
        self.fetches.reschedule(handle);
    }

    /// Lets a fetch that waits for no other peer wait for the silent peer that was tried, once:
    /// that peer may be back, and the only one that has the object.
    fn waits_for_trial(&mut self, now: Instant, handle: Handle) -> bool {
        let fetch = self.fetches.by_handle.get_mut(&handle);
        let asked = fetch.into_iter().flat_map(|fetch| fetch.asked.values_mut());
        let mut tried = asked.filter(|asked| asked.is_trial && asked.retry_at > now);
        let Some(tried) = tried.next() else {
            return false;
        };
        tried.is_done = false;
        true
    }

    /// Ends a fetch with success, and reports its atoms to all callers.
    pub(super) fn finish(&mut self, handle: Handle, from: Option<PublicKey>) {
        let Some(Fetch {
            id,
            kind,
            waiters,
            atoms,
            ..
        }) = self.fetches.remove(handle)
        else {
            return;
        };
        for fetch in waiters {
            self.push_event(Event::Fetched {
                fetch,
                id,
                kind,
                atoms: atoms.clone(),
                from,
            });
        }
    }

    /// Ends a fetch with an error. A fetch of a part succeeds instead if any atoms have arrived.
    pub(super) fn fail(&mut self, handle: Handle, error: FetchError) {
        let fetch = self.fetches.by_handle.get(&handle);
        if fetch.is_some_and(|fetch| fetch.is_part && !fetch.atoms.is_empty()) {
            return self.finish(handle, None);
        }
        let Some(Fetch {
            id, waiters, atoms, ..
        }) = self.fetches.remove(handle)
        else {
            return;
        };
        for fetch in waiters {
            self.push_event(Event::FetchFailed {
                fetch,
                id,
                atoms: atoms.clone(),
                error,
            });
        }
    }

    /// Repeats unanswered requests, and ends fetches whose deadline has passed.
    pub(in crate::engine) fn advance_fetches(&mut self, now: Instant) {
        while let Some(&(due, handle)) = self.fetches.timers.first()
            && due <= now
        {
            let Some(fetch) = self.fetches.by_handle.get(&handle) else {
                self.fetches.timers.pop_first();
                continue;
            };
            if fetch.deadline <= now {
                self.fail(handle, FetchError::Timeout);
            } else {
                self.retry(now, handle);
            }
        }
    }

    /// Repeats the requests of a fetch that were not answered in time, asks the referrers of late
    /// peers for others, and asks further candidates.
    fn retry(&mut self, now: Instant, handle: Handle) {
        let Some(fetch) = self.fetches.by_handle.get_mut(&handle) else {
            return;
        };
        let mut again = Vec::new();
        let mut late = Vec::new();
        let mut referrers = Vec::new();
        let mut is_trial_over = false;
        for (key, asked) in &mut fetch.asked {
            if asked.is_done || asked.retry_at > now {
                continue;
            }
            self.peers.note_unanswered(key);
            if asked.is_trial {
                (asked.is_trial, asked.is_done) = (false, true);
                is_trial_over = true;
                continue;
            }
            late.push(*key);
            referrers.extend(asked.referrer.filter(|_| asked.tries < MAX_FETCH_TRIES));
            // A list answer that does not arrive may be too large for the network path: request
            // atom by atom.
            if now.since(asked.asked_at) >= FETCH_RETRY {
                asked.kind = PayloadType::ATOM;
            }
            if asked.tries >= MAX_FETCH_TRIES {
                asked.retry_at = Instant::MAX;
                continue;
            }
            asked.tries += 1;
            again.push((*key, *asked));
        }
        for key in late {
            referrers.extend(fetch.take_referrers(&key));
        }
        // A referrer of late peers may have no other record: the peers that named it know others.
        for key in referrers.clone() {
            referrers.extend(fetch.take_referrers(&key));
            referrers.extend(fetch.asked.get(&key).and_then(|asked| asked.referrer));
        }
        let wanted = fetch.wanted;
        // The time spent on the first peer is lost: several take its place.
        let more = if fetch.asked.len() == 1 {
            FETCH_FANOUT
        } else {
            1
        };
        for (key, asked) in again {
            let retry_at = now + self.response_timeout(&key, asked.tries);
            if let Some(fetch) = self.fetches.by_handle.get_mut(&handle)
                && let Some(asked) = fetch.asked.get_mut(&key)
            {
                asked.retry_at = retry_at;
            }
            self.request(now, key, asked.address, None, wanted, asked.kind);
        }
        for referrer in referrers {
            self.ask_referrer_again(now, handle, &referrer);
        }
        self.ask_more(now, handle, more);
        // Records may all be dead, and many: near peers are asked in addition to the providers.
        let fetch = self.fetches.by_handle.get(&handle);
        if fetch.is_some_and(|fetch| 2 * fetch.named() > fetch.asked.len()) {
            self.ask_nearest(now, handle, 1);
        }
        if is_trial_over {
            return self.continue_fetch(now, handle);
        }
        self.fetches.reschedule(handle);
    }
}
