//! Command `backup` with a running node.

use std::fs;

use astreum_tests::testkit::Home;

#[test]
fn backup_of_a_running_node_is_complete_or_absent() {
    let home = Home::new("backup");
    let flags = ["--incoming-port", "0", "--default-seed", "none"];
    let running = home.start(&[&["run"], &flags[..], &["--cold-storage-path", "cold"]].concat());
    home.file("data", vec![7; 100_000]);
    let put = home.run(&["put", "data"]);
    let id = put.lines().remove(0).to_owned();

    let made = home.run(&["backup", "absent/copy"]);
    assert_eq!(made.code, 1, "its parent must exist: {}", made.stderr);
    // The time that a copy takes is not known in advance.
    home.run(&["backup", "copy", "--timeout", "5"])
        .fails(2, &["--timeout"]);
    let made = home.run(&["backup", "copy/"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.text().contains("bytes"), "{}", made.text());
    for (place, problem) in [
        ("copy", "is not empty"),
        ("data", "is not a directory"),
        ("cold/copy", "in the cold storage"),
    ] {
        let refused = home.run(&["backup", place]);
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains(problem), "{}", refused.stderr);
    }
    assert_eq!(running.interrupt().0, Some(0));
    let partial = fs::read_dir(home.path()).unwrap().flatten();
    let partial = partial.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part"));
    assert_eq!(partial.count(), 0);

    // A node that is started on the copy has what was stored.
    let restored = home.start(&[&["run"], &flags[..], &["--cold-storage-path", "copy"]].concat());
    let got = home.run(&["get", &id, "--list", "--output", "back"]);
    assert_eq!(got.code, 0, "{}", got.stderr);
    assert_eq!(
        fs::read(home.path().join("back")).unwrap(),
        vec![7; 100_000]
    );
    assert_eq!(restored.interrupt().0, Some(0));

    let plain = home.start(&[&["run"], &flags[..]].concat());
    let refused = home.run(&["backup", "other"]);
    assert!(
        refused.stderr.contains("no cold storage"),
        "{}",
        refused.stderr
    );
    assert_eq!(plain.interrupt().0, Some(0));
}
