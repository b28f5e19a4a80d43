//! Peers that poison the index, forge handshakes and cause work for the engine, in virtual time.

use crate::Settings;
use crate::figures::{Figures, percentile};
use crate::raw_peer::{self, RawPeer};
use crate::world::{World, secret};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::time::Instant;
use astreum_core::wire::message::{Body, Message, Topic};
use astreum_core::wire::object::{Action, Answer, PayloadType, Request};
use astreum_core::wire::packet::Packet;
use astreum_core::wire::routing_table::Distance;
use core::cell::{Cell, RefCell};
use core::net::{SocketAddr, SocketAddrV4};
use core::time::Duration;
use std::rc::Rc;

const SERVER: SocketAddrV4 = SocketAddrV4::new(core::net::Ipv4Addr::new(5, 5, 5, 5), 1_000);
const SECOND: Duration = Duration::from_secs(1);

/// Packets of a peer, whose address answers in its name.
type SharedPeer = Rc<RefCell<RawPeer>>;

fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((ip, port))
}

fn id(n: u32) -> AtomId {
    Atom::bytes(n.to_be_bytes()).id()
}

/// Adds a peer that answers only probes.
fn mute(world: &mut World, n: u32, at: SocketAddr) -> SharedPeer {
    let sender = RawPeer::new(secret(n), &world.key(), 0xfe00_0000 + n);
    let sender = Rc::new(RefCell::new(sender));
    answer_probes(world, n, at, &sender, Rc::new(Cell::new(None)));
    sender
}

/// Makes an address answer probes in the name of a peer. It reports the engine at `seen`, if set.
fn answer_probes(
    world: &mut World,
    n: u32,
    at: SocketAddr,
    sender: &SharedPeer,
    seen: Rc<Cell<Option<SocketAddrV4>>>,
) {
    let key = world.key();
    world.add(n, at);
    let sender = Rc::clone(sender);
    let answer = move |bytes: &[u8]| {
        let sender = &mut sender.borrow_mut();
        Some(answer_to_probe(sender, &key, at.port(), seen.get(), bytes).unwrap_or_default())
    };
    if let Some(host) = world.hosts.get_mut(&at) {
        host.answer = Some(Box::new(answer));
    }
}

/// Returns the answer of a peer to a probe, if `bytes` are one. It reports the prober at `seen`, if
/// set.
pub(crate) fn answer_to_probe(
    sender: &mut RawPeer,
    prober: &PublicKey,
    port: u16,
    seen: Option<SocketAddrV4>,
    bytes: &[u8],
) -> Option<Vec<u8>> {
    let packet = Packet::decode(bytes).ok()?;
    let Body::Sealed(sealed) = Message::decode(packet.message()).ok()?.body else {
        return None;
    };
    let mut text = Vec::new();
    let (topic, content) = sealed.open(&sender.shared, &mut text).ok()?;
    let request = Request::decode(content).ok()?;
    let is_probe = request.atom_id.as_bytes()[..16] == prober.as_bytes()[..16];
    if topic != Topic::ObjectRequest || !is_probe {
        return None;
    }
    let content = match seen {
        Some(seen) => {
            let contact = raw_peer::contact(*prober, seen);
            raw_peer::respond(Answer::Provider, request.atom_id, &contact)
        }
        None => raw_peer::respond(Answer::Nearest, request.atom_id, &[]),
    };
    Some(sender.sealed(port, Topic::ObjectResponse, &content, 1))
}

/// Adds a peer that answers only probes, and lets it be validated.
fn validated(world: &mut World, n: u32, at: SocketAddr) -> SharedPeer {
    let sender = mute(world, n, at);
    ping(world, &sender, at);
    let key = sender.borrow().key;
    let peer = world.server.peer(&key);
    assert!(
        peer.is_some_and(|peer| peer.is_validated),
        "{at} is not validated"
    );
    sender
}

fn ping(world: &mut World, sender: &SharedPeer, at: SocketAddr) {
    let ping = raw_peer::ping(1);
    let packet = sender.borrow_mut().sealed(at.port(), Topic::Ping, &ping, 1);
    world.inject(at, packet);
}

fn put(world: &mut World, sender: &SharedPeer, from: SocketAddr, id: AtomId, named: &[u8]) {
    let content = raw_peer::request(Action::Put(PayloadType::ATOM), id, named);
    let mut sender = sender.borrow_mut();
    let packet = sender.sealed(from.port(), Topic::ObjectRequest, &content, 1);
    drop(sender);
    world.inject(from, packet);
}

fn v4(at: SocketAddr) -> SocketAddrV4 {
    match at {
        SocketAddr::V4(at) => at,
        SocketAddr::V6(_) => unreachable!("all addresses here are IPv4"),
    }
}

