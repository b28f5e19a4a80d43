//! Gain of a small stake from choosing (grinding) the ids of its blocks.
//!
//! The product's own [`ElectionSeeds`] and [`ProposerSchedule`] decide every slot. Ids are
//! synthetic, because the id of a block is effectively random to all but its producer, which may
//! take the best of many.
//!
//! - [`grinding`]: on the public chain, with every slot used. Only the producer of the last block
//!   of an epoch chooses among seeds, because later ids change the effect of an earlier choice.
//! - [`private_branch`]: on a private branch, where every id is its own once two epochs have
//!   passed, and where it waits for its slots.
//!
//! `cargo run --release -p astreum-tests --bin election` prints the results for 100,000 slots.

mod grinding;
mod private_branch;

pub use grinding::{Grinding, Seeding, grinding};
pub use private_branch::{PrivateBranch, private_branch};

use astreum_core::atom::AtomId;
use astreum_core::chain::{Address, ElectionSeeds, ProposerSchedule, StakeTable, Stakes};
use astreum_core::crypto::hash;
use astreum_core::integer::Natural;

/// Address of the small stake, in the middle of the others.
pub const SMALL: Address = Address::new([0x80; 32]);

/// Returns the stakes of an election: [`SMALL`] has one thousandth of the stake, the others have
/// equal shares.
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

/// Returns an id that is unique for these arguments.
fn id(kind: u8, height: u64, attempt: u64) -> AtomId {
    let [height, attempt] = [height, attempt].map(u64::to_be_bytes);
    AtomId::new(hash(&[&[kind][..], &height, &attempt].concat()))
}

/// Creates the leader election of a height from its seed.
fn draw(stakes: &StakeTable, seed: AtomId) -> ProposerSchedule {
    match ProposerSchedule::new(stakes, seed) {
        Ok(draw) => draw,
        Err(error) => panic!("{error}"),
    }
}

/// Returns whether the small stake has the first slot of this height.
fn has_first_slot(stakes: &StakeTable, seeds: &ElectionSeeds, height: u64) -> bool {
    let seed = seeds.slot_seed(height);
    seed.is_some_and(|seed| draw(stakes, seed).next_validator() == SMALL)
}
