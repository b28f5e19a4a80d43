//! Heads of the pinned default seed.

use super::host::{Host, Maker, time};
use crate::atom::AtomId;
use crate::consensus::sync::SyncConfig;
use crate::consensus::{HeadState, Input};
use crate::crypto::PublicKey;

#[test]
fn default_seed_is_trusted_until_a_verified_block_extends_its_head() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 3, 2);
    let other = maker.extend(&genesis, 3, 1);
    let mut host = Host::new(time(&blocks[1]));
    host.announce_of_seed(blocks[1].id());
    host.run(&[&maker], 1);
    assert_eq!(host.head(), Some((blocks[1].id(), HeadState::Trusted)));
    assert_eq!(host.context.root(), None);
    assert_eq!(host.status().syncs, []);
    // A verified chain without a known common block does not compete.
    host.announce(1, other[2].id());
    host.run(&[&maker], 2);
    assert!(host.sync().is_verified(&other[2].id()));
    assert_eq!(host.head(), Some((blocks[1].id(), HeadState::Trusted)));
    // Blocks on it do.
    host.announce(2, blocks[2].id());
    host.run(&[&maker], 2);
    assert_eq!(host.head(), Some((blocks[2].id(), HeadState::Verified)));
    assert_eq!(host.context.root(), Some(genesis.id()));
    // The seed lags behind.
    host.announce_of_seed(blocks[1].id());
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(blocks[2].id()));
}

#[test]
fn node_that_joins_at_the_default_seed_verifies_from_its_head_on() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut blocks = maker.extend(&genesis, 4, 2);
    blocks.push(maker.next(&blocks[3], 2, &[Maker::transfer(7)]));
    blocks.extend(maker.extend(&blocks[4], 2, 2));
    let config = SyncConfig {
        joins_at_seed: true,
        ..SyncConfig::default()
    };
    let mut host = Host::with(time(&blocks[6]), config.clone(), None);
    host.announce_of_seed(blocks[2].id());
    host.run(&[&maker], 1);
    assert_eq!(host.head(), Some((blocks[2].id(), HeadState::Verified)));
    assert_eq!(host.context.root(), Some(blocks[2].id()));
    // Later heads of the seed are verified, as those of any peer.
    host.announce_of_seed(blocks[5].id());
    host.run(&[&maker], 11);
    assert_eq!(host.verified_head(), Some(blocks[5].id()));
    assert_eq!(host.context.root(), Some(blocks[2].id()));
    // So are those after a restart.
    let saved = host.files.head.clone();
    let mut later = Host::with(time(&blocks[6]), config, saved);
    later.announce_of_seed(blocks[6].id());
    later.run(&[&maker], 11);
    assert_eq!(later.verified_head(), Some(blocks[6].id()));
    assert_eq!(later.context.root(), Some(blocks[2].id()));
}

#[test]
fn checkpoint_of_the_operator_comes_before_the_head_of_the_default_seed() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 6, 2);
    let config = SyncConfig {
        joins_at_seed: true,
        verified_up_to: Some(blocks[1].id()),
        checkpoint: Some(blocks[1].id()),
        ..SyncConfig::default()
    };
    let mut host = Host::with(time(&blocks[5]), config, None);
    host.announce_of_seed(blocks[5].id());
    host.run(&[&maker], 11);
    assert_eq!(host.verified_head(), Some(blocks[5].id()));
    assert_eq!(host.context.root(), Some(blocks[1].id()));
}

#[test]
fn heads_of_the_default_seed_are_linked_by_headers_and_obey_the_fork_choice() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 40, 2);
    let low = maker.extend(&trunk[9], 4, 3);
    let mut host = Host::new(time(&trunk[39]) + 10);
    host.announce_of_seed(trunk[20].id());
    host.run(&[&maker], 1);
    // Only headers are fetched of the following blocks.
    host.announce_of_seed(trunk[39].id());
    host.run(&[&maker], 1);
    assert_eq!(host.head(), Some((trunk[39].id(), HeadState::Trusted)));
    assert!(host.asked.keys().all(|id| *id != trunk[30].accounts));
    // A lower branch does not replace it, although the seed announces it.
    host.announce_of_seed(low[3].id());
    host.run(&[&maker], 20);
    assert_eq!(host.head(), Some((trunk[39].id(), HeadState::Trusted)));
    // A higher one does, also on a node that has verified its own.
    let high = maker.extend(&trunk[30], 12, 3);
    let mut verified = Host::new(time(&high[11]));
    verified.announce(1, trunk[39].id());
    verified.run(&[&maker], 2);
    assert_eq!(verified.verified_head(), Some(trunk[39].id()));
    for host in [&mut host, &mut verified] {
        host.announce_of_seed(high[11].id());
        host.run(&[&maker], 2);
        assert_eq!(host.head(), Some((high[11].id(), HeadState::Trusted)));
    }
    // Verified later, it is not more than verified.
    verified.announce(1, high[11].id());
    verified.run(&[&maker], 2);
    assert_eq!(verified.verified_head(), Some(high[11].id()));
}

