//! Conversion between decimal digits and two's complement.

use crate::expr::{Bytes, minimal};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

/// Maximum number of digits of an integer, the same as Python's default.
const DIGITS_MAX: usize = 4_300;

/// Reads the integer `text`: `[+-]?digits(_digits)*`, at most 4,300 digits including leading zeros.
/// Returns `None` if it is not an integer.
pub(super) fn integer(text: &str) -> Option<Bytes> {
    let (negative, digits) = split_sign(text);
    digits.first().filter(|byte| byte.is_ascii_digit())?;
    if digits.len() <= 18 {
        return small(negative, digits);
    }
    large(negative, digits)
}

/// Returns whether [`integer`] accepts `text`.
pub(super) fn is_integer(text: &str) -> bool {
    each_digit(split_sign(text).1, |_| ()).is_some()
}

/// Returns whether `text` starts with a minus sign, and the text after its sign.
const fn split_sign(text: &str) -> (bool, &[u8]) {
    match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    }
}

/// Calls `take` with each digit, left to right; returns `None` if `digits` is not an integer.
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

/// Reads at most 18 digits, which fit an `i64`.
fn small(negative: bool, digits: &[u8]) -> Option<Bytes> {
    let mut value = 0_i64;
    each_digit(digits, |digit| value = value * 10 + i64::from(digit))?;
    let value = if negative { -value } else { value };
    Some(Bytes::new(minimal(&value.to_be_bytes())))
}

/// Power of ten of the number of digits that are added to the big number at once: 19, the maximum
/// that fits in a limb.
const CHUNK: u64 = 10_u64.pow(19);

/// Reads up to 4,300 digits: at most 224 limbs are updated once for each of 227 chunks.
fn large(negative: bool, digits: &[u8]) -> Option<Bytes> {
    let mut limbs: Vec<u64> = Vec::with_capacity(digits.len().min(DIGITS_MAX) / 19 + 2);
    // The digits since the last update, and the power of ten of their number.
    let (mut chunk, mut factor) = (0_u64, 1_u64);
    each_digit(digits, |digit| {
        chunk = chunk * 10 + u64::from(digit);
        factor *= 10;
        if factor == CHUNK {
            multiply_add(&mut limbs, factor, chunk);
            (chunk, factor) = (0, 1);
        }
    })?;
    multiply_add(&mut limbs, factor, chunk);
    Some(Bytes::new(&signed_bytes(negative, &limbs)))
}

/// Computes `limbs * factor + addend` in place, lowest limb first.
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

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lowest quarter is what is wanted"
)]
const fn low_quarter(wide: u128) -> u32 {
    wide as u32
}

