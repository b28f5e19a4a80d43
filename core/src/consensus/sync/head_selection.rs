//! Which head is ours: the best of what was verified, whichever peer named it.

use super::block_index::Entry;
use super::{ChainSync, Environment};
use crate::atom::AtomId;
use crate::chain::fork::{self, Tip, Window};
use crate::consensus::{Context, Event, Head, HeadState};
use crate::trie::BatchHasher;
use alloc::vec::Vec;

impl<H: BatchHasher> ChainSync<H> {
    /// Takes notice of the head, whichever component set it.
    pub(super) fn see_head(&mut self, context: &mut Context) {
        let Some(head) = context.head() else {
            return;
        };
        let now = (head.id(), head.state());
        if self.seen == Some(now) {
            return;
        }
        let is_first = self.seen.is_none();
        self.seen = Some(now);
        let root = match head.state() {
            HeadState::Trusted => None,
            HeadState::Verified => context.root(),
            // A block of our own on one that was only trusted is no more than that.
            HeadState::Own if head.block().is_genesis() || is_first => context.root(),
            HeadState::Own => {
                let parent = self.index.get(&head.block().previous);
                parent.map(|parent| parent.root)
            }
        };
        if let Some(entry) = root.and_then(|root| Entry::of(head.block(), root)) {
            self.index.insert(head.id(), entry);
            if is_first {
                self.read_back = Some(head.block().previous);
            }
        }
        self.index.set_head(head.id());
    }

    pub(super) fn adopt(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        head: Head,
    ) {
        if let Some(entry) = self.index.get(&head.id())
            && context.root().is_none()
        {
            context.set_root(entry.root);
        }
        if head.state() != HeadState::Own {
            let now = environment.now.unix.as_secs();
            context.report(Event::HeadChanged {
                id: head.id(),
                height: head.height(),
                state: head.state(),
                age_seconds: now.saturating_sub(head.timestamp()),
            });
        }
        context.set_head(head);
        self.see_head(context);
    }

    /// Adopts the best of what was verified. `reached` are blocks that no peer needs to name.
    pub(super) fn choose(
        &mut self,
        environment: &Environment<'_>,
        context: &mut Context,
        reached: &[AtomId],
    ) {
        let current = context.head().map(|head| (head.id(), head.height()));
        let is_trusted = context
            .head()
            .is_some_and(|head| head.state() == HeadState::Trusted);
        let tip = |id: &AtomId| {
            let entry = self.index.get(id)?;
            let extends =
                current.is_none_or(|(current, height)| self.index.descends(id, &current, height));
            let is_ours = context.root().is_none_or(|root| root == entry.root);
            // A trusted head gives way to what goes on from it alone.
            let may = is_ours && (extends || !is_trusted);
            may.then_some(Tip {
                id: *id,
                height: entry.height,
                timestamp: entry.timestamp,
                extends_current: extends,
            })
        };
        let offered: Vec<AtomId> = self.heads.heads().copied().collect();
        let offered = offered.iter().filter_map(tip);
        let reached = reached.iter().filter_map(tip);
        // A genesis that a chain goes back to says nothing for the chain.
        let is_founded = |tip: &Tip| current.is_some() || tip.height > 0;
        let reached = reached.filter(|tip| tip.extends_current && is_founded(tip));
        let own = context.head().map(|head| Tip {
            id: head.id(),
            height: head.height(),
            timestamp: head.timestamp(),
            extends_current: true,
        });
        let best = fork::choose(
            own.as_ref(),
            offered.chain(reached),
            &self.window(environment),
        );
        let Some(best) = best else {
            return;
        };
        let is_same = own.is_some_and(|own| own.id == best.id);
        if is_same && !(is_trusted && self.index.contains(&best.id)) {
            return;
        }
        // It was read to be verified; if it has left memory since, the next look finds it again.
        if let Some(block) = self.load(environment, context, best.id)
            && let Some(head) = Head::new(block, HeadState::Verified)
        {
            self.start_waits = None;
            self.adopt(environment, context, head);
        }
    }

    pub(super) const fn window(&self, environment: &Environment<'_>) -> Window {
        Window {
            now: environment.now.unix.as_secs(),
            max_stale_seconds: self.config.max_stale_seconds,
            max_future_seconds: self.config.max_future_seconds,
        }
    }
}
