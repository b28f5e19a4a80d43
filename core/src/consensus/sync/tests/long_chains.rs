//! Chains with more headers than are kept, and branches that withhold the next header.

use super::host::{BEGINNING, Host, Maker, group, time};
use crate::atom::AtomId;
use crate::chain::{Block, Header};
use crate::consensus::sync::{MAX_BRANCHES, SyncConfig, SyncLimits};
use alloc::vec::Vec;
use core::time::Duration;

const SMALL: SyncLimits = SyncLimits {
    unconfirmed_headers: 96,
    checkpoint_interval: 8,
    checkpoints: 64,
    resident_headers: 24,
};

fn small() -> SyncConfig {
    SyncConfig {
        limits: SMALL,
        ..SyncConfig::default()
    }
}

fn entries(host: &Host) -> usize {
    let paths = host.sync().branches.iter().map(|branch| &branch.path);
    paths.map(|path| path.entries()).sum()
}

#[test]
fn syncs_a_chain_while_keeping_few_header_ids() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 600, 2);
    let head = blocks.last().unwrap();
    let mut host = Host::with(time(head) + 1, small(), None);
    // Two networks announce it, one of them a little later.
    host.announce(1, blocks[590].id());
    host.announce(2, head.id());
    let mut most = 0;
    while host.verified_head() != Some(head.id()) {
        host.run_for(&[&maker], Duration::ZERO);
        most = most.max(entries(&host));
        host.run(&[&maker], 1);
        assert!(host.elapsed.as_secs() < 200, "{:?}", host.waits());
    }
    assert!(most <= 600 / 8 + 24 + 20, "{most}");
    assert_eq!(host.status().bad_blocks, []);
}

/// A validator does not wait for slow headers, unless its key was elsewhere.
#[test]
fn distinguishes_slow_headers_from_a_nearby_chain() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 300, 2);
    let head = blocks.last().unwrap();
    let mut host = Host::new(time(head) + 1);
    host.latency = [Duration::from_millis(900); 2];
    host.announce(1, head.id());
    host.run(&[&maker], 10);
    assert!(host.context.is_behind() && host.context.may_be_behind());
    host.run(&[&maker], 50);
    assert!(!host.status().syncs.is_empty(), "still reading");
    assert!(!host.context.is_behind() && host.context.may_be_behind());
    host.latency = [Duration::ZERO; 2];
    host.run(&[&maker], 60);
    assert_eq!(host.verified_head(), Some(head.id()));
    assert!(!host.context.may_be_behind());
}

#[test]
fn keeps_a_bounded_number_of_headers_from_a_single_peer() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 200, 2);
    let head = blocks.last().unwrap();
    let mut host = Host::with(time(head) + 1, small(), None);
    // Many keys of one network count once.
    for from in 1..9 {
        host.announce_in(from, group(1), head.id());
    }
    host.run(&[&maker], 30);
    assert_eq!(host.head(), None);
    let waits = host.waits().join("; ");
    assert!(waits.contains("96 headers from a single peer"), "{waits}");
    assert!(entries(&host) <= 96 / 8 + 24 + 1);
    assert!(!host.context.is_behind());
    // Another network announces a later head of the same branch.
    let next = maker.next(head, 2, &[]);
    host.announce(20, next.id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(next.id()));
}

#[test]
fn configured_seed_alone_confirms_a_long_chain() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 200, 2);
    let head = blocks.last().unwrap();
    let mut host = Host::with(time(head) + 1, small(), None);
    host.input(&crate::consensus::Input::PeerHead {
        peer: super::host::peer(1),
        group: group(1),
        id: head.id(),
        is_default_seed: false,
        is_seed: true,
    });
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(head.id()));
}

/// Makes a branch of `count` headers whose lowest follows a block that no peer has, with several
/// heads.
fn withheld(maker: &mut Maker, like: &Block, count: usize, heads: u64) -> Vec<AtomId> {
    let header = Header {
        previous: AtomId::new([0xee; 32]),
        height: 5_000_u64.into(),
        difficulty: 1_u64.into(),
        ..like.header().clone()
    };
    let below = AtomId::new([0xee; 32]);
    let blocks = maker.forge(&header, below, count, 9);
    let parent = &blocks[count - 2];
    (0..heads)
        .map(|number| {
            let head = Header {
                nonce: (1_000_000 * number).into(),
                ..blocks[count - 1].header().clone()
            };
            maker.mine(parent, head, 9).id()
        })
        .collect()
}

