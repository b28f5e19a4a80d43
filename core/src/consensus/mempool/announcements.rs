//! Transactions that peers tell of: who may tell how much, what is fetched when, and what is not
//! looked at twice.
//!
//! A datagram brings an id alone. Behind it may be nothing, or nonsense; so an id costs a place in a
//! bounded queue, then one of a bounded number of fetches, and only then a look.
//!
//! Invariants:
//! - What is held is bounded by the constants of this module, whatever is announced.
//! - A peer takes at most its share of the queue and of the fetches, so that one that announces
//!   nonsense does not keep others out.
//! - A peer whose announcements come to nothing [`FAILURES_BURST`] times is not listened to until
//!   its budget grows again, by one each [`FAILURE_INTERVAL`]. What is good costs no budget.
//! - An id that was found bad whatever the chain says is remembered and never fetched again, as
//!   long as it is among the [`MAX_REFUSED`] latest.
//! - Every id that was taken is settled once: by [`Intake::settle`], or as overdue.

use crate::atom::AtomId;
use crate::crypto::PublicKey;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Announced ids that wait to be looked at.
pub const MAX_ANNOUNCED: usize = 16_384;
/// Those of one peer.
pub const MAX_ANNOUNCED_PER_PEER: usize = 8_192;
/// Transactions that are being fetched.
pub const MAX_FETCHING: usize = 256;
/// Those of one peer.
pub const MAX_FETCHING_PER_PEER: usize = 128;
/// Fetches for one transaction: of its head and its body, in parts, and of what has to be known of
/// its sender where the chain's state is not here.
pub const MAX_FETCHES: u8 = 64;
/// How long one transaction may take to come.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Ids that are remembered as bad. When full, the one refused longest ago is forgotten.
pub const MAX_REFUSED: usize = 65_536;
/// Announcements of one peer that may come to nothing at once.
pub const FAILURES_BURST: u32 = 64;
/// A peer may fail once more after each of these.
pub const FAILURE_INTERVAL: Duration = Duration::from_secs(1);
/// Peers whose failures are counted. When full, the one that failed longest ago is forgiven.
pub const MAX_PEERS: usize = 4_096;

/// The deadline of what was told to be overdue.
const OVERDUE: Duration = Duration::new(u64::MAX, 0);

/// Why an announcement was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Declined {
    /// It is being looked at.
    UnderWay,
    /// It was refused before, for a reason that does not change.
    Refused,
    /// Too many are waiting, from everybody or from this peer.
    QueueFull,
    /// Too many announcements of this peer came to nothing.
    PeerOverBudget,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnderWay => "it is being looked at already",
            Self::Refused => "it was refused before",
            Self::QueueFull => "too many announcements wait",
            Self::PeerOverBudget => "too many announcements of this peer came to nothing",
        })
    }
}

impl core::error::Error for Declined {}

/// Who announced: a peer, or this node itself.
type Announcer = Option<PublicKey>;

#[derive(Debug)]
struct Job {
    from: Announcer,
    /// What is fetched for it; `None` while it waits in the queue.
    wanted: Option<AtomId>,
    fetches: u8,
    /// Counts once it has left the queue.
    deadline: Duration,
}

/// What one announcer has under way, and how much it may still get wrong.
#[derive(Debug)]
struct Share {
    queue: VecDeque<AtomId>,
    /// Whether it is among those whose turn comes.
    is_ready: bool,
    fetching: usize,
    failures: u32,
    /// Up to when the failures have been forgiven.
    forgiven: Duration,
}

impl Share {
    fn is_idle(&self) -> bool {
        self.has_nothing() && self.failures == 0
    }

    fn has_nothing(&self) -> bool {
        self.queue.is_empty() && self.fetching == 0
    }

    fn may_fetch(&self) -> bool {
        !self.queue.is_empty() && self.fetching < MAX_FETCHING_PER_PEER
    }

