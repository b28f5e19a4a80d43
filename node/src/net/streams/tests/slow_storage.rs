//! Tests of storage that is slow or full, on either side.

use super::slow_disk::Delays;
use super::*;
use crate::net::{RequestEnd, StreamAnswer, StreamPart};
use std::time::Instant;

/// A list of many small atoms in cold storage alone.
fn small_atoms(store: &Store) -> (AtomId, Vec<Atom>) {
    let values: Vec<_> = (0..3_000_u32).map(u32::to_be_bytes).collect();
    let (head, atoms) = bytes_list(&values);
    let all = atoms.iter().map(|it| (it.id(), it.clone())).collect();
    store.put_streamed(all).unwrap();
    (head, atoms)
}

#[test]
fn slow_reads_for_one_client_do_not_delay_another() {
    let delays = Arc::<Delays>::default();
    let (store, _folder) = delays.store();
    let (head, _) = small_atoms(&store);
    delays.read.store(5, Ordering::Relaxed);
    let server = Alone::with_store(1, store);
    let first = Alone::with_store(2, Store::new(64 << 20));
    first.open(&server);
    first.begin(head);
    std::thread::sleep(Duration::from_millis(200));
    let before = Instant::now();
    let second = Alone::with_store(3, Store::new(64 << 20));
    second.open(&server);
    let elapsed = before.elapsed();
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    let mut parts = 0;
    while parts < 3 {
        match first.commands.recv_timeout(Duration::from_secs(1)) {
            Ok(Command::Stream(StreamEvent::Progress { .. })) => parts += 1,
            Ok(Command::Stream(StreamEvent::Waiting { .. })) => {}
            _ => panic!("the first list makes no progress"),
        }
    }
}

/// Requests the beginning of a list: by a number, its head and the number of atoms.
pub(super) fn request_list(
    client: &Alone,
    server: &Alone,
    (number, head, most): (u64, AtomId, u32),
    sender: &Sender<StreamAnswer>,
) {
    let offer = server.streams.offer();
    client.streams.send(Control::Request {
        request: StreamRequest {
            number,
            from: SecretKey::from_bytes([1; 32]).public_key(),
            object: StreamObject::Lists {
                lists: vec![head],
                most,
            },
        },
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, offer.port)),
        offer,
        receiver: super::super::Receiver::Caller(sender.clone()),
    });
}

#[test]
fn read_that_fails_does_not_make_an_atom_missing() {
    let delays = Arc::<Delays>::default();
    let (store, _folder) = delays.store();
    let (head, _) = small_atoms(&store);
    let server = Alone::with_store(1, store);
    let client = Alone::with_store(2, Store::new(64 << 20));
    let (sender, answers) = channel();
    delays.read_fails.store(true, Ordering::Relaxed);
    let unknown = AtomId::new([9; 32]);
    for (number, head, end) in [
        (1, head, RequestEnd::Failed),
        (2, unknown, RequestEnd::Missing),
    ] {
        request_list(&client, &server, (number, head, 1), &sender);
        if number == 1 {
            server.admit(&client);
        }
        let answer = answers.recv_timeout(WAIT).unwrap();
        assert!(matches!(answer.part, StreamPart::End(it) if it == end));
    }
}

#[test]
fn surplus_request_waits_for_the_end_of_another() {
    let delays = Arc::<Delays>::default();
    let (store, _folder) = delays.store();
    let (head, atoms) = small_atoms(&store);
    delays.read.store(5, Ordering::Relaxed);
    let server = Alone::with_store(1, store);
    let client = Alone::with_store(2, Store::new(64 << 20));
    let (sender, answers) = channel();
    let request = |number, most| request_list(&client, &server, (number, head, most), &sender);
    for number in 0..8 {
        request(number, u32::MAX);
    }
    request(8, 1);
    server.admit(&client);
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let answer = answers.recv_timeout(WAIT).unwrap();
        assert!(
            answer.number < 8 && matches!(answer.part, StreamPart::Atoms(_)),
            "{answer:?}"
        );
    }
    client.streams.send(Control::CancelRequest { number: 3 });
    let until = Instant::now() + Duration::from_secs(5);
    let mut of_last = Vec::new();
    while of_last.len() < 2 {
        assert!(Instant::now() < until, "{of_last:?}");
        let answer = answers.recv_timeout(WAIT).unwrap();
        if answer.number == 8 {
            of_last.push(answer.part);
        }
    }
    assert!(matches!(&of_last[0], StreamPart::Atoms(it) if it[0].id() == atoms[0].id()));
    assert!(matches!(of_last[1], StreamPart::End(RequestEnd::Complete)));
}

/// A node with the default times whose disk takes 3 seconds for each sync.
fn with_slow_syncs() -> (Node, TempDir) {
    let delays = Arc::<Delays>::default();
    let (store, folder) = delays.store();
    let node = Node::configured(2, store, |config| {
        config.atom_fetch_interval = Config::default().atom_fetch_interval;
    });
    delays.sync.store(3_000, Ordering::Relaxed);
    (node, folder)
}

#[test]
fn list_stays_with_its_stream_while_the_disk_is_slow() {
    let server = Node::new(1, |_| ());
    let (client, _folder) = with_slow_syncs();
    client.meet(&server);
    let (head, atoms) = list_at(&server);
    let packets = client.packets_sent();
    let fetched = client.fetch(head);
    assert!(
        matches!(fetched, Ok(FetchedObject::Stored)),
        "not by stream"
    );
    let packets = client.packets_sent() - packets;
    assert!(packets < 500, "{packets} datagrams");
    assert_eq!(collect_list(&client.store, head, 9_999), Ok(atoms));
}

#[test]
fn headers_do_not_wait_for_the_disk() {
    let server = Node::new(1, |_| ());
    let (client, _folder) = with_slow_syncs();
    client.meet(&server);
    let ids = headers_at(&server);
    let (head, _) = list_at(&server);
    let handle = client.network.handle();
    let fetch = std::thread::spawn(move || handle.fetch_list(head));
    while client.streams().received_bytes < 1_000_000 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = Instant::now();
    let (is_complete, _) = request_headers(&client, &server, ids[150], 100);
    let elapsed = before.elapsed();
    assert!(
        is_complete && elapsed < Duration::from_secs(2),
        "{elapsed:?}"
    );
    assert_eq!(fetch.join().unwrap(), Ok(FetchedObject::Stored));
}

#[test]
fn beginning_of_a_list_is_kept_in_memory_if_the_disk_is_full() {
    let server = Node::new(1, |_| ());
    let folder = tempfile::tempdir().unwrap();
    let options = ColdOptions {
        limit_bytes: 1,
        ..ColdOptions::from(&Settings::default())
    };
    let cold = ColdStore::open(folder.path(), options).unwrap();
    let client = Node::with_store(2, Store::with_cold(64 << 20, Some(cold)));
    client.meet(&server);
    let (head, atoms) = list_at(&server);
    let fetched = client.fetch(head);
    assert!(
        matches!(fetched, Ok(FetchedObject::Stored)),
        "not by stream"
    );
    assert_eq!(collect_list(&client.store, head, 9_999), Ok(atoms));
}
