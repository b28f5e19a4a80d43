//! Object requests: serving of objects, redirects, provider records.

use super::allowance::Destination;
use super::contact;
use super::contacts::GET_BYTES;
use super::egress::sealed_bytes;
use super::limits::WAITING_TIMEOUT;
use super::peers::WaitingPut;
use super::random::ProbeIds;
use super::reads::{self, LookUp, Object, ObjectSource, Part, Read, ReadDone};
use super::{DropReason, Engine, Sender, Source};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::message::Topic;
use crate::wire::object::{
    Action, Answer, FOUND_LENGTH_BYTES, PayloadType, Request, write_found_atom, write_found_list,
    write_response_head,
};
use crate::wire::packet::MAX_BYTES;
use core::net::SocketAddr;

/// Number of bytes in front of a response's data.
pub(super) const RESPONSE_HEAD_BYTES: usize = 1 + 32;

impl Engine {
    /// Handles an object request: serves a get, and stores or holds a put.
    pub(super) fn handle_request<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        sender: &Sender,
        content: &[u8],
        store: &S,
    ) -> Result<(), DropReason> {
        let source = &sender.source;
        let request = Request::decode(content).map_err(|_| DropReason::BadContent)?;
        match request.action {
            Action::Get(kind) => {
                let kind = kind.unwrap_or(PayloadType::ATOM);
                self.serve(now, source, request.atom_id, kind, store);
                Ok(())
            }
            Action::Put(_) if sender.is_unconfirmed => Err(DropReason::Unconfirmed),
            Action::Put(kind) => self.handle_put(now, source, request.atom_id, kind, request.data),
        }
    }

    /// Answers a request with the object, with a redirect, or with "not here". An object that is on
    /// a disk is read first.
    pub(super) fn serve<S: ObjectSource + ?Sized>(
        &mut self,
        now: Instant,
        source: &Source,
        id: AtomId,
        kind: PayloadType,
        store: &S,
    ) {
        let mut part = Part::new(id, kind);
        while let Some(wanted) = part.wanted() {
            match store.look_up(&wanted) {
                LookUp::Found(atom) => part.take(atom),
                LookUp::Missing => part.end(),
                LookUp::Failed => {
                    self.out.drop(DropReason::StoreFailed);
                    part.end();
                }
                LookUp::OnDisk => return self.read(now, source, id, kind, part),
            }
        }
        self.answer(now, source, id, kind, &part.into_object());
    }

    /// Queues a read of the rest of an object for a validated peer. Reads cost more than anything
    /// else that a packet of 100 bytes can cause, so an address that may be forged gets none.
    fn read(&mut self, now: Instant, source: &Source, id: AtomId, kind: PayloadType, part: Part) {
        let peer = self.peers.get(&source.key);
        if !source.is_validated && peer.is_none_or(|peer| peer.may_be_asked_at(&source.address)) {
            return self.wait_for_validation(now, source, id, kind);
        }
        let request = reads::Request::new(now, *source, id, kind, part);
        let added = self.objects.reads.add(request);
        self.out.drop_if(added);
    }

    /// Returns the next read for the host to run. At most
    /// [`MAX_CONCURRENT_READS`](super::limits::MAX_CONCURRENT_READS) are out at a time.
    pub fn poll_read(&mut self, now: Instant) -> Option<Read> {
        let Self {
            objects,
            peers,
            out,
            ..
        } = self;
        let is_known = |key: &PublicKey| peers.get(key).is_some();
        let read = objects
            .reads
            .poll(now, is_known, |reason| out.drop(reason))?;
        out.stats.disk_reads += 1;
        Some(read)
    }

    /// Handles the result of a read; sends the object to the peer that requested it once it is
    /// complete.
    pub fn handle_read(&mut self, now: Instant, done: ReadDone) {
        if done.has_failed() {
            self.out.drop(DropReason::StoreFailed);
        }
        let Some((request, object)) = self.objects.reads.done(now, done) else {
            return;
        };
        let reads::Request {
            mut source,
            id,
            kind,
            ..
        } = request;
        // The peer may have moved in the meantime.
        let peer = self.peers.get(&source.key);
        source.is_validated &= peer.is_some_and(|peer| peer.is_validated_at(&source.address));
        self.answer(now, &source, id, kind, &object);
    }

    /// Returns the number of requests that wait for reads.
    #[must_use]
    pub const fn pending_reads(&self) -> usize {
        self.objects.reads.len()
    }

    /// Sends an object, or redirects if it is missing. An answer that exceeds the amplification
    /// limit waits for address validation.
    fn answer(
        &mut self,
        now: Instant,
        source: &Source,
        id: AtomId,
        kind: PayloadType,
        object: &Object,
    ) {
        let len = match object {
            Object::Missing => return self.redirect(now, source, id, kind),
            Object::Atom(atom) => 1 + atom.stored_len(),
            Object::List(atoms) => {
                let each = atoms
                    .iter()
                    .map(|atom| FOUND_LENGTH_BYTES + atom.stored_len());
                1 + each.sum::<usize>()
            }
        };
        let len = RESPONSE_HEAD_BYTES + len;
        if sealed_bytes(len) > MAX_BYTES {
            self.out.drop(DropReason::TooLarge);
            return;
        }
        let sent = self.send(now, source, Topic::ObjectResponse, len, |out| {
            write_response_head(out, Answer::Found, &id);
            match object {
                Object::Atom(atom) => write_found_atom(out, atom),
                Object::List(atoms) => {
                    // Each is far below the 4 GiB that a length can express.
                    let _ = write_found_list(out, atoms);
                }
                Object::Missing => {}
            }
        });
        if sent {
            self.out.stats.objects_served += 1;
        } else {
            self.wait_for_validation(now, source, id, kind);
        }
    }

    /// Keeps a request until the address of its sender is validated.
    fn wait_for_validation(
        &mut self,
        now: Instant,
        source: &Source,
        id: AtomId,
        kind: PayloadType,
    ) {
        if let Some(peer) = self.peers.get_mut(&source.key) {
            let waits = peer.wait(now, id, kind);
            self.out.drop_if(waits);
        }
    }

    /// Redirects to a provider of an object that is not here, or to a peer strictly nearer to it
    /// than we are. Otherwise answers "not here", with the address at which we observe the asker; a
    /// reference node ignores this kind of answer.
    fn redirect(&mut self, now: Instant, source: &Source, id: AtomId, kind: PayloadType) {
        // A probe: a plain "not here" identifies us to its sender as a node of this implementation.
        let is_probe = ProbeIds::may_be_of(&source.key, &id);
        let named = if is_probe {
            None
        } else {
            self.objects.redirect(now, &self.peers, (source, id, kind))
        };
        match named {
            Some((key, address)) => {
                let contact = contact::encode(key, address);
                self.respond(now, source, id, Answer::Provider, &contact);
            }
            None => {
                let seen = contact::encode_seen(source.address);
                self.respond(now, source, id, Answer::Nearest, &seen);
            }
        }
    }

    fn respond(&mut self, now: Instant, to: &Source, id: AtomId, answer: Answer, data: &[u8]) {
        let len = RESPONSE_HEAD_BYTES + data.len();
        let sent = self.send(now, to, Topic::ObjectResponse, len, |out| {
            write_response_head(out, answer, &id);
            out.extend_from_slice(data);
        });
        if !sent {
            self.out.drop(DropReason::NotValidated);
        }
    }

    /// Stores the provider record of a validated peer; the record of another peer waits until its
    /// address is validated.
    fn handle_put(
        &mut self,
        now: Instant,
        source: &Source,
        id: AtomId,
        kind: PayloadType,
        data: &[u8],
    ) -> Result<(), DropReason> {
        let (key, address) = contact::decode(data).ok_or(DropReason::BadContent)?;
        if id.is_zero()
            || !self
                .contacts
                .is_referral_allowed(source.address.ip(), address)
        {
            return Err(DropReason::BadContent);
        }
        let put = WaitingPut {
            id,
            kind,
            key,
            address,
            deadline: now + WAITING_TIMEOUT,
        };
        if source.is_validated {
            return self.take_put(now, source, &put);
        }
        let peer = self.peers.get_mut(&source.key);
        let peer = peer.ok_or(DropReason::NotValidated)?;
        peer.hold_put(now, put)
    }

    /// Stores a provider record, and forwards it to the peer nearest to the id if that is nearer
    /// than we are.
    pub(super) fn take_put(
        &mut self,
        now: Instant,
        source: &Source,
        put: &WaitingPut,
    ) -> Result<(), DropReason> {
        // The put may have come from another address than the validated one.
        let referrer = source.address.ip();
        if !self.contacts.is_referral_allowed(referrer, put.address) {
            return Err(DropReason::BadContent);
        }
        if put.key == self.me {
            // Our own advertisement came back.
            return Ok(());
        }
        let lifetime = self.config.provider_lifetime;
        let nearer = self
            .objects
            .put(now, &self.peers, (source, put), lifetime)?;
        if let Some(nearer) = nearer {
            self.send_put(now, &nearer, put.id, put.kind, put.key, put.address);
        }
        Ok(())
    }

    /// Sends a provider record to a validated peer; returns `false` if the peer is not validated or
    /// cannot use the address.
    pub(super) fn send_put(
        &mut self,
        now: Instant,
        to: &PublicKey,
        id: AtomId,
        kind: PayloadType,
        key: PublicKey,
        address: SocketAddr,
    ) -> bool {
        let Some(peer) = self.peers.get(to).filter(|peer| peer.is_validated) else {
            return false;
        };
        let takes_ipv6 = peer.address.is_ipv6() && peer.takes_ipv6;
        if address.is_ipv6() && !takes_ipv6 {
            return false;
        }
        let to = Destination::validated(*to, peer.address);
        let bytes = contact::encode(key, address);
        let request = Request {
            action: Action::Put(kind),
            atom_id: id,
            data: &bytes,
        };
        let len = GET_BYTES + bytes.len();
        self.send(now, to, Topic::ObjectRequest, len, |out| {
            request.write(out);
        })
    }
}
