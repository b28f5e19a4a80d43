//! Cases against the live node on loopback.

use crate::Settings;
use crate::cores::DividedCores;
use crate::figures::{Figures, percentile};
use crate::peer::{self, Peer};
use crate::process::{HOT_BYTES, Node, QUEUE_BYTES};
use crate::raw_peer::{self, RawPeer};
use crate::world::secret;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::{PublicKey, SecretKey};
use astreum_core::engine::DropReason;
use astreum_core::wire::message::Topic;
use astreum_core::wire::object::{Answer, PayloadType};
use astreum_core::wire::packet::{Draft, NONCE_BYTES};
use astreum_tests::random::Random;
use core::net::SocketAddrV4;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::net::UdpSocket;
use std::thread;
use std::time::Instant;

const MIB: u64 = 1 << 20;
/// Pause between two handshakes of honest peers during a flood, and between two requests.
const PAUSE: Duration = Duration::from_millis(20);
/// Number of handshakes that are sent before the peer counts as unanswered. On loopback the sender
/// of a flood can outrun any receiver: the kernel then drops up to two thirds of all datagrams,
/// honest ones included, and three tries would all be lost by one peer of four.
const TRIES: u32 = 10;
/// Minimum time until the next handshake. Up to as much again is added at random: a full kernel
/// buffer opens and closes at a steady pace, which evenly spaced tries could always miss.
const TRY_TIMEOUT: Duration = Duration::from_millis(200);

/// Starts a handshake with a fresh key. Returns the time until the node's handshake and the number
/// of tries.
fn time_handshake(node: &Node, random: &mut Random) -> Option<(Duration, u32)> {
    let socket = peer::socket();
    let port = socket.local_addr().unwrap().port();
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes());
    }
    let key = SecretKey::from_bytes(bytes).public_key();
    let mut buffer = [0; 2_048];
    let started = Instant::now();
    for tried in 1..=TRIES {
        // A retry has more proof of work, because the node may demand it.
        let packet = raw_peer::handshake(&key, port, 1 + (tried - 1).min(2) * 8);
        let _ = socket.send_to(&packet, node.address);
        let jitter = random.below(TRY_TIMEOUT.as_micros() as usize) as u64;
        let until = Instant::now() + TRY_TIMEOUT + Duration::from_micros(jitter);
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            socket.set_read_timeout(Some(left)).unwrap();
            let Ok(len) = socket.recv(&mut buffer) else {
                break;
            };
            let message = &buffer[NONCE_BYTES.min(len)..len];
            if message.first() == Some(&1) && message.get(1..33) == Some(node.key.as_bytes()) {
                return Some((started.elapsed(), tried));
            }
        }
    }
    None
}

/// Returns junk packets of every kind that costs the node some work before it is dropped.
fn junk(node: &Node) -> Vec<Vec<u8>> {
    let mut random = Random::new(1);
    let mut unknown_peers: Vec<RawPeer> = (0..64)
        .map(|n| RawPeer::new(secret(2_000 + n), &node.key, n))
        .collect();
    (0..40_000)
        .map(|n| {
            let port = 9 + u16::try_from(n % 5_000).unwrap();
            let peer = random.below(unknown_peers.len());
            let peer = &mut unknown_peers[peer];
            let len = random.below(1_300);
            match n % 8 {
                // No proof of work.
                0 => random.bytes(200),
                // Proof of work, and no message.
                1 => raw_peer::worked(&random.bytes(20)),
                // Random bytes as a sealed message, for a key that does not exist.
                2 | 3 => {
                    let mut message = random.bytes(40 + len);
                    message[0] = 0;
                    message[32] &= 0x7f;
                    raw_peer::worked(&message)
                }
                // Sealed by a peer, and corrupted.
                4 => {
                    let mut packet = peer.sealed(port, Topic::Ping, &random.bytes(len), 1);
                    *packet.last_mut().unwrap() ^= 1;
                    packet
                }
                // Authentic, and malformed.
                5 => {
                    let topic = random.one_of(&Topic::ALL);
                    peer.sealed(port, topic, &random.bytes(len % 80), 1)
                }
                // Authentic requests for unavailable objects.
                6 => {
                    let id = AtomId::new(secret(u32::try_from(n).unwrap()));
                    let content = raw_peer::get(id, PayloadType::ATOM);
                    peer.sealed(port, Topic::ObjectRequest, &content, 1)
                }
                // Handshakes of fresh keys.
                _ => {
                    let mut key = [0; 32];
                    key[..24].copy_from_slice(&random.bytes(24));
                    raw_peer::handshake(&PublicKey::new(key), port, 1)
                }
            }
        })
        .collect()
}

