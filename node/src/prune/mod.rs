//! Pruning: which atoms of cold storage have to be kept, and removal of the others.
//!
//! | kept | what of it |
//! | --- | --- |
//! | headers of the chain | all of them, those below the horizon in the header file |
//! | blocks of the chain from the *horizon* on | header, transactions, receipts, state, lists that its transactions open contracts on |
//! | other blocks from the height of the horizon on, and all blocks of other chain ids | header, transactions, receipts, state |
//! | what users have stored, pinned or advertise; waiting transactions | everything that it leads to |
//! | lists under contracts of the node's keys | the atoms of the list |
//!
//! The horizon is the lowest block whose state is kept: [`Wanted::blocks`] blocks below the head,
//! fewer if they need more than [`Wanted::bytes`], but at least [`Wanted::min_blocks`]; and not above
//! [`Wanted::fork`], the lowest fork that waits for a decision of the operator.
//!
//! Invariants:
//! - What has to be kept is determined after the [collection](Collection) has begun, since from then
//!   on everything that is written is kept. A block is stored by one write with all its atoms, so
//!   that one that was stored before is found by its header, whether it became the head or not.
//! - The headers below the horizon are durable in the header file before anything is removed.
//! - Lists under contracts come last: what their items lead to is not kept, so that an atom that
//!   was visited for them must not count as visited for anything else.
//! - Memory: two bits for each atom, and the ids that wait, whose number is bounded by the depth of
//!   an object and not by its size.

mod mark;

use crate::store::cold::{
    ColdError, ColdStore, Collection, Extent, MAX_HEADERS, PinKinds, Progress, Swept, Visit,
};
use astreum_core::atom::{AtomId, AtomKind, AtomSource as _};
use astreum_core::chain::{Block, RecordError};
use core::fmt;
use core::ops::ControlFlow;
use mark::Marker;

/// Type name of a block, which is the data of its first atom.
const BLOCK: &[u8] = b"block";
/// Stored bytes of that atom: id of the next atom, kind, data.
const BLOCK_ATOM_LEN: u32 = 32 + 1 + 5;
/// Number of pins that are read at a time.
const PINS_PER_READ: usize = 1_024;
/// Number of passes over pins that users have added meanwhile.
const PIN_ROUNDS: usize = 3;

/// Objects that a run keeps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Id of the chain.
    pub chain_id: u64,
    /// Head of the chain, if there is one.
    pub head: Option<AtomId>,
    /// Number of blocks whose state is kept, the head included.
    pub blocks: u64,
    /// Minimum number of blocks whose state is kept.
    pub min_blocks: u64,
    /// Bytes beyond which fewer blocks are kept; `None` for no limit.
    pub bytes: Option<u64>,
    /// Height of the lowest fork that waits for a decision of the operator.
    pub fork: Option<u64>,
    /// Further objects: advertised ones and waiting transactions.
    pub objects: Vec<AtomId>,
}

/// Result of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// Height of the lowest block whose state is kept; `None` without a chain.
    pub horizon: Option<u64>,
    /// Number of blocks whose state is kept.
    pub blocks: u64,
    /// The block below the horizon; zero if there is none.
    below: AtomId,
    /// Number of pins.
    pub pins: u64,
    /// Number of atoms that are pinned or lead from a pin, and are not stored.
    pub missing: u64,
    /// Kept atoms of the sealed pairs.
    pub kept: Extent,
    /// Garbage in the sealed pairs.
    pub garbage: Extent,
    /// Removed atoms; none by a dry run.
    pub swept: Swept,
}

/// Reason a run ended early. What was removed until then was garbage.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PruneError {
    /// Cold storage failed, or the run was cancelled.
    Cold(ColdError),
    /// The pins of the store are not complete.
    Unpinned,
    /// The store has blocks of the chain, but its head is not known.
    NoHead {
        /// One of the blocks.
        block: AtomId,
    },
    /// A header of the chain is missing, and atoms were lost in damaged files.
    Lost {
        /// The block.
        block: AtomId,
    },
    /// The head is not stored, or its record is malformed.
    Head {
        /// The head.
        head: AtomId,
        /// Reason that it cannot be read.
        problem: String,
    },
}

impl fmt::Display for PruneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cold(error) => error.fmt(f),
            Self::Unpinned => f.write_str(
                "objects may have been stored here that are not pinned: the directory is older \
                 than pins, or another program has written to it; pin what has to be kept with \
                 `astreum pin ID`, then run `astreum store gc --accept-unpinned` once",
            ),
            Self::NoHead { block } => write!(
                f,
                "cold storage has block {block} of the chain, but there is no head to start from; \
                 start the node once, or see `astreum chain recover`"
            ),
            Self::Lost { block } => write!(
                f,
                "block {block} of the chain is missing, and atoms were lost in damaged files: what \
                 is below it could be lost, too; see `astreum store damaged`"
            ),
            Self::Head { head, problem } => write!(f, "cannot read the head {head}: {problem}"),
        }
    }
}

impl core::error::Error for PruneError {}

impl From<ColdError> for PruneError {
    fn from(error: ColdError) -> Self {
        Self::Cold(error)
    }
}

