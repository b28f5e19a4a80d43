//! Tests of chain queries beside a store with damaged files.

use super::*;
use crate::config::Config;
use crate::key_file::NodeKeys;
use crate::rpc::RpcError;
use std::fs;

#[test]
fn damaged_atom_is_unreadable_and_not_missing() {
    let scratch = tempfile::tempdir().unwrap();
    let config = Config {
        cold_storage_path: Some(scratch.path().join("cold")),
        default_seed: None,
        incoming_port: 0,
        ..Config::default()
    };
    let settings = config.resolve().unwrap();
    let keys = NodeKeys::read(&settings).unwrap();
    let open = || Node::with_settings(settings.clone(), keys.clone()).unwrap();
    let node = open();
    let cold = node.store().cold().unwrap();
    let id = node.put(Atom::bytes([7; 100])).unwrap().id;
    cold.collate().unwrap();
    drop(node);
    let path = scratch.path().join("cold/level_1/0_data");
    let mut data = fs::read(&path).unwrap();
    *data.last_mut().unwrap() ^= 1;
    fs::write(&path, data).unwrap();

    let node = open();
    let block = node.block(BlockAt::Id(id)).unwrap_err();
    let transaction = node.transaction(id).unwrap_err();
    for error in [block, transaction] {
        let is_named = matches!(&error, QueryError::Unreadable { id: named, .. } if *named == id);
        let text = RpcError::from(error).message;
        assert!(is_named, "{text}");
        let place = path.display().to_string();
        assert!(
            text.contains("cannot be read") && text.contains(&place),
            "{text}"
        );
    }
    let missing = AtomId::new([9; 32]);
    let error = node.block(BlockAt::Id(missing)).unwrap_err();
    assert_eq!(error, QueryError::Missing(missing));
    let error = node.transaction(missing).unwrap_err();
    assert_eq!(error, QueryError::UnknownTransaction(missing));
}
