//! Validators in virtual time.

mod assembly;
mod clocks;
mod floods;
mod host;
mod moved_key;
mod planning;
mod signer;
mod signing;
mod storage;
mod transactions;

use super::{Activity, Halt, LISTEN, LISTEN_FOR_PEERS, MAX_BEHIND_LATER, ProducerConfig, Wait};
use crate::atom::{AtomId, AtomSource as _};
use crate::chain::{
    Account, Address, BURN, Block, Election, REFERENCE_BLOCK_TRANSACTIONS, SLOT_SECONDS, TREASURY,
    Transaction, TransactionError, Unsigned, channel, contract, validator_at,
};
use crate::consensus::mempool::PoolLimits;
use crate::consensus::mempool::admission::Refusal;
use crate::consensus::mempool::announcements::{Declined, MAX_FETCHES};
use crate::consensus::mempool::pool::PoolError;
use crate::consensus::{Head, HeadState, Input, SignedBlock, SigningRecord, StoreFailure};
use crate::crypto::{PublicKey, Signature};
use crate::engine::FetchError;
use crate::integer::Natural;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use host::{BEGINNING, Net, address, config, key, limits, transfer, verify};

/// Returns an announcement of a local user.
fn own(id: AtomId) -> Input {
    Input::Transaction {
        peer: None,
        group: None,
        id,
    }
}

/// Returns an announcement of a peer in a network of its own.
fn announced(peer: u8, id: AtomId) -> Input {
    Input::Transaction {
        peer: Some(PublicKey::new([peer; 32])),
        group: Some(NetworkGroup::of([10, 0, 0, peer].into())),
        id,
    }
}

/// Announces a transaction of a local user that is stored at its node.
fn submit(net: &mut Net, at: usize, transaction: &Transaction) {
    transaction.write(&mut net.hosts[at].store).unwrap();
    let id = transaction.id();
    net.input(at, own(id));
}

fn balance(net: &Net, at: usize, address: &Address) -> u64 {
    let head = net.head(at);
    let account = Account::find(&net.hosts[at].store, head.block().accounts, address).unwrap();
    account.map_or(0, |account| account.balance.to_u64().unwrap())
}

/// Checks a node's whole chain; returns its transactions.
fn verify_chain(net: &Net, at: usize, claims: bool) -> Vec<AtomId> {
    let chain = net.chain(at);
    let pairs = chain.iter().zip(chain.iter().skip(1));
    pairs
        .flat_map(|(parent, block)| {
            let claimant = claims.then_some(block.validator);
            verify(&net.hosts[at].store, parent, block, claimant)
        })
        .collect()
}

fn last_refusal(net: &Net, at: usize) -> Option<(AtomId, Refusal)> {
    net.hosts[at].last_refusal()
}

#[test]
fn single_validator_creates_a_chain_and_produces_fifty_blocks_with_transfers() {
    let mut net = Net::new();
    net.add(config(1), None);
    let mut sent = 0;
    let done = net.run_until(400, |net| {
        net.hosts[0]
            .context
            .head()
            .is_some_and(|head| head.height() >= 3)
    });
    assert!(done, "{:?}", net.activity(0));
    assert!(net.hosts[0].is_validator);
    while net.head(0).height() < 50 {
        let height = net.head(0).height();
        for _ in 0..3 {
            sent += 1;
            submit(&mut net, 0, &transfer(1, 7, 5, sent));
        }
        let made = net.run_until(60, |net| net.head(0).height() > height);
        assert!(made, "{:?}", net.activity(0));
    }
    net.run(30);
    let applied = verify_chain(&net, 0, true);
    assert_eq!(applied.len() as u64, sent);
    assert_eq!(balance(&net, 0, &address(7)), 5 * sent);
    let status = net.hosts[0].producer.status();
    assert_eq!(status.blocks_made, net.head(0).height());
    let mempool = net.hosts[0].mempool.status();
    assert_eq!((mempool.ready.len(), mempool.refused), (0, 0));
    // Each head was announced once, and block and body advertised.
    let head = net.head(0);
    assert_eq!(net.hosts[0].announced_heads.len() as u64, head.height() + 1);
    for id in super::publish::own_heads(head.block()) {
        assert!(net.hosts[0].offered.contains(&id));
    }
}

