//! Shares of the queue and of the fetches, by network group and announcer.
//!
//! Keys cost nothing, so slots are shared by network group first. Groups with something to fetch
//! take turns. The number of slots a group may hold grows with its successful announcements and
//! shrinks with failed ones: an announcement that fails, or that is not answered in time, costs an
//! eighth of them.
//!
//! Inside a group the record decides, because honest peers and attackers can share a network (on
//! loopback all peers do). Announcers that have delivered transactions come first, then those
//! without a record, then those whose last announcements failed; the latter get at most a quarter
//! of the group's slots, and one each. The slots of one announcer grow by one with each
//! transaction that it delivers, like a window in TCP slow start.
//!
//! The queue is shared by longest-queue drop. If it is full, a new announcement displaces one of
//! the group that has most queued, or of its own group if no other has more. In that group, it is
//! the newest announcement of the announcer with the worst record, and among equals of the one with
//! the longest queue.

use super::{Announcer, Declined, Source};
use crate::atom::AtomId;
use crate::wire::network_group::NetworkGroup;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// Maximum number of queued announcements.
pub const MAX_ANNOUNCED: usize = 16_384;
/// Maximum number of queued announcements of one peer.
pub const MAX_ANNOUNCED_PER_PEER: usize = 8_192;
/// Number of slots for fetches, of all peers together.
pub const MAX_FETCHING: usize = 256;
/// Slots of a network group without a record, between `MIN_GROUP_SLOTS` and `MAX_GROUP_SLOTS`.
pub const GROUP_SLOTS: usize = 64;
/// Minimum number of slots of a group, however many announcements fail: it may contain an honest
/// peer.
const MIN_GROUP_SLOTS: usize = 8;
/// Maximum number of slots of a group, however many announcements succeed.
const MAX_GROUP_SLOTS: usize = 192;
/// Interval at which a group below [`GROUP_SLOTS`] recovers one slot.
const GROUP_INTERVAL: Duration = Duration::from_secs(1);
/// Number of slots of an announcer without a record.
const NEW_ANNOUNCER_SLOTS: usize = 2;
/// Credit at which the slots of an announcer stop growing.
const MAX_CREDIT: i32 = 126;
/// Minimum credit; further failures do not reduce it.
const MIN_CREDIT: i32 = -64;
/// Interval at which a negative credit recovers by one.
const CREDIT_INTERVAL: Duration = Duration::from_secs(10);
/// Number of failed announcements of one peer at which further ones are declined.
pub const FAILURES_BURST: u32 = 64;
/// Interval at which one failed announcement of a peer expires.
pub const FAILURE_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of announcers remembered. If full, the idle one last heard from longest ago is
/// forgotten.
pub const MAX_PEERS: usize = 4_096;

/// Rank of an announcer in its group; lower ranks are served first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rank {
    /// This node.
    Own,
    /// It has delivered transactions.
    Trusted,
    /// It does not have a record.
    Fresh,
    /// Its last announcements failed.
    Failing,
}

/// Network group; `None` for this node itself.
type Group = Option<NetworkGroup>;

const fn group_of(source: Source) -> Group {
    match source {
        Some(Announcer { group, .. }) => Some(group),
        None => None,
    }
}

/// Slots that a group holds, and its limits.
#[derive(Debug)]
struct GroupShare {
    queued: usize,
    holding: usize,
    /// Number of its slots held by failing announcers.
    failing: usize,
    slots: usize,
    /// Time up to which recovery has been applied.
    recovered: Duration,
    /// Announcers with a queue and a free slot, in the order in which they are served.
    ready: BTreeMap<(Rank, u64), Source>,
    /// Announcers with a queue, by rank and length of the queue.
    queues: BTreeSet<(Rank, usize, Source)>,
    /// `true` if it is among the groups that take turns.
    has_turn: bool,
    announcers: usize,
}

impl GroupShare {
    const fn new(now: Duration) -> Self {
        Self {
            queued: 0,
            holding: 0,
            failing: 0,
            slots: GROUP_SLOTS,
            recovered: now,
            ready: BTreeMap::new(),
            queues: BTreeSet::new(),
            has_turn: false,
            announcers: 0,
        }
    }

    fn recover(&mut self, now: Duration) {
        let passed = whole(now, self.recovered, GROUP_INTERVAL);
        let missing = GROUP_SLOTS.saturating_sub(self.slots);
        self.slots += usize::try_from(passed).unwrap_or(missing).min(missing);
        self.recovered += GROUP_INTERVAL * passed;
    }

    fn may_fetch(&self) -> bool {
        let first = self.ready.first_key_value().map(|((rank, _), _)| *rank);
        match first {
            Some(Rank::Own) => true,
            Some(Rank::Failing) => {
                self.holding < self.slots && self.failing < (self.slots / 4).max(1)
            }
            Some(_) => self.holding < self.slots,
            None => false,
        }
    }
}

