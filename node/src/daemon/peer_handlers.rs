//! Handlers of requests about peers.

use crate::node::{Node, NodeError, Peer};
use crate::rpc::{PeerReply, RpcError};
use core::net::SocketAddr;
use std::io;

/// Lists known peers.
pub(super) fn list(node: &Node) -> Result<Vec<PeerReply>, RpcError> {
    let own = node.public_key();
    let peers = node.peers()?;
    let offenders = node.chain().status().sync.offenders;
    let replies = peers.iter().map(|peer| {
        let known = offenders.iter().find(|(key, _)| *key == peer.public_key);
        peer_reply(peer, own.as_bytes(), known.map_or(0, |(_, count)| *count))
    });
    Ok(replies.collect())
}

/// Starts a handshake with an address, and returns it as resolved.
pub(super) fn contact(node: &Node, address: &str) -> Result<SocketAddr, RpcError> {
    match node.contact(address) {
        Ok(resolved) => Ok(resolved),
        Err(NodeError::Resolve(error)) if error.kind() == io::ErrorKind::InvalidInput => {
            let expected = "expected host:port or [ipv6]:port";
            Err(format!("invalid address {address:?}: {expected}").into())
        }
        Err(NodeError::Resolve(error)) => {
            Err(format!("failed to resolve {address}: {error}").into())
        }
        Err(error @ NodeError::OwnAddress(_)) => Err(error.to_string().into()),
        Err(error) => Err(format!("{address}: {error}").into()),
    }
}

fn peer_reply(peer: &Peer, own: &[u8; 32], offences: u64) -> PeerReply {
    PeerReply {
        public_key: peer.public_key,
        address: peer.address,
        bucket: shared_bits(peer.public_key.as_bytes(), own),
        last_seen_seconds: peer.last_heard.as_secs(),
        is_validated: peer.is_validated,
        is_validator: peer.is_validator,
        difficulty: peer.difficulty,
        latest_block: peer.head,
        bad_blocks: offences,
    }
}

/// Returns the number of leading bits that two keys share.
fn shared_bits(a: &[u8; 32], b: &[u8; 32]) -> u16 {
    let mut shared = 0;
    for (a, b) in a.iter().zip(b) {
        let zeros = (a ^ b).leading_zeros();
        // `zeros` is at most 8.
        shared += u16::try_from(zeros).unwrap_or_default();
        if zeros < 8 {
            break;
        }
    }
    shared
}
