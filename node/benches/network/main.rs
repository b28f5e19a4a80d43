//! Benchmark of a node on loopback: object requests answered per second, compared with a plain mio
//! echo of the same datagrams in the same run, and the latency of fetching an atom or a list from
//! another node.
//!
//! `cargo bench -p astreum-node --bench network`
//!
//! With `-- --reference PYTHON`, an interpreter that has `astreum` 0.3.71 installed, the same
//! requests go to a reference node, and a reference node fetches from another.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a bench that cannot be set up must stop, and its figures are rounded"
)]

mod load;
mod reference;

use astreum_core::atom::{Atom, AtomId};
use astreum_core::wire::object::PayloadType;
use astreum_node::{Node, config::Config};
use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use load::Load;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use reference::Serving;
use std::sync::Arc;
use std::time::Instant;

const ROUNDS: usize = 5;
const REQUESTS_PER_ROUND: usize = 100_000;
const REFERENCE_REQUESTS_PER_ROUND: usize = 10_000;
const ATOMS: u32 = 1_000;
const FETCHES: usize = 2_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut python = None;
    while let Some(argument) = arguments.next() {
        if argument == "--reference" {
            python = Some(arguments.next().expect("--reference needs an interpreter"));
        }
    }
    requests(python.as_deref());
    fetches();
    if let Some(python) = &python {
        let seconds = reference::fetch_seconds(python);
        println!("reference atom fetch      p50 {seconds:.3} s");
    }
}

fn requests(python: Option<&str>) {
    let node = node();
    let ids: Vec<AtomId> = (0..ATOMS).map(|number| put(&node, number)).collect();
    let mut load = Load::new(address(&node), node.public_key());
    let echo = Echo::start();
    let (mut answered, mut echoed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let requests = load.requests(&ids, REQUESTS_PER_ROUND);
        echoed.push(load.drive(echo.address, &requests));
        answered.push(load.drive(address(&node), &requests));
    }
    drop(echo);
    let (answered, echoed) = (median(answered), median(echoed));
    println!("object requests answered  {answered:>9.0} /s");
    println!("bare mio echo             {echoed:>9.0} /s");
    println!(
        "ratio                     {:>9.0} %",
        100.0 * answered / echoed
    );
    if let Some(python) = python {
        let reference = Serving::start(python, ATOMS);
        let mut load = Load::new(reference.address, reference.public_key);
        let rates = (0..ROUNDS).map(|_| {
            let requests = load.requests(&ids, REFERENCE_REQUESTS_PER_ROUND);
            load.drive(reference.address, &requests)
        });
        let rate = median(rates.collect());
        println!("reference                 {rate:>9.0} /s");
        println!("times as many             {:>9.1}", answered / rate);
    }
}

fn fetches() {
    let (server, client) = (node(), node());
    client.contact(address(&server)).expect("connected");
    while client.peers().expect("connected").is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
    for (what, kind) in [("atom", PayloadType::ATOM), ("list", PayloadType::LIST)] {
        let mut times: Vec<Duration> = (0..FETCHES)
            .map(|number| {
                let values = [what.as_bytes(), &number.to_be_bytes(), b"third"];
                let id = server.put_list(&values).expect("there is room").id;
                let start = Instant::now();
                let found = if kind == PayloadType::ATOM {
                    client.get_atom(id).expect("connected").is_some()
                } else {
                    client.get_atom_list(id).expect("connected").is_some()
                };
                assert!(found, "the other node has it");
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        let at = |percent: usize| times[times.len() * percent / 100];
        println!(
            "remote {what} fetch         p50 {:?}, p99 {:?}",
            at(50),
            at(99)
        );
    }
}

fn node() -> Node {
    let node = Node::new(Config {
        incoming_port: 0,
        default_seed: None,
        ..Config::default()
    })
    .expect("the configuration is valid");
    node.connect().expect("there is a free port");
    node
}

fn put(node: &Node, number: u32) -> AtomId {
    let mut data = [0; 64];
    data[..4].copy_from_slice(&number.to_be_bytes());
    node.put(Atom::bytes(data)).expect("there is room").id
}

fn address(node: &Node) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, node.port().expect("connected")).into()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Echo server: the minimum work of a mio loop for a datagram.
struct Echo {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Echo {
    fn start() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut socket = UdpSocket::bind(any).expect("there is a free port");
        let address = socket.local_addr().expect("it is bound");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut poll = Poll::new().expect("a poll");
            poll.registry()
                .register(&mut socket, Token(0), Interest::READABLE)
                .expect("a fresh socket");
            let (mut events, mut buffer) = (Events::with_capacity(4), vec![0; 65_536]);
            while !stopped.load(Ordering::Relaxed) {
                let _ = poll.poll(&mut events, Some(Duration::from_millis(100)));
                while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    while socket.send_to(&buffer[..len], from).is_err() {}
                }
            }
        });
        Self { address, stop }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
