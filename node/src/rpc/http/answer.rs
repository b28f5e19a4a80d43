//! Execution of requests: at once if nothing can delay it, else on another thread.

use super::counters::{HttpCounters, count};
use super::{
    LARGE_REPLY_BYTES, MAX_BATCH, MAX_EXECUTING, MAX_REPLY_KIB, MAX_WAITING, MONITORING,
    RESERVED_EXECUTING, RESERVED_REPLY_KIB,
};
use crate::WaitLimit;
use crate::rpc::access::Access;
use crate::rpc::caller::Caller;
use crate::rpc::codec::MAX_MESSAGE_BYTES;
use crate::rpc::dispatch::Incoming;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::message::{Answer, CallId, reply_message};
use crate::rpc::service::{Request, Service};
use bytes::Bytes;
use core::fmt;
use core::time::Duration;
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Message of a client: one request, or an array of them.
pub(super) enum Work {
    One(Box<Incoming>),
    Batch(Vec<Incoming>),
}

impl Work {
    /// Reads a message, and refuses what the access does not permit.
    pub(super) fn read(message: &[u8], access: Access) -> Self {
        let admit = |incoming: Incoming| incoming.admit(|request| permit(request, access));
        if message.trim_ascii_start().first() != Some(&b'[') {
            return Self::One(Box::new(admit(Incoming::parse(message))));
        }
        let mut reader = serde_json::Deserializer::from_slice(message);
        let items = reader.deserialize_seq(Items);
        match items.and_then(|items| reader.end().map(|()| items)) {
            Ok(items) if items.is_empty() => {
                let error = RpcError::new(ErrorKind::InvalidRequest, "not a request: no items");
                Self::One(Box::new(Incoming::refused(error)))
            }
            Ok(items) => Self::Batch(items.into_iter().map(admit).collect()),
            Err(error) => {
                let kind = match error.is_data() {
                    true => ErrorKind::InvalidRequest,
                    false => ErrorKind::Parse,
                };
                let error = RpcError::new(kind, format!("not an array of requests: {error}"));
                Self::One(Box::new(Incoming::refused(error)))
            }
        }
    }

    /// Returns whether nothing can delay its execution.
    fn is_quick(&self, service: &dyn Service) -> bool {
        match self {
            Self::One(incoming) => incoming.is_quick(service),
            Self::Batch(_) => false,
        }
    }

    /// Returns whether it may start subscriptions.
    pub(super) fn subscribes(&self) -> bool {
        match self {
            Self::One(incoming) => incoming.subscribes(),
            Self::Batch(items) => items.iter().any(Incoming::subscribes),
        }
    }

    /// Returns whether it waits for something to happen.
    fn waits(&self) -> bool {
        match self {
            Self::One(incoming) => incoming.waits(),
            Self::Batch(items) => items.iter().any(Incoming::waits),
        }
    }

    /// Returns the id of its request; `None` for an array or a notification.
    fn id(&self) -> Option<CallId> {
        match self {
            Self::One(incoming) => incoming.id(),
            Self::Batch(_) => None,
        }
    }
}

/// Items of an array, up to [`MAX_BATCH`].
struct Items;

impl<'de> Visitor<'de> for Items {
    type Value = Vec<Incoming>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of requests")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<Incoming>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element::<&RawValue>()? {
            if items.len() == MAX_BATCH {
                let message = format!("more than {MAX_BATCH} requests in an array");
                return Err(A::Error::custom(message));
            }
            items.push(match item.get().starts_with('[') {
                true => {
                    let reason = "not a request: nested arrays are not supported";
                    Incoming::refused(RpcError::new(ErrorKind::InvalidRequest, reason))
                }
                false => Incoming::parse(item.get().as_bytes()),
            });
        }
        Ok(items)
    }
}

fn permit(request: &Request, access: Access) -> Result<(), RpcError> {
    if request.access() <= access {
        return Ok(());
    }
    let message = format!(
        "{} needs the token: send `Authorization: Bearer TOKEN`, or call authenticate on a \
         WebSocket; the file of rpc_token_file has it",
        request.method()
    );
    Err(RpcError::new(ErrorKind::Unauthorized, message))
}

