use super::*;
use alloc::vec;
use proptest::prelude::*;

fn id(number: u32) -> AtomId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes[31] = 1;
    AtomId::new(bytes)
}

/// Returns a peer in a network of its own.
fn peer(number: u8) -> Source {
    in_group(number, number)
}

fn in_group(number: u8, group: u8) -> Source {
    Some(Announcer {
        group: NetworkGroup::of([10, 0, 0, group].into()),
        peer: PublicKey::new([number; 32]),
    })
}

const NOW: Duration = Duration::from_secs(1_000);

/// Opens as many as possible, and requests a fetch for each.
fn open_all(announcements: &mut Announcements, now: Duration) -> Vec<AtomId> {
    let next = || {
        let id = announcements.next(now)?;
        assert!(matches!(announcements.want(id, id), Want::Start(_)));
        Some(id)
    };
    core::iter::from_fn(next).collect()
}

#[test]
fn fetch_window_grows_with_success_and_shrinks_with_failure() {
    let mut announcements = Announcements::default();
    for number in 0..1_000 {
        announcements.announce(NOW, id(number), peer(1)).unwrap();
    }
    let mut windows = Vec::new();
    for _ in 0..8 {
        let open = open_all(&mut announcements, NOW);
        windows.push(open.len());
        for id in open {
            announcements.settle(NOW, &id, Verdict::Good);
        }
    }
    assert_eq!(windows, [2, 4, 8, 16, 32, 64, 128, 128]);
    let open = open_all(&mut announcements, NOW);
    for id in &open[..3] {
        announcements.settle(NOW, id, Verdict::Bad);
    }
    for id in &open[3..] {
        announcements.settle(NOW, id, Verdict::Good);
    }
    let next = open_all(&mut announcements, NOW).len();
    assert!(next < 160 && next > 100, "{next}");
}

#[test]
fn silent_group_loses_its_slots_but_an_honest_peer_in_it_does_not() {
    let mut announcements = Announcements::default();
    let mut now = NOW;
    let mut next_id = 0;
    let mut announce = |announcements: &mut Announcements, now, source| {
        next_id += 1;
        let _ = announcements.announce(now, id(next_id), source);
    };
    // 64 keys of one group do not answer, with two announcements a second each, for a while.
    for _ in 0..10 {
        for key in 0..64 {
            announce(&mut announcements, now, in_group(key, 9));
            announce(&mut announcements, now, in_group(key, 9));
        }
        for _ in 0..4 {
            open_all(&mut announcements, now);
            for late in announcements.overdue(now) {
                announcements.settle(now, &late, Verdict::Bad);
            }
            now += Duration::from_millis(250);
        }
    }
    // An honest peer of the same group, never seen before, is served at once.
    for number in 0..60 {
        announcements
            .announce(now, id(1_000_000 + number), in_group(200, 9))
            .unwrap();
    }
    let mut served = Vec::new();
    let mut turns = 0;
    while served.len() < 60 {
        turns += 1;
        assert!(
            turns < 20,
            "{} of 60 after {turns} round trips",
            served.len()
        );
        let open = open_all(&mut announcements, now);
        now += Duration::from_millis(20);
        for one in open {
            let source = announcements.sources(&one).first().copied();
            if source == Some(in_group(200, 9)) {
                announcements.settle(now, &one, Verdict::Good);
                served.push(one);
            }
        }
    }
}

#[test]
fn silent_groups_leave_slots_for_another() {
    let mut announcements = Announcements::default();
    // 16 groups of 64 keys each, from one moment on.
    let mut number = 0;
    for group in 0..16 {
        for key in 0..16 {
            for _ in 0..8 {
                number += 1;
                let key = group * 16 + key;
                announcements
                    .announce(NOW, id(number), in_group(key, group))
                    .unwrap();
            }
        }
    }
    announcements.announce(NOW, id(0), in_group(0, 99)).unwrap();
    let open = open_all(&mut announcements, NOW);
    assert_eq!(open.len(), MAX_FETCHING);
    assert!(open.contains(&id(0)), "each group has its turn");
    // One that comes when all slots are held waits for an answer's time.
    announcements
        .announce(NOW, id(1_000_000), in_group(1, 99))
        .unwrap();
    assert_eq!(announcements.next(NOW), None);
    let later = NOW + ANSWER_TIME;
    assert_eq!(announcements.deadline(), Some(later));
    assert!(announcements.overdue(later).is_empty());
    let open = open_all(&mut announcements, later);
    assert!(open.contains(&id(1_000_000)));
}

