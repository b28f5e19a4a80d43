//! Basic encodings that all others use: integers as bytes, ids as text.

use astreum_core::atom::AtomId;
use astreum_core::integer::Natural;
use astreum_node::rpc::{hex, unhex};

#[test]
fn integers_have_the_fewest_bytes_in_either_byte_order() {
    for (value, little, big) in [
        (0_u64, vec![0], vec![0]),
        (1, vec![1], vec![1]),
        (255, vec![255], vec![255]),
        (256, vec![0, 1], vec![1, 0]),
        (0x01_02_03, vec![3, 2, 1], vec![1, 2, 3]),
        (u64::MAX, vec![255; 8], vec![255; 8]),
    ] {
        let natural = Natural::from(value);
        assert_eq!(natural.to_bytes_le(), little);
        assert_eq!(natural.to_bytes_be(), big);
        assert_eq!(Natural::from_bytes_le(&little), Ok(natural.clone()));
        assert_eq!(Natural::from_bytes_be(&big), Ok(natural));
    }
}

#[test]
fn padded_and_empty_integers_are_rejected() {
    assert!(Natural::from_bytes_le(&[1, 0]).is_err() && Natural::from_bytes_be(&[0, 1]).is_err());
    assert!(Natural::from_bytes_le(&[]).is_err() && Natural::from_bytes_be(&[]).is_err());
}

#[test]
fn integers_beyond_128_bits_are_exact() {
    let text = "340282366920938463463374607431768211457000000000000000000001";
    let value: Natural = text.parse().unwrap();
    assert_eq!(value.to_string(), text);
    assert_eq!(
        Natural::from_bytes_le(&value.to_bytes_le()),
        Ok(value.clone())
    );
    assert_eq!((value.to_u64(), value.to_u128()), (None, None));
}

#[test]
fn hex_round_trips_and_rejects_malformed() {
    let id = AtomId::new([0xab; 32]);
    let text = hex(id.as_bytes());
    assert_eq!(unhex(&text).as_deref(), Some(&id.as_bytes()[..]));
    for wrong in ["0", "0g", "ab c", "äö"] {
        assert_eq!(unhex(wrong), None, "{wrong}");
    }
}
