//! Tests of shared tables, each filled by the keys of one network group at full rate: others are
//! served as before.

mod addresses;
mod records;
mod serving;

use addresses::{
    agree_from_group, answer_contact, answer_in_many_names, fill_credits, join_after_unopenable,
    join_and_leave, join_beside_credits, join_beside_group, join_marked, mark_many, refer_many,
    refer_some, replay_after_leaving, send_handshakes, send_many_handshakes, send_unopenable,
};
use records::{ask_for_providers, fill_index, fill_redirects, put_and_forward, put_and_keep};
use serving::{
    announce, announce_many, ask_beside_queue, ask_for_disk, ask_for_disk_once,
    ask_with_difficulty, cause_fetches, fetch, fill_incoming, join_with_required_work,
    require_work,
};

use super::net::config;
use super::scripted::{Scripted, Stage};
use crate::atom::AtomId;
use crate::engine::{Engine, EngineConfig};
use crate::time::Instant;
use crate::wire::object::{Action, Request};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Number of requests of honest peers during a flood.
const ASKED: u32 = 100;

/// A shared table.
struct Table {
    name: &'static str,
    /// Number of keys of the source.
    keys: u32,
    /// Fills the table from these peers.
    flood: fn(&mut Stage, &[usize]),
    /// Lets a peer in another network use the table [`ASKED`] times; returns the number of times
    /// that it was served.
    use_it: fn(&mut Stage, usize) -> u32,
}

/// All tables that peers fill. Places of peers and of their networks are tested in `admission`, the
/// routing table by its own tests, bounds per peer in `bounds`.
const TABLES: &[Table] = &[
    Table {
        name: "provider index",
        keys: 5,
        flood: fill_index,
        use_it: put_and_keep,
    },
    Table {
        name: "forwarded puts",
        keys: 5,
        flood: fill_redirects,
        use_it: put_and_forward,
    },
    Table {
        name: "redirects",
        keys: 5,
        flood: fill_redirects,
        use_it: ask_for_providers,
    },
    Table {
        name: "contacts and referrers",
        keys: 40,
        flood: refer_many,
        use_it: refer_some,
    },
    Table {
        name: "answered handshakes",
        keys: 1,
        flood: send_many_handshakes,
        use_it: send_handshakes,
    },
    Table {
        name: "keys of unknown peers, key agreements",
        keys: 1,
        flood: send_unopenable,
        use_it: join_after_unopenable,
    },
    Table {
        name: "key agreements of a network group",
        keys: 1,
        flood: agree_from_group,
        use_it: join_beside_group,
    },
    Table {
        name: "balances of unvalidated addresses",
        keys: 1,
        flood: fill_credits,
        use_it: join_beside_credits,
    },
    Table {
        name: "marks of IPv6 peers",
        keys: 1,
        flood: mark_many,
        use_it: join_marked,
    },
    Table {
        name: "answers of contacted addresses",
        keys: 60,
        flood: answer_in_many_names,
        use_it: answer_contact,
    },
    Table {
        name: "departed peers",
        keys: 1,
        flood: join_and_leave,
        use_it: replay_after_leaving,
    },
    Table {
        name: "incoming queue",
        keys: 1,
        flood: fill_incoming,
        use_it: ask_beside_queue,
    },
    Table {
        name: "incoming queue, for unvalidated sources that do the required work",
        keys: 1,
        flood: fill_incoming,
        use_it: join_with_required_work,
    },
    Table {
        name: "proof-of-work searches",
        keys: 40,
        flood: require_work,
        use_it: ask_with_difficulty,
    },
    Table {
        name: "fetches",
        keys: 5,
        flood: cause_fetches,
        use_it: fetch,
    },
    Table {
        name: "events",
        keys: 5,
        flood: announce_many,
        use_it: announce,
    },
    Table {
        name: "requests that wait for a disk",
        keys: 40,
        flood: ask_for_disk,
        use_it: ask_for_disk_once,
    },
];

fn id(n: u32) -> AtomId {
    AtomId::new(crate::crypto::hash(&n.to_be_bytes()))
}

fn peer(n: u32, ip: [u8; 4]) -> Scripted {
    let port = 4_000 + u16::try_from(n % 10_000).unwrap();
    Scripted::new(n, SocketAddr::from((ip, port)))
}

/// Returns an address in a network group of its own.
fn of_other_group(n: u32) -> [u8; 4] {
    let [.., b, c] = (n + 256).to_be_bytes();
    [100 + b, c, 7, 7]
}

/// Delivers a packet of a peer; the resulting packets stay in the engine.
fn hand_over(stage: &mut Stage, peer: usize, packet: &[u8]) {
    let from = stage.peers[peer].address;
    stage.peers[peer].sent.clear();
    stage
        .engine
        .handle_datagram(stage.now, from, packet, &stage.store);
}

/// Discards queued packets, so that they are neither kept nor answered.
fn discard(stage: &mut Stage) {
    let mut buffer = Vec::new();
    while stage.engine.poll_transmit(&mut buffer).is_some() {}
}

fn request(action: Action, id: AtomId, data: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    Request {
        action,
        atom_id: id,
        data,
    }
    .write(&mut content);
    content
}

/// Returns the number of times that a peer is served, with or without a flood.
fn served(table: &Table, is_flooded: bool) -> u32 {
    let config = EngineConfig {
        is_validator: true,
        use_ipv6: true,
        incoming_queue_limit_bytes: 1 << 20,
        ..config(1)
    };
    let mut stage = Stage::with(Engine::new(config, [1; 32], Instant::from_secs(1_000)));
    let honest = stage.join(peer(1, [7, 7, 7, 7]));
    assert!(stage.knows(honest));
    let liars: Vec<usize> = (0..table.keys)
        .map(|n| {
            let [.., low] = (n / 20).to_be_bytes();
            stage.join(peer(10 + n, [9, 9, low, 9]))
        })
        .collect();
    assert!(
        liars.iter().all(|liar| stage.knows(*liar)),
        "{}",
        table.name
    );
    if is_flooded {
        (table.flood)(&mut stage, &liars);
        stage.now = stage.now + Duration::from_millis(1);
    }
    (table.use_it)(&mut stage, honest)
}

#[test]
fn source_at_full_rate_does_not_exhaust_shared_tables() {
    for table in TABLES {
        let (without, with) = (served(table, false), served(table, true));
        assert_eq!(without, ASKED, "{}, without a flood", table.name);
        assert!(
            with * 100 >= without * 95,
            "{}: {with} of {without}",
            table.name
        );
    }
}
