//! Tests of offers to accept streams, and of lists whose rest arrives by stream.

use super::net::{Net, at, config, key, secret};
use crate::atom::{Atom, AtomId, HashedAtom, bytes_list};
use crate::crypto::PublicKey;
use crate::engine::limits::{FETCH_FANOUT, SILENT_AFTER, STREAM_START_TIMEOUT};
use crate::engine::{Event, FetchError, FetchRequest, ListId, ListLimit, StreamedObject};
use crate::stream;
use crate::wire::handshake::StreamOffer;
use crate::wire::routing_table::Distance;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn offer(n: u8) -> StreamOffer {
    StreamOffer {
        port: 7_000 + u16::from(n),
        key: stream::secret_key(&secret(n)).public_key(),
    }
}

/// Two nodes that know each other, of which those in `offering` accept streams, and a list that
/// node 2 has.
fn net(offering: &[u8]) -> (Net, AtomId, Vec<Atom>) {
    let mut net = Net::new();
    for n in 1..=2 {
        let mut config = config(n);
        config.stream_offer = offering.contains(&n).then(|| offer(n));
        net.add(n, config);
    }
    net.meet(1, 2);
    let values: Vec<_> = (0..200u8).map(|n| [n; 3_900]).collect();
    let (head, atoms) = bytes_list(&values);
    net.node(2).store.extend(atoms.clone());
    (net, head, atoms)
}

fn fetch(net: &mut Net, request: FetchRequest) {
    net.with(1, |engine, now| engine.fetch(now, request));
}

fn wanted(net: &mut Net) -> Option<(ListId, SocketAddr)> {
    let mut events = net.node(1).events.iter();
    events.find_map(|event| match event {
        Event::StreamWanted {
            list,
            peer,
            address,
            offer: offered,
            ..
        } => {
            assert_eq!((*peer, *offered), (key(2), offer(2)));
            Some((*list, *address))
        }
        _ => None,
    })
}

fn streamed(net: &mut Net) -> Option<Vec<Atom>> {
    let mut events = net.node(1).events.iter();
    events.find_map(|event| match event {
        Event::Streamed { rest, .. } => Some(rest.to_vec()),
        _ => None,
    })
}

/// Begins the stream of a list; returns the number of atoms that have arrived by datagram.
fn begin(net: &mut Net, list: ListId) -> usize {
    let begun = net.with(1, |engine, now| engine.begin_stream(now, list, &key(2)));
    begun.expect("the list is wanted").len()
}

fn progress(net: &mut Net, list: ListId, atoms: &[Atom]) -> bool {
    let next = atoms.last().map_or(AtomId::ZERO, Atom::next);
    let bytes = atoms.iter().map(Atom::stored_len).sum();
    let progress = (next, atoms.len(), bytes);
    net.with(1, |engine, now| {
        engine.note_stream_progress(now, list, &key(2), progress)
    })
}

#[test]
fn validated_peers_learn_of_offers() {
    let (mut net, ..) = net(&[2]);
    assert_eq!(net.engine(1).peer(&key(2)).unwrap().stream, Some(offer(2)));
    assert_eq!(net.engine(2).peer(&key(1)).unwrap().stream, None);
}

#[test]
fn long_list_continues_by_stream_and_is_not_held() {
    let (mut net, head, atoms) = net(&[1, 2]);
    fetch(&mut net, FetchRequest::list(head).or_by_stream());
    net.run(20 * MILLISECOND);
    let (list, address) = wanted(&mut net).expect("a stream is wanted");
    assert_eq!(address, SocketAddr::new(at(2).ip(), 7_002));
    let arrived = begin(&mut net, list);
    assert!((3..20).contains(&arrived), "{arrived}");
    let sent = net.sent.len();
    net.run(SECOND);
    assert!(net.sent.len() <= sent + 1, "datagrams continue: {sent}");
    let middle = atoms.len() / 2;
    assert!(progress(&mut net, list, &atoms[arrived..middle]));
    net.run(SECOND);
    assert!(!progress(&mut net, list, &atoms[middle..]), "complete");
    net.run(MILLISECOND);
    assert_eq!(streamed(&mut net), Some(Vec::new()));
    assert!(net.fetched(1).is_empty());
    assert_eq!(net.engine(1).pending_fetches(), 0);
}

