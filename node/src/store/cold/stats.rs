//! Statistics and health of a cold store.

use super::set_aside::SetAside;
use super::{Inner, lock};
use crate::store::sorted_pair::Damage;
use core::sync::atomic::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// Maximum number of damaged places listed; further ones are counted.
const MAX_LISTED_DAMAGES: usize = 64;

/// Statistics of one level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LevelStats {
    /// Number of the level; level 0 holds the journals and the files that a reference node left.
    pub level: u32,
    /// Number of pairs of files; in level 0, of journals.
    pub files: u64,
    /// Number of atoms; an atom in two files counts twice.
    pub atoms: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Statistics and health of a cold store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ColdStats {
    /// Levels from 0 upward.
    pub levels: Vec<LevelStats>,
    /// Number of atoms in all levels; an atom in two files counts twice.
    pub atoms: u64,
    /// Bytes that count against the limit: all pairs, level 0 at its size after collation, the
    /// header file, and files that the disk has refused to remove.
    pub used_bytes: u64,
    /// Number of headers of pruned blocks.
    pub headers: u64,
    /// Bytes of their files, which count as used.
    pub header_bytes: u64,
    /// Maximum bytes; 0 for no limit.
    pub limit_bytes: u64,
    /// `true` if writes are refused because of the limit: it is reached, or has no room for a write
    /// of the size of the last one.
    pub is_full: bool,
    /// Bytes of memory for lookups, without the page cache.
    pub memory_bytes: u64,
    /// Number of lookups that found their atom.
    pub hits: u64,
    /// Number of lookups that did not find their atom.
    pub misses: u64,
    /// Damaged places that are not repaired yet, in the order of their files.
    pub damages: Vec<Damage>,
    /// Number of damaged places beyond those in `damages`.
    pub further_damages: u64,
    /// Damaged files that were set aside and not cleared.
    pub set_aside: Vec<SetAside>,
    /// Leftovers of interruptions. They are not a loss: their content was not acknowledged, or is
    /// stored elsewhere.
    pub interrupted: Vec<Damage>,
    /// Reason writes are refused, other than the limit.
    pub write_failure: Option<String>,
    /// Problems of an object store that has the sealed pairs.
    pub object_store_problems: Vec<String>,
    /// Counters of an object store, by name.
    pub object_store_counters: BTreeMap<String, u64>,
    /// Reason collations, merges or repairs fail.
    pub maintenance_failure: Option<String>,
}

impl ColdStats {
    /// Returns whether writes are refused.
    #[must_use]
    pub const fn refuses_writes(&self) -> bool {
        self.is_full || self.write_failure.is_some()
    }
}

/// Damaged places, each listed once.
#[derive(Debug, Default)]
pub(super) struct Damages(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    damages: BTreeSet<Damage>,
    further: u64,
    interrupted: BTreeSet<Damage>,
}

impl Damages {
    pub(super) fn note(&self, damage: Damage) {
        let mut noted = lock(&self.0);
        if noted.damages.contains(&damage) {
            return;
        }
        if noted.damages.len() < MAX_LISTED_DAMAGES {
            log::error!("cold storage: {damage}");
            noted.damages.insert(damage);
        } else {
            noted.further += 1;
        }
    }

    /// Removes and returns the places for which `is_taken` returns `true`.
    pub(super) fn take(&self, is_taken: impl Fn(&Damage) -> bool) -> Vec<Damage> {
        let mut noted = lock(&self.0);
        let taken = noted
            .damages
            .extract_if(.., |damage| is_taken(damage))
            .collect();
        if noted.damages.is_empty() {
            noted.further = 0;
        }
        taken
    }

    /// Adds a leftover of an interruption.
    pub(super) fn note_interrupted(&self, left: Damage) {
        let mut noted = lock(&self.0);
        if noted.interrupted.len() < MAX_LISTED_DAMAGES && !noted.interrupted.contains(&left) {
            log::info!("cold storage: {left}");
            noted.interrupted.insert(left);
        }
    }
}

impl Inner {
    /// Returns whether the limit is reached, or refuses a write of the size that it refused last.
    fn is_full(&self) -> bool {
        let limit_bytes = self.limit_bytes();
        let refused_bytes = self.refused_bytes.load(Ordering::Relaxed);
        let least = self.used_bytes().saturating_add(refused_bytes.max(1));
        limit_bytes > 0 && least > limit_bytes
    }
}

pub(super) fn of(inner: &Inner) -> ColdStats {
    let snapshot = inner.snapshot.load();
    let sum = |of: fn(&crate::store::journal::Segment) -> u64| {
        snapshot.segments.iter().map(|segment| of(segment)).sum()
    };
    let journals = snapshot
        .segments
        .iter()
        .map(|segment| segment.journals().len());
    let level_0 = LevelStats {
        level: 0,
        files: journals.sum::<usize>() as u64,
        atoms: sum(|segment| segment.atoms()),
        bytes: sum(|segment| segment.file_bytes()),
    };
    let sealed = snapshot.levels.iter().map(|level| LevelStats {
        level: level.number,
        files: level.pairs.len() as u64,
        atoms: level.pairs.iter().map(|pair| u64::from(pair.count())).sum(),
        bytes: level.file_bytes(),
    });
    let levels: Vec<_> = core::iter::once(level_0).chain(sealed).collect();
    let side: u64 = snapshot.pairs().map(|pair| pair.memory_bytes()).sum();
    let write_failure = lock(&inner.log).failure.as_ref().map(ToString::to_string);
    let shared = inner.shared_status();
    let noted = lock(&inner.damages.0);
    ColdStats {
        atoms: levels.iter().map(|level| level.atoms).sum(),
        levels,
        used_bytes: inner.used_bytes(),
        limit_bytes: inner.limit_bytes(),
        is_full: inner.is_full(),
        memory_bytes: side + sum(|segment| segment.memory_bytes()) + inner.headers.memory_bytes(),
        headers: inner.headers.count(),
        header_bytes: inner.headers.bytes(),
        hits: inner.hits.load(Ordering::Relaxed),
        misses: inner.misses.load(Ordering::Relaxed),
        set_aside: lock(&inner.incidents).list(),
        damages: noted.damages.iter().cloned().collect(),
        further_damages: noted.further,
        interrupted: noted.interrupted.iter().cloned().collect(),
        write_failure,
        object_store_problems: shared.problems,
        object_store_counters: shared.counters,
        maintenance_failure: inner.wake.failure().map(|error| error.to_string()),
    }
}
