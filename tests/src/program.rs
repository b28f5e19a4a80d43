//! Build and execution of the node's program for tests that run it as a process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds the program `astreum` beside the running executable and returns its path. Cargo does not
/// build it by itself, because only the node's library is linked, and an existing file may be
/// outdated.
///
/// # Errors
/// Fails if cargo cannot be run or fails; the text contains its output.
pub fn build() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find myself: {error}"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--quiet",
            "--package",
            "astreum-node",
            "--bin",
            "astreum",
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if own
        .parent()
        .is_some_and(|folder| folder.ends_with("release"))
    {
        build.arg("--release");
    }
    succeed(&mut build, "build the node")?;
    Ok(own.with_file_name("astreum"))
}

/// Runs a command to its end.
///
/// # Errors
/// Fails if it cannot be run or fails; the text contains the purpose and the command's output.
pub fn succeed(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("could not {what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "could not {what}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
