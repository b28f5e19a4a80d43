//! Benchmarks of the parts of a datagram (work, sealing, opening, decoding) and of routing table
//! queries.

#![expect(clippy::unwrap_used, reason = "a bench that fails is to stop")]

use astreum_core::atom::{Atom, AtomId};
use astreum_core::crypto::{PublicKey, SecretKey, SharedKey, hash};
use astreum_core::wire::message::{Body, Envelope, Message, Topic};
use astreum_core::wire::object::{
    Action, Answer, Found, PayloadType, Request, Response, write_found_atom, write_response_head,
};
use astreum_core::wire::packet::{Draft, Packet};
use astreum_core::wire::pow::Search;
use astreum_core::wire::routing_table::PeerTable;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

fn keys() -> (PublicKey, SharedKey) {
    let secret = SecretKey::from_bytes([1; 32]);
    let peer = SecretKey::from_bytes([2; 32]).public_key();
    (secret.public_key(), secret.agree(&peer).unwrap())
}

fn request_packet() -> Vec<u8> {
    let (sender, key) = keys();
    let request = Request {
        action: Action::Get(Some(PayloadType::ATOM)),
        atom_id: AtomId::new([3; 32]),
        data: &[],
    };
    let envelope = Envelope {
        sender,
        port: 52_780,
        key: &key,
        nonce: [4; 12],
    };
    let mut buffer = Vec::new();
    let mut draft = Draft::new(&mut buffer);
    let written = envelope.write_with(draft.message_mut(), Topic::ObjectRequest, |out| {
        request.write(out);
    });
    written.unwrap();
    draft.work(1);
    buffer
}

/// Reads a request: work, header, opening, decoding.
#[divan::bench]
fn read_object_request(bencher: Bencher) {
    let (_, key) = keys();
    let packet = request_packet();
    let mut opened = Vec::new();
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        let packet = Packet::decode(black_box(&packet)).unwrap();
        packet.check_work(1).unwrap();
        let message = Message::decode(packet.message()).unwrap();
        let Body::Sealed(sealed) = message.body else {
            return None;
        };
        let (_, content) = sealed.open(&key, &mut opened).unwrap();
        Some(Request::decode(content).unwrap().atom_id)
    });
}

/// Writes an answer: an atom of `len` bytes, sealed, with one bit of work.
#[divan::bench(args = [32, 200, 3_900])]
fn write_found_response(bencher: Bencher, len: usize) {
    let (sender, key) = keys();
    let atom = Atom::bytes(vec![5; len]);
    let id = atom.id();
    let mut nonce = [0; 12];
    let mut buffer = Vec::new();
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        // Each message has another nonce, so that the search for work differs too.
        let next = u64::from_le_bytes(*nonce.first_chunk().unwrap()) + 1;
        *nonce.first_chunk_mut().unwrap() = next.to_le_bytes();
        let envelope = Envelope {
            sender,
            port: 52_780,
            key: &key,
            nonce,
        };
        let mut draft = Draft::new(&mut buffer);
        let written = envelope.write_with(draft.message_mut(), Topic::ObjectResponse, |out| {
            write_response_head(out, Answer::Found, &id);
            write_found_atom(out, black_box(&atom));
        });
        written.unwrap();
        draft.work(1);
    });
}

#[divan::bench(args = [200, 3_900])]
fn decode_found(bencher: Bencher, len: usize) {
    let atom = Atom::bytes(vec![5; len]);
    let mut data = Vec::new();
    write_response_head(&mut data, Answer::Found, &atom.id());
    write_found_atom(&mut data, &atom);
    bencher.bench_local(|| {
        let response = Response::decode(black_box(&data)).unwrap();
        Found::decode(&response.atom_id, response.data).unwrap()
    });
}

#[divan::bench(args = [34, 200, 3_900])]
fn seal(bencher: Bencher, len: usize) {
    let (_, key) = keys();
    let mut text = vec![7; len];
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| key.seal(black_box(&[8; 12]), black_box(&mut text)));
}

#[divan::bench(args = [34, 200, 3_900])]
fn open(bencher: Bencher, len: usize) {
    let (_, key) = keys();
    let mut sealed = vec![7; len];
    let tag = key.seal(&[8; 12], &mut sealed).unwrap();
    sealed.extend_from_slice(&tag);
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        out.clear();
        key.open_to(black_box(&[8; 12]), black_box(&sealed), &mut out)
    });
}

/// Proof-of-work attempts of one core, on messages of `len` bytes.
#[divan::bench(args = [98, 200, 3_900])]
fn work_hashes(bencher: Bencher, len: usize) {
    const ATTEMPTS: u64 = 10_000;
    let message = vec![9; len];
    bencher
        .counter(ItemsCount::new(ATTEMPTS))
        .bench_local(|| Search::new(black_box(&message), 200).run(ATTEMPTS));
}

#[divan::bench]
fn key_agreement(bencher: Bencher) {
    let secret = SecretKey::from_bytes([1; 32]);
    let peer = SecretKey::from_bytes([2; 32]).public_key();
    bencher.bench_local(|| secret.agree(black_box(&peer)));
}

fn table(peers: u64) -> PeerTable<()> {
    let key = |number: u64| PublicKey::new(hash(&number.to_le_bytes()));
    let mut table = PeerTable::new(key(u64::MAX));
    for number in 0..peers {
        // With many peers the buckets are full and most peers are refused, as in a real network.
        let _ = table.insert(key(number), "127.0.0.1:1".parse().unwrap(), ());
    }
    table
}

#[divan::bench(args = [10, 100, 100_000])]
fn closest_peer(bencher: Bencher, peers: u64) {
    let table = table(peers);
    let mut target = [0; 32];
    bencher.bench_local(|| {
        target = hash(&target);
        table.closest(&target).map(|entry| *entry.key())
    });
}

#[divan::bench(args = [100, 100_000])]
fn closest_eight_peers(bencher: Bencher, peers: u64) {
    let table = table(peers);
    let mut target = [0; 32];
    bencher.bench_local(|| {
        target = hash(&target);
        table.closest_where::<8>(&target, |_| true).len()
    });
}
