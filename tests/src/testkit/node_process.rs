//! Process of the program `astreum` that runs a node: its start, control socket, output and end.

use super::wait::wait_within;
use astreum_core::crypto::PublicKey;
use astreum_node::rpc::{Client, ClientError, Method, StatusReply, request};
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use tempfile::TempDir;

pub use rustix::process::Signal;

/// Time limit of a start, longer than needed on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit of an exit, longer than needed on a busy machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(120);
/// Default time limit of a request over the control socket.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Text of the greeting's last line.
const LAST_OF_GREETING: &str = "Ctrl-C";

/// Destination of a node's output.
#[derive(Clone, Debug)]
pub enum Output {
    /// Stdout is discarded; stderr is that of the test.
    Discarded,
    /// Stdout is read by the test; stderr is that of the test.
    Piped,
    /// Stdout and stderr are read by the test, at the end. The node must not write much.
    Captured,
    /// Both are appended to a file.
    File(PathBuf),
}

/// Command that runs a node with its files in one directory, on any port and without a default
/// seed.
#[derive(Clone, Debug)]
pub struct NodeCommand {
    program: PathBuf,
    socket: PathBuf,
    options: Vec<(String, OsString)>,
    request_timeout: Duration,
    has_own_group: bool,
}

impl NodeCommand {
    /// Creates the command of a node with its state, log and control socket in `directory`.
    #[must_use]
    pub fn new(program: &Path, directory: &Path) -> Self {
        let mut command = Self {
            program: program.to_owned(),
            socket: directory.join("control.sock"),
            options: Vec::new(),
            request_timeout: REQUEST_TIMEOUT,
            has_own_group: false,
        };
        command
            .option("incoming-port", "0")
            .option("default-seed", "none")
            .option("state-dir", directory.join("state"))
            .option("log-dir", directory.join("log"));
        command
    }

    /// Sets an option, named without dashes. A switch has an empty value. A secret key, such as
    /// `relay-secret-key`, is passed in the environment.
    pub fn option(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.options.retain(|(given, _)| given != name);
        let value = value.as_ref().to_owned();
        self.options.push((name.to_owned(), value));
        self
    }

    /// Sets options as they stand on a command line. Values do not begin with two dashes.
    pub fn arguments<A: AsRef<str>>(&mut self, arguments: &[A]) -> &mut Self {
        let mut arguments = arguments.iter().map(AsRef::as_ref).peekable();
        while let Some(argument) = arguments.next() {
            let name = argument.trim_start_matches("--");
            let value = arguments.next_if(|next| !next.starts_with("--"));
            self.option(name, value.unwrap_or_default());
        }
        self
    }

    /// Sets the path of the control socket. Its length is limited to about a hundred bytes.
    pub fn socket(&mut self, path: &Path) -> &mut Self {
        path.clone_into(&mut self.socket);
        self
    }

    /// Sets the time limit of requests over the control socket.
    pub const fn request_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.request_timeout = timeout;
        self
    }

    /// Puts the node into a process group of its own, so that Ctrl-C in the terminal is only for
    /// the test.
    pub const fn own_process_group(&mut self) -> &mut Self {
        self.has_own_group = true;
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // The variable is for tests, and a node checks every variable of that prefix.
        command
            .env_remove("ASTREUM_REFERENCE_PYTHON")
            .args(["run", "--control-socket"])
            .arg(&self.socket);
        for (name, value) in &self.options {
            // Secret keys have no flags.
            if name.ends_with("-secret-key") {
                let variable = name.replace('-', "_").to_ascii_uppercase();
                command.env(format!("ASTREUM_{variable}"), value);
                continue;
            }
            command.arg(format!("--{name}"));
            if !value.is_empty() {
                command.arg(value);
            }
        }
        if self.has_own_group {
            command.process_group(0);
        }
        command
    }
}

