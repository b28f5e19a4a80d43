//! What machines are given and what they ask for.

use super::{Head, HeadState, SavedHead, Signed};
use astreum_core::atom::{Atom, AtomId, AtomSource};
use astreum_core::crypto::PublicKey;
use astreum_core::time::Instant;
use astreum_core::wire::engine::{FetchError, ListLimit};
use astreum_core::wire::object::PayloadType;
use core::convert::Infallible;
use core::time::Duration;
use std::collections::VecDeque;

/// The time: deadlines are on the monotonic clock, timestamps of blocks on the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// The engine's clock.
    pub instant: Instant,
    /// Time since 1970-01-01 00:00 UTC.
    pub unix: Duration,
}

impl Now {
    /// The instant at which the wall clock will read `unix`, if it goes as it does now; the
    /// present one if that has passed.
    #[must_use]
    pub fn instant_of(self, unix: Duration) -> Instant {
        self.instant + unix.saturating_sub(self.unix)
    }
}

/// Does independent pieces of work, at once if it can.
pub trait Parallel {
    /// What `work` says of each of `0..count`, in that order; meanwhile the calling thread does
    /// what is `beside` it. `work` is given pieces that stand next to each other, as many as suit:
    /// the number of the first, and where to say it of each.
    fn all_beside(
        &self,
        count: usize,
        work: &(dyn Fn(usize, &mut [bool]) + Sync),
        beside: &mut dyn FnMut(),
    ) -> Vec<bool>;

    /// What `work` says of each of `0..count`, in that order.
    fn all(&self, count: usize, work: &(dyn Fn(usize, &mut [bool]) + Sync)) -> Vec<bool> {
        self.all_beside(count, work, &mut || ())
    }
}

/// One piece after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Serial;

impl Parallel for Serial {
    fn all_beside(
        &self,
        count: usize,
        work: &(dyn Fn(usize, &mut [bool]) + Sync),
        beside: &mut dyn FnMut(),
    ) -> Vec<bool> {
        beside();
        let mut results = vec![false; count];
        work(0, &mut results);
        results
    }
}

/// What is lent to a machine for one call.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The time of the call.
    pub now: Now,
    /// What is stored here; nothing is fetched.
    pub atoms: &'a (dyn AtomSource<Error = Infallible> + Sync),
    /// Who checks signatures.
    pub parallel: &'a dyn Parallel,
}

impl core::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// What is fetched of a list at a time: it costs memory before anybody can know whether it is worth
/// it, and there may be many at once.
pub const PART: ListLimit = ListLimit {
    atoms: 1_024,
    bytes: 1_024 * PART_ATOM_BYTES,
};
/// What an atom of a long list has, about.
pub const PART_ATOM_BYTES: usize = 128;

/// What happened outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A peer named its head.
    PeerHead {
        /// Who.
        peer: PublicKey,
        /// The head.
        id: AtomId,
        /// Whether it is the default seed, pinned to its key.
        is_default_seed: bool,
    },
    /// A peer is no longer one.
    PeerGone {
        /// Who.
        peer: PublicKey,
    },
    /// Somebody tells of a transaction.
    Transaction {
        /// Who; `None` for this node's own user.
        peer: Option<PublicKey>,
        /// The transaction.
        id: AtomId,
    },
    /// A fetch has ended. What it brought is in [`World::atoms`] by now, as long as there is room.
    Fetched {
        /// What was asked for.
        id: AtomId,
        /// The atoms, head first and perhaps not all, or why there are none.
        outcome: Result<Vec<Atom>, FetchError>,
    },
    /// An [`Action::FetchSmall`] has ended. What it brought is in [`World::atoms`] by now.
    FetchedSmall {
        /// What was asked for.
        id: AtomId,
        /// Whether it is here.
        outcome: Result<(), FetchError>,
    },
    /// An [`Action::Commit`] has ended.
    Committed(Result<(), String>),
}

/// What a machine asks of the shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Fetch the beginning of a list from the network, as long as it may be or as far as it comes;
    /// ends in one [`Input::Fetched`] for every machine.
    Fetch {
        /// What.
        id: AtomId,
        /// How much of it; [`PART`] unless there is a reason for more.
        limit: ListLimit,
    },
    /// As [`Action::Fetch`], but a list beyond the limit is given up; ends in one
    /// [`Input::FetchedSmall`].
    FetchSmall {
        /// What.
        id: AtomId,
        /// How long it may be.
        limit: ListLimit,
        /// Who says that it has it, and is asked before others are searched for.
        from: Option<PublicKey>,
    },
    /// Keep atoms, in cold storage too where there is one.
    Store(Vec<(AtomId, Atom)>),
    /// Keep a block of our own as with [`Action::Store`], then remember that it was signed; ends in
    /// one [`Input::Committed`], which says no unless both are safe.
    Commit(Box<Commit>),
    /// Name this head in pings, remember it, and show it.
    SetHead {
        /// The head.
        head: Head,
        /// The block that its chain was verified from, if it was.
        root: Option<AtomId>,
    },
    /// Say in pings whether this node validates.
    SetValidator(bool),
    /// Offer an object to others for a while.
    Advertise {
        /// What.
        id: AtomId,
        /// As what.
        kind: PayloadType,
        /// For how long.
        lifetime: Duration,
    },
}

