//! Transactions on their way into the pool and out of it.

use super::{MAX_REFUSALS, Producer, monotonic};
use crate::atom::{AtomId, collect_list};
use crate::chain::MAX_BLOCK_TRANSACTIONS;
use crate::consensus::mempool::admission::{MAX_TRANSACTION_BYTES, Refusal, Unfit, examine};
use crate::consensus::mempool::announcements::Verdict;
use crate::consensus::mempool::pool::NoPlace;
use crate::consensus::{Context, Effect, Environment, Event, Head, PART};
use crate::crypto::PublicKey;
use crate::trie::BatchHasher;
use crate::wire::engine::{FetchError, ListLimit};
use alloc::vec::Vec;

/// Transactions that are looked at in one call.
const LOOKS: usize = 16;
/// The lists of a transaction: its head has four atoms, its body six; a node of a trie has five.
const RECORD: ListLimit = ListLimit {
    atoms: 6,
    bytes: MAX_TRANSACTION_BYTES,
};
/// Lists that transactions name and that are fetched at once.
const MAX_LACKING_FETCHES: usize = 4;
/// Lists that transactions name and that are kept count of. When full, none is fetched.
const MAX_LACKING: usize = 64;
/// After so many fetches that brought nothing, what needs the list is refused.
const MAX_LACKING_FAILURES: u8 = 2;

/// An atom that a transaction in the pool needs to be applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lacking {
    atom: AtomId,
    failures: u8,
    is_under_way: bool,
}

impl<H: BatchHasher> Producer<H> {
    pub(super) fn has_transactions_to_look_at(&self) -> bool {
        self.head.is_some() && (!self.arrived.is_empty() || self.intake.has_next())
    }

    pub(super) fn announced(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        id: AtomId,
        peer: Option<PublicKey>,
    ) {
        let refusal = if let Some(known) = self.pool.known(&id) {
            Some(Refusal::NoPlace(known))
        } else {
            let taken = self.intake.announce(monotonic(world), id, peer);
            taken.err().map(Refusal::Declined)
        };
        // Peers repeat themselves; only the own user is told.
        if let Some(refusal) = refusal.filter(|_| peer.is_none()) {
            self.refuse(context, id, refusal);
        }
    }

    pub(super) fn transaction_fetched(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        id: &AtomId,
        outcome: &Result<(), FetchError>,
    ) {
        for waiter in self.intake.fetched(id) {
            match outcome {
                // Whoever has it may be busy: it is asked for again while there is time.
                Ok(()) | Err(FetchError::Timeout) => self.arrived.push_back(waiter),
                Err(FetchError::TooLarge) => {
                    let problem = "it has more parts, or more bytes, than a transaction";
                    self.settle(world, context, waiter, Refusal::Malformed(problem));
                }
                Err(error) => self.settle(world, context, waiter, Refusal::NotFetched(*error)),
            }
        }
    }

    /// Looks at a few transactions.
    pub(super) fn take_transactions(&mut self, world: &Environment<'_>, context: &mut Context) {
        let now = monotonic(world);
        for id in self.intake.overdue(now) {
            self.settle(world, context, id, Refusal::TooSlow);
        }
        let Some(head) = self.head.clone() else {
            return;
        };
        for _ in 0..LOOKS {
            let next = self.arrived.pop_front();
            let Some(id) = next.or_else(|| self.intake.next(now)) else {
                return;
            };
            if self.intake.is_open(&id) {
                self.look(world, context, &head, id);
            }
        }
    }

