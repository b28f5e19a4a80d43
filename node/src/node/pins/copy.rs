//! Copy of an object to cold storage, with what is missing fetched from peers.
//!
//! Invariants:
//! - What is missing of a list is fetched as a list, by stream if it is long, and not atom by atom.
//! - The rest of a list has to be found. Any other id in an object may be no atom at all, so that it is
//!   only counted.

use super::Pinned;
use crate::net::FetchedObject;
use crate::node::NodeError;
use crate::store::Store;
use crate::store::cold::{ColdError, ColdStore};
use astreum_core::atom::{Atom, AtomId, MAX_LIST_ATOMS};
use astreum_core::chain::push_links;
use astreum_core::engine::{FetchError, FetchProgress, FetchRequest, ListLimit};
use core::time::Duration;
use std::collections::HashSet;
use std::time::Instant;

/// Number of stored bytes of an object that are written together.
const BATCH_BYTES: usize = 4 << 20;
/// Number of failed requests for atoms of an object after which the rest is not requested.
const MAX_MISSES: u64 = 16;
/// Limit of one fetch. The bytes of a stream are not limited.
const LIMIT: ListLimit = ListLimit {
    atoms: MAX_LIST_ATOMS,
    bytes: BATCH_BYTES,
};
/// Interval of reports while atoms are visited.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

type Fetch<'f> = dyn Fn(FetchRequest, &mut dyn FnMut(FetchProgress)) -> Result<Option<FetchedObject>, NodeError>
    + 'f;

/// Id that is visited.
#[derive(Clone, Copy, Debug)]
struct Visit {
    id: AtomId,
    /// True for the first atom of the object and for the next atom of a list.
    is_needed: bool,
    /// True if it belongs to a list that was fetched.
    is_fetched: bool,
}

/// Source and destination of a copy.
pub(super) struct ObjectCopy<'c> {
    pub(super) store: &'c Store,
    pub(super) cold: &'c ColdStore,
    pub(super) fetch: &'c Fetch<'c>,
}

