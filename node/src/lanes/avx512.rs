//! 16 lanes of 32 bits: AVX-512F.

use super::{BLOCK_BYTES, IV, SCHEDULE, flags};
use core::arch::x86_64::{
    __m128i, __m512i, _mm256_set_m128i, _mm512_add_epi32, _mm512_inserti64x4, _mm512_ror_epi32,
    _mm512_shuffle_i32x4, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_si512, _mm512_zextsi256_si512,
};

const LANES: usize = 16;

/// Hashes one message in each lane; all have this number of blocks.
#[target_feature(enable = "avx512f")]
pub(super) fn hash(lanes: &[&[u8]; LANES], blocks: usize) -> [[u8; 32]; LANES] {
    let mut chain = IV.map(splat);
    for block in 0..blocks {
        let (words, lens) = words(lanes, block);
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
    let mut state = [splat(0); 16];
    for (to, from) in state.iter_mut().zip(chain) {
        *to = from;
    }
    transpose(state).map(|row| {
        let bytes: [u8; BLOCK_BYTES] = bytemuck::cast(row);
        // A row begins with the eight words of its lane.
        bytes.first_chunk().copied().unwrap_or([0; 32])
    })
}

/// The words of the lanes' blocks with this index, word by word, and the blocks' lengths.
#[inline]
#[target_feature(enable = "avx512f")]
fn words(lanes: &[&[u8]; LANES], block: usize) -> ([__m512i; 16], [u32; LANES]) {
    let mut rows = [splat(0); LANES];
    let mut lens = [0; LANES];
    for ((message, row), len) in lanes.iter().zip(&mut rows).zip(&mut lens) {
        let rest = message.get(block * BLOCK_BYTES..).unwrap_or_default();
        *row = match rest.first_chunk::<BLOCK_BYTES>() {
            Some(bytes) => bytemuck::cast(*bytes),
            None => partial(message, rest),
        };
        *len = u32::try_from(rest.len().min(BLOCK_BYTES)).unwrap_or_default();
    }
    (transpose(rows), lens)
}

/// The last block of `message`, `rest`, followed by zeros. Without a detour through memory, which
/// would cost as much as the hash: what is written in pieces is slow to read as a whole.
#[inline]
#[target_feature(enable = "avx512f")]
fn partial(message: &[u8], rest: &[u8]) -> __m512i {
    let (quarters, tail) = rest.as_chunks::<16>();
    let quarter = |at: usize| {
        let whole = quarters.get(at).map(|bytes| bytemuck::cast(*bytes));
        whole.unwrap_or_else(|| {
            let empty = at > quarters.len();
            short(message, if empty { &[] } else { tail })
        })
    };
    let low = _mm256_set_m128i(quarter(1), quarter(0));
    if rest.len() <= 32 {
        return _mm512_zextsi256_si512(low);
    }
    let high = _mm256_set_m128i(quarter(3), quarter(2));
    _mm512_inserti64x4::<1>(_mm512_zextsi256_si512(low), high)
}

/// The last bytes of `message`, `tail`, at most 15, followed by zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn short(message: &[u8], tail: &[u8]) -> __m128i {
    let Some(last) = message.last_chunk::<8>().filter(|_| !tail.is_empty()) else {
        let mut padded = [0; 16];
        for (to, from) in padded.iter_mut().zip(tail) {
            *to = *from;
        }
        return bytemuck::cast(padded);
    };
    // The last eight bytes of the message hold the end of the tail; the shift drops the others.
    let end = |len: usize| u64::from_le_bytes(*last) >> (8 * (8 - len));
    let [low, high] = match tail.split_first_chunk::<8>() {
        None => [end(tail.len()), 0],
        Some((first, [])) => [u64::from_le_bytes(*first), 0],
        Some((first, rest)) => [u64::from_le_bytes(*first), end(rest.len())],
    };
    bytemuck::cast([low, high])
}

/// Rows to columns, 16 words each: pairs of words, pairs of those, then quarters of a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let [
        r0,
        r1,
        r2,
        r3,
        r4,
        r5,
        r6,
        r7,
        r8,
        r9,
        ra,
        rb,
        rc,
        rd,
        re,
        rf,
    ] = rows;
    let [a0, a1, a2, a3] = quads([r0, r1, r2, r3]);
    let [b0, b1, b2, b3] = quads([r4, r5, r6, r7]);
    let [c0, c1, c2, c3] = quads([r8, r9, ra, rb]);
    let [d0, d1, d2, d3] = quads([rc, rd, re, rf]);
    let [w0, w4, w8, wc] = quarters([a0, b0, c0, d0]);
    let [w1, w5, w9, wd] = quarters([a1, b1, c1, d1]);
    let [w2, w6, wa, we] = quarters([a2, b2, c2, d2]);
    let [w3, w7, wb, wf] = quarters([a3, b3, c3, d3]);
    [
        w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, wa, wb, wc, wd, we, wf,
    ]
}

/// In each quarter of four registers, rows of four words to columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn quads([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The first quarters of four registers, the second ones, and so on.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_02, ab_13) = (
        _mm512_shuffle_i32x4::<0b10_00_10_00>(a, b),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b),
    );
    let (cd_02, cd_13) = (
        _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d),
    );
    [
        _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_02, cd_02),
        _mm512_shuffle_i32x4::<0b10_00_10_00>(ab_13, cd_13),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_02, cd_02),
        _mm512_shuffle_i32x4::<0b11_01_11_01>(ab_13, cd_13),
    ]
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
