//! Tests of the provider index under records of hostile peers.

use super::net::{Net, at, key};
use super::scripted::{Scripted, Stage, atom};
use super::unknown_peer;
use crate::atom::{Atom, AtomId};
use crate::crypto::PublicKey;
use crate::engine::{DropReason, FetchRequest, contact, limits};
use crate::wire::message::Topic;
use crate::wire::object::{Action, Answer, PayloadType, Request, Response};
use crate::wire::routing_table::Distance;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn id(n: u32) -> AtomId {
    AtomId::new(crate::crypto::hash(&n.to_be_bytes()))
}

fn peer(n: u32, ip: [u8; 4]) -> Scripted {
    let port = 4_000 + u16::try_from(n % 10_000).unwrap();
    Scripted::new(n, SocketAddr::from((ip, port)))
}

/// Returns a put by `source`.
fn put(
    source: &mut Scripted,
    to: &PublicKey,
    id: AtomId,
    (key, address): (PublicKey, SocketAddr),
) -> Vec<u8> {
    let mut content = Vec::new();
    Request {
        action: Action::Put(PayloadType::ATOM),
        atom_id: id,
        data: &contact::encode(key, address),
    }
    .write(&mut content);
    source.sealed(to, Topic::ObjectRequest, &content)
}

/// Returns the key and address of a provider that never answers.
fn dead(n: u32) -> (PublicKey, SocketAddr) {
    let [.., high, low] = n.to_be_bytes();
    let address = SocketAddr::from(([60, 9, high, low], 9));
    (unknown_peer::many(50_000 + n).public_key(), address)
}

#[test]
fn records_count_only_from_validated_peers() {
    let mut stage = Stage::new();
    let me = stage.me();
    let mute = stage.add(peer(1, [8, 8, 8, 8]));
    stage.peers[mute].answers_probes = false;
    for n in 0..40 {
        let record = put(&mut stage.peers[mute], &me, id(n), dead(n));
        stage.deliver(mute, &record);
    }
    stage.run(5 * SECOND);
    assert_eq!(stage.engine.provider_count(), 0);
    // A record that comes before the validation waits for it, within a bound.
    let honest = stage.add(peer(2, [9, 9, 9, 9]));
    let first = stage.peers[honest].put(&me, id(1));
    stage.deliver(honest, &first);
    assert!(stage.knows(honest));
    assert_eq!(stage.engine.provider_count(), 1);
    let records: Vec<_> = stage.engine.providers_of(stage.now, &id(1)).collect();
    assert!(records[0].is_own && records[0].key == stage.peers[honest].key());
    assert!(stage.engine.stats().dropped(DropReason::NotValidated) > 0);
}

/// Returns the providers that an engine names to a peer that asks repeatedly.
fn named(stage: &mut Stage, asker: usize, id: AtomId, times: usize) -> Vec<PublicKey> {
    let me = stage.me();
    stage.peers[asker].got.clear();
    for _ in 0..times {
        let mut content = Vec::new();
        Request {
            action: Action::Get(Some(PayloadType::ATOM)),
            atom_id: id,
            data: &[],
        }
        .write(&mut content);
        let get = stage.peers[asker].sealed(&me, Topic::ObjectRequest, &content);
        stage.deliver(asker, &get);
    }
    let responses = stage.peers[asker]
        .got
        .iter()
        .filter_map(|(topic, content)| {
            let response = Response::decode(content).ok()?;
            let is_redirect =
                *topic == Topic::ObjectResponse && response.answer == Answer::Provider;
            is_redirect.then(|| contact::decode(response.data))?
        });
    responses.map(|(key, _)| key).collect()
}

#[test]
fn redirects_name_own_records_first_and_then_every_other() {
    let mut stage = Stage::new();
    let me = stage.me();
    let honest = stage.join(peer(1, [7, 7, 7, 7]));
    let record = stage.peers[honest].put(&me, id(1));
    stage.deliver(honest, &record);
    let mut all = Vec::from([stage.peers[honest].key()]);
    for n in 0..100u32 {
        let [.., low] = n.to_be_bytes();
        let liar = stage.join(peer(100 + n, [20 + low, 8, 8, 8]));
        let record = put(&mut stage.peers[liar], &me, id(1), dead(n));
        stage.deliver(liar, &record);
    }
    all.extend(
        stage
            .engine
            .providers_of(stage.now, &id(1))
            .map(|it| it.key),
    );
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), limits::MAX_PROVIDERS_PER_ID);
    for n in 0..5 {
        let asker = stage.join(peer(1_000 + n, [127, 0, 0, 1]));
        let mut named = named(&mut stage, asker, id(1), all.len());
        assert_eq!(named[0], stage.peers[honest].key());
        named.sort_unstable();
        assert_eq!(named, all);
    }
}

