//! Python environment of the reference: a virtual environment that is created if it is missing.

use crate::testkit::program;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Release of the reference that everything is compared with.
const REFERENCE: &str = "astreum==0.3.71";
/// Environment variable that names a Python to use instead of those that are found. If it has the
/// reference installed, it is used unchanged.
const PYTHON_VARIABLE: &str = "ASTREUM_REFERENCE_PYTHON";

/// Paths that a case needs to start a reference node.
#[derive(Debug)]
pub struct Environment {
    /// Python that has the reference installed.
    pub python: PathBuf,
    /// Program of our node.
    pub node: PathBuf,
    /// Script that drives the reference.
    pub driver: PathBuf,
    /// Scratch folder of this run, removed if the run succeeds.
    pub scratch: PathBuf,
}

impl Environment {
    /// Finds or installs the reference, and builds our node.
    ///
    /// # Errors
    /// Fails if something is missing; the text says what to install.
    pub fn prepare() -> Result<Self, String> {
        let scratch = target_folder()?
            .join("interop-scratch")
            .join(std::process::id().to_string());
        Self::with(program::build()?, scratch)
    }

    /// Like [`Self::prepare`], with an existing node program and scratch folder.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn with(node: PathBuf, scratch: PathBuf) -> Result<Self, String> {
        let python = find_reference()?;
        std::fs::create_dir_all(&scratch)
            .map_err(|error| format!("cannot create {}: {error}", scratch.display()))?;
        Ok(Self {
            python,
            node,
            driver: Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/reference_driver.py"),
            scratch,
        })
    }
}

/// Returns a Python that has the reference: the named one if it does, otherwise that of a virtual
/// environment below the target folder, which is created if it is missing.
fn find_reference() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os(PYTHON_VARIABLE).map(PathBuf::from)
        && has_reference(&named)
    {
        return Ok(named);
    }
    let venv = target_folder()?.join("interop-venv");
    let python = venv.join("bin").join("python");
    if !has_reference(&python) {
        install(&venv, &python)?;
    }
    Ok(python)
}

impl Drop for Environment {
    fn drop(&mut self) {
        // A failure is ignored: left-over files below the target folder are harmless.
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

/// Returns Cargo's target folder, based on this binary's location in one of its profiles.
fn target_folder() -> Result<PathBuf, String> {
    let own = std::env::current_exe()
        .map_err(|error| format!("cannot determine the path of this executable: {error}"))?;
    own.parent()
        .and_then(Path::parent)
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("{} is not in a target folder", own.display()))
}

fn succeeds(python: &Path, code: &str) -> bool {
    Command::new(python)
        .args(["-c", code])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn has_reference(python: &Path) -> bool {
    let (package, version) = REFERENCE.split_once("==").unwrap_or((REFERENCE, ""));
    let code = format!(
        "import importlib.metadata as m, sys; import {package}; sys.exit(m.version('{package}') != '{version}')"
    );
    python.exists() && succeeds(python, &code)
}

fn install(venv: &Path, python: &Path) -> Result<(), String> {
    let base = find_python()?;
    eprintln!(
        "installing {REFERENCE} into {} with {}",
        venv.display(),
        base.display()
    );
    program::succeed(
        Command::new(&base)
            .args(["-m", "venv", "--clear"])
            .arg(venv),
        "make a virtual environment (on Debian: apt-get install python3-venv)",
    )?;
    program::succeed(
        Command::new(python).args(["-m", "pip", "install", "--quiet", REFERENCE]),
        "install the reference with pip",
    )?;
    if has_reference(python) {
        return Ok(());
    }
    Err(format!(
        "{REFERENCE} was installed into {} but cannot be imported there",
        venv.display()
    ))
}

/// Returns a Python that the reference runs on: 3.12 or newer.
fn find_python() -> Result<PathBuf, String> {
    let usable =
        |python: &PathBuf| succeeds(python, "import sys; sys.exit(sys.version_info < (3, 12))");
    if let Some(chosen) = std::env::var_os(PYTHON_VARIABLE).map(PathBuf::from) {
        return Some(chosen)
            .filter(usable)
            .ok_or_else(|| format!("{PYTHON_VARIABLE} is not a Python 3.12 or newer"));
    }
    let on_path = ["python3.14", "python3.13", "python3.12", "python3"].map(PathBuf::from);
    let by_pyenv = std::env::home_dir()
        .map(|home| home.join(".pyenv/versions"))
        .and_then(|versions| std::fs::read_dir(versions).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin/python"));
    on_path.into_iter().chain(by_pyenv).find(usable).ok_or_else(|| {
        format!(
            "the reference requires Python 3.12 or newer: install it (apt-get install python3.12 \
             python3.12-venv, or pyenv install 3.12) or set {PYTHON_VARIABLE} to its path"
        )
    })
}
