//! Commands `pin`, `unpin`, `pins` and `store gc`, with a running node and without one.

use std::fs;

use astreum_core::atom::AtomId;
use astreum_node::prune::{self, Run, Wanted};
use astreum_node::store::cold::ColdStore;
use astreum_tests::quick_chain::QuickChain;
use astreum_tests::testkit::Home;

use super::chain::until;
use super::fixtures::{RUN, height, open_cold};

/// Prunes all but the last ten blocks of a chain.
fn prune(cold: &ColdStore, head: AtomId) {
    let wanted = Wanted {
        chain_id: 0,
        head: Some(head),
        blocks: 10,
        min_blocks: 1,
        bytes: None,
        fork: None,
        objects: Vec::new(),
    };
    let mut run = Run {
        divisor: Some(10),
        marked: &mut |_| (),
        progress: &mut |_| (),
        should_continue: &|| true,
    };
    prune::run(cold, || wanted, &mut run).unwrap();
}

#[test]
fn pruned_chain_is_recovered_from_its_horizon() {
    let home = Home::new("pruned");
    home.file(
        "node.toml",
        "incoming_port = 0\ndefault_seed = \"\"\ncold_storage_path = \"cold\"\n",
    );
    let chain = QuickChain::make(40, 1);
    let cold = open_cold(&home);
    cold.put(&chain.atoms()).unwrap();
    cold.maintain().unwrap();
    prune(&cold, chain.head());
    let horizon = cold.pruned_below(0);
    assert!((20..40).contains(&horizon), "{horizon}");
    // A higher chain that is another one below the horizon.
    let other = QuickChain::make(50, 2);
    cold.put(&other.atoms()).unwrap();
    drop(cold);

    let recover = ["chain", "recover", "--config", "node.toml"];
    let text = home.run(&recover);
    let from = format!("verified from block {horizon} on");
    assert!(text.text().contains(&from), "{}", text.text());
    assert!(
        text.text()
            .contains("which was pruned; this one cannot be verified"),
        "{}",
        text.text()
    );
    let found = home.run(&[&recover[..], &["--adopt", "--json"]].concat());
    let found = found.json();
    let head = chain.head().to_string();
    assert_eq!(found["adoptable_id"], head.as_str(), "{found}");
    assert_eq!(found["adopted"], true);
    let node = home.start(&RUN);
    until("the node resumes", || height(&home) == 40);
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn stored_and_pinned_objects_are_kept_by_gc_until_they_are_unpinned() {
    let home = Home::new("pruning");
    let flags = ["--incoming-port", "0", "--default-seed", "none"];
    let cold = ["--cold-storage-path", "cold"];
    let running = home.start(&[&["run"], &flags[..], &cold].concat());
    // Larger than a batch of the transfer, so that parts are pinned on the way.
    home.file("data", vec![7; 20_000_000]);
    let put = home.run(&["put", "data"]);
    let id = put.lines().remove(0).to_owned();
    let pins = home.run(&["pins"]);
    assert_eq!(pins.lines(), [format!("{id}  stored")], "{}", pins.stderr);
    let pinned = home.run(&["pin", &id]);
    assert_eq!(pinned.code, 0, "{}", pinned.stderr);
    assert!(
        pinned.text().contains("5129 atoms, 0 of them copied"),
        "{}",
        pinned.text()
    );
    let kinds = home.run(&["pins", "--json"]).json();
    assert_eq!(
        (&kinds["stored"], &kinds["pinned"]),
        (&true.into(), &true.into())
    );
    let absent = "ab".repeat(32);
    home.run(&["pin", &absent])
        .fails(1, &[&absent, "found neither"]);
    home.run(&["unpin", &absent]).fails(1, &["not pinned"]);
    // The running node is asked.
    let dry = home.run(&[&["store", "gc", "--dry-run", "--json"], &cold[..]].concat());
    let dry = dry.json();
    assert_eq!(
        (&dry["pins"], &dry["garbage_atoms"]),
        (&1.into(), &0.into())
    );
    assert_eq!(running.interrupt().0, Some(0));

    let gc = |more: &[&str]| {
        let ran = home.run(&[&["store", "gc", "--json"], &cold[..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.json()
    };
    assert_eq!(gc(&[])["removed_atoms"], 0);
    let running = home.start(&[&["run"], &flags[..], &cold].concat());
    let got = home.run(&["get", &id, "--list", "--output", "back"]);
    assert_eq!(got.code, 0, "{}", got.stderr);
    assert_eq!(home.run(&["unpin", &id]).code, 0);
    assert_eq!(home.run(&["pins"]).text(), "");
    assert_eq!(running.interrupt().0, Some(0));
    assert_eq!(gc(&["--dry-run"])["garbage_atoms"], 5129);
    let done = gc(&[]);
    assert_eq!(done["removed_atoms"], 5129);
    assert!(done["removed_bytes"].as_u64().unwrap() > 20_000_000);
}

#[test]
fn directory_from_before_pins_is_collected_only_when_that_is_accepted() {
    let home = Home::new("unpinned");
    let flags = ["--incoming-port", "0", "--default-seed", "none"];
    let cold = ["--cold-storage-path", "cold"];
    let running = home.start(&[&["run"], &flags[..], &cold].concat());
    home.file("data", "old");
    home.run(&["put", "data"]);
    assert_eq!(running.interrupt().0, Some(0));
    for entry in fs::read_dir(home.path().join("cold")).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("pins-") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    let gc = [&["store", "gc"], &cold[..]].concat();
    home.run(&gc).fails(1, &["--accept-unpinned"]);
    let dry = home.run(&[&gc[..], &["--dry-run"]].concat());
    assert!(
        dry.code == 0 && dry.text().contains("not needed      1 atoms"),
        "{}",
        dry.text()
    );
    let running = home.start(&[&["run"], &flags[..], &cold].concat());
    for more in [&["--dry-run"][..], &["--dry-run", "--accept-unpinned"]] {
        let dry = home.run(&[&gc[..], more].concat());
        assert!(
            dry.code == 0 && dry.text().contains("not needed      1 atoms"),
            "{}{}",
            dry.text(),
            dry.stderr
        );
        // What a dry run accepts is not recorded.
        home.run(&gc).fails(1, &["--accept-unpinned"]);
    }
    assert_eq!(running.interrupt().0, Some(0));
    let accepted = home.run(&[&gc[..], &["--accept-unpinned"]].concat());
    assert!(
        accepted.text().contains("removed         1 atoms"),
        "{}",
        accepted.text()
    );
}
