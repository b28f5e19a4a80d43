//! Lists that continue by stream, and objects that do not arrive by datagram: the decisions of the event
//! loop.

use super::EventLoop;
use crate::config::Settings;
use crate::failure::Failure;
use crate::log;
use crate::net::command::{FetchReply, FetchedObject, StreamEvent};
use crate::net::stream_request::{Receiver, RequestEnd, StreamAnswer, StreamPart};
use crate::net::stream_status::StreamStatus;
use crate::net::streams::{Control, Environment, Streams};
use astreum_core::atom::{AtomId, LinkedAtoms};
use astreum_core::consensus::{Input, StreamObject, StreamRequest};
use astreum_core::crypto::PublicKey;
use astreum_core::engine::{Event, FetchError, FetchId, ListId, StreamedObject};
use astreum_core::time::Instant;
use core::net::SocketAddr;
use std::io;

/// Starts the streams on their port, that of the datagrams by default. A failure is not fatal: lists
/// arrive by datagrams then.
pub(super) fn start(
    settings: &Settings,
    udp_port: u16,
    environment: &Environment,
    failure: &Failure,
) -> (Option<Streams>, Option<String>) {
    let port = settings.stream_port.unwrap_or(udp_port);
    if port == 0 {
        return (None, None);
    }
    let start = |port| Streams::start((port, settings.into()), environment.clone(), failure);
    // The system has picked the UDP port; the TCP port of the same number need not be free.
    let is_picked = settings.stream_port.is_none() && settings.incoming_port != udp_port;
    let started = match start(port) {
        Err(error) if is_picked && error.kind() == io::ErrorKind::AddrInUse => start(0),
        started => started,
    };
    match started {
        Ok(streams) => (Some(streams), None),
        Err(error) => {
            let failure = format!(
                "cannot accept streams on TCP port {port}: {error}; long lists move by datagrams. \
                 Set stream_port to another port, or to 0 to turn streams off"
            );
            log::warn!("{failure}");
            (None, Some(failure))
        }
    }
}

impl EventLoop {
    pub(super) fn handle_stream(&mut self, now: Instant, event: StreamEvent) {
        match event {
            StreamEvent::Ready { list, peer } => self.begin_stream(now, list, peer),
            StreamEvent::Ended { list, peer } => self.engine.end_stream(now, list, &peer),
            StreamEvent::Progress {
                list,
                peer,
                progress,
            } => {
                let should_continue = self.engine.note_stream_progress(now, list, &peer, progress);
                if !should_continue {
                    self.control_streams(Control::Cancel { list, peer });
                }
            }
            StreamEvent::Arrived {
                number,
                list,
                peer,
                atoms,
            } => {
                let bytes = atoms.iter().map(|it| it.atom().stored_len()).sum();
                let should_continue = self.engine.take_streamed(now, list, &peer, &atoms);
                drop(atoms);
                self.control_streams(match should_continue {
                    true => Control::Kept { number, bytes },
                    false => Control::CancelRequest { number },
                });
            }
            StreamEvent::Waiting { list, peer } => {
                self.engine.note_stream_waiting(now, list, &peer);
            }
            StreamEvent::Client {
                token,
                relay,
                address,
            } => {
                let info = self.engine.peer(&relay);
                let known = info.filter(|it| it.is_validated && it.address.ip() == address);
                let key = known.and_then(|it| it.stream).map(|offer| offer.key);
                self.control_streams(Control::Client { token, key });
            }
        }
    }

    /// Asks for the stream of a peer.
    pub(super) fn open_stream(&mut self, now: Instant, event: &Event) {
        let Event::StreamWanted {
            list,
            peer,
            address,
            offer,
            object,
        } = *event
        else {
            return;
        };
        if self.streams.is_none() {
            return self.engine.end_stream(now, list, &peer);
        }
        let control = match object {
            StreamedObject::Stored => Control::Open {
                list,
                peer,
                address,
                offer,
            },
            StreamedObject::Held { id, most } => {
                let number = self.next_request;
                self.next_request += 1;
                let object = StreamObject::Lists {
                    lists: vec![id],
                    most,
                };
                Control::Request {
                    request: StreamRequest {
                        number,
                        from: peer,
                        object,
                    },
                    address,
                    offer,
                    receiver: Receiver::Engine { list, peer },
                }
            }
        };
        self.control_streams(control);
    }

