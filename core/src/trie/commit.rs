//! Giving changed nodes their ids: from the deepest level up, whole levels at a time.
//!
//! A node costs at most seven hashes. What is the same in every node is hashed once: the data of
//! the type atom, of an absent child, of a key without bits, and the whole atom of an empty value.

use super::Trie;
use super::edit::{Slot, SlotIndex, State};
use super::hash::BatchHasher;
use super::node::TYPE_NAME;
use crate::atom::{
    Atom, AtomId, AtomKind, AtomSink, ID_PREIMAGE_BYTES, NoStore, atom_id, id_preimage,
};
use alloc::vec::Vec;

/// Nodes that are hashed side by side: enough to fill any lanes, few enough to stay in the cache.
const BATCH_NODES: usize = 256;

/// Hashes that no node changes.
struct Constants {
    type_data: [u8; 32],
    absent_child_data: [u8; 32],
    empty_key_data: [u8; 32],
    empty_value: AtomId,
}

impl Constants {
    fn new() -> Self {
        let hash = |data: &[u8]| *blake3::hash(data).as_bytes();
        Self {
            type_data: hash(TYPE_NAME),
            absent_child_data: hash(AtomId::ZERO.as_bytes()),
            empty_key_data: hash(&[0, 0]),
            empty_value: atom_id(AtomKind::Bytes, &[], AtomId::ZERO),
        }
    }
}

/// What a node's atoms hold, and their hashes as they become known.
#[derive(Clone, Default)]
struct Parts {
    /// The data of the key atom.
    key: core::ops::Range<usize>,
    key_hash: [u8; 32],
    children: [AtomId; 2],
    child_hashes: [[u8; 32]; 2],
    value_hash: [u8; 32],
    /// The ids of the value, child 1, child 0, key and type atoms.
    ids: [AtomId; 5],
}

impl Trie {
    /// The id of the trie as it is now, [`AtomId::ZERO`] if it is empty. Writes nothing.
    pub fn root(&mut self, hasher: &mut impl BatchHasher) -> AtomId {
        match self.settle::<NoStore>(hasher, None) {
            Ok(root) => root,
            Err(never) => match never {},
        }
    }

    /// Writes the atoms of all nodes that are not stored yet, children before their parents, and
    /// returns the id of the trie.
    ///
    /// # Errors
    /// When the sink fails; the commit may be tried again and goes on where it stopped.
    pub fn commit<K: AtomSink>(
        &mut self,
        hasher: &mut impl BatchHasher,
        sink: &mut K,
    ) -> Result<AtomId, K::Error> {
        self.settle(hasher, Some(sink))
    }

    fn settle<K: AtomSink>(
        &mut self,
        hasher: &mut impl BatchHasher,
        mut sink: Option<&mut K>,
    ) -> Result<AtomId, K::Error> {
        let constants = Constants::new();
        let done = if sink.is_some() {
            State::Stored
        } else {
            State::Hashed
        };
        for height in self.unsettled_by_height(done) {
            for nodes in height.chunks(BATCH_NODES) {
                let (key_data, parts) = self.hash_nodes(&constants, hasher, nodes);
                for (&at, parts) in nodes.iter().zip(&parts) {
                    if let Some(sink) = &mut sink {
                        self.write_node(at, &key_data, parts, *sink)?;
                    }
                    if let Slot::Node(node) = self.slot_mut(at) {
                        let [.., type_id] = parts.ids;
                        node.id = type_id;
                        node.state = done;
                    }
                }
            }
        }
        Ok(self.root.map_or(AtomId::ZERO, |root| self.slot_id(root)))
    }

    /// The nodes that have not come as far as `done`, by their height over what is lowest below
    /// them. Each height has them in the order of their keys, which for most tries is close to that
    /// in memory: sorting by the distance from the root would jump about in it.
    fn unsettled_by_height(&self, done: State) -> Vec<Vec<SlotIndex>> {
        let unsettled = |at: &SlotIndex| match self.slot(*at) {
            Slot::Node(node) => match done {
                State::Stored => node.state != State::Stored,
                _ => node.state == State::Changed,
            },
            Slot::Unloaded(_) | Slot::Free => false,
        };
        let mut heights: Vec<Vec<SlotIndex>> = Vec::new();
        // On the way down: a node, its children that are still to come, and its height so far.
        let mut stack = Vec::new();
        let enter = |at: SlotIndex| (at, self.node(at).children, 0_usize);
        stack.extend(self.root.filter(unsettled).map(enter));
        while let Some((at, [zero, one], height)) = stack.last_mut() {
            if let Some(child) = zero.take().or_else(|| one.take()) {
                stack.extend(Some(child).filter(unsettled).map(enter));
                continue;
            }
            let (at, height) = (*at, *height);
            stack.pop();
            if heights.len() <= height {
                heights.resize_with(height + 1, Vec::new);
            }
            if let Some(nodes) = heights.get_mut(height) {
                nodes.push(at);
            }
            if let Some((_, _, above)) = stack.last_mut() {
                *above = (*above).max(height + 1);
            }
        }
        heights
    }

