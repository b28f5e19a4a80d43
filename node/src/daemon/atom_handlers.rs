//! Handlers of requests for atoms and lists.

use crate::net::FetchedObject;
use crate::node::Node;
use crate::query::QueryError;
use crate::rpc::{AtomReply, ListReply, MAX_LIST_REPLY_BYTES, PutReply, RpcError};
use crate::store::Durability;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::engine::{FetchRequest, ListLimit};
use std::collections::VecDeque;

/// Returns one atom, fetched if necessary.
pub(super) fn atom(node: &Node, id: AtomId) -> Result<AtomReply, RpcError> {
    let atom = node.get_atom(id)?;
    let atom = atom.ok_or_else(|| missing(node, &id))?;
    Ok(AtomReply::from(&atom))
}

/// Returns the error for an atom that was not found, with advice.
pub(super) fn missing(node: &Node, id: &AtomId) -> RpcError {
    // An atom that could not be read is not absent.
    let cold = node.store().cold();
    if let Some(reason) = cold.and_then(|cold| cold.unreadable(id)) {
        return QueryError::Unreadable { id: *id, reason }.into();
    }
    let mut reply = RpcError::missing(id);
    let has_peers = node.peers().is_ok_and(|peers| !peers.is_empty());
    if !has_peers {
        reply.message +=
            ": this node has no peers; `astreum peers --connect HOST:PORT` contacts one";
    } else if !node.waits() {
        reply.message += " yet: the request was sent to peers, and this node does not wait for \
                        answers (atom_fetch_interval or atom_fetch_retries is 0); try again";
    }
    reply
}

/// Returns as many atoms of the list as fit into one reply, or less if some have to be fetched. The
/// fetched bytes are bounded by the size of a reply, since the list may be of any length.
pub(super) fn list(node: &Node, id: AtomId) -> Result<ListReply, RpcError> {
    let mut next = id;
    let (mut atoms, mut bytes) = (Vec::new(), 0);
    let mut fetched = VecDeque::new();
    let mut may_fetch = true;
    while !next.is_zero() {
        let known = fetched.pop_front().or_else(|| node.store().get(&next));
        let atom = match known {
            Some(atom) => atom,
            None if may_fetch => {
                may_fetch = false;
                fetched = beginning(node, next)?;
                match fetched.pop_front() {
                    Some(atom) => atom,
                    None => return Err(missing(node, &next)),
                }
            }
            // The next request continues here.
            None => break,
        };
        bytes += atom.stored_len();
        if bytes > MAX_LIST_REPLY_BYTES && !atoms.is_empty() {
            break;
        }
        next = atom.next();
        atoms.push(atom);
    }
    Ok(ListReply { atoms, next })
}

/// Fetches the beginning of a list, of about the size of a reply.
fn beginning(node: &Node, id: AtomId) -> Result<VecDeque<Atom>, RpcError> {
    let limit = ListLimit {
        bytes: MAX_LIST_REPLY_BYTES,
        ..ListLimit::MAX
    };
    let request = FetchRequest::beginning(id, limit);
    let fetched = node.fetch_with_progress(request, &mut |_| ())?;
    Ok(match fetched {
        Some(FetchedObject::Atoms(atoms)) => atoms.into(),
        // Only for requests that permit it.
        Some(FetchedObject::Stored) | None => VecDeque::new(),
    })
}

/// Stores atoms, and pins them.
pub(super) fn store(node: &Node, atoms: Vec<Atom>) -> Result<PutReply, RpcError> {
    let (ids, durability) = node.put_atoms(atoms)?;
    let durable = durability != Durability::Memory;
    Ok(PutReply { ids, durable })
}
