//! Header file: headers of pruned blocks in their compact form.
//!
//! A header takes 19 atoms, and 3,943 bytes in a pair; here it takes about 210. Its atoms are made
//! again, byte for byte, when one asks for the first of them, and stay in memory for a while, since
//! a reference node requests the others one by one. The headers of a chain are in segments,
//! `headers-<chain id>-<first height>-<last height>`; see `headers/segment.rs`. A reference node
//! ignores the files.
//!
//! Invariants:
//! - A segment is complete and durable before its name is: it is written under a temporary name,
//!   synced, renamed, and the name is synced. The atoms of its headers are removed only after that.
//! - Neighbouring segments of similar size are merged, so that there are few. The old ones are removed
//!   once the new one is durable; a segment whose heights another one covers is ignored.
//! - The pairs are searched first. An interrupted run, or one that leaves a pair with little garbage
//!   alone, removes some atoms of a header and leaves others: whoever finds the first one makes the
//!   others again, too.
//! - A header is found by its id only if the atoms that are made have that id, so that damage makes
//!   it missing, not wrong.

mod segment;

use super::{ColdError, ColdStore, Inner, lock};
use crate::store::disk::DirEntry;
use crate::store::sorted_pair::Damage;
use arc_swap::ArcSwap;
use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::chain::Block;
use segment::{Segment, SegmentError, SegmentName};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Maximum number of headers that are written together.
pub const MAX_HEADERS: usize = 1 << 14;
/// Number of headers whose atoms stay in memory.
const REMADE_HEADERS: usize = 512;
/// Ratio of the sizes of two neighbouring segments from which on they are not merged.
const MERGE_RATIO: u64 = 4;
/// Type name of a block, which is the data of its first atom.
const BLOCK: &[u8] = b"block";
/// Name of a segment that is being written.
const TEMPORARY: &str = "headers.tmp";

/// Headers of pruned blocks.
#[derive(Default)]
pub(super) struct Headers {
    /// Segments, ordered by chain and height.
    segments: ArcSwap<Vec<Arc<Segment>>>,
    remade: RwLock<Remade>,
}

/// Atoms of the headers that were rebuilt last.
#[derive(Default)]
struct Remade {
    /// Atoms, each with the number of headers that have it: the last fields of several can be equal.
    atoms: HashMap<AtomId, (Atom, u32)>,
    /// Ids of each header, oldest header first.
    order: VecDeque<Vec<AtomId>>,
}

impl Remade {
    fn add(&mut self, block: &Block) {
        if self.atoms.contains_key(&block.id()) {
            return;
        }
        let atoms = block.to_atoms();
        self.order
            .push_back(atoms.iter().map(|(id, _)| *id).collect());
        for (id, atom) in atoms {
            let (_, headers) = self.atoms.entry(id).or_insert((atom, 0));
            *headers += 1;
        }
        if self.order.len() > REMADE_HEADERS {
            for id in self.order.pop_front().unwrap_or_default() {
                if let Entry::Occupied(mut entry) = self.atoms.entry(id) {
                    let (_, headers) = entry.get_mut();
                    *headers -= 1;
                    if *headers == 0 {
                        entry.remove();
                    }
                }
            }
        }
    }
}

impl Headers {
    fn remade(&self, id: &AtomId) -> Option<Atom> {
        let remade = self.remade.read().unwrap_or_else(PoisonError::into_inner);
        remade.atoms.get(id).map(|(atom, _)| atom.clone())
    }

    /// Returns whether the atom may be of a header; `false` is certain. No file is touched.
    pub(super) fn may_have(&self, id: &AtomId) -> bool {
        let segments = self.segments.load();
        if segments.is_empty() {
            return false;
        }
        segments.iter().any(|segment| segment.may_have(id)) || self.remade(id).is_some()
    }

    /// Returns the first atom of a header, or another one of a header that was requested recently.
    fn atom(&self, id: &AtomId) -> Result<Option<Atom>, SegmentError> {
        let segments = self.segments.load();
        if segments.is_empty() {
            return Ok(None);
        }
        if let Some(atom) = self.remade(id) {
            return Ok(Some(atom));
        }
        let Some(block) = find(&segments, id)? else {
            return Ok(None);
        };
        let mut remade = self.remade.write().unwrap_or_else(PoisonError::into_inner);
        remade.add(&block);
        Ok(remade.atoms.get(id).map(|(atom, _)| atom.clone()))
    }

    /// Returns the bytes of the files.
    pub(super) fn bytes(&self) -> u64 {
        let segments = self.segments.load();
        segments.iter().map(|segment| segment.bytes()).sum()
    }

    /// Returns the number of headers.
    pub(super) fn count(&self) -> u64 {
        let segments = self.segments.load();
        segments.iter().map(|segment| segment.name().count()).sum()
    }

    /// Returns the bytes of memory that lookups use.
    pub(super) fn memory_bytes(&self) -> u64 {
        let segments = self.segments.load();
        segments.iter().map(|segment| segment.memory_bytes()).sum()
    }

