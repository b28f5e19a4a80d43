//! Verification of a branch's blocks, upwards: the lowest unverified block is verified completely
//! and stored, then its child.

use super::block_index::{Basis, Entry};
use super::body::{CheckedTransactions, verify_body};
use super::branch::{Branch, Phase, Storing};
use super::call::Call;
use super::event::SyncEvent;
use super::measures::ListMeasures;
use super::requests::Purpose;
use super::step::Step;
use super::waiting::Waiting;
use super::{ChainSync, MAX_AHEAD_SECONDS};
use crate::arc::Arc;
use crate::atom::{AtomId, AtomSource};
use crate::chain::{
    Block, Body, Election, MAX_BLOCK_TRANSACTIONS, Transaction, VerifyError, verify_genesis,
    verify_header,
};
use crate::consensus::{Effect, Environment, Event, StoreFailure};
use crate::integer::Natural;
use crate::time::Instant;
use crate::trie::BatchHasher;
use alloc::collections::BTreeSet;
use alloc::string::ToString;
use core::convert::Infallible;
use core::time::Duration;

/// Initial time before a block that could not be stored is retried; doubles each time.
const STORE_RETRY: Duration = Duration::from_secs(1);
const MAX_STORE_RETRY: Duration = Duration::from_secs(30);

type Verdict = Result<Option<Body>, VerifyError<Infallible>>;

impl<H: BatchHasher> ChainSync<H> {
    /// Verifies the next block of a branch.
    pub(super) fn verify_next(&mut self, call: &mut Call<'_, '_>, at: usize) -> Step {
        let now = call.now();
        let Some(branch) = self.branches.get_mut(at) else {
            return Step::Waits;
        };
        if !can_continue(branch, call) {
            return Step::Waits;
        }
        if branch.path.is_empty() {
            return Step::Finished;
        }
        let Some(id) = branch.path.lowest() else {
            return self.reread_headers(call, at);
        };
        let Phase::Blocks { parent } = branch.phase.clone() else {
            return Step::Waits;
        };
        if let Some(reason) = self.rejected.bad_reason(&id) {
            return Step::Bad(id, reason.to_string());
        }
        if let Some(parent) = &parent
            && self.measure_lists(call, at, parent)
        {
            return Step::Waits;
        }
        let Some(branch) = self.branches.get_mut(at) else {
            return Step::Waits;
        };
        if let Some(missing) = branch.missing.take()
            && self.downloads.over(call.atoms()).atom(&missing).is_err()
        {
            // Nothing has changed, so the block need not be checked again.
            branch.missing = Some(missing);
            let purpose = branch.purpose(id);
            let atom = self.downloads.want(call, missing, purpose);
            branch.waits = Some(Waiting::Block { block: id, atom });
            if let Some(parent) = &parent {
                self.fetch_accounts(call, at, parent);
            }
            return Step::Waits;
        }
        let block = match Block::read(&self.downloads.over(call.atoms()), id) {
            Ok(block) => Arc::new(block),
            Err(error) => return self.unreadable(call, at, id, &error),
        };
        if self.index.is_verified(&id) {
            self.passed(now, at, block);
            return Step::Progress;
        }
        let election = match &parent {
            None => Ok(None),
            Some(parent) => match self
                .elections
                .after(&self.downloads.over(call.atoms()), parent)
            {
                Ok(None) => return Step::Progress,
                loaded => loaded.map_err(VerifyError::from),
            },
        };
        let verdict = election.and_then(|election| {
            let before = parent.as_deref().zip(election.as_ref());
            let body = self.check(call, at, &block, before)?;
            if let (Some((_, election)), Some(body)) = (before, &body) {
                let child = election.child(id, body.stakes.clone());
                self.elections.insert(child);
            }
            Ok(body)
        });
        match verdict {
            Ok(body) => {
                self.store(call, at, block, body);
                Step::Progress
            }
            Err(VerifyError::Invalid(invalid)) => Step::Bad(id, invalid.to_string()),
            Err(VerifyError::Future { stated, .. }) => self.wait_for_time(call, at, &stated),
            Err(VerifyError::State(error)) => {
                let Some(missing) = error.missing() else {
                    return Step::Bad(id, error.to_string());
                };
                if error.unmeasured().is_some() {
                    self.measure_from(at, missing);
                    return Step::Progress;
                }
                self.wait_for_atom(call, at, id, missing);
                if let Some(parent) = &parent {
                    self.fetch_accounts(call, at, parent);
                }
                Step::Waits
            }
        }
    }

