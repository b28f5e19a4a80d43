//! Tests of streams between two networks, and of the thread against silent and hostile peers.

mod client_limit;
mod memory;
mod shared_places;
mod slow_disk;
mod slow_storage;

use super::super::command::{Command, CommandSender, StreamEvent};
use super::super::{FetchFailure, FetchedObject, Network};
use super::*;
use crate::config::{Config, Settings};
use crate::runtime::inbox::{Taken, inbox};
use crate::store::cold::{ColdOptions, ColdStore};
use astreum_core::atom::{Atom, AtomId, bytes_list, collect_list};
use astreum_core::chain::Block;
use astreum_core::consensus::{Input, StreamObject};
use astreum_core::stream::Hello;
use astreum_core::testkit::header;
use core::net::Ipv4Addr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use tempfile::TempDir;

/// Time limit of any wait, longer than needed on a busy machine.
const WAIT: Duration = Duration::from_secs(20);

struct Node {
    network: Network,
    store: Store,
    _folder: Option<TempDir>,
}

impl Node {
    fn new(n: u8, configure: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = ColdOptions::from(&Settings::default());
        let cold = ColdStore::open(folder.path(), options).unwrap();
        let store = Store::with_cold(64 << 20, Some(cold));
        Self {
            _folder: Some(folder),
            ..Self::configured(n, store, configure)
        }
    }

    fn with_store(n: u8, store: Store) -> Self {
        Self::configured(n, store, |_| ())
    }

    fn configured(n: u8, store: Store, configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            incoming_port: 0,
            default_seed: None,
            atom_fetch_interval: Duration::from_secs(1),
            ..Config::default()
        };
        configure(&mut config);
        let network = Network::start(
            &config.resolve().unwrap(),
            SecretKey::from_bytes([n; 32]),
            [n; 32],
            store.clone(),
            &Failure::default(),
        );
        Self {
            network: network.unwrap(),
            store,
            _folder: None,
        }
    }

    fn meet(&self, other: &Self) {
        let there = SocketAddr::from((Ipv4Addr::LOCALHOST, other.network.port()));
        self.network.handle().contact(there).unwrap();
        // The blocks with the offers follow the validation.
        let knows = |one: &Self, other: &Self| {
            let peers = one.network.handle().peers().unwrap();
            let key = other.network.public_key();
            peers
                .iter()
                .any(|it| it.public_key == key && it.is_validated)
        };
        while !(knows(self, other) && knows(other, self)) {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(200));
    }

    fn streams(&self) -> StreamStatus {
        self.network.handle().status().unwrap().streams
    }

    fn packets_sent(&self) -> u64 {
        self.network.handle().status().unwrap().stats.sent
    }

    fn fetch(&self, head: AtomId) -> Result<FetchedObject, FetchFailure> {
        self.network.handle().fetch_list(head)
    }
}

/// A list of 8 MB, in the store of `node`.
fn list_at(node: &Node) -> (AtomId, Vec<Atom>) {
    filled_list_at(node, 7)
}

fn filled_list_at(node: &Node, fill: u8) -> (AtomId, Vec<Atom>) {
    let values: Vec<Vec<u8>> = (0..2_000u32)
        .map(|n| [&n.to_be_bytes()[..], &[fill; 3_896]].concat())
        .collect();
    let (head, atoms) = bytes_list(&values);
    for atom in &atoms {
        node.store.keep(atom.id(), atom.clone()).unwrap();
    }
    (head, atoms)
}

#[test]
fn limits_of_bandwidth_hold_at_both_ends() {
    for limits_server in [true, false] {
        let limit = 4_000_000_u64;
        let server = Node::new(1, |config| {
            config.stream_bandwidth = if limits_server { limit } else { 0 };
        });
        let client = Node::new(2, |config| {
            config.stream_peer_bandwidth = if limits_server { 0 } else { limit };
        });
        client.meet(&server);
        let (head, _) = list_at(&server);
        let started = std::time::Instant::now();
        assert_eq!(client.fetch(head), Ok(FetchedObject::Stored));
        let took = started.elapsed();
        // Datagrams bring the rest, until the stream is ready.
        let streamed = client.streams().received_bytes;
        assert!(streamed > limit, "{streamed} bytes by stream");
        // A quarter of a second's bytes may pass at once.
        let least = Duration::from_micros((streamed - limit / 4) * 1_000_000 / limit);
        assert!(took > least, "{took:?} for {streamed} bytes by stream");
    }
}

