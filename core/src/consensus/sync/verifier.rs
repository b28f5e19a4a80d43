//! Verification of a branch's blocks, upwards: the lowest unverified block is verified completely
//! and stored, then its child.

use super::block_index::BlockIndex;
use super::body::{CheckedTransactions, verify_body};
use super::branch::{Branch, Phase, Storing};
use super::call::Call;
use super::config::SyncConfig;
use super::downloads::Downloads;
use super::elections::Elections;
use super::event::SyncEvent;
use super::headers::{reread, unreadable};
use super::measures::ListMeasures;
use super::rejected::Rejected;
use super::step::Step;
use super::waiting::Waiting;
use crate::arc::Arc;
use crate::atom::{AtomId, AtomSource};
use crate::chain::{
    Block, Body, Election, Transaction, VerifyError, verify_genesis, verify_header,
};
use crate::consensus::{Effect, Environment, Event, StoreFailure};
use crate::integer::Natural;
use crate::trie::BatchHasher;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use core::convert::Infallible;
use core::time::Duration;

/// Maximum number of seconds by which a branch waits for a block ahead of the clock. A branch
/// further ahead is dropped and tried again when the clock comes near.
pub const MAX_AHEAD_SECONDS: u64 = 600;
/// Initial time before a block that could not be stored is retried; doubles each time.
const STORE_RETRY: Duration = Duration::from_secs(1);
const MAX_STORE_RETRY: Duration = Duration::from_secs(30);

type Verdict = Result<Option<Body>, VerifyError<Infallible>>;

/// Verifier of blocks, with the rules of the followed chain.
#[derive(Debug)]
pub(super) struct Verifier<H> {
    chain_id: Natural,
    max_future_seconds: u64,
    hasher: H,
}

impl<H: BatchHasher> Verifier<H> {
    /// Creates a verifier.
    pub(super) fn new(config: &SyncConfig, hasher: H) -> Self {
        Self {
            chain_id: config.chain_id.into(),
            max_future_seconds: config.max_future_seconds,
            hasher,
        }
    }

    /// Verifies the next block of a branch, and requests its storage.
    pub(super) fn verify_next(
        &mut self,
        call: &mut Call<'_, '_>,
        branch: &mut Branch,
        downloads: &mut Downloads,
        elections: &mut Elections,
        index: &BlockIndex,
        rejected: &Rejected,
    ) -> Step {
        if !can_continue(call, branch) {
            return Step::Waits;
        }
        if branch.path.is_empty() {
            return Step::Finished;
        }
        let Some(id) = branch.path.lowest() else {
            return reread(call, branch, downloads);
        };
        let Phase::Blocks { parent } = branch.phase.clone() else {
            return Step::Waits;
        };
        if let Some(reason) = rejected.bad_reason(&id) {
            return Step::Bad(id, reason.to_string());
        }
        if let Some(parent) = &parent
            && measure_lists(call, branch, downloads, parent)
        {
            return Step::Waits;
        }
        if let Some(missing) = branch.missing.take()
            && downloads.over(call.atoms()).atom(&missing).is_err()
        {
            // Nothing has changed, so the block need not be checked again.
            wait_for_atom(call, branch, downloads, id, missing);
            if let Some(parent) = &parent {
                downloads.fetch_accounts(call, branch, parent);
            }
            return Step::Waits;
        }
        let known = branch.ahead(&id).map(Ok);
        let read = || Block::read(&downloads.over(call.atoms()), id).map(Arc::new);
        let block = match known.unwrap_or_else(read) {
            Ok(block) => block,
            Err(error) => return unreadable(call, branch, downloads, id, &error),
        };
        if index.is_verified(&id) {
            pass(call, branch, downloads, block);
            return Step::Progress;
        }
        let election = match &parent {
            None => Ok(None),
            Some(parent) => match elections.after(&downloads.over(call.atoms()), parent) {
                Ok(None) => return Step::Progress,
                loaded => loaded.map_err(VerifyError::from),
            },
        };
        let verdict = election.and_then(|election| {
            let before = parent.as_deref().zip(election.as_ref());
            let body = self.check(call, branch, downloads, &block, before)?;
            if let (Some((_, election)), Some(body)) = (before, &body) {
                elections.insert(election.child(id, body.stakes.clone()));
            }
            Ok(body)
        });
        match verdict {
            Ok(body) => {
                store(call, branch, downloads, block, body);
                Step::Progress
            }
            Err(VerifyError::Invalid(invalid)) => Step::Bad(id, invalid.to_string()),
            Err(VerifyError::Future { stated, .. }) => self.wait_for_time(call, branch, &stated),
            Err(VerifyError::State(error)) => {
                let Some(missing) = error.missing() else {
                    return Step::Bad(id, error.to_string());
                };
                if error.unmeasured().is_some() {
                    measure_from(branch, missing);
                    return Step::Progress;
                }
                wait_for_atom(call, branch, downloads, id, missing);
                if let Some(parent) = &parent {
                    downloads.fetch_accounts(call, branch, parent);
                }
                Step::LacksData
            }
        }
    }

