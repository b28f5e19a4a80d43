//! Chain files: lost, damaged, moved and imported, with real processes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chain::until;
use super::fixtures::{RUN, height, status, validator_home};
use astreum_tests::testkit::{Home, Ran};

/// Returns the text at this JSON pointer.
fn text(value: &Value, place: &str) -> String {
    value
        .pointer(place)
        .and_then(Value::as_str)
        .unwrap()
        .to_owned()
}

/// Runs the validator until the chain has this height; returns the head's id.
fn run_to_height(home: &Home, wanted: u64) -> String {
    let node = home.start(&RUN);
    until("blocks are produced", || height(home) >= wanted);
    assert_eq!(node.interrupt().0, Some(0));
    let shown = home.run(&["chain", "show", "--config", "node.toml", "--json"]);
    text(&shown.json(), "/head/id")
}

fn chain_dir(home: &Home) -> PathBuf {
    home.path().join("cold/chain/0")
}

fn recover(home: &Home, more: &[&str]) -> Ran {
    home.run(
        &[
            &["chain", "recover", "--config", "node.toml", "--json"],
            more,
        ]
        .concat(),
    )
}

fn genesis(home: &Home) -> Ran {
    home.run(&["genesis", "--config", "node.toml"])
}

/// Returns the ids of the chain from the genesis to this height, from a running node.
fn ids(home: &Home, to: u64) -> Vec<String> {
    let block = |height: u64| {
        let shown = home.run(&["block", "show", &height.to_string(), "--json"]);
        text(&shown.json(), "/id")
    };
    (0..=to).map(block).collect()
}

