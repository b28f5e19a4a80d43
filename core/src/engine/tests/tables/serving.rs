//! Incoming packets, and answers that cost work, fetches or reads of a disk.

use super::addresses::unopenable;
use super::{ASKED, discard, hand_over, id, of_other_group, peer, request};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::engine::datagram::Datagram;
use crate::engine::tests::scripted::{Stage, atom};
use crate::engine::tests::unknown_peer;
use crate::engine::{DropReason, Event, FetchRequest, LookUp, ObjectSource, limits};
use crate::wire::message::Topic;
use crate::wire::object::{Action, Answer, PayloadType, Response};
use crate::wire::packet::Draft;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Acts as a host whose turns are too short for the incoming traffic.
pub(super) fn fill_incoming(stage: &mut Stage, liars: &[usize]) {
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

pub(super) fn ask_beside_queue(stage: &mut Stage, honest: usize) -> u32 {
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
pub(super) fn join_with_required_work(stage: &mut Stage, _: usize) -> u32 {
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
pub(super) fn require_work(stage: &mut Stage, liars: &[usize]) {
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

pub(super) fn ask_with_difficulty(stage: &mut Stage, honest: usize) -> u32 {
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
        // The flood continues.
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

pub(super) fn cause_fetches(stage: &mut Stage, liars: &[usize]) {
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

pub(super) fn fetch(stage: &mut Stage, honest: usize) -> u32 {
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

pub(super) fn announce_many(stage: &mut Stage, liars: &[usize]) {
    let me = stage.me();
    let count = 2 * u32::try_from(limits::MAX_EVENTS).unwrap();
    for (n, liar) in (0..count).zip(liars.iter().cycle()) {
        let content = id(n);
        let packet = stage.peers[*liar].sealed(&me, Topic::Transaction, content.as_bytes());
        hand_over(stage, *liar, &packet);
    }
}

pub(super) fn announce(stage: &mut Stage, honest: usize) -> u32 {
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

pub(super) fn ask_for_disk(stage: &mut Stage, liars: &[usize]) {
    let count = u32::try_from(limits::MAX_READS).unwrap() + 1_000;
    for (n, liar) in (0..count).zip(liars.iter().cycle()) {
        get_from_disk(stage, *liar, id(7_000_000 + n));
    }
    assert!(stage.engine.pending_reads() >= limits::MAX_READS - liars.len());
}

pub(super) fn ask_for_disk_once(stage: &mut Stage, honest: usize) -> u32 {
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