#[test]
fn long_list_arrives_by_stream_in_cold_storage() {
    let (server, client) = (Node::new(1, |_| ()), Node::new(2, |_| ()));
    client.meet(&server);
    let (head, atoms) = list_at(&server);
    let packets = client.packets_sent();
    assert_eq!(client.fetch(head), Ok(FetchedObject::Stored));
    let last = atoms.last().unwrap().id();
    assert!(client.store.get_in_memory(&last).is_none());
    assert_eq!(collect_list(&client.store, head, 9_999), Ok(atoms.clone()));
    let bytes: usize = atoms.iter().map(Atom::stored_len).sum();
    let moved = client.streams().received_bytes;
    assert!(
        moved > bytes as u64 * 8 / 10,
        "{moved} of {bytes} by stream"
    );
    assert!(server.streams().sent_bytes > bytes as u64 * 8 / 10);
    let packets = client.packets_sent() - packets;
    assert!(packets < 500, "{packets} datagrams");
    // The connection is used again.
    let (head, _) = bytes_list(&vec![[9; 3_000]; 100]);
    assert!(client.fetch(head).is_err());
    let (head, atoms) = filled_list_at(&server, 8);
    assert_eq!(client.fetch(head), Ok(FetchedObject::Stored));
    assert_eq!(collect_list(&client.store, head, 9_999), Ok(atoms));
}

#[test]
fn list_arrives_by_stream_in_memory_without_cold_storage() {
    for (limit_bytes, is_complete) in [(64_u64 << 20, true), (1 << 20, false)] {
        let server = Node::new(1, |_| ());
        let client = Node::with_store(2, Store::new(limit_bytes));
        client.meet(&server);
        let (head, atoms) = list_at(&server);
        let bytes: usize = atoms.iter().map(Atom::stored_len).sum();
        assert!(bytes > 600_000, "{bytes}");
        let fetched = client.fetch(head);
        let moved = client.streams().received_bytes;
        if is_complete {
            assert_eq!(fetched, Ok(FetchedObject::Stored));
            assert_eq!(collect_list(&client.store, head, 9_999), Ok(atoms));
            assert!(
                moved > bytes as u64 * 8 / 10,
                "{moved} of {bytes} by stream"
            );
        } else {
            // The rest arrives by datagram, and what was in memory may be gone.
            assert!(moved > 0);
            let stats = client.store.hot_stats();
            assert!(stats.used_bytes <= stats.limit_bytes);
        }
    }
}

#[test]
fn list_arrives_by_datagram_if_either_side_has_no_streams_or_another_chain() {
    let off = |config: &mut Config| config.stream_port = Some(0);
    let other_chain = |config: &mut Config| config.chain_id = Some(9);
    let on = |_: &mut Config| ();
    let cases: [[fn(&mut Config); 2]; 3] = [[off, on], [on, off], [on, other_chain]];
    for [of_server, of_client] in cases {
        let (server, client) = (Node::new(1, of_server), Node::new(2, of_client));
        client.meet(&server);
        let (head, atoms) = list_at(&server);
        assert_eq!(client.fetch(head), Ok(FetchedObject::Atoms(atoms)));
        assert_eq!(client.streams().received_bytes, 0);
    }
}

#[test]
fn port_in_use_is_reported_and_not_fatal() {
    let taken = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let node = Node::new(1, |config| config.stream_port = Some(port));
    let StreamStatus {
        port: listening,
        failure,
        ..
    } = node.streams();
    assert_eq!(listening, None);
    let failure = failure.unwrap();
    assert!(failure.contains(&port.to_string()) && failure.contains("stream_port"));
}

/// Requests `count` headers from the block `id` down, and returns how the request has ended and the
/// number of parts.
fn request_headers(client: &Node, from: &Node, id: AtomId, count: u32) -> (bool, usize) {
    let (inbox, outlet) = inbox();
    let request = StreamRequest {
        number: 3,
        from: from.network.public_key(),
        object: StreamObject::Headers { id, count },
    };
    let handle = client.network.handle();
    handle.stream_for_chain(request, inbox).unwrap();
    let mut parts = 0;
    loop {
        match outlet.take(Some(WAIT)) {
            Taken::Input(Input::StreamProgress { number: 3 }) => parts += 1,
            Taken::Input(Input::StreamEnded {
                number: 3,
                is_complete,
            }) => return (is_complete, parts),
            _ => panic!("the request does not end"),
        }
    }
}

/// Stores 200 headers at a node, and returns their ids in ascending order.
fn headers_at(node: &Node) -> Vec<AtomId> {
    let mut ids = vec![AtomId::ZERO];
    for height in 0..200 {
        let previous = ids.last().copied().unwrap();
        let block = header(height, previous, 100 * height).signed(None);
        for (id, atom) in block.to_atoms() {
            node.store.keep(id, atom).unwrap();
        }
        ids.push(block.id());
    }
    ids.split_off(1)
}

