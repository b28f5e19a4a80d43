//! A node that has run for long: a chain, a million atoms in cold storage, fifty peers. How soon it
//! answers, what it and a view of it cost while nothing happens, and how soon it answers beside heavy
//! writes.

use super::join::{Way, join_in, node};
use super::node_home::{RUN, fill};
use super::process::{anonymous, cpu_seconds};
use super::table::{Bar, Table};
use astreum_core::atom::Atom;
use astreum_node::Node;
use astreum_node::config::Config;
use astreum_node::rpc::request;
use astreum_tests::quick_chain::QuickChain;
use astreum_tests::testkit::{Home, NodeProcess, Output, program, terminal};
use core::time::Duration;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

/// Number of starts; the best counts.
const STARTS: u32 = 5;
const PEERS: u32 = 50;
/// Number of atoms that are put at once before the start.
const BATCH: u64 = 10_000;
/// Time after which peers that have just come have asked what they ask of a new peer, the chain
/// included.
const REST: Duration = Duration::from_secs(60);
/// Time for which an idle process is observed.
const OBSERVED: Duration = Duration::from_secs(30);
/// Time after which `top` shows what it shows.
const TOP_START: Duration = Duration::from_secs(2);
/// Time after which a node that does not get its peers has failed.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Time between two requests beside writes.
const PACE: Duration = Duration::from_millis(5);

pub(crate) fn running(large: bool, table: &mut Table) {
    let (blocks, batches, megabytes) = if large {
        (10_000, 100, 1_000)
    } else {
        (100, 1, 16)
    };
    // A build of the program does not count as its start.
    let _ = program::astreum();
    let home = Home::new("running");
    let joined = home.path().join("joined");
    let chain = QuickChain::make(blocks, 0);
    join_in(home.path(), &chain, Duration::ZERO, Way::Local);
    drop(chain);
    fill(&joined.join("cold"), (0..batches).map(batch));
    let what = format!("{blocks} blocks, {} atoms", batches * BATCH);
    let bar = |kind, value| large.then_some((kind, value));

    let start = |listens: bool| {
        let mut arguments = [&RUN[..], &["joined/cold"]].concat();
        if listens {
            arguments.extend(["--rpc-listen", "127.0.0.1:0"]);
        }
        let started = Instant::now();
        let mut node = home.spawn(&arguments, Output::Discarded);
        while node.request(&request::Status {}).is_err() {
            assert!(started.elapsed() < TIMEOUT, "the node does not answer");
            thread::sleep(Duration::from_millis(1));
        }
        let took = started.elapsed().as_secs_f64();
        node.wait_until_ready().unwrap();
        (node, 1_000.0 * took)
    };
    let starts = (0..STARTS).map(|_| {
        let (node, took) = start(true);
        assert_eq!(node.interrupt().0, Some(0));
        took
    });
    let soonest = starts.fold(f64::MAX, f64::min);
    table.add(
        format!("start to first answer, {what}"),
        soonest,
        "ms",
        bar(Bar::AtMost, 100.0),
    );
    for (listens, most) in [(false, 24.0), (true, 34.0)] {
        let with = if listens { "on" } else { "off" };
        let (node, _) = start(listens);
        let peers = connect(&node);
        if !listens {
            if large {
                thread::sleep(REST);
            }
            table.add(
                format!("idle processor time, {PEERS} peers"),
                share_of_processor(node.process_id()),
                "%",
                bar(Bar::AtMost, 0.3),
            );
            table.add(
                format!("processor time of `top`, {PEERS} peers"),
                share_of_top(&home),
                "%",
                bar(Bar::AtMost, 2.0),
            );
        }
        table.add(
            format!("anonymous memory, {PEERS} peers, RPC {with}"),
            anonymous(node.process_id()),
            "MiB",
            bar(Bar::AtMost, most),
        );
        if listens {
            let late = beside_writes(&home, &node, megabytes);
            table.add(
                format!("status beside a put of {megabytes} MB: 99th percentile"),
                late,
                "ms",
                bar(Bar::AtMost, 50.0),
            );
        }
        drop(peers);
        assert_eq!(node.interrupt().0, Some(0));
    }
}

