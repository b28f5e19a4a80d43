//! Processes of the nodes.
//!
//! Each is a hidden command of this program that runs a node until its stdin is closed. That happens
//! when it is to stop, and when the process that runs the network ends in any way.

use core::time::Duration;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Instant;

use super::super::interrupt::Interrupt;
use super::super::output::{Failure, complain};
use super::directory::{Description, Directory, failed};
use crate::rpc::{Client, Method, StatusReply, request};

/// Maximum time from the start of a node until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time until all nodes know a peer and the chain.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time for which the first node runs alone.
const FIRST_BLOCK_TIMEOUT: Duration = Duration::from_secs(3);
/// Time after which a node that was asked to stop is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time for a reply to a status request.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between checks.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// Bytes at the end of a node's output that are shown if it fails.
const SHOWN_BYTES: u64 = 2_048;

/// Node of a network.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) number: u32,
    child: Child,
    client: Client,
    output: PathBuf,
    has_ended: bool,
}

/// First ports of the nodes, as far as they are given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    /// UDP and TCP port for peers.
    pub(super) nodes: Option<u32>,
    /// TCP port of RPC over HTTP; 0 for any.
    pub(super) rpc: Option<u32>,
}

/// Nodes of a network that were started; stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Nodes {
    all: Vec<Node>,
}

impl Node {
    fn start(
        directory: &Directory,
        found: &Description,
        number: u32,
        ports: Ports,
        seed: Option<&str>,
    ) -> Result<Self, Failure> {
        let output = directory.output(number);
        let file =
            File::create(&output).map_err(|error| failed("cannot write", &output, &error))?;
        let other = file.try_clone();
        let other = other.map_err(|error| failed("cannot write", &output, &error))?;
        let mut command = own_command()?;
        command
            .args(["devnet", "node", "--lock"])
            .arg(directory.nodes_lock())
            .arg("--config")
            .arg(directory.node_config(number))
            .arg(format!("--block-interval={}", found.block_time_seconds))
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(other);
        if let Some(seed) = seed {
            command.arg(format!("--additional-seeds={seed}"));
        }
        let of_node = |first: u32| first.saturating_add(number).saturating_sub(1);
        if let Some(first) = ports.nodes {
            command.arg(format!("--incoming-port={}", of_node(first)));
        }
        if let Some(first) = ports.rpc {
            let port = if first == 0 { 0 } else { of_node(first) };
            command.arg(format!("--rpc-listen=127.0.0.1:{port}"));
        }
        let child = command.spawn();
        let child = child
            .map_err(|error| Failure::Failed(format!("cannot start node {number}: {error}")))?;
        Ok(Self {
            number,
            child,
            client: Client::new(directory.control_socket(number), STATUS_TIMEOUT),
            output,
            has_ended: false,
        })
    }

    pub(super) fn request<M: Method>(&self, request: &M) -> Option<M::Reply> {
        self.client.request(request).ok()
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn is_running(&self) -> bool {
        !self.has_ended
    }

    /// Returns the exit status if the node has ended since the last call.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        let status = status.filter(|_| !self.has_ended)?;
        self.has_ended = true;
        Some(status)
    }

