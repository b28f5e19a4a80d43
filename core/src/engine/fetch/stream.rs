//! Long lists whose rest arrives by stream, and objects that do not arrive by datagram.
//!
//! The host opens a stream while the list still continues by datagrams, and takes the list over when
//! the stream is ready. It stores what the stream delivers, and reports the progress: the engine
//! holds no atom of such a stream. A stream that ends early, or makes no progress for as long as a
//! fetch may, gives the list back, and it continues by datagrams behind the last atom that was stored.
//! While atoms wait for the host to store them, the stream is not silent, however long the host takes.
//!
//! A peer that does not answer a request in time may have answered with more bytes than fit into a
//! packet, on a path that drops fragments. So its stream is wanted as well, before any atom has
//! arrived. Unless the host may store the object, the engine holds what that stream delivers, within
//! the limits of the fetch, as if it had arrived by datagram.

use super::candidates::Candidate;
use super::{Fetch, FetchRequest, Fetches, Handle};
use crate::atom::{AtomId, HashedAtom, LinkedAtoms};
use crate::crypto::PublicKey;
use crate::engine::limits::{MAX_FETCH_STREAMS, STREAM_AFTER_BYTES, STREAM_START_TIMEOUT};
use crate::engine::{Engine, Event, FetchError, ListId, Source, StreamedObject};
use crate::time::Instant;
use crate::wire::handshake::StreamOffer;
use crate::wire::object::{Found, PayloadType};
use core::mem;
use core::net::SocketAddr;
use core::time::Duration;

/// State of a list with respect to streams.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Stream that is wanted or used.
    current: Option<Current>,
    /// Peers whose streams were wanted.
    tried: heapless::Vec<PublicKey, MAX_FETCH_STREAMS>,
    /// Number of atoms that the host has taken over.
    atoms: usize,
    /// Number of stored bytes of these.
    bytes: usize,
}

#[derive(Debug)]
struct Current {
    peer: PublicKey,
    /// Time since which it is wanted.
    since: Instant,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The host opens it.
    Wanted,
    /// The host requests a list of which nothing has arrived. Other peers may still answer: one that
    /// is late does not take the list over before its stream delivers.
    Begun,
    /// It delivers the list.
    Active,
}

impl Stream {
    /// Returns whether the host has taken over the beginning of the list.
    pub(super) const fn has_delivered(&self) -> bool {
        self.atoms > 0
    }

    /// Returns whether a stream is wanted or used, and has not ended.
    pub(super) const fn is_wanted(&self) -> bool {
        self.current.is_some()
    }

    fn phase(&self) -> Option<Phase> {
        self.current.as_ref().map(|current| current.phase)
    }

    fn set_phase(&mut self, phase: Phase) {
        if let Some(current) = &mut self.current {
            current.phase = phase;
        }
    }

    /// Returns whether a stream delivers the list at present.
    pub(super) fn is_active(&self) -> bool {
        self.phase() == Some(Phase::Active)
    }

    /// Returns the time from which a stream that has not delivered anything gives way to that of
    /// another peer; `None` if there is no such stream.
    pub(super) fn yields_at(&self) -> Option<Instant> {
        let waits = self.current.as_ref().filter(|_| !self.is_active());
        waits.map(|current| current.since + STREAM_START_TIMEOUT)
    }

    /// Returns whether the stream of another peer may be wanted.
    fn is_free(&self, now: Instant) -> bool {
        self.current.is_none() || self.yields_at().is_some_and(|until| until <= now)
    }

    /// Notes that the stream of a peer is wanted; returns `false` if there is a stream already, or
    /// this peer or too many others were tried.
    fn want(&mut self, now: Instant, peer: PublicKey) -> bool {
        let may = self.is_free(now) && !self.tried.contains(&peer);
        let is_wanted = may && self.tried.push(peer).is_ok();
        if is_wanted {
            self.current = Some(Current {
                peer,
                since: now,
                phase: Phase::Wanted,
            });
        }
        is_wanted
    }

