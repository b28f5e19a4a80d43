//! Command `astreum keys`: protected key files, import, export, rotation, and the list of the
//! configured keys.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use astreum_tests::testkit::{Home, Ran, run_with_input};
use serde_json::Value;

/// Cheap for tests: a megabyte and some milliseconds.
const CHEAP: [&str; 2] = ["--work-factor", "10"];
const PASSPHRASE: &str = "correct horse battery staple";

/// Writes a file that only its owner can read.
fn private(home: &Home, name: &str, content: &str) {
    let path = home.file(name, content);
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Creates a home with a passphrase in the file `pass` and a protected key in `a.key`; returns its
/// public key.
fn protected_home(name: &str, kind: &str) -> (Home, String) {
    let home = Home::new(name);
    private(&home, "pass", &format!("{PASSPHRASE}\n"));
    let generate = ["keys", "generate", "a.key", "--kind", kind];
    let protect = ["--new-passphrase-file", "pass"];
    let made = home.run(&[&generate[..], &protect, &CHEAP].concat());
    let public_key = made.lines().remove(0).to_owned();
    (home, public_key)
}

/// Runs a command in a process group of its own, so that it has no terminal to ask.
fn run_in_background(home: &Home, arguments: &[&str]) -> Ran {
    let mut command = home.command(arguments);
    command.process_group(0);
    run_with_input(command, b"")
}

/// Returns the 64 hex digits of the secret in a plain key file.
fn digits(home: &Home, name: &str) -> String {
    let text = fs::read_to_string(home.path().join(name)).unwrap();
    text.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn protected_keys_need_their_passphrase_only_for_the_secret() {
    let (home, public_key) = protected_home("protected", "account");
    let path = home.path().join("a.key");
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    let first = text.lines().next().unwrap();
    assert_eq!(first, format!("validation protected {public_key}"));
    assert!(text.contains("BEGIN AGE ENCRYPTED FILE"));
    // The half of its kind is stated in the file.
    let shown = run_in_background(&home, &["keys", "show", "a.key", "--kind", "account"]);
    assert_eq!(shown.lines(), [&public_key]);
    let shown = run_in_background(&home, &["keys", "show", "a.key"]);
    assert!(shown.text().contains("protection      passphrase"));
    assert!(shown.text().contains("not shown without the passphrase"));
    let json = run_in_background(&home, &["keys", "show", "a.key", "--json"]).json();
    assert_eq!(json["protected"], true);
    assert_eq!(json["relay_public_key"], Value::Null);
    // The other half needs the secret.
    let other = ["keys", "show", "a.key", "--kind", "relay"];
    run_in_background(&home, &other).fails(1, &["protected by a passphrase", "--passphrase-file"]);
    let with_file = [&other[..], &["--passphrase-file", "pass"]].concat();
    assert_eq!(home.run(&with_file).lines()[0].len(), 64);
    private(&home, "wrong", "correct horse battery stable\n");
    let with_wrong = [&other[..], &["--passphrase-file", "wrong"]].concat();
    let failed = home.run(&with_wrong);
    failed.fails(1, &["wrong passphrase for a.key"]);
    assert!(!failed.stderr.contains("stable"), "{failed:?}");
    // From a file descriptor, which a supervisor opens.
    let mut command = home.command(&[&other[..], &["--passphrase-fd", "0"]].concat());
    command.process_group(0);
    let ran = run_with_input(command, format!("{PASSPHRASE}\n").as_bytes());
    assert_eq!(ran.lines(), home.run(&with_file).lines());
    fs::set_permissions(home.path().join("pass"), Permissions::from_mode(0o644)).unwrap();
    home.run(&with_file)
        .fails(1, &["pass: is accessible to other users (mode 0644)"]);
}

#[test]
fn hostile_and_damaged_files_are_refused_at_once() {
    let (home, _) = protected_home("hostile", "relay");
    let text = fs::read_to_string(home.path().join("a.key")).unwrap();
    let show = ["keys", "show", "b.key", "--kind", "account"];
    let show = [&show[..], &["--passphrase-file", "pass"]].concat();
    // An unarmored header with a cost of 2^40.
    let hostile = "age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 40\n\
                   AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n\
                   --- AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
    for (content, expected) in [
        (
            hostile.to_owned(),
            "work factor is 2^40, the maximum is 2^18",
        ),
        (text.replace("-----END", "----END"), "is damaged"),
        (
            text.replace("relay protected", "relay"),
            "is not a key file",
        ),
        (format!("{text}{}", "x".repeat(5_000)), "is not a key file"),
        (
            "age-encryption.org/v1\n-> X25519 AAAA\nAAAA\n--- AAAA\n".to_owned(),
            "for recipients",
        ),
    ] {
        private(&home, "b.key", &content);
        home.run(&show).fails(1, &[expected]);
    }
}

#[test]
fn node_opens_protected_keys_with_the_configured_passphrase() {
    let (home, public_key) = protected_home("node", "relay");
    let key = ["run", "--relay-secret-key-file", "a.key"];
    let plain = ["--incoming-port", "0", "--default-seed", "none"];
    let without = run_in_background(&home, &[&key[..], &plain].concat());
    without.fails(2, &["a.key is protected", "key_passphrase_file"]);
    let with = ["--key-passphrase-file", "pass"];
    let node = home.start(&[&key[..], &plain, &with].concat());
    let status = home.run(&["status", "--json"]).json();
    assert_eq!(status["public_key"], public_key.as_str());
    assert_eq!(node.interrupt().0, Some(0));
    let logs = home.path().join("state/Astreum/lib-rs/logs");
    for entry in fs::read_dir(logs).unwrap().flatten() {
        let log = fs::read_to_string(entry.path().join("node.log")).unwrap();
        assert!(!log.contains(PASSPHRASE));
    }
}

#[test]
fn list_of_keys_says_what_each_is_for() {
    let (home, public_key) = protected_home("list", "relay");
    let list =
        |arguments: &[&str]| run_in_background(&home, &[&["keys", "--json"], arguments].concat());
    let none = list(&[]).json();
    assert_eq!(none["keys"][0]["source"], "none");
    assert_eq!(none["keys"][1]["source"], "none");
    home.run(&["keys", "generate", "v.key", "--kind", "validation"])
        .lines();
    home.file(
        "node.toml",
        "relay_secret_key_file = \"a.key\"\nvalidation_secret_key_file = \"v.key\"\n",
    );
    let both = list(&["--config", "node.toml"]).json();
    let keys = both["keys"].as_array().unwrap();
    assert_eq!(keys[0]["kind"], "relay");
    assert!(keys[0]["use"].as_str().unwrap().contains("peers"));
    assert_eq!(keys[0]["protected"], true);
    assert_eq!(keys[0]["public_key"], public_key.as_str());
    assert_eq!(keys[1]["kind"], "validation");
    assert!(keys[1]["use"].as_str().unwrap().contains("blocks"));
    assert_eq!(keys[1]["protected"], false);
    let text = run_in_background(&home, &["keys", "--config", "node.toml"]);
    let text = text.lines().join("\n");
    assert!(text.contains("relay key (X25519)") && text.contains("key_passphrase_file"));
    fs::remove_file(home.path().join("v.key")).unwrap();
    let broken = list(&["--config", "node.toml"]);
    assert_eq!(broken.code, 1);
    let json: Value = serde_json::from_slice(&broken.stdout).unwrap();
    let problem = json["keys"][1]["problem"].as_str().unwrap();
    assert!(problem.contains("missing key file"), "{problem}");
}

#[test]
fn new_key_file_is_not_named_like_stdout_or_in_a_missing_directory() {
    let (home, _) = protected_home("dash", "account");
    let open = ["--passphrase-file", "pass"];
    for words in [
        &["keys", "generate", "-"][..],
        &["keys", "import", "a.key", "-"],
        &["keys", "export", "a.key", "-", open[0], open[1]],
        &["keys", "rotate", "a.key", "--to", "-"],
    ] {
        home.run(words).fails(2, &["not written to stdout"]);
    }
    assert!(!home.path().join("-").exists());
    home.run(&["keys", "generate", "none/b.key"])
        .fails(1, &["none/b.key: its directory does not exist"]);
    run_in_background(&home, &["keys", "generate", "b.key", "--protect"]).fails(
        1,
        &["missing passphrase for b.key", "--new-passphrase-file"],
    );
    home.run(&["keys", "generate", "b.key", "--work-factor", "30"])
        .fails(2, &["expected an integer from 10 to 18"]);
}

#[test]
fn imported_and_exported_keys_are_the_same_key() {
    let (home, public_key) = protected_home("move", "account");
    let open = ["--passphrase-file", "pass"];
    let export = ["keys", "export", "a.key"];
    for (to, format) in [("b.key", "key"), ("b.hex", "hex"), ("b.pem", "pem")] {
        let ran = home.run(&[&export[..], &[to, "--format", format], &open].concat());
        assert_eq!(ran.lines(), [&public_key]);
        assert!(ran.stderr.contains("in plain text"), "{ran:?}");
        let mode = fs::metadata(home.path().join(to)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        home.run(&[&export[..], &[to, "--format", format], &open].concat())
            .fails(1, &["refusing to overwrite"]);
    }
    let secret = digits(&home, "b.key");
    assert_eq!(digits(&home, "b.hex"), secret);
    let both = [&export[..], &["c", "--format", "pem", "--protect"], &open].concat();
    home.run(&both)
        .fails(2, &["only a key file can be protected"]);
    for (from, more) in [
        ("b.key", &[][..]),
        ("b.pem", &[]),
        ("b.hex", &["--kind", "account"]),
        ("a.key", &open),
    ] {
        let import = [&["keys", "import", from, "c.key"], more].concat();
        assert_eq!(home.run(&import).lines(), [&public_key], "{from}");
        let text = fs::read_to_string(home.path().join("c.key")).unwrap();
        assert_eq!(text, format!("validation {secret}\n"));
        fs::remove_file(home.path().join("c.key")).unwrap();
    }
    home.run(&["keys", "import", "b.hex", "c.key"])
        .fails(2, &["does not state the kind", "--kind"]);
    home.run(&["keys", "import", "b.pem", "c.key", "--kind", "relay"])
        .fails(2, &["is a validation or account key"]);
    // The source of stdin needs no file.
    let import = ["keys", "import", "-", "c.key", "--kind", "account"];
    let protect = ["--new-passphrase-file", "pass"];
    let ran = home.run_with(&[&import[..], &protect, &CHEAP].concat(), secret.as_bytes());
    assert_eq!(ran.lines(), [&public_key]);
    let text = fs::read_to_string(home.path().join("c.key")).unwrap();
    assert!(!text.contains(&secret) && text.starts_with("validation protected"));
    let junk = home.run_with(&["keys", "import", "-", "d.key"], &[b'7'; 10_000]);
    junk.fails(1, &["stdin is not a key file"]);
    assert!(!home.path().join("d.key").exists());
}

#[test]
fn rotation_writes_the_successor_beside_the_key_and_says_what_follows() {
    let home = Home::new("rotate");
    for (file, kind, words) in [
        ("r.key", "relay", ["relay_secret_key_file", "peers"]),
        (
            "v.key",
            "validation",
            ["stake cannot be moved", "tx send treasury"],
        ),
    ] {
        let old = home.run(&["keys", "generate", file, "--kind", kind]);
        let old = old.lines()[0].to_owned();
        let before = fs::read(home.path().join(file)).unwrap();
        let rotated = home.run(&["keys", "rotate", file]);
        let text = rotated.lines().join("\n");
        for word in words
            .iter()
            .copied()
            .chain(["Nothing uses the new key yet", &old])
        {
            assert!(
                text.to_lowercase().contains(&word.to_lowercase()),
                "{word}: {text}"
            );
        }
        assert_eq!(fs::read(home.path().join(file)).unwrap(), before);
        let new = format!("{file}.new");
        let shown = home.run(&["keys", "show", &new, "--kind", kind]);
        assert_ne!(shown.lines(), [&old]);
        assert!(text.contains(shown.lines()[0]));
        home.run(&["keys", "rotate", file])
            .fails(1, &["refusing to overwrite", ".key.new: the file exists"]);
        let json = home.run(&["keys", "rotate", file, "--to", "other.key", "--json"]);
        assert_eq!(json.json()["old_public_key"], old.as_str());
        fs::remove_file(home.path().join("other.key")).unwrap();
    }
    // The successor of a protected key is protected: without a passphrase there is none.
    let (home, _) = protected_home("rotatep", "relay");
    run_in_background(&home, &["keys", "rotate", "a.key"]).fails(1, &["passphrase for a.key.new"]);
    assert!(!home.path().join("a.key.new").exists());
    let with = ["keys", "rotate", "a.key", "--new-passphrase-file", "pass"];
    home.run(&[&with[..], &CHEAP].concat()).lines();
    let shown = home.run(&["keys", "show", "a.key.new", "--json"]).json();
    assert_eq!(shown["protected"], true);
}

/// Runs a command in a pseudo-terminal and types each line when its prompt appears; returns what
/// the terminal shows, and whether the command succeeded.
fn in_terminal(home: &Home, command: &str, lines: &[(&str, &str)]) -> (String, bool) {
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", command, "/dev/null"])
        .current_dir(home.path())
        .env("HOME", home.path())
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = script
        .spawn()
        .unwrap_or_else(|error| panic!("script: {error}; install util-linux (bsdutils)"));
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut shown = String::new();
    let mut lines = lines.iter();
    let mut next = lines.next();
    let mut seen = 0;
    loop {
        let mut bytes = [0; 256];
        let count = stdout.read(&mut bytes).unwrap();
        if count == 0 {
            break;
        }
        shown.push_str(&String::from_utf8_lossy(bytes.get(..count).unwrap()));
        if let Some((prompt, line)) = next
            && let Some(at) = shown[seen..].find(prompt)
        {
            seen += at + prompt.len();
            stdin.write_all(line.as_bytes()).unwrap();
            next = lines.next();
        }
    }
    assert!(next.is_none(), "{next:?} was not asked for: {shown}");
    drop(stdin);
    (shown, child.wait().unwrap().success())
}

#[test]
fn terminal_is_asked_without_echo() {
    let home = Home::new("terminal");
    let program = home.command(&[]).get_program().to_owned();
    let program = Path::new(&program).display().to_string();
    let generate = format!("{program} keys generate t.key --protect --work-factor 10");
    let (shown, done) = in_terminal(
        &home,
        &generate,
        &[
            ("New passphrase of t.key: ", "open sesame\n"),
            ("Repeat the passphrase: ", "open sesame\n"),
        ],
    );
    assert!(done && !shown.contains("sesame"), "{shown}");
    let show = format!("{program} keys show t.key --kind account");
    let ask = "Passphrase of t.key: ";
    let (shown, done) = in_terminal(&home, &show, &[(ask, "open sesame\n")]);
    assert!(done && !shown.contains("sesame"), "{shown}");
    let (shown, done) = in_terminal(&home, &show, &[(ask, "open barley\n")]);
    assert!(!done && shown.contains("wrong passphrase"), "{shown}");
    assert!(!shown.contains("barley"), "{shown}");
    // Ctrl-C ends the entry, and the terminal echoes again.
    let both = format!("{show}; echo; stty -a");
    let (shown, _) = in_terminal(&home, &both, &[(ask, "open\u{3}")]);
    assert!(shown.contains("interrupted"), "{shown}");
    assert!(
        shown.contains(" echo ") && shown.contains("isig icanon"),
        "{shown}"
    );
    assert!(!shown.contains("-isig"), "{shown}");
    let differs = generate.replace("t.key", "u.key");
    let (shown, done) = in_terminal(
        &home,
        &differs,
        &[("New passphrase", "one\n"), ("Repeat", "two\n")],
    );
    assert!(!done && shown.contains("the two entries differ"), "{shown}");
    assert!(!home.path().join("u.key").exists());
}
