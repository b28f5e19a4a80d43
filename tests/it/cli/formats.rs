//! Directories of earlier formats, which every later version has to open.
//!
//! The directories below `tests/fixtures/formats` are frozen: a new format gets a new directory
//! beside them. Each has a chain of a few blocks and the file of [`FILE_BYTES`] bytes that was put.
//!
//! | directory | format |
//! | --- | --- |
//! | `1-state-head` | cold storage without lengths of pairs; head and signing record in `state_dir` |
//! | `2-chain-dir` | pairs with lengths; identity, head journal and signing record in `chain` |
//! | `3-state-files` | as before, with advertisements in `state_dir` |

use std::fs;
use std::path::{Path, PathBuf};

use astreum_tests::testkit::Home;
use serde_json::Value;

use super::chain::until;
use super::fixtures::RUN;

const FILE_BYTES: usize = 20_000;
const CONFIG: &str = "incoming_port = 0\ndefault_seed = \"\"\ncold_storage_path = \"cold\"\n\
                      state_dir = \"state\"\nvalidation_secret_key_file = \"validator.key\"\n";

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("fixtures/formats").join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(from, to).unwrap()),
        }
    }
}

/// Returns a home with a copy of a fixture, and what the fixture has.
fn home_of(name: &str) -> (Home, Value) {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new("format");
    copy(&fixture(name), home.path());
    home.file("node.toml", CONFIG);
    let key = home.path().join("validator.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    let contents = fs::read(home.path().join("contents.json")).unwrap();
    (home, serde_json::from_slice(&contents).unwrap())
}

fn status(home: &Home) -> Value {
    home.run(&["status", "--config", "node.toml", "--json"])
        .json()
}

#[test]
fn directories_of_earlier_formats_open_and_continue() {
    for name in ["1-state-head", "2-chain-dir", "3-state-files"] {
        let (home, contents) = home_of(name);
        let text = |field: &str| contents[field].as_str().unwrap().to_owned();
        let before = contents["height"].as_u64().unwrap();
        let verified = home.run(&["store", "verify", "--config", "node.toml"]);
        assert_eq!(verified.code, 0, "{name}: {verified:?}");
        let node = home.start(&RUN);
        // The clock of this machine may be behind the chain, so no further block is waited for.
        until("the head of the fixture", || {
            let height = &status(&home)["chain"]["height"];
            height.as_u64().is_some_and(|height| height >= before)
        });
        let block = home.run(&[
            "block",
            "show",
            &before.to_string(),
            "--config",
            "node.toml",
            "--json",
        ]);
        assert_eq!(block.json()["id"], text("head"), "{name}");
        let status = status(&home);
        assert_eq!(
            status["validator"]["public_key"],
            text("validator"),
            "{name}"
        );
        let get = ["get", &text("file"), "--config", "node.toml", "-o", "out"];
        home.run(&get).lines();
        assert_eq!(
            fs::read(home.path().join("out")).unwrap(),
            vec![7; FILE_BYTES],
            "{name}"
        );
        let advertised = home.run(&["advertise", "list", "--config", "node.toml"]);
        let is_advertised = advertised
            .lines()
            .iter()
            .any(|line| line.contains(&text("file")));
        assert_eq!(is_advertised, name == "3-state-files", "{name}");
        assert_eq!(node.interrupt().0, Some(0), "{name}");
        let verified = home.run(&["store", "verify", "--config", "node.toml"]);
        assert_eq!(verified.code, 0, "{name}: {verified:?}");
    }
}

#[test]
fn key_file_without_its_kind_is_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new("old-key");
    let old = home.file("old.key", format!("{}\n", "07".repeat(32)));
    fs::set_permissions(old, fs::Permissions::from_mode(0o600)).unwrap();
    for (kind, public) in [
        (
            "account",
            "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c",
        ),
        (
            "relay",
            "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d",
        ),
    ] {
        let shown = home.run(&["keys", "show", "old.key", "--kind", kind]);
        assert_eq!(shown.lines(), [public]);
    }
}
