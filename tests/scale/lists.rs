//! Long lists by stream, with their processor time, beside a plain copy over TCP in the same run.

use super::join::node;
use super::process::own_cpu_seconds;
use super::table::{Bar, Table};
use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_node::Node;
use astreum_node::config::Config;
use astreum_tests::testkit::link_proxy::{LinkProxy, SEEN_AT};
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

/// Size of the values of an atom, as in the lists that `put` makes.
const VALUE_BYTES: usize = 3_900;
/// Number of tries of each size; the best counts.
const TRIES: usize = 3;
const EACH_WAY: Duration = Duration::from_millis(25);

pub(crate) fn lists(large: bool, table: &mut Table) {
    let sizes: &[usize] = if large { &[1, 100, 1_000] } else { &[1, 8] };
    for megabytes in sizes {
        let Figures { rate, per_byte } = best(*megabytes, Duration::ZERO);
        let bar = (large && *megabytes == 100).then_some((Bar::AtLeast, 200.0));
        let name = format!("list of {megabytes} MB, loopback, verified, stored and read back");
        table.add(name, rate, "MB/s", bar);
        let name = format!("list of {megabytes} MB, loopback: processor time of both nodes");
        table.add(name, per_byte, "ns/byte", None);
    }
    let megabytes = if large { 100 } else { 4 };
    let rate = best(megabytes, EACH_WAY).rate;
    let name = format!("list of {megabytes} MB, round trip 50 ms");
    table.add(name.clone(), rate, "MB/s", None);
    let copies = (0..TRIES).map(|_| tcp_copy(megabytes, EACH_WAY));
    let copy = copies.fold(0.0, f64::max);
    let what = format!("plain TCP copy of {megabytes} MB, round trip 50 ms");
    table.add(what, copy, "MB/s", None);
    let bar = large.then_some((Bar::AtLeast, 80.0));
    table.add(
        format!("{name}: share of the copy"),
        100.0 * rate / copy,
        "%",
        bar,
    );
}

/// Figures of a fetch.
struct Figures {
    /// MB/s.
    rate: f64,
    /// Processor time of both nodes, user and system, in ns.
    per_byte: f64,
}

/// Returns the best of each figure.
fn best(megabytes: usize, each_way: Duration) -> Figures {
    let tries = (0..TRIES).map(|_| fetch(megabytes, each_way));
    let best = tries.reduce(|best, other| Figures {
        rate: best.rate.max(other.rate),
        per_byte: best.per_byte.min(other.per_byte),
    });
    best.unwrap()
}

/// Fetches a list between two nodes, both in this process.
fn fetch(megabytes: usize, each_way: Duration) -> Figures {
    let scratch = tempfile::tempdir().unwrap();
    let server = node(&scratch.path().join("server"), |config| config);
    let head = put_list(&server, megabytes);
    let client = node(&scratch.path().join("client"), |config| Config {
        atom_fetch_interval: Duration::from_secs(60),
        ..config
    });
    let ports = [server.port().unwrap(), client.port().unwrap()];
    let is_delayed = !each_way.is_zero();
    let _delay = is_delayed.then(|| LinkProxy::delaying(ports, each_way));
    let ip = if is_delayed {
        SEEN_AT
    } else {
        Ipv4Addr::LOCALHOST
    };
    client.contact(SocketAddr::from((ip, ports[0]))).unwrap();
    let key = server.public_key();
    let is_ready = || {
        let mut peers = client.peers().unwrap().into_iter();
        peers.any(|peer| peer.public_key == key && peer.is_validated)
    };
    while !is_ready() {
        thread::sleep(Duration::from_millis(5));
    }
    // The offer of the stream follows the validation.
    thread::sleep(Duration::from_millis(300) + 4 * each_way);
    let used = own_cpu_seconds();
    let started = Instant::now();
    // The list is read back, as a caller does.
    let list = client.get_atom_list(head).unwrap();
    let took = started.elapsed();
    let used = own_cpu_seconds() - used;
    let count = megabytes * 1_000_000 / VALUE_BYTES;
    assert_eq!(list.map(|atoms| atoms.len()), Some(count));
    let streamed = client.status().network.map(|it| it.streams.received_bytes);
    // Datagrams continue until the stream is ready.
    let least = (megabytes as u64 - 1) * 800_000;
    assert!(streamed >= Some(least), "{streamed:?}");
    let megabytes = megabytes as f64;
    Figures {
        rate: megabytes / took.as_secs_f64(),
        per_byte: 1_000.0 * used / megabytes,
    }
}

/// Stores a list of this size; returns its id.
fn put_list(node: &Node, megabytes: usize) -> AtomId {
    let count = megabytes * 1_000_000 / VALUE_BYTES;
    // From its end, in parts: an id depends on the next atom.
    let (mut next, mut part) = (AtomId::ZERO, Vec::new());
    for number in (0..count).rev() {
        let mut value = vec![7; VALUE_BYTES];
        value[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let atom = Atom::new(AtomKind::Bytes, value, next);
        next = atom.id();
        part.push((next, atom));
        if part.len() == 4_096 {
            node.store().put_all(core::mem::take(&mut part)).unwrap();
        }
    }
    node.store().put_all(part).unwrap();
    next
}

/// Copies bytes over TCP, through the proxy if there is a delay. Returns MB/s.
fn tcp_copy(megabytes: usize, each_way: Duration) -> f64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ports = [port, other.local_addr().unwrap().port()];
    let _delay = LinkProxy::delaying(ports, each_way);
    let sender = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        // The request.
        socket.read_exact(&mut [0]).unwrap();
        for _ in 0..megabytes {
            socket.write_all(&vec![7; 1_000_000]).unwrap();
        }
    });
    let mut socket = TcpStream::connect((SEEN_AT, port)).unwrap();
    // The connection exists, as that of the nodes does.
    thread::sleep(4 * each_way);
    let started = Instant::now();
    socket.write_all(&[1]).unwrap();
    let (mut left, mut buffer) = (megabytes * 1_000_000, vec![0; 1 << 20]);
    while left > 0 {
        left -= socket.read(&mut buffer).unwrap();
    }
    let took = started.elapsed();
    sender.join().unwrap();
    megabytes as f64 / took.as_secs_f64()
}
