//! Damaged, removed and replaced files of cold storage, with the commands that work without a node
//! and with a running one.

use core::time::Duration;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use astreum_core::atom::{Atom, AtomId};
use astreum_node::store::cold::ColdStore;

use super::fixtures::{COLD, open_cold, store};
use super::node::{QUIET, run};
use super::validating::{chain, validator};
use astreum_tests::testkit::wait::eventually_within;
use astreum_tests::testkit::{Home, Output, Signal, run_with_input};

/// Time limit of any wait, longer than needed on a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Creates four pairs of level 1 with twenty atoms each.
fn filled(home: &Home) -> Vec<AtomId> {
    let store = open_cold(home);
    let mut ids = Vec::new();
    for batch in 0..4_u8 {
        let atoms: Vec<(AtomId, Atom)> = (0..20_u8)
            .map(|n| Atom::bytes([batch, n, 7, 7]))
            .map(|atom| (atom.id(), atom))
            .collect();
        store.put(&atoms).unwrap();
        store.collate().unwrap();
        ids.extend(atoms.iter().map(|(id, _)| *id));
    }
    ids
}

fn problems(home: &Home) -> String {
    let status = home.run(&["status", "--json"]).json();
    let problems = status.get("problems").unwrap();
    problems.to_string()
}

fn eventually(what: &str, condition: impl FnMut() -> bool) {
    eventually_within(WAIT_TIMEOUT, what, condition);
}

