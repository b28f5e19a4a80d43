use super::*;
use crate::crypto::PublicKey;
use alloc::vec;

const NOW: Duration = Duration::from_secs(1_000);

fn id(number: usize) -> AtomId {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    AtomId::new(bytes)
}

fn peer(number: usize, group: usize) -> Source {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let [high, low] = u16::try_from(group).unwrap().to_be_bytes();
    Some(Announcer {
        group: NetworkGroup::of([10, high, low, 1].into()),
        peer: PublicKey::new(key),
    })
}

fn queue(shares: &mut Shares, source: Source, count: usize) {
    for number in 0..count {
        shares.enqueue(NOW, id(number), source).unwrap();
    }
}

fn credit(shares: &Shares, source: Source) -> i32 {
    shares
        .announcers
        .get(&source)
        .map_or(0, |share| share.credit)
}

fn grants(shares: &mut Shares) -> Vec<Grant> {
    core::iter::from_fn(|| shares.dequeue(NOW)).collect()
}

#[test]
fn credit_grows_with_deliveries_and_is_halved_by_a_failure() {
    let mut shares = Shares::default();
    let source = peer(1, 1);
    let mut after = |good: &[bool]| {
        for is_good in good {
            shares.record(NOW, source, *is_good);
        }
        credit(&shares, source)
    };
    assert_eq!(after(&[true; 5]), 5);
    assert_eq!(after(&[false]), 2);
    assert_eq!(after(&[false]), 1);
    assert_eq!(after(&[false]), 0);
    assert_eq!(after(&[false; 5]), -5);
    assert_eq!(after(&[true]), -1);
    assert_eq!(after(&[true]), 1);
    assert_eq!(after(&[true; 200]), MAX_CREDIT);
    assert_eq!(after(&[false; 200]), MIN_CREDIT);
    let refused = shares.enqueue(NOW, id(1), source);
    assert_eq!(refused, Err(Declined::PeerOverBudget));
    assert!(
        shares
            .enqueue(NOW + FAILURE_INTERVAL, id(1), source)
            .is_ok()
    );
}

#[test]
fn failures_of_local_submissions_are_not_charged() {
    let mut shares = Shares::default();
    for _ in 0..100 {
        shares.record(NOW, None, false);
    }
    queue(&mut shares, None, 300);
    assert_eq!(grants(&mut shares).len(), 300);
}

#[test]
fn failing_announcers_get_a_quarter_of_the_slots_of_their_group() {
    let mut shares = Shares::default();
    for number in 0..30 {
        let source = peer(number, 1);
        shares.suspect(NOW, source);
        queue(&mut shares, source, 3);
    }
    // This many wasted slots leave the minimum of a group.
    let failing = grants(&mut shares);
    assert_eq!(failing.len(), MIN_GROUP_SLOTS / 4);
    assert!(failing.iter().all(|grant| grant.rank == Rank::Failing));
    assert!(!shares.has_next());
    for number in 100..110 {
        queue(&mut shares, peer(number, 1), 3);
    }
    let fresh = grants(&mut shares);
    assert_eq!(fresh.len(), MIN_GROUP_SLOTS - failing.len());
    assert!(fresh.iter().all(|grant| grant.rank == Rank::Fresh));
    // A returned slot goes to another announcer.
    shares.release(failing[0]);
    assert_eq!(grants(&mut shares).len(), 1);
}

#[test]
fn announcers_of_a_rank_take_turns() {
    let mut shares = Shares::default();
    let (first, second) = (peer(1, 1), peer(2, 1));
    queue(&mut shares, first, 2);
    queue(&mut shares, second, 2);
    let order: Vec<Source> = grants(&mut shares)
        .iter()
        .map(|grant| grant.source)
        .collect();
    assert_eq!(order, [first, second, first, second]);
}

#[test]
fn slots_of_peers_are_bounded_and_local_ones_are_not() {
    let mut shares = Shares::default();
    for number in 0..200 {
        queue(&mut shares, peer(number, number), 2);
    }
    let mut granted = 0;
    while shares.has_next() {
        assert!(shares.dequeue(NOW).is_some());
        granted += 1;
    }
    assert_eq!((granted, shares.holding()), (MAX_FETCHING, MAX_FETCHING));
    assert_eq!(shares.dequeue(NOW), None);
    queue(&mut shares, None, 1);
    assert!(shares.has_next());
    assert_eq!(shares.dequeue(NOW).map(|grant| grant.source), Some(None));
    assert!(!shares.has_next());
}

