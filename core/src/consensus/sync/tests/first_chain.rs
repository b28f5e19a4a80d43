//! Choice of the chain by a node without one.

use super::host::{BEGINNING, Host, Maker, group, peer, time};
use crate::consensus::Input;
use crate::consensus::sync::{FIRST_ADOPTION_GROUPS, OtherChain, SyncConfig};
use crate::wire::handshake::ChainIdentity;

fn announce_of_configured_seed(host: &mut Host, from: u8, id: crate::atom::AtomId) {
    host.input(&Input::PeerHead {
        peer: peer(from),
        group: group(from),
        id,
        is_default_seed: false,
        is_seed: true,
    });
}

#[test]
fn waits_for_peers_of_eight_networks_or_twenty_seconds() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 3, 2);
    let head = blocks[2].id();
    let mut host = Host::patient(time(&blocks[2]), SyncConfig::default(), None);
    host.announce(1, head);
    host.run(&[&maker], 19);
    assert!(host.sync().is_verified(&head));
    assert_eq!(host.head(), None);
    host.run(&[&maker], 2);
    assert_eq!(host.verified_head(), Some(head));
    // Many keys of one network count once; eight networks are enough.
    let mut host = Host::patient(time(&blocks[2]), SyncConfig::default(), None);
    for from in 1..40 {
        host.announce_in(from, group(1), head);
    }
    host.run(&[&maker], 3);
    assert_eq!(host.head(), None);
    for from in 2..=u8::try_from(FIRST_ADOPTION_GROUPS).unwrap() {
        host.announce(from, head);
    }
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(head));
}

#[test]
fn waits_for_all_configured_seeds() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 3, 2);
    let head = blocks[2].id();
    let config = SyncConfig {
        seeds: 2,
        ..SyncConfig::default()
    };
    let mut host = Host::patient(time(&blocks[2]), config.clone(), None);
    announce_of_configured_seed(&mut host, 1, head);
    host.announce(5, head);
    host.run(&[&maker], 3);
    assert_eq!(host.head(), None);
    announce_of_configured_seed(&mut host, 2, head);
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(head));
    // The default seed is one of them.
    let mut host = Host::patient(time(&blocks[2]), config, None);
    host.announce_of_seed(head);
    host.run(&[&maker], 3);
    assert_eq!(host.head(), None);
    announce_of_configured_seed(&mut host, 2, head);
    host.run(&[&maker], 1);
    assert!(host.head().is_some());
}

#[test]
fn adopts_the_best_branch_and_not_the_first_announced() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 5, 2);
    let low = maker.extend(&trunk[2], 30, 4);
    let high = maker.extend(&trunk[2], 60, 3);
    let config = SyncConfig {
        max_reorg_depth: 20,
        ..SyncConfig::default()
    };
    let mut host = Host::patient(time(&high[59]), config.clone(), None);
    // Both are longer than the maximum reorganization, so that the choice needs a seed.
    host.announce(1, low[29].id());
    host.run(&[&maker], 10);
    announce_of_configured_seed(&mut host, 2, high[59].id());
    host.run(&[&maker], 15);
    assert_eq!(host.verified_head(), Some(high[59].id()));
    assert!(host.status().is_settled);
    // While the better one is still being synced, the head is provisional, and its depth is not
    // limited.
    let mut host = Host::patient(time(&high[59]), config, None);
    host.latency = [core::time::Duration::from_millis(400); 2];
    host.announce(1, low[29].id());
    announce_of_configured_seed(&mut host, 2, high[59].id());
    host.run(&[&maker], 40);
    assert_eq!(host.verified_head(), Some(low[29].id()));
    assert!(!host.status().is_settled);
    assert_eq!(host.files.head.as_ref().unwrap().resume.anchor, None);
    host.run(&[&maker], 60);
    assert_eq!(host.verified_head(), Some(high[59].id()));
    assert!(host.status().is_settled);
    assert!(host.files.head.as_ref().unwrap().resume.anchor.is_some());
}

#[test]
fn adopts_the_genesis_announced_by_more_networks() {
    let (mut honest, mut other) = (Maker::new(), Maker::of_chain(0, BEGINNING - 1_000));
    let (ours, theirs) = (honest.genesis.clone(), other.genesis.clone());
    let right = honest.extend(&ours, 3, 2);
    let wrong = other.extend(&theirs, 60, 2);
    let mut host = Host::patient(time(&right[2]), SyncConfig::default(), None);
    // Many keys of one network, before all others, and a longer chain.
    for from in 100..140 {
        host.announce_in(from, group(100), wrong[59].id());
    }
    host.run(&[&honest, &other], 5);
    for from in [1, 2] {
        host.announce(from, right[2].id());
    }
    host.run(&[&honest, &other], 20);
    assert_eq!(host.verified_head(), Some(right[2].id()));
    assert_eq!(host.context.root(), Some(ours.id()));
    // A seed weighs more than networks.
    let mut host = Host::patient(time(&right[2]), SyncConfig::default(), None);
    for from in [1, 2, 3] {
        host.announce(from, wrong[59].id());
    }
    announce_of_configured_seed(&mut host, 9, right[2].id());
    host.run(&[&honest, &other], 25);
    assert_eq!(host.verified_head(), Some(right[2].id()));
}

#[test]
fn pinned_genesis_counts_as_such_once_it_is_stored() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 3, 2);
    let head = blocks[2].id();
    let mut host = Host::new(time(&blocks[2]));
    host.context.set_root(genesis.id());
    host.run(&[&maker], 1);
    assert_eq!(host.sync().identity().genesis, None);
    host.announce(1, head);
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(head));
    let ours = host.sync().identity();
    assert_eq!(ours.genesis, Some(genesis.id()));
    // A peer of another chain is recognized by its genesis.
    let theirs = blocks[0].id();
    host.input(&Input::PeerIdentity {
        peer: peer(2),
        identity: ChainIdentity {
            genesis: Some(theirs),
            ..ours
        },
    });
    let difference = OtherChain::Genesis {
        theirs,
        ours: genesis.id(),
    };
    assert_eq!(host.status().other_chains, [(peer(2), difference)]);
}