/// End of a node's process.
#[derive(Debug)]
pub struct Exit {
    /// Exit status.
    pub status: ExitStatus,
    /// Rest of stdout, if it is piped.
    pub stdout: Vec<u8>,
    /// Stderr, if it is captured.
    pub stderr: Vec<u8>,
}

impl Exit {
    /// Returns the rest of stdout as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns stderr as text.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Node in a process of its own, killed when this is dropped.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    client: Client,
    stdout: Option<BufReader<ChildStdout>>,
    file: Option<PathBuf>,
    greeting: String,
    key: PublicKey,
    port: u16,
    /// Removed with its files at the end.
    directory: Option<TempDir>,
}

impl NodeProcess {
    /// Starts a node and waits until it answers over its control socket.
    ///
    /// # Errors
    /// Fails if it cannot be started, exits, or does not answer in time.
    pub fn start(command: &NodeCommand, output: Output) -> Result<Self, String> {
        let client = Client::new(&command.socket, command.request_timeout);
        let mut node = Self::spawn(&mut command.command(), output, client)?;
        node.wait_until_ready()?;
        Ok(node)
    }

    /// Starts a node in a temporary directory, which is removed at the end, and waits until it
    /// answers.
    ///
    /// # Errors
    /// Fails if it cannot be started, exits, or does not answer in time.
    pub fn start_in(
        directory: TempDir,
        command: &NodeCommand,
        output: Output,
    ) -> Result<Self, String> {
        let mut node = Self::start(command, output)?;
        node.directory = Some(directory);
        Ok(node)
    }

    /// Starts any command that runs a node. `client` has the path of its control socket.
    ///
    /// # Errors
    /// Fails if it cannot be started, or if the output file cannot be opened.
    pub fn spawn(command: &mut Command, output: Output, client: Client) -> Result<Self, String> {
        let mut file = None;
        let (stdout, stderr) = match output {
            Output::Discarded => (Stdio::null(), Stdio::inherit()),
            Output::Piped => (Stdio::piped(), Stdio::inherit()),
            Output::Captured => (Stdio::piped(), Stdio::piped()),
            Output::File(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(&path);
                let (one, other) = opened
                    .and_then(|file| Ok((file.try_clone()?, file)))
                    .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
                file = Some(path);
                (one.into(), other.into())
            }
        };
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let mut child = command.spawn().map_err(|error| {
            let program = command.get_program().display();
            format!("cannot start {program}: {error}")
        })?;
        Ok(Self {
            stdout: child.stdout.take().map(BufReader::new),
            child,
            client,
            file,
            greeting: String::new(),
            key: PublicKey::new([0; 32]),
            port: 0,
            directory: None,
        })
    }

    /// Waits until it answers over its control socket; returns its status.
    ///
    /// # Errors
    /// Fails if it exits, or does not answer in time.
    pub fn wait_until_ready(&mut self) -> Result<StatusReply, String> {
        let status = wait_within(START_TIMEOUT, "the node answers", || {
            if let Some(status) = self.exited() {
                let output = self.output();
                return Err(format!("the node exited with {status}: {output}"));
            }
            Ok(self.request(&request::Status {}).ok())
        })?;
        let port = status.listen_address.rsplit_once(':');
        let port = port.and_then(|(_, port)| port.parse().ok());
        self.port = port.ok_or_else(|| format!("{} has no port", status.listen_address))?;
        self.key = status.public_key;
        Ok(status)
    }

    /// Reads its greeting from stdout, which is piped.
    ///
    /// # Errors
    /// Fails if it exits before the end of the greeting.
    pub fn wait_for_greeting(&mut self) -> Result<(), String> {
        let stdout = self.stdout.as_mut().ok_or("stdout is not piped")?;
        while !self.greeting.contains(LAST_OF_GREETING) {
            match stdout.read_line(&mut self.greeting) {
                Ok(0) => return Err(format!("the node exited after {:?}", self.greeting)),
                Ok(_) => {}
                Err(error) => return Err(format!("cannot read the greeting: {error}")),
            }
        }
        Ok(())
    }

