//! Worlds that are worse than the real one, and repeat themselves when asked with the same seed.

pub mod disk;

use crate::random::Random;
use astreum_core::atom::{Atom, AtomId};

/// Atoms that a number stands for, with their ids: a few, of any small size.
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
