//! Joining a chain by a snapshot: the state of many accounts, from two nodes that serve it.

use super::join::node;
use super::table::{Bar, Table};
use astreum_core::integer::Natural;
use astreum_node::Node;
use astreum_node::chain_service::snapshot::SnapshotStage;
use astreum_node::config::{Config, SyncMode};
use astreum_tests::quick_chain::{QuickChain, account};
use astreum_tests::testkit::link_proxy::{LinkProxy, SEEN_AT};
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::time::Instant;

/// Time after which the case has failed.
const TIMEOUT: Duration = Duration::from_secs(900);
/// Number of atoms that are put at once.
const PART: usize = 1 << 16;
/// Blocks of the chain, and the height at which it is joined.
const BLOCKS: u64 = 20;
const JOINED_AT: usize = 10;

pub(crate) fn snapshot(large: bool, table: &mut Table) {
    let accounts: u64 = if large { 1_000_000 } else { 2_000 };
    let chain = QuickChain::with_accounts(BLOCKS, 2, accounts);
    for each_way_ms in [0, 25] {
        let (took, atoms) = join(&chain, accounts, Duration::from_millis(each_way_ms));
        let name = format!(
            "snapshot of {accounts} accounts, round trip {} ms",
            2 * each_way_ms
        );
        let bar = (large && each_way_ms > 0).then_some((Bar::AtMost, 60.0));
        table.add(name.clone(), took.as_secs_f64(), "s", bar);
        let rate = atoms as f64 / took.as_secs_f64();
        table.add(format!("{name}: atoms a second"), rate, "1/s", None);
    }
}

/// Returns the time until the whole state and the blocks above it are stored, and the number of atoms
/// that have arrived.
fn join(chain: &QuickChain, accounts: u64, each_way: Duration) -> (Duration, u64) {
    let scratch = tempfile::tempdir().unwrap();
    let server = node(&scratch.path().join("server"), |config| Config {
        latest_block_hash: Some(chain.head()),
        hot_storage_limit: 16 << 20,
        cold_storage_limit: 0,
        ..config
    });
    let mut part = Vec::new();
    for (id, atom) in chain.store().iter() {
        part.push((*id, atom.clone()));
        if part.len() == PART {
            let part = core::mem::take(&mut part);
            server.store().put_streamed_deferred(part).unwrap();
        }
    }
    server.store().put_streamed_deferred(part).unwrap();
    server.store().sync().unwrap();
    // As of a server that has had the state for some time.
    server.store().cold().unwrap().maintain().unwrap();
    let server_path = scratch.path().join("server");
    server.start_chain(&server_path).unwrap();
    let port = server.port().unwrap();
    let ip = if each_way.is_zero() {
        Ipv4Addr::LOCALHOST
    } else {
        SEEN_AT
    };
    let path = scratch.path().join("joining");
    let joining = node(&path, |config| Config {
        additional_seeds: vec![SocketAddr::from((ip, port)).to_string().parse().unwrap()],
        checkpoint: Some(chain.block(JOINED_AT)),
        sync: SyncMode::Snapshot,
        cold_storage_limit: 0,
        ..config
    });
    let ports = [port, joining.port().unwrap()];
    let _delay = (!each_way.is_zero()).then(|| LinkProxy::delaying(ports, each_way));
    let started = Instant::now();
    joining.start_chain(&path).unwrap();
    let atoms = loop {
        let snapshot = joining.snapshot().unwrap();
        let head = joining.chain().head();
        let is_head = head.is_some_and(|head| head.id() == chain.head());
        if snapshot.stage == SnapshotStage::Complete && is_head {
            break snapshot.atoms;
        }
        assert!(started.elapsed() < TIMEOUT, "not joined: {snapshot:?}");
        std::thread::sleep(Duration::from_millis(10));
    };
    let took = started.elapsed();
    drop(server);
    check(&joining, accounts);
    (took, atoms)
}

/// Checks some accounts without a peer.
fn check(joining: &Node, accounts: u64) {
    for number in [1, accounts / 2, accounts] {
        let state = joining.account(&account(number)).unwrap();
        assert_eq!(state.account.balance, Natural::from(number));
    }
}