    /// Returns the greeting, once it has been waited for.
    #[must_use]
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Returns the contents of its output file, if it has one.
    #[must_use]
    pub fn output(&self) -> String {
        let read = self.file.as_ref().map(fs::read_to_string);
        let read = read.unwrap_or_else(|| Ok(String::new()));
        read.unwrap_or_else(|error| error.to_string())
    }

    /// Returns the client of its control socket.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the path of its control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.client.socket()
    }

    /// Returns its relay public key, once it is ready.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// Returns its UDP port, once it is ready.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns its loopback address, once it is ready.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns its process id.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a request.
    ///
    /// # Errors
    /// Fails if it refuses the request or does not answer.
    pub fn request<M: Method>(&self, request: &M) -> Result<M::Reply, ClientError> {
        self.client.request(request)
    }

    /// Sends it a request that it must accept.
    ///
    /// # Panics
    /// Panics if it refuses the request or does not answer.
    #[track_caller]
    pub fn ask<M: Method>(&self, request: &M) -> M::Reply {
        self.request(request)
            .unwrap_or_else(|error| panic!("the node fails a request: {error}"))
    }

    /// Returns its status.
    ///
    /// # Panics
    /// Panics if it does not answer.
    #[must_use]
    #[track_caller]
    pub fn status(&self) -> StatusReply {
        self.ask(&request::Status {})
    }

    /// Returns a counter of its status, zero if it has not counted.
    ///
    /// # Panics
    /// Panics if it does not answer.
    #[must_use]
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        let counters = self.status().counters;
        counters.get(name).copied().unwrap_or_default()
    }

    /// Returns its resident memory, in bytes.
    ///
    /// # Panics
    /// Panics if it does not run, or not on Linux.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process_id());
        let status = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {path}, which requires Linux: {error}"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        let kib = kib.and_then(|kib| kib.parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("{path} has no size")) * 1_024
    }

    /// Returns its temporary directory.
    ///
    /// # Panics
    /// Panics if it was not started in one.
    #[must_use]
    pub fn directory(&self) -> &Path {
        let directory = self.directory.as_ref();
        let directory = directory.unwrap_or_else(|| panic!("the node has no directory of its own"));
        directory.path()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// Panics if its process does not exist.
    pub fn signal(&self, signal: Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal)
            .unwrap_or_else(|error| panic!("cannot signal the node: {error}"));
    }

    /// Kills it.
    ///
    /// # Errors
    /// Fails if the system does.
    pub fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|error| format!("kill: {error}"))
    }

    /// Returns its exit status, if it has exited.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its exit; returns the status and the rest of its output.
    ///
    /// # Panics
    /// Panics if it does not exit in time.
    #[must_use]
    #[track_caller]
    pub fn finish(mut self) -> Exit {
        // On threads: a node that cannot write does not exit.
        let stdout = self.stdout.take().map(read_to_end);
        let stderr = self.child.stderr.take().map(read_to_end);
        let status = wait_within(EXIT_TIMEOUT, "the node exits", || Ok(self.exited()))
            .unwrap_or_else(|error| panic!("{error}"));
        let join = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
            let read = reader.map(thread::JoinHandle::join);
            read.map_or_else(Vec::new, |read| {
                read.unwrap_or_else(|_| panic!("the output is not read"))
            })
        };
        Exit {
            status,
            stdout: join(stdout),
            stderr: join(stderr),
        }
    }

    /// Stops it like Ctrl-C; returns its exit code and the rest of its stdout.
    ///
    /// # Panics
    /// Panics if it does not exit in time.
    #[must_use]
    #[track_caller]
    pub fn interrupt(self) -> (Option<i32>, String) {
        self.signal(Signal::INT);
        let exit = self.finish();
        (exit.status.code(), exit.text())
    }
}

fn read_to_end(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes) {
            panic!("cannot read the output of the node: {error}");
        }
        bytes
    })
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // Errors are ignored: the process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
