//! Subscriptions of all connections.
//!
//! Events arrive on the threads that cause them, and only take a place in a queue there. Heads with
//! their reorganizations, states of transactions, and lookups of transactions need the chain's data
//! or peers: [`Hub::follow`] runs each of the three on a thread that may wait, so that none of them
//! delays another.
//!
//! A connection has a bounded queue of notifications. A subscription that finds it full ends with a
//! message.

mod states;

use self::states::{Passed, Progress};
use super::counters::{HttpCounters, count, uncount};
use super::{MAX_NOTIFICATION_BYTES, MAX_NOTIFICATIONS};
use crate::rpc::chain::HeadReply;
use crate::rpc::service::Service;
use crate::rpc::subscription::{EventSource, LogReply, Observer};
use crate::rpc::text::LogLevel;
use astreum_core::atom::AtomId;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Maximum number of heads that wait to be passed on; the oldest are skipped.
const MAX_HEADS: usize = 1_024;
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause before a failed lookup is repeated, which doubles with every failure up to the maximum.
/// A change of the chain repeats it earlier.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);
/// Number of threads of [`Hub::follow`].
pub(super) const THREADS: usize = 3;

/// Topic of a subscription, with its filter.
#[derive(Debug)]
pub(super) enum Wanted {
    Heads,
    Reorganizations,
    Transaction {
        id: AtomId,
        /// State that was passed on last.
        passed: Option<Passed>,
    },
    Log(LogLevel),
}

/// Message to a connection.
#[derive(Debug)]
pub(super) enum Event {
    /// Result of a subscription, as JSON.
    Result(u64, Arc<str>),
    /// End of a subscription whose notifications are not read fast enough.
    Dropped(u64),
}

/// Sending half of a connection's queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: UnboundedSender<Event>,
    waiting: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    count: AtomicUsize,
    bytes: AtomicUsize,
    /// Set once the connection has ended: a request of it that is still executed subscribes to
    /// nothing. Changes under the lock of the hub's state.
    is_closed: AtomicBool,
}

/// Receiving half of a connection's queue.
#[derive(Debug)]
pub(super) struct Notifications {
    receiver: UnboundedReceiver<Event>,
    waiting: Arc<Waiting>,
}

/// Creates the queue of a connection.
pub(super) fn queue() -> (Queue, Notifications) {
    // Bounded by its counts; the ends of subscriptions, one for each, always have room.
    let (sender, receiver) = unbounded_channel();
    let waiting = Arc::new(Waiting::default());
    let queue = Queue {
        sender,
        waiting: Arc::clone(&waiting),
    };
    (queue, Notifications { receiver, waiting })
}

impl Queue {
    /// Adds a notification; returns `false` if there is no room.
    fn push(&self, subscription: u64, json: &Arc<str>) -> bool {
        let Waiting { count, bytes, .. } = &*self.waiting;
        // Only one thread adds at a time.
        let room = MAX_NOTIFICATION_BYTES.saturating_sub(bytes.load(Ordering::Relaxed));
        if count.load(Ordering::Relaxed) >= MAX_NOTIFICATIONS || json.len() > room {
            let _ = self.sender.send(Event::Dropped(subscription));
            return false;
        }
        count.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(json.len(), Ordering::Relaxed);
        let event = Event::Result(subscription, Arc::clone(json));
        self.sender.send(event).is_ok()
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.waiting, &other.waiting)
    }
}

impl Notifications {
    /// Waits for the next event; it is the caller's to send.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await?;
        if let Event::Result(_, json) = &event {
            self.waiting.count.fetch_sub(1, Ordering::Relaxed);
            self.waiting.bytes.fetch_sub(json.len(), Ordering::Relaxed);
        }
        Some(event)
    }
}

struct Subscription {
    queue: Queue,
    wanted: Wanted,
}

#[derive(Default)]
struct State {
    next: u64,
    subscriptions: BTreeMap<u64, Subscription>,
    /// Heads that are not passed on yet.
    heads: VecDeque<HeadReply>,
    /// Head that was passed on last, or known when that began.
    passed: Option<HeadReply>,
    progress: Progress,
}

/// Subscriptions of all connections.
pub(super) struct Hub {
    state: Mutex<State>,
    wake_heads: Notify,
    wake_states: Notify,
    wake_lookup: Notify,
    counters: Arc<HttpCounters>,
    /// Number of subscriptions to the log: without any, a line costs no lock.
    log_subscriptions: AtomicUsize,
}

