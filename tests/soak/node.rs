//! Node of ours: the real program, which can be stopped, killed and restarted in its directories.

use astreum_core::atom::AtomId;
use astreum_node::rpc::{Client, ClientError, Method, hex, request};
use astreum_node::store::cold::ColdStore;
use astreum_tests::testkit::wait::wait_within;
use astreum_tests::testkit::{NodeCommand, NodeProcess, Output};
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use core::time::Duration;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Maximum duration of a request.
const TIMEOUT: Duration = Duration::from_secs(40);
/// Maximum time until a node has stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Memory for atoms, in bytes: small, so that it fills early, and later growth has another cause.
const HOT_BYTES: &str = "2097152";
/// Size above which level 0 is collated, in bytes: small, to cause many collations and merges.
const LEVEL_BYTES: &str = "262144";

/// Role of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Role {
    /// Makes blocks, and runs from the beginning to the end.
    Validator,
    /// Makes blocks, and is restarted.
    RestartedValidator,
    /// Runs from the beginning to the end.
    Steady,
    /// Is restarted.
    Restarted,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [
        Self::Validator,
        Self::RestartedValidator,
        Self::Steady,
        Self::Restarted,
    ];

    /// Returns its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Validator => "validator",
            Self::RestartedValidator => "validator, restarted",
            Self::Steady => "node",
            Self::Restarted => "node, restarted",
        }
    }

    /// Returns whether nodes of this role are stopped, killed and restarted.
    pub(crate) const fn is_restarted(self) -> bool {
        matches!(self, Self::RestartedValidator | Self::Restarted)
    }

    /// Returns whether they make blocks.
    pub(crate) const fn validates(self) -> bool {
        matches!(self, Self::Validator | Self::RestartedValidator)
    }
}

/// Way in which a run of a node ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// On request, as with `astreum` or Ctrl-C.
    Asked,
    /// By `kill -9`.
    Killed,
}

/// Node with its directories.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) role: Role,
    program: PathBuf,
    home: PathBuf,
    seeds: Vec<String>,
    client: Client,
    port: AtomicU16,
    run: Mutex<Run>,
    /// Number of starts and stops.
    epoch: AtomicU64,
    kept: Mutex<Vec<AtomId>>,
}

/// Run of a node's program.
#[derive(Debug, Default)]
struct Run {
    process: Option<NodeProcess>,
    /// Time since which it may be used.
    used_since: Option<Instant>,
}

impl Node {
    /// Creates a node with new directories, without starting it.
    pub(crate) fn new(
        program: &Path,
        home: PathBuf,
        number: usize,
        role: Role,
        validation_secret: Option<[u8; 32]>,
        relay_secret: [u8; 32],
    ) -> Result<Self, String> {
        fs::create_dir_all(home.join("state"))
            .map_err(|error| format!("cannot create {}: {error}", home.display()))?;
        write_key(&home.join("relay.key"), &relay_secret)?;
        if let Some(secret) = validation_secret {
            write_key(&home.join("validation.key"), &secret)?;
        }
        Ok(Self {
            number,
            role,
            program: program.to_owned(),
            client: Client::new(home.join("sock"), TIMEOUT),
            home,
            seeds: Vec::new(),
            port: AtomicU16::new(0),
            run: Mutex::default(),
            epoch: AtomicU64::new(0),
            kept: Mutex::default(),
        })
    }

    /// Sets the nodes that it contacts first when it starts.
    pub(crate) fn set_seeds(&mut self, seeds: Vec<String>) {
        self.seeds = seeds;
    }

    /// Returns the path of its cold storage.
    pub(crate) fn cold(&self) -> PathBuf {
        self.home.join("cold")
    }

    /// Returns the path of its state directory.
    pub(crate) fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    /// Returns the path of its log directory.
    pub(crate) fn log_folder(&self) -> PathBuf {
        self.home.join("log")
    }

    /// Returns the path of its terminal output, all runs together.
    pub(crate) fn output(&self) -> PathBuf {
        self.home.join("output")
    }

