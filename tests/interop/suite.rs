//! Concurrent execution of cases, and report of their results.

use crate::environment::Environment;
pub(crate) use astreum_tests::testkit::wait::{wait_for, wait_within};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// Result of a case; the text describes the failure.
pub(crate) type Outcome = Result<(), String>;

/// Named promise.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// Name, by which it is selected.
    pub(crate) name: &'static str,
    /// Function that checks it.
    pub(crate) run: fn(&Environment) -> Outcome,
}

/// Number of cases that run at the same time. They mostly wait, for packets and for the reference's
/// polling.
const WORKERS: usize = 6;

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;

/// Fails the case unless both are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err(format!("{}: got {left:?}, expected {right:?}", format_args!($($message)+)));
        }
    }};
}
pub(crate) use ensure_eq;

/// Runs the cases that match any of the filters, or all of them without a filter.
///
/// With `retry`, a case that fails is run a second time, and both attempts are reported. The
/// reference has races of its own, which no case can exclude.
pub(crate) fn run(
    environment: &Environment,
    cases: &[Case],
    filters: &[String],
    retry: bool,
) -> ExitCode {
    let wanted: Vec<&Case> = cases
        .iter()
        .filter(|case| {
            filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter))
        })
        .collect();
    if wanted.is_empty() {
        eprintln!("interop: no case matches {filters:?}; `list` prints the names");
        return ExitCode::from(2);
    }
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS.min(wanted.len()) {
            scope.spawn(|| {
                while let Some(case) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let first = (case.run)(environment);
                    let (outcome, word) = match (first, retry) {
                        (Ok(()), _) => (Ok(()), "ok"),
                        (Err(why), false) => (Err(why), "FAILED"),
                        (Err(why), true) => {
                            println!("interop {} failed, repeating: {why}", case.name);
                            match (case.run)(environment) {
                                Ok(()) => (Ok(()), "ok on the second attempt"),
                                Err(why) => (Err(why), "FAILED twice"),
                            }
                        }
                    };
                    println!(
                        "interop {} ... {word} ({:.1} s)",
                        case.name,
                        started.elapsed().as_secs_f64()
                    );
                    if let (Err(why), Ok(mut failures)) = (outcome, failures.lock()) {
                        failures.push((case.name, why));
                    }
                }
            });
        }
    });
    // Cannot be poisoned: a worker that panicked would have ended the scope, and with it the
    // program.
    let failures = failures.into_inner().unwrap_or_default();
    for (name, why) in &failures {
        println!("\n{name}:\n    {why}");
    }
    println!(
        "\ninterop: {} passed, {} failed",
        wanted.len() - failures.len(),
        failures.len()
    );
    ExitCode::from(u8::from(!failures.is_empty()))
}