#[test]
fn unanswered_fetch_lingers_and_may_still_succeed() {
    let mut announcements = Announcements::default();
    announcements.announce(NOW, id(1), peer(1)).unwrap();
    assert_eq!(open_all(&mut announcements, NOW), [id(1)]);
    assert!(announcements.overdue(NOW + ANSWER_TIME).is_empty());
    assert!(announcements.is_open(&id(1)));
    assert_eq!(announcements.fetching(), 1);
    announcements.settle(NOW + ANSWER_TIME * 2, &id(1), Verdict::Good);
    assert_eq!(
        (announcements.fetching(), announcements.deadline()),
        (0, None)
    );
    announcements.shares.check();
    // It is trusted from now on, however slow it is.
    for number in 10..20 {
        announcements.announce(NOW, id(number), peer(1)).unwrap();
    }
    assert_eq!(open_all(&mut announcements, NOW).len(), 3);
}

#[test]
fn lingering_fetches_are_bounded_and_the_oldest_is_dropped() {
    let mut announcements = Announcements::default();
    let mut now = NOW;
    let mut number = 0;
    let mut given_up = Vec::new();
    for _ in 0..40 {
        for _ in 0..64 {
            // A new key for each.
            number += 1;
            let mut key = [3; 32];
            key[..4].copy_from_slice(&u32::to_be_bytes(number));
            let source = Some(Announcer {
                group: NetworkGroup::of([10, 0, 1, number.to_be_bytes()[3]].into()),
                peer: PublicKey::new(key),
            });
            announcements.announce(now, id(number), source).unwrap();
        }
        open_all(&mut announcements, now);
        now += Duration::from_millis(100);
        given_up.extend(announcements.overdue(now));
        for late in &given_up {
            announcements.settle(now, late, Verdict::Bad);
        }
    }
    assert!(announcements.lingering.len() <= MAX_LINGERING);
    assert!(!given_up.is_empty() && given_up[0] == id(1));
}

#[test]
fn queue_is_bounded_and_drops_from_the_longest() {
    let mut announcements = Announcements::default();
    let announced = (0..u32::MAX)
        .take_while(|number| announcements.announce(NOW, id(*number), peer(1)).is_ok());
    assert_eq!(announced.count(), MAX_ANNOUNCED_PER_PEER);
    let rest = (100_000..u32::MAX)
        .take_while(|number| announcements.announce(NOW, id(*number), peer(2)).is_ok());
    assert_eq!(rest.count(), MAX_ANNOUNCED - MAX_ANNOUNCED_PER_PEER);
    assert_eq!(announcements.queued(), MAX_ANNOUNCED);
    // Newcomers displace the newest of those two, and this node's own do too.
    announcements.announce(NOW, id(1_000_000), peer(3)).unwrap();
    announcements.announce(NOW, id(1_000_001), None).unwrap();
    assert_eq!(announcements.queued(), MAX_ANNOUNCED);
    assert_eq!(announcements.jobs.len(), MAX_ANNOUNCED);
    assert_eq!(announcements.next(NOW), Some(id(1_000_001)));
    // Not the other way round.
    let more = announcements.announce(NOW, id(2_000_000), peer(1));
    assert_eq!(more, Ok(()), "there is room again");
    let full = announcements.announce(NOW, id(2_000_001), peer(1));
    assert_eq!(full, Err(Declined::QueueFull));
    announcements.shares.check();
}

#[test]
fn malformed_transactions_pause_their_announcer_and_are_not_fetched_twice() {
    let mut announcements = Announcements::default();
    for number in 0..FAILURES_BURST {
        announcements.announce(NOW, id(number), peer(1)).unwrap();
        let next = announcements.next(NOW).unwrap();
        announcements.settle(NOW, &next, Verdict::PermanentlyBad);
    }
    let more = announcements.announce(NOW, id(900), peer(1));
    assert_eq!(more, Err(Declined::PeerOverBudget));
    announcements.announce(NOW, id(901), peer(2)).unwrap();
    let known = announcements.announce(NOW, id(0), peer(2));
    assert_eq!(known, Err(Declined::Refused));
    let later = NOW + FAILURE_INTERVAL;
    announcements.announce(later, id(900), peer(1)).unwrap();
}

