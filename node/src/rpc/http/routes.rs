//! Requests over HTTP: JSON-RPC at `/`, also as a WebSocket, `/metrics`, `/health` and `/ready`, and
//! `/explorer` if it is switched on.

use super::answer::Work;
use super::connections::Place;
use super::counters::count;
use super::explorer;
use super::guard::Admitted;
use super::handshake;
use super::session;
use super::shared::Shared;
use super::{BODY_TIMEOUT, MAX_REQUEST_BYTES, MONITORING_TIMEOUT};
use crate::rpc::access::Access;
use crate::rpc::caller::Caller;
use crate::rpc::error::RpcError;
use crate::rpc::protocol::StatusReply;
use crate::rpc::service::request;
use bytes::Bytes;
use core::sync::atomic::Ordering;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue,
    SEC_WEBSOCKET_ACCEPT, UPGRADE, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::sync::Arc;

pub(super) type Reply = Response<Full<Bytes>>;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
/// Default limits of `/ready`, those of `astreum status --check`.
const MAX_HEAD_AGE_SECONDS: u64 = 300;
const MIN_PEERS: u64 = 1;

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

fn refusal(status: StatusCode, reason: &'static str) -> Reply {
    reply(status, TEXT, reason)
}

fn not_allowed(allowed: &'static str) -> Reply {
    let mut reply = refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        "the method is not allowed here\n",
    );
    let headers = reply.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

/// States for a while that a connection is in use.
struct Busy<'p>(&'p Place);

impl<'p> Busy<'p> {
    fn new(place: &'p Place) -> Self {
        place.set_busy(true);
        Self(place)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set_busy(false);
    }
}

/// Answers a request.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    place: &Arc<Place>,
    request: Request<Incoming>,
) -> Reply {
    let _busy = Busy::new(place);
    let admitted = match shared.guard.admit(&request) {
        Ok(admitted) => admitted,
        Err(rejection) => {
            count(&shared.counters.rejected_requests);
            let mut reply = refusal(rejection.status, rejection.reason);
            if rejection.status == StatusCode::UNAUTHORIZED {
                let scheme = HeaderValue::from_static("Bearer");
                reply.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            allow_origin(&mut reply, rejection.origin);
            return reply;
        }
    };
    let Admitted { access, origin } = admitted;
    if access == Access::Full {
        place.token_flag().store(true, Ordering::Relaxed);
    }
    let is_preflight = request.method() == Method::OPTIONS;
    let mut reply = match is_preflight {
        true => preflight(origin.is_some()),
        false => dispatch(shared, place, request, access).await,
    };
    allow_origin(&mut reply, origin);
    reply
}

/// Lets a page of this origin read a reply.
fn allow_origin(reply: &mut Reply, origin: Option<String>) {
    if let Some(origin) = origin.and_then(|origin| HeaderValue::from_str(&origin).ok()) {
        let headers = reply.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("origin"));
    }
}

/// Answers the question of a browser whether a page may send a request.
fn preflight(is_listed: bool) -> Reply {
    if !is_listed {
        return not_allowed("GET, HEAD, POST");
    }
    let mut reply = reply(StatusCode::NO_CONTENT, TEXT, "");
    let headers = reply.headers_mut();
    headers.remove(CONTENT_TYPE);
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    reply
}

async fn dispatch(
    shared: &Arc<Shared>,
    place: &Arc<Place>,
    request: Request<Incoming>,
    access: Access,
) -> Reply {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/" if handshake::is_wanted(request.headers()) => upgrade(shared, place, request, access),
        "/" if request.method() == Method::POST => rpc(shared, place, request, access).await,
        "/" if is_read => reply(StatusCode::OK, TEXT, hello(shared)),
        "/" => not_allowed("GET, HEAD, POST"),
        "/metrics" | "/health" | "/ready" if !is_read => not_allowed("GET, HEAD"),
        "/metrics" => metrics(shared).await,
        "/health" => health(shared).await,
        "/ready" => ready(shared, request.uri().query().unwrap_or_default()).await,
        explorer::PATH if shared.explorer.is_some() && !is_read => not_allowed("GET, HEAD"),
        explorer::PATH if shared.explorer.is_some() => page(shared),
        explorer::PATH => refusal(
            StatusCode::NOT_FOUND,
            "the explorer is off: set explorer = true and restart the node\n",
        ),
        _ => reply(
            StatusCode::NOT_FOUND,
            TEXT,
            format!("no such path; there are /, {}\n", pages(shared)),
        ),
    }
}

/// Returns the paths besides `/`.
const fn pages(shared: &Shared) -> &'static str {
    if shared.explorer.is_some() {
        "/metrics, /health, /ready and /explorer"
    } else {
        "/metrics, /health and /ready"
    }
}

fn hello(shared: &Shared) -> String {
    let pages = pages(shared);
    format!("Astreum node: JSON-RPC 2.0 by POST or WebSocket at /; {pages} by GET\n")
}

