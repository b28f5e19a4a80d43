//! Three commands that fetch lists through one node at once, from another node, and the requests that
//! a third node sends to the server meanwhile.

use super::files::{hash, make_input};
use super::join;
use super::node_home::{RUN, fill};
use super::process::anonymous;
use super::table::{Bar, Table};
use astreum_core::atom::{Atom, AtomId};
use astreum_node::Node;
use astreum_node::rpc::request;
use astreum_tests::testkit::{Home, NodeProcess};
use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Instant;

const GETTERS: u8 = 3;
/// Maximum anonymous memory of a node over an idle one.
const MAX_MEBIBYTES: f64 = 64.0;
/// Number of atoms that the third node may request.
const ATOMS: u32 = 20_000;
/// Time between two requests.
const PACE: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn at_once(large: bool, table: &mut Table) {
    let megabytes = if large { 100 } else { 8 };
    let bar = |kind, value| large.then_some((kind, value));
    let (serving, getting) = (Home::new("serving"), Home::new("getting"));
    let atoms = (0..ATOMS).map(|number| Atom::bytes(number.to_be_bytes()));
    let small = fill(&serving.path().join("cold"), [atoms.collect()]);
    let [server, client] = [&serving, &getting].map(|home| {
        let mut node = home.start(&[&RUN[..], &["cold"]].concat());
        node.wait_until_ready().unwrap();
        node
    });
    let ids: Vec<String> = (0..GETTERS)
        .map(|number| {
            let name = format!("in{number}");
            make_input(&serving.path().join(&name), megabytes, number);
            let id = serving.run(&["put", &name]).lines()[0].to_owned();
            id.trim().to_owned()
        })
        .collect();
    let address = server.address().to_string();
    getting.run(&["peers", "--connect", &address]).lines();
    let folder = tempfile::tempdir().unwrap();
    let probe = join::node(folder.path(), |config| config);
    probe.contact(server.address()).unwrap();
    for is_known in
        [&|| knows(&client, &server), &|| is_peer(&probe, &server)] as [&dyn Fn() -> bool; 2]
    {
        let started = Instant::now();
        while !is_known() {
            assert!(started.elapsed() < TIMEOUT, "the nodes do not meet");
            thread::sleep(Duration::from_millis(10));
        }
    }
    // The offer of the stream follows the validation; merges of what was put end.
    thread::sleep(Duration::from_secs(2));

    let idle = [&server, &client].map(|node| anonymous(node.process_id()));
    let mut most = idle;
    let started = Instant::now();
    let mut getters: Vec<Child> = ids
        .iter()
        .enumerate()
        .map(|(number, id)| {
            let mut get = getting.command(&["get", id, "-o", &format!("out{number}")]);
            get.stdout(Stdio::null()).stderr(Stdio::null());
            get.spawn().unwrap()
        })
        .collect();
    let is_over = AtomicBool::new(false);
    let (took, latencies, echoes) = thread::scope(|scope| {
        let latencies = scope.spawn(|| request_atoms(&probe, &small, &is_over));
        let echoes = scope.spawn(|| echo(&is_over));
        while !getters.is_empty() {
            getters.retain_mut(|getter| match getter.try_wait().unwrap() {
                Some(code) => {
                    assert!(code.success(), "get: {code}");
                    false
                }
                None => true,
            });
            for (most, node) in most.iter_mut().zip([&server, &client]) {
                *most = most.max(anonymous(node.process_id()));
            }
            thread::sleep(Duration::from_millis(2));
        }
        let took = started.elapsed();
        is_over.store(true, Ordering::Relaxed);
        (took, latencies.join().unwrap(), echoes.join().unwrap())
    });
    for number in 0..GETTERS {
        let [here, there] = [(&serving, "in"), (&getting, "out")]
            .map(|(home, name)| hash(&home.path().join(format!("{name}{number}"))));
        assert_eq!(here, there, "file {number}");
    }
    let what = format!("{GETTERS} gets of {megabytes} MB at once by stream");
    let rate = f64::from(GETTERS) * megabytes as f64 / took.as_secs_f64();
    table.add(what.clone(), rate, "MB/s", bar(Bar::AtLeast, 150.0));
    let of_echo = percentile_99(echoes);
    table.add("UDP echo meanwhile: 99th percentile", of_echo, "ms", None);
    table.add(
        "atom from the server meanwhile: 99th percentile",
        percentile_99(latencies),
        "ms",
        bar(Bar::AtMost, f64::max(10.0, 2.0 * of_echo)),
    );
    for ((who, most), idle) in ["server", "client"].iter().zip(most).zip(idle) {
        let name = format!("anonymous memory of the {who} over idle");
        let bar = Some((Bar::AtMost, MAX_MEBIBYTES));
        table.add(name, most - idle, "MiB", bar);
    }
    drop(probe);
    for node in [server, client] {
        assert_eq!(node.interrupt().0, Some(0));
    }
}

fn knows(client: &NodeProcess, server: &NodeProcess) -> bool {
    let peers = client.request(&request::Peers {}).unwrap();
    let key = server.status().public_key;
    peers
        .iter()
        .any(|peer| peer.public_key == key && peer.is_validated)
}

fn is_peer(probe: &Node, server: &NodeProcess) -> bool {
    let peers = probe.peers().unwrap();
    let port = server.address().port();
    peers
        .iter()
        .any(|peer| peer.address.port() == port && peer.is_validated)
}

/// Requests one atom after another; returns the times in milliseconds.
fn request_atoms(probe: &Node, ids: &[AtomId], is_over: &AtomicBool) -> Vec<f64> {
    let mut times = Vec::new();
    for id in ids {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let started = Instant::now();
        assert!(probe.get_atom(*id).unwrap().is_some());
        times.push(1_000.0 * started.elapsed().as_secs_f64());
        thread::sleep(PACE);
    }
    times
}

/// Sends datagrams to a thread that sends them back; returns the times in milliseconds.
fn echo(is_over: &AtomicBool) -> Vec<f64> {
    let socket = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        socket
    };
    let (near, far) = (socket(), socket());
    let to: SocketAddr = far.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 64];
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((len, from)) = far.recv_from(&mut buffer) {
                    far.send_to(&buffer[..len], from).unwrap();
                }
            }
        });
        let mut times = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let started = Instant::now();
            near.send_to(&[7; 64], to).unwrap();
            if near.recv_from(&mut [0; 64]).is_ok() {
                times.push(1_000.0 * started.elapsed().as_secs_f64());
            }
            thread::sleep(PACE);
        }
        times
    })
}

fn percentile_99(mut times: Vec<f64>) -> f64 {
    assert!(!times.is_empty(), "nothing was measured");
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}
