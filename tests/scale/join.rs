//! Joining a chain: a node that serves it, and a node that verifies and stores it.

use super::table::{Bar, Table};
use astreum_node::Node;
use astreum_node::config::Config;
use astreum_tests::quick_chain::QuickChain;
use astreum_tests::testkit::link_proxy::{LinkProxy, SEEN_AT};
use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

/// Time after which a case has failed.
const TIMEOUT: Duration = Duration::from_secs(600);

pub(crate) fn empty_blocks(large: bool, table: &mut Table) {
    let blocks = if large { 10_000 } else { 200 };
    let chain = QuickChain::make(blocks, 0);
    for (each_way_ms, most) in [(0, 3.0), (10, 6.0), (25, 6.0)] {
        let each_way = Duration::from_millis(each_way_ms);
        let took = join(&chain, each_way, Way::Streams);
        let name = format!(
            "join {blocks} empty blocks, round trip {} ms",
            2 * each_way_ms
        );
        let bar = large.then_some((Bar::AtMost, most));
        table.add(name.clone(), took.as_secs_f64(), "s", bar);
        if each_way_ms == 10 {
            let scratch = tempfile::tempdir().unwrap();
            let busy_disk = BusyDisk::start(scratch.path());
            let beside = join_in(scratch.path(), &chain, each_way, Way::Streams);
            drop(busy_disk);
            let ratio = beside.as_secs_f64() / took.as_secs_f64();
            let name = format!("{name}: beside a busy disk");
            let bar = large.then_some((Bar::AtMost, 1.5));
            table.add(name, ratio, "times", bar);
        }
    }
    if !large {
        let took = join(&chain, Duration::from_millis(10), Way::Datagrams);
        let name = format!("join {blocks} empty blocks without streams, round trip 20 ms");
        table.add(name, took.as_secs_f64(), "s", None);
    }
}

pub(crate) fn transfers(large: bool, table: &mut Table) {
    let blocks = if large { 1_000 } else { 50 };
    let chain = QuickChain::make(blocks, 50);
    let local = join(&chain, Duration::ZERO, Way::Local);
    let what = format!("join {blocks} blocks with 50 transfers");
    let half = QuickChain::make(blocks / 2, 50);
    let half = join(&half, Duration::ZERO, Way::Streams);
    table.add(
        format!("{what}, from local disk"),
        local.as_secs_f64(),
        "s",
        None,
    );
    for each_way_ms in [0, 25] {
        let took = join(&chain, Duration::from_millis(each_way_ms), Way::Streams);
        let name = format!("{what}, round trip {} ms", 2 * each_way_ms);
        let is_delayed = large && each_way_ms > 0;
        let bar = is_delayed.then_some((Bar::AtMost, 20.0));
        table.add(name.clone(), took.as_secs_f64(), "s", bar);
        if each_way_ms == 0 {
            let growth = took.as_secs_f64() / half.as_secs_f64();
            let bar = large.then_some((Bar::AtMost, 2.05));
            table.add(
                format!("{name}: time of half as many"),
                growth,
                "times",
                bar,
            );
        }
        let share = 100.0 * local.as_secs_f64() / took.as_secs_f64();
        let bar = is_delayed.then_some((Bar::AtLeast, 60.0));
        table.add(format!("{name}: share of local"), share, "%", bar);
    }
}

/// Another program that writes to the same disk, and forces each mebibyte to it.
struct BusyDisk {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BusyDisk {
    fn start(scratch: &Path) -> Self {
        let path = scratch.join("other");
        let stopping = Arc::<AtomicBool>::default();
        let stops = Arc::clone(&stopping);
        let thread = std::thread::spawn(move || {
            let mut file = File::create(path).unwrap();
            let bytes = vec![7; 1 << 20];
            while !stops.load(Ordering::Relaxed) {
                // The same 64 MiB again and again.
                for _ in 0..64 {
                    file.write_all(&bytes).unwrap();
                    file.sync_data().unwrap();
                    if stops.load(Ordering::Relaxed) {
                        return;
                    }
                }
                file.rewind().unwrap();
            }
        });
        Self {
            stopping,
            thread: Some(thread),
        }
    }
}

impl Drop for BusyDisk {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Source of the blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    Streams,
    Datagrams,
    /// They are in the store already, and only verified and stored.
    Local,
}

fn join(chain: &QuickChain, each_way: Duration, way: Way) -> Duration {
    join_in(tempfile::tempdir().unwrap().path(), chain, each_way, way)
}

/// Returns the time from the start of the chain until the head is verified and stored: in `joined`
/// below this directory.
pub(crate) fn join_in(
    scratch: &Path,
    chain: &QuickChain,
    each_way: Duration,
    way: Way,
) -> Duration {
    let stream_port = (way != Way::Streams).then_some(0);
    let server = node(&scratch.join("server"), |config| Config {
        latest_block_hash: Some(chain.head()),
        stream_port,
        ..config
    });
    server.store().put_all(chain.atoms()).unwrap();
    settle(&server);
    let path = scratch.join("joined");
    let server_port = server.port().unwrap();
    let is_delayed = !each_way.is_zero();
    let ip = if is_delayed {
        SEEN_AT
    } else {
        Ipv4Addr::LOCALHOST
    };
    let seen_at = SocketAddr::from((ip, server_port));
    // A configured seed is followed without a wait for more peers.
    let joining = node(&path, |config| Config {
        additional_seeds: vec![seen_at.to_string().parse().unwrap()],
        stream_port,
        ..config
    });
    if way == Way::Local {
        joining.store().put_all(chain.fetched.clone()).unwrap();
        settle(&joining);
    }
    let ports = [server_port, joining.port().unwrap()];
    let _delay = is_delayed.then(|| LinkProxy::delaying(ports, each_way));
    let started = Instant::now();
    joining.start_chain(&path).unwrap();
    loop {
        let status = joining.chain().status();
        if status
            .head
            .as_ref()
            .is_some_and(|head| head.id() == chain.head())
        {
            break;
        }
        assert!(started.elapsed() < TIMEOUT, "not joined: {status:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = started.elapsed();
    let streamed = joining.status().network.map(|it| it.streams.received_bytes);
    assert_eq!(
        streamed.is_some_and(|bytes| bytes > 0),
        way == Way::Streams,
        "{streamed:?} bytes came by stream"
    );
    took
}

/// Merges what was stored, as in a node that has had it for some time: otherwise that work would be
/// measured with the join, and grow with the chain.
fn settle(node: &Node) {
    node.store().cold().unwrap().maintain().unwrap();
}

pub(crate) fn node(dir: &Path, change: impl FnOnce(Config) -> Config) -> Node {
    std::fs::create_dir_all(dir).unwrap();
    let node = Node::new(change(Config {
        incoming_port: 0,
        default_seed: None,
        bind_address: Some(Ipv4Addr::LOCALHOST.into()),
        cold_storage_path: Some(dir.join("cold")),
        ..Config::default()
    }));
    let node = node.unwrap();
    node.connect().unwrap();
    node
}
