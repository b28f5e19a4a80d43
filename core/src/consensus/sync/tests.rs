//! Sync as a whole, in virtual time.

mod announcements;
mod clocks;
mod costly_heads;
mod elections;
mod first_chain;
mod forks;
mod host;
mod invalid_blocks;
mod long_chains;
pub(super) mod parts;
mod storage;
mod streams;
mod trusted;

use super::{OtherChain, SyncConfig, SyncEvent};
use crate::chain::Block;
use crate::consensus::HeadState;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use host::{BEGINNING, Host, Maker, peer, time};

#[test]
fn syncs_a_chain_from_its_genesis() {
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
    host.announce(1, head.id());
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(head.id()), "{:?}", host.status());
    assert_eq!(host.context.root(), Some(maker.genesis.id()));
    assert!(!host.context.is_behind() && host.status().syncs.is_empty());
    // It reported its progress, and set one head, not two hundred.
    assert!(
        host.progress.0 > 190 && host.progress.1 > 190,
        "{:?}",
        host.progress
    );
    assert_eq!(host.heads.len(), 1);
    assert!(host.most_in_flight >= 32, "{}", host.most_in_flight);
    // Nothing was fetched twice, and everything is stored.
    assert!(host.asked.values().all(|count| *count == 1));
    for block in &blocks {
        for id in [block.accounts, block.transactions, block.receipts] {
            assert!(id.is_zero() || host.has(&id));
        }
    }
}

#[test]
fn fork_choice_is_independent_of_arrival_order() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let trunk = maker.extend(&genesis, 5, 2);
    let low = maker.extend(&trunk[2], 3, 4);
    let high = maker.extend(&trunk[2], 4, 3);
    let now = time(low.last().unwrap()).max(time(high.last().unwrap()));
    for order in [
        [&low, &high, &trunk],
        [&trunk, &high, &low],
        [&high, &trunk, &low],
    ] {
        let mut host = Host::new(now);
        for (from, branch) in (1..).zip(order) {
            host.announce(from, branch.last().unwrap().id());
            host.run(&[&maker], 1);
        }
        assert_eq!(host.verified_head(), Some(high.last().unwrap().id()));
    }
}

#[test]
fn keeps_the_first_of_equal_heads() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let rivals: Vec<Block> = (3..6).map(|gap| maker.next(&genesis, gap, &[])).collect();
    for first in &rivals {
        let mut host = Host::new(BEGINNING + 6);
        host.announce(9, first.id());
        host.run(&[&maker], 1);
        for (from, rival) in (1..).zip(&rivals) {
            host.announce(from, rival.id());
            host.run(&[&maker], 1);
        }
        assert_eq!(host.verified_head(), Some(first.id()));
    }
}

#[test]
fn missing_data_delays_a_block_and_never_makes_it_invalid() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let first = maker.next(&genesis, 2, &[Maker::transfer(1)]);
    let second = maker.next(&first, 2, &[]);
    let (list, header) = (first.transactions, first.id());
    for missing in [list, header, Maker::transfer(1).id()] {
        let mut host = Host::new(time(&second));
        host.withheld.insert(missing);
        host.announce(1, second.id());
        host.run(&[&maker], 5);
        // The genesis may have been reached, and nothing above it.
        assert!(host.verified_head().is_none_or(|id| id == genesis.id()));
        let waits = host.waits().join("; ");
        assert!(
            waits.contains(&missing.to_string()) && waits.contains("not found at any peer"),
            "{waits}"
        );
        assert!(host.asked[&missing] > 1 && host.asked[&missing] < 10);
        assert_eq!(host.status().bad_blocks, []);
        host.withheld.clear();
        host.run(&[&maker], 11);
        assert_eq!(host.verified_head(), Some(second.id()));
    }
}

#[test]
fn future_block_waits_for_its_time() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let block = maker.next(&genesis, 30, &[]);
    let mut host = Host::new(BEGINNING);
    host.announce(1, block.id());
    host.run(&[&maker], 27);
    assert_ne!(host.verified_head(), Some(block.id()));
    assert!(host.waits().join("").contains("s in the future"));
    host.run(&[&maker], 2);
    assert_eq!(host.verified_head(), Some(block.id()));
    assert_eq!(host.status().bad_blocks, []);
    // One that is very far ahead is dropped, and may be announced again.
    let far = maker.next(&block, 5_000, &[]);
    host.announce(1, far.id());
    host.run(&[&maker], 5);
    let status = host.status();
    assert!(status.syncs.is_empty() && status.bad_blocks.is_empty());
    assert!(status.dropped.unwrap().1.contains("s in the future"));
    host.now = core::time::Duration::from_secs(time(&far));
    host.announce(1, far.id());
    host.run(&[&maker], 1);
    assert_eq!(host.verified_head(), Some(far.id()));
}

