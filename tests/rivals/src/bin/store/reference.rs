//! The Python reference, in a process of its own, on our files.

use astreum_core::atom::AtomId;
use std::fs;
use std::path::Path;
use std::process::Command;

const VARIABLE: &str = "ASTREUM_REFERENCE_PYTHON";
/// Number of atoms that it inserts; more would take minutes.
const INSERTS: u32 = 10_000;

/// Measured times of the reference, in nanoseconds.
pub struct Reference {
    pub get: f64,
    pub absent: f64,
    pub insert: f64,
}

/// Returns the interpreter. Fails with instructions to install one.
pub fn python() -> Result<String, String> {
    std::env::var(VARIABLE).map_err(|_| {
        format!(
            "set {VARIABLE} to a Python 3.12 or newer that has the package: \
             python3 -m venv reference && reference/bin/pip install astreum==0.3.71 && \
             export {VARIABLE}=$PWD/reference/bin/python"
        )
    })
}

/// Measures it on the atoms in `directory`; it writes its own files to `scratch`.
pub fn measure(
    python: &str,
    directory: &Path,
    scratch: &Path,
    there: &[AtomId],
    absent: &[AtomId],
) -> Result<Reference, String> {
    let ids = |name: &str, ids: &[AtomId]| {
        let path = scratch.join(name);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| *id.as_bytes()).collect();
        fs::write(&path, bytes).map(|()| path)
    };
    let failed = |error: std::io::Error| error.to_string();
    let output = Command::new(python)
        .args(["-c", include_str!("reference.py")])
        .arg(directory)
        .arg(ids("there", there).map_err(failed)?)
        .arg(ids("absent", absent).map_err(failed)?)
        .arg(scratch.join("reference"))
        .arg(INSERTS.to_string())
        .output()
        .map_err(|error| format!("cannot run {python}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.lines().filter_map(|n| n.parse().ok()).collect();
    let [get, absent, insert] = numbers[..] else {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{python} printed no measurements: {errors}"));
    };
    Ok(Reference {
        get,
        absent,
        insert,
    })
}
