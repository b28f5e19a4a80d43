//! Tests of objects: serving, fetching, advertising, redirecting.

use super::net::{Net, at, config, key};
use crate::atom::{Atom, AtomId, bytes_list};
use crate::engine::{FetchError, FetchRequest, ListLimit};
use crate::wire::object::PayloadType;
use crate::wire::routing_table::Distance;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const ATOM: PayloadType = PayloadType::ATOM;
const LIST: PayloadType = PayloadType::LIST;

fn atom(n: u32) -> Atom {
    Atom::bytes(n.to_be_bytes())
}

/// Returns an atom whose id is nearest to node `nearest` among nodes 1 to `count`.
fn atom_near(nearest: u8, count: u8) -> Atom {
    let is_near = |id: &AtomId| {
        (1..=count).min_by_key(|n| Distance::between(id.as_bytes(), key(*n).as_bytes()))
            == Some(nearest)
    };
    (0..).map(atom).find(|atom| is_near(&atom.id())).unwrap()
}

#[test]
fn atom_is_fetched_in_two_packets() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let id = net.put(2, atom(1));
    let before = net.sent.len();
    net.fetch(1, id, ATOM);
    net.fetch(1, id, ATOM);
    net.run(SECOND);
    assert_eq!(
        net.fetched(1),
        [Ok(vec![atom(1)]), Ok(vec![atom(1)])],
        "one fetch for both"
    );
    assert_eq!(net.sent.len() - before, 2);
    assert_eq!(net.engine(1).pending_fetches(), 0);
}

#[test]
fn largest_atom_is_fetched_and_a_larger_one_is_not() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    for (len, expected) in [(65_368, true), (65_369, false)] {
        let atom = Atom::bytes(vec![7; len]);
        let id = net.put(2, atom.clone());
        net.fetch(1, id, ATOM);
        net.run(3 * SECOND);
        let result = net.fetched(1).pop().unwrap();
        assert_eq!(result.is_ok(), expected, "{result:?}");
    }
}

#[test]
fn lists_are_sent_in_parts_that_a_reference_can_receive() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let values: Vec<_> = (0..500u32).map(u32::to_be_bytes).collect();
    let (head, atoms) = bytes_list(&values);
    net.node(2).store.extend(atoms.clone());
    let before = net.sent.len();
    net.fetch(1, head, LIST);
    net.run(5 * SECOND);
    assert_eq!(net.fetched(1), [Ok(atoms)]);
    let packets = net.sent.len() - before;
    assert!(packets <= 14, "{packets} packets");
    assert!(net.sent.iter().all(|packet| packet.bytes.len() <= 4_096));
}

#[test]
fn unanswered_list_is_fetched_atom_by_atom() {
    let mut net = Net::of_ours(1);
    net.add_reference(2).is_listless = true;
    net.meet(1, 2);
    let (head, atoms) = bytes_list(&(0..300u32).map(u32::to_be_bytes).collect::<Vec<_>>());
    net.reference(2).store.extend(atoms.clone());
    net.fetch(1, head, LIST);
    net.run(5 * SECOND);
    assert_eq!(net.fetched(1), [Ok(atoms)]);
}

#[test]
fn list_beyond_the_limit_of_its_fetch_fails() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let (head, atoms) = bytes_list(&[[1; 100], [2; 100], [3; 100]]);
    net.node(2).store.extend(atoms.clone());
    let bytes = atoms.iter().map(Atom::stored_len).sum();
    // An atom is never cut, so the last one may exceed the limit of bytes.
    for (atoms, bytes) in [(2, bytes), (3, bytes / 2), (3, bytes)] {
        let limit = ListLimit { atoms, bytes };
        net.with(1, |engine, now| {
            engine.fetch(now, FetchRequest::list_within(head, limit))
        });
    }
    net.fetch(1, head, LIST);
    net.run(SECOND);
    let mut fetched = net.fetched(1);
    fetched.sort_by_key(Result::is_ok);
    let too_large = Err(FetchError::TooLarge);
    assert_eq!(
        fetched,
        [too_large.clone(), too_large, Ok(atoms.clone()), Ok(atoms)]
    );
}

