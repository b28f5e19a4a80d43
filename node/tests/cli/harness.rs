//! Test harness: a user with a home directory.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Temporary directory that is the home and the working directory of every command run in it.
pub(crate) struct Home(TempDir);

/// Result of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// Returns stdout as text.
    pub(crate) fn text(&self) -> &str {
        core::str::from_utf8(&self.stdout).unwrap()
    }

    /// Returns the lines of stdout; fails if the command did.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, 0, "{self:?}");
        self.text().lines().collect()
    }

    /// Returns stdout as JSON; fails if the command did.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// Checks that the command failed with this code, and that stderr contains all these texts.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, expected: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in expected {
            assert!(self.stderr.contains(part), "no {part:?} in {self:?}");
        }
    }
}

impl Home {
    pub(crate) fn new(name: &str) -> Self {
        // Short, because the path of a Unix socket is limited to about a hundred bytes.
        let prefix = format!("ast-{name}-");
        Self(TempDir::with_prefix(prefix).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Returns the default socket of commands in this home.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path().join("state/Astreum/lib-rs/control.sock")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_astreum"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("XDG_STATE_HOME", self.path().join("state"));
        command
    }

    /// The warnings in the status of the node that runs here, apart from those that the machine
    /// causes: its disk may be nearly full.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let status = self.run(&["status", "--json"]).json();
        let warnings = status.get("warnings").and_then(serde_json::Value::as_array);
        let warnings = warnings.unwrap().iter();
        let warnings = warnings.map(|warning| warning.as_str().unwrap());
        let of_the_node = warnings.filter(|warning| !warning.starts_with("the disk of "));
        of_the_node.map(str::to_owned).collect()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        finish(self.command(arguments), input)
    }
}

pub(crate) fn finish(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // On a separate thread: the child may answer before it has read all input, or never read it.
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
