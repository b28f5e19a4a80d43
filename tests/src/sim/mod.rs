//! Deterministic simulations under faults that exceed those of real networks; a seed reproduces a
//! run.
//!
//! [`world`] runs many complete nodes (engine, store on a simulated disk) in one thread with
//! virtual time; [`trial`] subjects them to faults and checks the promises; [`survey`] measures a
//! network without faults.

#[cfg(test)]
mod broken;
pub mod byzantine;
pub mod chain_files;
pub mod disk;
pub mod event_queue;
pub mod follow;
pub mod fork_choice;
pub mod host;
pub mod ledger;
pub mod links;
pub mod operations;
pub mod poison;
pub mod promises;
pub mod pruning;
pub mod survey;
pub mod trial;
pub mod world;

use crate::random::Random;
use astreum_core::atom::{Atom, AtomId, bytes_list};

/// Number of atoms of a long list, each with 1,024 bytes of data.
pub const LIST_ATOMS: u64 = 24;

/// Returns a list of a number that is long enough to continue by stream, and its id.
#[must_use]
pub fn long_list(number: u64) -> (AtomId, Vec<(AtomId, Atom)>) {
    let values: Vec<Vec<u8>> = (0..LIST_ATOMS)
        .map(|at| [number, at].map(u64::to_le_bytes).concat().repeat(64))
        .collect();
    let (head, atoms) = bytes_list(&values);
    let atoms = atoms.into_iter().map(|atom| (atom.id(), atom));
    (head, atoms.collect())
}

/// Returns the atoms of a number with their ids: a few, each of a small size.
#[must_use]
pub fn batch(number: u64) -> Vec<(AtomId, Atom)> {
    let mut random = Random::new(number);
    let count = 1 + random.below(6);
    (0..count)
        .map(|_| {
            let words = 0..random.below(9);
            let data: Vec<u8> = words.flat_map(|_| random.next().to_le_bytes()).collect();
            let atom = Atom::bytes(data);
            (atom.id(), atom)
        })
        .collect()
}
