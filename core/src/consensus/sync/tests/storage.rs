//! Hosts with little memory, and full storage.

use super::host::{Host, LocalStore, Maker, time};
use crate::atom::{Atom, AtomId, bytes_list};
use crate::chain::{BURN, Transaction};
use crate::consensus::StoreFailure;
use crate::consensus::sync::{SyncEvent, SyncStatus};
use alloc::string::ToString;
use alloc::vec::Vec;

fn full() -> StoreFailure {
    StoreFailure::NoRoom("cold_storage_limit is reached".to_string())
}

#[test]
fn block_counts_as_verified_only_once_stored() {
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
    assert!(!host.sync().is_verified(&blocks[3].id()));
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
fn host_that_keeps_no_fetched_atoms_verifies_a_full_block() {
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
    // Headers are read on the way down and up; everything else is fetched once.
    let most = host.asked.values().max();
    assert!(most <= Some(&2), "{most:?}");
}

#[test]
fn stores_the_needed_state_so_that_the_node_can_continue_alone() {
    use crate::chain::{Builder, StakeTable};
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let first = maker.next(&genesis, 2, &[Maker::transfer(1)]);
    let blocks = maker.extend(&first, 5, 2);
    let head = &blocks[4];
    let mut host = Host::new(time(head));
    host.announce(1, head.id());
    host.run(&[&maker], 10);
    assert_eq!(host.verified_head(), Some(head.id()));
    let stored = &host.store.stored;
    let stakes = StakeTable::read(stored, head.accounts).unwrap();
    let mut builder = Builder::new(stored, head, &stakes);
    builder.apply(&Maker::transfer(2)).unwrap().unwrap();
    builder.finish(&mut crate::trie::Scalar, None).unwrap();
}

/// Returns a transaction that opens a contract on a list.
fn open(number: u64, list: AtomId) -> Transaction {
    Maker::transaction(number, BURN, &[&[0], list.as_bytes().as_slice()].concat())
}

#[test]
fn list_larger_than_the_memory_of_the_host_is_downloaded_once() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let (list, atoms) = bytes_list(&alloc::vec![[5_u8; 60_000]; 970]);
    let bytes: usize = atoms.iter().map(Atom::stored_len).sum();
    assert!(bytes > 58_000_000);
    maker.store.extend(atoms);
    let block = maker.next(&genesis, 2, &[open(1, list)]);
    let mut host = Host::new(time(&block));
    host.store = LocalStore::new(20_000_000);
    host.announce(1, block.id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(block.id()));
    assert!(
        host.fetched_bytes < bytes + bytes / 10,
        "{}",
        host.fetched_bytes
    );
    assert!(host.asked.values().all(|count| *count <= 2));
    // In parts that grow, and not in thousands.
    assert!(host.asked.len() < 100, "{}", host.asked.len());
    assert!(host.sync().downloads.held_bytes() == 0);
}

#[test]
fn many_short_lists_of_one_block_are_measured_together() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut opens = Vec::new();
    for number in 0..200_u64 {
        let (list, atoms) = bytes_list(&[number.to_be_bytes(), [9; 8]]);
        maker.store.extend(atoms);
        opens.push(open(number, list));
    }
    let block = maker.next(&genesis, 2, &opens);
    let mut host = Host::new(time(&block));
    host.latency = [core::time::Duration::from_millis(100); 2];
    host.announce(1, block.id());
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(block.id()));
}

#[test]
fn list_continued_by_atoms_of_the_block_is_measured() {
    use crate::chain::Builder;
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    // The record under which the block files its first transaction is created by the block itself.
    let first = Maker::transfer(1);
    let stakes = crate::chain::StakeTable::read(&maker.store, genesis.accounts).unwrap();
    let mut builder = Builder::new(&maker.store, &genesis, &stakes);
    builder.apply(&first).unwrap().unwrap();
    let body = builder.finish(&mut crate::trie::Scalar, None).unwrap();
    drop(builder);
    let record = body.record_atoms.start;
    let (record, _) = body.atoms[record].clone();
    let list = Atom::new(crate::atom::AtomKind::Bytes, *b"before it", record);
    maker.store.insert(list.clone());
    let block = maker.next(&genesis, 2, &[first, open(2, list.id())]);
    // No other node has the record by itself before it has the block.
    let mut host = Host::new(time(&block));
    host.withheld.insert(record);
    host.announce(1, block.id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(block.id()));
}
