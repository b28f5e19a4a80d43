//! Rate limits by reason, so that peers cannot fill the log.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

/// Maximum number of lines per reason in a burst.
const BURST: u32 = 5;
/// Time after which one more line is allowed.
const REFILL: Duration = Duration::from_secs(10);

/// Rate limiter of log lines by reason. Reasons are `'static`: their number does not depend on what
/// peers send.
#[derive(Debug, Default)]
pub struct Limiter {
    reasons: BTreeMap<&'static str, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    refilled: Duration,
    suppressed: u64,
}

/// Number of lines of the same reason that were suppressed since the last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Suppressed(pub u64);

/// Empty text, or ` (n more like this were not logged)`.
impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            n => write!(f, " ({n} more like this were not logged)"),
        }
    }
}

impl Limiter {
    /// Returns the number of lines suppressed before it if a line may be written at `now`, else
    /// `None`.
    pub fn allow(&mut self, reason: &'static str, now: Duration) -> Option<Suppressed> {
        let bucket = self.reasons.entry(reason).or_insert(Bucket {
            tokens: BURST,
            refilled: now,
            suppressed: 0,
        });
        let elapsed = now.saturating_sub(bucket.refilled);
        let earned = u32::try_from(elapsed.as_secs() / REFILL.as_secs()).unwrap_or(BURST);
        if earned > 0 {
            bucket.tokens = bucket.tokens.saturating_add(earned).min(BURST);
            bucket.refilled = now;
        }
        match bucket.tokens.checked_sub(1) {
            Some(left) => {
                bucket.tokens = left;
                Some(Suppressed(core::mem::take(&mut bucket.suppressed)))
            }
            None => {
                bucket.suppressed = bucket.suppressed.saturating_add(1);
                None
            }
        }
    }

    /// Returns and resets the numbers of suppressed lines of reasons that have been quiet since.
    pub fn leftovers(&mut self, now: Duration) -> Vec<(&'static str, u64)> {
        let quiet = |bucket: &Bucket| now.saturating_sub(bucket.refilled) >= REFILL;
        self.reasons
            .iter_mut()
            .filter(|(_, bucket)| bucket.suppressed > 0 && quiet(bucket))
            .map(|(reason, bucket)| (*reason, core::mem::take(&mut bucket.suppressed)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_a_burst_then_one_message_per_ten_seconds() {
        let mut limiter = Limiter::default();
        let at = Duration::from_secs;
        for _ in 0..BURST {
            assert_eq!(limiter.allow("bad", at(100)), Some(Suppressed(0)));
        }
        for _ in 0..3 {
            assert_eq!(limiter.allow("bad", at(101)), None);
        }
        assert_eq!(limiter.allow("other", at(101)), Some(Suppressed(0)));
        assert_eq!(limiter.allow("bad", at(110)), Some(Suppressed(3)));
        assert_eq!(limiter.allow("bad", at(111)), None);
        assert_eq!(limiter.leftovers(at(115)), []);
        assert_eq!(limiter.leftovers(at(120)), [("bad", 1)]);
        assert_eq!(limiter.leftovers(at(130)), []);
        assert_eq!(
            Suppressed(3).to_string(),
            " (3 more like this were not logged)"
        );
        assert_eq!(Suppressed(0).to_string(), "");
    }

    #[test]
    fn limiter_tolerates_clock_jumps() {
        let mut limiter = Limiter::default();
        for _ in 0..BURST {
            limiter.allow("bad", Duration::MAX);
        }
        assert_eq!(limiter.allow("bad", Duration::ZERO), None);
        let mut limiter = Limiter::default();
        limiter.allow("bad", Duration::ZERO);
        assert_eq!(limiter.allow("bad", Duration::MAX), Some(Suppressed(0)));
    }
}
