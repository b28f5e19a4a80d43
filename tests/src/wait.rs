//! Waiting for the results of other processes.

use core::time::Duration;
use std::thread;
use std::time::Instant;

/// Default time after which a condition counts as failed.
const TIMEOUT: Duration = Duration::from_secs(20);

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
