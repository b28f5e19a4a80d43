//! Hashing interface of tries: many messages, and the atoms of many nodes, at a time.

use super::node::TYPE_NAME;
use crate::atom::{AtomId, AtomKind, id_preimage};
use alloc::vec::Vec;

/// Hash of the data of the first atom of every node.
pub const TYPE_HASH: [u8; 32] = [
    0xde, 0x0b, 0xb2, 0xc0, 0xef, 0x03, 0xe7, 0xee, 0x97, 0x0e, 0xa9, 0x48, 0xe0, 0x7b, 0x60, 0xcc,
    0xdf, 0x21, 0x61, 0x40, 0xe3, 0xec, 0x95, 0x39, 0xd4, 0x4d, 0x9a, 0xda, 0x0c, 0xa5, 0x0b, 0x9e,
];

/// Hash of the data of the atom of an absent child: 32 zero bytes.
pub const ABSENT_CHILD_HASH: [u8; 32] = [
    0x2a, 0xda, 0x83, 0xc1, 0x81, 0x9a, 0x53, 0x72, 0xda, 0xe1, 0x23, 0x8f, 0xc1, 0xde, 0xd1, 0x23,
    0xc8, 0x10, 0x4f, 0xda, 0xa1, 0x58, 0x62, 0xaa, 0xee, 0x69, 0x42, 0x8a, 0x18, 0x20, 0xfc, 0xda,
];

/// Hash of the data of the key atom of a node without bits: two zero bytes.
pub const EMPTY_KEY_HASH: [u8; 32] = [
    0x1a, 0xd4, 0x8f, 0x49, 0x62, 0x70, 0x79, 0xd8, 0x06, 0xb8, 0x02, 0xc7, 0x4f, 0x40, 0xc3, 0x9d,
    0x55, 0xfe, 0x1d, 0x78, 0xb3, 0xfa, 0xf0, 0xf8, 0x01, 0x7a, 0xec, 0x62, 0xce, 0xc4, 0x21, 0x22,
];

/// Id of the value atom of a node without a value.
pub const EMPTY_VALUE_ID: AtomId = AtomId::new([
    0xfd, 0xe1, 0x33, 0x35, 0x82, 0x35, 0xc1, 0xdf, 0x82, 0x5d, 0x7a, 0x21, 0x4e, 0xd6, 0x51, 0xd0,
    0x8c, 0x84, 0x3d, 0x70, 0xb1, 0xb5, 0x1b, 0x6d, 0x33, 0x03, 0x74, 0x34, 0x0d, 0xda, 0xfd, 0x01,
]);

/// Size of a BLAKE3 block, in bytes.
const BLOCK_BYTES: usize = 64;

/// Data of an atom, or its hash, as the input of an id.
#[derive(Clone, Copy, Debug)]
pub struct HashInput {
    /// The data followed by zeros; if it is longer than the block, its hash followed by zeros.
    pub block: [u8; BLOCK_BYTES],
    /// Length of the data, in bytes.
    pub len: usize,
}

impl HashInput {
    /// Empty data.
    pub const EMPTY: Self = Self {
        block: [0; BLOCK_BYTES],
        len: 0,
    };

    /// Returns whether the block contains the hash of the data instead of the data.
    #[must_use]
    pub const fn is_hashed(&self) -> bool {
        self.len > BLOCK_BYTES
    }

    /// Sets the input to `data`; if it is too long, [`HashInput::set_hash`] must follow.
    pub(super) fn set(&mut self, data: &[u8]) {
        self.len = data.len();
        self.block = Self::EMPTY.block;
        // Fast path: a hash or an id has 32 bytes, and a copy of constant length is a few
        // instructions.
        if let (Some(place), Ok(data)) = (self.block.first_chunk_mut(), data.try_into()) {
            let (place, data): (&mut [u8; 32], &[u8; 32]) = (place, data);
            *place = *data;
        } else if let Some(place) = self.block.get_mut(..data.len()) {
            place.copy_from_slice(data);
        }
    }

    /// Sets the hash of data that is longer than the block.
    pub(super) fn set_hash(&mut self, hash: [u8; 32]) {
        self.block = HashInput::EMPTY.block;
        if let Some(place) = self.block.first_chunk_mut() {
            *place = hash;
        }
    }

    /// Returns the data if it fits the block.
    fn data(&self) -> Option<&[u8]> {
        self.block.get(..self.len)
    }

