//! Transactions of abandoned branches.

use super::*;

/// Two branches on a common block: `depth` blocks with a transfer each, and longer one without.
fn branches(host: &mut Host, genesis: &Block, depth: u64) -> (Vec<Block>, Vec<Block>, Vec<AtomId>) {
    let (mut left, mut kept, mut ids) = (vec![genesis.clone()], vec![genesis.clone()], vec![]);
    for at in 0..depth {
        let transaction = transfer(5, at);
        ids.push(transaction.id());
        let block = host.block(left.last().unwrap(), &[transaction], 0);
        left.push(block);
    }
    for _ in 0..=depth {
        let block = host.block(kept.last().unwrap(), &[], 1);
        kept.push(block);
    }
    (left, kept, ids)
}

#[test]
fn transactions_of_an_abandoned_branch_return_in_order_at_any_depth() {
    for depth in [1, 5, 40, 1_500] {
        let (mut host, genesis) = Host::new(config());
        let (left, kept, ids) = branches(&mut host, &genesis, depth);
        for block in left.iter().skip(1) {
            host.adopt(block);
        }
        let waiting = host.announce(&transfer(6, 1));
        // One of them is also in the other branch.
        let both = transfer(5, 0);
        let last = host.block(kept.last().unwrap(), &[both], 1);
        host.adopt(&last);
        let returned = &ids[1..];
        let ready = host.ready();
        // Except those without room: a sender has a limit.
        let share = PoolLimits::default().sender_ready;
        let expected = returned.len().min(share);
        assert_eq!(ready.len(), expected + 1, "depth {depth}");
        assert!(ready.contains(&waiting));
        let own: Vec<AtomId> = ready.iter().copied().filter(|id| *id != waiting).collect();
        assert!(returned.ends_with(&own), "in their order");
        let report = host.component.status().abandoned_branch.unwrap();
        assert_eq!(report.head, left.last().unwrap().id());
        assert_eq!(report.fork, Some(genesis.id()));
        assert_eq!((report.fork_height, report.blocks), (0, depth));
        assert_eq!(report.returned, expected as u64);
        assert_eq!(report.lost, returned.len() as u64 - report.returned);
        let events = host.events.iter();
        let reported = events.filter(|event| **event == Event::TransactionsReturned(report));
        assert_eq!(reported.count(), usize::from(true));
        // And back: the returned transactions are in blocks again.
        if depth < 100 {
            let mut longer = left.last().unwrap().clone();
            for _ in 0..4 {
                longer = host.block(&longer, &[], 0);
            }
            host.adopt(&longer);
            assert_eq!(host.ready(), [waiting]);
        }
    }
}

#[test]
fn own_transactions_of_an_abandoned_branch_return_after_restart_on_that_branch() {
    let follower = MempoolConfig::default();
    let (mut host, genesis) = Host::new(follower);
    let (left, kept, ids) = branches(&mut host, &genesis, 3);
    let own = host.submit(&transfer(5, 0));
    for block in left.iter().skip(1) {
        host.adopt(block);
    }
    assert_eq!(host.restart(follower), Ok(1));
    assert!(host.ready().is_empty(), "it is included");
    host.adopt(kept.last().unwrap());
    assert_eq!((host.ready(), own), (vec![own], ids[0]));
}

#[test]
fn transaction_that_cannot_return_reports_its_abandoned_branch() {
    let (mut host, genesis) = Host::new(config());
    let sent = transfer(6, 1);
    let left = host.block(&genesis, core::slice::from_ref(&sent), 0);
    host.adopt(&left);
    // On the other branch its sender has spent everything.
    let all = Unsigned {
        chain_id: Natural::ZERO,
        amount: 999_997_u64.into(),
        counter: 2_u64.into(),
        data: [].as_slice().into(),
        recipient: address(9),
    };
    let kept = host.block(&genesis, &[all.sign(&key(6))], 1);
    let kept = host.block(&kept, &[], 1);
    host.adopt(&kept);
    let standing = host.component.standing(&sent.id());
    let Some(Standing::Left(Outcome::Abandoned {
        block,
        height,
        reason,
    })) = standing
    else {
        panic!("{standing:?}");
    };
    assert_eq!((block, height), (left.id(), 1));
    assert!(
        matches!(
            reason,
            Refusal::Transaction(TransactionError::Balance { .. })
        ),
        "{reason:?}"
    );
    assert_eq!(host.component.status().abandoned_branch.unwrap().lost, 1);
}

