//! Ids of the headers between a head and the block that it joins, in bounded memory.
//!
//! A chain of any length has to be descended before its first block can be verified. Of the ids on
//! the way the path keeps checkpoints, one every [`CHECKPOINT_INTERVAL`] heights, and the lowest
//! [`MAX_RESIDENT`] of all. The others are read again when they are needed: the stretch below a
//! checkpoint is descended a second time and must end at the same id. An id commits to all its
//! ancestors, so the second read returns the same headers.
//!
//! Invariants:
//! - The ids of the path have consecutive heights, from the lowest to that of the head.
//! - The resident ids are the lowest ones, without a gap.
//! - There are at most [`MAX_CHECKPOINTS`] checkpoints. Each time a chain would need more, their
//!   distance doubles: memory is bounded for any height.

use crate::atom::AtomId;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Initial number of heights between two checkpoints.
pub const CHECKPOINT_INTERVAL: u64 = 1_024;
/// Maximum number of checkpoints of one path.
pub const MAX_CHECKPOINTS: usize = 1 << 17;
/// Maximum number of ids of one path that are kept in addition to the checkpoints and the head.
pub const MAX_RESIDENT: usize = 16_384;

/// Header, by id and height.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PathEntry {
    pub(super) id: AtomId,
    pub(super) height: u64,
}

/// Path of headers. See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct HeaderPath {
    /// Highest header; `None` if the path is empty.
    top: Option<PathEntry>,
    /// Height of the lowest header.
    lowest: u64,
    /// Ids from `lowest` upwards.
    resident: VecDeque<AtomId>,
    /// Number of heights between two of `checkpoints`.
    interval: u64,
    /// Ids at the multiples of `interval` within the path, the highest first.
    checkpoints: VecDeque<AtomId>,
    /// Stretch that is being read again.
    rereading: Option<Reread>,
    limits: PathLimits,
}

/// Stretch that is being read again.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Reread {
    /// Next header to read.
    next: PathEntry,
    /// Headers above it, the highest first.
    ids: Vec<AtomId>,
}

/// Limits of a path; smaller in tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct PathLimits {
    pub(super) interval: u64,
    pub(super) checkpoints: usize,
    pub(super) resident: usize,
}

impl Default for PathLimits {
    fn default() -> Self {
        Self {
            interval: CHECKPOINT_INTERVAL,
            checkpoints: MAX_CHECKPOINTS,
            resident: MAX_RESIDENT,
        }
    }
}

impl HeaderPath {
    /// Creates an empty path.
    pub(super) fn new(limits: PathLimits) -> Self {
        Self {
            top: None,
            lowest: 0,
            resident: VecDeque::new(),
            interval: limits.interval,
            checkpoints: VecDeque::new(),
            rereading: None,
            limits,
        }
    }

    /// Returns the number of headers of the path.
    pub(super) fn len(&self) -> u64 {
        let above = |top: PathEntry| top.height.saturating_sub(self.lowest).saturating_add(1);
        self.top.map_or(0, above)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.top.is_none()
    }

