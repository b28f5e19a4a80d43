//! Whose turn it is to make a block.
//!
//! Time is cut into slots of two seconds, counted from a block. Each slot draws one validator, with
//! chances in proportion to the stakes, and halves the stake that won (rounded down, at least 1)
//! for the slots after it; the halves are forgotten with the draw. The generator is seeded with the
//! block's id, so everybody draws the same (source: the reference's `validation/validator.py`,
//! which draws with Python's `random.Random(int).randrange`).
//!
//! A slot costs a search among the stakes; once every stake is down to 1, which a few dozen slots
//! per validator achieve, the draws change nothing and only the generator runs, some nanoseconds a
//! slot. A block further than [`MAX_SLOTS`] from its parent is out of reach for everybody, so that
//! no timestamp makes a verifier count for long.

use super::account::{Account, Address};
use super::record::RecordError;
use super::{MAX_INTEGER_BYTES, SLOT_SECONDS, TREASURY};
use crate::atom::{AtomId, AtomSource};
use crate::integer::Natural;
use crate::trie;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use rand_mt::Mt;

/// The furthest slot from its parent that a block can have: more than four years.
pub const MAX_SLOTS: u64 = 1 << 26;

/// What each validator has at stake.
pub type Stakes = BTreeMap<Address, Natural>;

/// Why nobody can be drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SelectError {
    /// Nobody has anything at stake.
    NoStake,
    /// The slot lies more than [`MAX_SLOTS`] behind the block.
    TooFar {
        /// Which one it would be.
        slot: Natural,
    },
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStake => f.write_str("no validator has anything at stake"),
            Self::TooFar { slot } => write!(
                f,
                "slot {slot} is too far from the previous block, at most {MAX_SLOTS} are counted"
            ),
        }
    }
}

impl core::error::Error for SelectError {}

/// The stakes in the treasury of the accounts with this root. Stakes of 0 are left out.
///
/// A few dozen nodes can stand for 2^256 stakes if each has one child twice. Whoever has the secret
/// of a key has that of its negative as well, whose bytes differ in one bit, so two stakes can share
/// a node; three cannot, and then they are [no stakes](trie::sparse_entries).
///
/// # Errors
/// When an atom is missing, there is no treasury, or what it holds are no stakes.
pub fn read_stakes<S: AtomSource + ?Sized>(
    source: &S,
    accounts: AtomId,
) -> Result<Stakes, RecordError<S::Error>> {
    let malformed = |record, problem| RecordError::Malformed { record, problem };
    let treasury = Account::find(source, accounts, &TREASURY)?
        .ok_or_else(|| malformed(accounts, "the accounts have no treasury"))?;
    let mut stakes = Stakes::new();
    for entry in trie::sparse_entries(source, treasury.data) {
        let (key, value) = entry?;
        let key = Address::from_slice(&key)
            .ok_or_else(|| malformed(treasury.data, "a stake's owner does not have 32 bytes"))?;
        if value.len() > MAX_INTEGER_BYTES {
            return Err(malformed(treasury.data, "a stake has more than 256 bytes"));
        }
        let stake = Natural::from_bytes_le(&value)
            .map_err(|_| malformed(treasury.data, "a stake is not an integer in shortest form"))?;
        if !stake.is_zero() {
            stakes.insert(key, stake);
        }
    }
    Ok(stakes)
}

/// The slot of a block of this time after one of the previous time: the first is 1.
///
/// # Errors
/// When it is further than [`MAX_SLOTS`].
pub fn slot_of(previous_timestamp: &Natural, timestamp: &Natural) -> Result<u64, SelectError> {
    let gap = timestamp.saturating_sub(previous_timestamp);
    let seconds = Natural::from(SLOT_SECONDS);
    let slot = gap.div_ceil(&seconds).unwrap_or_default();
    match slot.to_u64() {
        Some(slot) if slot <= MAX_SLOTS => Ok(slot.max(1)),
        _ => Err(SelectError::TooFar { slot }),
    }
}

