//! A list that is sent to a client through the control socket, in constant memory.
//!
//! Invariants:
//! - The list passes by the hot store, so that a large object does not evict what the node needs.
//! - What is stored is sent before a wait for peers, and what a stream stores is sent during the wait.
//!   The client receives each progress of a fetch, and nothing else: its timeout counts from the last
//!   progress.
//! - Nothing that has arrived is fetched again: a fetch that fails is followed by another one for the
//!   first atom that is still missing, unless it has brought nothing.
//! - Atoms that arrive by datagram are held up to [`DATAGRAM_BYTES`]. A list that arrives by stream
//!   goes to cold storage, and is read from there.

use crate::net::FetchedObject;
use crate::node::{Node, NodeError};
use crate::rpc::{
    AtomParts, Caller, MAX_TRANSFER_BYTES, RpcError, SentReply, TransferProgress, push_atom,
    request,
};
use astreum_core::atom::{Atom, AtomId, AtomSource as _, HEADER_BYTES, MAX_LIST_ATOMS};
use astreum_core::engine::{FetchError, FetchProgress, FetchRequest, ListLimit};
use std::collections::VecDeque;

/// Number of bytes of a transfer from which on they are sent.
const FRAME_BYTES: usize = MAX_TRANSFER_BYTES / 2;
/// Maximum number of stored bytes of one fetch by datagrams.
const DATAGRAM_BYTES: usize = 4 << 20;
/// Limit of one fetch. The bytes of a stream are not limited.
const LIMIT: ListLimit = ListLimit {
    atoms: MAX_LIST_ATOMS,
    bytes: DATAGRAM_BYTES,
};

/// Sends a list's atoms.
pub(super) fn get(
    node: &Node,
    params: &request::GetAtoms,
    caller: &Caller,
    missing: &dyn Fn(&AtomId) -> RpcError,
) -> Result<SentReply, RpcError> {
    let transfers = caller.transfers()?;
    let mut send = |bytes: &[u8]| transfers.send(params.transfer, bytes);
    let report = |progress: &SentReply, next: AtomId| {
        if !params.progress {
            return;
        }
        // A client that is gone is noticed by the next write.
        let _ = transfers.report(&TransferProgress {
            transfer: params.transfer,
            atoms: progress.atoms,
            bytes: progress.bytes,
            next,
        });
    };
    let mut source = Source {
        local: &|id| node.logged(|| node.store().served().atom(id)).ok(),
        fetch: &|request, report| node.fetch_with_progress(request, report),
        missing,
        report: &report,
        fetched: VecDeque::new(),
    };
    let reply = send_list(&mut source, params.id, &mut send)?;
    send(&[])?;
    Ok(reply)
}

type Fetch<'f> = dyn Fn(FetchRequest, &mut dyn FnMut(FetchProgress)) -> Result<Option<FetchedObject>, NodeError>
    + 'f;

/// Source of the atoms of a list: the store, else peers.
struct Source<'s> {
    local: &'s dyn Fn(&AtomId) -> Option<Atom>,
    fetch: &'s Fetch<'s>,
    missing: &'s dyn Fn(&AtomId) -> RpcError,
    /// Receiver of the numbers of atoms and bytes that were sent or have arrived, and of the id of
    /// the atom that is waited for.
    report: &'s dyn Fn(&SentReply, AtomId),
    /// Next atoms of the list.
    fetched: VecDeque<Atom>,
}