    fn forgive(&mut self, now: Duration) {
        let whole = now.saturating_sub(self.forgiven).as_nanos() / FAILURE_INTERVAL.as_nanos();
        let whole = u32::try_from(whole).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_sub(whole);
        self.forgiven = if self.failures == 0 {
            now
        } else {
            self.forgiven + FAILURE_INTERVAL * whole
        };
    }
}

/// The intake. See the [module](self).
#[derive(Debug, Default)]
pub struct Intake {
    queued: usize,
    /// Announcers with something to fetch and room for it, in turn.
    ready: VecDeque<Announcer>,
    jobs: BTreeMap<AtomId, Job>,
    fetching: usize,
    /// By what is fetched: for which transactions.
    wanted: BTreeMap<AtomId, Vec<AtomId>>,
    deadlines: VecDeque<(Duration, AtomId)>,
    announcers: BTreeMap<Announcer, Share>,
    refused: BTreeMap<AtomId, ()>,
    refused_order: VecDeque<AtomId>,
}

impl Intake {
    /// Takes an announcement; `from` is `None` for one of our own, which has no budget to pass.
    ///
    /// # Errors
    /// When it needs no look, or there is no room for it.
    pub fn announce(
        &mut self,
        now: Duration,
        id: AtomId,
        from: Option<PublicKey>,
    ) -> Result<(), Declined> {
        if self.jobs.contains_key(&id) {
            return Err(Declined::UnderWay);
        }
        if self.refused.contains_key(&id) {
            // It was looked up, no more: nothing that a budget has to bear.
            return Err(Declined::Refused);
        }
        if self.queued >= MAX_ANNOUNCED {
            return Err(Declined::QueueFull);
        }
        let share = self.share(now, from);
        if share.failures >= FAILURES_BURST {
            return Err(Declined::PeerOverBudget);
        }
        if share.queue.len() >= MAX_ANNOUNCED_PER_PEER {
            return Err(Declined::QueueFull);
        }
        share.queue.push_back(id);
        self.queued += 1;
        self.get_ready(from);
        let job = Job {
            from,
            wanted: None,
            fetches: 0,
            deadline: Duration::MAX,
        };
        self.jobs.insert(id, job);
        Ok(())
    }

    /// The next transaction to look at, if there is room for the fetches that it may need. The
    /// announcers take turns; those that have all their fetches under way wait.
    pub fn next(&mut self, now: Duration) -> Option<AtomId> {
        if self.fetching >= MAX_FETCHING {
            return None;
        }
        let from = self.ready.pop_front()?;
        let share = self.announcers.get_mut(&from)?;
        share.is_ready = false;
        let id = share.queue.pop_front()?;
        share.fetching += 1;
        self.queued -= 1;
        self.fetching += 1;
        self.get_ready(from);
        let deadline = now.saturating_add(FETCH_TIMEOUT);
        self.deadlines.push_back((deadline, id));
        if let Some(job) = self.jobs.get_mut(&id) {
            job.deadline = deadline;
        }
        Some(id)
    }

    /// Notes that `wanted` has to be fetched for a transaction that [`Intake::next`] gave. `true` if
    /// a fetch is to be started, `false` if one for it is under way; `None` when the transaction has
    /// had all its fetches.
    pub fn want(&mut self, id: AtomId, wanted: AtomId) -> Option<bool> {
        let job = self.jobs.get_mut(&id)?;
        if job.fetches >= MAX_FETCHES {
            return None;
        }
        job.fetches += 1;
        job.wanted = Some(wanted);
        let waiters = self.wanted.entry(wanted).or_default();
        waiters.push(id);
        Some(waiters.len() == 1)
    }

    /// The peer that told of a transaction that is not settled, if one did.
    #[must_use]
    pub fn announcer(&self, id: &AtomId) -> Option<PublicKey> {
        self.jobs.get(id)?.from
    }

