//! Signals of a running node, and its shutdown by one of them or by a [`StopHandle`].
//!
//! SIGHUP arrives when the terminal is closed: a node that was started from a terminal shuts down.
//! Without a terminal, as a service, it is the request to read the configuration again. It stays
//! ignored if the node was started with SIGHUP ignored, as by `nohup`.
//!
//! The first signal requests a graceful shutdown; during the shutdown, another one ends the process
//! at once. Signals that arrive together with the first are ignored: `timeout` and some shells
//! signal a process and then its group.

use core::fmt;
use core::time::Duration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Exit code of a forced shutdown.
const FORCED_EXIT_CODE: i32 = 1;
/// Debounce time: signals this soon after the first one are ignored.
const SIGNAL_DEBOUNCE: Duration = Duration::from_millis(250);

/// Receiver of stop requests. Create it before anything that a signal must not interrupt, and keep
/// it until the node has stopped.
#[derive(Debug)]
pub struct Stopper {
    signals: Handle,
    requests: Arc<Requests>,
}

/// Handle that stops the node from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    requests: Arc<Requests>,
}

/// Requests that have not been taken yet.
#[derive(Debug, Default)]
struct Requests {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    /// First cause.
    stop: Option<StopCause>,
    reload: bool,
}

/// Request to a running node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// Shut down.
    Stop(StopCause),
    /// Read the configuration again, and open the log file again.
    Reload,
}

/// Cause of a shutdown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopCause {
    /// Signal with this number.
    Signal(i32),
    /// Request through a [`StopHandle`].
    Request,
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(SIGINT) => f.write_str("interrupted"),
            Self::Signal(SIGTERM) => f.write_str("termination requested (SIGTERM)"),
            Self::Signal(SIGHUP) => f.write_str("terminal lost (SIGHUP)"),
            Self::Signal(number) => write!(f, "signal {number}"),
            Self::Request => f.write_str("stop requested over the control socket"),
        }
    }
}

impl Requests {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Each field is replaced as a whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, cause: StopCause) {
        self.pending().stop.get_or_insert(cause);
        self.changed.notify_all();
    }

    fn reload(&self) {
        self.pending().reload = true;
        self.changed.notify_all();
    }

    fn next(&self) -> Wanted {
        let mut pending = self.pending();
        loop {
            if let Some(cause) = pending.stop {
                return Wanted::Stop(cause);
            }
            if core::mem::take(&mut pending.reload) {
                return Wanted::Reload;
            }
            let waited = self.changed.wait(pending);
            pending = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Stopper {
    /// Installs handlers for SIGINT, SIGTERM and, unless it is ignored, SIGHUP.
    ///
    /// # Errors
    /// Fails if the system does not allow it.
    pub fn new() -> io::Result<Self> {
        let requests = Arc::new(Requests::default());
        let signals = Signals::new([SIGINT, SIGTERM])?;
        if !is_ignored(SIGHUP) {
            signals.handle().add_signal(SIGHUP)?;
        }
        let handle = signals.handle();
        let on_signal = Arc::clone(&requests);
        // A terminal that is lost later cannot be distinguished from none.
        let reloads = !has_terminal();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || listen(signals, &on_signal, reloads))?;
        Ok(Self {
            signals: handle,
            requests,
        })
    }

    /// Returns a handle that stops the node like a signal.
    #[must_use]
    pub fn handle(&self) -> StopHandle {
        StopHandle {
            requests: Arc::clone(&self.requests),
        }
    }

    /// Waits for the next request. A stop comes before a reload.
    #[must_use]
    pub fn wait(&self) -> Wanted {
        self.requests.next()
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.signals.close();
    }
}

/// Returns whether the process has a controlling terminal.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// Returns whether the process was started with this signal ignored; `false` if that cannot be
/// determined.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

/// Reads the mask of ignored signals from Linux's `/proc/self/status`; signal 1 is its lowest bit.
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal - 1).ok();
    let bit = bit.and_then(|bit| 1u64.checked_shl(bit));
    mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
}

/// Handles signals on a separate thread, so that a shutdown that hangs can still be forced.
fn listen(mut signals: Signals, requests: &Requests, reloads: bool) {
    let mut first: Option<Instant> = None;
    for signal in signals.forever() {
        if signal == SIGHUP && reloads {
            requests.reload();
            continue;
        }
        let now = Instant::now();
        match first {
            None => {
                first = Some(now);
                requests.stop(StopCause::Signal(signal));
            }
            Some(first) if now.duration_since(first) < SIGNAL_DEBOUNCE => {}
            Some(_) => std::process::exit(FORCED_EXIT_CODE),
        }
    }
}

impl StopHandle {
    /// Stops the node.
    pub fn stop(&self) {
        self.requests.stop(StopCause::Request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_comes_before_reload_and_keeps_its_first_cause() {
        let requests = Requests::default();
        requests.reload();
        requests.reload();
        assert_eq!(requests.next(), Wanted::Reload);
        requests.reload();
        requests.stop(StopCause::Request);
        requests.stop(StopCause::Signal(SIGTERM));
        for _ in 0..2 {
            assert_eq!(requests.next(), Wanted::Stop(StopCause::Request));
        }
    }

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(is_in_mask(status, SIGHUP) && is_in_mask(status, 13));
        assert!(!is_in_mask(status, SIGINT) && !is_in_mask(status, 64));
        assert!(!is_in_mask(status, 65) && !is_in_mask(status, 0));
        assert!(!is_in_mask("SigIgn:\tno number\n", SIGHUP) && !is_in_mask("", SIGHUP));
    }
}
