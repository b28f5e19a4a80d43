//! Whole numbers without an upper bound: amounts, counters, heights and times.
//!
//! The reference writes them as the shortest bytes that hold them, little-endian in accounts and
//! transactions, big-endian in blocks and receipts, and lets them pass 64 bits. So nothing here
//! wraps, truncates or saturates: what does not fit says so.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use num_bigint::BigUint;

/// The longest decimal text that is read, as Python limits it: reading is quadratic.
pub const MAX_DECIMAL_DIGITS: usize = 4_300;

/// A whole number, 0 or more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Natural(BigUint);

/// Why a text or some bytes are no [`Natural`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NaturalError {
    /// The text holds something other than decimal digits and a sign in front, or no digit.
    NotANumber,
    /// The number is below 0.
    Negative,
    /// The text has more digits than are read.
    TooLong {
        /// How many it has.
        digits: usize,
    },
    /// The bytes could be fewer, or are none at all.
    NotShortest,
}

impl fmt::Display for NaturalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber => f.write_str("not a whole number in decimal digits"),
            Self::Negative => f.write_str("the number is below 0"),
            Self::TooLong { digits } => write!(
                f,
                "the number has {digits} digits, at most {MAX_DECIMAL_DIGITS} are read"
            ),
            Self::NotShortest => f.write_str("the number is not in its shortest form"),
        }
    }
}

impl core::error::Error for NaturalError {}

impl Natural {
    /// The shortest little-endian bytes; one zero byte for 0.
    #[must_use]
    pub fn to_bytes_le(&self) -> Vec<u8> {
        self.0.to_bytes_le()
    }

    /// The shortest big-endian bytes; one zero byte for 0.
    #[must_use]
    pub fn to_bytes_be(&self) -> Vec<u8> {
        self.0.to_bytes_be()
    }

    /// Reads little-endian bytes, which must be the shortest.
    ///
    /// # Errors
    /// When there are none, or a zero byte at the high end that is not the number 0.
    pub fn from_bytes_le(bytes: &[u8]) -> Result<Self, NaturalError> {
        check_shortest(bytes, bytes.last())?;
        Ok(Self(BigUint::from_bytes_le(bytes)))
    }

    /// Reads big-endian bytes, which must be the shortest.
    ///
    /// # Errors
    /// As [`Natural::from_bytes_le`].
    pub fn from_bytes_be(bytes: &[u8]) -> Result<Self, NaturalError> {
        check_shortest(bytes, bytes.first())?;
        Ok(Self(BigUint::from_bytes_be(bytes)))
    }

    /// The number, if it fits in 64 bits.
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        u64::try_from(&self.0).ok()
    }
}

fn check_shortest(bytes: &[u8], highest: Option<&u8>) -> Result<(), NaturalError> {
    match highest {
        None => Err(NaturalError::NotShortest),
        Some(0) if bytes.len() > 1 => Err(NaturalError::NotShortest),
        Some(_) => Ok(()),
    }
}

impl From<u64> for Natural {
    fn from(value: u64) -> Self {
        Self(value.into())
    }
}

/// Decimal digits with an optional sign; `-0` is 0.
impl FromStr for Natural {
    type Err = NaturalError;

    fn from_str(text: &str) -> Result<Self, NaturalError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(NaturalError::NotANumber);
        }
        if digits.len() > MAX_DECIMAL_DIGITS {
            return Err(NaturalError::TooLong {
                digits: digits.len(),
            });
        }
        let value = BigUint::parse_bytes(digits.as_bytes(), 10).ok_or(NaturalError::NotANumber)?;
        if negative && value != BigUint::ZERO {
            return Err(NaturalError::Negative);
        }
        Ok(Self(value))
    }
}

/// Decimal digits.
impl fmt::Display for Natural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Natural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Natural({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use proptest::prelude::*;

    fn natural(text: &str) -> Natural {
        text.parse().unwrap()
    }

    #[test]
    fn golden_bytes() {
        for (text, le) in [
            ("0", vec![0]),
            ("255", vec![255]),
            ("256", vec![0, 1]),
            ("18446744073709551616", vec![0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ] {
            assert_eq!(natural(text).to_bytes_le(), le);
            let be: Vec<u8> = le.into_iter().rev().collect();
            assert_eq!(natural(text).to_bytes_be(), be);
        }
    }

    #[test]
    fn what_is_no_number_says_why() {
        for text in ["", "-", "+", "1_0", " 1", "1 ", "--1", "0x1", "١"] {
            let parsed = text.parse::<Natural>();
            assert_eq!(parsed, Err(NaturalError::NotANumber), "{text:?}");
        }
        assert_eq!("-1".parse::<Natural>(), Err(NaturalError::Negative));
        assert_eq!(natural("-0"), natural("+000"));
        let long = "9".repeat(MAX_DECIMAL_DIGITS);
        assert_eq!(natural(&long).to_string(), long);
        let longer = "0".repeat(MAX_DECIMAL_DIGITS + 1);
        let digits = longer.len();
        assert_eq!(
            longer.parse::<Natural>(),
            Err(NaturalError::TooLong { digits })
        );
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value: u128) {
            let number = natural(&value.to_string());
            prop_assert_eq!(number.to_string(), value.to_string());
            prop_assert_eq!(number.to_u64(), u64::try_from(value).ok());
            prop_assert_eq!(Natural::from_bytes_le(&number.to_bytes_le()), Ok(number.clone()));
            prop_assert_eq!(Natural::from_bytes_be(&number.to_bytes_be()), Ok(number));
        }

        #[test]
        fn only_the_shortest_bytes_are_read(bytes in proptest::collection::vec(0..3u8, 0..20)) {
            match Natural::from_bytes_le(&bytes) {
                Ok(number) => prop_assert_eq!(&number.to_bytes_le(), &bytes),
                Err(error) => {
                    prop_assert_eq!(error, NaturalError::NotShortest);
                    prop_assert!(bytes.is_empty() || bytes.len() > 1 && bytes.ends_with(&[0]));
                }
            }
            match Natural::from_bytes_be(&bytes) {
                Ok(number) => prop_assert_eq!(number.to_bytes_be(), bytes),
                Err(_) => prop_assert!(bytes.is_empty() || bytes.len() > 1 && bytes[0] == 0),
            }
        }
    }
}