    /// Ends a fetch: the transactions that waited for it, which are to be looked at again, or
    /// settled if it brought nothing.
    pub fn fetched(&mut self, wanted: &AtomId) -> Vec<AtomId> {
        let waiters = self.wanted.remove(wanted).unwrap_or_default();
        for id in &waiters {
            if let Some(job) = self.jobs.get_mut(id) {
                job.wanted = None;
            }
        }
        waiters
    }

    /// Ends the look at a transaction.
    pub fn settle(&mut self, now: Duration, id: &AtomId, verdict: Verdict) {
        let Some(job) = self.jobs.remove(id) else {
            return;
        };
        self.fetching -= 1;
        if let Some(wanted) = job.wanted
            && let Some(waiters) = self.wanted.get_mut(&wanted)
        {
            waiters.retain(|waiter| waiter != id);
            if waiters.is_empty() {
                self.wanted.remove(&wanted);
            }
        }
        if verdict == Verdict::BadForGood {
            self.remember(*id);
        }
        let share = self.share(now, job.from);
        share.fetching = share.fetching.saturating_sub(1);
        if verdict != Verdict::Good && job.from.is_some() {
            share.failures = share.failures.saturating_add(1).min(FAILURES_BURST);
        }
        if share.is_idle() {
            self.announcers.remove(&job.from);
        } else {
            self.get_ready(job.from);
        }
    }

    /// Transactions that took too long; each is to be settled.
    pub fn overdue(&mut self, now: Duration) -> Vec<AtomId> {
        let mut overdue = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.front() {
            let job = self.jobs.get(&id);
            let is_open = job.is_some_and(|job| job.deadline == deadline);
            if is_open && deadline > now {
                break;
            }
            self.deadlines.pop_front();
            if let Some(job) = self.jobs.get_mut(&id).filter(|_| is_open) {
                // Told once, also if it was settled and announced again at one instant.
                job.deadline = OVERDUE;
                overdue.push(id);
            }
        }
        overdue
    }

    /// When something is overdue next.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Whether [`Intake::next`] gives something.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.fetching < MAX_FETCHING && !self.ready.is_empty()
    }

    /// Whether a transaction that [`Intake::next`] gave has not been settled.
    #[must_use]
    pub fn is_open(&self, id: &AtomId) -> bool {
        self.jobs
            .get(id)
            .is_some_and(|job| job.deadline < Duration::MAX)
    }

    /// Announcements that wait.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// Transactions that are being fetched.
    #[must_use]
    pub const fn fetching(&self) -> usize {
        self.fetching
    }

    fn remember(&mut self, id: AtomId) {
        if self.refused.insert(id, ()).is_none() {
            self.refused_order.push_back(id);
        }
        while self.refused_order.len() > MAX_REFUSED {
            if let Some(oldest) = self.refused_order.pop_front() {
                self.refused.remove(&oldest);
            }
        }
    }

    /// Gives an announcer its turn if it has something to fetch and room for it.
    fn get_ready(&mut self, from: Announcer) {
        if let Some(share) = self.announcers.get_mut(&from)
            && share.may_fetch()
            && !share.is_ready
        {
            share.is_ready = true;
            self.ready.push_back(from);
        }
    }

    fn share(&mut self, now: Duration, from: Announcer) -> &mut Share {
        if self.announcers.len() >= MAX_PEERS && !self.announcers.contains_key(&from) {
            let done = self
                .announcers
                .iter()
                .filter(|(_, share)| share.has_nothing());
            let oldest = done.min_by_key(|(_, share)| share.forgiven);
            if let Some(oldest) = oldest.map(|(from, _)| *from) {
                self.announcers.remove(&oldest);
            }
        }
        let share = self.announcers.entry(from).or_insert_with(|| Share {
            queue: VecDeque::new(),
            is_ready: false,
            fetching: 0,
            failures: 0,
            forgiven: now,
        });
        share.forgive(now);
        share
    }
}

