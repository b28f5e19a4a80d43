//! Transfers over a socket.

use super::super::super::codec::MAX_TRANSFER_BYTES;
use super::super::super::{
    AtomParts, AtomReader, Download, ErrorKind, SentReply, StoredReply, TRANSFER, TransferProgress,
    push_atom,
};
use super::*;
use astreum_core::atom::{AtomId, AtomKind};
use core::sync::atomic::AtomicU64;

/// Service that counts what it receives, and sends `data` repeatedly.
#[derive(Default)]
struct Counter {
    received: AtomicU64,
    sent: AtomicU64,
    failures: Mutex<Vec<String>>,
    /// Maximum number of atoms that it takes.
    max_atoms: u64,
}

impl Counter {
    fn noted<T>(&self, result: Result<T, RpcError>) -> Result<T, RpcError> {
        if let Err(error) = &result {
            self.failures.lock().unwrap().push(error.to_string());
        }
        result
    }

    fn receive(&self, number: u32, caller: &Caller) -> Result<StoredReply, RpcError> {
        let transfers = caller.transfers()?;
        let (mut reader, mut bytes) = (AtomReader::new(self.max_atoms), 0);
        loop {
            let part = transfers.receive(number)?;
            if part.is_empty() {
                break;
            }
            let len = part.len() as u64;
            self.received.fetch_add(len, Ordering::SeqCst);
            reader.read(&part, &mut |parts| {
                bytes += parts.data.len() as u64;
                Ok::<_, RpcError>(())
            })?;
        }
        Ok(StoredReply {
            atoms: reader.finish()?,
            bytes,
            durable: true,
        })
    }

    /// Sends as many frames as the first byte of the id states; fails after 255. If progress is
    /// wanted, reports one atom more every 50 ms instead, and stalls after as many.
    fn send(&self, params: &request::GetAtoms, caller: &Caller) -> Result<SentReply, RpcError> {
        let transfers = caller.transfers()?;
        let [count, ..] = *params.id.as_bytes();
        let part = vec![7; MAX_TRANSFER_BYTES];
        if params.progress {
            for atoms in 1..=u64::from(count) {
                thread::sleep(Duration::from_millis(50));
                transfers.report(&TransferProgress {
                    transfer: params.transfer,
                    atoms,
                    bytes: 40 * atoms,
                    next: params.id,
                })?;
            }
            let stalled = Instant::now();
            while !caller.is_gone() && stalled.elapsed() < Duration::from_secs(60) {
                thread::sleep(Duration::from_millis(5));
            }
        }
        for _ in 0..count {
            transfers.send(params.transfer, &part)?;
            self.sent.fetch_add(part.len() as u64, Ordering::SeqCst);
        }
        if count == u8::MAX {
            return Err(RpcError::missing(&params.id));
        }
        transfers.send(params.transfer, &[])?;
        Ok(SentReply {
            atoms: count.into(),
            bytes: 0,
        })
    }
}

impl PartialService for Counter {
    fn peers(&self, _: request::Peers, _: &Caller) -> Result<Vec<PeerReply>, RpcError> {
        Ok(Vec::new())
    }

    fn put_atoms(
        &self,
        params: request::PutAtoms,
        caller: &Caller,
    ) -> Result<StoredReply, RpcError> {
        self.noted(self.receive(params.transfer, caller))
    }

    fn get_atoms(&self, params: request::GetAtoms, caller: &Caller) -> Result<SentReply, RpcError> {
        self.noted(self.send(&params, caller))
    }
}

/// Starts a server; the directory has to outlive it.
fn serve(max_atoms: u64) -> (tempfile::TempDir, PathBuf, Arc<Counter>, Server) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let counter = Arc::new(Counter {
        max_atoms,
        ..Counter::default()
    });
    let service = Arc::clone(&counter) as Arc<dyn Service>;
    let server = Server::start(&socket, service).unwrap();
    (directory, socket, counter, server)
}

fn record(data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let parts = AtomParts {
        kind: AtomKind::Bytes,
        next: AtomId::ZERO,
        data,
    };
    push_atom(parts, &mut bytes);
    bytes
}

const PUT: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"put_atoms","params":{"transfer":9}}"#;

fn part(number: u32, bytes: &[u8]) -> Vec<u8> {
    encode_transfer(number, bytes).unwrap()
}