/// Reply, with the permit that is to be kept until the client has it.
pub(super) struct Reply {
    /// `None` if no reply is due.
    message: Option<Vec<u8>>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Bytes of a reply, with its permit.
struct Owned {
    bytes: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Reply {
    /// Returns the message, and the permit that is to be dropped once it is sent.
    pub(super) fn into_parts(self) -> (Option<Vec<u8>>, Option<OwnedSemaphorePermit>) {
        (self.message, self.permit)
    }

    /// Returns the message as a body that keeps the permit until it is sent.
    pub(super) fn into_body(self) -> Option<Bytes> {
        let (bytes, _permit) = (self.message?, self.permit);
        Some(Bytes::from_owner(Owned { bytes, _permit }))
    }
}

/// Resource of which callers with the token have a part of their own.
struct Shares {
    any: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

impl Shares {
    fn new(total: usize, reserved: usize) -> Self {
        Self {
            any: Arc::new(Semaphore::new(total.saturating_sub(reserved))),
            reserved: Arc::new(Semaphore::new(reserved)),
        }
    }

    /// Waits for one unit.
    async fn acquire(&self, access: Access) -> Option<OwnedSemaphorePermit> {
        let any = Arc::clone(&self.any).acquire_owned();
        // The semaphores are never closed.
        if access < Access::Full {
            return any.await.ok();
        }
        tokio::select! {
            biased;
            permit = Arc::clone(&self.reserved).acquire_owned() => permit.ok(),
            permit = any => permit.ok(),
        }
    }

    /// Returns this number of units, if they are free.
    fn try_acquire(&self, access: Access, units: u32) -> Option<OwnedSemaphorePermit> {
        let of = |semaphore: &Arc<Semaphore>| {
            let permit = Arc::clone(semaphore).try_acquire_many_owned(units);
            permit.ok()
        };
        let reserved = (access == Access::Full).then(|| of(&self.reserved));
        reserved.flatten().or_else(|| of(&self.any))
    }
}

/// Executor of requests.
pub(super) struct Executor {
    pub(super) service: Arc<dyn Service>,
    pub(super) counters: Arc<HttpCounters>,
    executing: Shares,
    /// Memory of large replies that wait to be sent, in KiB.
    reply_kib: Shares,
    /// Waits of callers without the token.
    waiting: Arc<Semaphore>,
    monitoring: Arc<Semaphore>,
}

impl Executor {
    pub(super) fn new(service: Arc<dyn Service>, counters: Arc<HttpCounters>) -> Self {
        Self {
            service,
            counters,
            executing: Shares::new(MAX_EXECUTING, RESERVED_EXECUTING),
            reply_kib: Shares::new(MAX_REPLY_KIB, RESERVED_REPLY_KIB),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            monitoring: Arc::new(Semaphore::new(MONITORING)),
        }
    }

    fn counted(&self, answer: Answer) -> Option<Vec<u8>> {
        count(&self.counters.requests);
        if answer.is_error {
            count(&self.counters.failed_requests);
        }
        answer.message
    }

    /// Executes a message if nothing can delay that; returns it otherwise.
    pub(super) fn at_once(&self, work: Work, caller: &Caller) -> Result<Reply, Work> {
        if !work.is_quick(self.service.as_ref()) {
            return Err(work);
        }
        let incoming = match work {
            Work::One(incoming) => incoming,
            work @ Work::Batch(_) => return Err(work),
        };
        // A moment ago it was in memory; if it is not any more, it is not waited for.
        let limit = WaitLimit::NONE.within(Duration::ZERO);
        let answer = limit.scope(|| incoming.answer(self.service.as_ref(), caller));
        Ok(Reply {
            message: self.counted(answer),
            permit: None,
        })
    }

    /// Executes a message on another thread, once one is free.
    pub(super) async fn run(self: Arc<Self>, work: Work, access: Access, caller: Caller) -> Reply {
        // The semaphores are never closed.
        let waiting = match access < Access::Full && work.waits() {
            true => Arc::clone(&self.waiting).acquire_owned().await.ok(),
            false => None,
        };
        let executing = self.executing.acquire(access).await;
        // The permits go along: the work continues for a while if the caller leaves.
        let execute = move || {
            let id = work.id();
            let message = match work {
                Work::One(incoming) => {
                    self.counted(incoming.answer(self.service.as_ref(), &caller))
                }
                Work::Batch(items) => self.batch(items, &caller),
            };
            drop(waiting);
            self.reply(message, id, access, executing)
        };
        // A panic ends the process.
        let executed = tokio::task::spawn_blocking(execute).await;
        executed.unwrap_or(Reply {
            message: None,
            permit: None,
        })
    }

