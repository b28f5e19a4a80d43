//! Scheduling of branches: their selection, their turns, and the handling of their results.
//!
//! A branch is *short* until it has more than a few headers. Short branches are cheap: one that
//! stalls yields to a waiting head after [`SHORT_STALL_TIMEOUT`]. [`MAX_LONG_BRANCHES`] may become
//! long. If all slots are taken, the branch of the least support yields, first among those that
//! have stalled for [`STALL_TIMEOUT`], then among those that have had their [`TURN`] and are not
//! among the [`UNINTERRUPTED_BRANCHES`] of the most support. A branch never yields to one of less
//! support.

use super::ChainSync;
use super::announced_heads::Standing;
use super::announcers::Support;
use super::branch::{Branch, Kind};
use super::call::Call;
use super::event::SyncEvent;
use super::rejected::DeadEnd;
use super::step::Step;
use crate::atom::AtomId;
use crate::consensus::Event;
use crate::time::Instant;
use crate::trie::BatchHasher;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

/// Maximum number of branches synced at a time.
pub const MAX_BRANCHES: usize = 16;
/// Maximum number of these with more than a few headers.
pub const MAX_LONG_BRANCHES: usize = 8;
/// Number of long branches that are not interrupted while they progress: those of the most support.
const UNINTERRUPTED_BRANCHES: usize = 4;
/// Time for which any other branch is read downwards while further ones wait.
const TURN: Duration = Duration::from_secs(60);
/// Time without progress after which a branch yields to one that waits, and is dropped if no peer
/// announces it any more.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without progress after which a short branch yields.
const SHORT_STALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Time without progress after which a short branch that only peers without a record announce
/// yields to a head that a seed or a peer with a record announces.
const UNKNOWN_PEER_STALL_TIMEOUT: Duration = Duration::from_millis(500);
/// Number of headers below a head whose blocks are not followed as heads of their own.
const NEAR_HEADERS: usize = 64;
/// Maximum number of descendants of an invalid block that are remembered with it.
const MAX_BAD_ABOVE: usize = 256;
/// Time for which the heads of a peer that follows another chain are ignored.
const IGNORED: Duration = Duration::from_secs(600);

impl Branch {
    /// Returns whether a block is the head of the branch or one of the highest below it.
    pub(super) fn is_on(&self, id: &AtomId) -> bool {
        self.head == *id || self.path.is_near_top(id, NEAR_HEADERS)
    }
}

impl<H: BatchHasher> ChainSync<H> {
    /// Starts branches for waiting heads, and ends stalled ones that have to yield.
    pub(super) fn start_branches(&mut self, call: &mut Call<'_, '_>) {
        let now = call.now();
        loop {
            let (index, branches) = (&self.index, &self.branches);
            let is_known = |id: &AtomId| {
                let is_on = |branch: &Branch| branch.kind != Kind::Trusted && branch.is_on(id);
                index.is_verified(id) || branches.iter().any(is_on)
            };
            let Some((head, rank)) = self.heads.next(now, self.unix, is_known) else {
                return;
            };
            if self.branches.len() >= MAX_BRANCHES && !self.end_short(now, rank.standing()) {
                return;
            }
            let announcers = self.heads.hold(now, &head);
            let limits = self.config.limits.path();
            self.branches
                .push(Branch::new(head, announcers, limits, now));
            call.is_busy = true;
        }
    }

    /// Syncs a head that the operator has adopted.
    pub(super) fn sync_by_decision(&mut self, head: AtomId) {
        let known = self.branches.iter_mut().find(|branch| branch.is_on(&head));
        if let Some(branch) = known {
            branch.kind = Kind::Decided;
            return;
        }
        let announcers = self.heads.announcers(&head);
        let limits = self.config.limits.path();
        let mut branch = Branch::new(head, announcers, limits, self.now);
        branch.kind = Kind::Decided;
        branch.has_slot = true;
        self.branches.push(branch);
    }

    /// Ends a stalled short branch for a head of this standing. Returns whether one was ended.
    fn end_short(&mut self, now: Instant, standing: Standing) -> bool {
        let ranked = self.branches.iter().filter(|branch| !branch.has_slot);
        let ranked = ranked.map(|branch| (self.heads.standing(&branch.announcers), branch));
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
        self.give_up(now, &head);
        true
    }

