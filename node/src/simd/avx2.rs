//! Eight lanes of 32 bits: AVX2.

use super::kernel::{
    BLOCK_BYTES, CHUNK_END, CHUNK_START, IV, MIXED, ROOT, SCHEDULE, WHOLE, flags, kernel,
};
use astreum_core::atom::{AtomId, AtomKind};
use astreum_core::trie::{
    ABSENT_CHILD_HASH, EMPTY_KEY_HASH, EMPTY_VALUE_ID, HashInput, NodeInput, TYPE_HASH,
};
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_blendv_epi8, _mm256_or_si256, _mm256_permute2x128_si256,
    _mm256_slli_epi32, _mm256_srli_epi32, _mm256_unpackhi_epi32, _mm256_unpackhi_epi64,
    _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

const LANES: usize = 8;
type Vector = __m256i;

kernel!("avx2");

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: Vector, b: Vector) -> Vector {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate_right<const BITS: i32>(v: Vector) -> Vector {
    let right = match BITS {
        16 => _mm256_srli_epi32::<16>(v),
        12 => _mm256_srli_epi32::<12>(v),
        8 => _mm256_srli_epi32::<8>(v),
        _ => _mm256_srli_epi32::<7>(v),
    };
    let left = match BITS {
        16 => _mm256_slli_epi32::<16>(v),
        12 => _mm256_slli_epi32::<20>(v),
        8 => _mm256_slli_epi32::<24>(v),
        _ => _mm256_slli_epi32::<25>(v),
    };
    _mm256_or_si256(left, right)
}

/// Returns the low three bytes of `word`, preceded by the highest byte of `before`.
#[inline]
#[target_feature(enable = "avx2")]
fn shifted_in(word: Vector, before: Vector) -> Vector {
    _mm256_or_si256(
        _mm256_slli_epi32::<8>(word),
        _mm256_srli_epi32::<24>(before),
    )
}

/// Returns `yes` in lanes where `mask` is all ones, `no` where it is zero.
#[inline]
#[target_feature(enable = "avx2")]
fn select(mask: Vector, yes: Vector, no: Vector) -> Vector {
    _mm256_blendv_epi8(no, yes, mask)
}

/// Returns the blocks by columns: each vector holds one word of every lane's block.
#[inline]
#[target_feature(enable = "avx2")]
fn columns(blocks: &[[u8; BLOCK_BYTES]; LANES]) -> [Vector; 16] {
    let (mut low, mut high) = ([splat(0); 8], [splat(0); 8]);
    for ((block, low), high) in blocks.iter().zip(&mut low).zip(&mut high) {
        [*low, *high] = bytemuck::cast(*block);
    }
    let [a, b, c, d, e, f, g, h] = transposed(&low);
    let [i, j, k, l, m, n, o, p] = transposed(&high);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// Returns the hash of each lane, given its words by columns.
#[inline]
#[target_feature(enable = "avx2")]
fn rows(words: &Hashes) -> [[u8; 32]; LANES] {
    bytemuck::cast(transposed(words))
}

/// Transposes 8 × 8 words: pairs of words, then pairs of those, then halves of a register.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: &[Vector; 8]) -> [Vector; 8] {
    let [r0, r1, r2, r3, r4, r5, r6, r7] = *rows;
    let [a0, a1, a2, a3] = quads([r0, r1, r2, r3]);
    let [b0, b1, b2, b3] = quads([r4, r5, r6, r7]);
    [
        _mm256_permute2x128_si256::<0x20>(a0, b0),
        _mm256_permute2x128_si256::<0x20>(a1, b1),
        _mm256_permute2x128_si256::<0x20>(a2, b2),
        _mm256_permute2x128_si256::<0x20>(a3, b3),
        _mm256_permute2x128_si256::<0x31>(a0, b0),
        _mm256_permute2x128_si256::<0x31>(a1, b1),
        _mm256_permute2x128_si256::<0x31>(a2, b2),
        _mm256_permute2x128_si256::<0x31>(a3, b3),
    ]
}

/// Transposes 4 × 4 words in each half of the four registers.
#[inline]
#[target_feature(enable = "avx2")]
fn quads([a, b, c, d]: [Vector; 4]) -> [Vector; 4] {
    let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab_low, cd_low),
        _mm256_unpackhi_epi64(ab_low, cd_low),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ]
}
