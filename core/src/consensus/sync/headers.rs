//! Headers of a branch: read down from its head to a verified block, to the genesis, or to a dead
//! end; and read again, a stretch at a time, on the way up.
//!
//! On the way down a header is checked against its child as far as that is cheap. Its signature and
//! its slot are checked on the way up, where the stakes are known.

use super::block_index::{Basis, BlockIndex, Entry, MAX_OWN_BLOCKS};
use super::branch::{Branch, Kind, Phase};
use super::call::Call;
use super::config::SyncConfig;
use super::downloads::Downloads;
use super::head_selection::HeadSelection;
use super::header_path::CHECKPOINT_INTERVAL;
use super::other_chains::OtherChain;
use super::rejected::{DeadEnd, Rejected};
use super::step::Step;
use super::streams::{MIN_HEADERS, Streams};
use super::waiting::Waiting;
use crate::arc::Arc;
use crate::atom::AtomId;
use crate::chain::{Block, RecordError, VerifyError, verify_link};
use crate::consensus::HeadState;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::convert::Infallible;

/// Maximum number of headers of a branch read in one call.
pub(super) const HEADERS_PER_CALL: usize = 32;
/// Number of headers that are requested again at once on the way up.
const HEADERS_AGAIN: usize = 512;
/// Number of failed fetches of a header's atom at which the branch counts as stalled.
const STUCK_FAILURES: u32 = 4;

/// Reader of headers, with the rules that a header is checked by.
#[derive(Debug)]
pub(super) struct HeaderReader {
    chain_id: u64,
    /// Block up to which the chain counts as verified.
    verified_up_to: Option<AtomId>,
    /// Block that every adopted chain must contain.
    checkpoint: Option<AtomId>,
    /// Maximum number of headers of a branch that only one peer announces.
    max_unconfirmed: u64,
}

impl HeaderReader {
    /// Creates a reader.
    pub(super) fn new(config: &SyncConfig) -> Self {
        Self {
            chain_id: config.chain_id,
            verified_up_to: config.verified_up_to,
            checkpoint: config.checkpoint,
            max_unconfirmed: config.limits.unconfirmed_headers,
        }
    }

    /// Reads the next header of a branch, downwards.
    pub(super) fn read(
        &self,
        call: &mut Call<'_, '_>,
        branch: &mut Branch,
        downloads: &mut Downloads,
        index: &mut BlockIndex,
        selection: &mut HeadSelection,
        rejected: &Rejected,
    ) -> Step {
        let Phase::Headers { next } = branch.phase else {
            return Step::Progress;
        };
        if let Some(reason) = rejected.bad_reason(&next) {
            return Step::Bad(next, reason.to_string());
        }
        if let Some(end) = rejected.dead_end(&next) {
            return Step::DeadEnd(end);
        }
        if selection.competition.avoids(&next) {
            return Step::DeadEnd(DeadEnd::Avoided(next));
        }
        if let Some(waits) = self.room(branch) {
            branch.waits = Some(waits);
            return Step::Waits;
        }
        let block = match Block::read(&downloads.over(call.atoms()), next) {
            Ok(block) => Arc::new(block),
            Err(error) => return unreadable(call, branch, downloads, next, &error),
        };
        downloads.release(&next);
        downloads.streams.read_header(next, block.previous);
        branch.has_checkpoint |= self.checkpoint == Some(next);
        let known = index.get(&next);
        let known = known.filter(|entry| entry.is_verified() || branch.kind == Kind::Trusted);
        if let Some(entry) = known {
            branch.root = entry.root();
            branch.joined_at = entry.height;
            return join(call, branch, Some(block));
        }
        let height = match self.check(branch, &block) {
            Ok(height) => height,
            Err(step) => return step,
        };
        if branch.path.is_empty() {
            branch.height = height;
        }
        let is_root = Some(next) == call.context.root() && !block.is_genesis();
        if is_root || Some(next) == self.verified_up_to {
            let root = call.context.root().unwrap_or(next);
            if let Some(entry) = Entry::of(&block, Basis::Verified(root)) {
                index.insert(next, entry);
                selection.competition.enter(call, index, next, false);
            }
            return Step::Progress;
        }
        extend(call, branch, selection, block, height)
    }