    /// Returns the reply with the permit for its memory. The place of its execution is free from now
    /// on: a client that does not read its replies delays no others.
    fn reply(
        &self,
        message: Option<Vec<u8>>,
        id: Option<CallId>,
        access: Access,
        executing: Option<OwnedSemaphorePermit>,
    ) -> Reply {
        let bytes = message.as_ref().map_or(0, Vec::len);
        if bytes <= LARGE_REPLY_BYTES {
            let permit = None;
            return Reply { message, permit };
        }
        let units = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        if let Some(memory) = self.reply_kib.try_acquire(access, units) {
            let permit = Some(memory);
            return Reply { message, permit };
        }
        if access == Access::Full {
            // It may have changed something, and its caller is trusted.
            let permit = executing;
            return Reply { message, permit };
        }
        count(&self.counters.failed_requests);
        let text = "too many large replies wait to be read by their clients; try again later";
        let error = RpcError::new(ErrorKind::Busy, text);
        let refusal = reply_message(&id.unwrap_or(CallId::NULL), &Err::<(), _>(error));
        Reply {
            message: Some(refusal),
            permit: None,
        }
    }

    /// Executes an array of requests in order; the reply has at most [`MAX_MESSAGE_BYTES`].
    fn batch(&self, items: Vec<Incoming>, caller: &Caller) -> Option<Vec<u8>> {
        let mut reply = Vec::new();
        for incoming in items {
            let id = incoming.id();
            let answer = match caller.is_gone() {
                true => return None,
                false => incoming.answer(self.service.as_ref(), caller),
            };
            let Some(mut message) = self.counted(answer) else {
                continue;
            };
            if reply.len() + message.len() + 2 > MAX_MESSAGE_BYTES {
                let text = format!("the reply is longer than {MAX_MESSAGE_BYTES} bytes");
                let error = RpcError::new(ErrorKind::ReplyTooLong, text);
                message = reply_message(&id.unwrap_or(CallId::NULL), &Err::<(), _>(error));
            }
            reply.push(if reply.is_empty() { b'[' } else { b',' });
            reply.append(&mut message);
        }
        if reply.is_empty() {
            return None;
        }
        reply.push(b']');
        Some(reply)
    }

    /// Executes a metrics request or health check; `None` if too many are in progress, or if it takes
    /// too long.
    pub(super) async fn monitor<T: Send + 'static>(
        &self,
        limit: Duration,
        call: impl FnOnce(&dyn Service) -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.monitoring).try_acquire_owned().ok()?;
        let service = Arc::clone(&self.service);
        let executed = tokio::task::spawn_blocking(move || {
            let result = call(service.as_ref());
            drop(permit);
            result
        });
        tokio::time::timeout(limit, executed).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::chain::TransactionStatusReply;
    use crate::rpc::protocol::{AtomReply, PeerReply};
    use crate::rpc::service::{PartialService, request};
    use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use serde_json::{Value, json};
    use std::time::Instant;
    use tokio::runtime::{Builder, Runtime};
    use tokio::time::{sleep, timeout};

    struct Few;

    impl PartialService for Few {
        fn withdraw(&self, _: request::Withdraw, _: &Caller) -> Result<bool, RpcError> {
            Ok(true)
        }

        fn metrics(&self, _: request::Metrics, _: &Caller) -> Result<String, RpcError> {
            Ok("x".repeat(3 << 20))
        }
    }

    fn executor() -> Executor {
        Executor::new(Arc::new(Few), Arc::default())
    }

    fn answered(executor: &Executor, message: &str, access: Access) -> Option<Value> {
        let caller = Caller::default();
        let message = match Work::read(message.as_bytes(), access) {
            Work::One(incoming) => executor.counted(incoming.answer(&Few, &caller)),
            Work::Batch(items) => executor.batch(items, &caller),
        };
        message.map(|message| serde_json::from_slice(&message).unwrap())
    }