#[test]
fn upload_is_the_same_for_every_split_of_its_frames_and_the_connection_continues() {
    let (_directory, socket, _counter, _server) = serve(10);
    let bytes = [record(b"one"), record(b"and two")].concat();
    let (first, second) = bytes.split_at(50);
    let input = [
        frame(PUT),
        part(9, first),
        part(9, second),
        part(9, b""),
        frame(PEERS),
    ]
    .concat();
    for size in [1, 2, 7, 64, input.len()] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        for piece in input.chunks(size) {
            stream.write_all(piece).unwrap();
        }
        let answers = messages(&stream, 2);
        let expected = r#"{"atoms":2,"bytes":10,"durable":true}"#;
        assert!(answers[0].contains(expected), "{size}: {answers:?}");
        assert!(answers[1].contains("\"result\":[]"), "{size}: {answers:?}");
    }
}

#[test]
fn invalid_transfers_are_refused_with_the_reason_and_end_the_connection() {
    let (_directory, socket, _counter, _server) = serve(2);
    let begun = [frame(PUT), part(9, &record(b"one"))].concat();
    for (rest, code, reason) in [
        (part(8, b"a"), -32_000, "transfer 8 is not open"),
        (frame(PEERS), -32_000, "transfer 9 has not ended"),
        (b"\0\0\0\x09\x07".to_vec(), -32_000, "unknown kind 7"),
        (part(9, &[0xff; 4]), 1, "atom 1 has 4294967295 stored bytes"),
        (part(9, &record(b"two").repeat(3)), 3, "more than 2 atoms"),
    ] {
        // Further frames are not taken for requests.
        let input = [&begun[..], &rest, &part(9, b""), &frame(PEERS)].concat();
        let answers = sent(&socket, &input);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert!(answers[0].contains(reason), "{reason}: {answers:?}");
        let code = format!("\"code\":{code},");
        assert!(answers[0].contains(&code), "{reason}: {answers:?}");
    }
    // The end of the transfer leaves the connection in order, also within an atom.
    let cut = [
        frame(PUT),
        part(9, &record(b"one")[..9]),
        part(9, b""),
        frame(PEERS),
    ]
    .concat();
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(&cut).unwrap();
    let answers = messages(&stream, 2);
    assert!(answers[0].contains("ends within atom 0"), "{answers:?}");
    assert!(answers[1].contains("\"result\":[]"), "{answers:?}");
}

#[test]
fn downloads_use_one_connection_until_the_node_closes_it() {
    let (_directory, socket, _counter, server) = serve(0);
    let client = Client::new(&socket, Duration::from_secs(60));
    let download = |count: u8| {
        let request = request::GetAtoms {
            id: AtomId::new([count; 32]),
            transfer: TRANSFER,
            progress: false,
        };
        let mut received = 0;
        let sent = client.download(&request, &mut |part| {
            if let Download::Bytes(bytes) = part {
                received += bytes.len();
            }
            Ok::<_, ClientError>(())
        });
        sent.map(|sent| (sent.atoms, received))
    };
    for _ in 0..3 {
        for count in [2, 0, 1] {
            let expected = (u64::from(count), usize::from(count) * MAX_TRANSFER_BYTES);
            assert_eq!(download(count).unwrap(), expected);
        }
    }
    assert_eq!(server.connections.served(), 1);
    server.connections.close();
    assert_eq!(download(1).unwrap().0, 1);
    assert_eq!(server.connections.served(), 2);
    // A connection with a failed download is not used again.
    assert!(matches!(download(u8::MAX), Err(ClientError::Refused(_))));
    assert_eq!(download(1).unwrap().0, 1);
    assert_eq!(server.connections.served(), 3);
}

#[test]
fn client_learns_why_its_upload_is_refused() {
    let (_directory, socket, counter, _server) = serve(3);
    let client = Client::new(&socket, Duration::from_secs(60));
    let bytes = record(&[7; 60_000]);
    let mut left = 1_000;
    let reply =
        client.upload::<_, ClientError>(&request::PutAtoms { transfer: TRANSFER }, &mut || {
            left -= 1;
            Ok((left > 0).then(|| bytes.clone()))
        });
    let Err(ClientError::Refused(error)) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(error.kind, ErrorKind::TooLarge);
    assert!(
        left > 800,
        "the client sends no more: {left} of 1000 are left"
    );
    assert!(counter.received.load(Ordering::SeqCst) < 1 << 20);
}

