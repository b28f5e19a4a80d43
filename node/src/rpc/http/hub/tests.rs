//! Tests of subscriptions.

use super::*;
use crate::WaitLimit;
use crate::rpc::caller::Caller;
use crate::rpc::chain::TransactionStatusReply;
use crate::rpc::error::RpcError;
use crate::rpc::service::{PartialService, request};
use crate::rpc::subscription::ReorganizationReply;
use crate::rpc::text::{ConfirmationLevel, TransactionStanding};

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

/// A head that arrives without a subscription takes the place of those that wait.
#[test]
fn heads_of_ended_subscriptions_are_no_reorganization_for_later_ones() {
    let hub = Hub::new(Arc::default());
    let (queue, mut notifications) = queue();
    let ended = hub.add(&queue, Wanted::Heads);
    hub.head(head(1, 1));
    hub.head(head(2, 2));
    assert!(hub.remove(&queue, ended));
    hub.head(head(3, 3));
    hub.add(&queue, Wanted::Reorganizations);
    hub.head(head(4, 4));
    hub.pass_heads(&Branches);
    assert_eq!(states(&mut notifications), Vec::<String>::new());
}

/// Chain whose states of transactions a test sets. Those in `far` are only found by waiting for
/// peers, which takes the time that the caller permits.
#[derive(Default)]
struct Scripted {
    states: Mutex<BTreeMap<AtomId, Result<TransactionStatusReply, RpcError>>>,
    far: Mutex<Vec<AtomId>>,
    lookups: AtomicUsize,
}

impl Scripted {
    fn set(&self, id: AtomId, state: TransactionStanding) {
        let status = TransactionStatusReply::new(id, state, Some(head(1, 1)));
        self.states.lock().unwrap().insert(id, Ok(status));
    }

    fn set_confirmation(&self, id: AtomId, level: Option<ConfirmationLevel>) {
        let status = TransactionStatusReply {
            block: Some(AtomId::new([9; 32])),
            confirmation: level,
            ..TransactionStatusReply::new(id, TransactionStanding::Success, None)
        };
        self.states.lock().unwrap().insert(id, Ok(status));
    }
}

impl PartialService for Scripted {
    fn transaction_status(
        &self,
        params: request::TransactionStatus,
        _: &Caller,
    ) -> Result<TransactionStatusReply, RpcError> {
        let far = self.far.lock().unwrap().contains(&params.id);
        if far && WaitLimit::in_force().is_over() {
            return Err(RpcError::missing(&params.id));
        }
        let found = self.states.lock().unwrap().get(&params.id).cloned();
        self.lookups.fetch_add(usize::from(far), Ordering::Relaxed);
        found.unwrap_or_else(|| {
            let unknown = TransactionStanding::Unknown;
            Ok(TransactionStatusReply::new(params.id, unknown, None))
        })
    }
}

fn id(byte: u8) -> AtomId {
    AtomId::new([byte; 32])
}

fn transaction(hub: &Hub, queue: &Queue, byte: u8) -> u64 {
    let wanted = Wanted::Transaction {
        id: id(byte),
        passed: None,
    };
    hub.add(queue, wanted)
}

/// Returns the states or levels of confirmation in the notifications.
fn states(notifications: &mut Notifications) -> Vec<String> {
    let events = taken(notifications).into_iter();
    let state = |event| {
        let Event::Result(_, json) = event else {
            panic!("{event:?}");
        };
        let reply: serde_json::Value = serde_json::from_str(&json).unwrap();
        let level = reply["confirmation"].as_str();
        level
            .or(reply["state"].as_str())
            .map_or_else(|| json.to_string(), str::to_owned)
    };
    events.map(state).collect()
}

#[test]
fn every_state_of_a_transaction_is_notified_once() {
    use ConfirmationLevel::{Included, Safe, Settled};
    use TransactionStanding as Is;
    let (hub, chain) = (Hub::new(Arc::default()), Scripted::default());
    let (queue, mut notifications) = queue();
    transaction(&hub, &queue, 5);
    let all = [
        (Is::Fetching, "fetching"),
        (Is::Waiting, "waiting"),
        (Is::Pending, "pending"),
        (Is::Announced, "announced"),
        (Is::Unheld, "unheld"),
        (Is::Refused, "refused"),
        (Is::Expired, "expired"),
        (Is::Abandoned, "abandoned"),
        (Is::Stored, "stored"),
    ];
    for (state, text) in all {
        chain.set(id(5), state);
        hub.chain();
        hub.pass_states(&chain);
        assert_eq!(states(&mut notifications), [text]);
        // Another head alone is not news.
        hub.chain();
        hub.pass_states(&chain);
        assert!(states(&mut notifications).is_empty(), "{text}");
    }
    for (level, text) in [(Included, "included"), (Safe, "safe"), (Settled, "settled")] {
        chain.set_confirmation(id(5), Some(level));
        hub.chain();
        hub.pass_states(&chain);
        assert_eq!(states(&mut notifications), [text]);
    }
    // After a reorganization.
    chain.set(id(5), Is::Pending);
    hub.chain();
    hub.pass_states(&chain);
    assert_eq!(states(&mut notifications), ["pending"]);
    assert!(hub.look_up_states(&chain), "nothing was left to a lookup");
    assert!(states(&mut notifications).is_empty());
}