#[test]
fn default_seed_on_another_branch_beyond_the_depth_waits_for_the_operator() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 60, 2);
    let other = maker.extend(&trunk[10], 70, 3);
    let config = SyncConfig {
        max_reorg_depth: 30,
        ..SyncConfig::default()
    };
    let mut host = Host::with(time(&other[69]), config, None);
    host.announce(1, trunk[59].id());
    host.run(&[&maker], 3);
    assert_eq!(host.verified_head(), Some(trunk[59].id()));
    host.announce_of_seed(other[69].id());
    host.run(&[&maker], 20);
    assert_eq!(host.verified_head(), Some(trunk[59].id()));
    let contests = host.status().contests;
    assert_eq!(contests[0].fork.block, trunk[10].id());
    let first = contests[0].fork.others[0].first;
    assert_eq!(first, other[0].id());
    host.input(&Input::AdoptFork(first));
    host.run(&[&maker], 2);
    assert_eq!(host.head(), Some((other[69].id(), HeadState::Trusted)));
    assert_eq!(host.status().contests, []);
}

#[test]
fn unlinked_head_of_the_default_seed_needs_the_operator() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 3, 2);
    // A first head on a block that no peer has.
    let mut header = blocks[0].header().clone();
    header.previous = AtomId::new([5; 32]);
    header.height = 70_u64.into();
    let strange = maker.put(header.signed(None));
    let mut host = Host::new(time(&blocks[1]));
    host.announce_of_seed(strange.id());
    host.run(&[&maker], 1);
    assert_eq!(host.head(), Some((strange.id(), HeadState::Trusted)));
    host.announce_of_seed(blocks[1].id());
    host.run(&[&maker], 5);
    assert_eq!(host.head(), Some((strange.id(), HeadState::Trusted)));
    host.input(&Input::AdoptFork(blocks[1].id()));
    host.run(&[&maker], 2);
    assert_eq!(host.head(), Some((blocks[1].id(), HeadState::Trusted)));
    host.announce_of_seed(blocks[2].id());
    host.run(&[&maker], 2);
    assert_eq!(host.head(), Some((blocks[2].id(), HeadState::Trusted)));
}

#[test]
fn reconnecting_default_seed_is_followed_again() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 5, 2);
    let mut host = Host::new(time(&blocks[4]));
    host.announce_of_seed(blocks[1].id());
    host.run(&[&maker], 1);
    host.withheld.insert(blocks[4].id());
    host.announce_of_seed(blocks[4].id());
    host.run(&[&maker], 60);
    assert_eq!(host.head().unwrap().0, blocks[1].id());
    let peer: PublicKey = super::host::peer(200);
    host.input(&Input::PeerGone { peer });
    host.run(&[&maker], 60);
    host.withheld.clear();
    host.announce_of_seed(blocks[4].id());
    host.run(&[&maker], 11);
    assert_eq!(host.head(), Some((blocks[4].id(), HeadState::Trusted)));
}

#[test]
fn head_announced_before_the_default_seed_was_pinned_is_not_verified() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 3, 2);
    let mut host = Host::new(time(&blocks[2]));
    host.announce(200, blocks[1].id());
    host.announce_of_seed(blocks[1].id());
    host.run(&[&maker], 30);
    host.announce_of_seed(blocks[2].id());
    host.run(&[&maker], 30);
    assert_eq!(host.head(), Some((blocks[2].id(), HeadState::Trusted)));
    assert_eq!(host.context.root(), None);
    assert!(host.status().syncs.is_empty());
    // The same head announced by another peer is verified.
    host.announce(1, blocks[2].id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(blocks[2].id()));
}

#[test]
fn invalid_block_announced_by_the_default_seed_is_not_synced_again() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 3, 2);
    let mut header = maker.draft(&blocks[0], 3, &[]);
    header.cumulative_mint = 99_u64.into();
    let bad = maker.mine(&blocks[0], header, 1);
    let mut host = Host::new(time(&blocks[2]));
    host.announce(1, blocks[2].id());
    host.announce(2, bad.id());
    host.run(&[&maker], 3);
    assert_eq!(host.verified_head(), Some(blocks[2].id()));
    assert!(host.sync().bad_reason(&bad.id()).is_some());
    host.announce_of_seed(bad.id());
    host.run(&[&maker], 30);
    assert_eq!(host.verified_head(), Some(blocks[2].id()));
    assert!(host.status().syncs.is_empty());
}
