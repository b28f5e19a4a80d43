//! Builder of the index: follows a chain from its head down to the blocks that are indexed already.
//!
//! The builder has no thread and no clock. [`Builder::advance`] works until its time is up; it starts
//! at the head each time, and skips the blocks that are in files or in memory already. So no progress
//! has to be recorded: after a crash, a lost or damaged file or a reorganization, missing blocks are
//! a gap on the way, and are read from the chain again.

use super::coverage::{Coverage, Part, PartSource};
use super::pages::FileError;
use super::record::IndexedBlock;
use super::segment::{EXTENSION, Range, Segment, TEMPORARY, merge, write_blocks};
use crate::log;
use crate::query::QueryError;
use astreum_core::atom::{AtomId, AtomSource};
use core::convert::Infallible;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Number of blocks of a file, unless they have many transactions.
const FILE_BLOCKS: u64 = 64;
/// Number of transactions in memory from which on blocks are written to a file of fewer blocks.
const FILE_TRANSACTIONS: usize = 8_192;
/// Factor between the blocks of a file and those of the files that are merged into it.
const MERGE_FACTOR: u64 = 8;
/// Number of times that files are merged: the largest have 262,144 blocks.
const MERGES: u32 = 4;
/// Maximum number of transactions of a merged file.
const MAX_MERGED: u32 = 1 << 21;
/// Number of blocks below the head that a reorganization can remove without the operator. Files of
/// that part are small, so that little has to be read again.
const REORGANIZED_BLOCKS: u64 = 1_024;
/// Maximum number of blocks in memory while files cannot be written.
const MAX_BLOCKS: usize = 1_024;
/// Maximum number of transactions in memory while files cannot be written.
const MAX_TRANSACTIONS: usize = 4 * FILE_TRANSACTIONS;
/// Maximum number of incidents of damage that are kept, and that the status lists.
pub(super) const MAX_INCIDENTS: usize = 8;
/// Number of pages that one call of [`Builder::check_files`] reads.
const PAGES_PER_CHECK: u64 = 64;

/// Chain that is indexed.
pub(super) struct Chain<'c> {
    pub(super) source: &'c dyn AtomSource<Error = Infallible>,
    /// Id and height of the head.
    pub(super) head: (AtomId, u64),
    /// Height below which blocks are pruned.
    pub(super) pruned_below: u64,
}

/// State after a call of [`Builder::advance`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// There is more to do.
    More,
    /// The index has everything.
    Complete,
    /// A block is not stored, or files cannot be written.
    Waits,
}

/// Result of following the chain.
struct Walk {
    parts: Vec<Part>,
    /// First block that is not indexed; `None` if the end of the chain was reached.
    missing: Option<(AtomId, u64)>,
}

/// Files and blocks of the index.
#[derive(Debug)]
pub(super) struct Builder {
    directory: PathBuf,
    chain_id: u64,
    files: Vec<Arc<Segment>>,
    /// Files from before the start whose pages were not all checked, each with the next page.
    unchecked: VecDeque<(Arc<Segment>, u64)>,
    /// Runs of consecutive blocks in memory, the lowest of each first.
    runs: Vec<Vec<Arc<IndexedBlock>>>,
    coverage: Arc<Coverage>,
    /// Reason that the last file was not written.
    write_failure: Option<String>,
    /// Reason that the last block was not read.
    waits_for: Option<String>,
    /// Damage that was found, the newest last.
    incidents: VecDeque<String>,
}

impl Builder {
    /// Opens the files in a directory, which is created. Damaged ones, and those of another version
    /// or chain, are removed.
    ///
    /// # Errors
    /// Fails if the directory cannot be created or read.
    pub(super) fn open(directory: &Path, chain_id: u64) -> Result<Self, FileError> {
        let failed = |operation| move |error| FileError::io(operation, directory, error);
        fs::create_dir_all(directory).map_err(failed("create"))?;
        let mut builder = Self {
            directory: directory.to_owned(),
            chain_id,
            files: Vec::new(),
            unchecked: VecDeque::new(),
            runs: Vec::new(),
            coverage: Arc::default(),
            write_failure: None,
            waits_for: None,
            incidents: VecDeque::new(),
        };
        for entry in fs::read_dir(directory).map_err(failed("read"))? {
            let path = entry.map_err(failed("read"))?.path();
            let has = |extension| path.extension().is_some_and(|it| it == extension);
            if has(TEMPORARY) {
                // A file that was being written when the process ended.
                let _ = fs::remove_file(&path);
            } else if has(EXTENSION) {
                match Segment::open(&path, chain_id) {
                    Ok(segment) => builder.files.push(Arc::new(segment)),
                    Err(error) => builder.discard(&path, &error),
                }
            }
        }
        // The largest file is found first.
        builder
            .files
            .sort_by_key(|file| (file.header.low, u64::MAX - file.header.high));
        builder.unchecked = builder
            .files
            .iter()
            .map(|file| (Arc::clone(file), 0))
            .collect();
        Ok(builder)
    }

