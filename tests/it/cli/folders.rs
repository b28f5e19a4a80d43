//! Commands `put` and `get` with folders and manifests, also hostile ones.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use astreum_tests::testkit::{Home, NodeProcess, Signal};

use super::fixtures::COLD;
use super::node::run;
use super::transfers::{noise, outputs, signal, suspended};

/// Returns modes and contents of everything below a directory; a directory has no content.
fn tree(root: &Path) -> BTreeMap<String, (u32, Option<Vec<u8>>)> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(path) = open.pop() {
        let data = fs::symlink_metadata(&path).unwrap();
        assert!(data.is_dir() || data.is_file(), "{}", path.display());
        let content = data.is_file().then(|| fs::read(&path).unwrap());
        if data.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
        }
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        let mode = data.permissions().mode() & 0o7_777;
        found.insert(name.to_owned(), (mode, content));
    }
    found
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Creates a folder; the order in which its entries are created depends on `reversed`.
fn make_folder(root: &Path, reversed: bool) {
    let mut files = vec![
        (".hidden", noise(10)),
        ("empty", Vec::new()),
        ("sub/large", noise(9_000)),
        ("sub/same", noise(9_000)),
        ("sub/deeper/é", b"text".to_vec()),
        ("sub deeper", b"x".to_vec()),
    ];
    if reversed {
        files.reverse();
    }
    fs::create_dir_all(root.join("sub/deeper")).unwrap();
    fs::create_dir_all(root.join("void/inner")).unwrap();
    for (name, content) in files {
        fs::write(root.join(name), content).unwrap();
        set_mode(&root.join(name), 0o640);
    }
    set_mode(&root.join("empty"), 0o755);
    for directory in ["", "sub", "sub/deeper", "void/inner"] {
        set_mode(&root.join(directory), 0o755);
    }
    set_mode(&root.join("void"), 0o555);
}

fn put(home: &Home, path: &str) -> String {
    home.run(&["put", path]).lines().remove(0).to_owned()
}

/// Stops the node, and makes directories writable, so that the home can be removed.
fn stop(home: &Home, node: NodeProcess) {
    assert_eq!(node.interrupt().0, Some(0));
    for root in ["in", "again", "out", "vacant"] {
        let path = home.path().join(root).join("void");
        if path.exists() {
            set_mode(&path, 0o755);
        }
    }
}

