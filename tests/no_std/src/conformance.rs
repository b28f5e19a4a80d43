//! Conformance cases, answered on this target.

use crate::check::check;

/// Case file of one operation.
macro_rules! case_file {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../vectors/", $name, ".jsonl")),
        )
    };
}

/// Case files of all operations that need no operating system.
const FILES: &[(&str, &str)] = &[
    case_file!("account"),
    case_file!("apply"),
    case_file!("atom"),
    case_file!("atom_decode"),
    case_file!("block"),
    case_file!("block_difficulty"),
    case_file!("block_nonce"),
    case_file!("bytes_list"),
    case_file!("eval"),
    case_file!("eval_limits"),
    case_file!("expr_atoms"),
    case_file!("expr_from_atoms"),
    case_file!("genesis"),
    case_file!("handshake_encode"),
    case_file!("integer_be"),
    case_file!("integer_le"),
    case_file!("low_eval"),
    case_file!("low_eval_limits"),
    case_file!("message_decode"),
    case_file!("message_encode"),
    case_file!("message_nonce"),
    case_file!("object_found_decode"),
    case_file!("object_found_encode"),
    case_file!("object_request_decode"),
    case_file!("object_request_encode"),
    case_file!("object_response_decode"),
    case_file!("object_response_encode"),
    case_file!("parse"),
    case_file!("ping_decode"),
    case_file!("ping_encode"),
    case_file!("provider_decode"),
    case_file!("provider_encode"),
    case_file!("receipt"),
    case_file!("route"),
    case_file!("route_response_decode"),
    case_file!("route_response_encode"),
    case_file!("tokenize"),
    case_file!("transaction"),
    case_file!("trie"),
    case_file!("validator"),
];

/// Answers all conformance cases and compares the answers with the expected ones. Returns the
/// number of cases. `report` receives each file and its number of cases.
///
/// # Panics
/// Panics at the first case with another answer.
pub fn conformance(mut report: impl FnMut(&str, usize)) -> usize {
    let mut total = 0;
    for (name, text) in FILES {
        let mut count = 0;
        for line in text.lines() {
            check(line);
            count += 1;
        }
        assert!(count > 0, "{name} has no cases");
        report(name, count);
        total += count;
    }
    total
}
