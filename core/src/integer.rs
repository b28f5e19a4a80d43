//! Unbounded non-negative integers for amounts, counters, heights and times.
//!
//! The reference encodes them in the shortest bytes, little-endian in accounts and transactions,
//! big-endian in blocks and receipts, and lets them exceed 64 bits. Therefore nothing here wraps or
//! truncates, and only operations that are named so saturate; a result that is out of range is
//! `None` or an error.
//!
//! Invariants:
//! - A number below 2^128 is stored inline and a larger one on the heap, so equal numbers always
//!   have the same representation. Sums of everyday amounts do not allocate.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::ops::{Add, AddAssign, Mul};
use core::str::FromStr;
use num_bigint::BigUint;

/// Maximum number of digits of a decimal text, the same limit as Python's: parsing is quadratic.
pub const MAX_DECIMAL_DIGITS: usize = 4_300;

/// Size of an inline number, in bytes.
const SMALL_BYTES: usize = 16;

/// Unbounded non-negative integer.
///
/// ```
/// use astreum_core::integer::{Natural, NaturalError};
///
/// let balance: Natural = "340282366920938463463374607431768211455".parse()?;
/// let sum = &balance + &Natural::ONE;
/// assert_eq!(sum.to_string(), "340282366920938463463374607431768211456");
/// assert_eq!((balance.to_u128(), sum.to_u128()), (Some(u128::MAX), None));
/// assert_eq!("-1".parse::<Natural>(), Err(NaturalError::Negative));
/// # Ok::<(), NaturalError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Natural(Repr);

/// Representation of a [`Natural`].
///
/// Every `Large` is greater than every `Small`, so the derived order is the numeric order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Small(u128),
    /// A number of at least 2^128.
    Large(BigUint),
}

/// Reason a text or a byte string is not a [`Natural`].
///
/// ```
/// use astreum_core::integer::{Natural, NaturalError};
/// assert_eq!("one".parse::<Natural>(), Err(NaturalError::NotANumber));
/// let digits = "9".repeat(5_000);
/// assert_eq!(digits.parse::<Natural>(), Err(NaturalError::TooLong { digits: 5_000 }));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NaturalError {
    /// The text is not an optional sign followed by at least one decimal digit.
    NotANumber,
    /// The number is below 0.
    Negative,
    /// The text has more than [`MAX_DECIMAL_DIGITS`] digits.
    TooLong {
        /// Number of digits in the text.
        digits: usize,
    },
    /// The bytes are empty or have a redundant zero byte at the high end.
    NotShortest,
}

impl fmt::Display for NaturalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber => f.write_str("not a decimal integer"),
            Self::Negative => f.write_str("the number is negative"),
            Self::TooLong { digits } => write!(
                f,
                "the number has {digits} digits, the maximum is {MAX_DECIMAL_DIGITS}"
            ),
            Self::NotShortest => f.write_str("the number is not in its shortest form"),
        }
    }
}

impl core::error::Error for NaturalError {}

impl Natural {
    /// The number 0.
    pub const ZERO: Self = Self::new(0);
    /// The number 1.
    pub const ONE: Self = Self::new(1);

    /// Creates a number from a `u128`.
    #[must_use]
    pub const fn new(value: u128) -> Self {
        Self(Repr::Small(value))
    }

    /// Creates a number from `value` in the representation for its size.
    fn from_big(value: BigUint) -> Self {
        match u128::try_from(&value) {
            Ok(small) => Self::new(small),
            Err(_) => Self(Repr::Large(value)),
        }
    }

    fn to_big(&self) -> BigUint {
        match &self.0 {
            Repr::Small(value) => BigUint::from(*value),
            Repr::Large(value) => value.clone(),
        }
    }

    /// Returns the shortest little-endian bytes; one zero byte for 0.
    ///
    /// ```
    /// use astreum_core::integer::Natural;
    /// assert_eq!(Natural::from(258_u64).to_bytes_le(), [2, 1]);
    /// assert_eq!(Natural::ZERO.to_bytes_le(), [0]);
    /// ```
    #[must_use]
    pub fn to_bytes_le(&self) -> Vec<u8> {
        match &self.0 {
            Repr::Small(value) => {
                let mut bytes = value.to_le_bytes().to_vec();
                bytes.truncate(shortest_len(*value));
                bytes
            }
            Repr::Large(value) => value.to_bytes_le(),
        }
    }

    /// Returns the shortest big-endian bytes; one zero byte for 0.
    ///
    /// ```
    /// use astreum_core::integer::Natural;
    /// assert_eq!(Natural::from(258_u64).to_bytes_be(), [1, 2]);
    /// ```
    #[must_use]
    pub fn to_bytes_be(&self) -> Vec<u8> {
        let mut bytes = self.to_bytes_le();
        bytes.reverse();
        bytes
    }