impl Source<'_> {
    /// Returns the next atom of the list, `id`, if it need not be fetched.
    fn at_hand(&mut self, id: &AtomId) -> Option<Atom> {
        self.fetched.pop_front().or_else(|| (self.local)(id))
    }

    /// Fetches the list from the next atom on; on return that is at hand, or more was sent.
    fn fetch(&mut self, out: &mut Outgoing<'_>) -> Result<(), RpcError> {
        let id = out.next;
        let whole = FetchRequest::list_within(id, LIMIT).or_by_stream();
        match self.fetch_as(whole, out)? {
            // A long list without a stream arrives in parts.
            Err(NodeError::Fetch(FetchError::TooLarge)) => {}
            result => result?,
        }
        if out.next != id || self.hold(&id) {
            return Ok(());
        }
        // The hot store has no room for what has arrived: parts are held here.
        self.fetch_as(FetchRequest::beginning(id, LIMIT), out)??;
        if self.hold(&id) {
            return Ok(());
        }
        let mut error = (self.missing)(&id);
        let SentReply { atoms, bytes } = out.sent;
        if atoms > 0 {
            error.message +=
                &format!("; {atoms} atoms of the list before it, with {bytes} bytes, are here");
        }
        Err(error)
    }

    /// Returns whether the atom is at hand, and keeps it so.
    fn hold(&mut self, id: &AtomId) -> bool {
        if self.fetched.is_empty() {
            self.fetched.extend((self.local)(id));
        }
        !self.fetched.is_empty()
    }

    /// Fetches a list, reports the progress where there is any, and sends what a stream has stored
    /// while the rest arrives.
    fn fetch_as(
        &mut self,
        request: FetchRequest,
        out: &mut Outgoing<'_>,
    ) -> Result<Result<(), NodeError>, RpcError> {
        let SentReply { atoms, bytes } = out.sent;
        let before = atoms;
        let (mut last, mut failed) = (0, None);
        let fetched = (self.fetch)(request, &mut |progress| {
            if progress.atoms == last || failed.is_some() {
                return;
            }
            last = progress.atoms;
            let data = progress.bytes.saturating_sub(HEADER_BYTES * progress.atoms);
            let arrived = SentReply {
                atoms: atoms + progress.atoms as u64,
                bytes: bytes + data as u64,
            };
            let sent = out.push_stored(self.local, progress.next);
            failed = sent.and_then(|()| out.flush()).err();
            (self.report)(&arrived, progress.next);
        });
        if let Some(error) = failed {
            return Err(error);
        }
        // Another fetch may have stored some of them, so that they were sent.
        let sent = usize::try_from(out.sent.atoms - before).unwrap_or(usize::MAX);
        Ok(fetched.map(|found| {
            if let Some(FetchedObject::Atoms(atoms)) = found {
                self.fetched = atoms.into_iter().skip(sent).collect();
            }
        }))
    }
}

/// List that is being sent.
struct Outgoing<'o> {
    /// Next atom, or zero at the end.
    next: AtomId,
    sent: SentReply,
    /// Bytes that were not sent so far.
    part: Vec<u8>,
    send: &'o mut dyn FnMut(&[u8]) -> Result<(), RpcError>,
}

impl Outgoing<'_> {
    /// Adds the next atom.
    fn push(&mut self, atom: &Atom) -> Result<(), RpcError> {
        self.next = atom.next();
        push_atom(AtomParts::from(atom), &mut self.part);
        self.sent.atoms += 1;
        self.sent.bytes += atom.data().len() as u64;
        match self.part.len() >= FRAME_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Adds atoms that are stored, up to the one in front of `end`.
    fn push_stored(
        &mut self,
        local: &dyn Fn(&AtomId) -> Option<Atom>,
        end: AtomId,
    ) -> Result<(), RpcError> {
        while self.next != end
            && !self.next.is_zero()
            && let Some(atom) = local(&self.next)
        {
            self.push(&atom)?;
        }
        Ok(())
    }

    /// Sends the bytes that have gathered, if there are any.
    fn flush(&mut self) -> Result<(), RpcError> {
        if !self.part.is_empty() {
            (self.send)(&self.part)?;
            self.part.clear();
        }
        Ok(())
    }
}

