//! Set of the buckets that are not empty, for iteration without a scan of all buckets.

use super::Distance;

/// Bits of a half.
const HALF: usize = 128;

/// Set of bucket indexes below 256. The bits are in the order of those of a [`Distance`]: index 0 is
/// the most significant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct BucketSet([u128; 2]);

impl BucketSet {
    fn of(index: usize) -> Self {
        let bit = |index: usize| {
            let shift = (HALF - 1).checked_sub(index);
            shift.map_or(0, |shift| 1 << shift)
        };
        Self([bit(index), index.checked_sub(HALF).map_or(0, bit)])
    }

    /// Returns the set of all indexes from `index` on.
    fn from_index(index: usize) -> Self {
        let mask = |index: usize| {
            let shift = u32::try_from(index).ok();
            let mask = shift.and_then(|shift| u128::MAX.checked_shr(shift));
            mask.unwrap_or(0)
        };
        Self([mask(index), mask(index.saturating_sub(HALF))])
    }

    pub(super) fn insert(&mut self, index: usize) {
        *self = self.zip(Self::of(index), |one, other| one | other);
    }

    pub(super) fn remove(&mut self, index: usize) {
        *self = self.zip(Self::of(index), |one, other| one & !other);
    }

    /// Returns the indexes below `index`.
    pub(super) fn below(self, index: usize) -> Self {
        self.zip(Self::from_index(index), |one, other| one & !other)
    }

    /// Returns the indexes from `index` on whose bit of `distance` is set, and those whose bit is not.
    pub(super) fn split(self, index: usize, distance: Distance) -> (Self, Self) {
        let upper = self.zip(Self::from_index(index), |one, other| one & other);
        let Distance(bits) = distance;
        let set = upper.zip(Self(bits), |one, other| one & other);
        let clear = upper.zip(Self(bits), |one, other| one & !other);
        (set, clear)
    }

    /// Returns the indexes in ascending order.
    pub(super) fn ascending(mut self) -> impl Iterator<Item = usize> + Clone {
        core::iter::from_fn(move || {
            let Self([high, low]) = self;
            let index = match high {
                0 if low == 0 => return None,
                0 => HALF + low.leading_zeros() as usize,
                high => high.leading_zeros() as usize,
            };
            self.remove(index);
            Some(index)
        })
    }

    /// Returns the indexes in descending order.
    pub(super) fn descending(mut self) -> impl Iterator<Item = usize> + Clone {
        core::iter::from_fn(move || {
            let Self([high, low]) = self;
            let index = match low {
                0 if high == 0 => return None,
                0 => HALF - 1 - high.trailing_zeros() as usize,
                low => 2 * HALF - 1 - low.trailing_zeros() as usize,
            };
            self.remove(index);
            Some(index)
        })
    }

    fn zip(self, other: Self, join: impl Fn(u128, u128) -> u128) -> Self {
        let ([high, low], [other_high, other_low]) = (self.0, other.0);
        Self([join(high, other_high), join(low, other_low)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn set_agrees_with_a_model(
            changes in proptest::collection::vec((0..256_usize, any::<bool>()), 0..200),
            from in 0..=256_usize, key: [u8; 32],
        ) {
            let (mut set, mut model) = (BucketSet::default(), BTreeSet::new());
            for (index, adds) in changes {
                if adds {
                    set.insert(index);
                    model.insert(index);
                } else {
                    set.remove(index);
                    model.remove(&index);
                }
            }
            let distance = Distance::between(&[0; 32], &key);
            let bit = |index: usize| key[index / 8] >> (7 - index % 8) & 1 == 1;
            let (one, zero) = set.split(from, distance);
            prop_assert!(set.ascending().eq(model.iter().copied()));
            prop_assert!(set.descending().eq(model.iter().rev().copied()));
            prop_assert!(set.below(from).ascending().eq(model.range(..from).copied()));
            let upper = |is_set: bool| -> Vec<usize> {
                model.range(from..).copied().filter(|index| bit(*index) == is_set).collect()
            };
            prop_assert_eq!(one.ascending().collect::<Vec<_>>(), upper(true));
            prop_assert_eq!(zero.ascending().collect::<Vec<_>>(), upper(false));
        }
    }
}
