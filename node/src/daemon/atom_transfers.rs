//! Transfers of atoms through the control socket, in constant memory.
//!
//! Atoms that arrive are stored in batches of [`BATCH_BYTES`], each with one sync. While one batch
//! is written, the next one is received and hashed. A list that is sent passes by the hot store, so
//! that a large object does not evict what the node needs.

use crate::node::{Node, NodeError};
use crate::rpc::{
    AtomParts, AtomReader, Caller, MAX_TRANSFER_BYTES, RpcError, SentReply, StoredReply, push_atom,
    request,
};
use crate::store::{Durability, StoreError};
use astreum_core::atom::{Atom, AtomId, AtomSource as _, MAX_LIST_ATOMS};
use astreum_core::engine::FetchError;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Number of stored bytes of atoms that are written with one sync.
const BATCH_BYTES: usize = 8 << 20;
/// Maximum number of atoms of a batch.
const BATCH_ATOMS: usize = 64 << 10;
/// Number of bytes of a transfer from which on they are sent.
const FRAME_BYTES: usize = MAX_TRANSFER_BYTES / 2;

type Batch = Vec<(AtomId, Atom)>;

/// Stores the atoms of a transfer.
pub(super) fn put(
    node: &Node,
    params: &request::PutAtoms,
    caller: &Caller,
) -> Result<StoredReply, RpcError> {
    let transfers = caller.transfers()?;
    // A batch waits only while the one before it is written.
    let (sender, batches) = sync_channel::<Batch>(0);
    thread::scope(|scope| {
        let writer = thread::Builder::new()
            .name("atom-writer".to_owned())
            .spawn_scoped(scope, || write(node, batches))
            .map_err(|error| format!("failed to start a thread: {error}"))?;
        let received = receive(&mut || transfers.receive(params.transfer), &mut |batch| {
            sender.send(batch).is_ok()
        });
        drop(sender);
        let written = writer
            .join()
            .map_err(|_| RpcError::from("the thread that stores atoms has panicked"))?;
        // An error of the store ended the transfer.
        let durability = written.map_err(NodeError::from)?;
        let (atoms, bytes) = received?;
        Ok(StoredReply {
            atoms,
            bytes,
            durable: durability != Durability::Memory,
        })
    })
}

/// Stores batches until there are no more or one fails.
fn write(node: &Node, batches: Receiver<Batch>) -> Result<Durability, StoreError> {
    node.logged(|| {
        for batch in batches {
            node.store().put_streamed(batch)?;
        }
        Ok(node.store().durability())
    })
}

/// Receives atoms in batches, up to the end of the transfer or until `store` returns `false`.
/// Returns the number of atoms and of their bytes of data.
fn receive(
    next: &mut dyn FnMut() -> Result<Vec<u8>, RpcError>,
    store: &mut dyn FnMut(Batch) -> bool,
) -> Result<(u64, u64), RpcError> {
    let mut reader = AtomReader::new(MAX_LIST_ATOMS as u64);
    let (mut batch, mut batch_bytes, mut bytes) = (Batch::new(), 0, 0);
    let stopped = || RpcError::from("the store has failed");
    loop {
        let part = next()?;
        if part.is_empty() {
            break;
        }
        reader.read(&part, &mut |parts| {
            let atom = parts.to_atom();
            batch_bytes += atom.stored_len();
            bytes += atom.data().len() as u64;
            batch.push((atom.id(), atom));
            let is_full = batch_bytes >= BATCH_BYTES || batch.len() >= BATCH_ATOMS;
            if is_full {
                batch_bytes = 0;
                if !store(core::mem::take(&mut batch)) {
                    return Err(stopped());
                }
            }
            Ok::<(), RpcError>(())
        })?;
    }
    let atoms = reader.finish()?;
    if !batch.is_empty() && !store(batch) {
        return Err(stopped());
    }
    Ok((atoms, bytes))
}

