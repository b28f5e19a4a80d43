//! Operations `atom`, `atom_decode`, `expr_atoms`, `expr_from_atoms`, `bytes_list`.

use super::expr_json::{from_json, to_json};
use super::fields::{Fields, hex};
use super::{OpError, OpTable};
use alloc::format;
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use astreum_core::atom::{Atom, AtomKind, MemoryStore, bytes_list};
use astreum_core::expr::Expr;
use serde_json::json;

pub(super) const OPS: OpTable = &[
    ("atom", atom),
    ("atom_decode", atom_decode),
    ("expr_atoms", expr_atoms),
    ("expr_from_atoms", expr_from_atoms),
    ("bytes_list", list),
];

fn atom(fields: &Fields<'_>) -> Result<String, OpError> {
    let code = fields.number("kind")?;
    let kind =
        AtomKind::from_code(code).ok_or_else(|| OpError(format!("unknown atom kind {code}")))?;
    let atom = Atom::new(kind, fields.hex("data")?, fields.id("next")?);
    Ok(json!({ "id": hex(atom.id()), "bytes": hex(atom.to_bytes()) }).to_string())
}

fn atom_decode(fields: &Fields<'_>) -> Result<String, OpError> {
    let atom = Atom::from_bytes(&fields.hex("bytes")?).map_err(OpError::new)?;
    Ok(json!({
        "kind": atom.kind().code(),
        "data": hex(atom.data()),
        "next": hex(atom.next()),
    })
    .to_string())
}

fn expr_atoms(fields: &Fields<'_>) -> Result<String, OpError> {
    let (id, atoms) = from_json(fields.value("expr")?)?.to_atoms();
    Ok(json!({ "id": hex(id), "atoms": hex_atoms(&atoms) }).to_string())
}

/// Maximum number of atoms of an expression. It exceeds the number in a request, because lists may
/// share atoms.
const MAX_ATOMS: usize = 1 << 20;

fn expr_from_atoms(fields: &Fields<'_>) -> Result<String, OpError> {
    let store: MemoryStore = fields.atoms("atoms")?.into_iter().collect();
    let expr = Expr::from_atoms(&store, &fields.id("id")?, MAX_ATOMS).map_err(OpError::new)?;
    Ok(format!("{{\"expr\":{}}}", to_json(&expr)))
}

fn list(fields: &Fields<'_>) -> Result<String, OpError> {
    let (head, atoms) = bytes_list(&fields.hex_list("values")?);
    Ok(json!({ "id": hex(head), "atoms": hex_atoms(&atoms) }).to_string())
}

/// Returns the atoms' stored bytes in hex.
pub(super) fn hex_atoms(atoms: &[Atom]) -> Vec<String> {
    atoms.iter().map(Atom::to_bytes).map(hex).collect()
}
