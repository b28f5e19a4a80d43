//! Reload of the configuration of a running node, and its status and metrics over time.

use astreum_tests::testkit::wait::eventually;
use astreum_tests::testkit::{Home, NodeProcess, Output, Signal, program, terminal};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

const QUIET: &str = "incoming_port = 0\ndefault_seed = \"\"\nlog_dir = \"log\"\n";

/// Starts a node without a terminal, as a service manager does.
fn start_service(home: &Home) -> NodeProcess {
    let mut command = Command::new("setsid");
    command
        .arg(program::astreum())
        .args(["run", "--config", "node.toml"])
        .current_dir(home.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", home.path())
        .env("XDG_STATE_HOME", home.path().join("state"));
    let mut node = home.spawn_command(command, Output::Piped);
    node.wait_for_greeting().unwrap();
    node
}

#[test]
fn sighup_of_a_service_reloads_what_is_safe() {
    let home = Home::new("reload");
    home.file("node.toml", QUIET);
    let node = start_service(&home);
    let (path, aside) = (home.path().join("log/node.log"), home.path().join("aside"));
    let log = || fs::read_to_string(&path).unwrap_or_default();
    let limits = "hot_storage_limit = 536870912\npeer_timeout = 5\n";
    home.file(
        "node.toml",
        format!("{QUIET}{limits}log_format = \"text\"\n"),
    );
    fs::rename(&path, &aside).unwrap();
    node.signal(Signal::HUP);
    eventually("the configuration is applied", || {
        home.run(&["status", "--json"]).json()["hot_limit_bytes"] == 536_870_912
    });
    let left = "restart it to apply: peer_timeout = 5 (was 900)";
    eventually("the rest is named in a new log file", || {
        log().contains(left)
    });
    let applied = "applied hot_storage_limit = 536870912 (was 1073741824), log_format = \"text\"";
    assert!(log().contains(applied), "{}", log());
    assert!(
        log()
            .lines()
            .next_back()
            .unwrap()
            .contains(" WARNING astreum_node::daemon::reload: ")
    );
    // An invalid file changes nothing.
    home.file("node.toml", format!("{QUIET}hot_storage_limit = -1\n"));
    node.signal(Signal::HUP);
    eventually("the error is in the log", || {
        log().contains("failed to reload the configuration: ")
    });
    assert!(log().contains("node.toml:4: invalid value -1 for hot_storage_limit"));
    home.run(&["config", "reload"])
        .fails(1, &["invalid value -1 for hot_storage_limit"]);
    assert_eq!(
        home.run(&["status", "--json"]).json()["hot_limit_bytes"],
        536_870_912
    );
    home.file(
        "node.toml",
        format!("{QUIET}{limits}additional_seeds = [\"127.0.0.1:9\"]\n"),
    );
    let ran = home.run(&["config", "reload"]);
    assert_eq!(
        ran.lines(),
        [
            "applied         additional_seeds = [\"127.0.0.1:9\"] (was [])",
            "applied         log_format = \"json\" (was \"text\")",
            "needs a restart peer_timeout = 5 (was 900)",
        ]
    );
    eventually("the seed is resolved", || {
        let seeds = &home.run(&["status", "--json"]).json()["seeds"];
        seeds[0]["name"] == "127.0.0.1:9"
    });
    node.signal(Signal::TERM);
    assert_eq!(node.finish().status.code(), Some(0));
}

/// Returns what `status --watch` prints on a terminal until the second status begins.
fn watched_on_terminal(home: &Home, term: Option<&str>) -> String {
    let (mut user, program) = terminal::open_both();
    let mut command = home.command(&["status", "--watch", "1"]);
    command.stdout(Stdio::from(program));
    if let Some(term) = term {
        command.env("TERM", term);
    }
    let mut watch = command.spawn().unwrap();
    // Without another user of the terminal, reading ends with the process.
    drop(command);
    let mut shown = String::new();
    let mut bytes = [0; 4_096];
    while shown.matches("listen address").count() < 2 {
        let count = user.read(&mut bytes).unwrap();
        shown.push_str(&String::from_utf8_lossy(bytes.get(..count).unwrap()));
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    shown
}

#[test]
fn metrics_are_printed_and_status_is_shown_again() {
    let home = Home::new("watch");
    home.run(&["metrics"]).fails(1, &["no node is running"]);
    home.run(&["status", "--watch"])
        .fails(1, &["no node is running"]);
    home.file("node.toml", QUIET);
    let node = start_service(&home);
    let metrics = home.run(&["metrics"]);
    assert!(metrics.lines().contains(&"astreum_peers 0"), "{metrics:?}");
    assert!(metrics.text().contains("\nprocess_cpu_seconds_total "));
    let mut watch = home
        .command(&["status", "--watch", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let uptimes = lines.take(2).map(|line| {
        let status: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        status["uptime_seconds"].as_u64().unwrap()
    });
    let uptimes: Vec<u64> = uptimes.collect();
    assert!(uptimes[1] > uptimes[0], "{uptimes:?}");
    watch.kill().unwrap();
    watch.wait().unwrap();
    // On a terminal the screen is cleared, but not what has scrolled out of it.
    let shown = watched_on_terminal(&home, Some("xterm"));
    assert!(shown.contains("\x1b[2J") && !shown.contains("\x1b[3J"));
    for term in [Some("dumb"), None] {
        let shown = watched_on_terminal(&home, term);
        assert!(!shown.contains('\x1b'), "{shown:?}");
        assert!(shown.contains("\r\n\r\nversion"), "{shown:?}");
    }
    home.run(&["status", "--watch", "0"]).fails(2, &["--watch"]);
    home.run(&["status", "--watch", "--check"])
        .fails(2, &["--check"]);
    assert_eq!(node.interrupt().0, Some(0));
}
