//! Nodes embedded in another program: builder, logs, keys and environments.

use super::support::{alone, eventually};
use astreum_node::config::{Secret, instance_id};
use astreum_node::{Advertisement, Atom, AtomId, Config, Expr, Node, PayloadType};
use std::fs;
use std::path::Path;

fn built(scratch: &tempfile::TempDir, name: &str) -> Node {
    let directory = scratch.path().join(name);
    let config = Config {
        state_dir: Some(directory.clone()),
        cold_storage_path: Some(directory.join("cold")),
        ..alone()
    };
    Node::builder(config).unwrap().start().unwrap()
}

fn log_of(directory: &Path) -> String {
    fs::read_to_string(directory.join("node.log")).unwrap_or_default()
}

#[test]
fn nodes_of_one_process_log_to_their_own_files() {
    let scratch = tempfile::tempdir().unwrap();
    let (one, other) = (built(&scratch, "one"), built(&scratch, "other"));
    let line = |node: &Node| format!("listening on UDP port {}", node.port().unwrap());
    let (first, second) = (line(&one), line(&other));
    let directories = [&one, &other].map(|node| node.log_dir().unwrap().to_owned());
    eventually("each log has the lines of its node", || {
        log_of(&directories[0]).contains(&first) && log_of(&directories[1]).contains(&second)
    });
    for (directory, foreign) in directories.iter().zip([&second, &first]) {
        let text = log_of(directory);
        assert!(text.contains("Starting Astreum Node"), "{text}");
        assert!(!text.contains(foreign), "{text}");
    }
    // Nodes with the same directory have separate logs too.
    let twin = built(&scratch, "third");
    let directory = twin.log_dir().unwrap().to_owned();
    let config = Config {
        state_dir: Some(scratch.path().join("third")),
        ..alone()
    };
    let second = Node::builder(config).unwrap().start().unwrap();
    assert_ne!(second.log_dir().unwrap(), directory);
}

#[test]
fn opened_node_has_its_log_and_connects_later() {
    let scratch = tempfile::tempdir().unwrap();
    let config = Config {
        state_dir: Some(scratch.path().join("state")),
        log_dir: None,
        ..alone()
    };
    let entry_point = scratch.path().join("program.py");
    let builder = Node::builder(config).unwrap().entry_point(&entry_point);
    let node = builder.open().unwrap();
    let directory = node.log_dir().unwrap().to_owned();
    let instance_id = instance_id(&entry_point);
    assert_eq!(
        directory,
        scratch.path().join("state/logs").join(instance_id)
    );
    assert_eq!(node.port(), None);
    node.connect().unwrap();
    let line = format!("listening on UDP port {}", node.port().unwrap());
    eventually("the log has all lines", || {
        let text = log_of(&directory);
        text.contains("Starting Astreum Node") && text.contains(&line)
    });
}

#[test]
fn opened_node_with_a_log_directory_creates_no_other() {
    let scratch = tempfile::tempdir().unwrap();
    let config = Config {
        state_dir: Some(scratch.path().join("state")),
        log_dir: Some(scratch.path().join("log")),
        ..alone()
    };
    let node = Node::builder(config).unwrap().open().unwrap();
    let stored = node.put(Atom::bytes(*b"hot")).unwrap();
    let found = node.store().get_in_memory(&stored.id);
    assert_eq!(found.map(|atom| atom.id()), Some(stored.id));
    assert_eq!(node.store().get_in_memory(&AtomId::ZERO), None);
    assert!(!scratch.path().join("state").exists());
}

#[test]
fn unwritable_log_shows_only_in_the_status_of_its_node() {
    let scratch = tempfile::tempdir().unwrap();
    let log_dir = scratch.path().join("in-the-way");
    fs::write(&log_dir, "").unwrap();
    let without = Node::builder(Config {
        state_dir: Some(scratch.path().join("without")),
        log_dir: Some(log_dir),
        ..alone()
    });
    let without = without.unwrap().start().unwrap();
    let with = built(&scratch, "with");
    eventually("the status reports it", || {
        let problem = without.status().log_problem;
        problem.is_some_and(|problem| problem.contains("cannot write the log in"))
    });
    assert_eq!(with.status().log_problem, None);
}