#[test]
fn closing_an_upload_ends_the_work() {
    let (_directory, socket, counter, _server) = serve(3);
    let client = Client::new(&socket, Duration::from_secs(60));
    let mut parts = vec![record(b"one")];
    let reply =
        client.upload::<_, ClientError>(&request::PutAtoms { transfer: TRANSFER }, &mut || {
            match parts.pop() {
                Some(part) => Ok(Some(part)),
                None => Err(ClientError::BadReply {
                    message: "of the test".to_owned(),
                }),
            }
        });
    assert!(reply.unwrap_err().to_string().contains("of the test"));
    wait_for("the request ends", || {
        !counter.failures.lock().unwrap().is_empty()
    });
    let failures = counter.failures.lock().unwrap();
    assert!(failures[0].contains("transfer 1 was ended"), "{failures:?}");
}

#[test]
fn download_ends_with_a_result_or_an_error() {
    let (_directory, socket, _counter, _server) = serve(0);
    let client = Client::new(&socket, Duration::from_secs(60));
    let get = |count: u8| {
        let request = request::GetAtoms {
            id: AtomId::new([count; 32]),
            transfer: TRANSFER,
            progress: false,
        };
        let mut bytes = 0;
        let reply = client.download::<_, ClientError>(&request, &mut |part| {
            if let Download::Bytes(part) = part {
                bytes += part.len();
            }
            Ok(())
        });
        (reply, bytes)
    };
    for count in [0, 1, 40] {
        let (reply, bytes) = get(count);
        assert_eq!(reply.unwrap().atoms, u64::from(count));
        assert_eq!(bytes, usize::from(count) * MAX_TRANSFER_BYTES);
    }
    let (reply, bytes) = get(255);
    let Err(ClientError::Refused(error)) = reply else {
        panic!("{reply:?}");
    };
    assert!(error.is_missing() && bytes == 255 * MAX_TRANSFER_BYTES);
}

#[test]
fn timeout_of_a_download_counts_from_the_last_progress() {
    let (_directory, socket, counter, _server) = serve(0);
    let timeout = Duration::from_millis(1_300);
    let client = Client::new(&socket, timeout);
    let request = request::GetAtoms {
        id: AtomId::new([30; 32]),
        transfer: TRANSFER,
        progress: true,
    };
    let (began, mut reports) = (Instant::now(), 0);
    let reply = client.download::<_, ClientError>(&request, &mut |part| {
        reports += u64::from(matches!(part, Download::Progress(_)));
        Ok(())
    });
    // The reports alone take longer than the timeout.
    assert!(began.elapsed() > 30 * Duration::from_millis(50) + timeout);
    assert_eq!(reports, 30);
    let error = reply.unwrap_err();
    let ClientError::Stalled { progress, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((progress.atoms, progress.next), (30, request.id));
    let text = error.to_string();
    assert!(text.contains("after 30 atoms with 1200 bytes"), "{text}");
    wait_for("the request ends with its client", || {
        !counter.failures.lock().unwrap().is_empty()
    });
}

#[test]
fn download_waits_for_its_reader_and_ends_with_it() {
    let (_directory, socket, counter, server) = serve(0);
    let request = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"get_atoms\",\"params\":{{\"id\":\"{}\",\
         \"transfer\":3}}}}",
        AtomId::new([200; 32])
    );
    let ask = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(&frame(request.as_bytes())).unwrap();
        stream
            .read_exact(&mut vec![0; 9 + MAX_TRANSFER_BYTES])
            .unwrap();
        stream
    };
    let silent = ask();
    thread::sleep(Duration::from_millis(100));
    // One frame was read; a socket's buffer holds the beginning of another one, of 200.
    let sent = counter.sent.load(Ordering::SeqCst);
    assert!(sent < 4 << 20, "{sent}");
    drop(silent);
    let failures = || counter.failures.lock().unwrap().len();
    wait_for("the request ends with its client", || failures() == 1);
    // The shutdown does not wait for a client that does not read.
    let silent = ask();
    let began = Instant::now();
    server.interrupt();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(failures(), 2);
    drop(silent);
}

#[test]
fn caller_without_transfers_gets_an_error() {
    let error = Caller::default().transfers().unwrap_err();
    assert!(error.to_string().contains("does not carry transfers"));
}
