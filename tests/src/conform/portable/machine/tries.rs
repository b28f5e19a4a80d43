//! Operation `trie`.

use super::fields::{Fields, hex, hex_of};
use super::{OpError, OpTable};
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use astreum_core::atom::MemoryStore;
use astreum_core::trie::{self, Scalar, Trie};
use serde_json::{Value, json};

pub(super) const OPS: OpTable = &[("trie", trie)];

/// Answers `trie`. Every put and every get goes through stored nodes, as in a reference node.
fn trie(fields: &Fields<'_>) -> Result<String, OpError> {
    let mut store = MemoryStore::new();
    let mut root = None;
    for pair in fields.list_of("puts", "pairs", Value::as_array)? {
        let [key, value] = pair.as_slice() else {
            return Err(OpError::new("a put is not a key and a value"));
        };
        let bytes = |value| hex_of(value).ok_or_else(|| OpError::new("a put is not hex"));
        let (key, value) = (bytes(key)?, bytes(value)?);
        let mut trie = root.map_or_else(Trie::new, Trie::open);
        trie.put(&store, &key, &value).map_err(OpError::new)?;
        root = Some(trie.commit(&mut Scalar, &mut store).map_err(OpError::new)?);
    }
    let get = |key: Vec<u8>| {
        let found = root.map(|root| trie::get(&store, root, &key));
        found
            .transpose()
            .map(|found| found.flatten().map(|value| hex(&*value)))
    };
    let keys = fields.hex_list("gets")?;
    let values: Result<Vec<_>, _> = keys.into_iter().map(get).collect();
    let values = values.map_err(OpError::new)?;
    Ok(json!({ "root": root.map(hex), "values": values }).to_string())
}
