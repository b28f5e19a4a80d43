//! Headers and transactions by stream.

use super::host::{Host, LocalStore, Maker, StreamConduct, time};
use crate::chain::{Block, Transaction};
use crate::consensus::sync::{BODIES_AHEAD, SyncConfig};
use crate::consensus::{StreamObject, StreamRequest};
use alloc::vec::Vec;

/// Chain with transfers in its upper half.
fn chain(maker: &mut Maker, count: u64) -> Vec<Block> {
    let mut last = maker.genesis.clone();
    let mut blocks = Vec::new();
    for height in 1..=count {
        let number = if height * 2 > count { 3 } else { 0 };
        let transfers: Vec<Transaction> = (0..number)
            .map(|n| Maker::transfer(height * 10 + n))
            .collect();
        last = maker.next(&last, 2, &transfers);
        blocks.push(last.clone());
    }
    blocks
}

/// Host that syncs `blocks` with streams that behave in this way.
fn synced(maker: &Maker, blocks: &[Block], conduct: StreamConduct, seconds: u64) -> Host {
    let head = blocks.last().unwrap();
    let config = SyncConfig {
        has_streams: true,
        ..SyncConfig::default()
    };
    let mut host = Host::with(time(head) + 1, config, None);
    host.streams = conduct;
    host.announce(1, head.id());
    host.run(&[maker], seconds);
    host
}

fn headers(host: &Host) -> Vec<u32> {
    let requests = host.stream_requests.iter();
    let counts = requests.filter_map(|request| match request.object {
        StreamObject::Headers { count, .. } => Some(count),
        StreamObject::Bodies { .. } | StreamObject::Lists { .. } => None,
    });
    counts.collect()
}

#[test]
fn chain_arrives_by_few_streams_and_few_datagrams() {
    let mut maker = Maker::new();
    let blocks = chain(&mut maker, 300);
    let host = synced(&maker, &blocks, StreamConduct::Serves, 5);
    assert_eq!(host.verified_head(), Some(blocks[299].id()));
    // Each brings twice the headers that were known, so that a long chain takes few.
    assert_eq!(headers(&host), [16, 48, 144, 432]);
    let bodies: Vec<usize> = host
        .stream_requests
        .iter()
        .filter_map(|request| match &request.object {
            StreamObject::Headers { .. } | StreamObject::Lists { .. } => None,
            StreamObject::Bodies { lists } => Some(lists.len()),
        })
        .collect();
    assert_eq!(bodies.iter().sum::<usize>(), 150, "{bodies:?}");
    assert!(bodies.iter().all(|len| *len <= BODIES_AHEAD) && bodies.len() < 40);
    let fetched: usize = host.asked.values().sum();
    assert!(fetched < 60, "{fetched} fetches by datagram");
    assert!(host.asked.values().all(|count| *count == 1));
}

#[test]
fn memory_that_drops_what_arrives_makes_streams_smaller_and_ends_no_sync() {
    let mut maker = Maker::new();
    let blocks = chain(&mut maker, 300);
    let head = blocks.last().unwrap();
    for (memory_bytes, requests) in [(0, 4), (100 << 10, 40), (1 << 20, 60)] {
        let config = SyncConfig {
            has_streams: true,
            ..SyncConfig::default()
        };
        let mut host = Host::with(time(head) + 1, config, None);
        host.chain.store = LocalStore::new(memory_bytes);
        host.streams = StreamConduct::Serves;
        host.announce(1, head.id());
        host.run(&[&maker], 50);
        assert_eq!(host.verified_head(), Some(head.id()), "{memory_bytes}");
        let counts = headers(&host);
        assert!(counts.len() <= requests, "{memory_bytes}: {counts:?}");
    }
}

#[test]
fn streams_that_fail_leave_the_chain_to_datagrams() {
    let mut maker = Maker::new();
    let blocks = chain(&mut maker, 120);
    for conduct in [StreamConduct::Refuses, StreamConduct::Breaks] {
        let host = synced(&maker, &blocks, conduct, 20);
        assert_eq!(host.verified_head(), Some(blocks[119].id()), "{conduct:?}");
        // The peer is not asked again for a while.
        assert_eq!(host.stream_requests.len(), 1, "{conduct:?}");
        assert_eq!(host.cancelled_streams, 0, "{conduct:?}");
    }
}

#[test]
fn peer_whose_port_does_not_answer_costs_no_time() {
    let mut maker = Maker::new();
    let blocks = chain(&mut maker, 120);
    let mut host = synced(&maker, &blocks, StreamConduct::Stalls, 1);
    assert_eq!(host.verified_head(), Some(blocks[119].id()));
    // In the end the streams are given up.
    host.run(&[&maker], 10);
    let requested = host.stream_requests.len();
    assert!(requested > 0 && requested <= 6, "{requested}");
    assert_eq!(host.cancelled_streams, requested);
}

#[test]
fn another_announcer_takes_over_from_one_whose_stream_fails() {
    let mut maker = Maker::new();
    let blocks = chain(&mut maker, 120);
    let head = blocks.last().unwrap();
    let config = SyncConfig {
        has_streams: true,
        ..SyncConfig::default()
    };
    let mut host = Host::with(time(head) + 1, config, None);
    host.streams = StreamConduct::RefusesOnce;
    for from in [1, 2] {
        host.announce(from, head.id());
    }
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(head.id()));
    let peers = host.stream_requests.iter().map(|request| request.from);
    let peers: Vec<_> = peers.collect();
    assert!(peers.len() > 2 && peers[1..].iter().all(|peer| *peer != peers[0]));
}

#[test]
fn short_branch_and_host_without_streams_use_datagrams() {
    let mut maker = Maker::new();
    let blocks = chain(&mut maker, 7);
    let host = synced(&maker, &blocks, StreamConduct::Serves, 5);
    assert_eq!(host.verified_head(), Some(blocks[6].id()));
    assert_eq!(headers(&host), []);
    let blocks = chain(&mut maker, 60);
    let mut host = Host::new(time(&blocks[59]) + 1);
    host.announce(1, blocks[59].id());
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(blocks[59].id()));
    assert_eq!(host.stream_requests, Vec::<StreamRequest>::new());
}
