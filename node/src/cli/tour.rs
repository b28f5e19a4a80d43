//! Command `astreum tour`: a walk through the commands of this program, each shown and executed.
//!
//! The nodes are those of a temporary development network, which ends with this process in any way
//! and removes its directory, with the files of the tour.

use core::time::Duration;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Instant;

use super::args::TourArgs;
use super::devnet::without_variables;
use super::interrupt::Interrupt;
use super::output::{Failure, Output, complain};

/// Maximum time of a step.
const STEP_TIMEOUT: Duration = Duration::from_secs(90);
/// Time after which a network that was asked to stop is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Interval between checks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Number of steps.
const STEPS: usize = 6;
/// Makes the program available under its name, whatever its file is called.
const PRELUDE: &str = "astreum() { \"$TOUR_PROGRAM\" \"$@\"; }\n";
/// Last line that a network prints at its start.
const LAST_OF_GREETING: &str = "Ctrl-C stops";

/// Tour that is under way.
struct Tour<'o> {
    out: &'o mut Output,
    program: PathBuf,
    interrupt: Interrupt,
    /// Lines of stdin, if there are pauses.
    enter: Option<Receiver<()>>,
    network: Option<Network>,
    step: usize,
    title: &'static str,
}

/// Development network that the tour has started.
struct Network {
    child: Child,
    directory: PathBuf,
    accounts: Vec<String>,
}

pub(super) fn tour(args: &TourArgs, out: &mut Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch().map_err(Failure::failed)?;
    let program = std::env::current_exe().map_err(|error| {
        Failure::Failed(format!("cannot determine the path of astreum: {error}"))
    })?;
    let is_interactive = !args.yes && io::stdin().is_terminal() && io::stdout().is_terminal();
    let began = Instant::now();
    let mut tour = Tour {
        out,
        program,
        interrupt,
        enter: is_interactive.then(lines_of_stdin),
        network: None,
        step: 0,
        title: "",
    };
    let result = tour.walk();
    let (step, title) = (tour.step, tour.title);
    if tour.network.take().is_some() && result.is_ok() {
        writeln!(
            tour.out,
            "\nThe network is stopped and its directory is removed."
        )?;
    }
    tour.interrupt.end("interrupted: the network is stopped");
    match result {
        Ok(()) => {
            let seconds = began.elapsed().as_secs();
            Ok(writeln!(
                out,
                "Done in {seconds} s. `astreum devnet` runs such a network for your own programs; \
                 `astreum --help` lists all\ncommands, and `astreum tx send --help` explains one."
            )?)
        }
        Err(Failure::Failed(error)) => Err(Failure::Failed(format!(
            "the tour failed at step {step} of {STEPS} ({title}): {error}"
        ))),
        other => other,
    }
}

/// Reads stdin on a thread of its own, so that a signal ends a pause.
fn lines_of_stdin() -> Receiver<()> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for _ in io::stdin().lines().map_while(Result::ok) {
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    lines
}