    /// Records damage, and removes the file: its blocks are in the chain.
    fn discard(&mut self, path: &Path, error: &FileError) {
        log::warn!("the transaction index is damaged, reading its blocks again: {error}");
        if self.incidents.len() >= MAX_INCIDENTS {
            self.incidents.pop_front();
        }
        self.incidents.push_back(error.to_string());
        if let Err(error) = fs::remove_file(path) {
            log::warn!("failed to remove {}: {error}", path.display());
        }
    }

    /// Discards the files in which a reader has found damage.
    fn discard_damaged(&mut self) {
        let (damaged, files): (Vec<_>, Vec<_>) =
            self.files.drain(..).partition(|file| file.is_damaged());
        self.files = files;
        for file in damaged {
            let error = FileError::damaged(file.path(), "a page is damaged or not readable");
            self.discard(file.path(), &error);
        }
    }

    /// Returns the blocks that queries see.
    pub(super) fn coverage(&self) -> Arc<Coverage> {
        Arc::clone(&self.coverage)
    }

    /// Returns the reason that files cannot be written.
    pub(super) fn write_failure(&self) -> Option<&str> {
        self.write_failure.as_deref()
    }

    /// Returns the reason that the index does not go further down.
    pub(super) fn waits_for(&self) -> Option<&str> {
        self.waits_for.as_deref()
    }

    /// Returns damage that was found since the last call.
    pub(super) fn take_incidents(&mut self) -> impl Iterator<Item = String> {
        core::mem::take(&mut self.incidents).into_iter()
    }

    /// Returns the number of files, and their bytes.
    pub(super) fn usage(&self) -> (u64, u64) {
        let bytes = self.files.iter().map(|file| file.bytes());
        (self.files.len() as u64, bytes.sum())
    }

    /// Permits to write files again after a failure.
    pub(super) fn retry(&mut self) {
        self.write_failure = None;
    }

    /// Indexes blocks as long as `should_continue` returns `true`, at least one.
    pub(super) fn advance(
        &mut self,
        chain: &Chain<'_>,
        should_continue: &mut dyn FnMut() -> bool,
    ) -> Progress {
        let mut progress = Progress::More;
        let mut walk = self.walk(chain);
        loop {
            let Some((id, height)) = walk.missing else {
                progress = Progress::Complete;
                break;
            };
            if self.is_full() {
                progress = Progress::Waits;
                break;
            }
            match IndexedBlock::read(chain.source, id, height) {
                Ok(block) => {
                    self.waits_for = None;
                    self.add(Arc::new(block));
                }
                Err(error) => {
                    self.waits_for = Some(reason(height, &error));
                    progress = Progress::Waits;
                    break;
                }
            }
            self.write_ready();
            walk = self.walk(chain);
            if !should_continue() {
                break;
            }
        }
        self.publish(&walk);
        if progress != Progress::More {
            self.remove_stale(chain, &walk);
        }
        progress
    }

    fn is_full(&self) -> bool {
        let blocks = || self.runs.iter().flatten();
        let transactions = blocks().map(|block| block.transactions.len());
        self.write_failure.is_some()
            && (blocks().count() >= MAX_BLOCKS || transactions.sum::<usize>() >= MAX_TRANSACTIONS)
    }

    /// Follows the chain from its head down as far as it is indexed.
    fn walk(&mut self, chain: &Chain<'_>) -> Walk {
        self.discard_damaged();
        let mut parts = Vec::new();
        let (mut id, mut height) = chain.head;
        loop {
            if id.is_zero() || height < chain.pruned_below {
                return Walk {
                    parts,
                    missing: None,
                };
            }
            let Some((part, previous)) = self.find(id, height, chain.pruned_below) else {
                let missing = Some((id, height));
                return Walk { parts, missing };
            };
            let low = part.low;
            parts.push(part);
            let Some(below) = low.checked_sub(1) else {
                return Walk {
                    parts,
                    missing: None,
                };
            };
            if low <= chain.pruned_below {
                return Walk {
                    parts,
                    missing: None,
                };
            }
            (id, height) = (previous, below);
        }
    }