impl ObjectCopy<'_> {
    /// Copies what cold storage lacks of an object. `report` gets the progress, and ends the copy by
    /// returning `false`.
    pub(super) fn run(
        &self,
        id: AtomId,
        report: &mut dyn FnMut(FetchProgress) -> bool,
    ) -> Result<Pinned, NodeError> {
        let (mut pinned, mut bytes) = (Pinned::default(), 0);
        let first = Visit {
            id,
            is_needed: true,
            is_fetched: false,
        };
        let (mut waiting, mut seen) = (vec![first], HashSet::new());
        let (mut batch, mut batch_bytes) = (Vec::<(AtomId, Atom)>::new(), 0);
        let mut links = Vec::new();
        let mut reported = Instant::now();
        while let Some(mut at) = waiting.pop() {
            if !seen.insert(at.id) {
                continue;
            }
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                check_cancelled(report(progress(&pinned, bytes, at.id)))?;
            }
            let mut found = self.store.get(&at.id);
            if found.is_none() && (at.is_needed || pinned.missing < MAX_MISSES) {
                found = self.fetch(&at, &mut |of_list| {
                    report(FetchProgress {
                        atoms: usize_of(pinned.atoms) + of_list.atoms,
                        bytes: bytes + of_list.bytes,
                        next: of_list.next,
                    })
                })?;
                reported = Instant::now();
                at.is_fetched = true;
            }
            let Some(atom) = found else {
                if at.is_needed {
                    return Err(NodeError::NotFound { id: at.id });
                }
                pinned.missing += 1;
                continue;
            };
            if pinned.atoms >= MAX_LIST_ATOMS as u64 {
                let max = MAX_LIST_ATOMS;
                return Err(NodeError::ListTooLong { max });
            }
            pinned.atoms += 1;
            bytes += atom.stored_len();
            let Ok(()) = push_links(self.store, &atom, &mut links);
            waiting.extend(links.drain(..).map(|id| {
                let is_next = id == atom.next();
                Visit {
                    id,
                    is_needed: is_next,
                    is_fetched: is_next && at.is_fetched,
                }
            }));
            let is_stored = self.cold.contains(&at.id);
            pinned.stored += u64::from(at.is_fetched || !is_stored);
            if !is_stored {
                batch_bytes += atom.stored_len();
                batch.push((at.id, atom));
            }
            if batch_bytes >= BATCH_BYTES {
                self.put(&batch)?;
                batch.clear();
                batch_bytes = 0;
            }
        }
        self.put(&batch)?;
        Ok(pinned)
    }

    fn put(&self, atoms: &[(AtomId, Atom)]) -> Result<(), NodeError> {
        self.cold.put(atoms).map_err(NodeError::ColdStorage)
    }

    /// Fetches the list from an atom on to cold storage, or as much of it as arrives at once; returns
    /// the atom, or `None` if no peer has it.
    fn fetch(
        &self,
        at: &Visit,
        report: &mut dyn FnMut(FetchProgress) -> bool,
    ) -> Result<Option<Atom>, NodeError> {
        let (mut should_continue, mut last) = (true, None);
        let mut fetch = |request| {
            let fetched = (self.fetch)(request, &mut |progress| {
                // A fetch without progress is silent, so that a client gives up.
                if should_continue && last != Some((progress.atoms, progress.bytes)) {
                    last = Some((progress.atoms, progress.bytes));
                    should_continue = report(progress);
                }
            });
            check_cancelled(should_continue)?;
            fetched
        };
        let whole = FetchRequest::list_within(at.id, LIMIT).or_by_stream();
        let is_part = match fetch(whole) {
            Ok(Some(found)) => {
                self.keep(found)?;
                false
            }
            Ok(None) => at.is_needed,
            // A long list without a stream arrives in parts.
            Err(NodeError::Fetch(FetchError::TooLarge)) => true,
            Err(error) => return Err(error),
        };
        let found = self.store.get(&at.id);
        if found.is_some() || !is_part {
            return Ok(found);
        }
        if let Some(found) = fetch(FetchRequest::beginning(at.id, LIMIT))? {
            self.keep(found)?;
        }
        Ok(self.store.get(&at.id))
    }

    /// Writes atoms that have arrived by datagrams; those of a stream are stored.
    fn keep(&self, found: FetchedObject) -> Result<(), NodeError> {
        match found {
            FetchedObject::Stored => Ok(()),
            FetchedObject::Atoms(atoms) => {
                let atoms = atoms.into_iter().map(|atom| (atom.id(), atom));
                self.put(&atoms.collect::<Vec<_>>())
            }
        }
    }
}

fn progress(pinned: &Pinned, bytes: usize, next: AtomId) -> FetchProgress {
    FetchProgress {
        atoms: usize_of(pinned.atoms),
        bytes,
        next,
    }
}

