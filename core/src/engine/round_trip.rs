//! Round-trip estimation, and the response timeout derived from it.
//!
//! Smoothed as in TCP (RFC 6298). Only answers to requests that were sent once count: after a
//! repeat it is unknown which of the two was answered (Karn's algorithm).

use super::limits::{FETCH_RETRY, FETCH_RETRY_BOUNDS};
use core::time::Duration;

/// Smoothed round trip and its variation.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct RoundTrip {
    smoothed: Option<(Duration, Duration)>,
}

impl RoundTrip {
    /// Adds a sample.
    pub(super) fn note(&mut self, took: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (took, took / 2),
            Some((mean, variation)) => (
                mean * 7 / 8 + took / 8,
                variation * 3 / 4 + mean.abs_diff(took) / 4,
            ),
        });
    }

    /// Returns whether there is any sample.
    pub(super) const fn is_known(&self) -> bool {
        self.smoothed.is_some()
    }

    /// Returns the time to wait for the answer to a request that was sent `tries` times so far.
    pub(super) fn response_timeout(&self, tries: u8) -> Duration {
        let [least, most] = FETCH_RETRY_BOUNDS;
        let first = self.smoothed.map_or(FETCH_RETRY, |(mean, variation)| {
            (mean + (variation * 4).max(mean)).clamp(least, most)
        });
        let doublings = u32::from(tries.saturating_sub(1)).min(8);
        (first * (1 << doublings)).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn response_timeout_follows_the_round_trip_and_doubles_up_to_its_bound() {
        let mut trip = RoundTrip::default();
        assert!(!trip.is_known());
        assert_eq!(trip.response_timeout(1), FETCH_RETRY);
        trip.note(20 * MILLI);
        assert_eq!(trip.response_timeout(1), 60 * MILLI);
        for _ in 0..50 {
            trip.note(40 * MILLI);
        }
        let steady = trip.response_timeout(1);
        assert!((79 * MILLI..=81 * MILLI).contains(&steady), "{steady:?}");
        assert_eq!(trip.response_timeout(2), steady * 2);
        assert_eq!(trip.response_timeout(200), FETCH_RETRY_BOUNDS[1]);
        trip.note(Duration::from_secs(3_000));
        assert_eq!(trip.response_timeout(1), FETCH_RETRY_BOUNDS[1]);
        let mut near = RoundTrip::default();
        near.note(Duration::from_micros(30));
        assert_eq!(near.response_timeout(1), FETCH_RETRY_BOUNDS[0]);
    }

    #[test]
    fn variable_round_trips_have_longer_timeouts() {
        let mut trip = RoundTrip::default();
        for n in 0..100 {
            trip.note(MILLI * if n % 2 == 0 { 40 } else { 120 });
        }
        assert!(trip.response_timeout(1) > 160 * MILLI, "{trip:?}");
    }
}
