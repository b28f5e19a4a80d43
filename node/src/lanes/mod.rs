//! BLAKE3 of many short messages side by side, one message in each lane of a vector register.
//!
//! `blake3` itself hashes one long message with many lanes; a trie has many messages of one or two
//! blocks instead. [`Lanes`] hashes sixteen of them at a time with AVX-512, eight with AVX2, and
//! one after the other where the processor has neither.
//!
//! # Safety
//! The only `unsafe` is the call of a function that is compiled for a processor feature. It is made
//! when `std` has seen the feature on this processor, which is checked once, in [`Lanes::new`].
//!
//! The tests compare every width with the scalar twin, [`Scalar`].

#![cfg_attr(
    target_arch = "x86_64",
    allow(unsafe_code, reason = "see Safety above")
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use astreum_core::trie::{BatchHasher, Scalar};

/// A chunk: longer messages are left to `blake3`.
const MAX_MESSAGE_BYTES: usize = 1_024;
const BLOCK_BYTES: usize = 64;

/// First words of a hash's state.
const IV: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];
const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const ROOT: u32 = 8;

/// Which word of the message each step of each round takes.
const SCHEDULE: [[usize; 16]; 7] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8],
    [3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1],
    [10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6],
    [12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4],
    [9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7],
    [11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13],
];

/// How many lanes this processor has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Width {
    One,
    #[cfg(target_arch = "x86_64")]
    Eight,
    #[cfg(target_arch = "x86_64")]
    Sixteen,
}

/// Hashes as many messages at a time as this processor can.
#[derive(Clone, Debug)]
pub struct Lanes {
    width: Width,
    /// Indexes of the messages of one batch, by their number of blocks.
    by_blocks: Vec<Vec<usize>>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new()
    }
}

impl Lanes {
    /// Looks at what the processor can do.
    #[must_use]
    pub fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::with_width(Width::Sixteen);
            }
            if is_x86_feature_detected!("avx2") {
                return Self::with_width(Width::Eight);
            }
        }
        Self::with_width(Width::One)
    }

    const fn with_width(width: Width) -> Self {
        Self {
            width,
            by_blocks: Vec::new(),
        }
    }

    /// How many messages are hashed side by side.
    #[must_use]
    pub const fn width(&self) -> usize {
        match self.width {
            Width::One => 1,
            #[cfg(target_arch = "x86_64")]
            Width::Eight => 8,
            #[cfg(target_arch = "x86_64")]
            Width::Sixteen => 16,
        }
    }
}

