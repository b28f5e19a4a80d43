//! Objects that are sent in units: headers of blocks, the transactions of blocks, and several lists.
//!
//! Server and client read the same units with the same code: the server over its store, the client
//! over the atoms that arrive, each of which has to be the one that is read next. So nothing is sent
//! that was not requested, and the client holds no more than one frame that is not verified.

use crate::atom::{Atom, AtomId, AtomKind, AtomSource, HashedAtom, SourceError};
use crate::chain::{Block, MAX_BLOCK_TRANSACTIONS, RecordError, Transaction};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::RefCell;

/// Rest of a request.
#[derive(Debug)]
pub(super) enum Walk {
    /// Headers downwards. A unit is a header.
    Headers {
        next: AtomId,
        /// Number of headers.
        left: u32,
    },
    /// Transactions of blocks. A unit is an atom of a transaction list, and the transaction.
    Bodies {
        list: AtomId,
        /// Number of transactions of this list so far.
        count: usize,
        /// First atoms of the lists behind it.
        lists: VecDeque<AtomId>,
    },
    /// Lists, or their beginnings. A unit is an atom.
    Lists {
        next: AtomId,
        /// Number of further atoms of this list.
        left: u32,
        /// Maximum number of atoms of each list.
        most: u32,
        /// First atoms of the lists behind it.
        lists: VecDeque<AtomId>,
    },
}

impl Walk {
    /// Creates a walk over `count` headers, downwards from the block `id`.
    pub(super) const fn headers(id: AtomId, count: u32) -> Self {
        Self::Headers {
            next: id,
            left: count,
        }
    }

    /// Creates a walk over the transactions of lists that start with these atoms.
    pub(super) fn bodies(lists: impl IntoIterator<Item = AtomId>) -> Self {
        let mut lists: VecDeque<AtomId> = lists.into_iter().collect();
        Self::Bodies {
            list: lists.pop_front().unwrap_or(AtomId::ZERO),
            count: 0,
            lists,
        }
    }

    /// Creates a walk over lists that start with these atoms, at most `most` atoms of each.
    pub(super) fn lists(most: u32, lists: impl IntoIterator<Item = AtomId>) -> Self {
        let mut lists: VecDeque<AtomId> = lists.into_iter().collect();
        Self::Lists {
            next: lists.pop_front().unwrap_or(AtomId::ZERO),
            left: most,
            most,
            lists,
        }
    }

    /// Returns the id of the atom with which the next unit starts.
    pub(super) const fn next(&self) -> AtomId {
        match self {
            Self::Headers { next, .. } | Self::Lists { next, .. } => *next,
            Self::Bodies { list, .. } => *list,
        }
    }

    /// Returns whether there are no more units.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Headers { next, left } => next.is_zero() || *left == 0,
            Self::Bodies { list, .. } => list.is_zero(),
            Self::Lists { next, .. } => next.is_zero(),
        }
    }

    /// Reads the next unit. Returns what [`Self::advance`] requires.
    ///
    /// # Errors
    /// Fails if an atom is missing, or the unit is not of the requested kind.
    pub(super) fn read<S: AtomSource>(&self, source: &S) -> Result<AtomId, RecordError<S::Error>> {
        match self {
            Self::Headers { next, .. } => Ok(Block::read(source, *next)?.previous),
            Self::Lists { next, .. } => Ok(source.atom(next)?.next()),
            Self::Bodies { list, count, .. } => {
                let malformed = |problem| RecordError::Malformed {
                    record: *list,
                    problem,
                };
                let atom = source.atom(list)?;
                let id = AtomId::from_slice(atom.data());
                let id = id.filter(|_| atom.kind() == AtomKind::Bytes);
                let id = id.ok_or_else(|| malformed("list item is not an id"))?;
                if *count >= MAX_BLOCK_TRANSACTIONS {
                    return Err(malformed("list exceeds the maximum length for a block"));
                }
                Transaction::read(source, id)?;
                Ok(atom.next())
            }
        }
    }

    /// Moves behind the unit that was read.
    pub(super) fn advance(&mut self, link: AtomId) {
        match self {
            Self::Headers { next, left } => {
                *next = link;
                *left = left.saturating_sub(1);
            }
            Self::Bodies { list, count, lists } => {
                (*list, *count) = (link, count.saturating_add(1));
                if list.is_zero() {
                    (*list, *count) = (lists.pop_front().unwrap_or(AtomId::ZERO), 0);
                }
            }
            Self::Lists {
                next,
                left,
                most,
                lists,
            } => {
                (*next, *left) = (link, left.saturating_sub(1));
                if next.is_zero() || *left == 0 {
                    (*next, *left) = (lists.pop_front().unwrap_or(AtomId::ZERO), *most);
                }
            }
        }
    }
}

