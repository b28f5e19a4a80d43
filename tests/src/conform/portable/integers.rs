//! Operations `integer_le`, `integer_be`.

use super::fields::{Fields, hex};
use super::{OpError, OpTable};
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use astreum_core::integer::Natural;
use serde_json::json;

pub(super) const OPS: OpTable = &[
    ("integer_le", |fields| encode(fields, Natural::to_bytes_le)),
    ("integer_be", |fields| encode(fields, Natural::to_bytes_be)),
];

/// Encodes the value; a missing value gives no bytes.
fn encode(fields: &Fields<'_>, to_bytes: fn(&Natural) -> Vec<u8>) -> Result<String, OpError> {
    let value = fields.optional("value", Fields::text)?;
    let value = value.map(str::parse::<Natural>).transpose();
    let bytes = value.map_err(OpError::new)?.map(|value| to_bytes(&value));
    Ok(json!({ "bytes": hex(bytes.unwrap_or_default()) }).to_string())
}
