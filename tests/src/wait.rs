//! Waiting for what other processes do.

use core::time::Duration;
use std::thread;
use std::time::Instant;

/// A condition that has not come true by then will not.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until there is an answer.
///
/// # Errors
/// When there is none in time, or asking fails.
pub fn wait_for<T>(
    what: &str,
    probe: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    wait_within(PATIENCE, what, probe)
}

/// Asks until there is an answer, so long at most.
///
/// # Errors
/// When there is none in time, or asking fails.
pub fn wait_within<T>(
    patience: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = probe()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(format!("{what}: not within {patience:?}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
}
