//! Tests of lists that arrive slowly.

use super::scripted::{Scripted, Stage};
use crate::atom::{Atom, AtomId, AtomKind};
use crate::engine::{Event, FetchError, FetchRequest, limits};
use crate::wire::message::Topic;
use crate::wire::object::{Answer, PayloadType, write_found_atom, write_response_head};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Returns a list of `count` atoms of `bytes` each, head first.
fn list(count: u32, bytes: usize) -> Vec<Atom> {
    let mut next = AtomId::ZERO;
    let mut atoms: Vec<Atom> = Vec::new();
    for n in 0..count {
        let mut data = alloc::vec![0; bytes];
        data[..4].copy_from_slice(&n.to_be_bytes());
        let atom = Atom::new(AtomKind::Bytes, data, next);
        next = atom.id();
        atoms.push(atom);
    }
    atoms.reverse();
    atoms
}

/// Serves a list an atom at a time; returns the duration of the fetch, and its result.
fn serve(atoms: &[Atom], pace: Duration) -> (Duration, Result<usize, (usize, FetchError)>) {
    let mut stage = Stage::new();
    let peer = stage.add(Scripted::new(1, SocketAddr::from(([8, 8, 8, 8], 4_000))));
    stage.peers[peer].answers_gets = false;
    stage.meet(peer, None);
    let me = stage.me();
    let began = stage.now;
    stage.engine.fetch(
        stage.now,
        FetchRequest::new(atoms[0].id(), PayloadType::LIST),
    );
    for atom in atoms {
        stage.run(pace);
        let mut content = Vec::new();
        write_response_head(&mut content, Answer::Found, &atom.id());
        write_found_atom(&mut content, atom);
        let packet = stage.peers[peer].sealed(&me, Topic::ObjectResponse, &content);
        stage.deliver(peer, &packet);
        let outcome = stage.events.iter().find_map(|event| match event {
            Event::Fetched { atoms, .. } => Some(Ok(atoms.len())),
            Event::FetchFailed { atoms, error, .. } => Some(Err((atoms.len(), *error))),
            _ => None,
        });
        if let Some(outcome) = outcome {
            return (stage.now.since(began), outcome);
        }
    }
    panic!("the fetch does not end");
}

#[test]
fn trickled_list_times_out_and_returns_its_beginning() {
    for pace in [100, 1_000, 1_900].map(Duration::from_millis) {
        let (took, outcome) = serve(&list(2_000, 8), pace);
        // Eight timeouts of two seconds; the bytes extend that by less than another second.
        assert!(took <= 17 * SECOND + pace, "{took:?}");
        let came = usize::try_from((16 * SECOND).as_millis() / pace.as_millis()).unwrap();
        let Err((atoms, FetchError::Timeout)) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(atoms.abs_diff(came) <= 2, "{atoms} of {came}");
    }
}

#[test]
fn long_list_at_a_steady_rate_is_complete() {
    // 80 KiB a second for 50 s.
    let (took, outcome) = serve(&list(500, 8_192), Duration::from_millis(100));
    assert_eq!(outcome, Ok(500));
    assert!(took > 3 * limits::FETCH_TIMEOUTS * SECOND);
}