    /// Returns the part with a block and all that the index has in one place below it, and the id of
    /// the block before the part.
    fn find(&self, id: AtomId, height: u64, pruned_below: u64) -> Option<(Part, AtomId)> {
        for run in &self.runs {
            let first = run.first()?;
            let Some(index) = height.checked_sub(first.height) else {
                continue;
            };
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if run.get(index).is_some_and(|block| block.id == id) {
                let blocks: Vec<_> = run.get(..=index)?.to_vec();
                let part = Part {
                    low: first.height,
                    high: height,
                    source: PartSource::Memory(blocks),
                };
                return Some((part, first.previous));
            }
        }
        for file in &self.files {
            let header = &file.header;
            if !(header.low..=header.high).contains(&height) || file.is_damaged() {
                continue;
            }
            let is_same = match height == header.high {
                true => header.top == id,
                // A damaged file is marked, and the next walk discards it.
                false => file
                    .reader()
                    .block(height)
                    .is_ok_and(|block| block.id == id),
            };
            if is_same {
                let part = Part {
                    low: header.low.max(pruned_below),
                    high: height,
                    source: PartSource::File(Arc::clone(file)),
                };
                return Some((part, header.previous));
            }
        }
        None
    }

    /// Adds a block to the run that it continues, or begins one.
    fn add(&mut self, block: Arc<IndexedBlock>) {
        let above = self.runs.iter().position(|run| {
            run.first().is_some_and(|first| {
                first.previous == block.id && first.height == block.height.saturating_add(1)
            })
        });
        let mut run = vec![Arc::clone(&block)];
        if let Some(above) = above {
            run.append(&mut self.runs.swap_remove(above));
        }
        let below = self.runs.iter_mut().find(|below| {
            below.last().is_some_and(|last| {
                last.id == block.previous && last.height.saturating_add(1) == block.height
            })
        });
        match below {
            Some(below) => below.append(&mut run),
            None => self.runs.push(run),
        }
    }

    /// Writes the blocks in memory that no further block joins, or that are many.
    fn write_ready(&mut self) {
        while self.write_failure.is_none() {
            let ready = self.runs.iter().enumerate().find_map(|(at, run)| {
                let (from, to) = self.ready(run)?;
                Some((at, from, to))
            });
            let Some((at, from, to)) = ready else {
                return;
            };
            let mut lower = self.runs.swap_remove(at);
            let upper = lower.split_off(to);
            let blocks = lower.split_off(from);
            match write_blocks(&self.directory, self.chain_id, &blocks) {
                Ok(segment) => self.files.extend(segment.map(Arc::new)),
                Err(error) => {
                    self.fail(&error);
                    lower.extend(blocks);
                    lower.extend(upper);
                    self.runs.push(lower);
                    return;
                }
            }
            let rest = [lower, upper].into_iter().filter(|run| !run.is_empty());
            self.runs.extend(rest);
        }
    }

    /// Returns the blocks of a run that are ready to be written, by index.
    fn ready(&self, run: &[Arc<IndexedBlock>]) -> Option<(usize, usize)> {
        let mut from = 0;
        while let Some(first) = run.get(from) {
            let bucket = first.height / FILE_BLOCKS;
            let in_bucket = |block: &&Arc<IndexedBlock>| block.height / FILE_BLOCKS == bucket;
            let to = from + run.iter().skip(from).take_while(in_bucket).count();
            let last = run.get(to - 1)?;
            let transactions = run.get(from..to)?.iter().map(|it| it.transactions.len());
            let is_in_file = |id| self.files.iter().any(|file| file.header.top == id);
            let begins = first.height.is_multiple_of(FILE_BLOCKS) || is_in_file(first.previous);
            let below = |file: &Arc<Segment>| file.header.previous == last.id;
            let ends =
                (last.height + 1).is_multiple_of(FILE_BLOCKS) || self.files.iter().any(below);
            if (begins && ends) || transactions.sum::<usize>() >= FILE_TRANSACTIONS {
                return Some((from, to));
            }
            from = to;
        }
        None
    }

    /// Publishes the indexed blocks to queries. Those that were published before stay until the new
    /// ones connect to them.
    fn publish(&mut self, walk: &Walk) {
        let before = self.coverage.top.map(|(height, _)| height);
        let is_damaged = self.coverage.parts.iter().any(|part| match &part.source {
            PartSource::File(file) => file.is_damaged(),
            PartSource::Memory(_) => false,
        });
        if let (Some((_, height)), Some(before)) = (walk.missing, before)
            && height > before
            && !is_damaged
        {
            return;
        }
        let top = walk.parts.first();
        let top = top.and_then(|part| Some((part.high, part.block(part.high).ok()??.0)));
        self.coverage = Arc::new(Coverage {
            parts: walk.parts.clone(),
            top,
            is_complete: walk.missing.is_none(),
        });
    }

