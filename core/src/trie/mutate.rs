//! Mutation of a trie: nodes are loaded when a key needs them, changed in memory and hashed once.

use super::arena::{Arena, Node, SlotIndex, State, child, child_mut, key_len};
use super::bit_slice::{BitBuf, Bits};
use super::node::StoredNode;
use super::{MAX_KEY_BYTES, TrieError, checked_key, iter};
use crate::atom::{AtomId, AtomSource};
use crate::expr::Bytes;
use alloc::vec::Vec;

/// Maximum number of bits in a path.
const MAX_PATH_BITS: usize = MAX_KEY_BYTES * 8;

/// Mutable trie.
///
/// Puts and removals change only memory. [`Trie::root`] and [`Trie::commit`] hash every changed
/// node once, level by level, with a [`BatchHasher`](super::BatchHasher). Loaded and changed nodes
/// stay in memory until the trie is dropped.
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::trie::{self, Scalar, Trie};
///
/// let mut store = MemoryStore::new();
/// let mut trie = Trie::new();
/// trie.put(&store, b"key", b"value")?;
/// let root = trie.commit(&mut Scalar, &mut store).unwrap();
/// assert_eq!(trie::get(&store, root, b"key")?.as_deref(), Some(b"value".as_slice()));
/// # Ok::<(), trie::TrieError<core::convert::Infallible>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Trie {
    pub(super) root: Option<SlotIndex>,
    pub(super) slots: Vec<Node>,
    pub(super) free: Vec<SlotIndex>,
    pub(super) arena: Arena,
    /// Nodes above the node that an operation changes, with the bit taken at each.
    path: Vec<(SlotIndex, bool)>,
}

/// Result of a descent.
enum Position {
    /// The key differs from the node's bits after `common` of them; the node's bits start at
    /// `depth`.
    Inside {
        at: SlotIndex,
        depth: usize,
        common: usize,
    },
    /// The key ends at this node, whose bits start at `depth`.
    At { at: SlotIndex, depth: usize },
    /// The node has no child for the rest of the key, which starts at `depth`; `at` is `None` in an
    /// empty trie.
    Below {
        at: Option<SlotIndex>,
        bit: bool,
        depth: usize,
    },
}

impl Trie {
    /// Creates an empty trie.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the trie with this root; nothing is loaded yet.
    ///
    /// ```
    /// use astreum_core::atom::MemoryStore;
    /// use astreum_core::trie::{self, Scalar, Trie};
    ///
    /// let mut store = MemoryStore::new();
    /// let before = Trie::from_sorted([("a", "1")])?.commit(&mut Scalar, &mut store)?;
    /// let mut map = Trie::open(before);
    /// map.put(&store, b"b", b"2")?;
    /// let after = map.commit(&mut Scalar, &mut store)?;
    /// // Both versions can be read.
    /// assert_eq!(trie::entries(&store, before).count(), 1);
    /// assert_eq!(trie::entries(&store, after).count(), 2);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    #[must_use]
    pub fn open(root: AtomId) -> Self {
        let mut trie = Self::new();
        trie.root = (!root.is_zero()).then(|| trie.add(Node::unloaded(root)));
        trie
    }