/// Queue, slots and record of one announcer.
#[derive(Debug)]
struct Share {
    queue: VecDeque<AtomId>,
    holding: usize,
    /// Its key in the group's `ready`.
    ready: Option<(Rank, u64)>,
    /// Its key in the group's `queues`, without the announcer.
    queued: Option<(Rank, usize)>,
    credit: i32,
    credit_recovered: Duration,
    failures: u32,
    /// Time up to which failures have expired.
    expired_until: Duration,
    used: Duration,
}

impl Share {
    const fn new(now: Duration) -> Self {
        Self {
            queue: VecDeque::new(),
            holding: 0,
            ready: None,
            queued: None,
            credit: 0,
            credit_recovered: now,
            failures: 0,
            expired_until: now,
            used: now,
        }
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.holding == 0
    }

    const fn has_record(&self) -> bool {
        self.failures > 0 || self.credit != 0
    }

    const fn rank(&self, source: Source) -> Rank {
        match self.credit {
            _ if source.is_none() => Rank::Own,
            0 => Rank::Fresh,
            credit if credit > 0 => Rank::Trusted,
            _ => Rank::Failing,
        }
    }

    fn slots(&self, rank: Rank) -> usize {
        match rank {
            Rank::Own => usize::MAX,
            Rank::Trusted => NEW_ANNOUNCER_SLOTS + usize::try_from(self.credit).unwrap_or(0),
            Rank::Fresh => NEW_ANNOUNCER_SLOTS,
            Rank::Failing => 1,
        }
    }

    fn recover(&mut self, now: Duration) {
        let passed = whole(now, self.expired_until, FAILURE_INTERVAL);
        self.failures = self.failures.saturating_sub(passed);
        self.expired_until += FAILURE_INTERVAL * passed;
        let passed = whole(now, self.credit_recovered, CREDIT_INTERVAL);
        if self.credit < 0 {
            let passed = i32::try_from(passed).unwrap_or(i32::MAX);
            self.credit = self.credit.saturating_add(passed).min(0);
        }
        self.credit_recovered += CREDIT_INTERVAL * passed;
    }
}

/// Returns the number of whole intervals between two times.
fn whole(now: Duration, since: Duration, interval: Duration) -> u32 {
    let passed = now.saturating_sub(since).as_nanos() / interval.as_nanos();
    u32::try_from(passed).unwrap_or(u32::MAX)
}

/// Slot that was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Grant {
    pub(super) id: AtomId,
    pub(super) source: Source,
    /// Rank of the source when the slot was granted.
    pub(super) rank: Rank,
}

/// Shares of the queue and of the fetches. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Shares {
    queued: usize,
    holding: usize,
    announcers: BTreeMap<Source, Share>,
    groups: BTreeMap<Group, GroupShare>,
    /// Groups by their number of queued announcements.
    queues: BTreeSet<(usize, Group)>,
    turns: VecDeque<Group>,
    idle: BTreeSet<(Duration, Source)>,
    displaced: Vec<(AtomId, Source)>,
    ready_numbers: u64,
}

impl Shares {
    /// Queues an announcement.
    pub(super) fn enqueue(
        &mut self,
        now: Duration,
        id: AtomId,
        source: Source,
    ) -> Result<(), Declined> {
        let share = self.share(now, source);
        let (len, failures) = (share.queue.len(), share.failures);
        if source.is_some() && failures >= FAILURES_BURST {
            self.update(source, |_, _| ());
            return Err(Declined::PeerOverBudget);
        }
        if len >= MAX_ANNOUNCED_PER_PEER
            || (self.queued >= MAX_ANNOUNCED && !self.displace(source, len))
        {
            self.update(source, |_, _| ());
            return Err(Declined::QueueFull);
        }
        self.update(source, |share, _| share.queue.push_back(id));
        Ok(())
    }

    /// Returns the announcements that others have displaced from the queue.
    pub(super) fn take_displaced(&mut self) -> Vec<(AtomId, Source)> {
        core::mem::take(&mut self.displaced)
    }

    /// Takes an announcement from the queue and grants it a slot.
    pub(super) fn dequeue(&mut self, now: Duration) -> Option<Grant> {
        // Announcements of this node do not wait for those of peers.
        let own = self.groups.get(&None);
        if own.is_some_and(GroupShare::may_fetch) {
            return self.dequeue_from(None);
        }
        while self.holding < MAX_FETCHING {
            let group = self.turns.pop_front()?;
            if let Some(share) = self.groups.get_mut(&group) {
                share.has_turn = false;
                share.recover(now);
                if share.may_fetch() {
                    return self.dequeue_from(group);
                }
            }
        }
        None
    }

