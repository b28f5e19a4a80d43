//! Words of the stack machine: byte strings, stored inline up to 32 bytes.
//!
//! Layout of a short word: its bytes are right-aligned in four limbs, least significant limb first,
//! padded with leading zeros. Therefore `nand` is four limb operations, addition of numbers of up
//! to eight bytes is one, and two short words are equal if their lengths and limbs are.

use crate::arc::Arc;
use crate::atom::AtomId;
use crate::expr::Bytes;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Maximum size of a word that is stored inline, in bytes.
pub(super) const SHORT_BYTES: usize = 32;
/// Size of a limb, in bytes.
const LIMB_BYTES: usize = 8;

type Limbs = [u64; SHORT_BYTES / LIMB_BYTES];

/// Byte string.
#[derive(Debug)]
pub(super) enum Word {
    /// Up to 32 bytes. Bytes beyond the length are zero.
    Short {
        len: u8,
        /// Heap slot that the running program assigned to this key, starting at 1; 0 if unknown.
        slot: u8,
        limbs: Limbs,
    },
    /// More than 32 bytes.
    Long(Arc<[u8]>),
}

impl Word {
    pub(super) const EMPTY: Self = Self::short(0, [0; 4]);

    #[inline]
    const fn short(len: u8, limbs: Limbs) -> Self {
        Self::Short {
            len,
            slot: 0,
            limbs,
        }
    }