/// Forges handshakes of fresh keys in the name of a seed, while the engine joins through it. One of
/// them arrives just before the engine contacts the seed, so that the answer to the seed is delayed
/// by an interval.
pub(crate) fn forged_handshakes(_: &Settings, figures: &mut Figures) {
    for pace in [10, 100, 1_000, 9_000].map(Duration::from_millis) {
        let mut took = Vec::new();
        for round in 0..20u32 {
            let mut world = World::new(SERVER.into());
            let seed = at([9, 9, 9, 9], 900);
            world.add(500, seed);
            let mut forged = 10_000 * (round + 1);
            let mut forge = |world: &mut World| {
                forged += 1;
                let key = RawPeer::new(secret(forged), &world.key(), forged).key;
                world.inject(seed, raw_peer::handshake(&key, 900, 1));
            };
            forge(&mut world);
            world.run_until(world.now + Duration::from_millis(u64::from(round)));
            let began = world.now;
            world.with(|engine, now| engine.connect(now, seed));
            while world.known_hosts() == 0 && world.now.since(began) < 60 * SECOND {
                forge(&mut world);
                world.run_until(world.now + pace);
            }
            took.push(world.now.since(began));
        }
        let most = percentile(&mut took, 1.0);
        // The state is sampled once per `pace`.
        let bar = pace + SECOND;
        figures.bar(
            &format!("time to join through a seed, one forged handshake per {pace:?}"),
            format!("{most:?} at most of {}", took.len()),
            &format!("{bar:?}"),
            most <= bar,
        );
    }
}

/// Sends records of dead providers from 1, 10 and 100 peers, after some that are not validated. They
/// are for objects that an honest peer has: it advertises a third of them before those records and a
/// third after them, and a third party has put a record of the others before. A newcomer that
/// knows nothing but what the engine names fetches each.
pub(crate) fn dead_records(_: &Settings, figures: &mut Figures) {
    const OBJECTS: usize = 30;
    const UNVALIDATED: u32 = 20;
    for liars in [1u32, 10, 100] {
        let mut world = World::new(SERVER.into());
        let holder = at([20, 1, 1, 1], 700);
        world.join(500, holder);
        let holder_key = *world.hosts[&holder].engine.public_key();
        let third = at([25, 1, 1, 1], 700);
        let third = (third, validated(&mut world, 499, third));
        let unvalidated: Vec<(SocketAddr, SharedPeer)> = (0..UNVALIDATED)
            .map(|n| {
                let [.., low] = n.to_be_bytes();
                let voice = RawPeer::new(secret(5_000 + n), &world.key(), 0xfd00_0000 + n);
                (at([160 + low, 2, 2, 2], 700), Rc::new(RefCell::new(voice)))
            })
            .collect();
        let hostile: Vec<(SocketAddr, SharedPeer)> = (0..liars)
            .map(|n| {
                let [.., low] = n.to_be_bytes();
                let at = at([40 + low, 2, 2, 2], 700);
                (at, validated(&mut world, 1_000 + n, at))
            })
            .collect();
        // Those that the holder advertises to the engine, because that is nearer.
        let keys = [world.key(), holder_key];
        let atoms = (0u32..).map(|n| Atom::bytes(n.to_be_bytes()));
        let atoms = atoms.filter(|atom| {
            let id = atom.id();
            let [to_engine, to_holder] =
                keys.map(|key| Distance::between(id.as_bytes(), key.as_bytes()));
            to_engine < to_holder
        });
        let mut objects: Vec<AtomId> = Vec::new();
        for atom in atoms.take(OBJECTS) {
            objects.push(atom.id());
            world.with_host(&holder, |host, _| {
                host.store.insert(atom);
            });
        }
        let advertise = |world: &mut World, id: &AtomId| {
            world.with_host(&holder, |host, now| {
                host.engine.advertise(now, *id, PayloadType::ATOM, None);
            });
        };
        let lie = |world: &mut World, sources: &[(SocketAddr, SharedPeer)], net: u8| {
            for (n, (from, voice)) in (0u32..).zip(sources) {
                let [.., low] = n.to_be_bytes();
                let dead = SocketAddrV4::new([50, net, low, 5].into(), 9);
                let key = secret(50_000 + 1_000 * u32::from(net) + n);
                let key = SecretKey::from_bytes(key).public_key();
                for id in &objects {
                    put(world, voice, *from, *id, &raw_peer::contact(key, dead));
                }
            }
        };
        lie(&mut world, &unvalidated, 6);
        for id in objects.iter().step_by(3) {
            advertise(&mut world, id);
        }
        for id in objects.iter().skip(1).step_by(3) {
            let record = raw_peer::contact(holder_key, v4(holder));
            put(&mut world, &third.1, third.0, *id, &record);
        }
        lie(&mut world, &hostile, 5);
        for id in objects.iter().skip(2).step_by(3) {
            advertise(&mut world, id);
        }
        world.run_until(world.now + SECOND);
        let (mut found, mut at_once) = (0, 0);
        for (n, id) in (0u8..).zip(&objects) {
            // It has met only the engine.
            let asker = at([30, n, 1, 1], 700);
            world.hosts_meet = false;
            world.join(600 + u32::from(n), asker);
            world.hosts_meet = true;
            let began = world.now;
            world.fetch(&asker, *id, PayloadType::ATOM);
            world.run_until(world.now + 2 * SECOND);
            let host = world.hosts.remove(&asker).expect("the newcomer is there");
            world.with(|engine, _| engine.disconnect(host.engine.public_key()));
            if let Some((_, end)) = host.fetched.first() {
                found += 1;
                at_once += usize::from(n % 3 != 1 && *end == began);
            }
        }
        figures.bar(
            &format!("objects found beside dead records of {liars} peers"),
            format!("{found} of {OBJECTS}"),
            "all",
            found == OBJECTS,
        );
        let own = OBJECTS - OBJECTS / 3;
        figures.bar(
            "holders named in the first answer, of those that have advertised themselves",
            format!("{at_once} of {own}"),
            "all",
            at_once == own,
        );
    }
}