/// Returns the share of a processor that a process takes, in percent.
fn share_of_processor(process: u32) -> f64 {
    let before = cpu_seconds(process);
    thread::sleep(OBSERVED);
    100.0 * (cpu_seconds(process) - before) / OBSERVED.as_secs_f64()
}

/// Returns the share of a processor that `astreum top` takes on a terminal, in percent.
fn share_of_top(home: &Home) -> f64 {
    let (mut user, side) = terminal::open_both();
    terminal::set_size(&user, 100, 40);
    let program_side = || Stdio::from(side.try_clone().unwrap());
    let mut top = Command::new("setsid")
        .arg("--ctty")
        .arg(program::astreum())
        .args(["top", "--control-socket"])
        .arg(home.control_socket())
        .env("TERM", "xterm-256color")
        .stdin(program_side())
        .stdout(program_side())
        .stderr(program_side())
        .spawn()
        .expect("`top` needs `setsid` of util-linux");
    drop(side);
    // Until the program has ended, which is an error of the terminal.
    let shown = thread::spawn(move || {
        let mut shown = Vec::new();
        let _ = io::copy(&mut user, &mut shown);
        shown.len()
    });
    thread::sleep(TOP_START);
    let share = share_of_processor(top.id());
    top.kill().unwrap();
    top.wait().unwrap();
    let shown = shown.join().unwrap();
    assert!(shown > 1_000, "`top` showed only {shown} bytes");
    share
}

/// Returns the atoms of 64 bytes of a batch.
fn batch(number: u64) -> Vec<Atom> {
    let atoms = (0..BATCH).map(|n| {
        let mut data = [9; 64];
        data[..8].copy_from_slice(&(BATCH * number + n).to_be_bytes());
        Atom::bytes(data)
    });
    atoms.collect()
}

/// Starts peers of a node, and waits until it knows all of them.
fn connect(node_process: &NodeProcess) -> Vec<Node> {
    let directory = tempfile::tempdir().unwrap();
    let peers: Vec<Node> = (0..PEERS)
        .map(|number| {
            node(&directory.path().join(number.to_string()), |config| {
                Config {
                    additional_seeds: vec![node_process.address().to_string().parse().unwrap()],
                    cold_storage_path: None,
                    ..config
                }
            })
        })
        .collect();
    let started = Instant::now();
    loop {
        let known = node_process.request(&request::Peers {}).unwrap().len();
        if known >= peers.len() {
            break;
        }
        assert!(started.elapsed() < TIMEOUT, "only {known} peers are known");
        thread::sleep(Duration::from_millis(100));
    }
    peers
}

/// Returns the 99th percentile of the time of a status request while a file is put, in milliseconds.
fn beside_writes(home: &Home, node: &NodeProcess, megabytes: usize) -> f64 {
    let path = home.path().join("in");
    let mut file = File::create(&path).unwrap();
    let mut bytes = blake3::Hasher::new().update(b"in").finalize_xof();
    let mut buffer = vec![0; 1_000_000];
    for _ in 0..megabytes {
        bytes.fill(&mut buffer);
        file.write_all(&buffer).unwrap();
    }
    file.sync_all().unwrap();
    let mut put = home.command(&["put", "in"]).spawn().unwrap();
    let mut times = Vec::new();
    let code = loop {
        let started = Instant::now();
        node.request(&request::Status {}).unwrap();
        times.push(1_000.0 * started.elapsed().as_secs_f64());
        if let Some(code) = put.try_wait().unwrap() {
            break code;
        }
        thread::sleep(PACE);
    };
    assert!(code.success(), "put: {code}");
    times.sort_by(f64::total_cmp);
    times[times.len() * 99 / 100]
}
