//! Thread of the index.

use super::builder::{Builder, Chain, MAX_INCIDENTS, Progress};
use super::coverage::Coverage;
use super::history::{self, HistoryError, HistoryPage, HistoryQuery, MAX_SCANNED};
use crate::chain_service::{ChainView, ChainWatch, Head};
use crate::clock;
use crate::failure::Failure;
use crate::log;
use crate::store::Store;
use astreum_core::atom::AtomId;
use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder as ThreadBuilder, JoinHandle};
use std::time::Instant;

/// Maximum time for which the thread works without a pause.
const SLICE: Duration = Duration::from_millis(4);
/// Interval after which a failed write or a missing block is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// Interval between checks for pruned blocks.
const IDLE_INTERVAL: Duration = Duration::from_secs(60);
/// Time for which damage is reported, in seconds.
const INCIDENT_SECONDS: u64 = 24 * 60 * 60;

/// Parts that the index works with.
#[derive(Debug)]
pub struct IndexParts {
    /// Atom store of the node.
    pub store: Store,
    /// Status of the chain.
    pub view: ChainView,
    /// Directory of the files, which belongs to the index alone. Created if missing.
    pub directory: PathBuf,
    /// Chain id.
    pub chain_id: u64,
    /// Record of a panic.
    pub failure: Failure,
}

/// State of the index.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IndexStatus {
    /// Lowest height from which on the index is complete; `None` if it has no block yet.
    pub from_height: Option<u64>,
    /// Newest block that the index has.
    pub to: Option<(u64, AtomId)>,
    /// True if the index has all blocks whose transactions the node keeps.
    pub is_complete: bool,
    /// Reason that the index does not go further down now.
    pub waits_for: Option<String>,
    /// Number of files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Reason that files cannot be read or written.
    pub failure: Option<String>,
    /// Damage of the last day, with its time in seconds since 1970. The files have been replaced, or
    /// are being replaced.
    pub incidents: Vec<(u64, String)>,
}

/// Index of a chain's transactions, with its thread. Dropping it ends the thread.
#[derive(Debug)]
pub struct TransactionIndex {
    shared: Arc<Shared>,
    watch: Option<ChainWatch>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    published: Mutex<Published>,
}

/// Signals to the thread.
#[derive(Debug, Default)]
struct Wanted {
    is_stopped: bool,
    is_changed: bool,
}

#[derive(Debug, Default)]
struct Published {
    coverage: Arc<Coverage>,
    status: IndexStatus,
}

impl TransactionIndex {
    /// Starts the thread.
    ///
    /// # Errors
    /// Fails if the system cannot create a thread. A directory that cannot be used is reported in the
    /// status, and retried.
    pub fn start(parts: IndexParts) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let waker = Arc::clone(&shared);
        let watch = parts.view.watch(move |_| waker.wake());
        let of_thread = Arc::clone(&shared);
        let thread = ThreadBuilder::new().name("index".to_owned());
        let thread = thread.spawn(move || {
            let failure = parts.failure.clone();
            let _ = failure.watch(|| Worker::new(parts, of_thread).run());
        })?;
        Ok(Self {
            shared,
            watch: Some(watch),
            thread: Some(thread),
        })
    }

    /// Returns access for other threads, which does not keep the index running.
    #[must_use]
    pub fn view(&self) -> IndexView {
        IndexView(Arc::clone(&self.shared))
    }
}

/// Access to an index from other threads; clones share it. After the end of the index it has the last
/// published state.
#[derive(Clone, Debug)]
pub struct IndexView(Arc<Shared>);

impl IndexView {
    /// Returns the state of the index.
    #[must_use]
    pub fn status(&self) -> IndexStatus {
        lock(&self.0.published).status.clone()
    }

    /// Returns a page of transactions.
    ///
    /// # Errors
    /// Fails if the block of the cursor was removed from the chain, or if a file is damaged.
    pub fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, HistoryError> {
        let coverage = Arc::clone(&lock(&self.0.published).coverage);
        let page = history::run(&coverage, query, MAX_SCANNED);
        if let Err(HistoryError::Damaged(_)) = page {
            self.0.wake();
        }
        page
    }
}

