//! Our chain as peers see it, and the peers that follow another one.

use super::followed_root::FollowedRoot;
use crate::atom::{AtomId, AtomSource};
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
    /// Id and root of our chain.
    chain_id: u64,
    root: FollowedRoot,
    peers: BTreeMap<PublicKey, OtherChain>,
    order: VecDeque<PublicKey>,
    /// Stated identities of peers' chains.
    identities: BTreeMap<PublicKey, ChainIdentity>,
}

impl OtherChains {
    /// Creates the state of a node with this chain id, without peers.
    pub(super) fn new(chain_id: u64) -> Self {
        Self {
            chain_id,
            root: FollowedRoot::default(),
            peers: BTreeMap::new(),
            order: VecDeque::new(),
            identities: BTreeMap::new(),
        }
    }

    /// Determines whether the root of our chain is a genesis, as soon as its block is stored.
    pub(super) fn update_root<S: AtomSource + ?Sized>(&mut self, source: &S, root: Option<AtomId>) {
        self.root.update(source, root);
    }

    /// Returns the identity of our chain, for announcement to peers.
    pub(super) const fn ours(&self) -> ChainIdentity {
        ChainIdentity {
            rules_version: RULES_VERSION,
            chain_id: self.chain_id,
            genesis: self.root.genesis(),
        }
    }

    /// Remembers the stated chain of a peer, if there is room.
    pub(super) fn set_identity(&mut self, peer: PublicKey, identity: ChainIdentity) {
        if self.identities.len() < MAX_IDENTITIES || self.identities.contains_key(&peer) {
            self.identities.insert(peer, identity);
        }
    }

    /// Returns the difference of the chain that a peer has stated to follow from ours, if any.
    pub(super) fn difference(&self, peer: &PublicKey, root: Option<AtomId>) -> Option<OtherChain> {
        let theirs = self.identities.get(peer)?;
        // The root may be a configured block, whose genesis is unknown.
        let genesis = self.root.genesis().filter(|genesis| root == Some(*genesis));
        let ours = ChainIdentity {
            genesis,
            ..self.ours()
        };
        compare(theirs, &ours)
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

fn compare(theirs: &ChainIdentity, ours: &ChainIdentity) -> Option<OtherChain> {
    if theirs.chain_id != ours.chain_id {
        let (theirs, ours) = (Some(theirs.chain_id), ours.chain_id);
        return Some(OtherChain::ChainId { theirs, ours });
    }
    if theirs.rules_version != ours.rules_version {
        return Some(OtherChain::Rules {
            theirs: theirs.rules_version,
            ours: ours.rules_version,
        });
    }
    let (theirs, ours) = theirs.genesis.zip(ours.genesis)?;
    (theirs != ours).then_some(OtherChain::Genesis { theirs, ours })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::chain::write_atoms;
    use crate::testkit::header;

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
        let id = |number| AtomId::new([number; 32]);
        let ours = ChainIdentity {
            rules_version: RULES_VERSION,
            chain_id: 7,
            genesis: Some(id(2)),
        };
        let of_genesis = |genesis| ChainIdentity { genesis, ..ours };
        assert_eq!(compare(&ours, &ours), None);
        // An unknown genesis, of either chain, cannot be compared.
        assert_eq!(compare(&ours, &of_genesis(None)), None);
        assert_eq!(compare(&of_genesis(None), &ours), None);
        let other = OtherChain::Genesis {
            theirs: id(3),
            ours: id(2),
        };
        assert_eq!(compare(&of_genesis(Some(id(3))), &ours), Some(other));
        let later = ChainIdentity {
            rules_version: RULES_VERSION + 1,
            ..of_genesis(Some(id(3)))
        };
        let other = OtherChain::Rules {
            theirs: RULES_VERSION + 1,
            ours: RULES_VERSION,
        };
        assert_eq!(compare(&later, &ours), Some(other));
        let other = OtherChain::ChainId {
            theirs: Some(8),
            ours: 7,
        };
        let foreign = ChainIdentity {
            chain_id: 8,
            ..later
        };
        assert_eq!(compare(&foreign, &ours), Some(other));
    }

    #[test]
    fn genesis_is_compared_only_if_it_is_the_root_of_our_chain() {
        let mut store = MemoryStore::new();
        let genesis = header(0, AtomId::ZERO, 5).signed(None);
        write_atoms(genesis.to_atoms(), &mut store).unwrap();
        let (root, peer) = (Some(genesis.id()), PublicKey::new([1; 32]));
        let mut chains = OtherChains::new(7);
        let theirs = ChainIdentity {
            genesis: Some(AtomId::new([3; 32])),
            ..chains.ours()
        };
        assert_eq!(chains.difference(&peer, root), None);
        chains.set_identity(peer, theirs);
        assert_eq!(chains.difference(&peer, root), None);
        chains.update_root(&store, root);
        assert_eq!(chains.ours().genesis, root);
        assert!(chains.difference(&peer, root).is_some());
        assert_eq!(chains.difference(&peer, None), None);
        chains.remove_peer(&peer);
        assert_eq!(chains.difference(&peer, root), None);
    }
}
