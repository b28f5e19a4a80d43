//! Validators over virtual time.

mod host;

use super::{Activity, Halt, LISTEN, LISTEN_FOR_PEERS, MAX_BEHIND_LATER, ProducerConfig, Wait};
use crate::chain::admission::Refusal;
use crate::chain::intake::Declined;
use crate::chain::pool::{NoPlace, PoolLimits};
use crate::chain::signed::{Mark, Signed};
use crate::chain::{Head, HeadState, Input};
use astreum_core::atom::{AtomId, AtomSource as _};
use astreum_core::chain::{
    Account, Address, BURN, REFERENCE_BLOCK_TRANSACTIONS, Rejection, SLOT_SECONDS, TREASURY,
    Transaction, Unsigned, channel, contract, read_stakes, validator_at,
};
use astreum_core::crypto::{PublicKey, Signature};
use astreum_core::integer::Natural;
use astreum_core::wire::engine::FetchError;
use core::time::Duration;
use host::{BEGINNING, Net, address, config, key, transfer, verify};
use std::collections::BTreeSet;

/// Has a node's user tell it of a transaction that is stored there.
fn submit(net: &mut Net, at: usize, transaction: &Transaction) {
    transaction.write(&mut net.hosts[at].store).unwrap();
    let id = transaction.id();
    net.input(at, Input::Transaction { peer: None, id });
}

fn balance(net: &Net, at: usize, address: &Address) -> u64 {
    let head = net.head(at);
    let account = Account::find(&net.hosts[at].store, head.block().accounts, address).unwrap();
    account.map_or(0, |account| account.balance.to_u64().unwrap())
}

/// Checks a node's whole chain; gives the transactions in it.
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
    net.hosts[at].machine.refusals.back().cloned()
}

#[test]
fn a_validator_alone_begins_a_chain_and_makes_fifty_blocks_with_transfers() {
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
    let status = net.hosts[0].machine.status();
    assert_eq!(status.blocks_made, net.head(0).height());
    assert_eq!((status.pool_transactions, status.refused), (0, 0));
    // Each head was named once, and block and body offered.
    let head = net.head(0);
    assert_eq!(net.hosts[0].named.len() as u64, head.height() + 1);
    for id in crate::chain::publish::own_heads(head.block()) {
        assert!(net.hosts[0].offered.contains(&id));
    }
}

#[test]
fn blocks_stand_at_their_own_time_and_the_difficulty_settles() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    let mut named_at = Vec::new();
    let mut count = 0;
    net.run_until(600, |net| {
        if net.hosts[0].named.len() > count {
            count = net.hosts[0].named.len();
            named_at.push((net.now, net.head(0)));
        }
        count > 120
    });
    for (now, head) in &named_at {
        let timestamp = Duration::from_secs(head.timestamp());
        assert!(*now >= timestamp && *now <= timestamp + super::LATE + host::ATTEMPT * 16);
    }
    // Seven to nine bits take between one and three seconds here.
    for (_, head) in &named_at[60..] {
        let difficulty = head.block().difficulty.to_u64().unwrap();
        assert!((6..=11).contains(&difficulty), "{difficulty}");
    }
}

