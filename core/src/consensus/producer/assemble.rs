//! Assembly of a block's body: a job with a time budget that runs on another thread than the one
//! that handles inputs.
//!
//! The producer gives the host an [`AssemblyJob`] ([`Effect::Assemble`](crate::consensus::Effect)),
//! a worker thread [runs](AssemblyJob::run) it, and the producer receives the result as an input.
//! The job checks an [`Interrupt`] between transactions, and while it reads lists; once that is
//! due, the block consists of the transactions applied until then.
//!
//! Invariants:
//! - An interrupted or rejected transaction leaves no trace in the body.
//! - The body adds at most [`AssemblyJob::max_growth_bytes`] to storage, unless it is empty.
//! - After an interrupt, the only remaining work is to hash a body whose transactions were applied
//!   before, at most once.

use super::growth::{EMPTY_BLOCK_BYTES, stored_growth};
use crate::atom::{Atom, AtomId, AtomSource, ListStretch, SourceError};
use crate::chain::cost::stored_bytes;
use crate::chain::{Address, Body, Builder, RecordAtoms, StakeTable, StateError, TransactionError};
use crate::consensus::Head;
use crate::consensus::mempool::admission::{Pending, Refusal, contract_list};
use crate::consensus::mempool::verdicts::ListLength;
use crate::consensus::mempool::waiting::Data;
use crate::time::Instant;
use crate::trie::BatchHasher;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::time::Duration;

/// Number of atoms read between two checks of the interrupt.
const READS_PER_CHECK: u32 = 64;
/// Maximum number of attempts, each with a smaller body, until one fits.
const MAX_ATTEMPTS: usize = 4;

/// Source of the signal that a job's time is over.
pub trait Interrupt {
    /// Returns whether the job must end. Called every few microseconds.
    fn is_due(&mut self) -> bool;
}

/// Interrupt that is never due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoInterrupt;

impl Interrupt for NoInterrupt {
    fn is_due(&mut self) -> bool {
        false
    }
}

/// Time that a job may use before it hashes the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AssemblyBudget {
    /// Maximum processor time.
    pub cpu: Duration,
    /// Deadline, regardless of the processor time used.
    pub until: Instant,
}

/// Job that makes a body. See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssemblyJob {
    /// Number that distinguishes its result from those of earlier jobs.
    pub number: u64,
    /// Block that the new block follows.
    pub parent: Head,
    /// Stakes after that block.
    pub stakes: StakeTable,
    /// Transactions to try, in order.
    pub transactions: Vec<Pending>,
    /// Lengths of the lists that the transactions name.
    pub lengths: BTreeMap<AtomId, ListLength>,
    /// Account that claims the reward, if any.
    pub claimant: Option<Address>,
    /// Maximum number of transactions in the body.
    pub max_transactions: usize,
    /// Maximum number of bytes that the block may add to storage.
    pub max_growth_bytes: u64,
    /// Expected number of bytes that a transaction adds to storage beyond its own.
    pub growth_per_transaction: u64,
    /// Time budget.
    pub budget: AssemblyBudget,
}

/// Assembled body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembly {
    /// The body.
    pub body: Body,
    /// Transactions of the body.
    pub transactions: Vec<Pending>,
    /// Atoms of the transactions.
    pub transaction_atoms: RecordAtoms,
    /// Number of bytes that the block adds to storage.
    pub growth_bytes: u64,
}

/// Reason a job did not make a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssemblyError {
    /// An atom of the parent's state is missing.
    Missing(AtomId),
    /// The parent's state cannot be read.
    Unreadable(&'static str),
    /// The storage does not have room even for an empty block.
    NoRoom {
        /// Number of bytes that the block adds.
        needed: u64,
        /// Number of bytes available.
        room: u64,
    },
}

