//! Hashing and writing of changed nodes: one part of the trie at a time, each from its lowest level
//! up, in whole levels.

use super::Trie;
use super::arena::{SlotIndex, State};
use super::hash::{BatchHasher, HashInput, NodeIds, NodeInput};
use super::node::TYPE_NAME;
use crate::atom::{Atom, AtomId, AtomKind, AtomSink, NoStore};
use alloc::vec::Vec;

/// Number of nodes that are hashed in parallel: enough for any number of SIMD lanes, few enough to
/// stay in the cache.
const BATCH_NODES: usize = 64;

/// Maximum number of nodes that are collected before they are hashed: few enough that the data read
/// during the descent is still in the cache, enough to fill the lanes at most heights.
const MAX_PENDING_NODES: usize = 8_192;

/// Nodes to be hashed, grouped by their height above the lowest node below them, and by their key:
/// nodes without bits, and the others. Each list is in reverse key order, which for most tries is
/// close to the order in memory.
#[derive(Default)]
struct Pending {
    heights: Vec<[Vec<SlotIndex>; 2]>,
    count: usize,
}

impl Pending {
    fn push(&mut self, height: usize, has_bits: bool, at: SlotIndex) {
        if self.heights.len() <= height {
            self.heights.resize_with(height + 1, Default::default);
        }
        if let Some([without_bits, others]) = self.heights.get_mut(height) {
            if has_bits { others } else { without_bits }.push(at);
        }
        self.count += 1;
    }

    fn clear(&mut self) {
        self.heights.iter_mut().flatten().for_each(Vec::clear);
        self.count = 0;
    }
}

/// Node on the descent path.
struct Descent {
    at: SlotIndex,
    /// Children that are not visited yet.
    children: [Option<SlotIndex>; 2],
    /// Height as known so far.
    height: usize,
    has_bits: bool,
}

/// Inputs and outputs of a batch of nodes.
struct Batch {
    inputs: [NodeInput; BATCH_NODES],
    ids: [NodeIds; BATCH_NODES],
    /// Used instead of `ids` if nothing is written.
    roots: [AtomId; BATCH_NODES],
}

impl Trie {
    /// Returns the id of the trie in its current state, or [`AtomId::ZERO`] if it is empty. Writes
    /// nothing.
    ///
    /// ```
    /// use astreum_core::atom::{AtomId, NoStore};
    /// use astreum_core::trie::{Scalar, Trie};
    ///
    /// let mut map = Trie::new();
    /// assert_eq!(map.root(&mut Scalar), AtomId::ZERO);
    /// map.put(&NoStore, b"key", b"value").unwrap();
    /// assert_ne!(map.root(&mut Scalar), AtomId::ZERO);
    /// // The root depends only on the contents.
    /// map.remove(&NoStore, b"key").unwrap();
    /// assert_eq!(map.root(&mut Scalar), AtomId::ZERO);
    /// ```
    pub fn root(&mut self, hasher: &mut impl BatchHasher) -> AtomId {
        match self.settle::<NoStore>(hasher, None) {
            Ok(root) => root,
            Err(never) => match never {},
        }
    }

