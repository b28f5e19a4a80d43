//! Confidentiality of a node's secrets, robustness of its control socket, and shutdown with its
//! terminal.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use astreum_node::rpc::codec::{Frame, FrameReader, encode_message};
use serde_json::Value;

use super::node::{QUIET, run};
use astreum_tests::testkit::{
    Home, NodeProcess, Output, Signal, program, run_with_input, terminal,
};

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
    for way in ["file", "environment", "toml"] {
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
        let node = start(&home, command);
        output.extend(node.greeting().bytes());
        for request in ["status", "peers", "config"] {
            for form in [&[request][..], &[request, "--json"]] {
                let mut command = home.command(form);
                command.envs(variables.clone());
                let ran = run_with_input(command, b"");
                assert_eq!(ran.code, 0, "{ran:?}");
                output.extend(ran.stdout);
                output.extend(ran.stderr.into_bytes());
            }
        }
        for wrong in [
            &encode_message(&request("secret", "{}")).unwrap()[..],
            &encode_message(&request("eval", "{\"source\":\"(\"}")).unwrap(),
            b"{\"cmd\":\"secret\"}\n",
            b"\n",
        ] {
            output.extend(ask(&home.control_socket(), wrong));
        }
        output.extend(stop(node, Signal::INT));
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

/// Starts a node with captured output.
fn start(home: &Home, command: Command) -> NodeProcess {
    let mut node = home.spawn_command(command, Output::Captured);
    node.wait_for_greeting().unwrap();
    node
}

/// Stops the node with a signal that it must handle gracefully; returns the rest of its output.
fn stop(node: NodeProcess, signal: Signal) -> Vec<u8> {
    node.signal(signal);
    let exit = node.finish();
    assert_eq!(exit.status.code(), Some(0));
    [exit.stdout, exit.stderr].concat()
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
    with(home, &format!("{first}; exec"))
}

/// Returns a command that starts a node in a shell, with these words before the program.
fn with(home: &Home, words: &str) -> Command {
    let program = program::astreum().display();
    let script = format!("{words} {program} run --incoming-port 0 --default-seed none");
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
    let node = start(&home, after(&home, "ulimit -c unlimited"));
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.process_id())).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let fields: Vec<&str> = line.unwrap().split_whitespace().collect();
    assert_eq!(fields[4..6], ["0", "0"], "{fields:?}");
    node.signal(Signal::ABORT);
    let status = node.finish().status;
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[test]
fn sighup_from_lost_terminal_shuts_down_cleanly() {
    let home = Home::new("hup");
    let (terminal, path) = terminal::open();
    // The pseudo-terminal becomes the controlling terminal of the node.
    let on_terminal = format!("exec < {path} setsid --ctty");
    let node = start(&home, with(&home, &on_terminal));
    // Without a terminal there are no hangups: the node would read its configuration again.
    drop(terminal);
    let exit = node.finish();
    assert_eq!(exit.status.code(), Some(0), "{}", exit.errors());
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
    let node = start(&home, after(&home, "trap '' HUP"));
    node.signal(Signal::HUP);
    std::thread::sleep(core::time::Duration::from_millis(300));
    home.run(&["status"]).lines();
    stop(node, Signal::TERM);
}

/// Returns the message of a request.
fn request(method: &str, params: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#).into_bytes()
}

/// Returns the messages in a node's answer.
fn messages(answer: &[u8]) -> Vec<Value> {
    let (mut reader, mut input, mut messages) = (FrameReader::new(), answer, Vec::new());
    while let Some(frame) = reader.read(&mut input).unwrap() {
        let Frame::Message(message) = frame else {
            panic!("{frame:?}");
        };
        messages.push(serde_json::from_slice(&message).unwrap());
    }
    assert!(reader.is_between_frames());
    messages
}

