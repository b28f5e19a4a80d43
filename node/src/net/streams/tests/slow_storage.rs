//! Tests of storage that is slow or full, on either side.

use super::slow_disk::Delays;
use super::*;
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