#[test]
fn blocks_match_their_slot_times_and_the_difficulty_settles() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    let mut named_at = Vec::new();
    let mut count = 0;
    net.run_until(600, |net| {
        if net.hosts[0].announced_heads.len() > count {
            count = net.hosts[0].announced_heads.len();
            named_at.push((net.now, net.head(0)));
        }
        count > 120
    });
    for (now, head) in &named_at {
        let timestamp = Duration::from_secs(head.timestamp());
        assert!(*now >= timestamp && *now <= timestamp + super::MAX_LATENESS + host::ATTEMPT * 16);
    }
    // Seven to nine bits take between one and three seconds here.
    for (_, head) in &named_at[60..] {
        let difficulty = head.block().difficulty.to_u64().unwrap();
        assert!((6..=11).contains(&difficulty), "{difficulty}");
    }
}

#[test]
fn two_validators_follow_the_proposer_schedule() {
    let (mut net, genesis) = Net::with_chain(&[1, 2], &[5]);
    net.add(config(1), Some(&genesis));
    net.add(config(2), Some(&genesis));
    net.run(120);
    let height = net.head(0).height().min(net.head(1).height());
    assert!(height >= 20, "{height}");
    let chain = net.chain(0);
    verify_chain(&net, 0, true);
    let makers: BTreeSet<Address> = chain.iter().map(|block| block.validator).collect();
    assert_eq!(makers, BTreeSet::from([address(1), address(2)]));
}

#[test]
fn stopped_validator_does_not_delay_others() {
    let (mut net, genesis) = Net::with_chain(&[1, 2], &[]);
    net.add(config(1), Some(&genesis));
    net.add(config(2), Some(&genesis));
    net.run(20);
    net.hosts[1].is_up = false;
    let stopped = net.head(0).height();
    net.run(200);
    let chain = net.chain(0);
    assert!(net.head(0).height() > stopped + 15);
    verify_chain(&net, 0, true);
    // Some slots were the other's, and were skipped.
    let store = &net.hosts[0].store;
    let missed = chain.windows(2).filter(|pair| {
        let Election { seeds, stakes } = Election::read(store, &pair[0]).unwrap();
        let next = &pair[0].timestamp + &Natural::ONE;
        let seed = seeds.next_slot_seed();
        let first = validator_at(&stakes, seed, &pair[0].timestamp, &next).unwrap();
        first == address(2) && pair[1].validator == address(1)
    });
    assert!(missed.count() >= 3);
    net.hosts[1].is_up = true;
    let back = net.head(0).height();
    net.run(60);
    assert_eq!(net.head(0).id(), net.head(1).id());
    let chain = net.chain(0);
    let since = chain.iter().filter(|block| block.height > back);
    assert!(since.into_iter().any(|block| block.validator == address(2)));
}

#[test]
fn late_block_is_dropped() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run_until(100, |net| {
        let height = net.head(0).height();
        height > 12 && matches!(net.activity(0), Activity::Mining { attempts, .. } if attempts > 0)
    });
    let head = net.head(0);
    // A long search may have missed a slot before.
    let late = net.hosts[0].producer.status().blocks_late;
    net.now += Duration::from_secs(9);
    net.run_until(60, |net| net.head(0).height() > head.height());
    assert_eq!(net.hosts[0].producer.status().blocks_late, late + 1);
    assert!(net.head(0).timestamp() >= head.timestamp() + 9);
    verify_chain(&net, 0, true);
}

