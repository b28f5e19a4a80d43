//! Fuzz target of text: parsing, printing and evaluation.

use super::{eval, parse, round_trip};

/// Uses the same bytes as source text, as the recipe of an expression, and as a script under
/// limits.
pub fn run(data: &[u8]) {
    super::count_operations(1);
    parse::run(data);
    round_trip::run(data);
    eval::run(data);
}
