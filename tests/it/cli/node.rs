//! Command `run`: the node from its first line to its last.

use std::fs;
use std::path::PathBuf;

use astreum_tests::testkit::{Home, NodeProcess, Output, Signal};

pub(crate) const QUIET: [&str; 4] = ["--incoming-port", "0", "--default-seed", "none"];

pub(crate) fn run(home: &Home, more: &[&str]) -> NodeProcess {
    home.start(&[&["run"], &QUIET[..], more].concat())
}

/// Returns the only `node.log` below the home's state directory.
fn log_file(home: &Home) -> PathBuf {
    let logs = home.path().join("state/Astreum/lib-rs/logs");
    let mut entries = fs::read_dir(logs).unwrap();
    let instance = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    instance.join("node.log")
}

#[test]
fn node_starts_answers_and_stops() {
    let home = Home::new("run");
    let node = run(&home, &[]);
    let socket = home.control_socket();
    assert!(
        node.greeting().contains(&socket.display().to_string()),
        "{}",
        node.greeting()
    );
    let status = home.run(&["status", "--json"]).json();
    let key = status["public_key"].as_str().unwrap().to_owned();
    assert!(node.greeting().contains(&key));
    home.file("in", "some text");
    let id = home.run(&["put", "in"]).lines()[0].to_owned();
    assert_eq!(
        home.run(&["get", &id, "--list", "--raw"]).text(),
        "some text"
    );
    assert_eq!(home.run(&["peers"]).lines(), ["no peers"]);
    // A second node in the same home is refused, and the first one continues.
    home.run(&[&["run"], &QUIET[..]].concat())
        .fails(1, &["another node already runs"]);
    assert_eq!(home.run(&["status", "--json"]).json()["public_key"], key);
    assert_eq!(node.interrupt(), (Some(0), String::new()));
    assert!(!socket.exists());
    home.run(&["status"]).fails(1, &["no node is running"]);
}

#[test]
fn bare_invocation_runs_a_node_with_the_configured_key() {
    let home = Home::new("bare");
    home.run(&["keys", "generate", "relay.key"]).lines();
    let public_key = home
        .run(&["keys", "show", "relay.key", "--kind", "relay"])
        .lines()[0]
        .to_owned();
    let node = home.start(&[&QUIET[..], &["--relay-secret-key-file", "relay.key"]].concat());
    assert!(node.greeting().contains(&public_key), "{}", node.greeting());
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn log_starts_with_the_banner_and_has_the_documented_fields() {
    let home = Home::new("log");
    assert_eq!(run(&home, &[]).interrupt().0, Some(0));
    let path = log_file(&home);
    let instance = path
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["msg"], "Starting Astreum Node");
    for line in &lines {
        for field in [
            "ts",
            "level",
            "logger",
            "msg",
            "pid",
            "thread",
            "module",
            "func",
            "instance_id",
        ] {
            assert!(line.get(field).is_some(), "{field} in {line}");
        }
        assert_eq!(line["logger"], format!("lib-rs.{instance}"));
        assert_eq!(
            (instance.len(), &line["instance_id"]),
            (16, &instance.into())
        );
    }
    assert_eq!(lines.last().unwrap()["msg"], "stopped");
}

#[test]
fn verbose_mirrors_the_log_in_human_readable_form() {
    let home = Home::new("verbose");
    let node = run(&home, &["--verbose"]);
    let (greeting, (code, rest)) = (node.greeting().to_owned(), node.interrupt());
    let mirrored = greeting + &rest;
    let banner = mirrored
        .lines()
        .find(|line| line.ends_with("] [info] Starting Astreum Node"))
        .unwrap();
    // [YYYY-MM-DD-HH-MM-SS]
    let shape: String = banner[..21].replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(shape, "[0000-00-00-00-00-00]");
    assert!(
        code == Some(0) && mirrored.contains("[info] stopped"),
        "{mirrored}"
    );
}

#[test]
fn configured_port_in_use_is_an_error() {
    let home = Home::new("port");
    let taken = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    home.run(&["run", "--incoming-port", &port, "--default-seed", "none"])
        .fails(1, &[&port]);
}

#[test]
fn second_node_with_defaults_uses_another_port() {
    let (one, two) = (Home::new("one"), Home::new("two"));
    // The first node to bind 52780, here or elsewhere on this machine, gets it; the other continues
    // without it, even if both start at once.
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| one.start(&["--default-seed", "none"]));
        let second = two.start(&["--default-seed", "none"]);
        (first.join().unwrap(), second)
    });
    let address = |home: &Home| home.run(&["status", "--json"]).json()["listen_address"].clone();
    assert_ne!(address(&one), address(&two));
    assert_eq!(
        (first.interrupt().0, second.interrupt().0),
        (Some(0), Some(0))
    );
}

#[test]
fn unwritable_log_does_not_stop_the_node() {
    let home = Home::new("nolog");
    home.file("in-the-way", "");
    let arguments = [&["run"], &QUIET[..], &["--log-dir", "in-the-way"]].concat();
    let mut node = home.spawn(&arguments, Output::Captured);
    // The node is ready as soon as its socket answers.
    node.wait_until_ready().unwrap();
    home.run(&["status"]).lines();
    node.kill().unwrap();
    let complaint = node.finish().errors();
    let complaint = complaint.lines().next().unwrap();
    assert!(
        complaint.contains("cannot write the log in in-the-way"),
        "{complaint}"
    );
}