    fn look(&mut self, world: &Environment<'_>, context: &mut Context, head: &Head, id: AtomId) {
        let now = monotonic(world);
        let for_references = self.config.reference_followers;
        let examined = examine(world.atoms, head.block(), id, &self.pool, for_references);
        let refusal = match examined {
            Ok((entry, balance)) => match self.pool.insert(now, entry, &balance) {
                Ok(()) => return self.intake.settle(now, &id, Verdict::Good),
                Err(no_place) => Refusal::NoPlace(no_place),
            },
            Err(Unfit::Refused(refusal)) => refusal,
            Err(Unfit::Missing(missing)) => match self.intake.want(id, missing) {
                Some(is_first) => {
                    if is_first {
                        // Who tells of a transaction has it, even if nobody has heard where it is.
                        let from = self.intake.announcer(&id);
                        let (id, limit) = (missing, RECORD);
                        context.ask(Effect::FetchSmall { id, limit, from });
                    }
                    return;
                }
                None => Refusal::MissingAtom(missing),
            },
        };
        self.settle(world, context, id, refusal);
    }

    fn settle(
        &mut self,
        world: &Environment<'_>,
        context: &mut Context,
        id: AtomId,
        refusal: Refusal,
    ) {
        self.intake.settle(monotonic(world), &id, refusal.verdict());
        // Several peers tell of the same transaction.
        if !matches!(
            refusal,
            Refusal::NoPlace(NoPlace::Waiting | NoPlace::Included)
        ) {
            self.refuse(context, id, refusal);
        }
    }

    /// Remembers a refusal, to be told.
    pub(super) fn refuse(&mut self, context: &mut Context, id: AtomId, refusal: Refusal) {
        context.report(Event::TransactionRefused {
            id,
            refusal: refusal.clone(),
        });
        self.refused += 1;
        if self.refusals.len() >= MAX_REFUSALS {
            self.refusals.pop_front();
        }
        self.refusals.push_back((id, refusal));
    }

    /// A transaction in the pool needs this atom; whether it can still come.
    pub(super) fn lack(&mut self, context: &mut Context, atom: AtomId) -> bool {
        let under_way = self.lacking.iter().filter(|lacking| lacking.is_under_way);
        let may_fetch = under_way.count() < MAX_LACKING_FETCHES;
        let known = self.lacking.iter().position(|lacking| lacking.atom == atom);
        let at = match known {
            Some(at) => at,
            None if self.lacking.len() >= MAX_LACKING => return true,
            None => {
                self.lacking.push(Lacking {
                    atom,
                    failures: 0,
                    is_under_way: false,
                });
                self.lacking.len() - 1
            }
        };
        let Some(lacking) = self.lacking.get_mut(at) else {
            return true;
        };
        if lacking.failures >= MAX_LACKING_FAILURES {
            self.lacking.remove(at);
            return false;
        }
        if may_fetch && !lacking.is_under_way {
            lacking.is_under_way = true;
            context.ask(Effect::Fetch {
                id: atom,
                limit: PART,
                from: None,
            });
        }
        true
    }

    pub(super) fn atom_fetched(&mut self, id: &AtomId, is_here: bool) {
        if is_here {
            self.lacking.retain(|lacking| lacking.atom != *id);
        } else if let Some(lacking) = self.lacking.iter_mut().find(|one| one.atom == *id) {
            lacking.is_under_way = false;
            lacking.failures += 1;
        }
        self.state_fetched(id, is_here);
    }

    /// Takes those of the new head out of the pool, and lets those of blocks that were left wait
    /// again.
    pub(super) fn note_included(
        &mut self,
        world: &Environment<'_>,
        previous: Option<&Head>,
        head: &Head,
    ) {
        if self.pool.is_empty() && self.pool.included() == 0 {
            return;
        }
        let is_next = previous.is_some_and(|previous| previous.id() == head.block().previous);
        if !is_next {
            // Those that are applied all the same leave when the next block is made.
            self.pool.give_back(0);
        }
        let list = head.block().transactions;
        if let Ok(atoms) = collect_list(world.atoms, list, MAX_BLOCK_TRANSACTIONS) {
            let ids: Vec<AtomId> = atoms
                .iter()
                .filter_map(|atom| AtomId::from_slice(atom.data()))
                .collect();
            self.pool.include(&ids, head.height());
        }
    }
}
