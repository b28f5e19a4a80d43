//! Bit strings, most significant bit first, that may start anywhere in a byte.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// Run of bits inside a byte slice.
///
/// Two runs compare byte by byte if both start at the same offset in their byte. Therefore
/// [`BitBuf`]s are aligned to the depth of their bits in a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    start: usize,
    len: usize,
}

impl<'a> Bits<'a> {
    /// Returns all bits of `bytes`.
    pub(crate) const fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            start: 0,
            len: bytes.len() * 8,
        }
    }

    /// Returns `len` bits of `bytes` from bit `start` on, or fewer if `bytes` is shorter.
    pub(crate) fn new(bytes: &'a [u8], start: usize, len: usize) -> Self {
        let available = (bytes.len() * 8).saturating_sub(start);
        Self {
            bytes,
            start,
            len: len.min(available),
        }
    }

    pub(crate) const fn len(self) -> usize {
        self.len
    }

    /// Returns the run without its first `count` bits.
    pub(crate) fn skip(self, count: usize) -> Self {
        let count = count.min(self.len);
        Self {
            bytes: self.bytes,
            start: self.start + count,
            len: self.len - count,
        }
    }

    /// Returns the first `count` bits.
    pub(crate) fn take(self, count: usize) -> Self {
        Self {
            len: self.len.min(count),
            ..self
        }
    }

    /// Returns the bit at `index`, or `None` past the end.
    pub(crate) fn bit(self, index: usize) -> Option<bool> {
        if index >= self.len {
            return None;
        }
        let at = self.start + index;
        self.bytes
            .get(at / 8)
            .map(|byte| byte >> (7 - at % 8) & 1 == 1)
    }

    /// Returns the eight bits from `index` on, zeros past the end.
    fn octet(self, index: usize) -> u8 {
        let at = self.start + index;
        let byte = |i: usize| self.bytes.get(i).copied().unwrap_or(0);
        let pair = u16::from_be_bytes([byte(at / 8), byte(at / 8 + 1)]) << (at % 8);
        let [octet, _] = pair.to_be_bytes();
        let left = self.len.saturating_sub(index);
        if left >= 8 {
            octet
        } else {
            octet & !(0xff_u8.checked_shr(left_u32(left)).unwrap_or(0))
        }
    }

    /// Returns the number of leading bits that both have in common.
    pub(crate) fn common_len(self, other: Self) -> usize {
        let max = self.len.min(other.len);
        let mut index = 0;
        if self.start % 8 == other.start % 8 {
            // Whole bytes compare as slices after the first, partial one.
            let lead = (8 - self.start % 8) % 8;
            if max > lead + 8 {
                let difference = self.octet(0) ^ other.octet(0);
                let same = difference.leading_zeros() as usize;
                if same < 8 {
                    return same.min(max);
                }
                let whole = (max - lead) / 8;
                let left = self.whole_bytes(lead, whole);
                let right = other.whole_bytes(lead, whole);
                let equal = left.iter().zip(right).take_while(|(a, b)| a == b).count();
                index = lead + equal * 8;
            }
        }
        while index < max {
            let difference = self.octet(index) ^ other.octet(index);
            let same = difference.leading_zeros() as usize;
            if same < 8 {
                return (index + same).min(max);
            }
            index += 8;
        }
        max
    }

    /// Returns `count` bytes from bit `lead` on, which is the first bit of a byte.
    fn whole_bytes(self, lead: usize, count: usize) -> &'a [u8] {
        let first = (self.start + lead) / 8;
        self.bytes.get(first..first + count).unwrap_or_default()
    }

    /// Compares in key order: bit by bit, with a prefix before its extensions.
    pub(crate) fn order(self, other: Self) -> Ordering {
        let common = self.common_len(other);
        match (self.bit(common), other.bit(common)) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => self.len.cmp(&other.len),
        }
    }

    /// Appends the bits left-aligned, zero-padded to whole bytes.
    pub(crate) fn write_aligned(self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.len.div_ceil(8), 0);
        if let Some(place) = out.get_mut(start..) {
            self.copy_aligned(place);
        }
    }

    /// Returns up to 256 bits, followed by zeros, if the buffer has 33 bytes to read them from.
    /// Same result as [`Bits::copy_aligned`], but without a branch.
    #[inline]
    pub(crate) fn aligned(self) -> Option<[u8; 32]> {
        let (first, shift) = (self.start / 8, self.start % 8);
        let bytes = self.bytes.get(first..)?.first_chunk::<33>()?;
        if self.len > 256 {
            return None;
        }
        let mut out = [0; 32];
        let (words, next) = (bytes.as_chunks().0, bytes.get(8..)?.iter().step_by(8));
        let places = out.as_chunks_mut().0.iter_mut().zip((0..).step_by(64));
        for (((place, index), word), next) in places.zip(words).zip(next) {
            let word = u64::from_be_bytes(*word) << shift | u64::from(*next) >> (8 - shift);
            let left = self.len.saturating_sub(index).min(64);
            let word = word & !u64::MAX.checked_shr(left_u32(left)).unwrap_or(0);
            *place = word.to_be_bytes();
        }
        Some(out)
    }

    /// Writes the bits to the start of `out`, zero-padded to whole words of 8 bytes.
    pub(crate) fn copy_aligned(self, out: &mut [u8]) {
        // Eight bytes at a time, each with the bits that reach into it from the ninth byte.
        let (first, shift) = (self.start / 8, self.start % 8);
        for (place, index) in out.chunks_mut(8).zip((0..self.len).step_by(64)) {
            let whole = self
                .bytes
                .get(first + index / 8..)
                .and_then(|bytes| bytes.split_first_chunk::<8>());
            let word = match whole {
                Some((word, [next, ..])) => {
                    let word = u64::from_be_bytes(*word) << shift;
                    let word = word | u64::from(*next) >> (8 - shift);
                    // Clear the bits that follow the run.
                    let left = self.len - index;
                    word & !u64::MAX.checked_shr(left_u32(left.min(64))).unwrap_or(0)
                }
                _ => u64::from_be_bytes(core::array::from_fn(|i| self.octet(index + i * 8))),
            };
            let bytes = word.to_be_bytes();
            match place.first_chunk_mut::<8>() {
                Some(place) => *place = bytes,
                None => place
                    .iter_mut()
                    .zip(bytes)
                    .for_each(|(to, from)| *to = from),
            }
        }
    }

    /// Returns the data of the key atom of a node with these bits.
    pub(super) fn to_atom_data(self) -> Vec<u8> {
        let mut data = Vec::with_capacity(2 + self.len.div_ceil(8));
        // The bits of a path are at most 65,528.
        let bit_count = u16::try_from(self.len).unwrap_or(u16::MAX);
        data.extend_from_slice(&bit_count.to_be_bytes());
        self.write_aligned(&mut data);
        data
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the callers pass at most 64"
)]
const fn left_u32(left: usize) -> u32 {
    left as u32
}

