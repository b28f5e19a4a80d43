//! Lists that are fetched by stream, and the places for requests on a connection.
//!
//! A connection has [`MAX_REQUESTS`] places, for lists or for the requests of other threads. A request
//! that finds none free waits until another request of the connection ends: the limit is that of
//! this node, so it is not a failure of the peer. A list that waits continues by datagrams, since the
//! event loop learns only with its place that the stream is ready.

use super::connection::{Connection, Role, Usage};
use super::open_requests::{List, Place};
use super::service::Service;
use super::writer::{Job, Part};
use crate::net::command::StreamEvent;
use astreum_core::atom::LinkedAtoms;
use astreum_core::crypto::PublicKey;
use astreum_core::engine::ListId;
use astreum_core::stream::MAX_REQUESTS;
use astreum_core::wire::handshake::StreamOffer;
use core::net::SocketAddr;

/// Maximum number of lists that are fetched by stream at once; others continue by datagrams.
const MAX_LISTS: usize = 8;

impl Service {
    /// Finds or opens the connection for a list; returns `false` if there is none.
    pub(super) fn open(
        &mut self,
        list: ListId,
        peer: PublicKey,
        address: SocketAddr,
        offer: &StreamOffer,
    ) -> bool {
        if let Some(given_up) = self.lists.get(&list).map(|it| it.peer) {
            self.cancel(list, &given_up);
        }
        if self.lists.len() >= MAX_LISTS {
            return false;
        }
        let Some((token, is_open)) = self.connection_to(peer, Usage::Lists, address, offer) else {
            return false;
        };
        let place = Place::Waiting;
        self.lists.insert(list, List { peer, token, place });
        if is_open {
            self.fill_places(token);
        }
        true
    }

    /// Returns the list that is requested on a connection by a number.
    pub(super) fn list_of(&self, token: usize, number: u32) -> Option<ListId> {
        let mut lists = self.lists.iter();
        let list = lists.find(|(_, it)| it.token == token && it.number() == Some(number));
        list.map(|(list, _)| *list)
    }

    /// Returns whether a connection is not read because too much of what it brings is in memory.
    pub(super) fn is_held_up(&self, token: usize, connection: &Connection) -> bool {
        connection.is_full() && self.has_open(token)
    }

    /// Returns whether a connection has lists or requests, sent or not.
    pub(super) fn has_any(&self, token: usize) -> bool {
        let mut lists = self.lists.values();
        lists.any(|it| it.token == token) || self.requests.0.values().any(|it| it.token == token)
    }

    /// Returns whether a connection has requests that were sent and have not ended.
    pub(super) fn has_open(&self, token: usize) -> bool {
        let mut lists = self.lists.values().filter(|it| it.token == token);
        let mut requests = self.requests.0.values().filter(|it| it.token == token);
        lists.any(|it| it.number().is_some()) || requests.any(|it| it.number.is_some())
    }

    /// Gives the free places of a connection to what waits for them, if it is open.
    pub(super) fn fill_places(&mut self, token: usize) {
        if let Some(mut connection) = self.connections.remove(&token) {
            self.fill_places_of(token, &mut connection);
            self.connections.insert(token, connection);
        }
    }

    /// Like [`Self::fill_places`], for a connection that is taken out.
    pub(super) fn fill_places_of(&mut self, token: usize, connection: &mut Connection) {
        if !connection.channel.is_open() {
            return;
        }
        self.write_requests(token, connection);
        let Role::Client { client, .. } = &connection.role else {
            return;
        };
        let lists = self.lists.values().filter(|it| it.token == token);
        let reserved = lists.filter(|it| it.place == Place::Reserved).count();
        let free = MAX_REQUESTS.saturating_sub(client.open_requests() + reserved);
        let waiting = self.lists.iter_mut();
        let waiting = waiting.filter(|(_, it)| it.token == token && it.place == Place::Waiting);
        let mut ready = Vec::new();
        for (list, known) in waiting.take(free) {
            known.place = Place::Reserved;
            ready.push((*list, known.peer));
        }
        for (list, peer) in ready {
            self.report(StreamEvent::Ready { list, peer });
        }
    }

    /// Requests the rest of a list, for which a place is reserved.
    pub(super) fn begin(&mut self, list: ListId, peer: PublicKey, atoms: &LinkedAtoms) {
        let next = atoms.next();
        let accounts = self.accounts(peer, Usage::Lists);
        self.writer.push(Job::Store(Part {
            list,
            peer,
            atoms: atoms.with_ids().map(|(id, it)| (id, it.clone())).collect(),
            next,
            counts: false,
            share: accounts.share(atoms.with_ids().map(|(_, atom)| atom)),
        }));
        let begun = self.lists.get_mut(&list).and_then(|known| {
            let connection = self.connections.get_mut(&known.token)?;
            let Role::Client { client, frames, .. } = &mut connection.role else {
                return None;
            };
            connection.has_more = true;
            known.place = Place::Open(client.request_list(next, frames)?);
            Some(())
        });
        if begun.is_none() {
            self.cancel(list, &peer);
            self.writer.push(Job::Ended { list, peer });
        }
    }

    /// Forgets a list if it uses the stream of `peer`.
    pub(super) fn cancel(&mut self, list: ListId, peer: &PublicKey) {
        let list = self
            .lists
            .get(&list)
            .filter(|it| it.peer == *peer)
            .map(|_| list);
        if let Some(list) = list.and_then(|list| self.lists.remove(&list)) {
            self.cancel_on(list.token, list.number());
        }
    }

    /// Closes a request of a connection, if it was sent. Its place is free.
    pub(super) fn cancel_on(&mut self, token: usize, number: Option<u32>) {
        if let Some(connection) = self.connections.get_mut(&token)
            && let Role::Client { client, frames, .. } = &mut connection.role
            && let Some(number) = number
        {
            client.cancel(number, frames);
            connection.has_more = true;
        }
        self.fill_places(token);
    }

    pub(super) fn note_stored(&mut self, list: ListId, bytes: usize) {
        let known = self.lists.get(&list);
        let known = known.and_then(|known| Some((known.token, known.number()?)));
        self.renew_credit(known, bytes);
    }

    /// Grants the server of a request again what is no longer held.
    pub(super) fn renew_credit(&mut self, request: Option<(usize, u32)>, bytes: usize) {
        if let Some((token, number)) = request
            && let Some(connection) = self.connections.get_mut(&token)
            && let Role::Client { client, frames, .. } = &mut connection.role
        {
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            client.stored(number, bytes, frames);
            connection.has_more |= !frames.is_empty();
        }
    }
}
