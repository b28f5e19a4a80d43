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
pub mod survey;
pub mod trial;
pub mod world;

use crate::random::Random;
use astreum_core::atom::{Atom, AtomId};

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
