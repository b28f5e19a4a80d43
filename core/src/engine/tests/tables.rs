//! Tests of shared tables, each filled by the keys of one network group at full rate: others are
//! served as before.

use super::net::config;
use super::scripted::{Scripted, Stage, atom};
use super::unknown_peer;
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::engine::datagram::Datagram;
use crate::engine::object_server::nearer;
use crate::engine::{
    DropReason, Engine, EngineConfig, Event, FetchRequest, IPV6_MARK, LookUp, ObjectSource, limits,
};
use crate::time::Instant;
use crate::wire::message::{Topic, write_handshake};
use crate::wire::object::{Action, Answer, PayloadType, Request, Response};
use crate::wire::packet::Draft;
use crate::wire::route_message::write_entry;
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

fn fill_index(stage: &mut Stage, liars: &[usize]) {
    put_many(stage, liars, limits::MAX_PROVIDED + 1_000);
}

/// Some records are not forwarded: no peer is nearer than the engine.
fn fill_redirects(stage: &mut Stage, liars: &[usize]) {
    put_many(stage, liars, 2 * limits::MAX_REDIRECTS);
    assert!(stage.engine.objects.redirects() >= limits::MAX_REDIRECTS);
}

fn put_many(stage: &mut Stage, liars: &[usize], count: usize) {
    let me = stage.me();
    let count = u32::try_from(count).unwrap();
    for (n, liar) in (0..count).zip(liars.iter().cycle()) {
        let record = stage.peers[*liar].put(&me, id(1_000_000 + n));
        hand_over(stage, *liar, &record);
        if n % 512 == 0 {
            discard(stage);
        }
    }
    discard(stage);
}

fn put_and_keep(stage: &mut Stage, honest: usize) -> u32 {
    let me = stage.me();
    for n in 0..ASKED {
        let record = stage.peers[honest].put(&me, id(n));
        stage.deliver(honest, &record);
    }
    // The flood continues.
    let liars: Vec<usize> = (honest + 1..stage.peers.len()).collect();
    for (n, liar) in (0..5_000).zip(liars.iter().cycle()) {
        let record = stage.peers[*liar].put(&me, id(2_000_000 + n));
        hand_over(stage, *liar, &record);
        discard(stage);
    }
    let is_kept = |n: &u32| stage.engine.providers_of(stage.now, &id(*n)).count() > 0;
    u32::try_from((0..ASKED).filter(is_kept).count()).unwrap()
}

/// Returns ids to which another peer is nearer than the engine.
fn forwarded_ids(stage: &Stage, but: &PublicKey) -> Vec<AtomId> {
    let is_forwarded = |id: &AtomId| nearer(&stage.engine.peers, id, but, 0, |_| true).is_some();
    let ids = (5_000_000..).map(id).filter(is_forwarded);
    ids.take(usize::try_from(ASKED).unwrap()).collect()
}

fn put_and_forward(stage: &mut Stage, honest: usize) -> u32 {
    let me = stage.me();
    let ids = forwarded_ids(stage, &stage.peers[honest].key());
    let mut forwarded = 0;
    for id in ids {
        let record = stage.peers[honest].put(&me, id);
        hand_over(stage, honest, &record);
        let mut buffer = Vec::new();
        forwarded += u32::from(stage.engine.poll_transmit(&mut buffer).is_some());
        discard(stage);
    }
    forwarded
}

fn ask_for_providers(stage: &mut Stage, honest: usize) -> u32 {
    let me = stage.me();
    // A reference node is redirected a limited number of times for an id, and that is counted.
    let mut asker = peer(2, [8, 7, 7, 7]);
    asker.is_reference = true;
    let asker = stage.join(asker);
    assert!(stage.knows(asker) && stage.knows(honest));
    let ids = forwarded_ids(stage, &stage.peers[asker].key());
    stage.peers[asker].got.clear();
    for id in ids {
        let content = request(Action::Get(Some(PayloadType::ATOM)), id, &[]);
        let get = stage.peers[asker].sealed(&me, Topic::ObjectRequest, &content);
        stage.deliver(asker, &get);
    }
    let is_redirect = |(topic, content): &&(Topic, Vec<u8>)| {
        let response = Response::decode(content);
        *topic == Topic::ObjectResponse
            && response.is_ok_and(|response| response.answer == Answer::Provider)
    };
    let redirects = stage.peers[asker].got.iter().filter(is_redirect).count();
    u32::try_from(redirects).unwrap()
}

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

