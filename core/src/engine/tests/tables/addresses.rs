//! Referrals, handshakes and the validation of addresses.

use super::{ASKED, discard, id, of_other_group, peer};
use crate::engine::tests::scripted::{Scripted, Stage};
use crate::engine::tests::unknown_peer;
use crate::engine::{IPV6_MARK, limits};
use crate::wire::message::{Topic, write_handshake};
use crate::wire::packet::Draft;
use crate::wire::route_message::write_entry;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Answers a request for peers; returns the number of the addresses that were contacted.
fn refer(stage: &mut Stage, referrer: usize, addresses: &[SocketAddr]) -> u32 {
    let me = stage.me();
    let mut content = Vec::new();
    for address in addresses {
        write_entry(&mut content, address);
    }
    let packet = stage.peers[referrer].sealed(&me, Topic::RouteResponse, &content);
    stage.stray.clear();
    stage.deliver(referrer, &packet);
    let contacted = addresses.iter().filter(|address| {
        let mut stray = stage.stray.iter();
        stray.any(|(to, _)| to == *address)
    });
    u32::try_from(contacted.count()).unwrap()
}

pub(super) fn refer_many(stage: &mut Stage, liars: &[usize]) {
    for (round, liar) in (0u8..).zip(liars) {
        let addresses: Vec<SocketAddr> = (0..64u8)
            .map(|n| SocketAddr::from(([70 + round, n, 3, 3], 9)))
            .collect();
        refer(stage, *liar, &addresses);
    }
}

pub(super) fn refer_some(stage: &mut Stage, honest: usize) -> u32 {
    let count = u8::try_from(limits::MAX_CONTACTS_PER_REFERRER).unwrap();
    let addresses: Vec<SocketAddr> = (0..count)
        .map(|n| SocketAddr::from(([200, n, 4, 4], 9)))
        .collect();
    // The number that one referrer may name, scaled to [`ASKED`].
    refer(stage, honest, &addresses) * ASKED / u32::from(count)
}

pub(super) fn send_many_handshakes(stage: &mut Stage, liars: &[usize]) {
    let from = stage.peers[liars[0]].address.ip();
    for n in 0..2 * u32::try_from(limits::MAX_HANDSHAKE_ANSWERS).unwrap() {
        let key = unknown_peer::many(200_000 + n).public_key();
        let port = 1_000 + u16::try_from(n % 60_000).unwrap();
        let packet = unknown_peer::handshake(&key, port);
        let from = SocketAddr::new(from, port);
        stage
            .engine
            .handle_datagram(stage.now, from, &packet, &stage.store);
        discard(stage);
    }
}

pub(super) fn send_handshakes(stage: &mut Stage, _: usize) -> u32 {
    let mut answered = 0;
    for n in 0..ASKED {
        let newcomer = peer(300_000 + n, of_other_group(n)).address;
        let key = unknown_peer::many(300_000 + n).public_key();
        let packet = unknown_peer::handshake(&key, newcomer.port());
        stage.stray.clear();
        stage.deliver_from(newcomer, &packet);
        answered += u32::from(stage.stray.iter().any(|(to, _)| *to == newcomer));
    }
    answered
}

/// Returns a packet of an unknown key that fails authentication.
pub(super) fn unopenable(n: u32, port: u16) -> Vec<u8> {
    let other = unknown_peer::many(999_999).public_key();
    let secret = unknown_peer::many(n);
    unknown_peer::sealed(
        &secret,
        &other,
        port,
        [1; 12],
        Topic::Ping,
        &unknown_peer::ping(1),
    )
}

pub(super) fn send_unopenable(stage: &mut Stage, liars: &[usize]) {
    let from = stage.peers[liars[0]].address.ip();
    for n in 0..4_000 {
        let port = 1_000 + u16::try_from(n).unwrap();
        let packet = unopenable(400_000 + n, port);
        let from = SocketAddr::new(from, port);
        stage
            .engine
            .handle_datagram(stage.now, from, &packet, &stage.store);
        discard(stage);
    }
}

pub(super) fn join_after_unopenable(stage: &mut Stage, _: usize) -> u32 {
    let mut joined = 0;
    for n in 0..ASKED {
        let newcomer = stage.add(peer(500_000 + n, of_other_group(n)));
        let port = stage.peers[newcomer].address.port();
        stage.deliver(newcomer, &unopenable(500_000 + n, port));
        stage.meet(newcomer, None);
        joined += u32::from(stage.knows(newcomer));
    }
    joined
}

/// Sends packets of unknown keys from all networks of one group, more than the burst of key
/// agreements and the refill of a second.
pub(super) fn agree_from_group(stage: &mut Stage, _: &[usize]) {
    for n in 0..2 * limits::AGREEMENTS_BURST + limits::AGREEMENTS_PER_SECOND {
        let [.., low] = n.to_be_bytes();
        let port = 1_000 + u16::try_from(n % 60_000).unwrap();
        let packet = unopenable(600_000 + n, port);
        let from = SocketAddr::from(([9, 9, low, 1], port));
        stage
            .engine
            .handle_datagram(stage.now, from, &packet, &stage.store);
        discard(stage);
    }
}

pub(super) fn join_beside_group(stage: &mut Stage, _: usize) -> u32 {
    let mut joined = 0;
    for n in 0..ASKED {
        let newcomer = stage.join(peer(700_000 + n, of_other_group(n)));
        joined += u32::from(stage.knows(newcomer));
    }
    joined
}

pub(super) fn fill_credits(stage: &mut Stage, liars: &[usize]) {
    let ip = stage.peers[liars[0]].address.ip();
    for n in 0..2 * u32::try_from(limits::MAX_CREDITS).unwrap() {
        let address = SocketAddr::new(ip, 1 + u16::try_from(n % 60_000).unwrap());
        stage.engine.out.credits.received(stage.now, address, 43);
    }
}