#[test]
fn genesis_of_an_invalid_chain_is_not_adopted() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut header = maker.draft(&genesis, 2, &[]);
    header.cumulative_mint = 99_u64.into();
    let bad = maker.mine(&genesis, header, 1);
    let mut other = Maker::of_chain(0, BEGINNING + 1);
    let start = other.genesis.clone();
    let good = other.extend(&start, 2, 2);
    let mut host = Host::new(time(&good[1]));
    host.announce(1, bad.id());
    host.run(&[&maker], 30);
    assert!(host.sync().bad_reason(&bad.id()).is_some());
    assert_eq!((host.head(), host.context.root()), (None, None));
    host.announce(2, good[1].id());
    host.run(&[&maker, &other], 30);
    assert_eq!(host.verified_head(), Some(good[1].id()));
    // A genesis that is the whole chain so far is adopted.
    let mut host = Host::new(BEGINNING + 1);
    host.announce(1, genesis.id());
    host.run(&[&maker], 5);
    assert_eq!(host.verified_head(), Some(genesis.id()));
}

#[test]
fn restart_resumes_from_the_saved_head() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let blocks = maker.extend(&genesis, 20, 2);
    let head = &blocks[9];
    let mut host = Host::new(time(head));
    host.announce(1, head.id());
    host.run(&[&maker], 1);
    let saved = host.files.head.clone().unwrap();
    assert_eq!((saved.id, saved.root), (head.id(), Some(genesis.id())));

    // Much later, with its store: it starts from there without a fetch.
    let later = time(&blocks[19]) + 500;
    let mut again = Host::with(later, SyncConfig::default(), host.files.head.clone());
    again.store = host.store.clone();
    again.run(&[], 1);
    assert_eq!(again.verified_head(), Some(head.id()));
    assert!(again.asked.is_empty());
    // Only later blocks are fetched.
    again.announce(1, blocks[19].id());
    again.run(&[&maker], 1);
    assert_eq!(again.verified_head(), Some(blocks[19].id()));
    assert!(
        !blocks[..10]
            .iter()
            .any(|block| again.asked.contains_key(&block.id()))
    );
    // A fork further back is compared with the stored chain.
    let fork = maker.extend(&blocks[3], 30, 3);
    again.now = core::time::Duration::from_secs(time(&fork[29]).max(later + 60));
    let alive = maker.next(&fork[29], again.now.as_secs() - time(&fork[29]) + 1, &[]);
    again.announce(2, alive.id());
    again.run(&[&maker], 3);
    assert_eq!(again.verified_head(), Some(alive.id()));
    assert!(!again.asked.contains_key(&blocks[2].id()));

    // Without its store: it reports what it waits for, and still has a chain.
    let mut bare = Host::with(later, SyncConfig::default(), host.files.head.clone());
    bare.run(&[], 3);
    assert!(bare.head().is_none() && bare.context.has_chain());
    assert!(
        bare.waits()[0].contains("head to resume from"),
        "{:?}",
        bare.waits()
    );
    bare.run(&[&maker], 11);
    assert_eq!(bare.verified_head(), Some(head.id()));
    bare.announce(1, blocks[19].id());
    bare.run(&[&maker], 11);
    assert_eq!(bare.verified_head(), Some(blocks[19].id()));
    // The seeds of the election were saved with it: no header below it is needed.
    assert!(!bare.asked.contains_key(&blocks[4].id()));

    // Without these too, the headers below it are read for them.
    let mut saved = host.files.head.clone().unwrap();
    saved.resume.election_seeds = Vec::new();
    let mut without = Host::with(later, SyncConfig::default(), Some(saved));
    without.announce(1, blocks[19].id());
    without.run(&[&maker], 11);
    assert_eq!(without.verified_head(), Some(blocks[19].id()));
    assert!(without.asked.contains_key(&blocks[4].id()));
}