    fn fetch_accounts(&mut self, call: &mut Call<'_, '_>, at: usize, parent: &Block) {
        if let Some(branch) = self.branches.get(at) {
            self.downloads.fetch_accounts(call, branch, parent);
        }
    }

    fn wait_for_atom(
        &mut self,
        call: &mut Call<'_, '_>,
        at: usize,
        block: AtomId,
        missing: AtomId,
    ) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        let purpose = branch.purpose(block);
        let atom = self.downloads.want(call, missing, purpose);
        branch.waits = Some(Waiting::Block { block, atom });
        branch.missing = Some(missing);
        self.bound_checked(at);
    }

    /// Starts to measure the list from this atom on, which the next block of a branch reads, and
    /// with it all other lists that the block reads.
    fn measure_from(&mut self, at: usize, from: AtomId) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if let Some(checked) = &branch.checked {
            branch.measures.expect(checked.transactions());
        }
        branch.measures.need(from);
    }

    /// Continues to measure lists. Returns whether the block has to wait for one.
    fn measure_lists(&mut self, call: &mut Call<'_, '_>, at: usize, parent: &Block) -> bool {
        let Some(branch) = self.branches.get_mut(at) else {
            return false;
        };
        let Some(block) = branch.path.lowest().filter(|_| !branch.measures.is_idle()) else {
            return false;
        };
        let view = self.downloads.over(call.atoms());
        call.is_busy |= branch.measures.advance(&view);
        let purpose = Purpose {
            block,
            announcers: &branch.announcers,
        };
        for (id, is_alone) in branch.measures.wanted() {
            let atom = if is_alone {
                self.downloads.want_alone(call, id, purpose)
            } else {
                self.downloads.want(call, id, purpose)
            };
            branch.waits = Some(Waiting::Block { block, atom });
        }
        let is_idle = branch.measures.is_idle();
        if !is_idle {
            self.fetch_accounts(call, at, parent);
        }
        !is_idle
    }

    /// Limits the checked transactions of blocks that wait for other data to those of one full
    /// block. Above that, only the current block keeps them; those of the others are read again.
    fn bound_checked(&mut self, at: usize) {
        let count = |branch: &Branch| {
            let checked = branch.checked.as_ref();
            checked.map_or(0, |checked| checked.transactions().len())
        };
        let all: usize = self.branches.iter().map(count).sum();
        if all > MAX_BLOCK_TRANSACTIONS {
            let others = self.branches.iter_mut().enumerate();
            for (_, branch) in others.filter(|(other, _)| *other != at) {
                branch.checked = None;
            }
        }
    }

    fn check(
        &mut self,
        call: &Call<'_, '_>,
        at: usize,
        block: &Block,
        before: Option<(&Block, &Election)>,
    ) -> Verdict {
        let Some(branch) = self.branches.get_mut(at) else {
            return Ok(None);
        };
        let view = self.downloads.over(call.atoms()).with(&branch.measures);
        let environment = Environment {
            atoms: &view,
            ..*call.environment
        };
        let Some((parent, Election { seeds, stakes })) = before else {
            return verify_genesis(&view, block, &self.chain_id).map(|()| None);
        };
        let latest = call.unix();
        let latest = latest.saturating_add(self.config.max_future_seconds);
        let latest = Natural::from(latest);
        verify_header(block, parent, seeds, stakes, &self.chain_id, &latest)?;
        let (hasher, checked) = (&mut self.hasher, &mut branch.checked);
        verify_body(&environment, block, parent, stakes, hasher, checked).map(Some)
    }

    /// Requests storage of a verified block with all its atoms, and with the atoms that were
    /// fetched of the state before it, so that a node that continues alone has them.
    fn store(&mut self, call: &mut Call<'_, '_>, at: usize, block: Arc<Block>, body: Option<Body>) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        let mut atoms = block.to_atoms();
        atoms.extend(body.map(|body| body.atoms).unwrap_or_default());
        let checked = branch.checked.iter();
        let transactions = checked.flat_map(CheckedTransactions::transactions);
        atoms.extend(transactions.flat_map(Transaction::to_atoms));
        let id = block.id();
        let known: BTreeSet<AtomId> = atoms.iter().map(|(id, _)| *id).collect();
        let fetched = self.downloads.of_block(&id);
        atoms.extend(fetched.filter(|(id, _)| !known.contains(id)));
        branch.storing = Some(Storing {
            block,
            retry_at: None,
        });
        call.context
            .push_effect(Effect::StoreBlock { block: id, atoms });
    }

    /// Handles the outcome of storing a block.
    pub(super) fn block_stored(
        &mut self,
        call: &mut Call<'_, '_>,
        id: AtomId,
        outcome: &Result<(), StoreFailure>,
    ) {
        let now = call.now();
        let is_storing = |branch: &Branch| {
            let storing = branch.storing.as_ref();
            storing.is_some_and(|storing| storing.retry_at.is_none() && storing.block.id() == id)
        };
        while let Some(at) = self.branches.iter().position(is_storing) {
            let Some(branch) = self.branches.get_mut(at) else {
                return;
            };
            call.is_busy = true;
            match outcome {
                Ok(()) => {
                    let Some(storing) = branch.storing.take() else {
                        return;
                    };
                    if branch.store_failures > 0 {
                        let event = SyncEvent::Stored { block: id };
                        call.context.report(Event::Sync(event));
                    }
                    branch.store_failures = 0;
                    let leads = branch.has_checkpoint;
                    let basis = branch.root.map(Basis::Verified);
                    if let Some(entry) = basis.and_then(|basis| Entry::of(&storing.block, basis)) {
                        self.index.insert(id, entry);
                    }
                    self.heads.succeeded(&branch.announcers);
                    for announcer in branch.announcers.iter() {
                        self.other_chains.clear(&announcer.peer);
                    }
                    self.passed(now, at, storing.block);
                    self.compete(call, id, leads);
                    self.choice.note_growth();
                }
                Err(failure) => {
                    if branch.store_failures == 0 {
                        let failure = failure.clone();
                        let event = SyncEvent::NotStored { block: id, failure };
                        call.context.report(Event::Sync(event));
                    }
                    let doubled = STORE_RETRY.saturating_mul(1 << branch.store_failures.min(8));
                    branch.store_failures = branch.store_failures.saturating_add(1);
                    if let Some(storing) = &mut branch.storing {
                        storing.retry_at = Some(now + doubled.min(MAX_STORE_RETRY));
                    }
                    branch.waits = Some(Waiting::Storage {
                        block: id,
                        failure: failure.clone(),
                    });
                }
            }
        }
    }

    /// Continues above a block that is verified and stored.
    fn passed(&mut self, now: Instant, at: usize, block: Arc<Block>) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        let id = block.id();
        branch.path.pop_lowest();
        branch.checked = None;
        branch.measures = ListMeasures::default();
        branch.missing = None;
        branch.has_progressed(now);
        branch.bodies.retain(|ahead| ahead.block != id);
        branch.phase = Phase::Blocks {
            parent: Some(block),
        };
        self.downloads.release(&id);
    }

    fn wait_for_time(&mut self, call: &Call<'_, '_>, at: usize, stated: &Natural) -> Step {
        let Some(branch) = self.branches.get_mut(at) else {
            return Step::Waits;
        };
        let seconds = stated.to_u64().unwrap_or(u64::MAX);
        let opens = seconds.saturating_sub(self.config.max_future_seconds);
        let ahead = opens.saturating_sub(call.unix());
        if ahead > MAX_AHEAD_SECONDS {
            return Step::Early(opens.saturating_sub(MAX_AHEAD_SECONDS), ahead);
        }
        branch.waits = Some(Waiting::Time { seconds: ahead });
        branch.not_before = Some(opens);
        Step::Waits
    }
}

/// Returns whether only missing atoms can prevent the verification of a branch's next block.
fn can_continue(branch: &mut Branch, call: &Call<'_, '_>) -> bool {
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
