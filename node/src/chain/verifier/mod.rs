//! The verifier: a state machine that follows the heads of peers and checks every rule.
//!
//! A head is *chased*: its headers are fetched down to a block that is verified, or to the genesis;
//! then its blocks are checked from there up, and stored. What is verified competes by core's
//! [`choose`]. What nobody brings is asked for again and again, and what comes too early waits;
//! neither condemns. What breaks a rule is remembered with its reason, all that stands on it with
//! it, and is not tried again.
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
//! Bounds: the offers and bad blocks of [`Forks`]; [`MAX_CHASES`] heads at once, of which all
//! but the [`LASTING_CHASES`] that most peers offer take turns of [`CHASE_TURN`] while others wait;
//! [`MAX_PATHS`] headers of all of them; [`MAX_VERIFIED`] verified blocks; [`MAX_IN_FLIGHT`]
//! fetches of [`MAX_BYTES_IN_FLIGHT`] together; [`MAX_IDS_AHEAD`] ids of transactions that are
//! needed later, and the transactions of one block beside those of the block at hand.
//!
//! [`choose`]: astreum_core::chain::fork::choose
//! [`Forks`]: astreum_core::chain::fork::Forks

mod adopt;
mod body;
mod chase;
mod chases;
mod check;
mod fetches;
mod seed;
mod start;
mod status;
mod verified;
mod walk;

pub use body::{Checked, verify_body};
pub use chase::{BODIES_AHEAD, MAX_IDS_AHEAD};
pub use fetches::{MAX_AHEAD, MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT};
pub use status::{SyncProgress, VerifierStatus};
pub use verified::MAX_VERIFIED;
pub use walk::MAX_PATHS;

use super::{Component, Context, Environment, Head, HeadState, Input};
use crate::config::Config;
use crate::lanes::Lanes;
use crate::log;
use astreum_core::atom::AtomId;
use astreum_core::chain::ElectionCache;
use astreum_core::chain::fork::{Forks, Offer};
use astreum_core::crypto::PublicKey;
use astreum_core::integer::Natural;
use astreum_core::time::Instant;
use chase::{Chase, Phase};
use core::time::Duration;
use fetches::Fetches;
use verified::Verified;

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
    elections: ElectionCache,
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
            elections: ElectionCache::default(),
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

    /// Once in a while: what nobody offers any more goes, and progress is adopted and told.
    fn look(&mut self, world: &Environment<'_>, context: &mut Context) {
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

impl Component for Verifier {
    fn handle_input(&mut self, world: &Environment<'_>, _: &mut Context, input: &Input) {
        self.now = world.now.instant;
        match input {
            Input::PeerHead {
                peer,
                id,
                is_default_seed: true,
                ..
            } => {
                self.leave(peer);
                self.seed_next = Some(*id);
                self.is_busy = true;
            }
            Input::PeerHead { peer, id, .. } => self.peer_head(*peer, *id),
            Input::PeerGone { peer } => self.forks.withdraw(peer),
            Input::Fetched { id, outcome, .. } => {
                let outcome = outcome.as_deref().map_err(|error| *error);
                let is_ours = self.fetches.ended(world.now.instant, *id, outcome);
                self.is_busy |= is_ours;
            }
            Input::Transaction { .. }
            | Input::FetchedSmall { .. }
            | Input::Committed(_)
            | Input::BlockStored { .. }
            | Input::ValidatorSeen { .. }
            | Input::Announced { .. }
            | Input::Assembled(_) => {}
        }
    }

    fn advance(&mut self, world: &Environment<'_>, context: &mut Context) {
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
