//! Catalogue of recently published objects and their holders.

use astreum_core::atom::{Atom, AtomId, bytes_list};
use astreum_tests::random::Random;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Time for which an object stays in the catalogue.
pub(crate) const FETCHABLE_FOR: Duration = Duration::from_secs(600);
/// Lifetime of its advertisement in seconds, longer than [`FETCHABLE_FOR`].
pub(crate) const ADVERTISED_SECONDS: u64 = 900;
/// Time after which the advertisement is expected to have arrived.
const SETTLED: Duration = Duration::from_secs(3);
/// Maximum data size of an atom that a reference can receive, in bytes.
const REFERENCE_BYTES: usize = 3_900;
/// Maximum number of attempts to find a suitable object.
const TRIES: usize = 40;

/// Holder of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    /// Node of ours, by its number.
    Ours(usize),
    /// Reference, by its number.
    Reference(usize),
}

/// Published object.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Id of the object, that of the first atom of several.
    pub(crate) id: AtomId,
    /// Number of atoms.
    pub(crate) atoms: usize,
    /// Data size of the largest atom, in bytes.
    largest: usize,
    /// Node that has the object.
    pub(crate) holder: Holder,
    at: Instant,
}

impl Item {
    /// Creates the entry of an object that was just put.
    pub(crate) fn new(id: AtomId, atoms: &[Atom], holder: Holder) -> Self {
        Self {
            id,
            atoms: atoms.len(),
            largest: atoms
                .iter()
                .map(|atom| atom.data().len())
                .max()
                .unwrap_or_default(),
            holder,
            at: Instant::now(),
        }
    }

    /// Returns whether it is a list.
    pub(crate) const fn is_list(&self) -> bool {
        self.atoms > 1
    }

    /// Returns whether a reference can receive it.
    pub(crate) const fn suits_references(&self) -> bool {
        self.atoms * (self.largest + 37) <= REFERENCE_BYTES + 37
    }
}

/// All published objects.
#[derive(Debug, Default)]
pub(crate) struct Catalogue(Mutex<VecDeque<Item>>);

impl Catalogue {
    /// Adds an object, and removes those that have expired.
    pub(crate) fn add(&self, item: Item) {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.push_back(item);
        while items
            .front()
            .is_some_and(|item| item.at.elapsed() > FETCHABLE_FOR)
        {
            items.pop_front();
        }
    }

    /// Returns a random suitable object.
    pub(crate) fn choose(
        &self,
        random: &mut Random,
        suits: impl Fn(&Item) -> bool,
    ) -> Option<Item> {
        let items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (0..TRIES).find_map(|_| {
            let item = items.get(random.below(items.len()))?;
            let age = item.at.elapsed();
            let is_fetchable = (SETTLED..FETCHABLE_FOR).contains(&age);
            (is_fetchable && suits(item)).then(|| item.clone())
        })
    }

    /// Returns the objects of a holder.
    pub(crate) fn of(&self, holder: Holder) -> Vec<Item> {
        let items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items
            .iter()
            .filter(|item| item.holder == holder)
            .cloned()
            .collect()
    }
}

/// Creates a new object: mostly a small atom, sometimes a list, rarely a large atom.
pub(crate) fn random_object(random: &mut Random) -> (AtomId, Vec<Atom>) {
    match random.below(20) {
        0 => one(random, 4_000, 60_000),
        1..=3 => {
            let pieces = 2 + random.below(8);
            list(random, pieces)
        }
        _ => for_references(random),
    }
}

/// Creates a new object that a reference can receive.
pub(crate) fn for_references(random: &mut Random) -> (AtomId, Vec<Atom>) {
    match random.below(6) {
        0 => one(random, 1_000, REFERENCE_BYTES),
        1 => list(random, 3),
        _ => one(random, 16, 1_000),
    }
}

fn one(random: &mut Random, least: usize, most: usize) -> (AtomId, Vec<Atom>) {
    let len = least + random.below(most - least);
    let atom = Atom::bytes(random.bytes(len));
    (atom.id(), vec![atom])
}

fn list(random: &mut Random, pieces: usize) -> (AtomId, Vec<Atom>) {
    let values: Vec<Vec<u8>> = (0..pieces)
        .map(|_| {
            let len = 32 + random.below(900);
            random.bytes(len)
        })
        .collect();
    bytes_list(&values)
}