/// Result of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembled {
    /// Number of the job.
    pub number: u64,
    /// The body, or the reason there is none.
    pub outcome: Result<Assembly, AssemblyError>,
    /// Transactions that cannot be in the block, with the reason.
    pub rejected: Vec<(AtomId, Refusal)>,
    /// Transactions that lack data, with the data.
    pub lacking: Vec<(AtomId, Data)>,
    /// `true` if its time was over before all transactions were tried.
    pub is_interrupted: bool,
}

impl AssemblyJob {
    /// Makes the body. `room` is the remaining storage in bytes, if that is limited.
    pub fn run<S: AtomSource<Error = Infallible> + ?Sized>(
        &self,
        source: &S,
        hasher: &mut impl BatchHasher,
        interrupt: &mut dyn Interrupt,
        room: Option<u64>,
    ) -> Assembled {
        let mut assembled = Assembled {
            number: self.number,
            outcome: Err(AssemblyError::Unreadable("no attempt was made")),
            rejected: Vec::new(),
            lacking: Vec::new(),
            is_interrupted: false,
        };
        let source = Bounded {
            source,
            lengths: &self.lengths,
            interrupt: RefCell::new(interrupt),
            reads: Cell::new(0),
            is_over: Cell::new(false),
            is_bounded: Cell::new(true),
        };
        let max_growth = room.map_or(self.max_growth_bytes, |room| {
            room.min(self.max_growth_bytes)
        });
        let mut max_transactions = self.max_transactions;
        for attempt in 1..=MAX_ATTEMPTS {
            // The last attempt is empty, which is the minimum that a block adds.
            if attempt == MAX_ATTEMPTS {
                max_transactions = 0;
            }
            let made = self.attempt(
                &source,
                hasher,
                max_transactions,
                max_growth,
                &mut assembled,
            );
            let assembly = match made {
                Ok(assembly) => assembly,
                Err(error) => {
                    assembled.outcome = Err(error);
                    break;
                }
            };
            let (needed, count) = (assembly.growth_bytes, assembly.transactions.len());
            if count == 0
                && let Some(room) = room.filter(|room| needed > *room)
            {
                assembled.outcome = Err(AssemblyError::NoRoom { needed, room });
                break;
            }
            let is_fitting = needed <= max_growth || count == 0;
            assembled.outcome = Ok(assembly);
            if is_fitting {
                break;
            }
            // The part of an empty block does not shrink.
            let for_transactions = max_growth.saturating_sub(EMPTY_BLOCK_BYTES);
            let share = for_transactions.saturating_mul(count as u64) / needed.max(1);
            max_transactions = usize::try_from(share * 9 / 10).unwrap_or(0);
        }
        assembled.is_interrupted = source.is_over.get();
        assembled
    }

    fn attempt<S: AtomSource<Error = Infallible> + ?Sized>(
        &self,
        source: &Bounded<'_, '_, S>,
        hasher: &mut impl BatchHasher,
        max_transactions: usize,
        max_growth: u64,
        assembled: &mut Assembled,
    ) -> Result<Assembly, AssemblyError> {
        source.is_bounded.set(true);
        let mut builder = Builder::new(source, self.parent.block(), &self.stakes);
        let transactions = self.fill(
            source,
            &mut builder,
            max_transactions,
            max_growth,
            assembled,
        );
        // The applied transactions are finished regardless of the time.
        source.is_bounded.set(false);
        let body = builder
            .finish(hasher, self.claimant)
            .map_err(|error| match error {
                StateError::Malformed { problem, .. } => AssemblyError::Unreadable(problem),
                ref error => error.missing().map_or(
                    AssemblyError::Unreadable("the atom store failed"),
                    AssemblyError::Missing,
                ),
            })?;
        let transaction_atoms: RecordAtoms = transactions
            .iter()
            .flat_map(|transaction| transaction.to_atoms())
            .collect();
        let growth_bytes = stored_growth(&body.atoms)
            .saturating_add(stored_growth(&transaction_atoms))
            .saturating_add(super::growth::BLOCK_BYTES);
        Ok(Assembly {
            body,
            transactions,
            transaction_atoms,
            growth_bytes,
        })
    }

