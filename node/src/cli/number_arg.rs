//! Numeric arguments of the command line.

use core::num::{NonZeroU32, NonZeroU64};

use super::parse;

/// Number on the command line. [`number`] reads every numeric argument; its errors name the range.
pub(super) trait Number: Sized {
    /// Smallest and largest value.
    const RANGE: (u64, u64);

    /// Returns the number, or `None` if `value` is out of range.
    fn new(value: u64) -> Option<Self>;
}

impl Number for u64 {
    const RANGE: (u64, u64) = (0, Self::MAX);

    fn new(value: u64) -> Option<Self> {
        Some(value)
    }
}

impl Number for u32 {
    const RANGE: (u64, u64) = (0, u32::MAX as u64);

    fn new(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }
}

impl Number for NonZeroU64 {
    const RANGE: (u64, u64) = (1, u64::MAX);

    fn new(value: u64) -> Option<Self> {
        Self::new(value)
    }
}

impl Number for NonZeroU32 {
    const RANGE: (u64, u64) = (1, u32::MAX as u64);

    fn new(value: u64) -> Option<Self> {
        Self::new(u32::try_from(value).ok()?)
    }
}

/// Reads a number, whose digits may be grouped with underscores.
///
/// # Errors
/// Returns the expected range if `text` is not a number in the range of `N`.
pub(super) fn number<N: Number>(text: &str) -> Result<N, String> {
    let (least, most) = N::RANGE;
    value(text)
        .and_then(N::new)
        .ok_or_else(|| format!("expected an integer from {least} to {most}"))
}

/// Reads the number of a level of cold storage, from 1 to 999.
///
/// # Errors
/// Returns the expected range if `text` is not a number in it.
pub(super) fn level(text: &str) -> Result<u32, String> {
    within::<1, 999>(text)
}

/// Reads a number from `LEAST` to `MOST`.
///
/// # Errors
/// Returns the expected range if `text` is not a number in it.
pub(super) fn within<const LEAST: u32, const MOST: u32>(text: &str) -> Result<u32, String> {
    let number = value(text).and_then(|value| u32::try_from(value).ok());
    number
        .filter(|number| (LEAST..=MOST).contains(number))
        .ok_or_else(|| format!("expected an integer from {LEAST} to {MOST}"))
}

fn value(text: &str) -> Option<u64> {
    let number = parse::natural("a number", text).ok()?;
    number.to_string().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_numbers_within_their_range() {
        assert_eq!(number("1_000"), Ok(1_000_u64));
        assert_eq!(number("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(number(" 7"), Err::<u64, _>(number::<u64>("x").unwrap_err()));
        let expected = Err("expected an integer from 0 to 4294967295".to_owned());
        for text in [
            "",
            "-1",
            "4294967296",
            "1.5",
            "0x10",
            "99999999999999999999",
        ] {
            assert_eq!(number::<u32>(text), expected, "{text}");
        }
        let positive = "expected an integer from 1 to 4294967295";
        assert_eq!(number::<NonZeroU32>("0").unwrap_err(), positive);
        assert_eq!(number("1"), Ok(NonZeroU64::MIN));
        assert_eq!((level("1"), level("999")), (Ok(1), Ok(999)));
        assert!(level("0").is_err() && level("1000").is_err());
        let error = Err("expected an integer from 10 to 18".to_owned());
        for text in ["9", "19", "-1", "x", "4294967306"] {
            assert_eq!(within::<10, 18>(text), error, "{text}");
        }
        assert_eq!(
            (within::<10, 18>("10"), within::<10, 18>("18")),
            (Ok(10), Ok(18))
        );
    }
}
