//! A list of 100 MB between two nodes on loopback, verified and stored, beside iroh-blobs, which
//! moves as many bytes between memory stores of two processes.
//!
//! `scale --large lists` measures the nodes in the same run. The exit code is 1 if they have less
//! than half the rate of iroh-blobs, or more than twice its processor time per byte.

mod blobs;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

const MEGABYTES: usize = 100;
const ROUNDS: usize = 5;
/// Least share of the rate, and greatest share of the processor time per byte.
const BARS: (f64, f64) = (0.5, 2.0);
/// Rows of `scale`.
const RATE: &str = "list of 100 MB, loopback, verified, stored and read back";
const PROCESSOR_TIME: &str = "list of 100 MB, loopback: processor time of both nodes";

/// Figures of one side, each the best of its rounds.
struct Figures {
    /// MB/s.
    rate: f64,
    /// Processor time of both ends, user and system, in ns.
    per_byte: f64,
}

/// Builds and runs the case of the project.
fn lists() -> Figures {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--release", "--locked", "-p", "astreum-tests"])
        .args(["--bin", "scale", "--", "--large", "--json", "lists"])
        .current_dir(root)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    // The exit code is 1 if a bar is missed that is not of this comparison.
    let rows: Value = serde_json::from_slice(&output.stdout).expect("a table from `scale`");
    let value = |name| {
        let mut rows = rows.as_array().into_iter().flatten();
        let row = rows.find(|row| row["name"] == name);
        row.and_then(|row| row["value"].as_f64())
            .expect("the row of `scale`")
    };
    Figures {
        rate: value(RATE),
        per_byte: value(PROCESSOR_TIME),
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        blobs::serve();
        return ExitCode::SUCCESS;
    }
    let theirs = blobs::measure();
    let ours = lists();
    let shares = (ours.rate / theirs.rate, ours.per_byte / theirs.per_byte);
    let is_reached = shares.0 >= BARS.0 && shares.1 <= BARS.1;
    println!("{MEGABYTES} MB on loopback, verified, best of the rounds");
    println!("{:<32} {:>8} {:>8}", "", "MB/s", "ns/byte");
    for (name, Figures { rate, per_byte }) in [
        ("iroh-blobs, in memory", &theirs),
        ("list, stored and read back", &ours),
    ] {
        println!("{name:<32} {rate:>8.1} {per_byte:>8.2}");
    }
    println!("{:<32} {:>8.2} {:>8.2}", "share", shares.0, shares.1);
    println!(
        "{:<32} {:>8} {:>8}  {}",
        "bar",
        format!(">= {}", BARS.0),
        format!("<= {}", BARS.1),
        if is_reached { "reached" } else { "MISSED" }
    );
    if is_reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
