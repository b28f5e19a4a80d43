//! Confidentiality of a node's secrets, robustness of its control socket, and shutdown with its
//! terminal.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Home, finish};
use crate::node::{QUIET, run};

/// Collects the contents of all files below `path`, and their names.
fn contents(path: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        into.extend_from_slice(path.to_str().unwrap().as_bytes());
        if path.is_dir() {
            contents(&path, into);
        } else if path.is_file() {
            into.extend(fs::read(&path).unwrap());
        }
    }
}

/// Returns the encodings in which some bytes could appear.
fn spellings(secret: &[u8; 32]) -> Vec<(&'static str, Vec<u8>)> {
    let lower: String = hex(secret).chars().take(24).collect();
    let upper = lower.to_uppercase();
    // Form of `Debug` and of a JSON array, with and without spaces; eight bytes are enough.
    let list = |between: &str| {
        let few: Vec<String> = secret[..8].iter().map(u8::to_string).collect();
        few.join(between).into_bytes()
    };
    vec![
        ("bytes", secret[..16].to_vec()),
        (
            "reversed bytes",
            secret[..16].iter().rev().copied().collect(),
        ),
        ("hex", lower.into_bytes()),
        ("upper-case hex", upper.into_bytes()),
        ("a list", list(", ")),
        ("a dense list", list(",")),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a secret that does not occur by chance.
fn secret(purpose: &str) -> [u8; 32] {
    blake3::derive_key("astreum test secrets", purpose.as_bytes())
}

/// A complete run with secrets given in every supported way: they appear in no output, log, reply,
/// state or error.
#[test]
fn secrets_never_appear_in_output_or_files() {
    let home = Home::new("private");
    let (relay, validation) = (secret("relay"), secret("validation"));
    let keys = home
        .path()
        .join("../")
        .join(format!("ast-private-keys-{}", std::process::id()));
    fs::create_dir_all(&keys).unwrap();
    let mut output = Vec::new();
    for way in ["file", "environment", "flag", "toml"] {
        let mut arguments = vec!["run", "--verbose"];
        arguments.extend(QUIET);
        let (toml, file) = (keys.join("node.toml"), keys.join("relay.key"));
        let (relay_hex, validation_hex) = (hex(&relay), hex(&validation));
        let (toml_path, file_path) = (toml.to_str().unwrap(), file.to_str().unwrap());
        let mut variables = Vec::new();
        match way {
            "file" => {
                fs::write(&file, &relay_hex).unwrap();
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                fs::set_permissions(&file, private).unwrap();
                arguments.extend(["--relay-secret-key-file", file_path]);
            }
            "environment" => {
                variables = vec![
                    ("ASTREUM_RELAY_SECRET_KEY", &relay_hex),
                    ("ASTREUM_VALIDATION_SECRET_KEY", &validation_hex),
                ];
            }
            "flag" => arguments.extend(["--relay-secret-key", &relay_hex]),
            _ => {
                let text = format!(
                    "relay_secret_key = \"{relay_hex}\"\nvalidation_secret_key = \"{validation_hex}\"\n"
                );
                fs::write(&toml, text).unwrap();
                arguments.extend(["--config", toml_path]);
            }
        }
        arguments.extend(["--chain-dir", "chain"]);
        let mut command = home.command(&arguments);
        command.envs(variables.clone());
        let (child, greeting) = start(command);
        output.extend(greeting.into_bytes());
        for request in ["status", "peers", "config"] {
            for form in [&[request][..], &[request, "--json"]] {
                let mut command = home.command(form);
                command.envs(variables.clone());
                let ran = finish(command, b"");
                assert_eq!(ran.code, 0, "{ran:?}");
                output.extend(ran.stdout);
                output.extend(ran.stderr.into_bytes());
            }
        }
        for wrong in [
            "{\"cmd\":\"secret\"}\n",
            "{\"cmd\":\"eval\",\"source\":\"(\"}\n",
            "\n",
        ] {
            output.extend(ask(&home.control_socket(), wrong.as_bytes()));
        }
        output.extend(stop(child, Signal::INT));
    }
    // Malformed in every way that a secret can be.
    for broken in [
        hex(&relay)[..62].to_owned(),
        hex(&relay) + "00",
        format!("{}zz", &hex(&relay)[..62]),
    ] {
        for arguments in [
            &["run", "--relay-secret-key", &broken][..],
            &["run", "--validation-secret-key", &broken],
            &["config", "--relay_secret_key", &broken],
            &["run", "--relay-secret-keyy", &broken],
        ] {
            let ran = home.run(arguments);
            assert_eq!(ran.code, 2, "{ran:?}");
            // The text of an unknown option may be shown to its user.
            if arguments[1] != "--relay-secret-keyy" {
                output.extend(ran.stdout);
                output.extend(ran.stderr.into_bytes());
            }
        }
        let toml = keys.join("broken.toml");
        for text in [
            format!("relay_secret_key = \"{broken}\""),
            format!("relay_secret_key = [\"{broken}\"]"),
            format!("relay_secret_key = \"{broken}\nx"),
            format!("[a]\nrelay_secret_key = {broken}"),
        ] {
            fs::write(&toml, text).unwrap();
            let ran = home.run(&["run", "--config", toml.to_str().unwrap()]);
            assert_eq!(ran.code, 2, "{ran:?}");
            output.extend(ran.stdout);
            output.extend(ran.stderr.into_bytes());
        }
        let file = keys.join("broken.key");
        fs::write(&file, &broken).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&file, private).unwrap();
        let ran = home.run(&["keys", "show", file.to_str().unwrap()]);
        assert_eq!(ran.code, 1, "{ran:?}");
        output.extend(ran.stderr.into_bytes());
    }
    contents(home.path(), &mut output);
    fs::remove_dir_all(&keys).unwrap();
    let public = hex(astreum_core_public(&relay).as_slice());
    assert!(
        contains(&output, public.as_bytes()),
        "the searched output is not that of the node"
    );
    for (name, key) in [("relay", relay), ("validation", validation)] {
        for (spelling, bytes) in spellings(&key) {
            assert!(
                !contains(&output, &bytes),
                "the {name} key was leaked as {spelling}"
            );
        }
    }
}

fn astreum_core_public(relay: &[u8; 32]) -> [u8; 32] {
    *astreum_core::crypto::SecretKey::from_bytes(*relay)
        .public_key()
        .as_bytes()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// Starts a node with captured outputs; returns it and the first lines of its stdout.
fn start(mut command: Command) -> (Child, String) {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut greeting = String::new();
    while !greeting.contains("Ctrl-C") {
        assert_ne!(
            stdout.read_line(&mut greeting).unwrap(),
            0,
            "the node exited after {greeting:?}"
        );
    }
    child.stdout = Some(stdout.into_inner());
    (child, greeting)
}

/// Stops the node with a signal that it must handle gracefully; returns the rest of its output.
fn stop(mut child: Child, signal: Signal) -> Vec<u8> {
    kill_process(pid(&child), signal).unwrap();
    let mut output = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut output)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_end(&mut output)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    output
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
}

/// Sends these bytes to the control socket and closes the sending side; returns the answer.
fn ask(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Returns a command that runs `first` in a shell and then starts a node.
fn after(home: &Home, first: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_astreum");
    let script = format!("{first}; exec {program} run --incoming-port 0 --default-seed none");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(home.path())
        .env("HOME", home.path())
        .env("XDG_STATE_HOME", home.path().join("state"));
    command
}

/// No core file is written even if the user's limits allow one.
#[cfg(target_os = "linux")]
#[test]
fn crashed_node_leaves_no_core_dump() {
    let home = Home::new("core");
    let (mut child, _) = start(after(&home, "ulimit -c unlimited"));
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let fields: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(fields[4..6], ["0", "0"], "{fields:?}");
    kill_process(pid(&child), Signal::ABORT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[test]
fn sighup_from_lost_terminal_shuts_down_cleanly() {
    let home = Home::new("hup");
    let (child, _) = start(home.command(&[&["run"], &QUIET[..]].concat()));
    stop(child, Signal::HUP);
    assert!(!home.control_socket().exists());
    let mut log = Vec::new();
    contents(&home.path().join("state"), &mut log);
    let log = String::from_utf8_lossy(&log);
    assert!(
        log.contains("stopping: terminal lost (SIGHUP)") && log.contains("\"stopped\""),
        "{log}"
    );
}

#[test]
fn node_ignores_sighup_under_nohup() {
    let home = Home::new("nohup");
    let (child, _) = start(after(&home, "trap '' HUP"));
    kill_process(pid(&child), Signal::HUP).unwrap();
    std::thread::sleep(core::time::Duration::from_millis(300));
    home.run(&["status"]).lines();
    stop(child, Signal::TERM);
}

/// Any bytes sent to the control socket: each line gets one line back, or the connection ends; the
/// node continues.
#[test]
fn control_socket_survives_arbitrary_bytes() {
    let home = Home::new("socket");
    let node = run(&home, &[]);
    let socket = home.control_socket();
    let id = "00".repeat(32);
    for (line, expected) in [
        ("", "not a request"),
        ("{", "not a request"),
        ("null", "not a request"),
        ("[[]]", "not a request"),
        ("{\"cmd\":\"status\",\"cmd\":\"peers\"}", "not a request"),
        ("{\"cmd\":\"status\"} {\"cmd\":\"stop\"}", "not a request"),
        ("{\"cmd\":\"Status\"}", "unknown variant"),
        ("{\"cmd\":\"get\"}", "missing field `id`"),
        ("{\"cmd\":\"get\",\"id\":7}", "invalid type"),
        ("{\"cmd\":\"get\",\"id\":\"xyz\"}", "xyz"),
        ("{\"cmd\":\"get\",\"id\":\"\u{1F980}\"}", "\u{1F980}"),
        (
            "{\"cmd\":\"put\",\"atoms\":[\"0\"]}",
            "atom 0: expected hex digits in pairs",
        ),
        ("{\"cmd\":\"put\",\"atoms\":[\"00\"]}", "atom 0: "),
        ("{\"cmd\":\"put\",\"atoms\":\"00\"}", "invalid type"),
        (
            "{\"cmd\":\"advertise\",\"id\":\"ID\",\"expires_seconds\":-1}",
            "invalid value",
        ),
        (
            "{\"cmd\":\"advertise\",\"id\":\"ID\",\"expires_seconds\":1e99}",
            "not a request",
        ),
        ("{\"cmd\":\"connect\",\"address\":\"\"}", "invalid address"),
        (
            "{\"cmd\":\"connect\",\"address\":\"127.0.0.1:99999\"}",
            "invalid address",
        ),
        ("{\"cmd\":\"eval\",\"source\":\"((\"}", "closed"),
        ("{\"cmd\":\"eval\",\"source\":\"\"}", "\"ok\":false"),
        (
            "{\"cmd\":\"eval\",\"source\":\"1\",\"limit\":-1}",
            "invalid value",
        ),
        ("{\"cmd\":\"providers\",\"id\":\"\"}", "\"ok\":false"),
    ] {
        let line = line.replace("ID", &id);
        let answer = ask(&socket, format!("{line}\n").as_bytes());
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.contains(expected) && answer.contains("\"ok\":false"),
            "{line}: {answer}"
        );
        assert_eq!(answer.lines().count(), 1, "{line}: {answer}");
    }
    for (bytes, lines) in [
        ("[".repeat(100_000).into_bytes(), 0),
        ([&"[".repeat(100_000).into_bytes()[..], b"\n"].concat(), 1),
        (b"\xff\xfe\x00\n\xff\n".to_vec(), 2),
        ("\n".repeat(50).into_bytes(), 50),
        (b"{\"cmd\":\"status\"}".to_vec(), 0),
        (
            [
                &b"{\"cmd\":\"eval\",\"source\":\""[..],
                &vec![b'('; 1 << 20],
                b"\"}\n",
            ]
            .concat(),
            1,
        ),
        (
            b"{\"cmd\":\"eval\",\"source\":\"(\\u0000 \\ud800)\"}\n".to_vec(),
            1,
        ),
    ] {
        let answer = ask(&socket, &bytes);
        let ended = answer.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(ended, lines, "{}", String::from_utf8_lossy(&answer));
    }
    home.run(&["status"]).lines();
    assert_eq!(node.interrupt().0, Some(0));
}

/// Invalid scripts: the error states the cause, the place and the remedy.
#[test]
fn invalid_script_is_explained() {
    let home = Home::new("scripts");
    fs::create_dir(home.path().join("dir.astreum")).unwrap();
    home.file("binary.astreum", [b'(', 0xff, 0xfe]);
    home.file("open.astreum", "(1\n (2");
    home.file("closed.astreum", "1\n2)");
    home.file("string.astreum", "(\"never\n ends");
    home.file("escape.astreum", "\"\\q\"");
    home.file("nul.astreum", "(\0 \u{1b}[2J");
    for (file, expected) in [
        ("none.astreum", &["none.astreum"][..]),
        ("dir.astreum", &["is a directory"]),
        (
            "binary.astreum",
            &["binary.astreum", "invalid UTF-8 at byte"],
        ),
        ("open.astreum", &["open.astreum:2:", "is not closed"]),
        ("closed.astreum", &["closed.astreum:2:2"]),
        ("string.astreum", &["string.astreum:1:2"]),
        ("escape.astreum", &["escape.astreum:1:"]),
        ("nul.astreum", &["nul.astreum:1:"]),
    ] {
        let ran = home.run(&["eval", file]);
        assert!(ran.code == 1 || ran.code == 2, "{file}: {ran:?}");
        ran.fails(ran.code, expected);
        assert!(
            !ran.stderr.contains('\u{1b}'),
            "{file}: unescaped control character: {ran:?}"
        );
    }
}