#[test]
fn full_queue_evicts_from_the_longest() {
    let longest = MAX_ANNOUNCED_PER_PEER;
    // Of two groups, the one that has more, and its newest announcement.
    let mut shares = Shares::default();
    queue(&mut shares, peer(1, 1), longest);
    queue(&mut shares, peer(2, 2), longest - 1);
    queue(&mut shares, peer(3, 3), 1);
    shares.enqueue(NOW, id(77), peer(4, 4)).unwrap();
    assert_eq!(shares.take_displaced(), [(id(longest - 1), peer(1, 1))]);
    assert_eq!(shares.queued(), MAX_ANNOUNCED);
    // Within a group: a peer that has as much as the longest queue displaces nothing.
    let mut shares = Shares::default();
    queue(&mut shares, peer(1, 1), longest);
    queue(&mut shares, peer(2, 1), longest - 2);
    queue(&mut shares, peer(3, 1), 2);
    shares.enqueue(NOW, id(77), peer(2, 1)).unwrap();
    assert_eq!(shares.take_displaced(), [(id(longest - 1), peer(1, 1))]);
    let full = shares.enqueue(NOW, id(78), peer(2, 1));
    assert_eq!(full, Err(Declined::QueueFull));
    assert_eq!(shares.take_displaced(), vec![]);
    // A failing announcer gives way whatever it has queued.
    shares.suspect(NOW, peer(3, 1));
    shares.enqueue(NOW, id(79), peer(2, 1)).unwrap();
    assert_eq!(shares.take_displaced(), [(id(1), peer(3, 1))]);
    assert_eq!(shares.queued(), MAX_ANNOUNCED);
}

#[test]
fn idle_announcer_without_record_is_forgotten() {
    let mut shares = Shares::default();
    queue(&mut shares, peer(1, 1), 1);
    let grant = shares.dequeue(NOW).unwrap();
    shares.release(grant);
    assert!(shares.announcers.is_empty() && shares.groups.is_empty());
    shares.record(NOW, peer(2, 1), true);
    assert_eq!(shares.idle.len(), 1);
}

#[test]
fn credit_recovers_one_step_per_interval() {
    let mut shares = Shares::default();
    let source = peer(1, 1);
    for _ in 0..10 {
        shares.record(NOW, source, false);
    }
    assert_eq!(credit(&shares, source), -10);
    let mut after = |time| {
        shares.share(NOW + time, source);
        let share = &shares.announcers[&source];
        (share.credit, share.failures)
    };
    let nanosecond = Duration::from_nanos(1);
    assert_eq!(after(FAILURE_INTERVAL - nanosecond), (-10, 10));
    assert_eq!(after(FAILURE_INTERVAL), (-10, 9));
    assert_eq!(after(CREDIT_INTERVAL - nanosecond), (-10, 1));
    assert_eq!(after(CREDIT_INTERVAL), (-9, 0));
    assert_eq!(after(CREDIT_INTERVAL * 3), (-7, 0));
    assert_eq!(after(CREDIT_INTERVAL * 20), (0, 0));
}

#[test]
fn slots_of_a_group_recover_one_per_interval() {
    let mut shares = Shares::default();
    let source = peer(1, 1);
    queue(&mut shares, source, 1);
    let group = group_of(source);
    let set = |shares: &mut Shares, slots| shares.groups.get_mut(&group).unwrap().slots = slots;
    set(&mut shares, MIN_GROUP_SLOTS);
    for (time, slots) in [
        (GROUP_INTERVAL - Duration::from_nanos(1), MIN_GROUP_SLOTS),
        (GROUP_INTERVAL, MIN_GROUP_SLOTS + 1),
        (GROUP_INTERVAL * 5, MIN_GROUP_SLOTS + 5),
        (GROUP_INTERVAL * 1_000, GROUP_SLOTS),
    ] {
        shares.share(NOW + time, source);
        assert_eq!(shares.groups[&group].slots, slots, "{time:?}");
    }
    // Slots that a group has gained are not lost with time.
    set(&mut shares, MAX_GROUP_SLOTS);
    shares.share(NOW + GROUP_INTERVAL * 2_000, source);
    assert_eq!(shares.groups[&group].slots, MAX_GROUP_SLOTS);
}

