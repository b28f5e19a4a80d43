//! SIMD hashing: BLAKE3 of many short messages at once, one message per lane of a vector register.
//!
//! The `blake3` crate hashes one long message with many lanes; a trie has many messages of one or
//! two blocks instead. [`Lanes`] hashes sixteen of them at a time with AVX-512F, eight with AVX2,
//! and one at a time if the processor has neither.
//!
//! # Safety
//! The only `unsafe` is the call of a function that is compiled for a processor feature. Such a
//! call is made only if `std` has detected the feature on this processor, once, in [`Lanes::new`].
//!
//! The tests compare every width with the scalar implementation, [`Scalar`].

#![cfg_attr(
    target_arch = "x86_64",
    allow(unsafe_code, reason = "see Safety above")
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod kernel;

use astreum_core::atom::AtomId;
use astreum_core::trie::{BatchHasher, NodeIds, NodeInput, Scalar};
#[cfg(target_arch = "x86_64")]
use kernel::BLOCK_BYTES;

/// Maximum length of a message for the lanes, in bytes: one BLAKE3 chunk. Longer messages are
/// hashed by the `blake3` crate.
#[cfg(target_arch = "x86_64")]
const MAX_MESSAGE_BYTES: usize = 1_024;
/// Limit on the length of values for the lanes, in bytes: from here on a length does not fit into
/// the three bytes that the lanes have for it.
#[cfg(target_arch = "x86_64")]
const MAX_VALUE_BYTES: usize = 1 << 24;

/// Number of lanes in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Width {
    One,
    #[cfg(target_arch = "x86_64")]
    Eight,
    #[cfg(target_arch = "x86_64")]
    Sixteen,
}

/// Hasher that uses as many lanes as this processor has.
#[derive(Clone, Debug)]
pub struct Lanes {
    width: Width,
    /// Indexes of the messages of one batch, by number of blocks.
    by_blocks: Vec<Vec<usize>>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new()
    }
}

impl Lanes {
    /// Creates a hasher of the largest width that the processor supports.
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

    /// Returns the number of messages that are hashed at once.
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
                // SAFETY: `Width::Eight` is only set if the processor has AVX2.
                // JUSTIFICATION: a function for a processor feature cannot be called otherwise.
                unsafe { avx2::hash(lanes, blocks) }
            }),
            #[cfg(target_arch = "x86_64")]
            Width::Sixteen => self.in_groups::<16>(messages, out, |lanes, blocks| {
                // SAFETY: `Width::Sixteen` is only set if the processor has AVX-512F.
                // JUSTIFICATION: as above.
                unsafe { avx512::hash(lanes, blocks) }
            }),
        }
    }

    fn node_ids(&mut self, nodes: &[NodeInput], out: &mut [NodeIds]) {
        match self.width {
            Width::One => Scalar.node_ids(nodes, out),
            #[cfg(target_arch = "x86_64")]
            Width::Eight => nodes_in_groups::<8>(nodes, out, |lanes| {
                // SAFETY: `Width::Eight` is only set if the processor has AVX2.
                // JUSTIFICATION: as above.
                unsafe { avx2::node_ids(lanes) }
            }),
            #[cfg(target_arch = "x86_64")]
            Width::Sixteen => nodes_in_groups::<16>(nodes, out, |lanes| {
                // SAFETY: `Width::Sixteen` is only set if the processor has AVX-512F.
                // JUSTIFICATION: as above.
                unsafe { avx512::node_ids(lanes) }
            }),
        }
    }

    fn root_ids(&mut self, nodes: &[NodeInput], out: &mut [AtomId]) {
        match self.width {
            Width::One => Scalar.root_ids(nodes, out),
            #[cfg(target_arch = "x86_64")]
            Width::Eight => roots_in_groups::<8>(nodes, out, |lanes| {
                // SAFETY: `Width::Eight` is only set if the processor has AVX2.
                // JUSTIFICATION: as above.
                unsafe { avx2::root_ids(lanes) }
            }),
            #[cfg(target_arch = "x86_64")]
            Width::Sixteen => roots_in_groups::<16>(nodes, out, |lanes| {
                // SAFETY: `Width::Sixteen` is only set if the processor has AVX-512F.
                // JUSTIFICATION: as above.
                unsafe { avx512::root_ids(lanes) }
            }),
        }
    }
}

/// Passes nodes to `ids`, `N` at a time; in the last group, the first node fills the free lanes.
/// Groups that the lanes do not support go to the scalar implementation.
#[cfg(target_arch = "x86_64")]
fn nodes_in_groups<const N: usize>(
    nodes: &[NodeInput],
    out: &mut [NodeIds],
    ids: impl Fn(&[&NodeInput; N]) -> [[[u8; 32]; N]; 5],
) {
    for (nodes, out) in nodes.chunks(N).zip(out.chunks_mut(N)) {
        let Some(lanes) = lanes_of(nodes) else {
            Scalar.node_ids(nodes, out);
            continue;
        };
        for (place, ids) in ids(&lanes).iter().enumerate() {
            for (node_ids, id) in out.iter_mut().zip(ids) {
                if let Some(slot) = node_ids.get_mut(place) {
                    *slot = AtomId::new(*id);
                }
            }
        }
    }
}

