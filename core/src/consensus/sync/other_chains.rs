//! Peers that follow another chain.

use super::status::OtherChain;
use super::{ChainSync, SyncEvent};
use crate::chain::RULES_VERSION;
use crate::consensus::{Context, Event};
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::handshake::ChainIdentity;
use alloc::collections::{BTreeMap, VecDeque};

/// Peers that are remembered; the one noted longest ago is forgotten.
const MAX_PEERS: usize = 1_024;
/// Peers whose identities are remembered: as many as a node has peers. Those of others are found out
/// from their headers.
const MAX_IDENTITIES: usize = 4_096;

/// Peers and how their chains differ from ours.
#[derive(Debug, Default)]
pub(super) struct OtherChains {
    peers: BTreeMap<PublicKey, OtherChain>,
    order: VecDeque<PublicKey>,
    /// What peers say that they follow.
    identities: BTreeMap<PublicKey, ChainIdentity>,
}

impl OtherChains {
    /// Remembers what a peer says that it follows, as long as there is room.
    fn tell(&mut self, peer: PublicKey, identity: ChainIdentity) {
        if self.identities.len() < MAX_IDENTITIES || self.identities.contains_key(&peer) {
            self.identities.insert(peer, identity);
        }
    }

    fn identity(&self, peer: &PublicKey) -> Option<ChainIdentity> {
        self.identities.get(peer).copied()
    }

    /// Forgets what a peer that was removed has told.
    pub(super) fn remove_peer(&mut self, peer: &PublicKey) {
        self.identities.remove(peer);
    }

    /// Notes a peer. Returns `true` if that is new of it.
    pub(super) fn note(&mut self, peer: PublicKey, difference: OtherChain) -> bool {
        let before = self.peers.insert(peer, difference);
        if before.is_none() {
            self.order.push_back(peer);
        }
        if self.order.len() > MAX_PEERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.peers.remove(&oldest);
        }
        before != Some(difference)
    }

    /// Forgets a peer that follows our chain.
    pub(super) fn clear(&mut self, peer: &PublicKey) -> bool {
        let is_known = self.peers.remove(peer).is_some();
        if is_known {
            self.order.retain(|known| known != peer);
        }
        is_known
    }

    /// Returns the peers and their chains, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PublicKey, OtherChain)> {
        self.peers
            .iter()
            .map(|(peer, difference)| (*peer, *difference))
    }
}

impl<H> ChainSync<H> {
    /// Takes the chain that a peer says it follows.
    pub(super) fn peer_identity(
        &mut self,
        context: &mut Context,
        peer: PublicKey,
        identity: ChainIdentity,
    ) {
        self.other_chains.tell(peer, identity);
        self.heads.stop_ignoring(&peer);
        if !self.is_on_other_chain(context, peer) {
            self.other_chains.clear(&peer);
        }
    }

    /// Returns whether a peer has told that it follows another chain; its heads are ignored then.
    pub(super) fn is_on_other_chain(&mut self, context: &mut Context, peer: PublicKey) -> bool {
        let Some(identity) = self.other_chains.identity(&peer) else {
            return false;
        };
        let Some(difference) = self.difference(context, identity) else {
            return false;
        };
        self.ignore_peer(context, peer, difference, self.now);
        true
    }

    /// Returns how a chain differs from ours, if it does.
    fn difference(&self, context: &Context, theirs: ChainIdentity) -> Option<OtherChain> {
        let ours = self.config.chain_id;
        if theirs.chain_id != ours {
            let theirs = Some(theirs.chain_id);
            return Some(OtherChain::ChainId { theirs, ours });
        }
        if theirs.rules_version != RULES_VERSION {
            return Some(OtherChain::Rules {
                theirs: theirs.rules_version,
                ours: RULES_VERSION,
            });
        }
        let (theirs, ours) = theirs.genesis.zip(context.root())?;
        // The root may be a configured block, of which the genesis is not known.
        let is_genesis = self.genesis == Some(ours);
        (is_genesis && theirs != ours).then_some(OtherChain::Genesis { theirs, ours })
    }

    /// Ignores the heads of a peer that follows another chain, and reports it once.
    pub(super) fn ignore_peer(
        &mut self,
        context: &mut Context,
        peer: PublicKey,
        difference: OtherChain,
        until: Instant,
    ) {
        self.heads.ignore(&peer, until);
        if self.other_chains.note(peer, difference) {
            let event = SyncEvent::OtherChain { peer, difference };
            context.report(Event::Sync(event));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_a_peer_once_per_difference_within_bounds() {
        let mut chains = OtherChains::default();
        let difference = |theirs| OtherChain::Rules { theirs, ours: 2 };
        let peer = |number: u64| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            PublicKey::new(bytes)
        };
        assert!(chains.note(peer(1), difference(1)));
        assert!(!chains.note(peer(1), difference(1)));
        assert!(chains.note(peer(1), difference(3)));
        assert!(chains.clear(&peer(1)) && !chains.clear(&peer(1)));
        assert!(chains.note(peer(1), difference(3)));
        (0..3_000).for_each(|number| {
            chains.note(peer(number), difference(1));
        });
        assert_eq!(chains.iter().count(), MAX_PEERS);
        assert_eq!(chains.order.len(), MAX_PEERS);
    }
}