/// Source that records the atoms of a unit, each once, in the order in which they are read first.
pub(super) struct Unit<'s, S> {
    source: &'s S,
    atoms: RefCell<Vec<HashedAtom>>,
}

impl<'s, S> Unit<'s, S> {
    pub(super) const fn new(source: &'s S) -> Self {
        Self {
            source,
            atoms: RefCell::new(Vec::new()),
        }
    }

    pub(super) fn into_atoms(self) -> Vec<HashedAtom> {
        self.atoms.into_inner()
    }
}

impl<S: AtomSource> AtomSource for Unit<'_, S> {
    type Error = S::Error;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<S::Error>> {
        let known = self.atoms.borrow();
        if let Some(known) = known.iter().find(|known| known.id() == *id) {
            return Ok(known.atom().clone());
        }
        drop(known);
        let atom = self.source.atom(id)?;
        let recorded = HashedAtom::with_id(*id, atom.clone());
        self.atoms.borrow_mut().push(recorded);
        Ok(atom)
    }
}

#[cfg(test)]
#[cfg(feature = "consensus")]
mod tests {
    use super::super::{Answer, Client, ClientError, Server};
    use super::*;
    use crate::atom::{MemoryStore, bytes_list};
    use crate::chain::write_atoms;
    use crate::testkit::{address, header, transaction};
    use crate::wire::stream::{Decoder, EndReason, FoundWriter, MAX_IDS};
    use alloc::vec;

    type Found = Vec<AtomId>;

    /// Stores headers from a genesis to a height; returns their ids in ascending order.
    fn chain(height: u64, store: &mut MemoryStore) -> Vec<AtomId> {
        let mut ids = vec![];
        for height in 0..=height {
            let previous = ids.last().copied().unwrap_or(AtomId::ZERO);
            let block = header(height, previous, 100 * height).signed(None);
            ids.push(block.id());
            write_atoms(block.to_atoms(), store).unwrap();
        }
        ids
    }

    /// Stores lists of transactions of these lengths; returns the first atoms of the lists.
    fn bodies(lens: &[u64], store: &mut MemoryStore) -> Vec<AtomId> {
        let mut number = 0;
        let mut list = |len: &u64| {
            let ids: Vec<AtomId> = (0..*len)
                .map(|_| {
                    number += 1;
                    let transaction = transaction(1, address(2), 5, number, b"");
                    write_atoms(transaction.to_atoms(), store).unwrap();
                    transaction.id()
                })
                .collect();
            let (head, atoms) = bytes_list(&ids.iter().map(AtomId::as_bytes).collect::<Vec<_>>());
            store.extend(atoms);
            head
        };
        lens.iter().map(&mut list).collect()
    }

