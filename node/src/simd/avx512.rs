//! Sixteen lanes of 32 bits: AVX-512F.

use super::kernel::{
    BLOCK_BYTES, CHUNK_END, CHUNK_START, IV, MIXED, ROOT, SCHEDULE, WHOLE, flags, kernel,
};
use astreum_core::atom::{AtomId, AtomKind};
use astreum_core::trie::{
    ABSENT_CHILD_HASH, EMPTY_KEY_HASH, EMPTY_VALUE_ID, HashInput, NodeInput, TYPE_HASH,
};
use core::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_or_si512, _mm512_ror_epi32, _mm512_shuffle_i32x4,
    _mm512_slli_epi32, _mm512_srli_epi32, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

const LANES: usize = 16;
type Vector = __m512i;

kernel!("avx512f");

#[inline]
#[target_feature(enable = "avx512f")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor(a: Vector, b: Vector) -> Vector {
    _mm512_xor_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rotate_right<const BITS: i32>(v: Vector) -> Vector {
    _mm512_ror_epi32::<BITS>(v)
}

/// Returns the low three bytes of `word`, preceded by the highest byte of `before`.
#[inline]
#[target_feature(enable = "avx512f")]
fn shifted_in(word: Vector, before: Vector) -> Vector {
    _mm512_or_si512(
        _mm512_slli_epi32::<8>(word),
        _mm512_srli_epi32::<24>(before),
    )
}

/// Returns the bits of `yes` where `mask` is one, the bits of `no` where it is zero.
#[inline]
#[target_feature(enable = "avx512f")]
fn select(mask: Vector, yes: Vector, no: Vector) -> Vector {
    // Truth table of `mask ? yes : no`.
    _mm512_ternarylogic_epi32::<0xca>(mask, yes, no)
}

/// Returns the blocks by columns: each vector holds one word of every lane's block.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns(blocks: &[[u8; BLOCK_BYTES]; LANES]) -> [Vector; 16] {
    transposed(bytemuck::cast(*blocks))
}

/// Returns the hash of each lane, given its words by columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn rows(words: &Hashes) -> [[u8; 32]; LANES] {
    let mut state = [splat(0); 16];
    for (to, from) in state.iter_mut().zip(words) {
        *to = *from;
    }
    let rows: [[[u8; 32]; 2]; LANES] = bytemuck::cast(transposed(state));
    rows.map(|[hash, _]| hash)
}

/// Transposes 16 × 16 words: pairs of words, then pairs of those, then quarters of a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [Vector; 16]) -> [Vector; 16] {
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

/// Transposes 4 × 4 words in each quarter of the four registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn quads([a, b, c, d]: [Vector; 4]) -> [Vector; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Returns the first quarters of the four registers, then the second quarters, and so on.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters([a, b, c, d]: [Vector; 4]) -> [Vector; 4] {
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
