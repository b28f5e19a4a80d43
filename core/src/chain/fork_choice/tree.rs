//! Tree of the known branches, stored as runs of blocks.
//!
//! Invariants, after [`Tree::normalize`]:
//! - A [`Segment`] ends in a tip (no child), a fork (at least two children), or a boundary: a block
//!   that the caller wants at the end of a segment, or one below forgotten blocks.
//! - The root is one block: the last that all tips and the node's own block share.
//! - A segment with a known `stake` has a parent with a known `table`.

use super::{IndexedBlock, StakeView};
use crate::atom::AtomId;
use crate::chain::Address;
use crate::integer::Natural;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

/// Key of a segment; never reused.
pub(super) type Key = u64;

/// Block, reduced to the fields that the tree needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) id: AtomId,
    pub(super) producer: Address,
}

impl Step {
    pub(super) const fn new(id: AtomId, block: &IndexedBlock) -> Self {
        Self {
            id,
            producer: block.producer,
        }
    }
}

/// Run of consecutive blocks without a fork between them.
#[derive(Debug)]
pub(super) struct Segment<T> {
    /// Segment whose last block is the parent of this segment's first block; `None` for the root.
    pub(super) parent: Option<Key>,
    pub(super) children: Vec<Key>,
    /// Lowest block, including forgotten ones.
    pub(super) first: AtomId,
    /// Height of the first of `steps`.
    height: u64,
    /// Blocks, ascending, except those that were [forgotten](Tree::forget); at least one.
    steps: Vec<Step>,
    /// Producers of the forgotten blocks.
    forgotten: BTreeSet<Address>,
    /// Producers of all blocks.
    producers: BTreeSet<Address>,
    /// Maximum height in this segment and those above it.
    pub(super) top: u64,
    /// Stake of the producers of this segment and those above it, as of the parent's last block.
    pub(super) stake: Option<Natural>,
    /// Stakes as of the last block, if it is a fork that was measured.
    pub(super) table: Option<T>,
}

impl<T> Segment<T> {
    pub(super) fn last_height(&self) -> u64 {
        let above = self.steps.len().saturating_sub(1);
        self.height.saturating_add(above as u64)
    }

    /// Returns the last block of the segment.
    pub(super) fn last(&self) -> AtomId {
        self.steps.last().map_or(AtomId::ZERO, |step| step.id)
    }

    /// Returns the index in `steps` of the block of this height.
    fn position(&self, height: u64) -> Option<usize> {
        let position = usize::try_from(height.checked_sub(self.height)?).ok()?;
        (position < self.steps.len()).then_some(position)
    }

    fn count_producers(&mut self) {
        let explicit = self.steps.iter().map(|step| step.producer);
        self.producers = explicit.chain(self.forgotten.iter().copied()).collect();
    }
}

/// Tree of segments. `T` holds the stakes as of one block.
#[derive(Debug)]
pub(super) struct Tree<T> {
    segments: BTreeMap<Key, Segment<T>>,
    /// Segment and height of each block that is not forgotten.
    blocks: BTreeMap<AtomId, (Key, u64)>,
    root: Key,
    next_key: Key,
}

impl<T: StakeView> Tree<T> {
    /// Creates a tree of one block.
    pub(super) fn new(step: Step, height: u64) -> Self {
        let mut tree = Self {
            segments: BTreeMap::new(),
            blocks: BTreeMap::new(),
            root: 0,
            next_key: 0,
        };
        tree.root = tree.add_segment(None, height, vec![step]);
        tree
    }

    pub(super) const fn root(&self) -> Key {
        self.root
    }

    pub(super) fn segment(&self, key: Key) -> Option<&Segment<T>> {
        self.segments.get(&key)
    }

    /// Returns the segment and the height of a block of the tree.
    pub(super) fn find(&self, id: &AtomId) -> Option<(Key, u64)> {
        self.blocks.get(id).copied()
    }

    /// Returns the number of blocks that are not forgotten.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Returns the block at the root and its height.
    pub(super) fn root_block(&self) -> Option<(AtomId, u64)> {
        let root = self.segment(self.root)?;
        Some((root.steps.first()?.id, root.height))
    }

    /// Returns the segments that end in a tip.
    pub(super) fn leaves(&self) -> impl Iterator<Item = (Key, &Segment<T>)> {
        let segments = self.segments.iter().map(|(key, segment)| (*key, segment));
        segments.filter(|(_, segment)| segment.children.is_empty())
    }

    /// Returns the segments from the root to `key`, including both.
    pub(super) fn path(&self, key: Key) -> Vec<Key> {
        let mut path = Vec::new();
        let mut at = Some(key);
        while let Some(key) = at {
            path.push(key);
            at = self.segment(key).and_then(|segment| segment.parent);
        }
        path.reverse();
        path
    }