/// Sends these packets repeatedly until `stop` is set.
fn hose(node: &Node, packets: &[Vec<u8>], stop: &AtomicBool, sent: &AtomicU64) {
    let socket = peer::socket();
    socket.connect(node.address).unwrap();
    while !stop.load(Ordering::Relaxed) {
        for packet in packets {
            // Errors are ignored: a full kernel buffer does not matter here.
            let _ = socket.send(packet);
        }
        sent.fetch_add(packets.len() as u64, Ordering::Relaxed);
    }
}

/// Sends junk as fast as loopback accepts it, beside honest peers.
pub(crate) fn flood(settings: &Settings, figures: &mut Figures) {
    let cores = DividedCores::for_node();
    let node = Node::start(settings, "flood");
    cores.leave_to_node();
    let atoms: Vec<Atom> = (0..8).map(raw_peer::large_atom).collect();
    for atom in &atoms {
        node.put(atom);
    }
    let mut honest = Peer::new(secret(1));
    assert!(
        honest.connect_to(&node),
        "an honest peer is connected to the node before the flood"
    );
    let packets = junk(&node);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (received_before, log_before) = (node.counter("datagrams_received"), node.log_bytes());
    let mut resident = node.resident_bytes();
    let started = Instant::now();
    let hoses = thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
    let (mut shakes, mut shaken, mut at_once) = (0u32, Vec::new(), 0u32);
    let (mut fetches, mut fetched) = (0u32, Vec::new());
    thread::scope(|scope| {
        for hose_number in 0..hoses {
            let packets = &packets[hose_number * 1_000..];
            scope.spawn(|| hose(&node, packets, &stop, &sent));
        }
        let shaking = scope.spawn(|| {
            let mut random = Random::new(3);
            let (mut tried, mut took, mut at_once) = (0, Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                tried += 1;
                if let Some((time, tries)) = time_handshake(&node, &mut random) {
                    took.push(time);
                    at_once += u32::from(tries == 1);
                }
                thread::sleep(PAUSE);
            }
            (tried, took, at_once)
        });
        while started.elapsed() < settings.flood {
            fetches += 1;
            let id = atoms[fetches as usize % atoms.len()].id();
            fetched.extend(honest.fetch(id));
            honest.run(PAUSE, |_| false);
            if fetches % 10 == 0 {
                resident = resident.max(node.resident_bytes());
            }
        }
        stop.store(true, Ordering::Relaxed);
        (shakes, shaken, at_once) = shaking.join().unwrap();
    });
    let took = started.elapsed();
    let received = node.counter("datagrams_received") - received_before;
    let log_bytes = node.log_bytes() - log_before;
    let minutes = took.as_secs_f64() / 60.0;
    figures.note(
        "datagrams sent, and received by the node, per second",
        format!(
            "{:.0}, {:.0}",
            sent.load(Ordering::Relaxed) as f64 / took.as_secs_f64(),
            received as f64 / took.as_secs_f64()
        ),
    );
    let cap = HOT_BYTES + 2 * QUEUE_BYTES + 64 * MIB;
    figures.bar(
        "maximum resident memory",
        format!("{} MiB", resident / MIB),
        &format!("caps + 64 MiB = {} MiB", cap / MIB),
        resident <= cap,
    );
    let share = |part: usize, of: u32| part as f64 * 100.0 / f64::from(of.max(1));
    let arrived = received as f64 * 100.0 / sent.load(Ordering::Relaxed).max(1) as f64;
    figures.bar(
        "answered honest handshakes",
        format!(
            "{:.1} % of {shakes}, p99 {:?}",
            share(shaken.len(), shakes),
            percentile(&mut shaken, 0.99)
        ),
        "95 %",
        share(shaken.len(), shakes) >= 95.0,
    );
    // The kernel drops what exceeds the socket's buffer; what arrives is answered.
    let first = share(at_once as usize, shakes);
    figures.bar(
        "honest handshakes answered at the first try, all datagrams that arrived",
        format!("{first:.1} %, {arrived:.1} %"),
        "three quarters of the share that arrived",
        first >= 0.75 * arrived,
    );
    figures.bar(
        "answered honest requests for 4 KB",
        format!(
            "{:.1} % of {fetches}, p50 {:?}, p99 {:?}",
            share(fetched.len(), fetches),
            percentile(&mut fetched, 0.5),
            percentile(&mut fetched, 0.99)
        ),
        "95 %",
        share(fetched.len(), fetches) >= 95.0,
    );
    figures.bar(
        "log growth per minute",
        format!("{:.0} bytes", log_bytes as f64 / minutes),
        "1 MB",
        log_bytes as f64 / minutes <= 1e6,
    );
}