    /// Returns the number of ids held in memory.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        let rereading = self.rereading.as_ref();
        let rereading = rereading.map_or(0, |rereading| rereading.ids.len() + 1);
        self.resident.len() + self.checkpoints.len() + rereading + usize::from(self.top.is_some())
    }

    /// Adds the header below the lowest one; the first is the head. The caller must have checked
    /// that it is the parent of the lowest.
    pub(super) fn push_below(&mut self, id: AtomId, height: u64) {
        if self.top.is_none() {
            self.top = Some(PathEntry { id, height });
        }
        self.lowest = height;
        self.resident.push_front(id);
        // The highest ids are needed last.
        self.resident.truncate(self.limits.resident);
        if height.is_multiple_of(self.interval) {
            self.checkpoints.push_back(id);
            if self.checkpoints.len() > self.limits.checkpoints {
                self.thin_out();
            }
        }
    }

    /// Doubles the distance of the checkpoints.
    fn thin_out(&mut self) {
        let lowest = self.lowest.next_multiple_of(self.interval);
        let count = self.checkpoints.len() as u64;
        let interval = self.interval.saturating_mul(2);
        let mut height = lowest.saturating_add(self.interval.saturating_mul(count));
        self.checkpoints.retain(|_| {
            height = height.saturating_sub(self.interval);
            height.is_multiple_of(interval)
        });
        self.interval = interval;
    }

    /// Puts this path on top of `lower`, whose head is the parent of this path's lowest header.
    pub(super) fn join(&mut self, lower: Self) {
        let Some(top) = self.top else {
            *self = lower;
            return;
        };
        if lower.is_empty() {
            return;
        }
        let mut upper = core::mem::replace(self, lower);
        while self.interval > upper.interval {
            upper.thin_out();
        }
        while upper.interval > self.interval {
            self.thin_out();
        }
        // The resident ids of both can be joined only if there is no gap between them.
        let is_whole = self.resident.len() as u64 == self.len();
        if is_whole && self.rereading.is_none() {
            let room = self.limits.resident.saturating_sub(self.resident.len());
            self.resident.extend(upper.resident.into_iter().take(room));
        }
        self.top = Some(top);
        upper.checkpoints.append(&mut self.checkpoints);
        self.checkpoints = upper.checkpoints;
        while self.checkpoints.len() > self.limits.checkpoints {
            self.thin_out();
        }
    }

    /// Returns the lowest id; `None` if it has to be read again first, or the path is empty.
    pub(super) fn lowest(&self) -> Option<AtomId> {
        self.resident.front().copied()
    }

    /// Returns the resident ids in ascending order.
    pub(super) fn upcoming(&self) -> impl Iterator<Item = AtomId> {
        self.resident.iter().copied()
    }

    /// Returns whether an id is the head, or resident and among the `count` highest.
    pub(super) fn is_near_top(&self, id: &AtomId, count: usize) -> bool {
        if self.top.is_some_and(|top| top.id == *id) {
            return true;
        }
        let above = self.len().saturating_sub(count as u64);
        let skipped = usize::try_from(above).unwrap_or(usize::MAX);
        self.resident.iter().skip(skipped).any(|it| it == id)
    }

    /// Returns up to `count` ids above `id` in ascending order, or the lowest ids if `id` is
    /// `None`. Returns `None` if `id` is not resident.
    pub(super) fn above(&self, id: Option<&AtomId>, count: usize) -> Option<Vec<AtomId>> {
        let skipped = match id {
            Some(id) => self.resident.iter().position(|it| it == id)? + 1,
            None => 0,
        };
        let above = self.resident.iter().skip(skipped).take(count);
        Some(above.copied().collect())
    }

    /// Returns ids by which a descending branch that joins this one is recognized: the checkpoints,
    /// and every `interval`th resident id.
    pub(super) fn landmarks(&self) -> impl Iterator<Item = AtomId> {
        let step = usize::try_from(self.interval).unwrap_or(usize::MAX).max(1);
        let resident = self.resident.iter().step_by(step);
        self.checkpoints.iter().chain(resident).copied()
    }

    /// Removes the lowest header, which must be resident.
    pub(super) fn pop_lowest(&mut self) {
        let Some(top) = self.top else {
            return;
        };
        if self.resident.pop_front().is_none() {
            return;
        }
        if self.lowest == top.height {
            *self = Self::new(self.limits);
            return;
        }
        if self.lowest.is_multiple_of(self.interval) {
            self.checkpoints.pop_back();
        }
        self.lowest = self.lowest.saturating_add(1);
    }

    /// Returns the header to read again next, if a stretch is due: if fewer ids than an interval
    /// are resident.
    pub(super) fn reread_next(&mut self) -> Option<PathEntry> {
        if let Some(rereading) = &self.rereading {
            return Some(rereading.next);
        }
        let top = self.top?;
        let resident = self.resident.len() as u64;
        if resident >= self.len() || resident >= self.interval {
            return None;
        }
        // Lowest known id above the resident ones: a checkpoint, or the head.
        let from = self.lowest.saturating_add(resident);
        let checkpoint = from.checked_next_multiple_of(self.interval)?;
        let next = self.checkpoint_at(checkpoint).unwrap_or(top);
        self.rereading = Some(Reread {
            next,
            ids: Vec::new(),
        });
        Some(next)
    }

    fn checkpoint_at(&self, height: u64) -> Option<PathEntry> {
        let lowest = self.lowest.checked_next_multiple_of(self.interval)?;
        let from_lowest = height.checked_sub(lowest)?.checked_div(self.interval)?;
        let from_lowest = usize::try_from(from_lowest).ok()?;
        let at = self
            .checkpoints
            .len()
            .checked_sub(from_lowest.checked_add(1)?)?;
        let id = *self.checkpoints.get(at)?;
        Some(PathEntry { id, height })
    }

    /// Adds the header that [`HeaderPath::reread_next`] returned; `previous` is its parent.
    ///
    /// Returns `false` if the stretch does not end at the known id, which cannot happen with
    /// headers of correct ids.
    pub(super) fn reread(&mut self, previous: AtomId) -> bool {
        let from = self.lowest.saturating_add(self.resident.len() as u64);
        let below = self.resident.back().copied();
        let Some(rereading) = self.rereading.as_mut() else {
            return true;
        };
        let PathEntry { id, height } = rereading.next;
        rereading.ids.push(id);
        if height > from {
            rereading.next = PathEntry {
                id: previous,
                height: height.saturating_sub(1),
            };
            return true;
        }
        let ids = core::mem::take(&mut rereading.ids);
        self.rereading = None;
        if below.is_some_and(|below| below != previous) {
            return false;
        }
        self.resident.extend(ids.into_iter().rev());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: PathLimits = PathLimits {
        interval: 8,
        checkpoints: 16,
        resident: 20,
    };

    /// Returns a chain whose ids are its heights.
    fn id(height: u64) -> AtomId {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&height.to_be_bytes());
        AtomId::new(bytes)
    }

    fn walked(from: u64, to: u64, limits: PathLimits) -> HeaderPath {
        let mut path = HeaderPath::new(limits);
        for height in (to..=from).rev() {
            path.push_below(id(height), height);
        }
        path
    }

    /// Takes all ids out, lowest first; returns the number of headers read again and the maximum
    /// number of ids held.
    fn take_all(mut path: HeaderPath, from: u64) -> (u64, usize) {
        let (mut read, mut most) = (0, 0);
        let mut height = from;
        while !path.is_empty() {
            while path.lowest().is_none() {
                let place = path.reread_next().unwrap();
                assert_eq!(place.id, id(place.height));
                assert!(path.reread(id(place.height.wrapping_sub(1))));
                read += 1;
            }
            most = most.max(path.entries());
            assert_eq!(path.lowest(), Some(id(height)));
            path.pop_lowest();
            height += 1;
        }
        (read, most)
    }

    #[test]
    fn yields_every_id_in_order_after_any_drops() {
        for top in [0, 1, 7, 8, 19, 20, 21, 63, 64, 65, 120, 300, 999, 1_000] {
            for bottom in [0, 1, 7, 8, 9, 200] {
                let path = walked(top, bottom, SMALL);
                let count = (top + 1).saturating_sub(bottom);
                assert_eq!(path.len(), count);
                let interval = path.interval;
                assert!(
                    interval * 16 >= count.saturating_sub(interval),
                    "{interval}"
                );
                let (read, most) = take_all(path, bottom);
                assert_eq!(read, count.saturating_sub(20), "{bottom} to {top}");
                let bound =
                    1 + SMALL.checkpoints + SMALL.resident + 2 * usize::try_from(interval).unwrap();
                assert!(most <= bound, "{most} ids for {count}");
            }
        }
    }

    #[test]
    fn refuses_a_stretch_that_ends_elsewhere() {
        let mut path = walked(100, 0, SMALL);
        for _ in 0..15 {
            path.pop_lowest();
        }
        // One is left of the resident ones; the stretch that is read again ends above it.
        for height in (21..=24).rev() {
            assert_eq!(
                path.reread_next(),
                Some(PathEntry {
                    id: id(height),
                    height
                })
            );
            assert!(path.reread(id(height - 1)));
        }
        assert_eq!(path.reread_next().map(|place| place.height), Some(20));
        assert!(!path.reread(id(77)));
        // It starts again.
        assert_eq!(path.reread_next().map(|place| place.height), Some(24));
    }

    #[test]
    fn joins_paths_of_any_length() {
        for (top, middle, bottom) in [
            (30, 29, 0),
            (30, 10, 5),
            (500, 499, 0),
            (500, 30, 0),
            (500, 499, 498),
            (999, 500, 1),
            (40, 39, 39),
        ] {
            let mut upper = walked(top, middle + 1, SMALL);
            upper.join(walked(middle, bottom, SMALL));
            assert_eq!(upper.len(), top - bottom + 1);
            take_all(upper, bottom);
        }
        let mut empty = HeaderPath::new(SMALL);
        empty.join(walked(9, 3, SMALL));
        assert_eq!(empty.len(), 7);
        empty.join(HeaderPath::new(SMALL));
        take_all(empty, 3);
    }

    #[test]
    fn hundred_million_headers_take_less_than_four_megabytes() {
        let count = 100_000_000_u64;
        let mut path = walked(count - 1, 0, PathLimits::default());
        assert_eq!(path.len(), count);
        let expected = 1 + MAX_RESIDENT + usize::try_from(count / CHECKPOINT_INTERVAL + 1).unwrap();
        assert_eq!(path.entries(), expected);
        assert!(path.entries() * 32 < 4 << 20);
        // On the way up the stretches come back one after the other.
        for height in 0..1_000_000 {
            while path.lowest().is_none() {
                let place = path.reread_next().unwrap();
                assert!(path.reread(id(place.height.wrapping_sub(1))));
            }
            assert_eq!(path.lowest(), Some(id(height)));
            assert!(path.entries() <= expected + 1);
            path.pop_lowest();
        }
    }
}