/// A block that is about to be published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The block's atoms, and those that it needs.
    pub atoms: Vec<(AtomId, Atom)>,
    /// What has been signed, this block included.
    pub signed: Signed,
}

/// What the machines of one node share: the head, and the queue to the shell.
#[derive(Debug, Default)]
pub struct Context {
    head: Option<Head>,
    saved: Option<SavedHead>,
    root: Option<AtomId>,
    is_behind: bool,
    actions: VecDeque<Action>,
}

impl Context {
    /// Nothing queued, and `saved` as the head to take up again.
    #[must_use]
    pub fn new(saved: Option<SavedHead>) -> Self {
        Self {
            root: saved.as_ref().and_then(|saved| saved.root),
            saved,
            ..Self::default()
        }
    }

    /// The head of the chain. There is none before a saved one has been loaded.
    #[must_use]
    pub const fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The head of an earlier run that has yet to be loaded.
    #[must_use]
    pub const fn saved(&self) -> Option<&SavedHead> {
        self.saved.as_ref()
    }

    /// Whether there is a chain, be its head loaded or not. Who has one makes no genesis.
    #[must_use]
    pub const fn has_chain(&self) -> bool {
        self.head.is_some() || self.saved.is_some()
    }

    /// The block that the chain was verified from: the genesis, or what was configured. Chains that
    /// start at another one are refused. `None` until something verified or our own is the head.
    #[must_use]
    pub const fn root(&self) -> Option<AtomId> {
        self.root
    }

    /// Whether a longer chain is being followed and not yet verified. A block that is made now would
    /// most likely be left behind.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Says whether a longer chain is being followed.
    pub const fn set_behind(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
    }

    /// Makes the chain that starts at `root` the only one.
    pub const fn set_root(&mut self, root: AtomId) {
        self.root = Some(root);
    }

    /// Makes `head` the head of the chain and tells the shell. A first block of our own becomes the
    /// root of the chain.
    pub fn set_head(&mut self, head: Head) {
        self.saved = None;
        if head.block().is_genesis() && head.state() == HeadState::Own && self.root.is_none() {
            self.root = Some(head.id());
        }
        if self.head.as_ref() != Some(&head) {
            self.head = Some(head.clone());
            let root = self.root;
            self.actions.push_back(Action::SetHead { head, root });
        }
    }

    /// Queues something for the shell.
    pub fn ask(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// The next thing for the shell to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}

/// A state machine of a node: the verifier is one, the producer another.
pub trait Machine {
    /// Takes notice of something; does no work that can wait.
    fn handle_input(&mut self, world: &World<'_>, context: &mut Context, input: &Input);

    /// Does one piece of the work that is due. Called after inputs, after the head has changed, and
    /// when [`Machine::poll_timeout`] has come.
    fn advance(&mut self, world: &World<'_>, context: &mut Context);

    /// When [`Machine::advance`] is to be called next, if nothing happens before.
    fn poll_timeout(&self) -> Option<Instant>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::samples::header;

    fn head(height: u64, previous: AtomId, state: HeadState) -> Head {
        Head::new(header(height, previous, 7).signed(None), state).unwrap()
    }

    #[test]
    fn a_head_is_told_once_and_an_own_genesis_is_the_root() {
        let genesis = head(0, AtomId::ZERO, HeadState::Own);
        let next = head(1, genesis.id(), HeadState::Verified);
        let root = Some(genesis.id());
        let mut context = Context::new(None);
        assert!(!context.has_chain() && context.root().is_none());
        for head in [&genesis, &genesis, &next] {
            context.set_head(head.clone());
        }
        context.ask(Action::SetValidator(true));
        let told = [genesis, next.clone()].map(|head| Action::SetHead { head, root });
        for action in told.into_iter().chain([Action::SetValidator(true)]) {
            assert_eq!(context.poll_action(), Some(action));
        }
        assert_eq!(context.poll_action(), None);
        assert_eq!(context.head(), Some(&next));
    }

    #[test]
    fn a_saved_head_is_a_chain_before_it_is_loaded() {
        let head = head(1, AtomId::new([3; 32]), HeadState::Verified);
        let root = Some(AtomId::new([9; 32]));
        let mut context = Context::new(Some(head.saved(root)));
        assert!(context.has_chain() && context.head().is_none());
        assert_eq!(context.saved().map(|saved| saved.id), Some(head.id()));
        context.set_head(head.clone());
        assert!(context.has_chain() && context.saved().is_none());
        let told = Action::SetHead { head, root };
        assert_eq!(context.poll_action(), Some(told));
    }

    #[test]
    fn a_time_of_day_is_an_instant_and_one_that_has_passed_is_now() {
        let now = Now {
            instant: Instant::from_secs(5),
            unix: Duration::from_secs(1_000),
        };
        let of = |unix| now.instant_of(Duration::from_secs(unix));
        assert_eq!(of(1_002), Instant::from_secs(7));
        assert_eq!(of(3), now.instant);
    }
}