/// Growable bit string: the path from the root to the current position of a traversal.
#[derive(Clone, Debug, Default)]
pub(crate) struct BitBuf {
    bytes: Vec<u8>,
    len: usize,
}

impl BitBuf {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_bits(&self) -> Bits<'_> {
        Bits {
            bytes: &self.bytes,
            start: 0,
            len: self.len,
        }
    }

    /// Returns the bytes; the bits past the end are zero.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes all bits after the first `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.len = len;
        self.bytes.truncate(len.div_ceil(8));
        if !len.is_multiple_of(8)
            && let Some(last) = self.bytes.last_mut()
        {
            *last &= !(0xff >> (len % 8));
        }
    }

    pub(crate) fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if bit && let Some(last) = self.bytes.last_mut() {
            *last |= 0x80 >> (self.len % 8);
        }
        self.len += 1;
    }

    pub(crate) fn extend(&mut self, bits: Bits<'_>) {
        if self.len.is_multiple_of(8) {
            bits.write_aligned(&mut self.bytes);
            self.len += bits.len();
            return;
        }
        let used = self.len % 8;
        let mut index = 0;
        while index < bits.len() {
            let octet = bits.octet(index);
            let count = (bits.len() - index).min(8);
            if let Some(last) = self.bytes.last_mut() {
                *last |= octet >> used;
            }
            if used + count > 8 {
                self.bytes.push(octet << (8 - used));
            } else if used + count == 8 {
                // The byte is full; the next one is added by the next iteration or push.
                self.len += count;
                index += count;
                self.extend(bits.skip(index));
                return;
            }
            self.len += count;
            index += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(bits: Bits<'_>) -> Vec<bool> {
        (0..bits.len())
            .filter_map(|index| bits.bit(index))
            .collect()
    }

    proptest! {
        #[test]
        fn bit_slices_match_vectors_of_bits(
            a in proptest::collection::vec(any::<u8>(), 0..8),
            b in proptest::collection::vec(any::<u8>(), 0..8),
            starts in (0..20usize, 0..20usize), lens in (0..70usize, 0..70usize),
        ) {
            let left = Bits::new(&a, starts.0, lens.0);
            let right = Bits::new(&b, starts.1, lens.1);
            let (l, r) = (naive(left), naive(right));
            let common = l.iter().zip(&r).take_while(|(x, y)| x == y).count();
            prop_assert_eq!(left.common_len(right), common);
            prop_assert_eq!(left.order(right), l.cmp(&r));
            let mut aligned = Vec::new();
            left.write_aligned(&mut aligned);
            prop_assert_eq!(naive(Bits::new(&aligned, 0, left.len())), l.clone());
            prop_assert_eq!(aligned.len(), l.len().div_ceil(8));
            let behind: Vec<u8> = a.iter().copied().chain([0xff; 40]).collect();
            aligned.resize(32, 0);
            prop_assert_eq!(&Bits::new(&behind, starts.0, left.len()).aligned().unwrap()[..], aligned);
            let mut buf = BitBuf::default();
            buf.extend(right);
            buf.push(true);
            buf.extend(left);
            let mut all = r.clone();
            all.push(true);
            all.extend(&l);
            prop_assert_eq!(naive(buf.as_bits()), all);
            buf.truncate(r.len());
            prop_assert_eq!(naive(buf.as_bits()), r);
            buf.extend(left);
            prop_assert_eq!(buf.len(), right.len() + left.len());
        }

        #[test]
        fn equal_keys_have_their_full_length_in_common(key in proptest::collection::vec(any::<u8>(), 0..40), start in 0..30usize) {
            let other = key.clone();
            let left = Bits::of(&key).skip(start);
            prop_assert_eq!(left.common_len(Bits::of(&other).skip(start)), left.len());
        }
    }
}