impl Tour<'_> {
    fn walk(&mut self) -> Result<(), Failure> {
        self.begin(
            "evaluating",
            "Programs are expressions, and every step of one is metered.",
        )?;
        self.run("astreum eval '(1 2 ((a b (($0 $1 add) sk)) (a b) fn))'")?;

        self.begin(
            "two nodes",
            "A private network on this machine: a validator and a follower, with funded accounts.",
        )?;
        self.start_network()?;

        self.begin(
            "storing",
            "A file is stored as a list of atoms, under the hash of its content.",
        )?;
        self.run("echo 'hello from the tour' > hello.txt")?;
        let put = self.run("astreum put hello.txt --config node1/node.toml")?;
        let id = put.split_whitespace().next().unwrap_or_default();

        self.begin(
            "fetching",
            "The other node does not have it: it asks its peer, and checks every atom.",
        )?;
        self.run(&format!(
            "astreum get {id} -o copy.txt --config node2/node.toml"
        ))?;
        self.run("cmp hello.txt copy.txt && cat copy.txt")?;

        self.begin(
            "a transfer",
            "The chain has a block every two seconds. A transfer waits until it is in one.",
        )?;
        let network = self.network.as_ref();
        let recipient = network.and_then(|network| network.accounts.get(1)).cloned();
        let recipient = recipient.ok_or_else(|| {
            Failure::Failed("the network has not printed its accounts".to_owned())
        })?;
        self.run(&format!(
            "astreum tx send {recipient} 1_000 --key-file keys/account1.key --config \
             node2/node.toml --wait"
        ))?;

        self.begin(
            "a proof",
            "The balance is proved to anyone who knows the id of the block, without a node.",
        )?;
        self.run(&format!(
            "astreum proof account {recipient} --config node2/node.toml > proof.json"
        ))?;
        let verified = self.run("astreum proof verify proof.json")?;
        match verified.contains("1000001000") {
            true => Ok(()),
            false => Err(Failure::Failed(
                "the proof does not show the transfer".to_owned(),
            )),
        }
    }

    /// Begins a step.
    fn begin(&mut self, title: &'static str, explanation: &str) -> Result<(), Failure> {
        self.step += 1;
        self.title = title;
        let step = self.step;
        writeln!(self.out, "\n-- {step} of {STEPS}: {title}")?;
        writeln!(self.out, "{explanation}\n")?;
        self.out.flush()?;
        self.pause()
    }

    /// Waits for Enter, unless there are no pauses.
    fn pause(&mut self) -> Result<(), Failure> {
        let Some(enter) = &self.enter else {
            return self.interrupt.check();
        };
        write!(self.out, "Press Enter to continue.")?;
        self.out.flush()?;
        while enter.recv_timeout(POLL_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            self.interrupt.check()?;
        }
        Ok(())
    }

    /// Returns a shell that executes a line, in the directory of the network.
    fn shell(&self, line: &str) -> Command {
        let mut command = without_variables(Command::new("sh"));
        command
            .arg("-c")
            .arg(format!("{PRELUDE}{line}"))
            .env("TOUR_PROGRAM", &self.program);
        if let Some(network) = &self.network {
            command.current_dir(&network.directory);
        }
        command
    }

    fn show(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.out, "$ {line}")?;
        Ok(self.out.flush()?)
    }

    /// Shows a command, executes it, and shows and returns its output.
    fn run(&mut self, line: &str) -> Result<String, Failure> {
        self.show(line)?;
        let mut command = self.shell(line);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let failed = |error: io::Error| Failure::Failed(format!("`{line}`: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let outputs = [
            child.stdout.take().map(read_to_end),
            child.stderr.take().map(read_to_end),
        ];
        let deadline = Instant::now() + STEP_TIMEOUT;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            if self.interrupt.is_received() || Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                self.interrupt.check()?;
                let seconds = STEP_TIMEOUT.as_secs();
                return Err(Failure::Failed(format!(
                    "`{line}` has not ended within {seconds} s"
                )));
            }
            thread::sleep(POLL_INTERVAL);
        };
        let outputs =
            outputs.map(|output| output.and_then(|it| it.join().ok()).unwrap_or_default());
        let [stdout, stderr] = outputs.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        write!(self.out, "{stdout}{stderr}")?;
        self.out.flush()?;
        self.interrupt.check()?;
        match status.code() {
            Some(0) => Ok(stdout),
            Some(code) => Err(Failure::Failed(format!("`{line}` exited with code {code}"))),
            None => Err(Failure::Failed(format!("`{line}` was ended by a signal"))),
        }
    }

    /// Starts the network in the background and shows what it prints, apart from its blocks.
    fn start_network(&mut self) -> Result<(), Failure> {
        let line = "astreum devnet --accounts 2 --quiet";
        self.show(&format!("{line} &"))?;
        // Hidden options: it ends with this process.
        let mut command = self.shell(&format!("exec \"$TOUR_PROGRAM\" {}", devnet_options(line)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let failed = |error: io::Error| Failure::Failed(format!("`{line}`: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let stdout = child.stdout.take();
        let mut network = Network {
            child,
            directory: PathBuf::new(),
            accounts: Vec::new(),
        };
        let lines = stdout.map(lines_of).ok_or(Failure::Reported)?;
        let deadline = Instant::now() + STEP_TIMEOUT;
        loop {
            self.interrupt.check()?;
            match lines.recv_timeout(POLL_INTERVAL) {
                Ok(line) => {
                    writeln!(self.out, "{line}")?;
                    network.learn(&line);
                    if line.starts_with(LAST_OF_GREETING) {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(_) => {
                    return Err(Failure::Failed(format!("`{line}` has not started")));
                }
            }
        }
        let directory = network.directory.clone();
        self.network = Some(network);
        self.show(&format!("cd {}", directory.display()))
    }
}

/// Returns the words of a command after the program, with the option that lets a network end with
/// this process.
fn devnet_options(line: &str) -> String {
    let words = line.strip_prefix("astreum ").unwrap_or(line);
    format!("{words} --until-stdin-closes")
}

impl Network {
    /// Learns the directory and the accounts from the printed lines.
    fn learn(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("directory"), Some(path)) => self.directory = Path::new(path).to_owned(),
            (Some(name), Some(address)) if name.starts_with("account") => {
                self.accounts.push(address.to_owned());
            }
            _ => {}
        }
    }
}

/// Stops the network, which removes its directory.
impl Drop for Network {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                complain("the network does not stop: killed it");
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}

fn read_to_end(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// Reads lines to the end, so that the writer is never blocked.
fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_and_accounts_are_read_from_the_greeting() {
        let child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let mut network = Network {
            child,
            directory: PathBuf::new(),
            accounts: Vec::new(),
        };
        for line in [
            "  directory   /tmp/astreum-devnet-1 (removed at the end)",
            "Accounts, each with 5; the faucet has more.",
            "  account1    aa",
            "    secret    bb",
            "  account2    cc",
            "  faucet      dd",
        ] {
            network.learn(line);
        }
        assert_eq!(network.directory, Path::new("/tmp/astreum-devnet-1"));
        assert_eq!(network.accounts, ["aa", "cc"]);
    }
}
