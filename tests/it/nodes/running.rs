//! Process of `astreum run`: its control socket and shutdown.

use super::support::{address, alone, eventually, node};
use astreum_core::atom::{Atom, AtomId};
use astreum_node::rpc::{ClientError, ErrorKind, Hex, request};
use astreum_tests::testkit::{NodeCommand, NodeProcess, Output, Signal, program};
use serde_json::Value;
use tempfile::TempDir;

/// Starts a node in a directory of its own.
pub(crate) fn start(name: &str, flags: &[&str]) -> NodeProcess {
    let directory = TempDir::with_prefix(format!("ast-{name}-")).unwrap();
    let mut command = NodeCommand::new(program::astreum(), directory.path());
    command.arguments(flags);
    NodeProcess::start_in(directory, &command, Output::Piped).unwrap()
}

#[test]
fn greeting_suggests_commands_and_sigterm_stops_the_node() {
    let running = start("sigterm", &[]);
    let socket = running.socket().to_owned();
    assert!(socket.exists());
    running.signal(Signal::TERM);
    let exit = running.finish();
    assert_eq!(exit.status.code(), Some(0));
    let text = exit.text();
    assert!(!socket.exists(), "the control socket is removed");
    for expected in ["UDP port", "public key", "astreum status", "not durable"] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn sigint_and_stop_request_stop_the_node() {
    let running = start("sigint", &[]);
    running.signal(Signal::INT);
    assert_eq!(running.finish().status.code(), Some(0));
    let running = start("stop", &[]);
    running.ask(&request::Stop {});
    assert_eq!(running.finish().status.code(), Some(0));
}

#[test]
fn shutdown_does_not_wait_for_evaluations_or_fetches() {
    let running = start("busy", &["--atom-fetch-interval", "600"]);
    // A peer that never answers keeps a fetch waiting.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    running.ask(&request::Connect { address });
    let client = running.client().clone();
    let waiting = std::thread::spawn(move || {
        let id = AtomId::new([1; 32]);
        client.request(&request::Get { id })
    });
    let client = running.client().clone();
    let looping = std::thread::spawn(move || {
        let source = "(1 ((0 jump) sk))".to_owned();
        client.request(&request::Eval {
            source,
            limit: None,
            fetch_seconds: None,
        })
    });
    std::thread::sleep(core::time::Duration::from_millis(300));
    running.signal(Signal::TERM);
    assert_eq!(running.finish().status.code(), Some(0));
    assert!(waiting.join().unwrap().is_err());
    let _ = looping.join().unwrap();
}

#[test]
fn control_socket_serves_the_commands() {
    let running = start("commands", &[]);
    let peer = node(alone());
    let there = address(&peer);
    let resolved = running.ask(&request::Connect {
        address: there.to_string(),
    });
    assert_eq!(resolved, there);
    eventually("the peer is listed", || {
        let peers = running.ask(&request::Peers {});
        peers
            .iter()
            .any(|peer| peer.address == there && peer.is_validated)
    });

    let remote = peer.put(Atom::bytes(*b"remote")).unwrap().id;
    let atom = running.ask(&request::Get { id: remote });
    assert_eq!((atom.id, atom.data), (remote, Hex(b"remote".to_vec())));

    let local = Atom::bytes(*b"local");
    let atoms = vec![local.clone()];
    let put = running.ask(&request::Put { atoms });
    assert_eq!(put.ids, [local.id()]);
    assert!(!put.durable);
    assert_eq!(peer.get_atom(local.id()).unwrap(), Some(local.clone()));

    let missing = AtomId::new([0xcc; 32]);
    let error = running.request(&request::Get { id: missing }).unwrap_err();
    assert!(error.to_string().contains(&missing.to_string()), "{error}");
    let ClientError::Refused(refused) = error else {
        panic!("{error}");
    };
    assert_eq!(refused.kind, ErrorKind::Missing(missing));

    let source = "(1 2 ((a b (($0 $1 add) sk)) (a b) fn))".to_owned();
    let sum = running.ask(&request::Eval {
        source,
        limit: None,
        fetch_seconds: None,
    });
    assert_eq!((sum.text.as_str(), sum.is_error), ("3", false));
    assert_eq!(sum.expr, serde_json::json!({"bytes": "03"}));

    let id = local.id();
    running.ask(&request::Advertise {
        id,
        list: false,
        expires_seconds: Some(60),
    });
    running.ask(&request::Providers { id });
    let status = running.ask(&request::Status {});
    assert_eq!((status.peers, status.advertisements), (1, 1));
    assert_eq!(status.hot_atoms, 2);
    assert!(status.counters["objects_served"] >= 1);
}

#[test]
fn list_larger_than_a_reply_is_sent_in_parts() {
    let running = start("parts", &[]);
    let peer = node(alone());
    let there = address(&peer).to_string();
    running.ask(&request::Connect { address: there });
    eventually("the peer is known", || {
        !running.ask(&request::Peers {}).is_empty()
    });
    let values: Vec<Vec<u8>> = (0..400u32)
        .map(|number| number.to_be_bytes().repeat(975))
        .collect();
    let mut next = peer.put_list(&values).unwrap().id;
    let (mut got, mut parts) = (Vec::new(), 0);
    while !next.is_zero() {
        let reply = running.ask(&request::GetList { id: next });
        got.extend(reply.atoms.iter().map(|atom| atom.data().to_vec()));
        next = reply.next;
        parts += 1;
    }
    assert_eq!(got, values);
    assert!(parts > 1);
}

#[test]
fn deeply_nested_value_is_returned_as_text() {
    let running = start("deep", &[]);
    let source = format!("{}1{}", "(1 ".repeat(80), ")".repeat(80));
    let reply = running.ask(&request::Eval {
        source,
        limit: None,
        fetch_seconds: None,
    });
    assert!(reply.text.matches('(').count() >= 79, "{}", reply.text);
    assert_eq!(reply.expr, Value::Null);
}

#[test]
fn validation_key_flag_starts_a_validator() {
    let secret = "07".repeat(32);
    let chain = tempfile::tempdir().unwrap();
    let chain_dir = chain.path().to_str().unwrap();
    let flags = ["--validation-secret-key", &secret, "--chain-dir", chain_dir];
    let running = start("validator", &flags);
    eventually("two blocks are produced", || {
        let status = running.ask(&request::Status {});
        let validator = status.validator.unwrap();
        assert!(!validator.halted, "{}", validator.activity);
        validator.blocks_made >= 2 && status.latest_block.is_some()
    });
    let status = running.ask(&request::Status {});
    // The disk of the machine may be nearly full.
    let warnings = status.warnings.iter();
    let of_the_node = warnings.filter(|warning| !warning.starts_with("the disk of "));
    let of_the_node: Vec<&String> = of_the_node.collect();
    assert!(
        of_the_node.len() == 1 && of_the_node[0].contains("no cold storage"),
        "{of_the_node:?}"
    );
    running.signal(Signal::TERM);
    assert_eq!(running.finish().status.code(), Some(0));
}