#[test]
fn fetches_of_a_transaction_have_a_limit_and_a_deadline() {
    let mut announcements = Announcements::default();
    announcements.announce(NOW, id(1), peer(1)).unwrap();
    assert_eq!(announcements.next(NOW), Some(id(1)));
    let from = peer(1).map(|announcer| announcer.peer);
    for number in 0..u32::from(MAX_FETCHES) {
        assert_eq!(
            announcements.want(id(1), id(100 + number)),
            Want::Start(from)
        );
        assert_eq!(announcements.want(id(1), id(9_999)), Want::UnderWay);
        assert_eq!(announcements.fetched(&id(100 + number), false), [id(1)]);
    }
    assert_eq!(announcements.want(id(1), id(200)), Want::Exhausted);
    assert!(announcements.overdue(NOW + FETCH_TIMEOUT / 2).is_empty());
    assert_eq!(announcements.deadline(), Some(NOW + FETCH_TIMEOUT));
    assert_eq!(announcements.overdue(NOW + FETCH_TIMEOUT), [id(1)]);
    announcements.settle(NOW + FETCH_TIMEOUT, &id(1), Verdict::Bad);
    assert_eq!(
        (announcements.fetching(), announcements.deadline()),
        (0, None)
    );
}

#[test]
fn asks_further_announcers_when_the_first_does_not_answer() {
    let mut announcements = Announcements::default();
    announcements.announce(NOW, id(1), peer(1)).unwrap();
    assert_eq!(
        announcements.announce(NOW, id(1), peer(2)),
        Err(Declined::UnderWay)
    );
    assert_eq!(announcements.next(NOW), Some(id(1)));
    // Also one that announces it meanwhile.
    assert_eq!(
        announcements.announce(NOW, id(1), peer(3)),
        Err(Declined::UnderWay)
    );
    for asked in [1, 2, 3, 1] {
        let asked = peer(asked).map(|announcer| announcer.peer);
        assert_eq!(announcements.want(id(1), id(9)), Want::Start(asked));
        announcements.fetched(&id(9), true);
    }
    // Its second announcement left nothing in the queue.
    announcements.settle(NOW, &id(1), Verdict::Good);
    assert_eq!(announcements.next(NOW), None);
    assert_eq!(announcements.queued(), 0);
}

#[test]
fn failing_announcers_are_asked_once_and_replaced_by_better_ones() {
    let mut announcements = Announcements::default();
    for key in 1..=4 {
        announcements
            .announce(NOW, id(key.into()), peer(key))
            .unwrap();
        assert_eq!(announcements.next(NOW), Some(id(key.into())));
        announcements.settle(NOW, &id(key.into()), Verdict::Bad);
    }
    // Four silent keys that heard of an honest transaction before its owner announces it.
    let honest = id(500);
    for key in 1..=4 {
        let _ = announcements.announce(NOW, honest, peer(key));
    }
    assert_eq!(announcements.sources(&honest).len(), MAX_ANNOUNCERS);
    let _ = announcements.announce(NOW, honest, peer(9));
    assert!(announcements.sources(&honest).contains(&peer(9)));
    assert_eq!(announcements.next(NOW), Some(honest));
    let asked = peer(9).map(|announcer| announcer.peer);
    assert_eq!(
        announcements.want(honest, honest),
        Want::Start(asked),
        "the best comes first"
    );
    announcements.settle(NOW, &honest, Verdict::Good);
    // The slot was another's, and it is not responsible for the transaction.
    assert_eq!(announcements.shares.rank(peer(9)), Rank::Trusted);
    assert_eq!(announcements.shares.rank(peer(1)), Rank::Failing);
    // Alone they are asked once each.
    for key in 1..=2 {
        let _ = announcements.announce(NOW, id(600), peer(key));
    }
    assert_eq!(announcements.next(NOW), Some(id(600)));
    let mut asked = 0;
    while let Want::Start(_) = announcements.want(id(600), id(600)) {
        announcements.fetched(&id(600), true);
        asked += 1;
    }
    assert_eq!(asked, 2);
}