    /// Calls `each` with every header, or with `None` for one that is damaged.
    pub(super) fn each(
        &self,
        mut each: impl FnMut(Option<Block>) -> Result<(), ColdError>,
    ) -> Result<(), ColdError> {
        for segment in &**self.segments.load() {
            segment.each(|record| each(record.and_then(|bytes| Block::from_compact(&bytes))))?;
        }
        Ok(())
    }
}

fn find(segments: &[Arc<Segment>], id: &AtomId) -> Result<Option<Block>, SegmentError> {
    for segment in segments {
        if let Some(block) = segment.find(id)? {
            return Ok(Some(block));
        }
    }
    Ok(None)
}

impl ColdStore {
    /// Returns the header with this id, if it is in the header file.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn header(&self, id: &AtomId) -> Result<Option<Block>, ColdError> {
        let segments = self.inner.headers.segments.load();
        find(&segments, id).map_err(|error| self.inner.segment_failed(error))
    }

    /// Returns the header of a chain at this height, if it is in the header file.
    ///
    /// # Errors
    /// Fails if the disk fails.
    pub fn header_at(&self, chain_id: u64, height: u64) -> Result<Option<Block>, ColdError> {
        for segment in &**self.inner.headers.segments.load() {
            let name = segment.name();
            if name.chain_id == chain_id && (name.first..=name.last).contains(&height) {
                let found = segment.at_height(height);
                return found.map_err(|error| self.inner.segment_failed(error));
            }
        }
        Ok(None)
    }

    /// Returns the height of the lowest block of a chain that is not pruned: the one above the
    /// highest header in the header file, or 0.
    #[must_use]
    pub fn pruned_below(&self, chain_id: u64) -> u64 {
        let segments = self.inner.headers.segments.load();
        let own = segments.iter().map(|segment| *segment.name());
        let own = own.filter(|name| name.chain_id == chain_id);
        own.map(|name| name.last.saturating_add(1))
            .max()
            .unwrap_or(0)
    }

    /// Returns the lowest height down to which the headers from `height` on, which is in the header
    /// file, are in it without a gap.
    #[must_use]
    pub fn headers_down_to(&self, chain_id: u64, height: u64) -> u64 {
        let segments = self.inner.headers.segments.load();
        let mut lowest = height;
        for segment in segments.iter().rev() {
            let name = segment.name();
            if name.chain_id == chain_id && name.first <= lowest && lowest <= name.last + 1 {
                lowest = name.first;
            }
        }
        lowest
    }

    /// Adds headers of a chain that follow each other, the lowest first. They are durable on return.
    ///
    /// # Errors
    /// Fails if the heights do not follow each other, or if the disk fails.
    pub fn add_headers(&self, chain_id: u64, headers: &[Block]) -> Result<(), ColdError> {
        let inner = &self.inner;
        let Some(first) = headers.first() else {
            return Ok(());
        };
        let first = first.height.to_u64().unwrap_or(u64::MAX);
        let heights = headers.iter().map(|block| block.height.to_u64());
        let expected = (first..).map(Some);
        let last = first.checked_add(headers.len() as u64 - 1);
        let (Some(last), true) = (last, heights.zip(expected).all(|(it, wanted)| it == wanted))
        else {
            let error = io::Error::other("the heights do not follow each other");
            return Err(ColdError::io("write headers to", &inner.root, &error));
        };
        let name = SegmentName {
            chain_id,
            first,
            last,
        };
        // Backups copy the files under this lock.
        let _maintenance = lock(&inner.maintenance);
        inner.check_place()?;
        let segment = inner.write_segment(name, |file| segment::write(file, name, headers))?;
        inner.replace_segments(&[], segment);
        Ok(())
    }

    /// Merges neighbouring segments of similar size.
    ///
    /// # Errors
    /// Fails if the disk fails. Nothing is lost then.
    pub fn merge_headers(&self) -> Result<(), ColdError> {
        let inner = &self.inner;
        loop {
            let _maintenance = lock(&inner.maintenance);
            let segments = inner.headers.segments.load_full();
            let pair = segments.windows(2).find_map(|pair| match pair {
                [lower, upper] if is_mergeable(lower.name(), upper.name()) => {
                    Some([Arc::clone(lower), Arc::clone(upper)])
                }
                _ => None,
            });
            let Some(pair) = pair else {
                return Ok(());
            };
            inner.check_place()?;
            let [lower, upper] = &pair;
            let name = SegmentName {
                last: upper.name().last,
                ..*lower.name()
            };
            let merged = inner.write_segment(name, |file| segment::merge(file, name, &pair))?;
            inner.replace_segments(&pair, merged);
            for old in &pair {
                let path = inner.root.join(old.name().to_string());
                let removed = inner.disk.remove(&path);
                removed.map_err(|error| ColdError::io("remove", &path, &error))?;
            }
        }
    }
}

