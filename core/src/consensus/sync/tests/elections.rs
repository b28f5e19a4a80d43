//! Leader election over epochs: seeds along a chain, after a restart, and from a configured block.

use super::host::{Host, Maker, time};
use crate::chain::{Block, EPOCH_BLOCKS, ElectionSeeds};
use crate::consensus::sync::{SyncConfig, SyncLimits};
use alloc::vec::Vec;

/// Makes a chain of two validators that reaches into the third epoch.
fn chain() -> (Maker, Vec<Block>) {
    let mut maker = Maker::of_validators(&[(1, 500), (4, 500)]);
    let mut blocks = alloc::vec![maker.genesis.clone()];
    let count = usize::try_from(2 * EPOCH_BLOCKS + 60).unwrap();
    while blocks.len() < count {
        let last = blocks.last().unwrap().clone();
        let turn = maker.validator_after(&last, &[1, 4]);
        blocks.push(maker.next_by(&last, turn, 2));
    }
    (maker, blocks)
}

#[test]
fn producers_are_verified_across_epochs_restarts_and_configured_blocks() {
    let (mut maker, blocks) = chain();
    let count = blocks.len();
    let (middle, last) = (&blocks[count - 30], &blocks[count - 1]);
    let config = SyncConfig {
        limits: SyncLimits {
            checkpoint_interval: 64,
            resident_headers: 512,
            ..SyncLimits::default()
        },
        ..SyncConfig::default()
    };
    let mut host = Host::with(time(last), config.clone(), None);
    host.announce(1, middle.id());
    host.run(&[&maker], 3);
    assert_eq!(host.verified_head(), Some(middle.id()));
    // The seeds are saved with the head: after a restart no header below it is read for them.
    let saved = host.files.head.clone().unwrap();
    let seeds = ElectionSeeds::from_bytes(&saved.resume.election_seeds).unwrap();
    assert_eq!(seeds.block(), middle.id());
    let mut bare = Host::with(time(last), config.clone(), Some(saved));
    bare.announce(1, last.id());
    bare.run(&[&maker], 3);
    assert_eq!(bare.verified_head(), Some(last.id()));
    let below = &blocks[count - 500];
    assert!(!bare.asked.contains_key(&below.id()));
    // Without them the headers of the epoch before last are.
    let mut saved = host.files.head.clone().unwrap();
    saved.resume.election_seeds = Vec::new();
    let mut without = Host::with(time(last), config.clone(), Some(saved));
    without.announce(1, last.id());
    without.run(&[&maker], 3);
    assert_eq!(without.verified_head(), Some(last.id()));
    assert!(without.asked.contains_key(&below.id()));
    assert_eq!(
        without.files.head.as_ref().unwrap().resume,
        bare.files.head.as_ref().unwrap().resume
    );
    // From a configured block on as well.
    let configured = SyncConfig {
        verified_up_to: Some(middle.id()),
        ..config
    };
    let mut joined = Host::with(time(last), configured, None);
    joined.announce(1, last.id());
    joined.run(&[&maker], 3);
    assert_eq!(joined.verified_head(), Some(last.id()));
    assert_eq!(joined.status().bad_blocks, []);
    // A block outside its validator's slot is invalid there too.
    let turn = maker.validator_after(last, &[1, 4]);
    let mut header = maker.draft(last, 2, &[]);
    let other = if turn == 1 { 4 } else { 1 };
    header.validator = super::host::address(other);
    let bad = maker.mine(last, header, other);
    for host in [&mut bare, &mut joined] {
        host.now += core::time::Duration::from_secs(10);
        host.announce(2, bad.id());
        host.run(&[&maker], 3);
        let reason = host.sync().bad_reason(&bad.id()).unwrap();
        assert!(reason.contains("slot belongs to"), "{reason}");
    }
}
