//! Branches that are being synced, and their scheduling: their selection, slots, and turns.
//!
//! A branch is *short* until it has more than a few headers. Short branches are cheap: one that
//! stalls yields to a waiting head after [`SHORT_STALL_TIMEOUT`]. [`MAX_LONG_BRANCHES`] may become
//! long. If all slots are taken, the branch of the least support yields, first among those that
//! have stalled for [`STALL_TIMEOUT`], then among those that have had their [`TURN`] and are not
//! among the [`UNINTERRUPTED_BRANCHES`] of the most support. A branch never yields to one of less
//! support.

use super::announced_heads::{AnnouncedHeads, Standing};
use super::announcers::{Announcer, Announcers, Support};
use super::block_index::BlockIndex;
use super::branch::{Branch, Kind};
use super::call::Call;
use super::header_path::PathLimits;
use crate::atom::AtomId;
use crate::chain::MAX_BLOCK_TRANSACTIONS;
use crate::crypto::PublicKey;
use crate::time::Instant;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

/// Maximum number of branches synced at a time.
pub const MAX_BRANCHES: usize = 16;
/// Maximum number of these with more than a few headers.
pub const MAX_LONG_BRANCHES: usize = 8;
/// Maximum number of heads of the default seed that are linked at a time.
const MAX_TRUSTED_BRANCHES: usize = 2;
/// Number of long branches that are not interrupted while they progress: those of the most support.
const UNINTERRUPTED_BRANCHES: usize = 4;
/// Time for which any other branch is read downwards while further ones wait.
const TURN: Duration = Duration::from_secs(60);
/// Time without progress after which a branch yields to one that waits, and is dropped if no peer
/// announces it any more.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without progress after which a short branch yields.
const SHORT_STALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Time without progress after which a short branch that only peers without a record announce
/// yields to a head that a seed or a peer with a record announces.
const UNKNOWN_PEER_STALL_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for which a branch that only one network group announces may keep the head provisional
/// while its headers are read.
const UNCONFIRMED_GRACE: Duration = Duration::from_secs(600);
/// Time for which reading headers may hold back our own validator.
const HEADERS_GRACE: Duration = Duration::from_secs(30);
/// Number of headers below a head whose blocks are not followed as heads of their own.
const NEAR_HEADERS: usize = 64;
/// Maximum number of descendants of an invalid block that are remembered with it.
const MAX_BAD_ABOVE: usize = 256;

impl Branch {
    /// Returns whether a block is the head of the branch or one of the highest below it.
    pub(super) fn is_on(&self, id: &AtomId) -> bool {
        self.head == *id || self.path.is_near_top(id, NEAR_HEADERS)
    }
}

/// Longer chains that are being synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Coming {
    /// `true` if the blocks of one are being verified, or will be soon.
    pub(super) is_near: bool,
    /// `true` if the headers of one take longer.
    pub(super) is_slow: bool,
}

/// Branches. See the [module](self).
#[derive(Debug)]
pub(super) struct Branches {
    list: Vec<Branch>,
    /// Number of the turn, which determines the branch that goes first.
    turn: usize,
    limits: PathLimits,
}

impl Branches {
    /// Creates the list without branches.
    pub(super) const fn new(limits: PathLimits) -> Self {
        Self {
            list: Vec::new(),
            turn: 0,
            limits,
        }
    }