/// Returns the shortest two's complement of the number with this sign and these limbs.
fn signed_bytes(negative: bool, limbs: &[u64]) -> Vec<u8> {
    // One byte more than the limbs, so that there is always room for the sign.
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

/// Maximum size of an integer that [`decimal`] prints, in bytes: every integer of 4,300 digits
/// fits.
const DECIMAL_BYTES_MAX: usize = 1_786;

/// Returns the decimal digits of the signed integer encoded by `bytes`, of any width up to 1,786
/// bytes; the empty string is 0. Returns `None` above that size.
pub(super) fn decimal(bytes: &[u8]) -> Option<String> {
    if bytes.len() > DECIMAL_BYTES_MAX {
        return None;
    }
    let negative = bytes.first().is_some_and(|&first| first >= 0x80);
    // The magnitude of a negative number is its complement plus one.
    let complement = if negative { 0xff } else { 0 };
    let mut limbs: Vec<u64> = bytes
        .rchunks(8)
        .map(|chunk| {
            let bytes = chunk.iter().map(|byte| u64::from(byte ^ complement));
            bytes.fold(0, |limb, byte| limb << 8 | byte)
        })
        .collect();
    let mut carry = negative;
    for limb in &mut limbs {
        (*limb, carry) = limb.overflowing_add(u64::from(carry));
    }
    if carry {
        limbs.push(1);
    }
    let mut chunks = Vec::new();
    while limbs.iter().any(|&limb| limb > 0) {
        chunks.push(divide(&mut limbs, CHUNK));
    }
    let mut digits = String::from(if negative { "-" } else { "" });
    let mut chunks = chunks.iter().rev();
    write!(digits, "{}", chunks.next().unwrap_or(&0)).ok()?;
    for chunk in chunks {
        write!(digits, "{chunk:019}").ok()?;
    }
    Some(digits)
}

/// Maximum number of digits of an integer of 128 bits.
const SHORT_DIGITS: usize = 39;

/// Writes an integer in decimal, as its `Display` does. Division by a constant of 64 bits is little
/// code on every target; the standard library's formatting of 128 bits is one and a half kilobytes.
pub(super) fn write_integer(out: &mut impl Write, value: i128) -> fmt::Result {
    let magnitude = value.unsigned_abs();
    let mut limbs = [magnitude, magnitude >> 32, magnitude >> 64, magnitude >> 96].map(low_quarter);
    let mut digits = [b'0'; SHORT_DIGITS];
    let mut len = 0;
    for place in digits.iter_mut().rev() {
        let mut remainder = 0;
        for limb in limbs.iter_mut().rev() {
            let wide = remainder << 32 | u64::from(*limb);
            *limb = low_quarter((wide / 10).into());
            remainder = wide % 10;
        }
        *place = b'0' + remainder.to_le_bytes()[0];
        len += 1;
        if limbs == [0; 4] {
            break;
        }
    }
    if value < 0 {
        out.write_char('-')?;
    }
    let digits = digits.get(SHORT_DIGITS - len..).unwrap_or_default();
    out.write_str(core::str::from_utf8(digits).unwrap_or_default())
}

/// Divides `limbs`, lowest first, in place and returns the remainder.
fn divide(limbs: &mut [u64], divisor: u64) -> u64 {
    let mut remainder = 0_u128;
    for limb in limbs.iter_mut().rev() {
        remainder = remainder << 64 | u128::from(*limb);
        *limb = low(remainder / u128::from(divisor));
        remainder %= u128::from(divisor);
    }
    low(remainder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::signed;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Option<Vec<u8>> {
        assert_eq!(is_integer(text), integer(text).is_some(), "{text}");
        integer(text).map(|bytes| bytes.to_vec())
    }

    #[test]
    fn signs_zeros_and_single_underscores_are_accepted() {
        for (text, value) in [
            ("0", vec![0]),
            ("-0", vec![0]),
            ("+5", vec![5]),
            ("007", vec![7]),
            ("1_000", vec![3, 0xe8]),
            ("-1_2_8", vec![0x80]),
            ("-129", vec![0xff, 0x7f]),
            ("-18446744073709551616", vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("18446744073709551616", vec![1, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("000000000000000000000000000000", vec![0]),
            ("-000000000000000000000000000001", vec![0xff]),
        ] {
            assert_eq!(bytes(text), Some(value), "{text}");
        }
    }

    #[test]
    fn malformed_integers_are_rejected() {
        let long = "9".repeat(30);
        for text in [
            "",
            "+",
            "-",
            "_1",
            "1_",
            "1__0",
            "+_1",
            "--1",
            "+-1",
            "0x10",
            "1e5",
            "1.0",
            " 1",
            "\u{2212}5",
            "\u{663}",
            "a",
            "1a",
        ] {
            assert_eq!(bytes(text), None, "{text}");
            assert_eq!(bytes(&(String::from(text) + &long + "_")), None, "{text}");
        }
    }

    #[test]
    fn over_4300_digits_are_rejected() {
        assert!(integer(&"9".repeat(4_300)).is_some());
        assert!(integer(&"9".repeat(4_301)).is_none());
        let spaced = "9_".repeat(4_299) + "9";
        assert_eq!(integer(&spaced), integer(&"9".repeat(4_300)));
        assert!(integer(&("9_".repeat(4_300) + "9")).is_none());
        assert_eq!(bytes(&"0".repeat(4_300)), Some(vec![0]));
        assert!(integer(&"0".repeat(4_301)).is_none());
    }

    /// Computes the decimal digits of the number with these signed big-endian bytes by schoolbook
    /// arithmetic, one digit at a time.
    fn by_long_division(bytes: &[u8]) -> String {
        let negative = bytes[0] >= 0x80;
        let mut digits = vec![0_u8];
        for &byte in bytes {
            // The magnitude of -n is one more than its complement.
            let mut carry = u32::from(if negative { !byte } else { byte });
            for digit in &mut digits {
                carry += u32::from(*digit) * 256;
                *digit = u8::try_from(carry % 10).unwrap();
                carry /= 10;
            }
            while carry > 0 {
                digits.push(u8::try_from(carry % 10).unwrap());
                carry /= 10;
            }
        }
        if negative {
            match digits.iter().position(|&digit| digit < 9) {
                Some(at) => {
                    digits[..at].fill(0);
                    digits[at] += 1;
                }
                None => {
                    digits.fill(0);
                    digits.push(1);
                }
            }
        }
        let text: String = digits.iter().rev().map(u8::to_string).collect();
        String::from(if negative { "-" } else { "" }) + &text
    }

    proptest! {
        #[test]
        fn parsed_integers_match_i128(value in any::<i128>(), shift in 0..127_u32) {
            let value = value >> shift;
            prop_assert_eq!(signed(&bytes(&value.to_string()).unwrap()), Some(value));
        }

        #[test]
        fn short_integers_are_written_as_by_the_standard_library(
            value in any::<i128>(), shift in 0..128_u32,
        ) {
            for value in [value >> shift, i128::MIN, i128::MAX, 0] {
                let mut text = String::new();
                write_integer(&mut text, value).unwrap();
                prop_assert_eq!(text, value.to_string());
            }
        }

        #[test]
        fn printed_decimals_match_i128(value in any::<i128>(), shift in 0..128_u32, wide in 0..20_usize) {
            let value = value >> shift;
            let mut bytes = vec![if value < 0 { 0xff } else { 0 }; wide];
            bytes.extend(value.to_be_bytes());
            prop_assert_eq!(decimal(&bytes), Some(value.to_string()));
        }

        #[test]
        fn wide_integers_match_long_division(text in "-?[1-9][0-9]{0,400}") {
            let bytes = bytes(&text).unwrap();
            prop_assert_eq!(minimal(&bytes), &bytes);
            prop_assert_eq!(by_long_division(&bytes), text.clone());
            prop_assert_eq!(decimal(&bytes), Some(text));
        }
    }

    #[test]
    fn widest_integer_matches_long_division() {
        for text in [
            "9".repeat(4_300),
            "-".to_string() + &"1234567890".repeat(430),
        ] {
            assert_eq!(by_long_division(&bytes(&text).unwrap()), text);
            assert_eq!(decimal(&bytes(&text).unwrap()), Some(text));
        }
    }
}
