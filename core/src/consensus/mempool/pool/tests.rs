use super::*;
use alloc::vec;
use proptest::prelude::*;

/// Transactions that a small pool takes.
const COUNT: u8 = 8;
const SMALL: PoolLimits = PoolLimits {
    transactions: COUNT as usize,
    bytes: 100,
    sender_ready: 4,
    sender_waiting: 1,
    sender_bytes: 60,
};

fn id(number: u8) -> AtomId {
    AtomId::new([number; 32])
}

fn entry(number: u8, sender: u8, bytes: usize, charge: u64) -> Entry<u8> {
    Entry {
        id: id(number),
        sender: [sender; 32],
        bytes,
        charge: charge.into(),
        transaction: number,
    }
}

fn order(pool: &Pool<u8>) -> Vec<u8> {
    pool.ready().map(|held| held.entry.transaction).collect()
}

fn arrival(waits_for: Option<u8>) -> Arrival {
    Arrival {
        expires: MAX_AGE,
        is_own: false,
        waits_for: waits_for.map(id),
        is_returned: false,
    }
}

fn insert(pool: &mut Pool<u8>, entry: Entry<u8>, balance: u64) -> Result<Vec<u8>, PoolError> {
    let inserted = pool.insert(entry, &balance.into(), arrival(None));
    inserted.map(|displaced| {
        displaced
            .iter()
            .map(|held| held.entry.transaction)
            .collect()
    })
}

fn insert_waiting(pool: &mut Pool<u8>, entry: Entry<u8>, data: u8) -> Result<(), PoolError> {
    let inserted = pool.insert(entry, &1_000_u64.into(), arrival(Some(data)));
    inserted.map(|displaced| assert!(displaced.is_empty()))
}

#[test]
fn senders_take_turns_and_keep_their_order_for_any_ids_and_charges() {
    let mut pool = Pool::new(SMALL);
    for (number, sender, charge) in [(9, 1, 1), (3, 1, 50), (7, 1, 2), (8, 2, 1), (1, 2, 90)] {
        insert(&mut pool, entry(number, sender, 1, charge), 200).unwrap();
    }
    assert_eq!(order(&pool), [9, 8, 3, 1, 7]);
}

#[test]
fn each_refusal_has_its_reason() {
    let mut pool = Pool::new(SMALL);
    insert(&mut pool, entry(1, 1, 10, 5), 5).unwrap();
    let again = insert(&mut pool, entry(1, 1, 10, 5), 500);
    assert_eq!(again, Err(PoolError::Held));
    let poor = insert(&mut pool, entry(2, 1, 10, 5), 9);
    let (balance, needed) = (9_u64.into(), 10_u64.into());
    assert_eq!(poor, Err(PoolError::Unpayable { balance, needed }));
    for number in 2..=4 {
        insert(&mut pool, entry(number, 1, 10, 0), 5).unwrap();
    }
    let (transactions, bytes) = (4, 40);
    let sender_full = Err(PoolError::SenderFull {
        transactions,
        bytes,
    });
    assert_eq!(insert(&mut pool, entry(5, 1, 1, 0), 5), sender_full);
    let mut heavy = Pool::new(SMALL);
    insert(&mut heavy, entry(1, 1, 40, 0), 5).unwrap();
    insert(&mut heavy, entry(2, 1, 20, 0), 5).unwrap();
    let (transactions, bytes) = (2, 60);
    let expected = PoolError::SenderFull {
        transactions,
        bytes,
    };
    assert_eq!(insert(&mut heavy, entry(3, 1, 1, 0), 5), Err(expected));
    let sender_bytes = insert(&mut pool, entry(5, 2, 61, 0), 5);
    let (transactions, bytes) = (0, 0);
    let expected = PoolError::SenderFull {
        transactions,
        bytes,
    };
    assert_eq!(sender_bytes, Err(expected));
    insert_waiting(&mut pool, entry(6, 2, 10, 0), 100).unwrap();
    let transactions = 1;
    let second = insert_waiting(&mut pool, entry(7, 2, 1, 0), 100);
    assert_eq!(second, Err(PoolError::SenderWaitingFull { transactions }));
    // A quarter of the bytes.
    let (transactions, bytes) = (1, 10);
    let waiting_full = PoolError::WaitingFull {
        transactions,
        bytes,
    };
    let third = insert_waiting(&mut pool, entry(7, 3, 16, 0), 100);
    assert_eq!(third, Err(waiting_full));
    insert(&mut pool, entry(8, 3, 50, 0), 0).unwrap();
    let full = insert(&mut pool, entry(9, 4, 11, 0), 0);
    let (transactions, bytes) = (6, 100);
    let expected = PoolError::Full {
        transactions,
        bytes,
    };
    assert_eq!(full, Err(expected));
    assert!(pool.include(&id(1), id(200), 7));
    let included = insert(&mut pool, entry(1, 1, 10, 5), 500);
    assert_eq!(included, Err(PoolError::Included));
}

