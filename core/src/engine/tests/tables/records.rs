//! Provider records and forwarded requests.

use super::{ASKED, discard, hand_over, id, peer, request};
use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::engine::limits;
use crate::engine::object_server::nearer;
use crate::engine::tests::scripted::Stage;
use crate::wire::message::Topic;
use crate::wire::object::{Action, Answer, PayloadType, Response};
use alloc::vec::Vec;

pub(super) fn fill_index(stage: &mut Stage, liars: &[usize]) {
    put_many(stage, liars, limits::MAX_PROVIDED + 1_000);
}

/// Some records are not forwarded: no peer is nearer than the engine.
pub(super) fn fill_redirects(stage: &mut Stage, liars: &[usize]) {
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

pub(super) fn put_and_keep(stage: &mut Stage, honest: usize) -> u32 {
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

pub(super) fn put_and_forward(stage: &mut Stage, honest: usize) -> u32 {
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

pub(super) fn ask_for_providers(stage: &mut Stage, honest: usize) -> u32 {
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