    /// Returns whether the trie is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.root.is_none()
    }

    /// Returns the value of `key`, or `None` if it is absent.
    ///
    /// ```
    /// use astreum_core::atom::NoStore;
    /// use astreum_core::trie::Trie;
    /// let map = Trie::from_sorted([("a", "1")]).unwrap();
    /// assert_eq!(map.get(&NoStore, b"a").unwrap().as_deref(), Some(b"1".as_slice()));
    /// assert_eq!(map.get(&NoStore, b"b").unwrap(), None);
    /// ```
    ///
    /// # Errors
    /// Fails if a node is missing or malformed, or if the key is too long.
    pub fn get<S: AtomSource + ?Sized>(
        &self,
        source: &S,
        key: &[u8],
    ) -> Result<Option<Bytes>, TrieError<S::Error>> {
        let mut rest = checked_key(key)?;
        let mut current = self.root;
        while let Some(at) = current {
            let node = self.node(at);
            if node.state == State::Unloaded {
                return iter::get_bits(source, node.id, rest);
            }
            if self.key(node).common_len(rest) < node.bit_count() {
                return Ok(None);
            }
            rest = rest.skip(node.bit_count());
            let Some(bit) = rest.bit(0) else {
                return Ok(node.value.is_some().then(|| Bytes::new(self.value(node))));
            };
            rest = rest.skip(1);
            current = child(node, bit);
        }
        Ok(None)
    }

    /// Returns the value as [`Trie::get`] does and keeps the nodes on the path in memory, for a put
    /// of the same key or for another key that shares them.
    ///
    /// ```
    /// use astreum_core::atom::{MemoryStore, NoStore};
    /// use astreum_core::trie::{Scalar, Trie};
    ///
    /// let mut store = MemoryStore::new();
    /// let root = Trie::from_sorted([("a", "1")])?.commit(&mut Scalar, &mut store)?;
    /// let mut map = Trie::open(root);
    /// assert_eq!(map.fetch(&store, b"a")?.as_deref(), Some(b"1".as_slice()));
    /// // The nodes on the path are in memory now.
    /// map.put(&NoStore, b"a", b"2")?;
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Trie::get`].
    pub fn fetch<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        key: &[u8],
    ) -> Result<Option<Bytes>, TrieError<S::Error>> {
        Ok(match self.descend(source, checked_key(key)?)? {
            Position::At { at, .. } => {
                let node = self.node(at);
                node.value.is_some().then(|| Bytes::new(self.value(node)))
            }
            Position::Inside { .. } | Position::Below { .. } => None,
        })
    }

    /// Sets the value of `key`; an empty value removes the key.
    ///
    /// ```
    /// use astreum_core::atom::{AtomId, NoStore};
    /// use astreum_core::trie::Trie;
    ///
    /// let mut map = Trie::new();
    /// map.put(&NoStore, b"a", b"1").unwrap();
    /// map.put(&NoStore, b"a", b"").unwrap();
    /// assert!(map.is_empty());
    /// // A trie whose nodes are not available cannot be changed.
    /// let root = AtomId::new([7; 32]);
    /// let error = Trie::open(root).put(&NoStore, b"a", b"1").unwrap_err();
    /// assert_eq!(error.missing(), Some(root));
    /// ```
    ///
    /// # Errors
    /// As [`Trie::get`]; nothing is changed then.
    pub fn put<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), TrieError<S::Error>> {
        if value.is_empty() {
            return self.remove(source, key).map(|_| ());
        }
        let bits = checked_key(key)?;
        let position = self.descend(source, bits)?;
        match position {
            Position::At { at, .. } => {
                if self.value(self.node(at)) == value {
                    return Ok(());
                }
                self.set_value(at, value);
            }
            Position::Below { at, bit, depth } => {
                let leaf = self.add_leaf(key, depth, value);
                match at {
                    Some(at) => *child_mut(&mut self.change(at).children, bit) = Some(leaf),
                    None => self.root = Some(leaf),
                }
            }
            Position::Inside { at, depth, common } => self.split(at, depth, common, key, value),
        }
        self.mark_path();
        self.compact();
        Ok(())
    }

    /// Removes `key` and returns whether it was present.
    ///
    /// ```
    /// use astreum_core::atom::NoStore;
    /// use astreum_core::trie::Trie;
    /// let mut map = Trie::from_sorted([("a", "1"), ("b", "2")]).unwrap();
    /// assert!(map.remove(&NoStore, b"a").unwrap());
    /// assert!(!map.remove(&NoStore, b"a").unwrap());
    /// ```
    ///
    /// # Errors
    /// As [`Trie::get`]; nothing is changed then.
    pub fn remove<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        key: &[u8],
    ) -> Result<bool, TrieError<S::Error>> {
        let Position::At { at, depth } = self.descend(source, checked_key(key)?)? else {
            return Ok(false);
        };
        let value = self.node(at).value;
        if value.is_none() {
            return Ok(false);
        }
        match self.node(at).children {
            [Some(_), Some(_)] => self.change(at).value = None,
            [None, None] => self.remove_leaf(source, at, depth)?,
            [Some(_), None] => self.merge(source, at, depth, false)?,
            [None, Some(_)] => self.merge(source, at, depth, true)?,
        }
        self.arena.forget_value(value);
        self.mark_path();
        self.compact();
        Ok(true)
    }

    /// Follows `key` as far as it matches, loading nodes; leaves the nodes above the end in `path`.
    fn descend<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        key: Bits<'_>,
    ) -> Result<Position, TrieError<S::Error>> {
        self.path.clear();
        let mut depth = 0;
        let Some(mut at) = self.root else {
            return Ok(Position::Below {
                at: None,
                bit: false,
                depth,
            });
        };
        loop {
            self.load(source, at, depth)?;
            let node = self.node(at);
            let common = self.key(node).common_len(key.skip(depth));
            if common < node.bit_count() {
                return Ok(Position::Inside { at, depth, common });
            }
            let end = depth + node.bit_count();
            let Some(bit) = key.bit(end) else {
                return Ok(Position::At { at, depth });
            };
            depth = end + 1;
            match child(node, bit) {
                None => {
                    return Ok(Position::Below {
                        at: Some(at),
                        bit,
                        depth,
                    });
                }
                Some(next) => {
                    self.path.push((at, bit));
                    at = next;
                }
            }
        }
    }

    /// Splits the node in `at` into two: the bits shared with `key`, and below them the rest of its
    /// bits. Adds a leaf for `key` unless it ends at the split.
    fn split(&mut self, at: SlotIndex, depth: usize, common: usize, key: &[u8], value: &[u8]) {
        let end = depth + common;
        let branch = Bits::of(key).bit(end);
        let leaf = branch.map(|_| self.add_leaf(key, end + 1, value));
        let node = self.node(at).clone();
        let old_bit = self.key(&node).bit(common).unwrap_or_default();
        let lower = self.add(Node {
            key_start: node.key_start + common + 1,
            key_len: key_len(node.bit_count() - common - 1),
            id: AtomId::ZERO,
            state: State::Changed,
            ..node
        });
        let value = match leaf {
            None => self.arena.add_value(value),
            Some(_) => None,
        };
        let upper = self.change(at);
        upper.key_len = key_len(common);
        upper.value = value;
        upper.children = [None; 2];
        *child_mut(&mut upper.children, old_bit) = Some(lower);
        if let Some(leaf) = leaf {
            *child_mut(&mut upper.children, !old_bit) = Some(leaf);
        }
    }

    /// Removes a node without children. If its parent has no value, merges the parent with its
    /// other child.
    fn remove_leaf<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        at: SlotIndex,
        depth: usize,
    ) -> Result<(), TrieError<S::Error>> {
        let Some(&(parent, bit)) = self.path.last() else {
            self.root = None;
            self.release(at);
            return Ok(());
        };
        let above = self.node(parent);
        if above.value.is_none() && child(above, !bit).is_some() {
            let parent_depth = depth - 1 - above.bit_count();
            self.merge(source, parent, parent_depth, !bit)?;
            self.path.pop();
        } else {
            *child_mut(&mut self.change(parent).children, bit) = None;
        }
        self.release(at);
        Ok(())
    }

    /// Replaces a parent, which has no value and no other child, with the child for `bit`.
    fn merge<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        parent: SlotIndex,
        depth: usize,
        bit: bool,
    ) -> Result<(), TrieError<S::Error>> {
        let Some(below) = child(self.node(parent), bit) else {
            return Ok(());
        };
        let child_depth = depth + self.node(parent).bit_count() + 1;
        self.load(source, below, child_depth)?;
        let (upper, lower) = (self.node(parent), self.node(below));
        let mut bits = BitBuf::default();
        (0..depth % 8).for_each(|_| bits.push(false));
        bits.extend(self.key(upper));
        bits.push(bit);
        bits.extend(self.key(lower));
        let len = upper.bit_count() + 1 + lower.bit_count();
        let (value, children) = (lower.value, lower.children);
        let key_start = self.arena.add(bits.as_bytes()) * 8 + depth % 8;
        *self.change(parent) = Node {
            key_start,
            key_len: key_len(len),
            value,
            children,
            ..Node::EMPTY
        };
        self.release(below);
        Ok(())
    }

    /// Loads the node in `at`; its bits start at `depth` of every key through it.
    fn load<S: AtomSource + ?Sized>(
        &mut self,
        source: &S,
        at: SlotIndex,
        depth: usize,
    ) -> Result<(), TrieError<S::Error>> {
        let node = self.node(at);
        if node.state != State::Unloaded {
            return Ok(());
        }
        let id = node.id;
        let stored = StoredNode::load(source, id)?;
        let len = stored.key().len();
        if depth + len > MAX_PATH_BITS {
            return Err(TrieError::Malformed {
                node: id,
                problem: "its path exceeds the maximum key length",
            });
        }
        let mut bits = BitBuf::default();
        (0..depth % 8).for_each(|_| bits.push(false));
        bits.extend(stored.key());
        let key_start = self.arena.add(bits.as_bytes()) * 8 + depth % 8;
        let mut children = [None; 2];
        for (place, bit) in children.iter_mut().zip([false, true]) {
            let child = stored.child(bit);
            *place = (!child.is_zero()).then(|| self.add(Node::unloaded(child)));
        }
        let value = self.arena.add_value(stored.value());
        *self.node_mut(at) = Node {
            id,
            key_start,
            value,
            children,
            key_len: key_len(len),
            state: State::Stored,
        };
        Ok(())
    }

    fn mark_path(&mut self) {
        let path = core::mem::take(&mut self.path);
        path.iter().for_each(|(at, _)| {
            self.change(*at);
        });
        self.path = path;
    }
}