#[test]
fn node_with_seeds_does_not_create_a_chain() {
    let mut net = Net::new();
    let with_seeds = ProducerConfig {
        has_seeds: true,
        ..config(1)
    };
    net.add(with_seeds, None);
    net.run(100);
    assert!(net.hosts[0].context.head().is_none());
    assert_eq!(net.activity(0), Activity::Waiting(Wait::NoChain));
    assert!(net.activity(0).to_string().contains("astreum genesis"));
    // Nor by a node that has not loaded its head yet.
    let (_, genesis) = Net::with_chain(&[1], &[]);
    let block = genesis
        .build(&mut crate::trie::Scalar, &mut net.hosts[0].store)
        .unwrap();
    let saved = Head::new(block, HeadState::Own).unwrap().saved(None);
    let second = net.add(config(1), None);
    net.hosts[second].context = crate::consensus::Context::new(Some(saved));
    net.run(10);
    assert!(net.hosts[second].context.head().is_none());
    assert_eq!(net.activity(second), Activity::Waiting(Wait::LoadingHead));
}

#[test]
fn validator_listens_to_known_peers_before_signing() {
    let with_seeds = |number| ProducerConfig {
        has_seeds: true,
        ..config(number)
    };
    // Two nodes that announce their heads to each other at once.
    let (mut net, genesis) = Net::with_chain(&[1, 2], &[]);
    net.add(with_seeds(1), Some(&genesis));
    net.add(with_seeds(2), Some(&genesis));
    let first = net.now + LISTEN;
    assert!(net.run_until(60, |net| net.head(0).height() > 0));
    assert!(net.now >= first && net.now < first + LISTEN_FOR_PEERS / 2);
    // Seeds that do not answer.
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(with_seeds(1), Some(&genesis));
    let first = net.now + LISTEN_FOR_PEERS;
    net.run(5);
    assert_eq!(net.activity(0), Activity::Waiting(Wait::Listening));
    assert!(net.run_until(60, |net| net.head(0).height() > 0));
    assert!(net.now >= first);
    // Neither peers nor seeds.
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    let begin = net.now;
    assert!(net.run_until(60, |net| net.head(0).height() > 0));
    assert!(net.now <= begin + LISTEN / 2);
}

#[test]
fn holds_back_during_sync_for_a_bounded_time() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].context.set_behind(true);
    net.run(60);
    assert_eq!(net.activity(0), Activity::Waiting(Wait::Behind));
    net.hosts[0].context.set_behind(false);
    let at = net.now;
    net.run_until(1, |net| net.activity(0) != Activity::Waiting(Wait::Behind));
    assert!(net.now - at < Duration::from_millis(100), "at once");
    net.run(20);
    let height = net.head(0).height();
    assert!(height > 0);
    // Any peer can announce invalid heads.
    net.hosts[0].context.set_behind(true);
    net.run(MAX_BEHIND_LATER.as_secs() + 10);
    let height_then = net.head(0).height();
    assert!(height_then > height);
    // They continue to be announced, and do not delay further blocks for long.
    net.run(40);
    let more = net.head(0).height() - height_then;
    assert!(more >= 40 / SLOT_SECONDS * 3 / 4, "{more} blocks in 40 s");
}

fn seconds(block: &Block) -> u64 {
    block.timestamp.to_u64().unwrap()
}

#[test]
fn blocks_of_several_validators_keep_the_configured_interval() {
    for interval in [1, 2, 5, 6] {
        let (mut net, genesis) = Net::with_chain(&[1, 2], &[]);
        for number in [1, 2] {
            let config = ProducerConfig {
                block_interval_seconds: interval,
                ..config(number)
            };
            net.add(config, Some(&genesis));
        }
        net.run(20 + 20 * interval);
        verify_chain(&net, 0, true);
        let times: Vec<u64> = net.chain(0).iter().map(seconds).collect();
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap >= interval), "{gaps:?}");
        // Not much slower either, although the other's slots are waited for.
        assert!(gaps.len() >= 8, "{interval}: {gaps:?}");
    }
}