/// Way to run.
pub struct Run<'a> {
    /// Part of a pair that has to be garbage for it to be rewritten, as a divisor; `None` for a dry
    /// run.
    pub divisor: Option<u64>,
    /// Called with the number of atoms that were visited, and once all of them were with the number
    /// of those that are kept.
    pub marked: &'a mut dyn FnMut(u64),
    /// Called with the progress of the removal.
    pub progress: &'a mut dyn FnMut(Progress),
    /// Asked regularly; the run is cancelled once it returns `false`.
    pub should_continue: &'a dyn Fn() -> bool,
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("divisor", &self.divisor)
            .finish_non_exhaustive()
    }
}

/// Removes what is not needed. `wanted` is called once the collection has begun.
///
/// # Errors
/// Fails if the pins are not complete, unless nothing is to be removed; if the head is not known, cold
/// storage fails, or the run is cancelled.
pub fn run(
    cold: &ColdStore,
    wanted: impl FnOnce() -> Wanted,
    run: &mut Run<'_>,
) -> Result<Outcome, PruneError> {
    if run.divisor.is_some() && !cold.are_pins_complete() {
        return Err(PruneError::Unpinned);
    }
    let collection = cold.begin_collection()?;
    let wanted = wanted();
    let mut outcome = mark(cold, &collection, &wanted, run)?;
    (outcome.kept, outcome.garbage) = collection.extents()?;
    (run.marked)(outcome.kept.atoms);
    if let Some(divisor) = run.divisor {
        // Durable before their atoms go.
        let below = outcome.below;
        write_headers(
            cold,
            &collection,
            wanted.chain_id,
            below,
            run.should_continue,
        )?;
        outcome.swept = collection.sweep(divisor, run.progress, run.should_continue)?;
    }
    Ok(outcome)
}

/// Visits everything that has to be kept.
fn mark(
    cold: &ColdStore,
    collection: &Collection,
    wanted: &Wanted,
    run: &mut Run<'_>,
) -> Result<Outcome, PruneError> {
    let mut marker = Marker::new(collection, run.marked, run.should_continue);
    let mut outcome = Outcome::default();
    // First, because only of these are missing atoms counted.
    pins(cold, &mut marker, &mut outcome)?;
    outcome.missing = marker.missing();
    for id in &wanted.objects {
        marker.follow(*id)?;
    }
    if let Some(head) = wanted.head {
        own_chain(cold, collection, &mut marker, head, wanted, &mut outcome)?;
    }
    other_blocks(cold, collection, &mut marker, wanted, outcome.horizon)?;
    // The ids are not in the order of time, so all of them are read again.
    for _ in 0..PIN_ROUNDS {
        let before = marker.visited();
        pins(cold, &mut marker, &mut outcome)?;
        if marker.visited() == before {
            break;
        }
    }
    contracts(cold, &mut marker)?;
    if let Some(head) = wanted.head {
        opened_lists(collection, &mut marker, head, outcome.horizon)?;
    }
    Ok(outcome)
}

/// Visits what users have stored or pinned.
fn pins(
    cold: &ColdStore,
    marker: &mut Marker<'_, '_>,
    outcome: &mut Outcome,
) -> Result<(), ColdError> {
    outcome.pins = 0;
    each_pin(cold, |id, kinds| {
        outcome.pins += 1;
        if kinds != PinKinds::CONTRACT {
            marker.follow(id)?;
        }
        Ok(())
    })
}

/// Visits the lists under contracts that the node has an interest in.
fn contracts(cold: &ColdStore, marker: &mut Marker<'_, '_>) -> Result<(), ColdError> {
    each_pin(cold, |id, kinds| {
        if kinds.has(PinKinds::CONTRACT) {
            marker.list(id)?;
        }
        Ok(())
    })
}

/// Calls `each` with every pin, a bounded number of them in memory at a time.
fn each_pin(
    cold: &ColdStore,
    mut each: impl FnMut(AtomId, PinKinds) -> Result<(), ColdError>,
) -> Result<(), ColdError> {
    let mut after = None;
    loop {
        let pins = cold.pins(after, PINS_PER_READ);
        let Some((last, _)) = pins.last() else {
            return Ok(());
        };
        after = Some(*last);
        for (id, kinds) in pins {
            each(id, kinds)?;
        }
    }
}

/// Visits the blocks of the chain down to the horizon.
fn own_chain(
    cold: &ColdStore,
    collection: &Collection,
    marker: &mut Marker<'_, '_>,
    head: AtomId,
    wanted: &Wanted,
    outcome: &mut Outcome,
) -> Result<(), PruneError> {
    let unreadable = |problem: String| PruneError::Head { head, problem };
    let before = marker.bytes();
    let mut next = head;
    loop {
        let block = match read_block(collection, next)? {
            Ok(block) => block,
            Err(problem) if next == head => return Err(unreadable(problem)),
            // The chain was joined above, or its headers are in the header file.
            Err(_) => return check_lost(cold, next),
        };
        let height = block.height.to_u64().unwrap_or(u64::MAX);
        let has_enough = outcome.blocks >= wanted.blocks
            || outcome.blocks >= wanted.min_blocks
                && wanted
                    .bytes
                    .is_some_and(|limit| marker.bytes() - before > limit);
        let is_below_fork = wanted.fork.is_none_or(|fork| height < fork);
        if outcome.blocks > 0 && has_enough && is_below_fork {
            break;
        }
        marker.block(&block)?;
        outcome.blocks += 1;
        outcome.horizon = Some(height);
        if block.is_genesis() {
            return Ok(());
        }
        next = block.previous;
    }
    outcome.below = next;
    Ok(())
}