#[test]
fn duplicate_signal_still_stops_gracefully() {
    let home = Home::new("twice");
    let node = run(&home, &[]);
    // Like `timeout`: signals the process, then its group.
    node.signal(Signal::INT);
    assert_eq!(node.interrupt(), (Some(0), String::new()));
    assert!(!home.control_socket().exists());
}

#[test]
fn status_check_exits_with_one_without_peers() {
    let home = Home::new("check");
    let alone = ["run", "--default-seed", "none", "--incoming-port", "0"];
    let seed = ["--additional-seeds", "127.0.0.1:9"];
    let node = home.start(&[&alone[..], &seed].concat());
    assert_eq!(home.run(&["status"]).code, 0);
    home.run(&["status", "--check"]).fails(1, &["no peers"]);
    let checked = home.run(&["status", "--check", "--json"]);
    checked.fails(1, &["no peers"]);
    let checked = checked.failed_json();
    assert_eq!(checked["ok"], false);
    let reasons = checked["reasons"].as_array().unwrap();
    let is_peers = |reason: &serde_json::Value| reason.as_str().unwrap().contains("no peers");
    assert!(reasons.iter().any(is_peers), "{reasons:?}");
    let checked = home.run(&["status", "--check", "--min-peers", "0", "--json"]);
    let checked = checked.json();
    assert_eq!(
        (&checked["ok"], &checked["reasons"]),
        (&true.into(), &serde_json::json!([]))
    );
    assert!(home.run(&["status", "--json"]).json().get("ok").is_none());
    let checked = home.run(&["status", "--check", "--min-peers", "0"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(
        checked.text().contains("seed            127.0.0.1:9\n"),
        "{checked:?}"
    );
    assert!(checked.text().contains("head age"), "{checked:?}");
    home.run(&["status", "--max-head-age", "5"])
        .fails(2, &["--check"]);
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn indefinite_advertisements_survive_restarts_and_bans_apply() {
    let home = Home::new("advertise");
    let alone = ["run", "--default-seed", "none", "--incoming-port", "0"];
    let (kept, brief) = ("ab".repeat(32), "cd".repeat(32));
    let node = home.start(&alone);
    home.run(&["advertise", "add", &kept, "--list"]).lines();
    home.run(&["advertise", "add", &brief, "--expires", "900"])
        .lines();
    home.run(&["advertise", "add", "nonsense"])
        .fails(2, &["nonsense"]);
    assert_eq!(home.run(&["advertise", "list"]).lines().len(), 2);
    home.run(&["get", &kept])
        .fails(1, &["has no peers", "peers --connect"]);
    home.run(&["peers", "--remove", &kept])
        .fails(1, &["not a peer"]);
    home.run(&["peers", "--ban", &kept]).lines();
    home.run(&["peers", "--unban", &kept]).lines();
    home.run(&["peers", "--unban", &kept])
        .fails(1, &["not banned"]);
    assert_eq!(node.interrupt().0, Some(0));
    let node = home.start(&alone);
    let listed = home.run(&["advertise", "list"]);
    assert_eq!(listed.lines(), [format!("{kept}  list  indefinite")]);
    home.run(&["advertise", "withdraw", &kept]).lines();
    home.run(&["advertise", "withdraw", &kept])
        .fails(1, &["not advertised"]);
    assert_eq!(node.interrupt().0, Some(0));
}

/// Returns the number of heaps of glibc besides the main one. Each is a mapping in use, followed by
/// the rest of its 64 MiB.
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
fn further_heaps(process_id: u32) -> usize {
    const HEAP_BYTES: u64 = 64 << 20;
    let maps = fs::read_to_string(format!("/proc/{process_id}/maps")).unwrap();
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let regions = maps.lines().map(|line| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next().unwrap().split_once('-').unwrap();
        (hex(start), hex(end), words.next().unwrap().to_owned())
    });
    let regions: Vec<(u64, u64, String)> = regions.collect();
    let pairs = regions.iter().zip(regions.iter().skip(1));
    let heaps = pairs.filter(|((start, end, used), (rest, last, unused))| {
        let is_heap = used == "rw-p" && unused == "---p" && end == rest;
        is_heap && last - start == HEAP_BYTES && start.is_multiple_of(HEAP_BYTES)
    });
    heaps.count()
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
#[test]
fn threads_share_a_bounded_number_of_heaps() {
    let home = Home::new("heaps");
    let node = run(&home, &["--cold-storage-path", "cold"]);
    home.file("in", [7; 100_000]);
    home.run(&["put", "in"]).lines();
    let threads = fs::read_dir(format!("/proc/{}/task", node.process_id()));
    assert!(threads.unwrap().count() > 4);
    let heaps = further_heaps(node.process_id());
    assert!(heaps <= 1, "{heaps}");
    assert_eq!(node.interrupt().0, Some(0));
}