/// The validator of a block of this time after the previous one; `stakes` are those that the
/// previous block left.
///
/// # Errors
/// When nobody has a stake, or the time is too far from the previous one.
pub fn validator_at(
    stakes: &Stakes,
    previous: AtomId,
    previous_timestamp: &Natural,
    timestamp: &Natural,
) -> Result<Address, SelectError> {
    let slot = slot_of(previous_timestamp, timestamp)?;
    Draw::new(stakes, previous)?
        .validator_of(slot)
        .ok_or(SelectError::NoStake)
}

/// The validators of the slots after one block, drawn in turn.
///
/// It keeps where it is: going on from a slot costs only the slots in between.
#[derive(Clone, Debug)]
pub struct Draw {
    random: Mt,
    /// Who has something at stake, ascending.
    validators: Vec<Address>,
    stakes: Sums,
    /// How many slots have been drawn.
    slot: u64,
    winner: Address,
}

impl Draw {
    /// Before the first slot after the block `previous`.
    ///
    /// # Errors
    /// When nobody has anything at stake.
    pub fn new(stakes: &Stakes, previous: AtomId) -> Result<Self, SelectError> {
        let (validators, weights): (Vec<Address>, Vec<Natural>) = stakes
            .iter()
            .filter(|(_, stake)| !stake.is_zero())
            .map(|(validator, stake)| (*validator, stake.clone()))
            .unzip();
        let winner = *validators.first().ok_or(SelectError::NoStake)?;
        Ok(Self {
            random: seeded(previous),
            validators,
            stakes: Sums::of(weights),
            slot: 0,
            winner,
        })
    }

    /// How many slots have been drawn.
    #[must_use]
    pub const fn slot(&self) -> u64 {
        self.slot
    }

    /// Draws the next slot's validator.
    pub fn next_validator(&mut self) -> Address {
        let index = self.stakes.draw(&mut self.random);
        self.slot = self.slot.saturating_add(1);
        if let Some(validator) = self.validators.get(index) {
            self.winner = *validator;
        }
        self.winner
    }

    /// The validator of this slot, which must not lie before the one that was drawn last.
    ///
    /// Takes as long as the slots in between: check the slot against [`MAX_SLOTS`] first.
    pub fn validator_of(&mut self, slot: u64) -> Option<Address> {
        while self.slot < slot {
            if let Some(total) = self.stakes.settled(self.validators.len()) {
                // Nothing changes any more; only the last draw matters.
                for _ in self.slot..slot.saturating_sub(1) {
                    below(&mut self.random, total);
                }
                self.slot = slot.saturating_sub(1).max(self.slot);
            }
            self.next_validator();
        }
        (self.slot == slot && slot > 0).then_some(self.winner)
    }
}

/// The generator as Python seeds it with the block's id as a big-endian integer: by its 32-bit
/// words, lowest first, without zero words at the high end.
fn seeded(block: AtomId) -> Mt {
    let (words, _) = block.as_bytes().as_chunks::<4>();
    let significant = words.iter().position(|word| *word != [0; 4]);
    let start = significant.unwrap_or(words.len().saturating_sub(1));
    let words = words.get(start..).unwrap_or_default();
    Mt::new_with_key(words.iter().rev().map(|word| u32::from_be_bytes(*word)))
}

/// As Python's `randrange`: as many random bits as the bound has, until they are below it.
fn below(random: &mut Mt, bound: u128) -> u128 {
    let bits = u128::BITS - bound.leading_zeros();
    loop {
        let value = random_bits(random, bits);
        if value < bound {
            return value;
        }
    }
}

/// As Python's `getrandbits`: words of 32 bits, lowest first; the last one gives its high bits.
fn random_bits(random: &mut Mt, bits: u32) -> u128 {
    let mut value = 0;
    let mut done = 0;
    while done < bits {
        let word = random.next_u32();
        let wanted = (bits - done).min(32);
        value |= u128::from(word >> (32 - wanted)) << done;
        done += wanted;
    }
    value
}

/// [`below`] for bounds of any size.
fn below_natural(random: &mut Mt, bound: &Natural) -> Natural {
    loop {
        let mut bits = bound.bit_length();
        let mut words = Vec::new();
        while bits > 0 {
            let word = random.next_u32();
            let unwanted = 32 - u32::try_from(bits.min(32)).unwrap_or(32);
            words.push(word >> unwanted);
            bits = bits.saturating_sub(32);
        }
        let value = Natural::from_words_le(words);
        if value < *bound {
            return value;
        }
    }
}