#[test]
fn list_part_ends_at_the_limit_or_at_the_first_missing_atom() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let (head, atoms) = bytes_list(&(0..300u32).map(u32::to_be_bytes).collect::<Vec<_>>());
    let (torn, torn_atoms) = bytes_list(&[[1; 100], [2; 100], [3; 100]]);
    net.node(2).store.extend(atoms.clone());
    net.node(2).store.extend(torn_atoms.iter().take(2).cloned());
    let limit = |atoms, bytes| ListLimit { atoms, bytes };
    for (id, limit) in [
        (head, limit(200, 1 << 20)),
        (head, limit(300, 1 << 20)),
        // An atom is never cut: the third exceeds the limit.
        (head, limit(300, 80)),
        (torn, limit(300, 1 << 20)),
        (torn_atoms[2].id(), limit(300, 1 << 20)),
    ] {
        net.with(1, |engine, now| {
            engine.fetch(now, FetchRequest::beginning(id, limit))
        });
    }
    net.run(10 * SECOND);
    let mut fetched = net.fetched(1);
    fetched.sort_by_key(|outcome| outcome.as_ref().map_or(0, Vec::len));
    let beginning = |len: usize| Ok(atoms[..len].to_vec());
    assert_eq!(
        fetched,
        [
            Err(FetchError::NotFound),
            Ok(torn_atoms[..2].to_vec()),
            beginning(3),
            beginning(200),
            beginning(300),
        ]
    );
}

#[test]
fn preferred_peer_is_asked_although_others_are_nearer() {
    let count = 22;
    let mut net = Net::of_ours(count);
    for n in 2..=count {
        net.meet(1, n);
    }
    // More nodes are nearer to the atom than are ever asked, and it was not advertised.
    let atom = atom(1);
    let distance = |n: &u8| Distance::between(atom.id().as_bytes(), key(*n).as_bytes());
    let holder = (2..=count).max_by_key(distance).unwrap();
    let id = net.put(holder, atom.clone());
    net.fetch(1, id, ATOM);
    net.run(5 * SECOND);
    assert_eq!(net.fetched(1), [Err(FetchError::NotFound)]);
    let asked = net.with(1, |engine, now| {
        let fetch = engine.fetch(now, FetchRequest::new(id, ATOM));
        (engine.prefer_peer(now, fetch, &key(holder)), fetch)
    });
    assert!(asked.0);
    net.run(SECOND);
    assert_eq!(net.fetched(1).last(), Some(&Ok(vec![atom])));
    let again = net.with(1, |engine, now| {
        engine.prefer_peer(now, asked.1, &key(holder))
    });
    assert!(!again, "the fetch has ended");
}

#[test]
fn empty_list_is_fetched_without_peers() {
    let mut net = Net::of_ours(1);
    net.fetch(1, AtomId::ZERO, LIST);
    net.fetch(1, AtomId::ZERO, ATOM);
    net.run(SECOND);
    assert_eq!(net.fetched(1), [Ok(vec![]), Err(FetchError::NotFound)]);
}

#[test]
fn incomplete_list_fails_until_its_end_is_available() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    let (head, mut atoms) = bytes_list(&[b"a", b"b", b"c"]);
    let lost = atoms.pop().unwrap();
    net.reference(2).store.extend(atoms);
    net.fetch(1, head, LIST);
    net.run(9 * SECOND);
    assert_eq!(net.fetched(1).len(), 1);
    assert!(net.fetched(1)[0].is_err(), "the end is missing");
    net.reference(2).store.insert(lost);
    net.fetch(1, head, LIST);
    net.run(9 * SECOND);
    assert_eq!(net.fetched(1)[1].as_ref().map(Vec::len), Ok(3));
}

#[test]
fn reference_nodes_get_atoms_and_lists() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    let large = Atom::bytes(vec![1; 3_957]);
    let (head, atoms) = bytes_list(&vec![[5; 32]; 57]);
    let id = net.put(1, large.clone());
    net.node(1).store.extend(atoms);
    net.reference(2).get(&key(1), at(1), id, ATOM);
    net.reference(2).get(&key(1), at(1), head, LIST);
    net.run(SECOND);
    assert_eq!(net.reference(2).got.len(), 58);
}