/// Fills the index from five keys of one /24, and makes the engine forward records, at full rate.
pub(crate) fn index_flood(_: &Settings, figures: &mut Figures) {
    const HONEST: u32 = 300;
    let mut world = World::new(SERVER.into());
    let attackers: Vec<(SocketAddr, SharedPeer)> = (0..5u8)
        .map(|n| {
            let at = at([60, 6, 6, n], 700);
            (at, validated(&mut world, 1_000 + u32::from(n), at))
        })
        .collect();
    let honest: Vec<(SocketAddr, SharedPeer)> = (0..6u8)
        .map(|n| {
            let at = at([20 + n, 1, 1, 1], 700);
            (at, validated(&mut world, 500 + u32::from(n), at))
        })
        .collect();
    world.keep_sent = true;
    let advertise = |world: &mut World, ids: core::ops::Range<u32>| {
        let mut forwarded = 0;
        for n in ids {
            let (from, sender) = &honest[n as usize % honest.len()];
            let own = raw_peer::contact(sender.borrow().key, v4(*from));
            world.sent.clear();
            put(world, sender, *from, id(n), &own);
            forwarded += u32::from(!world.sent.is_empty());
        }
        forwarded
    };
    let before = advertise(&mut world, 0..HONEST);
    for n in 0..80_000u32 {
        let (from, sender) = &attackers[n as usize % attackers.len()];
        let own = raw_peer::contact(sender.borrow().key, v4(*from));
        put(&mut world, sender, *from, id(1_000_000 + n), &own);
        world.sent.clear();
        if n % 1_000 == 0 {
            world.pass(Duration::from_millis(10));
        }
    }
    let after = advertise(&mut world, HONEST..2 * HONEST);
    let is_kept = |n: &u32| world.server.providers_of(world.now, &id(*n)).count() > 0;
    let kept = (0..2 * HONEST).filter(is_kept).count();
    figures.note("records of the five attackers", 80_000);
    figures.bar(
        "kept honest records",
        format!("{kept} of {}", 2 * HONEST),
        "95 %",
        kept * 100 >= 2 * HONEST as usize * 95,
    );
    figures.bar(
        "honest records forwarded after the flood",
        format!("{after}, {before} before"),
        "80 % of the number before",
        before > 100 && after * 100 >= before * 80,
    );
}

/// Bytes that the engine sends to these hosts in a time, while something happens each second.
fn bytes_in(
    world: &mut World,
    (hosts, seconds): (&[SocketAddr], u32),
    mut each: impl FnMut(&mut World, u32),
) -> usize {
    let mut bytes = 0;
    for n in 0..seconds {
        each(world, n);
        world.run_until(world.now + SECOND);
        bytes += world
            .sent
            .iter()
            .filter(|(to, _)| hosts.contains(to))
            .map(|(_, bytes)| bytes.len())
            .sum::<usize>();
        world.sent.clear();
    }
    bytes
}

/// Returns the number of honest hosts that can fetch the engine's objects.
fn fetches(world: &mut World, hosts: &[SocketAddr], round: u32) -> usize {
    let ids: Vec<(SocketAddr, AtomId)> = (0..)
        .zip(hosts)
        .map(|(n, host)| {
            let atom = Atom::bytes((1_000 * round + n).to_be_bytes());
            (*host, world.store.insert(atom))
        })
        .collect();
    for (host, id) in &ids {
        world.fetch(host, *id, PayloadType::ATOM);
    }
    let is_fetched = |(host, id): &&(SocketAddr, AtomId)| {
        let fetched: &[(AtomId, Instant)] = &world.hosts[host].fetched;
        fetched.iter().any(|(fetched, _)| fetched == id)
    };
    ids.iter().filter(is_fetched).count()
}

