//! The thread that collates, merges and syncs while others read and write.

use super::{ColdError, Inner, lock};
use crate::config::ColdStorageSync;
use core::time::Duration;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// How often `cold_storage_sync = interval` syncs.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How long a failed collation or merge waits before the next attempt.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How the worker is woken, and what it says.
#[derive(Debug, Default)]
pub(super) struct Wake {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    due: bool,
    stop: bool,
    failure: Option<ColdError>,
}

impl Wake {
    /// Says that there may be something to collate.
    pub(super) fn notify(&self) {
        lock(&self.state).due = true;
        self.changed.notify_all();
    }

    /// Why the last attempt to collate or merge failed.
    pub(super) fn failure(&self) -> Option<ColdError> {
        lock(&self.state).failure.clone()
    }

    pub(super) fn set_failure(&self, failure: Option<ColdError>) {
        lock(&self.state).failure = failure;
    }

    /// Waits until there is something to do, at most so long; `false` when it is time to end.
    fn wait(&self, at_most: Option<Duration>) -> bool {
        let mut state = lock(&self.state);
        while !state.due && !state.stop {
            let Some(at_most) = at_most else {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.changed.wait_timeout(state, at_most);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            break;
        }
        state.due = false;
        !state.stop
    }

    /// Waits whatever comes, unless it is time to end.
    fn pause(&self, time: Duration) {
        let state = lock(&self.state);
        let _ = self
            .changed
            .wait_timeout_while(state, time, |state| !state.stop);
    }
}

/// The running thread; ends when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(inner: &Arc<Inner>) -> Result<Self, ColdError> {
        let shared = Arc::clone(inner);
        let thread = thread::Builder::new()
            .name("cold".into())
            .spawn(move || run(&shared))
            .map_err(|error| {
                ColdError::io("start the thread for", Path::new(&inner.root), &error)
            })?;
        // What was found at the start may be due already.
        inner.wake.notify();
        Ok(Self {
            inner: Arc::clone(inner),
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        lock(&self.inner.wake.state).stop = true;
        self.inner.wake.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn run(inner: &Inner) {
    let interval = inner.options.sync == ColdStorageSync::Interval;
    let at_most = interval.then_some(SYNC_INTERVAL);
    while inner.wake.wait(at_most) {
        if interval && let Err(error) = inner.sync() {
            log::error!("cold storage: {error}");
        }
        let result = inner.maintain(&mut |_| ());
        let failed = result.is_err();
        if let Err(error) = &result {
            log::error!("cold storage: {error}; trying again");
        }
        inner.wake.set_failure(result.err());
        if failed {
            inner.wake.pause(RETRY_AFTER);
            inner.wake.notify();
        }
    }
    // Whatever the policy, an orderly end leaves nothing to chance.
    if let Err(error) = inner.sync() {
        log::error!("cold storage: {error}");
    }
}