impl Hub {
    pub(super) fn new(counters: Arc<HttpCounters>) -> Self {
        Self {
            state: Mutex::default(),
            wake_heads: Notify::new(),
            wake_states: Notify::new(),
            wake_lookup: Notify::new(),
            counters,
            log_subscriptions: AtomicUsize::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a subscription; returns its number.
    pub(super) fn add(&self, queue: &Queue, wanted: Wanted) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        if queue.waiting.is_closed.load(Ordering::Relaxed) {
            return number;
        }
        if matches!(wanted, Wanted::Transaction { .. }) {
            // Its state is passed on at once.
            state.progress.is_due = true;
            self.wake_states.notify_one();
        }
        let queue = queue.clone();
        state
            .subscriptions
            .insert(number, Subscription { queue, wanted });
        self.count(&state);
        count(&self.counters.open_subscriptions);
        number
    }

    /// Ends a subscription of the connection with this queue: `true` if there was one.
    pub(super) fn remove(&self, queue: &Queue, number: u64) -> bool {
        let mut state = self.state();
        let is_own = |subscription: &Subscription| subscription.queue.is(queue);
        if !state.subscriptions.get(&number).is_some_and(is_own) {
            return false;
        }
        state.subscriptions.remove(&number);
        self.count(&state);
        uncount(&self.counters.open_subscriptions);
        true
    }

    /// Ends all subscriptions of the connection with this queue, which has ended.
    pub(super) fn remove_all(&self, queue: &Queue) {
        let mut state = self.state();
        queue.waiting.is_closed.store(true, Ordering::Relaxed);
        let ended = state
            .subscriptions
            .extract_if(.., |_, subscription| subscription.queue.is(queue));
        for _ in ended {
            uncount(&self.counters.open_subscriptions);
        }
        self.count(&state);
    }

    fn count(&self, state: &State) {
        let of_log = state
            .subscriptions
            .values()
            .filter(|subscription| matches!(subscription.wanted, Wanted::Log(_)));
        self.log_subscriptions
            .store(of_log.count(), Ordering::Relaxed);
    }

    /// Passes a result to the subscriptions that `fits` accepts, and ends those without room.
    fn publish(&self, result: &impl Serialize, mut fits: impl FnMut(&mut Wanted) -> bool) {
        let Ok(json) = serde_json::to_string(result) else {
            return;
        };
        let json: Arc<str> = json.into();
        let mut state = self.state();
        let mut full = Vec::new();
        for (number, subscription) in &mut state.subscriptions {
            if fits(&mut subscription.wanted) && !subscription.queue.push(*number, &json) {
                full.push(*number);
            }
        }
        for number in &full {
            state.subscriptions.remove(number);
            count(&self.counters.dropped_subscriptions);
            uncount(&self.counters.open_subscriptions);
        }
        if !full.is_empty() {
            self.count(&state);
        }
    }

    /// Passes on what has happened, as long as the server runs.
    pub(super) async fn follow(
        self: Arc<Self>,
        service: Arc<dyn Service>,
        events: Arc<dyn EventSource>,
    ) {
        let (of_heads, of_states) = (Arc::clone(&self), Arc::clone(&self));
        let of_lookup = Arc::clone(&service);
        tokio::join!(
            repeat(&self.wake_heads, move || of_heads
                .pass_heads(events.as_ref())),
            repeat(&self.wake_states, move || of_states
                .pass_states(service.as_ref())),
            Arc::clone(&self).follow_lookups(of_lookup),
        );
    }

    async fn follow_lookups(self: Arc<Self>, service: Arc<dyn Service>) {
        let mut retry = RETRY_PAUSE;
        loop {
            self.wake_lookup.notified().await;
            let (hub, service) = (Arc::clone(&self), Arc::clone(&service));
            let lookup = move || hub.look_up_states(service.as_ref());
            // A panic ends the process.
            let is_done = tokio::task::spawn_blocking(lookup).await.unwrap_or(true);
            tokio::time::sleep(PAUSE).await;
            if is_done {
                retry = RETRY_PAUSE;
                continue;
            }
            // Ends early if a round has left transactions for another lookup.
            let left = self.wake_lookup.notified();
            if tokio::time::timeout(retry, left).await.is_ok() {
                self.wake_lookup.notify_one();
            } else {
                self.begin_round();
            }
            retry = MAX_RETRY_PAUSE.min(retry * 2);
        }
    }

    fn pass_heads(&self, events: &dyn EventSource) {
        loop {
            let mut state = self.state();
            let Some(head) = state.heads.pop_front() else {
                return;
            };
            let before = state.passed.replace(head.clone());
            let wanted = state.subscriptions.values();
            let mut wanted = wanted.map(|subscription| &subscription.wanted);
            let is_wanted = wanted.any(|wanted| matches!(wanted, Wanted::Reorganizations));
            drop(state);
            let before = before.filter(|_| is_wanted);
            let moved = before.and_then(|before| events.reorganization(&before, &head));
            if let Some(reorganization) = moved {
                self.publish(&reorganization, |wanted| {
                    matches!(wanted, Wanted::Reorganizations)
                });
            }
            self.publish(&head, |wanted| matches!(wanted, Wanted::Heads));
        }
    }
}

/// Calls `round` on a thread that may wait whenever `wake` is notified.
async fn repeat(wake: &Notify, round: impl Fn() + Clone + Send + 'static) {
    loop {
        wake.notified().await;
        // A panic ends the process.
        let _ = tokio::task::spawn_blocking(round.clone()).await;
        tokio::time::sleep(PAUSE).await;
    }
}

impl Observer for Hub {
    fn head(&self, head: HeadReply) {
        let mut state = self.state();
        if state.subscriptions.is_empty() {
            // Passed on later, older ones would look like a reorganization.
            state.heads.clear();
            state.passed = Some(head);
            return;
        }
        if state.heads.len() == MAX_HEADS {
            state.heads.pop_front();
        }
        state.heads.push_back(head);
        drop(state);
        self.wake_heads.notify_one();
    }

    fn chain(&self) {
        let mut state = self.state();
        if !state.subscriptions.is_empty() {
            state.progress.is_due = true;
            drop(state);
            self.wake_states.notify_one();
        }
    }

    fn log(&self, line: LogReply) {
        if self.log_subscriptions.load(Ordering::Relaxed) > 0 {
            let level = line.level;
            self.publish(
                &line,
                |wanted| matches!(wanted, Wanted::Log(most) if level <= *most),
            );
        }
    }
}

#[cfg(test)]
mod tests;
