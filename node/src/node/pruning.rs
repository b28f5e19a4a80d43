//! Pruning of a node that runs.
//!
//! A thread checks at intervals whether enough blocks have gone by since the last run. A run reads
//! and writes files on this thread alone; readers, writers and the event loop continue.

use super::advertisements::Advertised;
use super::{Node, NodeError};
use crate::chain_service::dir::WaitingFork;
use crate::chain_service::{ChainStatus, ChainView};
use crate::clock;
use crate::config::Settings;
use crate::failure::Failure;
use crate::log;
use crate::prune::{self, Outcome, PruneError, Run, Wanted};
use crate::store::Store;
use crate::store::cold::{ColdError, ColdStore};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// Interval between two checks whether a run is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(20);
/// Pause after a run that failed.
const RETRY_PAUSE: Duration = Duration::from_mins(10);
/// Time between two runs of a store that refuses writes at its limit, in seconds. Something else than
/// blocks may have filled it, such as lists that were fetched, and the chain cannot grow.
const FULL_INTERVAL_SECONDS: u64 = 3_600;
/// Part of the kept blocks, as a divisor, by which a run has to move the horizon.
const BLOCKS_DIVISOR: u64 = 4;
/// Part of a pair that has to be garbage for it to be rewritten, as a divisor.
const GARBAGE_DIVISOR: u64 = 10;
/// Factor between `max_reorg_depth` and the minimum number of kept blocks.
const REORG_DEPTHS: u64 = 2;
/// State of pruning.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PruneStatus {
    /// True while a run is under way.
    pub is_running: bool,
    /// Time of the last run that completed, in seconds since 1970, and its result.
    pub last: Option<(u64, Outcome)>,
    /// Reason the last attempt failed.
    pub failure: Option<String>,
    /// Reason the horizon cannot move as it should.
    pub obstacle: Option<String>,
    /// Number of atoms that all runs of this process removed, and the bytes that they freed.
    pub removed: (u64, u64),
}

/// Pruning of one node.
#[derive(Debug)]
pub(super) struct Pruner {
    store: Store,
    chain: ChainView,
    advertised: Arc<Mutex<Advertised>>,
    chain_id: u64,
    limits: Mutex<Limits>,
    status: Mutex<PruneStatus>,
}

impl Pruner {
    pub(super) fn new(
        settings: &Settings,
        store: Store,
        chain: ChainView,
        advertised: Arc<Mutex<Advertised>>,
    ) -> Self {
        Self {
            store,
            chain,
            advertised,
            chain_id: settings.chain_id,
            limits: Mutex::new(Limits::of(settings)),
            status: Mutex::default(),
        }
    }

    /// Applies the limits of other settings from the next run on.
    pub(super) fn set_limits(&self, settings: &Settings) {
        *lock(&self.limits) = Limits::of(settings);
    }

    fn limits(&self) -> Limits {
        *lock(&self.limits)
    }

    /// Returns what has to be kept now.
    fn wanted(&self) -> Wanted {
        let status = self.chain.status();
        let advertised = {
            let mut advertised = lock(&self.advertised);
            advertised.list()
        };
        let mempool = &status.mempool;
        let waiting = mempool.waiting.iter().map(|(id, _)| id);
        let transactions = mempool.ready.iter().chain(waiting).copied();
        let objects = advertised.iter().map(|it| it.id).chain(transactions);
        let limits = self.limits();
        Wanted {
            chain_id: self.chain_id,
            head: status.head.as_ref().map(crate::chain_service::Head::id),
            blocks: match limits.blocks {
                0 => u64::MAX,
                blocks => blocks,
            },
            min_blocks: limits.min_blocks,
            bytes: limits.bytes,
            fork: waiting_fork(&status).map(|fork| fork.height),
            objects: objects.collect(),
        }
    }