    /// Returns whether the chain of `id` contains `ancestor`; both are blocks of the tree.
    pub(super) fn descends(&self, id: &AtomId, ancestor: &AtomId) -> bool {
        self.common(id, ancestor)
            .is_some_and(|(common, _)| common == *ancestor)
    }

    /// Returns the last block, with its height, that the chains of two blocks of the tree share.
    pub(super) fn common(&self, a: &AtomId, b: &AtomId) -> Option<(AtomId, u64)> {
        let ((a, height_a), (b, height_b)) = (self.find(a)?, self.find(b)?);
        let (path_a, path_b) = (self.path(a), self.path(b));
        let shared = path_a.iter().zip(&path_b).take_while(|(a, b)| a == b);
        let (key, _) = shared.last()?;
        let segment = self.segment(*key)?;
        let height = segment.last_height().min(height_a).min(height_b);
        let step = segment.steps.get(segment.position(height)?)?;
        Some((step.id, height))
    }

    /// Returns the highest tip above the lowest block of `key`; of equally high ones the lower id.
    pub(super) fn highest(&self, key: Key) -> Option<AtomId> {
        let top = self.segment(key)?.top;
        let mut best: Option<AtomId> = None;
        let mut rest = vec![key];
        while let Some(segment) = rest.pop().and_then(|key| self.segment(key)) {
            if segment.children.is_empty() {
                let tip = segment.last();
                best = Some(best.map_or(tip, |best| best.min(tip)));
            }
            let is_top = |key: &&Key| self.segment(**key).is_some_and(|it| it.top == top);
            rest.extend(segment.children.iter().filter(is_top));
        }
        best
    }

    /// Adds the blocks of `path`, ascending, above `parent`, a block of the tree.
    pub(super) fn extend(&mut self, parent: &AtomId, path: &[Step]) {
        let (Some((key, height)), Some((first, rest))) = (self.find(parent), path.split_first())
        else {
            return;
        };
        let height = height.saturating_add(1);
        let is_inside = self
            .segment(key)
            .is_some_and(|segment| segment.position(height).is_some());
        if is_inside {
            self.split(key, height);
        }
        let is_tip = self.segment(key).is_some_and(|it| it.children.is_empty());
        let leaf = if is_tip {
            self.append(key, *first);
            key
        } else {
            let leaf = self.add_segment(Some(key), height, vec![*first]);
            self.raise_top(key, height);
            self.count(Some(key), Some(leaf), &first.producer, true);
            leaf
        };
        for step in rest {
            self.append(leaf, *step);
        }
    }

    /// Returns whether a branch above `fork` that begins with `first` leaves another branch at a
    /// block that was forgotten.
    pub(super) fn is_forgotten(&self, fork: &AtomId, first: &AtomId) -> bool {
        let segment = self.find(fork).and_then(|(key, _)| self.segment(key));
        let mut children = segment.into_iter().flat_map(|segment| &segment.children);
        children.any(|key| self.segment(*key).is_some_and(|it| it.first == *first))
    }

    /// Makes `fork` the root; `path` has the blocks between it and the current root, ascending.
    pub(super) fn deepen(&mut self, fork: Step, height: u64, path: Vec<Step>) {
        let old = self.root;
        self.root = self.add_segment(None, height, vec![fork]);
        let height = height.saturating_add(1);
        for (height, step) in (height..).zip(&path) {
            self.blocks.insert(step.id, (old, height));
        }
        let Some(segment) = self.segments.get_mut(&old) else {
            return;
        };
        segment.parent = Some(self.root);
        segment.height = height;
        segment.steps.splice(0..0, path);
        segment.first = segment.steps.first().map_or(segment.first, |it| it.id);
        segment.count_producers();
        let top = segment.top;
        if let Some(root) = self.segments.get_mut(&self.root) {
            root.children.push(old);
            root.top = top;
        }
    }

    /// Removes a segment and all segments above it, unless it is the root.
    pub(super) fn remove(&mut self, key: Key) {
        let Some(parent) = self.segment(key).and_then(|segment| segment.parent) else {
            return;
        };
        let mut producers = BTreeSet::new();
        let mut rest = vec![key];
        while let Some(segment) = rest.pop().and_then(|key| self.segments.remove(&key)) {
            for step in &segment.steps {
                self.blocks.remove(&step.id);
            }
            producers.extend(segment.producers);
            rest.extend(segment.children);
        }
        if let Some(segment) = self.segments.get_mut(&parent) {
            segment.children.retain(|child| *child != key);
        }
        self.lower_top(Some(parent));
        for producer in &producers {
            self.count(Some(parent), None, producer, false);
        }
    }

