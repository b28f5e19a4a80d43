//! Subscriptions of all connections.
//!
//! Events arrive on the threads that cause them, and only take a place in a queue there. What needs
//! the chain's data, reorganizations and the states of transactions, is found out by
//! [`Hub::follow`] on a thread that may wait.
//!
//! A connection has a bounded queue of notifications. A subscription that finds it full ends with a
//! message.

use super::counters::{HttpCounters, count, uncount};
use super::{MAX_NOTIFICATION_BYTES, MAX_NOTIFICATIONS};
use crate::WaitLimit;
use crate::rpc::caller::Caller;
use crate::rpc::chain::{HeadReply, TransactionStatusReply};
use crate::rpc::service::{Service, request};
use crate::rpc::subscription::{EventSource, LogReply, Observer};
use crate::rpc::text::LogLevel;
use astreum_core::atom::AtomId;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Maximum number of heads that wait to be passed on; the oldest are skipped.
const MAX_HEADS: usize = 1_024;
/// Maximum time for finding out the states of all transactions once.
const STATES_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(100);

/// Topic of a subscription, with its filter.
#[derive(Debug)]
pub(super) enum Wanted {
    Heads,
    Reorganizations,
    Transaction {
        id: AtomId,
        /// State that was passed on last.
        last: Option<Box<TransactionStatusReply>>,
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
    has_changed: bool,
}

/// Subscriptions of all connections.
pub(super) struct Hub {
    state: Mutex<State>,
    wake: Notify,
    counters: Arc<HttpCounters>,
    /// Number of subscriptions to the log: without any, a line costs no lock.
    log_subscriptions: AtomicUsize,
}

impl Hub {
    pub(super) fn new(counters: Arc<HttpCounters>) -> Self {
        Self {
            state: Mutex::default(),
            wake: Notify::new(),
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
            state.has_changed = true;
            self.wake.notify_one();
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
        loop {
            self.wake.notified().await;
            let (hub, service) = (Arc::clone(&self), Arc::clone(&service));
            let events = Arc::clone(&events);
            let round = move || {
                hub.pass_heads(events.as_ref());
                hub.pass_states(service.as_ref());
            };
            // A panic ends the process.
            let _ = tokio::task::spawn_blocking(round).await;
            tokio::time::sleep(PAUSE).await;
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

    fn pass_states(&self, service: &dyn Service) {
        let wanted: BTreeSet<AtomId> = {
            let mut state = self.state();
            if !core::mem::take(&mut state.has_changed) {
                return;
            }
            let wanted = state.subscriptions.values();
            let ids = wanted.filter_map(|subscription| match &subscription.wanted {
                Wanted::Transaction { id, .. } => Some(*id),
                _ => None,
            });
            ids.collect()
        };
        let limit = WaitLimit::NONE.within(STATES_TIMEOUT);
        for wanted_id in wanted {
            let params = request::TransactionStatus {
                id: wanted_id,
                wait_seconds: 0,
                until_safe: false,
            };
            let status = limit.scope(|| service.transaction_status(params, &Caller::default()));
            let Ok(status) = status else {
                // It is tried again with the next change.
                continue;
            };
            let now = Box::new(without_details(&status));
            self.publish(&status, |wanted| match wanted {
                Wanted::Transaction { id, last }
                    if *id == wanted_id && *last != Some(now.clone()) =>
                {
                    *last = Some(now.clone());
                    true
                }
                _ => false,
            });
        }
    }
}

/// Removes what changes with every block or transaction, so that it alone is not news.
fn without_details(status: &TransactionStatusReply) -> TransactionStatusReply {
    TransactionStatusReply {
        head: None,
        undo_stake: None,
        pool_place: None,
        pool_transactions: None,
        ..status.clone()
    }
}

impl Observer for Hub {
    fn head(&self, head: HeadReply) {
        let mut state = self.state();
        if state.subscriptions.is_empty() {
            state.passed = Some(head);
            return;
        }
        if state.heads.len() == MAX_HEADS {
            state.heads.pop_front();
        }
        state.heads.push_back(head);
        drop(state);
        self.wake.notify_one();
    }

    fn chain(&self) {
        let mut state = self.state();
        if !state.subscriptions.is_empty() {
            state.has_changed = true;
            drop(state);
            self.wake.notify_one();
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
mod tests {
    use super::*;
    use crate::rpc::subscription::ReorganizationReply;

    fn line(message: &str, level: LogLevel) -> LogReply {
        LogReply {
            time: String::new(),
            level,
            module: String::new(),
            message: message.to_owned(),
        }
    }

    fn taken(notifications: &mut Notifications) -> Vec<Event> {
        let mut events = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            while !notifications.receiver.is_empty() {
                events.push(notifications.next().await.unwrap());
            }
        });
        events
    }

    fn head(byte: u8, height: u64) -> HeadReply {
        HeadReply {
            id: AtomId::new([byte; 32]),
            height: height.into(),
            timestamp: 0_u64.into(),
            state: astreum_core::consensus::HeadState::Verified,
        }
    }

    /// A head whose first byte is not one more is on another branch.
    struct Branches;

    impl EventSource for Branches {
        fn observe(&self, _: Arc<dyn Observer>) -> Box<dyn Send> {
            Box::new(())
        }

        fn reorganization(&self, from: &HeadReply, to: &HeadReply) -> Option<ReorganizationReply> {
            let first = |head: &HeadReply| head.id.as_bytes()[0];
            (first(to) != first(from) + 1).then_some(ReorganizationReply {
                from: from.id,
                to: to.id,
                fork: None,
                depth: None,
            })
        }
    }

    #[test]
    fn slow_subscribers_are_dropped_with_a_message_and_others_stay() {
        let counters = Arc::new(HttpCounters::default());
        let hub = Hub::new(Arc::clone(&counters));
        let (slow, mut of_slow) = queue();
        let (fast, mut of_fast) = queue();
        let number = hub.add(&slow, Wanted::Log(LogLevel::Info));
        hub.add(&fast, Wanted::Log(LogLevel::Warn));
        for _ in 0..MAX_NOTIFICATIONS + 5 {
            hub.log(line("x", LogLevel::Info));
        }
        hub.log(line("y", LogLevel::Error));
        let events = taken(&mut of_slow);
        assert_eq!(events.len(), MAX_NOTIFICATIONS + 1);
        assert!(matches!(events.last(), Some(Event::Dropped(it)) if *it == number));
        assert_eq!(taken(&mut of_fast).len(), 1);
        let counts = counters.counts();
        assert_eq!(
            (counts.open_subscriptions, counts.dropped_subscriptions),
            (1, 1)
        );
        // Few, but large.
        let number = hub.add(&slow, Wanted::Log(LogLevel::Debug));
        let large = "x".repeat(MAX_NOTIFICATION_BYTES / 3);
        for _ in 0..4 {
            hub.log(line(&large, LogLevel::Debug));
        }
        let events = taken(&mut of_slow);
        assert_eq!(events.len(), 3);
        assert!(matches!(events.last(), Some(Event::Dropped(it)) if *it == number));
        // There is room again.
        hub.add(&slow, Wanted::Log(LogLevel::Debug));
        hub.log(line(&large, LogLevel::Debug));
        assert_eq!(taken(&mut of_slow).len(), 1);
    }

    #[test]
    fn heads_are_passed_on_in_order_with_reorganizations() {
        let hub = Hub::new(Arc::default());
        let (queue, mut notifications) = queue();
        hub.head(head(1, 1));
        hub.add(&queue, Wanted::Heads);
        let moves = hub.add(&queue, Wanted::Reorganizations);
        hub.head(head(2, 2));
        hub.head(head(7, 2));
        hub.pass_heads(&Branches);
        let events: Vec<(u64, String)> = taken(&mut notifications)
            .into_iter()
            .map(|event| match event {
                Event::Result(number, json) => (number, json.to_string()),
                Event::Dropped(number) => panic!("{number} was dropped"),
            })
            .collect();
        assert_eq!(events.len(), 3, "{events:?}");
        assert!(events[0].1.contains("0202"), "{events:?}");
        assert_eq!(events[1].0, moves);
        assert!(events[1].1.contains("\"from\":\"0202") && events[1].1.contains("\"to\":\"0707"));
        assert!(events[2].1.contains("0707"));
        let (other, _) = super::queue();
        assert!(!hub.remove(&other, moves), "it is of another connection");
        assert!(hub.remove(&queue, moves) && !hub.remove(&queue, moves));
        hub.remove_all(&queue);
        assert!(hub.state().subscriptions.is_empty());
        hub.add(&queue, Wanted::Heads);
        assert!(hub.state().subscriptions.is_empty(), "it has ended");
    }
}
