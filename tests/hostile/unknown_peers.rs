//! Cases in virtual time, where source addresses can be arbitrary.

use crate::Settings;
use crate::figures::Figures;
use crate::raw_peer::{self, RawPeer};
use crate::world::{World, secret};
use astreum_core::atom::AtomId;
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::engine::{DropReason, Engine, FetchRequest, limits};
use astreum_core::wire::message::{Body, Message, Topic};
use astreum_core::wire::object::{Action, Answer, PayloadType, Request};
use astreum_core::wire::packet::Packet;
use astreum_tests::random::Random;
use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::time::Duration;
use std::collections::BTreeSet;

fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

/// Address of the server.
const SERVER: [u8; 4] = [5, 5, 5, 5];

/// Sends a million generated packets from addresses that are never validated, while eight peers
/// redirect the engine to such addresses.
pub(crate) fn amplification(_: &Settings, figures: &mut Figures) {
    const PACKETS: u32 = 1_000_000;
    let mut random = Random::new(7);
    let mut world = World::new(at(SERVER, 1_000));
    let key = world.key();
    let large: Vec<AtomId> = (0..8)
        .map(|n| world.store.insert(raw_peer::large_atom(n)))
        .collect();
    let victims: Vec<SocketAddrV4> = (0..20_000u32)
        .map(|n| {
            let ip = if n % 10 == 0 {
                Ipv4Addr::from_bits(0x7f00_0000 | (n + 2))
            } else {
                Ipv4Addr::from_bits(0x1400_0000 + n * 97)
            };
            SocketAddrV4::new(ip, 2_000 + u16::try_from(n % 3).unwrap())
        })
        .collect();
    for n in 0..8u8 {
        let referrer = at([60 + n, 1, 1, 1], 700);
        world.join(500 + u32::from(n), referrer);
        let shared = SecretKey::from_bytes(secret(500 + u32::from(n)))
            .agree(&key)
            .unwrap();
        let mut sender = RawPeer::new(secret(500 + u32::from(n)), &key, 0xffff_0000 + u32::from(n));
        let mut random = Random::new(u64::from(n));
        let victims = victims.clone();
        let host = world.hosts.get_mut(&referrer).unwrap();
        host.answer = Some(Box::new(move |bytes| {
            let packet = Packet::decode(bytes).ok()?;
            let Body::Sealed(sealed) = Message::decode(packet.message()).ok()?.body else {
                return None;
            };
            let mut text = Vec::new();
            let (topic, content) = sealed.open(&shared, &mut text).ok()?;
            let victim = random.one_of(&victims);
            match topic {
                Topic::ObjectRequest => {
                    let request = Request::decode(content).ok()?;
                    // Validation of our own address is left to the engine.
                    if request.atom_id.as_bytes()[..16] == key.as_bytes()[..16] {
                        return None;
                    }
                    let named = PublicKey::new(secret(u32::from(victim.port()) + 7_000));
                    let contact = raw_peer::contact(named, victim);
                    let answer = random.one_of(&[Answer::Provider, Answer::Nearest]);
                    let content = raw_peer::respond(answer, request.atom_id, &contact);
                    Some(sender.sealed(700, Topic::ObjectResponse, &content, 1))
                }
                Topic::RouteRequest => {
                    let content = routes(&mut random, &victims);
                    Some(sender.sealed(700, Topic::RouteResponse, &content, 1))
                }
                _ => None,
            }
        }));
    }
    let mut unknown_peers: Vec<RawPeer> = (0..256u32)
        .map(|n| RawPeer::new(secret(1_000 + n), &key, n))
        .collect();
    let mut recorded: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
    for n in 0..PACKETS {
        world.pass(Duration::from_micros(500 + random.next() % 1_000));
        if n % 997 == 0 {
            let id = AtomId::new(secret(n));
            world.with(|engine, now| engine.fetch(now, FetchRequest::new(id, PayloadType::ATOM)));
            world.wake_hosts();
        }
        let victim = random.one_of(&victims);
        let from = SocketAddr::from((*victim.ip(), 9));
        let port = victim.port();
        let one = random.below(unknown_peers.len());
        let peer = &mut unknown_peers[one];
        let bytes = match random.below(16) {
            0 | 1 => raw_peer::handshake(&PublicKey::new(fresh(&mut random)), port, 1),
            2 => raw_peer::handshake(&peer.key, port, 1),
            3..=6 => {
                let id = random.one_of(&large);
                let kind = random.one_of(&[PayloadType::ATOM, PayloadType::LIST]);
                peer.sealed(port, Topic::ObjectRequest, &raw_peer::get(id, kind), 1)
            }
            7 => {
                let id = AtomId::new(fresh(&mut random));
                let content = raw_peer::get(id, PayloadType::ATOM);
                peer.sealed(port, Topic::ObjectRequest, &content, 1)
            }
            8 => {
                let named = random.one_of(&victims);
                let contact = raw_peer::contact(PublicKey::new(fresh(&mut random)), named);
                let id = AtomId::new(fresh(&mut random));
                let content = raw_peer::request(Action::Put(PayloadType::ATOM), id, &contact);
                peer.sealed(port, Topic::ObjectRequest, &content, 1)
            }
            9 => peer.sealed(port, Topic::RouteRequest, &[0], 1),
            10 => {
                let content = routes(&mut random, &victims);
                peer.sealed(port, Topic::RouteResponse, &content, 1)
            }
            11 => {
                let named = random.one_of(&victims);
                let contact = raw_peer::contact(PublicKey::new(fresh(&mut random)), named);
                let content = raw_peer::respond(Answer::Provider, random.one_of(&large), &contact);
                peer.sealed(port, Topic::ObjectResponse, &content, 1)
            }
            12 => peer.sealed(port, Topic::Ping, &raw_peer::ping(1), 1),
            13 => raw_peer::worked(&random.bytes(40)),
            14 => {
                let mut bytes = peer.sealed(port, Topic::Ping, &raw_peer::ping(1), 1);
                *bytes.last_mut().unwrap() ^= 1;
                bytes
            }
            _ => match recorded.is_empty() {
                true => continue,
                false => {
                    let (_, bytes) = &recorded[random.below(recorded.len())];
                    bytes.clone()
                }
            },
        };
        if recorded.len() < 500 {
            recorded.push((from, bytes.clone()));
        }
        world.inject(from, bytes);
    }
    let most = world
        .accounts
        .values()
        .filter(|account| account.sent > 0)
        .map(|account| account.got as f64 / (account.sent + account.named) as f64)
        .fold(0.0, f64::max);
    let (sent, got): (u64, u64) = world
        .accounts
        .values()
        .fold((0, 0), |(sent, got), account| {
            (sent + account.sent, got + account.got)
        });
    let contacts: u64 = world.accounts.values().map(|one| one.contacts).sum();
    figures.note("generated packets", PACKETS);
    figures.bar(
        "maximum bytes sent per byte received from an unvalidated address or its referrer",
        format!("{most:.2}"),
        "3",
        most <= 3.0,
    );
    figures.bar(
        "packets beyond the amplification limit, except first contacts",
        world.violations.len(),
        "0",
        world.violations.is_empty(),
    );
    if let Some(first) = world.violations.first() {
        figures.note("first violation", first);
    }
    figures.note("bytes received, sent", format!("{sent}, {got}"));
    figures.note(
        "first contacts of referred addresses, one per address in 10 s",
        contacts,
    );
    figures.bar(
        "referrers that are still known",
        world.known_hosts(),
        "8",
        world.known_hosts() == 8,
    );
}