    fn check(
        &mut self,
        call: &Call<'_, '_>,
        branch: &mut Branch,
        downloads: &Downloads,
        block: &Block,
        before: Option<(&Block, &Election)>,
    ) -> Verdict {
        let view = downloads.over(call.atoms()).with(&branch.measures);
        let environment = Environment {
            atoms: &view,
            ..*call.environment
        };
        let Some((parent, Election { seeds, stakes })) = before else {
            return verify_genesis(&view, block, &self.chain_id).map(|()| None);
        };
        let latest = call.unix().saturating_add(self.max_future_seconds);
        let latest = Natural::from(latest);
        verify_header(block, parent, seeds, stakes, &self.chain_id, &latest)?;
        let (hasher, checked) = (&mut self.hasher, &mut branch.checked);
        verify_body(&environment, block, parent, stakes, hasher, checked).map(Some)
    }

    fn wait_for_time(&self, call: &Call<'_, '_>, branch: &mut Branch, stated: &Natural) -> Step {
        let seconds = stated.to_u64().unwrap_or(u64::MAX);
        let opens = seconds.saturating_sub(self.max_future_seconds);
        let ahead = opens.saturating_sub(call.unix());
        if ahead > MAX_AHEAD_SECONDS {
            return Step::Early(opens.saturating_sub(MAX_AHEAD_SECONDS), ahead);
        }
        branch.waits = Some(Waiting::Time { seconds: ahead });
        branch.not_before = Some(opens);
        Step::Waits
    }
}

fn wait_for_atom(
    call: &mut Call<'_, '_>,
    branch: &mut Branch,
    downloads: &mut Downloads,
    block: AtomId,
    missing: AtomId,
) {
    let atom = if downloads.streams.brings_body(&block) {
        downloads.missing(missing)
    } else {
        downloads.want(call, missing, branch.purpose(block))
    };
    branch.waits = Some(Waiting::Block { block, atom });
    branch.missing = Some(missing);
}

/// Starts to measure the list from this atom on, which the next block of a branch reads, and with
/// it all other lists that the block reads.
fn measure_from(branch: &mut Branch, from: AtomId) {
    if let Some(checked) = &branch.checked {
        branch.measures.expect(checked.transactions());
    }
    branch.measures.need(from);
}

/// Continues to measure lists. Returns whether the block has to wait for one.
fn measure_lists(
    call: &mut Call<'_, '_>,
    branch: &mut Branch,
    downloads: &mut Downloads,
    parent: &Block,
) -> bool {
    let Some(block) = branch.path.lowest().filter(|_| !branch.measures.is_idle()) else {
        return false;
    };
    let view = downloads.over(call.atoms());
    call.is_busy |= branch.measures.advance(&view);
    for (id, is_alone) in branch.measures.wanted() {
        let purpose = branch.purpose(block);
        let atom = if is_alone {
            downloads.want_alone(call, id, purpose)
        } else {
            downloads.want(call, id, purpose)
        };
        branch.waits = Some(Waiting::Block { block, atom });
    }
    let is_idle = branch.measures.is_idle();
    if !is_idle {
        downloads.fetch_accounts(call, branch, parent);
    }
    !is_idle
}

/// Requests storage of a verified block with all its atoms, and with the atoms that were fetched of
/// the state before it, so that a node that continues alone has them.
fn store(
    call: &mut Call<'_, '_>,
    branch: &mut Branch,
    downloads: &Downloads,
    block: Arc<Block>,
    body: Option<Body>,
) {
    let mut atoms = block.to_atoms();
    atoms.extend(body.map(|body| body.atoms).unwrap_or_default());
    let checked = branch.checked.iter();
    let transactions = checked.flat_map(CheckedTransactions::transactions);
    atoms.extend(transactions.flat_map(Transaction::to_atoms));
    let id = block.id();
    let known: BTreeSet<AtomId> = atoms.iter().map(|(id, _)| *id).collect();
    let fetched = downloads.of_block(&id);
    atoms.extend(fetched.filter(|(id, _)| !known.contains(id)));
    branch.storing = Some(Storing {
        block,
        retry_at: None,
    });
    call.context
        .push_effect(Effect::StoreBlock { block: id, atoms });
}

/// Records that the verified block of a branch was stored, and returns it.
pub(super) fn stored(call: &mut Call<'_, '_>, branch: &mut Branch) -> Option<Arc<Block>> {
    let block = branch.storing.take()?.block;
    if branch.store_failures > 0 {
        let event = SyncEvent::Stored { block: block.id() };
        call.context.report(Event::Sync(event));
    }
    branch.store_failures = 0;
    Some(block)
}