#[test]
fn two_validators_take_turns_as_the_schedule_says() {
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
fn a_validator_that_stops_is_not_waited_for() {
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
    // Some turns were the other's, and were passed over.
    let store = &net.hosts[0].store;
    let missed = chain.windows(2).filter(|pair| {
        let stakes = read_stakes(store, pair[0].accounts).unwrap();
        let next = &pair[0].timestamp + &Natural::ONE;
        let first = validator_at(&stakes, pair[0].id(), &pair[0].timestamp, &next).unwrap();
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
fn the_second_node_with_a_key_notices_and_never_signs() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(10);
    let with_seeds = ProducerConfig {
        has_seeds: true,
        ..config(1)
    };
    let second = net.add(with_seeds, Some(&genesis));
    net.run(30);
    let Activity::Halted(Halt::SecondValidator { block, .. }) = net.activity(second) else {
        panic!("{:?}", net.activity(second));
    };
    assert!(net.chain(0).iter().any(|made| made.id() == block));
    assert_eq!(net.hosts[second].file, Signed::default(), "signed nothing");
    assert!(!net.hosts[second].is_validator, "left the validation route");
    assert!(net.activity(second).to_string().contains("same key"));
    // The first one goes on, and the second stays halted.
    let height = net.head(0).height();
    net.run(20);
    assert!(net.head(0).height() > height && net.hosts[0].is_validator);
    assert!(matches!(net.activity(second), Activity::Halted(_)));
    assert_eq!(net.head(second).id(), net.head(0).id(), "it still follows");
}

#[test]
fn a_forged_block_of_the_key_stops_nobody() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(5);
    let head = net.head(0);
    let forged = astreum_core::chain::Header {
        timestamp: (head.timestamp() + 9).into(),
        ..head.block().header().clone()
    };
    let forged = forged.signed(Some(Signature::new([7; 64])));
    forged.write(&mut net.hosts[0].store).unwrap();
    let peer = PublicKey::new([9; 32]);
    let (id, is_default_seed) = (forged.id(), false);
    net.input(
        0,
        Input::PeerHead {
            peer,
            id,
            is_default_seed,
        },
    );
    let height = net.head(0).height();
    net.run(20);
    assert!(net.head(0).height() > height, "{:?}", net.activity(0));
    // The same with a signature of the key, which a node that it did not make can only have from
    // another one that has the key.
    let stolen = forged.header().clone().sign(&key(1));
    stolen.write(&mut net.hosts[0].store).unwrap();
    let id = stolen.id();
    net.input(
        0,
        Input::PeerHead {
            peer,
            id,
            is_default_seed,
        },
    );
    net.run(1);
    assert!(matches!(net.activity(0), Activity::Halted(_)));
}

#[test]
fn a_restart_goes_on_from_the_stored_head() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    net.run(20);
    let before = net.head(0);
    net.restart(0, config(1));
    assert_eq!(net.head(0).id(), before.id());
    net.run(20);
    assert!(net.head(0).height() > before.height());
    assert!(net.chain(0).iter().any(|block| block.id() == before.id()));
    verify_chain(&net, 0, true);
}

#[test]
fn a_crash_between_storing_and_naming_names_the_same_block() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run(15);
    let chain = net.chain(0);
    let [.., parent, last] = chain.as_slice() else {
        panic!("no chain");
    };
    // The head's file had not been written.
    let parent_head = Head::new(parent.clone(), HeadState::Own).unwrap();
    net.hosts[0].head_file = Some(parent_head.saved(None));
    net.restart(0, config(1));
    assert_eq!(net.head(0).id(), parent.id());
    net.run(20);
    assert_eq!(net.hosts[0].named[1].id(), last.id());
    assert!(net.head(0).height() > parent_head.height() + 1);
    let on_parent = net.chain(0);
    assert!(on_parent.iter().any(|block| block.id() == last.id()));
}

#[test]
fn a_signed_block_that_is_lost_is_not_made_a_second_time() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    let mark = Mark {
        parent: net.head(0).id(),
        block: AtomId::new([9; 32]),
        height: 1,
        timestamp: BEGINNING + 1,
    };
    net.hosts[0].file.add(mark).unwrap();
    net.restart(0, config(1));
    net.run(120);
    assert_eq!(net.head(0).height(), 0);
    assert_eq!(net.activity(0), Activity::Waiting(Wait::LostBlock(mark)));
}

#[test]
fn a_block_that_cannot_be_stored_is_tried_again_and_stays_the_same() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].failures = 3;
    net.run_until(60, |net| net.hosts[0].failures == 2);
    let signed = *net.hosts[0].machine.signed().last().unwrap();
    assert!(matches!(net.activity(0), Activity::Storing { height: 1 }));
    assert_eq!(net.head(0).height(), 0, "not named before it is safe");
    assert_eq!(net.hosts[0].file, Signed::default());
    net.run_until(60, |net| net.head(0).height() == 1);
    assert_eq!(net.head(0).id(), signed.block);
    assert_eq!(net.hosts[0].file.last(), Some(&signed));
}