fn page(shared: &Shared) -> Reply {
    let mut reply = reply(StatusCode::OK, HTML, explorer::PAGE);
    reply
        .headers_mut()
        .extend(shared.explorer.clone().unwrap_or_default());
    reply
}

fn upgrade(
    shared: &Arc<Shared>,
    place: &Arc<Place>,
    mut request: Request<Incoming>,
    access: Access,
) -> Reply {
    if request.method() != Method::GET {
        return not_allowed("GET");
    }
    let accept = match handshake::accept(request.headers()) {
        Ok(accept) => accept,
        Err(reason) => return refusal(StatusCode::BAD_REQUEST, reason),
    };
    let Ok(accept) = HeaderValue::from_str(&accept) else {
        return refusal(StatusCode::BAD_REQUEST, "malformed Sec-WebSocket-Key\n");
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let (shared, place) = (Arc::clone(shared), Arc::clone(place));
    tokio::spawn(async move {
        // Fails if the client goes away before.
        if let Ok(upgraded) = upgraded.await {
            let session =
                session::serve(TokioIo::new(upgraded), shared, Arc::clone(&place), access);
            tokio::select! {
                () = session => {}
                () = place.overdue() => {}
            }
        }
    });
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    reply
}

/// Returns whether the body is JSON. A page of another site cannot send that without asking first.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(JSON))
}

async fn rpc(
    shared: &Arc<Shared>,
    place: &Place,
    request: Request<Incoming>,
    access: Access,
) -> Reply {
    if !is_json(request.headers()) {
        let reason = "expected `Content-Type: application/json`\n";
        return refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
    }
    let body = match read(request.into_body()).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let caller = Caller::new(place.gone());
    let work = Work::read(&body, access);
    drop(body);
    let answer = match shared.executor.at_once(work, &caller) {
        Ok(answer) => answer,
        Err(work) => Arc::clone(&shared.executor).run(work, access, caller).await,
    };
    match answer.into_body() {
        Some(body) => reply(StatusCode::OK, JSON, body),
        None => {
            let mut reply = reply(StatusCode::NO_CONTENT, JSON, "");
            reply.headers_mut().remove(CONTENT_TYPE);
            reply
        }
    }
}

async fn read(body: Incoming) -> Result<Bytes, Reply> {
    let too_large = || {
        let reason = "the request is larger than 1 MiB\n";
        refusal(StatusCode::PAYLOAD_TOO_LARGE, reason)
    };
    if body.size_hint().lower() > MAX_REQUEST_BYTES as u64 {
        return Err(too_large());
    }
    let collected = Limited::new(body, MAX_REQUEST_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(refusal(StatusCode::BAD_REQUEST, "the body is incomplete\n")),
        Err(_) => {
            let reason = "the body did not arrive in time\n";
            Err(refusal(StatusCode::REQUEST_TIMEOUT, reason))
        }
    }
}

fn busy() -> Reply {
    refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "too many of these requests are in progress, or the node does not answer in time\n",
    )
}

async fn metrics(shared: &Shared) -> Reply {
    let params = request::Metrics {};
    let text = shared.executor.monitor(MONITORING_TIMEOUT, move |service| {
        service.metrics(params, &Caller::default())
    });
    match text.await {
        Some(Ok(text)) => reply(StatusCode::OK, METRICS, text),
        Some(Err(error)) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.message),
        None => busy(),
    }
}

async fn status(shared: &Shared) -> Option<Result<StatusReply, RpcError>> {
    let executor = &shared.executor;
    let status = executor.monitor(MONITORING_TIMEOUT, |service| {
        service.status(request::Status {}, &Caller::default())
    });
    status.await
}

fn verdict(reasons: &[String]) -> Reply {
    let status = match reasons {
        [] => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({"ok": reasons.is_empty(), "reasons": reasons});
    reply(status, JSON, body.to_string())
}

async fn health(shared: &Shared) -> Reply {
    match status(shared).await {
        Some(Ok(_)) => verdict(&[]),
        Some(Err(error)) => verdict(&[error.message]),
        None => verdict(&["the node does not answer in time".to_owned()]),
    }
}

async fn ready(shared: &Shared, query: &str) -> Reply {
    let (mut max_head_age, mut min_peers) = (MAX_HEAD_AGE_SECONDS, MIN_PEERS);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match (name, value.parse()) {
            ("max_head_age", Ok(value)) => max_head_age = value,
            ("min_peers", Ok(value)) => min_peers = value,
            _ => {
                let reason = "expected max_head_age=SECONDS and min_peers=COUNT\n";
                return refusal(StatusCode::BAD_REQUEST, reason);
            }
        }
    }
    match status(shared).await {
        Some(Ok(status)) => verdict(&status.findings(max_head_age, min_peers)),
        Some(Err(error)) => verdict(&[error.message]),
        None => verdict(&["the node does not answer in time".to_owned()]),
    }
}