fn send_list(
    source: &mut Source<'_>,
    id: AtomId,
    send: &mut dyn FnMut(&[u8]) -> Result<(), RpcError>,
) -> Result<SentReply, RpcError> {
    let mut out = Outgoing {
        next: id,
        sent: SentReply { atoms: 0, bytes: 0 },
        part: Vec::with_capacity(MAX_TRANSFER_BYTES),
        send,
    };
    while !out.next.is_zero() {
        match source.at_hand(&out.next) {
            Some(atom) => out.push(&atom)?,
            None => {
                // What is known is sent before a wait.
                out.flush()?;
                source.fetch(&mut out)?;
            }
        }
    }
    out.flush()?;
    Ok(out.sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::AtomReader;
    use astreum_core::atom::{MemoryStore, bytes_list, collect_list};
    use astreum_core::engine::Extent;
    use core::cell::RefCell;

    /// Way in which the peers of a test deliver a list.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Way {
        /// As a whole.
        Whole,
        /// Into the store, as a stream does; the progress is known at the end.
        Stored,
        /// Into the store, and each atom is progress.
        Streamed,
        /// The atoms that have arrived are in the store, and the fetch ends early.
        TooLarge,
        /// Likewise, and the hot store has no room.
        InParts,
    }

    /// Outcome of sending a list of nine atoms, of which the first two are stored.
    struct Outcome {
        reply: Result<SentReply, RpcError>,
        frames: usize,
        fetches: usize,
        reports: Vec<(u64, u64, AtomId)>,
        atoms: Vec<Atom>,
    }

    /// Sends a list; peers have the first `known` atoms.
    fn sent(way: Way, known: usize) -> Outcome {
        let (head, atoms) = bytes_list(&[1, 2, 3, 4, 5, 6, 7, 8, 9].map(|n: u8| [n; 10]));
        let local = RefCell::new(MemoryStore::from_iter(atoms[..2].iter().cloned()));
        let peers: MemoryStore = atoms[..known].iter().cloned().collect();
        let (frames, fetches) = (RefCell::new(Vec::new()), RefCell::new(0));
        let reports = RefCell::new(Vec::new());
        let fetch = |request: FetchRequest, report: &mut dyn FnMut(FetchProgress)| {
            assert!(!frames.borrow().is_empty(), "what is stored is sent first");
            *fetches.borrow_mut() += 1;
            let rest = collect_list(&peers, request.id, 9);
            let mut found: Vec<Atom> =
                core::iter::successors(peers.atom(&request.id).ok(), |atom| {
                    peers.atom(&atom.next()).ok()
                })
                .collect();
            if way == Way::Streamed {
                let (mut atoms, mut bytes) = (0, 0);
                for atom in &found {
                    let before = frames.borrow().len();
                    local.borrow_mut().extend([atom.clone()]);
                    (atoms, bytes) = (atoms + 1, bytes + atom.stored_len());
                    let next = atom.next();
                    report(FetchProgress { atoms, bytes, next });
                    assert_eq!(frames.borrow().len(), before + 1, "it is sent at once");
                }
                return Ok(rest.is_ok().then_some(FetchedObject::Stored));
            }
            if way != Way::Whole {
                found.truncate(3);
            }
            for _ in 0..2 {
                report(FetchProgress {
                    atoms: found.len(),
                    bytes: found.iter().map(Atom::stored_len).sum(),
                    next: found.last().map_or(request.id, Atom::next),
                });
            }
            if matches!(request.extent, Extent::Beginning(_)) {
                return Ok((!found.is_empty()).then_some(FetchedObject::Atoms(found)));
            }
            match way {
                Way::Whole => Ok(rest.ok().map(FetchedObject::Atoms)),
                Way::Stored => {
                    local.borrow_mut().extend(found);
                    Ok((rest.is_ok()).then_some(FetchedObject::Stored))
                }
                Way::TooLarge => {
                    local.borrow_mut().extend(found);
                    Err(NodeError::Fetch(FetchError::TooLarge))
                }
                Way::InParts => Err(NodeError::Fetch(FetchError::TooLarge)),
                Way::Streamed => unreachable!("answered above"),
            }
        };
        let mut source = Source {
            local: &|id| local.borrow().atom(id).ok(),
            fetch: &fetch,
            missing: &RpcError::missing,
            report: &|sent, next| reports.borrow_mut().push((sent.atoms, sent.bytes, next)),
            fetched: VecDeque::new(),
        };
        let reply = send_list(&mut source, head, &mut |bytes| {
            frames.borrow_mut().push(bytes.to_vec());
            Ok(())
        });
        let frames = frames.take();
        let (mut read, mut at) = (AtomReader::new(9), 0);
        for frame in &frames {
            let checked = read.read(frame, &mut |parts| {
                assert_eq!(parts.to_atom(), atoms[at]);
                at += 1;
                Ok::<_, RpcError>(())
            });
            checked.unwrap();
        }
        Outcome {
            reply,
            frames: frames.len(),
            fetches: fetches.take(),
            reports: reports.take(),
            atoms,
        }
    }

    #[test]
    fn missing_rest_of_a_list_is_fetched_in_any_way_and_never_twice() {
        for (way, fetches, frames) in [
            (Way::Whole, 1, 2),
            // The rest of seven atoms arrives three at a time.
            (Way::Stored, 3, 4),
            (Way::TooLarge, 3, 4),
            (Way::InParts, 6, 4),
            // The first two, and each of the seven others.
            (Way::Streamed, 1, 8),
        ] {
            let outcome = sent(way, 9);
            let whole = SentReply {
                atoms: 9,
                bytes: 90,
            };
            assert_eq!(outcome.reply.unwrap(), whole, "{way:?}");
            assert_eq!(
                (outcome.fetches, outcome.frames),
                (fetches, frames),
                "{way:?}"
            );
        }
    }

    #[test]
    fn progress_counts_what_was_sent_and_is_reported_only_if_it_changes() {
        let outcome = sent(Way::Stored, 9);
        let next = |at: usize| outcome.atoms.get(at).map_or(AtomId::ZERO, Atom::id);
        let expected = [(5, 50, next(5)), (8, 80, next(8)), (9, 90, next(9))];
        assert_eq!(outcome.reports, expected);
    }

    #[test]
    fn atom_that_no_peer_has_is_named_after_all_that_arrived() {
        for way in [Way::Stored, Way::TooLarge, Way::InParts] {
            let outcome = sent(way, 6);
            let error = outcome.reply.unwrap_err();
            assert!(error.is_missing(), "{error}");
            let id = outcome.atoms[6].id().to_string();
            assert!(error.message.contains(&id), "{way:?}: {error}");
            let before = "6 atoms of the list before it, with 60 bytes, are here";
            assert!(error.message.contains(before), "{way:?}: {error}");
        }
    }
}
