//! Progress of long operations, and the atoms that they write.

use super::ColdError;
use crate::store::sorted_pair::PairWriter;
use astreum_core::atom::{Atom, AtomId};

/// Number of atoms between two progress reports.
const ATOMS_PER_REPORT: u64 = 1_024;

/// Progress of a long operation, in atoms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Number of atoms done.
    pub done: u64,
    /// Total number of atoms.
    pub total: u64,
}

/// Counter that reports progress.
pub(super) struct Pending<'a> {
    at: Progress,
    report: &'a mut dyn FnMut(Progress),
}

impl<'a> Pending<'a> {
    pub(super) fn new(total: u64, report: &'a mut dyn FnMut(Progress)) -> Self {
        let at = Progress { done: 0, total };
        Self { at, report }
    }

    pub(super) fn advance(&mut self) {
        self.at.done += 1;
        if self.at.done.is_multiple_of(ATOMS_PER_REPORT) || self.at.done == self.at.total {
            (self.report)(self.at);
        }
    }
}

/// Adds an atom to a pair that is being written.
pub(super) fn push(writer: &mut PairWriter<'_>, id: &AtomId, atom: &Atom) -> Result<(), ColdError> {
    let pushed = writer.push(id, atom);
    pushed.map_err(|error| ColdError::io("write a pair to", writer.dir(), &error))
}
