//! Inclusion and refusal of transactions, with the reasons.

use super::*;
use crate::consensus::mempool::{Outcome, Standing};

#[test]
fn announced_transaction_is_fetched_and_included() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    // A node that has it and does not make blocks.
    let sender = net.add(config(3), Some(&genesis));
    let sent = transfer(5, 6, 250, 1);
    sent.write(&mut net.hosts[sender].store).unwrap();
    let peer = Some(PublicKey::new([3; 32]));
    let id = sent.id();
    net.input(0, announced(3, id));
    net.run_until(30, |net| balance(net, 0, &address(6)) == 250);
    assert_eq!(balance(&net, 0, &address(6)), 250);
    assert_eq!(verify_chain(&net, 0, true), [id]);
    // A second time it is refused, with the reason.
    net.run(60);
    net.input(0, own(id));
    net.run(60);
    let refusal = last_refusal(&net, 0).unwrap();
    let expected = [
        Refusal::Transaction(TransactionError::Replayed),
        Refusal::PoolError(PoolError::Included),
    ];
    assert!(
        refusal.0 == id && expected.contains(&refusal.1),
        "{refusal:?}"
    );
    // No peer has this one, not even its announcer.
    let id = AtomId::new([4; 32]);
    net.input(0, announced(3, id));
    net.run(5);
    assert_eq!(net.hosts[0].asked, [peer]);
    let refusal = Refusal::NotFetched(FetchError::NotFound);
    assert_eq!(last_refusal(&net, 0), Some((id, refusal)));
}

#[test]
fn retries_busy_peer_a_bounded_number_of_times() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    let sender = net.add(config(3), Some(&genesis));
    let sent = transfer(5, 6, 250, 1);
    sent.write(&mut net.hosts[sender].store).unwrap();
    let id = sent.id();
    net.hosts[0].unanswered = 3;
    net.input(0, announced(3, id));
    net.run_until(30, |net| balance(net, 0, &address(6)) == 250);
    assert_eq!(balance(&net, 0, &address(6)), 250);
    assert_eq!(last_refusal(&net, 0), None);
    // No peer ever answers for this one.
    net.hosts[0].asked.clear();
    net.hosts[0].unanswered = u32::MAX;
    let id = AtomId::new([4; 32]);
    net.input(0, announced(3, id));
    net.run(5);
    assert_eq!(net.hosts[0].asked.len(), usize::from(MAX_FETCHES));
    assert_eq!(last_refusal(&net, 0), Some((id, Refusal::MissingAtom(id))));
}

