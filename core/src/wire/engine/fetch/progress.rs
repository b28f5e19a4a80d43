//! Progress of fetches: requests that are sent again, further candidates, and the end.

use super::{Fetch, Handle};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::engine::limits::{FETCH_FANOUT, FETCH_RETRY, MAX_FETCH_TRIES};
use crate::wire::engine::{Engine, Event, FetchError};
use crate::wire::object::PayloadType;
use alloc::vec::Vec;

impl Engine {
    /// After a change: if no peer that was asked can still answer, more are asked; if there are none
    /// left, the fetch has ended.
    pub(super) fn settle(&mut self, now: Instant, handle: Handle) {
        let Some(fetch) = self.fetches.by_handle.get(&handle) else {
            return;
        };
        let is_waiting = fetch.asked.values().any(|asked| !asked.is_done);
        let has_asked = !fetch.asked.is_empty();
        // No peer to ask at all: one may come before the deadline.
        if !is_waiting
            && self.ask_more(now, handle, FETCH_FANOUT) == 0
            && has_asked
            && !self.waits_for_trial(now, handle)
        {
            return self.fail(handle, FetchError::NotFound);
        }
        self.fetches.reschedule(handle);
    }

    /// Lets a fetch that has nothing else to wait for wait for the silent peer that was tried, once: it
    /// may be back, and the only one that has the object.
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

    /// Asks again where no answer came, and ends what has waited for too long.
    pub(in crate::wire::engine) fn advance_fetches(&mut self, now: Instant) {
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

    fn retry(&mut self, now: Instant, handle: Handle) {
        let Some(fetch) = self.fetches.by_handle.get_mut(&handle) else {
            return;
        };
        let mut again = Vec::new();
        let mut late = Vec::new();
        let mut namers = Vec::new();
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
            namers.extend(asked.namer.filter(|_| asked.tries < MAX_FETCH_TRIES));
            // A list answer that does not come may be too large to travel: atom by atom then.
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
            namers.extend(fetch.take_namers(&key));
        }
        let wanted = fetch.wanted;
        // The time of the first peer is lost: several take its place.
        let more = if fetch.asked.len() == 1 {
            FETCH_FANOUT
        } else {
            1
        };
        for (key, asked) in again {
            let retry_at = now + self.patience(&key, asked.tries);
            if let Some(fetch) = self.fetches.by_handle.get_mut(&handle)
                && let Some(asked) = fetch.asked.get_mut(&key)
            {
                asked.retry_at = retry_at;
            }
            self.request(now, key, asked.address, None, wanted, asked.kind);
        }
        for namer in namers {
            self.ask_namer_again(now, handle, &namer);
        }
        self.ask_more(now, handle, more);
        // Records may all be dead, and many: near peers are asked beside the providers.
        let fetch = self.fetches.by_handle.get(&handle);
        if fetch.is_some_and(|fetch| 2 * fetch.named() > fetch.asked.len()) {
            self.ask_nearest(now, handle, 1);
        }
        if is_trial_over {
            return self.settle(now, handle);
        }
        self.fetches.reschedule(handle);
    }
}