/// With a lower id, the unknown transaction is first in a round.
#[test]
fn unknown_transactions_delay_no_others() {
    let (hub, chain) = (Hub::new(Arc::default()), Scripted::default());
    let (queue, mut notifications) = queue();
    chain.far.lock().unwrap().push(id(1));
    chain.set(id(5), TransactionStanding::Pending);
    transaction(&hub, &queue, 1);
    transaction(&hub, &queue, 5);
    hub.pass_states(&chain);
    assert_eq!(states(&mut notifications), ["pending"]);
    assert_eq!(chain.lookups.load(Ordering::Relaxed), 0);
    assert!(hub.look_up_states(&chain));
    assert_eq!(states(&mut notifications), ["unknown"]);
    assert_eq!(chain.lookups.load(Ordering::Relaxed), 1);
    // Without a change, there is nothing to do.
    hub.pass_states(&chain);
    assert!(hub.look_up_states(&chain));
    assert_eq!(chain.lookups.load(Ordering::Relaxed), 1);
}

#[test]
fn lookups_complete_confirmations_and_do_not_replace_later_states() {
    let (hub, chain) = (Hub::new(Arc::default()), Scripted::default());
    let (queue, mut notifications) = queue();
    transaction(&hub, &queue, 5);
    chain.set_confirmation(id(5), None);
    hub.pass_states(&chain);
    assert!(states(&mut notifications).is_empty());
    chain.set_confirmation(id(5), Some(ConfirmationLevel::Safe));
    assert!(hub.look_up_states(&chain));
    assert_eq!(states(&mut notifications), ["safe"]);
    // The state of an earlier round arrives after that of a later one.
    let unknown = TransactionStatusReply::new(id(5), TransactionStanding::Unknown, None);
    hub.chain();
    hub.pass_states(&chain);
    hub.pass_state(&unknown, 1);
    assert!(states(&mut notifications).is_empty());
    hub.pass_state(&unknown, 2);
    assert_eq!(states(&mut notifications), ["unknown"]);
}

/// A chain that does not change, for instance between two slots, wakes no round.
#[tokio::test]
async fn failed_lookups_are_repeated_without_a_change_of_the_chain() {
    let hub = Arc::new(Hub::new(Arc::default()));
    let chain = Arc::new(Scripted::default());
    let (queue, mut notifications) = queue();
    let missing = Err(RpcError::missing(&id(7)));
    chain.states.lock().unwrap().insert(id(5), missing);
    chain.far.lock().unwrap().push(id(5));
    let (service, events): (Arc<dyn Service>, Arc<dyn EventSource>) =
        (Arc::<Scripted>::clone(&chain), Arc::new(Branches));
    let following = tokio::spawn(Arc::clone(&hub).follow(service, events));
    transaction(&hub, &queue, 5);
    while chain.lookups.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    chain.set(id(5), TransactionStanding::Pending);
    let event = tokio::time::timeout(Duration::from_secs(60), notifications.next());
    let Ok(Some(Event::Result(_, json))) = event.await else {
        panic!("no notification");
    };
    assert!(json.contains("\"pending\""), "{json}");
    following.abort();
}

/// Peers that answer slowly, or reorganizations of many blocks, delay nothing else.
#[tokio::test]
async fn heads_and_states_are_notified_during_a_slow_lookup() {
    struct Slow(
        std::sync::mpsc::Sender<()>,
        Mutex<std::sync::mpsc::Receiver<()>>,
    );
    impl PartialService for Slow {
        fn transaction_status(
            &self,
            params: request::TransactionStatus,
            _: &Caller,
        ) -> Result<TransactionStatusReply, RpcError> {
            let mut state = TransactionStanding::Pending;
            if params.id == id(1) {
                if WaitLimit::in_force().is_over() {
                    return Err(RpcError::missing(&params.id));
                }
                // Until the test lets it go on.
                let _ = self.0.send(());
                let _ = self.1.lock().unwrap().recv();
                state = TransactionStanding::Unknown;
            }
            Ok(TransactionStatusReply::new(params.id, state, None))
        }
    }
    let (began, has_begun) = std::sync::mpsc::channel();
    let (go_on, wait) = std::sync::mpsc::channel();
    let hub = Arc::new(Hub::new(Arc::default()));
    let (queue, mut notifications) = queue();
    let (service, events): (Arc<dyn Service>, Arc<dyn EventSource>) =
        (Arc::new(Slow(began, Mutex::new(wait))), Arc::new(Branches));
    let following = tokio::spawn(Arc::clone(&hub).follow(service, events));
    transaction(&hub, &queue, 1);
    while has_begun.try_recv().is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    hub.add(&queue, Wanted::Heads);
    transaction(&hub, &queue, 5);
    hub.head(head(3, 3));
    hub.chain();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let event = tokio::time::timeout(Duration::from_secs(60), notifications.next());
        let Ok(Some(Event::Result(_, json))) = event.await else {
            panic!("{seen:?}");
        };
        seen.push(json.to_string());
    }
    seen.sort();
    assert!(
        seen[0].contains("\"height\":3") || seen[1].contains("\"height\":3"),
        "{seen:?}"
    );
    assert!(
        seen.iter().any(|json| json.contains("\"pending\"")),
        "{seen:?}"
    );
    drop(go_on);
    let event = tokio::time::timeout(Duration::from_secs(60), notifications.next()).await;
    assert!(matches!(event, Ok(Some(Event::Result(_, json))) if json.contains("unknown")));
    following.abort();
}
