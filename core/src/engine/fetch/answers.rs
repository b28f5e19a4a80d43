//! Handling of responses to requests of fetches.

use super::Handle;
use super::candidates::Candidate;
use crate::crypto::PublicKey;
use crate::engine::egress::sealed_bytes;
use crate::engine::limits::{MAX_FETCH_HOPS, MAX_FETCH_TRIES};
use crate::engine::objects::RESPONSE_HEAD_BYTES;
use crate::engine::reads::ObjectSource;
use crate::engine::request::Redirect;
use crate::engine::{DropReason, Engine, FetchError, Sender, Source, contact};
use crate::time::Instant;
use crate::wire::object::{Answer, Found, FoundError, PayloadType, Response};
use alloc::vec::Vec;

impl Engine {
    /// Handles a response that answers a probe or a request of a fetch.
    ///
    /// # Errors
    /// Fails if the response is unsolicited or malformed, or contains another object.
    pub(in crate::engine) fn handle_response<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        sender: &Sender,
        content: &[u8],
        store: &S,
    ) -> Result<(), DropReason> {
        let source = &sender.source;
        let response = Response::decode(content).map_err(|_| DropReason::BadContent)?;
        let id = response.atom_id;
        if self.take_probe_response(now, sender, &response, store) {
            self.note_seen(now, source, &response);
            return Ok(());
        }
        let mut handles = self.fetches.wanting(&id);
        handles.retain(|handle| {
            let fetch = self.fetches.by_handle.get(handle);
            fetch.is_some_and(|fetch| fetch.asked.contains_key(&source.key))
        });
        let Some(first) = handles.first() else {
            return Err(DropReason::Unsolicited);
        };
        let fetch = self.fetches.by_handle.get(first);
        let asked = fetch.and_then(|fetch| fetch.asked.get(&source.key));
        if let Some(asked) = asked
            && asked.tries == 1
            && !asked.is_done
        {
            self.note_round_trip(&source.key, now.since(asked.asked_at));
        }
        let taken = match response.answer {
            Answer::Found => match Found::decode(&id, response.data) {
                Ok(found) => {
                    self.peers.note_answered(&source.key);
                    for handle in &handles {
                        self.take_found(now, *handle, source, &found);
                    }
                    return Ok(());
                }
                Err(FoundError::OtherAtom { .. }) => Err(DropReason::WrongObject),
                Err(_) => Err(DropReason::BadContent),
            },
            Answer::Provider => self.follow_redirect(now, &handles, source, response.data),
            Answer::Nearest => Ok(()),
        };
        // Nonsense is no answer: a peer that sends it stays as silent as it was.
        let is_nonsense = matches!(taken, Err(DropReason::WrongObject | DropReason::BadContent));
        if !is_nonsense {
            self.peers.note_answered(&source.key);
        }
        self.note_seen(now, source, &response);
        for handle in handles {
            let fetch = self.fetches.by_handle.get_mut(&handle);
            let asked = fetch.and_then(|fetch| fetch.asked.get_mut(&source.key));
            let referrer = asked.and_then(|asked| {
                asked.is_done = true;
                asked.is_trial = false;
                asked.referrer
            });
            if response.answer == Answer::Nearest {
                let fetch = self.fetches.by_handle.get_mut(&handle);
                let others = fetch.map(|fetch| fetch.take_referrers(&source.key));
                for referrer in referrer.into_iter().chain(others.into_iter().flatten()) {
                    self.ask_referrer_again(now, handle, &referrer);
                }
            }
            self.continue_fetch(now, handle);
        }
        taken
    }

    /// Records the address at which the sender of a response observes us, if it contains one.
    fn note_seen(&mut self, now: Instant, source: &Source, response: &Response<'_>) {
        let seen = match response.answer {
            Answer::Found => None,
            Answer::Nearest => contact::decode_seen(response.data),
            Answer::Provider => contact::decode(response.data)
                .filter(|(key, _)| *key == self.me)
                .map(|(_, address)| address),
        };
        if let Some(seen) = seen {
            self.note_own_address(now, source, seen);
        }
    }

    /// Asks the peer that a redirect names, for each of the fetches that the redirect answers.
    fn follow_redirect(
        &mut self,
        now: Instant,
        handles: &[Handle],
        source: &Source,
        data: &[u8],
    ) -> Result<(), DropReason> {
        let (key, address) = contact::decode(data).ok_or(DropReason::BadContent)?;
        let redirect = Redirect {
            key,
            address,
            bytes: sealed_bytes(RESPONSE_HEAD_BYTES + data.len()),
            is_first: !self.is_contacted(now, &address),
        };
        if !redirect.is_first {
            self.credit_referred_address(now, source, &redirect);
        }
        let mut refused = Vec::new();
        for handle in handles {
            let fetch = self.fetches.by_handle.get(handle);
            let Some(hops) = fetch
                .and_then(|fetch| fetch.asked.get(&source.key))
                .map(|by| by.hops)
            else {
                continue;
            };
            let hops = hops.saturating_add(1);
            let named = Candidate::named(key, address, source.key, hops);
            // A redirect that names us or exceeds the hop limit is not a record.
            let is_known = key == self.me
                || hops > MAX_FETCH_HOPS
                || fetch.is_some_and(|fetch| fetch.asked.contains_key(&key));
            if is_known {
                self.try_other_address(now, *handle, &redirect, &source.key);
                if self.is_late(*handle, &key) {
                    refused.push(*handle);
                } else if let Some(fetch) = self.fetches.by_handle.get_mut(handle)
                    && fetch.asked.contains_key(&key)
                {
                    fetch.name_again(key, source.key);
                }
            }
            if !self.ask(now, *handle, &named) && !is_known {
                refused.push(*handle);
            }
        }
        if redirect.is_first {
            self.credit_referred_address(now, source, &redirect);
        }
        for handle in refused {
            // The named peer cannot be asked now; the referrer may name another.
            let fetch = self.fetches.by_handle.get_mut(&handle);
            if let Some(asked) = fetch.and_then(|fetch| fetch.asked.get_mut(&source.key)) {
                asked.is_done = true;
            }
            self.ask_referrer_again(now, handle, &source.key);
        }
        Ok(())
    }

    /// Returns whether a peer that was asked has not answered in time.
    fn is_late(&self, handle: Handle, key: &PublicKey) -> bool {
        let fetch = self.fetches.by_handle.get(&handle);
        let asked = fetch.and_then(|fetch| fetch.asked.get(key));
        asked.is_some_and(|asked| !asked.is_done && asked.tries > 1)
    }

    /// Asks a peer that has not answered at the address in a redirect, if that is another one.
    fn try_other_address(
        &mut self,
        now: Instant,
        handle: Handle,
        redirect: &Redirect,
        referrer: &PublicKey,
    ) {
        let Redirect { key, address, .. } = *redirect;
        let is_validated = self.peers.get(&key).is_some_and(|peer| peer.is_validated);
        let Some(fetch) = self.fetches.by_handle.get_mut(&handle) else {
            return;
        };
        let wanted = fetch.wanted;
        let asked = fetch.asked.get_mut(&key);
        let asked = asked.filter(|asked| {
            !is_validated
                && !asked.is_done
                && asked.address != address
                && asked.tries < MAX_FETCH_TRIES
        });
        let Some(asked) = asked else {
            return;
        };
        asked.address = address;
        asked.tries += 1;
        let kind = asked.kind;
        self.request(now, key, address, Some(referrer), wanted, kind);
    }

    /// Adds received atoms to a fetch, and finishes the fetch or requests the rest.
    fn take_found(&mut self, now: Instant, handle: Handle, source: &Source, found: &Found) {
        let Some(fetch) = self.fetches.by_handle.get_mut(&handle) else {
            return;
        };
        let mut next = fetch.wanted;
        for (index, atom) in found.atoms().iter().enumerate() {
            // The first atom has been checked; further ones count as far as the links lead.
            if index > 0 && atom.id() != next {
                break;
            }
            fetch.bytes = fetch.bytes.saturating_add(atom.stored_len());
            fetch.atoms.push(atom.clone());
            next = atom.next();
            if fetch.kind == PayloadType::ATOM || next.is_zero() {
                return self.finish(handle, Some(source.key));
            }
            if fetch.atoms.len() >= fetch.limit.atoms || fetch.bytes > fetch.limit.bytes {
                if fetch.is_part {
                    return self.finish(handle, Some(source.key));
                }
                return self.fail(handle, FetchError::TooLarge);
            }
        }
        // The peer may have been late for a list, and was asked for an atom in the meantime.
        let asked_as = fetch.asked.get(&source.key).map(|asked| asked.kind);
        let kind = match found {
            Found::List(_) => PayloadType::LIST,
            Found::Atom(_) => asked_as.unwrap_or(fetch.kind),
        };
        self.fetches.by_wanted.remove(&(fetch.wanted, handle));
        self.fetches.by_wanted.insert((next, handle));
        fetch.wanted = next;
        fetch.asked.clear();
        fetch.deadline = (now + self.config.fetch_timeout).min(fetch.end());
        self.request_rest(now, handle, (source, kind));
    }

    /// Asks the peer that has just sent a part of a list for the rest.
    fn request_rest(
        &mut self,
        now: Instant,
        handle: Handle,
        (source, kind): (&Source, PayloadType),
    ) {
        let key: PublicKey = source.key;
        let serving = Candidate::serving(key, source.address);
        self.ask_as(now, handle, &serving, kind);
        self.continue_fetch(now, handle);
    }
}
