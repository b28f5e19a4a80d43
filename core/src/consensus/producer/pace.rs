//! Estimates of the time for assembling a body and searching a nonce, from earlier measurements.

use crate::integer::Natural;
use crate::time::Instant;
use core::time::Duration;

/// Maximum number of leading zero bits that the estimate of a search takes into account.
const MAX_ESTIMATED_BITS: u64 = 48;
/// Initial estimate for one nonce.
const FIRST_GUESS: Duration = Duration::from_micros(20);
/// Initial estimate for an assembly.
const FIRST_ASSEMBLY: Duration = Duration::from_millis(5);

/// Measured times of the producer's work.
#[derive(Debug)]
pub(super) struct Pace {
    nanos_per_attempt: u64,
    /// Begin of the last slice of nonces, and the number of nonces in it.
    slice: Option<(Instant, u64)>,
    assembly: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            nanos_per_attempt: u64::try_from(FIRST_GUESS.as_nanos()).unwrap_or(u64::MAX),
            slice: None,
            assembly: FIRST_ASSEMBLY,
        }
    }
}

impl Pace {
    /// Records that a slice of nonces begins at `now`. This also ends the previous slice: there is
    /// no clock to read in between.
    pub(super) fn begin_slice(&mut self, now: Instant, attempts: u64) {
        if let Some((began, attempts)) = self.slice.replace((now, attempts)) {
            let nanos = u64::try_from(now.since(began).as_nanos()).unwrap_or(u64::MAX);
            let seen = nanos / attempts.max(1);
            // Moving average that halves the weight of a measurement about every five slices.
            self.nanos_per_attempt = (self.nanos_per_attempt / 8 * 7)
                .saturating_add(seen / 8)
                .max(1);
        }
    }

    /// Records that other work follows.
    pub(super) const fn pause(&mut self) {
        self.slice = None;
    }

    /// Records the duration of an assembly. A long one counts at once, and is forgotten slowly.
    pub(super) fn assembled(&mut self, took: Duration) {
        self.assembly = took.max(self.assembly * 3 / 4).max(FIRST_ASSEMBLY / 4);
    }

    /// Returns the estimated duration of an assembly.
    pub(super) const fn assembly(&self) -> Duration {
        self.assembly
    }

    /// Returns the mean duration of a search for this number of leading zero bits.
    pub(super) fn search(&self, required_bits: &Natural) -> Duration {
        let bits = required_bits.to_u64().unwrap_or(MAX_ESTIMATED_BITS);
        let attempts = 1_u64 << bits.clamp(1, MAX_ESTIMATED_BITS);
        Duration::from_nanos(self.nanos_per_attempt.saturating_mul(attempts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn long_assembly_counts_immediately_and_decays_slowly() {
        let mut pace = Pace::default();
        assert_eq!(pace.assembly(), FIRST_ASSEMBLY);
        pace.assembled(millis(400));
        assert_eq!(pace.assembly(), millis(400));
        pace.assembled(millis(1));
        assert_eq!(pace.assembly(), millis(300));
        for _ in 0..50 {
            pace.assembled(Duration::ZERO);
        }
        assert_eq!(pace.assembly(), FIRST_ASSEMBLY / 4);
    }

    #[test]
    fn nonce_time_is_measured_from_slices_without_pauses() {
        let seconds = |pace: &Pace| pace.search(&20_u64.into()).as_secs_f64();
        let mut pace = Pace::default();
        let first = seconds(&pace);
        // 256 nonces in 256 ms: fifty times slower than the first guess.
        for slice in 0..100 {
            pace.begin_slice(Instant::ZERO + millis(256 * slice), 256);
        }
        let learned = seconds(&pace);
        assert!((learned / first - 50.0).abs() < 1.0, "{first} {learned}");
        pace.pause();
        pace.begin_slice(Instant::ZERO + Duration::from_secs(9_999), 256);
        assert!((seconds(&pace) - learned).abs() < 1e-6);
        // One more bit takes twice the time, up to the maximum that is estimated.
        let one_more = pace.search(&21_u64.into()).as_secs_f64();
        assert!((one_more / learned - 2.0).abs() < 0.01);
        assert_eq!(pace.search(&48_u64.into()), pace.search(&10_000_u64.into()));
        assert_eq!(pace.search(&0_u64.into()), pace.search(&1_u64.into()));
    }
}