/// What came of a look at a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is in the pool, or was not needed.
    Good,
    /// It is refused as things stand, or could not be fetched.
    Bad,
    /// It is refused whatever happens.
    BadForGood,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u32) -> AtomId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        bytes[31] = 1;
        AtomId::new(bytes)
    }

    fn peer(number: u8) -> PublicKey {
        PublicKey::new([number; 32])
    }

    const NOW: Duration = Duration::from_secs(1_000);

    #[test]
    fn one_peer_takes_no_more_than_its_share_of_fetches() {
        let mut intake = Intake::default();
        for number in 0..1_000 {
            intake.announce(NOW, id(number), Some(peer(1))).unwrap();
        }
        intake.announce(NOW, id(5_000), Some(peer(2))).unwrap();
        let mut taken = Vec::new();
        while let Some(next) = intake.next(NOW) {
            taken.push(next);
        }
        assert_eq!(taken.len(), MAX_FETCHING_PER_PEER + 1);
        assert!(taken.contains(&id(5_000)));
        intake.settle(NOW, &taken[0], Verdict::Good);
        assert!(intake.next(NOW).is_some() && intake.next(NOW).is_none());
    }

    #[test]
    fn the_queue_is_bounded_for_one_and_for_all() {
        let mut intake = Intake::default();
        let announced = (0..u32::MAX)
            .take_while(|number| intake.announce(NOW, id(*number), Some(peer(1))).is_ok());
        assert_eq!(announced.count(), MAX_ANNOUNCED_PER_PEER);
        let from = |number: u32| Some(peer(u8::try_from(2 + number / 1_000 % 50).unwrap()));
        let rest = (100_000..u32::MAX)
            .take_while(|number| intake.announce(NOW, id(*number), from(*number)).is_ok());
        assert_eq!(rest.count(), MAX_ANNOUNCED - MAX_ANNOUNCED_PER_PEER);
        let own = intake.announce(NOW, id(1_000_000), None);
        assert_eq!(own, Err(Declined::QueueFull));
    }

    #[test]
    fn nonsense_silences_its_peer_for_a_while_and_is_not_fetched_twice() {
        let mut intake = Intake::default();
        for number in 0..FAILURES_BURST {
            intake.announce(NOW, id(number), Some(peer(1))).unwrap();
            let next = intake.next(NOW).unwrap();
            intake.settle(NOW, &next, Verdict::BadForGood);
        }
        let more = intake.announce(NOW, id(900), Some(peer(1)));
        assert_eq!(more, Err(Declined::PeerOverBudget));
        intake.announce(NOW, id(901), Some(peer(2))).unwrap();
        let known = intake.announce(NOW, id(0), Some(peer(2)));
        assert_eq!(known, Err(Declined::Refused));
        let later = NOW + FAILURE_INTERVAL;
        intake.announce(later, id(900), Some(peer(1))).unwrap();
    }

    #[test]
    fn a_transaction_has_a_few_fetches_and_a_deadline() {
        let mut intake = Intake::default();
        intake.announce(NOW, id(1), Some(peer(1))).unwrap();
        let again = intake.announce(NOW, id(1), Some(peer(2)));
        assert_eq!(again, Err(Declined::UnderWay));
        assert_eq!(intake.next(NOW), Some(id(1)));
        for number in 0..u32::from(MAX_FETCHES) {
            assert_eq!(intake.want(id(1), id(100 + number)), Some(true));
            assert_eq!(intake.fetched(&id(100 + number)), [id(1)]);
        }
        assert_eq!(intake.want(id(1), id(200)), None);
        assert!(intake.overdue(NOW + FETCH_TIMEOUT / 2).is_empty());
        assert_eq!(intake.deadline(), Some(NOW + FETCH_TIMEOUT));
        assert_eq!(intake.overdue(NOW + FETCH_TIMEOUT), [id(1)]);
        intake.settle(NOW + FETCH_TIMEOUT, &id(1), Verdict::Bad);
        assert_eq!((intake.fetching(), intake.deadline()), (0, None));
    }

    #[test]
    fn transactions_with_one_body_share_its_fetch() {
        let mut intake = Intake::default();
        for number in 1..=3 {
            intake.announce(NOW, id(number), None).unwrap();
            intake.next(NOW).unwrap();
        }
        assert_eq!(intake.want(id(1), id(9)), Some(true));
        assert_eq!(intake.want(id(2), id(9)), Some(false));
        assert_eq!(intake.want(id(3), id(9)), Some(false));
        intake.settle(NOW, &id(2), Verdict::Good);
        assert_eq!(intake.fetched(&id(9)), [id(1), id(3)]);
        assert!(intake.fetched(&id(9)).is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Announce(u32, Option<u8>),
        Next,
        Want(u32, u32),
        Fetched(u32),
        Settle(u32, u8),
        Overdue,
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40u32, proptest::option::of(0..4u8)).prop_map(|(a, b)| Step::Announce(a, b)),
            3 => Just(Step::Next),
            2 => (0..40u32, 0..6u32).prop_map(|(a, b)| Step::Want(a, b)),
            1 => (0..6u32).prop_map(Step::Fetched),
            2 => (0..40u32, 0..3u8).prop_map(|(a, b)| Step::Settle(a, b)),
            1 => Just(Step::Overdue),
            1 => (0..15u64).prop_map(Step::Pass),
        ]
    }

    proptest! {
        #[test]
        fn counts_agree_with_what_is_under_way(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut intake = Intake::default();
            let mut now = NOW;
            let mut open = Vec::new();
            for step in steps {
                match step {
                    Step::Announce(number, from) => {
                        let _ = intake.announce(now, id(number), from.map(peer));
                    }
                    Step::Next => open.extend(intake.next(now)),
                    Step::Want(number, wanted) => {
                        let free = open.contains(&id(number))
                            && intake.jobs[&id(number)].wanted.is_none();
                        if free {
                            intake.want(id(number), id(1_000 + wanted));
                        }
                    }
                    Step::Fetched(wanted) => {
                        let waiters = intake.fetched(&id(1_000 + wanted));
                        prop_assert!(waiters.iter().all(|id| open.contains(id)));
                    }
                    Step::Settle(number, verdict) => {
                        if open.contains(&id(number)) {
                            open.retain(|one| *one != id(number));
                            let verdicts = [Verdict::Good, Verdict::Bad, Verdict::BadForGood];
                            intake.settle(now, &id(number), verdicts[usize::from(verdict)]);
                        }
                    }
                    Step::Overdue => for late in intake.overdue(now) {
                        prop_assert!(open.contains(&late));
                        open.retain(|one| *one != late);
                        intake.settle(now, &late, Verdict::Bad);
                    },
                    Step::Pass(seconds) => now += Duration::from_secs(seconds),
                }
                prop_assert_eq!(intake.fetching(), open.len());
                prop_assert_eq!(intake.jobs.len(), open.len() + intake.queued());
                let shares = || intake.announcers.values();
                let queued = shares().map(|share| share.queue.len()).sum::<usize>();
                prop_assert_eq!(queued, intake.queued());
                let fetching = shares().map(|share| share.fetching).sum::<usize>();
                prop_assert_eq!(fetching, open.len());
                prop_assert!(shares().all(|share| share.failures <= FAILURES_BURST));
                // Whoever may fetch has its turn, once.
                let mut ready: Vec<_> = intake.ready.iter().collect();
                prop_assert_eq!(ready.len(), shares().filter(|share| share.is_ready).count());
                prop_assert!(shares().all(|share| share.is_ready == share.may_fetch()));
                ready.sort();
                ready.dedup();
                prop_assert_eq!(ready.len(), intake.ready.len());
            }
        }
    }
}
