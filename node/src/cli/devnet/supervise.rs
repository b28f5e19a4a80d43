//! Process that runs a network: starts the nodes, reports blocks, carries out orders, stops all.

use core::time::Duration;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::super::interrupt::Interrupt;
use super::super::output::{Failure, Output, complain, json_line};
use super::args::{MAX_PORT, StartArgs};
use super::child::{Janitor, stop_when_stdin_closes};
use super::control::{Control, Order, answer};
use super::create::{Sizes, block_time, check_same, create};
use super::directory::{Description, Directory, Lock};
use super::facts;
use super::monitor::Monitor;
use super::nodes::{Node, Nodes, Ports};
use super::snapshots;

/// Interval between checks for orders, signals and nodes that have ended.
const TICK: Duration = Duration::from_millis(50);
/// Interval between queries of the heads.
const HEADS_INTERVAL: Duration = Duration::from_millis(500);

/// Directory that is removed when this is dropped. After a crash of this process another one does
/// that.
struct Temporary {
    directory: Directory,
    /// Dropped after the removal.
    _janitor: Janitor,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = self.directory.remove() {
            let path = self.directory.path().display();
            complain(&format!("cannot remove {path}: {error}"));
        }
    }
}

/// Network that this process runs.
struct Network<'a> {
    args: &'a StartArgs,
    directory: Directory,
    found: Description,
    interrupt: Interrupt,
    nodes: Option<Nodes>,
    monitor: Monitor,
}

/// Runs a network until a signal or an order stops it.
pub(super) fn start(args: &StartArgs, out: &mut Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch().map_err(Failure::failed)?;
    if args.until_stdin_closes {
        stop_when_stdin_closes()?;
    }
    let sizes = Sizes::new(args)?;
    check_ports(args, &sizes)?;
    let directory = match &args.dir {
        Some(path) => Directory::create(path)?,
        None => Directory::temporary()?,
    };
    let is_temporary = args.dir.is_none();
    // Dropped after the nodes have ended.
    let mut temporary = None;
    if is_temporary {
        temporary = Some(Temporary {
            _janitor: Janitor::start(&directory)?,
            directory: directory.clone(),
        });
    }
    let has_network = directory.has_network()?;
    let lock = directory.lock()?;
    let found = match has_network {
        true => resume(args, &directory)?,
        false => create(&directory, &sizes, is_temporary)?,
    };
    let result = run(args, directory, found, interrupt, out);
    end(lock, temporary);
    result
}

/// Removes a temporary directory before its lock is released.
fn end(lock: Lock, temporary: Option<Temporary>) {
    drop(temporary);
    drop(lock);
}

/// Checks that the given ports exist and that nodes and RPC do not share one.
fn check_ports(args: &StartArgs, sizes: &Sizes) -> Result<(), Failure> {
    let nodes = sizes.nodes();
    let rpc = args.rpc_port.filter(|port| *port > 0);
    for (option, first) in [("--port", args.port), ("--rpc-port", rpc)] {
        if first.is_some_and(|first| first.saturating_add(nodes) > MAX_PORT + 1) {
            return Err(Failure::Usage(format!(
                "invalid value for {option}: the ports of {nodes} nodes would pass {MAX_PORT}"
            )));
        }
    }
    match (args.port, rpc) {
        (Some(port), Some(rpc)) if port.abs_diff(rpc) < nodes => Err(Failure::Usage(format!(
            "--port {port} and --rpc-port {rpc} overlap: each needs {nodes} ports in a row"
        ))),
        _ => Ok(()),
    }
}

fn resume(args: &StartArgs, directory: &Directory) -> Result<Description, Failure> {
    let mut found = directory.description()?;
    check_same(args, &found)?;
    if let Some(seconds) = block_time(args)?.filter(|it| *it != found.block_time_seconds) {
        found.block_time_seconds = seconds;
        directory.save(&found)?;
    }
    Ok(found)
}

fn run(
    args: &StartArgs,
    directory: Directory,
    found: Description,
    interrupt: Interrupt,
    out: &mut Output,
) -> Result<(), Failure> {
    let control = Control::open(&directory)?;
    let mut network = Network {
        args,
        directory,
        found,
        interrupt,
        nodes: None,
        monitor: Monitor::new(args.json),
    };
    match network.start_nodes().and_then(|()| network.greet(out)) {
        // Ctrl-C while the nodes start.
        Err(_) if network.interrupt.is_received() => return Ok(()),
        started => started?,
    }
    let stopped_for = network.work(&control, out);
    if let Some(nodes) = &mut network.nodes {
        nodes.stop();
    }
    // Answered when all is done, so that the directory can be used at once.
    if let Some(stream) = stopped_for? {
        answer(stream, None);
    }
    Ok(())
}

