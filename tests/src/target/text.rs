//! Fuzz target of text: parsing, printing and evaluation.

use super::{eval, parse, round_trip};

/// Uses the same bytes as source text, as the recipe of an expression, and as a script under
/// limits. The checks that repeat work are each made on a part of the inputs, which their bytes
/// select.
pub fn run(data: &[u8]) {
    super::count_operations(1);
    let selection = super::selection(data, 4);
    parse::run(data, selection == 0);
    round_trip::run(data, selection % 2 == 1);
    eval::run(data, selection == 2);
}
