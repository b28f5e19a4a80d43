//! Shared snapshot of the chain status, for other threads.

use super::NearlyFull;
use super::dir::WaitingFork;
use super::producer::ValidatorStatus;
use super::sync_rate::{RateMeter, SyncRate};
use super::{Head, SyncStatus};
use crate::WaitLimit;
use astreum_core::atom::AtomId;
use astreum_core::consensus::ClockOffset;
use astreum_core::consensus::mempool::MempoolStatus;
use core::time::Duration;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// State of a node's chain.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChainStatus {
    /// Head of the chain, if there is one.
    pub head: Option<Head>,
    /// Block that the chain was verified from, if it was verified.
    pub root: Option<AtomId>,
    /// True if a longer chain is being followed and is not verified yet.
    pub is_behind: bool,
    /// Progress of sync, and rejected chains.
    pub sync: SyncStatus,
    /// State of the mempool.
    pub mempool: Arc<MempoolStatus>,
    /// State of the validator, if this node is one.
    pub validator: Option<ValidatorStatus>,
    /// Offset of the system clock, if one was detected.
    pub clock: Option<ClockOffset>,
    /// Storages that are nearly full.
    pub nearly_full: Vec<NearlyFull>,
    /// Reason the head is not in the head journal, if it is not.
    pub head_failure: Option<String>,
    /// Forks that wait for a decision of the operator, those of earlier runs included.
    pub waiting_forks: Vec<WaitingFork>,
}

/// Access to the chain status from other threads; clones share it.
#[derive(Clone, Debug, Default)]
pub struct ChainView {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    status: Mutex<ChainStatus>,
    rate: Mutex<RateMeter>,
    changed: Condvar,
    observers: Mutex<Vec<Weak<Observer>>>,
}

/// Function that is called with every new status.
type Observer = dyn Fn(&ChainStatus) + Send + Sync;

impl core::fmt::Debug for Shared {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Shared")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Registration of an observer, which ends when this is dropped.
pub struct ChainWatch(#[expect(dead_code, reason = "keeps the observer")] Arc<Observer>);

impl core::fmt::Debug for ChainWatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ChainWatch")
    }
}

impl ChainView {
    /// Returns the head of the chain, if there is one.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.lock().head.clone()
    }

    /// Returns the current status.
    #[must_use]
    pub fn status(&self) -> ChainStatus {
        self.lock().clone()
    }

    /// Returns the rate of sync; `None` if there is nothing to sync, or it has just begun.
    #[must_use]
    pub fn sync_rate(&self) -> Option<SyncRate> {
        self.rate().rate(Instant::now())
    }

    /// Waits until `is_met` returns `true` for the status, for at most `timeout` and as long as the
    /// thread's [`WaitLimit`] allows. Returns the status, or `None` on timeout.
    #[must_use]
    pub fn wait_until(
        &self,
        timeout: Duration,
        is_met: impl Fn(&ChainStatus) -> bool,
    ) -> Option<ChainStatus> {
        let wait_limit = WaitLimit::NONE.within(timeout);
        wait_limit.scope(|| {
            let wait_limit = WaitLimit::in_force();
            let mut status = self.lock();
            while !is_met(&status) {
                if wait_limit.is_over() {
                    return None;
                }
                let time = wait_limit.next_check().unwrap_or(timeout);
                let waited = self.shared.changed.wait_timeout(status, time);
                status = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            Some(status.clone())
        })
    }

    /// Calls `observer` with the current status and every later one, on the chain thread, which it
    /// must not block.
    #[must_use]
    pub fn watch(&self, observer: impl Fn(&ChainStatus) + Send + Sync + 'static) -> ChainWatch {
        let observer: Arc<Observer> = Arc::new(observer);
        // Locked until the end, so that no status comes in between.
        let mut observers = self.observers();
        observer(&self.status());
        observers.push(Arc::downgrade(&observer));
        ChainWatch(observer)
    }

    /// Publishes a status, wakes waiting threads and calls observers.
    pub fn publish(&self, status: ChainStatus) {
        self.rate().note(Instant::now(), &status.sync);
        let mut observers = self.observers();
        let published = (!observers.is_empty()).then(|| status.clone());
        // Before the observers learn of it.
        *self.lock() = status;
        self.shared.changed.notify_all();
        if let Some(status) = published {
            observers.retain(|observer| {
                let observer = observer.upgrade();
                observer.map(|observer| observer(&status)).is_some()
            });
        }
    }

    fn rate(&self) -> MutexGuard<'_, RateMeter> {
        let rate = self.shared.rate.lock();
        rate.unwrap_or_else(PoisonError::into_inner)
    }

    fn observers(&self) -> MutexGuard<'_, Vec<Weak<Observer>>> {
        let observers = self.shared.observers.lock();
        observers.unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the status. A status is replaced as a whole, so it is complete even if the lock is
    /// poisoned.
    fn lock(&self) -> MutexGuard<'_, ChainStatus> {
        let status = self.shared.status.lock();
        status.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain_service::HeadState;
    use astreum_core::testkit::header;

    #[test]
    fn waiters_see_the_change_and_waits_are_bounded() {
        let view = ChainView::default();
        assert_eq!(view.head(), None);
        let short = Duration::from_millis(1);
        assert_eq!(view.wait_until(short, |status| status.head.is_some()), None);
        let block = header(3, AtomId::new([1; 32]), 7).signed(None);
        let head = Head::new(block, HeadState::Trusted).unwrap();
        let status = ChainStatus {
            head: Some(head.clone()),
            ..ChainStatus::default()
        };
        let publisher = view.clone();
        let published = status.clone();
        let thread = std::thread::spawn(move || publisher.publish(published));
        let long = Duration::from_secs(60);
        let seen = view.wait_until(long, |status| status.head.is_some());
        assert_eq!(seen, Some(status));
        assert_eq!(view.head(), Some(head));
        thread.join().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watch = {
            let seen = Arc::clone(&seen);
            view.watch(move |status| seen.lock().unwrap().push(status.head.is_some()))
        };
        view.publish(ChainStatus::default());
        drop(watch);
        view.publish(ChainStatus::default());
        assert_eq!(*seen.lock().unwrap(), [true, false]);
    }
}