    /// Returns the end of its output, indented.
    fn last_output(&self) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.output).and_then(|mut file| {
            let len = file.metadata()?.len();
            file.seek(SeekFrom::Start(len.saturating_sub(SHOWN_BYTES)))?;
            file.read_to_end(&mut text)
        });
        if let Err(error) = read {
            return format!("  {}: {error}", self.output.display());
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
        let shown = lines.len().saturating_sub(8);
        lines.get(shown..).unwrap_or_default().join("\n")
    }

    fn describe_end(&self, status: ExitStatus) -> String {
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        };
        format!("node {} {how}:\n{}", self.number, self.last_output())
    }

    fn wait_until_ready(&mut self, interrupt: &Interrupt) -> Result<StatusReply, Failure> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self.ended() {
                let end = self.describe_end(status);
                return Err(Failure::Failed(format!("cannot start the network: {end}")));
            }
            if let Some(status) = self.request(&request::Status {}) {
                return Ok(status);
            }
            interrupt.check()?;
            if Instant::now() > deadline {
                let seconds = START_TIMEOUT.as_secs();
                return Err(Failure::Failed(format!(
                    "node {} does not answer within {seconds} s:\n{}",
                    self.number,
                    self.last_output()
                )));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Node {
    /// Waits for a short time until it has made a block: before that, it listens for six seconds
    /// from the first head that a peer announces.
    fn wait_for_first_block(&self) {
        let deadline = Instant::now() + FIRST_BLOCK_TIMEOUT;
        let has_made = |status: StatusReply| status.validator.is_some_and(|it| it.blocks_made > 0);
        while Instant::now() < deadline && !self.request(&request::Status {}).is_some_and(has_made)
        {
            thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Nodes {
    /// Starts all nodes, and waits until they answer, know a peer and have the chain.
    pub(super) fn start(
        directory: &Directory,
        found: &Description,
        ports: Ports,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let mut nodes = Self { all: Vec::new() };
        let mut first = Node::start(directory, found, 1, ports, None)?;
        let status = first.wait_until_ready(interrupt);
        if status.is_ok() && found.nodes > 1 {
            first.wait_for_first_block();
        }
        nodes.all.push(first);
        let address = loopback(&status?);
        for number in 2..=found.nodes {
            let node = Node::start(directory, found, number, ports, Some(&address))?;
            nodes.all.push(node);
        }
        nodes.wait_until_joined(interrupt)?;
        if ports.rpc.is_some() {
            nodes.wait_until_rpc_listens(directory, interrupt)?;
        }
        Ok(nodes)
    }

    /// Waits until all nodes have stated their addresses of RPC, shortly after they answer at their
    /// control sockets.
    fn wait_until_rpc_listens(
        &mut self,
        directory: &Directory,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        for node in &mut self.all {
            let deadline = Instant::now() + START_TIMEOUT;
            while directory.rpc_url(node.number).is_none() && Instant::now() < deadline {
                // Fails if the node has ended, as without the port.
                node.wait_until_ready(interrupt)?;
                interrupt.check()?;
                thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(())
    }

    fn wait_until_joined(&mut self, interrupt: &Interrupt) -> Result<(), Failure> {
        let is_alone = self.all.len() == 1;
        let deadline = Instant::now() + JOIN_TIMEOUT;
        for node in &mut self.all {
            loop {
                let status = node.wait_until_ready(interrupt)?;
                if status.chain.head.is_some() && (is_alone || status.peers > 0) {
                    break;
                }
                if Instant::now() > deadline {
                    let (number, seconds) = (node.number, JOIN_TIMEOUT.as_secs());
                    return Err(Failure::Failed(format!(
                        "node {number} has not joined the chain within {seconds} s; its log is in \
                         the directory `logs` beside {}",
                        node.output.display()
                    )));
                }
                interrupt.check()?;
                thread::sleep(POLL_INTERVAL);
            }
        }
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.all.iter()
    }

    /// Returns the numbers and descriptions of nodes that have ended since the last call.
    pub(super) fn ended(&mut self) -> Vec<(u32, String)> {
        let all = self.all.iter_mut();
        all.filter_map(|node| {
            let status = node.ended()?;
            Some((node.number, node.describe_end(status)))
        })
        .collect()
    }

    /// Stops all nodes and waits for them.
    pub(super) fn stop(&mut self) {
        for node in &mut self.all {
            drop(node.child.stdin.take());
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        for node in &mut self.all {
            while matches!(node.child.try_wait(), Ok(None)) {
                if Instant::now() > deadline {
                    complain(&format!("node {} does not stop: killed it", node.number));
                    let _ = node.child.kill();
                    let _ = node.child.wait();
                    break;
                }
                thread::sleep(POLL_INTERVAL);
            }
            node.has_ended = true;
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the loopback address that a node listens at.
pub(super) fn loopback(status: &StatusReply) -> String {
    let port = status.listen_address.rsplit_once(':');
    format!("127.0.0.1:{}", port.map_or("0", |(_, port)| port))
}

/// Returns a command of this program in a process group of its own, so that Ctrl-C in the terminal
/// does not reach it.
pub(super) fn own_command() -> Result<Command, Failure> {
    let mut command = own_command_in_group()?;
    command.process_group(0);
    Ok(command)
}

/// Returns a command of this program without variables that would change its configuration.
pub(super) fn own_command_in_group() -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::Failed(format!("cannot determine the path of astreum: {error}"))
    })?;
    Ok(without_variables(Command::new(program)))
}

/// Returns the command without the variables that would configure this program.
pub(in super::super) fn without_variables(mut command: Command) -> Command {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("ASTREUM_")) {
        command.env_remove(name);
    }
    command
}