/// Continues the honest chain while others announce dead-end branches.
fn follows_beside(heads: &[AtomId], bad: &Maker, honest: &mut Maker, limits: SyncLimits) {
    let genesis = honest.genesis.clone();
    let first = honest.extend(&genesis, 10, 2);
    let config = SyncConfig {
        limits,
        ..SyncConfig::default()
    };
    let mut host = Host::with(time(&first[9]) + 1, config, None);
    host.announce(1, first[9].id());
    host.run(&[honest, bad], 1);
    assert_eq!(host.verified_head(), Some(first[9].id()));
    for (from, head) in (2..).zip(heads) {
        host.announce(from, *head);
    }
    host.run(&[honest, bad], 20);
    let mut at = first[9].clone();
    for _ in 0..20 {
        at = honest.extend(&at, 1, 2).pop().unwrap();
        host.announce(1, at.id());
        host.run(&[honest, bad], 1);
        assert_eq!(host.verified_head(), Some(at.id()), "{:?}", host.waits());
        host.run(&[honest, bad], 1);
    }
}

#[test]
fn withheld_headers_do_not_stall_honest_heads() {
    let (mut honest, mut bad) = (Maker::new(), Maker::new());
    let genesis = honest.genesis.clone();
    let like = honest.next(&genesis, 3, &[]);
    // Each branch fills its limit to the last header, and then stops.
    let heads = withheld(&mut bad, &like, 96, 4);
    follows_beside(&heads, &bad, &mut honest, SMALL);
    // More of them than there are places, in as many networks.
    let heads = withheld(&mut bad, &like, 70, 60);
    follows_beside(&heads, &bad, &mut Maker::new(), SMALL);
    let heads = withheld(&mut bad, &like, 3, 60);
    follows_beside(&heads, &bad, &mut Maker::new(), SMALL);
}

#[test]
fn unknown_heads_do_not_stall_honest_heads() {
    let heads: Vec<AtomId> = (0..60).map(|number| AtomId::new([number; 32])).collect();
    follows_beside(&heads, &Maker::new(), &mut Maker::new(), SMALL);
}

#[test]
fn new_peer_is_not_blocked_by_withheld_headers() {
    let (mut honest, mut bad) = (Maker::new(), Maker::new());
    let genesis = honest.genesis.clone();
    let blocks = honest.extend(&genesis, 90, 2);
    let heads = withheld(&mut bad, &blocks[0], 80, 60);
    let mut host = Host::with(time(&blocks[89]) + 1, small(), None);
    for (from, head) in (2..).zip(&heads) {
        host.announce(from, *head);
    }
    host.run(&[&honest, &bad], 5);
    assert!(host.status().syncs.len() <= MAX_BRANCHES);
    host.announce(1, blocks[89].id());
    host.run(&[&honest, &bad], 60);
    assert_eq!(host.verified_head(), Some(blocks[89].id()));
}

#[test]
fn branch_with_a_deep_fork_point_is_not_read_to_its_end() {
    use crate::consensus::sync::MAX_OWN_BLOCKS;
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    // A head of that height, as if it had been resumed.
    let first = maker.next(&genesis, 2, &[]);
    let header = Header {
        height: (MAX_OWN_BLOCKS + 200).into(),
        ..first.header().clone()
    };
    let high = maker.mine(&genesis, header, 1);
    let head = crate::consensus::Head::new(high.clone(), crate::consensus::HeadState::Verified);
    let saved = head.unwrap().saved(Some(genesis.id()));
    let mut host = Host::with(BEGINNING + 1_000, small(), Some(saved));
    host.run(&[&maker], 2);
    assert_eq!(host.verified_head(), Some(high.id()));
    let other = maker.extend(&first, 150, 2);
    host.announce(1, other[149].id());
    host.run(&[&maker], 5);
    let (head, reason) = host.status().dropped.unwrap();
    assert_eq!(head, other[149].id());
    assert!(reason.contains("below our head"), "{reason}");
    assert_eq!(host.status().bad_blocks, []);
    assert!(!host.asked.contains_key(&first.id()));
    // The operator can have it synced, and it replaces ours.
    host.input(&crate::consensus::Input::AdoptFork(other[149].id()));
    host.run(&[&maker], 60);
    assert_eq!(host.verified_head(), Some(other[149].id()));
}