fn routes(random: &mut Random, victims: &[SocketAddrV4]) -> Vec<u8> {
    let count = 1 + random.below(60);
    let entry = |random: &mut Random| {
        let victim = random.one_of(victims);
        let [a, b, c, d] = victim.ip().octets();
        let [high, low] = victim.port().to_be_bytes();
        [a, b, c, d, high, low]
    };
    (0..count).flat_map(|_| entry(random)).collect()
}

/// Returns 32 random bytes that are a valid public key.
fn fresh(random: &mut Random) -> [u8; 32] {
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    bytes[31] &= 0x7f;
    bytes
}

/// Sends a million handshakes from fresh keys, of which fifty thousand are followed by sealed
/// pings.
pub(crate) fn fresh_keys(_: &Settings, figures: &mut Figures) {
    const HANDSHAKES: u32 = 1_000_000;
    const HONEST: u8 = 50;
    let mut random = Random::new(8);
    let mut world = World::new(at(SERVER, 1_000));
    let key = world.key();
    for n in 0..HONEST {
        world.join(500 + u32::from(n), at([100 + n, 2, 3, 4], 700));
    }
    world.pass(Duration::from_secs(1));
    let before = world.known_hosts();
    let (mut most, mut joined, mut tried) = (0, 0u32, 0u32);
    for n in 0..HANDSHAKES {
        world.pass(Duration::from_micros(250));
        // Half of them on loopback, where no limits per network apply.
        let ip = if n % 2 == 0 {
            Ipv4Addr::from_bits(0x7f00_0100 + n)
        } else {
            Ipv4Addr::from_bits(0x1400_0000 + n * 61)
        };
        let from = SocketAddr::from((ip, 9));
        if n % 20 == 0 {
            let mut peer = RawPeer::new(secret(1_000_000 + n), &key, n);
            world.inject(from, raw_peer::handshake(&peer.key, 9, 1));
            world.inject(from, peer.sealed(9, Topic::Ping, &raw_peer::ping(1), 1));
        } else {
            let name = PublicKey::new(fresh(&mut random));
            world.inject(from, raw_peer::handshake(&name, 9, 1));
        }
        if n % 5_000 == 0 {
            most = most.max(world.server.peer_count());
            world.wake_hosts();
        }
        if n % 50_000 == 49_999 {
            // An honest newcomer during the flood, from a network of its own.
            tried += 1;
            let newcomer = at([200, 7, u8::try_from(tried).unwrap(), 1], 700);
            world.join(900_000 + tried, newcomer);
            let key = *world.hosts[&newcomer].engine.public_key();
            joined += u32::from(
                world
                    .server
                    .peer(&key)
                    .is_some_and(|peer| peer.is_validated),
            );
            world.hosts.remove(&newcomer);
        }
    }
    most = most.max(world.server.peer_count());
    let known = world.known_hosts();
    figures.note("handshakes from fresh keys", HANDSHAKES);
    figures.note("key agreements", world.server.stats().agreements);
    figures.bar(
        "maximum number of peers",
        most,
        "4096",
        most <= limits::MAX_PEERS,
    );
    figures.bar(
        "kept honest peers",
        format!("{known} of {before}"),
        "all 50",
        known == usize::from(HONEST) && before == known,
    );
    figures.bar(
        "honest newcomers registered at once during the flood",
        format!("{joined} of {tried}"),
        "95 %",
        joined * 20 >= tried * 19,
    );
    figures.bar(
        "packets beyond the amplification limit of unvalidated addresses",
        world.violations.len(),
        "no violation",
        world.violations.is_empty(),
    );
}

