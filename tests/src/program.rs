//! Build and execution of the project's programs for tests that run them as processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds the program `astreum`, see [`build_of`].
///
/// # Errors
/// Fails if cargo cannot be run or fails; the text contains its output.
pub fn build() -> Result<PathBuf, String> {
    build_of("astreum-node", "astreum")
}

/// Builds a program of a package beside the running executable and returns its path. Cargo does not
/// build it by itself, because a running program only links libraries, and an existing file may be
/// outdated.
///
/// # Errors
/// Fails if cargo cannot be run or fails; the text contains its output.
pub fn build_of(package: &str, program: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe()
        .map_err(|error| format!("cannot determine the path of this executable: {error}"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet", "--package", package, "--bin", program])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if own
        .parent()
        .is_some_and(|folder| folder.ends_with("release"))
    {
        build.arg("--release");
    }
    succeed(&mut build, &format!("build {program}"))?;
    Ok(own.with_file_name(program))
}

/// Runs a command to its end.
///
/// # Errors
/// Fails if it cannot be run or fails; the text contains the purpose and the command's output.
pub fn succeed(command: &mut Command, what: &str) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot {what}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "cannot {what}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
