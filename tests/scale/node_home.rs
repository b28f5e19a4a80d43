//! Arguments of the nodes that the cases start as processes, and stores that are filled before the
//! start.

use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::{ColdStorageSync, Config};
use astreum_node::store::cold::{ColdOptions, ColdStore};
use std::path::Path;

/// Arguments of a node on loopback with a port of the system's choice; the path of its cold storage
/// follows.
pub(crate) const RUN: [&str; 8] = [
    "run",
    "--incoming-port",
    "0",
    "--bind-address",
    "127.0.0.1",
    "--default-seed",
    "none",
    "--cold-storage-path",
];

/// Stores atoms in cold storage at a path, without syncs and collations; returns their ids.
pub(crate) fn fill(path: &Path, batches: impl IntoIterator<Item = Vec<Atom>>) -> Vec<AtomId> {
    let options = ColdOptions {
        level_size_bytes: Config::default().cold_storage_level_size,
        limit_bytes: 0,
        sync: ColdStorageSync::Never,
        mapped: true,
        background: false,
    };
    let store = ColdStore::open(path, options).unwrap();
    let mut ids = Vec::new();
    for atoms in batches {
        let atoms: Vec<_> = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
        store.put(&atoms).unwrap();
        ids.extend(atoms.into_iter().map(|(id, _)| id));
    }
    ids
}