    /// Hashes nodes whose children have their ids. Also returns the data of all key atoms.
    fn hash_nodes(
        &self,
        constants: &Constants,
        hasher: &mut impl BatchHasher,
        nodes: &[SlotIndex],
    ) -> (Vec<u8>, Vec<Parts>) {
        let mut key_data = Vec::with_capacity(nodes.len() * 34);
        let mut all: Vec<Parts> = nodes
            .iter()
            .map(|at| self.parts(*at, &mut key_data))
            .collect();
        self.hash_data(constants, hasher, nodes, &key_data, &mut all);

        let mut batch = Preimages::default();
        for (at, parts) in nodes.iter().zip(&all) {
            let value = &self.node(*at).value;
            batch.push(
                AtomKind::Bytes,
                &parts.value_hash,
                AtomId::ZERO,
                value.len(),
            );
        }
        let mut next = batch.hash(hasher);
        for ((at, parts), id) in nodes.iter().zip(&mut all).zip(&mut next) {
            if self.node(*at).value.is_empty() {
                *id = *constants.empty_value.as_bytes();
            }
            parts.ids[0] = AtomId::new(*id);
        }
        for place in 1..5 {
            batch.clear();
            for (parts, next) in all.iter().zip(&next) {
                let (kind, hash, len) = match place {
                    1 => (AtomKind::Bytes, &parts.child_hashes[1], 32),
                    2 => (AtomKind::Bytes, &parts.child_hashes[0], 32),
                    3 => (AtomKind::Bytes, &parts.key_hash, parts.key.len()),
                    _ => (AtomKind::Symbol, &constants.type_data, TYPE_NAME.len()),
                };
                batch.push(kind, hash, AtomId::new(*next), len);
            }
            next = batch.hash(hasher);
            for (parts, id) in all.iter_mut().zip(&next) {
                if let Some(slot) = parts.ids.get_mut(place) {
                    *slot = AtomId::new(*id);
                }
            }
        }
        (key_data, all)
    }

    fn parts(&self, at: SlotIndex, key_data: &mut Vec<u8>) -> Parts {
        let node = self.node(at);
        let start = key_data.len();
        // A loaded or put key has at most 65,528 bits.
        let bit_count = u16::try_from(node.key_len).unwrap_or(u16::MAX);
        key_data.extend_from_slice(&bit_count.to_be_bytes());
        self.key(node).write_aligned(key_data);
        let children = node
            .children
            .map(|child| child.map_or(AtomId::ZERO, |at| self.slot_id(at)));
        Parts {
            key: start..key_data.len(),
            children,
            ..Parts::default()
        }
    }

    /// Hashes the data of value, child and key atoms, all in one batch.
    fn hash_data(
        &self,
        constants: &Constants,
        hasher: &mut impl BatchHasher,
        nodes: &[SlotIndex],
        key_data: &[u8],
        all: &mut [Parts],
    ) {
        let mut messages: Vec<&[u8]> = Vec::with_capacity(all.len() * 4);
        let children: Vec<[AtomId; 2]> = all.iter().map(|parts| parts.children).collect();
        for ((at, parts), children) in nodes.iter().zip(all.iter()).zip(&children) {
            let value = &self.node(*at).value;
            messages.extend((!value.is_empty()).then_some(&**value));
            messages.extend(
                children
                    .iter()
                    .filter(|id| !id.is_zero())
                    .map(AtomId::as_ref),
            );
            let key = key_data.get(parts.key.clone()).unwrap_or_default();
            messages.extend((key.len() > 2).then_some(key));
        }
        let mut hashes = Vec::new();
        hashes.resize(messages.len(), [0; 32]);
        hasher.hash_many(&messages, &mut hashes);
        let mut hashes = hashes.into_iter();
        for (at, parts) in nodes.iter().zip(all) {
            if !self.node(*at).value.is_empty() {
                parts.value_hash = hashes.next().unwrap_or_default();
            }
            for (hash, id) in parts.child_hashes.iter_mut().zip(&parts.children) {
                *hash = if id.is_zero() {
                    constants.absent_child_data
                } else {
                    hashes.next().unwrap_or_default()
                };
            }
            parts.key_hash = if parts.key.len() > 2 {
                hashes.next().unwrap_or_default()
            } else {
                constants.empty_key_data
            };
        }
    }

    fn write_node<K: AtomSink>(
        &self,
        at: SlotIndex,
        key_data: &[u8],
        parts: &Parts,
        sink: &mut K,
    ) -> Result<(), K::Error> {
        let [value_id, one_id, zero_id, key_id, type_id] = parts.ids;
        let [zero, one] = parts.children;
        let bytes = |data: &[u8], next| Atom::new(AtomKind::Bytes, data, next);
        let value = self.node(at).value.to_shared();
        let key = key_data.get(parts.key.clone()).unwrap_or_default();
        sink.put(value_id, Atom::bytes(value))?;
        sink.put(one_id, bytes(one.as_ref(), value_id))?;
        sink.put(zero_id, bytes(zero.as_ref(), one_id))?;
        sink.put(key_id, bytes(key, zero_id))?;
        sink.put(type_id, Atom::new(AtomKind::Symbol, TYPE_NAME, key_id))
    }

    fn slot_id(&self, at: SlotIndex) -> AtomId {
        match self.slot(at) {
            Slot::Unloaded(id) => *id,
            Slot::Node(node) => node.id,
            Slot::Free => AtomId::ZERO,
        }
    }
}

/// What a batch of ids is hashed from.
#[derive(Default)]
struct Preimages(Vec<[u8; ID_PREIMAGE_BYTES]>);

impl Preimages {
    fn clear(&mut self) {
        self.0.clear();
    }

    fn push(&mut self, kind: AtomKind, data_hash: &[u8; 32], next: AtomId, len: usize) {
        self.0.push(id_preimage(kind, data_hash, next, len as u64));
    }

    fn hash(&self, hasher: &mut impl BatchHasher) -> Vec<[u8; 32]> {
        let messages: Vec<&[u8]> = self.0.iter().map(<[u8; _]>::as_slice).collect();
        let mut hashes = Vec::new();
        hashes.resize(messages.len(), [0; 32]);
        hasher.hash_many(&messages, &mut hashes);
        hashes
    }
}
