//! Atoms that a client sends through the control socket, stored in constant memory.
//!
//! Atoms that arrive are stored in batches of [`BATCH_BYTES`], each with one sync. While one batch
//! is written, the next one is received and hashed.

use crate::node::{Node, NodeError};
use crate::rpc::{
    AtomReader, Caller, PinnedReply, RpcError, StoredReply, TransferProgress, request,
};
use crate::store::cold::{PinKinds, roots_of};
use crate::store::{Durability, Store, StoreError};
use astreum_core::atom::{Atom, AtomId, AtomKind, HEADER_BYTES, MAX_LIST_ATOMS};
use std::collections::BTreeSet;
use std::sync::mpsc::sync_channel;
use std::thread;

/// Number of stored bytes of atoms that are written with one sync.
const BATCH_BYTES: usize = 8 << 20;
/// Maximum number of atoms of a batch.
const BATCH_ATOMS: usize = 64 << 10;

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
            .spawn_scoped(scope, || node.logged(|| write(node.store(), batches)))
            .map_err(|error| format!("failed to start a thread: {error}"))?;
        let received = receive(&mut || transfers.receive(params.transfer), &mut |batch| {
            sender.send(batch).is_ok()
        });
        drop(sender);
        let written = writer
            .join()
            .map_err(|_| RpcError::from("the thread that stores atoms has panicked"))?;
        // An error of the store ended the transfer.
        let durability = written.map_err(|(error, pinned)| {
            let mut error = RpcError::from(NodeError::from(error));
            error.message += &pinned_text(&pinned);
            error
        })?;
        let (atoms, bytes) = received?;
        Ok(StoredReply {
            atoms,
            bytes,
            durable: durability != Durability::Memory,
        })
    })
}

/// Pins an object, and notifies the caller of the progress if it has asked for that.
pub(super) fn pin(
    node: &Node,
    params: &request::Pin,
    caller: &Caller,
) -> Result<PinnedReply, RpcError> {
    let transfers = match params.transfer {
        Some(number) => Some((caller.transfers()?, number)),
        None => None,
    };
    let pinned = node.pin_with_progress(params.id, &mut |progress| {
        let headers = HEADER_BYTES.saturating_mul(progress.atoms);
        let data = progress.bytes.saturating_sub(headers);
        let reported = transfers.as_ref().map(|(transfers, transfer)| {
            transfers.report(&TransferProgress {
                transfer: *transfer,
                atoms: progress.atoms as u64,
                bytes: data as u64,
                next: progress.next,
            })
        });
        !caller.is_gone() && reported.is_none_or(|reported| reported.is_ok())
    })?;
    if let Some((transfers, number)) = transfers {
        transfers.send(number, &[])?;
    }
    Ok(pinned.into())
}

/// Stores batches until there are no more or one fails; returns the error with the ids that stay
/// pinned then.
fn write(
    store: &Store,
    batches: impl IntoIterator<Item = Batch>,
) -> Result<Durability, (StoreError, Vec<AtomId>)> {
    let mut pins = TransferPins::default();
    let mut batches = batches.into_iter();
    let stored = batches.try_for_each(|batch| pins.store(store, batch));
    let synced = match store.cold() {
        Some(cold) => cold.sync_pins().map_err(StoreError::Cold),
        None => Ok(()),
    };
    match stored.and(synced) {
        Ok(()) => Ok(store.durability()),
        Err(error) => Err((error, pins.new.into_iter().collect())),
    }
}

/// Describes the parts of a failed transfer that stay pinned, and how to remove them.
fn pinned_text(pinned: &[AtomId]) -> String {
    let Some((first, more)) = pinned.split_first() else {
        return String::new();
    };
    let more = match more.len() {
        0 => String::new(),
        count => format!(", and {count} more that `astreum pins` lists"),
    };
    format!(
        "; the part that was stored is pinned as {first}{more}: repeat the command when there is \
         room, or release the part with `astreum unpin {first}`"
    )
}

/// Pins of a transfer: the atoms received so far that none of the others leads to. Once the first
/// atom of the object has come, which is the last one of the transfer, only that one is pinned.
#[derive(Default)]
struct TransferPins {
    /// Those that were not pinned before.
    new: BTreeSet<AtomId>,
}

impl TransferPins {
    /// Stores a batch and pins it. A batch that is not stored leaves no pins.
    fn store(&mut self, store: &Store, batch: Batch) -> Result<(), StoreError> {
        let Some(cold) = store.cold() else {
            return store.put_streamed(batch).map(|_| ());
        };
        // Pinned first, so that nothing is pruned in between.
        let pinned = cold.add_pins(&roots_of(&batch), PinKinds::STORED);
        let new = pinned.map_err(StoreError::Cold)?;
        let mut linked = Vec::new();
        for (_, atom) in &batch {
            let item = AtomId::from_slice(atom.data()).filter(|_| atom.kind() == AtomKind::List);
            let links = [Some(atom.next()), item].into_iter().flatten();
            linked.extend(links.filter(|id| self.new.contains(id)));
        }
        if let Err(error) = store.put_streamed(batch) {
            let _ = cold.remove_pins(&new);
            return Err(error);
        }
        for id in &linked {
            self.new.remove(id);
        }
        self.new.extend(new);
        cold.remove_pins(&linked).map_err(StoreError::Cold)?;
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::rpc::{AtomParts, push_atom};
    use crate::store::cold::{ColdOptions, ColdStore};

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
    fn refused_batches_leave_no_pins() {
        let scratch = tempfile::tempdir().unwrap();
        let cold =
            ColdStore::open(scratch.path(), ColdOptions::from(&Settings::default())).unwrap();
        let store = Store::with_cold(1 << 20, Some(cold));
        let cold = store.cold().unwrap();
        let pins = || -> Vec<AtomId> {
            let pins = cold.pins(None, 10).into_iter();
            pins.map(|(id, _)| id).collect()
        };
        let of = |atom: &Atom| vec![(atom.id(), atom.clone())];
        let last = Atom::bytes(*b"last");
        let first = Atom::list(last.id(), AtomId::ZERO);
        let mut transfer = TransferPins::default();
        transfer.store(&store, of(&last)).unwrap();
        assert_eq!(pins(), [last.id()]);
        cold.set_limit(1);
        assert!(transfer.store(&store, of(&first)).is_err());
        // What is stored stays pinned.
        assert_eq!(pins(), [last.id()]);
        cold.set_limit(0);
        transfer.store(&store, of(&first)).unwrap();
        assert_eq!(pins(), [first.id()]);
    }

    #[test]
    fn store_that_is_full_names_the_part_that_stays_pinned() {
        let scratch = tempfile::tempdir().unwrap();
        let cold =
            ColdStore::open(scratch.path(), ColdOptions::from(&Settings::default())).unwrap();
        let store = Store::with_cold(1 << 20, Some(cold));
        let last = Atom::bytes(*b"last");
        let first = Atom::list(last.id(), AtomId::ZERO);
        let batches = [&last, &first].into_iter().enumerate().map(|(at, atom)| {
            store.cold().unwrap().set_limit(at as u64);
            vec![(atom.id(), atom.clone())]
        });
        let (_, pinned) = write(&store, batches).unwrap_err();
        assert_eq!(pinned, [last.id()]);
        let text = pinned_text(&pinned);
        let command = format!("astreum unpin {}", last.id());
        assert!(text.contains(&command), "{text}");
        let text = pinned_text(&[last.id(), first.id()]);
        assert!(text.contains("1 more that `astreum pins` lists"), "{text}");
        assert_eq!(pinned_text(&[]), "");
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
}
