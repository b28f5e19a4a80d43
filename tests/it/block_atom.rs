//! Blocks as atoms: the documented layout, round trips, and rejection of changed atoms.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use astreum_core::atom::{Atom, AtomId, AtomKind, MemoryStore};
use astreum_core::chain::{Address, Block, Genesis, Header};
use astreum_core::crypto::SigningKey;
use astreum_core::trie::Scalar;

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn header() -> Header {
    let validator = Address::from(key().verifying_key());
    let genesis = Genesis::new(validator, 300_u64.into(), 1_700_000_000_u64.into());
    let block = genesis.build(&mut Scalar, &mut MemoryStore::new()).unwrap();
    Header {
        previous: block.id(),
        height: 1_u64.into(),
        ..block.header().clone()
    }
}

fn stored(block: &Block) -> MemoryStore {
    let mut store = MemoryStore::new();
    assert_eq!(block.write(&mut store), Ok(block.id()));
    store
}

#[test]
fn block_layout_matches_the_documentation() {
    let block = header().sign(&key());
    let atoms: Vec<Atom> = block.to_atoms().into_iter().map(|(_, atom)| atom).collect();
    assert_eq!(atoms.len(), 19);
    let (body, head) = atoms.split_at(15);
    for (field, next) in body.iter().zip(&body[1..]) {
        assert_eq!((field.kind(), field.next()), (AtomKind::Bytes, next.id()));
    }
    assert_eq!(body[14].next(), AtomId::ZERO);
    assert_eq!(body[0].data(), [1, 44], "chain id, big-endian");
    assert_eq!(body[13].data(), key().verifying_key().as_bytes());

    let [list, signature, version, kind] = head else {
        panic!("{head:?}");
    };
    assert_eq!(*list, Atom::list(body[0].id(), AtomId::ZERO));
    assert_eq!(
        (list.id(), signature.next()),
        (block.body_hash(), list.id())
    );
    assert_eq!(signature.data(), block.signature().unwrap().as_bytes());
    assert_eq!(
        (version.data(), version.next()),
        ([1].as_slice(), signature.id())
    );
    assert_eq!(
        (kind.kind(), kind.data()),
        (AtomKind::Symbol, b"block".as_slice())
    );
    assert_eq!((kind.next(), kind.id()), (version.id(), block.id()));
}

#[test]
fn block_round_trips_through_its_atoms() {
    for block in [header().sign(&key()), header().signed(None)] {
        let read = Block::read(&stored(&block), block.id()).unwrap();
        assert_eq!(read, block);
        assert_eq!(read.verify_signature().is_ok(), block.signature().is_some());
    }
}

#[test]
fn reading_a_block_names_the_missing_atom() {
    let block = header().sign(&key());
    let atoms = block.to_atoms();
    for (missing, _) in &atoms {
        let rest = atoms.iter().filter(|(id, _)| id != missing);
        let store: MemoryStore = rest.map(|(_, atom)| atom.clone()).collect();
        let error = Block::read(&store, block.id()).unwrap_err();
        assert_eq!(error.missing(), Some(*missing));
    }
}

/// The same body with another signature is a different block.
#[test]
fn block_id_commits_to_its_signature() {
    let block = header().sign(&key());
    let unsigned = header().signed(None);
    assert_eq!(block.body_hash(), unsigned.body_hash());
    assert_ne!(block.id(), unsigned.id());
}

#[test]
fn forged_body_does_not_verify() {
    let block = header().sign(&key());
    let forged = Header {
        total_fees: 1_000_u64.into(),
        ..header()
    };
    let forged = forged.signed(block.signature().copied());
    assert!(block.verify_signature().is_ok());
    assert!(forged.verify_signature().is_err());
}