#[test]
fn merge_keeps_intact_data_of_a_damaged_index() {
    let home = Home::new("dmg-index");
    let ids = filled(&home);
    let level_1 = home.path().join("cold/level_1");
    let data = fs::read(level_1.join("1_data")).unwrap();
    fs::write(level_1.join("1_index"), b"").unwrap();
    let verified = store(&home, &["verify"]);
    assert_eq!(verified.code, 1, "{verified:?}");
    // Read without the index, all atoms are intact.
    assert!(
        verified.text().contains("80 atoms, 0 damaged"),
        "{verified:?}"
    );
    assert!(verified.text().contains("1_index"), "{verified:?}");
    assert_eq!(fs::read(level_1.join("1_data")).unwrap(), data);
    let merged = store(&home, &["merge", "1"]);
    assert_eq!(merged.code, 0, "{merged:?}");
    assert!(
        merged.text().contains("set aside       incident 1"),
        "{merged:?}"
    );
    // The incident is reported until it is cleared.
    for _ in 0..2 {
        let verified = store(&home, &["verify"]);
        assert_eq!(verified.code, 1, "{verified:?}");
        assert!(
            verified.text().contains("80 atoms, 0 damaged"),
            "{verified:?}"
        );
        assert!(
            verified.text().contains("no atom is missing"),
            "{verified:?}"
        );
    }
    let listed = store(&home, &["damaged"]);
    assert!(
        listed.text().contains("damaged/1_level_1_1_index"),
        "{listed:?}"
    );
    let json = store(&home, &["damaged", "--json"]).json();
    assert_eq!(json["set_aside"][0]["missing"], 0, "{json}");
    assert!(home.path().join("cold/damaged/1_report").exists());
    let cleared = store(&home, &["damaged", "--clear"]);
    assert!(cleared.text().contains("cleared         1"), "{cleared:?}");
    let verified = store(&home, &["verify"]);
    assert_eq!(verified.lines(), ["80 atoms, 0 damaged"]);
    let none = store(&home, &["damaged"]);
    assert!(none.lines().is_empty() && none.stderr.contains("no damaged files"));
    let node = run(&home, &COLD);
    for id in ids {
        assert_eq!(home.run(&["get", &id.to_string()]).code, 0);
    }
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn running_node_repairs_damage_and_reports_it_until_cleared() {
    let home = Home::new("dmg-node");
    let ids = filled(&home);
    let level_1 = home.path().join("cold/level_1");
    let mut data = fs::read(level_1.join("2_data")).unwrap();
    data[5 * 37 + 35] ^= 1;
    fs::write(level_1.join("2_data"), &data).unwrap();
    fs::write(level_1.join("3_index"), b"").unwrap();
    let node = run(&home, &COLD);
    let missing = ids
        .iter()
        .filter(|id| home.run(&["get", &id.to_string(), "--timeout", "60"]).code != 0);
    let missing: Vec<_> = missing.collect();
    assert!(missing.len() <= 21, "{missing:?}");
    eventually("both are set aside", || {
        problems(&home).contains("incident 1") && problems(&home).contains("incident 2")
    });
    let missing: Vec<_> = ids
        .iter()
        .filter(|id| home.run(&["get", &id.to_string()]).code != 0)
        .collect();
    assert_eq!(missing.len(), 1, "{missing:?}");
    // The running node holds the directory, so the command queries it.
    let listed = store(&home, &["damaged", "--json"]).json();
    let incidents = listed["set_aside"].as_array().unwrap();
    let total = |name: &str| -> u64 { incidents.iter().map(|it| it[name].as_u64().unwrap()).sum() };
    assert_eq!(
        (incidents.len(), total("missing"), total("unknown")),
        (2, 1, 0),
        "{listed}"
    );
    let report = |number: u64| {
        let path = home.path().join(format!("cold/damaged/{number}_report"));
        fs::read_to_string(path).unwrap()
    };
    let lost = format!("lost {}", missing[0]);
    assert!((report(1) + &report(2)).contains(&lost));
    assert_eq!(node.interrupt().0, Some(0));
    let node = run(&home, &COLD);
    assert!(problems(&home).contains("incident 2"));
    let cleared = store(&home, &["damaged", "--clear"]);
    assert_eq!(
        cleared
            .lines()
            .iter()
            .filter(|line| line.starts_with("cleared"))
            .count(),
        2
    );
    assert_eq!(problems(&home), "[]");
    assert_eq!(node.interrupt().0, Some(0));
    assert_eq!(store(&home, &["verify"]).lines(), ["79 atoms, 0 damaged"]);
}

type Change = fn(&Path);

/// Ways to replace the directory of a running node.
const REPLACED: [(&str, Change); 3] = [
    ("removed and created again", |cold| {
        fs::remove_dir_all(cold).unwrap();
        fs::create_dir(cold).unwrap();
    }),
    ("moved away, another in its place", |cold| {
        fs::rename(cold, cold.with_file_name("moved")).unwrap();
        fs::create_dir(cold).unwrap();
    }),
    ("LOCK removed", |cold| {
        fs::remove_file(cold.join("LOCK")).unwrap();
    }),
];

#[test]
fn node_with_replaced_directory_refuses_writes_and_keeps_its_lock() {
    for (name, replace) in REPLACED {
        let home = Home::new("dmg-gone");
        let node = run(&home, &COLD);
        home.file("a", "first");
        home.file("b", "second");
        let first = home.run(&["put", "a"]).lines()[0].to_owned();
        replace(&home.path().join("cold"));
        let refused = home.run(&["put", "b"]);
        refused.fails(1, &["cold", "while it was open", "refusing writes"]);
        assert!(refused.stdout.is_empty(), "{name}: {refused:?}");
        assert!(problems(&home).contains("refuses writes"), "{name}");
        let status = home.run(&["status"]);
        assert!(
            status.text().contains("writes are refused"),
            "{name}: {status:?}"
        );
        // A second node does not get the path, whatever is there now.
        let other = Home::new("dmg-other");
        let cold = home.path().join("cold");
        let second = other.run(
            &[
                &["run", "--cold-storage-path", cold.to_str().unwrap()],
                &QUIET[..],
            ]
            .concat(),
        );
        second.fails(1, &["another process has"]);
        // Atoms that it holds are still served.
        let got = home.run(&["get", &first, "--list", "--raw"]);
        assert_eq!(got.text(), "first", "{name}");
        assert_eq!(node.interrupt().0, Some(0), "{name}");
        // The next start uses the current directory.
        let node = run(&home, &COLD);
        home.run(&["put", "b"]).lines();
        assert_eq!(problems(&home), "[]", "{name}");
        assert_eq!(node.interrupt().0, Some(0), "{name}");
    }
}

/// A directory that is not writable for any reason; here a directory has the name of the file that
/// tests whether it is.
#[test]
fn start_reports_unwritable_disk_until_writes_succeed() {
    let home = Home::new("dmg-refuses");
    fs::create_dir_all(home.path().join("cold/probe.tmp")).unwrap();
    let node = run(&home, &COLD);
    assert!(
        node.greeting().contains("refuses writes: cannot write to"),
        "{}",
        node.greeting()
    );
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["durable"], false, "{status}");
    assert_eq!(status["refuses_writes"], true, "{status}");
    assert!(problems(&home).contains("refuses writes"));
    // No atom is put in the meantime.
    fs::remove_dir(home.path().join("cold/probe.tmp")).unwrap();
    eventually("writes are accepted again", || problems(&home) == "[]");
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["durable"], true, "{status}");
    assert_eq!(node.interrupt().0, Some(0));
}