fn log(home: &Home) -> String {
    let logs = home.path().join("state/Astreum/lib-rs/logs");
    let instance = fs::read_dir(logs).unwrap().next().unwrap().unwrap();
    fs::read_to_string(instance.path().join("node.log")).unwrap()
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn lost_state_directory_does_not_begin_a_second_chain() {
    let (home, _) = validator_home("stateless");
    let head = run_to_height(&home, 4);
    assert!(log(&home).contains("created a new chain: chain_id=0 genesis="));
    assert!(log(&home).contains("\"level\":\"WARNING\""));
    fs::remove_dir_all(home.path().join("state")).unwrap();
    let node = home.start(&RUN);
    until("the chain continues", || height(&home) > 5);
    let known = ids(&home, 5);
    assert!(known.contains(&head), "{head} is not among {known:?}");
    assert_eq!(node.interrupt().0, Some(0));
    genesis(&home).fails(
        1,
        &["refusing to create a second chain", "astreum run --config"],
    );
}

#[test]
fn lost_chain_directory_is_recovered_from_cold_storage() {
    let (home, key) = validator_home("chainless");
    let head = run_to_height(&home, 4);
    fs::remove_dir_all(chain_dir(&home)).unwrap();
    let refused = [
        "refusing to create a second chain with chain_id 0",
        "cold storage in",
        "astreum chain recover --config node.toml",
        "astreum chain recover --adopt --config node.toml",
    ];
    home.run(&RUN).fails(1, &refused);
    genesis(&home).fails(1, &refused);
    // Without `--adopt` no chain is adopted.
    let found = recover(&home, &[]).json();
    assert_eq!(found["adoptable_id"], head.as_str(), "{found}");
    assert_eq!(found["adopted"], false);
    home.run(&RUN).fails(1, &refused);
    let found = recover(&home, &["--adopt"]).json();
    assert_eq!(
        (&found["adopted"], &found["journal"]),
        (&true.into(), &"missing".into())
    );
    // The signing record is restored.
    let shown = home
        .run(&["chain", "show", "--config", "node.toml", "--json"])
        .json();
    assert_eq!(shown["signing_records"][0]["key"], key.as_str());
    assert_eq!(shown["signing_records"][0]["last"]["block"], head.as_str());
    let from = shown["head"]["height"].as_u64().unwrap();
    let node = home.start(&RUN);
    until("the chain continues", || height(&home) > from + 1);
    assert!(ids(&home, from).contains(&head));
    assert_eq!(node.interrupt().0, Some(0));
    let again = recover(&home, &["--adopt"]).json();
    assert_eq!(
        (&again["adopted"], &again["journal"]),
        (&false.into(), &"intact".into())
    );
}

#[test]
fn damaged_and_missing_chain_files_are_errors_until_recovered() {
    let (home, _) = validator_home("damaged");
    run_to_height(&home, 3);
    let dir = chain_dir(&home);
    let signed = fs::read_dir(&dir).unwrap().flatten();
    let mut names = signed.map(|entry| entry.file_name().into_string().unwrap());
    let signed = names.find(|name| name.starts_with("signed_")).unwrap();
    type Damage = dyn Fn(&Path);
    let damage: [(&str, &Damage); 6] = [
        ("heads", &|path| fs::write(path, "damaged").unwrap()),
        ("heads", &|path| fs::remove_file(path).unwrap()),
        ("identity.json", &|path| fs::write(path, "{").unwrap()),
        (&signed, &|path| fs::write(path, "{}").unwrap()),
        (&signed, &|path| fs::remove_file(path).unwrap()),
        ("identity.json", &|path| {
            let text = fs::read_to_string(path).unwrap();
            fs::write(
                path,
                text.replace("\"rules_version\":2", "\"rules_version\":1"),
            )
            .unwrap();
        }),
    ];
    for (name, damage) in damage {
        damage(&dir.join(name));
        let ran = home.run(&RUN);
        let other_rules = ran
            .stderr
            .contains("created under consensus rules version 1");
        if !other_rules {
            ran.fails(1, &[name, "astreum chain recover"]);
            recover(&home, &["--adopt"]).lines();
        } else {
            ran.fails(1, &["implements version 2"]);
            let text = fs::read_to_string(dir.join(name)).unwrap();
            fs::write(
                dir.join(name),
                text.replace("\"rules_version\":1", "\"rules_version\":2"),
            )
            .unwrap();
        }
        let node = home.start(&RUN);
        let from = height(&home);
        until("the chain continues", || height(&home) > from + 1);
        assert_eq!(node.interrupt().0, Some(0));
    }
    // Unreadable files are kept.
    for kept in ["heads.damaged", "identity.json.damaged"] {
        assert!(dir.join(kept).exists(), "{kept}");
    }
    // Damaged decisions on forks are reported, and set aside without another change.
    let decisions = dir.join("decisions.json");
    fs::write(&decisions, "{").unwrap();
    home.run(&RUN)
        .fails(1, &["decisions.json", "astreum chain recover"]);
    let found = recover(&home, &[]).json();
    assert_eq!(found["decisions"], "damaged");
    assert_eq!(found["adopted"], false);
    assert!(text(&found, "/conclusion").contains("--adopt sets the damaged decisions"));
    assert!(decisions.exists());
    let heads = fs::read(dir.join("heads")).unwrap();
    let found = recover(&home, &["--adopt"]).json();
    assert_eq!(found["adopted"], true);
    assert!(!decisions.exists() && dir.join("decisions.json.damaged").exists());
    assert_eq!(fs::read(dir.join("heads")).unwrap(), heads);
    let found = recover(&home, &[]).json();
    assert!(text(&found, "/conclusion").starts_with("nothing to recover"));
    // A missing identity is recreated from the files beside it.
    fs::remove_file(dir.join("identity.json")).unwrap();
    run_to_height(&home, 6);
    assert!(log(&home).contains("rewrote the missing identity"));
}

#[test]
fn blocks_stored_by_a_user_are_neither_resumed_nor_overwritten() {
    let (home, _) = validator_home("stored");
    run_to_height(&home, 2);
    // Another node whose store holds the blocks, as if a user had stored them there.
    let (other, _) = validator_home("planted");
    let cold = home.path().join("cold");
    let import = [
        "store",
        "import",
        cold.to_str().unwrap(),
        "--config",
        "node.toml",
    ];
    other.run(&import).lines();
    other
        .run(&RUN)
        .fails(1, &["refusing to create a second chain", "has its block"]);
    // A node that does not validate ignores them.
    let node = other.start(&[
        "run",
        "--incoming-port",
        "0",
        "--default-seed",
        "none",
        "--cold-storage-path",
        "cold",
    ]);
    until("it answers", || status(&other)["chain"]["behind"] == false);
    assert_eq!(status(&other)["chain"]["height"], Value::Null);
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn chain_files_in_another_directory_are_reported() {
    let (home, _) = validator_home("elsewhere");
    run_to_height(&home, 2);
    let named = [&RUN[..], &["--chain-dir", "named"]].concat();
    home.run(&named)
        .fails(1, &["its files are in", "mv ", "astreum run"]);
    fs::create_dir_all(home.path().join("named/0")).unwrap();
    for entry in fs::read_dir(chain_dir(&home)).unwrap() {
        let entry = entry.unwrap();
        fs::rename(
            entry.path(),
            home.path().join("named/0").join(entry.file_name()),
        )
        .unwrap();
    }
    let node = home.start(&named);
    let from = height(&home);
    until("the chain continues", || height(&home) > from.max(2) + 1);
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn files_of_the_previous_format_are_verified_and_migrated_once() {
    let (home, _) = validator_home("legacy");
    let head = run_to_height(&home, 3);
    let shown = home
        .run(&["chain", "show", "--config", "node.toml", "--json"])
        .json();
    // Files of an earlier version: head and signing record in the state directory.
    let state = home.path().join("state/Astreum/lib-rs");
    let legacy = |head: &Value, genesis: &Value| {
        format!(
            "{{\"version\":1,\"chain_id\":0,\"head\":{},\"height\":{},\"timestamp\":{},\
             \"state\":\"own\",\"root\":{genesis}}}\n",
            head["id"], head["height"], head["timestamp"]
        )
    };
    let backup = home.path().join("backup");
    copy_dir(&chain_dir(&home), &backup);
    for entry in fs::read_dir(chain_dir(&home)).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with("signed_") {
            fs::copy(entry.path(), state.join(name)).unwrap();
        }
    }
    fs::remove_dir_all(chain_dir(&home)).unwrap();
    let head_file = state.join("head_0.json");
    // A damaged head file is an error and does not lead to a second chain.
    fs::write(&head_file, "{").unwrap();
    home.run(&RUN)
        .fails(1, &["head_0.json", "damaged", "astreum chain recover"]);
    genesis(&home).fails(1, &["refusing to create a second chain", "head_0.json"]);
    fs::write(&head_file, legacy(&shown["head"], &shown["genesis"])).unwrap();
    genesis(&home).fails(1, &["refusing to create a second chain", "head_0.json"]);
    let node = home.start(&RUN);
    let from = shown["head"]["height"].as_u64().unwrap();
    until("the chain continues", || height(&home) > from + 1);
    assert!(ids(&home, from).contains(&head));
    assert_eq!(node.interrupt().0, Some(0));
    assert!(!head_file.exists() && state.join("head_0.json.migrated").exists());
    assert!(log(&home).contains("migrated the chain of the previous format"));
    // A signing record without a head counts as a trace of a chain.
    fs::remove_dir_all(chain_dir(&home)).unwrap();
    let migrated = fs::read_dir(&state).unwrap().flatten();
    let mut migrated = migrated.map(|entry| entry.path());
    let is_record = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("signed_") && name.ends_with(".migrated")
    };
    let record = migrated.find(is_record).unwrap();
    fs::rename(&record, record.with_extension("")).unwrap();
    home.run(&RUN).fails(
        1,
        &[
            "is the signing record of a validator",
            "astreum chain recover",
        ],
    );
    genesis(&home).fails(1, &["refusing to create a second chain"]);
}
