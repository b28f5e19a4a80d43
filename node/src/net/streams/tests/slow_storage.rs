//! Tests of storage that is slow or full, on either side.

use super::slow_disk::Delays;
use super::*;
use crate::net::{RequestEnd, StreamPart};
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
    for _ in 0..3 {
        let event = first.commands.recv_timeout(Duration::from_secs(1));
        assert!(
            matches!(event, Ok(Command::Stream(StreamEvent::Progress { .. }))),
            "the first list makes no progress"
        );
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
    let offer = server.streams.offer();
    let (sender, answers) = channel();
    let request = |number, most| {
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
    };
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
    assert!(matches!(
        of_last[1],
        StreamPart::End(RequestEnd::Complete)
    ));
}
