//! Persistent ordered map from validators to stakes, with sums.
//!
//! A tree of fixed depth: leaves of up to [`MAX_PIECES`] entries below three levels of branches,
//! each behind an [`Arc`]. A clone shares everything; a change copies the leaf and the branches on
//! its path, about 15 KB, and only if they are shared. Search by key and by position in the sum
//! visits one node per level. The depth is part of the types: there is no recursion at run time,
//! and no set of stakes makes the tree deeper. Only the root has more than [`MAX_PIECES`] children,
//! one per 131,000 to 262,000 entries.

use crate::arc::Arc;
use crate::chain::Address;
use crate::integer::Natural;
use alloc::vec::Vec;

/// Maximum number of entries of a leaf, and of children of a branch below the root.
const MAX_PIECES: usize = 64;

type Root = Branch<Branch<Branch<Leaf>>>;

/// Sum of stakes and number of entries of a part of the tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Totals {
    stake: Natural,
    count: u64,
}

/// Persistent map from validators to stakes.
#[derive(Clone, Debug, Default)]
pub(super) struct StakeTree {
    root: Arc<Root>,
    totals: Totals,
}

impl StakeTree {
    pub(super) const fn total(&self) -> &Natural {
        &self.totals.stake
    }

    pub(super) const fn len(&self) -> u64 {
        self.totals.count
    }

    pub(super) fn get(&self, key: &Address) -> Option<&Natural> {
        self.root.get(key)
    }

    /// Sets the stake of `key`; a stake of zero removes the entry.
    pub(super) fn set(&mut self, key: &Address, stake: Natural) {
        if stake.is_zero() && self.get(key).is_none() {
            return;
        }
        let change = Arc::make_mut(&mut self.root).set(key, stake);
        change.apply(&mut self.totals);
    }

    /// Finds the entry at which the running sum of stakes exceeds `position`, halves its stake,
    /// rounded down but to at least 1, and returns its key. `None` if the position is not below the
    /// total.
    pub(super) fn halve_at(&mut self, position: Natural) -> Option<Address> {
        if position >= self.totals.stake {
            return None;
        }
        let (key, taken) = Arc::make_mut(&mut self.root).halve_at(position)?;
        self.totals.stake = self.totals.stake.saturating_sub(&taken);
        Some(key)
    }

    /// Returns the entries ordered by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Address, &Natural)> {
        let below = self.root.pieces.iter();
        let below = below.flat_map(|child| &child.piece.pieces);
        let below = below.flat_map(|child| &child.piece.pieces);
        let entries = below.flat_map(|child| &child.piece.entries);
        entries.map(|(key, stake)| (key, stake))
    }
}

/// Stake of an entry before and after a change, for the totals above it.
struct Change {
    before: Natural,
    after: Natural,
}

impl Change {
    fn apply(&self, totals: &mut Totals) {
        totals.stake = totals.stake.saturating_sub(&self.before) + &self.after;
        let added = u64::from(!self.after.is_zero());
        let removed = u64::from(!self.before.is_zero());
        totals.count = (totals.count + added).saturating_sub(removed);
    }
}

/// Leaf or branch.
trait Piece: Clone + Default {
    fn get(&self, key: &Address) -> Option<&Natural>;
    fn set(&mut self, key: &Address, stake: Natural) -> Change;
    /// Halves a stake as [`StakeTree::halve_at`]; returns the key and the decrease of its stake.
    fn halve_at(&mut self, position: Natural) -> Option<(Address, Natural)>;
    /// Removes and returns the upper part of a piece that has too many parts.
    fn split(&mut self) -> Option<Self>;
    fn first(&self) -> Option<Address>;
    fn totals(&self) -> Totals;
}

/// Returns the index at which to split a full piece. Keys inserted in order fill their pieces.
const fn cut(is_last_new: bool) -> usize {
    if is_last_new {
        MAX_PIECES
    } else {
        MAX_PIECES / 2
    }
}

/// Entries ordered by key, without stakes of zero.
#[derive(Clone, Debug, Default)]
struct Leaf {
    entries: Vec<(Address, Natural)>,
    /// Whether the last change added the last entry.
    is_last_new: bool,
}

impl Leaf {
    fn place(&self, key: &Address) -> Result<usize, usize> {
        self.entries.binary_search_by(|(entry, _)| entry.cmp(key))
    }
}

impl Piece for Leaf {
    fn get(&self, key: &Address) -> Option<&Natural> {
        let (_, stake) = self.entries.get(self.place(key).ok()?)?;
        Some(stake)
    }

