//! Random numbers of leader election, compatible with Python's `random.Random`.

use crate::atom::AtomId;
use crate::integer::Natural;
use alloc::vec::Vec;
use rand_mt::Mt;

/// Returns the generator as Python seeds it with the big-endian integer of 32 bytes: with its
/// 32-bit words, lowest first, without zero words at the high end.
pub(super) fn seeded(seed: AtomId) -> Mt {
    let (words, _) = seed.as_bytes().as_chunks::<4>();
    let significant = words.iter().position(|word| *word != [0; 4]);
    let start = significant.unwrap_or(words.len().saturating_sub(1));
    let words = words.get(start..).unwrap_or_default();
    Mt::new_with_key(words.iter().rev().map(|word| u32::from_be_bytes(*word)))
}

/// Returns a number below `bound`, as Python's `randrange`: draws as many bits as the bound has
/// until the number is below it.
pub(super) fn below(random: &mut Mt, bound: u128) -> u128 {
    let bits = u128::BITS - bound.leading_zeros();
    loop {
        let value = random_bits(random, bits);
        if value < bound {
            return value;
        }
    }
}

/// Returns random bits, as Python's `getrandbits`: words of 32 bits, lowest first; the last one
/// contributes its high bits.
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

/// Returns a number below a `bound` of any size, as [`below`].
pub(super) fn below_natural(random: &mut Mt, bound: &Natural) -> Natural {
    if let Some(bound) = bound.to_u128() {
        return Natural::new(below(random, bound));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Draws like [`below_natural`], without its shortcut.
    fn by_words(random: &mut Mt, bound: &Natural) -> Natural {
        loop {
            let mut bits = bound.bit_length();
            let mut words = Vec::new();
            while bits > 0 {
                let word = random.next_u32();
                words.push(word >> (32 - bits.min(32)));
                bits = bits.saturating_sub(32);
            }
            let value = Natural::from_words_le(words);
            if value < *bound {
                return value;
            }
        }
    }

    proptest! {
        #[test]
        fn small_and_large_bounds_give_the_same_numbers(bound in 1..u128::MAX, seed: u32) {
            let (mut small, mut large) = (Mt::new(seed), Mt::new(seed));
            let bound = bound >> (seed % 128);
            let bound = bound.max(1);
            for _ in 0..3 {
                let value = below_natural(&mut small, &bound.into());
                prop_assert_eq!(by_words(&mut large, &bound.into()), value.clone());
                prop_assert!(value < Natural::new(bound));
            }
        }
    }
}