#[test]
fn transactions_with_one_body_share_its_fetch() {
    let mut announcements = Announcements::default();
    for number in 1..=3 {
        announcements.announce(NOW, id(number), None).unwrap();
        announcements.next(NOW).unwrap();
    }
    assert_eq!(announcements.want(id(1), id(9)), Want::Start(None));
    assert_eq!(announcements.want(id(2), id(9)), Want::UnderWay);
    assert_eq!(announcements.want(id(3), id(9)), Want::UnderWay);
    announcements.settle(NOW, &id(2), Verdict::Good);
    assert_eq!(announcements.fetched(&id(9), false), [id(1), id(3)]);
    assert!(announcements.fetched(&id(9), false).is_empty());
}

#[test]
fn number_of_remembered_announcers_is_bounded() {
    let mut announcements = Announcements::default();
    for number in 0..10_000_u32 {
        let mut key = [5; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        let [.., high, low] = number.to_be_bytes();
        let source = Some(Announcer {
            group: NetworkGroup::of([10, high, low, 1].into()),
            peer: PublicKey::new(key),
        });
        announcements.announce(NOW, id(number), source).unwrap();
        let next = announcements.next(NOW).unwrap();
        announcements.settle(NOW, &next, Verdict::Bad);
    }
    announcements.shares.check();
    assert_eq!(announcements.shares.announcers(), MAX_PEERS);
}

#[derive(Clone, Debug)]
enum Step {
    Announce(u32, Option<(u8, u8)>),
    Next,
    Want(u32, u32),
    Fetched(u32, bool),
    Settle(u32, u8),
    Overdue,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let source = proptest::option::of((0..6_u8, 0..3_u8));
    prop_oneof![
        5 => (0..40_u32, source).prop_map(|(id, source)| Step::Announce(id, source)),
        4 => Just(Step::Next),
        2 => (0..40_u32, 0..6_u32).prop_map(|(id, wanted)| Step::Want(id, wanted)),
        1 => (0..6_u32, any::<bool>()).prop_map(|(id, silent)| Step::Fetched(id, silent)),
        3 => (0..40_u32, 0..3_u8).prop_map(|(id, verdict)| Step::Settle(id, verdict)),
        1 => Just(Step::Overdue),
        1 => (0..15_000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn counts_agree_with_open_fetches(
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut announcements = Announcements::default();
        let mut now = NOW;
        let mut open: Vec<AtomId> = vec![];
        for step in steps {
            match step {
                Step::Announce(number, source) => {
                    let source = source.and_then(|(key, group)| in_group(key, group));
                    let _ = announcements.announce(now, id(number), source);
                }
                Step::Next => {
                    let has_next = announcements.has_next();
                    let next = announcements.next(now);
                    prop_assert!(has_next || next.is_none());
                    open.extend(next);
                }
                Step::Want(number, wanted) => {
                    let want = announcements.want(id(number), id(1_000 + wanted));
                    prop_assert!(open.contains(&id(number)) || want == Want::Exhausted);
                }
                Step::Fetched(wanted, is_silent) => {
                    let waiters = announcements.fetched(&id(1_000 + wanted), is_silent);
                    prop_assert!(waiters.iter().all(|id| open.contains(id)));
                }
                Step::Settle(number, verdict) => {
                    if open.contains(&id(number)) {
                        open.retain(|one| *one != id(number));
                        let verdicts = [Verdict::Good, Verdict::Bad, Verdict::PermanentlyBad];
                        announcements.settle(now, &id(number), verdicts[usize::from(verdict)]);
                    }
                }
                Step::Overdue => for late in announcements.overdue(now) {
                    prop_assert!(open.contains(&late));
                    open.retain(|one| *one != late);
                    announcements.settle(now, &late, Verdict::Bad);
                },
                Step::Pass(millis) => now += Duration::from_millis(millis),
            }
            announcements.shares.check();
            prop_assert_eq!(announcements.fetching(), open.len());
            let is_open = |job: &&Job| job.open.is_some();
            prop_assert_eq!(announcements.jobs.values().filter(is_open).count(), open.len());
            // An id that is neither open nor queued is unknown.
            for job in announcements.jobs.values() {
                prop_assert!(!job.sources.is_empty() && job.sources.len() <= MAX_ANNOUNCERS);
            }
        }
    }
}

#[test]
fn refused_transactions_are_bounded_and_the_oldest_is_forgotten() {
    let mut announcements = Announcements::default();
    let count = u32::try_from(MAX_REFUSED).unwrap() + 3;
    for number in 0..count {
        announcements.remember(id(number));
        announcements.remember(id(number));
    }
    assert_eq!(announcements.refused.len(), MAX_REFUSED);
    assert_eq!(announcements.refused_order.len(), MAX_REFUSED);
    let mut is_refused =
        |number| announcements.announce(NOW, id(number), peer(1)) == Err(Declined::Refused);
    assert!(!is_refused(2) && is_refused(3) && is_refused(count - 1));
}

#[test]
fn each_asked_announcer_is_charged_for_a_failed_fetch() {
    let mut announcements = Announcements::default();
    for number in 1..=3 {
        let _ = announcements.announce(NOW, id(1), peer(number));
    }
    assert_eq!(announcements.next(NOW), Some(id(1)));
    // The first two do not answer, the third is not asked.
    for _ in 0..2 {
        assert!(matches!(announcements.want(id(1), id(1)), Want::Start(_)));
        assert_eq!(announcements.fetched(&id(1), true), [id(1)]);
    }
    announcements.settle(NOW, &id(1), Verdict::Bad);
    let ranks = [1, 2, 3].map(|number| announcements.shares.rank(peer(number)));
    // Silences and the current fetch: three announcers were charged.
    assert_eq!(ranks, [Rank::Failing; 3]);
    // If the answer is malformed at once, only the first one is charged.
    for number in 4..=6 {
        let _ = announcements.announce(NOW, id(2), peer(number));
    }
    assert_eq!(announcements.next(NOW), Some(id(2)));
    assert!(matches!(announcements.want(id(2), id(2)), Want::Start(_)));
    announcements.fetched(&id(2), false);
    announcements.settle(NOW, &id(2), Verdict::Bad);
    let ranks = [4, 5, 6].map(|number| announcements.shares.rank(peer(number)));
    assert_eq!(ranks, [Rank::Failing, Rank::Fresh, Rank::Fresh]);
}

#[test]
fn announcer_that_delivers_a_transaction_gets_the_credit() {
    let mut announcements = Announcements::default();
    for number in 1..=3 {
        let _ = announcements.announce(NOW, id(1), peer(number));
    }
    assert_eq!(announcements.next(NOW), Some(id(1)));
    let asked = |want| match want {
        Want::Start(peer) => peer,
        _ => None,
    };
    let first = asked(announcements.want(id(1), id(1)));
    assert_eq!(first, Some(PublicKey::new([1; 32])));
    announcements.fetched(&id(1), true);
    let second = asked(announcements.want(id(1), id(1)));
    assert_eq!(second, Some(PublicKey::new([2; 32])));
    announcements.fetched(&id(1), false);
    announcements.settle(NOW, &id(1), Verdict::Good);
    let ranks = [1, 2, 3].map(|number| announcements.shares.rank(peer(number)));
    assert_eq!(ranks, [Rank::Fresh, Rank::Trusted, Rank::Fresh]);
}

#[test]
fn each_reason_to_decline_has_its_own_text() {
    let reasons = [
        Declined::Refused,
        Declined::UnderWay,
        Declined::QueueFull,
        Declined::PeerOverBudget,
    ];
    let mut texts: Vec<_> = reasons
        .iter()
        .map(alloc::string::ToString::to_string)
        .collect();
    texts.sort();
    texts.dedup();
    assert!(texts.len() == reasons.len() && texts.iter().all(|text| !text.is_empty()));
}

#[test]
fn transaction_without_a_fetch_earns_no_credit() {
    let mut announcements = Announcements::default();
    announcements.announce(NOW, id(1), peer(1)).unwrap();
    assert_eq!(announcements.next(NOW), Some(id(1)));
    announcements.settle(NOW, &id(1), Verdict::Good);
    assert_eq!(announcements.shares.rank(peer(1)), Rank::Fresh);
}
