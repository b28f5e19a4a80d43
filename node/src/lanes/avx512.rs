//! 16 lanes of 32 bits: AVX-512F.

use super::{IV, SCHEDULE, flags, gathered, transposed};
use core::arch::x86_64::{__m512i, _mm512_add_epi32, _mm512_ror_epi32, _mm512_xor_si512};

const LANES: usize = 16;

/// Hashes one message in each lane; all have this number of blocks.
#[target_feature(enable = "avx512f")]
pub(super) fn hash(lanes: &[&[u8]; LANES], blocks: usize) -> [[u8; 32]; LANES] {
    let mut chain = IV.map(splat);
    for block in 0..blocks {
        let (words, lens) = transposed(lanes, block);
        let words = words.map(vector);
        let mut v = [splat(0); 16];
        for (to, from) in v.iter_mut().zip(chain.iter().chain(&IV.map(splat)[..4])) {
            *to = *from;
        }
        // The counter of the only chunk is zero.
        v[14] = vector(lens);
        v[15] = splat(flags(block, blocks));
        for order in &SCHEDULE {
            round(&mut v, &words, order);
        }
        let (low, high) = v.split_at(8);
        for (to, (a, b)) in chain.iter_mut().zip(low.iter().zip(high)) {
            *to = _mm512_xor_si512(*a, *b);
        }
    }
    gathered(&chain.map(array))
}

#[inline]
#[target_feature(enable = "avx512f")]
#[expect(
    clippy::indexing_slicing,
    reason = "the schedule's numbers are below 16"
)]
fn round(v: &mut [__m512i; 16], words: &[__m512i; 16], order: &[usize; 16]) {
    mix::<0, 4, 8, 12>(v, words[order[0]], words[order[1]]);
    mix::<1, 5, 9, 13>(v, words[order[2]], words[order[3]]);
    mix::<2, 6, 10, 14>(v, words[order[4]], words[order[5]]);
    mix::<3, 7, 11, 15>(v, words[order[6]], words[order[7]]);
    mix::<0, 5, 10, 15>(v, words[order[8]], words[order[9]]);
    mix::<1, 6, 11, 12>(v, words[order[10]], words[order[11]]);
    mix::<2, 7, 8, 13>(v, words[order[12]], words[order[13]]);
    mix::<3, 4, 9, 14>(v, words[order[14]], words[order[15]]);
}

#[inline]
#[target_feature(enable = "avx512f")]
#[expect(
    clippy::indexing_slicing,
    reason = "the callers' constants are below 16"
)]
fn mix<const A: usize, const B: usize, const C: usize, const D: usize>(
    v: &mut [__m512i; 16],
    x: __m512i,
    y: __m512i,
) {
    v[A] = _mm512_add_epi32(v[A], _mm512_add_epi32(v[B], x));
    v[D] = rotate::<16>(_mm512_xor_si512(v[D], v[A]));
    v[C] = _mm512_add_epi32(v[C], v[D]);
    v[B] = rotate::<12>(_mm512_xor_si512(v[B], v[C]));
    v[A] = _mm512_add_epi32(v[A], _mm512_add_epi32(v[B], y));
    v[D] = rotate::<8>(_mm512_xor_si512(v[D], v[A]));
    v[C] = _mm512_add_epi32(v[C], v[D]);
    v[B] = rotate::<7>(_mm512_xor_si512(v[B], v[C]));
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rotate<const BITS: i32>(v: __m512i) -> __m512i {
    _mm512_ror_epi32::<BITS>(v)
}

#[inline]
fn splat(word: u32) -> __m512i {
    vector([word; LANES])
}

#[inline]
fn vector(words: [u32; LANES]) -> __m512i {
    bytemuck::cast(words)
}

#[inline]
fn array(v: __m512i) -> [u32; LANES] {
    bytemuck::cast(v)
}
