//! Peers that follow another chain.

use crate::atom::AtomId;
use crate::chain::RULES_VERSION;
use crate::crypto::PublicKey;
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
#[derive(Debug)]
pub(super) struct OtherChains {
    /// Our chain id.
    chain_id: u64,
    peers: BTreeMap<PublicKey, OtherChain>,
    order: VecDeque<PublicKey>,
    /// Stated identities of peers' chains.
    identities: BTreeMap<PublicKey, ChainIdentity>,
}

impl OtherChains {
    /// Creates the state of a node with this chain id, without peers.
    pub(super) const fn new(chain_id: u64) -> Self {
        Self {
            chain_id,
            peers: BTreeMap::new(),
            order: VecDeque::new(),
            identities: BTreeMap::new(),
        }
    }

    /// Remembers the stated chain of a peer, if there is room.
    pub(super) fn set_identity(&mut self, peer: PublicKey, identity: ChainIdentity) {
        if self.identities.len() < MAX_IDENTITIES || self.identities.contains_key(&peer) {
            self.identities.insert(peer, identity);
        }
    }

    /// Returns the difference of the chain that a peer has stated to follow from ours, if any.
    /// `genesis` is the genesis of our chain, if it is known.
    pub(super) fn difference(
        &self,
        peer: &PublicKey,
        genesis: Option<AtomId>,
    ) -> Option<OtherChain> {
        let theirs = self.identities.get(peer)?;
        let ours = self.chain_id;
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
        let (theirs, ours) = theirs.genesis.zip(genesis)?;
        (theirs != ours).then_some(OtherChain::Genesis { theirs, ours })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_a_peer_once_per_difference_within_bounds() {
        let mut chains = OtherChains::new(0);
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

    #[test]
    fn stated_chain_differs_by_id_rules_or_known_genesis() {
        let mut chains = OtherChains::new(7);
        let (peer, genesis) = (PublicKey::new([1; 32]), AtomId::new([2; 32]));
        let ours = ChainIdentity {
            rules_version: RULES_VERSION,
            chain_id: 7,
            genesis: Some(genesis),
        };
        assert_eq!(chains.difference(&peer, Some(genesis)), None);
        chains.set_identity(peer, ours);
        assert_eq!(chains.difference(&peer, Some(genesis)), None);
        // Without a genesis of our own there is nothing to compare.
        assert_eq!(chains.difference(&peer, None), None);
        let other = AtomId::new([3; 32]);
        let expected = OtherChain::Genesis {
            theirs: genesis,
            ours: other,
        };
        assert_eq!(chains.difference(&peer, Some(other)), Some(expected));
        let rules_version = RULES_VERSION + 1;
        chains.set_identity(
            peer,
            ChainIdentity {
                rules_version,
                ..ours
            },
        );
        let expected = OtherChain::Rules {
            theirs: rules_version,
            ours: RULES_VERSION,
        };
        assert_eq!(chains.difference(&peer, Some(genesis)), Some(expected));
        chains.set_identity(
            peer,
            ChainIdentity {
                chain_id: 8,
                ..ours
            },
        );
        let expected = OtherChain::ChainId {
            theirs: Some(8),
            ours: 7,
        };
        assert_eq!(chains.difference(&peer, Some(genesis)), Some(expected));
        chains.remove_peer(&peer);
        assert_eq!(chains.difference(&peer, Some(genesis)), None);
    }
}