    /// Reads little-endian bytes, which must be in shortest form.
    ///
    /// ```
    /// use astreum_core::integer::{Natural, NaturalError};
    /// assert_eq!(Natural::from_bytes_le(&[2, 1]), Ok(Natural::from(258_u64)));
    /// assert_eq!(Natural::from_bytes_le(&[2, 0]), Err(NaturalError::NotShortest));
    /// assert_eq!(Natural::from_bytes_le(&[]), Err(NaturalError::NotShortest));
    /// ```
    ///
    /// # Errors
    /// Returns [`NaturalError::NotShortest`] if `bytes` is empty, or if its highest byte is zero
    /// and it is not the single byte of the number 0.
    pub fn from_bytes_le(bytes: &[u8]) -> Result<Self, NaturalError> {
        check_shortest(bytes, bytes.last())?;
        let mut small = [0; SMALL_BYTES];
        match small.get_mut(..bytes.len()) {
            Some(low) => low.copy_from_slice(bytes),
            None => return Ok(Self(Repr::Large(BigUint::from_bytes_le(bytes)))),
        }
        Ok(Self::new(u128::from_le_bytes(small)))
    }

    /// Reads big-endian bytes, which must be in shortest form.
    ///
    /// ```
    /// use astreum_core::integer::{Natural, NaturalError};
    /// assert_eq!(Natural::from_bytes_be(&[1, 2]), Ok(Natural::from(258_u64)));
    /// assert_eq!(Natural::from_bytes_be(&[0, 2]), Err(NaturalError::NotShortest));
    /// ```
    ///
    /// # Errors
    /// As [`Natural::from_bytes_le`].
    pub fn from_bytes_be(bytes: &[u8]) -> Result<Self, NaturalError> {
        check_shortest(bytes, bytes.first())?;
        if bytes.len() > SMALL_BYTES {
            return Ok(Self(Repr::Large(BigUint::from_bytes_be(bytes))));
        }
        let value = bytes
            .iter()
            .fold(0, |value, &byte| value << 8 | u128::from(byte));
        Ok(Self::new(value))
    }

