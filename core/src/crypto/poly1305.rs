//! Poly1305 (RFC 8439), a one-time authenticator.
//!
//! Own code because of a figure: the `poly1305` crate detects AVX2 and then spends more than a
//! microsecond on preparing itself for long inputs, several times what sealing a whole datagram
//! takes here, and its portable half can only be had by flags for the whole build. The crate stays
//! as the oracle of the tests.
//!
//! Nothing branches on or indexes by a secret. Numbers are in limbs of 64 bits: the sum `h` in
//! three, always below 2^131 or so, the key `r` in two, with the bits that the clamp clears keeping
//! every product's sum within 128 bits.

use zeroize::Zeroize;

/// Bytes in a one-time key, in a block and in a tag.
const BLOCK_BYTES: usize = 16;

/// A sum that is under way.
pub(super) struct Poly1305 {
    r: [u64; 2],
    s: u128,
    h: [u64; 3],
}

impl Poly1305 {
    /// Starts with a key that must not be used for anything else.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let [r, s] = [0, BLOCK_BYTES].map(|at| {
            let half = key.get(at..).and_then(|half| half.first_chunk());
            half.copied().map_or(0, u128::from_le_bytes)
        });
        let r = r & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        Self {
            r: [low(r), high(r)],
            s,
            h: [0; 3],
        }
    }

    /// Adds `bytes`, padded with zeros to a whole number of blocks.
    pub(super) fn update_padded(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        for block in blocks {
            self.block(u128::from_le_bytes(*block));
        }
        if !rest.is_empty() {
            let mut block = [0; BLOCK_BYTES];
            for (to, from) in block.iter_mut().zip(rest) {
                *to = *from;
            }
            self.block(u128::from_le_bytes(block));
        }
    }

    /// Adds one block: `h = (h + block + 2^128) · r`, reduced in part.
    #[inline]
    pub(super) fn block(&mut self, block: u128) {
        let [r0, r1] = self.r;
        let [h0, h1, h2] = self.h;
        let (h0, carry) = h0.carrying_add(low(block), false);
        let (h1, carry) = h1.carrying_add(high(block), carry);
        // h2 was at most 4, so it stays tiny.
        let h2 = h2 + u64::from(carry) + 1;

        // r0 and r1 are below 2^60 and h2 below 8: no sum of two products passes 128 bits, and the
        // products with h2 stay within 64.
        let m0 = wide(h0, r0);
        let m1 = wide(h1, r0) + wide(h0, r1);
        let m2 = u128::from(h2 * r0) + wide(h1, r1);
        let m3 = h2 * r1;

        let t0 = low(m0);
        let (t1, carry) = low(m1).carrying_add(high(m0), false);
        let (t2, carry) = low(m2).carrying_add(high(m1), carry);
        let t3 = m3 + high(m2) + u64::from(carry);

        // What stands above 2^130, times 4 (upper bits as they are) and times 1 (shifted by two):
        // 2^130 is 5 modulo the prime.
        let above = u128::from(t2 & !3) | u128::from(t3) << 64;
        let quarter = above >> 2;
        let (h0, carry) = t0.carrying_add(low(above), false);
        let (h1, carry) = t1.carrying_add(high(above), carry);
        let h2 = (t2 & 3) + u64::from(carry);
        let (h0, carry) = h0.carrying_add(low(quarter), false);
        let (h1, carry) = h1.carrying_add(high(quarter), carry);
        self.h = [h0, h1, h2 + u64::from(carry)];
    }

    /// The tag: `h` modulo 2^130 - 5, plus the key's other half, modulo 2^128.
    pub(super) fn finish(self) -> [u8; BLOCK_BYTES] {
        let [h0, h1, h2] = self.h;
        // h - p; a borrow says that h was below p already. h is below 2p.
        let (g0, borrow) = h0.borrowing_sub(0xffff_ffff_ffff_fffb, false);
        let (g1, borrow) = h1.borrowing_sub(u64::MAX, borrow);
        let (_, borrow) = h2.borrowing_sub(3, borrow);
        // All ones to keep h, zero to take h - p.
        let keep = u64::from(borrow).wrapping_neg();
        let h0 = h0 & keep | g0 & !keep;
        let h1 = h1 & keep | g1 & !keep;
        let h = u128::from(h0) | u128::from(h1) << 64;
        h.wrapping_add(self.s).to_le_bytes()
    }
}

impl Drop for Poly1305 {
    fn drop(&mut self) {
        self.r.zeroize();
        self.s.zeroize();
        self.h.zeroize();
    }
}

const fn wide(a: u64, b: u64) -> u128 {
    a as u128 * b as u128
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn low(value: u128) -> u64 {
    value as u64
}

const fn high(value: u128) -> u64 {
    (value >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tests::hex;
    use ::poly1305::universal_hash::{KeyInit, UniversalHash};
    use proptest::prelude::*;

    fn tag(key: &[u8; 32], bytes: &[u8]) -> [u8; 16] {
        let mut sum = Poly1305::new(key);
        sum.update_padded(bytes);
        sum.finish()
    }

    /// RFC 8439, appendix A.3, the vectors with whole blocks: sums that carry, that are just below,
    /// at and above the prime.
    #[test]
    fn edges_of_the_field() {
        let key = |r: &str, s: &str| hex::<32>(&alloc::format!("{r}{s}"));
        const TWO: &str = "02000000000000000000000000000000";
        const ONE: &str = "01000000000000000000000000000000";
        const ZERO: &str = "00000000000000000000000000000000";
        const ONES: &str = "ffffffffffffffffffffffffffffffff";
        let bytes = |text: &[&str]| -> alloc::vec::Vec<u8> {
            text.iter().flat_map(|block| hex::<16>(block)).collect()
        };
        for (key, text, expected) in [
            (
                key(TWO, ZERO),
                bytes(&[ONES]),
                "03000000000000000000000000000000",
            ),
            (
                key(TWO, ONES),
                bytes(&[TWO]),
                "03000000000000000000000000000000",
            ),
            (
                key(ONE, ZERO),
                bytes(&[
                    ONES,
                    "f0ffffffffffffffffffffffffffffff",
                    "11000000000000000000000000000000",
                ]),
                "05000000000000000000000000000000",
            ),
            (
                key(ONE, ZERO),
                bytes(&[
                    ONES,
                    "fbfefefefefefefefefefefefefefefe",
                    "01010101010101010101010101010101",
                ]),
                ZERO,
            ),
            (
                key(TWO, ZERO),
                bytes(&["fdffffffffffffffffffffffffffffff"]),
                "faffffffffffffffffffffffffffffff",
            ),
        ] {
            assert_eq!(tag(&key, &text), hex(expected));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_library(
            key in any::<[u8; 32]>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            fill in proptest::option::of(proptest::sample::select(&[0u8, 0xff, 0xfe, 0xfb, 1])),
        ) {
            let mut bytes = bytes;
            if let Some(fill) = fill {
                // Long runs of extreme bytes, with few others, provoke carries.
                let skip = bytes.len() / 8;
                bytes.iter_mut().skip(skip).for_each(|byte| *byte = fill);
            }
            let mut library = ::poly1305::Poly1305::new(&key.into());
            library.update_padded(&bytes);
            let expected: [u8; 16] = library.finalize().into();
            prop_assert_eq!(tag(&key, &bytes), expected);
        }
    }
}
