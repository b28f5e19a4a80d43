//! Reference process that is driven over two pipes.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing JSON returns null for a missing value"
)]

use super::Environment;
use crate::testkit::wait::wait_for;
use astreum_core::atom::Atom;
use astreum_node::rpc::{hex, unhex};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Maximum duration of one command. The reference's own waits end after two seconds.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// Driven process, killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    requests: ChildStdin,
    replies: Receiver<String>,
    errors: PathBuf,
}

impl Process {
    /// Starts the driver with these arguments.
    ///
    /// # Errors
    /// Fails if it cannot be started.
    pub fn start(environment: &Environment, arguments: &[&str]) -> Result<Self, String> {
        Self::script(environment, &environment.driver, arguments)
    }

    /// Starts a script with these arguments.
    ///
    /// # Errors
    /// Fails if it cannot be started.
    pub fn script(
        environment: &Environment,
        script: &Path,
        arguments: &[&str],
    ) -> Result<Self, String> {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let errors = environment.scratch.join(format!("{number}.stderr"));
        let log = std::fs::File::create(&errors)
            .map_err(|error| format!("cannot create {}: {error}", errors.display()))?;
        let mut child = Command::new(&environment.python)
            .arg(script)
            .args(arguments)
            // The reference writes logs below this folder; each process has its own.
            .env(
                "XDG_STATE_HOME",
                environment.scratch.join(number.to_string()),
            )
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot start the reference: {error}"))?;
        let requests = child.stdin.take().ok_or("the reference has no stdin")?;
        let output = child.stdout.take().ok_or("the reference has no stdout")?;
        let (sender, replies) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            requests,
            replies,
            errors,
        })
    }

    /// Sends one line.
    ///
    /// # Errors
    /// Fails if the process has ended.
    pub fn send(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.requests, "{line}").map_err(|error| self.died(&error.to_string()))
    }

    /// Returns the next line that the process prints.
    ///
    /// # Errors
    /// Fails if it does not answer, or not in JSON.
    pub fn receive(&mut self) -> Result<Value, String> {
        let line = self
            .replies
            .recv_timeout(COMMAND_TIMEOUT)
            .map_err(|error| self.died(&error.to_string()))?;
        serde_json::from_str(&line).map_err(|error| format!("not JSON: {error}: {line}"))
    }

    fn died(&self, why: &str) -> String {
        let said = tail(&self.errors);
        format!("the reference does not answer ({why}); stderr: {said}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors are ignored: the process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines
        .get(lines.len().saturating_sub(6)..)
        .unwrap_or_default()
        .join(" | ")
}

/// Reference node.
#[derive(Debug)]
pub struct Reference {
    process: Process,
    /// Relay public key in hex.
    pub key: String,
    /// UDP port on loopback.
    pub port: u16,
}

/// Start options of a reference node. The default is a fresh node without known peers.
#[derive(Clone, Default, Debug)]
pub struct Start<'a> {
    /// Port to listen on, 0 for any.
    pub port: u16,
    /// Addresses that it starts a handshake with.
    pub seeds: &'a [String],
    /// Default seed, whose head it takes without verification.
    pub default_seed: Option<String>,
    /// Relay secret in hex; random if `None`.
    pub secret: Option<&'a str>,
    /// Further configuration.
    pub config: Option<Value>,
}

impl Reference {
    /// Starts a node and waits until it listens.
    ///
    /// # Errors
    /// Fails if it does not start.
    pub fn start(environment: &Environment, start: &Start<'_>) -> Result<Self, String> {
        let port = start.port.to_string();
        let config = start
            .config
            .clone()
            .unwrap_or_else(|| json!({}))
            .to_string();
        let mut arguments = vec!["node", "--port", &port, "--config", &config];
        for seed in start.seeds {
            arguments.extend(["--seed", seed]);
        }
        if let Some(seed) = &start.default_seed {
            arguments.extend(["--default-seed", seed]);
        }
        if let Some(secret) = start.secret {
            arguments.extend(["--secret", secret]);
        }
        let mut process = Process::start(environment, &arguments)?;
        let first_line = process.receive()?;
        let key = first_line["key"]
            .as_str()
            .ok_or("the first line has no key")?
            .to_owned();
        let port = first_line["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .ok_or("the first line has no port")?;
        Ok(Self { process, key, port })
    }

    /// Suspends the process (SIGSTOP). Datagrams sent to it wait in its socket.
    ///
    /// # Errors
    /// Fails if it cannot be signalled.
    pub fn pause(&self) -> Result<(), String> {
        self.signal("-STOP")
    }

    /// Returns its process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.child.id()
    }