    /// Returns the number if it fits in 64 bits.
    ///
    /// ```
    /// use astreum_core::integer::Natural;
    /// assert_eq!(Natural::from(7_u64).to_u64(), Some(7));
    /// assert_eq!(Natural::new(1 << 64).to_u64(), None);
    /// ```
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        self.to_u128().and_then(|value| value.try_into().ok())
    }

    /// Returns the number if it fits in 128 bits.
    #[must_use]
    pub const fn to_u128(&self) -> Option<u128> {
        match &self.0 {
            Repr::Small(value) => Some(*value),
            Repr::Large(_) => None,
        }
    }

    /// Returns whether the number is 0.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        matches!(self.0, Repr::Small(0))
    }

    /// Returns the number of significant bits; 0 for the number 0.
    ///
    /// ```
    /// use astreum_core::integer::Natural;
    /// assert_eq!(Natural::from(255_u64).bit_length(), 8);
    /// assert_eq!(Natural::from(256_u64).bit_length(), 9);
    /// ```
    #[must_use]
    pub fn bit_length(&self) -> u64 {
        match &self.0 {
            Repr::Small(value) => u64::from(u128::BITS - value.leading_zeros()),
            Repr::Large(value) => value.bits(),
        }
    }

    /// Returns `self - other`, or `None` if the result is below 0.
    ///
    /// ```
    /// use astreum_core::integer::Natural;
    /// let (five, seven) = (Natural::from(5_u64), Natural::from(7_u64));
    /// assert_eq!(seven.checked_sub(&five), Some(Natural::from(2_u64)));
    /// assert_eq!(five.checked_sub(&seven), None);
    /// ```
    #[must_use]
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        if let (Repr::Small(left), Repr::Small(right)) = (&self.0, &other.0) {
            return left.checked_sub(*right).map(Self::new);
        }
        (self >= other).then(|| Self::from_big(self.to_big() - other.to_big()))
    }

    /// Returns `self - other`, or 0 if the result is below 0.
    ///
    /// ```
    /// use astreum_core::integer::Natural;
    /// assert_eq!(Natural::from(5_u64).saturating_sub(&Natural::from(7_u64)), 0);
    /// ```
    #[must_use]
    pub fn saturating_sub(&self, other: &Self) -> Self {
        self.checked_sub(other).unwrap_or(Self::ZERO)
    }

    /// Returns `self / divisor` rounded up, or `None` if the divisor is 0.
    ///
    /// ```
    /// use astreum_core::integer::Natural;
    /// let (seven, two) = (Natural::from(7_u64), Natural::from(2_u64));
    /// assert_eq!(seven.div_ceil(&two), Some(Natural::from(4_u64)));
    /// assert_eq!(seven.div_ceil(&Natural::ZERO), None);
    /// ```
    #[must_use]
    pub fn div_ceil(&self, divisor: &Self) -> Option<Self> {
        if let (Repr::Small(left), Repr::Small(right)) = (&self.0, &divisor.0) {
            return (*right != 0).then(|| Self::new(left.div_ceil(*right)));
        }
        let (left, right) = (self.to_big(), divisor.to_big());
        if divisor.is_zero() {
            return None;
        }
        let quotient = &left / &right;
        let exact = &quotient * &right == left;
        Some(Self::from_big(quotient) + &Self::from(u64::from(!exact)))
    }

    /// Returns `self / divisor` rounded down, or `None` if the divisor is 0.
    ///
    /// ```
    /// use astreum_core::integer::Natural;
    /// let (seven, two) = (Natural::from(7_u64), Natural::from(2_u64));
    /// assert_eq!(seven.checked_div(&two), Some(Natural::from(3_u64)));
    /// assert_eq!(seven.checked_rem(&two), Some(Natural::ONE));
    /// ```
    #[must_use]
    pub fn checked_div(&self, divisor: &Self) -> Option<Self> {
        if divisor.is_zero() {
            return None;
        }
        if let (Repr::Small(left), Repr::Small(right)) = (&self.0, &divisor.0) {
            return Some(Self::new(left / right));
        }
        Some(Self::from_big(self.to_big() / divisor.to_big()))
    }

    /// Returns the remainder of `self / divisor`, or `None` if the divisor is 0.
    #[must_use]
    pub fn checked_rem(&self, divisor: &Self) -> Option<Self> {
        if divisor.is_zero() {
            return None;
        }
        if let (Repr::Small(left), Repr::Small(right)) = (&self.0, &divisor.0) {
            return Some(Self::new(left % right));
        }
        Some(Self::from_big(self.to_big() % divisor.to_big()))
    }

    /// Returns half of the number, rounded down.
    ///
    /// ```
    /// use astreum_core::integer::Natural;
    /// assert_eq!(Natural::from(7_u64).half(), 3);
    /// ```
    #[must_use]
    pub fn half(&self) -> Self {
        match &self.0 {
            Repr::Small(value) => Self::new(value >> 1),
            Repr::Large(value) => Self::from_big(value >> 1_u32),
        }
    }

    /// Creates a number from its digits in base 2^32, lowest first.
    pub(crate) fn from_words_le(words: Vec<u32>) -> Self {
        Self::from_big(BigUint::new(words))
    }
}

/// Returns the length of the shortest encoding, in bytes.
fn shortest_len(value: u128) -> usize {
    let bits = (u128::BITS - value.leading_zeros()).max(1);
    // At most 16.
    usize::try_from(bits.div_ceil(8)).unwrap_or(SMALL_BYTES)
}

fn check_shortest(bytes: &[u8], highest: Option<&u8>) -> Result<(), NaturalError> {
    match highest {
        None => Err(NaturalError::NotShortest),
        Some(0) if bytes.len() > 1 => Err(NaturalError::NotShortest),
        Some(_) => Ok(()),
    }
}

impl Default for Natural {
    fn default() -> Self {
        Self::ZERO
    }
}

impl From<u64> for Natural {
    fn from(value: u64) -> Self {
        Self::new(u128::from(value))
    }
}

impl From<u32> for Natural {
    fn from(value: u32) -> Self {
        Self::new(u128::from(value))
    }
}

impl From<usize> for Natural {
    fn from(value: usize) -> Self {
        // A usize has at most 64 bits on every target that Rust supports.
        Self::new(value as u128)
    }
}

impl From<u128> for Natural {
    fn from(value: u128) -> Self {
        Self::new(value)
    }
}

impl PartialEq<u64> for Natural {
    fn eq(&self, other: &u64) -> bool {
        self.to_u128() == Some(u128::from(*other))
    }
}

impl PartialOrd<u64> for Natural {
    fn partial_cmp(&self, other: &u64) -> Option<Ordering> {
        let Some(value) = self.to_u128() else {
            return Some(Ordering::Greater);
        };
        Some(value.cmp(&u128::from(*other)))
    }
}

impl Add<&Natural> for &Natural {
    type Output = Natural;

