//! Text of any kind: what reads it, what prints it, and what evaluates it.

use super::{eval, parse, round_trip};

/// The same bytes as source text, as the recipe of an expression, and as a script under limits.
pub fn run(data: &[u8]) {
    parse::run(data);
    round_trip::run(data);
    eval::run(data);
}
