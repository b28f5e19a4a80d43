//! Commands `put` and `get` with a running node: large files, pipes, memory, interruption.

use core::time::Duration;
use std::fs::{self, File};
use std::io::Read as _;
use std::process::{Child, Command, Stdio};

use astreum_core::atom::bytes_list;

use super::fixtures::COLD;
use super::node::run;
use astreum_tests::testkit::wait::eventually_within;
use astreum_tests::testkit::{Home, NodeProcess, Signal};

/// Time limit of any wait, longer than needed on a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);
/// Number of bytes per atom of a file.
const PIECE_BYTES: usize = 3_900;

pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

pub(super) fn signal(child: &Child, signal: Signal) {
    let id = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(id, signal).unwrap();
}

/// Returns the names of the entries that an interrupted command could leave in a home.
pub(super) fn outputs(home: &Home) -> Vec<String> {
    let names = fs::read_dir(home.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_output = |name: &String| name.starts_with("out");
    names.filter(is_output).collect()
}

#[test]
fn files_and_pipes_have_the_id_of_their_list_and_come_back_equal() {
    let home = Home::new("large");
    let node = run(&home, &COLD);
    let bytes = noise(7 << 20);
    let pieces: Vec<&[u8]> = bytes.chunks(PIECE_BYTES).collect();
    let id = bytes_list(&pieces).0.to_string();
    home.file("in", &bytes);
    let stored = home.run(&["put", "in", "--json"]).json();
    assert_eq!(stored["id"], id);
    assert_eq!(stored["atoms"], pieces.len());
    assert_eq!(stored["bytes"], bytes.len());
    assert_eq!(stored["durable"], true);
    // A pipe has no length and cannot be read from its end.
    let piped = home.run_with(&["put", "-"], &bytes);
    assert_eq!(piped.lines(), [&id]);
    // Stdin that is a file is read from its current offset.
    let mut file = File::open(home.path().join("in")).unwrap();
    std::io::copy(&mut file.by_ref().take(5), &mut std::io::sink()).unwrap();
    let mut command = home.command(&["put", "-"]);
    command.stdin(file);
    let rest = command.output().unwrap();
    let pieces: Vec<&[u8]> = bytes[5..].chunks(PIECE_BYTES).collect();
    let expected = format!("{}\n", bytes_list(&pieces).0);
    assert_eq!(String::from_utf8_lossy(&rest.stdout), expected);
    home.run(&["get", &id, "--list", "-o", "out"]).lines();
    assert!(fs::read(home.path().join("out")).unwrap() == bytes);
    let raw = home.run(&["get", &id, "--list", "--raw", "--quiet"]);
    assert!(raw.stdout == bytes && raw.stderr.is_empty());
    // What the node has stored survives it.
    assert_eq!(node.interrupt().0, Some(0));
    let node = run(&home, &COLD);
    let again = home.run(&["get", &id, "--list", "--raw"]);
    assert!(again.stdout == bytes);
    assert_eq!(outputs(&home), ["out"]);
    assert_eq!(node.interrupt().0, Some(0));
}

/// Runs a command; returns its output and the maximum of its resident memory in bytes.
fn measured(home: &Home, arguments: &[&str]) -> (Vec<u8>, u64) {
    let mut command = home.command(arguments);
    command.stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut most_kib = 0;
    let code = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        most_kib = most_kib.max(kib.unwrap_or(0));
        if let Some(code) = child.try_wait().unwrap() {
            break code;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert!(code.success(), "{arguments:?}: {code}");
    (reader.join().unwrap().unwrap(), 1_024 * most_kib)
}

/// Memory does not depend on the size of the file.
#[cfg(target_os = "linux")]
#[test]
fn put_and_get_run_in_constant_memory() {
    const FILE_BYTES: usize = 64 << 20;
    /// Of the client.
    const MAX_BYTES: u64 = 40 << 20;
    let home = Home::new("memory");
    let node = run(&home, &COLD);
    home.file("in", noise(FILE_BYTES));
    let anonymous = || {
        let status = fs::read_to_string(format!("/proc/{}/status", node.process_id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib: u64 = line
            .unwrap()
            .trim()
            .split(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        1_024 * kib
    };
    let idle = anonymous();
    let (stdout, most) = measured(&home, &["put", "in"]);
    let id = String::from_utf8(stdout).unwrap().trim().to_owned();
    assert!(most > 0 && most < MAX_BYTES, "put: {most} bytes");
    let (_, most) = measured(&home, &["get", &id, "--list", "-o", "out"]);
    assert!(most > 0 && most < MAX_BYTES, "get: {most} bytes");
    // Not the size of the file, which the hot store would have room for.
    let grown = anonymous().saturating_sub(idle);
    assert!(grown < FILE_BYTES as u64, "node: {grown} bytes");
    let (home, name) = (home.path(), ["in", "out"]);
    let [before, after] = name.map(|name| blake3::hash(&fs::read(home.join(name)).unwrap()));
    assert_eq!(before, after);
    assert_eq!(node.interrupt().0, Some(0));
}

/// Starts a command whose node is suspended once `is_begun`; the command cannot end by itself.
pub(super) fn suspended(
    home: &Home,
    node: &NodeProcess,
    arguments: &[&str],
    is_begun: impl Fn() -> bool,
) -> Child {
    let plain = home.command(arguments);
    // A test run in the background of a shell ignores SIGINT, and so would the command.
    let mut command = Command::new("/usr/bin/env");
    command.arg("--default-signal=INT").arg(plain.get_program());
    command.args(plain.get_args()).env_clear();
    command.envs(
        plain
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    command.current_dir(plain.get_current_dir().unwrap_or(home.path()));
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
    node.signal(Signal::STOP);
    let child = command.spawn().unwrap();
    eventually_within(WAIT_TIMEOUT, "the command has begun", is_begun);
    child
}

#[test]
fn interrupted_get_leaves_no_file_and_ends_by_the_signal() {
    use std::os::unix::process::ExitStatusExt as _;
    let home = Home::new("ctrl-c");
    let node = run(&home, &COLD);
    home.file("in", noise(3 << 20));
    let id = home.run(&["put", "in"]).lines()[0].to_owned();
    for number in [Signal::INT, Signal::TERM] {
        let get = ["get", &id, "--list", "-o", "out"];
        let child = suspended(&home, &node, &get, || {
            outputs(&home).iter().any(|name| name.ends_with(".part"))
        });
        signal(&child, number);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.signal(), Some(number.as_raw()));
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(stderr.contains("interrupted"), "{stderr}");
        assert!(outputs(&home).is_empty());
        node.signal(Signal::CONT);
    }
    home.run(&["get", &id, "--list", "-o", "out"]).lines();
    assert_eq!(outputs(&home), ["out"]);
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn killed_node_fails_get_and_leaves_no_file() {
    let home = Home::new("killed");
    let mut node = run(&home, &COLD);
    home.file("in", noise(3 << 20));
    let id = home.run(&["put", "in"]).lines()[0].to_owned();
    let get = ["get", &id, "--list", "-o", "out"];
    let child = suspended(&home, &node, &get, || !outputs(&home).is_empty());
    node.kill().unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        stderr.contains("the node closed the connection"),
        "{stderr}"
    );
    assert!(outputs(&home).is_empty());
}

/// The head of a list is stored last, so that no stored atom lacks its successors.
#[test]
fn node_killed_during_put_has_the_end_of_the_list_and_not_its_head() {
    let home = Home::new("kill-put");
    let mut node = run(&home, &COLD);
    let bytes = noise(64 << 20);
    home.file("in", &bytes);
    let (head, atoms) = bytes_list(&bytes.chunks(PIECE_BYTES).collect::<Vec<_>>());
    let mut command = home.command(&["put", "in"]);
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    // The rest of the file is more than the connection's buffers hold.
    eventually_within(WAIT_TIMEOUT, "a part is stored", || {
        let files = fs::read_dir(home.path().join("cold")).into_iter().flatten();
        let lengths = files.flatten().filter_map(|file| file.metadata().ok());
        lengths.map(|data| data.len()).sum::<u64>() > 1 << 20
    });
    node.kill().unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        stderr.contains("the node closed the connection"),
        "{stderr}"
    );
    drop(node);
    let node = run(&home, &COLD);
    home.run(&["get", &head.to_string()])
        .fails(1, &["was not found"]);
    let end = atoms.last().unwrap();
    let stored = home.run(&["get", &end.id().to_string(), "--raw"]);
    assert!(stored.stdout == end.data());
    assert_eq!(node.interrupt().0, Some(0));
}
