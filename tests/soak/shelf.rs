//! What is on offer in the network: what was put lately, and who has it.

use astreum_core::atom::{Atom, AtomId, bytes_list};
use astreum_tests::random::Random;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How long something is on offer.
pub(crate) const ON_OFFER: Duration = Duration::from_secs(600);
/// How long its advertisement lives, so that it outlives the offer.
pub(crate) const ADVERTISED_SECONDS: u64 = 900;
/// Before that, the advertisement may not have arrived.
const SETTLED: Duration = Duration::from_secs(3);
/// Data bytes of an atom that a reference can receive.
const REFERENCE_BYTES: usize = 3_900;
/// Tries to find something that suits.
const TRIES: usize = 40;

/// Who put something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    /// A node of ours, by its number.
    Ours(usize),
    /// A reference, by its number.
    Reference(usize),
}

/// Something that was put.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Its id, that of the first atom of several.
    pub(crate) id: AtomId,
    /// How many atoms.
    pub(crate) atoms: usize,
    /// The bytes of the largest.
    largest: usize,
    /// Who has it.
    pub(crate) holder: Holder,
    at: Instant,
}

impl Item {
    /// What was just put.
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

    /// Whether it is a list.
    pub(crate) const fn is_list(&self) -> bool {
        self.atoms > 1
    }

    /// Whether a reference can receive it.
    pub(crate) const fn suits_references(&self) -> bool {
        self.atoms * (self.largest + 37) <= REFERENCE_BYTES + 37
    }
}

/// All that is on offer.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<VecDeque<Item>>);

impl Shelf {
    /// Puts something on offer, and takes off what has been long enough.
    pub(crate) fn add(&self, item: Item) {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.push_back(item);
        while items
            .front()
            .is_some_and(|item| item.at.elapsed() > ON_OFFER)
        {
            items.pop_front();
        }
    }

    /// Something that suits.
    pub(crate) fn choose(
        &self,
        random: &mut Random,
        suits: impl Fn(&Item) -> bool,
    ) -> Option<Item> {
        let items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (0..TRIES).find_map(|_| {
            let item = items.get(random.below(items.len()))?;
            let age = item.at.elapsed();
            let is_on_offer = (SETTLED..ON_OFFER).contains(&age);
            (is_on_offer && suits(item)).then(|| item.clone())
        })
    }

    /// What somebody has on offer.
    pub(crate) fn of(&self, holder: Holder) -> Vec<Item> {
        let items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items
            .iter()
            .filter(|item| item.holder == holder)
            .cloned()
            .collect()
    }
}

/// Something new to put: a small atom mostly, a list now and then, rarely a large atom.
pub(crate) fn something(random: &mut Random) -> (AtomId, Vec<Atom>) {
    match random.below(20) {
        0 => one(random, 4_000, 60_000),
        1..=3 => {
            let pieces = 2 + random.below(8);
            list(random, pieces)
        }
        _ => for_references(random),
    }
}

/// Something new that a reference can receive.
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