    /// Grants slots among the long branches to those that need them.
    fn grant_slots(&mut self, call: &mut Call<'_, '_>) {
        let now = call.now();
        loop {
            let waiting = self.branches.iter().filter(|branch| branch.needs_slot());
            let best = waiting.max_by_key(|branch| {
                let standing = self.heads.standing(&branch.announcers);
                (branch.announcers.support(), standing, Reverse(branch.since))
            });
            let Some((head, support)) = best.map(|best| (best.head, best.announcers.support()))
            else {
                return;
            };
            let taken = self.branches.iter().filter(|branch| branch.has_slot);
            if taken.count() >= MAX_LONG_BRANCHES && !self.end_long(now, support) {
                return;
            }
            if let Some(branch) = self.branches.iter_mut().find(|it| it.head == head) {
                branch.has_slot = true;
                branch.has_progressed(now);
            }
            call.is_busy = true;
        }
    }

    /// Ends a long branch for one of this support. Returns whether one was ended.
    fn end_long(&mut self, now: Instant, support: Support) -> bool {
        let long = self.branches.iter().filter(|branch| branch.has_slot);
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
        self.give_up(now, &head);
        true
    }

    /// Ends a branch that has stalled, or had its turn. Its head may be tried again.
    fn give_up(&mut self, now: Instant, head: &AtomId) {
        if let Some(at) = self.branches.iter().position(|it| it.head == *head) {
            let branch = self.branches.remove(at);
            match branch.not_before {
                Some(opens) => self.heads.park(head, opens),
                None if !branch.needs_slot()
                    && branch.is_stalled(now, UNKNOWN_PEER_STALL_TIMEOUT) =>
                {
                    self.heads.failed(now, head, &branch.announcers);
                }
                None => {}
            }
            self.heads.release(head);
        }
    }

