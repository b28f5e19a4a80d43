//! Control socket: another user of the machine, and callers that do not wait for their replies.

use crate::Settings;
use crate::figures::Figures;
use crate::process::Node;
use astreum_node::rpc::codec::encode_message;
use astreum_node::rpc::{Client, MAX_CONNECTIONS, Request, request};
use core::time::Duration;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;
use std::time::Instant;

/// User id without privileges.
const NOBODY: u32 = 65_534;

/// Checks that the node itself rejects another user, with file permissions that permit access.
pub(crate) fn other_user(settings: &Settings, figures: &mut Figures) {
    let node = Node::start(settings, "user");
    let directory = tempfile::tempdir().unwrap();
    // The other user has to enter it.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let place = directory.path().join("astreum");
    fs::copy(&settings.node, &place).unwrap();
    fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
    let ask = |mut command: Command| {
        command
            .args(["status", "--json", "--control-socket"])
            .arg(node.socket())
            .current_dir("/");
        command.output()
    };
    let as_nobody = || {
        let mut command = Command::new(&place);
        command.uid(NOBODY);
        ask(command).or_else(|_| {
            // Only the superuser can run a process as another user.
            let mut command = Command::new("sudo");
            command
                .args(["-n", "-u", &format!("#{NOBODY}")])
                .arg(&place);
            ask(command)
        })
    };
    let own = ask(Command::new(&place)).unwrap();
    figures.bar(
        "the user that runs the node",
        own.status,
        "exit 0",
        own.status.success(),
    );
    for (mode, what) in [
        (0o600, "another user"),
        (0o666, "another user, the file open to all"),
    ] {
        fs::set_permissions(node.socket(), Permissions::from_mode(mode)).unwrap();
        match as_nobody() {
            Ok(ran) => figures.bar(
                what,
                format!(
                    "{}: {}",
                    ran.status,
                    String::from_utf8_lossy(&ran.stderr).trim()
                ),
                "exit 1 and no reply",
                ran.status.code() == Some(1)
                    && ran.stdout.is_empty()
                    && String::from_utf8_lossy(&ran.stderr).contains("control socket"),
            ),
            Err(error) => figures.bar(
                what,
                format!("cannot run as another user ({error}): run this as root, or install sudo"),
                "exit 1 and no reply",
                false,
            ),
        }
    }
}

/// Evaluates unavailable references on every connection, whose callers disconnect.
pub(crate) fn abandoned_evaluations(settings: &Settings, figures: &mut Figures) {
    const REFERENCES: usize = 2_000;
    let node = Node::start_with(settings, "abandoned", &["--atom-fetch-interval", "600"]);
    // A contact that does not answer keeps every fetch waiting.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = Client::new(node.socket(), Duration::from_secs(60));
    let address = silent.local_addr().unwrap().to_string();
    client.request(&request::Connect { address }).unwrap();
    let ask = |number: usize| {
        let references = (0..REFERENCES).map(|at| format!("(0x{number:032x}{at:032x} ref)"));
        let request = request::Eval {
            source: format!("({} list)", references.collect::<Vec<_>>().join(" ")),
            limit: None,
            fetch_seconds: Some(3_600),
        };
        let mut stream = UnixStream::connect(node.socket()).unwrap();
        let message = Request::Eval(request).to_message(1).unwrap();
        let frame = encode_message(&message).unwrap();
        stream.write_all(&frame).unwrap();
        stream
    };
    let open: Vec<UnixStream> = (0..MAX_CONNECTIONS).map(ask).collect();
    thread::sleep(Duration::from_millis(500));
    let peers = || client.request(&request::Peers {});
    figures.bar(
        "busy connections, result of another request",
        format!(
            "{MAX_CONNECTIONS}, {}",
            if peers().is_err() { "refused" } else { "taken" }
        ),
        "refused",
        peers().is_err(),
    );
    let started = Instant::now();
    let status = client.request(&request::Status {});
    let took = started.elapsed();
    figures.bar(
        "time until the status is answered",
        format!("{took:.2?}"),
        "1 s",
        status.is_ok() && took <= Duration::from_secs(1),
    );
    drop(open);
    let started = Instant::now();
    let is_free = (0..600).any(|_| {
        let is_taken = peers().is_ok();
        if !is_taken {
            thread::sleep(Duration::from_millis(50));
        }
        is_taken
    });
    figures.bar(
        "time from the disconnect of the callers to the next accepted request",
        format!("{:.2?}", started.elapsed()),
        "2 s",
        is_free && started.elapsed() <= Duration::from_secs(2),
    );
}
