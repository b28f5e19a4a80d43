//! Operations `tokenize`, `parse`, `eval`, `low_eval`.

use super::expr_json::{from_json, to_json};
use super::fields::Fields;
use super::{OpError, OpTable};
use alloc::format;
use alloc::string::String;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use astreum_core::atom::MemoryStore;
use astreum_core::expr::Bytes;
use astreum_core::machine::{Env, Evaluation, Machine};
use astreum_core::text;
use serde_json::json;

pub(super) const OPS: OpTable = &[
    ("tokenize", tokenize),
    ("parse", parse),
    ("eval", eval),
    ("low_eval", low_eval),
];

fn tokenize(fields: &Fields<'_>) -> Result<String, OpError> {
    let tokens = text::tokenize(fields.text("source")?).map_err(OpError::new)?;
    let tokens: Vec<&str> = tokens.iter().map(|token| token.text).collect();
    Ok(json!({ "tokens": tokens }).to_string())
}

fn parse(fields: &Fields<'_>) -> Result<String, OpError> {
    let mut parser = text::Parser::new(fields.text("source")?);
    let first = parser.next();
    let expr = first.ok_or_else(|| OpError::new("no expression"))?;
    let expr = expr.map_err(OpError::new)?;
    let mut rest = Vec::new();
    for token in parser.into_tokens() {
        rest.push(token.map_err(OpError::new)?.text);
    }
    Ok(format!(
        "{{\"expr\":{},\"rest\":{}}}",
        to_json(&expr),
        json!(rest)
    ))
}

/// Creates a machine with the request's atoms and limit. A negative limit counts as 0, which any
/// charge exceeds.
fn machine(fields: &Fields<'_>) -> Result<Machine<MemoryStore>, OpError> {
    let atoms = fields.optional("atoms", Fields::atoms)?;
    let mut machine = Machine::new(atoms.unwrap_or_default().into_iter().collect());
    let limit = fields.optional("limit", Fields::int)?;
    machine.set_meter_limit(limit.map(|limit| u64::try_from(limit).unwrap_or(0)));
    Ok(machine)
}

fn evaluation(evaluation: &Evaluation) -> String {
    let expr = to_json(evaluation.value());
    format!("{{\"expr\":{expr},\"used\":{}}}", evaluation.used())
}

fn eval(fields: &Fields<'_>) -> Result<String, OpError> {
    let mut env = Env::new();
    for (name, value) in fields.object("env")?.entries() {
        env.set(name, from_json(value)?);
    }
    let source = fields.text("source")?;
    Ok(evaluation(&machine(fields)?.eval_source(source, &mut env)))
}

fn low_eval(fields: &Fields<'_>) -> Result<String, OpError> {
    let code = fields.hex_list("code")?;
    let code: Vec<Bytes> = code.iter().map(|token| Bytes::new(token)).collect();
    Ok(evaluation(&machine(fields)?.run(&code)))
}
