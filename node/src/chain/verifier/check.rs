//! Up: the lowest block that is not verified is checked whole, what it made is stored, and the next
//! one is its child. What the next ones need is fetched meanwhile.

use super::body::verify_body;
use super::chase::{Ahead, BODIES_AHEAD, Chase, MAX_IDS_AHEAD, Phase};
use super::verified::Entry;
use super::{Step, Verifier};
use crate::chain::{Context, Effect, Environment};
use astreum_core::atom::{AtomId, AtomKind};
use astreum_core::chain::{
    BURN, Block, Body, Election, MAX_BLOCK_TRANSACTIONS, TREASURY, Transaction, VerifyError,
    verify_genesis, verify_header,
};
use astreum_core::integer::Natural;
use astreum_core::trie;
use core::convert::Infallible;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Transactions that one call looks for ahead.
const LOOKS_PER_CALL: usize = 512;
/// Headers and nodes of the stakes' trie that one call reads.
const READS_PER_CALL: u32 = 4_096;
/// Atoms of a list that one call reads ahead.
const IDS_PER_CALL: usize = 4_096;

type Verdict = Result<Option<Body>, VerifyError<Infallible>>;

impl Verifier {
    /// Checks one block.
    pub(super) fn climb(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        at: usize,
    ) -> Step {
        let now = world.now.instant;
        let Some(chase) = self.chases.get_mut(at) else {
            return Step::Waits;
        };
        if chase.not_before.is_some_and(|at| at > now) {
            return Step::Waits;
        }
        chase.not_before = None;
        let Some(&id) = chase.path.last() else {
            return Step::Finished;
        };
        let Phase::Joined { parent } = chase.phase.clone() else {
            return Step::Waits;
        };
        if let Some(reason) = self.forks.bad(&id) {
            return Step::Bad(id, reason.clone());
        }
        if let Some(missing) = chase.missing.take()
            && world.atoms.atom(&missing).is_err()
        {
            // As it was: nothing needs to be looked through again.
            chase.missing = Some(missing);
            self.fetches.want(context, now, missing);
            if let Some(parent) = &parent {
                self.fetch_accounts(world, context, at, parent);
            }
            return Step::Waits;
        }
        let block = match Block::read(&world.atoms, id) {
            Ok(block) => Arc::new(block),
            Err(error) => return self.unreadable(world, context, at, id, &error),
        };
        if self.verified.contains(&id) {
            return self.passed(world, at, block);
        }
        let election = match &parent {
            None => Ok(None),
            Some(parent) => match self.elections.load(&world.atoms, parent, READS_PER_CALL) {
                Ok(None) => return Step::Progress,
                found => found.map_err(VerifyError::from),
            },
        };
        let ahead = parent
            .as_deref()
            .zip(election.as_ref().ok().and_then(Option::as_ref));
        let verdict = match &election {
            Err(error) => Err(error.clone()),
            Ok(_) => self.check(world, at, &block, ahead),
        };
        match verdict {
            Ok(body) => {
                if let (Some((_, election)), Some(body)) = (ahead, &body) {
                    let child = election.child(block.id(), body.stakes.clone());
                    self.elections.insert(child);
                }
                self.keep(context, at, &block, body);
                self.passed(world, at, block)
            }
            Err(VerifyError::Invalid(invalid)) => Step::Bad(id, invalid.to_string()),
            Err(VerifyError::Future { stated, .. }) => self.wait_for_time(world, at, &stated),
            Err(VerifyError::State(error)) => {
                let Some(missing) = error.missing() else {
                    return Step::Bad(id, error.to_string());
                };
                let waits = self.fetches.want(context, now, missing);
                if let Some(parent) = &parent {
                    self.fetch_accounts(world, context, at, parent);
                }
                if let Some(chase) = self.chases.get_mut(at) {
                    chase.waits = Some(format!("block {id}: {waits}"));
                    chase.missing = Some(missing);
                }
                self.bound_checked(at);
                Step::Waits
            }
        }
    }

    /// Of the blocks whose transactions are here and wait for something else, keeps what one full
    /// block may hold, and that of the block at hand; the others are read again.
    fn bound_checked(&mut self, at: usize) {
        let count = |chase: &Chase| {
            let checked = chase.checked.as_ref();
            checked.map_or(0, |checked| checked.transactions.len())
        };
        let all: usize = self.chases.iter().map(count).sum();
        if all > MAX_BLOCK_TRANSACTIONS {
            let others = self.chases.iter_mut().enumerate();
            for (_, chase) in others.filter(|(other, _)| *other != at) {
                chase.checked = None;
            }
        }
    }

    fn check(
        &mut self,
        world: &Environment<'_>,
        at: usize,
        block: &Block,
        parent: Option<(&Block, &Election)>,
    ) -> Verdict {
        let Some((parent, election)) = parent else {
            return verify_genesis(&world.atoms, block, &self.chain_id).map(|()| None);
        };
        let latest = world.now.unix.as_secs();
        let latest = latest.saturating_add(self.options.max_future_seconds);
        let latest = Natural::from(latest);
        let Election { seeds, stakes } = election;
        verify_header(block, parent, seeds, stakes, &self.chain_id, &latest)?;
        let Some(chase) = self.chases.get_mut(at) else {
            return Ok(None);
        };
        let (hasher, checked) = (&mut self.hasher, &mut chase.checked);
        verify_body(world, block, parent, stakes, hasher, checked).map(Some)
    }

