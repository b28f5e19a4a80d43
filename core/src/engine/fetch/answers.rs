//! Handling of responses to requests of fetches.

use super::candidates::Candidate;
use super::{FetchRequest, Fetches, Handle};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::engine::contacts::Redirect;
use crate::engine::egress::sealed_bytes;
use crate::engine::limits::{MAX_FETCH_HOPS, MAX_FETCH_TRIES};
use crate::engine::objects::RESPONSE_HEAD_BYTES;
use crate::engine::output::Output;
use crate::engine::reads::ObjectSource;
use crate::engine::{DropReason, Engine, FetchError, Sender, Source, contact};
use crate::time::Instant;
use crate::wire::object::{Answer, Found, FoundError, PayloadType, Response};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

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
        handles.retain(|handle| self.fetches.asked(*handle, &source.key).is_some());
        let Some(first) = handles.first() else {
            return Err(DropReason::Unsolicited);
        };
        if let Some(asked) = self.fetches.asked(*first, &source.key)
            && asked.tries == 1
            && !asked.is_done
        {
            self.peers
                .note_round_trip(&source.key, now.since(asked.asked_at));
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
            let referrer = self.fetches.note_negative(handle, &source.key);
            if response.answer == Answer::Nearest {
                for referrer in self.fetches.take_referrers(handle, &source.key, referrer) {
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
            is_first: !self.contacts.has(now, &address),
        };
        if !redirect.is_first {
            self.credit_referred_address(now, source, &redirect);
        }
        let mut refused = Vec::new();
        for handle in handles {
            let Some(by) = self.fetches.asked(*handle, &source.key) else {
                continue;
            };
            let hops = by.hops.saturating_add(1);
            let named = Candidate::named(key, address, source.key, hops);
            let is_asked = self.fetches.asked(*handle, &key).is_some();
            // A redirect that names us or exceeds the hop limit is not a record.
            let is_known = key == self.me || hops > MAX_FETCH_HOPS || is_asked;
            if is_known {
                self.try_other_address(now, *handle, &redirect, &source.key);
                if self.fetches.is_late(*handle, &key) {
                    refused.push(*handle);
                } else {
                    self.fetches.name_again(*handle, key, source.key);
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
            if let Some(asked) = self.fetches.asked_mut(handle, &source.key) {
                asked.is_done = true;
            }
            self.ask_referrer_again(now, handle, &source.key);
        }
        Ok(())
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
        if self.peers.is_validated(&key) {
            return;
        }
        if let Some((wanted, kind)) = self.fetches.move_to(handle, &key, address) {
            self.request(now, key, address, Some(referrer), wanted, kind);
        }
    }

    /// Adds received atoms to a fetch, and finishes the fetch or requests the rest from the peer
    /// that has just sent them.
    fn take_found(&mut self, now: Instant, handle: Handle, source: &Source, found: &Found) {
        let found = (found, self.config.fetch_timeout);
        let fetches = &mut self.fetches;
        let rest = fetches.take_found(now, handle, &source.key, found, &mut self.out);
        if let Some(kind) = rest {
            self.offer_stream(now, handle, source);
            let serving = Candidate::serving(source.key, source.address);
            self.ask_as(now, handle, &serving, kind);
            self.continue_fetch(now, handle);
        }
    }
}

impl Fetches {
    /// Records an answer without the object. Returns the referrer of the peer that sent it.
    fn note_negative(&mut self, handle: Handle, key: &PublicKey) -> Option<PublicKey> {
        let asked = self.asked_mut(handle, key)?;
        asked.is_done = true;
        (asked.is_trial, asked.is_late) = (false, false);
        asked.referrer
    }

    /// Returns the referrers of a peer: `first`, and those that named it again.
    fn take_referrers(
        &mut self,
        handle: Handle,
        key: &PublicKey,
        first: Option<PublicKey>,
    ) -> Vec<PublicKey> {
        let fetch = self.by_handle.get_mut(&handle);
        let others = fetch.map(|fetch| fetch.take_referrers(key));
        let others = others.into_iter().flatten();
        first.into_iter().chain(others).collect()
    }

    /// Returns whether a peer that was asked has not answered in time.
    fn is_late(&self, handle: Handle, key: &PublicKey) -> bool {
        let asked = self.asked(handle, key);
        asked.is_some_and(|asked| !asked.is_done && asked.tries > 1)
    }

    /// Records that a referrer names a peer, if that has been asked already.
    fn name_again(&mut self, handle: Handle, key: PublicKey, referrer: PublicKey) {
        if let Some(fetch) = self.by_handle.get_mut(&handle)
            && fetch.asked.contains_key(&key)
        {
            fetch.name_again(key, referrer);
        }
    }

    /// Records another address of a peer that has not answered. Returns what to ask it for there,
    /// or `None` if it has answered, is asked at this address, or was asked too often.
    fn move_to(
        &mut self,
        handle: Handle,
        key: &PublicKey,
        address: SocketAddr,
    ) -> Option<(AtomId, PayloadType)> {
        let fetch = self.by_handle.get_mut(&handle)?;
        let asked = fetch.asked.get_mut(key)?;
        if asked.is_done || asked.address == address || asked.tries >= MAX_FETCH_TRIES {
            return None;
        }
        asked.address = address;
        asked.tries += 1;
        Some((fetch.wanted, asked.kind))
    }

    /// Adds received atoms to a fetch, and ends it if it is complete or exceeds its limit.
    /// Otherwise returns the kind to request the rest as. `timeout` is the time that a fetch may go
    /// without progress.
    pub(super) fn take_found(
        &mut self,
        now: Instant,
        handle: Handle,
        from: &PublicKey,
        (found, timeout): (&Found, Duration),
        out: &mut Output,
    ) -> Option<PayloadType> {
        let fetch = self.by_handle.get_mut(&handle)?;
        let FetchRequest {
            kind: of_fetch,
            extent,
            ..
        } = fetch.request;
        let limit = extent.limit();
        for hashed in found.atoms() {
            // The first atom has been checked; further ones count as far as the links lead.
            if !fetch.atoms.push(hashed) {
                break;
            }
            fetch.bytes = fetch.bytes.saturating_add(hashed.atom().stored_len());
            if of_fetch == PayloadType::ATOM || fetch.atoms.next().is_zero() {
                self.finish(handle, Some(*from), out);
                return None;
            }
            if fetch.atoms_in_all() >= limit.atoms || fetch.bytes_by_datagram() > limit.bytes {
                if extent.is_part() {
                    self.finish(handle, Some(*from), out);
                } else {
                    self.fail(handle, FetchError::TooLarge, out);
                }
                return None;
            }
        }
        // The peer may have been late for a list, and was asked for an atom in the meantime.
        let asked_as = fetch.asked.get(from).map(|asked| asked.kind);
        let kind = match found {
            Found::List(_) => PayloadType::LIST,
            Found::Atom(_) => asked_as.unwrap_or(of_fetch),
        };
        let next = fetch.atoms.next();
        self.by_wanted.remove(&(fetch.wanted, handle));
        self.by_wanted.insert((next, handle));
        fetch.wanted = next;
        fetch.asked.clear();
        fetch.deadline = (now + timeout).min(fetch.end());
        Some(kind)
    }
}
