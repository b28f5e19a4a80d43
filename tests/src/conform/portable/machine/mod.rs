//! Operations that need the core without features: language, atoms and tries.
//!
//! The programs on the board include this module by its path: it depends on nothing but the core,
//! `alloc` and serde_json.

mod atoms;
mod expr_json;
pub(crate) mod fields;
mod language;
mod tries;

use alloc::string::{String, ToString as _};
use core::fmt;
use fields::Fields;
use serde_json::Value;

/// Operation: converts its input to the JSON text of its output.
pub(crate) type Op = fn(&Fields<'_>) -> Result<String, OpError>;
/// Operations of one module, by name.
pub(crate) type OpTable = &'static [(&'static str, Op)];

/// Tables of these operations.
pub(crate) const TABLES: [OpTable; 3] = [language::OPS, atoms::OPS, tries::OPS];

/// Reason an operation has no output. The text is informational: only its presence is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OpError(pub(crate) String);

impl OpError {
    pub(crate) fn new(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Answers a request with the operations of these tables.
pub(crate) fn answer<'t>(
    request: &Value,
    tables: impl IntoIterator<Item = &'t OpTable>,
) -> Result<String, OpError> {
    let fields = Fields::of(request).ok_or_else(|| OpError::new("the request is not an object"))?;
    let name = fields.text("op")?;
    let (_, op) = tables
        .into_iter()
        .copied()
        .flatten()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| OpError(alloc::format!("unknown op {name:?}")))?;
    op(&fields.object("in")?)
}