    /// Returns the address that it listens on.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.load(Ordering::Relaxed))
    }

    /// Starts the program and waits until it answers.
    pub(crate) fn start(&self) -> Result<(), String> {
        let mut command = NodeCommand::new(&self.program, &self.home);
        command
            .socket(self.client.socket())
            .request_timeout(TIMEOUT)
            .own_process_group()
            .option(
                "incoming-port",
                self.port.load(Ordering::Relaxed).to_string(),
            )
            .option("hot-storage-limit", HOT_BYTES)
            .option("cold-storage-level-size", LEVEL_BYTES)
            .option("cold-storage-path", self.cold())
            .option("state-dir", self.state())
            .option("log-dir", self.log_folder())
            .option("relay-secret-key-file", self.home.join("relay.key"));
        if !self.seeds.is_empty() {
            command.option("additional-seeds", self.seeds.join(","));
        }
        if self.role.validates() {
            command.option(
                "validation-secret-key-file",
                self.home.join("validation.key"),
            );
        }
        let process = NodeProcess::start(&command, Output::File(self.output()))
            .map_err(|error| format!("node {}: {error}", self.number))?;
        self.port.store(process.port(), Ordering::Relaxed);
        self.run().process = Some(process);
        Ok(())
    }

    /// Ends its run, waits for the exit and returns the duration.
    pub(crate) fn end(&self, how: End) -> Result<Duration, String> {
        let began = Instant::now();
        if matches!(how, End::Asked) {
            let asked = self.client.request(&request::Stop {});
            asked.map_err(|error| {
                format!(
                    "node {} does not accept the stop request: {error}",
                    self.number
                )
            })?;
        } else if let Some(process) = &mut self.run().process {
            process.kill()?;
        }
        let ended = wait_within(STOP_TIMEOUT, "the node exits", || Ok(self.ended()));
        let status = ended.map_err(|error| format!("node {}: {error}", self.number))?;
        self.run().process = None;
        if matches!(how, End::Asked) && !status.success() {
            let said = self.last_output();
            return Err(format!(
                "node {} exited with {status} after a stop request: {said}",
                self.number
            ));
        }
        Ok(began.elapsed())
    }

    /// Returns the exit status of its run, if it has ended.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.run().process.as_mut()?.exited()
    }

    /// Returns its process id, while it runs.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.run().process.as_ref().map(NodeProcess::process_id)
    }

    /// Permits or forbids its use from now on.
    pub(crate) fn set_used(&self, is_used: bool) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.run().used_since = is_used.then(Instant::now);
    }

    /// Returns the epoch of its current use, if it has been used for at least `time`.
    pub(crate) fn used_for(&self, time: Duration) -> Option<u64> {
        let since = self.run().used_since?;
        (since.elapsed() >= time).then(|| self.epoch.load(Ordering::Relaxed))
    }

    /// Returns whether its use is still in this epoch.
    pub(crate) fn is_still(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Relaxed) == epoch
    }

    /// Sends it a request.
    pub(crate) fn request<M: Method>(&self, request: &M) -> Result<M::Reply, ClientError> {
        self.client.request(request)
    }

    /// Records that it has acknowledged to store these atoms.
    pub(crate) fn keeps(&self, ids: &[AtomId]) {
        self.kept().extend_from_slice(ids);
    }

    /// Returns the ids of all atoms that it has acknowledged.
    pub(crate) fn all_kept(&self) -> Vec<AtomId> {
        self.kept().clone()
    }

    /// Returns the ids among these that its files do not contain. It must not run.
    pub(crate) fn missing_of(&self, ids: &[AtomId]) -> Result<Vec<AtomId>, String> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let describe = |error| format!("cold storage of node {}: {error}", self.number);
        let store = ColdStore::open_to_read(&self.cold(), true).map_err(describe)?;
        let mut missing = Vec::new();
        for id in ids {
            if store.get(id).map_err(describe)?.is_none() {
                missing.push(*id);
            }
        }
        Ok(missing)
    }

    fn last_output(&self) -> String {
        let said = fs::read_to_string(self.output()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().rev().take(4).collect();
        lines.join(" | ")
    }

    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<AtomId>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_key(path: &Path, secret: &[u8; 32]) -> Result<(), String> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| writeln!(file, "{}", hex(secret)))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