#[test]
fn a_block_that_is_late_is_dropped() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.run_until(100, |net| {
        let height = net.head(0).height();
        height > 12 && matches!(net.activity(0), Activity::Mining { attempts, .. } if attempts > 0)
    });
    let head = net.head(0);
    net.now += Duration::from_secs(9);
    net.run_until(60, |net| net.head(0).height() > head.height());
    assert_eq!(net.hosts[0].machine.status().blocks_late, 1);
    assert!(net.head(0).timestamp() >= head.timestamp() + 9);
    verify_chain(&net, 0, true);
}

#[test]
fn with_seeds_no_chain_is_begun() {
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
        .build(&mut astreum_core::trie::Scalar, &mut net.hosts[0].store)
        .unwrap();
    let saved = Head::new(block, HeadState::Own).unwrap().saved(None);
    let second = net.add(config(1), None);
    net.hosts[second].context = crate::chain::Context::new(Some(saved));
    net.run(10);
    assert!(net.hosts[second].context.head().is_none());
    assert_eq!(net.activity(second), Activity::Waiting(Wait::LoadingHead));
}

#[test]
fn a_validator_listens_before_it_signs_when_there_is_somebody_to_listen_to() {
    let with_seeds = |number| ProducerConfig {
        has_seeds: true,
        ..config(number)
    };
    // Two that tell each other of their heads at once.
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
    // Nobody, and nobody to be asked.
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    let begin = net.now;
    assert!(net.run_until(60, |net| net.head(0).height() > 0));
    assert!(net.now <= begin + LISTEN / 2);
}

#[test]
fn it_holds_back_while_a_longer_chain_is_followed_but_not_for_ever() {
    let (mut net, genesis) = Net::with_chain(&[1], &[]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].context.set_behind(true);
    net.run(60);
    assert_eq!(net.activity(0), Activity::Waiting(Wait::Behind));
    net.hosts[0].context.set_behind(false);
    net.run(20);
    let height = net.head(0).height();
    assert!(height > 0);
    // Anybody can name heads that lead nowhere.
    net.hosts[0].context.set_behind(true);
    net.run(MAX_BEHIND_LATER.as_secs() + 10);
    let height_then = net.head(0).height();
    assert!(height_then > height);
    // They go on with it, and delay no further block for long.
    net.run(40);
    let more = net.head(0).height() - height_then;
    assert!(more >= 40 / SLOT_SECONDS * 3 / 4, "{more} blocks in 40 s");
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
            astreum_core::atom::collect_list(store, list, 100)
                .unwrap()
                .len()
        })
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 100);
    assert_eq!(counts.iter().max(), Some(&REFERENCE_BLOCK_TRANSACTIONS));
    let first = genesis.balances[&address(1)].to_u64().unwrap();
    assert_eq!(balance(&net, 0, &address(1)), first);
}

#[test]
fn the_reward_is_claimed_once_a_block_and_only_if_wanted() {
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
        assert_eq!(balance(&net, 0, &address(1)), first + claimed - 7);
    }
}

#[test]
fn a_transaction_that_a_peer_tells_of_is_fetched_and_lands_in_a_block() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    // Somebody who has it and makes no blocks.
    let sender = net.add(config(3), Some(&genesis));
    let sent = transfer(5, 6, 250, 1);
    sent.write(&mut net.hosts[sender].store).unwrap();
    let peer = Some(PublicKey::new([3; 32]));
    let id = sent.id();
    net.input(0, Input::Transaction { peer, id });
    net.run_until(30, |net| balance(net, 0, &address(6)) == 250);
    assert_eq!(balance(&net, 0, &address(6)), 250);
    assert_eq!(verify_chain(&net, 0, true), [id]);
    // A second time it is refused, with the reason.
    net.run(60);
    net.input(0, Input::Transaction { peer: None, id });
    net.run(60);
    let refusal = last_refusal(&net, 0).unwrap();
    let expected = [
        Refusal::Rejected(Rejection::Replayed),
        Refusal::NoPlace(NoPlace::Included),
    ];
    assert!(
        refusal.0 == id && expected.contains(&refusal.1),
        "{refusal:?}"
    );
    // Nobody has this one.
    let id = AtomId::new([4; 32]);
    net.input(0, Input::Transaction { peer, id });
    net.run(5);
    let refusal = Refusal::NotFetched(FetchError::NotFound);
    assert_eq!(last_refusal(&net, 0), Some((id, refusal)));
}