#[test]
fn headers_for_the_chain_arrive_by_stream_in_memory() {
    let (server, client) = (Node::new(1, |_| ()), Node::new(2, |_| ()));
    client.meet(&server);
    let ids = headers_at(&server);
    let (is_complete, parts) = request_headers(&client, &server, ids[150], 100);
    assert!(is_complete && parts > 0);
    for id in &ids[51..=150] {
        assert!(Block::read(&client.store, *id).is_ok());
    }
    assert!(Block::read(&client.store, ids[50]).is_err());
    // There are only as many as the server has.
    let (is_complete, _) = request_headers(&client, &server, ids[199], 1_000);
    assert!(is_complete && Block::read(&client.store, ids[0]).is_ok());
    let unknown = AtomId::new([9; 32]);
    assert_eq!(request_headers(&client, &server, unknown, 5), (false, 0));
}

#[test]
fn request_of_the_chain_ends_at_once_without_a_stream() {
    let off = |config: &mut Config| config.stream_port = Some(0);
    for (of_server, of_client) in [(true, false), (false, true)] {
        let node = |n, is_off| {
            Node::new(n, |config| {
                if is_off {
                    off(config);
                }
            })
        };
        let (server, client) = (node(1, of_server), node(2, of_client));
        client.meet(&server);
        let ids = headers_at(&server);
        assert_eq!(request_headers(&client, &server, ids[9], 5), (false, 0));
    }
    // Nor does one end later whose peer has gone.
    let (server, client) = (Node::new(1, |_| ()), Node::new(2, |_| ()));
    client.meet(&server);
    let ids = headers_at(&server);
    assert!(request_headers(&client, &server, ids[9], 5).0);
    client.network.handle().cancel_stream(3).unwrap();
    let gone = Node::new(3, |_| ());
    assert_eq!(request_headers(&client, &gone, ids[9], 5), (false, 0));
}

/// The threads of streams, without an event loop.
struct Alone {
    streams: Streams,
    commands: Receiver<Command>,
    _poll: Poll,
}

impl Alone {
    fn new() -> Self {
        Self::with_store(1, Store::new(1 << 20))
    }

    fn with_store(n: u8, store: Store) -> Self {
        Self::limited(n, store, |_| ())
    }

    fn limited(n: u8, store: Store, configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        configure(&mut config);
        let limits = limits::Limits::new(&config.resolve().unwrap());
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let (queue, commands) = sync_channel(100);
        let environment = Environment {
            secret: SecretKey::from_bytes([n; 32]),
            chain_id: 7,
            store,
            sender: CommandSender::new(queue, waker, Arc::default()),
            clock: Clock::start(),
            limits,
        };
        let interface = Interface {
            use_ipv6: false,
            address: None,
        };
        let streams = Streams::start((0, interface), environment, &Failure::default()).unwrap();
        Self {
            streams,
            commands,
            _poll: poll,
        }
    }

    /// Opens the stream to `server`, which was created with 1, for a list.
    fn open(&self, server: &Self) {
        let offer = server.streams.offer();
        self.streams.send(Control::Open {
            list: some_list(),
            peer: SecretKey::from_bytes([1; 32]).public_key(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, offer.port)),
            offer,
        });
        server.admit(self);
        let event = self.commands.recv_timeout(WAIT);
        assert!(matches!(
            event,
            Ok(Command::Stream(StreamEvent::Ready { .. }))
        ));
    }

    /// Lets a client in that asks for it.
    fn admit(&self, client: &Self) {
        let event = self.commands.recv_timeout(WAIT);
        let Ok(Command::Stream(StreamEvent::Client { token, .. })) = event else {
            panic!("the event loop was not asked");
        };
        let key = Some(client.streams.offer().key);
        self.streams.send(Control::Client { token, key });
    }

    /// Begins the list for which a stream was opened.
    fn begin(&self, head: AtomId) {
        self.streams.send(Control::Begin {
            list: some_list(),
            peer: SecretKey::from_bytes([1; 32]).public_key(),
            atoms: LinkedAtoms::new(head),
        });
    }

    fn connect(&self) -> TcpStream {
        let to = (Ipv4Addr::LOCALHOST, self.streams.offer().port);
        let socket = TcpStream::connect(to).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        socket
    }
}