    fn begin_stream(&mut self, now: Instant, list: ListId, peer: PublicKey) {
        let begun = self.engine.begin_stream(now, list, &peer);
        self.control_streams(match begun {
            Some(atoms) => Control::Begin { list, peer, atoms },
            None => Control::Cancel { list, peer },
        });
    }

    /// Passes a request of another thread to the streams, or ends it if the peer has none.
    pub(super) fn request_by_stream(
        &mut self,
        now: Instant,
        request: StreamRequest,
        receiver: Receiver,
    ) {
        self.engine.note_stream_use(now, &request.from);
        let peer = self.engine.peer(&request.from).filter(|it| it.is_validated);
        let offer = peer.and_then(|it| Some((it.address.ip(), it.stream?)));
        let Some(((ip, offer), streams)) = offer.zip(self.streams.as_ref()) else {
            let number = request.number;
            match receiver {
                Receiver::Chain(inbox) => inbox.answer(Input::StreamEnded {
                    number,
                    is_complete: false,
                }),
                Receiver::Caller(sender) => {
                    let part = StreamPart::End(RequestEnd::Failed);
                    let _ = sender.send(StreamAnswer { number, part });
                }
                Receiver::Engine { list, peer } => self.engine.end_stream(now, list, &peer),
            }
            return;
        };
        streams.send(Control::Request {
            request,
            address: SocketAddr::new(ip, offer.port),
            offer,
            receiver,
        });
    }

    pub(super) fn control_streams(&self, control: Control) {
        if let Some(streams) = &self.streams {
            streams.send(control);
        }
    }

    /// Answers a fetch whose list has gone on by stream: it is in the store, once the rest is.
    pub(super) fn finish_streamed(&mut self, fetch: FetchId, id: AtomId, rest: &LinkedAtoms) {
        for (id, atom) in rest.with_ids() {
            let _ = self.store.keep(id, atom.clone());
        }
        match self.fetches.remove(&fetch) {
            Some(FetchReply::Caller { ticket, reply }) => {
                self.tickets.remove(&ticket);
                let _ = reply.send(Ok(FetchedObject::Stored));
            }
            Some(FetchReply::ChainSmall(inbox)) => {
                let outcome = Ok(());
                inbox.answer(Input::FetchedSmall { id, outcome });
            }
            // The beginning of a list is never requested by stream.
            Some(FetchReply::Chain(inbox)) => {
                let (outcome, from) = (Err(FetchError::NotFound), None);
                inbox.answer(Input::Fetched { id, outcome, from });
            }
            None | Some(FetchReply::None) => {}
        }
    }

    pub(in crate::net) fn stream_status(&self) -> StreamStatus {
        match &self.streams {
            Some(streams) => streams.status(),
            None => StreamStatus {
                failure: self.stream_failure.clone(),
                ..StreamStatus::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::net::command::CommandSender;
    use crate::net::streams::limits::Limits;
    use crate::store::Store;
    use astreum_core::crypto::SecretKey;
    use mio::{Poll, Token, Waker};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn port_that_nobody_has_configured_may_be_another() {
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(1)).unwrap());
        let environment = Environment {
            secret: SecretKey::from_bytes([1; 32]),
            chain_id: 7,
            store: Store::new(1 << 20),
            sender: CommandSender::new(sync_channel(1).0, waker, Arc::default()),
            clock: Clock::start(),
            limits: Limits::default(),
        };
        let started = |incoming_port, stream_port| {
            let config = Config {
                incoming_port,
                stream_port,
                ..Config::default()
            };
            let settings = config.resolve().unwrap();
            let (streams, failure) = start(&settings, port, &environment, &Failure::default());
            (streams.map(|it| it.offer().port), failure)
        };
        let (picked, failure) = started(0, None);
        assert!(failure.is_none() && picked.is_some_and(|it| it != port && it != 0));
        for (incoming_port, stream_port) in [(port, None), (0, Some(port))] {
            let (picked, failure) = started(incoming_port, stream_port);
            assert!(picked.is_none() && failure.is_some());
        }
        assert_eq!(started(0, Some(0)), (None, None));
    }
}
