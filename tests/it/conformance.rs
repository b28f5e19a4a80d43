//! Every conformance case, answered like the program `conform` and compared exactly.
//!
//! The cases in `vectors/` were answered by the Python package `astreum` 0.3.71. Each operation has
//! one test, which counts its cases, so that a missing or truncated file fails.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a case that is not as expected fails the test"
)]

use astreum_tests::conform;
use serde_json::Value;
use std::path::Path;

/// Number of cases of each operation.
const CASES: usize = 60;
/// Numbers of cases under low limits.
const EVAL_LIMITS: usize = 173;
const LOW_EVAL_LIMITS: usize = 101;

/// Describes the difference between the answer and the expected one. For an operation that fails,
/// only the failure is compared.
fn difference(case: &str) -> Option<String> {
    let case: Value = serde_json::from_str(case).unwrap();
    let mut request = case.clone();
    let expected = request.as_object_mut().unwrap().remove("out").unwrap();
    let answer: Value = serde_json::from_str(&conform::answer_line(&request.to_string())).unwrap();
    assert_eq!(answer["id"], case["id"]);
    let equal = match expected.get("error") {
        Some(_) => answer["out"].get("error").is_some(),
        None => answer["out"] == expected,
    };
    (!equal).then(|| {
        format!(
            "{request}\n  expected {expected}\n  got      {}",
            answer["out"]
        )
    })
}

fn check(op: &str) {
    check_file(op, op, CASES);
}

fn check_file(name: &str, op: &str, count: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/{name}.jsonl"));
    let cases = std::fs::read_to_string(&path).unwrap();
    let cases: Vec<&str> = cases.lines().collect();
    assert_eq!(cases.len(), count, "cases in {}", path.display());
    let is_of_op = |case: &&str| serde_json::from_str::<Value>(case).unwrap()["op"] == op;
    assert!(cases.iter().all(is_of_op));
    let differences: Vec<String> = cases.iter().filter_map(|case| difference(case)).collect();
    assert!(
        differences.is_empty(),
        "{} of {count} cases of {name} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

macro_rules! conformance {
    ($($op:ident)*) => {
        /// Operations that have cases here.
        const OPS: &[&str] = &[$(stringify!($op)),*];

        $(
            #[test]
            fn $op() {
                check(stringify!($op));
            }
        )*
    };
}

conformance! {
    tokenize parse eval low_eval
    atom atom_decode expr_atoms expr_from_atoms bytes_list
    message_nonce message_encode message_decode handshake_encode ping_encode ping_decode
    object_request_encode object_request_decode object_response_encode object_response_decode
    object_found_encode object_found_decode provider_encode provider_decode
    route route_response_encode route_response_decode
    integer_le integer_be
    trie cold_index
    apply
    transaction receipt account block block_nonce block_difficulty genesis validator
}

/// Cases under low limits, from `cargo run -p astreum-tests --bin limit_cases`.
#[test]
fn results_under_low_limits() {
    check_file("eval_limits", "eval", EVAL_LIMITS);
    check_file("low_eval_limits", "low_eval", LOW_EVAL_LIMITS);
}

#[test]
fn every_operation_and_every_file_is_tested() {
    let mut names: Vec<&str> = conform::op_names().collect();
    let mut tested = OPS.to_vec();
    names.sort_unstable();
    tested.sort_unstable();
    assert_eq!(names, tested);
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let files = std::fs::read_dir(vectors).unwrap().flatten();
    let cases = files.filter(|file| file.path().extension().is_some_and(|end| end == "jsonl"));
    // Two files have cases of other files under low limits.
    assert_eq!(cases.count(), OPS.len() + 2);
}

#[test]
fn changed_answer_is_detected() {
    let case = r#"{"id":"x","op":"integer_le","in":{"value":"1"},"out":{"bytes":"02"}}"#;
    assert!(difference(case).is_some());
    let case = r#"{"id":"x","op":"integer_le","in":{"value":"1"},"out":{"error":"any"}}"#;
    assert!(difference(case).is_some());
    let case = r#"{"id":"x","op":"integer_le","in":{"value":"-1"},"out":{"error":"any"}}"#;
    assert_eq!(difference(case), None);
}
