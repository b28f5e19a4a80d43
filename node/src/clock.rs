//! Clocks and entropy of the operating system; the only place that reads them.

use core::time::Duration;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use astreum_core::time::Instant;

/// Monotonic clock for the engine; its origin is its creation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// Creates a clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: std::time::Instant::now(),
        }
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }
}

/// Returns the time since 1970-01-01 00:00 UTC; zero if the system clock is set before that.
#[must_use]
pub fn unix_time() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Returns the processor time that this thread has used.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// Returns 32 unpredictable bytes from the operating system.
///
/// # Errors
/// Fails if the system has no source of entropy.
pub fn entropy() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| io::Error::other(format!("failed to read system entropy: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_monotonic_from_zero_and_entropy_differs() {
        let clock = Clock::start();
        let early = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now().since(early) >= Duration::from_millis(2));
        assert!(early < Instant::from_secs(60));
        assert_ne!(entropy().unwrap(), entropy().unwrap());
        // 2026-01-01.
        assert!(unix_time() > Duration::from_secs(1_767_225_600));
    }
}