/// Records that the verified block `id` of a branch could not be stored. It is verified and stored
/// again after a pause.
pub(super) fn store_failed(
    call: &mut Call<'_, '_>,
    branch: &mut Branch,
    id: AtomId,
    failure: &StoreFailure,
) {
    if branch.store_failures == 0 {
        let failure = failure.clone();
        let event = SyncEvent::NotStored { block: id, failure };
        call.context.report(Event::Sync(event));
    }
    let doubled = STORE_RETRY.saturating_mul(1 << branch.store_failures.min(8));
    branch.store_failures = branch.store_failures.saturating_add(1);
    if let Some(storing) = &mut branch.storing {
        storing.retry_at = Some(call.now() + doubled.min(MAX_STORE_RETRY));
    }
    branch.waits = Some(Waiting::Storage {
        block: id,
        failure: failure.clone(),
    });
}

/// Continues above a block that is verified and stored.
pub(super) fn pass(
    call: &Call<'_, '_>,
    branch: &mut Branch,
    downloads: &mut Downloads,
    block: Arc<Block>,
) {
    let id = block.id();
    branch.path.pop_lowest();
    branch.checked = None;
    branch.measures = ListMeasures::default();
    branch.missing = None;
    branch.has_progressed(call.now());
    branch.bodies.retain(|ahead| ahead.block.id() != id);
    branch.phase = Phase::Blocks {
        parent: Some(block),
    };
    downloads.release(&id);
}

/// Returns whether only missing atoms can prevent the verification of a branch's next block.
fn can_continue(call: &Call<'_, '_>, branch: &mut Branch) -> bool {
    if let Some(opens) = branch.not_before {
        let ahead = opens.saturating_sub(call.unix());
        if ahead > 0 {
            branch.waits = Some(Waiting::Time { seconds: ahead });
            return false;
        }
        branch.not_before = None;
        branch.waits = None;
    }
    if let Some(storing) = &branch.storing {
        if storing.retry_at.is_none_or(|at| at > call.now()) {
            return false;
        }
        // The block is verified again: keeping its body during the wait would have taken memory.
        branch.storing = None;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::NoStore;
    use crate::consensus::Context;
    use crate::consensus::sync::announcers::Announcers;
    use crate::consensus::sync::tests::parts::call_at;
    use crate::testkit::header;
    use crate::time::Instant;
    use alloc::string::String;
    use alloc::vec::Vec;

    fn branch(block: Block) -> Branch {
        let limits = SyncConfig::default().limits.path();
        let head = block.id();
        let mut branch = Branch::new(head, Announcers::default(), limits, Instant::ZERO);
        branch.storing = Some(Storing {
            block: Arc::new(block),
            retry_at: None,
        });
        branch
    }

    #[test]
    fn block_that_was_not_stored_is_tried_again_after_growing_pauses() {
        let block = header(1, AtomId::new([7; 32]), 100).signed(None);
        let mut branch = branch(block.clone());
        let mut context = Context::new(None);
        let failure = StoreFailure::NoRoom(String::from("disk full"));
        let mut now = 0;
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            call_at(now, &NoStore, &mut context, |call| {
                assert!(!can_continue(call, &mut branch), "it is being stored");
                store_failed(call, &mut branch, block.id(), &failure);
            });
            assert!(matches!(branch.waits, Some(Waiting::Storage { .. })));
            now += pause;
            call_at(now - 1, &NoStore, &mut context, |call| {
                assert!(!can_continue(call, &mut branch), "{pause}");
            });
            call_at(now, &NoStore, &mut context, |call| {
                assert!(can_continue(call, &mut branch), "{pause}");
            });
            assert!(branch.storing.is_none(), "it is verified again");
            branch.storing = Some(Storing {
                block: Arc::new(block.clone()),
                retry_at: None,
            });
        }
        call_at(now, &NoStore, &mut context, |call| {
            let stored = stored(call, &mut branch);
            assert_eq!(stored.map(|stored| stored.id()), Some(block.id()));
        });
        // The failure is reported once, and its end.
        let events: Vec<Event> = core::iter::from_fn(|| context.poll_event()).collect();
        let id = block.id();
        let expected = [
            Event::Sync(SyncEvent::NotStored { block: id, failure }),
            Event::Sync(SyncEvent::Stored { block: id }),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn block_ahead_of_the_clock_waits_or_ends_its_branch() {
        let mut branch = branch(header(1, AtomId::new([7; 32]), 100).signed(None));
        branch.storing = None;
        let verifier = Verifier::new(&SyncConfig::default(), crate::trie::Scalar);
        let mut context = Context::new(None);
        let mut wait = |now, stated: u64| {
            call_at(now, &NoStore, &mut context, |call| {
                let step = verifier.wait_for_time(call, &mut branch, &stated.into());
                (step, can_continue(call, &mut branch))
            })
        };
        let (step, continues) = wait(1_000, 1_602);
        assert!(matches!(step, Step::Waits) && !continues, "{step:?}");
        let (step, _) = wait(1_000, 1_603);
        assert!(matches!(step, Step::Early(1_001, 601)), "{step:?}");
        let (_, continues) = wait(1_600, 1_602);
        assert!(continues, "two seconds are allowed");
    }
}
