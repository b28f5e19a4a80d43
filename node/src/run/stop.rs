//! What stops a running node: SIGINT, SIGTERM, or somebody who holds a [`StopHandle`].
//!
//! The first signal asks for a graceful stop; while that is under way, the next one ends the
//! process at once.

use core::fmt;
use core::sync::atomic::AtomicBool;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::sync::Arc;

/// The exit code of a stop that was forced.
const FORCED_EXIT_CODE: i32 = 1;

/// Waits for what stops the node. Make it before anything that a signal must not interrupt.
#[derive(Debug)]
pub struct Stopper {
    signals: Signals,
}

/// Stops the node from any thread.
#[derive(Clone, Debug)]
pub struct StopHandle {
    handle: Handle,
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
        let forced = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, and sets it for the next.
            flag::register_conditional_shutdown(signal, FORCED_EXIT_CODE, Arc::clone(&forced))?;
            flag::register(signal, Arc::clone(&forced))?;
        }
        let signals = Signals::new([SIGINT, SIGTERM])?;
        Ok(Self { signals })
    }

    /// A handle that stops the node as a signal does.
    #[must_use]
    pub fn handle(&self) -> StopHandle {
        StopHandle {
            handle: self.signals.handle(),
        }
    }

    /// Waits until the node is to stop.
    pub fn wait(mut self) -> StopCause {
        let signal = self.signals.forever().next();
        signal.map_or(StopCause::Request, StopCause::Signal)
    }
}

impl StopHandle {
    /// Stops the node.
    pub fn stop(&self) {
        self.handle.close();
    }
}