    /// Creates a copy of `bytes`.
    #[inline]
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self::from_short(bytes).unwrap_or_else(|| Self::Long(bytes.into()))
    }

    /// Creates a copy of `bytes` if they are short enough to be stored inline.
    #[inline]
    pub(super) fn from_short(bytes: &[u8]) -> Option<Self> {
        let len = u8::try_from(bytes.len()).ok()?;
        if bytes.len() <= LIMB_BYTES {
            let word = bytes
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte));
            return Some(Self::short(len, [word, 0, 0, 0]));
        }
        let mut padded = [0; SHORT_BYTES];
        let start = SHORT_BYTES.checked_sub(bytes.len())?;
        padded.get_mut(start..)?.copy_from_slice(bytes);
        Some(Self::short(len, limbs_of(&padded)))
    }

    /// Creates a word from an expression's bytes; long bytes stay shared.
    #[inline]
    pub(super) fn from_bytes(bytes: &Bytes) -> Self {
        Self::from_short(bytes).unwrap_or_else(|| Self::Long(bytes.to_shared()))
    }

    #[inline]
    pub(super) fn from_id(id: &AtomId) -> Self {
        Self::short(32, limbs_of(id.as_bytes()))
    }

    /// Returns the length, in bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Short { len, .. } => usize::from(*len),
            Self::Long(bytes) => bytes.len(),
        }
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::Short { len: 0, .. })
    }

    /// Returns the number of bytes stored outside the word itself.
    #[inline]
    pub(super) fn outside_bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long(bytes) => bytes.len(),
        }
    }

    /// Returns the same word marked as the key of this slot.
    pub(super) fn with_slot(mut self, index: u8) -> Self {
        if let Self::Short { slot, .. } = &mut self {
            *slot = index;
        }
        self
    }

    /// Returns the heap slot that the running program assigned to this key, if it is known.
    #[inline]
    pub(super) const fn slot(&self) -> Option<u8> {
        match self {
            Self::Short {
                slot: slot @ 1.., ..
            } => Some(*slot),
            _ => None,
        }
    }

    /// Calls `read` with the bytes of the word.
    #[inline]
    pub(super) fn with_bytes<T>(&self, read: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Short { len, limbs, .. } => {
                let padded = bytes_of(limbs);
                let start = SHORT_BYTES.saturating_sub(usize::from(*len));
                read(padded.get(start..).unwrap_or_default())
            }
            Self::Long(bytes) => read(bytes),
        }
    }

    /// Returns the bytes as shared data.
    pub(super) fn to_shared(&self) -> Arc<[u8]> {
        match self {
            Self::Short { .. } => self.with_bytes(|bytes| bytes.into()),
            Self::Long(bytes) => Arc::clone(bytes),
        }
    }

    /// Returns the bytes as those of an expression.
    #[inline]
    pub(super) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Short { .. } => self.with_bytes(Bytes::new),
            Self::Long(bytes) => Bytes::from(Arc::clone(bytes)),
        }
    }

    /// Returns the bytes as an atom id if there are exactly 32.
    pub(super) fn to_id(&self) -> Option<AtomId> {
        match self {
            Self::Short { len: 32, limbs, .. } => Some(AtomId::new(bytes_of(limbs))),
            _ => None,
        }
    }

    /// Returns the word as an index: a two's-complement number of any width. Returns `None` if it
    /// is negative, and the largest index if it is too large.
    #[inline]
    pub(super) fn to_index(&self) -> Option<usize> {
        if let Self::Short { len, limbs, .. } = self
            && usize::from(*len) <= LIMB_BYTES
        {
            let number = sign_extended(limbs[0], *len);
            return (number >= 0).then(|| usize::try_from(number).unwrap_or(usize::MAX));
        }
        self.with_bytes(|bytes| {
            let negative = bytes.first().is_some_and(|first| *first >= 0x80);
            let (high, low) = bytes.split_at(bytes.len().saturating_sub(LIMB_BYTES));
            if negative {
                None
            } else if high.iter().any(|byte| *byte != 0) {
                Some(usize::MAX)
            } else {
                let word = low
                    .iter()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte));
                Some(usize::try_from(word).unwrap_or(usize::MAX))
            }
        })
    }

    /// Adds a two's-complement number. The sum is as wide as the wider operand, or wider if it does
    /// not fit.
    #[inline]
    pub(super) fn add(&mut self, other: &Self) {
        if let (
            Self::Short { len, slot, limbs },
            Self::Short {
                len: other_len,
                limbs: other_limbs,
                ..
            },
        ) = (&mut *self, other)
        {
            let width = (*len).max(*other_len);
            let a = sign_extended(limbs[0], *len);
            let b = sign_extended(other_limbs[0], *other_len);
            if usize::from(width) <= LIMB_BYTES
                && let Some(sum) = a.checked_add(b)
            {
                // The other limbs are zero and stay so. Writing and reading a single limb prevents
                // a loop counter from waiting for its own stores.
                *len = width.max(signed_width(sum));
                *slot = 0;
                limbs[0] = sum.cast_unsigned() & word_mask(*len);
                return;
            }
        }
        self.combine_wide(other, add_bytes);
    }

    #[cold]
    fn combine_wide(&mut self, other: &Self, combine: fn(&[u8], &[u8]) -> Vec<u8>) {
        let combined = self.with_bytes(|a| other.with_bytes(|b| combine(a, b)));
        *self = Self::new(&combined);
    }

    /// Computes the bitwise not-and. The shorter operand is extended with zeros; the result is at
    /// least one byte.
    #[inline]
    pub(super) fn nand(&mut self, other: &Self) {
        if let (
            Self::Short { len, slot, limbs },
            Self::Short {
                len: other_len,
                limbs: other_limbs,
                ..
            },
        ) = (&mut *self, other)
        {
            *len = (*len).max(*other_len).max(1);
            *slot = 0;
            for (limb, other_limb) in limbs.iter_mut().zip(other_limbs) {
                *limb = !(*limb & other_limb);
            }
            if usize::from(*len) < SHORT_BYTES {
                mask(limbs, *len);
            }
        } else {
            self.combine_wide(other, nand_bytes);
        }
    }

    /// Returns a number below 64 that is the same for equal words.
    #[inline]
    pub(super) const fn residue(&self) -> u32 {
        match self {
            Self::Short { len, limbs, .. } => {
                let mixed = limbs[0].wrapping_add(*len as u64);
                (mixed % 64) as u32
            }
            Self::Long(_) => 0,
        }
    }
}

