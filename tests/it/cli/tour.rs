//! Command `tour`: each step is executed, and nothing is left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Instant;

use astreum_tests::testkit::{Home, Ran, run_with_input};

/// Maximum number of seconds of a tour, also on a machine with other work.
const MAX_SECONDS: u64 = 60;

fn tour(home: &Home, path: Option<&str>) -> Ran {
    let mut command: Command = home.command(&["tour"]);
    command.env("TMPDIR", home.path());
    let own = std::env::var("PATH").unwrap();
    let path = path.map_or_else(|| own.clone(), |path| format!("{path}:{own}"));
    command.env("PATH", path);
    run_with_input(command, b"")
}

/// Returns the names of temporary directories that are left in a home.
fn left(home: &Home) -> Vec<String> {
    let entries = fs::read_dir(home.path()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("astreum-")).collect()
}

#[test]
fn tour_without_a_terminal_shows_all_steps_in_less_than_a_minute() {
    let home = Home::new("tour");
    let began = Instant::now();
    let ran = tour(&home, None);
    let lines = ran.lines();
    assert!(
        began.elapsed().as_secs() < MAX_SECONDS,
        "{:?}",
        began.elapsed()
    );
    for expected in [
        "3",
        "hello from the tour",
        "state           succeeded",
        "exists          yes",
        "balance         1000001000",
        "The network is stopped and its directory is removed.",
    ] {
        assert!(
            lines.contains(&expected),
            "no {expected:?} in {}",
            ran.text()
        );
    }
    let commands = lines.iter().filter(|line| line.starts_with("$ ")).count();
    assert_eq!(commands, 10, "{}", ran.text());
    assert_eq!(ran.stderr, "");
    assert!(left(&home).is_empty(), "{:?}", left(&home));
}

#[test]
fn failed_step_is_named_and_leaves_nothing() {
    let home = Home::new("tourfail");
    // A `cmp` that finds a difference.
    let directory = home.path().join("bin");
    fs::create_dir(&directory).unwrap();
    let cmp = home.file("bin/cmp", "#!/bin/sh\nexit 1\n");
    fs::set_permissions(cmp, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = tour(&home, directory.to_str());
    ran.fails(
        1,
        &["failed at step 4 of 6 (fetching)", "exited with code 1"],
    );
    assert!(left(&home).is_empty(), "{:?}", left(&home));
}