    fn dequeue_from(&mut self, group: Group) -> Option<Grant> {
        let share = self.groups.get(&group)?;
        let ((rank, _), source) = share.ready.first_key_value()?;
        let (rank, source) = (*rank, *source);
        let mut id = None;
        self.update(source, |share, group| {
            id = share.queue.pop_front();
            share.holding += 1;
            group.holding += 1;
            group.failing += usize::from(rank == Rank::Failing);
        });
        self.holding += 1;
        Some(Grant {
            id: id?,
            source,
            rank,
        })
    }

    /// Returns a slot.
    pub(super) fn release(&mut self, grant: Grant) {
        self.update(grant.source, |share, group| {
            share.holding = share.holding.saturating_sub(1);
            group.holding = group.holding.saturating_sub(1);
            let failing = usize::from(grant.rank == Rank::Failing);
            group.failing = group.failing.saturating_sub(failing);
        });
        self.holding = self.holding.saturating_sub(1);
    }

    /// Records that an announcer did not answer in time.
    pub(super) fn suspect(&mut self, now: Duration, source: Source) {
        self.share(now, source);
        self.update(source, |share, group| {
            // Slow peers with a record are not charged before the outcome is known.
            if share.credit == 0 {
                share.credit = -1;
                group.waste();
            }
        });
    }

    /// Records the outcome of an announcement.
    pub(super) fn record(&mut self, now: Duration, source: Source, is_good: bool) {
        self.share(now, source);
        self.update(source, |share, group| {
            if is_good {
                share.credit = match share.credit {
                    credit if credit < 0 => credit / 2 + 1,
                    credit => (credit + 1).min(MAX_CREDIT),
                };
                group.slots = (group.slots + 1).min(MAX_GROUP_SLOTS);
            } else if source.is_some() {
                share.credit = match share.credit {
                    credit if credit > 0 => credit / 2,
                    credit => (credit - 1).max(MIN_CREDIT),
                };
                share.failures = share.failures.saturating_add(1).min(FAILURES_BURST);
                group.waste();
            }
        });
    }

    /// Returns the rank of an announcer.
    pub(super) fn rank(&self, source: Source) -> Rank {
        let none = if source.is_none() {
            Rank::Own
        } else {
            Rank::Fresh
        };
        let share = self.announcers.get(&source);
        share.map_or(none, |share| share.rank(source))
    }

    /// Returns whether [`Shares::dequeue`] may return an announcement.
    pub(super) fn has_next(&self) -> bool {
        let own = self.groups.get(&None);
        own.is_some_and(GroupShare::may_fetch)
            || (self.holding < MAX_FETCHING && !self.turns.is_empty())
    }

    /// Returns the number of queued announcements.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Returns the number of slots held.
    pub(super) const fn holding(&self) -> usize {
        self.holding
    }

    /// Makes room in a full queue for an announcement of `source`, which has `len` queued.
    fn displace(&mut self, source: Source, len: usize) -> bool {
        let group = group_of(source);
        let own = self.groups.get(&group).map_or(0, |share| share.queued);
        let longest = self.queues.iter().rev().find(|(_, group)| group.is_some());
        let Some(&(queued, longest)) = longest else {
            return false;
        };
        let (longest, is_other) = match queued > own + 1 || group.is_none() {
            true => (longest, true),
            false => (group, false),
        };
        let rank = self.rank(source);
        let share = self.groups.get(&longest);
        let victim = share.and_then(|share| share.queues.last().copied());
        let victim = victim.filter(|(worst, queued, _)| {
            is_other || *worst > rank || (*worst == rank && *queued > len + 1)
        });
        let Some((_, _, victim)) = victim else {
            return false;
        };
        let mut id = None;
        self.update(victim, |share, _| id = share.queue.pop_back());
        self.displaced.extend(id.map(|id| (id, victim)));
        true
    }

    /// Returns the up-to-date share of an announcer, created if necessary.
    fn share(&mut self, now: Duration, source: Source) -> &mut Share {
        if self.announcers.len() >= MAX_PEERS
            && !self.announcers.contains_key(&source)
            && let Some((_, oldest)) = self.idle.pop_first()
        {
            self.forget(oldest);
        }
        let group = self.groups.entry(group_of(source));
        let group = group.or_insert_with(|| GroupShare::new(now));
        group.recover(now);
        let share = self.announcers.entry(source).or_insert_with(|| {
            group.announcers += 1;
            Share::new(now)
        });
        self.idle.remove(&(share.used, source));
        share.used = now;
        share.recover(now);
        share
    }

    fn forget(&mut self, source: Source) {
        if self.announcers.remove(&source).is_none() {
            return;
        }
        let group = group_of(source);
        if let Some(share) = self.groups.get_mut(&group) {
            share.announcers -= 1;
            if share.announcers == 0 {
                // Nothing of it is queued or ready.
                self.groups.remove(&group);
                self.turns.retain(|other| *other != group);
            }
        }
    }