/// A block that would be lost is not announced, and no block is built on it.
#[test]
fn validator_with_replaced_directory_stops_producing() {
    let (home, ..) = chain("dmg-producer");
    let node = validator(&home);
    let made = || {
        let status = home.run(&["status", "--json"]).json();
        let validator = &status["validator"];
        let activity = validator["activity"].as_str().unwrap().to_lowercase();
        (validator["blocks_made"].as_u64().unwrap(), activity)
    };
    eventually("it produces blocks", || made().0 >= 1);
    let cold = home.path().join("cold");
    fs::rename(&cold, home.path().join("moved")).unwrap();
    fs::create_dir(&cold).unwrap();
    eventually("writes are refused", || {
        problems(&home).contains("refuses writes")
    });
    eventually("storing a block fails", || made().1.contains("stor"));
    let (before, _) = made();
    home.file("a", "text");
    home.run(&["put", "a"]).fails(1, &["was replaced"]);
    // While it retries to store this block, it produces no other.
    assert_eq!(made().0, before);
    assert!(made().1.contains("stor"));
    assert_eq!(fs::read_dir(&cold).unwrap().count(), 0);
    fs::remove_dir(&cold).unwrap();
    fs::rename(home.path().join("moved"), &cold).unwrap();
    eventually("production resumes", || made().0 > before);
    assert_eq!(node.interrupt().0, Some(0));
}

/// The node that answers on the socket may not be the one that has the directory open.
#[test]
fn incidents_of_another_directory_are_not_cleared() {
    let (home, other) = (Home::new("dmg-mine"), Home::new("dmg-theirs"));
    let nodes = [run(&home, &COLD), run(&other, &COLD)];
    let theirs = other.path().join("cold");
    for arguments in [&["damaged"][..], &["damaged", "--clear"]] {
        let place = ["--cold-storage-path", theirs.to_str().unwrap()];
        home.run(&[&["store"], arguments, &place].concat())
            .fails(1, &["the cold storage of this node is", "--control-socket"]);
        store(&home, arguments).lines();
    }
    for node in nodes {
        assert_eq!(node.interrupt().0, Some(0));
    }
}