#[test]
fn five_keys_of_one_network_neither_fill_the_index_nor_stop_forwarding() {
    let mut stage = Stage::new();
    let me = stage.me();
    let honest = stage.join(peer(1, [7, 7, 7, 7]));
    let liars = [2, 3, 4, 5, 6].map(|n| stage.join(peer(n, [9, 9, 9, 9])));
    let advertise = |stage: &mut Stage, ids: core::ops::Range<u32>| {
        let before: usize = liars.iter().map(|liar| stage.peers[*liar].records()).sum();
        for n in ids {
            let record = stage.peers[honest].put(&me, id(n));
            stage.deliver(honest, &record);
        }
        let after: usize = liars.iter().map(|liar| stage.peers[*liar].records()).sum();
        after - before
    };
    let usual = advertise(&mut stage, 0..256);
    for n in 0..20_000u32 {
        let liar = liars[usize::try_from(n % 5).unwrap()];
        let record = stage.peers[liar].put(&me, id(1_000_000 + n));
        let from = stage.peers[liar].address;
        stage.peers[liar].sent.clear();
        stage
            .engine
            .handle_datagram(stage.now, from, &record, &stage.store);
        if n % 1_000 == 0 {
            stage.run(Duration::from_micros(100));
            for liar in liars {
                stage.peers[liar].got.clear();
            }
        }
    }
    stage.carry();
    for liar in liars {
        stage.peers[liar].got.clear();
    }
    let now = advertise(&mut stage, 256..512);
    assert!(now * 100 >= usual * 80, "{now} forwarded, {usual} before");
    let is_kept = |n: &u32| {
        let id = id(*n);
        stage.engine.providers_of(stage.now, &id).next().is_some()
    };
    assert_eq!((0..512).filter(is_kept).count(), 512);
}

/// One peer knows dead records alone, and the other names that peer before it names the provider.
#[test]
fn referrer_of_a_peer_with_dead_records_is_asked_again() {
    let mut stage = Stage::new();
    let misled = stage.join(peer(1, [7, 7, 7, 7]));
    let referrer = stage.join(peer(2, [8, 8, 8, 8]));
    let provider = stage.add(peer(3, [9, 9, 9, 9]));
    let wanted = stage.peers[provider].store.insert(atom(1));
    let contact_of = |stage: &Stage, of: usize| (stage.peers[of].key(), stage.peers[of].address);
    stage.peers[misled].redirects = (0..8).map(dead).collect();
    stage.peers[referrer].redirects = [provider, misled].map(|of| contact_of(&stage, of)).to_vec();
    stage
        .engine
        .fetch(stage.now, FetchRequest::new(wanted, PayloadType::ATOM));
    stage.run(2 * SECOND);
    assert_eq!(stage.fetched(), [Ok(1)]);
}

/// Whichever of the nearer peers discards records, another one gets them.
#[test]
fn record_that_is_put_again_is_forwarded_to_another_peer() {
    let mut stage = Stage::new();
    let me = stage.me();
    let source = stage.join(peer(1, [7, 7, 7, 7]));
    let others: Vec<usize> = (2..5u8)
        .map(|n| stage.join(peer(n.into(), [8 + n, 8, 8, 8])))
        .collect();
    let own = |id: &AtomId| Distance::between(id.as_bytes(), me.as_bytes());
    let is_far = |id: &AtomId| {
        let mut keys = others.iter().map(|other| stage.peers[*other].key());
        keys.all(|key| Distance::between(id.as_bytes(), key.as_bytes()) < own(id))
    };
    let id = (0..).map(id).find(is_far).unwrap();
    let contact = (stage.peers[source].key(), stage.peers[source].address);
    for _ in 0..limits::MAX_FORWARDED_PUTS {
        let record = put(&mut stage.peers[source], &me, id, contact);
        stage.deliver(source, &record);
    }
    let forwarded = others.iter().map(|other| stage.peers[*other].records());
    assert_eq!(forwarded.collect::<Vec<_>>(), [1, 1, 1]);
}

/// Kind of record that a hostile peer puts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    /// A provider that does not exist.
    Others,
    /// Itself, although it answers nothing.
    Itself,
}

