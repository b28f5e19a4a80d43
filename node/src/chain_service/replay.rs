//! Verification of a stored chain from its genesis, without peers.
//!
//! The chain is first followed from the head down to the genesis, and only every `STRIDE`th id is
//! kept, to bound the memory. Then each section is verified upwards.
//!
//! Blocks that were pruned cannot be executed again. They were verified before that, and their
//! headers are kept in a file of the node's own: a chain that consists of them up to the horizon is
//! verified from there on, with the state at the horizon.

use crate::simd::Lanes;
use crate::store::cold::ColdStore;
use astreum_core::atom::{Atom, AtomId, AtomSource};
use astreum_core::chain::{
    Block, Election, VerifyError, check_signatures, read_transactions, verify_body, verify_genesis,
    verify_header,
};
use astreum_core::consensus::head_journal::MAX_JOURNAL_HEADS;
use astreum_core::consensus::{Head, HeadState, ResumeData, SavedHead};
use astreum_core::integer::Natural;
use core::convert::Infallible;
use core::fmt;
use std::collections::VecDeque;
use std::sync::Arc;

/// Number of blocks between two ids that are kept.
const STRIDE: usize = 1_024;

/// Result of a replay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replay {
    /// Genesis, if the head is connected to one.
    pub genesis: Option<AtomId>,
    /// Last verified blocks, newest last, at most as many as a head journal keeps.
    pub heads: VecDeque<SavedHead>,
    /// Height up to which the blocks were verified before they were pruned, instead of now; `None`
    /// if all were verified now.
    pub pruned_to: Option<u64>,
    /// Reason the head itself is not verified; `None` if it is.
    pub problem: Option<ReplayProblem>,
}

/// Reason a replay ended before the head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayProblem {
    /// First block that is not verified.
    pub block: AtomId,
    /// Height of the block, if known.
    pub height: Option<u64>,
    /// True if the block breaks a rule; otherwise atoms are missing.
    pub is_invalid: bool,
    /// Description of the problem.
    pub why: String,
}

impl fmt::Display for ReplayProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("block ")?;
        if let Some(height) = self.height {
            write!(f, "{height}, ")?;
        }
        write!(f, "{}: {}", self.block, self.why)
    }
}

/// Verifies the chain that ends in `head` by all rules, from its genesis on. `latest_unix_seconds`
/// is the latest timestamp that is accepted; `progress` is called with the numbers of verified
/// blocks and of all blocks. Blocks that were pruned from `cold` count as verified.
pub fn replay<S: AtomSource<Error = Infallible>>(
    source: &S,
    head: AtomId,
    (chain_id, latest_unix_seconds): (u64, u64),
    cold: Option<&ColdStore>,
    progress: &mut dyn FnMut(u64, u64),
) -> Replay {
    let mut verifier = Verifier::new(source, chain_id, latest_unix_seconds);
    let pruned = cold.map(|cold| (cold, cold.pruned_below(chain_id)));
    let pruned = pruned.filter(|(_, below)| *below > 0);
    let (mut found, mut height) = (None, 0);
    let walked = each_upwards(source, head, &mut |id, total| {
        let verified = match pruned {
            Some((cold, below)) if height < below => check_pruned(cold, chain_id, (id, height)),
            // Its state is kept, but not that before it.
            Some((_, below)) if height == below => verifier.trust(id, height),
            _ => verifier.verify(id).map(|_| ()),
        };
        found = verified.err();
        if height == 0 && found.is_none() {
            verifier.replay.genesis = Some(id);
        }
        height += 1;
        if found.is_none() {
            progress(height, total);
        }
        found.is_none()
    });
    Replay {
        problem: found.or(walked.err()),
        ..verifier.finish()
    }
}

