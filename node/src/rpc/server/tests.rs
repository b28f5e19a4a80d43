mod transfers;

use super::super::codec::{Frame, FrameReader, encode_message, encode_transfer};
use super::super::{
    Caller, Client, ClientError, MAX_CONNECTIONS, MAX_MESSAGE_BYTES, PartialService, PeerReply,
    RESERVED_CONNECTIONS, RpcError, StatusReply, request,
};
use super::*;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicUsize, Ordering};
use std::io::{Read as _, Write as _};

const VERSION: &str = "of the test";
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

fn status() -> StatusReply {
    StatusReply {
        version: VERSION.to_owned(),
        ..StatusReply::default()
    }
}

/// Service that answers `connect` after a while.
struct Slow;

impl PartialService for Slow {
    fn status(&self, _: request::Status, _: &Caller) -> Result<StatusReply, RpcError> {
        Ok(status())
    }

    fn peers(&self, _: request::Peers, _: &Caller) -> Result<Vec<PeerReply>, RpcError> {
        Ok(Vec::new())
    }

    fn connect(&self, _: request::Connect, _: &Caller) -> Result<SocketAddr, RpcError> {
        thread::sleep(Duration::from_millis(300));
        Ok(ADDRESS)
    }
}

/// Service that answers `peers` once its callers are gone, and counts those in progress.
#[derive(Default)]
struct Patient {
    in_progress: AtomicUsize,
}

impl PartialService for Patient {
    fn status(&self, _: request::Status, _: &Caller) -> Result<StatusReply, RpcError> {
        Ok(status())
    }

    fn peers(&self, _: request::Peers, caller: &Caller) -> Result<Vec<PeerReply>, RpcError> {
        self.in_progress.fetch_add(1, Ordering::SeqCst);
        // Asleep: many of them leave the processors to the connections under test.
        while !caller.is_gone() {
            thread::sleep(Duration::from_millis(1));
        }
        self.in_progress.fetch_sub(1, Ordering::SeqCst);
        Ok(Vec::new())
    }

    fn connect(&self, _: request::Connect, _: &Caller) -> Result<SocketAddr, RpcError> {
        Ok(ADDRESS)
    }

    fn stop(&self, _: request::Stop, _: &Caller) -> Result<(), RpcError> {
        Ok(())
    }
}

const PEERS: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"peers"}"#;

fn frame(message: &[u8]) -> Vec<u8> {
    encode_message(message).unwrap()
}

/// Reads messages from a stream until it ends or there are `count`.
fn messages(mut stream: &UnixStream, count: usize) -> Vec<String> {
    let (mut reader, mut messages) = (FrameReader::new(), Vec::new());
    let mut byte = [0];
    while messages.len() < count && stream.read(&mut byte).unwrap() == 1 {
        if let Some(Frame::Message(message)) = reader.read(&mut &byte[..]).unwrap() {
            messages.push(String::from_utf8(message).unwrap());
        }
    }
    messages
}

/// Sends bytes; returns all messages up to the end of the connection.
fn sent(socket: &Path, bytes: &[u8]) -> Vec<String> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(bytes).unwrap();
    messages(&stream, usize::MAX)
}

fn wait_for(what: &str, is_met: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_met() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Error of a process without a free descriptor.
fn no_descriptor<C>() -> io::Result<C> {
    Err(io::Error::from_raw_os_error(24))
}

#[test]
fn connection_that_cannot_be_accepted_is_retried_after_a_pause() {
    let would_block = || Err(io::ErrorKind::WouldBlock.into());
    let mut outcomes = [Ok(1), no_descriptor(), Ok(2), would_block()].into_iter();
    let mut taken = Vec::new();
    let mut acceptor = Acceptor::default();
    let began = Instant::now();
    let mut turn = |now, taken: &mut Vec<u32>| {
        acceptor.accept_all(
            now,
            || outcomes.next().expect("nothing is accepted after the end"),
            |connection| taken.push(connection),
        )
    };
    let error = turn(began, &mut taken).unwrap_err();
    assert_eq!((error.raw_os_error(), &taken[..]), (Some(24), &[1][..]));
    turn(began, &mut taken).unwrap();
    assert_eq!(taken, [1], "it waits for the end of the pause");
    turn(began + RETRY_PAUSE, &mut taken).unwrap();
    assert_eq!(taken, [1, 2]);
}

/// New connections arrive all the time and wake the server.
#[test]
fn lack_of_descriptors_neither_spins_nor_fills_the_log() {
    let mut acceptor = Acceptor::default();
    let (mut attempts, mut failures) = (0, Vec::new());
    let began = Instant::now();
    assert_eq!(acceptor.wait(began), CHECK_INTERVAL);
    let minute = 60_000;
    for passed in (0..minute).map(Duration::from_millis) {
        let accept = || {
            attempts += 1;
            no_descriptor()
        };
        let accepted = acceptor.accept_all(began + passed, accept, |()| ());
        failures.extend(accepted.err().map(|_| passed));
        let wait = acceptor.wait(began + passed);
        assert!(!wait.is_zero() && wait <= RETRY_PAUSE, "{wait:?}");
    }
    assert_eq!(attempts, 600);
    let mut limiter = crate::log::Limiter::default();
    let lines = failures.into_iter();
    let lines = lines.filter(|at| limiter.allow("control socket", *at).is_some());
    assert!(lines.count() <= 11);
}

fn start(directory: &Path) -> (PathBuf, Server) {
    let socket = directory.join("state/control.sock");
    let server = Server::start(&socket, Arc::new(Slow)).unwrap();
    (socket, server)
}

fn ask(socket: &Path) -> Result<String, ClientError> {
    let client = Client::new(socket, Duration::from_secs(5));
    client.request(&request::Status {}).map(|it| it.version)
}

#[test]
fn socket_is_private_and_removed_at_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, server) = start(directory.path());
    assert_eq!(ask(&socket).unwrap(), VERSION);
    let mode = fs::symlink_metadata(&socket).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        fs::metadata(socket.parent().unwrap()).unwrap().mode() & 0o777,
        0o700
    );
    server.stop();
    assert!(!socket.exists());
    assert!(matches!(ask(&socket), Err(ClientError::NotRunning { .. })));
}