#[test]
fn folder_comes_back_with_names_modes_and_contents() {
    let home = Home::new("folder");
    let node = run(&home, &COLD);
    make_folder(&home.path().join("in"), false);
    make_folder(&home.path().join("again"), true);
    let id = put(&home, "in");
    assert_eq!(
        put(&home, "again"),
        id,
        "the id depends on the contents only"
    );
    let stored = home.run(&["put", "in", "--json"]).json();
    assert_eq!(
        (&stored["files"], &stored["bytes"]),
        (&6.into(), &18_015.into())
    );
    home.run(&["get", &id, "-o", "out"]).lines();
    let (before, after) = (home.path().join("in"), home.path().join("out"));
    assert_eq!(tree(&after), tree(&before));
    assert_eq!(outputs(&home), ["out"]);
    // An empty directory is replaced, and nothing is overwritten.
    fs::create_dir(home.path().join("vacant")).unwrap();
    home.run(&["get", &id, "-o", "vacant"]).lines();
    assert_eq!(tree(&home.path().join("vacant")), tree(&before));
    home.file("file", b"kept");
    for (place, problem) in [("out", "is not empty"), ("file", "is not a directory")] {
        home.run(&["get", &id, "-o", place]).fails(1, &[problem]);
    }
    assert_eq!(fs::read(home.path().join("file")).unwrap(), b"kept");
    let listed = home.run(&["get", &id, "--files"]).lines().join("\n");
    for line in [
        "0755               - /",
        "0640            9000 sub/large",
        "0555               - void/",
    ] {
        assert!(listed.contains(line), "{listed}");
    }
    let entries = home.run(&["get", &id, "--files", "--json"]);
    let entry = entries.text().lines().nth(1).unwrap();
    assert!(
        entry.contains(r#""path":".hidden""#) && entry.contains(r#""bytes":10"#),
        "{entry}"
    );
    home.run(&["get", &id, "--list", "--raw"])
        .fails(1, &["is a folder", "--output"]);
    let note = home.run(&["get", &id]).stderr;
    assert!(note.contains("this is a manifest"), "{note}");
    stop(&home, node);
}

#[test]
fn advertised_folder_includes_every_list_that_it_needs() {
    let home = Home::new("advertise-folder");
    let node = run(&home, &COLD);
    make_folder(&home.path().join("in"), false);
    let id = home.run(&["put", "in", "--advertise"]).lines()[0].to_owned();
    let advertised = home.run(&["advertise", "list"]);
    let advertised = advertised.text();
    // Two files are equal: five contents, the table and the manifest.
    assert_eq!(advertised.lines().count(), 7, "{advertised}");
    assert!(advertised.contains(&id));
    stop(&home, node);
}

#[test]
fn what_cannot_be_stored_is_refused_and_leaves_no_manifest() {
    let home = Home::new("refused-folder");
    let node = run(&home, &COLD);
    let root = home.path().join("in");
    make_folder(&root, false);
    symlink("/etc/passwd", root.join("sub/link")).unwrap();
    home.run(&["put", "in"])
        .fails(1, &["in/sub/link is a symbolic link"]);
    fs::remove_file(root.join("sub/link")).unwrap();
    // Root may read every file.
    if !rustix::process::geteuid().is_root() {
        set_mode(&root.join("sub/large"), 0);
        home.run(&["put", "in"])
            .fails(1, &["in/sub/large: Permission denied"]);
    }
    stop(&home, node);
}

/// Returns a table as the text of an expression.
fn table(entries: &[(u8, u16, u64, &str)]) -> String {
    let mut bytes = Vec::new();
    for (kind, mode, size, path) in entries {
        bytes.push(*kind);
        bytes.extend_from_slice(&mode.to_be_bytes());
        if *kind == 0 {
            bytes.extend_from_slice(&size.to_be_bytes());
        }
        bytes.extend_from_slice(&u16::try_from(path.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(path.as_bytes());
    }
    let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{escaped}\"")
}

#[test]
fn hostile_manifest_writes_nothing_outside_and_leaves_nothing_behind() {
    const ROOT: (u8, u16, u64, &str) = (1, 0o755, 0, "");
    let home = Home::new("hostile-folder");
    let node = run(&home, &COLD);
    let file = |size, path| table(&[ROOT, (0, 0o644, size, path)]);
    let put = |text: String| {
        let ran = home.run_with(&["put", "-", "--kind", "expr"], text.as_bytes());
        ran.lines()[0].to_owned()
    };
    let good = put(format!("(manifest 1 {} \"hello\")", file(5, "a")));
    home.run(&["get", &good, "-o", "out"]).lines();
    assert_eq!(fs::read(home.path().join("out/a")).unwrap(), b"hello");
    fs::remove_dir_all(home.path().join("out")).unwrap();
    let large = 1_022_361_601;
    for (manifest, problem) in [
        (
            format!("(manifest 1 {} \"hello\")", file(5, "../a")),
            "invalid path",
        ),
        (
            format!("(manifest 1 {} \"hello\")", file(5, "/tmp/a")),
            "invalid path",
        ),
        (
            format!("(manifest 1 {} \"hello\")", file(5, "b/a")),
            "is not an entry before it",
        ),
        (
            format!("(manifest 1 {} \"hello\")", file(4, "a")),
            "not 4 bytes",
        ),
        (
            format!("(manifest 1 {} \"hello\")", file(6, "a")),
            "not 6 bytes",
        ),
        (
            format!("(manifest 1 {} (a b))", file(5, "a")),
            "not 5 bytes",
        ),
        // The first of the two lists of such a file is not full.
        (
            format!("(manifest 1 {} (\"hello\" \"h\"))", file(large, "a")),
            "the content is not",
        ),
        (
            format!("(manifest 1 {} (\"hello\"))", file(large, "a")),
            "the content is not",
        ),
        (
            format!("(manifest 1 {} \"hello\")", file(large, "a")),
            "not a list atom",
        ),
        (
            format!("(manifest 1 {} \"hello\")", file(200_000_000_000_000, "a")),
            "the disk has room",
        ),
        (
            format!(
                "(manifest 1 {} (\"hello\"))",
                table(&[(0, 0o644, 200_000_000_000_000, "")])
            ),
            "the file has 200000000000000 bytes to write, and the disk has room",
        ),
        (
            format!("(manifest 1 {} \"hello\")", file(u64::MAX, "a")),
            "exceeds the maximum",
        ),
        (
            format!("(manifest 1 {})", file(5, "a")),
            "0 contents for 1 files",
        ),
        (
            format!("(manifest 1 {} \"a\" \"b\")", file(5, "a")),
            "2 contents for 1 files",
        ),
        (
            format!(
                "(manifest 1 {} \"x\")",
                table(&[ROOT, (0, 0o4_755, 1, "a")])
            ),
            "other bits than permissions",
        ),
        (
            format!(
                "(manifest 1 {} \"x\" \"x\")",
                table(&[ROOT, (0, 0o644, 1, "a"), (0, 0o644, 1, "a")])
            ),
            "occurs twice",
        ),
        (
            "(manifest 1 \"\" \"x\")".to_owned(),
            "is not a valid manifest",
        ),
        ("(manifest 1)".to_owned(), "no table"),
        ("(manifest 2 \"x\")".to_owned(), "unknown version"),
        ("(manifest)".to_owned(), "no table"),
    ] {
        let id = put(manifest.clone());
        let ran = home.run(&["get", &id, "-o", "out"]);
        assert_eq!(ran.code, 1, "{manifest}: {}", ran.stderr);
        assert!(ran.stderr.contains(problem), "{manifest}: {}", ran.stderr);
        assert!(outputs(&home).is_empty(), "{manifest}");
    }
    // The room is also checked where files of an earlier try are there.
    let huge = put(format!(
        "(manifest 1 {} \"hello\")",
        file(200_000_000_000_000, "a")
    ));
    let part = home.path().join(format!("out.{}.part", &huge[..16]));
    fs::create_dir(&part).unwrap();
    fs::write(part.join("a"), "hello").unwrap();
    home.run(&["get", &huge, "-o", "out", "--resume"]).fails(
        1,
        &["199999999999995 bytes to write, and the disk has room"],
    );
    fs::remove_dir_all(&part).unwrap();
    // A single file of one list needs no manifest, but may have one.
    let single = put(format!(
        "(manifest 1 {} \"hello\")",
        table(&[(0, 0o644, 5, "")])
    ));
    home.run(&["get", &single, "-o", "out"]).lines();
    assert_eq!(fs::read(home.path().join("out")).unwrap(), b"hello");
    assert_eq!(
        home.run(&["get", &single, "--list", "--raw"]).stdout,
        b"hello"
    );
    stop(&home, node);
}

#[test]
fn interrupted_restore_leaves_nothing_or_is_resumed_after_a_check() {
    use std::os::unix::process::ExitStatusExt as _;
    let home = Home::new("resume-folder");
    let node = run(&home, &COLD);
    make_folder(&home.path().join("in"), false);
    home.file("in/zz", noise(3 << 20));
    let id = put(&home, "in");
    let expected = tree(&home.path().join("in"));
    let get = ["get", &id, "-o", "out", "--resume"];
    // Files of an earlier try, of which one is damaged and one incomplete.
    let part = home.path().join(format!("out.{}.part", &id[..16]));
    fs::create_dir_all(part.join("sub")).unwrap();
    fs::write(part.join("sub/large"), vec![0; 9_000]).unwrap();
    fs::write(part.join("zz"), &noise(3 << 20)[..1 << 20]).unwrap();
    fs::write(part.join(".hidden"), noise(10)).unwrap();
    home.run(&get).lines();
    assert_eq!(tree(&home.path().join("out")), expected);
    assert_eq!(outputs(&home), ["out"]);
    set_mode(&home.path().join("out/void"), 0o755);
    fs::remove_dir_all(home.path().join("out")).unwrap();
    // A link in the place of a directory is not followed.
    fs::create_dir_all(&part).unwrap();
    symlink(home.path(), part.join("sub")).unwrap();
    home.run(&get).fails(1, &["part/sub"]);
    assert!(!home.path().join("large").exists());
    fs::remove_dir_all(&part).unwrap();
    // Ctrl-C while the node does not answer: what it has written stays only with --resume.
    for resumes in [false, true] {
        let arguments = &get[..if resumes { 5 } else { 4 }];
        let child = suspended(&home, &node, arguments, || true);
        std::thread::sleep(core::time::Duration::from_millis(300));
        signal(&child, Signal::INT);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.signal(), Some(Signal::INT.as_raw()));
        node.signal(Signal::CONT);
        assert!(outputs(&home).iter().all(|_| resumes));
    }
    home.run(&get).lines();
    assert_eq!(tree(&home.path().join("out")), expected);
    stop(&home, node);
}

#[test]
fn folder_is_fetched_from_a_peer() {
    let (one, two) = (Home::new("peer-one"), Home::new("peer-two"));
    let first = run(&one, &COLD);
    let second = run(&two, &COLD);
    make_folder(&one.path().join("in"), false);
    // Long enough for a stream.
    one.file("in/zz", noise(3 << 20));
    let id = put(&one, "in");
    let address = one.run(&["status", "--json"]).json()["listen_address"].clone();
    let address = address.as_str().unwrap().replace("0.0.0.0", "127.0.0.1");
    two.run(&["peers", "--connect", &address]).lines();
    two.run(&["get", &id, "-o", "out"]).lines();
    let expected = tree(&one.path().join("in"));
    assert_eq!(tree(&two.path().join("out")), expected);
    // The other node has it all now: the first one is not needed.
    stop(&one, first);
    two.run(&["get", &id, "-o", "again"]).lines();
    assert_eq!(tree(&two.path().join("again")), expected);
    stop(&two, second);
}

#[test]
fn put_that_is_repeated_writes_only_what_is_missing() {
    let home = Home::new("repeat-put");
    let node = run(&home, &COLD);
    let journals = || -> u64 {
        let files = fs::read_dir(home.path().join("cold")).unwrap().flatten();
        let journals = files.filter(|it| it.file_name().to_string_lossy().starts_with("journal"));
        journals.map(|it| it.metadata().unwrap().len()).sum()
    };
    let bytes = noise(6 << 20);
    // The end of the file is what an interrupted put has stored.
    home.file("end", &bytes[3_900 * 800..]);
    home.file("in", &bytes);
    put(&home, "end");
    stop(&home, node);
    let node = run(&home, &COLD);
    let before = journals();
    let id = put(&home, "in");
    let grown = journals() - before;
    let missing = 3_900 * 800;
    assert!((missing..missing * 11 / 10).contains(&grown), "{grown}");
    put(&home, "in");
    assert_eq!(journals() - before, grown, "nothing is written again");
    home.run(&["get", &id, "-o", "out"]).lines();
    assert!(fs::read(home.path().join("out")).unwrap() == bytes);
    stop(&home, node);
}
