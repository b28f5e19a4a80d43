//! Command `account history` and the index of transactions behind it, with real nodes that are
//! killed and whose files are damaged.
#![expect(
    clippy::indexing_slicing,
    reason = "a missing value fails the test with its location"
)]

use core::time::Duration;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use astreum_core::atom::AtomId;
use astreum_core::chain::{Block, Transaction};
use astreum_node::query;
use astreum_tests::quick_chain::QuickChain;
use astreum_tests::testkit::{Home, Output};
use serde_json::Value;

use super::chain::until;
use super::fixtures::{RUN, open_cold, status};

/// Creates a home whose cold storage has a chain with an index.
fn home_with(chain: &QuickChain, name: &str, more: &str) -> Home {
    let home = Home::new(name);
    let config = "incoming_port = 0\ndefault_seed = \"\"\ncold_storage_path = \"cold\"\n";
    home.file("node.toml", format!("{config}{more}"));
    let cold = open_cold(&home);
    cold.put(&chain.atoms()).unwrap();
    drop(cold);
    let adopt = ["chain", "recover", "--config", "node.toml", "--adopt"];
    assert_eq!(home.run(&adopt).code, 0);
    home
}

/// Returns height, index, id, sender and recipient of every transaction, the newest first.
fn scan(chain: &QuickChain) -> Vec<(u64, u64, String, String, String)> {
    let mut found = Vec::new();
    for id in &chain.blocks {
        let block = Block::read(chain.store(), *id).unwrap();
        let ids = query::transactions(chain.store(), &block).unwrap();
        for (index, id) in ids.into_iter().enumerate() {
            let transaction = Transaction::read(chain.store(), id).unwrap();
            found.push((
                block.height.to_u64().unwrap(),
                index as u64,
                id.to_string(),
                transaction.sender().to_string(),
                transaction.recipient.to_string(),
            ));
        }
    }
    found.reverse();
    found
}

fn history(home: &Home, more: &[&str]) -> Value {
    home.run(&[&["account", "history"], more, &["--json"]].concat())
        .json()
}

fn ids(reply: &Value) -> Vec<String> {
    let transactions = reply["transactions"].as_array().unwrap();
    let ids = transactions
        .iter()
        .map(|it| it["id"].as_str().unwrap().to_owned());
    ids.collect()
}

fn is_complete(home: &Home) -> bool {
    let index = &status(home)["transaction_index"];
    index["complete"] == true && index["to_height"] == status(home)["chain"]["height"]
}

fn index_files(home: &Home) -> Vec<PathBuf> {
    let directory = home.path().join("cold/chain/0/transaction_index");
    let mut files: Vec<PathBuf> = match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    files.sort();
    files
}