    /// Resumes the process (SIGCONT).
    ///
    /// # Errors
    /// Fails if it cannot be signalled.
    pub fn resume(&self) -> Result<(), String> {
        self.signal("-CONT")
    }

    fn signal(&self, name: &str) -> Result<(), String> {
        let process = self.process.child.id().to_string();
        let status = Command::new("kill").args([name, &process]).status();
        let status = status.map_err(|error| format!("cannot run kill: {error}"))?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("kill {name} {process}: {status}")),
        }
    }

    /// Starts a fresh node without known peers.
    ///
    /// # Errors
    /// Fails if it does not start.
    pub fn fresh(environment: &Environment) -> Result<Self, String> {
        Self::start(environment, &Start::default())
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends one command to the driver and returns its reply. `arguments` is an object.
    ///
    /// # Errors
    /// Fails if it does not answer, or answers with an error.
    pub fn call(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let mut reply = self.try_call(command, arguments)?;
        match reply.get("error") {
            Some(error) => Err(format!("{command} of the reference failed: {error}")),
            None => Ok(reply["ok"].take()),
        }
    }

    /// Like [`Self::call`], but returns an error reply unchanged.
    ///
    /// # Errors
    /// Fails if it does not answer.
    pub fn try_call(&mut self, command: &str, mut arguments: Value) -> Result<Value, String> {
        arguments["cmd"] = command.into();
        self.process.send(&arguments.to_string())?;
        self.process.receive()
    }

    /// Sends a command that needs no arguments.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn ask(&mut self, command: &str) -> Result<Value, String> {
        self.call(command, json!({}))
    }

    /// Stores an atom and returns its id.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn put(&mut self, atom: &Atom) -> Result<String, String> {
        let arguments = json!({
            "data": hex(atom.data()), "kind": atom.kind().code(), "next": atom.next().to_string(),
        });
        let id = self.call("put", arguments)?;
        id.as_str()
            .map(str::to_owned)
            .ok_or_else(|| format!("{id} is not an id"))
    }

    /// Returns the state that the node holds about the peer with this key, once it has registered
    /// it.
    ///
    /// # Errors
    /// Fails if it does not register the peer in time.
    pub fn wait_for_peer(&mut self, key: &str) -> Result<Value, String> {
        wait_for("the reference registers the peer", || {
            Ok(self.ask("status")?["peers"].get(key).cloned())
        })
    }

    /// Returns how often the node has logged a message that starts with this text.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn count(&mut self, message: &str) -> Result<u64, String> {
        let counts = self.ask("counts")?;
        let counts = counts.as_object().ok_or("no counts")?;
        Ok(counts
            .iter()
            .filter(|(text, _)| text.starts_with(message))
            .filter_map(|(_, count)| count.as_u64())
            .sum())
    }
}

/// Returns an atom whose id is nearer to the first key than to the second, so that its
/// advertisement goes to the first or stays there. Its size exceeds the amplification limit of an
/// unvalidated address.
///
/// # Errors
/// Fails if a key is malformed.
pub fn nearer_to(key: &str, other: &str) -> Result<Atom, String> {
    let (Some(key), Some(other)) = (unhex(key), unhex(other)) else {
        return Err("a key is not hex".to_owned());
    };
    let distance =
        |key: &[u8], id: &[u8]| -> Vec<u8> { key.iter().zip(id).map(|(a, b)| a ^ b).collect() };
    (0u32..1_000)
        .map(|number| Atom::bytes(number.to_be_bytes().repeat(500)))
        .find(|atom| {
            let id = atom.id();
            distance(&key, id.as_ref()) < distance(&other, id.as_ref())
        })
        .ok_or_else(|| "no atom is close to the key".to_owned())
}