    /// Returns the reason for which a branch has to wait before it may have another header, if any.
    fn room(&self, branch: &Branch) -> Option<Waiting> {
        let headers = branch.path.len();
        let is_confirmed =
            branch.kind == Kind::Decided || branch.announcers.support().is_confirmed();
        if headers >= self.max_unconfirmed && !is_confirmed {
            return Some(Waiting::Confirmation { headers });
        }
        branch.needs_slot().then_some(Waiting::LongBranchSlot)
    }

    /// Checks a header as far as that is cheap. Returns its height, or the result for the branch.
    fn check(&self, branch: &Branch, block: &Block) -> Result<u64, Step> {
        let ours = self.chain_id;
        // With its own timestamp as the limit, the link check never finds it too late.
        if let Some(child) = &branch.lowest
            && let Err(VerifyError::Invalid(invalid)) =
                verify_link::<Infallible>(child, block, &ours.into(), &child.timestamp)
        {
            return Err(Step::Bad(child.id(), invalid.to_string()));
        }
        let id = block.id();
        let (Some(height), Some(_)) = (block.height.to_u64(), block.timestamp.to_u64()) else {
            let reason = "height or timestamp exceeds 64 bits";
            return Err(Step::Bad(id, reason.to_string()));
        };
        if block.chain_id != ours {
            let theirs = block.chain_id.to_u64();
            let chain = OtherChain::ChainId { theirs, ours };
            let Some(child) = &branch.lowest else {
                return Err(Step::DeadEnd(DeadEnd::OtherChain(chain)));
            };
            let reason = alloc::format!("its parent belongs to another chain: {chain}");
            return Err(Step::Bad(child.id(), reason));
        }
        if block.is_genesis() != (height == 0) {
            let reason = alloc::format!("invalid height {height}");
            return Err(Step::Bad(id, reason));
        }
        Ok(height)
    }
}

/// Extends a branch downwards by a header that was checked.
fn extend(
    call: &Call<'_, '_>,
    branch: &mut Branch,
    selection: &HeadSelection,
    block: Arc<Block>,
    height: u64,
) -> Step {
    let id = block.id();
    branch.path.push_below(id, height);
    branch.has_progressed(call.now());
    branch.lowest = Some(Arc::clone(&block));
    if block.is_genesis() {
        if let Some(ours) = call.context.root().filter(|root| *root != id) {
            let theirs = id;
            return Step::DeadEnd(DeadEnd::OtherChain(OtherChain::Genesis { theirs, ours }));
        }
        branch.root = Some(id);
        return join(call, branch, None);
    }
    let head = call.context.head();
    let is_free = match branch.kind {
        Kind::Decided => true,
        // A branch that is verified is not bound by a head that is only trusted.
        Kind::Verified => head.is_none_or(|head| head.state() == HeadState::Trusted),
        Kind::Trusted => false,
    };
    let head = head.filter(|_| selection.is_settled() && !is_free);
    if head.is_some_and(|head| height.saturating_add(MAX_OWN_BLOCKS) < head.height()) {
        return Step::DeadEnd(DeadEnd::DeepFork);
    }
    let next = block.previous;
    branch.phase = Phase::Headers { next };
    Step::Header { next }
}

/// Starts the upward direction of a branch whose headers are complete.
fn join(call: &Call<'_, '_>, branch: &mut Branch, parent: Option<Arc<Block>>) -> Step {
    branch.phase = Phase::Blocks { parent };
    branch.lowest = None;
    branch.has_progressed(call.now());
    Step::Joined
}

