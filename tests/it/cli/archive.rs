//! A chain as one file, with real processes.

use std::fs;

use super::chain::until;
use super::fixtures::{RUN, height, status, validator_home};
use astreum_tests::testkit::Home;

/// Returns a home with the chain id of another, and no chain.
fn reader(name: &str) -> Home {
    let home = Home::new(name);
    let config = "default_seed = \"\"\nincoming_port = 0\nbind_address = \"127.0.0.1\"\n\
                  cold_storage_path = \"cold\"\n";
    fs::write(home.path().join("node.toml"), config).unwrap();
    home
}

fn chain(home: &Home, arguments: &[&str]) -> astreum_tests::testkit::Ran {
    home.run(&[&["chain"], arguments, &["--config", "node.toml"]].concat())
}

#[test]
fn exported_chain_is_read_by_a_node_without_peers() {
    let (home, _) = validator_home("archive");
    let node = home.start(&RUN);
    until("blocks are produced", || height(&home) >= 4);
    let file = home.path().join("chain.bin");
    let file = file.to_str().unwrap();
    // A running node is copied first.
    chain(&home, &["export", file]).fails(1, &["another process", "astreum backup"]);
    assert!(!home.path().join("chain.bin").exists());
    assert_eq!(home.run(&["backup", "copy"]).code, 0);
    let copied = ["export", file, "--json", "--cold-storage-path", "copy"];
    let exported = chain(&home, &copied).json();
    assert_eq!(exported["kind"], "chain");
    let last = exported["height"].as_u64().unwrap();
    assert_eq!(exported["blocks"], last + 1);
    let snapshot = home.path().join("snapshot.bin");
    let snapshot = snapshot.to_str().unwrap();
    assert_eq!(node.interrupt().0, Some(0));
    let state = chain(&home, &["export", snapshot, "--snapshot", "--json"]).json();

    let reader_home = reader("archive-reader");
    let imported = chain(&reader_home, &["import", file, "--json"]).json();
    assert_eq!(imported["head"], exported["head"]);
    assert_eq!(imported["complete"], true);
    let shown = chain(&reader_home, &["show", "--json"]).json();
    assert_eq!(shown["head"]["id"], exported["head"]);
    let follower = reader_home.start(&RUN);
    until("the reader resumes", || height(&reader_home) == last);
    let block = reader_home.run(&["block", "show", "2", "--json"]).json();
    let original = status(&reader_home);
    assert_eq!(original["chain"]["state"], "verified");
    assert_eq!(block["height"], 2);
    chain(&reader_home, &["import", file]).fails(1, &["a node is running"]);
    assert_eq!(follower.interrupt().0, Some(0));
    chain(&reader_home, &["import", file]).fails(1, &["adds nothing", "cold_storage_path"]);

    let joined = reader("archive-joined");
    let id = state["head"].as_str().unwrap();
    chain(&joined, &["import", snapshot]).fails(1, &["--trust", id]);
    let imported = chain(&joined, &["import", snapshot, "--trust", id, "--json"]).json();
    assert_eq!(imported["head"], id);
    let follower = joined.start(&RUN);
    until("the snapshot is the head", || {
        status(&joined)["chain"]["head"].as_str() == Some(id)
    });
    assert_eq!(status(&joined)["chain"]["root"], id);
    let account = joined.run(&["account", "show", "treasury", "--json"]);
    assert!(account.json()["balance"].is_string());
    assert_eq!(follower.interrupt().0, Some(0));
}

#[test]
fn damaged_and_foreign_archives_are_errors_that_say_what_is_wrong() {
    let (home, _) = validator_home("archive-damage");
    let node = home.start(&RUN);
    until("blocks are produced", || height(&home) >= 3);
    assert_eq!(node.interrupt().0, Some(0));
    let path = home.path().join("chain.bin");
    let file = path.to_str().unwrap();
    let exported = chain(&home, &["export", file, "--json"]).json();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(exported["bytes"], bytes.len());

    let reader_home = reader("archive-damage-reader");
    fs::write(&path, &bytes[..bytes.len() - 20]).unwrap();
    let cut = chain(&reader_home, &["import", file]);
    cut.fails(1, &["was not imported", "ends at byte"]);
    // What was read is a chain.
    let shown = chain(&reader_home, &["show", "--json"]).json();
    assert_eq!(shown["head"]["height"], exported["height"]);
    fs::write(&path, b"something else").unwrap();
    let other = reader("archive-other");
    chain(&other, &["import", file]).fails(1, &["not an archive"]);
    fs::write(&path, &bytes).unwrap();
    let id = ["import", file, "--chain-id", "7"];
    chain(&other, &id).fails(1, &["chain 0", "chain_id is 7"]);
    chain(&other, &["export", "x.bin"]).fails(1, &["not"]);
    assert!(!other.path().join("x.bin").exists());
}
