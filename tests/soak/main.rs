//! Soak test: a network of real processes under steady load for a long time. Nodes of ours and
//! unmodified references on loopback put, get, transact, stop, are killed and start again.
//!
//! ```text
//! cargo run --release -p astreum-tests --bin soak -- --minutes 60
//! cargo run -p astreum-tests --bin soak -- --seconds 30 --nodes 5 --references 1
//! ```
//!
//! It prints a line a minute, a table at the end, and each figure with its bar. Exit codes: 0 if
//! every bar is met, 1 if one is missed, 2 if it cannot start. It requires Linux, because it reads
//! `/proc`. References require Python 3.12 or newer, see `astreum_tests::reference`;
//! `--references 0` runs without them.
#![expect(
    clippy::cast_precision_loss,
    reason = "printed figures do not need full precision"
)]

mod catalogue;
mod health;
mod ledger;
mod logs;
mod measured;
mod node;
mod references;
mod report;
mod restarts;
mod traffic;
mod transfers;
mod world;

use astreum_tests::reference::Environment;
use astreum_tests::testkit::program;
use clap::Parser;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use health::Health;
use measured::Pace;
use node::End;
use report::Report;
use restarts::Restarts;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use tempfile::TempDir;
use world::World;

/// Number of threads that put, and of threads that get. Several, because a waiting operation blocks
/// its thread.
const WORKERS: u64 = 6;
/// Sending threads per transaction per second; they wait for blocks.
const SENDERS_PER_RATE: f64 = 12.0;
/// Commands per second of each reference.
const REFERENCE_RATE: f64 = 2.0;

/// A network of real processes under steady load.
#[derive(Parser, Debug)]
#[command(name = "soak")]
pub(crate) struct Arguments {
    /// Duration in minutes.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Duration in seconds, instead of minutes.
    #[arg(long, conflicts_with = "minutes")]
    seconds: Option<u64>,
    /// Number of nodes of ours.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(4..=200))]
    nodes: u16,
    /// Number of reference nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=16))]
    references: u8,
    /// Seed of all random choices of this program.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Puts per second.
    #[arg(long, default_value_t = 10.0)]
    puts: f64,
    /// Gets per second.
    #[arg(long, default_value_t = 10.0)]
    gets: f64,
    /// Transactions per second.
    #[arg(long, default_value_t = 2.0)]
    transactions: f64,
    /// Seconds between two restarts; a fifth of the duration if that is less.
    #[arg(long, default_value_t = 20)]
    restart_seconds: u64,
    /// Directory for all files of the nodes, which is kept; without it they are removed.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// The program `astreum`, instead of building it.
    #[arg(long)]
    node: Option<PathBuf>,
}

impl Arguments {
    /// Returns the duration of the load.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(self.minutes * 60))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(0) => {
            println!("soak: all bars met");
            ExitCode::SUCCESS
        }
        Ok(missed) => {
            println!("soak: {missed} bars missed");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("soak: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<usize, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| format!("cannot install signal handlers: {error}"))?;
    }
    let folder = Folder::new(arguments.keep.as_deref())?;
    let node = match &arguments.node {
        Some(node) => node.clone(),
        None => program::build()?,
    };
    let environment = match arguments.references {
        0 => None,
        _ => Some(Environment::with(
            node.clone(),
            folder.path.join("references"),
        )?),
    };
    let world = World::start(arguments, &node, &folder.path, stop)?;
    work(arguments, &world, environment.as_ref())
}

/// Runs all kinds of load until the time is over, then collects the final account.
fn work(
    arguments: &Arguments,
    world: &World,
    environment: Option<&Environment>,
) -> Result<usize, String> {
    let (health, restarts) = (Health::default(), Restarts::default());
    let every = Duration::from_secs(arguments.restart_seconds).min(arguments.time() / 5);
    let [puts, gets, transactions] =
        [arguments.puts, arguments.gets, arguments.transactions].map(Pace::per_second);
    world.measured.print_line(&format!(
        "{} nodes of ours are running, {} references are starting",
        world.nodes.len(),
        world.references.len()
    ));
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (puts, gets) = (&puts, &gets);
            scope.spawn(move || traffic::put(world, puts, 100 + worker));
            scope.spawn(move || traffic::get(world, gets, 200 + worker));
        }
        for worker in 0..senders(arguments.transactions) {
            let transactions = &transactions;
            scope.spawn(move || transfers::send(world, transactions, 300 + worker));
        }
        scope.spawn(|| restarts::run(world, &restarts, every));
        for (number, environment) in
            (0..world.references.len()).zip(environment.into_iter().cycle())
        {
            scope.spawn(move || references::run(world, environment, number, REFERENCE_RATE));
        }
        health.watch(world);
    });
    let took = world.measured.elapsed();
    let account = transfers::settle(world)?;
    stop_all(world, &restarts)?;
    let report = Report {
        took,
        records: world.measured.records(),
        samples: health.samples(),
        ended: health.ended(),
        restarts: &restarts,
        log_problems: logs::read(&world.nodes),
        account,
        references_died: world
            .references
            .iter()
            .map(|seat| seat.died.load(Ordering::Relaxed))
            .sum(),
        is_interrupted: world.is_interrupted(),
    };
    Ok(report.print())
}

fn senders(rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small positive number, clamped otherwise"
    )]
    let senders = (rate * SENDERS_PER_RATE).ceil().clamp(0.0, 200.0) as u64;
    senders
}

/// Stops every node and checks that its files contain every atom that it acknowledged.
fn stop_all(world: &World, restarts: &Restarts) -> Result<(), String> {
    for node in &world.nodes {
        if node.process_id().is_none() || node.ended().is_some() {
            continue;
        }
        node.set_used(false);
        node.end(End::Asked)?;
        restarts::check_stored(world, restarts, node, &node.all_kept())?;
    }
    Ok(())
}

/// Directory of all files.
struct Folder {
    path: PathBuf,
    /// Removed at the end, unless the files are kept.
    _temporary: Option<TempDir>,
}

impl Folder {
    /// Creates a directory with a short path, because the path of a Unix socket is limited.
    fn new(keep: Option<&Path>) -> Result<Self, String> {
        let Some(path) = keep else {
            let temporary = TempDir::with_prefix("ast-soak-")
                .map_err(|error| format!("cannot create a temporary directory: {error}"))?;
            return Ok(Self {
                path: temporary.path().to_owned(),
                _temporary: Some(temporary),
            });
        };
        let is_empty = std::fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
        if !is_empty {
            return Err(format!("{} is not empty", path.display()));
        }
        std::fs::create_dir_all(path)
            .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            _temporary: None,
        })
    }
}