#[test]
fn removed_socket_is_recreated_with_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, server) = start(directory.path());
    for what in [&*socket, socket.parent().unwrap()] {
        if what.is_dir() {
            fs::remove_dir_all(what).unwrap();
        } else {
            fs::remove_file(what).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while ask(&socket).is_err() {
            assert!(Instant::now() < deadline, "{} is gone", socket.display());
            thread::yield_now();
        }
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&socket), 0o600);
        assert_eq!(mode(socket.parent().unwrap()), 0o700);
        let second = Server::start(&socket, Arc::new(Slow));
        assert!(matches!(second, Err(ServerError::InUse { .. })));
    }
    server.stop();
    assert!(!socket.exists());
}

#[test]
fn second_node_is_refused_and_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, server) = start(directory.path());
    let second = Server::start(&socket, Arc::new(Slow));
    assert!(matches!(second, Err(ServerError::InUse { .. })));
    assert_eq!(ask(&socket).unwrap(), VERSION);
    drop(server);
    drop(UnixListener::bind(&socket).unwrap());
    assert!(matches!(ask(&socket), Err(ClientError::NotRunning { .. })));
    let (socket, _server) = start(directory.path());
    assert_eq!(ask(&socket).unwrap(), VERSION);
}

#[test]
fn live_sockets_and_other_files_are_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let foreign = UnixListener::bind(&socket).unwrap();
    let refused = Server::start(&socket, Arc::new(Slow));
    assert!(matches!(refused, Err(ServerError::InUse { .. })));
    drop(foreign);
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "precious").unwrap();
    let refused = Server::start(&socket, Arc::new(Slow));
    assert!(matches!(refused, Err(ServerError::NotASocket { .. })));
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    let refused = Server::start(&socket.join("state/control.sock"), Arc::new(Slow));
    let is_named =
        |path| matches!(path, Err(ServerError::NotADirectory { path }) if path == socket);
    assert!(is_named(refused));
}

#[test]
fn malformed_frames_get_an_error_and_close_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, _server) = start(directory.path());
    for (input, reason) in [
        (vec![0; 5], "its length is 0"),
        (
            vec![b'x'; MAX_MESSAGE_BYTES],
            "its length is 2021161080 bytes",
        ),
        (b"\0\0\0\x02\x09a".to_vec(), "unknown kind 9"),
        (b"\0\0\0\x02\x01a".to_vec(), "shorter than the number"),
        (encode_transfer(7, b"a").unwrap(), "transfer 7 is not open"),
    ] {
        let answers = sent(&socket, &[frame(PEERS), input].concat());
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert!(answers[1].contains("\"code\":-32000"), "{answers:?}");
        assert!(answers[1].contains(reason), "{answers:?}");
    }
}

#[test]
fn old_protocol_client_gets_a_protocol_change_error() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, _server) = start(directory.path());
    for len in [0, MAX_MESSAGE_BYTES - 100] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let line = format!("{{\"cmd\":\"eval\",\"source\":\"{}\"}}\n", "1".repeat(len));
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.matches('\n').count(), 1, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["ok"], false);
        let message = answer["error"].as_str().unwrap();
        assert!(
            message.contains("protocol of the control socket changed"),
            "{message}"
        );
    }
}

#[test]
fn old_protocol_node_is_recognized() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let node = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 && byte != *b"\n" {}
        let answer = "{\"error\":\"not a request: expected value\",\"ok\":false}\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let error = ask(&socket).unwrap_err();
    assert!(matches!(error, ClientError::OldNode { .. }), "{error}");
    assert!(error.to_string().contains("older version"), "{error}");
    node.join().unwrap();
}