    /// Carries a request out. Returns the ids of what arrives, and the reason of an early end.
    fn carry_out(
        request: impl FnOnce(&mut Client, &mut Vec<u8>) -> Option<u32>,
        store: &MemoryStore,
    ) -> Result<(Found, Option<EndReason>), ClientError> {
        let (mut client, mut server) = (Client::new(), Server::new());
        let (mut up, mut down) = (Decoder::new(), Decoder::new());
        let (mut out, mut found) = (vec![], vec![]);
        let number = request(&mut client, &mut out).unwrap();
        loop {
            up.push(&core::mem::take(&mut out));
            while let Some(frame) = up.next_frame().unwrap() {
                server.handle(&frame).unwrap();
            }
            let mut bytes = vec![];
            assert!(server.poll(store, &mut bytes), "the server stalls");
            down.push(&bytes);
            while let Some(frame) = down.next_frame().unwrap() {
                let before = found.len();
                let answer = client.handle(&frame, &mut found)?;
                let new: usize = found[before..]
                    .iter()
                    .map(|it: &HashedAtom| it.atom().stored_len())
                    .sum();
                client.stored(number, u32::try_from(new).unwrap(), &mut out);
                let reason = match answer {
                    Answer::Atoms {
                        is_complete: false, ..
                    } => continue,
                    Answer::Atoms { .. } => None,
                    Answer::Ended { reason, .. } => Some(reason),
                    Answer::Late => panic!("late"),
                };
                assert_eq!((client.open_requests(), server.open_requests()), (0, 0));
                return Ok((found.iter().map(HashedAtom::id).collect(), reason));
            }
        }
    }

    fn headers(
        id: AtomId,
        count: u32,
        store: &MemoryStore,
    ) -> Result<(Found, Option<EndReason>), ClientError> {
        carry_out(|client, out| client.request_headers(id, count, out), store)
    }

    /// Returns a store of these atoms.
    fn only(ids: &[AtomId], all: &MemoryStore) -> MemoryStore {
        ids.iter().map(|id| all.atom(id).unwrap()).collect()
    }

    #[test]
    fn headers_arrive_downwards_as_far_as_requested() {
        let mut store = MemoryStore::new();
        let ids = chain(3_000, &mut store);
        let (found, reason) = headers(ids[2_500], 2_000, &store).unwrap();
        assert_eq!(reason, None);
        let copy = only(&found, &store);
        for id in &ids[501..=2_500] {
            assert!(Block::read(&copy, *id).is_ok());
        }
        assert!(copy.atom(&ids[500]).is_err(), "no more than was requested");
        // At the genesis there are no more.
        let (found, reason) = headers(ids[9], u32::MAX, &store).unwrap();
        assert_eq!((reason, found.contains(&ids[0])), (None, true));
    }

    #[test]
    fn transactions_arrive_behind_the_atoms_that_name_them() {
        let mut store = MemoryStore::new();
        let lists = bodies(&[3, 900, 1], &mut store);
        let request = |client: &mut Client, out: &mut Vec<u8>| client.request_bodies(&lists, out);
        let (found, reason) = carry_out(request, &store).unwrap();
        assert_eq!(reason, None);
        let copy = only(&found, &store);
        for (list, len) in lists.iter().zip([3, 900, 1]) {
            let ids = crate::chain::read_ids(&copy, *list).unwrap();
            assert_eq!(ids.len(), len);
            for id in ids {
                assert!(Transaction::read(&copy, id).is_ok());
            }
        }
        for ids in [&[][..], &[AtomId::ZERO], &[lists[0]; MAX_IDS + 1]] {
            assert_eq!(Client::new().request_bodies(ids, &mut vec![]), None);
        }
    }

