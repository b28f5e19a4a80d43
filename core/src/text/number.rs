//! Decimal digits to two's complement.

use crate::expr::{Bytes, minimal};
use alloc::vec::Vec;

/// The most digits that an integer may have; as Python's default.
const DIGITS_MAX: usize = 4_300;

/// The integer that `text` is, `None` if it is none: `[+-]?digits(_digits)*`, at most 4,300
/// digits, leading zeros counted.
pub(super) fn integer(text: &str) -> Option<Bytes> {
    let (negative, digits) = split_sign(text);
    digits.first().filter(|byte| byte.is_ascii_digit())?;
    if digits.len() <= 18 {
        return small(negative, digits);
    }
    large(negative, digits)
}

/// Whether [`integer`] takes `text`.
pub(super) fn is_integer(text: &str) -> bool {
    each_digit(split_sign(text).1, |_| ()).is_some()
}

/// Whether `text` starts with a minus sign, and what follows its sign.
const fn split_sign(text: &str) -> (bool, &[u8]) {
    match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    }
}

/// Walks over the digits, left to right; `None` when they are no integer.
fn each_digit(digits: &[u8], mut take: impl FnMut(u8)) -> Option<()> {
    let (mut count, mut after_digit) = (0, false);
    for &byte in digits {
        match byte {
            b'0'..=b'9' if count < DIGITS_MAX => take(byte - b'0'),
            b'_' if after_digit => {
                after_digit = false;
                continue;
            }
            _ => return None,
        }
        after_digit = true;
        count += 1;
    }
    after_digit.then_some(())
}

/// At most 18 digits fit an `i64`.
fn small(negative: bool, digits: &[u8]) -> Option<Bytes> {
    let mut value = 0_i64;
    each_digit(digits, |digit| value = value * 10 + i64::from(digit))?;
    let value = if negative { -value } else { value };
    Some(Bytes::new(minimal(&value.to_be_bytes())))
}

/// How many digits are taken into the big number at once: the most that a limb holds.
const CHUNK_DIGITS: u32 = 19;

/// Up to 4,300 digits: 224 limbs are passed over once for each of 227 chunks.
fn large(negative: bool, digits: &[u8]) -> Option<Bytes> {
    let mut limbs: Vec<u64> = Vec::with_capacity(digits.len().min(DIGITS_MAX) / 19 + 2);
    let (mut chunk, mut chunk_digits) = (0_u64, 0_u32);
    each_digit(digits, |digit| {
        chunk = chunk * 10 + u64::from(digit);
        chunk_digits += 1;
        if chunk_digits == CHUNK_DIGITS {
            multiply_add(&mut limbs, 10_u64.pow(CHUNK_DIGITS), chunk);
            (chunk, chunk_digits) = (0, 0);
        }
    })?;
    multiply_add(&mut limbs, 10_u64.pow(chunk_digits), chunk);
    Some(Bytes::new(&signed_bytes(negative, &limbs)))
}

/// `limbs * factor + addend`, the lowest limb first.
fn multiply_add(limbs: &mut Vec<u64>, factor: u64, addend: u64) {
    let mut carry = u128::from(addend);
    for limb in limbs.iter_mut() {
        carry += u128::from(*limb) * u128::from(factor);
        *limb = low(carry);
        carry >>= 64;
    }
    if carry > 0 {
        limbs.push(low(carry));
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lower half is what is wanted"
)]
const fn low(wide: u128) -> u64 {
    wide as u64
}

/// The shortest two's complement of the number with this sign and these limbs.
fn signed_bytes(negative: bool, limbs: &[u64]) -> Vec<u8> {
    // One byte more than the limbs have, so that there is always room for the sign.
    let mut bytes = Vec::with_capacity(limbs.len() * 8 + 1);
    bytes.push(0);
    bytes.extend(limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()));
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    minimal(&bytes).to_vec()
}
