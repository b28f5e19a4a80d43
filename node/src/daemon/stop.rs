//! Shutdown of a running node by SIGINT, SIGTERM, SIGHUP or a [`StopHandle`].
//!
//! SIGHUP arrives when the terminal is closed. It stays ignored if the node was started with SIGHUP
//! ignored, as by `nohup`.
//!
//! The first signal requests a graceful shutdown; during the shutdown, another one ends the process
//! at once. Signals that arrive together with the first are ignored: `timeout` and some shells
//! signal a process and then its group.

use core::fmt;
use core::time::Duration;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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
    sender: SyncSender<StopCause>,
    causes: Receiver<StopCause>,
}

/// Handle that stops the node from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    sender: SyncSender<StopCause>,
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

impl Stopper {
    /// Installs handlers for SIGINT, SIGTERM and, unless it is ignored, SIGHUP.
    ///
    /// # Errors
    /// Fails if the system does not allow it.
    pub fn new() -> io::Result<Self> {
        // Only the first cause counts, so a capacity of one is enough.
        let (sender, causes) = sync_channel(1);
        let signals = Signals::new([SIGINT, SIGTERM])?;
        if !is_ignored(SIGHUP) {
            signals.handle().add_signal(SIGHUP)?;
        }
        let handle = signals.handle();
        let on_signal = sender.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || listen(signals, &on_signal))?;
        Ok(Self {
            signals: handle,
            sender,
            causes,
        })
    }

    /// Returns a handle that stops the node like a signal.
    #[must_use]
    pub fn handle(&self) -> StopHandle {
        StopHandle {
            sender: self.sender.clone(),
        }
    }

    /// Waits until the node is to stop; returns the cause.
    pub fn wait(&self) -> StopCause {
        self.causes.recv().unwrap_or(StopCause::Request)
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.signals.close();
    }
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
fn listen(mut signals: Signals, sender: &SyncSender<StopCause>) {
    let mut first: Option<Instant> = None;
    for signal in signals.forever() {
        let now = Instant::now();
        match first {
            None => {
                first = Some(now);
                let _ = sender.try_send(StopCause::Signal(signal));
            }
            Some(first) if now.duration_since(first) < SIGNAL_DEBOUNCE => {}
            Some(_) => std::process::exit(FORCED_EXIT_CODE),
        }
    }
}

impl StopHandle {
    /// Stops the node.
    pub fn stop(&self) {
        let _ = self.sender.try_send(StopCause::Request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(is_in_mask(status, SIGHUP) && is_in_mask(status, 13));
        assert!(!is_in_mask(status, SIGINT) && !is_in_mask(status, 64));
        assert!(!is_in_mask(status, 65) && !is_in_mask(status, 0));
        assert!(!is_in_mask("SigIgn:\tno number\n", SIGHUP) && !is_in_mask("", SIGHUP));
    }
}
