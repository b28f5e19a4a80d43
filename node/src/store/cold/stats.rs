//! What a cold store holds and what happened to it.

use super::{Inner, lock};
use crate::store::level::Damage;
use core::sync::atomic::Ordering;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Damaged places that are remembered one by one; further ones are counted.
const REMEMBERED: usize = 64;

/// One level.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LevelStats {
    /// Its number; level 0 are the journals and what a reference node left.
    pub level: u32,
    /// Pairs of files; in level 0 journals.
    pub files: u64,
    /// Atoms, those counted twice that are in two files.
    pub atoms: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ColdStats {
    /// The levels from 0 upward.
    pub levels: Vec<LevelStats>,
    /// Atoms in all levels, those counted twice that are in two files.
    pub atoms: u64,
    /// Bytes that count against the limit: of all pairs, what level 0 takes once collated, and what
    /// the disk has refused to remove.
    pub used_bytes: u64,
    /// Bytes that it may take; 0 for no limit.
    pub limit_bytes: u64,
    /// Bytes of memory for lookups, the page cache aside.
    pub memory_bytes: u64,
    /// Lookups that found their atom.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Damaged places, in the order of their files.
    pub damages: Vec<Damage>,
    /// Damaged places beyond those.
    pub further_damages: u64,
    /// What interruptions left, which is no loss: nothing of it was acknowledged, or all of it is
    /// elsewhere.
    pub interrupted: Vec<Damage>,
    /// Why writes are refused.
    pub write_failure: Option<String>,
    /// Why collating and merging do not get on.
    pub maintenance_failure: Option<String>,
}

/// Damaged places, each once.
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
        if noted.damages.len() < REMEMBERED {
            log::error!("cold storage: {damage}");
            noted.damages.insert(damage);
        } else {
            noted.further += 1;
        }
    }

    /// Notes what an interruption left.
    pub(super) fn note_interrupted(&self, left: Damage) {
        let mut noted = lock(&self.0);
        if noted.interrupted.len() < REMEMBERED && !noted.interrupted.contains(&left) {
            log::info!("cold storage: {left}");
            noted.interrupted.insert(left);
        }
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
        bytes: level.bytes(),
    });
    let levels: Vec<_> = core::iter::once(level_0).chain(sealed).collect();
    let side: u64 = snapshot.pairs().map(|pair| pair.memory_bytes()).sum();
    let write_failure = lock(&inner.log).failure.as_ref().map(ToString::to_string);
    let noted = lock(&inner.damages.0);
    ColdStats {
        atoms: levels.iter().map(|level| level.atoms).sum(),
        levels,
        used_bytes: inner.used_bytes(),
        limit_bytes: inner.options.limit_bytes,
        memory_bytes: side + sum(|segment| segment.memory_bytes()),
        hits: inner.hits.load(Ordering::Relaxed),
        misses: inner.misses.load(Ordering::Relaxed),
        damages: noted.damages.iter().cloned().collect(),
        further_damages: noted.further,
        interrupted: noted.interrupted.iter().cloned().collect(),
        write_failure,
        maintenance_failure: inner.wake.failure().map(|error| error.to_string()),
    }
}