    /// Returns the branches.
    pub(super) fn iter(&self) -> core::slice::Iter<'_, Branch> {
        self.list.iter()
    }

    /// Returns the branches, to change their state.
    pub(super) fn iter_mut(&mut self) -> core::slice::IterMut<'_, Branch> {
        self.list.iter_mut()
    }

    /// Returns the branch with this head.
    pub(super) fn get_mut(&mut self, head: &AtomId) -> Option<&mut Branch> {
        self.list.iter_mut().find(|branch| branch.head == *head)
    }

    /// Removes the branch with this head.
    pub(super) fn remove(&mut self, head: &AtomId) -> Option<Branch> {
        self.remove_if(|branch| branch.head == *head)
    }

    /// Removes the first branch for which `is_removed` returns `true`.
    pub(super) fn remove_if(&mut self, is_removed: impl Fn(&Branch) -> bool) -> Option<Branch> {
        let at = self.list.iter().position(is_removed)?;
        Some(self.list.remove(at))
    }

    /// Removes all branches with this head.
    pub(super) fn remove_all(&mut self, head: &AtomId) {
        self.list.retain(|branch| branch.head != *head);
    }

    fn new_branch(&self, now: Instant, head: AtomId, announcers: Announcers) -> Branch {
        Branch::new(head, announcers, self.limits, now)
    }

    /// Starts branches for waiting heads, and ends stalled ones that have to yield.
    pub(super) fn start(
        &mut self,
        call: &mut Call<'_, '_>,
        heads: &mut AnnouncedHeads,
        index: &BlockIndex,
    ) {
        let now = call.now();
        loop {
            let is_known = |id: &AtomId| {
                let is_on = |branch: &Branch| branch.kind != Kind::Trusted && branch.is_on(id);
                index.is_verified(id) || self.list.iter().any(is_on)
            };
            let Some((head, rank)) = heads.next(now, call.unix(), is_known) else {
                return;
            };
            if self.list.len() >= MAX_BRANCHES && !self.end_short(now, heads, rank.standing()) {
                return;
            }
            let announcers = heads.hold(now, &head);
            self.list.push(self.new_branch(now, head, announcers));
            call.is_busy = true;
        }
    }

    /// Syncs a head that the operator has adopted.
    pub(super) fn start_decided(&mut self, now: Instant, heads: &AnnouncedHeads, head: AtomId) {
        let known = self.list.iter_mut().find(|branch| branch.is_on(&head));
        if let Some(branch) = known {
            branch.kind = Kind::Decided;
            return;
        }
        let mut branch = self.new_branch(now, head, heads.announcers(&head));
        branch.kind = Kind::Decided;
        branch.has_slot = true;
        self.list.push(branch);
    }

    /// Starts to link a head of the default seed to known blocks. The oldest of too many such
    /// branches ends.
    pub(super) fn start_trusted(&mut self, call: &mut Call<'_, '_>, seed: Announcer, head: AtomId) {
        let is_trusted = |branch: &&Branch| branch.kind == Kind::Trusted;
        let trusted = self.list.iter().filter(is_trusted);
        if trusted.clone().any(|branch| branch.head == head) {
            return;
        }
        if trusted.clone().count() >= MAX_TRUSTED_BRANCHES
            && let Some(oldest) = trusted.min_by_key(|branch| branch.since)
        {
            let oldest = oldest.head;
            self.remove_all(&oldest);
        }
        let mut announcers = Announcers::default();
        announcers.add(seed);
        let mut branch = self.new_branch(call.now(), head, announcers);
        branch.kind = Kind::Trusted;
        branch.has_slot = true;
        self.list.push(branch);
        call.is_busy = true;
    }

    /// Ends the branches of a head that is to be trusted instead of verified.
    pub(super) fn end_verified(&mut self, head: &AtomId) {
        self.list
            .retain(|branch| branch.head != *head || branch.kind != Kind::Verified);
    }

    /// Ends a stalled short branch for a head of this standing. Returns whether one was ended.
    fn end_short(&mut self, now: Instant, heads: &mut AnnouncedHeads, standing: Standing) -> bool {
        let ranked = self.list.iter().filter(|branch| !branch.has_slot);
        let ranked = ranked.map(|branch| (heads.standing(&branch.announcers), branch));
        let may_end = |(theirs, branch): &(Standing, &Branch)| {
            let timeout = if standing.is_trusted && !theirs.is_trusted {
                UNKNOWN_PEER_STALL_TIMEOUT
            } else {
                SHORT_STALL_TIMEOUT
            };
            // A branch that waits for a slot is not at fault.
            let is_better = !branch.needs_slot() || standing > *theirs;
            is_better && branch.is_stalled(now, timeout)
        };
        let over = ranked.filter(may_end).min_by_key(|(theirs, branch)| {
            let support = branch.announcers.support();
            (branch.needs_slot(), *theirs, support, branch.progressed)
        });
        let Some(head) = over.map(|(_, branch)| branch.head) else {
            return false;
        };
        self.give_up(now, heads, &head);
        true
    }

    /// Grants slots among the long branches to those that need them.
    pub(super) fn grant_slots(&mut self, call: &mut Call<'_, '_>, heads: &mut AnnouncedHeads) {
        let now = call.now();
        loop {
            let waiting = self.list.iter().filter(|branch| branch.needs_slot());
            let best = waiting.max_by_key(|branch| {
                let standing = heads.standing(&branch.announcers);
                (branch.announcers.support(), standing, Reverse(branch.since))
            });
            let Some((head, support)) = best.map(|best| (best.head, best.announcers.support()))
            else {
                return;
            };
            let taken = self.list.iter().filter(|branch| branch.has_slot);
            if taken.count() >= MAX_LONG_BRANCHES && !self.end_long(now, heads, support) {
                return;
            }
            if let Some(branch) = self.get_mut(&head) {
                branch.has_slot = true;
                branch.has_progressed(now);
            }
            call.is_busy = true;
        }
    }

    /// Ends a long branch for one of this support. Returns whether one was ended.
    fn end_long(&mut self, now: Instant, heads: &mut AnnouncedHeads, support: Support) -> bool {
        let long = self.list.iter().filter(|branch| branch.has_slot);
        let mut ranked: Vec<(Support, Reverse<Instant>, &Branch)> = long
            .map(|branch| (branch.announcers.support(), Reverse(branch.since), branch))
            .collect();
        ranked.sort_by_key(|(theirs, since, _)| (*theirs, *since));
        let weaker = ranked.iter().filter(|(theirs, ..)| *theirs <= support);
        let stalled = weaker
            .clone()
            .find(|(.., branch)| branch.is_stalled(now, STALL_TIMEOUT));
        let interruptible = ranked.len().saturating_sub(UNINTERRUPTED_BRANCHES);
        let had_turn = weaker
            .take(interruptible)
            .find(|(.., branch)| branch.is_reading_headers() && now.since(branch.since) >= TURN);
        let Some(head) = stalled.or(had_turn).map(|(.., branch)| branch.head) else {
            return false;
        };
        self.give_up(now, heads, &head);
        true
    }

    /// Ends a branch that has stalled, or had its turn. Its head may be tried again.
    fn give_up(&mut self, now: Instant, heads: &mut AnnouncedHeads, head: &AtomId) {
        let Some(branch) = self.remove(head) else {
            return;
        };
        let is_stalled = branch.is_stalled(now, UNKNOWN_PEER_STALL_TIMEOUT);
        match branch.not_before {
            Some(opens) => heads.park(head, opens),
            None if !branch.needs_slot() && is_stalled => {
                heads.failed(now, head, &branch.announcers);
            }
            None => {}
        }
        heads.release(head);
    }

    /// Ends branches that no peer announces and that do not progress. Those of the operator and of
    /// the default seed's head stay.
    pub(super) fn drop_abandoned(
        &mut self,
        call: &mut Call<'_, '_>,
        heads: &mut AnnouncedHeads,
        seed_head: Option<AtomId>,
    ) {
        let now = call.now();
        let count = self.list.len();
        self.list.retain(|branch| {
            let is_kept = branch.kind == Kind::Decided || seed_head == Some(branch.head);
            let stays = is_kept
                || !branch.is_stalled(now, STALL_TIMEOUT)
                || heads.peers_of(&branch.head) > 0
                || branch.not_before.is_some();
            if !stays {
                heads.release(&branch.head);
            }
            stays
        });
        call.is_busy |= self.list.len() < count;
    }

    /// Returns when a branch or head that waits may get a slot.
    pub(super) fn next_slot_change(&self, now: Instant) -> Option<Instant> {
        let is_full = self.list.len() >= MAX_BRANCHES;
        let has_waiting = self.list.iter().any(Branch::needs_slot);
        let long = self.list.iter().filter(|branch| branch.has_slot);
        if has_waiting && long.clone().count() < MAX_LONG_BRANCHES {
            return Some(now);
        }
        let over = long.flat_map(|branch| [branch.progressed + STALL_TIMEOUT, branch.since + TURN]);
        let over = over.filter(|_| has_waiting);
        let short = self.list.iter().filter(|branch| !branch.has_slot);
        let ends = short.flat_map(|branch| {
            let stalls = branch.progressed;
            [
                stalls + UNKNOWN_PEER_STALL_TIMEOUT,
                stalls + SHORT_STALL_TIMEOUT,
            ]
        });
        let ends = ends.filter(|_| is_full);
        over.chain(ends).filter(|at| *at > now).min()
    }

    /// Begins the next turn. Returns the heads of the branches in its order, which changes from
    /// turn to turn.
    pub(super) fn next_turn(&mut self) -> Vec<AtomId> {
        let mut heads: Vec<AtomId> = self.list.iter().map(|branch| branch.head).collect();
        self.turn = (self.turn + 1) % heads.len().max(1);
        let first = self.turn.min(heads.len());
        heads.rotate_left(first);
        heads
    }

    /// Merges the branch `head` with a branch of the same kind whose head is `next`, its next
    /// header. Returns whether there was one.
    pub(super) fn merge(
        &mut self,
        heads: &mut AnnouncedHeads,
        head: &AtomId,
        next: AtomId,
    ) -> bool {
        let kind = self.get_mut(head).map(|branch| branch.kind);
        let is_below = |branch: &Branch| branch.head == next && Some(branch.kind) == kind;
        let Some(other) = self.remove_if(is_below) else {
            return false;
        };
        heads.release(&other.head);
        if let Some(branch) = self.get_mut(head) {
            branch.absorb(other);
        }
        true
    }

    /// Removes the branches that contain a block. Returns each with the nearest known descendants
    /// of the block.
    pub(super) fn remove_with(&mut self, block: &AtomId) -> Vec<(Branch, Vec<AtomId>)> {
        let mut removed = Vec::new();
        for branch in core::mem::take(&mut self.list) {
            // The block is on the path, or it is the branch's current block.
            let is_next = branch.at_hand() == Some(*block);
            let near = match branch.path.above(Some(block), MAX_BAD_ABOVE) {
                None if is_next => branch.path.above(None, MAX_BAD_ABOVE),
                near => near,
            };
            match near {
                Some(near) => removed.push((branch, near)),
                None => self.list.push(branch),
            }
        }
        removed
    }

    /// Returns whether a branch needs fetched atoms of this block.
    pub(super) fn needs(&self, block: &AtomId) -> bool {
        self.list.iter().any(|branch| branch.needs(block))
    }

    /// Returns whether a block is the next one of its branch.
    pub(super) fn is_at_hand(&self, block: &AtomId) -> bool {
        let at_hand = |branch: &Branch| branch.at_hand() == Some(*block);
        self.list.iter().any(at_hand)
    }

    /// Returns the number of transaction ids that all branches hold in advance.
    pub(super) fn ids_ahead(&self) -> usize {
        let bodies = self.list.iter().flat_map(|branch| &branch.bodies);
        bodies.map(|ahead| ahead.left.len()).sum()
    }

    /// Limits the checked transactions of blocks that wait for other data to those of one full
    /// block. Above that, only the branch `head` keeps them; those of the others are read again.
    pub(super) fn bound_checked(&mut self, head: &AtomId) {
        let count = |branch: &Branch| {
            let checked = branch.checked.as_ref();
            checked.map_or(0, |checked| checked.transactions().len())
        };
        let all: usize = self.list.iter().map(count).sum();
        if all > MAX_BLOCK_TRANSACTIONS {
            let kept = self.list.iter().position(|branch| branch.head == *head);
            let others = self.list.iter_mut().enumerate();
            for (_, branch) in others.filter(|(at, _)| Some(*at) != kept) {
                branch.checked = None;
            }
        }
    }

    /// Returns a branch whose verified block `id` is being stored.
    pub(super) fn storing(&mut self, id: &AtomId) -> Option<&mut Branch> {
        self.list.iter_mut().find(|branch| {
            let storing = branch.storing.as_ref();
            storing.is_some_and(|storing| storing.retry_at.is_none() && storing.block.id() == *id)
        })
    }

    /// Returns when a block that could not be stored is retried next.
    pub(super) fn next_store_retry(&self) -> Option<Instant> {
        let storing = self.list.iter().filter_map(|it| it.storing.as_ref());
        storing.filter_map(|storing| storing.retry_at).min()
    }

    /// Returns the earliest wall time that a branch waits for, in seconds; `None` if none does.
    pub(super) fn opens_at(&self) -> Option<u64> {
        let opens = self.list.iter().filter_map(|branch| branch.not_before);
        opens.min()
    }

    /// Forgets a peer that was removed.
    pub(super) fn remove_peer(&mut self, peer: &PublicKey) {
        for branch in &mut self.list {
            branch.announcers.remove(peer);
        }
    }

    /// Returns the chains longer than `height` that are being synced.
    pub(super) fn coming(&self, now: Instant, height: u64) -> Coming {
        let coming = self.list.iter().filter(|branch| {
            let is_near = !branch.is_stalled(now, STALL_TIMEOUT);
            let is_longer = branch.height > height || branch.path.is_empty();
            is_longer && is_near && branch.not_before.is_none()
        });
        let mut result = Coming::default();
        for branch in coming {
            let is_young = now.since(branch.since) < HEADERS_GRACE;
            match is_young || !branch.is_reading_headers() {
                true => result.is_near = true,
                false => result.is_slow = true,
            }
        }
        result
    }

    /// Returns whether a branch may soon replace a provisional head at `height`. Announcing a head
    /// costs nothing, nor do invalid headers: a branch that only one peer announces counts only for
    /// a limited time.
    pub(super) fn may_exceed(&self, now: Instant, heads: &AnnouncedHeads, height: u64) -> bool {
        let is_nearing = |branch: &Branch| {
            let is_confirmed = branch.announcers.support().is_confirmed();
            let is_near = if branch.path.is_empty() {
                is_confirmed || heads.standing(&branch.announcers).is_trusted
            } else {
                let is_young = now.since(branch.since) < UNCONFIRMED_GRACE;
                let is_backed = is_confirmed || is_young || !branch.is_reading_headers();
                is_backed && branch.height > height
            };
            is_near && !branch.is_stalled(now, STALL_TIMEOUT)
        };
        self.list.iter().any(is_nearing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::NoStore;
    use crate::consensus::Context;
    use crate::consensus::sync::branch::Phase;
    use crate::consensus::sync::tests::parts::{announcer, call_at, id};

    const NOW: Instant = Instant::from_secs(100);

    fn branches() -> Branches {
        Branches::new(PathLimits {
            interval: 4,
            checkpoints: 4,
            resident: 64,
        })
    }

    /// Adds a branch whose headers are known from `lowest` up to its head.
    fn add(branches: &mut Branches, head: u8, lowest: u8) {
        let mut branch = branches.new_branch(NOW, id(head), Announcers::default());
        for number in (lowest..=head).rev() {
            branch.path.push_below(id(number), number.into());
        }
        let next = id(lowest - 1);
        branch.phase = Phase::Headers { next };
        branches.list.push(branch);
    }

    fn heads_of(branches: &Branches) -> Vec<AtomId> {
        branches.iter().map(|branch| branch.head).collect()
    }

    #[test]
    fn rejected_block_takes_its_branch_and_known_descendants_with_it() {
        let mut branches = branches();
        add(&mut branches, 9, 3);
        add(&mut branches, 29, 23);
        let removed = branches.remove_with(&id(6));
        let [(branch, near)] = &removed[..] else {
            panic!("{removed:?}");
        };
        assert_eq!(
            (branch.head, &near[..]),
            (id(9), &[id(7), id(8), id(9)][..])
        );
        assert_eq!(heads_of(&branches), [id(29)]);
        // The header that is read next is below all known ones.
        let removed = branches.remove_with(&id(22));
        assert_eq!(removed[0].1.first(), Some(&id(23)));
        assert_eq!(removed[0].1.len(), 7);
        assert_eq!(heads_of(&branches), []);
    }

    #[test]
    fn branch_takes_over_the_one_below_it_of_its_kind() {
        let (mut branches, mut heads) = (branches(), AnnouncedHeads::default());
        add(&mut branches, 9, 6);
        add(&mut branches, 5, 3);
        assert!(!branches.merge(&mut heads, &id(9), id(4)), "not a head");
        branches.get_mut(&id(5)).unwrap().kind = Kind::Trusted;
        assert!(
            !branches.merge(&mut heads, &id(9), id(5)),
            "of another kind"
        );
        branches.get_mut(&id(5)).unwrap().kind = Kind::Verified;
        assert!(branches.merge(&mut heads, &id(9), id(5)));
        assert_eq!(heads_of(&branches), [id(9)]);
        let branch = branches.get_mut(&id(9)).unwrap();
        assert_eq!((branch.path.len(), branch.at_hand()), (7, Some(id(2))));
    }

    #[test]
    fn starts_each_announced_head_once_and_drops_unannounced_ones() {
        let (mut branches, mut heads) = (branches(), AnnouncedHeads::default());
        let (index, mut context) = (BlockIndex::default(), Context::new(None));
        for number in [1, 2] {
            heads.announce(NOW, announcer(number), id(number));
        }
        let mut start = |branches: &mut Branches, heads: &mut AnnouncedHeads| {
            call_at(100, &NoStore, &mut context, |call| {
                branches.start(call, heads, &index);
                call.is_busy
            })
        };
        assert!(start(&mut branches, &mut heads));
        assert_eq!(heads_of(&branches).len(), 2);
        assert!(!start(&mut branches, &mut heads), "they are under way");
        assert_eq!(branches.next_turn().len(), 2);
        heads.remove_peer(&announcer(1).peer);
        let mut context = Context::new(None);
        call_at(105, &NoStore, &mut context, |call| {
            branches.drop_abandoned(call, &mut heads, None);
            assert_eq!(branches.iter().count(), 2, "not stalled yet");
        });
        call_at(110, &NoStore, &mut context, |call| {
            branches.drop_abandoned(call, &mut heads, None);
        });
        assert_eq!(heads_of(&branches), [id(2)]);
    }

    #[test]
    fn links_a_bounded_number_of_heads_of_the_seed() {
        let (mut branches, mut context) = (branches(), Context::new(None));
        for number in 1..=5 {
            let seconds = 100 + u64::from(number);
            call_at(seconds, &NoStore, &mut context, |call| {
                branches.start_trusted(call, announcer(9), id(number));
                branches.start_trusted(call, announcer(9), id(number));
            });
        }
        assert_eq!(heads_of(&branches), [id(4), id(5)]);
    }
}
