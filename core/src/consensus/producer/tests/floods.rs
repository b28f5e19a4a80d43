//! Floods that cost their sender nothing: they take neither a producer's slots nor the places of
//! others.

use super::*;
use crate::atom::{Atom, AtomKind, collect_list};
use crate::chain::MAX_LIST_ATOMS;
use crate::consensus::Event;
use crate::consensus::mempool::verdicts::{ListLength, Verdict};
use crate::consensus::producer::MissedSlot;
use crate::crypto::SigningKey;

/// Returns a transaction that opens a contract on a list.
fn open(from: &SigningKey, list: AtomId, counter: u64) -> Transaction {
    let data = [&[contract::OPEN][..], list.as_bytes()].concat();
    Unsigned {
        chain_id: Natural::ZERO,
        amount: Natural::ZERO,
        counter: counter.into(),
        data: data.as_slice().into(),
        recipient: BURN,
    }
    .sign(from)
}

/// Returns the key of one of many senders.
fn sender(number: u32) -> SigningKey {
    let mut seed = [0x5a; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_seed(&seed)
}

fn missing_list(number: u64) -> AtomId {
    let mut bytes = [0xee; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    AtomId::new(bytes)
}

/// Creates a chain with one validator, a funded account 5, and this many other funded accounts.
fn net_with_senders(senders: u32) -> Net {
    let (mut net, mut genesis) = Net::with_chain(&[1], &[5]);
    for number in 0..senders {
        let account = Address::from(sender(number).verifying_key());
        genesis.balances.insert(account, 1_000_000_u64.into());
    }
    net.add(config(1), Some(&genesis));
    net
}

/// Returns the transactions of the block at a height.
fn block_at(net: &Net, height: usize) -> Vec<AtomId> {
    let chain = net.chain(0);
    let list = collect_list(&net.hosts[0].store, chain[height].transactions, 70_000).unwrap();
    list.iter()
        .map(|atom| AtomId::from_slice(atom.data()).unwrap())
        .collect()
}

/// Submits `transfers` of the honest account, and asserts that all of them are in the next block
/// that is begun afterwards.
fn assert_next_block_has_transfers(net: &mut Net, counters: core::ops::Range<u64>) {
    let honest: Vec<Transaction> = counters.map(|n| transfer(5, 7, 1, n)).collect();
    for transaction in &honest {
        submit(net, 0, transaction);
    }
    let head = net.head(0);
    // The block that is being assembled or mined now does not have them.
    assert!(net.run_until(60, |net| net.head(0).height() > head.height() + 1));
    let next: Vec<AtomId> = [1, 2]
        .into_iter()
        .flat_map(|more| block_at(net, usize::try_from(head.height()).unwrap() + more))
        .collect();
    for transaction in &honest {
        assert!(next.contains(&transaction.id()));
    }
}

/// Asserts that slots were missed only by bad luck with nonces.
fn assert_no_slot_was_missed(net: &Net) {
    let missed = net.hosts[0].events.iter().filter(|event| {
        let Event::SlotMissed { during, .. } = event else {
            return false;
        };
        *during != MissedSlot::Mining
    });
    assert_eq!(missed.count(), 0);
}

#[test]
fn transactions_on_missing_lists_do_not_delay_others_for_any_number_of_senders() {
    const OPENS: u32 = 5_494;
    for senders in [1, 100, 5_000] {
        for is_one_list in [true, false] {
            let mut net = net_with_senders(senders);
            net.run(3);
            let before = net.head(0);
            for number in 0..OPENS {
                let list = missing_list(if is_one_list { 0 } else { u64::from(number) });
                let transaction = open(&sender(number % senders), list, number.into());
                transaction.write(&mut net.hosts[0].store).unwrap();
                let peer = u8::try_from(number % 200).unwrap();
                net.input(0, announced(peer, transaction.id()));
            }
            assert_next_block_has_transfers(&mut net, 0..60);
            net.run(30);
            let status = net.hosts[0].mempool.status();
            assert!(status.ready.is_empty());
            let limit = PoolLimits::default().transactions / 4;
            assert!(status.waiting.len() <= limit);
            assert_no_slot_was_missed(&net);
            assert!(net.head(0).height() > before.height() + 8);
            if is_one_list {
                assert!(status.waiting.is_empty(), "they were dropped together");
            }
        }
    }
}

#[test]
fn transaction_on_a_stored_list_is_not_delayed_by_missing_lists() {
    let mut net = net_with_senders(2_000);
    // Fetches for missing lists take their time.
    net.hosts[0].silent = (0..200).map(|peer| PublicKey::new([peer; 32])).collect();
    net.run(3);
    for number in 0..4_000 {
        let transaction = open(
            &sender(number % 2_000),
            missing_list(number.into()),
            number.into(),
        );
        transaction.write(&mut net.hosts[0].store).unwrap();
        let peer = u8::try_from(number % 200).unwrap();
        net.input(0, announced(peer, transaction.id()));
    }
    net.run(2);
    let (here, atoms) = crate::atom::bytes_list(&[[7; 900]; 40]);
    net.hosts[0].store.extend(atoms);
    let local = open(&key(5), here, 1);
    submit(&mut net, 0, &local);
    net.run(5);
    let height = usize::try_from(net.head(0).height()).unwrap();
    let included: Vec<AtomId> = (0..=height).flat_map(|at| block_at(&net, at)).collect();
    assert!(included.contains(&local.id()));
}

#[test]
fn list_is_measured_during_its_fetch_and_not_stored() {
    let mut net = net_with_senders(0);
    net.hosts[0].keeps_parts = false;
    let atoms = 2_500;
    let (list, chain) = crate::atom::bytes_list(&vec![[9_u8; 50]; atoms]);
    let bytes: usize = chain.iter().map(Atom::stored_len).sum();
    net.elsewhere.extend(chain);
    let opening = open(&key(5), list, 1);
    submit(&mut net, 0, &opening);
    let measured = net.run_until(20, |net| {
        net.hosts[0].mempool.verdicts().of(&list).is_some()
    });
    assert!(measured);
    let length = ListLength {
        atoms: atoms as u64,
        bytes: bytes as u64,
    };
    let verdict = net.hosts[0].mempool.verdicts().of(&list);
    assert_eq!(verdict, Some(Verdict::Measured(length)));
    assert_eq!(net.hosts[0].parts, 3, "each part once");
    assert!(net.hosts[0].store.atom(&list).is_err());
}

/// Creates a list of this many atoms, and heads of lists that share it.
fn lists(store: &mut crate::atom::MemoryStore, atoms: usize, heads: u32) -> Vec<AtomId> {
    let mut next = AtomId::ZERO;
    for number in 0..u32::try_from(atoms).unwrap() {
        next = store.insert(Atom::new(AtomKind::Bytes, number.to_le_bytes(), next));
    }
    (0..heads)
        .map(|number| {
            let data = [number.to_le_bytes(), [9; 4]].concat();
            store.insert(Atom::new(AtomKind::Bytes, data, next))
        })
        .collect()
}

#[test]
fn overlong_lists_are_walked_once_and_every_slot_has_a_block() {
    let mut net = net_with_senders(1_200);
    net.hosts[0].producer.config.slice_attempts = 2;
    let lists = lists(&mut net.hosts[0].store, MAX_LIST_ATOMS, 1_200);
    net.run(3);
    let before = net.head(0);
    // Alone it is read in slices, one in each step of 20 ms here.
    let first = open(&sender(0), lists[0], 1);
    submit(&mut net, 0, &first);
    assert!(net.run_until(200, |net| {
        net.hosts[0].mempool.verdicts().of(&lists[0]).is_some()
    }));
    assert_eq!(
        net.hosts[0].mempool.verdicts().of(&lists[0]),
        Some(Verdict::TooLong)
    );
    assert_eq!(
        last_refusal(&net, 0),
        Some((
            first.id(),
            TransactionError::ListTooLong { list: lists[0] }.into()
        ))
    );
    // Another transaction on it is refused without a read of the list.
    let second = open(&sender(1), lists[0], 1);
    submit(&mut net, 0, &second);
    net.run(1);
    assert_eq!(
        last_refusal(&net, 0),
        Some((
            second.id(),
            TransactionError::ListTooLong { list: lists[0] }.into()
        ))
    );
    // All of them, and the flood of transactions on missing lists.
    for (number, list) in (0..).zip(&lists) {
        let transaction = open(&sender(number), *list, 2);
        transaction.write(&mut net.hosts[0].store).unwrap();
        net.input(0, announced(9, transaction.id()));
        let missing = open(&sender(number), missing_list(number.into()), 3);
        missing.write(&mut net.hosts[0].store).unwrap();
        net.input(0, announced(9, missing.id()));
    }
    for round in 0..4 {
        assert_next_block_has_transfers(&mut net, round * 60..(round + 1) * 60);
    }
    assert_no_slot_was_missed(&net);
    assert!(net.head(0).height() > before.height() + 8);
    // None of them reached a block that was being assembled.
    let status = net.hosts[0].mempool.status();
    assert!(status.ready.is_empty() && !status.waiting.is_empty());
}

/// Runs a flood of announcements of silent keys for ten seconds, then sends 60 transfers of an
/// honest peer; returns the time until they are ready. Asserts that the next block has them.
fn transfers_under_silent_announcers(groups: u8, honest_group: u8) -> Duration {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    // Nonces in small slices, so that answers are taken soon.
    let config = ProducerConfig {
        slice_attempts: 2,
        ..config(1)
    };
    net.add(config, Some(&genesis));
    net.hosts[0].latency = Duration::from_millis(40);
    let mut silent = Vec::new();
    for group in 0..groups {
        for number in 0..64 {
            let mut bytes = [0xdd; 32];
            bytes[..2].copy_from_slice(&[group, number]);
            silent.push((group, PublicKey::new(bytes)));
        }
    }
    net.hosts[0].silent = silent.iter().map(|(_, key)| *key).collect();
    let group_of = |group: u8| Some(NetworkGroup::of([10, 1, 0, group].into()));
    let mut ids = 0;
    let mut attack = |net: &mut Net| {
        for (group, key) in &silent {
            for _ in 0..2 {
                ids += 1;
                let input = Input::Transaction {
                    peer: Some(*key),
                    group: group_of(*group),
                    id: missing_list(ids),
                };
                net.input(0, input);
            }
        }
    };
    for _ in 0..10 {
        attack(&mut net);
        net.run(1);
    }
    let sent: Vec<Transaction> = (0..60).map(|counter| transfer(5, 6, 1, counter)).collect();
    for transaction in &sent {
        transaction.write(&mut net.elsewhere).unwrap();
        let input = Input::Transaction {
            peer: Some(PublicKey::new([3; 32])),
            group: group_of(honest_group),
            id: transaction.id(),
        };
        net.input(0, input);
    }
    let begin = net.now;
    let mut ready_after = None;
    for _ in 0..30 {
        attack(&mut net);
        net.run_until(1, |net| {
            let is_known = |one: &Transaction| net.hosts[0].mempool.pool().get(&one.id()).is_some();
            if ready_after.is_none() && sent.iter().all(is_known) {
                ready_after = Some(net.now - begin);
            }
            balance(net, 0, &address(6)) == 60
        });
        if balance(&net, 0, &address(6)) == 60 {
            break;
        }
    }
    assert_eq!(
        balance(&net, 0, &address(6)),
        60,
        "ready after {ready_after:?}"
    );
    assert_no_slot_was_missed(&net);
    ready_after.unwrap()
}

#[test]
fn silent_announcers_do_not_delay_transfers_by_more_than_a_slot() {
    // Transactions that are ready within a slot are in the block of the next.
    let a_slot = Duration::from_secs(SLOT_SECONDS);
    for groups in [1, 16] {
        // In a network of its own, and among the attackers.
        for honest_group in [200, 0] {
            let took = transfers_under_silent_announcers(groups, honest_group);
            assert!(took <= a_slot, "{groups} groups, {honest_group}: {took:?}");
        }
    }
}

#[test]
fn assembly_at_its_deadline_produces_a_smaller_block_and_later_ones_have_the_rest() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    for counter in 0..200 {
        submit(&mut net, 0, &transfer(5, 6, 1, counter));
    }
    net.run_until(1, |net| net.hosts[0].mempool.status().ready.len() == 200);
    net.hosts[0].interrupt_after = Some(40);
    let done = net.run_until(60, |net| balance(net, 0, &address(6)) == 200);
    assert!(done);
    let height = usize::try_from(net.head(0).height()).unwrap();
    let counts: Vec<usize> = (1..=height).map(|at| block_at(&net, at).len()).collect();
    assert!(counts.iter().all(|count| *count <= 40), "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), 200);
    verify_chain(&net, 0, true);
}

#[test]
fn unanswered_assembly_is_given_up_with_a_problem() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    net.run(10);
    net.hosts[0].lost_jobs = 20;
    let height = net.head(0).height();
    net.run(20);
    // Slots are missed, and a new job is tried for each.
    let missed = |net: &Net| {
        let events = net.hosts[0].events.iter();
        events
            .filter(|event| {
                matches!(
                    event,
                    Event::SlotMissed {
                        during: MissedSlot::Assembling,
                        ..
                    }
                )
            })
            .count()
    };
    assert!(missed(&net) >= 2, "{}", missed(&net));
    net.hosts[0].lost_jobs = 0;
    assert!(net.run_until(60, |net| net.head(0).height() > height + 2));
}
