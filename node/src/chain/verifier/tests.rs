//! What a follower does with the chains that it is offered.

mod bad;
mod body;
mod bombs;
mod host;

use super::{MAX_CHASES, VerifierConfig};
use crate::chain::HeadState;
use astreum_core::chain::Block;
use astreum_core::chain::fork::MAX_HEADS;
use host::{BEGINNING, Host, Maker, peer, time};

#[test]
fn a_chain_of_two_hundred_blocks_is_followed_from_its_genesis_on() {
    let mut maker = Maker::new();
    let mut blocks = vec![maker.genesis.clone()];
    for height in 1..=200_u64 {
        let last = blocks.last().unwrap().clone();
        let count = if height % 20 == 0 { 40 } else { 0 };
        let transfers: Vec<_> = (0..count)
            .map(|n| Maker::transfer(height * 100 + n))
            .collect();
        blocks.push(maker.next(&last, 2, &transfers));
    }
    let head = blocks.last().unwrap();
    let mut host = Host::new(time(head) + 1);
    host.hears(1, head.id());
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(head.id()));
    let status = host.chain.status();
    assert_eq!(status.root, Some(maker.genesis.id()));
    assert!(!status.is_behind && status.verifier.syncs.is_empty());
    // It told how far it was, and named one head, not two hundred.
    assert!(host.told.0 > 190 && host.told.1 > 190, "{:?}", host.told);
    assert_eq!(host.named.len(), 1);
    assert!(host.most_in_flight >= 32, "{}", host.most_in_flight);
    // Nothing was asked for twice, and everything is here to be served.
    assert!(host.asked.values().all(|count| *count == 1));
    for block in &blocks {
        for id in [block.accounts, block.transactions, block.receipts] {
            assert!(id.is_zero() || host.has(&id));
        }
    }
}

#[test]
fn forks_are_decided_the_same_way_in_whatever_order_they_are_heard_of() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 5, 2);
    let low = maker.extend(&trunk[2], 3, 2);
    let high = maker.extend(&trunk[2], 4, 3);
    let now = time(low.last().unwrap()).max(time(high.last().unwrap()));
    for order in [
        [&low, &high, &trunk],
        [&trunk, &high, &low],
        [&high, &trunk, &low],
    ] {
        let mut host = Host::new(now);
        for (from, branch) in (1..).zip(order) {
            host.hears(from, branch.last().unwrap().id());
            host.run(&[&maker], 1);
        }
        assert_eq!(host.verified_head(), Some(high.last().unwrap().id()));
    }
}

#[test]
fn on_a_tie_the_first_stays_and_together_the_lower_id_wins() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let rivals: Vec<Block> = (3..6).map(|gap| maker.next(&genesis, gap, &[])).collect();
    for first in &rivals {
        let mut host = Host::new(BEGINNING + 6);
        host.hears(9, first.id());
        host.run(&[&maker], 1);
        for (from, rival) in (1..).zip(&rivals) {
            host.hears(from, rival.id());
            host.run(&[&maker], 1);
        }
        assert_eq!(host.verified_head(), Some(first.id()));
    }
}

#[test]
fn what_nobody_brings_is_waited_for_and_condemns_nothing() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let first = maker.next(&genesis, 2, &[Maker::transfer(1)]);
    let second = maker.next(&first, 2, &[]);
    let (list, header) = (first.transactions, first.id());
    for missing in [list, header, Maker::transfer(1).id()] {
        let mut host = Host::new(time(&second));
        host.withheld.insert(missing);
        host.hears(1, second.id());
        host.run(&[&maker], 5);
        // The genesis may have been reached, and nothing above it.
        assert!(host.verified_head().is_none_or(|id| id == genesis.id()));
        let waits = host.waits().join("; ");
        assert!(
            waits.contains(&missing.to_string()) && waits.contains("no peer"),
            "{waits}"
        );
        assert!(host.asked[&missing] > 1 && host.asked[&missing] < 10);
        assert_eq!(host.chain.status().verifier.bad_blocks, []);
        host.withheld.clear();
        host.run(&[&maker], 11);
        assert_eq!(host.verified_head(), Some(second.id()));
    }
}

#[test]
fn a_block_from_the_future_waits_for_its_time_and_is_not_bad() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let block = maker.next(&genesis, 30, &[]);
    let mut host = Host::new(BEGINNING);
    host.hears(1, block.id());
    host.run(&[&maker], 27);
    assert_ne!(host.verified_head(), Some(block.id()));
    assert!(host.waits().join("").contains("its time comes in"));
    host.run(&[&maker], 2);
    assert_eq!(host.verified_head(), Some(block.id()));
    assert_eq!(host.chain.status().verifier.bad_blocks, []);
    // One that is very far ahead is let go, and may come again.
    let far = maker.next(&block, 5_000, &[]);
    host.hears(1, far.id());
    host.run(&[&maker], 5);
    let status = host.chain.status().verifier;
    assert!(status.syncs.is_empty() && status.bad_blocks.is_empty());
    assert!(status.dropped.unwrap().1.contains("from the future"));
    host.now = core::time::Duration::from_secs(time(&far));
    host.hears(1, far.id());
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(far.id()));
}