    fn call(id: u64, method: &str, params: &Value) -> Value {
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    #[test]
    fn arrays_are_answered_in_order_without_notifications() {
        let executor = executor();
        let id = json!({"id": "07".repeat(32)});
        let note = json!({"jsonrpc": "2.0", "method": "withdraw", "params": id});
        let array = json!([
            call(1, "withdraw", &id),
            note,
            7,
            call(2, "fly", &json!({}))
        ]);
        let reply = answered(&executor, &array.to_string(), Access::Full).unwrap();
        let reply = reply.as_array().unwrap();
        assert_eq!(reply[0], json!({"jsonrpc": "2.0", "id": 1, "result": true}));
        assert_eq!(
            (&reply[1]["id"], &reply[1]["error"]["code"]),
            (&Value::Null, &json!(-32_600))
        );
        assert_eq!(
            (&reply[2]["id"], &reply[2]["error"]["code"]),
            (&json!(2), &json!(-32_601))
        );
        assert_eq!(reply.len(), 3);
        let counts = executor.counters.counts();
        assert_eq!((counts.requests, counts.failed_requests), (4, 2));
        assert_eq!(
            answered(&executor, &json!([note]).to_string(), Access::Full),
            None
        );
    }

    #[test]
    fn empty_large_and_malformed_arrays_have_one_error() {
        let executor = executor();
        let code = |message: &str| {
            let reply = answered(&executor, message, Access::Full).unwrap();
            reply["error"]["code"].as_i64().unwrap()
        };
        assert_eq!(code("[]"), -32_600);
        assert_eq!(
            code(&format!("[{}]", ["1"; MAX_BATCH + 1].join(","))),
            -32_600
        );
        assert_eq!(code("[1,2"), -32_700);
        assert_eq!(code("[1]]"), -32_700);
        let reply = answered(&executor, " [ [] ]", Access::Full).unwrap();
        assert_eq!(reply[0]["error"]["code"], -32_600);
        assert_eq!(
            reply[0]["error"]["message"],
            "not a request: nested arrays are not supported"
        );
        let most = format!("[{}]", ["1"; MAX_BATCH].join(","));
        let reply = answered(&executor, &most, Access::Full).unwrap();
        assert_eq!(reply.as_array().unwrap().len(), MAX_BATCH);
    }

    #[test]
    fn reply_to_an_array_is_bounded() {
        let executor = executor();
        let long = |id| call(id, "metrics", &json!({}));
        let array = json!([long(1), long(2), long(3)]).to_string();
        let reply = answered(&executor, &array, Access::Read).unwrap();
        let codes = reply.as_array().unwrap().iter();
        let codes: Vec<Option<i64>> = codes.map(|it| it["error"]["code"].as_i64()).collect();
        assert_eq!(codes, [None, Some(-32_002), Some(-32_002)]);
        assert_eq!(reply[2]["id"], 3);
    }

    #[test]
    fn changes_need_the_token() {
        let executor = executor();
        let withdraw = call(1, "withdraw", &json!({"id": "07".repeat(32)})).to_string();
        let reply = answered(&executor, &withdraw, Access::Read).unwrap();
        assert_eq!(reply["error"]["code"], -32_003);
        assert!(
            reply["error"]["message"]
                .as_str()
                .unwrap()
                .contains("withdraw needs the token")
        );
        let reply = answered(&executor, &withdraw, Access::Full).unwrap();
        assert_eq!(reply["result"], true);
        let log = call(1, "subscribe", &json!({"topic": "log"})).to_string();
        let reply = answered(&executor, &log, Access::Read).unwrap();
        assert_eq!(reply["error"]["code"], -32_003);
    }

    /// Service whose calls last until they are released.
    #[derive(Default)]
    struct Slow {
        executing: AtomicUsize,
        is_released: AtomicBool,
    }

    impl Slow {
        fn wait(&self) {
            self.executing.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            // Not longer, so that a failed test ends.
            while !self.is_released.load(Ordering::Relaxed) && began.elapsed().as_secs() < 20 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }

        async fn until_executing(&self, calls: usize) {
            let all = async {
                while self.executing.load(Ordering::Relaxed) < calls {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(10), all).await.unwrap();
        }
    }

    impl PartialService for Slow {
        fn peers(&self, _: request::Peers, _: &Caller) -> Result<Vec<PeerReply>, RpcError> {
            Ok(Vec::new())
        }

        fn get(&self, _: request::Get, _: &Caller) -> Result<AtomReply, RpcError> {
            self.wait();
            Err("released".into())
        }

        fn transaction_status(
            &self,
            _: request::TransactionStatus,
            _: &Caller,
        ) -> Result<TransactionStatusReply, RpcError> {
            self.wait();
            Err("released".into())
        }

        fn metrics(&self, _: request::Metrics, _: &Caller) -> Result<String, RpcError> {
            Ok("x".repeat(3 << 20))
        }
    }

    fn slow() -> (Arc<Slow>, Arc<Executor>, Runtime) {
        let service = Arc::new(Slow::default());
        let of_service: Arc<dyn Service> = Arc::<Slow>::clone(&service);
        let executor = Arc::new(Executor::new(of_service, Arc::default()));
        let runtime = Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(MAX_EXECUTING)
            .build()
            .unwrap();
        (service, executor, runtime)
    }

    async fn run(executor: Arc<Executor>, message: String, access: Access) -> Reply {
        let work = Work::read(message.as_bytes(), access);
        executor.run(work, access, Caller::default()).await
    }

    /// Returns the reply to a request, which must not have to wait for others.
    async fn soon(executor: &Arc<Executor>, method: &str, access: Access) -> (Value, Reply) {
        let running = run(
            Arc::clone(executor),
            call(9, method, &json!({})).to_string(),
            access,
        );
        let reply = timeout(Duration::from_secs(8), running).await;
        let reply = reply.unwrap_or_else(|_| panic!("{method} waits for others"));
        let message = serde_json::from_slice(reply.message.as_ref().unwrap()).unwrap();
        (message, reply)
    }

    #[test]
    fn waits_without_the_token_leave_places_for_other_requests() {
        let (service, executor, runtime) = slow();
        let params = json!({"id": "07".repeat(32), "wait_seconds": 30});
        let wait = call(1, "transaction_status", &params);
        let array = json!([call(2, "peers", &json!({})), wait]);
        runtime.block_on(async {
            let all: Vec<_> = (0..30)
                .map(|number| {
                    let message = if number % 2 == 0 { &wait } else { &array };
                    tokio::spawn(run(
                        Arc::clone(&executor),
                        message.to_string(),
                        Access::Read,
                    ))
                })
                .collect();
            service.until_executing(MAX_WAITING).await;
            for access in [Access::Read, Access::Full] {
                assert_eq!(
                    soon(&executor, "peers", access).await.0["result"],
                    json!([])
                );
            }
            assert_eq!(service.executing.load(Ordering::Relaxed), MAX_WAITING);
            // The token waits whenever it wants.
            let of_token = tokio::spawn(run(Arc::clone(&executor), wait.to_string(), Access::Full));
            service.until_executing(MAX_WAITING + 1).await;
            service.is_released.store(true, Ordering::Relaxed);
            for running in all.into_iter().chain([of_token]) {
                assert!(running.await.unwrap().message.is_some());
            }
        });
    }

    #[test]
    fn callers_without_the_token_leave_places_for_the_token() {
        let (service, executor, runtime) = slow();
        let get = call(1, "get", &json!({"id": "07".repeat(32)})).to_string();
        runtime.block_on(async {
            let all: Vec<_> = (0..MAX_EXECUTING * 2)
                .map(|_| tokio::spawn(run(Arc::clone(&executor), get.clone(), Access::Read)))
                .collect();
            service
                .until_executing(MAX_EXECUTING - RESERVED_EXECUTING)
                .await;
            let (peers, _) = soon(&executor, "peers", Access::Full).await;
            assert_eq!(peers["result"], json!([]));
            service.is_released.store(true, Ordering::Relaxed);
            for running in all {
                running.await.unwrap();
            }
        });
    }

    #[test]
    fn replies_that_wait_to_be_sent_are_bounded_and_occupy_no_place() {
        let (_, executor, runtime) = slow();
        runtime.block_on(async {
            let mut unread = Vec::new();
            let mut refused = None;
            for _ in 0..MAX_EXECUTING * 2 {
                let (message, reply) = soon(&executor, "metrics", Access::Read).await;
                if message["error"].is_object() {
                    refused = Some(message);
                    break;
                }
                unread.push(reply);
            }
            let refused = refused.expect("the memory of replies is bounded");
            assert_eq!(
                (&refused["id"], &refused["error"]["code"]),
                (&json!(9), &json!(-32_001))
            );
            let bytes = unread.len() * (3 << 20);
            assert!(
                bytes <= (MAX_REPLY_KIB - RESERVED_REPLY_KIB) << 10,
                "{bytes}"
            );
            for access in [Access::Read, Access::Full] {
                assert_eq!(
                    soon(&executor, "peers", access).await.0["result"],
                    json!([])
                );
            }
            assert!(soon(&executor, "metrics", Access::Full).await.0["result"].is_string());
            // A reply that is sent makes room.
            unread.pop();
            assert!(soon(&executor, "metrics", Access::Read).await.0["result"].is_string());
        });
    }
}