    fn set(&mut self, key: &Address, stake: Natural) -> Change {
        let after = stake.clone();
        self.is_last_new = false;
        let before = match self.place(key) {
            Ok(at) if stake.is_zero() => self.entries.remove(at).1,
            Ok(at) => {
                let entry = self.entries.get_mut(at);
                entry.map_or(Natural::ZERO, |(_, old)| core::mem::replace(old, stake))
            }
            Err(_) if stake.is_zero() => Natural::ZERO,
            Err(at) => {
                self.is_last_new = at == self.entries.len();
                self.entries.insert(at, (*key, stake));
                Natural::ZERO
            }
        };
        Change { before, after }
    }

    fn halve_at(&mut self, mut position: Natural) -> Option<(Address, Natural)> {
        for (key, stake) in &mut self.entries {
            match position.checked_sub(stake) {
                Some(rest) => position = rest,
                None => {
                    let rest = stake.half().max(Natural::ONE);
                    let taken = stake.saturating_sub(&rest);
                    *stake = rest;
                    return Some((*key, taken));
                }
            }
        }
        None
    }

    fn split(&mut self) -> Option<Self> {
        (self.entries.len() > MAX_PIECES).then(|| Self {
            entries: self.entries.split_off(cut(self.is_last_new)),
            is_last_new: self.is_last_new,
        })
    }

    fn first(&self) -> Option<Address> {
        self.entries.first().map(|(key, _)| *key)
    }

    fn totals(&self) -> Totals {
        Totals {
            stake: self.entries.iter().map(|(_, stake)| stake).sum(),
            count: self.entries.len() as u64,
        }
    }
}

/// Child of a branch, with its totals.
#[derive(Clone, Debug)]
struct Child<P> {
    /// Lowest key in the piece.
    first: Address,
    totals: Totals,
    piece: Arc<P>,
}

impl<P: Piece> Child<P> {
    fn new(piece: P) -> Option<Self> {
        Some(Self {
            first: piece.first()?,
            totals: piece.totals(),
            piece: Arc::new(piece),
        })
    }
}

/// Pieces ordered by key, without empty pieces.
#[derive(Clone, Debug)]
struct Branch<P> {
    pieces: Vec<Child<P>>,
    is_last_new: bool,
}

impl<P> Default for Branch<P> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            is_last_new: false,
        }
    }
}

impl<P: Piece> Branch<P> {
    /// Returns the index of the piece in which `key` is or belongs.
    fn place(&self, key: &Address) -> usize {
        let after = self.pieces.partition_point(|child| child.first <= *key);
        after.saturating_sub(1)
    }
}

impl<P: Piece> Piece for Branch<P> {
    fn get(&self, key: &Address) -> Option<&Natural> {
        self.pieces.get(self.place(key))?.piece.get(key)
    }

    fn set(&mut self, key: &Address, stake: Natural) -> Change {
        self.is_last_new = false;
        let at = self.place(key);
        let Some(child) = self.pieces.get_mut(at) else {
            let mut piece = P::default();
            let change = piece.set(key, stake);
            self.pieces.extend(Child::new(piece));
            return change;
        };
        let piece = Arc::make_mut(&mut child.piece);
        let change = piece.set(key, stake);
        let upper = piece.split();
        let first = piece.first();
        change.apply(&mut child.totals);
        match first {
            Some(first) => child.first = first,
            None => {
                self.pieces.remove(at);
            }
        }
        if let Some(upper) = upper.and_then(Child::new) {
            if let Some(child) = self.pieces.get_mut(at) {
                let moved = &upper.totals;
                child.totals.stake = child.totals.stake.saturating_sub(&moved.stake);
                child.totals.count = child.totals.count.saturating_sub(moved.count);
            }
            self.is_last_new = at + 1 == self.pieces.len();
            self.pieces.insert(at + 1, upper);
        }
        change
    }

    fn halve_at(&mut self, mut position: Natural) -> Option<(Address, Natural)> {
        for child in &mut self.pieces {
            match position.checked_sub(&child.totals.stake) {
                Some(rest) => position = rest,
                None => {
                    let (key, taken) = Arc::make_mut(&mut child.piece).halve_at(position)?;
                    child.totals.stake = child.totals.stake.saturating_sub(&taken);
                    return Some((key, taken));
                }
            }
        }
        None
    }

    fn split(&mut self) -> Option<Self> {
        (self.pieces.len() > MAX_PIECES).then(|| Self {
            pieces: self.pieces.split_off(cut(self.is_last_new)),
            is_last_new: self.is_last_new,
        })
    }

    fn first(&self) -> Option<Address> {
        self.pieces.first().map(|child| child.first)
    }

