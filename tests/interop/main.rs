//! Live interoperability suite: our node and the unmodified Python reference, over real sockets on
//! loopback.
//!
//! ```text
//! cargo run -p astreum-tests --bin interop            every case
//! cargo run -p astreum-tests --bin interop -- list    what there is
//! cargo run -p astreum-tests --bin interop -- ping    the cases whose name contains "ping"
//! cargo run -p astreum-tests --bin interop -- --retry every case, a failed one twice
//! ```
//!
//! On its first run it installs the reference into a private virtual environment below the target
//! folder; that requires Python 3.12 or newer and a way to `pip install`. Every case has nodes of
//! its own on ports that the system picks, asserts on the reports of the *other* side, and fails
//! after a stated time.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing JSON returns null for a missing value, and a test may panic"
)]

mod cases;
mod chain;
mod ours;
mod suite;

use astreum_tests::reference::{self, environment};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (flags, filters): (Vec<String>, Vec<String>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    if let Some(unknown) = flags.iter().find(|flag| *flag != "--retry") {
        eprintln!("interop: unknown option {unknown}; the only option is --retry");
        return ExitCode::from(2);
    }
    if filters == ["list"] {
        for case in cases::all() {
            println!("{}", case.name);
        }
        return ExitCode::SUCCESS;
    }
    let environment = match environment::Environment::prepare() {
        Ok(environment) => environment,
        Err(problem) => {
            eprintln!("interop: {problem}");
            return ExitCode::from(2);
        }
    };
    suite::run(&environment, &cases::all(), &filters, !flags.is_empty())
}
