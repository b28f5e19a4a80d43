//! Announced transactions until they are fetched: queue and schedule of the fetches.
//!
//! A datagram brings only an id. It may belong to nothing or to malformed data, and the peer that
//! announced it may never answer. So an id first takes a slot in a bounded queue, then one of a
//! bounded number of fetches, and only then is it checked. Queue and fetches are shared by network
//! group and, inside a group, by announcer (see `shares`).
//!
//! A transaction that several peers announce is fetched when the first of them has its turn.
//! Announcers with the best record are asked first, and the others if those do not answer; the
//! verdict counts for all that were asked.
//!
//! Invariants:
//! - Memory is bounded by the constants of this module, whatever is announced.
//! - A fetch without an answer holds a slot for [`ANSWER_TIME`]. Then it *lingers*: it may still
//!   succeed, while others use its slot.
//! - An id that was found permanently invalid is remembered and not fetched again, as long as it is
//!   among the latest [`MAX_REFUSED`].
//! - Every id that was opened by [`Announcements::next`] is settled once: by
//!   [`Announcements::settle`], also after [`Announcements::overdue`] returned it.

mod shares;
#[cfg(test)]
mod tests;

use crate::atom::AtomId;
use crate::crypto::PublicKey;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
pub use shares::{
    FAILURE_INTERVAL, FAILURES_BURST, GROUP_SLOTS, MAX_ANNOUNCED, MAX_ANNOUNCED_PER_PEER,
    MAX_FETCHING, MAX_PEERS,
};
use shares::{Grant, Rank, Shares};

/// Maximum number of fetches for one transaction: of its head and its body, in parts, and of the
/// state that its sender's account needs if that is not stored here.
pub const MAX_FETCHES: u8 = 64;
/// Maximum time for one transaction to arrive.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which a fetch holds its slot without an answer.
pub const ANSWER_TIME: Duration = Duration::from_millis(500);
/// Maximum number of lingering fetches. Beyond that, the oldest is given up.
pub const MAX_LINGERING: usize = 1_024;
/// Maximum number of announcers remembered for one transaction.
pub const MAX_ANNOUNCERS: usize = 4;
/// Maximum number of ids remembered as invalid. If full, the one refused longest ago is forgotten.
pub const MAX_REFUSED: usize = 65_536;

/// Reason an announcement was declined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Declined {
    /// The transaction is queued or being fetched already.
    UnderWay,
    /// It was refused before, for a permanent reason.
    Refused,
    /// Too many announcements are queued, of all peers or of this one.
    QueueFull,
    /// Too many announcements of this peer failed.
    PeerOverBudget,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnderWay => "already being fetched",
            Self::Refused => "refused before for a permanent reason",
            Self::QueueFull => "too many announcements are queued",
            Self::PeerOverBudget => "too many failed announcements of this peer",
        })
    }
}

impl core::error::Error for Declined {}

/// Announcing peer, with the network group of its address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Announcer {
    /// Network group of its address.
    pub group: NetworkGroup,
    /// The peer.
    pub peer: PublicKey,
}

/// Source of an announcement: a peer, or `None` for this node itself.
pub type Source = Option<Announcer>;

/// Result of the check of a transaction, as it concerns its announcers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is in the pool, or was not needed.
    Good,
    /// It is refused in the present state, or could not be fetched.
    Bad,
    /// It is refused in any state.
    PermanentlyBad,
}

/// Answer of [`Announcements::want`] to a request for a fetch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want {
    /// Start the fetch, and ask this peer first.
    Start(Option<PublicKey>),
    /// The same id is being fetched already.
    UnderWay,
    /// The transaction has used all its fetches, or its announcers do not answer.
    Exhausted,
}

/// Announced transaction that is not settled.
#[derive(Debug)]
struct Job {
    /// Its announcers. While it is being fetched, in the order in which they are asked: best record
    /// first.
    sources: Vec<Source>,
    open: Option<Open>,
}

impl Job {
    /// Makes room for another announcer, if necessary by replacing one with a worse record.
    fn has_room(&mut self, shares: &Shares, source: Source) -> bool {
        if self.sources.len() < MAX_ANNOUNCERS {
            return true;
        }
        // Announcers that were asked stay, to receive the verdict.
        let asked = self.open.as_ref().map_or(0, Open::asked);
        let others = self.sources.iter().enumerate().skip(asked);
        let ranks = others.map(|(at, other)| (shares.rank(*other), at));
        let worst = ranks.max().filter(|(rank, _)| *rank > shares.rank(source));
        worst.is_some_and(|(_, at)| {
            self.sources.remove(at);
            true
        })
    }
}

