//! Listener and thread of the server.

use super::answer::Executor;
use super::connections::{Connections, Place};
use super::counters::HttpCounters;
use super::explorer;
use super::guard::Guard;
use super::hub::{self, Hub};
use super::routes;
use super::shared::Shared;
use super::stall::Stall;
use super::token::Token;
use super::{HEADER_TIMEOUT, MAX_EXECUTING, MAX_HEADER_BYTES, MONITORING};
use crate::rpc::service::Service;
use crate::rpc::subscription::{EventSource, Observer};
use core::convert::Infallible;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// Pause after a connection that could not be accepted.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Maximum time that a stop waits for connections, and for requests that are executed.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that threads for requests stay without work.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Answer to a connection for which there is no room.
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 30\r\nContent-Type: \
text/plain\r\nConnection: close\r\n\r\ntoo many connections are open\n";

/// Options of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpOptions {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Names that requests may have as their host, beside `localhost` and IP addresses.
    pub hosts: Vec<String>,
    /// Origins of pages that may send requests.
    pub origins: Vec<String>,
    /// File of the token that permits everything; created if it does not exist.
    pub token_file: PathBuf,
    /// Maximum number of open connections.
    pub max_connections: usize,
    /// True to serve the explorer.
    pub explorer: bool,
}

/// Reason the server does not start.
#[derive(Debug)]
pub enum HttpError {
    /// The address could not be bound.
    Bind {
        /// Address.
        address: SocketAddr,
        /// Error of the system.
        error: io::Error,
    },
    /// The token file cannot be used.
    Token {
        /// Path of the file.
        path: PathBuf,
        /// Reason and advice.
        problem: String,
    },
    /// The system refuses a thread or its resources.
    Thread(io::Error),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } => write!(
                f,
                "cannot listen for RPC at {address}: {error}; set another rpc_listen"
            ),
            Self::Token { path, problem } => write!(f, "token file {}: {problem}", path.display()),
            Self::Thread(error) => write!(f, "cannot start the thread of RPC: {error}"),
        }
    }
}

impl core::error::Error for HttpError {}

/// Running server. Dropping it closes its connections.
pub struct HttpServer {
    address: SocketAddr,
    connections: Arc<Connections>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Binds the address, and answers requests with `service` on a thread of its own.
    ///
    /// # Errors
    /// Fails if the address or the token file cannot be used, or if the system refuses a thread.
    pub fn start(
        options: &HttpOptions,
        service: Arc<dyn Service>,
        events: Arc<dyn EventSource>,
        counters: Arc<HttpCounters>,
    ) -> Result<Self, HttpError> {
        let token = Token::read_or_create(&options.token_file);
        let token = token.map_err(|problem| HttpError::Token {
            path: options.token_file.clone(),
            problem,
        })?;
        let failed = |error| HttpError::Bind {
            address: options.listen,
            error,
        };
        let listener = std::net::TcpListener::bind(options.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(MAX_EXECUTING + MONITORING + hub::THREADS)
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name("rpc-request")
            .build()
            .map_err(HttpError::Thread)?;
        let explorer = options.explorer.then(explorer::headers).transpose();
        let explorer = explorer.map_err(|error| HttpError::Thread(io::Error::other(error)))?;
        let max_connections = options.max_connections;
        let connections = Connections::new(max_connections, Arc::clone(&counters));
        let connections = Arc::new(connections);
        let shared = Arc::new(Shared {
            executor: Arc::new(Executor::new(service, Arc::clone(&counters))),
            hub: Arc::new(Hub::new(Arc::clone(&counters))),
            guard: Guard {
                hosts: options.hosts.clone(),
                origins: options.origins.clone(),
                token,
            },
            connections: Arc::clone(&connections),
            counters,
            explorer,
        });
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("rpc".to_owned())
            .spawn(move || run(runtime, listener, shared, events, &stopped))
            .map_err(HttpError::Thread)?;
        Ok(Self {
            address,
            connections,
            stop,
            thread: Some(thread),
        })
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all waits and computations of current and future requests.
    pub fn interrupt(&self) {
        self.connections.interrupt();
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.connections.interrupt();
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    runtime: Runtime,
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    events: Arc<dyn EventSource>,
    stop: &Notify,
) {
    let observer: Arc<dyn Observer> = Arc::<Hub>::clone(&shared.hub);
    let observed = events.observe(observer);
    runtime.block_on(async {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return log::error!("cannot listen for RPC: {error}"),
        };
        let service = Arc::clone(&shared.executor.service);
        tokio::spawn(Arc::clone(&shared.hub).follow(service, events));
        tokio::select! {
            () = stop.notified() => {}
            () = accept(&listener, &shared) => {}
        }
        drop(listener);
        shared.connections.close();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while !shared.connections.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    drop(observed);
    runtime.shutdown_timeout(STOP_TIMEOUT);
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match shared.connections.admit() {
                Some(place) => {
                    tokio::spawn(serve(stream, Arc::clone(shared), place));
                }
                // Written into the buffer of the system, or not at all.
                None => drop(stream.try_write(NO_ROOM)),
            },
            Err(error) => {
                if let Some(more) = crate::log::limited("RPC connection") {
                    log::warn!("cannot accept a connection for RPC: {error}{more}");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Serves a connection until either side closes it, or it becomes a WebSocket.
async fn serve(stream: TcpStream, shared: Arc<Shared>, place: Arc<Place>) {
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(Stall::new(stream));
    let service = {
        let place = Arc::clone(&place);
        service_fn(move |request| {
            let (shared, place) = (Arc::clone(&shared), Arc::clone(&place));
            async move { Ok::<_, Infallible>(routes::handle(&shared, &place, request).await) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(stream, service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // An error is of the client.
        _ = &mut connection => {}
        () = place.closing() => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(STOP_TIMEOUT, connection).await;
        }
    }
}
