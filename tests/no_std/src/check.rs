//! Comparison of the answer to one conformance case with the expected one.

use crate::conform::{TABLES, answer};
use serde_json::Value;

/// Answers a case, a line of JSON, and compares the answer with the expected one.
///
/// # Panics
/// Panics if they differ.
pub(crate) fn check(line: &str) {
    let case: Value = match serde_json::from_str(line) {
        Ok(case) => case,
        Err(error) => panic!("malformed case: {error}"),
    };
    let expected = case.get("out");
    let is_error = expected.is_some_and(|out| out.get("error").is_some());
    match answer(&case, &TABLES) {
        Ok(_) if is_error => panic!("an error is expected: {line}"),
        Ok(text) => {
            let actual: Option<Value> = serde_json::from_str(&text).ok();
            assert!(actual.as_ref() == expected, "wrong answer {text}: {line}");
        }
        // An operation may answer with an error of its own, so only its presence is compared.
        Err(error) => assert!(is_error, "{}: {line}", error.0),
    }
}
