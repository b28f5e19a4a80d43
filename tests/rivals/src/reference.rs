//! The Python reference, in a process of its own.

use crate::{CALLS, COUNT, NANDS};
use std::process::Command;

const VARIABLE: &str = "ASTREUM_REFERENCE_PYTHON";

/// Returns the nanoseconds of an iteration, a nand and a call.
pub fn measure() -> Result<[f64; 3], String> {
    let help = format!(
        "set {VARIABLE} to a Python 3.12 or newer that has the package: \
         python3 -m venv reference && reference/bin/pip install astreum==0.3.71 && \
         export {VARIABLE}=$PWD/reference/bin/python"
    );
    let python = std::env::var(VARIABLE).map_err(|_| help.clone())?;
    let output = Command::new(&python)
        .args(["-c", include_str!("reference.py")])
        .args([COUNT.to_string(), NANDS.to_string(), CALLS.to_string()])
        .output()
        .map_err(|error| format!("cannot run {python}: {error}; {help}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    numbers.try_into().map_err(|_| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("{python} printed no measurements: {errors}; {help}")
    })
}