    fn totals(&self) -> Totals {
        let children = self.pieces.iter().map(|child| &child.totals);
        Totals {
            stake: children.clone().map(|totals| &totals.stake).sum(),
            count: children.map(|totals| totals.count).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    fn key(number: u32) -> Address {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Address::new(bytes)
    }

    fn check(tree: &StakeTree, model: &BTreeMap<Address, Natural>) {
        assert!(tree.iter().eq(model));
        assert_eq!(tree.len(), model.len() as u64);
        assert_eq!(*tree.total(), model.values().sum::<Natural>());
        assert_eq!(tree.root.totals(), tree.totals);
        for child in &tree.root.pieces {
            assert!(child.piece.pieces.len() <= MAX_PIECES);
            assert_eq!(child.piece.totals(), child.totals);
            for child in &child.piece.pieces {
                assert!(child.piece.pieces.len() <= MAX_PIECES);
                assert_eq!(child.piece.totals(), child.totals);
                for child in &child.piece.pieces {
                    assert!((1..=MAX_PIECES).contains(&child.piece.entries.len()));
                    assert_eq!(child.piece.totals(), child.totals);
                }
            }
        }
    }

    /// Inserts and removes enough keys for several full branches: in order, in reverse and
    /// scattered.
    #[test]
    fn content_is_independent_of_insertion_order() {
        let count = 20_000_u32;
        let orders: [fn(u32) -> u32; 3] = [
            |index| index,
            |index| 20_000 - index,
            |index| index.wrapping_mul(2_654_435_761),
        ];
        for order in orders {
            let (mut tree, mut model) = (StakeTree::default(), BTreeMap::new());
            for index in 0..count {
                let stake = Natural::from(u64::from(index % 97) + 1);
                tree.set(&key(order(index)), stake.clone());
                model.insert(key(order(index)), stake);
            }
            check(&tree, &model);
            let before = tree.clone();
            for index in 0..count {
                tree.set(&key(order(index)), Natural::ZERO);
                model.remove(&key(order(index)));
                if index % 4_999 == 0 {
                    check(&tree, &model);
                }
            }
            check(&tree, &model);
            assert_eq!((tree.len(), before.len()), (0, u64::from(count)));
        }
    }

    #[test]
    fn keys_in_order_fill_their_leaves() {
        let mut tree = StakeTree::default();
        for index in 0..64 * 64 * 4 {
            tree.set(&key(index), Natural::ONE);
        }
        let branches = tree
            .root
            .pieces
            .iter()
            .flat_map(|child| &child.piece.pieces);
        let leaves = branches.flat_map(|child| &child.piece.pieces);
        assert_eq!(leaves.count(), 64 * 4);
    }

    proptest! {
        #[test]
        fn is_an_ordered_map_with_sums_whose_clones_do_not_change(
            steps in proptest::collection::vec((0..400_u32, 0..5_u64), 1..600),
        ) {
            let (mut tree, mut model) = (StakeTree::default(), BTreeMap::new());
            let mut before = None;
            for (at, (number, stake)) in steps.into_iter().enumerate() {
                if at % 200 == 0 {
                    before = Some((tree.clone(), model.clone()));
                }
                tree.set(&key(number), stake.into());
                if stake == 0 {
                    model.remove(&key(number));
                } else {
                    model.insert(key(number), Natural::from(stake));
                }
                prop_assert_eq!(tree.get(&key(number)), model.get(&key(number)));
            }
            check(&tree, &model);
            if let Some((tree, model)) = before {
                check(&tree, &model);
            }
        }

        #[test]
        fn entries_are_found_by_their_position_in_the_sum(
            stakes in proptest::collection::btree_map(any::<u32>(), 1..u64::MAX, 1..300),
            position: u128,
        ) {
            let mut tree = StakeTree::default();
            for (number, stake) in &stakes {
                tree.set(&key(*number), (*stake).into());
            }
            let total: u128 = stakes.values().map(|stake| u128::from(*stake)).sum();
            let mut rest = position % total;
            let expected = stakes.iter().find(|(_, stake)| match rest.checked_sub((**stake).into()) {
                Some(left) => { rest = left; false }
                None => true,
            });
            let (number, stake) = expected.unwrap();
            let found = tree.halve_at(Natural::new(position % total));
            prop_assert_eq!(found, Some(key(*number)));
            prop_assert_eq!(tree.get(&key(*number)), Some(&Natural::from((stake / 2).max(1))));
            prop_assert_eq!(tree.halve_at(Natural::new(total)), None);
            let mut halved = stakes.clone();
            halved.insert(*number, (stake / 2).max(1));
            let halved = halved.iter().map(|(number, stake)| (key(*number), (*stake).into()));
            check(&tree, &halved.collect());
        }
    }
}
