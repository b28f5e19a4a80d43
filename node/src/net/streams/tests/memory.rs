//! Tests of the limits of connections and memory.

use super::slow_disk::Delays;
use super::slow_storage::request_list;
use super::*;
use crate::net::{RequestEnd, StreamAnswer, StreamPart};
use std::time::Instant;

/// Least memory that the configuration allows, in all and for a peer.
const LEAST: u64 = 16 << 20;
/// What one read may add when an account is almost full: the buffer of received bytes and the rest of
/// a frame.
const OF_ONE_READ: u64 = 600_000;

fn least(config: &mut Config) {
    config.stream_memory_limit = Some(LEAST);
    config.stream_peer_memory_limit = LEAST;
}

/// Stores a list of 24 MB at a server with the least memory.
fn server_with_list() -> (Alone, AtomId, Vec<Atom>) {
    let values = (0..6_000_u32).map(|n| [&n.to_be_bytes()[..], &[7; 3_900]].concat());
    let (head, atoms) = bytes_list(&values.collect::<Vec<_>>());
    let store = Store::new(64 << 20);
    for atom in &atoms {
        store.keep(atom.id(), atom.clone()).unwrap();
    }
    (Alone::limited(1, store, least), head, atoms)
}

#[test]
fn list_arrives_within_the_least_memory_through_a_slow_disk() {
    let (server, head, atoms) = server_with_list();
    let delays = Arc::<Delays>::default();
    let (store, _folder) = delays.store();
    delays.sync.store(300, Ordering::Relaxed);
    let client = Alone::limited(2, store.clone(), least);
    client.open(&server);
    client.begin(head);
    let (mut most, until) = (0, Instant::now() + WAIT * 3);
    let mut is_complete = false;
    while !is_complete {
        assert!(Instant::now() < until, "the list does not end");
        most = most.max(client.streams.status().memory_bytes);
        match client.commands.recv_timeout(Duration::from_millis(1)) {
            Ok(Command::Stream(StreamEvent::Progress { progress, .. })) => {
                is_complete = progress.0.is_zero();
            }
            Err(_) | Ok(Command::Stream(StreamEvent::Waiting { .. })) => {}
            _ => panic!("the list is given back"),
        }
    }
    let limit = limits_of(least).list_bytes as u64;
    assert!(
        (limit / 2..limit + OF_ONE_READ).contains(&most),
        "{most} of {limit}"
    );
    assert_eq!(collect_list(&store, head, 9_999), Ok(atoms));
    assert_eq!(client.streams.status().memory_bytes, 0);
}

fn limits_of(configure: impl FnOnce(&mut Config)) -> limits::Limits {
    let mut config = Config::default();
    configure(&mut config);
    limits::Limits::new(&config.resolve().unwrap())
}

/// Waits until the number of received bytes no longer changes, and returns it.
fn settled(client: &Alone) -> u64 {
    let received = || client.streams.status().received_bytes;
    let mut last = (received(), Instant::now());
    while last.1.elapsed() < Duration::from_millis(700) {
        if received() != last.0 {
            last = (received(), Instant::now());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    last.0
}

#[test]
fn requests_arrive_within_the_least_memory_though_their_receiver_is_slow() {
    let (server, head, atoms) = server_with_list();
    let client = Alone::limited(2, Store::new(64 << 20), least);
    let (sender, answers) = channel();
    for number in 0..3 {
        request_list(&client, &server, (number, head, u32::MAX), &sender);
    }
    server.admit(&client);
    let limits = limits_of(least);
    let limit = limits.request_bytes.min(limits.peer_bytes) as u64;
    // The credit of three requests would allow 24 MiB.
    let received = settled(&client);
    assert!(
        (limit / 2..limit + OF_ONE_READ).contains(&received),
        "{received} of {limit}"
    );
    let (mut arrived, mut ends, mut most) = ([0; 3], 0, 0);
    while ends < 3 {
        most = most.max(client.streams.status().memory_bytes);
        let StreamAnswer { number, part } = answers.recv_timeout(WAIT).unwrap();
        match part {
            StreamPart::Atoms(part) => {
                let bytes = part.iter().map(|it| it.atom().stored_len()).sum();
                arrived[usize::try_from(number).unwrap()] += part.len();
                client.streams.send(Control::Kept { number, bytes });
            }
            StreamPart::End(end) => {
                assert_eq!(end, RequestEnd::Complete);
                ends += 1;
            }
        }
    }
    assert_eq!(arrived, [atoms.len(); 3]);
    assert!(most < limit + OF_ONE_READ, "{most} of {limit}");
    assert_eq!(client.streams.status().memory_bytes, 0);
}

#[test]
fn limit_of_one_peer_holds_for_what_it_has_sent() {
    let (server, head, _) = server_with_list();
    let of_peer = |config: &mut Config| config.stream_peer_memory_limit = LEAST;
    let client = Alone::limited(2, Store::new(64 << 20), of_peer);
    let (sender, _answers) = channel();
    request_list(&client, &server, (1, head, u32::MAX), &sender);
    server.admit(&client);
    let limit = limits_of(of_peer).peer_bytes as u64;
    let received = settled(&client);
    assert!(limit < 7 << 20 && limits_of(of_peer).request_bytes > 100 << 20);
    assert!(
        (limit / 2..limit + OF_ONE_READ).contains(&received),
        "{received} of {limit}"
    );
}

#[test]
fn requests_do_not_wait_for_the_lists_of_the_same_peer() {
    let (server, head, atoms) = server_with_list();
    let delays = Arc::<Delays>::default();
    let (store, _folder) = delays.store();
    let client = Alone::limited(2, store, least);
    client.open(&server);
    delays.sync.store(5_000, Ordering::Relaxed);
    client.begin(head);
    let received = settled(&client);
    assert!(
        received < 12 << 20,
        "{received} bytes: the disk does not hold the list up"
    );
    let before = Instant::now();
    let (sender, answers) = channel();
    request_list(&client, &server, (1, head, 10), &sender);
    server.admit(&client);
    let answer = answers.recv_timeout(WAIT).unwrap();
    let elapsed = before.elapsed();
    assert!(matches!(&answer.part, StreamPart::Atoms(it) if it[0].id() == atoms[0].id()));
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    assert_eq!(client.streams.status().connections, 2);
}

#[test]
fn connections_are_limited_as_configured() {
    let limited = |all: u32, of_peer: u32| {
        Alone::limited(1, Store::new(1 << 20), |config| {
            config.stream_connections = all;
            config.stream_peer_connections = of_peer;
        })
    };
    for (server, places) in [(limited(64, 3), 3), (limited(2, 8), 2)] {
        let mut open: Vec<_> = (0..places).map(|_| server.connect()).collect();
        assert!(is_closed(server.connect()));
        for socket in &mut open {
            let silence = Some(Duration::from_millis(50));
            socket.set_read_timeout(silence).unwrap();
            let error = socket.read(&mut [0; 1]).unwrap_err();
            assert!(matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ));
        }
    }
}