impl Network<'_> {
    fn start_nodes(&mut self) -> Result<(), Failure> {
        let ports = Ports {
            nodes: self.args.port,
            rpc: self.args.rpc_port,
        };
        let nodes = Nodes::start(&self.directory, &self.found, ports, &self.interrupt)?;
        self.nodes = Some(nodes);
        self.monitor.forget();
        Ok(())
    }

    fn greet(&self, out: &mut Output) -> Result<(), Failure> {
        if self.args.json {
            let mut facts = facts::as_json(&self.directory, &self.found)?;
            if let Some(facts) = facts.as_object_mut() {
                facts.insert("event".to_owned(), "started".into());
            }
            json_line(out, &facts)?;
        } else {
            facts::write(&self.directory, &self.found, out)?;
            facts::write_suggestions(&self.directory, &self.found, out)?;
            writeln!(out)?;
        }
        Ok(out.flush()?)
    }

    fn event(&self, event: &str, text: &str, out: &mut Output) -> Result<(), Failure> {
        self.print(&json!({"event": event, "text": text}), text, out)
    }

    /// Prints an event as JSON or as text.
    fn print(&self, value: &Value, text: &str, out: &mut Output) -> Result<(), Failure> {
        match self.args.json {
            true => json_line(out, value)?,
            false => writeln!(out, "{text}")?,
        }
        Ok(out.flush()?)
    }

    /// Works until it is to stop; returns the connection that asked for it, if there is one.
    fn work(&mut self, control: &Control, out: &mut Output) -> Result<Option<UnixStream>, Failure> {
        let mut next_heads = Instant::now();
        loop {
            if self.interrupt.is_received() {
                return Ok(None);
            }
            while let Some((order, stream)) = control.next() {
                if order == (Order::Stop {}) {
                    return Ok(Some(stream));
                }
                let result = self.carry_out(&order, out);
                let error = match &result {
                    Ok(()) => None,
                    Err(Failure::Failed(text) | Failure::Usage(text)) => Some(text.clone()),
                    Err(Failure::Reported | Failure::Closed) => Some("interrupted".to_owned()),
                };
                answer(stream, error);
                if self.interrupt.is_received() {
                    return Ok(None);
                }
                // Nodes that could not be started again.
                if self.nodes.is_none() {
                    result?;
                }
            }
            let nodes = self.nodes.as_mut();
            for (number, text) in nodes.map(Nodes::ended).unwrap_or_default() {
                let value = json!({"event": "node_ended", "node": number, "text": text});
                self.print(&value, &text, out)?;
            }
            let Some(nodes) = &self.nodes else {
                return Ok(None);
            };
            if !nodes.iter().any(Node::is_running) {
                return Err(Failure::Failed("all nodes have ended".to_owned()));
            }
            if !self.args.quiet && Instant::now() >= next_heads {
                self.monitor.poll(nodes, &self.found, out)?;
                next_heads = Instant::now() + HEADS_INTERVAL;
            }
            thread::sleep(TICK);
        }
    }

    fn carry_out(&mut self, order: &Order, out: &mut Output) -> Result<(), Failure> {
        let began = Instant::now();
        match order {
            Order::Snapshot { name } => {
                let nodes = self.nodes.iter().flat_map(Nodes::iter);
                snapshots::take(&self.directory, &self.found, name, nodes)?;
                let text = format!("took snapshot {name} in {} ms", began.elapsed().as_millis());
                self.event("snapshot", &text, out)
            }
            Order::Restore { name } => {
                snapshots::check(&self.directory, &self.found, name)?;
                self.replaced(|directory, found| snapshots::restore(directory, found, name))?;
                let text = format!(
                    "restored snapshot {name} in {} ms",
                    began.elapsed().as_millis()
                );
                self.event("restored", &text, out)
            }
            Order::Reset {} => {
                self.replaced(snapshots::reset)?;
                self.event("reset", "began a new chain", out)
            }
            Order::Stop {} => Ok(()),
        }
    }

    /// Stops the nodes, changes their files and starts them again.
    fn replaced(
        &mut self,
        change: impl FnOnce(&Directory, &Description) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // They are stopped when they are dropped.
        self.nodes = None;
        change(&self.directory, &self.found)?;
        self.start_nodes()
    }
}