#[test]
fn full_queue_evicts_from_the_largest_group_only_if_it_is_larger() {
    let mut shares = Shares::default();
    let counts = [
        MAX_ANNOUNCED / 3 + 1,
        MAX_ANNOUNCED / 3,
        MAX_ANNOUNCED - 2 * (MAX_ANNOUNCED / 3) - 1,
    ];
    for (group, count) in counts.into_iter().enumerate() {
        queue(&mut shares, peer(group, group), count);
    }
    assert_eq!(shares.queued(), MAX_ANNOUNCED);
    let taken_from = |shares: &mut Shares, source| {
        shares.enqueue(NOW, id(99), source).unwrap();
        shares
            .take_displaced()
            .into_iter()
            .map(|(_, from)| from)
            .collect::<Vec<_>>()
    };
    // With this one it would have one more than the other: its own group yields.
    assert_eq!(taken_from(&mut shares, peer(10, 1)), [peer(1, 1)]);
    // An unknown group takes from the largest.
    assert_eq!(taken_from(&mut shares, peer(11, 7)), [peer(0, 0)]);
}

#[test]
fn new_announcer_gets_two_slots_and_one_more_per_delivery() {
    let mut shares = Shares::default();
    let source = peer(1, 1);
    queue(&mut shares, source, 100);
    let mut granted = grants(&mut shares);
    assert_eq!(granted.len(), NEW_ANNOUNCER_SLOTS);
    for brought in 1..5 {
        shares.record(NOW, source, true);
        for grant in granted.drain(..) {
            shares.release(grant);
        }
        granted = grants(&mut shares);
        assert_eq!(granted.len(), NEW_ANNOUNCER_SLOTS + brought);
    }
}

#[test]
fn new_announcer_evicts_the_least_recently_seen_and_a_known_one_none() {
    let mut shares = Shares::default();
    for number in 0..MAX_PEERS {
        let now = NOW + Duration::from_millis(number as u64);
        shares.record(now, peer(number, number % 50), true);
    }
    let later = NOW + Duration::from_secs(60);
    shares.record(later, peer(0, 0), true);
    assert_eq!(
        (shares.announcers(), credit(&shares, peer(0, 0))),
        (MAX_PEERS, 2)
    );
    shares.record(later, peer(MAX_PEERS, 1), true);
    assert_eq!(shares.announcers(), MAX_PEERS);
    assert_eq!(credit(&shares, peer(1, 1)), 0, "it is forgotten");
    assert_eq!(credit(&shares, peer(0, 0)), 2);
    shares.check();
}

#[test]
fn announcer_evicts_only_from_a_longer_queue_of_its_group() {
    let mut shares = Shares::default();
    let counts = [
        MAX_ANNOUNCED_PER_PEER,
        MAX_ANNOUNCED_PER_PEER - 1,
        MAX_ANNOUNCED - 2 * MAX_ANNOUNCED_PER_PEER + 1,
    ];
    for (number, count) in counts.into_iter().enumerate() {
        queue(&mut shares, peer(number, 1), count);
    }
    assert_eq!(shares.queued(), MAX_ANNOUNCED);
    // With one more, the second would have as many as the first.
    let refused = shares.enqueue(NOW, id(99), peer(1, 1));
    assert_eq!(refused, Err(Declined::QueueFull));
    assert!(shares.take_displaced().is_empty());
    shares.enqueue(NOW, id(99), peer(2, 1)).unwrap();
    let displaced = shares.take_displaced();
    let from: Vec<Source> = displaced.iter().map(|(_, from)| *from).collect();
    assert_eq!(from, [peer(0, 1)]);
}

#[test]
fn wasted_slot_costs_a_group_an_eighth_of_its_slots_down_to_a_minimum() {
    let mut shares = Shares::default();
    let source = peer(1, 1);
    let mut slots = Vec::new();
    for _ in 0..20 {
        shares.record(NOW, source, false);
        slots.push(shares.groups[&group_of(source)].slots);
    }
    assert_eq!(slots[..6], [56, 49, 43, 38, 34, 30]);
    assert_eq!(slots[19], MIN_GROUP_SLOTS);
}

#[test]
fn announcer_with_failures_is_remembered_at_any_credit() {
    let mut shares = Shares::default();
    let source = peer(1, 1);
    shares.record(NOW, source, true);
    shares.record(NOW, source, false);
    assert_eq!((credit(&shares, source), shares.announcers()), (0, 1));
}
