//! Jobs that read the stakes after the blocks where branches fork, a bounded number of nodes at a
//! time.
//!
//! The stakes of recent blocks are known from their verification. Those of a fork further back, or
//! of a trusted head, have to be read from the state, which may have to be fetched.

use super::working_set::View;
use crate::atom::AtomId;
use crate::chain::fork_choice::{StakeSource, StakeView};
use crate::chain::{Address, Block, ElectionCache, RecordError, StakeLoader, StakeTable};
use crate::integer::Natural;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::convert::Infallible;

/// Maximum number of tables that are read at a time.
const MAX_JOBS: usize = 4;
/// Maximum number of tables kept; the one read longest ago is dropped.
const MAX_TABLES: usize = 16;
/// Maximum number of trie nodes compared in one call.
const STEPS_PER_CALL: u32 = 4_096;
/// Maximum number of stakes that are read for a block that was not verified.
const MAX_UNVERIFIED_STAKES: u64 = 1 << 21;

/// Stakes after one block, for the fork choice.
#[derive(Clone, Debug)]
pub(super) struct ForkStakes(StakeTable);

impl StakeView for ForkStakes {
    fn stake(&self, validator: &Address) -> Natural {
        self.0.stake(validator)
    }

    fn total(&self) -> Natural {
        self.0.total().clone()
    }
}

#[derive(Debug)]
struct Job {
    block: AtomId,
    is_verified: bool,
    loader: Option<StakeLoader>,
}

/// Stake tables that were read, and jobs that read further ones.
#[derive(Debug, Default)]
pub(super) struct StakeJobs {
    jobs: Vec<Job>,
    tables: VecDeque<(AtomId, StakeTable)>,
}

/// Result of one step of a job.
pub(super) enum JobStep {
    /// There are no jobs.
    Idle,
    /// There is more to read.
    Progress,
    /// A table is complete.
    Done,
    /// This atom of the state of this block is missing.
    Missing { block: AtomId, atom: AtomId },
}

impl StakeJobs {
    /// Starts to read the stakes after a block.
    pub(super) fn start(&mut self, block: AtomId, is_verified: bool) {
        let is_known = self.jobs.iter().any(|job| job.block == block)
            || self.tables.iter().any(|(id, _)| *id == block);
        if !is_known && self.jobs.len() < MAX_JOBS {
            self.jobs.push(Job {
                block,
                is_verified,
                loader: None,
            });
        }
    }

    /// Continues the first job.
    pub(super) fn step(&mut self, view: &View<'_>, elections: &ElectionCache) -> JobStep {
        let Some(job) = self.jobs.first_mut() else {
            return JobStep::Idle;
        };
        let block = job.block;
        match read(job, view, elections) {
            Ok(None) => JobStep::Progress,
            Ok(Some(table)) => {
                self.jobs.remove(0);
                if self.tables.len() >= MAX_TABLES {
                    self.tables.pop_front();
                }
                self.tables.push_back((block, table));
                JobStep::Done
            }
            Err(error) => {
                if let Some(atom) = error.missing() {
                    // Another job may not have to wait.
                    self.jobs.rotate_left(1);
                    return JobStep::Missing { block, atom };
                }
                // The state of a trusted head is malformed: its fork stays undecided.
                self.jobs.remove(0);
                JobStep::Progress
            }
        }
    }

    /// Returns whether stakes of this block are being read.
    pub(super) fn needs(&self, block: &AtomId) -> bool {
        self.jobs.iter().any(|job| job.block == *block)
    }

    fn table(&self, block: &AtomId) -> Option<&StakeTable> {
        let mut tables = self.tables.iter();
        tables.find_map(|(id, table)| (id == block).then_some(table))
    }

    /// Returns the tables together with those of recent elections.
    pub(super) const fn with<'a>(&'a self, elections: &'a ElectionCache) -> KnownStakes<'a> {
        KnownStakes {
            jobs: self,
            elections,
        }
    }
}

fn read(
    job: &mut Job,
    view: &View<'_>,
    elections: &ElectionCache,
) -> Result<Option<StakeTable>, RecordError<Infallible>> {
    if let Some(loader) = &mut job.loader {
        return loader.run(view, STEPS_PER_CALL);
    }
    let block = Block::read(view, job.block)?;
    let root = StakeLoader::find_root(view, block.accounts)?;
    let height = block.height.to_u64().unwrap_or(u64::MAX);
    let known = elections.nearest_stakes(root, height).unwrap_or_default();
    let mut loader = StakeLoader::new(known, root);
    if !job.is_verified {
        loader = loader.with_max_stakes(MAX_UNVERIFIED_STAKES);
    }
    job.loader = Some(loader);
    Ok(None)
}

/// Known stakes.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownStakes<'a> {
    jobs: &'a StakeJobs,
    elections: &'a ElectionCache,
}

impl StakeSource for KnownStakes<'_> {
    type View = ForkStakes;

    fn stakes_after(&self, block: &AtomId) -> Option<ForkStakes> {
        let recent = self.elections.get(block).map(|election| &election.stakes);
        let known = recent.or_else(|| self.jobs.table(block));
        known.cloned().map(ForkStakes)
    }
}