#[test]
fn a_head_that_is_not_fresh_replaces_nothing_that_it_does_not_go_on_from() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let ours = maker.extend(&genesis, 2, 2);
    let other = maker.extend(&genesis, 5, 3);
    let long_after = BEGINNING + 1_000;
    let mut host = Host::new(long_after);
    // A chain that stands still is joined.
    host.hears(1, ours[1].id());
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(ours[1].id()));
    // A longer one that stands still as well is verified and not adopted.
    host.hears(2, other[4].id());
    host.run(&[&maker], 15);
    assert!(host.chain.verifier().is_verified(&other[4].id()));
    assert_eq!(host.verified_head(), Some(ours[1].id()));
    // But once it goes on it is.
    let alive = maker.next(&other[4], long_after + 20 - time(&other[4]), &[]);
    host.hears(2, alive.id());
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(alive.id()));
    // And what goes on from ours is, however old.
    let next = maker.next(&alive, 1, &[]);
    host.run(&[&maker], 100);
    host.hears(1, next.id());
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(next.id()));
}

#[test]
fn the_default_seed_is_believed_until_what_was_verified_goes_on_from_its_head() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 3, 2);
    let other = maker.extend(&genesis, 3, 1);
    let mut host = Host::new(time(&blocks[1]));
    // Its block is on nothing that could be verified.
    let mut header = blocks[0].header().clone();
    header.previous = astreum_core::atom::AtomId::new([5; 32]);
    header.height = 70_u64.into();
    let strange = maker.put(header.signed(None));
    host.seed_says(strange.id());
    host.run(&[&maker], 1);
    assert_eq!(host.head(), Some((strange.id(), HeadState::Trusted)));
    assert_eq!(host.chain.status().root, None);
    host.seed_says(blocks[1].id());
    host.run(&[&maker], 1);
    assert_eq!(host.head(), Some((blocks[1].id(), HeadState::Trusted)));
    // Somebody else's chain does not count against it.
    host.hears(1, other[2].id());
    host.run(&[&maker], 2);
    assert!(host.chain.verifier().is_verified(&other[2].id()));
    assert_eq!(host.head(), Some((blocks[1].id(), HeadState::Trusted)));
    // What goes on from it does.
    host.hears(2, blocks[2].id());
    host.run(&[&maker], 2);
    assert_eq!(host.head(), Some((blocks[2].id(), HeadState::Verified)));
    assert_eq!(host.chain.status().root, Some(genesis.id()));
    // What we have verified, and is fresh and higher, stays when the seed lags behind.
    host.seed_says(blocks[1].id());
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(blocks[2].id()));
}

#[test]
fn what_the_default_seed_named_before_it_was_known_is_not_checked_either() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 3, 2);
    let mut host = Host::new(time(&blocks[2]));
    host.hears(200, blocks[1].id());
    host.seed_says(blocks[1].id());
    host.run(&[&maker], 30);
    host.seed_says(blocks[2].id());
    host.run(&[&maker], 30);
    let status = host.chain.status();
    let head = status.head.unwrap();
    assert_eq!(
        (head.id(), head.state()),
        (blocks[2].id(), HeadState::Trusted)
    );
    assert_eq!(status.root, None);
    assert!(status.verifier.syncs.is_empty());
    // Somebody else's offer of the same is checked.
    host.hears(1, blocks[2].id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(blocks[2].id()));
}

#[test]
fn the_genesis_of_a_chain_that_turns_out_bad_does_not_become_ours() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut header = maker.draft(&genesis, 2, &[]);
    header.cumulative_mint = 99_u64.into();
    let bad = maker.mine(&genesis, header, 1);
    let mut other = Maker::of_chain(0, BEGINNING + 1);
    let start = other.genesis.clone();
    let good = other.extend(&start, 2, 2);
    let mut host = Host::new(time(&good[1]));
    host.hears(1, bad.id());
    host.run(&[&maker], 30);
    assert!(host.chain.verifier().bad(&bad.id()).is_some());
    let status = host.chain.status();
    assert_eq!((status.head, status.root), (None, None));
    host.hears(2, good[1].id());
    host.run(&[&maker, &other], 30);
    assert_eq!(host.verified_head(), Some(good[1].id()));
    // A genesis that is all there is of a chain so far is taken.
    let mut host = Host::new(BEGINNING + 1);
    host.hears(1, genesis.id());
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(genesis.id()));
}

