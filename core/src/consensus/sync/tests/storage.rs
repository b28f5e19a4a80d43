//! Hosts with little memory, and storage that is full.

use super::host::{Host, LocalStore, Maker, time};
use crate::consensus::StoreFailure;
use crate::consensus::sync::{SyncEvent, SyncStatus};
use alloc::string::ToString;
use alloc::vec::Vec;

fn full() -> StoreFailure {
    StoreFailure::NoRoom("cold_storage_limit is reached".to_string())
}

#[test]
fn block_that_is_not_stored_is_not_verified_until_it_is() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 6, 2);
    let mut host = Host::new(time(&blocks[5]));
    host.announce(1, blocks[2].id());
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(blocks[2].id()));
    host.store_failure = Some(full());
    host.announce(1, blocks[5].id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(blocks[2].id()));
    assert!(!host.sync.is_verified(&blocks[3].id()));
    let SyncStatus { not_stored, .. } = host.status();
    assert_eq!(not_stored, Some((blocks[3].id(), full())));
    // It is reported once, however often it is tried.
    let failures: Vec<_> = host
        .events
        .iter()
        .filter(|event| matches!(event, SyncEvent::NotStored { .. }))
        .collect();
    assert_eq!(failures.len(), 1);
    let asked = host.asked.clone();
    host.store_failure = None;
    host.run(&[&maker], 31);
    assert_eq!(host.verified_head(), Some(blocks[5].id()));
    assert_eq!(host.status().not_stored, None);
    let block = blocks[3].id();
    assert!(host.events.contains(&SyncEvent::Stored { block }));
    assert_eq!(host.asked, asked, "nothing was fetched again");
}

#[test]
fn full_block_is_verified_by_a_host_that_keeps_nothing_of_what_is_fetched() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let transfers: Vec<_> = (0..500).map(Maker::transfer).collect();
    let first = maker.next(&genesis, 2, &transfers);
    let second = maker.next(&first, 2, &[Maker::transfer(1_000)]);
    let mut host = Host::new(time(&second));
    host.store = LocalStore::new(4_000);
    host.announce(1, second.id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(second.id()));
    // Headers are read on the way down and up; everything else comes once.
    let most = host.asked.values().max();
    assert!(most <= Some(&2), "{most:?}");
}
