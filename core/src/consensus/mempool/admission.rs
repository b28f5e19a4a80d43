//! Whether a transaction may wait for a block: every reason why not, cheapest first.
//!
//! A transaction is looked at over the state of the head. What the head's state cannot know, such as
//! money that is still on its way, does not count: send the transaction again once it is there.
//!
//! A transaction that can pay its fee and its storage but not its amount is taken. The rules have it
//! in a block, failed and paid for.

use super::announcements::{Declined, Verdict};
use super::pool::{Entry, NoPlace, Pool};
use crate::atom::{AtomId, AtomSource};
use crate::chain::cost::stored_bytes;
use crate::chain::{
    Account, BURN, Block, Position, RecordError, Rejection, StakeTable, State, StateError,
    Transaction, channel, contract,
};
use crate::crypto::SignatureError;
use crate::integer::Natural;
use crate::wire::engine::FetchError;
use alloc::sync::Arc;
use core::fmt;

/// Stored bytes beyond those of the data that a transaction that waits may have. What every
/// transaction has takes 500; the rest is for its numbers.
pub const MAX_OVERHEAD_BYTES: usize = 2_048;
/// The most stored bytes of a transaction that waits.
pub const MAX_TRANSACTION_BYTES: usize =
    crate::chain::MAX_TRANSACTION_DATA_BYTES + MAX_OVERHEAD_BYTES;

/// Why a transaction does not wait for a block.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// It was not looked at.
    Declined(Declined),
    /// The pool has no place for it.
    NoPlace(NoPlace),
    /// It could not be fetched.
    NotFetched(FetchError),
    /// It could not be fetched in time, or in as many parts as it may have.
    TooSlow,
    /// What has this id is no transaction.
    Malformed(&'static str),
    /// Its numbers are too long for it to wait here.
    TooLarge {
        /// Its stored bytes.
        bytes: u64,
    },
    /// Its sender has not signed it.
    Signature(SignatureError),
    /// The rules do not have it in the next block.
    Rejected(Rejection),
    /// There is no chain yet that it could be looked at with.
    NoHead,
    /// The state of the head cannot be read.
    State(&'static str),
    /// It needs an atom that nobody brought.
    MissingAtom(AtomId),
    /// It is for blocks that reference nodes are to verify, and they cannot verify it.
    ReferenceFollowers(&'static str),
    /// It has waited too long.
    Expired,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declined(declined) => declined.fmt(f),
            Self::NoPlace(no_place) => no_place.fmt(f),
            Self::NotFetched(error) => write!(f, "it could not be fetched: {error}"),
            Self::TooSlow => f.write_str("it could not be fetched in time"),
            Self::Malformed(problem) => write!(f, "it is no transaction: {problem}"),
            Self::TooLarge { bytes } => write!(
                f,
                "it has {bytes} bytes, and one that waits at most {MAX_TRANSACTION_BYTES}; use \
                 shorter numbers"
            ),
            Self::Signature(error) => write!(f, "its sender has not signed it: {error}"),
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::NoHead => f.write_str("this validator has no chain yet"),
            Self::State(problem) => write!(f, "the head's state cannot be read: {problem}"),
            Self::MissingAtom(id) => write!(f, "it needs atom {id}, which nobody has"),
            Self::ReferenceFollowers(problem) => write!(
                f,
                "this validator's blocks are for reference nodes too, and those {problem}"
            ),
            Self::Expired => f.write_str("it has waited too long for a block"),
        }
    }
}

impl core::error::Error for Refusal {}

impl From<NoPlace> for Refusal {
    fn from(no_place: NoPlace) -> Self {
        Self::NoPlace(no_place)
    }
}

impl Refusal {
    /// What it says of who announced the transaction.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self {
            // Whatever becomes of the chain, the bytes behind the id stay.
            Self::Malformed(_)
            | Self::TooLarge { .. }
            | Self::Signature(_)
            | Self::Rejected(Rejection::ChainId { .. } | Rejection::SystemSender) => {
                Verdict::BadForGood
            }
            // Several peers tell of the same ones, and a full pool is no fault of theirs.
            Self::NoPlace(NoPlace::Waiting | NoPlace::Included | NoPlace::Full { .. })
            | Self::NoHead
            | Self::State(_) => Verdict::Good,
            _ => Verdict::Bad,
        }
    }
}

