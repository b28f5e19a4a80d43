//! Peers that follow another chain.

use super::status::OtherChain;
use crate::crypto::PublicKey;
use alloc::collections::{BTreeMap, VecDeque};

/// Peers that are remembered; the one noted longest ago is forgotten.
const MAX_PEERS: usize = 1_024;

/// Peers and how their chains differ from ours.
#[derive(Debug, Default)]
pub(super) struct OtherChains {
    peers: BTreeMap<PublicKey, OtherChain>,
    order: VecDeque<PublicKey>,
}

impl OtherChains {
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
