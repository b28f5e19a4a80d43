//! Handler of evaluations.
//!
//! Invariant: the text of a value is cut after [`MAX_VALUE_BYTES`], and a larger JSON is left out,
//! so that a small value with shared lists cannot have a large reply.

use crate::WaitLimit;
use crate::node::Node;
use crate::rpc::{Caller, EVAL_FETCH_SECONDS, EvalReply, RpcError, hex, request};
use astreum_core::expr::Expr;
use astreum_core::machine::Env;
use astreum_core::text;
use core::time::Duration;
use serde_json::{Value, json};

/// Maximum nesting of a list in JSON; deeper lists are sent only as text, because JSON readers stop
/// soon after.
const MAX_JSON_DEPTH: u32 = 60;
/// Maximum size in bytes of a value's text or JSON.
const MAX_VALUE_BYTES: usize = 1 << 20;

/// Evaluates one expression; the evaluation ends early once the caller is gone.
pub(super) fn evaluate(
    node: &Node,
    params: &request::Eval,
    caller: &Caller,
) -> Result<EvalReply, RpcError> {
    let mut budget = MAX_VALUE_BYTES;
    let expr = text::parse(&params.source).map_err(|error| error.to_string())?;
    let mut machine = node.machine();
    machine.set_meter_limit(params.limit);
    machine.set_interrupt(caller.gone());
    let fetch_seconds = params.fetch_seconds.unwrap_or(EVAL_FETCH_SECONDS);
    let wait_limit = WaitLimit::NONE.within(Duration::from_secs(fetch_seconds));
    let evaluation = wait_limit.scope(|| machine.eval(&expr, &mut Env::new()));
    let value = evaluation.value();
    Ok(EvalReply {
        text: text::to_text(value, MAX_VALUE_BYTES),
        expr: expr_json(value, MAX_JSON_DEPTH, &mut budget).unwrap_or_default(),
        used: evaluation.used(),
        is_error: value.is_error(),
    })
}

/// Returns the value as exact JSON; `None` if lists are nested deeper than `depth`, or if the
/// output exceeds `budget` bytes: a small value can have a large output, because lists are shared.
fn expr_json(expr: &Expr, depth: u32, budget: &mut usize) -> Option<Value> {
    let own_bytes = 16
        + expr.as_symbol().map_or(0, str::len)
        + expr.as_bytes().map_or(0, |bytes| 2 * bytes.len());
    *budget = budget.checked_sub(own_bytes)?;
    Some(match expr {
        Expr::Symbol(name) => json!({ "sym": name.as_str() }),
        Expr::Bytes(bytes) => json!({ "bytes": hex(bytes) }),
        Expr::List(items) => {
            let depth = depth.checked_sub(1)?;
            let items: Option<Vec<Value>> = items
                .iter()
                .map(|item| expr_json(item, depth, budget))
                .collect();
            json!({ "list": items? })
        }
    })
}
