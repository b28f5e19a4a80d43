//! Value of `--wait`: condition and time limit.

use core::num::NonZeroU64;
use core::str::FromStr;

/// Value of `--wait`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wait {
    /// `true` if the block has to be safe.
    pub(super) until_safe: bool,
    /// Maximum time in seconds.
    pub(super) seconds: NonZeroU64,
}

/// Default maximum of seconds to wait for inclusion in a block.
const INCLUDED_SECONDS: NonZeroU64 = NonZeroU64::new(60).unwrap();
/// Default maximum of seconds to wait for a safe block.
const SAFE_SECONDS: NonZeroU64 = NonZeroU64::new(600).unwrap();

impl FromStr for Wait {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (word, seconds) = match text.split_once(':') {
            Some((word, seconds)) => (word, Some(seconds)),
            None if text.starts_with(|c: char| c.is_ascii_digit()) => ("included", Some(text)),
            None => (text, None),
        };
        let (until_safe, default) = match word {
            "included" => (false, INCLUDED_SECONDS),
            "safe" => (true, SAFE_SECONDS),
            _ => {
                return Err("expected included, safe, a number of seconds, or both as in safe:900");
            }
        };
        let seconds = seconds.map(str::parse).transpose();
        let seconds = seconds.map_err(|_| "expected an integer number of seconds, at least 1")?;
        Ok(Self {
            until_safe,
            seconds: seconds.unwrap_or(default),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_state_and_seconds_alone_and_combined() {
        let of = |text: &str| {
            text.parse::<Wait>()
                .map(|it| (it.until_safe, it.seconds.get()))
        };
        assert_eq!(of("included"), Ok((false, 60)));
        assert_eq!(of("safe"), Ok((true, 600)));
        assert_eq!(of("5"), Ok((false, 5)));
        assert_eq!(of("included:7"), Ok((false, 7)));
        assert_eq!(of("safe:900"), Ok((true, 900)));
        for wrong in [
            "", "0", "safe:", "safe:0", "soon", "5:safe", "-1", "1.5", ":5",
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