#[test]
fn abandoned_block_with_missing_list_returns_remembered_transactions() {
    let (mut host, genesis) = Host::new(config());
    let known = transfer(6, 1);
    host.announce(&known);
    let left = host.block(&genesis, &[known.clone(), transfer(5, 1)], 0);
    host.adopt(&left);
    let kept = host.block(&genesis, &[], 1);
    let kept = host.block(&kept, &[], 1);
    let list = left.transactions;
    let mut store = MemoryStore::new();
    store.extend(
        host.store
            .iter()
            .filter(|(id, _)| **id != list)
            .map(|(_, atom)| atom.clone()),
    );
    host.store = store;
    host.adopt(&kept);
    assert_eq!(host.ready(), [known.id()]);
}

#[test]
fn missing_header_of_an_abandoned_branch_is_fetched_a_bounded_number_of_times() {
    let (mut host, genesis) = Host::new(config());
    let (left, kept, _) = branches(&mut host, &genesis, 3);
    for block in &left {
        host.adopt(block);
    }
    let gone = left[2].id();
    let mut store = MemoryStore::new();
    store.extend(
        host.store
            .iter()
            .filter(|(id, _)| **id != gone)
            .map(|(_, atom)| atom.clone()),
    );
    host.store = store;
    host.effects.clear();
    host.adopt(kept.last().unwrap());
    for _ in 0..crate::consensus::mempool::abandoned::MAX_FETCHES {
        let asked = host
            .effects
            .iter()
            .filter(|effect| matches!(effect, Effect::Fetch(FetchRequest { id, extent: Extent::Whole(_), .. }) if *id == gone));
        assert_eq!(asked.count(), 1);
        host.effects.clear();
        let outcome = Err(FetchError::NotFound);
        host.input(&Input::FetchedSmall { id: gone, outcome });
        host.settle();
    }
    assert!(host.effects.is_empty());
    let report = host.component.status().abandoned_branch.unwrap();
    assert_eq!((report.fork, report.blocks), (None, 1));
    let warned = host.events.iter().any(|event| {
        matches!(event, Event::TransactionsReturned(_))
            && event.level() == crate::consensus::Level::Warn
    });
    assert!(warned);
}

#[test]
fn follower_takes_back_only_its_own_transactions() {
    let (mut host, genesis) = Host::new(MempoolConfig::default());
    let own = transfer(6, 1);
    host.submit(&own);
    let (mut left, kept, _) = branches(&mut host, &genesis, 20);
    let first = host.block(&genesis, core::slice::from_ref(&own), 0);
    host.adopt(&first);
    assert!(host.ready().is_empty());
    // Deeper than included transactions are kept.
    let mut head = first;
    for at in 100..120 {
        head = host.block(&head, &[transfer(7, at)], 0);
        host.adopt(&head);
    }
    left.clear();
    host.adopt(kept.last().unwrap());
    assert_eq!(host.ready(), [own.id()]);
}

#[test]
fn counts_returned_and_lost_transactions_of_an_abandoned_branch() {
    let (mut host, genesis) = Host::new(config());
    let invalidated = |amount: u64, counter: u64| {
        let unsigned = Unsigned {
            chain_id: Natural::ZERO,
            amount: amount.into(),
            counter: counter.into(),
            data: [].as_slice().into(),
            recipient: address(9),
        };
        unsigned.sign(&key(6))
    };
    // Two return, one is in both branches, and one cannot be paid for any more.
    let [first, second, both] = [5, 7, 8].map(|from| transfer(from, 1));
    let left = host.block(&genesis, &[first, second, both.clone()], 0);
    let left = host.block(&left, &[invalidated(999_000, 2)], 0);
    host.adopt(&left);
    let kept = host.block(&genesis, &[both, invalidated(999_997, 1)], 1);
    let kept = host.block(&kept, &[], 1);
    let kept = host.block(&kept, &[], 1);
    host.adopt(&kept);
    host.pass(Duration::from_secs(1));
    let report = host.component.abandoned_branch.unwrap();
    assert_eq!((report.blocks, report.returned, report.lost), (2, 2, 1));
    assert_eq!(host.ready().len(), 2);
}