/// Creates an engine that advertises objects, among honest hosts.
fn advertising(count: u32) -> (World, Vec<SocketAddr>) {
    let mut world = World::new(SERVER.into());
    let hosts: Vec<SocketAddr> = (0..8).map(|n| at([20 + n, 1, 1, 1], 700)).collect();
    for (n, host) in (500..).zip(&hosts) {
        world.join(n, *host);
    }
    world.run_until(world.now + 2 * SECOND);
    for n in 0..count {
        world.with(|engine, now| {
            assert!(engine.advertise(now, id(n), PayloadType::ATOM, None));
        });
    }
    world.run_until(world.now + 60 * SECOND);
    world.keep_sent = true;
    (world, hosts)
}

/// Reports another address of the engine each second, from one peer with changing ports.
pub(crate) fn false_address(_: &Settings, figures: &mut Figures) {
    let (mut world, hosts) = advertising(4_096);
    let usual = bytes_in(&mut world, (&hosts, 60), |_, _| ());
    let seen = Rc::new(Cell::new(None));
    let senders: Vec<SharedPeer> = (0..12)
        .map(|n| {
            let sender = RawPeer::new(secret(1_000 + n), &world.key(), 0xfe00_0000 + n);
            Rc::new(RefCell::new(sender))
        })
        .collect();
    let (mut served, mut changes) = (0, 0);
    let mut before = world.server.advertised_address();
    let flooded = bytes_in(&mut world, (&hosts, 60), |world, n| {
        let [.., low] = n.to_be_bytes();
        seen.set(Some(SocketAddrV4::new([198, 51, 100, low].into(), 1_000)));
        for (number, sender) in (0u8..).zip(&senders) {
            let at = at([60 + number, 6, 6, 6], 2_000 + u16::from(low));
            answer_probes(
                world,
                1_000 + u32::from(number),
                at,
                sender,
                Rc::clone(&seen),
            );
            ping(world, sender, at);
        }
        served += fetches(world, &hosts, n);
        let now = world.server.advertised_address();
        changes += u32::from(core::mem::replace(&mut before, now) != now);
    });
    figures.bar("changes of the address", changes, "1", changes == 1);
    let asked = 60 * hosts.len();
    figures.note("bytes sent in a minute without false reports", usual);
    figures.bar(
        "bytes sent to honest peers in a minute of false reports",
        flooded,
        "256 KiB more",
        flooded < usual + (256 << 10),
    );
    figures.bar(
        "honest fetches",
        format!("{served} of {asked}"),
        "all",
        served == asked,
    );
}

/// Moves the port of a peer each second and sends 500 handshakes a second, beside 65,536
/// advertisements.
pub(crate) fn moving_ports(_: &Settings, figures: &mut Figures) {
    let mut cost = Vec::new();
    for count in [0u32, 65_536] {
        let (mut world, hosts) = advertising(count);
        let sender = RawPeer::new(secret(1_000), &world.key(), 0xfe00_0000);
        let sender: SharedPeer = Rc::new(RefCell::new(sender));
        let (mut spent, mut served, mut moved) = (Duration::ZERO, 0, 0);
        for n in 0..60u16 {
            let at = at([60, 6, 6, 6], 2_000 + n);
            answer_probes(&mut world, 1_000, at, &sender, Rc::new(Cell::new(None)));
            let started = std::time::Instant::now();
            ping(&mut world, &sender, at);
            for _ in 0..500 {
                let key = sender.borrow().key;
                world.inject(at, raw_peer::handshake(&key, at.port(), 1));
                ping(&mut world, &sender, at);
            }
            spent += started.elapsed();
            let key = sender.borrow().key;
            let peer = world.server.peer(&key);
            moved += u32::from(peer.is_some_and(|peer| peer.address == at));
            served += fetches(&mut world, &hosts, n.into());
            world.run_until(world.now + 2 * SECOND);
            world.sent.clear();
        }
        let asked = 60 * hosts.len();
        figures.bar(
            &format!("honest fetches beside {count} advertisements"),
            format!("{served} of {asked}"),
            "all",
            served == asked,
        );
        figures.note("moves", moved);
        cost.push(spent);
    }
    let ratio = cost[1].as_secs_f64() / cost[0].as_secs_f64();
    figures.bar(
        "time for moves, handshakes and pings: ratio of 65,536 advertisements to none",
        format!("{ratio:.2}"),
        "3",
        ratio <= 3.0,
    );
}
