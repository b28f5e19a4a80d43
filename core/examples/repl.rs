//! Read-eval-print loop.
//!
//! ```text
//! echo '(1 2 ((($0 $1 add) sk)))' | cargo run -qp astreum-core --example repl
//! ```

use astreum_core::atom::MemoryStore;
use astreum_core::machine::{Env, Machine};
use std::io::{self, BufRead, Write};

/// Evaluates each line of `input` in one environment.
///
/// # Errors
/// Fails if reading or writing fails.
pub(crate) fn run(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut machine = Machine::new(MemoryStore::new());
    machine.set_meter_limit(Some(1_000_000));
    let mut env = Env::new();
    for line in input.lines() {
        let line = line?;
        match machine.eval_all(&line, &mut env) {
            Ok(evaluation) => writeln!(output, "{}", evaluation.value())?,
            Err(error) => writeln!(output, "{error}\n{}", error.snippet(&line))?,
        }
    }
    Ok(())
}

pub(crate) fn main() -> io::Result<()> {
    run(io::stdin().lock(), io::stdout().lock())
}