#[test]
fn what_reference_nodes_cannot_verify_is_refused_where_they_follow() {
    for reference_followers in [true, false] {
        let (mut net, genesis) = Net::with_chain(&[1], &[5]);
        let config = ProducerConfig {
            reference_followers,
            ..config(1)
        };
        net.add(config, Some(&genesis));
        net.run(3);
        let draft = |recipient, data: &[u8]| Unsigned {
            chain_id: Natural::ZERO,
            amount: Natural::ONE,
            counter: Natural::ONE,
            data: data.into(),
            recipient,
        };
        let first_channel = [&[channel::UPDATE][..], &[9; 32], &900_u64.to_le_bytes()].concat();
        for (recipient, data) in [
            (address(5), first_channel),
            (BURN, vec![contract::PAY; 129]),
        ] {
            let transaction = draft(recipient, &data).sign(&key(5));
            submit(&mut net, 0, &transaction);
            net.run(1);
            let refusal = last_refusal(&net, 0).filter(|(id, _)| *id == transaction.id());
            let is_refused = matches!(refusal, Some((_, Refusal::ReferenceFollowers(_))));
            assert_eq!(is_refused, reference_followers, "{refusal:?}");
        }
        // Anything else goes.
        let transfer = draft(address(7), b"").sign(&key(5));
        submit(&mut net, 0, &transfer);
        net.run(1);
        let refusal = last_refusal(&net, 0).filter(|(id, _)| *id == transfer.id());
        assert_eq!(refusal, None);
    }
}