#[test]
fn fetch_of_a_missing_object_fails_soon_with_few_packets() {
    for references in 0..=2 {
        let mut net = Net::of_ours(3 - references);
        for n in (3 - references + 1)..=3 {
            net.add_reference(n);
        }
        for n in 2..=3 {
            net.meet(1, n);
        }
        net.run(5 * SECOND);
        let before = net.sent.len();
        net.fetch(1, AtomId::new([0xcd; 32]), ATOM);
        net.run(4 * SECOND);
        assert_eq!(
            net.fetched(1),
            [Err(FetchError::NotFound)],
            "{references} references"
        );
        let packets = net.sent.len() - before;
        assert!(
            packets <= 12,
            "{packets} packets with {references} references"
        );
    }
}

#[test]
fn reference_node_is_not_redirected_in_circles() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    net.add_reference(3);
    net.meet(1, 3);
    net.run(5 * SECOND);
    let before = net.sent.len();
    for n in 0..20 {
        let mut id = [n; 32];
        id[0] = 0x55;
        net.reference(3).get(&key(1), at(1), AtomId::new(id), ATOM);
        net.run(3 * SECOND);
    }
    let packets = net.sent.len() - before;
    assert!(packets <= 20 * 6, "{packets} packets");
    assert!(net.sent_to(at(3), before).len() <= 20 * 3);
}

#[test]
fn fetch_without_peers_times_out_unless_one_joins() {
    let mut net = Net::of_ours(2);
    let id = net.put(2, atom(1));
    net.fetch(1, id, ATOM);
    net.run(SECOND);
    net.meet(1, 2);
    net.fetch(1, AtomId::new([1; 32]), ATOM);
    net.run(SECOND);
    assert_eq!(
        net.fetched(1),
        [Ok(vec![atom(1)]), Err(FetchError::NotFound)]
    );
    let mut alone = Net::of_ours(1);
    alone.fetch(1, id, ATOM);
    alone.run(3 * SECOND);
    assert_eq!(alone.fetched(1), [Err(FetchError::Timeout)]);
}

#[test]
fn lost_packets_are_sent_again() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    let id = net.reference(2).store.insert(atom(1));
    net.reference(2).is_dead = true;
    net.fetch(1, id, ATOM);
    net.run(SECOND / 2);
    net.reference(2).is_dead = false;
    net.run(SECOND);
    assert_eq!(net.fetched(1), [Ok(vec![atom(1)])]);
}

#[test]
fn cancelled_fetch_reports_nothing() {
    let mut net = Net::of_ours(1);
    let fetch = net.with(1, |engine, now| {
        engine.fetch(now, FetchRequest::new(AtomId::new([1; 32]), ATOM))
    });
    assert!(net.engine(1).cancel(fetch) && !net.engine(1).cancel(fetch));
    net.run(5 * SECOND);
    assert!(net.fetched(1).is_empty());
    assert_eq!(net.engine(1).pending_fetches(), 0);
}

#[test]
fn providers_are_found_through_the_nearest_peer() {
    // 1 and 3 know only 2; 3 provides an atom that 2 is nearest to.
    let mut net = Net::of_ours(3);
    net.meet(1, 2);
    net.meet(3, 2);
    let near = atom_near(2, 3);
    let id = net.put(3, near.clone());
    assert!(net.with(3, |engine, now| engine.advertise(now, id, ATOM, None)));
    net.run(SECOND);
    assert_eq!(net.engine(2).provider_count(), 1);
    net.fetch(1, id, ATOM);
    net.run(SECOND);
    assert_eq!(net.fetched(1), [Ok(vec![near])]);
}

#[test]
fn reference_node_that_does_not_know_us_gets_large_objects() {
    // The provider path: 3 learns of 1 from 2 alone.
    for len in [10, 300, 3_900] {
        let mut net = Net::of_ours(1);
        net.add_reference(2);
        net.meet(1, 2);
        let id = net.put(1, Atom::bytes(vec![5; len]));
        net.add_reference(3).get(&key(1), at(1), id, ATOM);
        net.run(SECOND);
        assert_eq!(net.reference(3).got.len(), 1, "{len} bytes");
    }
}