/// Transaction that is being fetched.
#[derive(Debug)]
struct Open {
    /// Atom that is being fetched for it, if any.
    wanted: Option<AtomId>,
    fetches: u8,
    /// Number of unanswered fetches; each asks the next announcer.
    silences: u8,
    /// The slot that it holds; `None` once it lingers.
    holds: Option<Grant>,
    /// `true` if announcers that do not answer are asked again while there is time.
    retries_silence: bool,
    deadline: Duration,
    /// Number that distinguishes it from an earlier job with the same id.
    number: u64,
}

impl Open {
    /// Returns the number of announcers asked, which may exceed the number of announcers.
    fn asked(&self) -> usize {
        usize::from(self.silences) + usize::from(self.fetches > 0)
    }
}

/// Announced transactions. See the [module](self).
#[derive(Debug, Default)]
pub struct Announcements {
    shares: Shares,
    jobs: BTreeMap<AtomId, Job>,
    /// Transactions that wait for an atom, by the atom.
    wanted: BTreeMap<AtomId, Vec<AtomId>>,
    /// Jobs that hold a slot and jobs that linger, by when that ends.
    holding: VecDeque<(Duration, u64, AtomId)>,
    lingering: BTreeMap<(Duration, u64), AtomId>,
    refused: BTreeMap<AtomId, ()>,
    refused_order: VecDeque<AtomId>,
    numbers: u64,
}

impl Announcements {
    /// Queues an announcement; `source` is `None` for one of our own, which does not have a budget.
    ///
    /// # Errors
    /// Returns [`Declined`] if the id does not need a check, or there is no room for it.
    pub fn announce(&mut self, now: Duration, id: AtomId, source: Source) -> Result<(), Declined> {
        if self.refused.contains_key(&id) {
            // Only a lookup was spent, so the budget is not charged.
            return Err(Declined::Refused);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            if !job.sources.contains(&source) && job.has_room(&self.shares, source) {
                // While the transaction is being fetched, the announcer is asked if the earlier
                // ones do not answer.
                if job.open.is_none() {
                    self.shares.enqueue(now, id, source)?;
                }
                job.sources.push(source);
                self.drop_displaced();
            }
            return Err(Declined::UnderWay);
        }
        self.shares.enqueue(now, id, source)?;
        self.drop_displaced();
        let job = Job {
            sources: [source].into(),
            open: None,
        };
        self.jobs.insert(id, job);
        Ok(())
    }

    /// Returns the next transaction to check, if there is a slot for the fetches that it may need.
    pub fn next(&mut self, now: Duration) -> Option<AtomId> {
        loop {
            let grant = self.shares.dequeue(now)?;
            let id = grant.id;
            let job = self.jobs.get_mut(&id).filter(|job| job.open.is_none());
            let Some(job) = job.filter(|job| job.sources.contains(&grant.source)) else {
                // Another announcer had its turn first.
                self.shares.release(grant);
                continue;
            };
            job.sources.sort_by_key(|source| self.shares.rank(*source));
            let first = job.sources.first().copied().flatten();
            let retries_silence = self.shares.rank(first) != Rank::Failing;
            self.numbers += 1;
            let holds_until = now.saturating_add(ANSWER_TIME);
            self.holding.push_back((holds_until, self.numbers, id));
            job.open = Some(Open {
                wanted: None,
                fetches: 0,
                silences: 0,
                holds: Some(grant),
                retries_silence,
                deadline: now.saturating_add(FETCH_TIMEOUT),
                number: self.numbers,
            });
            return Some(id);
        }
    }

    /// Records that `wanted` has to be fetched for an open transaction.
    pub fn want(&mut self, id: AtomId, wanted: AtomId) -> Want {
        let Some(Job {
            sources,
            open: Some(open),
        }) = self.jobs.get_mut(&id)
        else {
            return Want::Exhausted;
        };
        if open.wanted.is_some() {
            return Want::UnderWay;
        }
        let retries_silence = open.retries_silence || usize::from(open.silences) < sources.len();
        if open.fetches >= MAX_FETCHES || !retries_silence {
            return Want::Exhausted;
        }
        open.fetches += 1;
        open.wanted = Some(wanted);
        let turn = usize::from(open.silences) % sources.len().max(1);
        let asked = sources.get(turn).copied().flatten();
        let waiters = self.wanted.entry(wanted).or_default();
        waiters.push(id);
        match waiters.len() {
            1 => Want::Start(asked.map(|announcer| announcer.peer)),
            _ => Want::UnderWay,
        }
    }

