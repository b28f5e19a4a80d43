//! Requests of other threads: headers, transactions and lists from one peer.
//!
//! Objects that the chain thread requests are kept in memory at once, whatever the disk does, and it
//! learns the progress; another caller receives the atoms, and stores them itself; the engine holds
//! them until its fetch is complete. A request of the first two has credit again only for the bytes
//! that its receiver no longer holds, one of the engine for those that its fetch has room for.

use super::connection::{Connection, Role, Usage};
use super::open_requests::Request;
use super::service::Service;
use super::writer::stored_bytes;
use crate::net::command::StreamEvent;
use crate::net::stream_memory::{Accounts, StreamedAtoms};
use crate::net::stream_request::{Receiver, RequestEnd, StreamAnswer, StreamPart};
use astreum_core::atom::HashedAtom;
use astreum_core::consensus::{Input, StreamObject, StreamRequest};
use astreum_core::stream::MAX_REQUESTS;
use astreum_core::wire::handshake::StreamOffer;
use core::net::SocketAddr;

impl Service {
    /// Sends a request as soon as the connection is open and has a place.
    pub(super) fn request(
        &mut self,
        request: StreamRequest,
        address: SocketAddr,
        offer: &StreamOffer,
        receiver: Receiver,
    ) {
        let StreamRequest {
            number,
            from: peer,
            object,
        } = request;
        let Some((token, is_open)) = self.connection_to(peer, Usage::Requests, address, offer)
        else {
            self.finish(number, RequestEnd::Failed, receiver);
            return;
        };
        self.requests.0.insert(
            number,
            Request {
                token,
                number: None,
                object,
                receiver,
            },
        );
        if is_open {
            self.fill_places(token);
        }
    }

    /// Sends the requests that wait for a connection, which is open, as far as there are places.
    pub(super) fn write_requests(&mut self, token: usize, connection: &mut Connection) {
        let Role::Client { client, frames, .. } = &mut connection.role else {
            return;
        };
        let mut refused = Vec::new();
        let waiting = self.requests.0.iter_mut();
        let waiting = waiting.filter(|(_, it)| it.token == token && it.number.is_none());
        for (number, request) in waiting {
            if client.open_requests() >= MAX_REQUESTS {
                break;
            }
            connection.has_more = true;
            request.number = match &request.object {
                StreamObject::Headers { id, count } => client.request_headers(*id, *count, frames),
                StreamObject::Bodies { lists } => client.request_bodies(lists, frames),
                StreamObject::Lists { lists, most } => client.request_lists(lists, *most, frames),
            };
            if request.number.is_none() {
                refused.push(*number);
            }
        }
        for number in refused {
            if let Some(request) = self.requests.0.remove(&number) {
                self.finish(number, RequestEnd::Failed, request.receiver);
            }
        }
    }

    fn finish(&self, number: u64, end: RequestEnd, receiver: Receiver) {
        match receiver {
            // What it has brought is kept.
            Receiver::Chain(inbox) => inbox.answer(Input::StreamEnded {
                number,
                is_complete: end == RequestEnd::Complete,
            }),
            Receiver::Caller(sender) => {
                let part = StreamPart::End(end);
                // The caller may have gone.
                let _ = sender.send(StreamAnswer { number, part });
            }
            Receiver::Engine { list, peer } => self.report(StreamEvent::Ended { list, peer }),
        }
    }

    pub(super) fn cancel_request(&mut self, number: u64) {
        if let Some(request) = self.requests.0.remove(&number) {
            self.cancel_on(request.token, request.number);
        }
    }

    /// Passes on what has arrived of a request, by its place. Returns the stored bytes that are
    /// no longer held.
    pub(super) fn read_requested(
        &mut self,
        (token, on_connection): (usize, u32),
        accounts: &Accounts,
        atoms: Vec<HashedAtom>,
        end: Option<RequestEnd>,
    ) -> usize {
        let mut requests = self.requests.0.iter();
        let known = requests.find(|(_, it)| it.token == token && it.number == Some(on_connection));
        let Some((number, receiver)) = known.map(|(number, it)| (*number, it.receiver.clone()))
        else {
            return 0;
        };
        let mut kept = 0;
        if !atoms.is_empty() {
            match receiver.clone() {
                Receiver::Chain(inbox) => {
                    kept = stored_bytes(atoms.iter().map(HashedAtom::atom));
                    for atom in &atoms {
                        // An atom that does not fit is fetched by datagram.
                        let _ = self.environment.store.keep(atom.id(), atom.atom().clone());
                    }
                    inbox.answer(Input::StreamProgress { number });
                }
                Receiver::Caller(sender) => {
                    let part = StreamPart::Atoms(StreamedAtoms::new(atoms, accounts));
                    let _ = sender.send(StreamAnswer { number, part });
                }
                Receiver::Engine { list, peer } => self.report(StreamEvent::Arrived {
                    number,
                    list,
                    peer,
                    atoms: StreamedAtoms::new(atoms, accounts),
                }),
            }
        }
        if let Some(end) = end {
            self.requests.0.remove(&number);
            self.finish(number, end, receiver);
        }
        kept
    }

    /// Ends the requests of a connection that was lost; returns whether there were any.
    pub(super) fn end_requests_of(&mut self, token: usize) -> bool {
        let requests = self.requests.0.iter().filter(|(_, it)| it.token == token);
        let requests: Vec<u64> = requests.map(|(number, _)| *number).collect();
        for number in &requests {
            if let Some(request) = self.requests.0.remove(number) {
                self.finish(*number, RequestEnd::Failed, request.receiver);
            }
        }
        !requests.is_empty()
    }
}