/// Any bytes sent to the control socket: each frame is answered by one frame, or the connection
/// ends; the node continues.
#[test]
fn control_socket_survives_arbitrary_bytes() {
    let home = Home::new("socket");
    let node = run(&home, &[]);
    let socket = home.control_socket();
    let id = "00".repeat(32);
    for (message, code, expected) in [
        ("", -32_700, "not a request"),
        ("{", -32_700, "not a request"),
        ("null", -32_600, "not a request"),
        ("[[]]", -32_600, "batches are not supported"),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"method\":\"peers\"}",
            -32_600,
            "duplicate field",
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"} {}",
            -32_700,
            "not a request",
        ),
        ("{\"cmd\":\"status\"}", -32_600, "unknown field"),
    ] {
        let answer = ask(&socket, &encode_message(message.as_bytes()).unwrap());
        let answers = messages(&answer);
        assert_eq!(answers.len(), 1, "{message}: {answers:?}");
        let error = &answers[0]["error"];
        assert_eq!(error["code"], code, "{message}: {error}");
        assert!(
            error["message"].as_str().unwrap().contains(expected),
            "{error}"
        );
    }
    for (method, params, code, expected) in [
        ("Status", "{}", -32_601, "unknown method \"Status\""),
        ("status", "{\"now\":true}", -32_602, "unknown field"),
        ("status", "[]", -32_602, "expected an object"),
        ("get", "{}", -32_602, "missing field `id`"),
        ("get", "{\"id\":7}", -32_602, "invalid type"),
        ("get", "{\"id\":\"ID\",\"id\":\"ID\"}", -32_602, "duplicate"),
        ("get", "{\"id\":\"xyz\"}", -32_602, "xyz"),
        ("get", "{\"id\":\"\u{1F980}\"}", -32_602, "\u{1F980}"),
        (
            "put",
            "{\"atoms\":[\"0\"]}",
            -32_602,
            "atom 0: expected hex digits in pairs",
        ),
        ("put", "{\"atoms\":[\"00\"]}", -32_602, "atom 0: "),
        ("put", "{\"atoms\":\"00\"}", -32_602, "invalid type"),
        (
            "advertise",
            "{\"id\":\"ID\",\"expires_seconds\":-1}",
            -32_602,
            "invalid value",
        ),
        (
            "advertise",
            "{\"id\":\"ID\",\"expires_seconds\":1e99}",
            -32_602,
            "invalid",
        ),
        ("connect", "{\"address\":\"\"}", 1, "invalid address"),
        (
            "connect",
            "{\"address\":\"127.0.0.1:99999\"}",
            1,
            "invalid address",
        ),
        ("eval", "{\"source\":\"((\"}", 1, "closed"),
        ("eval", "{\"source\":\"\"}", 1, ""),
        ("eval", "{\"source\":\"(\\u0000 \\ud800)\"}", -32_602, ""),
        (
            "eval",
            "{\"source\":\"1\",\"limit\":-1}",
            -32_602,
            "invalid value",
        ),
        ("providers", "{\"id\":\"\"}", -32_602, "64 hex digits"),
    ] {
        let params = params.replace("ID", &id);
        let message = request(method, &params);
        let answers = messages(&ask(&socket, &encode_message(&message).unwrap()));
        assert_eq!(answers.len(), 1, "{method} {params}: {answers:?}");
        let error = &answers[0]["error"];
        assert_eq!(error["code"], code, "{method} {params}: {error}");
        assert!(
            error["message"].as_str().unwrap().contains(expected),
            "{error}"
        );
    }
    let nested = "[".repeat(100_000).into_bytes();
    let source = format!("{{\"source\":\"{}\"}}", "(".repeat(1 << 20));
    let status = encode_message(&request("status", "{}")).unwrap();
    for (bytes, count) in [
        (encode_message(&nested).unwrap(), 1),
        (
            encode_message(&request("get", &"[".repeat(100_000))).unwrap(),
            1,
        ),
        (encode_message(b"\xff\xfe\x00").unwrap(), 1),
        (encode_message(b"").unwrap().repeat(50), 50),
        (encode_message(&request("eval", &source)).unwrap(), 1),
        // The input ends within a frame.
        (status[..status.len() - 1].to_vec(), 0),
        ([&status[..], &status[..4]].concat(), 1),
        // The last answer states why the connection ends.
        ([&status[..], b"\n\n\n\n\n"].concat(), 2),
        (nested, 1),
    ] {
        assert_eq!(messages(&ask(&socket, &bytes)).len(), count);
    }
    let line = String::from_utf8(ask(&socket, b"{\"cmd\":\"status\"}\n")).unwrap();
    assert!(
        line.contains("\"ok\":false") && line.contains("changed") && line.ends_with("}\n"),
        "{line}"
    );
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