#[test]
fn history_lists_what_the_chain_has_and_its_pages_continue() {
    let chain = QuickChain::make(90, 2);
    let home = home_with(&chain, "history", "transaction_index = true\n");
    let node = home.start(&RUN);
    until("the index is complete", || is_complete(&home));
    let all = scan(&chain);
    assert_eq!(all.len(), 180);
    let expected: Vec<&String> = all.iter().map(|it| &it.2).collect();
    let reply = history(&home, &["any", "--limit", "1000"]);
    assert_eq!(ids(&reply).iter().collect::<Vec<_>>(), expected);
    assert_eq!(
        (&reply["from_height"], &reply["to_height"]),
        (&0.into(), &90.into())
    );
    assert_eq!(reply["to_block"], chain.head().to_string());
    assert_eq!(
        (&reply["complete"], &reply["next"]),
        (&true.into(), &Value::Null)
    );
    let first = &reply["transactions"][0];
    let (height, index, id, sender, recipient) = &all[0];
    assert_eq!(first["height"], *height);
    assert_eq!(first["index"], *index);
    assert_eq!(
        (&first["sender"], &first["recipient"]),
        (&(*sender).clone().into(), &(*recipient).clone().into())
    );
    assert_eq!(
        (&first["amount"], &first["status"]),
        (&"1".into(), &"success".into())
    );
    let block = home.run(&["block", "show", "90", "--json"]).json();
    assert_eq!(
        (&first["block"], &first["timestamp"]),
        (&block["id"], &block["timestamp"])
    );
    assert_eq!(block["included"][1]["id"], **id);

    // By account, role and height, beside the scan.
    let sent = history(&home, &[sender, "--sender", "--limit", "1000"]);
    assert_eq!(ids(&sent).len(), 180);
    assert_eq!(ids(&history(&home, &[sender, "--recipient"])), [""; 0]);
    let to = &all[7].4;
    let received = history(&home, &[to, "--recipient"]);
    let matching = all.iter().filter(|it| it.4 == *to).map(|it| it.2.clone());
    assert_eq!(ids(&received), matching.collect::<Vec<_>>());
    let some = history(&home, &["any", "--from-height", "40", "--to-height", "41"]);
    assert_eq!(ids(&some).len(), 4);
    assert_eq!(
        ids(&history(&home, &["any", "--data-prefix", "00"])),
        [""; 0]
    );

    // Pages, as text with the next command.
    let page = home.run(&["account", "history", sender, "--limit", "3"]);
    let lines = page.lines();
    assert!(lines[0].ends_with(&all[0].2), "{lines:?}");
    assert_eq!(lines[6], "index: blocks 0 to 90");
    let cursor = lines[7].rsplit_once(' ').unwrap().1;
    let next = history(&home, &[sender, "--limit", "3", "--after", cursor]);
    let expected: Vec<String> = all[3..6].iter().map(|it| it.2.clone()).collect();
    assert_eq!(ids(&next), expected);
    for (wrong, expected) in [
        (
            &["--after", "x"][..],
            "expected the cursor of an earlier page",
        ),
        (
            &["--from-height", "9", "--to-height", "8"],
            "invalid value \"9\" for --from-height: it is above --to-height 8",
        ),
        (
            &["--data-prefix", &"00".repeat(33)],
            "the first 32 bytes of data",
        ),
    ] {
        home.run(&[&["account", "history", "any"], wrong].concat())
            .fails(2, &[expected]);
    }
    home.run(&["account", "history", "any", "--sender"])
        .fails(2, &["need an account"]);
    home.run(&["account", "history", "any", "--data-prefix", "abc"])
        .fails(2, &["hex digits in pairs, such as 00ff\n"]);
    home.run(&["account", "history"])
        .fails(1, &["this node has no account"]);
    let shown = home.run(&["status"]);
    let line = shown
        .lines()
        .into_iter()
        .find(|line| line.starts_with("index"))
        .unwrap();
    assert!(
        line.contains("transactions of blocks 0 to 90; 1 files"),
        "{line}"
    );
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn index_survives_kills_at_any_time() {
    let chain = QuickChain::make(220, 1);
    let home = home_with(&chain, "histkill", "transaction_index = true\n");
    let directory = home.path().join("cold/chain/0/transaction_index");
    let mut seen = BTreeSet::new();
    for round in 0..12_u64 {
        if round.is_multiple_of(4) {
            let _ = fs::remove_dir_all(&directory);
        }
        let mut node = home.spawn(&RUN, Output::Piped);
        node.wait_for_greeting().unwrap();
        std::thread::sleep(Duration::from_millis(round * 7));
        node.kill().unwrap();
        seen.insert(index_files(&home).len());
    }
    let node = home.start(&RUN);
    until("the index is complete", || is_complete(&home));
    let expected: Vec<String> = scan(&chain).into_iter().map(|it| it.2).collect();
    assert_eq!(ids(&history(&home, &["any", "--limit", "1000"])), expected);
    let status = status(&home);
    let problems = status["problems"].as_array().unwrap();
    assert!(
        problems
            .iter()
            .all(|it| !it.as_str().unwrap().contains("index")),
        "{problems:?}"
    );
    assert_eq!(node.interrupt().0, Some(0));
    // Files that a kill left incomplete are gone.
    let names = index_files(&home);
    assert!(
        names
            .iter()
            .all(|path| path.extension().is_some_and(|it| it == "segment")),
        "{names:?}"
    );
    assert_eq!(names.len(), 3, "after {seen:?}");
}

#[test]
fn deleted_and_damaged_files_are_rebuilt_and_reported() {
    let chain = QuickChain::make(130, 1);
    let home = home_with(&chain, "histdamage", "transaction_index = true\n");
    let expected: Vec<String> = scan(&chain).into_iter().map(|it| it.2).collect();
    let complete = |what: &str| {
        let node = home.start(&RUN);
        until(what, || is_complete(&home));
        assert_eq!(
            ids(&history(&home, &["any", "--limit", "1000"])),
            expected,
            "{what}"
        );
        let problems = status(&home)["problems"].to_string();
        assert_eq!(node.interrupt().0, Some(0));
        problems
    };
    assert!(!complete("the index is made").contains("index"));
    let files = index_files(&home);
    assert_eq!(files.len(), 2);
    fs::remove_file(&files[1]).unwrap();
    assert!(!complete("a file is missing").contains("index"));
    let mut bytes = fs::read(&files[0]).unwrap();
    bytes[5] ^= 1;
    fs::write(&files[0], &bytes).unwrap();
    let problems = complete("a file is damaged");
    assert!(
        problems.contains("the transaction index was damaged at"),
        "{problems}"
    );
    assert!(problems.contains("does not match"), "{problems}");
    // A directory that cannot be used is a problem, and the node runs.
    let directory = home.path().join("cold/chain/0/transaction_index");
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, b"").unwrap();
    let node = home.start(&RUN);
    let problem = || status(&home)["problems"].to_string();
    until("the problem is reported", || {
        problem().contains("index cannot be written")
    });
    assert_eq!(status(&home)["halted"], false);
    let reply = history(&home, &["any"]);
    assert_eq!(
        (&reply["to_height"], &reply["complete"]),
        (&Value::Null, &false.into())
    );
    assert_eq!(home.run(&["block", "show", "12"]).code, 0);
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn index_is_off_unless_configured_and_can_be_switched_on_later() {
    let chain = QuickChain::make(20, 1);
    let home = home_with(&chain, "histoff", "");
    let node = home.start(&RUN);
    let hint = "set transaction_index = true";
    home.run(&["account", "history", "any"]).fails(1, &[hint]);
    assert_eq!(status(&home)["transaction_index"], Value::Null);
    assert_eq!(node.interrupt().0, Some(0));
    assert_eq!(index_files(&home).len(), 0);
    let node = home.start(&[&RUN[..], &["--transaction-index"]].concat());
    until("the index is complete", || is_complete(&home));
    assert_eq!(ids(&history(&home, &["any"])).len(), 20);
    let head: AtomId = chain.head();
    assert_eq!(history(&home, &["any"])["to_block"], head.to_string());
    assert_eq!(node.interrupt().0, Some(0));
    home.run(&["run", "--transaction-index"]).fails(
        2,
        &[
            "the index is kept beside the chain's files",
            "cold_storage_path",
        ],
    );
}