    /// Returns the hash if the data does not fit the block.
    fn hash(&self) -> [u8; 32] {
        let hash = self.block.first_chunk().filter(|_| self.is_hashed());
        hash.copied().unwrap_or_default()
    }
}

/// Input of the ids of a node's five atoms.
#[derive(Clone, Copy, Debug)]
pub struct NodeInput {
    /// Ids of the children, [`AtomId::ZERO`] for an absent child.
    pub children: [AtomId; 2],
    /// Data of the key atom: the number of bits in two bytes, and the bits.
    pub key: HashInput,
    /// Data of the value atom.
    pub value: HashInput,
}

impl NodeInput {
    /// Input of a node without children, bits or value.
    pub const EMPTY: Self = Self {
        children: [AtomId::ZERO; 2],
        key: HashInput {
            len: 2,
            ..HashInput::EMPTY
        },
        value: HashInput::EMPTY,
    };

    /// Returns whether the key atom has any bits.
    #[must_use]
    pub const fn has_bits(&self) -> bool {
        let [high, low, ..] = self.key.block;
        self.key.len != 2 || high != 0 || low != 0
    }
}

/// Ids of a node's value, child 1, child 0, key and type atoms, in the order of computation: each
/// links to the previous one. The last one is the id of the node.
pub type NodeIds = [AtomId; 5];

/// Hasher of batches of short messages.
///
/// The host may supply an implementation that hashes many messages in parallel; its results must
/// equal those of [`Scalar`].
///
/// A hasher that counts its messages, for example to measure a commit:
///
/// ```
/// use astreum_core::atom::NoStore;
/// use astreum_core::trie::{BatchHasher, Scalar, Trie};
///
/// struct Counting(usize);
///
/// impl BatchHasher for Counting {
///     fn hash_many(&mut self, messages: &[&[u8]], out: &mut [[u8; 32]]) {
///         self.0 += messages.len();
///         Scalar.hash_many(messages, out);
///     }
/// }
///
/// let mut map = Trie::from_sorted([("a", "1"), ("b", "2")]).unwrap();
/// let mut hasher = Counting(0);
/// assert_eq!(map.root(&mut hasher), map.clone().root(&mut Scalar));
/// assert!(hasher.0 >= 3 * 5);
/// ```
pub trait BatchHasher {
    /// Writes the BLAKE3 hash of each message to the element of `out` with the same index.
    ///
    /// `messages` and `out` must have the same length; excess elements of the longer one are
    /// ignored.
    fn hash_many(&mut self, messages: &[&[u8]], out: &mut [[u8; 32]]);

    /// Writes the ids of each node's atoms to the element of `out` with the same index.
    ///
    /// The default implementation calls [`BatchHasher::hash_many`]. It computes at most seven
    /// hashes for a leaf or for a node without a value, and at most nine for any node; constant
    /// parts of a node are precomputed.
    fn node_ids(&mut self, nodes: &[NodeInput], out: &mut [NodeIds]) {
        let data_hashes = data_hashes(self, nodes);
        let mut next: Vec<AtomId> = Vec::new();
        for place in 0..5 {
            let preimages: Vec<_> = nodes
                .iter()
                .zip(&data_hashes)
                .enumerate()
                .map(|(index, (node, hashes))| {
                    let (kind, hash, len) = match place {
                        0 => (AtomKind::Bytes, &hashes.value, node.value.len),
                        1 => (AtomKind::Bytes, &hashes.children[1], 32),
                        2 => (AtomKind::Bytes, &hashes.children[0], 32),
                        3 => (AtomKind::Bytes, &hashes.key, node.key.len),
                        _ => (AtomKind::Symbol, &TYPE_HASH, TYPE_NAME.len()),
                    };
                    let next = next.get(index).copied().unwrap_or(AtomId::ZERO);
                    // A usize has at most 64 bits on every target that Rust supports.
                    id_preimage(kind, hash, next, len as u64)
                })
                .collect();
            // The first atom of a node without a value is a constant.
            let is_new = |node: &NodeInput| place > 0 || node.value.len > 0;
            let messages: Vec<&[u8]> = preimages
                .iter()
                .zip(nodes)
                .filter(|(_, node)| is_new(node))
                .map(|(preimage, _)| preimage.as_slice())
                .collect();
            let mut hashes = hashed(self, &messages).into_iter();
            next.clear();
            next.extend(nodes.iter().map(|node| {
                let hash = is_new(node).then(|| hashes.next().map(AtomId::new));
                hash.flatten().unwrap_or(EMPTY_VALUE_ID)
            }));
            for (ids, id) in out.iter_mut().zip(&next) {
                if let Some(slot) = ids.get_mut(place) {
                    *slot = *id;
                }
            }
        }
    }