#[test]
fn every_reason_to_refuse_a_transaction() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5, 6]);
    let small = ProducerConfig {
        pool: PoolLimits {
            transactions: 4,
            bytes: 1 << 20,
            sender_transactions: 2,
            sender_bytes: 1 << 20,
        },
        ..config(1)
    };
    net.add(small, Some(&genesis));
    net.run(3);
    // From here on nothing leaves the pool: no block is made.
    net.hosts[0].context.set_behind(true);
    net.run(5);
    // Before its first block it is patient.
    net.hosts[0].machine.made = 0;
    let draft = Unsigned {
        chain_id: Natural::ZERO,
        amount: Natural::ONE,
        counter: Natural::ONE,
        data: Vec::new().as_slice().into(),
        recipient: address(7),
    };
    let refused = |net: &mut Net, transaction: &Transaction| {
        submit(net, 0, transaction);
        net.run(1);
        let refusal = last_refusal(net, 0);
        let refusal = refusal.filter(|(id, _)| *id == transaction.id());
        refusal.map(|(_, refusal)| refusal)
    };
    // Another chain.
    let other = Unsigned {
        chain_id: 9_u64.into(),
        ..draft.clone()
    };
    let refusal = refused(&mut net, &other.sign(&key(5)));
    assert!(matches!(
        refusal,
        Some(Refusal::Rejected(Rejection::ChainId { .. }))
    ));
    // A signature of somebody else.
    let forged = draft.clone().signed(address(5), Signature::new([3; 64]));
    let refusal = refused(&mut net, &forged);
    assert!(
        matches!(refusal, Some(Refusal::Signature(_))),
        "{refusal:?}"
    );
    // It is remembered: a peer is not even asked again.
    let again = refused(&mut net, &forged);
    assert_eq!(again, Some(Refusal::Declined(Declined::Refused)));
    // Nobody at that address.
    let refusal = refused(&mut net, &draft.clone().sign(&key(40)));
    assert_eq!(refusal, Some(Refusal::Rejected(Rejection::NoSender)));
    // Signed for by anybody: the burn account's address is a key of small order.
    for system in [BURN, TREASURY] {
        let spending = draft.clone().signed(system, Signature::new([0; 64]));
        let refusal = refused(&mut net, &spending);
        assert!(refusal.is_some(), "{system}");
    }
    // No transaction at all.
    let mut atoms = draft.clone().sign(&key(5)).to_atoms();
    let (_, head) = atoms.pop().unwrap();
    net.hosts[0]
        .store
        .extend(atoms.into_iter().map(|(_, atom)| atom));
    let renamed = astreum_core::atom::Atom::new(head.kind(), *b"transfer", head.next());
    let id = net.hosts[0].store.insert(renamed);
    net.input(0, Input::Transaction { peer: None, id });
    net.run(1);
    let refusal = last_refusal(&net, 0).unwrap();
    assert!(refusal.0 == id && matches!(refusal.1, Refusal::Malformed(_)));
    // Numbers that fill the pool.
    let long = Unsigned {
        counter: Natural::from_bytes_le(&[1; 60_000]).unwrap(),
        data: vec![0; 10_000].as_slice().into(),
        ..draft.clone()
    };
    let refusal = refused(&mut net, &long.sign(&key(5)));
    assert!(
        matches!(refusal, Some(Refusal::TooLarge { .. })),
        "{refusal:?}"
    );

    // What can be taken is, and then there is no room.
    let with_counter = |from: u8, counter: u64| {
        let counter = Unsigned {
            counter: counter.into(),
            ..draft.clone()
        };
        counter.sign(&key(from))
    };
    for counter in [10, 11] {
        assert_eq!(refused(&mut net, &with_counter(5, counter)), None);
    }
    let again = refused(&mut net, &with_counter(5, 10));
    assert_eq!(again, Some(Refusal::NoPlace(NoPlace::Waiting)));
    let third = refused(&mut net, &with_counter(5, 12));
    assert!(matches!(
        third,
        Some(Refusal::NoPlace(NoPlace::SenderFull { .. }))
    ));
    for counter in [10, 11] {
        assert_eq!(refused(&mut net, &with_counter(6, counter)), None);
    }
    let fifth = refused(&mut net, &with_counter(1, 10));
    assert!(matches!(
        fifth,
        Some(Refusal::NoPlace(NoPlace::Full { .. }))
    ));
    assert_eq!(net.hosts[0].machine.pool().len(), 4);
    // Each says something of its own.
    let texts: BTreeSet<String> = net.hosts[0]
        .machine
        .status()
        .refusals
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert!(texts.len() >= 9, "{texts:#?}");
}

#[test]
fn who_cannot_pay_fee_and_storage_is_refused_with_the_numbers() {
    let (mut net, mut genesis) = Net::with_chain(&[1], &[]);
    // A byte costs 1: the treasury's balance is the stake that prices are made of.
    genesis.balances.insert(TREASURY, 1_u64.into());
    genesis.cumulative_total_fees = 1_u64.into();
    genesis.balances.insert(address(5), 1_700_u64.into());
    net.add(config(1), Some(&genesis));
    submit(&mut net, 0, &transfer(5, 6, 1, 1));
    submit(&mut net, 0, &transfer(5, 6, 1, 2));
    submit(&mut net, 0, &transfer(5, 6, 1, 3));
    // Only looked at; a block would take them out.
    net.hosts[0].context.set_behind(true);
    net.run(1);
    let refusal = last_refusal(&net, 0).unwrap().1;
    let (balance, needed) = (1_700_u64.into(), Natural::from(3 * 799_u64));
    let expected = Refusal::NoPlace(NoPlace::CannotPay { balance, needed });
    assert_eq!(refusal, expected);
    assert!(refusal.to_string().contains("1700") && refusal.to_string().contains("2397"));
    assert_eq!(net.hosts[0].machine.pool().len(), 2);
}

