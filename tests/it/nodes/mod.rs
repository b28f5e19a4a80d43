//! Tests of whole nodes on loopback, several in one process.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod embedding;
mod http;
mod http_limits;
mod joining;
mod lost;
mod message_port;
mod node_connection;
mod node_init;
mod node_validation;
mod objects;
mod port_handling;
mod port_mapping;
#[path = "../../../node/examples/quickstart.rs"]
#[expect(dead_code, reason = "`main` is not called")]
mod quickstart;
mod repl;
mod rpc;
mod running;
mod snapshot;
mod support;
mod top;
