//! Requests for objects on a slow disk, at full rate.

use crate::Settings;
use crate::figures::{Figures, percentile};
use crate::poisoners::answer_to_probe;
use crate::raw_peer::{self, RawPeer};
use crate::world::{DISK_READ, World, secret};
use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::engine::{DropReason, limits};
use astreum_core::time::Instant;
use astreum_core::wire::message::Topic;
use astreum_core::wire::object::PayloadType;
use core::cell::RefCell;
use core::net::SocketAddr;
use core::time::Duration;
use std::rc::Rc;

const HONEST: u8 = 8;
const SECONDS: u32 = 20;
/// Requests of the attackers per second.
const RATE: u32 = 2_000;
const BAR: Duration = Duration::from_millis(10);

fn honest(n: u8) -> SocketAddr {
    SocketAddr::from(([20 + n, 7, 1, 1], 700))
}

/// Measures honest fetches while one peer, or sixty of six networks, request lists on the disk.
/// Eight honest peers fetch objects that are in memory, and others that are on the disk.
pub(crate) fn cold_reads(_: &Settings, figures: &mut Figures) {
    for (attackers, groups) in [(1, 1), (60, 1), (60, 6)] {
        flood(attackers, groups, figures);
    }
    forged(figures);
}

/// Requests objects on the disk under keys that do not receive at their addresses.
fn forged(figures: &mut Figures) {
    let mut world = World::new(SocketAddr::from(([5, 5, 5, 5], 1_000)));
    let id = world.store.insert_on_disk(Atom::bytes(*b"cold"));
    let key = world.key();
    for n in 0..1_000u32 {
        let [.., high, low] = n.to_be_bytes();
        let at = SocketAddr::from(([60 + high, low, 1, 1], 700));
        let mut sender = RawPeer::new(secret(1_000 + n), &key, 0xfe00_0000 + n);
        let content = raw_peer::get(id, PayloadType::ATOM);
        world.inject(at, sender.sealed(700, Topic::ObjectRequest, &content, 1));
        world.run_until(world.now + Duration::from_millis(10));
    }
    let stats = world.server.stats();
    figures.note("key agreements with unvalidated peers", stats.agreements);
    figures.bar(
        "reads for 1,000 requests from unvalidated addresses",
        stats.disk_reads,
        "0",
        stats.disk_reads == 0 && stats.agreements == 1_000,
    );
}

/// Adds a peer that answers only probes.
fn attacker(world: &mut World, n: u32, group: u8) -> (SocketAddr, Rc<RefCell<RawPeer>>) {
    let [.., host] = n.to_be_bytes();
    let at = SocketAddr::from(([60 + group, 9, 1, host], 700));
    let key = world.key();
    world.join(1_000 + n, at);
    let sender = RawPeer::new(secret(1_000 + n), &key, 0xfe00_0000 + n);
    let sender = Rc::new(RefCell::new(sender));
    let answering = Rc::clone(&sender);
    let answer =
        move |bytes: &[u8]| answer_to_probe(&mut answering.borrow_mut(), &key, 700, None, bytes);
    if let Some(host) = world.hosts.get_mut(&at) {
        host.answer = Some(Box::new(move |bytes| {
            Some(answer(bytes).unwrap_or_default())
        }));
    }
    (at, sender)
}

fn list(world: &mut World, name: u32) -> AtomId {
    (0..100).fold(AtomId::ZERO, |next, _| {
        let atom = Atom::new(AtomKind::Bytes, name.to_be_bytes().to_vec(), next);
        world.store.insert_on_disk(atom)
    })
}

fn flood(attackers: u32, groups: u8, figures: &mut Figures) {
    let mut world = World::new(SocketAddr::from(([5, 5, 5, 5], 1_000)));
    for n in 0..HONEST {
        world.join(500 + u32::from(n), honest(n));
    }
    let hostile: Vec<_> = (0..attackers)
        .map(|n| {
            let group = u8::try_from(n % u32::from(groups)).unwrap();
            attacker(&mut world, n, group)
        })
        .collect();
    let lists: Vec<AtomId> = (0..500).map(|n| list(&mut world, n)).collect();
    world.run_until(world.now + Duration::from_secs(1));
    let began = world.now;
    // Requests of the honest peers: peer, id, time, and whether the object was in memory.
    let mut asked: Vec<(u8, AtomId, Instant, bool)> = Vec::new();
    let mut waiting = 0;
    for n in 0..SECONDS * RATE {
        let now = began + Duration::from_micros(1_000_000 / u64::from(RATE)) * n;
        world.run_until(now);
        if n % 5 == 0 {
            let is_warm = n % 250 != 0;
            let atom = Atom::bytes(n.to_be_bytes());
            let id = if is_warm {
                world.store.insert(atom)
            } else {
                world.store.insert_on_disk(atom)
            };
            let [.., host] = (n / 5 % u32::from(HONEST)).to_be_bytes();
            asked.push((host, id, now, is_warm));
            world.fetch(&honest(host), id, PayloadType::ATOM);
        }
        let (at, sender) = &hostile[n as usize % hostile.len()];
        let content = raw_peer::get(lists[n as usize / hostile.len() % 500], PayloadType::LIST);
        let packet = sender
            .borrow_mut()
            .sealed(700, Topic::ObjectRequest, &content, 1);
        world.inject(*at, packet);
        waiting = waiting.max(world.server.pending_reads());
    }
    world.run_until(world.now + Duration::from_secs(5));
    let scenario = format!("{attackers} attackers of {groups} networks");
    let requests = SECONDS * RATE;
    figures.note(
        &format!("{scenario}: requests for lists on a disk"),
        requests,
    );
    for (is_warm, where_) in [(true, "in memory"), (false, "on the disk")] {
        let mut took = Vec::new();
        let mut count = 0;
        for (host, id, at, _) in asked.iter().filter(|(.., warm)| *warm == is_warm) {
            count += 1;
            let fetched = &world.hosts[&honest(*host)].fetched;
            let brought = fetched.iter().find(|(fetched, _)| fetched == id);
            took.extend(brought.map(|(_, end)| end.since(*at)));
        }
        let p99 = percentile(&mut took, 0.99);
        figures.bar(
            &format!("{scenario}: honest fetches of objects {where_}"),
            format!("{} of {count}", took.len()),
            "all",
            took.len() == count,
        );
        // Reads before that of an honest peer: the two that are out for the only network, or two
        // turns of each network. In addition its own, and one of another honest peer.
        let others = u32::from(if groups == 1 { 2 } else { 2 * groups });
        let bar = if is_warm {
            BAR
        } else {
            DISK_READ * (others + 2)
        };
        figures.bar(
            &format!("{scenario}: p99 of these fetches"),
            format!("{p99:?}"),
            &format!("{bar:?}"),
            p99 <= bar && !took.is_empty(),
        );
    }
    let places = limits::MAX_READS.min(hostile.len() * limits::MAX_READS_PER_PEER);
    let bar = places + 2 * usize::from(HONEST);
    figures.bar(
        &format!("{scenario}: requests that wait for a read, at most"),
        waiting,
        &bar.to_string(),
        waiting <= bar,
    );
    let stats = world.server.stats();
    figures.note(
        &format!("{scenario}: reads, and requests over budget"),
        format!(
            "{}, {}",
            stats.disk_reads,
            stats.dropped(DropReason::ReadsFull)
        ),
    );
}