/// Copies limb by limb, in place: see [`Word::add`].
impl Clone for Word {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            Self::Short { len, slot, limbs } => Self::Short {
                len: *len,
                slot: *slot,
                limbs: *limbs,
            },
            Self::Long(bytes) => Self::Long(Arc::clone(bytes)),
        }
    }

    #[inline]
    fn clone_from(&mut self, source: &Self) {
        match (&mut *self, source) {
            (
                Self::Short { len, slot, limbs },
                Self::Short {
                    len: from_len,
                    slot: from_slot,
                    limbs: from_limbs,
                },
            ) => {
                *len = *from_len;
                *slot = *from_slot;
                if usize::from(*from_len) <= LIMB_BYTES {
                    limbs[0] = from_limbs[0];
                    (limbs[1], limbs[2], limbs[3]) = (0, 0, 0);
                } else {
                    *limbs = *from_limbs;
                }
            }
            _ => *self = source.clone(),
        }
    }
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Word {}

impl PartialOrd for Word {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Orders by length, then by the cheapest comparison: any total order is sufficient.
impl Ord for Word {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (
                Self::Short {
                    len: a_len,
                    limbs: a,
                    ..
                },
                Self::Short {
                    len: b_len,
                    limbs: b,
                    ..
                },
            ) => a_len.cmp(b_len).then_with(|| a.cmp(b)),
            (Self::Short { .. }, Self::Long(_)) => Ordering::Less,
            (Self::Long(_), Self::Short { .. }) => Ordering::Greater,
            (Self::Long(a), Self::Long(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        }
    }
}

#[inline]
fn limbs_of(bytes: &[u8; SHORT_BYTES]) -> Limbs {
    let (chunks, _) = bytes.as_chunks::<LIMB_BYTES>();
    let mut limbs = [0; 4];
    for (limb, chunk) in limbs.iter_mut().rev().zip(chunks) {
        *limb = u64::from_be_bytes(*chunk);
    }
    limbs
}

#[inline]
fn bytes_of(limbs: &Limbs) -> [u8; SHORT_BYTES] {
    let mut bytes = [0; SHORT_BYTES];
    let (chunks, _) = bytes.as_chunks_mut::<LIMB_BYTES>();
    for (limb, chunk) in limbs.iter().rev().zip(chunks) {
        *chunk = limb.to_be_bytes();
    }
    bytes
}

/// Returns the number encoded by the last `len` bytes of `word`; the bytes before them must be
/// zero.
#[inline]
const fn sign_extended(word: u64, len: u8) -> i64 {
    // For a length of 0 the word is zero, so it does not matter that a shift by 64 is one by 0.
    let shift = 64u32.wrapping_sub(8 * len as u32);
    word.wrapping_shl(shift).cast_signed().wrapping_shr(shift)
}

/// Returns the number of bytes that `number` needs, at least one.
#[inline]
const fn signed_width(number: i64) -> u8 {
    let magnitude = (number ^ (number >> 63)).cast_unsigned();
    // One bit more than the magnitude, rounded up to bytes.
    let width = (64 - magnitude.leading_zeros()) / 8 + 1;
    width.to_le_bytes()[0]
}

/// Returns a mask of the last `len` bytes, for lengths from 1 to 8.
#[inline]
const fn word_mask(len: u8) -> u64 {
    u64::MAX.wrapping_shr(64u32.wrapping_sub(8 * len as u32))
}

/// Clears all bytes before the last `len`.
#[inline]
fn mask(limbs: &mut Limbs, len: u8) {
    let mut left = len;
    for limb in limbs {
        match left {
            0 => *limb = 0,
            1..8 => *limb &= word_mask(left),
            _ => {}
        }
        left = left.saturating_sub(8);
    }
}

/// Returns the byte at `index`, counted from the least significant one; `fill` after the last.
fn digit(bytes: &[u8], index: usize, fill: u8) -> u8 {
    let from_start = bytes.len().checked_sub(index + 1);
    let byte = from_start.and_then(|at| bytes.get(at));
    byte.copied().unwrap_or(fill)
}

fn sign_byte(bytes: &[u8]) -> u8 {
    match bytes.first() {
        Some(0x80..) => 0xff,
        _ => 0,
    }
}

fn add_bytes(a: &[u8], b: &[u8]) -> Vec<u8> {
    let width = a.len().max(b.len());
    let mut sum = Vec::with_capacity(width + 1);
    let mut carry = false;
    let (a_sign, b_sign) = (sign_byte(a), sign_byte(b));
    // One digit more than the wider number has, so that the sum always fits.
    for index in 0..=width {
        let (a, b) = (digit(a, index, a_sign), digit(b, index, b_sign));
        let digit = u16::from(a) + u16::from(b) + u16::from(carry);
        carry = digit > 0xff;
        sum.push(digit.to_le_bytes()[0]);
    }
    // That digit stays only if the sum would change its sign without it.
    if let [.., next, last] = sum[..]
        && last == sign_byte(&[next])
    {
        sum.pop();
    }
    sum.reverse();
    sum
}

fn nand_bytes(a: &[u8], b: &[u8]) -> Vec<u8> {
    let width = a.len().max(b.len());
    let digits = (0..width).rev();
    digits
        .map(|index| !(digit(a, index, 0) & digit(b, index, 0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(value: &Word) -> Vec<u8> {
        value.with_bytes(<[u8]>::to_vec)
    }

    fn sum(a: &Word, b: &Word) -> Word {
        let mut value = a.clone();
        value.add(b);
        value
    }

    /// Generates lengths around the limits of a limb and of inline storage.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()];
        proptest::collection::vec(byte, 0..40)
    }

    #[test]
    fn word_size_is_40_bytes() {
        assert_eq!(size_of::<Word>(), 40);
    }

    #[test]
    fn sums_have_the_required_width() {
        let sum = |a: &[u8], b: &[u8]| bytes(&sum(&Word::new(a), &Word::new(b)));
        assert_eq!(sum(&[], &[]), [0]);
        assert_eq!(sum(&[0x7f], &[1]), [0, 0x80]);
        assert_eq!(sum(&[0x80], &[0xff]), [0xff, 0x7f]);
        assert_eq!(sum(&[0, 0, 1], &[0xff]), [0, 0, 0]);
        assert_eq!(sum(&[0x7f; 8], &[0x7f; 8])[0], 0);
        assert_eq!(sum(&[0x80, 0, 0, 0, 0, 0, 0, 0], &[0xff]).len(), 9);
        assert_eq!(sum(&[0x7f; 32], &[0x7f; 32]).len(), 33);
    }

    proptest! {
        #[test]
        fn words_round_trip(a in any_bytes()) {
            let value = Word::new(&a);
            prop_assert_eq!(value.len(), a.len());
            prop_assert_eq!(bytes(&value), a);
        }

        #[test]
        fn short_and_long_operations_agree(a in any_bytes(), b in any_bytes()) {
            let (x, y) = (Word::new(&a), Word::new(&b));
            prop_assert_eq!(bytes(&sum(&x, &y)), add_bytes(&a, &b));
            let mut nand = nand_bytes(&a, &b);
            if nand.is_empty() {
                nand.push(0xff);
            }
            let mut value = x.clone();
            value.nand(&y);
            prop_assert_eq!(bytes(&value), nand);
            prop_assert_eq!(value.clone(), value);
            prop_assert_eq!(x == y, a == b);
            prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse());
        }

        #[test]
        fn word_addition_matches_integer_addition(a in any::<i64>(), b in any::<i64>()) {
            let sum = bytes(&sum(&Word::new(&a.to_be_bytes()), &Word::new(&b.to_be_bytes())));
            let wide = (i128::from(a) + i128::from(b)).to_be_bytes();
            prop_assert_eq!(&wide[16 - sum.len()..], sum.as_slice());
            prop_assert!(wide[..16 - sum.len()].iter().all(|byte| *byte == sign_byte(&sum)));
        }

        #[test]
        fn indices_saturate(a in any_bytes()) {
            let value = Word::new(&a).to_index();
            if a.first().is_some_and(|first| *first >= 0x80) {
                prop_assert_eq!(value, None);
            } else {
                let number = a.iter().fold(0u128, |n, byte| n.saturating_mul(256).saturating_add((*byte).into()));
                prop_assert_eq!(value, Some(usize::try_from(number).unwrap_or(usize::MAX)));
            }
        }
    }
}
