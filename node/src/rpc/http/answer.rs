//! Execution of requests: at once if nothing can delay it, else on another thread.

use super::counters::{HttpCounters, count};
use super::{MAX_BATCH, MAX_EXECUTING, MONITORING};
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
            items.push(Incoming::parse(item.get().as_bytes()));
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

/// Executor of requests.
pub(super) struct Executor {
    pub(super) service: Arc<dyn Service>,
    pub(super) counters: Arc<HttpCounters>,
    executing: Arc<Semaphore>,
    monitoring: Arc<Semaphore>,
}

impl Executor {
    pub(super) fn new(service: Arc<dyn Service>, counters: Arc<HttpCounters>) -> Self {
        Self {
            service,
            counters,
            executing: Arc::new(Semaphore::new(MAX_EXECUTING)),
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
    pub(super) async fn run(self: Arc<Self>, work: Work, caller: Caller) -> Reply {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.executing).acquire_owned().await.ok();
        // The permit goes along: the work goes on for a while if the caller leaves.
        let execute = move || {
            let message = match work {
                Work::One(incoming) => {
                    self.counted(incoming.answer(self.service.as_ref(), &caller))
                }
                Work::Batch(items) => self.batch(items, &caller),
            };
            Reply { message, permit }
        };
        // A panic ends the process.
        let executed = tokio::task::spawn_blocking(execute).await;
        executed.unwrap_or(Reply {
            message: None,
            permit: None,
        })
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
    use crate::rpc::service::{PartialService, request};
    use serde_json::{Value, json};

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
}