    /// Restores the invariants after blocks were added or removed or the node moved. `own` is the
    /// node's own block; it and `boundaries` become ends of segments.
    pub(super) fn normalize(&mut self, own: Option<&AtomId>, boundaries: &[AtomId]) {
        for id in own.into_iter().chain(boundaries) {
            if let Some((key, height)) = self.find(id) {
                self.split(key, height.saturating_add(1));
            }
        }
        let is_boundary = |id: AtomId| own == Some(&id) || boundaries.contains(&id);
        let root = self.root;
        let keys: Vec<Key> = self.segments.keys().copied().collect();
        for key in keys.into_iter().filter(|key| *key != root) {
            while let Some(segment) = self.segment(key)
                && !is_boundary(segment.last())
                && let [child] = *segment.children
                && self
                    .segment(child)
                    .is_some_and(|it| it.forgotten.is_empty())
            {
                self.merge(key, child);
            }
        }
        while let Some(root) = self.segments.get_mut(&self.root) {
            let above = root.steps.len().saturating_sub(1);
            root.height = root.last_height();
            for step in root.steps.drain(..above) {
                self.blocks.remove(&step.id);
            }
            root.forgotten.clear();
            root.count_producers();
            root.first = root.last();
            root.stake = None;
            let last = root.last();
            match *root.children {
                [child] if own != Some(&last) => {
                    self.segments.remove(&self.root);
                    self.blocks.remove(&last);
                    self.root = child;
                    if let Some(child) = self.segments.get_mut(&child) {
                        child.parent = None;
                    }
                }
                _ => break,
            }
        }
    }

    /// Forgets the lower half of the longest segment: its blocks and their producers stay counted,
    /// but no branch can be added there. Returns `false` if every segment has one block.
    pub(super) fn forget(&mut self) -> bool {
        let halves = self
            .segments
            .iter()
            .map(|(key, segment)| (segment.steps.len() / 2, *key));
        let Some((count, key)) = halves.max().filter(|(count, _)| *count > 0) else {
            return false;
        };
        if let Some(segment) = self.segments.get_mut(&key) {
            segment.height = segment.height.saturating_add(count as u64);
            for step in segment.steps.drain(..count) {
                self.blocks.remove(&step.id);
                segment.forgotten.insert(step.producer);
            }
        }
        true
    }

    /// Computes the stakes of the branches above the end of `key`.
    ///
    /// # Errors
    /// Returns the last block of `key` if the stakes as of it are not available.
    pub(super) fn measure(
        &mut self,
        key: Key,
        table: impl FnOnce(&AtomId) -> Option<T>,
    ) -> Result<(), AtomId> {
        let Some(segment) = self.segments.get_mut(&key) else {
            return Ok(());
        };
        if segment.table.is_none() {
            let fork = segment.last();
            segment.table = Some(table(&fork).ok_or(fork)?);
        }
        let unmeasured = |key: &&Key| self.segment(**key).is_some_and(|it| it.stake.is_none());
        let children = self.segment(key).map(|segment| &segment.children);
        let children: Vec<Key> = children
            .into_iter()
            .flatten()
            .filter(unmeasured)
            .copied()
            .collect();
        for child in children {
            let producers = self.producers_from(child);
            let table = self.segment(key).and_then(|it| it.table.as_ref());
            let stake = table.map(|table| producers.iter().map(|it| table.stake(it)).sum());
            if let Some(segment) = self.segments.get_mut(&child) {
                segment.stake = stake;
            }
        }
        Ok(())
    }

    /// Returns the stake of the producers of a segment that ends in a tip, if necessary as of a
    /// lower fork: only for comparisons that do not decide the head. `None` if no fork below was
    /// measured.
    pub(super) fn weight(&self, key: Key) -> Option<Natural> {
        let leaf = self.segment(key)?;
        if let Some(stake) = &leaf.stake {
            return Some(stake.clone());
        }
        let mut at = leaf.parent;
        while let Some(segment) = at.and_then(|key| self.segment(key)) {
            if let Some(table) = &segment.table {
                return Some(leaf.producers.iter().map(|it| table.stake(it)).sum());
            }
            at = segment.parent;
        }
        None
    }

    fn producers_from(&self, key: Key) -> BTreeSet<Address> {
        let mut all = BTreeSet::new();
        let mut rest = vec![key];
        while let Some(segment) = rest.pop().and_then(|key| self.segment(key)) {
            all.extend(segment.producers.iter().copied());
            rest.extend(&segment.children);
        }
        all
    }

    /// Returns whether `producer` made a block in `key` or above it, except in `skip` and above
    /// that.
    fn has_produced(&self, key: Key, skip: Option<Key>, producer: &Address) -> bool {
        let mut rest = vec![key];
        while let Some(segment) = rest.pop().and_then(|key| self.segment(key)) {
            if segment.producers.contains(producer) {
                return true;
            }
            let children = segment.children.iter();
            rest.extend(children.filter(|child| Some(**child) != skip));
        }
        false
    }