/// Like [`nodes_in_groups`], for the last id of each node only.
#[cfg(target_arch = "x86_64")]
fn roots_in_groups<const N: usize>(
    nodes: &[NodeInput],
    out: &mut [AtomId],
    ids: impl Fn(&[&NodeInput; N]) -> [[u8; 32]; N],
) {
    for (nodes, out) in nodes.chunks(N).zip(out.chunks_mut(N)) {
        let Some(lanes) = lanes_of(nodes) else {
            Scalar.root_ids(nodes, out);
            continue;
        };
        for (slot, id) in out.iter_mut().zip(ids(&lanes)) {
            *slot = AtomId::new(id);
        }
    }
}

/// Assigns one node to each lane; the first node fills free lanes. Returns `None` for a single
/// node, and if a value is too long for the lanes.
#[cfg(target_arch = "x86_64")]
fn lanes_of<const N: usize>(nodes: &[NodeInput]) -> Option<[&NodeInput; N]> {
    let [first, _, ..] = nodes else {
        return None;
    };
    if nodes.iter().any(|node| node.value.len >= MAX_VALUE_BYTES) {
        return None;
    }
    let mut lanes = [first; N];
    for (lane, node) in lanes.iter_mut().zip(nodes) {
        *lane = node;
    }
    Some(lanes)
}

#[cfg(target_arch = "x86_64")]
impl Lanes {
    /// Passes messages with the same number of blocks to `hash`, `N` at a time, the last group with
    /// empty lanes. Single messages and long ones are hashed by the `blake3` crate.
    fn in_groups<const N: usize>(
        &mut self,
        messages: &[&[u8]],
        out: &mut [[u8; 32]],
        hash: impl Fn(&[&[u8]; N], usize) -> [[u8; 32]; N],
    ) {
        // Fast path for messages of equal block count, such as ids: no grouping is needed.
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

/// Returns the number of blocks of a message; an empty message has one block, too.
#[cfg(target_arch = "x86_64")]
const fn block_count(message: &[u8]) -> usize {
    if message.is_empty() {
        1
    } else {
        message.len().div_ceil(BLOCK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::trie::HashInput;

    /// Returns all widths that this processor supports.
    fn widths() -> Vec<Width> {
        let detected = Lanes::new().width;
        let mut widths = vec![Width::One, detected];
        #[cfg(target_arch = "x86_64")]
        if detected == Width::Sixteen {
            widths.push(Width::Eight);
        }
        widths
    }

    /// Returns data of this length, or its hash if it does not fit into a block.
    fn input(seed: usize, len: usize) -> HashInput {
        let data: Vec<u8> = (0..=250).cycle().skip(seed).take(len).collect();
        let hash = *blake3::hash(&data).as_bytes();
        let held = if len > 64 { &hash[..] } else { &data };
        let mut input = HashInput {
            len,
            ..HashInput::EMPTY
        };
        input.block[..held.len()].copy_from_slice(held);
        input
    }

    #[test]
    fn node_ids_equal_those_of_the_scalar_implementation() {
        let child = |seed: usize, is_there| {
            let hash = *blake3::hash(&seed.to_le_bytes()).as_bytes();
            if is_there {
                AtomId::new(hash)
            } else {
                AtomId::ZERO
            }
        };
        let node = |seed: usize, children: usize, key, value| NodeInput {
            children: [
                child(seed, children & 1 > 0),
                child(seed + 1, children & 2 > 0),
            ],
            // A key atom of two bytes means that there are no bits.
            key: if key == 2 {
                NodeInput::EMPTY.key
            } else {
                input(seed, key)
            },
            value: input(seed + 7, value),
        };
        let leaf = |seed| node(seed, 0, 32, 32);
        let inner = |seed| node(seed, 3, 2, 0);
        let mixed = |seed: usize| {
            let lens = [0, 1, 31, 32, 33, 63, 64, 65, 1_000, 1 << 16];
            node(seed, seed % 4, 2 + seed * 7 % 90, lens[seed % 10])
        };
        let long = |seed| node(seed, 0, 66, 65);
        let huge = |seed| {
            // Only the scalar implementation supports such lengths; the hash stands for the data.
            let mut node = node(seed, 0, 3, 65);
            node.value.len = (1 << 24) + seed % 2 - 1;
            node
        };
        for width in widths() {
            let mut lanes = Lanes::with_width(width);
            for count in [0, 1, 2, 7, 8, 9, 15, 16, 17, 33, 100] {
                let kinds: [&dyn Fn(usize) -> NodeInput; 5] = [&leaf, &inner, &mixed, &long, &huge];
                for (kind, make) in kinds.iter().enumerate() {
                    let nodes: Vec<NodeInput> = (0..count).map(make).collect();
                    let mut expected = vec![NodeIds::default(); count];
                    Scalar.node_ids(&nodes, &mut expected);
                    let mut ids = vec![NodeIds::default(); count];
                    lanes.node_ids(&nodes, &mut ids);
                    assert_eq!(ids, expected, "{width:?}, {count} nodes of kind {kind}");
                    let mut roots = vec![AtomId::ZERO; count];
                    lanes.root_ids(&nodes, &mut roots);
                    let expected: Vec<AtomId> = expected.iter().map(|ids| ids[4]).collect();
                    assert_eq!(roots, expected, "{width:?}, {count} nodes of kind {kind}");
                }
            }
        }
    }

    #[test]
    fn every_width_matches_the_scalar_implementation() {
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
        for width in widths() {
            let mut lanes = Lanes::with_width(width);
            for count in [0, 1, 2, 7, 8, 9, 15, 16, 17, 33, messages.len()] {
                let mut hashes = vec![[0; 32]; count];
                lanes.hash_many(&messages[..count], &mut hashes);
                assert_eq!(hashes, expected[..count], "{width:?}, {count} messages");
            }
        }
    }
}
