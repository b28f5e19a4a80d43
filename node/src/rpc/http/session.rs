//! WebSocket of one client: a message is a request or an array of requests, and replies come in the
//! order in which they are ready.
//!
//! Requests that nothing can delay are answered at once, and their replies are written together if
//! more requests are waiting.

use super::answer::{Reply, Work};
use super::connections::Place;
use super::hub::{Event, Hub, Queue, Wanted, queue};
use super::shared::Shared;
use super::token::Token;
use super::{
    LARGE_REPLY_BYTES, MAX_EXECUTING_OF_ONE, MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES, MAX_REQUEST_BYTES,
    MAX_SUBSCRIPTIONS, PING_INTERVAL, SILENCE_TIMEOUT,
};
use crate::rpc::access::Access;
use crate::rpc::caller::Caller;
use crate::rpc::error::{ErrorKind, RpcError};
use crate::rpc::subscription::{NOTIFICATION, Session};
use crate::rpc::text::{LogLevel, Topic};
use astreum_core::atom::AtomId;
use core::fmt;
use core::future::ready;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use futures_util::{SinkExt as _, StreamExt as _};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_websockets::{CloseCode, Error, Limits, Message, ServerBuilder, WebSocketStream};

/// Maximum time for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Session as its requests see it.
struct Handle {
    hub: Arc<Hub>,
    queue: Queue,
    token: Token,
    is_authenticated: AtomicBool,
    /// Says so to the place of the connection.
    has_token: Arc<AtomicBool>,
    subscriptions: AtomicUsize,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    fn access(&self) -> Access {
        match self.is_authenticated.load(Ordering::Relaxed) {
            true => Access::Full,
            false => Access::Read,
        }
    }

    fn has_subscriptions(&self) -> bool {
        self.subscriptions.load(Ordering::Relaxed) > 0
    }

