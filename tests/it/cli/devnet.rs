//! Command `devnet`: networks of real nodes, their end and their examples.
#![expect(
    clippy::indexing_slicing,
    reason = "a missing value fails the test with its location"
)]

use core::time::Duration;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use astreum_tests::testkit::wait::eventually_within;
use astreum_tests::testkit::{Home, Ran, http, program, run_with_input};

#[path = "../../../node/examples/transfer.rs"]
#[expect(dead_code, reason = "`main` is not called")]
mod transfer;

/// Maximum time for anything that a network does.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Network that runs in a home, with its temporary directories.
struct Devnet<'h> {
    home: &'h Home,
    child: Child,
    lines: Receiver<Value>,
    facts: Value,
}

/// Returns a command whose temporary directories are in the home.
fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.command(&[&["devnet"], arguments].concat());
    command.env("TMPDIR", home.path());
    command
}

fn run(home: &Home, arguments: &[&str]) -> Ran {
    run_with_input(command(home, arguments), b"")
}

fn read(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl<'h> Devnet<'h> {
    fn start(home: &'h Home, arguments: &[&str]) -> Self {
        let mut child = command(home, &[&["--json"], arguments].concat())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = read(child.stdout.take().unwrap());
        let facts = lines.recv_timeout(TIMEOUT).unwrap();
        assert_eq!(facts["event"], "started");
        Self {
            home,
            child,
            lines,
            facts,
        }
    }

    fn directory(&self) -> PathBuf {
        self.facts["directory"].as_str().unwrap().into()
    }

    fn account(&self, number: usize) -> &str {
        self.facts["accounts"][number]["address"].as_str().unwrap()
    }

    /// Waits for a line of this event.
    fn wait_for(&self, event: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            match self.lines.recv_timeout(TIMEOUT) {
                Ok(line) if line["event"] == event && is_it(&line) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("no {event} in time"),
                Err(error) => panic!("{event}: {error}"),
            }
        }
    }

    /// Runs a command of the program for a node, by its number.
    fn at_node(&self, number: usize, arguments: &[&str]) -> Ran {
        let config = self.facts["nodes"][number - 1]["config"].as_str().unwrap();
        self.home
            .run(&[arguments, &["--config", config, "--json"]].concat())
    }

    fn balance(&self, node: usize, account: usize) -> String {
        let shown = self.at_node(node, &["account", "show", self.account(account)]);
        shown.json()["balance"].as_str().unwrap().to_owned()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; returns the exit code.
    fn finish(mut self) -> Option<i32> {
        let mut status = None;
        eventually_within(TIMEOUT, "the network ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Devnet<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns whether a process has this path in its command line.
fn is_used(path: &Path) -> bool {
    let path = path.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|it| fs::read(it.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(path))
}

/// Returns the temporary directories of networks in a home.
fn temporary(home: &Home) -> Vec<PathBuf> {
    let entries = fs::read_dir(home.path()).unwrap().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.to_str().unwrap().contains("astreum-devnet-"))
        .collect()
}

/// Runs an example for the shell with the program `astreum` in its path.
fn example(home: &Home, name: &str, arguments: &[&str]) -> Ran {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/examples");
    let mut paths = vec![program::astreum().parent().unwrap().to_owned()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut command = Command::new("sh");
    command
        .arg(examples.join(name))
        .args(arguments)
        .current_dir(home.path())
        .env_clear()
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env("PATH", std::env::join_paths(paths).unwrap());
    run_with_input(command, b"")
}

#[test]
fn temporary_network_serves_examples_and_leaves_nothing() {
    let home = Home::new("devnet");
    run(&home, &["show"]).fails(1, &["no development network runs", "astreum devnet"]);
    let devnet = Devnet::start(&home, &["--accounts", "2", "--block-time", "1"]);
    let directory = devnet.directory();
    for node in devnet.facts["nodes"].as_array().unwrap() {
        assert!(node["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    let secret = &devnet.facts["accounts"][0]["secret_key"];
    let key_file = devnet.facts["accounts"][0]["key_file"].as_str().unwrap();
    let held = fs::read_to_string(key_file).unwrap();
    assert!(held.contains(secret.as_str().unwrap()));
    devnet.wait_for("block", |line| line["height"].as_u64() >= Some(2));
    let at = directory.to_str().unwrap();
    let ran = example(&home, "transfer.sh", &[at]);
    assert!(
        ran.lines().iter().any(|line| line.ends_with("1000001000")),
        "{ran:?}"
    );
    let (status, balance) = transfer::transfer(&directory, 500).unwrap();
    assert_eq!(
        (status.state.to_string().as_str(), balance.as_str()),
        ("success", "1000001500")
    );
    let ran = run(&home, &["faucet", devnet.account(1), "2_000", "--json"]);
    assert_eq!(ran.json()["status"]["state"], "success");
    assert_eq!(devnet.balance(1, 1), "1000003500");
    let shown = run(&home, &["show"]);
    assert!(shown.text().contains(secret.as_str().unwrap()));
    assert!(shown.text().contains("Use the keys nowhere else"));
    run(&home, &["faucet", "abc", "1"]).fails(2, &["the address"]);
    // Not SIGINT: a shell that runs the tests in the background lets them ignore it.
    devnet.signal(Signal::TERM);
    assert_eq!(devnet.finish(), Some(0));
    assert!(temporary(&home).is_empty() && !is_used(&directory));
}

#[test]
fn killed_network_leaves_neither_nodes_nor_a_directory() {
    let home = Home::new("devkill");
    let devnet = Devnet::start(&home, &["--quiet", "--nodes", "1", "--accounts", "0"]);
    let directory = devnet.directory();
    assert!(is_used(&directory));
    devnet.signal(Signal::KILL);
    assert_eq!(devnet.finish(), None);
    eventually_within(TIMEOUT, "nodes and directory are gone", || {
        !is_used(&directory) && temporary(&home).is_empty()
    });
}

#[test]
fn snapshots_bring_all_nodes_back() {
    let home = Home::new("devsnap");
    let start = ["--validators", "2", "--accounts", "1", "--block-time", "1"];
    let devnet = Devnet::start(&home, &[&start[..], &["--dir", "net"]].concat());
    let (initial, to) = ("1000000000", devnet.account(0).to_owned());
    let net = |arguments: &[&str]| run(&home, &[arguments, &["--dir", "net"]].concat());
    let pay = || {
        net(&["faucet", &to, "5"]).lines();
    };
    let reaches = |balance: &str| {
        eventually_within(TIMEOUT, balance, || {
            [1, 2]
                .into_iter()
                .all(|node| devnet.balance(node, 0) == balance)
        });
    };
    reaches(initial);
    net(&["snapshot", "before"]).lines();
    net(&["snapshot", "before"]).fails(1, &["snapshot before exists"]);
    net(&["restore", "other"]).fails(1, &["unknown snapshot other: available are before"]);
    pay();
    reaches("1000000005");
    net(&["restore", "before"]).lines();
    devnet.wait_for("restored", |_| true);
    reaches(initial);
    // The chain continues from there, with blocks of both validators.
    pay();
    reaches("1000000005");
    for node in [1, 2] {
        devnet.wait_for("block", |line| line["node"] == node);
    }
    net(&["reset"]).lines();
    devnet.wait_for("reset", |_| true);
    reaches(initial);
    // A node that is killed is reported; the other one continues.
    let commands = fs::read_dir("/proc").unwrap().flatten();
    let second = devnet.directory().join("node2/node.toml");
    let mut victims = commands.filter(|it| {
        let line = fs::read(it.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(second.to_str().unwrap())
    });
    let victim = victims.next().unwrap().file_name();
    let victim = Pid::from_raw(victim.to_str().unwrap().parse().unwrap()).unwrap();
    kill_process(victim, Signal::KILL).unwrap();
    let ended = devnet.wait_for("node_ended", |_| true);
    assert_eq!(ended["node"], 2);
    assert!(
        ended["text"]
            .as_str()
            .unwrap()
            .contains("node 2 was ended by signal 9")
    );
    devnet.wait_for("block", |_| true);
    net(&["stop"]).lines();
    assert_eq!(devnet.finish(), Some(0));
    // Without a process that runs it, too.
    net(&["restore", "before"]).lines();
    net(&["snapshot", "again"]).lines();
    net(&["reset"]).lines();
}

#[test]
fn nodes_serve_rpc_over_http_on_request() {
    let home = Home::new("devrpc");
    let devnet = Devnet::start(&home, &["--nodes", "2", "--rpc-port", "0", "--quiet"]);
    for node in devnet.facts["nodes"].as_array().unwrap() {
        let url = node["rpc_url"].as_str().unwrap();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let request = http::call(1, "status", &serde_json::json!({}));
        let reply = http::post(address, &request, &[]).json();
        assert_eq!(reply["result"]["chain_id"], 31_337, "{reply}");
        let token = fs::read_to_string(node["rpc_token_file"].as_str().unwrap()).unwrap();
        let token = format!("Authorization: Bearer {}", token.trim());
        let request = http::call(2, "advertised", &serde_json::json!({}));
        let reply = http::post(address, &request, &[&token]);
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let shown = run(&home, &["show"]);
    let url = devnet.facts["nodes"][0]["rpc_url"].as_str().unwrap();
    assert!(
        shown.text().contains(&format!("RPC {url}, token in ")),
        "{shown:?}"
    );
    run(&home, &["stop"]).lines();
    assert_eq!(devnet.finish(), Some(0));
}

#[test]
fn stopped_network_resumes_and_refuses_what_does_not_fit() {
    let home = Home::new("devdir");
    home.file("file", "");
    fs::create_dir(home.path().join("other")).unwrap();
    home.file("other/file", "");
    let long = "x".repeat(100);
    for (arguments, code, expected) in [
        (
            &["--nodes", "2", "--validators", "3"][..],
            2,
            "raise --nodes",
        ),
        (&["--nodes", "65"], 2, "from 1 to 64"),
        (&["--nodes", "0"], 2, "--nodes"),
        (&["--chain-id", "0"], 2, "public networks"),
        (&["--port", "65535"], 2, "would pass 65535"),
        (&["--port", "70000"], 2, "from 1 to 65535"),
        (&["--rpc-port", "65535"], 2, "would pass 65535"),
        (&["--port", "7000", "--rpc-port", "7001"], 2, "overlap"),
        (&["--block-time", "0"], 2, "at least 1"),
        (&["--balance", "1.5"], 2, "--balance"),
        (&["--dir", "file"], 2, "not a directory"),
        (&["--dir", "other"], 2, "is not empty"),
        (&["--dir", &long], 2, "shorter --dir"),
        (&["show", "--dir", "other"], 1, "has no development network"),
        (&["stop", "--dir", "other"], 1, "has no development network"),
        (&["snapshot", "a", "--dir", "none"], 1, "none"),
    ] {
        run(&home, arguments).fails(code, &[expected]);
    }
    assert!(temporary(&home).is_empty());
    let net = ["--dir", "net", "--nodes", "1", "--accounts", "1"];
    let devnet = Devnet::start(&home, &net);
    let account = devnet.account(0).to_owned();
    run(&home, &net).fails(1, &["already running", "astreum devnet stop"]);
    let block = devnet.wait_for("block", |line| line["height"].as_u64() >= Some(2));
    // Its port is in use, also for another network.
    let address = devnet.facts["nodes"][0]["address"].as_str().unwrap();
    let port = address.rsplit_once(':').unwrap().1;
    run(&home, &["--nodes", "1", "--port", port]).fails(1, &["node 1 exited", port, "in use"]);
    assert!(temporary(&home).is_empty());
    run(&home, &["stop", "--dir", "net"]).lines();
    assert_eq!(devnet.finish(), Some(0));
    run(&home, &["stop", "--dir", "net"]).fails(1, &["no development network runs"]);
    run(&home, &["faucet", &account, "5", "--dir", "net"]).fails(
        1,
        &["net is not running", "`astreum devnet --dir ", "/net`"],
    );
    let shown = run(&home, &["show", "--dir", "net", "--json"]).json();
    assert_eq!(shown["nodes"][0]["running"], false);
    run(&home, &["--dir", "net", "--accounts", "2"]).fails(2, &["has --accounts 1"]);
    let devnet = Devnet::start(&home, &["--dir", "net", "--block-time", "1"]);
    assert_eq!(devnet.account(0), account);
    let resumed = devnet.wait_for("block", |_| true);
    assert!(resumed["height"].as_u64() >= block["height"].as_u64());
    devnet.signal(Signal::TERM);
    assert_eq!(devnet.finish(), Some(0));
    assert!(home.path().join("net/devnet.json").exists());
    assert!(!is_used(&home.path().join("net")));
}