/// Writes the headers of a block and of those below it to the header file, as far as they are not in
/// it.
fn write_headers(
    cold: &ColdStore,
    collection: &Collection,
    chain_id: u64,
    first: AtomId,
    should_continue: &dyn Fn() -> bool,
) -> Result<(), PruneError> {
    let mut next = first;
    let mut headers: Vec<Block> = Vec::new();
    let flush = |headers: &mut Vec<Block>| {
        headers.reverse();
        let added = cold.add_headers(chain_id, headers);
        headers.clear();
        added
    };
    while !next.is_zero() {
        if let Some(known) = cold.header(&next)? {
            flush(&mut headers)?;
            let height = known.height.to_u64().unwrap_or(0);
            let lowest = cold.headers_down_to(chain_id, height);
            let Some(lowest) = cold.header_at(chain_id, lowest)? else {
                break;
            };
            next = lowest.previous;
            continue;
        }
        let Ok(block) = read_block(collection, next)? else {
            check_lost(cold, next)?;
            break;
        };
        next = block.previous;
        headers.push(block);
        if headers.len() >= MAX_HEADERS {
            flush(&mut headers)?;
            if !should_continue() {
                return Err(ColdError::Cancelled.into());
            }
        }
    }
    flush(&mut headers)?;
    Ok(cold.merge_headers()?)
}

/// Checks that a header that is not stored was not lost with a damaged file: the blocks below would
/// be taken for those of an abandoned branch.
fn check_lost(cold: &ColdStore, block: AtomId) -> Result<(), PruneError> {
    if cold.has_lost() && cold.header(&block)?.is_none() {
        return Err(PruneError::Lost { block });
    }
    Ok(())
}

/// Reads a header; the inner error is the reason there is none.
fn read_block(collection: &Collection, id: AtomId) -> Result<Result<Block, String>, ColdError> {
    use astreum_core::atom::SourceError;
    match Block::read(collection, id) {
        Ok(block) => Ok(Ok(block)),
        Err(RecordError::Source(SourceError::Failed(error))) => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Visits the blocks that are not on the chain: branches from the horizon on, and other chains.
fn other_blocks(
    cold: &ColdStore,
    collection: &Collection,
    marker: &mut Marker<'_, '_>,
    wanted: &Wanted,
    horizon: Option<u64>,
) -> Result<(), PruneError> {
    let mut failure = None;
    cold.each_of_len(BLOCK_ATOM_LEN, &mut |_| (), |id, atom| {
        if atom.kind() != AtomKind::Symbol || atom.data() != BLOCK {
            return ControlFlow::Continue(());
        }
        let result = other_block(collection, marker, wanted, horizon, id);
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failure.map_or(Ok(()), Err)
}

fn other_block(
    collection: &Collection,
    marker: &mut Marker<'_, '_>,
    wanted: &Wanted,
    horizon: Option<u64>,
    id: AtomId,
) -> Result<(), PruneError> {
    let Ok(block) = read_block(collection, id)? else {
        // Not a block, or a part of one that a user has stored.
        return Ok(());
    };
    if block.chain_id.to_u64() == Some(wanted.chain_id) {
        let Some(horizon) = horizon else {
            return Err(PruneError::NoHead { block: id });
        };
        if block.height.to_u64().is_some_and(|height| height < horizon) {
            return Ok(());
        }
    }
    marker.block(&block).map_err(PruneError::from)
}

/// Visits the lists that the transactions of the chain from the horizon on have opened contracts on.
fn opened_lists(
    collection: &Collection,
    marker: &mut Marker<'_, '_>,
    head: AtomId,
    horizon: Option<u64>,
) -> Result<(), PruneError> {
    let mut next = head;
    while !next.is_zero() {
        let Ok(block) = read_block(collection, next)? else {
            break;
        };
        if block.height.to_u64() < horizon {
            break;
        }
        marker.opened_lists(&block)?;
        next = block.previous;
    }
    Ok(())
}

/// Atom of a collection, or `None` if it is not stored.
fn atom_of(
    collection: &Collection,
    id: &AtomId,
) -> Result<Option<astreum_core::atom::Atom>, ColdError> {
    use astreum_core::atom::SourceError;
    match collection.atom(id) {
        Ok(atom) => Ok(Some(atom)),
        Err(SourceError::Missing(_)) => Ok(None),
        Err(SourceError::Failed(error)) => Err(error),
    }
}

/// Returns whether a visit found the atom stored.
const fn is_stored(visit: &Visit) -> bool {
    !matches!(visit, Visit::Missing)
}

#[cfg(test)]
mod tests;
