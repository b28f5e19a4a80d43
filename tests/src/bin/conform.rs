//! Answers to conformance requests: one JSON request per line on stdin, one answer per line on
//! stdout, for comparison of implementations.
//!
//! ```text
//! echo '{"id":"1","op":"parse","in":{"source":"(a 1)"}}' | cargo run -qp astreum-tests --bin conform
//! ```

use std::io;

fn main() -> io::Result<()> {
    astreum_tests::conform::run(io::stdin().lock(), io::stdout().lock())
}
