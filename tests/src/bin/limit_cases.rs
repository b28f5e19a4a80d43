//! Generator of the conformance cases under low limits, from those of `eval` and `low_eval`.
//!
//! ```text
//! cargo run -p astreum-tests --bin limit_cases
//! ```
//!
//! Writes `vectors/eval_limits.jsonl` and `vectors/low_eval_limits.jsonl`. A case has the highest of
//! some values of one limit that still ends the evaluation, so that the result depends on each kind
//! of count. The reference has no such limits: the expected results are those of this
//! implementation, and hold it to them on every target and through every binding.

use astreum_tests::conform;
use core::error::Error;
use core::fmt::Write as _;
use serde_json::{Value, json};
use std::path::Path;

/// Limits, by their names in requests.
const LIMITS: [&str; 7] = [
    "depth",
    "stack_items",
    "heap_entries",
    "live_bytes",
    "steps",
    "atoms",
    "atom_bytes",
];
/// Values of a limit, the highest first.
const VALUES: [u64; 12] = [3_000, 1_000, 300, 100, 60, 30, 20, 10, 5, 2, 1, 0];

fn main() -> Result<(), Box<dyn Error>> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for op in ["eval", "low_eval"] {
        let cases = std::fs::read_to_string(vectors.join(format!("{op}.jsonl")))?;
        let mut text = String::new();
        for case in cases.lines() {
            let case: Value = serde_json::from_str(case)?;
            for limit in LIMITS {
                if let Some(limited) = limited(&case, limit)? {
                    writeln!(text, "{limited}")?;
                }
            }
        }
        let path = vectors.join(format!("{op}_limits.jsonl"));
        println!("{} cases in {}", text.lines().count(), path.display());
        std::fs::write(path, text)?;
    }
    Ok(())
}

/// Returns a case with a low value of a limit, and with its answer; `None` if no value ends it.
fn limited(case: &Value, limit: &str) -> Result<Option<Value>, Box<dyn Error>> {
    let mut request = case.clone();
    if let Some(request) = request.as_object_mut() {
        request.remove("out");
        let id = case.get("id").and_then(Value::as_str).unwrap_or_default();
        request.insert("id".to_owned(), json!(format!("{id}-{limit}")));
    }
    for value in VALUES {
        let input = request.get_mut("in").and_then(Value::as_object_mut);
        let input = input.ok_or("a case has no input")?;
        input.insert("limits".to_owned(), json!({ limit: value }));
        let answer: Value = serde_json::from_str(&conform::answer_line(&request.to_string()))?;
        let out = answer.get("out").ok_or("an answer has no output")?;
        let reached = out.pointer("/outcome/limit").and_then(Value::as_str);
        if reached == Some(limit) {
            let mut limited = request;
            if let Some(limited) = limited.as_object_mut() {
                limited.insert("out".to_owned(), out.clone());
            }
            return Ok(Some(limited));
        }
    }
    Ok(None)
}
