//! What stops a running node: SIGINT, SIGTERM, or somebody who holds a [`StopHandle`].
//!
//! The first signal asks for a graceful stop; while that is under way, another one ends the
//! process at once. One that comes with the first is the same wish: `timeout` and some shells
//! signal a process and then its group.

use core::fmt;
use core::time::Duration;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

/// The exit code of a stop that was forced.
const FORCED_EXIT_CODE: i32 = 1;
/// Signals this soon after the first one are the same wish.
const SAME_WISH: Duration = Duration::from_millis(250);

/// Waits for what stops the node. Make it before anything that a signal must not interrupt, and
/// keep it until the node has stopped.
#[derive(Debug)]
pub struct Stopper {
    signals: Handle,
    sender: SyncSender<StopCause>,
    causes: Receiver<StopCause>,
}

/// Stops the node from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    sender: SyncSender<StopCause>,
}

/// Why the node stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopCause {
    /// A signal with this number came.
    Signal(i32),
    /// A [`StopHandle`] was used.
    Request,
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(SIGINT) => f.write_str("interrupted"),
            Self::Signal(SIGTERM) => f.write_str("asked to terminate"),
            Self::Signal(number) => write!(f, "signal {number}"),
            Self::Request => f.write_str("asked over the control socket"),
        }
    }
}

impl Stopper {
    /// Takes over SIGINT and SIGTERM.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub fn new() -> io::Result<Self> {
        // The first cause counts, so one place is enough.
        let (sender, causes) = sync_channel(1);
        let signals = Signals::new([SIGINT, SIGTERM])?;
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

    /// A handle that stops the node as a signal does.
    #[must_use]
    pub fn handle(&self) -> StopHandle {
        StopHandle {
            sender: self.sender.clone(),
        }
    }

    /// Waits until the node is to stop.
    pub fn wait(&self) -> StopCause {
        self.causes.recv().unwrap_or(StopCause::Request)
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.signals.close();
    }
}

/// On a thread of its own, so that a stop that hangs can still be forced.
fn listen(mut signals: Signals, sender: &SyncSender<StopCause>) {
    let mut first: Option<Instant> = None;
    for signal in signals.forever() {
        let now = Instant::now();
        match first {
            None => {
                first = Some(now);
                let _ = sender.try_send(StopCause::Signal(signal));
            }
            Some(first) if now.duration_since(first) < SAME_WISH => {}
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