/// Sends a list's atoms.
pub(super) fn get(
    node: &Node,
    params: &request::GetAtoms,
    caller: &Caller,
    missing: &dyn Fn(&AtomId) -> RpcError,
) -> Result<SentReply, RpcError> {
    let transfers = caller.transfers()?;
    let mut send = |bytes: &[u8]| transfers.send(params.transfer, bytes);
    let mut source = Source {
        local: &|id| node.logged(|| node.store().served().atom(id)).ok(),
        list: &|id| node.get_atom_list(id),
        single: &|id| node.get_atom(id),
        missing,
        fetched: VecDeque::new(),
        is_too_large: false,
    };
    let reply = send_list(&mut source, params.id, &mut send)?;
    send(&[])?;
    Ok(reply)
}

/// Source of the atoms of a list: the store, else peers.
struct Source<'s> {
    local: &'s dyn Fn(&AtomId) -> Option<Atom>,
    list: &'s dyn Fn(AtomId) -> Result<Option<Vec<Atom>>, NodeError>,
    single: &'s dyn Fn(AtomId) -> Result<Option<Atom>, NodeError>,
    missing: &'s dyn Fn(&AtomId) -> RpcError,
    /// Next atoms of the list.
    fetched: VecDeque<Atom>,
    /// Set once no peer sends the list as a whole.
    is_too_large: bool,
}

impl Source<'_> {
    /// Returns the atom if it need not be fetched.
    fn at_hand(&mut self, id: &AtomId) -> Option<Atom> {
        self.fetched.pop_front().or_else(|| (self.local)(id))
    }

    fn fetch(&mut self, id: AtomId) -> Result<Atom, RpcError> {
        if !self.is_too_large {
            match (self.list)(id) {
                Err(NodeError::Fetch(FetchError::TooLarge)) => self.is_too_large = true,
                list => self.fetched = list?.unwrap_or_default().into(),
            }
        }
        let atom = match self.is_too_large {
            true => (self.single)(id)?,
            false => self.fetched.pop_front(),
        };
        atom.ok_or_else(|| (self.missing)(&id))
    }
}

fn send_list(
    source: &mut Source<'_>,
    id: AtomId,
    send: &mut dyn FnMut(&[u8]) -> Result<(), RpcError>,
) -> Result<SentReply, RpcError> {
    let (mut atoms, mut bytes) = (0, 0);
    let (mut next, mut part) = (id, Vec::with_capacity(MAX_TRANSFER_BYTES));
    while !next.is_zero() {
        let atom = match source.at_hand(&next) {
            Some(atom) => atom,
            None => {
                // What is known is sent before a wait.
                send_part(&mut part, send)?;
                source.fetch(next)?
            }
        };
        next = atom.next();
        push_atom(AtomParts::from(&atom), &mut part);
        atoms += 1;
        bytes += atom.data().len() as u64;
        if part.len() >= FRAME_BYTES {
            send_part(&mut part, send)?;
        }
    }
    send_part(&mut part, send)?;
    Ok(SentReply { atoms, bytes })
}