    /// Ends a fetch; `is_silent` if no peer answered. Returns the transactions that waited for it,
    /// which must be checked again, or settled if the fetch failed.
    pub fn fetched(&mut self, wanted: &AtomId, is_silent: bool) -> Vec<AtomId> {
        let waiters = self.wanted.remove(wanted).unwrap_or_default();
        for id in &waiters {
            if let Some(open) = self.jobs.get_mut(id).and_then(|job| job.open.as_mut()) {
                open.wanted = None;
                open.silences = open.silences.saturating_add(u8::from(is_silent));
            }
        }
        waiters
    }

    /// Ends the check of a transaction.
    pub fn settle(&mut self, now: Duration, id: &AtomId, verdict: Verdict) {
        let is_open = self.jobs.get(id).is_some_and(|job| job.open.is_some());
        let Some(job) = self.jobs.remove(id).filter(|_| is_open) else {
            return;
        };
        if verdict == Verdict::PermanentlyBad {
            self.remember(*id);
        }
        let Some(open) = job.open else {
            return;
        };
        if let Some(wanted) = open.wanted
            && let Some(waiters) = self.wanted.get_mut(&wanted)
        {
            waiters.retain(|waiter| waiter != id);
            if waiters.is_empty() {
                self.wanted.remove(&wanted);
            }
        }
        match open.holds {
            Some(grant) => self.shares.release(grant),
            None => {
                self.lingering.remove(&(open.deadline, open.number));
            }
        }
        let len = job.sources.len().max(1);
        if verdict == Verdict::Good {
            // The announcer that was asked last delivered it; the other announcers did not.
            let brought = usize::from(open.silences) % len;
            if let Some(source) = job.sources.get(brought).filter(|_| open.fetches > 0) {
                self.shares.record(now, *source, true);
            }
            return;
        }
        for source in job.sources.iter().take(open.asked().clamp(1, len)) {
            self.shares.record(now, *source, false);
        }
    }

    /// Makes transactions without an answer linger, and returns those that took too long, each of
    /// which must be settled.
    pub fn overdue(&mut self, now: Duration) -> Vec<AtomId> {
        while let Some(&(until, number, id)) = self.holding.front() {
            let job = self.jobs.get_mut(&id);
            let job = job.and_then(|job| Some((&job.sources, job.open.as_mut()?)));
            if let Some((sources, open)) = job.filter(|(_, open)| open.number == number) {
                if until > now {
                    break;
                }
                if let Some(grant) = open.holds.take() {
                    self.lingering.insert((open.deadline, number), id);
                    self.shares.release(grant);
                    for source in sources.iter().take(open.asked()) {
                        self.shares.suspect(now, *source);
                    }
                }
            }
            self.holding.pop_front();
        }
        let mut overdue = Vec::new();
        while let Some((&(deadline, number), &id)) = self.lingering.first_key_value() {
            if deadline > now && self.lingering.len() <= MAX_LINGERING {
                break;
            }
            self.lingering.remove(&(deadline, number));
            overdue.push(id);
        }
        overdue
    }

    /// Returns when [`Announcements::overdue`] is due next.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let holding = self.holding.front().map(|(until, ..)| *until);
        let lingering = self.lingering.first_key_value();
        let lingering = lingering.map(|((deadline, _), _)| *deadline);
        [holding, lingering].into_iter().flatten().min()
    }

    /// Returns whether [`Announcements::next`] may return a transaction.
    #[must_use]
    pub fn has_next(&self) -> bool {
        self.shares.has_next()
    }

    /// Returns whether a transaction is being fetched.
    #[must_use]
    pub fn is_open(&self, id: &AtomId) -> bool {
        self.jobs.get(id).is_some_and(|job| job.open.is_some())
    }

    /// Returns whether a transaction is queued or being fetched.
    #[must_use]
    pub fn contains(&self, id: &AtomId) -> bool {
        self.jobs.contains_key(id)
    }

    /// Returns the sources of a transaction that is not settled; the one asked first is first.
    #[must_use]
    pub fn sources(&self, id: &AtomId) -> &[Source] {
        self.jobs.get(id).map_or(&[], |job| &job.sources)
    }

    /// Returns the number of queued announcements.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.shares.queued()
    }

    /// Returns the number of transactions that are being fetched, including lingering ones.
    #[must_use]
    pub fn fetching(&self) -> usize {
        self.shares.holding() + self.lingering.len()
    }

    /// Forgets the transactions whose announcements were displaced from the queue.
    fn drop_displaced(&mut self) {
        for (id, source) in self.shares.take_displaced() {
            let Some(job) = self.jobs.get_mut(&id).filter(|job| job.open.is_none()) else {
                continue;
            };
            job.sources.retain(|other| *other != source);
            if job.sources.is_empty() {
                self.jobs.remove(&id);
            }
        }
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
}