fn usize_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn check_cancelled(should_continue: bool) -> Result<(), NodeError> {
    match should_continue {
        true => Ok(()),
        false => Err(NodeError::ColdStorage(ColdError::Cancelled)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ColdStorageSync;
    use crate::store::cold::ColdOptions;
    use astreum_core::atom::{AtomKind, bytes_list};
    use core::cell::{Cell, RefCell};

    fn cold(path: &std::path::Path) -> ColdStore {
        let options = ColdOptions {
            level_size_bytes: 8_192,
            limit_bytes: 0,
            sync: ColdStorageSync::Never,
            mapped: true,
            background: false,
        };
        ColdStore::open(path, options).unwrap()
    }

    /// Way in which peers deliver a list.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Way {
        Datagrams,
        Stream,
        Parts,
    }

    /// Copies a list of nine atoms of which two are stored and peers have the first `known`; returns
    /// the result, the fetches and the reports.
    fn copied(
        way: Way,
        known: usize,
        should_continue: bool,
    ) -> (Result<Pinned, NodeError>, u32, usize) {
        let scratch = tempfile::tempdir().unwrap();
        let cold = cold(scratch.path());
        let store = Store::with_cold(1 << 20, Some(cold.clone()));
        let (head, atoms) = bytes_list(&[1, 2, 3, 4, 5, 6, 7, 8, 9].map(|n: u8| [n; 10]));
        let with_ids = |atoms: &[Atom]| {
            let atoms = atoms.iter().map(|atom| (atom.id(), atom.clone()));
            atoms.collect::<Vec<_>>()
        };
        cold.put(&with_ids(&atoms[..2])).unwrap();
        let (fetches, reports) = (Cell::new(0), RefCell::new(0));
        let fetch = |request: FetchRequest, report: &mut dyn FnMut(FetchProgress)| {
            fetches.set(fetches.get() + 1);
            let at = atoms.iter().position(|atom| atom.id() == request.id);
            let at = at.filter(|at| *at < known);
            let Some(at) = at else { return Ok(None) };
            for _ in 0..2 {
                report(FetchProgress {
                    atoms: 1,
                    bytes: 43,
                    next: request.id,
                });
            }
            let is_whole = request.may_stream;
            let rest = &atoms[at..known];
            match way {
                Way::Parts if is_whole => Err(NodeError::Fetch(FetchError::TooLarge)),
                Way::Parts => Ok(Some(FetchedObject::Atoms(rest[..1].to_vec()))),
                _ if is_whole && known < 9 => Ok(None),
                Way::Stream if is_whole => {
                    cold.put(&with_ids(rest)).unwrap();
                    Ok(Some(FetchedObject::Stored))
                }
                _ => Ok(Some(FetchedObject::Atoms(rest.to_vec()))),
            }
        };
        let copy = ObjectCopy {
            store: &store,
            cold: &cold,
            fetch: &fetch,
        };
        let result = copy.run(head, &mut |_| {
            *reports.borrow_mut() += 1;
            should_continue
        });
        if result.is_ok() {
            assert!(atoms.iter().all(|atom| cold.contains(&atom.id())));
        }
        (result, fetches.get(), reports.take())
    }

    #[test]
    fn list_is_fetched_as_a_whole_and_progress_is_reported_once() {
        let whole = Pinned {
            atoms: 9,
            stored: 7,
            missing: 0,
        };
        for (way, fetches, reports) in [
            (Way::Datagrams, 1, 1),
            (Way::Stream, 1, 1),
            // Each of the seven atoms, after an attempt to fetch the rest as a whole.
            (Way::Parts, 14, 7),
        ] {
            let (result, requests, reported) = copied(way, 9, true);
            assert_eq!(result.unwrap(), whole, "{way:?}");
            assert_eq!((requests, reported), (fetches, reports), "{way:?}");
        }
    }

    #[test]
    fn incomplete_list_and_caller_that_is_gone_are_errors() {
        for way in [Way::Datagrams, Way::Stream, Way::Parts] {
            let error = copied(way, 6, true).0.unwrap_err();
            assert!(matches!(error, NodeError::NotFound { .. }), "{error}");
        }
        let (result, fetches, _) = copied(Way::Stream, 9, false);
        let error = result.unwrap_err();
        let cancelled = NodeError::ColdStorage(ColdError::Cancelled);
        assert_eq!((error.to_string(), fetches), (cancelled.to_string(), 1));
    }

    #[test]
    fn ids_that_are_not_atoms_are_counted_and_requested_a_limited_number_of_times() {
        let scratch = tempfile::tempdir().unwrap();
        let cold = cold(scratch.path());
        let store = Store::with_cold(1 << 20, Some(cold.clone()));
        let mut next = AtomId::ZERO;
        for n in 1..=20 {
            let atom = Atom::new(AtomKind::List, vec![n; 32], next);
            next = atom.id();
            cold.put(&[(next, atom)]).unwrap();
        }
        let fetches = Cell::new(0);
        let copy = ObjectCopy {
            store: &store,
            cold: &cold,
            fetch: &|_, _| {
                fetches.set(fetches.get() + 1);
                Ok(None)
            },
        };
        let pinned = copy.run(next, &mut |_| true).unwrap();
        assert_eq!((pinned.atoms, pinned.stored, pinned.missing), (20, 0, 20));
        assert_eq!(fetches.get(), MAX_MISSES);
    }
}
