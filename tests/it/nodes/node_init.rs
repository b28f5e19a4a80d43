//! Nodes before they are connected: keys, configuration, evaluation, storage.

use super::support::{WAIT_TIMEOUT, alone, node};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::expr::Expr;
use astreum_core::machine::Env;
use astreum_core::text;
use astreum_node::config::{Config, Secret};
use astreum_node::key_file::{KeyFormat, KeyKind, NodeKeys, create_file};
use astreum_node::store::Durability;
use astreum_node::{Node, NodeBuilder, NodeError};
use std::time::Instant;

#[test]
fn default_node_has_a_random_key_and_opens_no_socket() {
    let (one, other) = (
        Node::new(Config::default()).unwrap(),
        Node::new(Config::default()).unwrap(),
    );
    assert_ne!(one.public_key(), other.public_key());
    assert_eq!(one.port(), None);
    assert!(one.status().network.is_none());
    assert!(one.peers().unwrap().is_empty());
}

#[test]
fn uses_the_configured_relay_key() {
    let config = || Config {
        relay_secret_key: Some(Secret::new([7; 32])),
        ..alone()
    };
    let (one, again) = (Node::new(config()).unwrap(), Node::new(config()).unwrap());
    assert_eq!(one.public_key(), again.public_key());
    assert!(!format!("{one:?}").contains("07, 07"), "the key is shown");
}

#[test]
fn node_runs_with_the_keys_that_were_read_once() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("relay.key");
    create_file(
        &path,
        KeyKind::Relay,
        &Secret::new([7; 32]),
        &KeyFormat::Plain,
    )
    .unwrap();
    let config = Config {
        relay_secret_key_file: Some(path.clone()),
        ..alone()
    };
    let settings = config.resolve().unwrap();
    let keys = NodeKeys::read(&settings).unwrap();
    std::fs::remove_file(path).unwrap();
    let node = Node::with_settings(settings.clone(), keys).unwrap();
    let expected = KeyKind::Relay.public_key(&Secret::new([7; 32]));
    assert_eq!(*node.public_key().as_bytes(), expected);
    assert_eq!(*node.settings(), settings);
    let error = NodeBuilder::new(settings).without_log().open().unwrap_err();
    assert!(matches!(error, NodeError::KeyFile(_)), "{error}");
}

#[test]
fn invalid_configuration_is_rejected_by_key_name() {
    let config = Config {
        peer_timeout_interval: core::time::Duration::ZERO,
        ..alone()
    };
    let of_node = Node::new(config.clone()).unwrap_err();
    let of_builder = Node::builder(config).unwrap_err();
    for error in [of_node, of_builder] {
        assert!(matches!(error, NodeError::Config(_)));
        let text = error.to_string();
        assert!(text.contains("peer_timeout_interval"), "{text}");
    }
}

#[test]
fn unconnected_node_serves_its_own_atoms_without_waiting() {
    let node = Node::new(Config {
        // Longer than the test may take, where it waited.
        atom_fetch_interval: WAIT_TIMEOUT,
        ..alone()
    });
    let node = node.unwrap();
    let stored = node.put(Atom::bytes(*b"here")).unwrap();
    assert_eq!(stored.durability, Durability::Memory);
    let atom = node.get_atom(stored.id).unwrap().unwrap();
    assert_eq!(atom.data(), b"here");
    let start = Instant::now();
    assert_eq!(node.get_atom(AtomId::new([9; 32])).unwrap(), None);
    assert_eq!(node.get_atom_list(AtomId::new([9; 32])).unwrap(), None);
    assert!(
        start.elapsed() < WAIT_TIMEOUT,
        "it waited without a network"
    );
}

#[test]
fn lists_and_expressions_are_stored_as_linked_atoms() {
    let node = Node::new(alone()).unwrap();
    let stored = node.put_list(&[b"a".as_slice(), b"b", b""]).unwrap();
    let list = node.get_atom_list(stored.id).unwrap().unwrap();
    let data: Vec<&[u8]> = list.iter().map(Atom::data).collect();
    assert_eq!(data, [b"a".as_slice(), b"b", b""]);
    let empty = node.put_list::<&[u8]>(&[]).unwrap();
    assert!(empty.id.is_zero());
    assert_eq!(node.get_atom_list(empty.id).unwrap(), Some(vec![]));

    let expr = text::parse("(1 (two \"three\") ())").unwrap();
    let stored = node.put_expr(&expr).unwrap();
    assert_eq!(stored.id, expr.id());
    let back = Expr::from_atoms(node.store(), &stored.id, 100).unwrap();
    assert_eq!(back, expr);
}

#[test]
fn quickstart_script_returns_three() {
    let node = Node::new(alone()).unwrap();
    let mut env = Env::new();
    let script = include_str!("../../../node/examples/quickstart.astreum");
    let values: Vec<Expr> = text::Parser::new(script)
        .map(|expr| node.eval(&expr.unwrap(), &mut env).into_value())
        .collect();
    assert_eq!(values.last(), Some(&Expr::bytes([3])));
}

/// The example has the steps of the reference's quickstart, with their names.
#[test]
fn library_quickstart_matches_the_reference() {
    assert_eq!(super::quickstart::quickstart().unwrap(), "[3]\n");
    let source = include_str!("../../../node/examples/quickstart.rs");
    let names = [
        "1) Spin-up a stand-alone VM",
        "2) Create an environment",
        "env_id",
        "3) Build a function value using a low-level stack body via `sk`",
        "low_body",
        "fn_body",
        "params",
        "int_add_fn",
        "4) Store under the name \"int.add\"",
        "node.env_set(env_id, \"int.add\", int_add_fn)",
        "5) Retrieve the function and call it with bytes 1 and 2",
        "bound",
        ".env_get(env_id, \"int.add\")",
        "call",
        "res",
    ];
    let mut rest = source;
    for name in names {
        let at = rest.find(name);
        rest = &rest[at.unwrap_or_else(|| panic!("{name} is missing, or out of order"))..];
    }
}

#[test]
fn zero_interval_or_zero_retries_disables_waiting() {
    // Longer than the test may take, where it waited.
    for (interval, retries) in [(0, 1_000), (60_000, 0)] {
        let node = node(Config {
            atom_fetch_interval: core::time::Duration::from_millis(interval),
            atom_fetch_retries: retries,
            ..alone()
        });
        let start = Instant::now();
        assert_eq!(node.get_atom(AtomId::new([9; 32])).unwrap(), None);
        assert!(start.elapsed() < WAIT_TIMEOUT);
    }
}