#[test]
fn only_waiting_transactions_are_evicted() {
    let mut pool = Pool::new(SMALL);
    insert_waiting(&mut pool, entry(1, 1, 10, 0), 100).unwrap();
    insert_waiting(&mut pool, entry(2, 2, 10, 0), 101).unwrap();
    for number in 3..=8 {
        let displaced = insert(&mut pool, entry(number, number, 1, 0), 1).unwrap();
        assert!(displaced.is_empty());
    }
    // Eight are held: waiting ones make room, the last first.
    assert_eq!(insert(&mut pool, entry(9, 9, 1, 0), 1), Ok(vec![2]));
    assert_eq!(insert(&mut pool, entry(10, 10, 1, 0), 1), Ok(vec![1]));
    let full = insert(&mut pool, entry(11, 11, 1, 0), 1);
    assert!(matches!(full, Err(PoolError::Full { .. })));
    let waiting = insert_waiting(&mut pool, entry(12, 12, 1, 0), 102);
    assert!(matches!(waiting, Err(PoolError::Full { .. })));
    assert_eq!(order(&pool), [3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn transactions_waiting_for_the_same_data_become_ready_or_leave_together() {
    let mut pool = Pool::new(PoolLimits {
        sender_waiting: 4,
        transactions: 40,
        ..SMALL
    });
    for (number, data) in [(1, 100), (2, 101), (3, 100), (4, 101)] {
        insert_waiting(&mut pool, entry(number, number, 1, 1), data).unwrap();
    }
    insert(&mut pool, entry(5, 5, 1, 1), 9).unwrap();
    assert_eq!(
        pool.get(&id(1)).unwrap().state(),
        EntryState::Waiting(id(100))
    );
    assert_eq!(pool.make_ready(&id(100)), [id(1), id(3)]);
    assert_eq!(order(&pool), [1, 3, 5]);
    let dropped = pool.drop_waiting(&id(101));
    assert_eq!(dropped.len(), 2);
    assert_eq!(pool.waiting_count(), Count::default());
    // One that could not be applied waits behind them.
    assert!(pool.wait_for(&id(5), id(102)).is_none());
    assert_eq!(order(&pool), [1, 3]);
    assert_eq!(pool.waiting_for(&id(102)).count(), 1);
    // Without room to wait it leaves.
    for number in 20..29 {
        insert_waiting(&mut pool, entry(number, number, 1, 0), 103).unwrap();
    }
    let left = pool.wait_for(&id(1), id(102)).unwrap();
    assert_eq!((left.entry.transaction, order(&pool)), (1, vec![3]));
}

#[test]
fn included_transactions_are_kept_and_return_to_the_front() {
    let mut pool = Pool::new(SMALL);
    for number in 1..=4 {
        insert(&mut pool, entry(number, number, 1, 1), 1).unwrap();
    }
    assert!(pool.include(&id(1), id(200), 10));
    assert!(pool.include(&id(3), id(201), 11));
    assert!(!pool.include(&id(99), id(201), 11));
    assert_eq!(
        (order(&pool), pool.included_count().transactions),
        (vec![2, 4], 2)
    );
    assert_eq!(pool.included_in(&id(201)), [(id(3), 11)]);
    // Newest first, in the order of the walk.
    for number in [3, 1] {
        let held = pool.take_included(&id(number)).unwrap();
        let returned = Arrival {
            is_returned: true,
            ..arrival(None)
        };
        pool.insert(held.entry, &1_u64.into(), returned).unwrap();
    }
    assert_eq!(order(&pool), [1, 3, 2, 4]);
    pool.include(&id(2), id(202), 20);
    pool.forget_included(20 + KEPT_BLOCKS);
    assert_eq!(pool.included_count().transactions, 1);
    pool.forget_included(21 + KEPT_BLOCKS);
    assert_eq!(
        (pool.included_count(), pool.known(&id(2))),
        (Count::default(), None)
    );
}

#[test]
fn expired_transactions_free_their_space() {
    let mut pool = Pool::new(SMALL);
    let at = |seconds| Arrival {
        expires: Duration::from_secs(seconds),
        ..arrival(None)
    };
    pool.insert(entry(1, 1, 1, 1), &1_u64.into(), at(9))
        .unwrap();
    pool.insert(entry(2, 1, 1, 0), &1_u64.into(), at(5))
        .unwrap();
    assert_eq!(pool.next_expiry(), Some(Duration::from_secs(5)));
    assert!(pool.expire(Duration::from_secs(4)).is_empty());
    let expired = pool.expire(Duration::from_secs(9));
    let numbers: Vec<u8> = expired.iter().map(|held| held.entry.transaction).collect();
    assert_eq!((numbers, pool.next_expiry()), (vec![2, 1], None));
    // Its charge left with it.
    pool.insert(entry(3, 1, 1, 1), &1_u64.into(), at(9))
        .unwrap();
}

#[derive(Clone, Debug)]
enum Operation {
    Insert {
        number: u8,
        sender: u8,
        bytes: usize,
        charge: u64,
        balance: u64,
        waits_for: Option<u8>,
        is_returned: bool,
        expires: u64,
    },
    WaitFor(u8, u8),
    MakeReady(u8),
    DropWaiting(u8),
    Include(Vec<u8>, u64),
    TakeIncluded(u8),
    Forget(u64),
    Remove(u8),
    Expire(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let numbers = proptest::collection::vec(0..24_u8, 0..4);
    let times = (any::<bool>(), 0..100_u64);
    let data = proptest::option::weighted(0.3, 100..104_u8);
    let amounts = (0..40_usize, 0..9_u64, 0..30_u64);
    prop_oneof![
        8 => (0..24_u8, 0..4_u8, amounts, data, times).prop_map(
            |(number, sender, (bytes, charge, balance), waits_for, (is_returned, expires))| {
                Operation::Insert {
                    number, sender, bytes, charge, balance, waits_for, is_returned, expires,
                }
            },
        ),
        2 => (0..24_u8, 100..104_u8).prop_map(|(id, data)| Operation::WaitFor(id, data)),
        1 => (100..104_u8).prop_map(Operation::MakeReady),
        1 => (100..104_u8).prop_map(Operation::DropWaiting),
        2 => (numbers, 0..40_u64).prop_map(|(ids, height)| Operation::Include(ids, height)),
        1 => (0..24_u8).prop_map(Operation::TakeIncluded),
        1 => (0..60_u64).prop_map(Operation::Forget),
        1 => (0..24_u8).prop_map(Operation::Remove),
        1 => (0..100_u64).prop_map(Operation::Expire),
    ]
}

/// Recomputes all derived state.
fn check(pool: &Pool<u8>) -> Result<(), TestCaseError> {
    let count = |is_counted: fn(&EntryState) -> bool| {
        let held = pool.held.values().filter(|held| is_counted(&held.state()));
        held.fold(Count::default(), |mut count, held| {
            count.add(held.entry.bytes);
            count
        })
    };
    let (ready, waiting) = (pool.ready_count(), pool.waiting_count());
    prop_assert_eq!(count(|state| matches!(state, EntryState::Ready)), ready);
    prop_assert_eq!(
        count(|state| matches!(state, EntryState::Waiting(_))),
        waiting
    );
    let included = count(|state| matches!(state, EntryState::Included { .. }));
    prop_assert_eq!(included, pool.included_count());
    prop_assert!(ready.transactions + waiting.transactions <= SMALL.transactions);
    prop_assert!(ready.bytes + waiting.bytes <= SMALL.bytes);
    prop_assert!(waiting.transactions <= SMALL.transactions / WAITING_PART);
    prop_assert!(waiting.bytes <= SMALL.bytes / WAITING_PART);
    prop_assert!(included.transactions <= SMALL.transactions && included.bytes <= SMALL.bytes);
    prop_assert_eq!(pool.ready().count(), ready.transactions);
    prop_assert_eq!(pool.waiting().count(), waiting.transactions);
    let groups = pool
        .waiting
        .keys()
        .map(|data| pool.waiting_for(data).count());
    let groups: Vec<usize> = groups.collect();
    prop_assert!(groups.iter().all(|count| *count > 0));
    prop_assert_eq!(groups.iter().sum::<usize>(), waiting.transactions);
    prop_assert_eq!(
        pool.expiries.len(),
        ready.transactions + waiting.transactions
    );
    let mut senders: BTreeMap<Sender, Share> = BTreeMap::new();
    for held in pool.pending() {
        prop_assert_eq!(pool.known(&held.entry.id), Some(PoolError::Held));
        let share = senders.entry(held.entry.sender).or_default();
        match held.state() {
            EntryState::Ready => share.ready += 1,
            _ => share.waiting += 1,
        }
        share.bytes += held.entry.bytes;
        share.charge = &share.charge + &held.entry.charge;
    }
    prop_assert_eq!(&senders, &pool.senders);
    for share in senders.values() {
        prop_assert!(share.waiting <= SMALL.sender_waiting);
        prop_assert!(share.bytes <= SMALL.sender_bytes);
    }
    Ok(())
}

proptest! {
    #[test]
    fn limits_order_and_counts_hold_for_any_operations(
        operations in proptest::collection::vec(operation(), 0..120),
    ) {
        let mut pool = Pool::new(SMALL);
        for operation in operations {
            let ready: Vec<AtomId> = pool.ready().map(|held| held.entry.id).collect();
            let mut may_leave = Vec::new();
            match operation {
                Operation::Insert {
                    number, sender, bytes, charge, balance, waits_for, is_returned, expires,
                } => {
                    let known = pool.known(&id(number));
                    let arrival = Arrival {
                        expires: Duration::from_secs(expires),
                        is_own: false,
                        waits_for: waits_for.map(id),
                        is_returned,
                    };
                    let entry = entry(number, sender, bytes, charge);
                    let taken = pool.insert(entry, &balance.into(), arrival);
                    prop_assert!(known.is_none() || taken.is_err());
                    if let Ok(displaced) = taken {
                        prop_assert!(charge <= balance);
                        prop_assert!(displaced.iter().all(|held| matches!(held.state(), EntryState::Waiting(_))));
                        let share = &pool.senders[&[sender; 32]];
                        let is_waiting = waits_for.is_some();
                        prop_assert!(is_waiting || share.ready <= SMALL.sender_ready);
                    }
                }
                Operation::WaitFor(number, data) => {
                    may_leave.push(id(number));
                    pool.wait_for(&id(number), id(data));
                }
                Operation::MakeReady(data) => {
                    pool.make_ready(&id(data));
                    prop_assert_eq!(pool.waiting_for(&id(data)).count(), 0);
                }
                Operation::DropWaiting(data) => {
                    pool.drop_waiting(&id(data));
                }
                Operation::Include(numbers, height) => {
                    for number in numbers {
                        may_leave.push(id(number));
                        pool.include(&id(number), id(200), height);
                    }
                }
                Operation::TakeIncluded(number) => {
                    let state = pool.get(&id(number)).map(Held::state);
                    let was = matches!(state, Some(EntryState::Included { .. }));
                    prop_assert_eq!(pool.take_included(&id(number)).is_some(), was);
                }
                Operation::Forget(height) => pool.forget_included(height),
                Operation::Remove(number) => {
                    may_leave.push(id(number));
                    let was_pending = pool.known(&id(number)) == Some(PoolError::Held);
                    prop_assert_eq!(pool.remove(&id(number)).is_some(), was_pending);
                }
                Operation::Expire(now) => {
                    let expired = pool.expire(Duration::from_secs(now));
                    prop_assert!(expired.iter().all(|held| held.expires.as_secs() <= now));
                    may_leave.extend(expired.iter().map(|held| held.entry.id));
                    prop_assert!(pool.next_expiry().is_none_or(|next| next.as_secs() > now));
                }
            }
            check(&pool)?;
            // A ready transaction leaves only on request, and the others keep their order.
            let after: Vec<AtomId> = pool.ready().map(|held| held.entry.id).collect();
            let stay: Vec<AtomId> = ready.into_iter().filter(|id| !may_leave.contains(id)).collect();
            let kept: Vec<AtomId> = after.into_iter().filter(|id| stay.contains(id)).collect();
            prop_assert_eq!(kept, stay);
        }
    }
}

#[test]
fn included_transactions_are_bounded_and_the_lowest_are_dropped_first() {
    let block = id(99);
    let mut pool = Pool::new(SMALL);
    for number in 0..COUNT + 2 {
        insert(&mut pool, entry(number, number, 1, 0), 1).unwrap();
        assert!(pool.include(&id(number), block, u64::from(number)));
    }
    let kept = |pool: &Pool<u8>| -> Vec<AtomId> {
        pool.included
            .iter()
            .map(|(_, included)| *included)
            .collect()
    };
    let numbers = 2..COUNT + 2;
    assert_eq!(kept(&pool), numbers.map(id).collect::<Vec<_>>());
    let mut pool = Pool::new(SMALL);
    for number in 0..4 {
        insert(&mut pool, entry(number, number, 25, 0), 1).unwrap();
        assert!(pool.include(&id(number), block, 7));
    }
    assert_eq!(kept(&pool).len(), 4, "{} bytes are allowed", SMALL.bytes);
    insert(&mut pool, entry(9, 9, 1, 0), 1).unwrap();
    assert!(pool.include(&id(9), block, 8));
    assert_eq!(kept(&pool), [1, 2, 3, 9].map(id));
    // A transaction that is already in a block is not pending.
    assert!(!pool.include(&id(9), id(98), 9));
    assert!(!pool.include(&id(0), block, 9), "it is not here any more");
}

#[test]
fn room_is_checked_exactly_at_the_limits() {
    let room = |pool: &Pool<u8>, bytes, is_waiting| pool.check_room(&[99; 32], bytes, is_waiting);
    let mut pool = Pool::new(SMALL);
    assert_eq!(room(&pool, SMALL.sender_bytes, false), Ok(()));
    let full = room(&pool, SMALL.sender_bytes + 1, false);
    assert!(
        matches!(full, Err(PoolError::SenderFull { .. })),
        "{full:?}"
    );
    let waiting = SMALL.bytes / WAITING_PART;
    assert_eq!(room(&pool, waiting, true), Ok(()));
    let full = room(&pool, waiting + 1, true);
    assert!(
        matches!(full, Err(PoolError::WaitingFull { .. })),
        "{full:?}"
    );
    insert(&mut pool, entry(1, 1, 60, 0), 1).unwrap();
    assert_eq!(room(&pool, 40, false), Ok(()));
    let full = room(&pool, 41, false);
    assert!(matches!(full, Err(PoolError::Full { .. })), "{full:?}");
    for number in 2..=COUNT {
        assert_eq!(room(&pool, 1, false), Ok(()), "{number}");
        insert(&mut pool, entry(number, number, 1, 0), 1).unwrap();
    }
    let full = room(&pool, 1, false);
    assert!(matches!(full, Err(PoolError::Full { .. })), "{full:?}");
    // What waits for data has two of the eight slots.
    let mut pool = Pool::new(SMALL);
    assert_eq!(SMALL.transactions / WAITING_PART, 2);
    for number in 1..=2 {
        assert_eq!(room(&pool, 1, true), Ok(()), "{number}");
        insert_waiting(&mut pool, entry(number, number, 1, 0), 50).unwrap();
    }
    let full = room(&pool, 1, true);
    assert!(
        matches!(full, Err(PoolError::WaitingFull { .. })),
        "{full:?}"
    );
}