    /// Changes a share and its group, and updates all state derived from them.
    fn update(&mut self, source: Source, change: impl FnOnce(&mut Share, &mut GroupShare)) {
        let group_id = group_of(source);
        let (Some(share), Some(group)) = (
            self.announcers.get_mut(&source),
            self.groups.get_mut(&group_id),
        ) else {
            return;
        };
        let (len, queued) = (share.queue.len(), group.queued);
        if let Some((rank, len)) = share.queued.take() {
            group.queues.remove(&(rank, len, source));
        }
        change(share, group);
        let (rank, new_len) = (share.rank(source), share.queue.len());
        if new_len > 0 {
            share.queued = Some((rank, new_len));
            group.queues.insert((rank, new_len, source));
        }
        if new_len != len {
            group.queued = queued + new_len - len;
            self.queued = self.queued + new_len - len;
            self.queues.remove(&(queued, group_id));
        }
        if group.queued > 0 {
            self.queues.insert((group.queued, group_id));
        }
        let is_ready = new_len > 0 && share.holding < share.slots(rank);
        let has_key = share.ready.is_some_and(|(at, _)| at == rank);
        // A just-served announcer moves behind the others of its rank.
        let was_served = new_len < len;
        if !is_ready || !has_key || was_served {
            if let Some(key) = share.ready.take() {
                group.ready.remove(&key);
            }
            if is_ready {
                self.ready_numbers += 1;
                let key = (rank, self.ready_numbers);
                share.ready = Some(key);
                group.ready.insert(key, source);
            }
        }
        if group_id.is_some() && !group.has_turn && group.may_fetch() {
            group.has_turn = true;
            self.turns.push_back(group_id);
        }
        let idle = (share.used, source);
        if !share.is_idle() {
            self.idle.remove(&idle);
        } else if share.has_record() {
            self.idle.insert(idle);
        } else {
            self.forget(source);
        }
    }
}

impl GroupShare {
    fn waste(&mut self) {
        let lost = (self.slots / 8).max(1);
        self.slots = self.slots.saturating_sub(lost).max(MIN_GROUP_SLOTS);
    }
}

#[cfg(test)]
impl Shares {
    /// Returns the number of announcers that are remembered.
    pub(super) fn announcers(&self) -> usize {
        self.announcers.len()
    }

    /// Recomputes all derived state and asserts that it matches.
    pub(super) fn check(&self) {
        let shares = || self.announcers.values();
        let queued: usize = shares().map(|share| share.queue.len()).sum();
        let holding: usize = shares().map(|share| share.holding).sum();
        assert_eq!((queued, holding), (self.queued, self.holding));
        assert!(self.queued <= MAX_ANNOUNCED);
        assert_eq!(
            self.turns.len(),
            self.groups.values().filter(|group| group.has_turn).count()
        );
        for (id, group) in &self.groups {
            let members = || {
                self.announcers
                    .iter()
                    .filter(|(source, _)| group_of(**source) == *id)
            };
            assert_eq!(group.announcers, members().count());
            assert!(group.announcers > 0);
            let queued: usize = members().map(|(_, share)| share.queue.len()).sum();
            assert_eq!(group.queued, queued);
            assert_eq!(self.queues.contains(&(queued, *id)), queued > 0);
            let holding: usize = members().map(|(_, share)| share.holding).sum();
            assert_eq!(group.holding, holding);
            assert!(group.failing <= group.holding);
            assert!((MIN_GROUP_SLOTS..=MAX_GROUP_SLOTS).contains(&group.slots));
            let queues = members().filter(|(_, share)| !share.queue.is_empty());
            let entry = |(source, share): (&Source, &Share)| {
                (share.rank(*source), share.queue.len(), *source)
            };
            let queues: BTreeSet<_> = queues.map(entry).collect();
            assert_eq!(group.queues, queues);
            let ready = members().filter_map(|(source, share)| Some((share.ready?, *source)));
            assert_eq!(group.ready, ready.collect());
            // A group that may fetch has its turn.
            assert!(id.is_none() || group.has_turn || !group.may_fetch());
        }
        assert_eq!(
            self.queues.len(),
            self.groups
                .values()
                .filter(|group| group.queued > 0)
                .count()
        );
        for (source, share) in &self.announcers {
            let rank = share.rank(*source);
            let is_ready = !share.queue.is_empty() && share.holding < share.slots(rank);
            assert_eq!(share.ready.map(|(rank, _)| rank), is_ready.then_some(rank));
            assert_eq!(self.idle.contains(&(share.used, *source)), share.is_idle());
            assert!(!share.is_idle() || share.has_record());
        }
        assert_eq!(
            self.idle.len(),
            shares().filter(|share| share.is_idle()).count()
        );
    }
}

#[cfg(test)]
mod tests;
