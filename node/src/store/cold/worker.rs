//! Worker thread that collates, merges, repairs and syncs while other threads read and write.

use super::quiet::Writes;
use super::{ColdError, Inner, lock};
use crate::log;
use core::time::Duration;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::config::ColdStorageSync;

/// Interval of checks of the directory, and of syncs under `cold_storage_sync = interval`.
const TICK: Duration = Duration::from_secs(1);
/// Delay before a failed collation, merge or repair is tried again; doubles with each failure.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);

/// Signal to the worker; also keeps its last failure.
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
    /// Signals that there may be something to collate or repair.
    pub(super) fn notify(&self) {
        lock(&self.state).due = true;
        self.changed.notify_all();
    }

    /// Returns the reason the last attempt to collate, merge or repair failed.
    pub(super) fn failure(&self) -> Option<ColdError> {
        lock(&self.state).failure.clone()
    }

    pub(super) fn set_failure(&self, failure: Option<ColdError>) {
        lock(&self.state).failure = failure;
    }

    /// Waits until there is something to do, or for at most `at_most`. Returns `false` when the
    /// thread has to stop. With `is_paused`, only the stop ends the wait early.
    fn wait(&self, at_most: Duration, is_paused: bool) -> bool {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, at_most, |state| {
            !state.stop && (is_paused || !state.due)
        });
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.due = false;
        !state.stop
    }
}

/// Handle of the running thread; stops it when dropped.
#[derive(Debug)]
pub(super) struct Worker {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(inner: &Arc<Inner>) -> Result<Self, ColdError> {
        let shared = Arc::clone(inner);
        let scope = log::Scope::current();
        let thread = thread::Builder::new()
            .name("cold".into())
            .spawn(move || log::within(scope.as_ref(), || run(&shared)))
            .map_err(|error| {
                ColdError::io("start the thread for", Path::new(&inner.root), &error)
            })?;
        // Files found at the start may be due for maintenance already.
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
            // A panic of the thread has been reported already.
            let _ = thread.join();
        }
    }
}

fn run(inner: &Inner) {
    let mut next_tick = Instant::now() + TICK;
    let mut delay = RETRY_AFTER;
    let mut retry_at: Option<Instant> = None;
    let mut writes = Writes::default();
    inner.check_writes(&mut writes, Instant::now());
    while inner.wake.wait(
        next_tick.saturating_duration_since(Instant::now()),
        retry_at.is_some(),
    ) {
        let now = Instant::now();
        if now >= next_tick {
            next_tick = now + TICK;
            inner.watch();
            inner.check_writes(&mut writes, now);
            if inner.options.sync == ColdStorageSync::Interval
                && retry_at.is_none()
                && let Err(error) = inner.sync()
            {
                crate::log::error!("cold storage: {error}");
                retry_at = Some(now + delay);
            }
        }
        if retry_at.is_some_and(|retry_at| now < retry_at) {
            continue;
        }
        let result = inner.maintain(&mut |_| ());
        match &result {
            Ok(()) => (retry_at, delay) = (None, RETRY_AFTER),
            // Nodes that share pairs take turns; a long wait is reported by the disk.
            Err(ColdError::NotOurTurn { .. }) => {
                retry_at = Some(Instant::now() + RETRY_AFTER);
                inner.wake.set_failure(None);
                continue;
            }
            Err(error) => {
                crate::log::error!("cold storage: {error}; trying again in {delay:?}");
                retry_at = Some(Instant::now() + delay);
                delay = (delay * 2).min(MAX_RETRY_AFTER);
            }
        }
        inner.wake.set_failure(result.err());
    }
}