/// The flood continues between all packets of the newcomers.
pub(super) fn join_beside_credits(stage: &mut Stage, honest: usize) -> u32 {
    let me = stage.me();
    let mut joined = 0;
    for n in 0..ASKED {
        let newcomer = stage.add(peer(800_000 + n, of_other_group(n)));
        let handshake = stage.peers[newcomer].handshake();
        stage.deliver(newcomer, &handshake);
        fill_credits(stage, &[honest]);
        let ping = stage.peers[newcomer].ping(&me, None);
        stage.deliver(newcomer, &ping);
        joined += u32::from(stage.knows(newcomer));
    }
    joined
}

/// Delivers a handshake of a node of this implementation over IPv6.
fn marked_handshake(stage: &mut Stage, n: u32, from: SocketAddr) {
    let key = unknown_peer::many(n).public_key();
    let mut packet = Vec::new();
    let mut draft = Draft::new(&mut packet);
    write_handshake(draft.message_mut(), &key, from.port(), IPV6_MARK);
    draft.work(1);
    stage
        .engine
        .handle_datagram(stage.now, from, &packet, &stage.store);
}

fn ipv6(group: u16, n: u32) -> SocketAddr {
    let port = 1_000 + u16::try_from(n % 60_000).unwrap();
    SocketAddr::from(([0x2600 + group, 7, 0, 0, 0, 0, 0, 1], port))
}

pub(super) fn mark_many(stage: &mut Stage, _: &[usize]) {
    for n in 0..2 * u32::try_from(limits::MAX_HANDSHAKE_ANSWERS).unwrap() {
        marked_handshake(stage, 900_000 + n, ipv6(0, n));
        discard(stage);
    }
}

/// Only marked nodes are sent requests over IPv6, and can be validated.
pub(super) fn join_marked(stage: &mut Stage, _: usize) -> u32 {
    let me = stage.me();
    let mut joined = 0;
    for n in 0..ASKED {
        let number = 950_000 + n;
        let address = ipv6(1 + u16::try_from(n).unwrap(), n);
        let newcomer = stage.add(Scripted::new(number, address));
        marked_handshake(stage, number, address);
        stage.carry();
        let ping = stage.peers[newcomer].ping(&me, None);
        stage.deliver(newcomer, &ping);
        joined += u32::from(stage.knows(newcomer));
    }
    joined
}

/// The malicious peers name addresses, and answer in the name of each under many keys.
pub(super) fn answer_in_many_names(stage: &mut Stage, liars: &[usize]) {
    for (round, liar) in (0u8..).zip(liars) {
        let addresses: Vec<SocketAddr> = (0..32u8)
            .map(|n| SocketAddr::from(([70 + round, n, 3, 3], 9)))
            .collect();
        refer(stage, *liar, &addresses);
        for (n, from) in (0..).zip(addresses) {
            for at in 0..4 {
                let number = 1_000_000 + 10_000 * u32::from(round) + 10 * n + at;
                let key = unknown_peer::many(number).public_key();
                let packet = unknown_peer::handshake(&key, from.port());
                stage
                    .engine
                    .handle_datagram(stage.now, from, &packet, &stage.store);
                discard(stage);
            }
        }
    }
}

/// Addresses named by an honest peer or the host, which answer.
pub(super) fn answer_contact(stage: &mut Stage, honest: usize) -> u32 {
    let mut probed = 0;
    for n in 0..ASKED {
        let at = SocketAddr::from((of_other_group(n), 77));
        if n < 30 {
            refer(stage, honest, &[at]);
        } else {
            stage.engine.connect(stage.now, at);
            stage.carry();
        }
        stage.stray.clear();
        let key = unknown_peer::many(2_000_000 + n).public_key();
        stage.deliver_from(at, &unknown_peer::handshake(&key, at.port()));
        let is_probe = |(to, bytes): &(SocketAddr, Vec<u8>)| *to == at && bytes.len() == 106;
        probed += u32::from(stage.stray.iter().any(is_probe));
    }
    probed
}

/// Peers of one network with random nonces that make a statement and leave.
pub(super) fn join_and_leave(stage: &mut Stage, _: &[usize]) {
    for n in 0..2 * u32::try_from(limits::MAX_DEPARTED).unwrap() {
        let port = 1_000 + u16::try_from(n).unwrap();
        let mut liar = Scripted::new(3_000_000 + n, SocketAddr::from(([9, 9, 9, 9], port)));
        liar.is_reference = true;
        let liar = stage.join(liar);
        let key = stage.peers[liar].key();
        stage.engine.disconnect(&key);
        stage.peers.pop();
        // The interval at which its network may have key agreements.
        stage.now = stage.now + Duration::from_millis(63);
    }
}

pub(super) fn replay_after_leaving(stage: &mut Stage, _: usize) -> u32 {
    let me = stage.me();
    let mut left = Vec::new();
    for n in 0..ASKED {
        let mut leaving = peer(4_000_000 + n, of_other_group(n));
        leaving.is_reference = true;
        let leaving = stage.join(leaving);
        let transaction = id(n);
        let packet = stage.peers[leaving].sealed(&me, Topic::Transaction, transaction.as_bytes());
        stage.deliver(leaving, &packet);
        let key = stage.peers[leaving].key();
        stage.engine.disconnect(&key);
        left.push((leaving, packet));
    }
    join_and_leave(stage, &[]);
    let mut refused = 0;
    for (leaving, packet) in left {
        stage.meet(leaving, None);
        stage.events.clear();
        stage.deliver(leaving, &packet);
        refused += u32::from(stage.transactions().is_empty());
    }
    refused
}