#[test]
fn progress_counts_atoms_of_datagrams_and_streams() {
    let (mut net, head, atoms) = net(&[1, 2]);
    let request = FetchRequest::list(head).or_by_stream();
    let id = net.with(1, |engine, now| engine.fetch(now, request));
    let stored = |atoms: &[Atom]| atoms.iter().map(Atom::stored_len).sum();
    let of = |net: &mut Net| net.engine(1).fetch_progress(id);
    let first = of(&mut net).unwrap();
    assert_eq!((first.atoms, first.bytes, first.next), (0, 0, head));
    net.run(20 * MILLISECOND);
    let by_datagram = of(&mut net).unwrap();
    let held = net.engine(1).arrived_atoms(id).unwrap().len();
    assert_eq!(by_datagram.atoms, held);
    assert_eq!(by_datagram.bytes, stored(&atoms[..held]));
    let (list, _) = wanted(&mut net).unwrap();
    let arrived = begin(&mut net, list);
    assert_eq!(net.engine(1).arrived_atoms(id).unwrap().len(), 0);
    assert!(progress(&mut net, list, &atoms[arrived..100]));
    let by_stream = of(&mut net).unwrap();
    assert_eq!(by_stream.atoms, 100);
    assert_eq!(by_stream.bytes, stored(&atoms[..100]));
    assert_eq!(by_stream.next, atoms[100].id());
    assert!(!progress(&mut net, list, &atoms[100..]), "complete");
    assert_eq!(of(&mut net), None);
}

#[test]
fn stalled_or_broken_stream_returns_to_datagrams_behind_the_last_stored_atom() {
    for breaks in [false, true] {
        let (mut net, head, atoms) = net(&[1, 2]);
        fetch(&mut net, FetchRequest::list(head).or_by_stream());
        net.run(20 * MILLISECOND);
        let (list, _) = wanted(&mut net).unwrap();
        let arrived = begin(&mut net, list);
        let middle = atoms.len() / 2;
        assert!(progress(&mut net, list, &atoms[arrived..middle]));
        if breaks {
            net.with(1, |engine, now| engine.end_stream(now, list, &key(2)));
        }
        net.run(4 * SECOND);
        assert_eq!(streamed(&mut net), Some(atoms[middle..].to_vec()));
        assert!(!progress(&mut net, list, &atoms[middle..]), "too late");
    }
}

#[test]
fn stream_that_waits_for_the_host_is_not_stalled() {
    let (mut net, head, atoms) = net(&[1, 2]);
    fetch(&mut net, FetchRequest::list(head).or_by_stream());
    net.run(20 * MILLISECOND);
    let (list, _) = wanted(&mut net).unwrap();
    let waits = |net: &mut Net| {
        net.with(1, |engine, now| {
            engine.note_stream_waiting(now, list, &key(2));
        });
    };
    waits(&mut net);
    let arrived = begin(&mut net, list);
    for _ in 0..8 {
        waits(&mut net);
        net.run(SECOND);
    }
    assert!(!progress(&mut net, list, &atoms[arrived..]), "complete");
    net.run(MILLISECOND);
    assert_eq!(streamed(&mut net), Some(Vec::new()));
}

#[test]
fn stream_that_does_not_open_costs_the_list_nothing() {
    let (mut net, head, atoms) = net(&[1, 2]);
    fetch(&mut net, FetchRequest::list(head).or_by_stream());
    net.run(20 * MILLISECOND);
    let (list, _) = wanted(&mut net).unwrap();
    net.with(1, |engine, now| engine.end_stream(now, list, &key(2)));
    net.run(5 * SECOND);
    assert_eq!(net.fetched(1), [Ok(atoms)]);
    let begun = net.with(1, |engine, now| engine.begin_stream(now, list, &key(2)));
    assert!(begun.is_none());
}

#[test]
fn streams_need_an_offer_and_the_permission_of_the_caller() {
    for (offering, request) in [
        (&[1][..], FetchRequest::or_by_stream as fn(_) -> _),
        (&[1, 2], |request| request),
    ] {
        let (mut net, head, atoms) = net(offering);
        fetch(&mut net, request(FetchRequest::list(head)));
        net.run(5 * SECOND);
        assert_eq!(wanted(&mut net), None);
        assert_eq!(net.fetched(1), [Ok(atoms)]);
    }
}

#[test]
fn streamed_list_is_limited_in_atoms_and_its_bytes_are_not() {
    let (mut net, head, atoms) = net(&[1, 2]);
    fetch(&mut net, FetchRequest::list(head).or_by_stream());
    net.run(20 * MILLISECOND);
    let (list, _) = wanted(&mut net).unwrap();
    begin(&mut net, list);
    let next = atoms[100].id();
    let mut note = |atoms, bytes| {
        net.with(1, |engine, now| {
            engine.note_stream_progress(now, list, &key(2), (next, atoms, bytes))
        })
    };
    assert!(note(10, 1 << 30));
    assert!(!note(crate::atom::MAX_LIST_ATOMS, 10));
    net.run(MILLISECOND);
    assert_eq!(net.fetched(1), [Err(FetchError::TooLarge)]);
}