    /// Removes files and blocks that are pruned, or abandoned by the part of the chain that the walk
    /// has covered.
    fn remove_stale(&mut self, chain: &Chain<'_>, walk: &Walk) {
        let floor = walk.missing.map_or(0, |(_, height)| height);
        let is_used = |file: &Arc<Segment>| {
            walk.parts.iter().any(|part| match &part.source {
                PartSource::File(used) => Arc::ptr_eq(used, file),
                PartSource::Memory(_) => false,
            })
        };
        let (files, stale): (Vec<_>, Vec<_>) = self.files.drain(..).partition(|file| {
            let is_pruned = file.header.high < chain.pruned_below;
            is_used(file) || (file.header.high < floor && !is_pruned)
        });
        self.files = files;
        for file in stale {
            let path = file.path();
            if self.files.iter().all(|other| other.path() != path) {
                let removed = fs::remove_file(path);
                if let Err(error) = removed {
                    log::warn!("failed to remove {}: {error}", path.display());
                }
            }
        }
        let runs = walk.parts.iter().filter_map(|part| match &part.source {
            PartSource::Memory(blocks) => Some(blocks.clone()),
            PartSource::File(_) => None,
        });
        let below = self.runs.drain(..).filter(|run| {
            let last = run.last().map(|block| block.height);
            last.is_some_and(|last| last < floor)
        });
        self.runs = below.collect::<Vec<_>>().into_iter().chain(runs).collect();
    }

    /// Merges the files of one part of the chain, if there is one with several. Returns whether it
    /// did. `should_continue` is called often meanwhile, and may pause; the merge ends without a result if it
    /// returns `false`.
    pub(super) fn merge_one(
        &mut self,
        chain: &Chain<'_>,
        should_continue: &mut dyn FnMut() -> bool,
    ) -> bool {
        if self.write_failure.is_some() {
            return false;
        }
        let walk = self.walk(chain);
        let Some(ranges) = mergeable(&walk.parts, chain.head.1) else {
            return false;
        };
        match merge(&self.directory, &ranges, MAX_MERGED, should_continue) {
            // In front, so that it is found instead of its parts.
            Ok(Some(segment)) => self.files.insert(0, Arc::new(segment)),
            Ok(None) => return false,
            Err(_) if ranges.iter().any(|range| range.segment.is_damaged()) => return false,
            Err(error) => {
                self.fail(&error);
                return false;
            }
        }
        let walk = self.walk(chain);
        self.publish(&walk);
        self.remove_stale(chain, &walk);
        true
    }

    fn fail(&mut self, error: &FileError) {
        if let Some(more) = log::limited("transaction index") {
            log::error!("the transaction index cannot be written: {error}{more}");
        }
        self.write_failure = Some(error.to_string());
    }

    /// Reads some pages of the files from before the start. Returns whether there are more.
    pub(super) fn check_files(&mut self) -> bool {
        let Some((file, page)) = self.unchecked.pop_front() else {
            return false;
        };
        let is_open = self.files.iter().any(|other| Arc::ptr_eq(other, &file));
        let end = page.saturating_add(PAGES_PER_CHECK).min(file.pages());
        let is_intact = is_open && (page..end).all(|page| file.check_page(page).is_ok());
        if is_intact && end < file.pages() {
            self.unchecked.push_front((file, end));
        }
        !self.unchecked.is_empty()
    }

    /// Returns whether a damaged file was found that is not replaced yet.
    pub(super) fn has_damage(&self) -> bool {
        self.files.iter().any(|file| file.is_damaged())
    }
}

/// Returns the ranges of files that together have all blocks of an aligned part of the chain.
fn mergeable(parts: &[Part], head: u64) -> Option<Vec<Range>> {
    let mut ranges: Vec<Range> = Vec::new();
    for part in parts.iter().rev() {
        if let PartSource::File(segment) = &part.source {
            ranges.push(Range {
                segment: Arc::clone(segment),
                low: part.low,
                high: part.high,
            });
        }
    }
    (0..=MERGES).find_map(|level| {
        let blocks = FILE_BLOCKS * MERGE_FACTOR.pow(level);
        // One after the other, each of one aligned part.
        ranges
            .chunk_by(|a, b| a.low / blocks == b.low / blocks)
            .find_map(|group| {
                let (first, last) = (group.first()?, group.last()?);
                let low = first.low / blocks * blocks;
                let is_whole = first.low == low && last.high == low + (blocks - 1);
                let pairs = group.iter().zip(group.iter().skip(1));
                let mut pairs = pairs.map(|(a, b)| a.high + 1 == b.low);
                let is_old = level == 0 || last.high.saturating_add(REORGANIZED_BLOCKS) <= head;
                let transactions = group
                    .iter()
                    .map(|it| u64::from(it.segment.header.transactions));
                let fits = transactions.sum::<u64>() <= u64::from(MAX_MERGED);
                let is_wanted = group.len() > 1 && is_whole && pairs.all(|it| it) && is_old && fits;
                is_wanted.then(|| group.to_vec())
            })
    })
}

fn reason(height: u64, error: &QueryError) -> String {
    match error {
        QueryError::Missing(id) => {
            format!("block {height} is not stored: atom {id} is missing")
        }
        error => format!("block {height} cannot be read: {error}"),
    }
}