    /// Adds the stake of `producer` to the branches that begin with `at` and the segments below it,
    /// or subtracts it. Stops at the first segment for which it made another block than those above
    /// `from`.
    fn count(
        &mut self,
        mut at: Option<Key>,
        mut from: Option<Key>,
        producer: &Address,
        is_added: bool,
    ) {
        while let Some(key) = at {
            if self.has_produced(key, from, producer) {
                return;
            }
            self.change_stake(key, producer, is_added);
            from = at;
            at = self.segment(key).and_then(|segment| segment.parent);
        }
    }

    fn change_stake(&mut self, key: Key, producer: &Address, is_added: bool) {
        let parent = self.segment(key).and_then(|segment| segment.parent);
        let table = parent.and_then(|key| self.segment(key)?.table.as_ref());
        let stake = table.map(|table| table.stake(producer));
        if let Some(segment) = self.segments.get_mut(&key) {
            let change = segment.stake.take().zip(stake);
            segment.stake = change.and_then(|(sum, stake)| {
                if is_added {
                    Some(&sum + &stake)
                } else {
                    sum.checked_sub(&stake)
                }
            });
        }
    }

    fn add_segment(&mut self, parent: Option<Key>, height: u64, steps: Vec<Step>) -> Key {
        let key = self.next_key;
        self.next_key = key.saturating_add(1);
        for (height, step) in (height..).zip(&steps) {
            self.blocks.insert(step.id, (key, height));
        }
        let mut segment = Segment {
            parent,
            children: Vec::new(),
            first: steps.first().map_or(AtomId::ZERO, |step| step.id),
            height,
            steps,
            forgotten: BTreeSet::new(),
            producers: BTreeSet::new(),
            top: 0,
            stake: None,
            table: None,
        };
        segment.top = segment.last_height();
        segment.count_producers();
        self.segments.insert(key, segment);
        if let Some(parent) = parent.and_then(|parent| self.segments.get_mut(&parent)) {
            parent.children.push(key);
        }
        key
    }

    /// Appends a block to a segment that ends in a tip.
    fn append(&mut self, key: Key, step: Step) {
        let Some(segment) = self.segments.get_mut(&key) else {
            return;
        };
        segment.steps.push(step);
        let height = segment.last_height();
        let parent = segment.parent;
        self.blocks.insert(step.id, (key, height));
        let is_new = segment.producers.insert(step.producer);
        self.raise_top(key, height);
        if is_new {
            self.change_stake(key, &step.producer, true);
            self.count(parent, Some(key), &step.producer, true);
        }
    }

    /// Moves the blocks from `height` on, if there are any, into a new segment above the rest.
    fn split(&mut self, key: Key, height: u64) {
        let Some(segment) = self.segments.get_mut(&key) else {
            return;
        };
        // At position 0 only forgotten blocks would stay.
        let Some(position) = segment.position(height).filter(|at| *at > 0) else {
            return;
        };
        let above = segment.steps.split_off(position);
        segment.count_producers();
        let children = core::mem::take(&mut segment.children);
        let (table, top) = (segment.table.take(), segment.top);
        let upper = self.add_segment(Some(key), height, above);
        for child in &children {
            if let Some(child) = self.segments.get_mut(child) {
                child.parent = Some(upper);
            }
        }
        if let Some(upper) = self.segments.get_mut(&upper) {
            upper.children = children;
            upper.table = table;
            upper.top = top;
        }
    }

    /// Merges a segment with its only child.
    fn merge(&mut self, key: Key, child: Key) {
        let Some(child) = self.segments.remove(&child) else {
            return;
        };
        for (height, step) in (child.height..).zip(&child.steps) {
            self.blocks.insert(step.id, (key, height));
        }
        for grandchild in &child.children {
            if let Some(grandchild) = self.segments.get_mut(grandchild) {
                grandchild.parent = Some(key);
            }
        }
        if let Some(segment) = self.segments.get_mut(&key) {
            segment.steps.extend(child.steps);
            segment.producers.extend(child.producers);
            segment.children = child.children;
            segment.table = child.table;
            segment.top = child.top;
        }
    }

    fn raise_top(&mut self, key: Key, top: u64) {
        let mut at = Some(key);
        while let Some(segment) = at.and_then(|key| self.segments.get_mut(&key)) {
            if segment.top >= top {
                return;
            }
            segment.top = top;
            at = segment.parent;
        }
    }

    fn lower_top(&mut self, mut at: Option<Key>) {
        while let Some(key) = at
            && let Some(segment) = self.segment(key)
        {
            let children = segment.children.iter();
            let tops = children.filter_map(|child| Some(self.segment(*child)?.top));
            let top = tops.fold(segment.last_height(), u64::max);
            at = segment.parent;
            if let Some(segment) = self.segments.get_mut(&key) {
                segment.top = top;
            }
        }
    }
}
