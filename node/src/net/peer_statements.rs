//! Statements of peers about the chain, on their way to the chain thread.
//!
//! A peer announces its head once: a lost announcement would be missed until the peer's next block.
//! If the chain thread cannot accept a head, an identity or a departure — it has not started yet,
//! or [`MAX_WAITING`](crate::runtime::inbox::MAX_WAITING) inputs wait for it — the peer is marked,
//! and its current statements are delivered as soon as there is room. Announced transactions are
//! not repeated: their senders announce them again.
//!
//! Invariants:
//! - At most [`MAX_MARKED`] peers are marked.

use crate::log;
use crate::runtime::inbox::Inbox;
use astreum_core::consensus::Input;
use astreum_core::crypto::PublicKey;
use astreum_core::engine::PeerInfo;
use astreum_core::time::Instant;
use core::time::Duration;
use std::collections::BTreeSet;

/// Maximum number of marked peers: twice the number of peers that are registered at once, because
/// departed ones count too.
const MAX_MARKED: usize = 8_192;
/// Interval between attempts to deliver the statements of marked peers.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Delivery of peers' statements to the chain thread. See the [module](self).
#[derive(Debug, Default)]
pub(super) struct PeerStatements {
    chain: Option<Inbox>,
    marked: BTreeSet<PublicKey>,
    retry_at: Option<Instant>,
}

impl PeerStatements {
    /// Starts delivery to the chain thread, beginning with the current statements of these peers.
    pub(super) fn attach(
        &mut self,
        now: Instant,
        inbox: Inbox,
        peers: impl Iterator<Item = PublicKey>,
    ) {
        self.chain = Some(inbox);
        self.marked.extend(peers.take(MAX_MARKED));
        self.retry_at = Some(now);
    }

    /// Returns whether the chain is followed.
    pub(super) const fn is_attached(&self) -> bool {
        self.chain.is_some()
    }

    /// Delivers a peer's announcement of a transaction; drops it if the inbox is full.
    pub(super) fn transaction(&self, input: Input) {
        if let Some(inbox) = &self.chain
            && !inbox.offer(input)
        {
            warn_of_loss();
        }
    }

    /// Delivers a statement of a peer, at once or as soon as there is room.
    pub(super) fn deliver(&mut self, now: Instant, peer: &PublicKey, input: Input) {
        let Some(inbox) = &self.chain else {
            return;
        };
        // The pending statements of a marked peer are newer than those delivered, and must not be
        // overtaken.
        if self.marked.contains(peer) || inbox.offer(input) {
            return;
        }
        warn_of_loss();
        if self.marked.len() < MAX_MARKED {
            self.marked.insert(*peer);
            self.retry_at.get_or_insert(now + RETRY_INTERVAL);
        }
    }

    /// Returns when [`retry`](Self::retry) is due.
    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Delivers the statements of marked peers; `peer` returns the current state of one.
    pub(super) fn retry(&mut self, now: Instant, peer: impl Fn(&PublicKey) -> Option<PeerInfo>) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.retry_at = None;
        let Some(inbox) = &self.chain else {
            return;
        };
        while let Some(key) = self.marked.first().copied() {
            let info = peer(&key);
            if !inputs_of(&key, info.as_ref()).all(|input| inbox.offer(input)) {
                self.retry_at = Some(now + RETRY_INTERVAL);
                return;
            }
            self.marked.remove(&key);
        }
    }
}

/// Returns the current statements of a peer.
fn inputs_of(key: &PublicKey, info: Option<&PeerInfo>) -> impl Iterator<Item = Input> {
    let peer = *key;
    let gone = info.is_none().then_some(Input::PeerGone { peer });
    let valid = info.filter(|info| info.is_validated).copied();
    let identity = valid.and_then(|info| info.identity);
    let identity = identity.map(|identity| Input::PeerIdentity { peer, identity });
    let head = valid.and_then(|info| {
        Some(Input::PeerHead {
            peer,
            group: info.group,
            id: info.head?,
            is_default_seed: info.is_default_seed,
            is_seed: info.is_seed,
        })
    });
    let is_validator = head.is_some() && valid.is_some_and(|info| info.is_validator);
    let validator = is_validator.then_some(Input::ValidatorSeen { peer });
    gone.into_iter()
        .chain(identity)
        .chain(validator)
        .chain(head)
}