/// Stakes that can be drawn from, in the numbers that hold their sum.
#[derive(Clone, Debug)]
enum Sums {
    Small(Fenwick<u128>),
    Large(Fenwick<Natural>),
}

impl Sums {
    fn of(weights: Vec<Natural>) -> Self {
        let total: Natural = weights.iter().sum();
        let small: Option<Vec<u128>> = weights.iter().map(Natural::to_u128).collect();
        match small {
            Some(small) if total.to_u128().is_some() => Self::Small(Fenwick::new(small)),
            _ => Self::Large(Fenwick::new(weights)),
        }
    }

    /// Draws an index and halves the stake there.
    fn draw(&mut self, random: &mut Mt) -> usize {
        match self {
            Self::Small(sums) => {
                let choice = below(random, sums.total);
                let index = sums.find(choice);
                let stake = sums.weight(index);
                sums.take(index, stake - (stake / 2).max(1));
                index
            }
            Self::Large(sums) => {
                let choice = below_natural(random, &sums.total);
                let index = sums.find(choice);
                let stake = sums.weight(index);
                let rest = stake.half().max(Natural::ONE);
                sums.take(index, stake.saturating_sub(&rest));
                if sums.total.to_u128().is_some() {
                    *self = Self::of(sums.weights.clone());
                }
                index
            }
        }
    }

    /// The sum of the stakes when all `count` of them are 1, so that no draw changes one.
    fn settled(&self, count: usize) -> Option<u128> {
        match self {
            Self::Small(sums) if Ok(sums.total) == u128::try_from(count) => Some(sums.total),
            _ => None,
        }
    }
}

/// Numbers that a sum of some can be taken from.
trait Weight: Clone + Ord + Default {
    fn add(&mut self, other: &Self);
    /// Takes `other`, which is not greater, away.
    fn sub(&mut self, other: &Self);
}

impl Weight for u128 {
    fn add(&mut self, other: &Self) {
        *self += other;
    }

    fn sub(&mut self, other: &Self) {
        *self -= other;
    }
}

impl Weight for Natural {
    fn add(&mut self, other: &Self) {
        *self += other;
    }

    fn sub(&mut self, other: &Self) {
        *self = self.saturating_sub(other);
    }
}

/// Sums of ranges in a binary indexed tree: finding the place of a draw and changing a weight take
/// as many steps as the number of weights has bits.
#[derive(Clone, Debug)]
struct Fenwick<W> {
    weights: Vec<W>,
    /// `sums[i]` is the sum of the `lowest set bit of i` weights before index `i`; `sums[0]` is 0.
    sums: Vec<W>,
    total: W,
}

impl<W: Weight> Fenwick<W> {
    fn new(weights: Vec<W>) -> Self {
        let mut sums = vec![W::default(); 1];
        sums.extend_from_slice(&weights);
        for index in 1..sums.len() {
            let sum = sums.get(index).cloned().unwrap_or_default();
            if let Some(parent) = sums.get_mut(index + lowest_bit(index)) {
                parent.add(&sum);
            }
        }
        let mut total = W::default();
        for weight in &weights {
            total.add(weight);
        }
        Self {
            weights,
            sums,
            total,
        }
    }

    fn weight(&self, index: usize) -> W {
        self.weights.get(index).cloned().unwrap_or_default()
    }

    /// The first index whose weight reaches past `choice`, counted from the start.
    fn find(&self, mut choice: W) -> usize {
        let mut index = 0;
        let mut step = self.sums.len().next_power_of_two();
        while step > 0 {
            if let Some(sum) = self.sums.get(index + step)
                && *sum <= choice
            {
                index += step;
                choice.sub(sum);
            }
            step /= 2;
        }
        index
    }

    fn take(&mut self, index: usize, amount: W) {
        self.total.sub(&amount);
        if let Some(weight) = self.weights.get_mut(index) {
            weight.sub(&amount);
        }
        let mut place = index + 1;
        while let Some(sum) = self.sums.get_mut(place) {
            sum.sub(&amount);
            place += lowest_bit(place);
        }
    }
}

const fn lowest_bit(index: usize) -> usize {
    index & index.wrapping_neg()
}

#[cfg(test)]
mod tests;