    /// Ends branches that no peer announces and that do not progress.
    pub(super) fn drop_abandoned(&mut self, call: &mut Call<'_, '_>) {
        let now = call.now();
        let (heads, seed_head) = (&mut self.heads, self.seed.head());
        let count = self.branches.len();
        self.branches.retain(|branch| {
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
        call.is_busy |= self.branches.len() < count;
    }

    /// Returns when a branch or head that waits may get a slot.
    pub(super) fn next_slot_change(&self, now: Instant) -> Option<Instant> {
        let is_full = self.branches.len() >= MAX_BRANCHES;
        let has_waiting = self.branches.iter().any(Branch::needs_slot);
        let long = self.branches.iter().filter(|branch| branch.has_slot);
        if has_waiting && long.clone().count() < MAX_LONG_BRANCHES {
            return Some(now);
        }
        let over = long.flat_map(|branch| [branch.progressed + STALL_TIMEOUT, branch.since + TURN]);
        let over = over.filter(|_| has_waiting);
        let short = self.branches.iter().filter(|branch| !branch.has_slot);
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

    /// Does one piece of work for each branch, but verifies at most one block.
    pub(super) fn run_branches(&mut self, call: &mut Call<'_, '_>) {
        self.grant_slots(call);
        let heads: Vec<AtomId> = self.branches.iter().map(|branch| branch.head).collect();
        let count = heads.len().max(1);
        self.turn = (self.turn + 1) % count;
        let (before, after) = heads.split_at(self.turn.min(heads.len()));
        for head in after.iter().chain(before) {
            // It may have been merged into an earlier branch, or ended with it.
            let Some(at) = self.branches.iter().position(|branch| branch.head == *head) else {
                continue;
            };
            let branch = self.branches.get(at);
            let is_reading = branch.is_some_and(Branch::is_reading_headers);
            let is_trusted = branch.is_some_and(|branch| branch.kind == Kind::Trusted);
            let step = if is_reading {
                self.read_headers(call, at)
            } else {
                match self.reread_headers(call, at) {
                    Step::Bad(block, reason) => Step::Bad(block, reason),
                    _ if is_trusted => self.link_blocks(call, at),
                    _ => {
                        let bodies = self.branches.iter().flat_map(|branch| &branch.bodies);
                        let ids = bodies.map(|ahead| ahead.left.len()).sum();
                        if let Some(branch) = self.branches.get_mut(at) {
                            self.downloads.fetch_ahead(call, branch, ids);
                        }
                        self.verify_next(call, at)
                    }
                }
            };
            let was_heavy = !is_reading && !matches!(step, Step::Waits);
            self.handle_step(call, *head, step);
            if was_heavy {
                call.is_busy = true;
                return;
            }
        }
    }

    fn handle_step(&mut self, call: &mut Call<'_, '_>, head: AtomId, step: Step) {
        let now = call.now();
        call.is_busy |= !matches!(step, Step::Waits | Step::Unanswered);
        match step {
            Step::Progress | Step::Joined | Step::Waits => {}
            Step::Finished => {
                if let Some(at) = self.branches.iter().position(|it| it.head == head) {
                    let branch = self.branches.remove(at);
                    self.branch_ended(call, branch.kind);
                }
                self.heads.release(&head);
            }
            Step::Bad(block, reason) => self.mark_invalid(call, block, &reason),
            Step::DeadEnd(end) => self.drop_branch(call, head, end),
            Step::Early(opens, ahead) => {
                self.branches.retain(|branch| branch.head != head);
                self.heads.park(&head, opens);
                self.heads.release(&head);
                let reason = format!("a block of it is {ahead} s in the future");
                self.drop_head(call, head, reason);
            }
            Step::Unanswered => {
                // Heads of the default seed or of the operator are requested again.
                let is_spare = |branch: &Branch| {
                    branch.head == head
                        && branch.kind == Kind::Verified
                        && self.heads.peers_of(&head) == 0
                };
                if let Some(at) = self.branches.iter().position(is_spare) {
                    let branch = self.branches.remove(at);
                    self.heads.failed(now, &head, &branch.announcers);
                    self.heads.release(&head);
                    call.is_busy = true;
                }
            }
        }
    }

    fn drop_head(&mut self, call: &mut Call<'_, '_>, head: AtomId, reason: String) {
        call.context.report(Event::Sync(SyncEvent::HeadDropped {
            head,
            reason: reason.clone(),
        }));
        self.rejected.note_dropped(head, reason);
    }

    /// Ends a branch that this node does not follow.
    fn drop_branch(&mut self, call: &mut Call<'_, '_>, head: AtomId, end: DeadEnd) {
        let now = call.now();
        let Some(at) = self.branches.iter().position(|branch| branch.head == head) else {
            return;
        };
        let branch = self.branches.remove(at);
        self.rejected
            .add_dead_ends(branch.path.landmarks().chain([head]), end);
        let announcers = self.heads.announcers(&head);
        match end {
            DeadEnd::OtherChain(difference) => {
                for announcer in branch.announcers.iter().chain(announcers.iter()) {
                    self.ignore_peer(call, announcer.peer, difference, now + IGNORED);
                }
                self.rejected.note_dropped(head, difference.to_string());
            }
            DeadEnd::Avoided(block) => {
                self.heads.failed(now, &head, &branch.announcers);
                let reason = format!("block {block} is avoided by the operator");
                self.drop_head(call, head, reason);
            }
            DeadEnd::DeepFork => {
                self.heads.failed(now, &head, &branch.announcers);
                let most = super::MAX_OWN_BLOCKS;
                let reason = format!("its fork point is more than {most} blocks below our head");
                self.drop_head(call, head, reason);
            }
        }
        self.heads.forget(&head);
    }

    /// Remembers an invalid block, and ends every branch that contains it.
    fn mark_invalid(&mut self, call: &mut Call<'_, '_>, block: AtomId, reason: &str) {
        call.context.report(Event::Sync(SyncEvent::BadBlock {
            block,
            reason: String::from(reason),
        }));
        let branches = core::mem::take(&mut self.branches);
        for branch in branches {
            // The invalid block is on the path, or it is the branch's current block.
            let is_next = branch.at_hand() == Some(block);
            let near = match branch.path.above(Some(&block), MAX_BAD_ABOVE) {
                Some(near) => near,
                None if is_next => branch.path.above(None, MAX_BAD_ABOVE).unwrap_or_default(),
                None => {
                    self.branches.push(branch);
                    continue;
                }
            };
            // Its nearest descendants, which later branches will meet, and the head.
            let tainted = near.into_iter().chain([branch.head]);
            for id in tainted.filter(|id| *id != block) {
                self.add_bad(id, reason);
            }
            self.heads
                .failed(self.now, &branch.head, &branch.announcers);
            self.add_bad(branch.head, reason);
        }
        // Added last, so that it is forgotten last.
        self.add_bad(block, reason);
    }

    fn add_bad(&mut self, block: AtomId, reason: &str) {
        let announcers = self.heads.forget(&block);
        self.rejected.add_bad(block, reason, announcers);
    }
}
