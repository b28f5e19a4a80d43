//! Bodies of the fuzz targets: each takes any bytes and panics when a promise is broken.
//!
//! A target under `fuzz/` is one line that calls one of these; the tests replay the committed
//! corpus through the same functions, so that what fuzzing found stays found.

pub mod decode;
pub mod engine;
pub mod eval;
pub mod low_eval;
pub mod parse;
pub mod round_trip;

mod input;

/// Name and body of a target.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, by the names that `cargo fuzz` knows.
pub const TARGETS: &[Target] = &[
    ("parse", parse::run),
    ("round_trip", round_trip::run),
    ("eval", eval::run),
    ("low_eval", low_eval::run),
    ("decode", decode::run),
    ("engine", engine::run),
];