/// Fetches the atom that a header lacks.
pub(super) fn unreadable(
    call: &mut Call<'_, '_>,
    branch: &mut Branch,
    downloads: &mut Downloads,
    block: AtomId,
    error: &RecordError<Infallible>,
) -> Step {
    let Some(missing) = error.missing() else {
        return Step::Bad(block, error.to_string());
    };
    if comes_by_stream(call, branch, downloads, block) {
        let atom = downloads.missing(missing);
        branch.waits = Some(Waiting::Header { block, atom });
        branch.is_stuck = false;
        return Step::Waits;
    }
    let atom = downloads.want(call, missing, branch.purpose(block));
    branch.waits = Some(Waiting::Header { block, atom });
    branch.is_stuck = atom
        .failed
        .is_some_and(|(_, count)| count >= STUCK_FAILURES);
    if branch.path.is_empty() && atom.failed.is_some() && downloads.has_failed(&missing) {
        return Step::Unanswered;
    }
    Step::Waits
}

/// Returns whether a missing header of a branch arrives by stream, after requesting it with others
/// that are needed next.
pub(super) fn comes_by_stream(
    call: &mut Call<'_, '_>,
    branch: &Branch,
    downloads: &mut Downloads,
    block: AtomId,
) -> bool {
    let streams = &mut downloads.streams;
    if streams.note_missing_header(call.now(), &block) {
        return false;
    }
    if !streams.awaits_header(&block) && branch.path.len() >= MIN_HEADERS {
        request_headers(call, branch, streams, block);
    }
    streams.brings_header(&block)
}

/// Requests by stream a missing header of a branch, and others that are needed next.
fn request_headers(call: &mut Call<'_, '_>, branch: &Branch, streams: &mut Streams, block: AtomId) {
    let announcers = &branch.announcers;
    if branch.is_reading_headers() {
        let count = u32::try_from(branch.path.len() * 2).unwrap_or(u32::MAX);
        return streams.request_headers(call, announcers, (block, count), []);
    }
    // On the way up: the headers above it were dropped too.
    let upcoming = branch.path.upcoming().skip_while(|id| *id != block);
    let above: Vec<AtomId> = upcoming.take(HEADERS_AGAIN).collect();
    let (first, count) = match above.last() {
        Some(first) => (*first, u32::try_from(above.len()).unwrap_or(u32::MAX)),
        // A stretch between two checkpoints.
        None => (
            block,
            u32::try_from(CHECKPOINT_INTERVAL).unwrap_or(u32::MAX),
        ),
    };
    streams.request_headers(call, announcers, (first, count), above);
}