impl Drop for TransactionIndex {
    fn drop(&mut self) {
        drop(self.watch.take());
        lock(&self.shared.wanted).is_stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn wake(&self) {
        lock(&self.wanted).is_changed = true;
        self.changed.notify_all();
    }

    /// Waits for a signal, or until the time is over. Returns `false` once the thread has to end.
    fn wait(&self, timeout: Duration) -> bool {
        let wanted = lock(&self.wanted);
        let is_quiet = |wanted: &mut Wanted| !wanted.is_changed && !wanted.is_stopped;
        let waited = self.changed.wait_timeout_while(wanted, timeout, is_quiet);
        let (mut wanted, _) = waited.unwrap_or_else(PoisonError::into_inner);
        wanted.is_changed = false;
        !wanted.is_stopped
    }

    /// Pauses for this time. Returns `false` once the thread has to end.
    fn pause(&self, time: Duration) -> bool {
        let wanted = lock(&self.wanted);
        let should_continue = |wanted: &mut Wanted| !wanted.is_stopped;
        let waited = self
            .changed
            .wait_timeout_while(wanted, time, should_continue);
        let (wanted, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !wanted.is_stopped
    }

    fn is_stopped(&self) -> bool {
        lock(&self.wanted).is_stopped
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    parts: IndexParts,
    shared: Arc<Shared>,
    /// `None` until the directory could be opened.
    builder: Option<Builder>,
    open_failure: Option<String>,
    /// Time of the last failure of the directory or a file.
    failed_at: Option<Instant>,
    incidents: VecDeque<(u64, String)>,
}

impl Worker {
    fn new(parts: IndexParts, shared: Arc<Shared>) -> Self {
        Self {
            parts,
            shared,
            builder: None,
            open_failure: None,
            failed_at: None,
            incidents: VecDeque::new(),
        }
    }

    fn run(mut self) {
        loop {
            let wait = self.turn();
            self.publish();
            if !self.shared.wait(wait) {
                return;
            }
        }
    }

    /// Works until the index is complete or cannot continue; returns the time until the next attempt.
    fn turn(&mut self) -> Duration {
        let since_failure = self.failed_at.map(|at| at.elapsed());
        let retries = since_failure.is_none_or(|elapsed| elapsed >= RETRY_INTERVAL);
        if retries {
            self.failed_at = None;
            if let Some(builder) = &mut self.builder {
                builder.retry();
            }
        }
        if self.builder.is_none() && retries {
            match Builder::open(&self.parts.directory, self.parts.chain_id) {
                Ok(builder) => {
                    self.builder = Some(builder);
                    self.open_failure = None;
                }
                Err(error) => {
                    let reason = error.to_string();
                    if self.open_failure.as_ref() != Some(&reason) {
                        log::error!("the transaction index cannot be used: {reason}");
                    }
                    self.open_failure = Some(reason);
                    self.failed_at = Some(Instant::now());
                }
            }
        }
        if self.builder.is_none() {
            return RETRY_INTERVAL;
        }
        loop {
            let began = Instant::now();
            let progress = self.slice(began);
            let Some(builder) = &mut self.builder else {
                return RETRY_INTERVAL;
            };
            if builder.write_failure().is_some() {
                self.failed_at.get_or_insert_with(Instant::now);
            }
            match progress {
                Progress::More => {}
                Progress::Waits => return RETRY_INTERVAL,
                Progress::Complete if builder.write_failure().is_some() => return RETRY_INTERVAL,
                Progress::Complete => {
                    let has_more = builder.check_files();
                    if !has_more && !builder.has_damage() {
                        return IDLE_INTERVAL;
                    }
                }
            }
            self.publish();
            if !self.shared.pause(began.elapsed().min(SLICE)) {
                return Duration::ZERO;
            }
        }
    }

    fn slice(&mut self, began: Instant) -> Progress {
        let Self {
            parts,
            shared,
            builder,
            ..
        } = self;
        let Some((builder, head)) = builder.as_mut().zip(parts.view.head()) else {
            return Progress::Complete;
        };
        let source = parts.store.served();
        let cold = parts.store.cold();
        let chain = Chain {
            source: &source,
            head: (Head::id(&head), head.height()),
            pruned_below: cold.map_or(0, |cold| cold.pruned_below(parts.chain_id)),
        };
        let mut began = began;
        let mut should_continue = || {
            if shared.is_stopped() {
                return false;
            }
            began.elapsed() < SLICE
        };
        let progress = builder.advance(&chain, &mut should_continue);
        began = Instant::now();
        // A merge continues after its pauses.
        let mut pausing = || {
            let elapsed = began.elapsed();
            let should_continue = elapsed < SLICE || shared.pause(elapsed.min(SLICE));
            if elapsed >= SLICE {
                began = Instant::now();
            }
            should_continue
        };
        match builder.merge_one(&chain, &mut pausing) {
            true => Progress::More,
            false => progress,
        }
    }

    fn publish(&mut self) {
        let now = clock::unix_time().as_secs();
        let mut status = IndexStatus {
            failure: self.open_failure.clone(),
            ..IndexStatus::default()
        };
        let mut coverage = Arc::default();
        if let Some(builder) = &mut self.builder {
            let incidents = builder.take_incidents();
            self.incidents.extend(incidents.map(|what| (now, what)));
            let excess = self.incidents.len().saturating_sub(MAX_INCIDENTS);
            self.incidents.drain(..excess);
            coverage = builder.coverage();
            (status.files, status.bytes) = builder.usage();
            status.waits_for = builder.waits_for().map(str::to_owned);
            status.failure = builder.write_failure().map(str::to_owned);
        }
        let is_recent = |at: u64| now.saturating_sub(at) < INCIDENT_SECONDS;
        self.incidents.retain(|(at, _)| is_recent(*at));
        status.incidents = self.incidents.iter().cloned().collect();
        status.from_height = coverage.lowest();
        status.to = coverage.top();
        status.is_complete = coverage.is_complete();
        *lock(&self.shared.published) = Published { coverage, status };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain_service::{ChainStatus, HeadState};
    use astreum_core::testkit::header;

    /// Waits until the state is as wanted.
    fn until(view: &IndexView, is_met: impl Fn(&IndexStatus) -> bool) -> IndexStatus {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let status = view.status();
            if is_met(&status) {
                return status;
            }
            assert!(Instant::now() < end, "{status:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn index_follows_the_heads_that_the_chain_publishes() {
        let scratch = tempfile::tempdir().unwrap();
        let (store, view) = (Store::new(16 << 20), ChainView::default());
        let mut previous = AtomId::ZERO;
        let mut heads = Vec::new();
        for height in 0..100 {
            let block = header(height, previous, 1_000 + height).signed(None);
            previous = block.id();
            store.put_all(block.to_atoms()).unwrap();
            heads.push(Head::new(block, HeadState::Verified));
        }
        let publish = |head: &Option<Head>| {
            view.publish(ChainStatus {
                head: head.clone(),
                ..ChainStatus::default()
            });
        };
        let parts = |directory: &str| IndexParts {
            store: store.clone(),
            view: view.clone(),
            directory: scratch.path().join(directory),
            chain_id: 0,
            failure: Failure::default(),
        };
        publish(&heads[70]);
        let index = TransactionIndex::start(parts("index")).unwrap();
        let found = until(&index.view(), |status| status.is_complete);
        assert_eq!(found.to.map(|(height, _)| height), Some(70));
        publish(&heads[99]);
        let is_new = |status: &IndexStatus| status.to.is_some_and(|(height, _)| height == 99);
        let found = until(&index.view(), is_new);
        assert_eq!((found.from_height, found.files), (Some(0), 1));
        assert_eq!((found.failure, found.incidents), (None, Vec::new()));
        let view_of_ended = index.view();
        drop(index);
        assert_eq!(
            view_of_ended.status().to.map(|(height, _)| height),
            Some(99)
        );
        // A directory that cannot be created is reported, and stops nothing.
        std::fs::write(scratch.path().join("taken"), b"").unwrap();
        let index = TransactionIndex::start(parts("taken")).unwrap();
        let found = until(&index.view(), |status| status.failure.is_some());
        assert!(found.failure.unwrap().contains("taken"));
        let page = index.view().history(&HistoryQuery::all(5)).unwrap();
        assert_eq!((page.to, page.is_complete), (None, false));
    }
}
