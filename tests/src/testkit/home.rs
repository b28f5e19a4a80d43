//! User with a home directory, who runs commands of the program `astreum`.
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap fails the test with its location"
)]

use super::program;
use super::{NodeProcess, Output};
use astreum_node::rpc::Client;
use core::time::Duration;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Time limit of a request over the control socket.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Temporary directory that is the home and the working directory of every command run in it.
#[derive(Debug)]
pub struct Home(TempDir);

/// Result of a command.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Returns stdout as text.
    ///
    /// # Panics
    /// Panics if it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        core::str::from_utf8(&self.stdout).unwrap()
    }

    /// Returns the lines of stdout.
    ///
    /// # Panics
    /// Panics if the command failed.
    #[track_caller]
    pub fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, 0, "{self:?}");
        self.text().lines().collect()
    }

    /// Returns stdout as JSON.
    ///
    /// # Panics
    /// Panics if the command failed.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{self:?}");
        self.failed_json()
    }

    /// Returns the JSON on stdout, whatever the exit code.
    ///
    /// # Panics
    /// Panics if it is not JSON.
    #[must_use]
    pub fn failed_json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }

    /// Checks that the command failed with this code, and that stderr contains all these texts.
    ///
    /// # Panics
    /// Panics if it did not.
    #[track_caller]
    pub fn fails(&self, code: i32, expected: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in expected {
            assert!(self.stderr.contains(part), "no {part:?} in {self:?}");
        }
    }
}

impl Home {
    /// Creates an empty home.
    ///
    /// # Panics
    /// Panics if the directory cannot be created.
    #[must_use]
    pub fn new(name: &str) -> Self {
        // Short, because the path of a Unix socket is limited to about a hundred bytes.
        let prefix = format!("ast-{name}-");
        Self(TempDir::with_prefix(prefix).unwrap())
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file in the home; returns its path.
    ///
    /// # Panics
    /// Panics if it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Returns the default socket of commands in this home.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.path().join("state/Astreum/lib-rs/control.sock")
    }

    /// Returns a client of the node at the default socket.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.control_socket(), REQUEST_TIMEOUT)
    }

    /// Returns a command with this home as its only environment.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program::astreum());
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("XDG_STATE_HOME", self.path().join("state"));
        command
    }

    /// Starts a node and waits for its greeting.
    ///
    /// # Panics
    /// Panics if the node exits before.
    #[must_use]
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> NodeProcess {
        let mut node = self.spawn(arguments, Output::Piped);
        node.wait_for_greeting()
            .unwrap_or_else(|error| panic!("{error}"));
        node
    }

    /// Starts a node without waiting for it.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(&self, arguments: &[&str], output: Output) -> NodeProcess {
        self.spawn_command(self.command(arguments), output)
    }

    /// Starts any command that runs a node in this home, without waiting for it.
    ///
    /// # Panics
    /// Panics if it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn_command(&self, mut command: Command, output: Output) -> NodeProcess {
        NodeProcess::spawn(&mut command, output, self.client())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the warnings in the status of the node that runs here, apart from those that the
    /// machine causes: its disk may be nearly full.
    ///
    /// # Panics
    /// Panics if no node runs.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let status = self.run(&["status", "--json"]).json();
        let warnings = status.get("warnings").and_then(serde_json::Value::as_array);
        let warnings = warnings.unwrap().iter();
        let warnings = warnings.map(|warning| warning.as_str().unwrap());
        let of_the_node = warnings.filter(|warning| !warning.starts_with("the disk of "));
        of_the_node.map(str::to_owned).collect()
    }

    /// Runs a command without input.
    ///
    /// # Panics
    /// Panics if it cannot be started or ends by a signal.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, b"")
    }

    /// Runs a command with this input.
    ///
    /// # Panics
    /// Panics if it cannot be started or ends by a signal.
    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        run_with_input(self.command(arguments), input)
    }
}

/// Runs a command with this input to its end.
///
/// # Panics
/// Panics if it cannot be started or ends by a signal.
#[must_use]
pub fn run_with_input(mut command: Command, input: &[u8]) -> Ran {
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