/// Returns whether the second segment follows the first one and their sizes are similar.
fn is_mergeable(lower: &SegmentName, upper: &SegmentName) -> bool {
    let (small, large) = match lower.count() <= upper.count() {
        true => (lower.count(), upper.count()),
        false => (upper.count(), lower.count()),
    };
    lower.chain_id == upper.chain_id
        && lower.last.checked_add(1) == Some(upper.first)
        && large <= small.saturating_mul(MERGE_RATIO)
}

impl Inner {
    /// Opens the header file of a directory.
    pub(super) fn load_headers(&self, entries: &[DirEntry]) {
        let files = entries.iter().filter(|entry| !entry.is_dir);
        let mut names: Vec<SegmentName> = files
            .filter_map(|entry| SegmentName::parse(&entry.name))
            .collect();
        names.sort_unstable();
        let is_covered = |name: &SegmentName| {
            names.iter().any(|other| {
                other != name
                    && other.chain_id == name.chain_id
                    && other.first <= name.first
                    && name.last <= other.last
            })
        };
        let mut segments = Vec::new();
        for name in &names {
            let path = self.root.join(name.to_string());
            match Segment::open(&*self.disk, &path, *name) {
                Ok(segment) => segments.push((is_covered(name), Arc::new(segment))),
                Err(error) => self.note_segment(error),
            }
        }
        // A segment that was merged goes if the merged one is intact.
        let merged: Vec<SegmentName> = segments.iter().map(|(_, it)| *it.name()).collect();
        segments.retain(|(is_covered, segment)| {
            let name = segment.name();
            let by_other = |other: &SegmentName| {
                other != name && other.first <= name.first && name.last <= other.last
            };
            let goes = *is_covered && merged.iter().any(by_other);
            if goes {
                let _ = self.disk.remove(&self.root.join(name.to_string()));
            }
            !goes
        });
        let segments = segments.into_iter().map(|(_, segment)| segment);
        self.headers.segments.store(Arc::new(segments.collect()));
    }

    /// Writes a segment under a temporary name, makes it durable and opens it.
    fn write_segment(
        &self,
        name: SegmentName,
        fill: impl FnOnce(&dyn crate::store::disk::DiskFile) -> io::Result<()>,
    ) -> Result<Arc<Segment>, ColdError> {
        let (temporary, path) = (self.root.join(TEMPORARY), self.root.join(name.to_string()));
        let written = (|| {
            let file = self.disk.create(&temporary)?;
            fill(&*file)?;
            file.sync()?;
            self.disk.rename(&temporary, &path)?;
            self.disk.sync_dir(&self.root)
        })();
        written.map_err(|error| ColdError::io("write", &path, &error))?;
        let opened = Segment::open(&*self.disk, &path, name);
        opened
            .map(Arc::new)
            .map_err(|error| self.segment_failed(error))
    }

    fn replace_segments(&self, old: &[Arc<Segment>], new: Arc<Segment>) {
        let segments = self.headers.segments.load();
        let is_old = |it: &&Arc<Segment>| old.iter().any(|old| Arc::ptr_eq(it, old));
        let kept = segments.iter().filter(|it| !is_old(it)).cloned();
        let mut segments: Vec<_> = kept.chain([new]).collect();
        segments.sort_by_key(|segment| *segment.name());
        self.headers.segments.store(Arc::new(segments));
    }

    /// Makes the atoms of a pruned header again of which the first one, `atom`, is still in a pair:
    /// others may have been in pairs that were rewritten without them.
    #[inline]
    pub(super) fn complete_header(&self, id: &AtomId, atom: &Atom) {
        if atom.data() == BLOCK && atom.kind() == AtomKind::Symbol && self.headers.may_have(id) {
            // Failures are those of the lookups of the other atoms.
            let _ = self.header_atom(id);
        }
    }

    /// Returns an atom of the header file.
    #[inline(never)]
    pub(super) fn header_atom(&self, id: &AtomId) -> Result<Option<Atom>, ColdError> {
        self.headers.atom(id).or_else(|error| match error {
            SegmentError::Damaged(damage) => {
                self.damages.note(damage);
                Ok(None)
            }
            SegmentError::Failed(..) => Err(self.segment_failed(error)),
        })
    }

    /// Returns whether an atom is in the header file.
    pub(super) fn has_header(&self, id: &AtomId) -> bool {
        self.headers.may_have(id) && matches!(self.headers.atom(id), Ok(Some(_)))
    }

    fn note_segment(&self, error: SegmentError) {
        let damage = match error {
            SegmentError::Damaged(damage) => damage,
            SegmentError::Failed(path, error) => Damage {
                path,
                offset: 0,
                problem: error.to_string().into(),
            },
        };
        self.damages.note(damage);
    }

    fn segment_failed(&self, error: SegmentError) -> ColdError {
        match error {
            SegmentError::Failed(path, error) => ColdError::io("read", &path, &error),
            SegmentError::Damaged(damage) => {
                let error = io::Error::other(damage.problem.clone());
                let path: &Path = &damage.path;
                let failed = ColdError::io("read", path, &error);
                self.damages.note(damage);
                failed
            }
        }
    }
}

#[cfg(test)]
mod tests;
