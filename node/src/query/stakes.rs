//! Queries of validators, their stakes and their slots.

use super::{QueryError, account};
use astreum_core::atom::{AtomId, AtomSource};
use astreum_core::chain::{Address, Block, Election, SLOT_SECONDS, TREASURY, slot_of};
use astreum_core::integer::Natural;
use astreum_core::trie;
use core::cmp::Reverse;
use core::convert::Infallible;
use serde::{Deserialize, Serialize};

/// Validator and its stake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stake {
    /// Key of the validator.
    pub validator: Address,
    /// Amount at stake.
    pub stake: Natural,
    /// Share of all stakes in millionths, rounded down.
    pub share_ppm: u64,
}

/// Slot: two seconds in which one validator may make the next block.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Slot {
    /// First second of the slot, since 1970.
    pub from: Natural,
    /// Last second of the slot.
    pub to: Natural,
    /// Validator of the slot.
    pub validator: Address,
}

/// Returns the stake of this account.
///
/// # Errors
/// Fails if an atom is missing, or the stake is not a number.
pub fn stake<S>(source: &S, accounts: AtomId, address: &Address) -> Result<Natural, QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let Some((_, treasury)) = account(source, accounts, &TREASURY)? else {
        return Ok(Natural::ZERO);
    };
    let Some(value) = trie::get(source, treasury.data, address.as_bytes())? else {
        return Ok(Natural::ZERO);
    };
    Natural::from_bytes_le(&value)
        .map_err(|error| QueryError::Malformed(format!("malformed stake of {address}: {error}")))
}

/// Returns all validators, the largest stake first, and the next `count` slots after `head` from
/// `now` on, assuming that no block is made meanwhile. `election` is the election of `head`.
#[must_use]
pub fn schedule(
    election: &Election,
    head: &Block,
    now: &Natural,
    count: usize,
) -> (Vec<Stake>, Vec<Slot>) {
    let stakes = &election.stakes;
    let share = |stake: &Natural| {
        let parts = stake * &Natural::from(1_000_000_u32);
        parts
            .checked_div(stakes.total())
            .and_then(|share| share.to_u64())
    };
    let mut sorted: Vec<Stake> = stakes
        .iter()
        .map(|(validator, stake)| Stake {
            validator: *validator,
            stake: stake.clone(),
            share_ppm: share(stake).unwrap_or_default(),
        })
        .collect();
    sorted.sort_by_cached_key(|stake| Reverse(stake.stake.clone()));
    // Without stakes, or years after the last block, there are no slots.
    let (Ok(mut draw), Ok(first)) = (election.schedule(), slot_of(&head.timestamp, now)) else {
        return (sorted, Vec::new());
    };
    let seconds = Natural::from(SLOT_SECONDS);
    let slots = (first..).take(count).map_while(|number| {
        let to = &head.timestamp + &(&Natural::from(number) * &seconds);
        Some(Slot {
            from: to.saturating_sub(&Natural::from(SLOT_SECONDS - 1)),
            to,
            validator: draw.validator_of(number)?,
        })
    });
    let slots = slots.collect();
    (sorted, slots)
}