#[test]
fn a_flood_of_nonsense_is_cheap_and_leaves_room_for_others() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    let sender = net.add(config(3), Some(&genesis));
    let flooder = Some(PublicKey::new([66; 32]));
    for number in 0..20_000_u32 {
        let id = astreum_core::atom::Atom::bytes(number.to_be_bytes()).id();
        net.input(0, Input::Transaction { peer: flooder, id });
    }
    let sent = transfer(5, 6, 250, 1);
    sent.write(&mut net.hosts[sender].store).unwrap();
    let peer = Some(PublicKey::new([3; 32]));
    let id = sent.id();
    net.input(0, Input::Transaction { peer, id });
    net.run_until(60, |net| balance(net, 0, &address(6)) == 250);
    assert_eq!(balance(&net, 0, &address(6)), 250);
    assert!(net.hosts[0].machine.refusals.len() <= super::MAX_REFUSALS);
}

#[test]
fn what_a_left_block_held_is_made_again() {
    let (mut net, genesis) = Net::with_chain(&[1, 2], &[5]);
    net.add(config(1), Some(&genesis));
    submit(&mut net, 0, &transfer(5, 6, 250, 1));
    net.run_until(60, |net| balance(net, 0, &address(6)) == 250);
    let left = net.head(0);
    assert_eq!(net.hosts[0].machine.pool().len(), 0);
    // A longer chain without it, made elsewhere meanwhile.
    net.hosts[0].is_up = false;
    let other = net.add(config(2), Some(&genesis));
    net.run_until(600, |net| net.head(other).height() > left.height() + 1);
    net.hosts[0].is_up = true;
    let height = net.head(other).height();
    net.run_until(100, |net| net.head(other).height() > height);
    net.run(60);
    assert_eq!(net.head(0).id(), net.head(other).id());
    assert!(!net.chain(0).iter().any(|block| block.id() == left.id()));
    assert_eq!(balance(&net, 0, &address(6)), 250);
    verify_chain(&net, 0, true);
}

#[test]
fn the_state_of_a_head_that_is_not_here_is_fetched() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    let other = net.add(config(3), Some(&genesis));
    assert_eq!(
        net.activity(other).to_string(),
        Activity::Waiting(Wait::LoadingHead).to_string()
    );
    // It was told of the head and has nothing but the block itself.
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
fn a_transaction_that_needs_a_list_that_nobody_has_holds_nobody_up() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5, 6]);
    net.add(config(1), Some(&genesis));
    let open = |list: AtomId| {
        let mut data = vec![0];
        data.extend_from_slice(list.as_bytes());
        Unsigned {
            chain_id: Natural::ZERO,
            amount: Natural::ZERO,
            counter: Natural::ONE,
            data: data.as_slice().into(),
            recipient: BURN,
        }
    };
    let nowhere = AtomId::new([4; 32]);
    let stuck = open(nowhere).sign(&key(5));
    submit(&mut net, 0, &stuck);
    submit(&mut net, 0, &transfer(6, 7, 250, 1));
    // This list is elsewhere.
    let elsewhere = net.add(config(3), Some(&genesis));
    let (list, atoms) = astreum_core::atom::bytes_list(&[[7; 900], [8; 900]]);
    net.hosts[elsewhere].store.extend(atoms);
    let opening = open(list).sign(&key(6));
    submit(&mut net, 0, &opening);
    net.run_until(30, |net| balance(net, 0, &address(7)) == 250);
    assert_eq!(balance(&net, 0, &address(7)), 250);
    net.run(30);
    let refusal = Refusal::MissingAtom(nowhere);
    assert_eq!(last_refusal(&net, 0), Some((stuck.id(), refusal)));
    assert_eq!(net.hosts[0].machine.pool().len(), 0);
    let applied = verify_chain(&net, 0, true);
    assert!(applied.contains(&opening.id()) && !applied.contains(&stuck.id()));
}

#[test]
fn a_body_needs_nothing_that_is_not_stored() {
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