    fn add(self, other: &Natural) -> Natural {
        if let (Repr::Small(left), Repr::Small(right)) = (&self.0, &other.0)
            && let Some(sum) = left.checked_add(*right)
        {
            return Natural::new(sum);
        }
        Natural(Repr::Large(self.to_big() + other.to_big()))
    }
}

impl Add<&Self> for Natural {
    type Output = Self;

    fn add(self, other: &Self) -> Self {
        &self + other
    }
}

impl Add for Natural {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        &self + &other
    }
}

impl AddAssign<&Self> for Natural {
    fn add_assign(&mut self, other: &Self) {
        *self = &*self + other;
    }
}

impl AddAssign for Natural {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}

impl Mul<&Natural> for &Natural {
    type Output = Natural;

    fn mul(self, other: &Natural) -> Natural {
        if let (Repr::Small(left), Repr::Small(right)) = (&self.0, &other.0)
            && let Some(product) = left.checked_mul(*right)
        {
            return Natural::new(product);
        }
        Natural::from_big(self.to_big() * other.to_big())
    }
}

impl Mul for Natural {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        &self * &other
    }
}

impl core::iter::Sum for Natural {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, |sum, number| sum + number)
    }
}

impl<'n> core::iter::Sum<&'n Self> for Natural {
    fn sum<I: Iterator<Item = &'n Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, |sum, number| sum + number)
    }
}

/// Parses decimal digits with an optional sign; `-0` is 0.
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
        Ok(Self::from_big(value))
    }
}

/// Formats the number in decimal digits.
impl fmt::Display for Natural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Small(value) => value.fmt(f),
            Repr::Large(value) => value.fmt(f),
        }
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
    fn invalid_numbers_are_errors_with_a_reason() {
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

    /// Generates numbers of up to 32 bytes, many of them near the border between the two
    /// representations.
    fn numbers() -> impl Strategy<Value = (Natural, BigUint)> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..32);
        let near = (0..4_u8, any::<bool>()).prop_map(|(distance, above)| {
            let border = BigUint::from(1_u8) << 128_u32;
            if above {
                border + distance
            } else {
                border - distance
            }
        });
        let any = bytes.prop_map(|bytes| BigUint::from_bytes_le(&bytes));
        prop_oneof![any, near].prop_map(|big| (Natural::from_big(big.clone()), big))
    }

    #[test]
    fn division_by_zero_and_underflow_return_none() {
        let large = natural("340282366920938463463374607431768211456");
        assert_eq!(large.div_ceil(&Natural::ZERO), None);
        assert_eq!(Natural::ONE.div_ceil(&Natural::ZERO), None);
        assert_eq!(large.checked_div(&Natural::ZERO), None);
        assert_eq!(large.checked_rem(&Natural::ZERO), None);
        assert_eq!(Natural::ONE.checked_sub(&large), None);
        assert_eq!(Natural::ONE.saturating_sub(&large), Natural::ZERO);
        assert!(large > u64::MAX && Natural::ONE == 1 && Natural::ZERO < 1);
    }

    proptest! {
        /// Every operation agrees with `BigUint` and keeps the representation unique.
        #[test]
        fn arithmetic_is_that_of_big_numbers((a, x) in numbers(), (b, y) in numbers()) {
            let is = |number: &Natural, big: &BigUint| {
                *number == Natural::from_big(big.clone()) && number.to_string() == big.to_string()
            };
            prop_assert!(is(&(&a + &b), &(&x + &y)));
            prop_assert!(is(&(&a * &b), &(&x * &y)));
            prop_assert!(is(&a.half(), &(&x >> 1_u8)));
            prop_assert_eq!(a.bit_length(), x.bits());
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            match a.checked_sub(&b) {
                Some(rest) => prop_assert!(is(&rest, &(&x - &y))),
                None => prop_assert!(x < y),
            }
            if y != BigUint::ZERO {
                let quotient = &x / &y;
                let up = (&x + &y - 1_u8) / &y;
                prop_assert!(a.div_ceil(&b).is_some_and(|found| is(&found, &up)));
                prop_assert!(a.checked_div(&b).is_some_and(|found| is(&found, &quotient)));
                prop_assert!(a.checked_rem(&b).is_some_and(|found| is(&found, &(&x % &y))));
            }
            prop_assert_eq!(a.to_bytes_le(), x.to_bytes_le());
            prop_assert_eq!(a.to_bytes_be(), x.to_bytes_be());
            prop_assert_eq!(Natural::from_bytes_be(&a.to_bytes_be()), Ok(a.clone()));
            prop_assert_eq!(Natural::from_bytes_le(&a.to_bytes_le()), Ok(a));
        }

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
