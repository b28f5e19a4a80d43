//! Heads that cost more than they seem to: endless, repeated or very long data.

use super::super::{MAX_BYTES_IN_FLIGHT, MAX_IDS_AHEAD};
use super::host::{Host, Maker, time};
use crate::atom::{Atom, AtomId, AtomKind, bytes_list};
use crate::chain::{Block, Header, MAX_BLOCK_TRANSACTIONS};
use crate::consensus::PART;
use crate::integer::Natural;
use alloc::vec;
use alloc::vec::Vec;

/// Returns ids of transactions that no peer has.
fn unknown_ids(count: usize) -> Vec<[u8; 32]> {
    let id = |number: usize| {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        id
    };
    (0..count).map(id).collect()
}

/// Makes this many blocks with valid headers and this list of transactions.
fn blocks_with(maker: &mut Maker, list: AtomId, count: usize) -> Vec<Block> {
    let mut blocks = vec![maker.genesis.clone()];
    for _ in 0..count {
        let parent = blocks.last().unwrap().clone();
        let header = Header {
            transactions: list,
            ..maker.draft(&parent, 2, &[])
        };
        blocks.push(maker.mine(&parent, header, 1));
    }
    blocks
}

#[test]
fn long_list_is_fetched_in_growing_parts_and_rejected() {
    let mut maker = Maker::new();
    let (list, atoms) = bytes_list(&unknown_ids(MAX_BLOCK_TRANSACTIONS + 5_000));
    maker.store.extend(atoms);
    let blocks = blocks_with(&mut maker, list, 1);
    let mut host = Host::new(time(&blocks[1]) + 5);
    host.announce(1, blocks[1].id());
    host.run(&[&maker], 3);
    let reason = host.sync().bad_reason(&blocks[1].id()).unwrap();
    assert!(reason.contains("maximum length for a block"), "{reason}");
    assert!(
        host.most_bytes <= MAX_BYTES_IN_FLIGHT,
        "{}",
        host.most_bytes
    );
    // Fewer fetches than it has parts of the first size.
    let parts = MAX_BLOCK_TRANSACTIONS / PART.atoms;
    assert!(host.most_bytes > PART.bytes && host.largest_part > 8 * PART.atoms);
    assert!(parts >= 64);
}

#[test]
fn missing_transactions_are_bounded() {
    let mut maker = Maker::new();
    let (list, atoms) = bytes_list(&unknown_ids(MAX_BLOCK_TRANSACTIONS));
    maker.store.extend(atoms);
    let blocks = blocks_with(&mut maker, list, 40);
    let mut host = Host::new(time(blocks.last().unwrap()) + 5);
    host.announce(1, blocks.last().unwrap().id());
    host.run(&[&maker], 3);
    let verifier = &host.sync();
    let bodies = verifier.branches.iter().flat_map(|branch| &branch.bodies);
    let held: usize = bodies.map(|ahead| ahead.left.len()).sum();
    assert!(held <= MAX_IDS_AHEAD && held > 10_000, "{held}");
    assert!(
        host.most_bytes <= MAX_BYTES_IN_FLIGHT,
        "{}",
        host.most_bytes
    );
    assert_eq!(verifier.bad_reason(&blocks[1].id()), None);
    // Data that no peer has are not requested without a pause.
    assert!(host.asked.values().sum::<usize>() < 10_000);
}

#[test]
fn endless_header_is_rejected_after_one_part() {
    let mut maker = Maker::new();
    let (rest, atoms) = bytes_list(&vec![[1; 32]; 200_000]);
    maker.store.extend(atoms);
    let mut put = |kind, data: &[u8], next| maker.store.insert(Atom::new(kind, data, next));
    let list = put(AtomKind::List, rest.as_ref(), rest);
    let signature = put(AtomKind::Bytes, &[0; 64], list);
    let version = put(AtomKind::Bytes, &[1], signature);
    let head = put(AtomKind::Symbol, b"block", version);
    let body = put(AtomKind::List, rest.as_ref(), AtomId::ZERO);
    let signature = put(AtomKind::Bytes, &[0; 64], body);
    let version = put(AtomKind::Bytes, &[1], signature);
    let long_body = put(AtomKind::Symbol, b"block", version);
    for head in [head, long_body] {
        let mut host = Host::new(time(&maker.genesis) + 5);
        host.announce(1, head);
        host.run(&[&maker], 3);
        let reason = host.sync().bad_reason(&head).unwrap();
        assert!(reason.contains("too many fields"), "{reason}");
        assert!(host.store.len() <= 2 * PART.atoms);
    }
}

#[test]
fn reason_of_an_invalid_block_is_short() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let right = maker.draft(&genesis, 2, &[]);
    let long = |len| Natural::from_bytes_be(&vec![7; len]).unwrap();
    for (fees, stake, expected) in [
        (long(256), Natural::ONE, "total_fees"),
        (Natural::ZERO, long(60_000), "256 bytes"),
    ] {
        let header = Header {
            total_fees: fees,
            cumulative_stake: stake,
            ..right.clone()
        };
        let bad = maker.mine(&genesis, header, 1);
        let mut host = Host::new(time(&bad) + 5);
        host.announce(1, bad.id());
        host.run(&[&maker], 3);
        let reason = host.sync().bad_reason(&bad.id()).unwrap();
        assert!(reason.contains(expected), "{reason}");
        assert!(reason.len() < 1_000, "{}", reason.len());
    }
}
