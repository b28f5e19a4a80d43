//! Proof of work: the requirement on a block's id, and the nonce search, which signs each nonce.

#![expect(clippy::unwrap_used, reason = "a failure fails the test")]

use astreum_core::atom::{AtomId, MemoryStore};
use astreum_core::chain::{Address, Block, Genesis, Header, Miner, difficulty, has_work};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use astreum_core::trie::Scalar;
use astreum_node::simd::Lanes;

fn key() -> SigningKey {
    SigningKey::from_seed(&[8; 32])
}

fn header() -> Header {
    let validator = Address::from(key().verifying_key());
    let genesis = Genesis::new(validator, 0_u64.into(), 1_700_000_000_u64.into());
    let block = genesis.build(&mut Scalar, &mut MemoryStore::new()).unwrap();
    Header {
        previous: block.id(),
        height: 1_u64.into(),
        ..block.header().clone()
    }
}

fn mine(bits: u64) -> Block {
    let mut miner = Miner::new(header(), key(), &bits.into());
    miner.try_nonces(1 << 20, &mut Lanes::new()).unwrap()
}

#[test]
fn mined_block_has_proof_of_work_and_a_valid_signature() {
    for bits in [0, 1, 4, 9, 12] {
        let block = mine(bits);
        assert!(has_work(&block.id(), &bits.into()), "{bits} bits");
        assert_eq!(block.verify_signature(), Ok(()));
        // It is the first valid nonce: the previous one is not valid.
        if let Some(before) = block.nonce.checked_sub(&Natural::ONE) {
            let before = Header {
                nonce: before,
                ..header()
            }
            .sign(&key());
            assert!(!has_work(&before.id(), &bits.into()));
        }
    }
}

/// Hashing in parallel lanes finds the same block as hashing one by one.
#[test]
fn simd_hashing_finds_the_same_block() {
    let mut scalar = Miner::new(header(), key(), &11_u64.into());
    assert_eq!(scalar.try_nonces(1 << 20, &mut Scalar), Some(mine(11)));
}

/// Work cannot be transferred to another nonce, signature or body.
#[test]
fn proof_of_work_is_bound_to_its_block() {
    let block = mine(10);
    let signature = block.signature().copied();
    let other = Header {
        nonce: &block.nonce + &Natural::ONE,
        ..header()
    };
    assert!(!has_work(&other.signed(signature).id(), &10_u64.into()));
    let unsigned = block.header().clone().signed(None);
    assert!(!has_work(&unsigned.id(), &10_u64.into()));
}

#[test]
fn search_ends_at_its_budget_and_the_next_one_resumes() {
    let mut miner = Miner::new(header(), key(), &10_u64.into());
    let expected = mine(10);
    let mut hasher = Lanes::new();
    let found = core::iter::repeat_with(|| miner.try_nonces(7, &mut hasher)).take(10_000);
    assert_eq!(found.flatten().next(), Some(expected));
}

#[test]
fn difficulty_follows_the_gap() {
    let next = |gap: u64, previous: u64| {
        difficulty(&100_u64.into(), &(100 + gap).into(), &previous.into())
    };
    assert_eq!(
        [0, 1, 2, 3, 9].map(|gap| next(gap, 5).to_u64().unwrap()),
        [6, 6, 5, 4, 4]
    );
    assert_eq!(next(1, 0), 2);
    assert_eq!(next(3, 1), 1);
}

#[test]
fn id_of_ones_has_no_leading_zero_bits() {
    assert!(!has_work(&AtomId::new([0xff; 32]), &Natural::ZERO));
    let mut id = [0; 32];
    id[2] = 0x10;
    assert!(has_work(&AtomId::new(id), &19_u64.into()));
    assert!(!has_work(&AtomId::new(id), &20_u64.into()));
}