#[test]
fn provider_records_are_exchanged_with_reference_nodes() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    // An id that we are nearest to, and one that the reference node is nearest to.
    let ours = atom_near(1, 2);
    let theirs = atom_near(2, 2);
    let id = net.reference(2).store.insert(ours.clone());
    net.reference(2).advertise(&key(1), at(1), id);
    net.run(SECOND);
    assert_eq!(
        net.engine(1)
            .providers()
            .map(|(id, record)| (*id, record.key))
            .collect::<Vec<_>>(),
        [(id, key(2))]
    );
    let id = net.put(1, theirs);
    net.with(1, |engine, now| engine.advertise(now, id, ATOM, None));
    net.run(SECOND);
    let record = net.reference(2).index[&id].clone();
    assert_eq!(record[..32], *key(1).as_bytes());
    assert_eq!(record[32..38], [127, 0, 0, 1, 3, 233]);
}

#[test]
fn advertisements_repeat_until_they_expire() {
    let mut net = Net::of_ours(1);
    net.add_reference(2);
    net.meet(1, 2);
    let id = atom_near(2, 2).id();
    let now = net.now;
    net.with(1, |engine, _| {
        engine.advertise(now, id, ATOM, Some(now + 1_500 * SECOND))
    });
    // Twice early, in case the first was lost, then at the interval.
    for (seconds, is_expected) in [
        (1, true),
        (2, true),
        (16, true),
        (580, false),
        (30, true),
        (600, true),
        (600, false),
    ] {
        net.run(seconds * SECOND);
        let is_received = net.reference(2).index.remove(&id).is_some();
        assert_eq!(is_received, is_expected, "at {:?}", net.now.since(now));
    }
    assert_eq!(net.engine(1).advertised().count(), 0);
    net.with(1, |engine, now| engine.advertise(now, id, ATOM, None));
    assert!(net.engine(1).withdraw(&id) && !net.engine(1).withdraw(&id));
}

#[test]
fn advertisements_wait_for_a_peer_and_follow_the_nearest() {
    let mut net = Net::of_ours(1);
    let id = atom_near(2, 2).id();
    net.with(1, |engine, now| engine.advertise(now, id, ATOM, None));
    net.run(SECOND);
    net.add_reference(2);
    net.meet(1, 2);
    assert!(net.reference(2).index.contains_key(&id));
}

#[test]
fn provider_records_expire() {
    let mut net = Net::new();
    let mut short = config(1);
    short.provider_lifetime = 20 * SECOND;
    net.add(1, short);
    net.add_reference(2);
    net.meet(1, 2);
    let id = atom_near(1, 2).id();
    net.reference(2).advertise(&key(1), at(1), id);
    net.run(15 * SECOND);
    assert_eq!(net.engine(1).provider_count(), 1);
    net.run(20 * SECOND);
    assert_eq!(net.engine(1).provider_count(), 0);
}

#[test]
fn puts_are_forwarded_only_to_a_nearer_peer() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    net.add_reference(3);
    net.meet(1, 3);
    let id = atom_near(2, 3).id();
    for _ in 0..3 {
        net.reference(3).advertise(&key(1), at(1), id);
        net.run(SECOND);
    }
    assert_eq!(
        (
            net.engine(1).provider_count(),
            net.engine(2).provider_count()
        ),
        (1, 1),
        "each hop stores the record"
    );
    let record = net
        .engine(2)
        .providers()
        .next()
        .map(|(_, record)| record)
        .unwrap();
    assert_eq!(
        (record.key, record.source, record.address),
        (key(3), key(1), at(3))
    );
}

#[test]
fn restarted_peer_receives_our_advertisements_again() {
    let mut net = Net::of_ours(2);
    net.meet(1, 2);
    let id = net.put(1, atom_near(2, 2));
    net.with(1, |engine, now| {
        engine.advertise(now, id, PayloadType::ATOM, None)
    });
    net.run(SECOND);
    assert_eq!(net.engine(2).provider_count(), 1);
    // The same key, with an empty index.
    net.add_at(at(2), config(2), [99; 32]);
    net.meet(2, 1);
    net.run(15 * SECOND);
    assert_eq!(net.engine(2).provider_count(), 1);
}
