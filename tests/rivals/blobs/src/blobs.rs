//! Transfer of a blob between memory stores of two processes, on loopback addresses only, without
//! relays and address lookup.

use super::{Figures, MEGABYTES, ROUNDS};
use core::net::Ipv4Addr;
use iroh::endpoint::presets::Minimal;
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, RelayMode};
use iroh_blobs::store::mem::MemStore;
use iroh_blobs::{ALPN, BlobsProtocol, Hash};
use rustix::time::{ClockId, clock_gettime};
use std::io::{BufRead as _, BufReader, Lines, Write as _, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;
use tokio::runtime::Runtime;

const BYTES: usize = MEGABYTES * 1_000_000;
const SEED: u64 = 15;

/// Fetches the blob once a round from a process of its own, over the same connection into a new
/// store.
pub(super) fn measure() -> Figures {
    let mut server = Server::start();
    let (address, hash) = server.blob();
    let expected = data();
    let runtime = runtime();
    let (endpoint, connection) = runtime.block_on(async {
        let endpoint = endpoint().await;
        let connection = endpoint.connect(address, ALPN).await;
        (endpoint, connection.expect("a connection"))
    });
    let mut best = Figures {
        rate: 0.0,
        per_byte: f64::INFINITY,
    };
    for _ in 0..ROUNDS {
        let store = runtime.block_on(async { MemStore::new() });
        let used = used() + server.used();
        let started = Instant::now();
        let fetched = runtime.block_on(async {
            let fetch = store.remote().fetch(connection.clone(), hash);
            fetch.complete().await
        });
        let took = started.elapsed();
        let used = self::used() + server.used() - used;
        // What is written to memory stores was verified before.
        fetched.expect("the blob");
        let bytes = runtime.block_on(async { store.blobs().get_bytes(hash).await });
        assert!(bytes.expect("the bytes") == expected, "the bytes differ");
        let rate = BYTES as f64 / 1e6 / took.as_secs_f64();
        let per_byte = used * 1e9 / BYTES as f64;
        eprintln!("iroh-blobs: {rate:.1} MB/s, {per_byte:.2} ns/byte");
        best.rate = best.rate.max(rate);
        best.per_byte = best.per_byte.min(per_byte);
    }
    runtime.block_on(endpoint.close());
    server.stop();
    best
}

/// Serves the blob until the standard input ends. Prints the id and port of the endpoint and the
/// hash; then, for each line of input, the processor time used.
pub(super) fn serve() {
    runtime().block_on(async {
        let store = MemStore::new();
        let tag = store.blobs().add_bytes(data()).temp_tag().await;
        let tag = tag.expect("a blob in the store");
        let endpoint = endpoint().await;
        let port = endpoint.bound_sockets().first().expect("a socket").port();
        println!("{} {port} {}", endpoint.id(), tag.hash());
        let router = Router::builder(endpoint)
            .accept(ALPN, BlobsProtocol::new(&store, None))
            .spawn();
        let answers = tokio::task::spawn_blocking(|| {
            for _ in stdin().lines() {
                println!("{}", used());
                stdout().flush().expect("an open pipe");
            }
        });
        answers.await.expect("no panic");
        router.shutdown().await.expect("an end");
    });
}

/// Process that serves the blob.
struct Server {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Server {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().expect("a program"))
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        Self {
            process,
            input,
            output,
        }
    }

    fn line(&mut self) -> String {
        let line = self.output.next().expect("a running server");
        line.expect("a line")
    }

    fn blob(&mut self) -> (EndpointAddr, Hash) {
        let line = self.line();
        let words: Vec<&str> = line.split(' ').collect();
        let [id, port, hash] = words[..] else {
            panic!("unexpected greeting: {line}");
        };
        let port: u16 = port.parse().expect("a port");
        let address = EndpointAddr::new(id.parse().expect("an id"));
        let address = address.with_ip_addr((Ipv4Addr::LOCALHOST, port).into());
        (address, hash.parse().expect("a hash"))
    }

    /// Returns the processor time that the server has used, in seconds.
    fn used(&mut self) -> f64 {
        writeln!(self.input).expect("a running server");
        self.line().parse().expect("a number")
    }

    fn stop(mut self) {
        drop(self.input);
        self.process.wait().expect("an end");
    }
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().build().expect("a runtime")
}

async fn endpoint() -> Endpoint {
    let builder = Endpoint::builder(Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))
        .expect("a valid address");
    builder.bind().await.expect("an endpoint")
}

/// Returns the processor time of all threads of this process, user and system, in seconds.
fn used() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Returns pseudo-random bytes, the same in each process (splitmix64).
fn data() -> Vec<u8> {
    let mut state = SEED;
    let words = (0..BYTES / 8).flat_map(|_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)).to_le_bytes()
    });
    words.collect()
}