#[test]
fn a_restart_goes_on_from_the_head_that_was_saved() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 20, 2);
    let head = &blocks[9];
    let mut host = Host::new(time(head));
    host.hears(1, head.id());
    host.run(&[&maker], 1);
    let saved = host.saved.clone().unwrap();
    assert_eq!((saved.id, saved.root), (head.id(), Some(genesis.id())));

    // Long after, with its store: from there, without asking anybody.
    let later = time(&blocks[19]) + 500;
    let mut again = Host::with(later, VerifierConfig::default(), host.saved.clone());
    again.store = host.store.clone();
    again.run(&[], 1);
    assert_eq!(again.verified_head(), Some(head.id()));
    assert!(again.asked.is_empty());
    // And what has come since is all that is fetched.
    again.hears(1, blocks[19].id());
    again.run(&[&maker], 1);
    assert_eq!(again.verified_head(), Some(blocks[19].id()));
    assert!(
        !blocks[..10]
            .iter()
            .any(|block| again.asked.contains_key(&block.id()))
    );
    // A fork that leaves further back is measured against what is stored.
    let fork = maker.extend(&blocks[3], 30, 2);
    again.now = core::time::Duration::from_secs(time(&fork[29]).max(later + 60));
    let alive = maker.next(&fork[29], again.now.as_secs() - time(&fork[29]) + 1, &[]);
    again.hears(2, alive.id());
    again.run(&[&maker], 3);
    assert_eq!(again.verified_head(), Some(alive.id()));
    assert!(!again.asked.contains_key(&blocks[2].id()));

    // Without its store: it says what it waits for, and never takes itself for a node without chain.
    let mut bare = Host::with(later, VerifierConfig::default(), host.saved.clone());
    bare.run(&[], 3);
    assert!(bare.head().is_none() && bare.chain.context().has_chain());
    assert!(
        bare.waits()[0].contains("the head to start from"),
        "{:?}",
        bare.waits()
    );
    bare.run(&[&maker], 11);
    assert_eq!(bare.verified_head(), Some(head.id()));
    bare.hears(1, blocks[19].id());
    bare.run(&[&maker], 11);
    assert_eq!(bare.verified_head(), Some(blocks[19].id()));
    // The headers below it are read for the seeds of the election.
    assert!(bare.asked.contains_key(&blocks[4].id()));
}

#[test]
fn verified_up_to_shortens_the_way_and_latest_block_is_where_to_start() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut blocks = maker.extend(&genesis, 5, 2);
    let last = maker.next(&blocks[4], 2, &[Maker::transfer(7)]);
    blocks.push(last);
    let config = VerifierConfig {
        verified_up_to: Some(blocks[3].id()),
        latest_block: Some(blocks[2].id()),
        ..VerifierConfig::default()
    };
    let mut host = Host::with(time(&blocks[5]), config.clone(), None);
    host.run(&[&maker], 1);
    assert_eq!(host.head(), Some((blocks[2].id(), HeadState::Trusted)));
    let config = VerifierConfig {
        latest_block: None,
        ..config
    };
    let mut host = Host::with(time(&blocks[5]), config, None);
    host.hears(1, blocks[5].id());
    host.run(&[&maker], 11);
    assert_eq!(host.verified_head(), Some(blocks[5].id()));
    assert_eq!(host.chain.status().root, Some(blocks[3].id()));
    // The headers below it are read for the seeds of the election.
    assert!(host.asked.contains_key(&blocks[2].id()));
    assert!(host.asked.contains_key(&genesis.id()));
}

#[test]
fn a_chain_from_another_genesis_is_refused_once_there_is_ours() {
    let (mut maker, mut foreign) = (Maker::new(), Maker::of_chain(0, BEGINNING - 5));
    let (genesis, theirs) = (maker.genesis.clone(), foreign.genesis.clone());
    let ours = maker.next(&genesis, 2, &[]);
    let longer = foreign.extend(&theirs, 5, 2);
    let mut host = Host::new(BEGINNING + 5);
    host.hears(1, ours.id());
    host.run(&[&maker], 1);
    host.hears(2, longer[4].id());
    host.run(&[&maker, &foreign], 1);
    assert_eq!(host.verified_head(), Some(ours.id()));
    let reason = host.chain.verifier().bad(&longer[4].id()).unwrap();
    assert!(reason.contains(&genesis.id().to_string()), "{reason}");
}

#[test]
fn a_flood_of_heads_stays_within_bounds_and_does_not_keep_out_what_is_good() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let block = maker.next(&genesis, 2, &[]);
    let mut host = Host::new(time(&block));
    let nothing = |n: u32| {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        astreum_core::atom::AtomId::new(bytes)
    };
    for n in 1..2_000 {
        let id = nothing(n);
        host.input(&crate::chain::Input::PeerHead {
            peer: astreum_core::crypto::PublicKey::new(*id.as_bytes()),
            group: astreum_core::wire::network_group::NetworkGroup::of([10, 0, 0, 1].into()),
            id,
            is_default_seed: false,
            is_seed: false,
        });
        if n % 100 == 0 {
            host.run(&[&maker], 0);
            let status = host.chain.status().verifier;
            assert!(status.candidates <= MAX_HEADS && status.syncs.len() <= MAX_CHASES);
        }
    }
    host.hears(1, block.id());
    host.hears(2, block.id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(block.id()));
    host.input(&crate::chain::Input::PeerGone { peer: peer(1) });
    assert_eq!(host.verified_head(), Some(block.id()));
}