    /// Writes the id of each node, the last of its [`NodeIds`], to the element of `out` with the
    /// same index. Used if no atoms are written.
    fn root_ids(&mut self, nodes: &[NodeInput], out: &mut [AtomId]) {
        let mut ids = Vec::new();
        ids.resize(nodes.len(), NodeIds::default());
        self.node_ids(nodes, &mut ids);
        for (id, [.., last]) in out.iter_mut().zip(ids) {
            *id = last;
        }
    }
}

/// Hashes of the data of a node's atoms.
struct DataHashes {
    children: [[u8; 32]; 2],
    key: [u8; 32],
    value: [u8; 32],
}

/// Hashes the data of the nodes' atoms, all in one batch.
fn data_hashes<H: BatchHasher + ?Sized>(hasher: &mut H, nodes: &[NodeInput]) -> Vec<DataHashes> {
    let mut messages: Vec<&[u8]> = Vec::with_capacity(nodes.len() * 4);
    let has_bits = |node: &NodeInput| node.key.len > 2;
    for node in nodes {
        messages.extend(node.value.data().filter(|data| !data.is_empty()));
        let children = node.children.iter().filter(|id| !id.is_zero());
        messages.extend(children.map(AtomId::as_ref));
        messages.extend(node.key.data().filter(|_| has_bits(node)));
    }
    let mut hashes = hashed(hasher, &messages).into_iter();
    let mut next = || hashes.next().unwrap_or_default();
    nodes
        .iter()
        .map(|node| DataHashes {
            value: match node.value.len {
                // Not used: the id of an empty value is a constant.
                0 => [0; 32],
                _ if node.value.is_hashed() => node.value.hash(),
                _ => next(),
            },
            children: node.children.map(|id| {
                if id.is_zero() {
                    ABSENT_CHILD_HASH
                } else {
                    next()
                }
            }),
            key: if node.key.is_hashed() {
                node.key.hash()
            } else if has_bits(node) {
                next()
            } else {
                EMPTY_KEY_HASH
            },
        })
        .collect()
}

fn hashed<H: BatchHasher + ?Sized>(hasher: &mut H, messages: &[&[u8]]) -> Vec<[u8; 32]> {
    let mut hashes = Vec::new();
    hashes.resize(messages.len(), [0; 32]);
    hasher.hash_many(messages, &mut hashes);
    hashes
}

/// Hasher that hashes one message after the other.
///
/// ```
/// use astreum_core::trie::{BatchHasher, Scalar};
/// let mut hashes = [[0; 32]; 2];
/// Scalar.hash_many(&[b"one", b"two"], &mut hashes);
/// assert_eq!(hashes, [b"one", b"two"].map(|message| *blake3::hash(message).as_bytes()));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

impl BatchHasher for Scalar {
    fn hash_many(&mut self, messages: &[&[u8]], out: &mut [[u8; 32]]) {
        for (message, hash) in messages.iter().zip(out) {
            *hash = *blake3::hash(message).as_bytes();
        }
    }
}

impl<H: BatchHasher + ?Sized> BatchHasher for &mut H {
    fn hash_many(&mut self, messages: &[&[u8]], out: &mut [[u8; 32]]) {
        (**self).hash_many(messages, out);
    }

    fn node_ids(&mut self, nodes: &[NodeInput], out: &mut [NodeIds]) {
        (**self).node_ids(nodes, out);
    }

    fn root_ids(&mut self, nodes: &[NodeInput], out: &mut [AtomId]) {
        (**self).root_ids(nodes, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::atom_id;

    #[test]
    fn constants_match_their_definitions() {
        let hash = |data: &[u8]| *blake3::hash(data).as_bytes();
        assert_eq!(TYPE_HASH, hash(TYPE_NAME));
        assert_eq!(ABSENT_CHILD_HASH, hash(AtomId::ZERO.as_bytes()));
        assert_eq!(EMPTY_KEY_HASH, hash(&[0, 0]));
        assert_eq!(EMPTY_VALUE_ID, atom_id(AtomKind::Bytes, &[], AtomId::ZERO));
    }
}
