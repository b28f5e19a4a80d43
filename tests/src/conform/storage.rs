//! Operation `cold_index`.

use super::portable::fields::{Fields, hex};
use super::portable::{OpError, OpTable};
use astreum_node::store::sorted_pair::encode_pair;
use serde_json::json;

pub(super) const OPS: OpTable = &[("cold_index", cold_index)];

fn cold_index(fields: &Fields<'_>) -> Result<String, OpError> {
    let pair = encode_pair(fields.atoms("atoms")?);
    let (index, data) = pair.ok_or_else(|| OpError::new("nothing to collate"))?;
    Ok(json!({ "index": hex(index), "data": hex(data) }).to_string())
}