    /// Runs once. `divisor` is `None` for a dry run.
    pub(super) fn run(
        &self,
        divisor: Option<u64>,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<Outcome, PruneError> {
        let Some(cold) = self.store.cold() else {
            return Ok(Outcome::default());
        };
        lock(&self.status).is_running = true;
        let mut run = Run {
            divisor,
            marked: &mut |_| (),
            progress: &mut |_| (),
            should_continue,
        };
        let result = prune::run(cold, || self.wanted(), &mut run);
        let mut status = lock(&self.status);
        status.is_running = false;
        match &result {
            Ok(outcome) if divisor.is_some() => {
                status.failure = None;
                status.last = Some((clock::unix_time().as_secs(), *outcome));
                status.removed.0 += outcome.swept.atoms;
                status.removed.1 += outcome.swept.bytes;
            }
            // Refused, which only the caller has to know.
            Err(PruneError::Cold(ColdError::Cancelled | ColdError::SharedPairs)) | Ok(_) => {}
            Err(error) => status.failure = Some(error.to_string()),
        }
        drop(status);
        result
    }

    /// Runs if enough blocks have gone by; returns `false` if the run failed.
    fn run_if_due(&self, should_continue: &dyn Fn() -> bool) -> bool {
        let Some(cold) = self.store.cold().filter(|_| self.limits().blocks > 0) else {
            return true;
        };
        let chain = self.chain.status();
        let Some(height) = chain.head.as_ref().map(crate::chain_service::Head::height) else {
            return true;
        };
        let last_run = lock(&self.status).last;
        let last = last_run.map(|(_, outcome)| outcome);
        // A chain that was joined above has no headers below.
        let horizon = last.and_then(|outcome| outcome.horizon).unwrap_or(0);
        let span = height.saturating_sub(horizon.max(cold.pruned_below(self.chain_id)));
        let obstacle = self.obstacle(cold, &chain, height);
        let is_stuck = obstacle.is_some();
        lock(&self.status).obstacle = obstacle;
        let is_full = cold.stats().is_full
            && last_run.is_none_or(|(at, _)| {
                clock::unix_time().as_secs().saturating_sub(at) >= FULL_INTERVAL_SECONDS
            });
        if is_stuck || !(is_full || self.is_due(cold, height, span, last.as_ref())) {
            return true;
        }
        let result = self.run(Some(GARBAGE_DIVISOR), should_continue);
        match &result {
            Ok(outcome) => log::info!(
                "pruned cold storage: horizon={} blocks={} atoms={} bytes={}",
                outcome.horizon.unwrap_or_default(),
                outcome.blocks,
                outcome.swept.atoms,
                outcome.swept.bytes
            ),
            Err(PruneError::Cold(ColdError::Cancelled)) => {}
            Err(error) => {
                if let Some(more) = log::limited("pruning") {
                    log::error!("cannot prune cold storage: {error}{more}");
                }
            }
        }
        result.is_ok()
    }

    /// Returns whether a run would remove enough; `span` is the number of blocks above the horizon.
    fn is_due(&self, cold: &ColdStore, height: u64, span: u64, last: Option<&Outcome>) -> bool {
        let limits = self.limits();
        let (used_bytes, limit_bytes) = (cold.stats().used_bytes, cold.options().limit_bytes);
        if limit_bytes > 0 && used_bytes > limit_bytes / 4 * 3 {
            // Something else may need the space, so that a run does not help.
            let last_head = last.and_then(|it| Some(it.horizon?.saturating_add(it.blocks)));
            let moved = height.saturating_sub(last_head.unwrap_or(0));
            let step = limits.min_blocks / (4 * BLOCKS_DIVISOR);
            return span > limits.min_blocks + step && moved > step;
        }
        // Fewer are kept if they need too much space.
        let kept = last.map_or(limits.blocks, |outcome| outcome.blocks.min(limits.blocks));
        let kept = kept.max(limits.min_blocks);
        span > kept + kept / BLOCKS_DIVISOR
    }

    /// Returns the reason the horizon cannot move, if it should.
    fn obstacle(&self, cold: &ColdStore, chain: &ChainStatus, height: u64) -> Option<String> {
        let limits = self.limits();
        let horizon = height.saturating_sub(limits.blocks.max(limits.min_blocks));
        if horizon == 0 {
            return None;
        }
        if !cold.are_pins_complete() {
            return Some(PruneError::Unpinned.to_string());
        }
        let fork = waiting_fork(chain).filter(|fork| fork.height < horizon)?;
        Some(fork.kept_text())
    }
}

/// Numbers that decide which blocks are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Number of blocks to keep; 0 to keep all.
    pub(crate) blocks: u64,
    pub(crate) min_blocks: u64,
    pub(crate) bytes: Option<u64>,
}

