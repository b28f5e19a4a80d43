//! The verifier: a state machine that follows the heads of peers and checks every rule.
//!
//! A head is *chased*: its headers are fetched down to a block that is verified, or to the genesis;
//! then its blocks are checked from there up, and stored. What is verified competes by core's
//! [`fork::choose`]. What nobody brings is asked for again and again, and what comes too early
//! waits; neither condemns. What breaks a rule is remembered with its reason, all that stands on it
//! with it, and is not tried again.
//!
//! Which chain is ours: the one that the head of an earlier run, a genesis of our own or
//! `verified_up_to` belongs to; a node with none of these takes the first chain that it adopts, but
//! not for its genesis alone, which costs nothing to make: a block on it has to have been verified,
//! or the genesis be what a peer names. From then on chains that go back to another genesis are
//! refused.
//!
//! The pinned default seed is believed: its head is adopted once its header is here, and nothing
//! else of it is checked. It gives way to what was verified only where that goes on from it; and
//! what we have verified ourselves, is fresh and at least as high, does not give way to it.
//!
//! Bounds: the offers and bad blocks of [`fork::Forks`]; [`MAX_CHASES`] heads at once, of which all
//! but the [`LASTING_CHASES`] that most peers offer take turns of [`CHASE_TURN`] while others wait;
//! [`MAX_PATHS`] headers of all of them; [`MAX_VERIFIED`] verified blocks; [`MAX_IN_FLIGHT`]
//! fetches.

mod body;
mod chase;
mod check;
mod fetches;
mod status;
mod verified;
mod walk;

pub use body::{Checked, verify_body};
pub use chase::BODIES_AHEAD;
pub use fetches::{MAX_AHEAD, MAX_IN_FLIGHT};
pub use status::{SyncProgress, VerifierStatus};
pub use verified::MAX_VERIFIED;
pub use walk::MAX_PATHS;

use super::{Context, Head, HeadState, Input, Machine, World};
use crate::config::Config;
use crate::lanes::Lanes;
use crate::log;
use astreum_core::atom::AtomId;
use astreum_core::chain::Block;
use astreum_core::chain::fork::{self, Forks, Offer, Tip, Window};
use astreum_core::crypto::PublicKey;
use astreum_core::integer::Natural;
use astreum_core::time::Instant;
use chase::{Chase, Phase};
use core::time::Duration;
use fetches::Fetches;
use std::collections::BTreeSet;
use std::sync::Arc;
use verified::{Entry, Verified};

/// Heads that are followed at once.
pub const MAX_CHASES: usize = 8;
/// Of these, those that most peers offer are not interrupted.
pub const LASTING_CHASES: usize = 4;
/// How long any other head is followed while further ones wait.
pub const CHASE_TURN: Duration = Duration::from_secs(60);
/// A head that has not come nearer for so long gives way to one that waits, and goes when nobody
/// offers it any more.
pub const CHASE_PATIENCE: Duration = Duration::from_secs(10);
/// How long the walk down may hold back a validator of ours.
const WALK_GRACE: Duration = Duration::from_secs(30);
/// A block that is further ahead of the clock is not waited for.
pub const MAX_AHEAD_SECONDS: u64 = 600;
/// Headers below a head that is followed, whose blocks are not followed as heads of their own.
const ON_THE_WAY: usize = 64;
/// Headers of our own chain that one call reads back after a start.
const READ_BACK_PER_CALL: usize = 256;

/// What the verifier is told once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierConfig {
    /// The chain.
    pub chain_id: u64,
    /// Seconds after its timestamp for which a head counts as fresh.
    pub max_stale_seconds: u64,
    /// Seconds that a block may be ahead.
    pub max_future_seconds: u64,
    /// Between two looks at what could not be followed.
    pub interval: Duration,
    /// The block to start from where no head is remembered.
    pub latest_block: Option<AtomId>,
    /// The block up to which the chain counts as verified.
    pub verified_up_to: Option<AtomId>,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self {
            chain_id: 0,
            max_stale_seconds: 10,
            max_future_seconds: 2,
            interval: Duration::from_secs(10),
            latest_block: None,
            verified_up_to: None,
        }
    }
}

impl From<&Config> for VerifierConfig {
    fn from(config: &Config) -> Self {
        Self {
            chain_id: config.chain_id,
            max_stale_seconds: config.verification_max_stale_seconds,
            max_future_seconds: config.verification_max_future_skew,
            interval: config.verify_blockchain_interval,
            latest_block: config.latest_block_hash,
            verified_up_to: config.verified_up_to,
        }
    }
}

/// What came of one piece of work.
enum Step {
    /// There is more to do at once.
    Progress,
    /// The walk down is over.
    Joined,
    /// Nothing more until something comes.
    Waits,
    /// Every block of the chase is verified.
    Finished,
    /// This block is bad.
    Bad(AtomId, String),
    /// It is not worth following; no block is known to be bad.
    Dropped(String),
}