/// Reads headers again that the path has dropped, so that its next blocks are known.
pub(super) fn reread(
    call: &mut Call<'_, '_>,
    branch: &mut Branch,
    downloads: &mut Downloads,
) -> Step {
    for _ in 0..HEADERS_PER_CALL {
        let Some(place) = branch.path.reread_next() else {
            return Step::Progress;
        };
        let block = match Block::read(&downloads.over(call.atoms()), place.id) {
            Ok(block) => block,
            Err(error) => return unreadable(call, branch, downloads, place.id, &error),
        };
        downloads.release(&place.id);
        downloads.streams.read_header(place.id, block.previous);
        if !branch.path.reread(block.previous) {
            let reason = "headers differ from the earlier ones";
            return Step::Bad(place.id, reason.to_string());
        }
        branch.has_progressed(call.now());
    }
    Step::Progress
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::chain::write_atoms;
    use crate::consensus::Context;
    use crate::consensus::sync::announcers::Announcers;
    use crate::consensus::sync::config::SyncLimits;
    use crate::consensus::sync::tests::parts::call_at;
    use crate::testkit::header;
    use crate::time::Instant;

    struct World {
        reader: HeaderReader,
        config: SyncConfig,
        store: MemoryStore,
        index: BlockIndex,
        rejected: Rejected,
        context: Context,
    }

    impl World {
        fn new(config: SyncConfig) -> Self {
            Self {
                reader: HeaderReader::new(&config),
                config,
                store: MemoryStore::new(),
                index: BlockIndex::default(),
                rejected: Rejected::default(),
                context: Context::new(None),
            }
        }

        fn put(&mut self, height: u64, previous: AtomId) -> Block {
            let block = header(height, previous, 100 * height).signed(None);
            write_atoms(block.to_atoms(), &mut self.store).unwrap();
            block
        }

        fn branch(&self, head: &Block) -> Branch {
            let limits = self.config.limits.path();
            Branch::new(head.id(), Announcers::default(), limits, Instant::ZERO)
        }

        fn read(&mut self, branch: &mut Branch) -> Step {
            let (index, rejected) = (&mut self.index, &self.rejected);
            let mut selection = HeadSelection::new(&self.config);
            call_at(10_000, &self.store, &mut self.context, |call| {
                let mut downloads = Downloads::default();
                let (downloads, selection) = (&mut downloads, &mut selection);
                self.reader
                    .read(call, branch, downloads, index, selection, rejected)
            })
        }
    }

    #[test]
    fn header_that_does_not_follow_its_parent_is_bad() {
        let mut world = World::new(SyncConfig::default());
        let parent = world.put(3, AtomId::new([7; 32]));
        let child = world.put(5, parent.id());
        let mut branch = world.branch(&child);
        let step = world.read(&mut branch);
        assert!(
            matches!(step, Step::Header { next } if next == parent.id()),
            "{step:?}"
        );
        assert_eq!((branch.height, branch.path.len()), (5, 1));
        let step = world.read(&mut branch);
        assert!(
            matches!(step, Step::Bad(block, _) if block == child.id()),
            "{step:?}"
        );
    }

    #[test]
    fn branch_ends_at_known_blocks_and_at_another_genesis() {
        let mut world = World::new(SyncConfig::default());
        let genesis = world.put(0, AtomId::ZERO);
        let mut branch = world.branch(&genesis);
        assert!(matches!(world.read(&mut branch), Step::Joined));
        assert_eq!(branch.root, Some(genesis.id()));
        world.context.set_root(AtomId::new([9; 32]));
        let mut branch = world.branch(&genesis);
        let step = world.read(&mut branch);
        assert!(
            matches!(
                step,
                Step::DeadEnd(DeadEnd::OtherChain(OtherChain::Genesis { .. }))
            ),
            "{step:?}"
        );
        world
            .rejected
            .add_dead_ends([genesis.id()], DeadEnd::DeepFork);
        let mut branch = world.branch(&genesis);
        let step = world.read(&mut branch);
        assert!(matches!(step, Step::DeadEnd(DeadEnd::DeepFork)), "{step:?}");
        world.rejected.add_bad(genesis.id(), "wrong receipt", []);
        let mut branch = world.branch(&genesis);
        let step = world.read(&mut branch);
        assert!(matches!(step, Step::Bad(..)), "{step:?}");
    }

    #[test]
    fn branch_of_one_peer_waits_at_its_limit_of_headers() {
        let mut world = World::new(SyncConfig {
            limits: SyncLimits {
                unconfirmed_headers: 1,
                ..SyncLimits::default()
            },
            ..SyncConfig::default()
        });
        let parent = world.put(4, AtomId::new([7; 32]));
        let child = world.put(5, parent.id());
        let mut branch = world.branch(&child);
        assert!(matches!(world.read(&mut branch), Step::Header { .. }));
        assert!(matches!(world.read(&mut branch), Step::Waits));
        let waits = branch.waits.clone();
        assert_eq!(waits, Some(Waiting::Confirmation { headers: 1 }));
        branch.kind = Kind::Decided;
        assert!(!matches!(world.read(&mut branch), Step::Waits));
    }
}