#[test]
fn verified_up_to_ends_the_headers_and_latest_block_is_the_first_head() {
    let mut maker = Maker::new();
    let genesis = maker.genesis.clone();
    let mut blocks = maker.extend(&genesis, 5, 2);
    let last = maker.next(&blocks[4], 2, &[Maker::transfer(7)]);
    blocks.push(last);
    let config = SyncConfig {
        verified_up_to: Some(blocks[3].id()),
        latest_block: Some(blocks[2].id()),
        ..SyncConfig::default()
    };
    let mut host = Host::with(time(&blocks[5]), config.clone(), None);
    host.run(&[&maker], 1);
    assert_eq!(host.head(), Some((blocks[2].id(), HeadState::Trusted)));
    let config = SyncConfig {
        latest_block: None,
        ..config
    };
    let mut host = Host::with(time(&blocks[5]), config, None);
    host.announce(1, blocks[5].id());
    host.run(&[&maker], 11);
    assert_eq!(host.verified_head(), Some(blocks[5].id()));
    assert_eq!(host.context.root(), Some(blocks[3].id()));
    // The headers below it are read for the seeds of the election.
    assert!(host.asked.contains_key(&blocks[2].id()));
    assert!(host.asked.contains_key(&genesis.id()));
}

#[test]
fn heads_of_another_genesis_are_ignored_and_reported_once() {
    let (mut maker, mut foreign) = (Maker::new(), Maker::of_chain(0, BEGINNING - 5));
    let (genesis, theirs) = (maker.genesis.clone(), foreign.genesis.clone());
    let ours = maker.next(&genesis, 2, &[]);
    let longer = foreign.extend(&theirs, 5, 2);
    let mut host = Host::new(BEGINNING + 5);
    host.announce(1, ours.id());
    host.run(&[&maker], 1);
    host.announce(2, longer[4].id());
    host.run(&[&maker, &foreign], 1);
    assert_eq!(host.verified_head(), Some(ours.id()));
    let difference = OtherChain::Genesis {
        theirs: theirs.id(),
        ours: genesis.id(),
    };
    let reported = SyncEvent::OtherChain {
        peer: peer(2),
        difference,
    };
    assert_eq!(host.events, core::slice::from_ref(&reported));
    assert_eq!(host.status().other_chains, [(peer(2), difference)]);
    assert_eq!(host.status().bad_blocks, []);
    assert_eq!(host.sync().bad_reason(&longer[4].id()), None);
    // Its next heads cost nothing, and those of another such peer only the descent to a known
    // header.
    let asked = host.asked.clone();
    let next = foreign.extend(&longer[4], 3, 2);
    host.announce(2, next[2].id());
    host.run(&[&maker, &foreign], 60);
    assert_eq!(host.asked, asked);
    host.announce(3, next[2].id());
    host.run(&[&maker, &foreign], 10);
    assert!(!host.asked.contains_key(&longer[3].id()) || asked.contains_key(&longer[3].id()));
    let changed = host.asked.keys().filter(|id| !asked.contains_key(*id));
    assert!(changed.count() <= 6);
    let others = host
        .events
        .iter()
        .filter(|event| matches!(event, SyncEvent::OtherChain { peer: of, .. } if *of == peer(2)));
    assert_eq!(others.count(), 1);
    assert_eq!(host.status().other_chains.len(), 2);
}

#[test]
fn heads_of_another_chain_id_are_ignored_and_reported_once() {
    let (mut maker, mut foreign) = (Maker::new(), Maker::of_chain(5, BEGINNING));
    let (genesis, theirs) = (maker.genesis.clone(), foreign.genesis.clone());
    let ours = maker.next(&genesis, 2, &[]);
    let longer = foreign.extend(&theirs, 5, 2);
    let mut host = Host::new(BEGINNING + 5);
    host.announce(1, ours.id());
    host.announce(2, longer[4].id());
    host.run(&[&maker, &foreign], 5);
    host.announce(2, longer[3].id());
    host.run(&[&maker, &foreign], 5);
    assert_eq!(host.verified_head(), Some(ours.id()));
    let difference = OtherChain::ChainId {
        theirs: Some(5),
        ours: 0,
    };
    assert_eq!(host.status().other_chains, [(peer(2), difference)]);
    assert_eq!(host.status().bad_blocks, []);
    assert_eq!(host.events.len(), 1);
    assert!(!host.asked.contains_key(&longer[3].id()));
}