/// Lets nodes validate peers that are not hosts of the network, and accept a record of each. The
/// peers answer nothing from then on, or leave, and only the records remain.
fn put_records(
    net: &mut Net,
    victims: &[u8],
    liars: &mut [Scripted],
    (id, round): (AtomId, u32),
    (leaves, what): (bool, Lie),
) {
    let before = net.sent.len();
    for liar in &mut *liars {
        for victim in victims {
            let ping = liar.ping(&key(*victim), None);
            net.inject(liar.address, at(*victim), ping);
        }
    }
    net.run(Duration::from_millis(2));
    for liar in &mut *liars {
        let sent = net.sent_to(liar.address, before).into_iter();
        let sent: Vec<_> = sent
            .map(|packet| (packet.from, packet.bytes.clone()))
            .collect();
        for (victim, packet) in sent {
            if let Some(answer) = liar.receive(&packet) {
                net.inject(liar.address, victim, answer);
            }
        }
    }
    net.run(Duration::from_millis(2));
    for (n, liar) in (0..).zip(&mut *liars) {
        for victim in victims {
            let named = match what {
                Lie::Others => dead(256 * round + n),
                Lie::Itself => (liar.key(), liar.address),
            };
            let record = put(liar, &key(*victim), id, named);
            net.inject(liar.address, at(*victim), record);
        }
    }
    net.run(SECOND / 10);
    let dead_records: usize = victims
        .iter()
        .map(|victim| {
            let now = net.now;
            let records = net.engine(*victim).providers_of(now, &id);
            let is_of_liar = |source| liars.iter().any(|liar| liar.key() == source);
            records.filter(|record| is_of_liar(record.source)).count()
        })
        .sum();
    assert!(dead_records >= victims.len(), "{dead_records} records");
    for liar in liars.iter().filter(|_| leaves) {
        for victim in victims {
            net.with(*victim, |engine, _| engine.disconnect(&liar.key()));
        }
    }
    net.sent.clear();
}

/// Runs 30 fetches for each of `counts`, while the nodes nearest to each object hold dead records
/// of that many validated peers; returns the number of fetches that succeed. Objects, their holders
/// and askers, and the keys of the peers differ by `seed`.
fn found_beside_dead_records<const N: usize>(
    seed: u32,
    counts: [u8; N],
    leaves: bool,
    what: Lie,
) -> [u8; N] {
    const NODES: u8 = 60;
    const OBJECTS: u8 = 30;
    let mut net = Net::of_ours(NODES);
    for n in 2..=NODES {
        net.meet(n, 1 + (n - 1) / 8);
    }
    net.run(120 * SECOND);
    counts.map(|count| {
        let liar = |n: u8| {
            let address = SocketAddr::from(([127, 2, count, n], 9));
            let number = 100_000 * (seed + 1) + 200 * u32::from(count) + u32::from(n);
            Scripted::new(number, address)
        };
        let mut liars: Vec<Scripted> = (0..count).map(liar).collect();
        let mut found = 0;
        for round in 0..OBJECTS {
            let n = u32::from(round);
            let pick = |n: u32| 2 + u8::try_from(n % u32::from(NODES - 2)).unwrap();
            let (holder, asker) = (pick(n * 37 + seed), pick(n * 53 + 11 + 7 * seed));
            let [.., low] = seed.to_be_bytes();
            let id = net.put(holder, Atom::bytes([round, count, low]));
            net.with(holder, |engine, now| {
                engine.advertise(now, id, PayloadType::ATOM, None)
            });
            net.run(20 * SECOND);
            let mut nearest: Vec<u8> = (1..=NODES).filter(|n| *n != holder).collect();
            nearest.sort_by_key(|n| Distance::between(id.as_bytes(), key(*n).as_bytes()));
            put_records(&mut net, &nearest[..8], &mut liars, (id, n), (leaves, what));
            net.node(asker).events.clear();
            net.fetch(asker, id, PayloadType::ATOM);
            net.run(5 * SECOND);
            found += u8::from(net.fetched(asker).iter().any(Result::is_ok));
            net.with(holder, |engine, _| engine.withdraw(&id));
        }
        found
    })
}

#[test]
fn advertised_objects_are_found_beside_dead_records() {
    for what in [Lie::Others, Lie::Itself] {
        let found = found_beside_dead_records(0, [1, 10, 100], true, what);
        assert_eq!(found, [30; 3], "{what:?}");
    }
}

/// The hostile peers outnumber the honest nodes, and report a false address to all of them.
#[test]
fn advertised_objects_are_found_beside_validated_peers_that_answer_nothing() {
    for (seed, what) in [(0, Lie::Others), (1, Lie::Itself)] {
        let found = found_beside_dead_records(seed, [1, 10, 100], false, what);
        assert_eq!(found, [30; 3], "{what:?}, seed {seed}");
    }
}
