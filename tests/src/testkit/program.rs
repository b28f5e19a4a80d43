//! Build and execution of the project's programs for tests that run them as processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Returns the path of the program `astreum`, which is built at the first call in a process.
///
/// # Panics
/// Panics if it cannot be built.
#[must_use]
pub fn astreum() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build().unwrap_or_else(|error| panic!("{error}")))
}

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
    let folder = own.parent().ok_or("this executable has no directory")?;
    // Executables of tests are one level below.
    let folder = match folder.parent() {
        Some(above) if folder.ends_with("deps") => above,
        _ => folder,
    };
    let mut build = cargo();
    build
        .args(["build", "--quiet", "--bin", program])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if folder.ends_with("release") {
        build.args(["--release", "--package", package]);
    } else {
        // Cargo takes the features that development dependencies need as soon as an example is
        // built. With them, everything has already been built for the tests of the workspace.
        build.args(["--workspace", "--example", "quickstart"]);
    }
    succeed(&mut build, &format!("build {program}"))?;
    Ok(folder.join(program))
}

/// Returns a command that runs cargo as from a shell. What `cargo run` sets for this program is
/// removed: build scripts such as that of ring compare it, and everything above would be compiled
/// again.
#[must_use]
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
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