    fn forget_one(&self) {
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Session for Handle {
    fn subscribe(
        &self,
        topic: Topic,
        id: Option<AtomId>,
        level: Option<LogLevel>,
    ) -> Result<u64, RpcError> {
        let invalid = |reason: &str| {
            let message = format!("invalid params of subscribe: {reason}");
            RpcError::new(ErrorKind::InvalidParams, message)
        };
        let wanted = match (topic, id, level) {
            (Topic::Heads, None, None) => Wanted::Heads,
            (Topic::Reorganizations, None, None) => Wanted::Reorganizations,
            (Topic::Transaction, Some(id), None) => Wanted::Transaction { id, passed: None },
            (Topic::Transaction, None, _) => return Err(invalid("transaction needs an id")),
            (Topic::Log, None, level) => Wanted::Log(level.unwrap_or(LogLevel::Info)),
            _ => return Err(invalid("id is for transaction, level is for log")),
        };
        if self.subscriptions.load(Ordering::Relaxed) >= MAX_SUBSCRIPTIONS {
            let message = format!("more than {MAX_SUBSCRIPTIONS} subscriptions of one connection");
            return Err(RpcError::new(ErrorKind::Busy, message));
        }
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
        Ok(self.hub.add(&self.queue, wanted))
    }

    fn unsubscribe(&self, subscription: u64) -> bool {
        let was_one = self.hub.remove(&self.queue, subscription);
        if was_one {
            self.forget_one();
        }
        was_one
    }

    fn authenticate(&self, token: &str) -> Result<(), RpcError> {
        if !self.token.is(token) {
            let message = "the token is wrong: the file of rpc_token_file has the right one";
            return Err(RpcError::new(ErrorKind::Unauthorized, message));
        }
        self.is_authenticated.store(true, Ordering::Relaxed);
        self.has_token.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Ends the subscriptions of a session, however it ends.
struct Ending(Arc<Handle>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.hub.remove_all(&self.0.queue);
    }
}

/// Executed request.
struct Executed {
    request_bytes: usize,
    /// True if it may have started subscriptions.
    subscribes: bool,
    reply: Reply,
    /// Place among those of the connection, kept until the reply is sent.
    permit: Option<OwnedSemaphorePermit>,
}

/// Next step of a session.
enum Next {
    Close,
    Done(Result<Executed, JoinError>),
    Event(Event),
    Message(Option<Result<Message, Error>>),
    Tick,
    Flush,
}

/// Serves a WebSocket after its handshake, until either side closes it.
pub(super) async fn serve<S>(stream: S, shared: Arc<Shared>, place: Arc<Place>, access: Access)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (queue, mut notifications) = queue();
    let handle = Arc::new(Handle {
        hub: Arc::clone(&shared.hub),
        queue,
        token: shared.guard.token.clone(),
        is_authenticated: AtomicBool::new(access == Access::Full),
        has_token: place.token_flag(),
        subscriptions: AtomicUsize::new(0),
    });
    let _ending = Ending(Arc::clone(&handle));
    let session = Arc::clone(&handle);
    let caller = Caller::with_session(place.gone(), session);
    let limits = Limits::default().max_payload_len(Some(MAX_REQUEST_BYTES));
    let mut socket = ServerBuilder::new().limits(limits).serve(stream);
    let executing = Arc::new(Semaphore::new(MAX_EXECUTING_OF_ONE));
    let mut running = JoinSet::new();
    let mut running_bytes = 0;
    // Arrays in progress that may start subscriptions: their replies come before the notifications.
    let mut subscribing = 0_usize;
    let mut ticks = interval(PING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut needs_flush = false;
    loop {
        place.set_busy(!running.is_empty() || handle.has_subscriptions());
        let may_read = running.len() < MAX_IN_FLIGHT && running_bytes < MAX_IN_FLIGHT_BYTES;
        let next = tokio::select! {
            biased;
            () = place.closing() => Next::Close,
            Some(done) = running.join_next() => Next::Done(done),
            Some(event) = notifications.next(), if subscribing == 0 => Next::Event(event),
            message = socket.next(), if may_read => Next::Message(message),
            _ = ticks.tick() => Next::Tick,
            // Only if nothing else is ready.
            () = ready(()), if needs_flush => Next::Flush,
        };
        let sent = match next {
            Next::Close => {
                let farewell = Message::close(Some(CloseCode::GOING_AWAY), "");
                let _ = timeout(CLOSE_TIMEOUT, socket.send(farewell)).await;
                return;
            }
            Next::Done(Ok(executed)) => {
                running_bytes -= executed.request_bytes;
                subscribing -= usize::from(executed.subscribes);
                needs_flush = true;
                let sent = feed(&mut socket, executed.reply).await;
                drop(executed.permit);
                sent
            }
            // A panic ends the process.
            Next::Done(Err(_)) => return,
            Next::Event(event) => {
                if let Event::Dropped(_) = event {
                    handle.forget_one();
                }
                needs_flush = true;
                socket.feed(Message::text(notification(&event))).await
            }
            Next::Message(None | Some(Err(_))) => {
                // The reason of an error is sent with the closing frame.
                let _ = timeout(CLOSE_TIMEOUT, socket.close()).await;
                return;
            }
            Next::Message(Some(Ok(message))) => {
                heard = Instant::now();
                // Not idle, however quickly it is answered.
                place.set_busy(true);
                if message.is_text() || message.is_binary() {
                    let message = message.into_payload();
                    let access = handle.access();
                    let work = Work::read(&message, access);
                    match shared.executor.at_once(work, &caller) {
                        Ok(reply) => {
                            needs_flush = true;
                            feed(&mut socket, reply).await
                        }
                        Err(work) => {
                            let request_bytes = message.len();
                            running_bytes += request_bytes;
                            let subscribes = work.subscribes();
                            subscribing += usize::from(subscribes);
                            let (executor, caller) = (Arc::clone(&shared.executor), caller.clone());
                            let executing = Arc::clone(&executing);
                            running.spawn(async move {
                                // The semaphore is never closed.
                                let permit = executing.acquire_owned().await.ok();
                                Executed {
                                    request_bytes,
                                    subscribes,
                                    reply: executor.run(work, access, caller).await,
                                    permit,
                                }
                            });
                            Ok(())
                        }
                    }
                } else {
                    // Otherwise answers to pings that are not read would pile up.
                    socket.flush().await
                }
            }
            Next::Tick if heard.elapsed() >= SILENCE_TIMEOUT => return,
            Next::Tick if heard.elapsed() >= PING_INTERVAL => {
                socket.send(Message::ping(&b""[..])).await
            }
            Next::Tick => Ok(()),
            Next::Flush => {
                needs_flush = false;
                socket.flush().await
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Writes a reply, if one is due, into the buffer of the socket.
async fn feed<S>(socket: &mut WebSocketStream<S>, reply: Reply) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (message, permit) = reply.into_parts();
    let Some(message) = message else {
        return Ok(());
    };
    let is_large = message.len() > LARGE_REPLY_BYTES;
    socket.feed(Message::text(message)).await?;
    if is_large {
        // Its permit is for memory.
        socket.flush().await?;
    }
    drop(permit);
    Ok(())
}

/// Returns the message of an event.
fn notification(event: &Event) -> String {
    match event {
        Event::Result(subscription, json) => format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"{NOTIFICATION}\",\"params\":\
             {{\"subscription\":{subscription},\"result\":{json}}}}}"
        ),
        Event::Dropped(subscription) => {
            let code = ErrorKind::Dropped.code();
            format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"{NOTIFICATION}\",\"params\":\
                 {{\"subscription\":{subscription},\"error\":{{\"code\":{code},\"message\":\
                 \"the subscription has ended: its notifications were not read fast enough\"}}}}}}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn notifications_are_json_rpc_messages() {
        let result = notification(&Event::Result(3, "{\"height\":7}".into()));
        let result: Value = serde_json::from_str(&result).unwrap();
        assert_eq!(
            (&result["jsonrpc"], &result["method"]),
            (&"2.0".into(), &NOTIFICATION.into())
        );
        assert_eq!(result["params"]["subscription"], 3);
        assert_eq!(result["params"]["result"]["height"], 7);
        let dropped: Value = serde_json::from_str(&notification(&Event::Dropped(3))).unwrap();
        assert_eq!(dropped["params"]["error"]["code"], -32_004);
    }
}