    /// Writes the atoms of all nodes that are not stored yet, children before their parents, and
    /// returns the id of the trie.
    ///
    /// ```
    /// use astreum_core::atom::MemoryStore;
    /// use astreum_core::trie::{Scalar, Trie};
    ///
    /// let mut store = MemoryStore::new();
    /// let mut map = Trie::new();
    /// map.put(&store, b"key", b"value").unwrap();
    /// let root = map.commit(&mut Scalar, &mut store).unwrap();
    /// // A node is five atoms; a second commit has nothing to write.
    /// assert_eq!(store.len(), 5);
    /// assert_eq!(map.commit(&mut Scalar, &mut store).unwrap(), root);
    /// ```
    ///
    /// # Errors
    /// Fails if the sink fails; the commit may be retried and continues where it stopped.
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
        let done = if sink.is_some() {
            State::Stored
        } else {
            State::Hashed
        };
        let mut pending = Pending::default();
        let mut batch = Batch {
            inputs: [NodeInput::EMPTY; BATCH_NODES],
            ids: [NodeIds::default(); BATCH_NODES],
            roots: [AtomId::ZERO; BATCH_NODES],
        };
        let mut stack: Vec<Descent> = Vec::new();
        stack.extend(self.root.and_then(|at| self.enter(at, done)));
        while let Some(top) = stack.last_mut() {
            let [zero, one] = &mut top.children;
            // Last child first: a trie that was built in one pass has its nodes in the reverse of
            // this order, and the processor can prefetch it.
            if let Some(child) = one.take().or_else(|| zero.take()) {
                stack.extend(self.enter(child, done));
                continue;
            }
            // All nodes below it are pending or done, so the pending nodes can be hashed at any
            // time.
            pending.push(top.height, top.has_bits, top.at);
            let height = top.height + 1;
            stack.pop();
            if let Some(above) = stack.last_mut() {
                above.height = above.height.max(height);
            }
            if pending.count == MAX_PENDING_NODES {
                self.settle_pending(hasher, &mut sink, &mut pending, &mut batch)?;
            }
        }
        self.settle_pending(hasher, &mut sink, &mut pending, &mut batch)?;
        Ok(self.root.map_or(AtomId::ZERO, |root| self.node(root).id))
    }

    /// Returns the descent into a node, or `None` if the node is already in the state `done`.
    fn enter(&self, at: SlotIndex, done: State) -> Option<Descent> {
        let node = self.node(at);
        let unsettled = match node.state {
            State::Changed => true,
            State::Hashed => done == State::Stored,
            State::Unloaded | State::Stored | State::Free => false,
        };
        unsettled.then_some(Descent {
            at,
            children: node.children,
            height: 0,
            has_bits: node.key_len > 0,
        })
    }

    /// Hashes the pending nodes, lowest first, and writes them if there is a sink.
    fn settle_pending<K: AtomSink>(
        &mut self,
        hasher: &mut impl BatchHasher,
        sink: &mut Option<&mut K>,
        pending: &mut Pending,
        batch: &mut Batch,
    ) -> Result<(), K::Error> {
        for nodes in pending.heights.iter().flatten() {
            for nodes in nodes.chunks(BATCH_NODES) {
                let inputs = batch.inputs.get_mut(..nodes.len()).unwrap_or_default();
                self.fill(hasher, nodes, inputs);
                let Some(sink) = sink else {
                    let roots = batch.roots.get_mut(..nodes.len()).unwrap_or_default();
                    hasher.root_ids(inputs, roots);
                    for (at, id) in nodes.iter().zip(roots) {
                        let node = self.node_mut(*at);
                        (node.id, node.state) = (*id, State::Hashed);
                    }
                    continue;
                };
                let ids = batch.ids.get_mut(..nodes.len()).unwrap_or_default();
                hasher.node_ids(inputs, ids);
                for ((&at, input), ids) in nodes.iter().zip(inputs).zip(ids) {
                    self.write_node(at, input.children, ids, *sink)?;
                    let node = self.node_mut(at);
                    ([.., node.id], node.state) = (*ids, State::Stored);
                }
            }
        }
        pending.clear();
        Ok(())
    }

    /// Fills in the inputs of nodes whose children have ids.
    fn fill(&self, hasher: &mut impl BatchHasher, nodes: &[SlotIndex], inputs: &mut [NodeInput]) {
        let mut has_long = false;
        for (at, input) in nodes.iter().zip(inputs.iter_mut()) {
            let node = self.node(*at);
            input.children = node
                .children
                .map(|child| child.map_or(AtomId::ZERO, |at| self.node(at).id));
            let key = self.key(node);
            input.key.len = 2 + key.len().div_ceil(8);
            input.key.block = HashInput::EMPTY.block;
            if node.key_len > 0
                && let Some((bit_count, bits)) = input.key.block.split_first_chunk_mut()
                && input.key.len <= 2 + bits.len()
            {
                *bit_count = node.key_len.to_be_bytes();
                if let (Some(place), Some(all)) = (bits.first_chunk_mut(), key.aligned()) {
                    *place = all;
                } else {
                    key.copy_aligned(bits);
                }
            }
            input.value.set(self.value(node));
            has_long |= input.key.is_hashed() || input.value.is_hashed();
        }
        if has_long {
            self.hash_long(hasher, nodes, inputs);
        }
    }

    /// Hashes the keys and values that are too long for their blocks.
    fn hash_long(
        &self,
        hasher: &mut impl BatchHasher,
        nodes: &[SlotIndex],
        inputs: &mut [NodeInput],
    ) {
        let pairs = || nodes.iter().map(|at| self.node(*at));
        let keys: Vec<Vec<u8>> = pairs()
            .zip(inputs.iter())
            .filter(|(_, input)| input.key.is_hashed())
            .map(|(node, _)| self.key(node).to_atom_data())
            .collect();
        let values = pairs()
            .zip(inputs.iter())
            .filter(|(_, input)| input.value.is_hashed())
            .map(|(node, _)| self.value(node));
        let messages: Vec<&[u8]> = keys.iter().map(Vec::as_slice).chain(values).collect();
        let mut hashes = Vec::new();
        hashes.resize(messages.len(), [0; 32]);
        hasher.hash_many(&messages, &mut hashes);
        let (keys, values): (Vec<_>, Vec<_>) = inputs
            .iter_mut()
            .map(|input| (&mut input.key, &mut input.value))
            .unzip();
        let long = keys
            .into_iter()
            .chain(values)
            .filter(|input| input.is_hashed());
        for (input, hash) in long.zip(hashes) {
            input.set_hash(hash);
        }
    }

    fn write_node<K: AtomSink>(
        &self,
        at: SlotIndex,
        [zero, one]: [AtomId; 2],
        ids: &NodeIds,
        sink: &mut K,
    ) -> Result<(), K::Error> {
        let [value_id, one_id, zero_id, key_id, type_id] = *ids;
        let bytes = |data: &[u8], next| Atom::new(AtomKind::Bytes, data, next);
        let node = self.node(at);
        let key = self.key(node).to_atom_data();
        sink.put(value_id, bytes(self.value(node), AtomId::ZERO))?;
        sink.put(one_id, bytes(one.as_ref(), value_id))?;
        sink.put(zero_id, bytes(zero.as_ref(), one_id))?;
        sink.put(key_id, bytes(&key, zero_id))?;
        sink.put(type_id, Atom::new(AtomKind::Symbol, TYPE_NAME, key_id))
    }
}
