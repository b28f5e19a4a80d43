//! Restarts with the saved mempool.

use super::*;
use proptest::prelude::*;

#[test]
fn transactions_survive_restart_and_are_rechecked() {
    let (mut host, genesis) = Host::new(config());
    let kept: Vec<AtomId> = (1..=3)
        .map(|counter| host.announce(&transfer(5, counter)))
        .collect();
    let own = host.submit(&transfer(6, 1));
    let included = transfer(7, 1);
    host.announce(&included);
    host.pass(Duration::from_secs(2));
    let block = host.block(&genesis, &[included], 0);
    host.adopt(&block);
    host.store = {
        // The transactions' atoms were only in memory.
        let mut store = MemoryStore::new();
        let gone: Vec<AtomId> = kept.clone();
        store.extend(
            host.store
                .iter()
                .filter(|(id, _)| !gone.contains(id))
                .map(|(_, atom)| atom.clone()),
        );
        store
    };
    assert_eq!(host.restart(config()), Ok(5));
    let ready = host.ready();
    assert_eq!(ready.len(), 4);
    assert!(kept.iter().chain([&own]).all(|id| ready.contains(id)));
    assert!(host.component.status().own.contains_key(&own));
    assert!(host.store.atom(&kept[0]).is_ok(), "peers can fetch it");
    assert_eq!(host.announced(), [(own, Recipient::Validators)]);
    // Their age is kept.
    host.chain.pass(MAX_AGE - Duration::from_secs(1));
    host.settle();
    assert!(host.ready().is_empty());
    assert_eq!(host.restart(config()), Ok(5));
    assert!(host.ready().is_empty());
}

#[test]
fn transactions_accepted_under_an_unset_clock_survive_restart_with_a_set_one() {
    let (mut host, _) = Host::new(config());
    host.clock.unix = Duration::ZERO;
    let announced = host.announce(&transfer(5, 1));
    let own = host.submit(&transfer(6, 1));
    host.clock.unix = Duration::from_secs(BEGINNING);
    assert_eq!(host.restart(config()), Ok(2));
    assert_eq!(host.ready(), [announced, own]);
    // They expire at their time nevertheless.
    host.chain.pass(MAX_AGE);
    host.settle();
    assert!(host.ready().is_empty());
}

#[test]
fn follower_restores_only_its_own_transactions() {
    let (mut host, _) = Host::new(config());
    host.announce(&transfer(5, 1));
    let own = host.submit(&transfer(6, 1));
    assert_eq!(host.restart(MempoolConfig::default()), Ok(2));
    assert_eq!(host.ready(), [own]);
}

#[test]
fn damaged_file_loses_only_records_after_the_damage() {
    let (mut host, _) = Host::new(config());
    let ids: Vec<AtomId> = (1..=3)
        .map(|counter| host.submit(&transfer(5, counter)))
        .collect();
    let file = host.files.mempool.clone();
    let record = (file.len() - saved::MAGIC.len()) / 3;
    // Truncated, a bit flipped, another version, not a mempool at all.
    host.files.mempool.truncate(file.len() - 5);
    let offset = saved::MAGIC.len() + 2 * record;
    assert_eq!(host.restart(config()), Err(Damage::Record { offset }));
    assert_eq!(host.ready(), ids[..2]);
    host.files.mempool = file.clone();
    host.files.mempool[saved::MAGIC.len() + record + 40] ^= 1;
    let offset = saved::MAGIC.len() + record;
    assert_eq!(host.restart(config()), Err(Damage::Record { offset }));
    assert_eq!(host.ready(), ids[..1]);
    // The file is intact again, and later records are not lost behind the damage.
    let later = host.submit(&transfer(6, 1));
    assert_eq!(host.restart(config()), Ok(2));
    assert_eq!(host.ready(), [ids[0], later]);
    for at in [0, 15] {
        host.files.mempool = file.clone();
        host.files.mempool[at] ^= 1;
        assert_eq!(host.restart(config()), Err(Damage::Format));
        assert!(host.ready().is_empty());
    }
    host.files.mempool.clear();
    assert_eq!(host.restart(config()), Ok(0));
}