/// Runs peers that demand difficulty 255 and request answers continuously.
pub(crate) fn difficulty(settings: &Settings, figures: &mut Figures) {
    let node = Node::start(settings, "difficulty");
    let atom = Atom::bytes(*b"small");
    node.put(&atom);
    let stop = AtomicBool::new(false);
    let mut took = Vec::new();
    let mut missed = 0;
    let mut random = Random::new(4);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut unknown_peers: Vec<(UdpSocket, RawPeer)> = (0..16)
                .map(|n| {
                    (
                        peer::socket(),
                        RawPeer::new(secret(3_000 + n), &node.key, n),
                    )
                })
                .collect();
            while !stop.load(Ordering::Relaxed) {
                for (socket, peer) in &mut unknown_peers {
                    let port = socket.local_addr().unwrap().port();
                    let content = raw_peer::get(atom.id(), PayloadType::ATOM);
                    for packet in [
                        peer.sealed(port, Topic::Ping, &raw_peer::ping(255), 1),
                        peer.sealed(port, Topic::ObjectRequest, &content, 1),
                    ] {
                        let _ = socket.send_to(&packet, node.address);
                    }
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let end = Instant::now() + settings.flood.min(Duration::from_secs(10));
        while Instant::now() < end {
            match time_handshake(&node, &mut random) {
                Some((time, _)) => took.push(time),
                None => missed += 1,
            }
            thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let budget = node.counter(&format!("dropped: {}", DropReason::WorkBudget));
    figures.note("packets whose proof-of-work search was abandoned", budget);
    figures.bar(
        "handshakes of other peers",
        format!(
            "{} answered, {missed} not, p50 {:?}, p99 {:?}",
            took.len(),
            percentile(&mut took, 0.5),
            percentile(&mut took, 0.99)
        ),
        "p99 below 100 ms",
        missed == 0 && budget > 0 && percentile(&mut took, 0.99) < Duration::from_millis(100),
    );
}

/// Sends replays, reflections, handshakes in stolen names and unsolicited responses.
pub(crate) fn takeover(settings: &Settings, figures: &mut Figures) {
    let node = Node::start(settings, "takeover");
    let wanted = raw_peer::large_atom(1);
    node.put(&wanted);
    let mut honest = Peer::new(secret(1));
    (honest.received, honest.sent) = (Some(Vec::new()), Some(Vec::new()));
    let mut attacker = Peer::new(secret(2));
    assert!(
        honest.connect_to(&node) && attacker.connect_to(&node),
        "both are connected to the node"
    );
    assert!(honest.fetch(wanted.id()).is_some(), "the node serves them");
    thread::sleep(Duration::from_millis(300));
    let before = node.status();
    let spoofing = peer::socket();
    let port = spoofing.local_addr().unwrap().port();
    let is_sealed = |packet: &&Vec<u8>| packet.get(NONCE_BYTES) == Some(&0);
    let sent = honest.sent.take().unwrap_or_default();
    let received = honest.received.take().unwrap_or_default();
    let send = |packet: &[u8]| {
        spoofing.send_to(packet, node.address).unwrap();
        thread::sleep(Duration::from_micros(200));
    };
    let (mut replayed, mut reflected) = (0u64, 0u64);
    for packet in sent.iter().filter(is_sealed) {
        // Unchanged, and with the answer directed to the attacker.
        send(packet);
        let mut moved = packet.clone();
        moved[NONCE_BYTES + 33..NONCE_BYTES + 35].copy_from_slice(&port.to_be_bytes());
        Draft::resume(&mut moved).unwrap().work(1);
        send(&moved);
        replayed += 2;
    }
    let own = *honest.engine.public_key();
    for packet in received.iter().filter(is_sealed) {
        let mut bytes = packet.clone();
        bytes[NONCE_BYTES + 1..NONCE_BYTES + 33].copy_from_slice(own.as_bytes());
        bytes[NONCE_BYTES + 33..NONCE_BYTES + 35].copy_from_slice(&port.to_be_bytes());
        Draft::resume(&mut bytes).unwrap().work(1);
        send(&bytes);
        reflected += 1;
    }
    for _ in 0..100 {
        send(&raw_peer::handshake(&own, port, 1));
    }
    // Responses of a known peer to requests that were never sent to it.
    let mut sender = RawPeer::new(secret(2), &node.key, 0xeeee);
    let from = attacker.address().port();
    let forged = Atom::bytes(*b"forged");
    let mut found = vec![1];
    forged.write_to(&mut found);
    let address = SocketAddrV4::new([127, 0, 0, 1].into(), port);
    let contact = raw_peer::contact(own, address);
    let mut unsolicited = 0;
    for (answer, data) in [
        (Answer::Found, &found),
        (Answer::Provider, &contact),
        (Answer::Nearest, &contact),
    ] {
        let content = raw_peer::respond(answer, forged.id(), data);
        send(&sender.sealed(from, Topic::ObjectResponse, &content, 1));
        unsolicited += 1;
    }
    thread::sleep(Duration::from_secs(1));
    let after = node.status();
    let dropped = |reason: DropReason| {
        let name = format!("dropped: {reason}");
        let of = |status: &astreum_node::rpc::StatusReply| {
            status.counters.get(&name).copied().unwrap_or_default()
        };
        of(&after) - of(&before)
    };
    for (what, reason, made) in [
        ("replayed packets dropped", DropReason::Replayed, replayed),
        (
            "reflected packets dropped",
            DropReason::Reflected,
            reflected,
        ),
        (
            "unsolicited responses dropped",
            DropReason::Unsolicited,
            unsolicited,
        ),
    ] {
        let count = dropped(reason);
        figures.bar(
            what,
            format!("{count} of {made}"),
            "all",
            count == made && made > 0,
        );
    }
    let mut stolen = 0;
    spoofing
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let mut buffer = [0; 2_048];
    let mut beyond_handshakes = 0;
    while let Ok(len) = spoofing.recv(&mut buffer) {
        stolen += 1;
        // Larger than a handshake or an address validation request. The latter is sealed for the
        // owner of the name, which has not requested it here.
        beyond_handshakes += u32::from(len > 200);
    }
    figures.note(
        "small packets to the attacker for 100 handshakes with a stolen key",
        stolen,
    );
    figures.bar(
        "larger ones",
        beyond_handshakes,
        "none",
        beyond_handshakes == 0,
    );
    let peers = node.peers();
    let at_home = peers.iter().any(|peer| {
        peer.public_key == own && peer.is_validated && peer.address == honest.address()
    });
    figures.bar(
        "the address of the owner is unchanged",
        at_home,
        "true",
        at_home,
    );
    figures.bar("peers", peers.len(), "2", peers.len() == 2);
    figures.bar(
        "forged atoms accepted",
        after.hot_atoms - before.hot_atoms,
        "0",
        after.hot_atoms == before.hot_atoms,
    );
    let served = honest.fetch(wanted.id()).is_some();
    figures.bar("the owner is still served", served, "true", served);
}

/// Sends oversized, truncated, bit-flipped and inconsistent packets, most of them authentic.
pub(crate) fn malformed(settings: &Settings, figures: &mut Figures) {
    let mut node = Node::start(settings, "malformed");
    let wanted = raw_peer::large_atom(1);
    node.put(&wanted);
    let mut honest = Peer::new(secret(1));
    let mut attacker = Peer::new(secret(2));
    assert!(
        honest.connect_to(&node) && attacker.connect_to(&node),
        "both are connected to the node"
    );
    let before = node.counter("datagrams_received");
    let mut sender = RawPeer::new(secret(2), &node.key, 0xeeee);
    let from = attacker.address().port();
    let socket = peer::socket();
    let mut random = Random::new(5);
    let mut count = 0u64;
    let mut send = |packet: &[u8]| {
        let _ = socket.send_to(packet, node.address);
        count += 1;
        if count.is_multiple_of(32) {
            thread::sleep(Duration::from_millis(1));
        }
    };
    let mut link = Atom::bytes(*b"end");
    // Nested lists: content that the answer to a list request may have.
    let mut nested = vec![2];
    for _ in 0..30 {
        let mut stored = Vec::new();
        link.write_to(&mut stored);
        nested.extend_from_slice(&u32::try_from(stored.len()).unwrap().to_be_bytes());
        nested.extend_from_slice(&stored);
        link = Atom::list(link.id(), AtomId::ZERO);
    }
    let contents: Vec<Vec<u8>> = vec![
        raw_peer::ping(1),
        raw_peer::get(wanted.id(), PayloadType::LIST),
        raw_peer::respond(Answer::Found, wanted.id(), &nested),
        raw_peer::respond(Answer::Nearest, wanted.id(), &[7; 38]),
        vec![0],
        [127, 0, 0, 1, 0, 9].repeat(600),
        vec![7; 32],
        vec![],
    ];
    for topic in Topic::ALL {
        for content in &contents {
            // Every content under every topic, truncated and bit-flipped before it is sealed, so
            // that it reaches the decoders.
            for len in 0..content.len().min(80) {
                send(&sender.sealed(from, topic, &content[..len], 1));
            }
            for _ in 0..40 {
                let mut flipped = content.clone();
                let at = random.below(flipped.len().max(1));
                if let Some(byte) = flipped.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
                send(&sender.sealed(from, topic, &flipped, 1));
            }
            let packet = sender.sealed(from, topic, content, 1);
            for len in (0..packet.len()).step_by(3) {
                send(&packet[..len]);
            }
            for _ in 0..40 {
                let mut flipped = packet.clone();
                let at = random.below(flipped.len());
                flipped[at] ^= 1 << random.below(8);
                send(&flipped);
                Draft::resume(&mut flipped).unwrap().work(1);
                send(&flipped);
            }
        }
        for len in [1_500, 4_096, 30_000, 65_400] {
            send(&sender.sealed(from, topic, &random.bytes(len), 1));
        }
    }
    for len in [65_507, 65_000, 9_000] {
        for flag in [0, 1] {
            let mut message = random.bytes(len - NONCE_BYTES);
            message[0] = flag;
            send(&raw_peer::worked(&message));
        }
    }
    thread::sleep(Duration::from_millis(500));
    let received = node.counter("datagrams_received") - before;
    figures.bar(
        "malformed packets handled",
        format!("{received} of {count}"),
        "99 %",
        received * 100 >= count * 99,
    );
    let is_alive = node.is_alive();
    figures.bar("the node runs", is_alive, "true", is_alive);
    let resident = node.resident_bytes();
    let cap = HOT_BYTES + 2 * QUEUE_BYTES + 64 * MIB;
    figures.bar(
        "resident memory",
        format!("{} MiB", resident / MIB),
        &format!("caps + 64 MiB = {} MiB", cap / MIB),
        resident <= cap,
    );
    let served = honest.fetch(wanted.id()).is_some();
    figures.bar("an honest peer is served", served, "true", served);
}