impl Limits {
    pub(crate) fn of(settings: &Settings) -> Self {
        let values = settings.values();
        let min_blocks = values.max_reorg_depth.saturating_mul(REORG_DEPTHS);
        // Other nodes use the pairs of an object store.
        let blocks = match settings.object_store() {
            Some(_) => 0,
            None => values.prune_blocks,
        };
        Self {
            blocks,
            min_blocks,
            bytes: match values.cold_storage_limit {
                limit if limit > 0 && blocks > 0 => Some(limit / 2),
                _ => None,
            },
        }
    }
}

/// Returns the lowest fork that waits for a decision.
fn waiting_fork(chain: &ChainStatus) -> Option<WaitingFork> {
    let found = chain.sync.contests.iter().filter_map(WaitingFork::of);
    let saved = chain.waiting_forks.iter().cloned();
    found.chain(saved).min_by_key(|fork| fork.height)
}

/// Running thread. Dropping it ends the run that is under way and waits for the thread.
#[derive(Debug)]
pub(super) struct PruneThread {
    stop: Arc<(Mutex<bool>, Condvar, AtomicBool)>,
    thread: Option<JoinHandle<()>>,
}

impl PruneThread {
    pub(super) fn start(pruner: Arc<Pruner>, failure: &Failure) -> io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new(), AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let failure = failure.clone();
        let thread = thread::Builder::new().name("prune".to_owned());
        let thread = thread.spawn(move || {
            let _ = failure.watch(|| {
                let (is_set, changed, flag) = &*stopped;
                let mut pause = CHECK_INTERVAL;
                loop {
                    let guard = lock(is_set);
                    let waited = changed.wait_timeout_while(guard, pause, |is_set| !*is_set);
                    if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                        return;
                    }
                    pause = match pruner.run_if_due(&|| !flag.load(Ordering::Relaxed)) {
                        true => CHECK_INTERVAL,
                        false => RETRY_PAUSE,
                    };
                }
            });
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for PruneThread {
    fn drop(&mut self) {
        let (is_set, changed, flag) = &*self.stop;
        flag.store(true, Ordering::Relaxed);
        *lock(is_set) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported already.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// Returns the state of pruning.
    #[must_use]
    pub fn prune_status(&self) -> PruneStatus {
        lock(&self.pruner.status).clone()
    }

    /// Removes from cold storage what is neither needed by the chain nor pinned; only counts it in a
    /// dry run. Ends early once `should_continue` returns `false`.
    ///
    /// # Errors
    /// Fails if there is no cold storage, a run is under way, pins are not complete, or the disk
    /// fails.
    pub fn prune(
        &self,
        is_dry: bool,
        should_continue: &dyn Fn() -> bool,
    ) -> Result<Outcome, NodeError> {
        self.cold()?;
        let divisor = (!is_dry).then_some(u64::MAX);
        let outcome = self.logged(|| self.pruner.run(divisor, should_continue));
        outcome.map_err(NodeError::Prune)
    }

    /// Records that everything that users want to keep is pinned, so that a directory from before
    /// pins can be pruned.
    ///
    /// # Errors
    /// Fails if there is no cold storage, or the disk fails.
    pub fn accept_unpinned(&self) -> Result<(), NodeError> {
        let cold = self.cold()?;
        self.logged(|| cold.set_pins_complete(true))
            .map_err(NodeError::ColdStorage)
    }

    pub(super) fn cold(&self) -> Result<&ColdStore, NodeError> {
        self.store.cold().ok_or(NodeError::NoColdStorage)
    }
}

#[cfg(test)]
mod tests;