#[test]
fn connections_are_bounded_and_each_is_answered_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, _server) = start(directory.path());
    let held: Vec<UnixStream> = (0..MAX_CONNECTIONS)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    let answers = sent(&socket, &frame(PEERS));
    assert!(answers[0].contains("connections are open"), "{answers:?}");
    assert!(answers[0].contains("\"code\":-32001"), "{answers:?}");
    let mut first = held.first().unwrap();
    let notification = frame(br#"{"jsonrpc":"2.0","method":"peers"}"#);
    let input = [frame(PEERS), notification, frame(b"nonsense"), frame(PEERS)].concat();
    // One byte at a time, then all at once.
    for bytes in input.chunks(1).chain([&input[..]]) {
        first.write_all(bytes).unwrap();
    }
    let answers = messages(first, 6);
    for answers in answers.chunks(3) {
        assert!(answers[0].contains("\"result\":[]"), "{answers:?}");
        assert!(answers[1].contains("not a request"), "{answers:?}");
        assert!(answers[2].contains("\"result\":[]"), "{answers:?}");
    }
}

#[test]
fn status_and_stop_are_answered_while_all_connections_are_busy() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let service = Arc::new(Patient::default());
    let _server = Server::start(&socket, Arc::clone(&service) as Arc<dyn Service>).unwrap();
    let busy: Vec<UnixStream> = (0..MAX_CONNECTIONS)
        .map(|_| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(&frame(PEERS)).unwrap();
            stream
        })
        .collect();
    let in_progress = || service.in_progress.load(Ordering::SeqCst);
    wait_for("all are busy", || in_progress() == MAX_CONNECTIONS);
    let client = Client::new(&socket, Duration::from_secs(60));
    for _ in 0..2 * RESERVED_CONNECTIONS {
        client.request(&request::Status {}).unwrap();
        client.request(&request::Stop {}).unwrap();
    }
    // Silent reserved connections end soon.
    let silent: Vec<UnixStream> = (0..RESERVED_CONNECTIONS)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    wait_for("silent connections end", || {
        client.request(&request::Status {}).is_ok()
    });
    drop((silent, busy));
    wait_for("abandoned requests end", || in_progress() == 0);
    client.request(&request::Status {}).unwrap();
}

#[test]
fn running_node_without_its_socket_is_reported_as_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, server) = start(directory.path());
    let client = Client::new(&socket, Duration::from_secs(60));
    // The listener is gone permanently, but the lock is held.
    let held = lock_held(&server.held).lock.try_clone().unwrap();
    server.stop();
    let asked = || client.request(&request::Status {});
    assert!(matches!(asked(), Err(ClientError::Unreachable { .. })));
    drop(held);
    assert!(matches!(asked(), Err(ClientError::NotRunning { .. })));
}

#[test]
fn idle_connections_are_displaced_by_new_ones() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let service = Arc::new(Patient::default());
    let _server = Server::start(&socket, Arc::clone(&service) as Arc<dyn Service>).unwrap();
    let idle: Vec<UnixStream> = (0..MAX_CONNECTIONS)
        .map(|_| UnixStream::connect(&socket).unwrap())
        .collect();
    let client = Client::new(&socket, Duration::from_secs(60));
    let connect = || {
        let address = "127.0.0.1:1".to_owned();
        client.request(&request::Connect { address })
    };
    wait_for("any request is answered again", || connect().is_ok());
    drop(idle);
}

#[test]
fn requests_end_on_close_but_not_on_half_close() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let service = Arc::new(Patient::default());
    let server = Server::start(&socket, Arc::clone(&service) as Arc<dyn Service>).unwrap();
    let in_progress = || service.in_progress.load(Ordering::SeqCst);
    let ask = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(&frame(PEERS)).unwrap();
        stream
    };
    let (closed, half_closed) = (ask(), ask());
    half_closed.shutdown(std::net::Shutdown::Write).unwrap();
    wait_for("both are in progress", || in_progress() == 2);
    drop(closed);
    wait_for("the closed one ends", || in_progress() == 1);
    server.interrupt();
    assert!(messages(&half_closed, 1)[0].contains("\"result\":[]"));
    assert_eq!(in_progress(), 0);
}

#[test]
fn stopping_ends_idle_connections_and_finishes_requests() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, server) = start(directory.path());
    let mut idle = UnixStream::connect(&socket).unwrap();
    let slow = thread::spawn(move || {
        let address = "a:1".to_owned();
        Client::new(socket, Duration::from_secs(5)).request(&request::Connect { address })
    });
    thread::sleep(Duration::from_millis(100));
    server.stop();
    assert_eq!(slow.join().unwrap().unwrap(), ADDRESS);
    assert_eq!(idle.read(&mut [0; 9]).unwrap(), 0);
}