    /// Stores everything of a block that was verified.
    fn keep(&mut self, context: &mut Context, at: usize, block: &Block, body: Option<Body>) {
        let mut atoms = block.to_atoms();
        atoms.extend(body.map(|body| body.atoms).unwrap_or_default());
        let Some(chase) = self.chases.get_mut(at) else {
            return;
        };
        let checked = chase.checked.take();
        let transactions = checked.iter().flat_map(|checked| &checked.transactions);
        atoms.extend(transactions.flat_map(Transaction::to_atoms));
        context.ask(Effect::Store(atoms));
        let (Some(root), Some(height), Some(timestamp)) =
            (chase.root, block.height.to_u64(), block.timestamp.to_u64())
        else {
            return;
        };
        let entry = Entry {
            height,
            timestamp,
            previous: block.previous,
            root,
        };
        self.verified.insert(block.id(), entry);
    }

    fn passed(&mut self, world: &Environment<'_>, at: usize, block: Arc<Block>) -> Step {
        let Some(chase) = self.chases.get_mut(at) else {
            return Step::Waits;
        };
        let id = block.id();
        chase.path.pop();
        chase.checked = None;
        chase.waits = None;
        chase.missing = None;
        chase.progressed = world.now.instant;
        chase.bodies.retain(|ahead| ahead.block != id);
        chase.phase = Phase::Joined {
            parent: Some(block),
        };
        if chase.path.is_empty() {
            Step::Finished
        } else {
            Step::Progress
        }
    }

    fn wait_for_time(&mut self, world: &Environment<'_>, at: usize, stated: &Natural) -> Step {
        let Some(chase) = self.chases.get_mut(at) else {
            return Step::Waits;
        };
        let seconds = stated.to_u64().unwrap_or(u64::MAX);
        let opens = seconds.saturating_sub(self.options.max_future_seconds);
        let ahead = opens.saturating_sub(world.now.unix.as_secs());
        chase.waits = Some(format!("its time comes in {ahead} s"));
        if ahead > super::MAX_AHEAD_SECONDS {
            return Step::Dropped(format!("a block of it is {ahead} s from the future"));
        }
        chase.not_before = Some(world.now.instant_of(Duration::from_secs(opens)));
        Step::Waits
    }

    /// Fetches the transactions of the next blocks, many at a time.
    pub(super) fn fetch_ahead(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        at: usize,
    ) {
        let now = world.now.instant;
        let bodies = self.chases.iter().flat_map(|chase| &chase.bodies);
        let held: usize = bodies.map(|ahead| ahead.left.len()).sum();
        let mut room = MAX_IDS_AHEAD.saturating_sub(held);
        let Some(chase) = self.chases.get_mut(at) else {
            return;
        };
        let wanted = chase.path.iter().rev().take(BODIES_AHEAD);
        let known: BTreeSet<AtomId> = chase.bodies.iter().map(|ahead| ahead.block).collect();
        for id in wanted.filter(|id| !known.contains(*id)) {
            match Block::read(&world.atoms, *id) {
                Ok(block) => chase.bodies.push_back(Ahead {
                    block: *id,
                    list: block.transactions,
                    count: 0,
                    left: VecDeque::new(),
                }),
                // It has left memory since the walk.
                Err(error) => {
                    if let Some(missing) = error.missing() {
                        self.fetches.ahead(context, now, missing);
                    }
                    break;
                }
            }
        }
        let mut looks = LOOKS_PER_CALL;
        for ahead in &mut chase.bodies {
            if let Some(missing) = read_on(world, ahead, &mut room) {
                self.fetches.ahead(context, now, missing);
            }
            for _ in 0..ahead.left.len() {
                let Some(id) = ahead.left.pop_front() else {
                    break;
                };
                if looks == 0 {
                    ahead.left.push_front(id);
                    return;
                }
                looks -= 1;
                let read = Transaction::read(&world.atoms, id);
                if let Some(missing) = read.err().and_then(|error| error.missing()) {
                    ahead.left.push_back(id);
                    if !self.fetches.ahead(context, now, missing) {
                        return;
                    }
                }
            }
        }
    }

    /// Fetches what the next block needs of its parent's accounts on all paths at once, instead of
    /// one node after the other.
    fn fetch_accounts(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        at: usize,
        parent: &Block,
    ) {
        let checked = self.chases.get(at).and_then(|chase| chase.checked.as_ref());
        let transactions = checked.map_or(&[][..], |checked| &checked.transactions);
        let parties = transactions
            .iter()
            .flat_map(|transaction| [transaction.sender(), &transaction.recipient]);
        let addresses: BTreeSet<_> = parties.chain([&TREASURY, &BURN]).collect();
        for address in addresses {
            let found = trie::get(&world.atoms, parent.accounts, address.as_bytes());
            if let Some(missing) = found.err().and_then(|error| error.missing())
                && !self.fetches.ahead(context, world.now.instant, missing)
            {
                return;
            }
        }
    }
}

/// Reads on in the list of transactions of a block that is not yet to be checked; the atom that is
/// missing, if one is. What is wrong with it the check will say.
fn read_on(world: &Environment<'_>, ahead: &mut Ahead, room: &mut usize) -> Option<AtomId> {
    for _ in 0..IDS_PER_CALL.min(*room) {
        if ahead.list.is_zero() {
            return None;
        }
        let Ok(atom) = world.atoms.atom(&ahead.list) else {
            return Some(ahead.list);
        };
        let id = AtomId::from_slice(atom.data());
        let is_too_long = ahead.count >= MAX_BLOCK_TRANSACTIONS;
        let Some(id) = id.filter(|_| atom.kind() == AtomKind::Bytes && !is_too_long) else {
            ahead.list = AtomId::ZERO;
            return None;
        };
        ahead.left.push_back(id);
        ahead.count += 1;
        *room -= 1;
        ahead.list = atom.next();
    }
    None
}
