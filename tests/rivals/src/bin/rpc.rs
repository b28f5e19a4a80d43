//! Small reads over one WebSocket with 64 in flight: the node's RPC beside a bare echo of jsonrpsee,
//! each on a thread of its own, with the same client.
//!
//! The exit code is 1 if the node has less than 60 % of the echo's rate, or less than 20,000/s.

use astreum_core::atom::Atom;
use astreum_node::rpc::{
    AtomReply, Caller, EventSource, HeadReply, HttpOptions, HttpServer, Observer, PartialService,
    ReorganizationReply, RpcError, request,
};
use astreum_node::store::Store;
use astreum_tests::testkit::http::{WebSocket, call};
use core::net::{Ipv4Addr, SocketAddr};
use jsonrpsee::RpcModule;
use jsonrpsee::server::ServerBuilder;
use serde_json::json;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;

const IN_FLIGHT: usize = 64;
const REQUESTS: usize = 100_000;
const ROUNDS: usize = 5;
/// Least share of the echo's rate, and least rate per second.
const BARS: (f64, f64) = (0.6, 20_000.0);

/// The part of a node that answers reads from memory.
struct Reads(Store);

impl PartialService for Reads {
    fn is_quick(&self, request: &astreum_node::rpc::Request) -> bool {
        matches!(request, astreum_node::rpc::Request::Get(get) if self.0.is_in_memory(&get.id))
    }

    fn get(&self, params: request::Get, _: &Caller) -> Result<AtomReply, RpcError> {
        let atom = self.0.get(&params.id);
        let atom = atom.ok_or_else(|| RpcError::missing(&params.id))?;
        Ok(AtomReply::from(&atom))
    }
}

struct NoEvents;

impl EventSource for NoEvents {
    fn observe(&self, _: Arc<dyn Observer>) -> Box<dyn Send> {
        Box::new(())
    }

    fn reorganization(&self, _: &HeadReply, _: &HeadReply) -> Option<ReorganizationReply> {
        None
    }
}

/// Starts an echo server of jsonrpsee on a thread of its own.
fn start_echo() -> SocketAddr {
    let (sender, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let server = ServerBuilder::default()
                .build((Ipv4Addr::LOCALHOST, 0))
                .await;
            let server = server.expect("a server");
            let mut module = RpcModule::new(());
            module
                .register_method("echo", |params, (), _| {
                    params.parse::<serde_json::Value>().unwrap_or_default()
                })
                .expect("a method");
            sender
                .send(server.local_addr().expect("an address"))
                .expect("a receiver");
            server.start(module).stopped().await;
        });
    });
    address.recv().expect("an address")
}

fn rate(address: SocketAddr, message: &str) -> f64 {
    let frame = WebSocket::frame(1, message.as_bytes());
    let mut socket = WebSocket::open(address, &[]).expect("a WebSocket");
    socket
        .pipeline(&frame, IN_FLIGHT, REQUESTS / 10)
        .expect("replies");
    let time = socket
        .pipeline(&frame, IN_FLIGHT, REQUESTS)
        .expect("replies");
    REQUESTS as f64 / time.as_secs_f64()
}

fn main() -> ExitCode {
    let store = Store::new(64 << 20);
    let atom = Atom::bytes(vec![7; 100]);
    let id = atom.id().to_string();
    store.put(atom).expect("room");
    let token_file = std::env::temp_dir().join(format!("astreum-rpc-{}", std::process::id()));
    let options = HttpOptions {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        hosts: Vec::new(),
        origins: Vec::new(),
        token_file: token_file.clone(),
        explorer: false,
        max_connections: 4,
    };
    let service = Arc::new(Reads(store));
    let server = HttpServer::start(&options, service, Arc::new(NoEvents), Arc::default());
    let server = server.expect("a server");
    let _ = std::fs::remove_file(token_file);
    let get = call(1, "get", &json!({"id": id}));
    // As long as the reply to `get`.
    let echo = call(
        1,
        "echo",
        &json!({"id": id, "data": "07".repeat(100), "next": id}),
    );
    let echo_address = start_echo();
    let (mut ours, mut theirs) = (0_f64, 0_f64);
    for _ in 0..ROUNDS {
        ours = ours.max(rate(server.address(), &get));
        theirs = theirs.max(rate(echo_address, &echo));
    }
    let share = ours / theirs;
    println!("get over the node's RPC   {ours:>9.0}/s");
    println!("echo of jsonrpsee         {theirs:>9.0}/s");
    println!("share                     {:>9.0} %", share * 100.0);
    if share < BARS.0 || ours < BARS.1 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