/// Runs 900 attackers of one /24 and 100 honest peers of as many networks.
pub(crate) fn one_network(_: &Settings, figures: &mut Figures) {
    few_networks(figures, "900 of one /24", 10, |n| {
        [8, 8, 8, n.to_be_bytes()[3] % 250]
    });
}

/// Runs attackers of one /16, each in a /24 with few others.
pub(crate) fn one_group(_: &Settings, figures: &mut Figures) {
    few_networks(figures, "900 of one /16", 20, |n| {
        [8, 8, n.to_be_bytes()[3], 1 + n.to_be_bytes()[2]]
    });
}

/// Runs attackers of 200 networks (/24) of ten network groups (/16).
pub(crate) fn ten_groups(_: &Settings, figures: &mut Figures) {
    few_networks(figures, "900 of 200 /24 of ten /16", 200, |n| {
        let [.., group] = (n % 10).to_be_bytes();
        let [.., network] = (n / 10 % 20).to_be_bytes();
        let [.., host] = (n / 200).to_be_bytes();
        [80 + group, 8, network, 1 + host]
    });
}

fn few_networks(
    figures: &mut Figures,
    attackers: &str,
    most: usize,
    attacker: impl Fn(u32) -> [u8; 4],
) {
    const LOOKUPS: u32 = 2_000;
    let mut world = World::new(at(SERVER, 1_000));
    let mut hostile = BTreeSet::new();
    for n in 0..1_000u32 {
        let address = if n % 10 == 9 {
            at([60, u8::try_from(n / 10).unwrap(), 1, 1], 700)
        } else {
            let address = at(attacker(n - n / 10), 700 + u16::try_from(n / 250).unwrap());
            hostile.insert(address);
            address
        };
        world.join(500 + n, address);
        world.pass(Duration::from_millis(300));
        world.wake_hosts();
    }
    let is_attacker = |address: &SocketAddr| hostile.contains(address);
    let honest: BTreeSet<SocketAddr> = world
        .server
        .peers()
        .filter(|peer| peer.is_validated && !is_attacker(&peer.address))
        .map(|peer| peer.address)
        .collect();
    let listed = world
        .server
        .peers()
        .filter(|peer| is_attacker(&peer.address));
    figures.note("attackers among the peers", listed.count());
    // Attackers do not answer any request from now on.
    for (address, host) in &mut world.hosts {
        if is_attacker(address) {
            host.answer = Some(Box::new(|_| Some(Vec::new())));
        }
    }
    world.keep_sent = true;
    let mut asked_attackers = BTreeSet::new();
    let mut reached = 0;
    let mut random = Random::new(9);
    for _ in 0..LOOKUPS {
        world.sent.clear();
        let id = AtomId::new(fresh(&mut random));
        world.with(|engine: &mut Engine, now| {
            engine.fetch(now, FetchRequest::new(id, PayloadType::ATOM))
        });
        for _ in 0..30 {
            world.pass(Duration::from_millis(100));
        }
        world.wake_hosts();
        let mut has_reached = false;
        for (to, bytes) in &world.sent {
            if world.requested_id(to, bytes) != Some(id) {
                continue;
            }
            has_reached |= honest.contains(to);
            if is_attacker(to) {
                asked_attackers.insert(*to);
            }
        }
        reached += u32::from(has_reached);
    }
    figures.note("total peers, attackers", format!("1000, {attackers}"));
    figures.bar(
        "attackers contacted by lookups, which are those in the routing table",
        asked_attackers.len(),
        &most.to_string(),
        asked_attackers.len() <= most,
    );
    figures.bar(
        "lookups that reach an honest node",
        format!("{reached} of {LOOKUPS}"),
        "99 %",
        reached * 100 >= LOOKUPS * 99,
    );
    figures.note(
        "unknown peers refused for their network",
        world.server.stats().dropped(DropReason::KeyBudget),
    );
}
