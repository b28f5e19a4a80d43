//! Small reads over one WebSocket, with the processor time that the node takes for them.

use super::process::cpu_seconds;
use super::table::{Bar, Table};
use astreum_core::atom::Atom;
use astreum_node::rpc::hex;
use astreum_tests::testkit::http::{WebSocket, call, post};
use astreum_tests::testkit::{NodeCommand, NodeProcess, Output, program};
use serde_json::json;
use std::fs;
use tempfile::TempDir;

/// Number of requests that are not answered yet at a time.
const IN_FLIGHT: usize = 64;

pub(crate) fn rpc(large: bool, table: &mut Table) {
    let directory = TempDir::with_prefix("ast-rpc-").unwrap();
    let mut command = NodeCommand::new(program::astreum(), directory.path());
    command.arguments(&["--rpc-listen", "127.0.0.1:0"]);
    let mut node = NodeProcess::start_in(directory, &command, Output::Piped).unwrap();
    node.wait_for_greeting().unwrap();
    let address = node
        .greeting()
        .lines()
        .find_map(|it| it.split_once("http://"));
    let address = address.unwrap().1.trim().parse().unwrap();
    let token = fs::read_to_string(node.directory().join("state/rpc.token")).unwrap();
    let token = format!("Authorization: Bearer {}", token.trim());
    let atom = Atom::bytes(vec![7; 100]);
    let put = json!({"atoms": [hex(&atom.to_bytes())]});
    let reply = post(address, &call(1, "put", &put), &[&token]);
    assert!(reply.json()["result"].is_object(), "{reply:?}");
    let get = call(1, "get", &json!({"id": atom.id().to_string()}));
    let frame = WebSocket::frame(1, get.as_bytes());
    let count = if large { 200_000 } else { 5_000 };
    let mut socket = WebSocket::open(address, &[]).unwrap();
    socket.pipeline(&frame, IN_FLIGHT, count / 10).unwrap();
    let before = cpu_seconds(node.process_id());
    let time = socket.pipeline(&frame, IN_FLIGHT, count).unwrap();
    let used = cpu_seconds(node.process_id()) - before;
    let rate = count as f64 / time.as_secs_f64();
    let bar = large.then_some((Bar::AtLeast, 20_000.0));
    table.add(
        "small reads over one WebSocket, 64 in flight",
        rate,
        "1/s",
        bar,
    );
    let cores = used / time.as_secs_f64();
    let bar = large.then_some((Bar::AtMost, 1.05));
    table.add("processors that the node uses meanwhile", cores, "", bar);
}