#[test]
fn reference_followers_get_no_claim_and_few_transactions() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    let followed = ProducerConfig {
        reference_followers: true,
        ..config(1)
    };
    net.add(followed, Some(&genesis));
    for counter in 0..100 {
        submit(&mut net, 0, &transfer(5, 6, 1, counter));
    }
    net.run(20);
    verify_chain(&net, 0, false);
    let chain = net.chain(0);
    let counts: Vec<usize> = chain
        .iter()
        .map(|block| {
            let list = block.transactions;
            let store = &net.hosts[0].store;
            crate::atom::collect_list(store, list, 100).unwrap().len()
        })
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 100);
    assert_eq!(counts.iter().max(), Some(&REFERENCE_BLOCK_TRANSACTIONS));
    let first = genesis.balances[&address(1)].to_u64().unwrap();
    assert_eq!(balance(&net, 0, &address(1)), first);
}

#[test]
fn reward_is_claimed_once_per_block_and_only_if_configured() {
    for claim_reward in [true, false] {
        let (mut net, genesis) = Net::with_chain(&[1], &[]);
        let config = ProducerConfig {
            claim_reward,
            max_block_transactions: 3,
            ..config(1)
        };
        net.add(config, Some(&genesis));
        for counter in 0..7 {
            submit(&mut net, 0, &transfer(1, 6, 0, counter));
        }
        net.run(15);
        assert_eq!(verify_chain(&net, 0, claim_reward).len(), 7);
        let claimed = if claim_reward {
            net.head(0).height()
        } else {
            0
        };
        let first = genesis.balances[&address(1)].to_u64().unwrap();
        // The fee and the minimum that the storage of transaction and receipt costs.
        assert_eq!(balance(&net, 0, &address(1)), first + claimed - 7 * 3);
    }
}

#[test]
fn missing_state_of_a_head_is_fetched() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    let other = net.add(config(3), Some(&genesis));
    assert_eq!(
        net.activity(other).to_string(),
        Activity::Waiting(Wait::LoadingHead).to_string()
    );
    // The head was announced to it, and it has nothing but the block itself.
    let head = net.head(other);
    let at = net.add(config(1), None);
    head.block().write(&mut net.hosts[at].store).unwrap();
    let trusted = Head::new(head.block().clone(), HeadState::Trusted).unwrap();
    net.hosts[at].context.set_head(trusted);
    let sent = transfer(5, 6, 250, 1);
    submit(&mut net, at, &sent);
    net.run_until(60, |net| net.head(at).height() > 2);
    assert!(net.head(at).height() > 2, "{:?}", net.activity(at));
    assert_eq!(net.activity(other), Activity::Waiting(Wait::NoStake));
    assert_eq!(verify_chain(&net, other, true), [sent.id()]);
}

#[test]
fn body_needs_only_stored_atoms() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    let sent = transfer(5, 6, 3, 1);
    submit(&mut net, 0, &sent);
    net.run(10);
    let store = &net.hosts[0].store;
    for (id, _) in sent.to_atoms() {
        assert!(store.atom(&id).is_ok());
    }
    let offered: BTreeSet<AtomId> = net.hosts[0].offered.iter().copied().collect();
    assert!(offered.contains(&sent.id()) && offered.contains(&sent.body_hash()));
}

#[test]
fn activity_shows_the_next_slot_between_blocks() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    let mut scheduled = 0;
    net.run_until(60, |net| {
        let (head, activity) = (net.head(0), net.activity(0));
        if head.height() > 0 {
            assert_ne!(activity, Activity::Waiting(Wait::LoadingHead));
        }
        if let Activity::Scheduled { timestamp } = activity {
            assert!(timestamp > head.timestamp());
            scheduled += 1;
        }
        head.height() >= 5
    });
    assert!(scheduled > 4, "{scheduled}");
}
