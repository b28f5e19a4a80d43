//! Who validates, and when.

use super::{QueryError, account};
use astreum_core::atom::{AtomId, AtomSource};
use astreum_core::chain::{Address, Block, Draw, SLOT_SECONDS, TREASURY, read_stakes, slot_of};
use astreum_core::integer::Natural;
use astreum_core::trie;
use core::cmp::Reverse;
use core::convert::Infallible;

/// A validator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stake {
    /// Its key.
    pub validator: Address,
    /// What it has at stake.
    pub stake: Natural,
    /// Its part of all stakes in millionths, rounded down.
    pub share_ppm: u64,
}

/// Two seconds in which one validator may make the next block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its first second, since 1970.
    pub from: Natural,
    /// Its last.
    pub to: Natural,
    /// Whose it is.
    pub validator: Address,
}

/// What this account has at stake.
///
/// # Errors
/// When an atom is missing, or the stake is no number.
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
        .map_err(|error| QueryError::Malformed(format!("the stake of {address}: {error}")))
}

/// Everybody with a stake, the largest first, and whose the next `count` slots after `head` are
/// from `now` on, as long as nobody makes a block.
///
/// # Errors
/// When an atom is missing, or the stakes are none.
pub fn schedule<S>(
    source: &S,
    head: &Block,
    now: &Natural,
    count: usize,
) -> Result<(Vec<Stake>, Vec<Slot>), QueryError>
where
    S: AtomSource<Error = Infallible> + ?Sized,
{
    let stakes = read_stakes(source, head.accounts)?;
    let total: Natural = stakes.values().sum();
    let share = |stake: &Natural| {
        let parts = stake * &Natural::from(1_000_000_u32);
        parts.checked_div(&total).and_then(|share| share.to_u64())
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
    // Without stakes, or after years without a block, there is nobody to draw.
    let draw = Draw::new(&stakes, head.id());
    let (Ok(mut draw), Ok(first)) = (draw, slot_of(&head.timestamp, now)) else {
        return Ok((sorted, Vec::new()));
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
    Ok((sorted, slots))
}