/// Checks that the block of a height is the one that was pruned.
fn check_pruned(
    cold: &ColdStore,
    chain_id: u64,
    (id, height): (AtomId, u64),
) -> Result<(), ReplayProblem> {
    let why = match cold.header_at(chain_id, height) {
        Ok(Some(header)) if header.id() == id => return Ok(()),
        Ok(Some(header)) => format!(
            "the verified chain had block {} at this height, which was pruned; this one cannot be \
             verified",
            header.id()
        ),
        Ok(None) => "the block was pruned, and its header is missing".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(ReplayProblem {
        block: id,
        height: Some(height),
        is_invalid: false,
        why,
    })
}

/// Calls `visit` with the id of every block from the genesis up to `head`, and with their number,
/// until it returns `false`.
///
/// # Errors
/// Fails if a header is missing or does not follow the one below it.
pub(super) fn each_upwards<S: AtomSource<Error = Infallible>>(
    source: &S,
    head: AtomId,
    visit: &mut dyn FnMut(AtomId, u64) -> bool,
) -> Result<(), ReplayProblem> {
    let marks = walk_down(source, head)?;
    // The lowest section first; each ends above the mark below it.
    let mut below = AtomId::ZERO;
    for mark in marks.ids.iter().rev() {
        let ids = stretch(source, *mark, below)?;
        for id in ids.iter().rev() {
            if !visit(*id, marks.count) {
                return Ok(());
            }
        }
        below = *mark;
    }
    Ok(())
}

/// Ids kept on the way down, the head first.
struct Marks {
    ids: Vec<AtomId>,
    count: u64,
}

fn walk_down<S: AtomSource<Error = Infallible>>(
    source: &S,
    head: AtomId,
) -> Result<Marks, ReplayProblem> {
    let mut marks = Marks {
        ids: Vec::new(),
        count: 0,
    };
    let (mut next, mut height) = (head, None);
    loop {
        let block = read(source, next, height)?;
        let found = block.height.to_u64();
        // A chain whose heights do not decrease would never end.
        if found.is_none() || height.is_some_and(|height| found != Some(height)) {
            return Err(ReplayProblem {
                block: next,
                height,
                is_invalid: true,
                why: format!("wrong height {}", block.height),
            });
        }
        if marks.count.is_multiple_of(STRIDE as u64) {
            marks.ids.push(next);
        }
        marks.count += 1;
        height = found.and_then(|height| height.checked_sub(1));
        if height.is_none() {
            return Ok(marks);
        }
        next = block.previous;
    }
}

/// Returns the ids from `from` down to the block above `below`.
fn stretch<S: AtomSource<Error = Infallible>>(
    source: &S,
    from: AtomId,
    below: AtomId,
) -> Result<Vec<AtomId>, ReplayProblem> {
    let mut ids = Vec::with_capacity(STRIDE);
    let mut next = from;
    while next != below && ids.len() < STRIDE {
        ids.push(next);
        let block = read(source, next, None)?;
        if block.is_genesis() {
            break;
        }
        next = block.previous;
    }
    Ok(ids)
}

fn read<S: AtomSource<Error = Infallible>>(
    source: &S,
    id: AtomId,
    height: Option<u64>,
) -> Result<Block, ReplayProblem> {
    Block::read(source, id).map_err(|error| ReplayProblem {
        block: id,
        height,
        is_invalid: error.missing().is_none(),
        why: error.to_string(),
    })
}

/// Election after a block, and the atoms that its execution created.
type Checked = (Election, Vec<(AtomId, Atom)>);

/// Verification of one block after the other, from the genesis on.
pub(super) struct Verifier<'s, S> {
    source: &'s S,
    chain_id: Natural,
    latest: Natural,
    hasher: Lanes,
    replay: Replay,
    parent: Option<(Arc<Block>, Election)>,
}

impl<'s, S: AtomSource<Error = Infallible>> Verifier<'s, S> {
    /// Creates a verifier that has seen no block.
    pub(super) fn new(source: &'s S, chain_id: u64, latest_unix_seconds: u64) -> Self {
        Self {
            source,
            chain_id: chain_id.into(),
            latest: latest_unix_seconds.into(),
            hasher: Lanes::new(),
            replay: Replay {
                genesis: None,
                heads: VecDeque::new(),
                pruned_to: None,
                problem: None,
            },
            parent: None,
        }
    }

    /// Returns the number of verified blocks.
    fn blocks(&self) -> u64 {
        let parent = self.parent.as_ref();
        parent.map_or(0, |(_, election)| election.seeds.height() + 1)
    }

    /// Returns the genesis, and the last verified blocks.
    pub(super) fn finish(self) -> Replay {
        self.replay
    }

    /// Verifies the next block. Returns the atoms of the state after it, of its receipts and its
    /// transaction list, which the next block needs.
    pub(super) fn verify(&mut self, id: AtomId) -> Result<Vec<(AtomId, Atom)>, ReplayProblem> {
        self.try_verify(id, self.blocks())
    }

    fn try_verify(
        &mut self,
        id: AtomId,
        height: u64,
    ) -> Result<Vec<(AtomId, Atom)>, ReplayProblem> {
        let block = Arc::new(read(self.source, id, Some(height))?);
        let (election, atoms) = self.check(&block).map_err(|error| ReplayProblem {
            block: id,
            height: Some(height),
            is_invalid: error.invalid().is_some(),
            why: error.to_string(),
        })?;
        self.push(block, election);
        Ok(atoms)
    }

    /// Takes a block as verified whose state is stored.
    fn trust(&mut self, id: AtomId, height: u64) -> Result<(), ReplayProblem> {
        let block = Arc::new(read(self.source, id, Some(height))?);
        let election = Election::read(self.source, &block);
        let election = election.map_err(|error| ReplayProblem {
            block: id,
            height: Some(height),
            is_invalid: false,
            why: error.to_string(),
        })?;
        self.replay.pruned_to = Some(height);
        self.push(block, election);
        Ok(())
    }

    /// Adds a verified block, with the election after it.
    fn push(&mut self, block: Arc<Block>, election: Election) {
        let genesis = *self.replay.genesis.get_or_insert(block.id());
        if let Some(head) = Head::new(Arc::clone(&block), HeadState::Verified) {
            if self.replay.heads.len() >= MAX_JOURNAL_HEADS {
                self.replay.heads.pop_front();
            }
            let resume = ResumeData {
                election_seeds: election.seeds.to_bytes().to_vec(),
                ..ResumeData::default()
            };
            self.replay.heads.push_back(SavedHead {
                resume,
                ..head.saved(Some(genesis))
            });
        }
        self.parent = Some((block, election));
    }

    /// Verifies the block; returns the election after it, and what its execution created.
    fn check(&mut self, block: &Block) -> Result<Checked, VerifyError<Infallible>> {
        let Some((parent, election)) = &self.parent else {
            verify_genesis(self.source, block, &self.chain_id)?;
            return Ok((Election::read(self.source, block)?, Vec::new()));
        };
        let Election { seeds, stakes } = election;
        verify_header(block, parent, seeds, stakes, &self.chain_id, &self.latest)?;
        let transactions = read_transactions(self.source, block)?;
        let signed = check_signatures(&transactions);
        let body = verify_body(
            self.source,
            block,
            parent,
            stakes,
            &transactions,
            &signed,
            &mut self.hasher,
        )?;
        Ok((election.child(block.id(), body.stakes), body.atoms))
    }
}
