//! Panics of a node's threads.
//!
//! A thread that panics would leave a node that looks alive. All threads of a node run their work
//! through [`Failure::watch`], which records a panic and stops the node's other threads.
//! From then on every call of the node that needs them returns the error. The process continues,
//! because it belongs to the host program.

use crate::log;
use core::any::Any;
use core::fmt;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Panic of a node's thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ThreadPanic {
    /// Name of the thread.
    pub thread: String,
    /// Message of the panic.
    pub message: String,
}

impl fmt::Display for ThreadPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { thread, message } = self;
        write!(f, "the thread {thread:?} panicked: {message}")
    }
}

impl core::error::Error for ThreadPanic {}

type Stop = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Shared {
    panic: OnceLock<ThreadPanic>,
    /// Log of the node's threads, if the node has its own.
    log: OnceLock<log::Scope>,
    stops: Mutex<Vec<Stop>>,
}

/// First panic of a node's threads; clones share it.
#[derive(Clone, Default)]
pub struct Failure(Arc<Shared>);

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Failure").field(&self.panic()).finish()
    }
}

impl Failure {
    /// Sends the log lines of watched threads to a separate log; only the first call has an effect.
    pub(crate) fn set_log(&self, scope: log::Scope) {
        let _ = self.0.log.set(scope);
    }

    /// Returns the log of the node's threads, if it has one of its own.
    pub(crate) fn log(&self) -> Option<&log::Scope> {
        self.0.log.get()
    }

    /// Returns the first panic, if there was one.
    #[must_use]
    pub fn panic(&self) -> Option<ThreadPanic> {
        self.0.panic.get().cloned()
    }

    /// Calls `stop` at the first panic; at once, if there was one.
    pub fn on_panic(&self, stop: impl Fn() + Send + 'static) {
        let mut stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.panic.get().is_some() {
            drop(stops);
            return stop();
        }
        stops.push(Box::new(stop));
    }

    /// Removes all registered `stop` functions, after the threads have ended.
    pub(crate) fn clear(&self) {
        let mut stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
        stops.clear();
    }

    /// Runs `work`; records a panic and returns `None`.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let watched = || match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Some(result),
            Err(payload) => {
                self.record(payload.as_ref());
                None
            }
        };
        log::within(self.0.log.get(), watched)
    }

    fn record(&self, payload: &(dyn Any + Send)) {
        let message = payload.downcast_ref::<&str>().map(ToString::to_string);
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
        let panic = ThreadPanic {
            thread: std::thread::current()
                .name()
                .unwrap_or("unnamed")
                .to_owned(),
            message: message.unwrap_or_else(|| "no message".to_owned()),
        };
        log::error!("{panic}; stopping the node");
        let stops = {
            // Recorded under the lock, so that no `stop` is added unnoticed.
            let mut stops = self.0.stops.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = self.0.panic.set(panic);
            core::mem::take(&mut *stops)
        };
        for stop in stops {
            stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn first_panic_is_kept_and_stops_everything_once() {
        let failure = Failure::default();
        let stopped = Arc::new(AtomicUsize::new(0));
        let count = || {
            let stopped = Arc::clone(&stopped);
            move || {
                stopped.fetch_add(1, Ordering::Relaxed);
            }
        };
        failure.on_panic(count());
        assert_eq!((failure.watch(|| 7), failure.panic()), (Some(7), None));
        let other = failure.clone();
        let thread = std::thread::Builder::new().name("worker".to_owned());
        let thread = thread.spawn(move || {
            other.watch(|| panic!("first of {}", 2));
            other.watch(|| panic!("second"));
        });
        thread.unwrap().join().unwrap();
        let panic = failure.panic().unwrap();
        assert_eq!(
            panic.to_string(),
            "the thread \"worker\" panicked: first of 2"
        );
        assert_eq!(stopped.load(Ordering::Relaxed), 1);
        failure.on_panic(count());
        assert_eq!(stopped.load(Ordering::Relaxed), 2, "too late is at once");
    }
}
