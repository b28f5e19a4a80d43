//! Assembly of a block's body: a job that runs apart from the thread that answers inputs, with a
//! budget of time.
//!
//! The producer gives the host an [`AssemblyJob`] ([`Effect::Assemble`](crate::consensus::Effect)), a
//! worker thread [runs](AssemblyJob::run) it, and the producer gets its result as an input. The job
//! asks an [`Interrupt`] between transactions, and inside the walks along lists, whether its time is
//! over; then the block has what was applied until then.
//!
//! Invariants:
//! - What was interrupted or rejected has left no trace in the body.
//! - The body leaves at most [`AssemblyJob::max_growth_bytes`] in storage, unless it is empty.
//! - After an interrupt at most one body is hashed that was applied before.

use super::growth::{EMPTY_BLOCK_BYTES, stored_growth};
use crate::atom::{Atom, AtomId, AtomSource, ListStretch, SourceError};
use crate::chain::cost::stored_bytes;
use crate::chain::{Address, Body, Builder, RecordAtoms, Rejection, StakeTable, StateError};
use crate::consensus::Head;
use crate::consensus::mempool::admission::{Pending, Refusal, named_list};
use crate::consensus::mempool::verdicts::ListLength;
use crate::consensus::mempool::waiting::Data;
use crate::time::Instant;
use crate::trie::BatchHasher;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::time::Duration;

/// Atoms that are read between two looks at the time.
const READS_PER_LOOK: u32 = 64;
/// Bodies that are made smaller and smaller until one fits.
const MAX_ATTEMPTS: usize = 4;

/// Tells a job that its time is over.
pub trait Interrupt {
    /// Returns whether the job is to end. Asked every few microseconds.
    fn is_due(&mut self) -> bool;
}

/// Never interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoInterrupt;

impl Interrupt for NoInterrupt {
    fn is_due(&mut self) -> bool {
        false
    }
}

/// Time that a job may take until it begins to hash the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AssemblyBudget {
    /// Processor time.
    pub cpu: Duration,
    /// The end, however little processor time it had.
    pub until: Instant,
}

/// A body that is to be made. See the [module](self).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AssemblyJob {
    /// Tells its result from those of earlier jobs.
    pub number: u64,
    /// The block that it follows.
    pub parent: Head,
    /// The stakes after that block.
    pub stakes: StakeTable,
    /// Transactions to try, in order.
    pub transactions: Vec<Pending>,
    /// Lengths of the lists that they name.
    pub lengths: BTreeMap<AtomId, ListLength>,
    /// The account that claims the reward, if one does.
    pub claimant: Option<Address>,
    /// Transactions that it may have.
    pub max_transactions: usize,
    /// Bytes, as stored, that the block may leave.
    pub max_growth_bytes: u64,
    /// Bytes that a transaction is expected to leave beside its own, as stored.
    pub growth_per_transaction: u64,
    /// Its time.
    pub budget: AssemblyBudget,
}

/// A body that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembly {
    /// The body.
    pub body: Body,
    /// Its transactions.
    pub transactions: Vec<Pending>,
    /// Their atoms.
    pub transaction_atoms: RecordAtoms,
    /// Bytes, as stored, that the block leaves.
    pub growth_bytes: u64,
}

/// Reason why a job made no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AssemblyError {
    /// An atom of the parent's state is missing.
    Missing(AtomId),
    /// The parent's state cannot be read.
    Unreadable(&'static str),
    /// The storage has no room even for an empty block.
    NoRoom {
        /// Bytes that the block leaves.
        needed: u64,
        /// Bytes that there are.
        room: u64,
    },
}

/// Result of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Assembled {
    /// The number of the job.
    pub number: u64,
    /// The body, or why there is none.
    pub outcome: Result<Assembly, AssemblyError>,
    /// Transactions that cannot be in the block, and why.
    pub rejected: Vec<(AtomId, Refusal)>,
    /// Transactions that lack data, and which.
    pub lacking: Vec<(AtomId, Data)>,
    /// Whether its time was over before all transactions were tried.
    pub is_interrupted: bool,
}

impl AssemblyJob {
    /// Makes the body. `room` is what the storage has left, if that is limited.
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
            // The last one is empty, which is the least that a block leaves.
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
            // The empty block's part does not shrink.
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
        // What was applied is finished whatever the time.
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

    /// Applies transactions, in their order, as far as the block takes them.
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
        // By an earlier attempt.
        let rejected = assembled.rejected.iter().map(|(id, _)| *id);
        let lacking = assembled.lacking.iter().map(|(id, _)| *id);
        let settled: BTreeSet<AtomId> = rejected.chain(lacking).collect();
        for transaction in &self.transactions {
            if taken.len() >= max_transactions || source.look() {
                break;
            }
            let id = transaction.id();
            if settled.contains(&id) {
                continue;
            }
            let list = named_list(transaction);
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
                // What it walks may fit into a later block.
                Ok(Err(Rejection::BlockListsTooLong { .. })) => continue,
                Ok(Err(Rejection::BlockFull)) => break,
                Ok(Err(Rejection::ListTooLong { list })) => Refusal::ListTooLong(list),
                Ok(Err(rejection)) => Refusal::Rejected(rejection),
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
                    // A list is measured before anything is applied that walks it.
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

/// The time is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Interrupted;

/// A source that fails once the time is over.
struct Bounded<'s, 'i, S: ?Sized> {
    source: &'s S,
    /// Lists that need no walk.
    lengths: &'s BTreeMap<AtomId, ListLength>,
    interrupt: RefCell<&'i mut dyn Interrupt>,
    reads: Cell<u32>,
    is_over: Cell<bool>,
    is_bounded: Cell<bool>,
}

impl<S: ?Sized> Bounded<'_, '_, S> {
    /// Returns whether the time is over.
    fn look(&self) -> bool {
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
        let looks = self.is_bounded.get() && reads.is_multiple_of(READS_PER_LOOK);
        if looks && self.look() {
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