/// The verifier. See the [module](self).
#[derive(Debug)]
pub struct Verifier {
    options: VerifierConfig,
    chain_id: Natural,
    hasher: Lanes,
    forks: Forks<String>,
    verified: Verified,
    chases: Vec<Chase>,
    fetches: Fetches,
    /// Heads of the default seed: the one that is being loaded, and the newest.
    seed: Option<AtomId>,
    seed_next: Option<AtomId>,
    /// The next header to read back of our own chain.
    read_back: Option<AtomId>,
    /// What the start waits for, in words.
    start_waits: Option<String>,
    /// The head of the last call.
    seen: Option<(AtomId, HeadState)>,
    turn: usize,
    is_busy: bool,
    now: Instant,
    next_look: Instant,
    /// What was dropped last, and why.
    dropped: Option<(AtomId, String)>,
}

impl Verifier {
    /// A verifier that knows nothing yet.
    #[must_use]
    pub fn new(options: VerifierConfig) -> Self {
        Self {
            chain_id: options.chain_id.into(),
            options,
            hasher: Lanes::new(),
            forks: Forks::new(),
            verified: Verified::default(),
            chases: Vec::new(),
            fetches: Fetches::default(),
            seed: None,
            seed_next: None,
            read_back: None,
            start_waits: None,
            seen: None,
            turn: 0,
            is_busy: true,
            now: Instant::ZERO,
            next_look: Instant::ZERO,
            dropped: None,
        }
    }

    /// Whether this block was verified, and is remembered to have been.
    #[must_use]
    pub fn is_verified(&self, block: &AtomId) -> bool {
        self.verified.contains(block)
    }

    /// Why a block is bad, if it is known to be.
    #[must_use]
    pub fn bad(&self, block: &AtomId) -> Option<&str> {
        self.forks.bad(block).map(String::as_str)
    }

    fn peer_head(&mut self, peer: PublicKey, id: AtomId) {
        match self.forks.offer(peer, id) {
            Offer::New | Offer::Known => self.is_busy = true,
            Offer::Bad(reason) => {
                if let Some(more) = log::limited("bad head") {
                    log::warn!("peer {peer} offers block {id}, which is bad: {reason}{more}");
                }
            }
            Offer::Refused => {
                if let Some(more) = log::limited("head refused") {
                    log::info!("the head of peer {peer} is not followed: too many others{more}");
                }
            }
        }
    }

    /// Takes back what a peer has offered before it was known to be the default seed: that is
    /// believed, not checked.
    fn leave(&mut self, peer: &PublicKey) {
        let forks = &mut self.forks;
        let offered: BTreeSet<AtomId> = forks.heads().copied().collect();
        forks.withdraw(peer);
        self.chases.retain(|chase| {
            let stays = forks.peers_of(&chase.head) > 0 || !offered.contains(&chase.head);
            if !stays {
                forks.release(&chase.head);
            }
            stays
        });
    }

    /// Takes up the head of an earlier run, or the configured one.
    fn resume(&mut self, world: &World<'_>, context: &mut Context) {
        let (id, state) = match context.saved() {
            Some(saved) => {
                let (id, state) = (saved.id, saved.state);
                if state != HeadState::Trusted
                    && !self.verified.contains(&id)
                    && let Some(root) = saved.root
                {
                    // Others can be followed down to it before it is here itself.
                    let entry = Entry {
                        height: saved.height,
                        timestamp: saved.timestamp,
                        previous: AtomId::ZERO,
                        root,
                    };
                    self.verified.insert(id, entry);
                }
                (id, state)
            }
            None if context.head().is_some() => return,
            None => match self.options.latest_block {
                Some(id) if Some(id) == self.options.verified_up_to => (id, HeadState::Verified),
                Some(id) => (id, HeadState::Trusted),
                None => return,
            },
        };
        let Some(block) = self.load(world, context, id, "the head to start from") else {
            return;
        };
        match Head::new(block, state) {
            Some(head) if head.block().chain_id == self.chain_id => {
                self.start_waits = None;
                if Some(id) == self.options.verified_up_to {
                    let root = context.root().unwrap_or(id);
                    self.verified.insert_head(&head, root);
                }
                self.adopt(world, context, head);
            }
            _ => {
                let what = format!("the head to start from, {id}, is of another chain");
                self.start_waits = Some(what);
            }
        }
    }

    /// The block, if it is here; it is fetched otherwise.
    fn load(
        &mut self,
        world: &World<'_>,
        context: &mut Context,
        id: AtomId,
        what: &str,
    ) -> Option<Arc<Block>> {
        let error = match Block::read(&world.atoms, id) {
            Ok(block) => return Some(Arc::new(block)),
            Err(error) => error,
        };
        let waits = match error.missing() {
            Some(missing) => self.fetches.want(context, world.now.instant, missing),
            None => error.to_string(),
        };
        self.start_waits = Some(format!("{what}: {waits}"));
        None
    }