#[test]
fn refuses_transactions_that_reference_followers_cannot_verify() {
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
fn each_refusal_reason_is_reported() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5, 6]);
    let small = PoolLimits {
        transactions: 4,
        bytes: 1 << 20,
        sender_ready: 2,
        sender_waiting: 1,
        sender_bytes: 1 << 20,
    };
    net.add_with(config(1), limits(small), Some(&genesis));
    net.run(3);
    // From here on nothing leaves the mempool: no blocks are made.
    net.hosts[0].context.set_behind(true);
    net.run(5);
    // Before its first block it is patient.
    net.hosts[0].producer.made = 0;
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
        Some(Refusal::Transaction(TransactionError::ChainId { .. }))
    ));
    // Signed with another key.
    let forged = draft.clone().signed(address(5), Signature::new([3; 64]));
    let refusal = refused(&mut net, &forged);
    assert!(
        matches!(
            refusal,
            Some(Refusal::Transaction(TransactionError::Signature(_)))
        ),
        "{refusal:?}"
    );
    // It is remembered: the peer is not asked again.
    let again = refused(&mut net, &forged);
    assert_eq!(again, Some(Refusal::Declined(Declined::Refused)));
    // The sender's account does not exist.
    let refusal = refused(&mut net, &draft.clone().sign(&key(40)));
    let sender = address(40);
    assert_eq!(refusal, Some(TransactionError::NoSender { sender }.into()));
    // Anyone can sign for it: the burn account's address is a key of small order.
    for system in [BURN, TREASURY] {
        let spending = draft.clone().signed(system, Signature::new([0; 64]));
        let refusal = refused(&mut net, &spending);
        assert!(refusal.is_some(), "{system}");
    }
    // Not a transaction at all.
    let mut atoms = draft.clone().sign(&key(5)).to_atoms();
    let (_, head) = atoms.pop().unwrap();
    net.hosts[0]
        .store
        .extend(atoms.into_iter().map(|(_, atom)| atom));
    let renamed = crate::atom::Atom::new(head.kind(), *b"transfer", head.next());
    let id = net.hosts[0].store.insert(renamed);
    net.input(0, own(id));
    net.run(1);
    let refusal = last_refusal(&net, 0).unwrap();
    assert!(
        refusal.0 == id
            && matches!(
                refusal.1,
                Refusal::Transaction(TransactionError::Malformed { .. })
            )
    );
    // Numbers that fill the mempool.
    let long = Unsigned {
        counter: Natural::from_bytes_le(&[1; 60_000]).unwrap(),
        data: vec![0; 10_000].as_slice().into(),
        ..draft.clone()
    };
    let refusal = refused(&mut net, &long.sign(&key(5)));
    assert!(
        matches!(refusal, Some(Refusal::Transaction(TransactionError::Malformed { problem })) if problem.contains("256 bytes")),
        "{refusal:?}"
    );

    // Transactions are accepted until there is no room.
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
    // Sent again, it stays where it is.
    assert_eq!(refused(&mut net, &with_counter(5, 10)), None);
    let third = refused(&mut net, &with_counter(5, 12));
    assert!(matches!(
        third,
        Some(Refusal::PoolError(PoolError::SenderFull { .. }))
    ));
    for counter in [10, 11] {
        assert_eq!(refused(&mut net, &with_counter(6, counter)), None);
    }
    let fifth = refused(&mut net, &with_counter(1, 10));
    assert!(matches!(
        fifth,
        Some(Refusal::PoolError(PoolError::Full { .. }))
    ));
    assert_eq!(net.hosts[0].mempool.pool().ready_count().transactions, 4);
    // Each has its own text.
    let texts: BTreeSet<String> = net.hosts[0]
        .mempool
        .status()
        .outcomes
        .iter()
        .map(|(_, outcome)| match outcome {
            Outcome::Refused(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(texts.len() >= 9, "{texts:#?}");
}

#[test]
fn unpayable_transaction_is_refused_with_balance_and_cost() {
    let (mut net, mut genesis) = Net::with_chain(&[1], &[]);
    // A byte costs 1: the treasury's balance is the stake that prices are made of.
    genesis.balances.insert(TREASURY, 1_u64.into());
    genesis.cumulative_total_fees = 1_u64.into();
    genesis.balances.insert(address(5), 1_700_u64.into());
    net.add(config(1), Some(&genesis));
    submit(&mut net, 0, &transfer(5, 6, 1, 1));
    submit(&mut net, 0, &transfer(5, 6, 1, 2));
    submit(&mut net, 0, &transfer(5, 6, 1, 3));
    // Only read; a block would remove them.
    net.hosts[0].context.set_behind(true);
    net.run(1);
    let refusal = last_refusal(&net, 0).unwrap().1;
    let (balance, needed) = (1_700_u64.into(), Natural::from(3 * 799_u64));
    let expected = Refusal::PoolError(PoolError::Unpayable { balance, needed });
    assert_eq!(refusal, expected);
    assert!(refusal.to_string().contains("1700") && refusal.to_string().contains("2397"));
    assert_eq!(net.hosts[0].mempool.pool().ready_count().transactions, 2);
}

#[test]
fn flood_of_malformed_transactions_is_cheap_and_does_not_displace_others() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    let sender = net.add(config(3), Some(&genesis));
    for number in 0..20_000_u32 {
        let id = crate::atom::Atom::bytes(number.to_be_bytes()).id();
        net.input(0, announced(66, id));
    }
    let sent = transfer(5, 6, 250, 1);
    sent.write(&mut net.hosts[sender].store).unwrap();
    let id = sent.id();
    net.input(0, announced(3, id));
    net.run_until(60, |net| balance(net, 0, &address(6)) == 250);
    assert_eq!(balance(&net, 0, &address(6)), 250);
}

#[test]
fn transactions_of_an_abandoned_block_are_included_again() {
    let (mut net, genesis) = Net::with_chain(&[1, 2], &[5]);
    net.add(config(1), Some(&genesis));
    submit(&mut net, 0, &transfer(5, 6, 250, 1));
    net.run_until(60, |net| balance(net, 0, &address(6)) == 250);
    let left = net.head(0);
    assert_eq!(net.hosts[0].mempool.pool().ready_count().transactions, 0);
    // A longer chain without it, made by another node meanwhile.
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
fn transaction_on_an_unavailable_list_does_not_delay_others() {
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
    // This list is on another node.
    let elsewhere = net.add(config(3), Some(&genesis));
    let (list, atoms) = crate::atom::bytes_list(&[[7; 900], [8; 900]]);
    net.hosts[elsewhere].store.extend(atoms);
    let opening = open(list).sign(&key(6));
    submit(&mut net, 0, &opening);
    net.run_until(30, |net| balance(net, 0, &address(7)) == 250);
    assert_eq!(balance(&net, 0, &address(7)), 250);
    net.run(30);
    let refusal = Refusal::MissingAtom(nowhere);
    assert_eq!(last_refusal(&net, 0), Some((stuck.id(), refusal)));
    assert_eq!(net.hosts[0].mempool.pool().ready_count().transactions, 0);
    let applied = verify_chain(&net, 0, true);
    assert!(applied.contains(&opening.id()) && !applied.contains(&stuck.id()));
}

#[test]
fn pending_transaction_reports_its_queue_position() {
    let (mut net, genesis) = Net::with_chain(&[1], &[5]);
    net.add(config(1), Some(&genesis));
    net.hosts[0].context.set_behind(true);
    let sent: Vec<Transaction> = (1..4).map(|number| transfer(5, 6, 1, number)).collect();
    for transaction in &sent {
        submit(&mut net, 0, transaction);
    }
    net.run(5);
    for (before, transaction) in sent.iter().enumerate() {
        let standing = net.hosts[0].mempool.standing(&transaction.id());
        assert_eq!(standing, Some(Standing::Ready { before, ready: 3 }));
    }
    let other = transfer(5, 6, 1, 9).id();
    assert_eq!(net.hosts[0].mempool.standing(&other), None);
}
