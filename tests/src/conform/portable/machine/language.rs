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
use astreum_core::machine::{Env, Evaluation, Limits, Machine, Outcome};
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

/// Creates a machine with the request's atoms, meter limit and limits. A negative meter limit counts
/// as 0, which any charge exceeds.
fn machine(fields: &Fields<'_>) -> Result<Machine<MemoryStore>, OpError> {
    let atoms = fields.optional("atoms", Fields::atoms)?;
    let store = atoms.unwrap_or_default().into_iter().collect();
    let limits = fields.optional("limits", |fields, name| limits(&fields.object(name)?))?;
    let mut machine = Machine::with_limits(store, limits.unwrap_or_default());
    let limit = fields.optional("limit", Fields::int)?;
    machine.set_meter_limit(limit.map(|limit| u64::try_from(limit).unwrap_or(0)));
    Ok(machine)
}

/// Reads limits; those that are not given are the default ones.
fn limits(fields: &Fields<'_>) -> Result<Limits, OpError> {
    let mut limits = Limits::DEFAULT;
    for (name, _) in fields.entries() {
        let limit = match name {
            "depth" => &mut limits.depth,
            "stack_items" => &mut limits.stack_items,
            "heap_entries" => &mut limits.heap_entries,
            "live_bytes" => &mut limits.live_bytes,
            "steps" => &mut limits.steps,
            "atoms" => &mut limits.atoms,
            "atom_bytes" => &mut limits.atom_bytes,
            _ => return Err(OpError(format!("unknown limit {name:?}"))),
        };
        let given = fields.int(name)?;
        *limit = u64::try_from(given).map_err(|_| OpError(format!("{name} is negative")))?;
    }
    Ok(limits)
}

/// Returns the JSON text of a result, with steps and outcome if the request had limits.
fn evaluation(fields: &Fields<'_>, evaluation: &Evaluation) -> String {
    let expr = to_json(evaluation.value());
    let used = evaluation.used();
    if fields.is_null("limits") {
        return format!("{{\"expr\":{expr},\"used\":{used}}}");
    }
    let steps = evaluation.steps();
    let outcome = match evaluation.outcome() {
        Outcome::Limit(exceeded) => json!({
            "limit": exceeded.kind.name(),
            "max": exceeded.limit,
            "used": exceeded.used,
        }),
        Outcome::Missing(_) => json!("missing"),
        _ => json!("finished"),
    };
    format!("{{\"expr\":{expr},\"used\":{used},\"steps\":{steps},\"outcome\":{outcome}}}")
}

fn eval(fields: &Fields<'_>) -> Result<String, OpError> {
    let mut env = Env::new();
    for (name, value) in fields.object("env")?.entries() {
        env.set(name, from_json(value)?);
    }
    let source = fields.text("source")?;
    let result = machine(fields)?.eval_source(source, &mut env);
    Ok(evaluation(fields, &result))
}

fn low_eval(fields: &Fields<'_>) -> Result<String, OpError> {
    let code = fields.hex_list("code")?;
    let code: Vec<Bytes> = code.iter().map(|token| Bytes::new(token)).collect();
    Ok(evaluation(fields, &machine(fields)?.run(&code)))
}