#[test]
fn restored_directory_is_written_again() {
    let home = Home::new("dmg-back");
    let node = run(&home, &COLD);
    home.file("a", "first");
    home.file("b", "second");
    let first = home.run(&["put", "a"]).lines()[0].to_owned();
    let (cold, moved) = (home.path().join("cold"), home.path().join("moved"));
    fs::rename(&cold, &moved).unwrap();
    home.run(&["put", "b"])
        .fails(1, &["was removed or moved away"]);
    fs::rename(&moved, &cold).unwrap();
    eventually("writes are accepted again", || problems(&home) == "[]");
    let second = home.run(&["put", "b"]).lines()[0].to_owned();
    assert_eq!(node.interrupt().0, Some(0));
    let node = run(&home, &COLD);
    for id in [first, second] {
        assert_eq!(home.run(&["get", &id, "--list"]).code, 0);
    }
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn removed_journal_is_collated_by_the_running_node() {
    let home = Home::new("dmg-journal");
    let node = run(&home, &COLD);
    home.file("a", "first");
    let first = home.run(&["put", "a"]).lines()[0].to_owned();
    fs::remove_file(home.path().join("cold/journal-00000000")).unwrap();
    eventually("it is collated", || {
        home.path().join("cold/level_1/0_index").exists()
    });
    home.file("b", "second");
    eventually("writes are accepted", || home.run(&["put", "b"]).code == 0);
    let second = home.run(&["put", "b"]).lines()[0].to_owned();
    assert_eq!(node.interrupt().0, Some(0));
    let node = run(&home, &COLD);
    for id in [first, second] {
        assert_eq!(home.run(&["get", &id, "--list"]).code, 0);
    }
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn node_stays_reachable_after_state_directory_removal() {
    let home = Home::new("dmg-state");
    let node = run(&home, &COLD);
    let state = home.path().join("state");
    fs::remove_dir_all(&state).unwrap();
    eventually("the socket is back", || home.run(&["status"]).code == 0);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(home.control_socket().parent().unwrap()), 0o700);
    home.file("a", "first");
    home.run(&["put", "a"]).lines();
    assert_eq!(node.interrupt().0, Some(0));
    assert!(!home.control_socket().exists());
}

/// Other users cannot read the state, wherever logs and socket are.
#[test]
fn state_directory_is_private_wherever_logs_and_socket_are() {
    let home = Home::new("dmg-umask");
    let flags = [
        "--state-dir",
        "here/state",
        "--log-dir",
        "logs",
        "--control-socket",
        "sock",
    ];
    let node = run(&home, &flags);
    assert_eq!(node.interrupt().0, Some(0));
    for dir in ["here", "here/state"] {
        let mode = fs::metadata(home.path().join(dir))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{dir}");
    }
}

/// A mapped file is truncated under a running node: a read never kills the process by a signal. The
/// node answers, or stops with a message and exit code 1.
#[test]
fn truncated_file_yields_an_answer_or_a_message() {
    let home = Home::new("dmg-sigbus");
    let ids = filled(&home);
    let arguments = [&["run"], &QUIET[..], &COLD].concat();
    let mut node = home.spawn(&arguments, Output::Captured);
    node.wait_until_ready().unwrap();
    for number in 0..4 {
        let data = home.path().join(format!("cold/level_1/{number}_data"));
        File::options()
            .write(true)
            .open(data)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
    let mut answers = 0;
    for id in &ids {
        let ran = home.run(&["get", &id.to_string()]);
        if ran.stderr.contains("was not found") || ran.code == 0 {
            answers += 1;
        } else {
            break;
        }
    }
    if answers == ids.len() {
        home.run(&["status"]).lines();
        assert_eq!(node.interrupt().0, Some(0));
    } else {
        let exit = node.finish();
        let (status, stderr) = (exit.status, exit.errors());
        assert_eq!(status.code(), Some(1), "{status:?}: {stderr}");
        assert!(
            stderr.contains("SIGBUS") && stderr.contains("was truncated"),
            "{stderr}"
        );
        assert!(stderr.contains("_data"), "{stderr}");
    }
    // The next start reports the loss, and accepts writes.
    let node = run(&home, &COLD);
    eventually("it is repaired", || problems(&home).contains("set aside"));
    home.file("a", "first");
    home.run(&["put", "a"]).lines();
    assert_eq!(node.interrupt().0, Some(0));
}

/// A bus error without a truncated file, as another process can send it.
#[test]
fn bus_error_signal_exits_with_a_message() {
    let home = Home::new("dmg-bus");
    let arguments = [&["run"], &QUIET[..], &COLD].concat();
    let mut node = home.spawn(&arguments, Output::Captured);
    node.wait_until_ready().unwrap();
    node.signal(Signal::BUS);
    let exit = node.finish();
    let (status, stderr) = (exit.status, exit.errors());
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("SIGBUS") && stderr.contains("check the disk"),
        "{stderr}"
    );
}

#[test]
fn damaged_format_file_is_distinguished_from_newer_version() {
    let home = Home::new("dmg-format");
    filled(&home);
    let path = home.path().join("cold/FORMAT");
    let whole = fs::read(&path).unwrap();
    for bit in 0..8 * whole.len() {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).unwrap();
        // No separate process for each: the text is the same.
        let mut text = String::new();
        // A process that another test starts holds the lock too, until it runs its program.
        eventually("the lock is free", || {
            let opened = ColdStore::open_to_read(&home.path().join("cold"), true);
            text = opened.unwrap_err().to_string();
            !text.contains("another process")
        });
        assert!(
            text.contains("damaged") && text.contains("remove it"),
            "{text}"
        );
    }
    let crlf = b"astreum cold storage 1\r\n";
    for damaged in [&b""[..], b"astreum cold storage 1", crlf, &[0xff; 1_000]] {
        fs::write(&path, damaged).unwrap();
        let ran = store(&home, &["stat"]);
        ran.fails(1, &["FORMAT is damaged", "remove it"]);
        assert!(!ran.stderr.contains("newer"), "{ran:?}");
    }
    fs::write(&path, "astreum cold storage 2\n").unwrap();
    store(&home, &["stat"]).fails(1, &["use a newer version"]);
    // The advice in the message works.
    fs::remove_file(&path).unwrap();
    assert_eq!(store(&home, &["verify"]).lines(), ["80 atoms, 0 damaged"]);
    let node = run(&home, &COLD);
    assert_eq!(node.interrupt().0, Some(0));
    assert_eq!(fs::read(&path).unwrap(), whole);
}