/// Returns the object that node 1 wants by stream and holds.
fn held(net: &mut Net) -> Option<(ListId, AtomId, u32)> {
    let mut events = net.node(1).events.iter();
    events.find_map(|event| match event {
        Event::StreamWanted {
            list,
            object: StreamedObject::Held { id, most },
            ..
        } => Some((*list, *id, *most)),
        _ => None,
    })
}

fn take(net: &mut Net, list: ListId, atoms: &[Atom]) -> bool {
    let atoms: Vec<_> = atoms.iter().cloned().map(HashedAtom::new).collect();
    net.with(1, |engine, now| {
        engine.take_streamed(now, list, &key(2), &atoms)
    })
}

/// A network as [`net`] returns it, whose paths drop fragments, and the atoms of a list of node 2,
/// none of which fits into a packet.
fn unfragmented() -> (Net, AtomId, Vec<Atom>) {
    let (mut net, head, atoms) = net(&[1, 2]);
    net.max_packet_bytes = Some(1_472);
    (net, head, atoms)
}

#[test]
fn object_that_does_not_arrive_by_datagram_is_wanted_by_stream() {
    let (mut net, head, atoms) = unfragmented();
    fetch(&mut net, FetchRequest::atom(head));
    net.run(SECOND / 2);
    let (list, id, most) = held(&mut net).expect("a stream is wanted");
    assert_eq!((id, most), (head, 1));
    assert!(!take(&mut net, list, &atoms[..1]), "complete");
    net.run(MILLISECOND);
    assert_eq!(net.fetched(1), [Ok(atoms[..1].to_vec())]);
    assert_eq!(net.engine(1).pending_fetches(), 0);
    // The beginning of a list, in parts.
    let limit = ListLimit {
        atoms: 5,
        bytes: 1 << 20,
    };
    net.node(1).events.clear();
    fetch(&mut net, FetchRequest::beginning(head, limit));
    net.run(SECOND / 2);
    let (list, id, most) = held(&mut net).expect("a stream is wanted");
    assert_eq!((id, most), (head, 5));
    assert!(take(&mut net, list, &atoms[..2]));
    assert!(take(&mut net, list, &atoms[..2]), "known already");
    assert!(!take(&mut net, list, &atoms[2..5]), "as much as requested");
    assert!(!take(&mut net, list, &atoms[5..]), "it has ended");
    net.run(MILLISECOND);
    assert_eq!(net.fetched(1), [Ok(atoms[..5].to_vec())]);
}

#[test]
fn list_that_does_not_arrive_by_datagram_is_stored_from_a_stream() {
    let (mut net, head, atoms) = unfragmented();
    fetch(&mut net, FetchRequest::list(head).or_by_stream());
    net.run(SECOND / 2);
    assert!(held(&mut net).is_none(), "the host stores it");
    let (list, _) = wanted(&mut net).expect("a stream is wanted");
    assert_eq!(begin(&mut net, list), 0);
    assert!(!take(&mut net, list, &atoms), "the engine does not hold it");
    assert!(!progress(&mut net, list, &atoms), "complete");
    net.run(MILLISECOND);
    assert_eq!(streamed(&mut net), Some(Vec::new()));
}

#[test]
fn late_peer_whose_stream_is_silent_does_not_keep_the_list_from_others() {
    let (mut net, head, atoms) = unfragmented();
    net.latency = 20 * MILLISECOND;
    fetch(&mut net, FetchRequest::list(head).or_by_stream());
    net.run(SECOND / 2);
    let (list, _) = wanted(&mut net).expect("a stream is wanted");
    assert_eq!(begin(&mut net, list), 0);
    // The answer to a repeated request arrives while the stream is silent.
    net.max_packet_bytes = None;
    net.run(SECOND);
    assert!(!progress(&mut net, list, &atoms[..2]), "it is too late");
    net.node(1).events.clear();
    net.run(SECOND);
    let (list, _) = wanted(&mut net).expect("the rest is wanted by stream");
    let arrived = begin(&mut net, list);
    assert!(arrived > 0);
    assert!(!progress(&mut net, list, &atoms[arrived..]), "complete");
}

#[test]
fn held_stream_that_ends_or_stalls_leaves_the_rest_to_datagrams() {
    for ends in [false, true] {
        let (mut net, head, atoms) = unfragmented();
        fetch(&mut net, FetchRequest::list(head));
        net.run(SECOND / 2);
        let (list, ..) = held(&mut net).expect("a stream is wanted");
        assert!(take(&mut net, list, &atoms[..9]));
        // The path has changed.
        net.max_packet_bytes = None;
        if ends {
            net.with(1, |engine, now| engine.end_stream(now, list, &key(2)));
        }
        net.run(8 * SECOND);
        assert_eq!(net.fetched(1), [Ok(atoms.clone())]);
    }
}

