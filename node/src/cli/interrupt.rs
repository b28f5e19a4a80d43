//! Signals that end a command once it has cleaned up.

use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::io;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::WaitLimit;
use crate::daemon::is_ignored;

use super::output::{Failure, complain};

/// Signals that end the command, once it has cleaned up. A second one ends it at once.
#[derive(Debug)]
pub(super) struct Interrupt {
    is_set: Arc<AtomicBool>,
    /// Number of the last signal; 0 for none.
    number: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Starts to watch for signals that the caller of the command does not ignore.
    pub(super) fn watch() -> io::Result<Self> {
        let is_set = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if is_ignored(signal) {
                continue;
            }
            flag::register_conditional_default(signal, Arc::clone(&is_set))?;
            let code = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&number), code)?;
            flag::register(signal, Arc::clone(&is_set))?;
        }
        Ok(Self { is_set, number })
    }

    fn received(&self) -> Option<c_int> {
        let number = self.number.load(Ordering::Relaxed);
        c_int::try_from(number).ok().filter(|&number| number != 0)
    }

    /// Fails once a signal was received.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.received() {
            Some(_) => Err(Failure::Reported),
            None => Ok(()),
        }
    }

    /// Returns the limit that ends waits once a signal interrupts the command.
    pub(super) fn limit(&self) -> WaitLimit {
        WaitLimit::NONE.until(Arc::clone(&self.is_set))
    }

    /// Ends the process by the signal that was received, if any, after a message.
    pub(super) fn end(&self, message: &str) {
        if let Some(signal) = self.received() {
            complain(message);
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    }

    /// Returns whether a signal was received.
    pub(super) fn is_received(&self) -> bool {
        self.received().is_some()
    }
}