    #[test]
    fn lists_arrive_one_behind_the_other_as_far_as_requested() {
        let mut store = MemoryStore::new();
        let lists: Vec<Vec<Atom>> = [3_usize, 1, 900]
            .iter()
            .map(|len| {
                let items: Vec<_> = (0..*len)
                    .map(|at| [len.to_be_bytes(), at.to_be_bytes()].concat())
                    .collect();
                let (_, atoms) = bytes_list(&items);
                store.extend(atoms.clone());
                atoms
            })
            .collect();
        let heads: Vec<AtomId> = lists.iter().map(|list| list[0].id()).collect();
        let fetch = |most: u32, heads: &[AtomId], store: &MemoryStore| {
            carry_out(|client, out| client.request_lists(heads, most, out), store)
        };
        for most in [1, 2, 3, u32::MAX] {
            let parts = lists
                .iter()
                .flat_map(|list| list.iter().take(usize::try_from(most).unwrap()));
            let expected: Vec<AtomId> = parts.map(Atom::id).collect();
            assert_eq!(fetch(most, &heads, &store), Ok((expected, None)), "{most}");
        }
        // A list that is not there ends the request behind the ones before it.
        let unknown = [heads[1], AtomId::new([9; 32]), heads[0]];
        assert_eq!(
            fetch(9, &unknown, &store),
            Ok((vec![heads[1]], Some(EndReason::Missing)))
        );
        let (mut client, mut out) = (Client::new(), vec![]);
        assert_eq!(client.request_lists(&heads, 0, &mut out), None);
        assert_eq!(client.request_lists(&[], 1, &mut out), None);
        assert_eq!(
            client.request_lists(&[heads[0]; MAX_IDS + 1], 1, &mut out),
            None
        );
        assert!(out.is_empty() && client.open_requests() == 0);
    }

    #[test]
    fn missing_or_unreadable_records_end_the_request_behind_whole_units() {
        let mut store = MemoryStore::new();
        let ids = chain(20, &mut store);
        let (found, _) = headers(ids[20], 5, &store).unwrap();
        let part = only(&found, &store);
        assert_eq!(
            headers(ids[20], 9, &part),
            Ok((found, Some(EndReason::Missing)))
        );
        // A list is not a header, and an item of this list is not a transaction.
        let (head, atoms) = bytes_list(&[[7; 32], [8; 32]]);
        store.extend(atoms);
        let nothing = Ok((vec![], Some(EndReason::Missing)));
        assert_eq!(headers(head, 1, &store), nothing);
        let request = |client: &mut Client, out: &mut Vec<u8>| client.request_bodies(&[head], out);
        assert_eq!(carry_out(request, &store), nothing);
    }

    #[test]
    fn server_that_sends_other_atoms_or_parts_of_units_is_an_error() {
        let mut store = MemoryStore::new();
        let ids = chain(5, &mut store);
        let (found, _) = headers(ids[5], 2, &store).unwrap();
        let (first, _) = headers(ids[5], 1, &store).unwrap();
        let answer = |count: u32, sent: &[AtomId]| {
            let (mut client, mut out) = (Client::new(), vec![]);
            let number = client.request_headers(ids[5], count, &mut out).unwrap();
            let atoms: Vec<Atom> = sent.iter().map(|id| store.atom(id).unwrap()).collect();
            out.clear();
            let mut writer = FoundWriter::new(&mut out, number);
            assert!(writer.push_all(&atoms));
            writer.finish();
            let mut decoder = Decoder::new();
            decoder.push(&out);
            let frame = decoder.next_frame().unwrap().unwrap();
            let mut verified = vec![];
            let result = client.handle(&frame, &mut verified);
            (result.map(|_| ()), verified.len())
        };
        assert_eq!(answer(2, &found), (Ok(()), found.len()));
        assert_eq!(
            answer(2, &found[..found.len() - 1]),
            (Err(ClientError::Split), first.len())
        );
        let beyond = answer(1, &found);
        assert!(
            matches!(beyond.0, Err(ClientError::WrongAtom { expected, .. }) if expected.is_zero())
        );
        assert_eq!(beyond.1, first.len());
        let mut swapped = found.clone();
        swapped.swap(first.len() + 1, first.len() + 2);
        let (result, verified) = answer(2, &swapped);
        assert!(
            matches!(result, Err(ClientError::WrongAtom { .. })),
            "{result:?}"
        );
        assert_eq!(verified, first.len());
    }
}