impl BatchHasher for Lanes {
    fn hash_many(&mut self, messages: &[&[u8]], out: &mut [[u8; 32]]) {
        match self.width {
            Width::One => Scalar.hash_many(messages, out),
            #[cfg(target_arch = "x86_64")]
            Width::Eight => self.in_groups::<8>(messages, out, |lanes, blocks| {
                // SAFETY: `Width::Eight` is only set where the processor has AVX2.
                // JUSTIFICATION: a function for a processor feature cannot be called otherwise.
                unsafe { avx2::hash(lanes, blocks) }
            }),
            #[cfg(target_arch = "x86_64")]
            Width::Sixteen => self.in_groups::<16>(messages, out, |lanes, blocks| {
                // SAFETY: `Width::Sixteen` is only set where the processor has AVX-512F.
                // JUSTIFICATION: as above.
                unsafe { avx512::hash(lanes, blocks) }
            }),
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes {
    /// Hands messages with the same number of blocks to `hash`, `N` at a time, and what is left
    /// over with empty lanes; single messages and long ones to the scalar twin.
    fn in_groups<const N: usize>(
        &mut self,
        messages: &[&[u8]],
        out: &mut [[u8; 32]],
        hash: impl Fn(&[&[u8]; N], usize) -> [[u8; 32]; N],
    ) {
        // Ids are all of one length: nothing to sort, and the groups lie side by side.
        let blocks = messages.first().map_or(0, |message| block_count(message));
        if messages.len() >= N
            && blocks * BLOCK_BYTES <= MAX_MESSAGE_BYTES
            && messages
                .iter()
                .all(|message| block_count(message) == blocks)
        {
            let (groups, rest) = messages.as_chunks::<N>();
            let (places, rest_places) = out.split_at_mut(out.len().min(groups.len() * N));
            for (group, place) in groups.iter().zip(places.as_chunks_mut::<N>().0) {
                *place = hash(group, blocks);
            }
            if !rest.is_empty() {
                self.in_groups(rest, rest_places, hash);
            }
            return;
        }
        self.by_blocks.iter_mut().for_each(Vec::clear);
        for (index, (message, place)) in messages.iter().zip(out.iter_mut()).enumerate() {
            if message.len() > MAX_MESSAGE_BYTES {
                *place = *blake3::hash(message).as_bytes();
                continue;
            }
            let blocks = block_count(message);
            if self.by_blocks.len() <= blocks {
                self.by_blocks.resize_with(blocks + 1, Vec::new);
            }
            if let Some(indexes) = self.by_blocks.get_mut(blocks) {
                indexes.push(index);
            }
        }
        for (blocks, indexes) in self.by_blocks.iter().enumerate() {
            for group in indexes.chunks(N) {
                if let [index] = group {
                    if let (Some(message), Some(place)) =
                        (messages.get(*index), out.get_mut(*index))
                    {
                        *place = *blake3::hash(message).as_bytes();
                    }
                    continue;
                }
                let mut lanes: [&[u8]; N] = [&[]; N];
                for (lane, index) in lanes.iter_mut().zip(group) {
                    *lane = messages.get(*index).copied().unwrap_or_default();
                }
                for (index, hash) in group.iter().zip(hash(&lanes, blocks)) {
                    if let Some(place) = out.get_mut(*index) {
                        *place = hash;
                    }
                }
            }
        }
    }
}

/// An empty message has one block, too.
#[cfg(target_arch = "x86_64")]
const fn block_count(message: &[u8]) -> usize {
    if message.is_empty() {
        1
    } else {
        message.len().div_ceil(BLOCK_BYTES)
    }
}

/// The words of the lanes' blocks with this index, word by word, and the blocks' lengths.
#[cfg(target_arch = "x86_64")]
#[inline]
fn transposed<const N: usize>(lanes: &[&[u8]; N], block: usize) -> ([[u32; N]; 16], [u32; N]) {
    let mut words = [[0; N]; 16];
    let mut lens = [0; N];
    for (lane, (message, len)) in lanes.iter().zip(&mut lens).enumerate() {
        let rest = message.get(block * BLOCK_BYTES..).unwrap_or_default();
        let mut padded = [0; BLOCK_BYTES];
        let bytes = rest.first_chunk::<BLOCK_BYTES>().unwrap_or_else(|| {
            for (to, from) in padded.iter_mut().zip(rest) {
                *to = *from;
            }
            &padded
        });
        for (row, word) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
            if let Some(place) = row.get_mut(lane) {
                *place = u32::from_le_bytes(*word);
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most 64")]
        let count = rest.len().min(BLOCK_BYTES) as u32;
        *len = count;
    }
    (words, lens)
}

/// The flags of one block of a message of so many.
#[cfg(target_arch = "x86_64")]
const fn flags(block: usize, blocks: usize) -> u32 {
    let start = if block == 0 { CHUNK_START } else { 0 };
    let end = if block + 1 == blocks {
        CHUNK_END | ROOT
    } else {
        0
    };
    start | end
}

/// Hashes from the lanes' state words.
#[cfg(target_arch = "x86_64")]
#[inline]
fn gathered<const N: usize>(state: &[[u32; N]; 8]) -> [[u8; 32]; N] {
    let mut hashes = [[0; 32]; N];
    for (lane, hash) in hashes.iter_mut().enumerate() {
        for (bytes, row) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
            *bytes = row.get(lane).copied().unwrap_or_default().to_le_bytes();
        }
    }
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_agrees_with_the_scalar_twin() {
        let data: Vec<u8> = (0..2_100_u32).map(|i| (i * 31 % 251) as u8).collect();
        let lens: Vec<usize> = (0..=130)
            .chain([191, 192, 193, 1_023, 1_024, 1_025, 2_048])
            .collect();
        let mut messages: Vec<&[u8]> = Vec::new();
        for (start, len) in lens.iter().cycle().take(600).enumerate() {
            messages.push(&data[start % 50..start % 50 + len]);
        }
        let mut expected = vec![[0; 32]; messages.len()];
        Scalar.hash_many(&messages, &mut expected);
        let detected = Lanes::new().width;
        let mut widths = vec![Width::One, detected];
        #[cfg(target_arch = "x86_64")]
        if detected == Width::Sixteen {
            widths.push(Width::Eight);
        }
        for width in widths {
            let mut lanes = Lanes::with_width(width);
            for count in [0, 1, 2, 7, 8, 9, 15, 16, 17, 33, messages.len()] {
                let mut hashes = vec![[0; 32]; count];
                lanes.hash_many(&messages[..count], &mut hashes);
                assert_eq!(hashes, expected[..count], "{width:?}, {count} messages");
            }
        }
    }
}