#[test]
fn rewrites_the_file_when_most_of_it_is_stale() {
    let (mut host, genesis) = Host::new(config());
    let mut head = genesis;
    for round in 0..8_u64 {
        let batch: Vec<Transaction> = (0..20_u64)
            .map(|number| {
                let unsigned = Unsigned {
                    chain_id: Natural::ZERO,
                    amount: Natural::ONE,
                    counter: (round * 100 + number).into(),
                    data: vec![7; 50_000].as_slice().into(),
                    recipient: address(9),
                };
                unsigned.sign(&key(5))
            })
            .collect();
        for transaction in &batch {
            host.announce(transaction);
        }
        host.pass(Duration::from_secs(2));
        head = host.block(&head, &batch, 0);
        host.adopt(&head);
    }
    let id = host.submit(&transfer(6, 1));
    assert_eq!(host.replaced, 1, "8 MB in all");
    assert!(
        host.files.mempool.len() <= saved::REWRITE_BYTES,
        "{}",
        host.files.mempool.len()
    );
    assert_eq!(
        host.component.snapshot().len(),
        host.component.saving.live_bytes() + saved::MAGIC.len()
    );
    host.restart(config()).unwrap();
    assert_eq!(host.ready(), [id]);
}

proptest! {
    #[test]
    fn damaged_saved_mempool_is_reported_and_never_misread(
        counters in proptest::collection::vec(0..50_u64, 0..6),
        flip in proptest::option::of((any::<prop::sample::Index>(), 0..8_u32)),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        tail in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = saved::MAGIC.to_vec();
        let sent: Vec<Transaction> = counters.iter().map(|counter| transfer(5, *counter)).collect();
        for transaction in &sent {
            saved::write(&mut bytes, transaction, transaction.counter.is_zero(), Duration::from_secs(7));
        }
        let (read, damage) = saved::read(&bytes);
        prop_assert_eq!(damage, None);
        let ids: Vec<AtomId> = read.iter().map(|saved| saved.transaction.id()).collect();
        let expected: Vec<AtomId> = sent.iter().map(Transaction::id).collect();
        prop_assert_eq!(&ids, &expected);
        bytes.extend(tail);
        if let Some((at, bit)) = flip {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Some(at) = cut {
            let at = at.index(bytes.len());
            bytes.truncate(at);
        }
        // All transactions that are read are intact: the same ones, from the first on.
        let (read, _) = saved::read(&bytes);
        let ids: Vec<AtomId> = read.iter().map(|saved| saved.transaction.id()).collect();
        prop_assert!(expected.starts_with(&ids), "{} of {}", ids.len(), expected.len());
    }

    #[test]
    fn rejects_arbitrary_bytes_as_a_saved_mempool(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut framed = saved::MAGIC.to_vec();
        framed.extend(&bytes);
        prop_assert!(saved::read(&bytes).0.is_empty());
        prop_assert!(saved::read(&framed).0.is_empty());
    }
}

#[test]
fn restores_which_included_transactions_are_own() {
    let (mut host, genesis) = Host::new(config());
    let (own, other) = (transfer(5, 1), transfer(6, 1));
    let own_id = host.submit(&own);
    let other_id = host.announce(&other);
    host.pass(Duration::from_secs(2));
    let block = host.block(&genesis, &[own, other], 0);
    // Both are in a block when the node starts again.
    let head = Head::new(block, HeadState::Verified).unwrap();
    host.context.set_head(head);
    host.restart(config()).unwrap();
    assert!(host.ready().is_empty());
    assert_eq!(host.component.own_included, [own_id]);
    assert!(host.component.standing(&other_id).is_none());
    // One that cannot be applied is refused, not taken for included.
    let invalidated = Unsigned {
        chain_id: Natural::ONE,
        amount: Natural::ONE,
        counter: Natural::ONE,
        data: [].as_slice().into(),
        recipient: address(9),
    };
    let invalidated = invalidated.sign(&key(7));
    let id = invalidated.id();
    host.call(|mempool, environment, context| {
        mempool.set_now(environment);
        let saved = Saved {
            transaction: invalidated.into(),
            arrived: mempool.unix,
            is_own: true,
        };
        mempool.restore_one(environment, context, saved);
    });
    let standing = host.component.standing(&id);
    assert!(
        matches!(standing, Some(Standing::Left(Outcome::Refused(_)))),
        "{standing:?}"
    );
    assert_eq!(host.component.own_included, [own_id]);
}