    /// Forgets that the stream of a peer was tried, which has delivered nothing.
    fn leave(&mut self, peer: &PublicKey) {
        self.current = None;
        self.tried.retain(|tried| tried != peer);
    }
}

impl Fetch {
    /// Returns the number of atoms that have arrived.
    pub(super) fn atoms_in_all(&self) -> usize {
        self.stream.atoms.saturating_add(self.atoms.len())
    }

    /// Returns the number of stored bytes that are held.
    pub(super) const fn bytes_by_datagram(&self) -> usize {
        self.bytes.saturating_sub(self.stream.bytes)
    }

    /// Returns what is to be requested by stream.
    fn streamed_object(&self) -> StreamedObject {
        let FetchRequest { kind, extent, .. } = self.request;
        if self.request.may_stream {
            return StreamedObject::Stored;
        }
        let most = match kind {
            PayloadType::ATOM => 1,
            _ => extent.limit().atoms.saturating_sub(self.atoms.len()),
        };
        StreamedObject::Held {
            id: self.wanted,
            most: u32::try_from(most).unwrap_or(u32::MAX).max(1),
        }
    }

    /// Returns whether the stream of a late peer has not been tried.
    pub(super) fn has_late(&self) -> bool {
        self.asked.values().any(|asked| asked.is_late)
    }

    /// Removes and returns the peer that has been late for longest among those whose streams have
    /// not been tried.
    fn take_late(&mut self) -> Option<PublicKey> {
        let late = self.asked.iter_mut().filter(|(_, asked)| asked.is_late);
        let (key, asked) = late.min_by_key(|(_, asked)| asked.asked_at)?;
        asked.is_late = false;
        Some(*key)
    }

    /// Lets the fetch wait for progress.
    fn extend(&mut self, now: Instant, timeout: Duration) {
        self.deadline = (now + timeout).min(self.end());
    }
}

impl Fetches {
    /// Returns the fetch of a list for which the stream of `peer` is wanted or used.
    fn streaming(&mut self, list: ListId, peer: &PublicKey) -> Option<&mut Fetch> {
        let fetch = self.by_handle.get_mut(&list.0)?;
        let current = fetch.stream.current.as_ref();
        current.is_some_and(|it| it.peer == *peer).then_some(fetch)
    }

    /// Lets a list continue by its stream alone.
    fn leave_to_stream(&mut self, list: ListId) {
        if let Some(fetch) = self.by_handle.get_mut(&list.0) {
            fetch.stream.set_phase(Phase::Active);
            fetch.asked.clear();
            self.by_wanted.remove(&(fetch.wanted, list.0));
            self.reschedule(list.0);
        }
    }
}

impl Engine {
    /// Reports that a list can continue by the stream of the peer that has just served a part of it,
    /// if the caller permits it, enough has arrived, and the peer accepts streams.
    pub(super) fn offer_stream(&mut self, now: Instant, handle: Handle, source: &Source) {
        let fetch = self.fetches.by_handle.get(&handle);
        let is_long = fetch
            .is_some_and(|fetch| fetch.request.may_stream && fetch.bytes >= STREAM_AFTER_BYTES);
        if is_long && source.is_validated {
            self.want_stream(now, handle, &source.key, source.address);
        }
    }

    /// Reports that an object is wanted by the stream of a peer that has not answered a request for
    /// it in time, if such a peer accepts streams and has not been tried, and no other stream may
    /// still deliver the object soon.
    pub(super) fn want_stream_of_late(&mut self, now: Instant, handle: Handle) {
        loop {
            let fetch = self.fetches.by_handle.get_mut(&handle);
            let free = fetch.filter(|fetch| fetch.stream.is_free(now));
            let Some(late) = free.and_then(Fetch::take_late) else {
                return;
            };
            let known = self.peers.get(&late);
            if let Some(address) = known.map(|known| known.address)
                && self.want_stream(now, handle, &late, address)
            {
                return;
            }
        }
    }

