//! Homes, commands and cold storage that tests of several subjects use.

use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use astreum_tests::testkit::{Home, Ran};
use serde_json::Value;

/// Arguments that run a node with the configuration of its home.
pub(crate) const RUN: [&str; 3] = ["run", "--config", "node.toml"];
/// Arguments with the path of cold storage.
pub(crate) const COLD: [&str; 2] = ["--cold-storage-path", "cold"];

/// Creates a home with the key `validator.key` and a configuration that names it; returns the home
/// and the public key.
pub(crate) fn validator_home(name: &str) -> (Home, String) {
    let home = Home::new(name);
    let made = home.run(&["keys", "generate", "validator.key", "--kind", "validation"]);
    let key = made.lines().remove(0).to_owned();
    home.file(
        "node.toml",
        "incoming_port = 0\ndefault_seed = \"\"\ncold_storage_path = \"cold\"\n\
         validation_secret_key_file = \"validator.key\"\n",
    );
    (home, key)
}

pub(crate) fn status(home: &Home) -> Value {
    home.run(&["status", "--json"]).json()
}

/// Returns the height of the running node's head, 0 without one.
pub(crate) fn height(home: &Home) -> u64 {
    let status = status(home);
    let height = status.pointer("/chain/height").and_then(Value::as_u64);
    height.unwrap_or(0)
}

/// Runs `astreum store` on the home's cold storage.
pub(crate) fn store(home: &Home, arguments: &[&str]) -> Ran {
    home.run(&[&["store"], arguments, &COLD].concat())
}

/// Opens the home's cold storage for writing.
pub(crate) fn open_cold(home: &Home) -> ColdStore {
    let options = ColdOptions {
        level_size_bytes: 10 << 20,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: false,
    };
    ColdStore::open(&home.path().join("cold"), options).unwrap()
}
