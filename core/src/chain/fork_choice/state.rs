//! Insertion of blocks, head moves, and the operator's decisions.

use super::tree::{Key, Step, Tree};
use super::{
    BlockIndex, Checkpoint, ForkChoice, IndexedBlock, InsertError, MAX_AVOIDED, MAX_BLOCKS,
    MAX_TIPS, MAX_WALK, Settings, StakeView, Tip,
};
use crate::atom::AtomId;
use crate::chain::Address;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::cmp::Reverse;

impl<T: StakeView> ForkChoice<T> {
    /// Creates a fork choice without blocks.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self {
            settings,
            tree: None,
            head: None,
            own: None,
            anchor: 0,
            avoided: BTreeSet::new(),
            adopted: None,
            checkpoint: None,
        }
    }

    /// Returns the head as of the last [`ForkChoice::set_head`].
    #[must_use]
    pub fn head(&self) -> Option<AtomId> {
        self.head.map(|(id, _)| id)
    }

    /// Inserts a verified block with the blocks that connect it to the known ones. Inserting a
    /// block again, or one that all branches contain, changes nothing.
    ///
    /// `latest` is the latest accepted timestamp, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// Returns an [`InsertError`] if the block does not compete.
    pub fn insert<I: BlockIndex + ?Sized>(
        &mut self,
        index: &I,
        tip: Tip,
        latest: u64,
    ) -> Result<(), InsertError> {
        let block = lookup(index, &tip.id)?;
        if block.timestamp > latest {
            return Err(InsertError::Early {
                timestamp: block.timestamp,
            });
        }
        let is_free = self.head.is_none() && self.tree.is_none();
        if is_free {
            let clean = self.unavoided_part(index, tip.id, block.height);
            if clean != Some((tip.id, block.height)) {
                return Err(InsertError::Avoided(tip.id));
            }
            self.start(index, tip, &block)?;
        } else {
            self.attach(index, tip, true)?;
        }
        self.evict(&tip.id);
        self.settle();
        Ok(())
    }

    /// Sets the head. A block that is not inserted yet is inserted regardless of its timestamp.
    /// Known blocks that the index does not connect to it are dropped.
    ///
    /// # Errors
    /// Returns [`InsertError::NotIndexed`] if the block itself is not in the index.
    pub fn set_head<I: BlockIndex + ?Sized>(
        &mut self,
        index: &I,
        id: AtomId,
    ) -> Result<(), InsertError> {
        let height = lookup(index, &id)?.height;
        let before = self.own;
        self.head = Some((id, height));
        self.own = self.unavoided_part(index, id, height);
        if let Some((own, _)) = self.own {
            // If it does not connect, the tree is rebuilt from it.
            let _ = self.attach(index, Tip::from(own), false);
        }
        let is_known = |id: AtomId| self.tree.as_ref().is_some_and(|it| it.find(&id).is_some());
        if !self.own.is_some_and(|(own, _)| is_known(own)) {
            let tips = self.tips();
            self.build_tree(index, &tips);
        }
        let fork = match (before, self.own, &self.tree) {
            (Some((before, _)), Some((own, _)), Some(tree)) => tree.common(&before, &own),
            _ => None,
        };
        let floor = height.saturating_sub(self.settings.max_reorg_depth);
        // If the fork with the previous branch is below the anchor, the anchor falls to it.
        let kept = fork.map_or(0, |(_, fork)| self.anchor.min(fork));
        self.anchor = kept.max(floor);
        self.settle();
        Ok(())
    }

    /// Returns the height of the anchor: a branch that left the node's chain below it is not
    /// adopted without the operator. The anchor rises with the head and does not fall when the head
    /// moves to a lower branch, unless the fork is below it. The host saves it, as a height or as
    /// the block of the chain at that height.
    #[must_use]
    pub const fn anchor_height(&self) -> u64 {
        self.anchor
    }

    /// Restores the anchor of an earlier run. Call it after the head was set.
    pub fn restore_anchor(&mut self, height: u64) {
        let top = self.head.map_or(0, |(_, height)| height);
        self.anchor = self.anchor.max(height.min(top));
    }

    /// Avoids a block: branches through it are not adopted, and the node leaves such a branch if it
    /// is on one, however deep. Inserted blocks above it are forgotten. A head above it is detected
    /// as far as the index reaches: after a restart, call it again once the chain is indexed.
    /// Returns `false` and does nothing if [`MAX_AVOIDED`] other blocks are avoided.
    ///
    /// ```
    /// use astreum_core::atom::AtomId;
    /// use astreum_core::chain::fork_choice::{ForkChoice, InsertError, Settings, Tip};
    /// # use astreum_core::chain::fork_choice::{BlockIndex, IndexedBlock};
    /// # use astreum_core::chain::{Address, StakeTable};
    /// # struct Chain;
    /// # impl BlockIndex for Chain {
    /// #     fn block(&self, id: &AtomId) -> Option<IndexedBlock> {
    /// #         let height = u64::from(id.as_bytes()[0].checked_sub(1)?);
    /// #         let parent = AtomId::new([id.as_bytes()[0] - 1; 32]);
    /// #         let producer = Address::new([7; 32]);
    /// #         Some(IndexedBlock { height, parent, producer, timestamp: 2 * height })
    /// #     }
    /// # }
    /// # let index = Chain;
    /// # let mut choice = ForkChoice::<StakeTable>::new(Settings::default());
    ///
    /// let [head, bad] = [4, 5].map(|byte| AtomId::new([byte; 32]));
    /// choice.set_head(&index, head).unwrap();
    /// assert!(choice.avoid(&index, bad));
    /// let inserted = choice.insert(&index, Tip::from(bad), 100);
    /// assert_eq!(inserted, Err(InsertError::Avoided(bad)));
    /// assert!(choice.stop_avoiding(&index, &bad));
    /// assert_eq!(choice.insert(&index, Tip::from(bad), 100), Ok(()));
    /// ```
    pub fn avoid<I: BlockIndex + ?Sized>(&mut self, index: &I, id: AtomId) -> bool {
        if self.avoided.len() >= MAX_AVOIDED && !self.avoided.contains(&id) {
            return false;
        }
        self.avoided.insert(id);
        if self.adopted == Some(id) {
            self.adopted = None;
        }
        self.rebuild(index);
        true
    }

    /// Reverts [`ForkChoice::avoid`]. The host should insert its tips again. Returns whether the
    /// block was avoided.
    pub fn stop_avoiding<I: BlockIndex + ?Sized>(&mut self, index: &I, id: &AtomId) -> bool {
        let was_avoided = self.avoided.remove(id);
        if was_avoided {
            self.rebuild(index);
        }
        was_avoided
    }

    /// Returns the avoided blocks.
    pub fn avoided(&self) -> impl Iterator<Item = &AtomId> {
        self.avoided.iter()
    }

    /// Adopts a branch: the branch through this block is preferred to all others, regardless of the
    /// rule and of its depth. Replaces an earlier decision; `None` revokes it. The block need not
    /// be known yet. It is no longer avoided.
    ///
    /// ```
    /// use astreum_core::atom::AtomId;
    /// use astreum_core::chain::fork_choice::{ForkChoice, Settings};
    /// # use astreum_core::chain::fork_choice::{BlockIndex, IndexedBlock};
    /// # use astreum_core::chain::StakeTable;
    /// # struct Index;
    /// # impl BlockIndex for Index {
    /// #     fn block(&self, _: &AtomId) -> Option<IndexedBlock> {
    /// #         None
    /// #     }
    /// # }
    /// # let index = Index;
    /// # let mut choice = ForkChoice::<StakeTable>::new(Settings::default());
    /// // The block need not be known yet.
    /// let first_of_branch = AtomId::new([7; 32]);
    /// choice.adopt(&index, Some(first_of_branch));
    /// assert_eq!(choice.adopted(), Some(first_of_branch));
    /// choice.adopt(&index, None);
    /// assert_eq!(choice.adopted(), None);
    /// ```
    pub fn adopt<I: BlockIndex + ?Sized>(&mut self, index: &I, id: Option<AtomId>) {
        self.adopted = id;
        if let Some(id) = id {
            self.stop_avoiding(index, &id);
        }
        self.settle();
    }

    /// Returns the block of the last [`ForkChoice::adopt`]; `None` if there is no such decision.
    #[must_use]
    pub const fn adopted(&self) -> Option<AtomId> {
        self.adopted
    }

    /// Configures the checkpoint: a chain without it is never adopted. A branch with it is
    /// preferred to all others; without such a branch, the node keeps its head.
    ///
    /// ```
    /// use astreum_core::atom::AtomId;
    /// use astreum_core::chain::fork_choice::{ForkChoice, InsertError, Settings, Tip};
    /// # use astreum_core::chain::fork_choice::{BlockIndex, IndexedBlock};
    /// # use astreum_core::chain::{Address, StakeTable};
    /// # struct Chain;
    /// # impl BlockIndex for Chain {
    /// #     fn block(&self, id: &AtomId) -> Option<IndexedBlock> {
    /// #         let height = u64::from(id.as_bytes()[0].checked_sub(1)?);
    /// #         let parent = AtomId::new([id.as_bytes()[0] - 1; 32]);
    /// #         let producer = Address::new([7; 32]);
    /// #         Some(IndexedBlock { height, parent, producer, timestamp: 2 * height })
    /// #     }
    /// # }
    /// # let index = Chain;
    /// # let mut choice = ForkChoice::<StakeTable>::new(Settings::default());
    ///
    /// // The chain of the tip contains the checkpoint.
    /// let [checkpoint, tip] = [4, 9].map(|byte| AtomId::new([byte; 32]));
    /// choice.set_checkpoint(&index, checkpoint);
    /// assert_eq!(choice.insert(&index, Tip::from(tip), 100), Ok(()));
    /// assert_eq!(choice.checkpoint_height(), Some(3));
    /// ```
    pub fn set_checkpoint<I: BlockIndex + ?Sized>(&mut self, index: &I, id: AtomId) {
        let height = self.own.and_then(|own| height_in_chain(index, own, &id));
        self.checkpoint = Some(match height {
            Some(height) => Checkpoint::Contained(id, height),
            None => Checkpoint::Pending(id),
        });
        self.settle();
    }

    /// Configures a checkpoint that the head's chain is known to contain, without reading the
    /// index; used after a restart.
    pub fn restore_checkpoint(&mut self, id: AtomId, height: u64) {
        self.checkpoint = Some(Checkpoint::Contained(id, height));
        self.settle();
    }

    /// Returns the height of the checkpoint once all branches contain it.
    #[must_use]
    pub const fn checkpoint_height(&self) -> Option<u64> {
        match self.checkpoint {
            Some(Checkpoint::Contained(_, height)) => Some(height),
            _ => None,
        }
    }

    /// Starts the tree with a first block if there is no head.
    fn start<I: BlockIndex + ?Sized>(
        &mut self,
        index: &I,
        tip: Tip,
        block: &IndexedBlock,
    ) -> Result<(), InsertError> {
        if let Some(Checkpoint::Pending(id)) = self.checkpoint {
            match height_in_chain(index, (tip.id, block.height), &id) {
                Some(height) => self.checkpoint = Some(Checkpoint::Contained(id, height)),
                None if tip.leads_to_checkpoint => (),
                None => return Err(InsertError::LacksCheckpoint),
            }
        }
        self.tree = Some(Tree::new(Step::new(tip.id, block), block.height));
        Ok(())
    }

    /// Connects a block to the tree. `is_checked` rejects blocks that are avoided or lack the
    /// checkpoint.
    fn attach<I: BlockIndex + ?Sized>(
        &mut self,
        index: &I,
        tip: Tip,
        is_checked: bool,
    ) -> Result<(), InsertError> {
        let Some(tree) = &self.tree else {
            return Err(InsertError::NotIndexed(tip.id));
        };
        let Some((root, root_height)) = tree.root_block() else {
            return Err(InsertError::NotIndexed(tip.id));
        };
        // Blocks above the tree, and blocks of the chain below it, both descending.
        let mut above: Vec<Step> = Vec::new();
        let mut below: Vec<Step> = Vec::new();
        let (mut at, mut block) = (tip.id, None);
        let (mut ours, mut ours_height, mut ours_block) = (root, root_height, None);
        while tree.find(&at).is_none() && at != ours {
            if above.len().max(below.len()) >= MAX_WALK {
                return Err(InsertError::TooDeep);
            }
            let current = match block.take() {
                Some(block) => block,
                None => lookup(index, &at)?,
            };
            if current.height >= ours_height {
                if is_checked && self.avoided.contains(&at) {
                    return Err(InsertError::Avoided(at));
                }
                above.push(Step::new(at, &current));
                at = parent(&current)?;
            } else {
                block = Some(current);
                let upper = match ours_block {
                    Some(block) => block,
                    None => lookup(index, &ours)?,
                };
                ours = parent(&upper)?;
                let lower = lookup(index, &ours)?;
                below.push(Step::new(ours, &lower));
                (ours_height, ours_block) = (lower.height, Some(lower));
            }
        }
        if above.is_empty() {
            return Ok(());
        }
        let fork_height = tree.find(&at).map_or(ours_height, |(_, height)| height);
        if above
            .last()
            .is_some_and(|first| tree.is_forgotten(&at, &first.id))
        {
            return Err(InsertError::TooDeep);
        }
        if is_checked {
            self.check_checkpoint(tip, at, fork_height, &above)?;
        }
        let Some(tree) = &mut self.tree else {
            return Ok(());
        };
        if let Some(fork) = below.pop() {
            below.reverse();
            tree.deepen(fork, fork_height, below);
        }
        above.reverse();
        tree.extend(&at, &above);
        Ok(())
    }

    fn check_checkpoint(
        &self,
        tip: Tip,
        fork: AtomId,
        fork_height: u64,
        above: &[Step],
    ) -> Result<(), InsertError> {
        let is_on_tree = |id: &AtomId| {
            let tree = self.tree.as_ref();
            tree.is_some_and(|tree| tree.find(id).is_some() && tree.descends(&fork, id))
        };
        let has_checkpoint = match &self.checkpoint {
            None => true,
            Some(Checkpoint::Contained(_, height)) => fork_height >= *height,
            Some(Checkpoint::Pending(id)) => {
                tip.leads_to_checkpoint || above.iter().any(|step| step.id == *id) || is_on_tree(id)
            }
        };
        if has_checkpoint {
            Ok(())
        } else {
            Err(InsertError::LacksCheckpoint)
        }
    }

    /// Returns the highest block of the chain of `id` below all avoided blocks, with its height;
    /// `None` if there is no such block.
    fn unavoided_part<I: BlockIndex + ?Sized>(
        &self,
        index: &I,
        id: AtomId,
        height: u64,
    ) -> Option<(AtomId, u64)> {
        let heights = self.avoided.iter().filter_map(|id| index.block(id));
        let mut clean = Some((id, height));
        let Some(lowest) = heights.map(|block| block.height).min() else {
            return clean;
        };
        let mut at = id;
        // The blocks of the tree, and those below it, are not avoided.
        let is_clean = |id: &AtomId| self.tree.as_ref().is_some_and(|it| it.find(id).is_some());
        while !is_clean(&at)
            && let Some(block) = index.block(&at)
            && block.height >= lowest
        {
            if self.avoided.contains(&at) {
                let below = block.height.checked_sub(1);
                clean = below.map(|height| (block.parent, height));
            }
            at = block.parent;
        }
        clean
    }

    fn tips(&self) -> Vec<AtomId> {
        let tree = self.tree.iter();
        tree.flat_map(|tree| tree.leaves().map(|(_, leaf)| leaf.last()))
            .collect()
    }

    /// Rebuilds the tree from its tips, without avoided blocks.
    fn rebuild<I: BlockIndex + ?Sized>(&mut self, index: &I) {
        let tips = self.tips();
        self.tree = None;
        let head = self.head;
        self.own = head.and_then(|(id, height)| self.unavoided_part(index, id, height));
        self.build_tree(index, &tips);
        self.settle();
    }

    /// Creates a tree from the node's own block and the parts of the chains of `tips` below all
    /// avoided blocks.
    fn build_tree<I: BlockIndex + ?Sized>(&mut self, index: &I, tips: &[AtomId]) {
        let tree = |(id, height)| Tree::new(root(index, id), height);
        self.tree = self.own.map(tree);
        for tip in tips {
            let height = index.block(tip).map(|block| block.height);
            let clean = height.and_then(|height| self.unavoided_part(index, *tip, height));
            match clean {
                Some(clean) if self.tree.is_none() && self.head.is_none() => {
                    self.tree = Some(tree(clean));
                }
                // It was inserted before and therefore checked; blocks that no longer connect are
                // dropped.
                Some((id, _)) => drop(self.attach(index, Tip::from(id), false)),
                None => (),
            }
        }
    }

    /// Enforces the maximum number of tips. The branches with the least blocks times stake above
    /// their last fork are removed first, but not that of `new`, which no decision has seen yet.
    fn evict(&mut self, new: &AtomId) {
        let own = self.own.map(|(id, _)| id);
        let kept: Vec<Key> = [Some(*new), own, self.adopted]
            .into_iter()
            .flatten()
            .filter_map(|id| Some(self.tree.as_ref()?.find(&id)?.0))
            .collect();
        while let Some(tree) = &mut self.tree
            && tree.leaves().count() > MAX_TIPS
        {
            let free = tree.leaves().filter(|(key, _)| !kept.contains(key));
            let least = free.min_by_key(|(key, leaf)| {
                let parent = leaf.parent.and_then(|parent| tree.segment(parent));
                let below = parent.map_or(0, |parent| parent.last_height());
                let blocks = leaf.top.saturating_sub(below);
                let score = tree.weight(*key).map(|weight| &weight * &blocks.into());
                // Without known stakes it may have any weight.
                (
                    score.is_none(),
                    score,
                    blocks,
                    leaf.top,
                    Reverse(leaf.last()),
                )
            });
            let Some((key, _)) = least else {
                return;
            };
            tree.remove(key);
        }
    }

    /// Restores the invariants of the tree and its bounds.
    pub(super) fn settle(&mut self) {
        let Some(tree) = &mut self.tree else {
            return;
        };
        let own = self.own.map(|(id, _)| id);
        let pending = match self.checkpoint {
            Some(Checkpoint::Pending(id)) => tree.find(&id).map(|(_, height)| (id, height)),
            _ => None,
        };
        let checkpoint = pending.map(|(id, _)| id);
        let boundaries: Vec<AtomId> = self.adopted.into_iter().chain(checkpoint).collect();
        tree.normalize(own.as_ref(), &boundaries);
        while tree.len() > MAX_BLOCKS && tree.forget() {}
        // The root has risen to the checkpoint or above it, so every branch contains it.
        if let Some((id, height)) = pending
            && tree.root_block().is_some_and(|(_, root)| root >= height)
        {
            self.checkpoint = Some(Checkpoint::Contained(id, height));
        }
    }
}

fn lookup<I: BlockIndex + ?Sized>(index: &I, id: &AtomId) -> Result<IndexedBlock, InsertError> {
    index.block(id).ok_or(InsertError::NotIndexed(*id))
}

fn parent(block: &IndexedBlock) -> Result<AtomId, InsertError> {
    let is_first = block.parent.is_zero();
    (!is_first)
        .then_some(block.parent)
        .ok_or(InsertError::Unrelated)
}

/// Returns the first block of a tree.
fn root<I: BlockIndex + ?Sized>(index: &I, id: AtomId) -> Step {
    let block = index.block(&id);
    Step {
        id,
        // The producer of a root is not counted.
        producer: block.map_or(Address::new([0; 32]), |block| block.producer),
    }
}

/// Returns the height of `ancestor` if the chain of `block` contains it, as far as the index
/// reaches.
fn height_in_chain<I: BlockIndex + ?Sized>(
    index: &I,
    (mut at, mut height): (AtomId, u64),
    ancestor: &AtomId,
) -> Option<u64> {
    let wanted = index.block(ancestor)?.height;
    while height > wanted {
        let block = index.block(&at)?;
        at = block.parent;
        height = block.height.checked_sub(1)?;
    }
    (at == *ancestor).then_some(wanted)
}