    /// Reports that an object is wanted by the stream of a peer; returns `false` if that has no
    /// offer, or was tried, or another stream may deliver the object.
    fn want_stream(
        &mut self,
        now: Instant,
        handle: Handle,
        peer: &PublicKey,
        address: SocketAddr,
    ) -> bool {
        let Some(offer) = self.stream_offer(peer) else {
            return false;
        };
        let fetch = self.fetches.by_handle.get_mut(&handle);
        let Some(fetch) = fetch.filter(|fetch| !fetch.wanted.is_zero()) else {
            return false;
        };
        if !fetch.stream.want(now, *peer) {
            return false;
        }
        let object = fetch.streamed_object();
        self.out.report(Event::StreamWanted {
            list: ListId(handle),
            peer: *peer,
            address: SocketAddr::new(address.ip(), offer.port),
            offer,
            object,
        });
        true
    }

    /// Returns the offer of a validated peer to accept streams.
    fn stream_offer(&self, peer: &PublicKey) -> Option<StreamOffer> {
        let known = self.peers.get(peer).filter(|known| known.is_validated);
        known?.block_exchange.content.stream
    }

    /// Notes that the host requests objects from a peer by stream. Such a peer is kept as those of
    /// the routing table are, and so keeps us, which it requires to accept our streams.
    pub fn note_stream_use(&mut self, now: Instant, peer: &PublicKey) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.streamed_at = Some(now);
        }
    }

    /// Takes a list over for the stream of `peer`, which is ready: the list no longer continues by
    /// datagrams; if nothing has arrived yet, only once the stream delivers. Returns the atoms that
    /// have arrived, which the host has to store; the stream continues at [`LinkedAtoms::next`]. Returns
    /// `None` if the list has ended or is no longer wanted from `peer`.
    pub fn begin_stream(
        &mut self,
        now: Instant,
        list: ListId,
        peer: &PublicKey,
    ) -> Option<LinkedAtoms> {
        let timeout = self.config.fetch_timeout;
        self.note_stream_use(now, peer);
        let fetch = self.fetches.streaming(list, peer)?;
        if fetch.stream.phase() != Some(Phase::Wanted) {
            return None;
        }
        if fetch.bytes == 0 {
            fetch.stream.set_phase(Phase::Begun);
            return Some(LinkedAtoms::new(fetch.atoms.next()));
        }
        let rest = LinkedAtoms::new(fetch.atoms.next());
        let atoms = mem::replace(&mut fetch.atoms, rest);
        fetch.stream.atoms = fetch.stream.atoms.saturating_add(atoms.len());
        fetch.stream.bytes = fetch.bytes;
        fetch.extend(now, timeout);
        self.fetches.leave_to_stream(list);
        Some(atoms)
    }

    /// Notes that the host has stored further atoms of a list from the stream of `peer`: `atoms` of
    /// them, with `bytes` stored bytes, up to the one in front of `next`, or to the end of the list
    /// if that is zero. Ends the fetch if it is complete. Returns whether the stream is to continue.
    pub fn note_stream_progress(
        &mut self,
        now: Instant,
        list: ListId,
        peer: &PublicKey,
        (next, atoms, bytes): (AtomId, usize, usize),
    ) -> bool {
        let timeout = self.config.fetch_timeout;
        self.note_stream_use(now, peer);
        let Some(fetch) = self.fetches.streaming(list, peer) else {
            return false;
        };
        match fetch.stream.phase() {
            Some(Phase::Active) => {}
            Some(Phase::Begun) if fetch.bytes == 0 => self.fetches.leave_to_stream(list),
            Some(Phase::Begun) => {
                // Datagrams were faster. The peer may be asked for the rest by stream.
                fetch.stream.leave(peer);
                return false;
            }
            Some(Phase::Wanted) | None => return false,
        }
        self.peers.note_answered(peer);
        let Some(fetch) = self.fetches.streaming(list, peer) else {
            return false;
        };
        fetch.stream.atoms = fetch.stream.atoms.saturating_add(atoms);
        fetch.stream.bytes = fetch.stream.bytes.saturating_add(bytes);
        fetch.bytes = fetch.bytes.saturating_add(bytes);
        fetch.atoms = LinkedAtoms::new(next);
        fetch.wanted = next;
        let is_too_long = fetch.atoms_in_all() >= fetch.request.extent.limit().atoms;
        if next.is_zero() {
            self.fetches.finish(list.0, Some(*peer), &mut self.out);
            return false;
        }
        if is_too_long {
            let error = FetchError::TooLarge;
            self.fetches.fail(list.0, error, &mut self.out);
            return false;
        }
        fetch.extend(now, timeout);
        self.fetches.reschedule(list.0);
        true
    }

    /// Adds verified atoms that the stream of `peer` has delivered for an object that the engine
    /// holds, in their order. Atoms that have arrived by datagram meanwhile are skipped. Ends the
    /// fetch if it is complete, or exceeds its limits. Returns whether the stream is to continue.
    pub fn take_streamed(
        &mut self,
        now: Instant,
        list: ListId,
        peer: &PublicKey,
        atoms: &[HashedAtom],
    ) -> bool {
        let timeout = self.config.fetch_timeout;
        self.note_stream_use(now, peer);
        let Some(fetch) = self.fetches.streaming(list, peer) else {
            return false;
        };
        if fetch.request.may_stream {
            return false;
        }
        let next = fetch.atoms.next();
        let fresh = atoms.iter().skip_while(|atom| atom.id() != next);
        let found = Found::List(fresh.cloned().collect());
        if found.atoms().is_empty() {
            return true;
        }
        self.peers.note_answered(peer);
        let (fetches, out) = (&mut self.fetches, &mut self.out);
        let rest = fetches.take_found(now, list.0, peer, (&found, timeout), out);
        if rest.is_none() {
            return false;
        }
        // Datagrams continue if it ends or stalls.
        self.fetches.leave_to_stream(list);
        true
    }

    /// Notes that atoms of a list have arrived by the stream of `peer`, and that the host has not
    /// stored them: the list waits for the host, and not for the peer.
    pub fn note_stream_waiting(&mut self, now: Instant, list: ListId, peer: &PublicKey) {
        let timeout = self.config.fetch_timeout;
        let fetch = self.fetches.streaming(list, peer);
        if let Some(fetch) = fetch.filter(|it| it.stream.phase() != Some(Phase::Wanted)) {
            fetch.extend(now, timeout);
            self.fetches.reschedule(list.0);
        }
    }

    /// Notes that the stream of `peer` has ended, or could not be opened: the list continues by
    /// datagrams, from the same peer first.
    pub fn end_stream(&mut self, now: Instant, list: ListId, peer: &PublicKey) {
        let Some(fetch) = self.fetches.streaming(list, peer) else {
            return;
        };
        let was_active = fetch.stream.is_active();
        fetch.stream.current = None;
        if !was_active {
            // Another may deliver the object; it may have been the last.
            self.want_stream_of_late(now, list.0);
            return self.continue_fetch(now, list.0);
        }
        fetch.wanted = fetch.atoms.next();
        let wanted = fetch.wanted;
        fetch.extend(now, self.config.fetch_timeout);
        self.fetches.by_wanted.insert((wanted, list.0));
        let address = self.peers.get(peer).map(|peer| peer.address);
        if let Some(address) = address {
            let serving = Candidate::serving(*peer, address);
            self.ask_as(now, list.0, &serving, PayloadType::LIST);
        }
        self.continue_fetch(now, list.0);
    }

    /// Returns a list whose stream has made no progress in time to datagrams. Returns `false` if the
    /// fetch has no stream, or its time is over.
    pub(super) fn resume_stalled(&mut self, now: Instant, handle: Handle) -> bool {
        let fetch = self.fetches.by_handle.get(&handle);
        let stalled = fetch.filter(|fetch| fetch.stream.is_active() && fetch.end() > now);
        let current = stalled.and_then(|fetch| fetch.stream.current.as_ref());
        let Some(peer) = current.map(|current| current.peer) else {
            return false;
        };
        self.end_stream(now, ListId(handle), &peer);
        true
    }
}