    /// Applies transactions, in their order, up to the limits of the block.
    fn fill<S: AtomSource<Error = Infallible> + ?Sized>(
        &self,
        source: &Bounded<'_, '_, S>,
        builder: &mut Builder<&Bounded<'_, '_, S>>,
        max_transactions: usize,
        max_growth: u64,
        assembled: &mut Assembled,
    ) -> Vec<Pending> {
        let mut taken = Vec::new();
        let mut growth = EMPTY_BLOCK_BYTES;
        // Settled by an earlier attempt.
        let rejected = assembled.rejected.iter().map(|(id, _)| *id);
        let lacking = assembled.lacking.iter().map(|(id, _)| *id);
        let settled: BTreeSet<AtomId> = rejected.chain(lacking).collect();
        for transaction in &self.transactions {
            if taken.len() >= max_transactions || source.check() {
                break;
            }
            let id = transaction.id();
            if settled.contains(&id) {
                continue;
            }
            let list = contract_list(transaction);
            let length = list.and_then(|list| self.lengths.get(&list));
            let own = stored_bytes(transaction) + self.growth_per_transaction;
            if growth.saturating_add(own) > max_growth {
                break;
            }
            let refusal = match builder.apply(transaction) {
                Ok(Ok(_)) => {
                    growth += own;
                    taken.push(transaction.clone());
                    continue;
                }
                // The lists it reads may fit into a later block.
                Ok(Err(TransactionError::BlockListsTooLong { .. })) => continue,
                Ok(Err(TransactionError::BlockFull)) => break,
                Ok(Err(error)) => Refusal::Transaction(error),
                Err(StateError::Malformed { problem, .. }) => Refusal::State(problem),
                Err(StateError::Unmeasured { list, .. }) => {
                    assembled.lacking.push((id, Data::List(list)));
                    continue;
                }
                Err(StateError::Source(SourceError::Missing(missing))) => {
                    assembled.lacking.push((id, Data::Atom(missing)));
                    continue;
                }
                Err(StateError::Source(SourceError::Failed(Interrupted))) => {
                    // Have the list measured before a transaction that reads it is tried again.
                    if let Some(list) = list.filter(|_| length.is_none()) {
                        assembled.lacking.push((id, Data::List(list)));
                    }
                    break;
                }
            };
            assembled.rejected.push((id, refusal));
        }
        taken
    }
}

/// The job's time is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Interrupted;

/// Source that fails once the time is over.
struct Bounded<'s, 'i, S: ?Sized> {
    source: &'s S,
    /// Lengths of lists that need not be read.
    lengths: &'s BTreeMap<AtomId, ListLength>,
    interrupt: RefCell<&'i mut dyn Interrupt>,
    reads: Cell<u32>,
    is_over: Cell<bool>,
    is_bounded: Cell<bool>,
}

impl<S: ?Sized> Bounded<'_, '_, S> {
    /// Returns whether the time is over.
    fn check(&self) -> bool {
        if !self.is_over.get() {
            let is_due = self.interrupt.borrow_mut().is_due();
            self.is_over.set(is_due);
        }
        self.is_over.get()
    }
}

impl<S: AtomSource<Error = Infallible> + ?Sized> AtomSource for Bounded<'_, '_, S> {
    type Error = Interrupted;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Interrupted>> {
        let reads = self.reads.get().saturating_add(1);
        self.reads.set(reads);
        let must_check = self.is_bounded.get() && reads.is_multiple_of(READS_PER_CHECK);
        if must_check && self.check() {
            return Err(SourceError::Failed(Interrupted));
        }
        self.source.atom(id).map_err(|error| match error {
            SourceError::Missing(id) => SourceError::Missing(id),
            SourceError::Failed(never) => match never {},
        })
    }
    fn list_stretch(&self, id: &AtomId) -> Option<ListStretch> {
        let ListLength { atoms, bytes } = *self.lengths.get(id)?;
        let next = AtomId::ZERO;
        Some(ListStretch { atoms, bytes, next })
    }
}
