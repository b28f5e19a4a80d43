//! What machines are given and what they ask for.

use super::Head;
use astreum_core::atom::{Atom, AtomId, AtomSource};
use astreum_core::crypto::PublicKey;
use astreum_core::time::Instant;
use astreum_core::wire::engine::FetchError;
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
    /// What `work` says of each of `0..count`, in that order.
    fn all(&self, count: usize, work: &(dyn Fn(usize) -> bool + Sync)) -> Vec<bool>;
}

/// One piece after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Serial;

impl Parallel for Serial {
    fn all(&self, count: usize, work: &(dyn Fn(usize) -> bool + Sync)) -> Vec<bool> {
        (0..count).map(work).collect()
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
        /// As what.
        kind: PayloadType,
        /// The atoms, head first, or why there are none.
        outcome: Result<Vec<Atom>, FetchError>,
    },
}

/// What a machine asks of the shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Fetch an object from the network; ends in one [`Input::Fetched`] for every machine.
    Fetch {
        /// What.
        id: AtomId,
        /// As what.
        kind: PayloadType,
    },
    /// Keep atoms, in cold storage too where there is one.
    Store(Vec<(AtomId, Atom)>),
    /// Name this head in pings, remember it, and show it.
    SetHead(Head),
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

/// What the machines of one node share: the head, and the queue to the shell.
#[derive(Debug, Default)]
pub struct Context {
    head: Option<Head>,
    actions: VecDeque<Action>,
}

impl Context {
    /// Nothing queued, and `head` as the one to start from.
    #[must_use]
    pub const fn new(head: Option<Head>) -> Self {
        Self {
            head,
            actions: VecDeque::new(),
        }
    }

    /// The head of the chain.
    #[must_use]
    pub const fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Makes `head` the head of the chain and tells the shell.
    pub fn set_head(&mut self, head: Head) {
        if self.head.as_ref() != Some(&head) {
            self.actions.push_back(Action::SetHead(head.clone()));
            self.head = Some(head);
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
    use crate::chain::HeadState;

    #[test]
    fn a_head_is_told_once() {
        let head = |n: u8| Head {
            id: AtomId::new([n; 32]),
            height: u64::from(n),
            timestamp: 7,
            state: HeadState::Verified,
        };
        let mut context = Context::new(Some(head(1)));
        context.set_head(head(1));
        assert_eq!(context.poll_action(), None);
        context.set_head(head(2));
        context.ask(Action::SetValidator(true));
        assert_eq!(context.poll_action(), Some(Action::SetHead(head(2))));
        assert_eq!(context.poll_action(), Some(Action::SetValidator(true)));
        assert_eq!(context.head(), Some(&head(2)));
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
