//! A store of which every atom is missing the first time it is asked for, as if it had to be fetched.

use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use core::cell::RefCell;
use core::convert::Infallible;
use std::collections::BTreeSet;

/// See the module.
#[derive(Default)]
pub struct Forgetful {
    /// What can be fetched.
    pub all: MemoryStore,
    here: RefCell<BTreeSet<AtomId>>,
}

impl Forgetful {
    /// Forgets everything again.
    pub fn forget(&self) {
        self.here.borrow_mut().clear();
    }
}

impl From<MemoryStore> for Forgetful {
    fn from(all: MemoryStore) -> Self {
        Self {
            all,
            here: RefCell::default(),
        }
    }
}

impl AtomSource for Forgetful {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        if self.here.borrow_mut().insert(*id) {
            return Err(SourceError::Missing(*id));
        }
        self.all.atom(id)
    }
}

/// Calls until nothing is missing any more; `missing` says what an error waits for.
///
/// # Panics
/// When the call fails otherwise, or misses what it has been given.
pub fn patiently<T, E: core::fmt::Debug>(
    mut call: impl FnMut() -> Result<T, E>,
    missing: impl Fn(&E) -> Option<AtomId>,
) -> T {
    let mut fetched = BTreeSet::new();
    loop {
        match call() {
            Ok(value) => return value,
            Err(error) => match missing(&error) {
                Some(id) => assert!(fetched.insert(id), "{id} is missing although it is there"),
                None => panic!("{error:?}"),
            },
        }
    }
}
