//! Peers that follow another chain.

use super::call::Call;
use super::{ChainSync, SyncEvent};
use crate::atom::AtomId;
use crate::chain::RULES_VERSION;
use crate::consensus::Event;
use crate::crypto::PublicKey;
use crate::time::Instant;
use crate::wire::handshake::ChainIdentity;
use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;

/// Maximum number of peers remembered; the one recorded longest ago is forgotten.
const MAX_PEERS: usize = 1_024;
/// Maximum number of remembered identities: as many as a node has peers. The chains of other peers
/// are determined from their headers.
const MAX_IDENTITIES: usize = 4_096;

/// Difference of a peer's chain from ours, for which its heads are not followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherChain {
    /// Different chain ids.
    ChainId {
        /// Chain id of the peer; `None` if it exceeds 64 bits.
        theirs: Option<u64>,
        /// Our chain id.
        ours: u64,
    },
    /// Different genesis blocks.
    Genesis {
        /// Genesis of the peer.
        theirs: AtomId,
        /// Our genesis, or the block that our chain was verified from.
        ours: AtomId,
    },
    /// Different consensus rules.
    Rules {
        /// Rules version of the peer.
        theirs: u32,
        /// Our rules version.
        ours: u32,
    },
}

impl fmt::Display for OtherChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChainId {
                theirs: Some(theirs),
                ours,
            } => write!(f, "chain id {theirs}, ours is {ours}"),
            Self::ChainId { theirs: None, ours } => {
                write!(f, "chain id of more than 64 bits, ours is {ours}")
            }
            Self::Genesis { theirs, ours } => write!(f, "genesis {theirs}, ours is {ours}"),
            Self::Rules { theirs, ours } => {
                write!(f, "consensus rules version {theirs}, ours is {ours}")
            }
        }
    }
}

/// Peers with the differences of their chains from ours.
#[derive(Debug, Default)]
pub(super) struct OtherChains {
    peers: BTreeMap<PublicKey, OtherChain>,
    order: VecDeque<PublicKey>,
    /// Stated identities of peers' chains.
    identities: BTreeMap<PublicKey, ChainIdentity>,
}

impl OtherChains {
    /// Remembers the stated chain of a peer, if there is room.
    fn set_identity(&mut self, peer: PublicKey, identity: ChainIdentity) {
        if self.identities.len() < MAX_IDENTITIES || self.identities.contains_key(&peer) {
            self.identities.insert(peer, identity);
        }
    }

    fn identity(&self, peer: &PublicKey) -> Option<ChainIdentity> {
        self.identities.get(peer).copied()
    }

    /// Forgets the stated chain of a peer that was removed.
    pub(super) fn remove_peer(&mut self, peer: &PublicKey) {
        self.identities.remove(peer);
    }

    /// Records a peer. Returns `true` if this difference is new for it.
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

    /// Forgets a peer that follows our chain. Returns whether it was recorded.
    pub(super) fn clear(&mut self, peer: &PublicKey) -> bool {
        let is_known = self.peers.remove(peer).is_some();
        if is_known {
            self.order.retain(|known| known != peer);
        }
        is_known
    }

    /// Returns the peers and the differences of their chains, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PublicKey, OtherChain)> {
        self.peers
            .iter()
            .map(|(peer, difference)| (*peer, *difference))
    }
}

impl<H> ChainSync<H> {
    /// Handles the chain that a peer states to follow.
    pub(super) fn peer_identity(
        &mut self,
        call: &mut Call<'_, '_>,
        peer: PublicKey,
        identity: ChainIdentity,
    ) {
        self.other_chains.set_identity(peer, identity);
        self.heads.stop_ignoring(&peer);
        if !self.is_on_other_chain(call, peer) {
            self.other_chains.clear(&peer);
        }
    }

    /// Returns whether a peer has stated that it follows another chain; if so, ignores its heads.
    pub(super) fn is_on_other_chain(&mut self, call: &mut Call<'_, '_>, peer: PublicKey) -> bool {
        let Some(identity) = self.other_chains.identity(&peer) else {
            return false;
        };
        let Some(difference) = self.difference(call, identity) else {
            return false;
        };
        self.ignore_peer(call, peer, difference, self.now);
        true
    }

    /// Returns the difference of a chain from ours, if any.
    fn difference(&self, call: &Call<'_, '_>, theirs: ChainIdentity) -> Option<OtherChain> {
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
        let (theirs, ours) = theirs.genesis.zip(call.context.root())?;
        // The root may be a configured block, whose genesis is unknown.
        let is_genesis = self.root.genesis() == Some(ours);
        (is_genesis && theirs != ours).then_some(OtherChain::Genesis { theirs, ours })
    }

    /// Ignores the heads of a peer that follows another chain, and reports it once.
    pub(super) fn ignore_peer(
        &mut self,
        call: &mut Call<'_, '_>,
        peer: PublicKey,
        difference: OtherChain,
        until: Instant,
    ) {
        self.heads.ignore(&peer, until);
        if self.other_chains.note(peer, difference) {
            let event = SyncEvent::OtherChain { peer, difference };
            call.context.report(Event::Sync(event));
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
