use super::*;
use crate::chain::{Address, signed_atoms};
use crate::trie::Scalar;
use proptest::prelude::*;

fn header(nonce: Natural) -> Header {
    Header {
        chain_id: Natural::ZERO,
        height: 1_u64.into(),
        previous: AtomId::new([3; 32]),
        timestamp: 1_700_000_002_u64.into(),
        difficulty: Natural::ONE,
        cumulative_stake: Natural::ZERO,
        cumulative_burn: Natural::ZERO,
        cumulative_mint: Natural::ZERO,
        cumulative_total_fees: Natural::ONE,
        total_fees: Natural::ZERO,
        accounts: AtomId::new([4; 32]),
        transactions: AtomId::ZERO,
        receipts: AtomId::ZERO,
        validator: Address::from(key().verifying_key()),
        nonce,
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32])
}

/// Searches naively: sign, hash, compare, increment, without state kept between two attempts.
fn naive(mut header: Header, bits: u64) -> Block {
    loop {
        let block = header.clone().sign(&key());
        if has_work(&block.id(), &bits.into()) {
            return block;
        }
        header.nonce += Natural::ONE;
    }
}

#[test]
fn first_matching_nonce_is_found() {
    for bits in 0..8_u64 {
        for start in [0, 250, 65_530, u128::from(u64::MAX) - 3, u128::MAX - 5] {
            let header = header(start.into());
            let mut miner = Miner::new(header.clone(), key(), &bits.into());
            let found = miner.try_nonces(1 << 16, &mut Scalar).unwrap();
            assert_eq!(found, naive(header, bits), "{bits} bits from {start}");
            assert_eq!(found.verify_signature(), Ok(()));
        }
    }
}

#[test]
fn sliced_search_finds_the_same_nonce() {
    for slice in [1, 3, 16, 17, 40] {
        let mut miner = Miner::new(header(Natural::ZERO), key(), &8_u64.into());
        let mut turns = 0;
        let found = loop {
            if let Some(block) = miner.try_nonces(slice, &mut Scalar) {
                break block;
            }
            turns += 1;
            assert_eq!(miner.attempts(), turns * slice);
            assert_eq!(miner.header().nonce, turns * slice);
        };
        assert_eq!(found, naive(header(Natural::ZERO), 8));
    }
}

#[test]
fn attempt_budget_is_respected() {
    let mut miner = Miner::new(header(Natural::ZERO), key(), &300_u64.into());
    assert_eq!(miner.try_nonces(0, &mut Scalar), None);
    assert_eq!(miner.attempts(), 0);
    assert_eq!(miner.try_nonces(21, &mut Scalar), None);
    assert_eq!(miner.attempts(), 21);
}

#[test]
fn leading_zero_bits_are_bounded_by_the_id_length() {
    assert!(has_work(&AtomId::ZERO, &256_u64.into()));
    assert!(!has_work(&AtomId::ZERO, &257_u64.into()));
    let beyond = Natural::new(u128::MAX) + Natural::ONE;
    assert!(!has_work(&AtomId::ZERO, &beyond));
    // A difficulty of 0 requires one bit.
    assert!(!has_work(&AtomId::new([0xff; 32]), &Natural::ZERO));
    assert!(has_work(&AtomId::new([0x7f; 32]), &Natural::ZERO));
}

proptest! {
    #[test]
    fn unsigned_fields_of_any_length_are_searched(
        fields in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..70), 14),
        signature in proptest::collection::vec(any::<u8>(), 0..80),
        start: u64,
        bits in 0..5_u64,
    ) {
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let fixed: &[&[u8]; 14] = fields.as_slice().try_into().unwrap();
        let found =
            unsigned_nonce(fixed, &signature, start.into(), bits.into(), 1 << 12, &mut Scalar);
        let (nonce, id) = found.unwrap();
        let mut attempt = Natural::from(start);
        loop {
            let bytes = attempt.to_bytes_be();
            let mut body = fields.clone();
            body.push(&bytes);
            let made = signed_atoms("block", &body, &signature);
            if has_work(&made.id, &bits.into()) {
                prop_assert_eq!(made.id, id);
                break;
            }
            attempt += Natural::ONE;
        }
        prop_assert_eq!(attempt, nonce);
    }

    #[test]
    fn difficulty_moves_by_one_and_stays_above_zero(
        before in 0..1_000_u64, gap in 0..6_u64, previous in 0..5_u64,
    ) {
        let next = difficulty(&before.into(), &(before + gap).into(), &previous.into());
        let base = previous.max(1);
        let expected = match gap {
            0 | 1 => base + 1,
            2 => base,
            _ => (base - 1).max(1),
        };
        prop_assert_eq!(next, Natural::from(expected));
        // A timestamp before the parent's counts as a gap of 0.
        let back = difficulty(&(before + gap + 1).into(), &before.into(), &previous.into());
        prop_assert_eq!(back, Natural::from(base + 1));
    }
}