    /// Takes notice of the head, whoever set it.
    fn see_head(&mut self, context: &mut Context) {
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
                let parent = self.verified.get(&head.block().previous);
                parent.map(|parent| parent.root)
            }
        };
        if let Some(root) = root {
            self.verified.insert_head(head, root);
            if is_first {
                self.read_back = Some(head.block().previous);
            }
        }
    }

    /// Remembers what is stored of our own chain as verified, after a start.
    fn read_back(&mut self, world: &World<'_>, context: &Context) {
        let Some(root) = context.root() else {
            self.read_back = None;
            return;
        };
        for _ in 0..READ_BACK_PER_CALL {
            let Some(id) = self.read_back.take() else {
                return;
            };
            let head = context.head().map_or(0, Head::height);
            let Ok(block) = Block::read(&world.atoms, id) else {
                return;
            };
            let Some(head_then) = Head::new(block, HeadState::Verified) else {
                return;
            };
            // The last one is the one that everything was verified from.
            let is_last = id == root || head_then.block().is_genesis();
            let depth = head.saturating_sub(head_then.height());
            if depth >= MAX_VERIFIED as u64 || self.verified.contains(&id) {
                return;
            }
            self.verified.insert_head(&head_then, root);
            if !is_last {
                self.read_back = Some(head_then.block().previous);
            }
        }
        self.is_busy = true;
    }

    /// Adopts the default seed's newest head, once its header is here.
    fn follow_seed(&mut self, world: &World<'_>, context: &mut Context) {
        if self.seed.is_none() {
            self.seed = self.seed_next.take();
        }
        let Some(id) = self.seed else {
            return;
        };
        if context.head().is_some_and(|head| head.id() == id) {
            self.seed = None;
            return;
        }
        let error = match Block::read(&world.atoms, id) {
            Ok(block) => {
                self.seed = None;
                self.is_busy |= self.seed_next.is_some();
                self.seed_head(world, context, block);
                return;
            }
            Err(error) => error,
        };
        if let Some(missing) = error.missing() {
            let waits = self.fetches.want(context, world.now.instant, missing);
            self.start_waits = Some(format!("the default seed's head: {waits}"));
        }
        // A newer one may be easier to get.
        if self.seed_next.is_some() || error.missing().is_none() {
            self.seed = self.seed_next.take();
        }
    }

    fn seed_head(&mut self, world: &World<'_>, context: &mut Context, block: Block) {
        self.start_waits = None;
        if block.chain_id != self.chain_id {
            let (theirs, ours) = (&block.chain_id, &self.chain_id);
            self.start_waits = Some(format!(
                "the default seed is on chain {theirs}, this is chain {ours}"
            ));
            return;
        }
        let state = if self.verified.contains(&block.id()) {
            HeadState::Verified
        } else {
            HeadState::Trusted
        };
        let Some(head) = Head::new(block, state) else {
            return;
        };
        let window = self.window(world);
        let stays = context.head().is_some_and(|current| {
            current.state() != HeadState::Trusted
                && window.is_fresh(current.timestamp())
                && current.height() >= head.height()
        });
        if !stays {
            self.adopt(world, context, head);
        }
    }

    fn adopt(&mut self, world: &World<'_>, context: &mut Context, head: Head) {
        let is_own = head.state() == HeadState::Own;
        if let Some(entry) = self.verified.get(&head.id())
            && context.root().is_none()
        {
            context.set_root(entry.root);
        }
        if let Some(more) = log::limited("head")
            && !is_own
        {
            let (id, height, state) = (head.id(), head.height(), head.state());
            let age = world.now.unix.as_secs().saturating_sub(head.timestamp());
            log::info!("head {height} {id}, {state}, {age} s old{more}");
        }
        context.set_head(head);
        self.see_head(context);
    }

    const fn window(&self, world: &World<'_>) -> Window {
        Window {
            now: world.now.unix.as_secs(),
            max_stale_seconds: self.options.max_stale_seconds,
            max_future_seconds: self.options.max_future_seconds,
        }
    }

    /// Adopts the best of what was verified. `reached` are blocks that nobody needs to offer.
    fn choose(&mut self, world: &World<'_>, context: &mut Context, reached: &[AtomId]) {
        let current = context.head().map(|head| (head.id(), head.height()));
        let is_trusted = context
            .head()
            .is_some_and(|head| head.state() == HeadState::Trusted);
        let tip = |id: &AtomId| {
            let entry = self.verified.get(id)?;
            let extends = current
                .is_none_or(|(current, height)| self.verified.descends(id, &current, height));
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
        let offered: Vec<AtomId> = self.forks.heads().copied().collect();
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
        let best = fork::choose(own.as_ref(), offered.chain(reached), &self.window(world));
        let Some(best) = best else {
            return;
        };
        let is_same = own.is_some_and(|own| own.id == best.id);
        if is_same && !(is_trusted && self.verified.contains(&best.id)) {
            return;
        }
        // It was read to be verified; if it has left memory since, the next look finds it again.
        if let Some(block) = self.load(world, context, best.id, "the best head")
            && let Some(head) = Head::new(block, HeadState::Verified)
        {
            self.start_waits = None;
            self.adopt(world, context, head);
        }
    }

    /// Follows what waits, and leaves what has had its turn.
    fn start_chases(&mut self, now: Instant) {
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
    fn run_chases(&mut self, world: &World<'_>, context: &mut Context) {
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

    fn after(&mut self, world: &World<'_>, context: &mut Context, head: AtomId, step: Step) {
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
                log::warn!("head {head} is not followed: {reason}");
                self.chases.retain(|chase| chase.head != head);
                self.forks.forget(&head);
                self.dropped = Some((head, reason));
                self.is_busy = true;
            }
        }
    }

    /// Remembers a bad block, and leaves every chase that goes through it.
    fn condemn(&mut self, block: AtomId, reason: &str) {
        log::warn!("block {block} is bad, and what follows it: {reason}");
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

    /// Once in a while: what nobody offers any more goes, and progress is adopted and told.
    fn look(&mut self, world: &World<'_>, context: &mut Context) {
        let now = world.now.instant;
        self.next_look = now + self.options.interval;
        self.fetches.tidy(now);
        let forks = &mut self.forks;
        self.chases.retain(|chase| {
            let stays = now.since(chase.progressed) < CHASE_PATIENCE
                || forks.peers_of(&chase.head) > 0
                || chase.not_before.is_some_and(|at| at > now);
            if !stays {
                forks.release(&chase.head);
            }
            stays
        });
        let reached: Vec<AtomId> = self
            .chases
            .iter()
            .filter_map(|chase| match &chase.phase {
                Phase::Joined { parent } => parent.as_ref().map(|parent| parent.id()),
                Phase::Walking { .. } => None,
            })
            .collect();
        self.choose(world, context, &reached);
        for chase in &self.chases {
            log::info!("{}", status::progress(chase));
        }
    }

    /// Whether a longer chain than ours is coming nearer.
    fn is_behind(&self, context: &Context) -> bool {
        let height = context.head().map_or(0, Head::height);
        self.chases.iter().any(|chase| {
            let is_near = self.now.since(chase.progressed) < CHASE_PATIENCE;
            let is_longer = chase.height > height || chase.path.is_empty();
            let is_young = self.now.since(chase.since) < WALK_GRACE;
            is_longer && is_near && chase.not_before.is_none() && (is_young || !chase.is_walking())
        })
    }
}

/// Blocks above a bad one that are remembered with it.
const MAX_CONDEMNED_ABOVE: usize = 256;

impl Machine for Verifier {
    fn handle_input(&mut self, world: &World<'_>, _: &mut Context, input: &Input) {
        self.now = world.now.instant;
        match input {
            Input::PeerHead {
                peer,
                id,
                is_default_seed: true,
            } => {
                self.leave(peer);
                self.seed_next = Some(*id);
                self.is_busy = true;
            }
            Input::PeerHead { peer, id, .. } => self.peer_head(*peer, *id),
            Input::PeerGone { peer } => self.forks.withdraw(peer),
            Input::Fetched { id, outcome, .. } => {
                let error = outcome.as_ref().err().copied();
                let is_ours = self.fetches.ended(world.now.instant, *id, error);
                self.is_busy |= is_ours;
            }
            Input::Transaction { .. } | Input::FetchedSmall { .. } | Input::Committed(_) => {}
        }
    }

    fn advance(&mut self, world: &World<'_>, context: &mut Context) {
        self.now = world.now.instant;
        self.is_busy = false;
        self.resume(world, context);
        self.see_head(context);
        if self.read_back.is_some() {
            self.read_back(world, context);
        }
        self.follow_seed(world, context);
        self.start_chases(world.now.instant);
        self.run_chases(world, context);
        if self.next_look <= world.now.instant {
            self.look(world, context);
        }
        let is_behind = self.is_behind(context);
        context.set_behind(is_behind);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.is_busy {
            return Some(self.now);
        }
        let waiting = self.chases.iter().filter_map(|chase| chase.not_before);
        let soon = waiting.filter(|at| *at > self.now).min();
        let retry = self.fetches.next_retry(self.now);
        [Some(self.next_look), soon, retry]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
mod tests;
