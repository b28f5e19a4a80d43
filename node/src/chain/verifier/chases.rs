//! The heads that are followed: which, in what turns, and what comes of each.

use super::chase::{Chase, Phase};
use super::{CHASE_PATIENCE, CHASE_TURN, Environment, LASTING_CHASES, MAX_CHASES, Step, Verifier};
use crate::chain::Context;
use crate::log;
use astreum_core::atom::AtomId;
use astreum_core::time::Instant;
use std::collections::BTreeSet;

/// Headers below a head that is followed, whose blocks are not followed as heads of their own.
const ON_THE_WAY: usize = 64;
/// Blocks above a bad one that are remembered with it.
const MAX_CONDEMNED_ABOVE: usize = 256;

impl Verifier {
    /// Follows what waits, and leaves what has had its turn.
    pub(super) fn start_chases(&mut self, now: Instant) {
        let waiting = self.forks.waiting();
        let verified = &self.verified;
        let on_the_way: BTreeSet<AtomId> = self
            .chases
            .iter()
            .flat_map(|chase| chase.path.iter().take(ON_THE_WAY))
            .copied()
            .collect();
        let is_new = |id: &AtomId| !verified.contains(id) && !on_the_way.contains(id);
        let mut waiting = waiting.into_iter().filter(is_new).peekable();
        if self.chases.len() >= MAX_CHASES && waiting.peek().is_some() {
            let forks = &self.forks;
            self.chases
                .sort_by_key(|chase| core::cmp::Reverse(forks.peers_of(&chase.head)));
            let over = self.chases.iter().enumerate().rev().find(|(rank, chase)| {
                let is_stuck = now.since(chase.progressed) >= CHASE_PATIENCE;
                let had_turn = now.since(chase.since) >= CHASE_TURN;
                is_stuck || *rank >= LASTING_CHASES && had_turn && chase.is_walking()
            });
            if let Some((rank, _)) = over {
                let chase = self.chases.remove(rank);
                self.forks.release(&chase.head);
            }
        }
        while self.chases.len() < MAX_CHASES
            && let Some(head) = waiting.next()
        {
            if self.forks.hold(&head) {
                self.chases.push(Chase::new(head, now));
                self.is_busy = true;
            }
        }
    }

    /// Does one piece of work for each chase, but verifies one block at most.
    pub(super) fn run_chases(&mut self, world: &Environment<'_>, context: &mut Context) {
        let heads: Vec<AtomId> = self.chases.iter().map(|chase| chase.head).collect();
        let count = heads.len().max(1);
        self.turn = (self.turn + 1) % count;
        let (before, after) = heads.split_at(self.turn.min(heads.len()));
        for head in after.iter().chain(before) {
            // The one before may have taken it in, or taken it with it.
            let Some(at) = self.chases.iter().position(|chase| chase.head == *head) else {
                continue;
            };
            let is_walking = self.chases.get(at).is_some_and(Chase::is_walking);
            let step = if is_walking {
                self.walk(world, context, at)
            } else {
                self.fetch_ahead(world, context, at);
                self.climb(world, context, at)
            };
            let was_heavy = !is_walking && !matches!(step, Step::Waits);
            self.after(world, context, *head, step);
            if was_heavy {
                self.is_busy = true;
                return;
            }
        }
    }

    fn after(&mut self, world: &Environment<'_>, context: &mut Context, head: AtomId, step: Step) {
        match step {
            Step::Progress | Step::Joined => self.is_busy = true,
            Step::Waits => {}
            Step::Finished => {
                self.chases.retain(|chase| chase.head != head);
                self.choose(world, context, &[head]);
                self.forks.release(&head);
                self.is_busy = true;
            }
            Step::Bad(block, reason) => {
                self.condemn(block, &reason);
                self.is_busy = true;
            }
            Step::Dropped(reason) => {
                if let Some(more) = log::limited("head dropped") {
                    log::warn!("head {head} is not followed: {reason}{more}");
                }
                self.chases.retain(|chase| chase.head != head);
                self.forks.forget(&head);
                self.dropped = Some((head, reason));
                self.is_busy = true;
            }
        }
    }

    /// Remembers a bad block, and leaves every chase that goes through it.
    fn condemn(&mut self, block: AtomId, reason: &str) {
        if let Some(more) = log::limited("bad block") {
            log::warn!("block {block} is bad, and what follows it: {reason}{more}");
        }
        let chases = core::mem::take(&mut self.chases);
        for chase in chases {
            // Headers above it, the lowest last; and it may be the one that is just looked at.
            let is_next = matches!(chase.phase, Phase::Walking { next } if next == block);
            let above = match chase.path.iter().position(|id| *id == block) {
                Some(at) => chase.path.get(..at).unwrap_or_default(),
                None if is_next => &chase.path,
                None => {
                    self.chases.push(chase);
                    continue;
                }
            };
            // Those next to it, where one that is offered later will come by, and the head.
            let near = above.iter().rev().take(MAX_CONDEMNED_ABOVE);
            let tainted: Vec<AtomId> = [chase.head]
                .into_iter()
                .filter(|head| *head != block)
                .chain(near.copied().filter(|id| *id != chase.head))
                .collect();
            self.forks.condemn(block, &tainted, reason.to_owned());
        }
    }
}