/// What came of a look that did not end well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// This atom is needed first.
    Missing(AtomId),
    /// It is refused.
    Refused(Refusal),
}

impl From<Refusal> for Unfit {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A transaction in the pool's hands.
pub type Waiting = Arc<Transaction>;

/// Looks at the transaction `id` over the state after `head`: its entry for the pool, and what its
/// sender has. What reference nodes cannot verify is refused where they are to follow.
///
/// # Errors
/// When an atom is missing, or the transaction is refused.
pub fn examine<S: AtomSource + ?Sized>(
    source: &S,
    head: &Block,
    id: AtomId,
    pool: &Pool<Waiting>,
    reference_followers: bool,
) -> Result<(Entry<Waiting>, Natural), Unfit> {
    let transaction = Transaction::read(source, id).map_err(|error| match error {
        RecordError::Malformed { problem, .. } => Refusal::Malformed(problem).into(),
        ref source => missing(source.missing()),
    })?;
    // Nothing is applied, so that no stakes are looked at.
    let position = Position::after(head, &StakeTable::default());
    if transaction.chain_id != position.chain_id {
        let (transaction, chain) = (transaction.chain_id.clone(), position.chain_id);
        return Err(Refusal::Rejected(Rejection::ChainId { transaction, chain }).into());
    }
    let stored = stored_bytes(&transaction);
    let bytes = usize::try_from(stored).ok();
    let bytes = bytes.filter(|bytes| *bytes <= MAX_TRANSACTION_BYTES);
    let bytes = bytes.ok_or(Refusal::TooLarge { bytes: stored })?;
    let sender = *transaction.sender();
    pool.check_room(sender.as_bytes(), bytes)
        .map_err(Refusal::from)?;
    transaction.verify_signature().map_err(Refusal::Signature)?;

    let reserve = position.price.reserve(transaction.data.len());
    let charge = reserve.ok_or(Refusal::Rejected(Rejection::NoPrice))?;
    let mut state = State::new(source, position);
    if let Some(rejection) = state.admit(&transaction).map_err(unreadable)? {
        return Err(Refusal::Rejected(rejection).into());
    }
    let account = state.account(&sender).map_err(unreadable)?;
    let account = account.ok_or(Refusal::Rejected(Rejection::NoSender))?;
    if reference_followers && let Some(problem) = beyond_the_reference(&transaction, account) {
        return Err(Refusal::ReferenceFollowers(problem).into());
    }
    let balance = account.balance.clone();
    let entry = Entry {
        id,
        sender: *sender.as_bytes(),
        bytes,
        charge,
        transaction: Arc::new(transaction),
    };
    Ok((entry, balance))
}

/// What a reference node cannot do of what this transaction asks for: it could not verify the block,
/// and would take the whole chain from there on for a bad one.
fn beyond_the_reference(transaction: &Transaction, sender: &Account) -> Option<&'static str> {
    let recipient = transaction.recipient;
    let operation = *transaction.data.first()?;
    if recipient == *transaction.sender()
        && operation == channel::UPDATE
        && sender.channels.is_zero()
    {
        // It cannot put into an empty trie.
        Some("cannot open the first channel of an account")
    } else if recipient == BURN && operation == contract::PAY {
        // Its verifier has no height to count from.
        Some("cannot verify a payment for storage")
    } else {
        None
    }
}

fn missing(id: Option<AtomId>) -> Unfit {
    id.map_or_else(
        || Refusal::State("the atom store failed").into(),
        Unfit::Missing,
    )
}

fn unreadable<E>(error: StateError<E>) -> Unfit {
    match error {
        StateError::Malformed { problem, .. } => Refusal::State(problem).into(),
        source => missing(source.missing()),
    }
}
