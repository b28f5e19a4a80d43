//! What a small stake gains by choosing the ids of its blocks.
//!
//! The product's own [`ElectionSeeds`] and [`Draw`] decide every slot; ids are made up, since a
//! block's id is as good as random to all but its producer, which may take the best of many.
//!
//! - [`grinding`]: in public, every slot used. Only the producer of the last block of an epoch
//!   chooses among seeds: whatever an earlier one chooses, the ids after it change again.
//! - [`private_branch`]: alone on a branch of its own, where every id is its own once two epochs
//!   have passed, and where it waits for its slots.
//!
//! `cargo run --release -p astreum-tests --bin election` prints the figures for 100,000 slots.

mod grinding;
mod private_branch;

pub use grinding::{Grinding, Seeding, grinding};
pub use private_branch::{PrivateBranch, private_branch};

use astreum_core::atom::AtomId;
use astreum_core::chain::{Address, Draw, ElectionSeeds, StakeTable, Stakes};
use astreum_core::crypto::hash;
use astreum_core::integer::Natural;

/// The address of the small stake, in the middle of the others.
pub const SMALL: Address = Address::new([0x80; 32]);

/// The stakes of an election: one of 1,000 parts of the stake is [`SMALL`]'s, the others are equal.
#[must_use]
pub fn stakes(others: u16) -> StakeTable {
    let total = 1_000_000_u64;
    let each = (total - total / 1_000) / u64::from(others.max(1));
    let other = |number: u16| {
        let address = hash(&number.to_be_bytes());
        (Address::new(address), Natural::from(each))
    };
    let mut stakes: Stakes = (0..others).map(other).collect();
    stakes.insert(SMALL, (total / 1_000).into());
    StakeTable::from(&stakes)
}

/// An id like no other.
fn id(kind: u8, height: u64, attempt: u64) -> AtomId {
    let [height, attempt] = [height, attempt].map(u64::to_be_bytes);
    AtomId::new(hash(&[&[kind][..], &height, &attempt].concat()))
}

/// The draws of a height by its seed.
fn draw(stakes: &StakeTable, seed: AtomId) -> Draw {
    match Draw::new(stakes, seed) {
        Ok(draw) => draw,
        Err(error) => panic!("{error}"),
    }
}

/// Whether the small stake has the first slot of this height.
fn has_first_slot(stakes: &StakeTable, seeds: &ElectionSeeds, height: u64) -> bool {
    let seed = seeds.slot_seed(height);
    seed.is_some_and(|seed| draw(stakes, seed).next_validator() == SMALL)
}
