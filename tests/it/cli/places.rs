//! Greeting, warnings and errors of nodes with unusual paths and settings.

use std::fs;
use std::process::Command;

use super::node::{QUIET, run};
use astreum_tests::testkit::{Home, NodeProcess, run_with_input};

/// Returns the commands that a greeting suggests.
fn commands(node: &NodeProcess) -> Vec<String> {
    let lines = node.greeting().lines();
    let after = lines.skip_while(|line| !line.starts_with("Try in"));
    let commands = after.filter_map(|line| line.strip_prefix("  "));
    commands.map(str::to_owned).collect()
}

#[test]
fn greeting_commands_work_in_any_directory() {
    let home = Home::new("greet");
    for state in ["s", "it's a place"] {
        let node = run(&home, &["--state-dir", state]);
        let commands = commands(&node);
        assert_eq!(commands.len(), 3, "{}", node.greeting());
        for line in commands {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &line])
                .current_dir("/")
                .env("HOME", home.path());
            let ran = run_with_input(shell, b"");
            assert!(ran.code == 0 && !ran.stdout.is_empty(), "{line}: {ran:?}");
        }
        assert_eq!(node.interrupt().0, Some(0));
    }
}

#[test]
fn validator_without_cold_storage_requires_chain_dir_and_warns() {
    let home = Home::new("warned");
    home.run(&["keys", "generate", "key", "--kind", "validation"])
        .lines();
    let bare = ["run", "--validation-secret-key-file", "key"];
    home.run(&[&bare[..], &QUIET].concat())
        .fails(2, &["set cold_storage_path, or chain_dir"]);
    let more = [&bare[1..], &["--chain-dir", "chain"]].concat();
    let node = run(&home, &more);
    let status = home.run(&["status"]);
    assert!(status.text().contains("no cold storage"), "{status:?}");
    let warnings = home.warnings();
    assert!(
        warnings.len() == 1 && warnings[0].contains("no cold storage"),
        "{warnings:?}"
    );
    assert_eq!(node.interrupt().0, Some(0));
    let logs = home.path().join("state/Astreum/lib-rs/logs");
    let log = fs::read_dir(logs).unwrap().next().unwrap().unwrap().path();
    let log = fs::read_to_string(log.join("node.log")).unwrap();
    assert!(log.contains(r#""level":"WARNING""#) && log.contains("set cold_storage_path"));
    // The warning is on the console too, before any error that can follow.
    home.file("in-the-way", "");
    let broken = [
        "run",
        "--validation-secret-key-file",
        "key",
        "--chain-dir",
        "chain",
        "--control-socket",
        "in-the-way",
    ];
    home.run(&[&broken[..], &QUIET].concat()).fails(
        1,
        &[
            "warning: this validator has no cold storage",
            "is not a socket",
        ],
    );
    assert!(!home.path().join("in-the-way.lock").exists());
}

#[test]
fn cold_storage_survives_restart_and_is_readable_offline() {
    let home = Home::new("cold");
    let cold = ["--cold-storage-path", "cold"];
    let node = run(&home, &cold);
    home.file("note", "kept on the disk");
    let id = home.run(&["put", "note"]).lines().remove(0).to_owned();
    let locked = home.run(&[&["store", "stat"], &cold[..]].concat());
    locked.fails(1, &["another process has"]);
    assert_eq!(node.interrupt().0, Some(0));
    let node = run(&home, &cold);
    let got = home.run(&["get", &id, "--list"]);
    assert!(got.text().contains("kept on the disk"), "{got:?}");
    assert_eq!(node.interrupt().0, Some(0));
    home.run(&[&["store", "collate"], &cold[..]].concat())
        .lines();
    let stat = home
        .run(&[&["store", "stat", "--json"], &cold[..]].concat())
        .json();
    assert_eq!(stat["levels"][1]["atoms"], 1, "{stat}");
    let verified = home.run(&[&["store", "verify"], &cold[..]].concat());
    assert!(
        verified.text().contains("1 atoms, 0 damaged"),
        "{verified:?}"
    );
    let exported = ["store", "export", "backup", "--reference"];
    home.run(&[&exported, &cold[..]].concat()).lines();
    let other = ["store", "import", "backup", "--cold-storage-path", "other"];
    assert!(home.run(&other).text().contains("1 atoms imported"));
    home.run(&["store", "stat"])
        .fails(2, &["cold_storage_path is not set"]);
}

#[test]
fn unusable_socket_path_is_explained() {
    let home = Home::new("sock");
    let long = "l".repeat(120);
    let advice = [
        "socket path of",
        "exceeds the maximum of",
        "control_socket to a shorter",
    ];
    home.run(&[&["run", "--state-dir", &long], &QUIET[..]].concat())
        .fails(1, &advice);
    home.run(&["status", "--state-dir", &long])
        .fails(1, &advice);
    home.file("file", "");
    std::os::unix::fs::symlink("absent", home.path().join("link")).unwrap();
    for (state, part) in [("file", "file"), ("file/state", "file"), ("link", "link")] {
        let problem = format!("{part} is not a directory; set state_dir");
        home.run(&[&["run", "--state-dir", state], &QUIET[..]].concat())
            .fails(2, &[&problem]);
    }
}

#[test]
fn put_fails_if_the_file_exceeds_hot_storage() {
    let home = Home::new("small");
    let node = run(&home, &["--hot-storage-limit", "1000000"]);
    home.file("fits", vec![1; 100_000]);
    let mut noise = vec![0; 2_000_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    home.file("big", noise);
    home.run(&["put", "fits"]).lines();
    let ran = home.run(&["put", "big"]);
    ran.fails(1, &["too small", "raise hot_storage_limit"]);
    assert!(ran.stdout.is_empty());
    assert_eq!(node.interrupt().0, Some(0));
}

#[test]
fn peers_connect_waits_for_the_answer() {
    let (one, two) = (Home::new("hello1"), Home::new("hello2"));
    let (first, second) = (run(&one, &[]), run(&two, &[]));
    let address = one.run(&["status", "--json"]).json()["listen_address"].clone();
    let address = address.as_str().unwrap().replace("0.0.0.0", "127.0.0.1");
    let key = one.run(&["status", "--json"]).json()["public_key"].clone();
    let peers = two.run(&["peers", "--connect", &address, "--json"]).json();
    assert_eq!(
        (&peers["address"], &peers["public_key"]),
        (&address.into(), &key)
    );
    // An address without a listener.
    let unused = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let unused = unused.local_addr().unwrap().to_string();
    two.run(&["peers", "--connect", &unused])
        .fails(1, &[&unused, "has not answered"]);
    for wrong in ["abc", "", "localhost"] {
        two.run(&["peers", "--connect", wrong])
            .fails(2, &[&format!("invalid value {wrong:?}"), "host:port"]);
    }
    assert_eq!(
        (first.interrupt().0, second.interrupt().0),
        (Some(0), Some(0))
    );
}

#[test]
fn help_that_cannot_be_written_is_an_error() {
    let home = Home::new("fullhelp");
    for arguments in [&["help"][..], &["--version"], &["run", "--help"]] {
        let mut command = home.command(arguments);
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let ran = command.stdout(full.unwrap()).output().unwrap();
        let errors = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("output: No space left"), "{errors}");
    }
}
