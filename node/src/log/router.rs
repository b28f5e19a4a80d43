//! Routing of log lines to the log of the node whose thread writes them.
//!
//! The process has one logger. A thread that runs in a [`Scope`] writes to the log of the scope,
//! and any other thread to the log of the process, if there is one.

use super::NodeLogger;
use core::cell::RefCell;
use log::{Log, Metadata, Record};
use std::sync::{Arc, OnceLock};

/// Logger that the `log` crate calls, on any thread.
pub(super) struct Router {
    /// Log of threads that run in no scope.
    default: OnceLock<NodeLogger>,
}

static ROUTER: Router = Router {
    default: OnceLock::new(),
};

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// Makes the router the logger of the process; returns `false` if another logger is set.
pub(super) fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| log::set_logger(&ROUTER).is_ok())
}

/// Sets the log of threads without a scope; returns `false` if it is set already.
pub(super) fn set_default(logger: NodeLogger) -> bool {
    ROUTER.default.set(logger).is_ok()
}

/// Returns whether threads without a scope have a log.
pub(super) fn has_default() -> bool {
    ROUTER.default.get().is_some()
}

/// Log of one node, for its threads.
#[derive(Clone)]
pub struct Scope(Arc<NodeLogger>);

impl core::fmt::Debug for Scope {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Scope")
    }
}

impl Scope {
    pub(super) fn new(logger: NodeLogger) -> Self {
        Self(Arc::new(logger))
    }

    /// Returns the scope of this thread.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Runs `work`, and sends its log lines to this log.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Guard that restores the previous scope, also if `work` panics.
        struct Previous(Option<Scope>);
        impl Drop for Previous {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _previous = Previous(CURRENT.replace(Some(self.clone())));
        work()
    }
}

/// Runs `work` in `scope`, if there is one.
pub(crate) fn within<T>(scope: Option<&Scope>, work: impl FnOnce() -> T) -> T {
    match scope {
        Some(scope) => scope.enter(work),
        None => work(),
    }
}

/// Calls `act` with the log of this thread, if there is one.
pub(super) fn with_current<T>(act: impl FnOnce(&NodeLogger) -> T) {
    ROUTER.with((), |logger| drop(act(logger)));
}

impl Router {
    fn with<T>(&self, default: T, act: impl FnOnce(&NodeLogger) -> T) -> T {
        match Scope::current() {
            Some(scope) => act(&scope.0),
            None => self.default.get().map_or(default, act),
        }
    }
}

impl Log for Router {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.with(false, |logger| logger.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        self.with((), |logger| logger.log(record));
    }

    fn flush(&self) {
        self.with((), Log::flush);
    }
}