/// The limit of `put` for texts is checked before any data is read.
#[test]
fn put_checks_the_size_first() {
    let home = Home::new("dmg-put");
    let big = home.path().join("big");
    File::create(&big).unwrap().set_len(1 << 42).unwrap();
    for kind in ["expr", "symbol"] {
        let refused = home.run(&["put", "big", "--kind", kind]);
        refused.fails(1, &["4398046511104 bytes", "put the data in parts"]);
    }
    let mut command = home.command(&["put", "-", "--kind", "expr"]);
    command.stdin(File::open(&big).unwrap());
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("put the data in parts"));
    let mut command = home.command(&["put", "--help"]);
    command.env("COLUMNS", "200");
    assert!(
        run_with_input(command, b"")
            .text()
            .contains("at most 1 GiB as an expression")
    );
}

/// The node has a log, whatever entry has the name of a rotated file.
#[test]
fn foreign_entries_in_the_log_directory_do_not_disable_the_log() {
    for day in 1..=8 {
        let home = Home::new("dmg-log");
        let logs = home.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let name = format!("node-2026-11-{day:02}.log");
        fs::write(logs.join(&name), "old\n").unwrap();
        fs::write(logs.join(format!("{name}.gz.tmp")), "half").unwrap();
        fs::create_dir(logs.join("node-2026-10-01.log")).unwrap();
        std::os::unix::fs::symlink("nowhere", logs.join("node-2026-10-02.log.gz")).unwrap();
        let node = run(&home, &["--log-dir", "logs"]);
        assert_eq!(problems(&home), "[]");
        assert_eq!(node.interrupt().0, Some(0));
        let text = fs::read_to_string(logs.join("node.log")).unwrap();
        assert!(
            text.contains("Starting Astreum Node") && text.contains("stopped"),
            "{text}"
        );
        assert!(text.contains("node-2026-10-01.log"), "{text}");
    }
}

#[test]
fn status_reports_unwritable_log() {
    let home = Home::new("dmg-nolog");
    home.file("logs", "in the way");
    let node = run(&home, &["--log-dir", "logs"]);
    eventually("it is reported", || {
        problems(&home).contains("cannot write the log in")
    });
    assert_eq!(node.interrupt().0, Some(0));
}

/// A node that starts while the previous one stops has a log from its first line on.
#[test]
fn immediate_restart_has_a_log() {
    let home = Home::new("dmg-restart");
    let first = run(&home, &["--log-dir", "logs"]);
    first.signal(Signal::INT);
    // The socket may still be in use, so this node uses another.
    let second = run(
        &home,
        &["--log-dir", "logs", "--control-socket", "second.sock"],
    );
    assert_eq!(first.interrupt().0, Some(0));
    let banners = || {
        let text = fs::read_to_string(home.path().join("logs/node.log")).unwrap_or_default();
        text.matches("Starting Astreum Node").count()
    };
    eventually("both runs are in the log", || banners() == 2);
    assert_eq!(second.interrupt().0, Some(0));
}

#[test]
fn mirrored_log_has_timestamps_to_the_second() {
    let home = Home::new("dmg-verbose");
    let node = run(&home, &["--verbose"]);
    let (code, rest) = node.interrupt();
    assert_eq!(code, Some(0));
    let line = rest.lines().find(|line| line.contains("stopped")).unwrap();
    let (stamp, rest) = line.strip_prefix('[').unwrap().split_once(']').unwrap();
    assert!(rest.starts_with(" [info] "), "{line}");
    let parts: Vec<&str> = stamp.split('-').collect();
    let widths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    assert_eq!(widths, [4, 2, 2, 2, 2, 2], "{stamp}");
    let number = |at: usize| parts[at].parse::<u32>().unwrap();
    assert!(number(0) >= 2026 && number(3) < 24 && number(4) < 60 && number(5) < 61);
}
