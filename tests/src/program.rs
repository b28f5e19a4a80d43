//! The node's program, for what runs it from outside.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds the program `astreum` next to the one that runs, and says where it is. Cargo does not do
/// that by itself, since only the node's library is linked; one that lies there may be an old one.
///
/// # Errors
/// When cargo cannot be run or fails, with what it said.
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
/// When it cannot be run or fails, with what was tried and what it said.
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