fn refer_many(stage: &mut Stage, liars: &[usize]) {
    for (round, liar) in (0u8..).zip(liars) {
        let addresses: Vec<SocketAddr> = (0..64u8)
            .map(|n| SocketAddr::from(([70 + round, n, 3, 3], 9)))
            .collect();
        refer(stage, *liar, &addresses);
    }
}

fn refer_some(stage: &mut Stage, honest: usize) -> u32 {
    let count = u8::try_from(limits::MAX_CONTACTS_PER_REFERRER).unwrap();
    let addresses: Vec<SocketAddr> = (0..count)
        .map(|n| SocketAddr::from(([200, n, 4, 4], 9)))
        .collect();
    // The number that one referrer may name, scaled to [`ASKED`].
    refer(stage, honest, &addresses) * ASKED / u32::from(count)
}

fn send_many_handshakes(stage: &mut Stage, liars: &[usize]) {
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

fn send_handshakes(stage: &mut Stage, _: usize) -> u32 {
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
fn unopenable(n: u32, port: u16) -> Vec<u8> {
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

fn send_unopenable(stage: &mut Stage, liars: &[usize]) {
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

fn join_after_unopenable(stage: &mut Stage, _: usize) -> u32 {
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
fn agree_from_group(stage: &mut Stage, _: &[usize]) {
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

fn join_beside_group(stage: &mut Stage, _: usize) -> u32 {
    let mut joined = 0;
    for n in 0..ASKED {
        let newcomer = stage.join(peer(700_000 + n, of_other_group(n)));
        joined += u32::from(stage.knows(newcomer));
    }
    joined
}

fn fill_credits(stage: &mut Stage, liars: &[usize]) {
    let ip = stage.peers[liars[0]].address.ip();
    for n in 0..2 * u32::try_from(limits::MAX_CREDITS).unwrap() {
        let address = SocketAddr::new(ip, 1 + u16::try_from(n % 60_000).unwrap());
        stage.engine.out.credits.received(stage.now, address, 43);
    }
}

/// The flood continues between all packets of the newcomers.
fn join_beside_credits(stage: &mut Stage, honest: usize) -> u32 {
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

fn mark_many(stage: &mut Stage, _: &[usize]) {
    for n in 0..2 * u32::try_from(limits::MAX_HANDSHAKE_ANSWERS).unwrap() {
        marked_handshake(stage, 900_000 + n, ipv6(0, n));
        discard(stage);
    }
}

/// Only marked nodes are sent requests over IPv6, and can be validated.
fn join_marked(stage: &mut Stage, _: usize) -> u32 {
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
fn answer_in_many_names(stage: &mut Stage, liars: &[usize]) {
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
fn answer_contact(stage: &mut Stage, honest: usize) -> u32 {
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
fn join_and_leave(stage: &mut Stage, _: &[usize]) {
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

fn replay_after_leaving(stage: &mut Stage, _: usize) -> u32 {
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

/// Acts as a host whose turns are too short for the incoming traffic.
fn fill_incoming(stage: &mut Stage, liars: &[usize]) {
    let from = stage.peers[liars[0]].address.ip();
    let mut n = 0;
    let before = stage.engine.stats().dropped(DropReason::IncomingFull)
        + stage.engine.stats().dropped(DropReason::TooLittleWork);
    loop {
        n += 1;
        let port = 1_000 + u16::try_from(n % 60_000).unwrap();
        let packet = unopenable(5_000_000 + n % 512, port);
        let from = SocketAddr::new(from, port);
        stage.engine.enqueue_datagram(stage.now, from, &packet);
        let refused = stage.engine.stats().dropped(DropReason::IncomingFull)
            + stage.engine.stats().dropped(DropReason::TooLittleWork);
        if refused > before + 100 {
            return;
        }
    }
}

fn ask_beside_queue(stage: &mut Stage, honest: usize) -> u32 {
    let me = stage.me();
    let from = stage.peers[honest].address;
    stage.peers[honest].got.clear();
    for n in 0..ASKED {
        let stored = stage.store.insert(atom(n));
        let content = request(Action::Get(Some(PayloadType::ATOM)), stored, &[]);
        let get = stage.peers[honest].sealed(&me, Topic::ObjectRequest, &content);
        let datagram = Datagram::parse(from, &get).unwrap();
        if stage.engine.is_urgent(&datagram) {
            stage.deliver(honest, &get);
        } else {
            stage.engine.enqueue_datagram(stage.now, from, &get);
        }
    }
    let is_object = |(topic, _): &&(Topic, Vec<u8>)| *topic == Topic::ObjectResponse;
    let came = stage.peers[honest].got.iter().filter(is_object).count();
    u32::try_from(came).unwrap()
}

/// Newcomers whose packets have the work that the queue requires.
fn join_with_required_work(stage: &mut Stage, _: usize) -> u32 {
    let me = stage.me();
    let mut newcomers = Vec::new();
    for n in 0..ASKED {
        let newcomer = stage.add(peer(5_500_000 + n, of_other_group(n)));
        let mut ping = stage.peers[newcomer].ping(&me, None);
        let required = stage.engine.required_difficulty();
        let mut draft = Draft::resume(&mut ping).unwrap();
        assert!(draft.try_work(required.into(), 64 << required));
        let from = stage.peers[newcomer].address;
        stage.engine.enqueue_datagram(stage.now, from, &ping);
        newcomers.push(newcomer);
    }
    // The host has time for the queue again, at a pace that key agreements allow.
    while stage.engine.handle_queued(stage.now, &stage.store) {
        stage.carry();
        stage.now = stage.now + Duration::from_millis(1);
    }
    let is_known = |newcomer: &&usize| stage.knows(**newcomer);
    u32::try_from(newcomers.iter().filter(is_known).count()).unwrap()
}

/// States the difficulty that a peer requires.
fn state_difficulty(stage: &mut Stage, peer: usize, difficulty: u8) {
    let me = stage.me();
    let packet = stage.peers[peer].sealed(&me, Topic::Ping, &unknown_peer::ping(difficulty));
    hand_over(stage, peer, &packet);
}

/// Requests an object of the engine, which answers as soon as the work of the answer is done.
fn get_stored(stage: &mut Stage, asker: usize, id: AtomId) {
    let me = stage.me();
    let content = request(Action::Get(Some(PayloadType::ATOM)), id, &[]);
    let get = stage.peers[asker].sealed(&me, Topic::ObjectRequest, &content);
    hand_over(stage, asker, &get);
}

/// Peers that require the greatest difficulty request objects. None of the searches ends.
fn require_work(stage: &mut Stage, liars: &[usize]) {
    let stored = stage.store.insert(atom(1));
    for liar in liars {
        state_difficulty(stage, *liar, limits::MAX_DIFFICULTY);
        for _ in 0..2 * limits::MAX_WORK_PER_ADDRESS {
            get_stored(stage, *liar, stored);
        }
    }
    assert!(stage.engine.stats().dropped(DropReason::WorkBudget) > 0);
    while stage.engine.poll_work().is_some() {}
}

fn ask_with_difficulty(stage: &mut Stage, honest: usize) -> u32 {
    // The least that is not searched at once.
    state_difficulty(stage, honest, 10);
    stage.peers[honest].got.clear();
    let liars: Vec<usize> = (honest + 1..stage.peers.len()).collect();
    for n in 0..ASKED {
        let stored = stage.store.insert(atom(n));
        get_stored(stage, honest, stored);
        while let Some(mut work) = stage.engine.poll_work() {
            let done = work.run(1 << 20).unwrap();
            stage.engine.handle_work(stage.now, done);
        }
        stage.carry();
        // The flood goes on.
        if stage.engine.pending_work() > 0 {
            get_stored(
                stage,
                liars[usize::try_from(n).unwrap() % liars.len()],
                stored,
            );
            while stage.engine.poll_work().is_some() {}
        }
    }
    let is_object = |(topic, _): &&(Topic, Vec<u8>)| *topic == Topic::ObjectResponse;
    let came = stage.peers[honest].got.iter().filter(is_object).count();
    u32::try_from(came).unwrap()
}

fn cause_fetches(stage: &mut Stage, liars: &[usize]) {
    for liar in liars {
        stage.peers[*liar].answers_gets = false;
    }
    let keys: Vec<PublicKey> = liars.iter().map(|liar| stage.peers[*liar].key()).collect();
    let count = u32::try_from(limits::MAX_FETCHES).unwrap() + 1_000;
    for (n, key) in (0..count).zip(keys.iter().cycle()) {
        let now = stage.now;
        stage.engine.fetch(
            now,
            FetchRequest::atom(id(3_000_000 + n)).first_from(Some(*key)),
        );
        discard(stage);
    }
    stage.carry();
    stage.events.clear();
}

fn fetch(stage: &mut Stage, honest: usize) -> u32 {
    let from = stage.peers[honest].key();
    for n in 0..ASKED {
        let id = stage.peers[honest].store.insert(atom(n));
        stage
            .engine
            .fetch(stage.now, FetchRequest::atom(id).first_from(Some(from)));
        stage.carry();
    }
    let fetched = stage.fetched().into_iter().filter(Result::is_ok).count();
    u32::try_from(fetched).unwrap()
}

fn announce_many(stage: &mut Stage, liars: &[usize]) {
    let me = stage.me();
    let count = 2 * u32::try_from(limits::MAX_EVENTS).unwrap();
    for (n, liar) in (0..count).zip(liars.iter().cycle()) {
        let content = id(n);
        let packet = stage.peers[*liar].sealed(&me, Topic::Transaction, content.as_bytes());
        hand_over(stage, *liar, &packet);
    }
}

fn announce(stage: &mut Stage, honest: usize) -> u32 {
    let me = stage.me();
    let key = stage.peers[honest].key();
    for n in 0..ASKED {
        let content = id(6_000_000 + n);
        let packet = stage.peers[honest].sealed(&me, Topic::Transaction, content.as_bytes());
        hand_over(stage, honest, &packet);
    }
    let liars: Vec<usize> = (honest + 1..stage.peers.len()).collect();
    announce_many(stage, &liars);
    let mut reported = 0;
    while let Some(event) = stage.engine.poll_event() {
        reported += u32::from(matches!(event, Event::Transaction { peer, .. } if peer == key));
    }
    reported
}

/// A store that has everything on a disk.
struct AllOnDisk;

impl ObjectSource for AllOnDisk {
    fn look_up(&self, _: &AtomId) -> LookUp {
        LookUp::OnDisk
    }
}

fn get_from_disk(stage: &mut Stage, asker: usize, id: AtomId) {
    let me = stage.me();
    let content = request(Action::Get(Some(PayloadType::ATOM)), id, &[]);
    let get = stage.peers[asker].sealed(&me, Topic::ObjectRequest, &content);
    stage.peers[asker].sent.clear();
    let from = stage.peers[asker].address;
    stage
        .engine
        .handle_datagram(stage.now, from, &get, &AllOnDisk);
}

fn ask_for_disk(stage: &mut Stage, liars: &[usize]) {
    let count = u32::try_from(limits::MAX_READS).unwrap() + 1_000;
    for (n, liar) in (0..count).zip(liars.iter().cycle()) {
        get_from_disk(stage, *liar, id(7_000_000 + n));
    }
    assert!(stage.engine.pending_reads() >= limits::MAX_READS - liars.len());
}

fn ask_for_disk_once(stage: &mut Stage, honest: usize) -> u32 {
    let ids: Vec<AtomId> = (0..ASKED)
        .map(|n| stage.peers[honest].store.insert(atom(n)))
        .collect();
    for id in &ids {
        get_from_disk(stage, honest, *id);
    }
    let store = stage.peers[honest].store.clone();
    stage.peers[honest].got.clear();
    // As many turns as the honest requests take if every second one is another's.
    for _ in 0..3 * ASKED {
        let Some(read) = stage.engine.poll_read(stage.now) else {
            break;
        };
        let done = read.run(&store, || false);
        stage.engine.handle_read(stage.now, done);
        stage.carry();
    }
    let is_object = |(topic, content): &&(Topic, Vec<u8>)| {
        let response = Response::decode(content);
        *topic == Topic::ObjectResponse
            && response.is_ok_and(|response| response.answer == Answer::Found)
    };
    let came = stage.peers[honest].got.iter().filter(is_object).count();
    u32::try_from(came).unwrap()
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