#[test]
fn stream_of_an_object_is_wanted_only_if_it_is_late_and_the_peer_offers_streams() {
    let (mut net, head, _) = net(&[1, 2]);
    fetch(&mut net, FetchRequest::atom(head));
    net.run(SECOND);
    assert!(held(&mut net).is_none(), "it has arrived");
    let (mut net, head, _) = super::streams::net(&[1]);
    net.max_packet_bytes = Some(1_472);
    fetch(&mut net, FetchRequest::atom(head));
    net.run(SECOND);
    assert!(held(&mut net).is_none(), "there is no offer");
}

/// Lets node 2 leave requests unanswered until it counts as silent.
fn silence(net: &mut Net, atoms: &[Atom]) {
    for atom in &atoms[10..10 + usize::from(SILENT_AFTER)] {
        fetch(net, FetchRequest::atom(atom.id()));
        net.run(3 * SECOND);
        if let Some((list, ..)) = held(net) {
            net.with(1, |engine, now| engine.end_stream(now, list, &key(2)));
        }
        net.node(1).events.clear();
    }
    assert!(net.engine(1).peers.is_silent(&key(2)));
}

#[test]
fn stream_of_a_silent_peer_is_tried_and_waited_for() {
    for delivers in [true, false] {
        let (mut net, _, atoms) = unfragmented();
        silence(&mut net, &atoms);
        // Others answer, and do not have it. The silent peer is the nearest to it.
        let others: Vec<u8> = (3..).take(FETCH_FANOUT).collect();
        for n in others.iter().copied() {
            net.add(n, config(n));
            net.meet(1, n);
        }
        let distance = |atom: &Atom, n| Distance::between(atom.id().as_bytes(), key(n).as_bytes());
        let is_near = |atom: &&Atom| {
            let mut others = others.iter();
            others.all(|n| distance(atom, 2) < distance(atom, *n))
        };
        let atom = atoms.iter().find(is_near).expect("one of many");
        fetch(&mut net, FetchRequest::atom(atom.id()));
        net.run(SECOND);
        let (list, ..) = held(&mut net).expect("a stream is wanted");
        assert!(net.fetched(1).is_empty(), "it is not waited for");
        if delivers {
            assert!(
                !take(&mut net, list, core::slice::from_ref(atom)),
                "complete"
            );
        } else {
            net.with(1, |engine, now| engine.end_stream(now, list, &key(2)));
        }
        net.run(MILLISECOND);
        let expected = match delivers {
            true => Ok(vec![atom.clone()]),
            false => Err(FetchError::NotFound),
        };
        assert_eq!(net.fetched(1), [expected]);
    }
}

#[test]
fn stream_that_does_not_begin_gives_way_to_that_of_another_late_peer() {
    for ends in [false, true] {
        let (mut net, head, atoms) = unfragmented();
        let mut third = config(3);
        third.stream_offer = Some(offer(3));
        net.add(3, third);
        net.meet(1, 3);
        net.node(3).store.extend(atoms.clone());
        fetch(&mut net, FetchRequest::atom(head));
        net.run(STREAM_START_TIMEOUT - 100 * MILLISECOND);
        let wanted = |net: &mut Net| -> Vec<(ListId, PublicKey)> {
            let events = net.node(1).events.iter();
            let wanted = events.filter_map(|event| match event {
                Event::StreamWanted { list, peer, .. } => Some((*list, *peer)),
                _ => None,
            });
            wanted.collect()
        };
        let [(list, first)] = wanted(&mut net)[..] else {
            panic!("one stream is wanted first");
        };
        if ends {
            net.with(1, |engine, now| engine.end_stream(now, list, &first));
        } else {
            net.run(200 * MILLISECOND);
        }
        net.run(MILLISECOND);
        let [_, (_, second)] = wanted(&mut net)[..] else {
            panic!("another stream is wanted");
        };
        assert_ne!(first, second);
        let late: Vec<_> = atoms[..1].iter().cloned().map(HashedAtom::new).collect();
        let should_continue = |net: &mut Net, peer| {
            net.with(1, |engine, now| {
                engine.take_streamed(now, list, &peer, &late)
            })
        };
        assert!(!should_continue(&mut net, first), "it was given up");
        assert_eq!(net.engine(1).pending_fetches(), 1);
        assert!(!should_continue(&mut net, second), "complete");
        net.run(MILLISECOND);
        assert_eq!(net.fetched(1), [Ok(atoms[..1].to_vec())]);
    }
}
