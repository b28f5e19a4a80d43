//! Directories of cold storage that are used by both implementations in turn.

use crate::environment::Environment;
use crate::ours::Ours;
use crate::reference::{Reference, Start};
use crate::suite::{Outcome, ensure, ensure_eq, wait_for};
use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::rpc::hex;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use serde_json::{Value, json};
use std::path::Path;

/// Number of atoms; enough for several levels of the sizes below.
const ATOMS: u32 = 4_000;
/// Number of atoms that are requested over the network; every atom is read locally.
const ASKED: usize = 40;

fn data(number: u32) -> Vec<u8> {
    number.to_be_bytes().repeat(1 + number as usize % 20)
}

fn atoms() -> Vec<(AtomId, Atom)> {
    (0..ATOMS)
        .map(|number| Atom::bytes(data(number)))
        .map(|atom| (atom.id(), atom))
        .collect()
}

fn options() -> ColdOptions {
    ColdOptions {
        level_size_bytes: 8_000,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: false,
    }
}

fn path_text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| "the path is not UTF-8".into())
}

fn reference_on(environment: &Environment, path: &Path) -> Result<Reference, String> {
    let config = json!({"cold_storage_path": path_text(path)?});
    Reference::start(
        environment,
        &Start {
            config: Some(config),
            ..Start::default()
        },
    )
}

/// Checks that the reference finds all atoms in the directory, and serves them to a node of ours.
fn serves_all(environment: &Environment, path: &Path) -> Outcome {
    let mut reference = reference_on(environment, path)?;
    let all = atoms();
    for (id, atom) in &all {
        let found = reference.call("get_local", json!({"id": id.to_string()}))?;
        ensure_eq!(
            found["data"],
            json!(hex(atom.data())),
            "atom of the reference with id {id}"
        );
    }
    let ours = Ours::with_seeds(environment, &[reference.address()])?;
    reference.wait_for_peer(&ours.key)?;
    ours.wait_for_peer(&reference.key)?;
    for (id, atom) in all.iter().step_by(all.len() / ASKED) {
        let got = ours
            .get(&id.to_string())?
            .ok_or("our node did not receive it")?;
        ensure_eq!(
            got.data.to_string(),
            hex(atom.data()),
            "atom received by our node"
        );
    }
    Ok(())
}

pub(crate) fn reference_serves_atoms_that_we_wrote(environment: &Environment) -> Outcome {
    let path = environment.scratch.join("cold-ours");
    let store = ColdStore::open(&path, options()).map_err(|error| error.to_string())?;
    for batch in atoms().chunks(100) {
        store.put(batch).map_err(|error| error.to_string())?;
        store.maintain().map_err(|error| error.to_string())?;
    }
    store.collate().map_err(|error| error.to_string())?;
    let levels = store.stats().levels.len();
    ensure!(levels > 3, "the store has {levels} levels");
    drop(store);
    serves_all(environment, &path)
}

pub(crate) fn reference_serves_atoms_that_we_exported(environment: &Environment) -> Outcome {
    let path = environment.scratch.join("cold-exported");
    let from = environment.scratch.join("cold-to-export");
    let store = ColdStore::open(&from, options()).map_err(|error| error.to_string())?;
    let exported = store.put(&atoms()).and_then(|()| {
        let mut silent = |_| ();
        store.export_reference(&path, &mut silent)
    });
    let exported = exported.map_err(|error| error.to_string())?;
    ensure_eq!(exported.atoms, u64::from(ATOMS), "number of exported atoms");
    serves_all(environment, &path)
}

pub(crate) fn we_serve_atoms_that_a_reference_wrote(environment: &Environment) -> Outcome {
    let path = environment.scratch.join("cold-reference");
    let mut writer = reference_on(environment, &path)?;
    let listed: Vec<String> = (0..ATOMS).map(|number| hex(&data(number))).collect();
    let put = json!({"base_size": 8_000, "items": listed});
    ensure_eq!(
        writer.call("put_cold", put)?,
        json!(ATOMS),
        "atoms kept by the reference"
    );
    drop(writer);
    let leftovers = std::fs::read_dir(path.join("level_0")).map_err(|error| error.to_string())?;
    ensure!(leftovers.count() > 0, "the reference left files in level_0");
    ensure!(
        path.join("level_2").is_dir(),
        "the reference has several levels"
    );
    let ours = Ours::start(
        environment,
        &[
            ("cold-storage-path", path_text(&path)?),
            ("hot-storage-limit", "0"),
        ],
    )?;
    let all = atoms();
    for (id, atom) in &all {
        let got = ours
            .get(&id.to_string())?
            .ok_or("our node does not have it")?;
        ensure_eq!(
            got.data.to_string(),
            hex(atom.data()),
            "our atom with id {id}"
        );
    }
    let mut asker = Reference::start(
        environment,
        &Start {
            seeds: &[ours.address()],
            ..Start::default()
        },
    )?;
    asker.wait_for_peer(&ours.key)?;
    for (id, atom) in all.iter().step_by(all.len() / ASKED) {
        let got: Value = wait_for("the reference receives it", || {
            let got = asker.call("get", json!({"id": id.to_string()}))?;
            Ok(Some(got["atom"]["data"].clone()).filter(|data| !data.is_null()))
        })?;
        ensure_eq!(
            got,
            json!(hex(atom.data())),
            "atom received by the reference"
        );
    }
    Ok(())
}
