//! Progress of fetches: retries, further candidates, and the end.

use super::{AskedPeer, Fetch, Fetches, Handle};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::engine::limits::{FETCH_FANOUT, FETCH_RETRY, MAX_FETCH_TRIES};
use crate::engine::output::Output;
use crate::engine::peers::Peers;
use crate::engine::{Engine, Event, FetchError};
use crate::time::Instant;
use crate::wire::object::PayloadType;
use alloc::vec::Vec;

/// Peers that a fetch asks again because others were not answered in time.
struct Retry {
    wanted: AtomId,
    /// Peers that are asked again.
    again: Vec<(PublicKey, AskedPeer)>,
    /// Referrers of late peers.
    referrers: Vec<PublicKey>,
    /// Number of further peers to ask.
    more: usize,
    /// `true` if the silent peer that was tried has not answered.
    is_trial_over: bool,
}

impl Fetches {
    /// Returns whether a fetch waits for a peer or a stream, and whether it has asked any peer;
    /// `None` if it is not under way.
    fn waits(&self, handle: Handle) -> Option<(bool, bool)> {
        let fetch = self.by_handle.get(&handle)?;
        let is_waiting = fetch.asked.values().any(|asked| !asked.is_done);
        let is_waiting = is_waiting || fetch.stream.is_wanted();
        Some((is_waiting, !fetch.asked.is_empty()))
    }

    /// Lets a fetch that waits for no other peer wait for the silent peer that was tried, once:
    /// that peer may be back, and the only one that has the object.
    fn waits_for_trial(&mut self, handle: Handle) -> bool {
        let fetch = self.by_handle.get_mut(&handle);
        let mut asked = fetch.into_iter().flat_map(|fetch| fetch.asked.values_mut());
        let Some(tried) = asked.find(|asked| asked.is_trial) else {
            return false;
        };
        tried.is_done = false;
        true
    }

    /// Ends a fetch with success, and reports its atoms to all callers.
    pub(super) fn finish(&mut self, handle: Handle, from: Option<PublicKey>, out: &mut Output) {
        let Some(Fetch {
            request,
            waiters,
            atoms,
            stream,
            ..
        }) = self.remove(handle)
        else {
            return;
        };
        for fetch in waiters {
            let (id, kind, atoms) = (request.id, request.kind, atoms.clone());
            out.report(if stream.has_delivered() {
                let rest = atoms;
                Event::Streamed { fetch, id, rest }
            } else {
                Event::Fetched {
                    fetch,
                    id,
                    kind,
                    atoms,
                    from,
                }
            });
        }
    }

    /// Ends a fetch with an error. A fetch of a part succeeds instead if any atoms have arrived.
    pub(super) fn fail(&mut self, handle: Handle, error: FetchError, out: &mut Output) {
        let fetch = self.by_handle.get(&handle);
        if fetch.is_some_and(|it| it.request.extent.is_part() && !it.atoms.is_empty()) {
            return self.finish(handle, None, out);
        }
        let Some(Fetch {
            request,
            waiters,
            atoms,
            ..
        }) = self.remove(handle)
        else {
            return;
        };
        for fetch in waiters {
            out.report(Event::FetchFailed {
                fetch,
                id: request.id,
                atoms: atoms.clone(),
                error,
            });
        }
    }

    /// Returns the next fetch whose timer is due, and whether its deadline has passed.
    fn next_due(&mut self, now: Instant) -> Option<(Handle, bool)> {
        while let Some(&(due, handle)) = self.timers.first()
            && due <= now
        {
            if let Some(fetch) = self.by_handle.get(&handle) {
                return Some((handle, fetch.deadline <= now));
            }
            self.timers.pop_first();
        }
        None
    }

    /// Marks the peers that have not answered a fetch in time, and returns what to ask instead.
    fn begin_retry(&mut self, now: Instant, handle: Handle, peers: &mut Peers) -> Option<Retry> {
        let fetch = self.by_handle.get_mut(&handle)?;
        let mut again = Vec::new();
        let mut late = Vec::new();
        let mut referrers = Vec::new();
        let mut is_trial_over = false;
        let mut is_any_late = false;
        for (key, asked) in &mut fetch.asked {
            if asked.is_done || asked.retry_at > now {
                continue;
            }
            peers.note_unanswered(key);
            (asked.is_late, is_any_late) = (true, true);
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
        let more = match fetch.asked.len() {
            // Only another stream is due.
            _ if !is_any_late => 0,
            // The time spent on the first peer is lost: several take its place.
            1 => FETCH_FANOUT,
            _ => 1,
        };
        Some(Retry {
            wanted: fetch.wanted,
            again,
            referrers,
            more,
            is_trial_over,
        })
    }

    /// Returns whether most peers that a fetch has asked were named by referrers.
    fn has_mostly_named(&self, handle: Handle) -> bool {
        let fetch = self.by_handle.get(&handle);
        fetch.is_some_and(|fetch| 2 * fetch.named() > fetch.asked.len())
    }
}

impl Engine {
    /// Continues a fetch after a change: asks more peers if none that was asked can still answer,
    /// and ends the fetch if there are no more.
    pub(super) fn continue_fetch(&mut self, now: Instant, handle: Handle) {
        let Some((is_waiting, has_asked)) = self.fetches.waits(handle) else {
            return;
        };
        // If no peer could be asked at all, one may appear before the deadline.
        if !is_waiting
            && self.ask_more(now, handle, FETCH_FANOUT) == 0
            && has_asked
            && !self.fetches.waits_for_trial(handle)
        {
            let error = FetchError::NotFound;
            return self.fetches.fail(handle, error, &mut self.out);
        }
        self.fetches.reschedule(handle);
    }

    /// Repeats unanswered requests, and ends fetches whose deadline has passed.
    pub(in crate::engine) fn advance_fetches(&mut self, now: Instant) {
        while let Some((handle, is_over)) = self.fetches.next_due(now) {
            if is_over && self.resume_stalled(now, handle) {
                continue;
            }
            if is_over {
                let error = FetchError::Timeout;
                self.fetches.fail(handle, error, &mut self.out);
            } else {
                self.retry(now, handle);
            }
        }
    }

    /// Repeats the requests of a fetch that were not answered in time, asks the referrers of late
    /// peers for others, and asks further candidates.
    fn retry(&mut self, now: Instant, handle: Handle) {
        let Some(retry) = self.fetches.begin_retry(now, handle, &mut self.peers) else {
            return;
        };
        for (key, asked) in retry.again {
            let retry_at = now + self.peers.response_timeout(&key, asked.tries);
            if let Some(asked) = self.fetches.asked_mut(handle, &key) {
                asked.retry_at = retry_at;
            }
            self.request(now, key, asked.address, None, retry.wanted, asked.kind);
        }
        self.want_stream_of_late(now, handle);
        for referrer in retry.referrers {
            self.ask_referrer_again(now, handle, &referrer);
        }
        self.ask_more(now, handle, retry.more);
        // Records may all be dead, and many: near peers are asked in addition to the providers.
        if retry.more > 0 && self.fetches.has_mostly_named(handle) {
            self.ask_nearest(now, handle, 1);
        }
        if retry.is_trial_over {
            return self.continue_fetch(now, handle);
        }
        self.fetches.reschedule(handle);
    }
}