/// Sends the bytes that have gathered, if there are any.
fn send_part(
    part: &mut Vec<u8>,
    send: &mut dyn FnMut(&[u8]) -> Result<(), RpcError>,
) -> Result<(), RpcError> {
    if !part.is_empty() {
        send(part)?;
        part.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::{AtomKind, MemoryStore, bytes_list};
    use core::cell::RefCell;

    fn record(atom: &Atom) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_atom(AtomParts::from(atom), &mut bytes);
        bytes
    }

    #[test]
    fn received_atoms_are_stored_in_bounded_batches() {
        let large: Vec<Atom> = (0..300).map(|n| Atom::bytes(vec![7; 60_000 + n])).collect();
        let mut parts: Vec<Vec<u8>> = large.iter().map(record).collect();
        parts.push(Vec::new());
        let mut parts = parts.into_iter();
        let mut stored: Vec<(AtomId, Atom)> = Vec::new();
        let received = receive(&mut || Ok(parts.next().unwrap()), &mut |batch| {
            let bytes: usize = batch.iter().map(|(_, atom)| atom.stored_len()).sum();
            assert!(bytes < BATCH_BYTES + (64 << 10));
            stored.extend(batch);
            true
        });
        let bytes: usize = large.iter().map(|atom| atom.data().len()).sum();
        assert_eq!(received.unwrap(), (300, bytes as u64));
        assert_eq!(stored.len(), 300);
        for ((id, atom), expected) in stored.iter().zip(&large) {
            assert!(*id == expected.id() && atom == expected);
        }
    }

    #[test]
    fn failures_of_transfer_and_store_end_the_reception() {
        let part = record(&Atom::bytes(*b"x"));
        let mut parts = vec![Err(RpcError::from("of the test")), Ok(part.clone())];
        let error = receive(&mut || parts.pop().unwrap(), &mut |_| true);
        assert_eq!(error.unwrap_err().message, "of the test");
        let mut parts = vec![Ok(Vec::new()), Ok(part)];
        let error = receive(&mut || parts.pop().unwrap(), &mut |_| false);
        assert!(error.unwrap_err().message.contains("store has failed"));
    }

    /// Sends a list of which the first two atoms are stored; returns the bytes of each frame.
    fn sent(is_too_large: bool, known: usize) -> (Result<SentReply, RpcError>, Vec<Vec<u8>>, u32) {
        let (head, atoms) = bytes_list(&[[1; 9], [2; 9], [3; 9], [4; 9]]);
        let local: MemoryStore = atoms[..2].iter().cloned().collect();
        let peers: MemoryStore = atoms[..known].iter().cloned().collect();
        let (asked, frames) = (RefCell::new(0), RefCell::new(Vec::new()));
        let mut source = Source {
            local: &|id| local.atom(id).ok(),
            list: &|id| {
                assert!(!frames.borrow().is_empty(), "what is stored is sent first");
                *asked.borrow_mut() += 1;
                if is_too_large {
                    return Err(NodeError::Fetch(FetchError::TooLarge));
                }
                Ok(astreum_core::atom::collect_list(&peers, id, 9).ok())
            },
            single: &|id| {
                *asked.borrow_mut() += 1;
                Ok(peers.atom(&id).ok())
            },
            missing: &RpcError::missing,
            fetched: VecDeque::new(),
            is_too_large: false,
        };
        let reply = send_list(&mut source, head, &mut |bytes| {
            frames.borrow_mut().push(bytes.to_vec());
            Ok(())
        });
        let (frames, asked) = (frames.take(), asked.take());
        let mut read = AtomReader::new(9);
        let mut at = 0;
        for frame in &frames {
            let checked = read.read(frame, &mut |parts| {
                assert_eq!(parts.kind, AtomKind::Bytes);
                assert_eq!(parts.to_atom(), atoms[at]);
                at += 1;
                Ok::<_, RpcError>(())
            });
            checked.unwrap();
        }
        (reply, frames, asked)
    }

    #[test]
    fn missing_part_of_a_list_is_fetched_at_once_or_atom_by_atom() {
        let (reply, frames, asked) = sent(false, 4);
        assert_eq!(
            reply.unwrap(),
            SentReply {
                atoms: 4,
                bytes: 36
            }
        );
        assert_eq!((frames.len(), asked), (2, 1));
        let (reply, _, asked) = sent(true, 4);
        assert_eq!(
            reply.unwrap(),
            SentReply {
                atoms: 4,
                bytes: 36
            }
        );
        assert_eq!(asked, 3, "once as a list, then each atom");
        for is_too_large in [false, true] {
            let (reply, frames, _) = sent(is_too_large, 2);
            assert!(reply.unwrap_err().is_missing() && frames.len() == 1);
        }
    }
}