fn warn_of_loss() {
    if let Some(more) = log::limited("chain busy") {
        log::info!("chain thread is busy: peer statements are delayed or dropped{more}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::inbox::{MAX_WAITING, Outlet, Taken, inbox};
    use astreum_core::atom::AtomId;
    use astreum_core::wire::network_group::NetworkGroup;

    const SEED: PublicKey = PublicKey::new([1; 32]);

    fn seed(head: u8) -> PeerInfo {
        let address = ([192, 0, 2, 1], 7);
        PeerInfo {
            key: SEED,
            address: address.into(),
            group: NetworkGroup::of(address.0.into()),
            is_validated: true,
            is_validator: true,
            is_default_seed: false,
            is_seed: true,
            difficulty: 1,
            head: Some(AtomId::new([head; 32])),
            identity: None,
            stream: None,
            last_heard: Instant::ZERO,
        }
    }

    fn head_of(info: &PeerInfo) -> Input {
        let last = inputs_of(&info.key, Some(info)).last();
        last.expect("the peer names a head")
    }

    fn delivered(outlet: &Outlet) -> Vec<Input> {
        let next = || match outlet.take(Some(Duration::ZERO)) {
            Taken::Input(input) => Some(input),
            Taken::TimedOut | Taken::Stop => None,
        };
        core::iter::from_fn(next).collect()
    }

    #[test]
    fn heads_announced_before_the_chain_attaches_are_delivered_on_attach() {
        let mut statements = PeerStatements::default();
        statements.deliver(Instant::ZERO, &SEED, head_of(&seed(1)));
        assert_eq!(statements.retry_at(), None);
        let (chain, outlet) = inbox();
        statements.attach(Instant::ZERO, chain, [SEED].into_iter());
        statements.retry(Instant::ZERO, |_| Some(seed(1)));
        let validator = Input::ValidatorSeen { peer: SEED };
        assert_eq!(delivered(&outlet), [validator, head_of(&seed(1))]);
        assert_eq!(statements.retry_at(), None);
        statements.deliver(Instant::ZERO, &SEED, head_of(&seed(2)));
        assert_eq!(delivered(&outlet), [head_of(&seed(2))]);
    }

    #[test]
    fn statements_rejected_by_a_full_inbox_are_delivered_later() {
        let mut statements = PeerStatements::default();
        let (chain, outlet) = inbox();
        statements.attach(Instant::ZERO, chain.clone(), core::iter::empty());
        statements.retry(Instant::ZERO, |_| None);
        let transaction = || Input::Transaction {
            peer: None,
            group: None,
            id: AtomId::ZERO,
        };
        for _ in 0..MAX_WAITING {
            assert!(chain.offer(transaction()));
        }
        statements.transaction(transaction());
        statements.deliver(Instant::ZERO, &SEED, head_of(&seed(1)));
        let due = statements.retry_at().expect("a retry");
        statements.retry(due, |_| Some(seed(1)));
        let due = statements
            .retry_at()
            .expect("another retry, since nothing was taken");
        assert_eq!(delivered(&outlet).len(), MAX_WAITING);
        // The peer has announced another head since.
        statements.deliver(due, &SEED, head_of(&seed(2)));
        assert_eq!(delivered(&outlet), [], "the newer head does not overtake");
        statements.retry(due, |_| Some(seed(2)));
        assert_eq!(delivered(&outlet).last(), Some(&head_of(&seed(2))));
        assert_eq!(statements.retry_at(), None);
    }

    #[test]
    fn departures_are_not_lost() {
        let mut statements = PeerStatements::default();
        let (chain, outlet) = inbox();
        statements.attach(Instant::ZERO, chain, [SEED].into_iter());
        statements.retry(Instant::ZERO, |_| None);
        assert_eq!(delivered(&outlet), [Input::PeerGone { peer: SEED }]);
    }
}