#[test]
fn calls_log_to_the_log_of_their_node() {
    let scratch = tempfile::tempdir().unwrap();
    let (one, other) = (built(&scratch, "one"), built(&scratch, "other"));
    let directories = [&one, &other].map(|node| node.log_dir().unwrap().to_owned());
    let damaged = scratch.path().join("damaged");
    fs::create_dir(&damaged).unwrap();
    fs::write(damaged.join("advertisements"), [0xff; 9]).unwrap();
    let line = "failed to read the advertisements of the previous run";
    other.remember_advertisements(&damaged).unwrap();
    eventually("it is logged", || log_of(&directories[1]).contains(line));
    assert!(!log_of(&directories[0]).contains(line));
}

#[test]
fn built_node_starts_and_stops_validating() {
    let scratch = tempfile::tempdir().unwrap();
    let node = built(&scratch, "node");
    assert!(node.chain().status().validator.is_none());
    node.start_validating(Secret::new([9; 32])).unwrap();
    eventually("it produces blocks", || {
        let head = node.chain().status().head;
        head.is_some_and(|head| head.height() >= 1)
    });
    node.stop_validating().unwrap();
    eventually("validation has stopped", || {
        node.chain().status().validator.is_none()
    });
    eventually("it keeps its chain", || {
        node.chain()
            .status()
            .head
            .is_some_and(|head| head.height() >= 1)
    });
}

#[test]
fn built_node_validates_with_the_configured_key() {
    let scratch = tempfile::tempdir().unwrap();
    let config = Config {
        state_dir: Some(scratch.path().to_owned()),
        cold_storage_path: Some(scratch.path().join("cold")),
        validation_secret_key: Some(Secret::new([8; 32])),
        ..alone()
    };
    let node = Node::builder(config)
        .unwrap()
        .without_log()
        .start()
        .unwrap();
    assert!(node.log_dir().is_none());
    eventually("it validates", || node.chain().status().validator.is_some());
}

#[test]
fn start_validating_fails_without_a_chain() {
    let node = Node::new(alone()).unwrap();
    let error = node.start_validating(Secret::new([9; 32])).unwrap_err();
    assert!(error.to_string().contains("Node::builder"), "{error}");
}

#[test]
fn advertisements_before_connecting_are_sent_once_connected() {
    let node = Node::new(alone()).unwrap();
    let advertisement = |byte| Advertisement {
        id: AtomId::new([byte; 32]),
        kind: PayloadType::ATOM,
        lifetime: None,
    };
    node.advertise_all(&[advertisement(1), advertisement(2)])
        .unwrap();
    node.connect().unwrap();
    eventually("both are advertised", || {
        node.status().network.unwrap().advertisements == 2
    });
    assert!(node.withdraw(AtomId::new([1; 32])).unwrap());
    assert_eq!(node.advertised().len(), 1);
    assert_eq!(node.status().network.unwrap().advertisements, 1);
}

#[test]
fn environments_are_named_and_shared() {
    let node = Node::new(alone()).unwrap();
    let definition = "(((a b (($0 $1 add) sk)) (a b) fn) int.add def)";
    node.eval_source_in("shared", definition);
    let bound = node.env_get("shared", "int.add").unwrap();
    node.env_set("copy", "plus", bound);
    assert_eq!(
        node.eval_source_in("copy", "(1 2 plus)").value(),
        &Expr::bytes([3])
    );
    assert_eq!(node.environments(), ["copy", "shared"]);
    let handle = node.environment("shared");
    assert!(handle.lock().unwrap().get("int.add").is_some());
    assert!(node.remove_environment("shared") && !node.remove_environment("shared"));
    assert!(node.env_get("shared", "int.add").is_none());
}
