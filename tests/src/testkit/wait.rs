//! Waiting for a condition, with a time limit.

use core::time::Duration;
use std::thread;
use std::time::Instant;

/// Default time after which a condition counts as failed.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Repeats `condition` until it holds.
///
/// # Panics
/// Panics if it does not hold in time.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(TIMEOUT, what, condition);
}

/// Repeats `condition` until it holds, for at most `timeout`.
///
/// # Panics
/// Panics if it does not hold in time.
#[track_caller]
pub fn eventually_within(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let held = wait_within(timeout, what, || Ok(condition().then_some(())));
    held.unwrap_or_else(|error| panic!("{error}"));
}

/// Repeats `probe` until it returns a value.
///
/// # Errors
/// Fails if it does not do so in time, or if it fails.
pub fn wait_for<T>(
    what: &str,
    probe: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    wait_within(TIMEOUT, what, probe)
}

/// Repeats `probe` until it returns a value, for at most `timeout`.
///
/// # Errors
/// Fails if it does not do so in time, or if it fails.
pub fn wait_within<T>(
    timeout: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(format!("{what}: timed out after {timeout:?}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
}