fn is_closed(mut socket: TcpStream) -> bool {
    match socket.read(&mut [0; 100]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// Wants a list from a peer, and expects it back.
fn is_given_back(alone: &Alone, number_of_try: u8, address: SocketAddr) -> bool {
    // Any list will do: the engine made this one.
    let list = some_list();
    let peer = PublicKey::new([9; 32]);
    let offer = StreamOffer {
        port: address.port(),
        key: SecretKey::from_bytes([number_of_try; 32]).public_key(),
    };
    alone.streams.send(Control::Open {
        list,
        peer,
        address,
        offer,
    });
    let command = alone.commands.recv_timeout(WAIT);
    matches!(command, Ok(Command::Stream(StreamEvent::Ended { list: it, .. })) if it == list)
}

fn some_list() -> ListId {
    ListId::FIRST
}

#[test]
fn silent_or_missing_listener_gives_the_list_back() {
    let alone = Alone::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    assert!(is_given_back(&alone, 1, address));
    let before = std::time::Instant::now();
    assert!(is_given_back(&alone, 2, address), "and is not tried again");
    assert!(before.elapsed() < Duration::from_secs(2));
    drop(silent);
    let alone = Alone::new();
    assert!(is_given_back(&alone, 1, address));
}

#[test]
fn unknown_clients_and_other_protocols_are_closed_without_an_answer() {
    let alone = Alone::new();
    let mut web = alone.connect();
    web.write_all(&[b'G'; 200]).unwrap();
    assert!(is_closed(web));
    let mut other_chain = alone.connect();
    let relay = PublicKey::new([5; 32]);
    let hello = Hello { chain_id: 8, relay };
    other_chain.write_all(&hello.encode()).unwrap();
    assert!(is_closed(other_chain));
    let mut stranger = alone.connect();
    let hello = Hello { chain_id: 7, relay };
    stranger.write_all(&hello.encode()).unwrap();
    let Ok(Command::Stream(StreamEvent::Client {
        token,
        relay: claimed,
        address,
    })) = alone.commands.recv_timeout(WAIT)
    else {
        panic!("the event loop was not asked");
    };
    assert!(claimed == relay && address == Ipv4Addr::LOCALHOST);
    alone.streams.send(Control::Client { token, key: None });
    assert!(is_closed(stranger));
}

#[test]
fn nothing_more_is_read_while_much_waits_to_be_stored() {
    let values = (0..1_200_u32).map(|n| [&n.to_be_bytes()[..], &[7; 60_000]].concat());
    let (head, atoms) = bytes_list(&values.collect::<Vec<_>>());
    let full = Store::new(256 << 20);
    for atom in &atoms {
        full.keep(atom.id(), atom.clone()).unwrap();
    }
    let server = Alone::with_store(1, full);
    let store = Store::new(512 << 20);
    let client = Alone::with_store(2, store.clone());
    client.open(&server);
    client.begin(head);
    // The command queue is not read, so the writer waits for room in it.
    let received = || client.streams.status().received_bytes;
    let mut before = (0, std::time::Instant::now());
    while before.1.elapsed() < Duration::from_secs(1) {
        if received() != before.0 {
            before = (received(), std::time::Instant::now());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // 100 commands for up to 128 KiB each, 16 MiB in the queue, and what was read at last; the
    // credit alone would allow 45 MB.
    assert!(
        (20_000_000..36_000_000).contains(&before.0),
        "{} bytes",
        before.0
    );
    loop {
        match client.commands.recv_timeout(WAIT) {
            Ok(Command::Stream(StreamEvent::Progress { progress, .. })) => {
                if progress.0.is_zero() {
                    break;
                }
            }
            Ok(Command::Stream(StreamEvent::Waiting { .. })) => {}
            _ => panic!("the list does not end"),
        }
    }
    assert_eq!(collect_list(&store, head, 9_999), Ok(atoms));
}

#[test]
fn connections_of_one_address_are_limited() {
    let alone = Alone::new();
    let open: Vec<_> = (0..9).map(|_| alone.connect()).collect();
    let mut sockets = open.into_iter();
    let last = sockets.next_back().unwrap();
    assert!(is_closed(last));
    drop(sockets);
    let closed = (0..100).find(|_| {
        let socket = alone.connect();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        is_closed(socket)
    });
    assert!(closed.is_some_and(|count| count < 32), "{closed:?}");
}

#[test]
fn progress_of_a_fetch_is_reported_while_its_caller_waits() {
    use crate::WaitLimit;
    use astreum_core::engine::FetchRequest;
    let node = Node::new(1, |_| {});
    let head = AtomId::new([7; 32]);
    let (mut reports, request) = (Vec::new(), FetchRequest::list(head));
    let limit = WaitLimit::NONE.within(Duration::from_millis(1_300));
    let fetched = limit.scope(|| {
        let handle = node.network.handle();
        handle.fetch_with_progress(request, &mut |progress| reports.push(progress))
    });
    assert_eq!(fetched, Err(FetchFailure::Abandoned));
    assert!((1..=2).contains(&reports.len()), "{reports:?}");
    assert!(reports.iter().all(|it| it.atoms == 0 && it.next == head));
}
