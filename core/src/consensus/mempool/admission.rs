//! Admission: checks of a transaction before it enters the mempool, cheapest first.
//!
//! A transaction is checked over the state of the head. State that does not exist yet, such as a
//! payment that is not included, does not count: the sender has to send the transaction again once
//! it exists.
//!
//! A transaction that can pay its fee and its storage but not its amount is admitted. By the rules
//! it is included, fails, and is paid for.

use super::announcements::{Declined, Verdict};
use super::pool::{Entry, Pool, PoolError};
use crate::arc::Arc;
use crate::atom::{AtomId, AtomSource};
use crate::chain::cost::stored_bytes;
use crate::chain::{
    Account, BURN, Block, Position, RecordError, StakeTable, State, StateError, Transaction,
    TransactionError, channel, check_chain, contract, opened_list,
};
use crate::engine::FetchError;
use crate::integer::Natural;
use core::fmt;

/// Maximum stored bytes of a pending transaction beyond those of its data. The part common to all
/// transactions takes 500; the rest is for its numbers.
pub const MAX_OVERHEAD_BYTES: usize = 2_048;
/// Maximum stored size of a pending transaction, in bytes.
pub const MAX_TRANSACTION_BYTES: usize =
    crate::chain::MAX_TRANSACTION_DATA_BYTES + MAX_OVERHEAD_BYTES;

/// Reason a transaction is not, or no longer, in the mempool.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Its announcement was declined.
    Declined(Declined),
    /// The mempool has no room for it.
    PoolError(PoolError),
    /// It could not be fetched.
    NotFetched(FetchError),
    /// It could not be fetched in time, or within its maximum number of fetches.
    TooSlow,
    /// Its numbers are too long for the mempool.
    TooLarge {
        /// Its stored size, in bytes.
        bytes: u64,
    },
    /// The rules exclude it from the next block.
    Transaction(TransactionError),
    /// There is no chain yet to check it against.
    NoHead,
    /// The state of the head cannot be read.
    State(&'static str),
    /// It needs an atom that no peer has.
    MissingAtom(AtomId),
    /// Reference nodes could not verify a block with it, and this validator produces blocks for
    /// them too.
    ReferenceFollowers(&'static str),
    /// It waited for data and was displaced by a ready transaction.
    Displaced,
    /// It was not included in time.
    Expired,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declined(declined) => declined.fmt(f),
            Self::PoolError(pool_error) => pool_error.fmt(f),
            Self::NotFetched(error) => write!(f, "fetch failed: {error}"),
            Self::TooSlow => f.write_str("fetch timed out"),
            Self::TooLarge { bytes } => write!(
                f,
                "{bytes} bytes exceed the maximum of {MAX_TRANSACTION_BYTES} for a pending \
                 transaction: use shorter numbers"
            ),
            Self::Transaction(error) => error.fmt(f),
            Self::NoHead => f.write_str("this node has no chain yet"),
            Self::State(problem) => write!(f, "failed to read the head's state: {problem}"),
            Self::MissingAtom(id) => write!(f, "missing atom {id}: no peer has it"),
            Self::ReferenceFollowers(problem) => write!(
                f,
                "this validator produces blocks for reference nodes too, and those {problem}"
            ),
            Self::Displaced => f.write_str(
                "evicted while waiting for data: store the list that it refers to, then send it \
                 again",
            ),
            Self::Expired => f.write_str("expired before inclusion in a block"),
        }
    }
}

impl core::error::Error for Refusal {}

impl From<PoolError> for Refusal {
    fn from(pool_error: PoolError) -> Self {
        Self::PoolError(pool_error)
    }
}

impl From<TransactionError> for Refusal {
    fn from(error: TransactionError) -> Self {
        Self::Transaction(error)
    }
}

impl Refusal {
    /// Returns the verdict on the peers that announced the transaction.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self {
            // These depend only on the bytes behind the id, in any state of the chain.
            Self::TooLarge { .. } => Verdict::PermanentlyBad,
            Self::Transaction(error) if error.is_permanent() => Verdict::PermanentlyBad,
            // Several peers announce the same transaction, it may be in a recent block, and a full
            // mempool is not the fault of a peer.
            Self::PoolError(PoolError::Held | PoolError::Included | PoolError::Full { .. })
            | Self::NoHead
            | Self::State(_) => Verdict::Good,
            _ => Verdict::Bad,
        }
    }
}

/// Unsuccessful result of a check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AdmissionError {
    /// This atom is needed first.
    Missing(AtomId),
    /// The transaction is refused.
    Refused(Refusal),
}

impl From<TransactionError> for AdmissionError {
    fn from(error: TransactionError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Refusal> for AdmissionError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Transaction in the mempool.
pub type Pending = Arc<Transaction>;

/// Admitted transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admitted {
    /// Entry for the pool.
    pub entry: Entry<Pending>,
    /// Balance of its sender.
    pub balance: Natural,
    /// List whose length must be known before the transaction can be applied.
    pub list: Option<AtomId>,
}

/// Reads the transaction with this id.
///
/// # Errors
/// Returns [`AdmissionError`] if an atom is missing, or the atoms are not a transaction.
pub fn read<S: AtomSource + ?Sized>(source: &S, id: AtomId) -> Result<Pending, AdmissionError> {
    let read = Transaction::read(source, id);
    read.map(Arc::new).map_err(|error| match error {
        RecordError::Malformed { problem, .. } => TransactionError::Malformed { problem }.into(),
        ref source => missing(source.missing()),
    })
}

/// Checks a transaction over the state after `head`. With `reference_followers`, refuses
/// transactions that reference nodes cannot verify.
///
/// # Errors
/// Returns [`AdmissionError`] if an atom of the state is missing, or the transaction is refused.
pub fn check<S: AtomSource + ?Sized>(
    source: &S,
    head: &Block,
    transaction: Pending,
    pool: &Pool<Pending>,
    reference_followers: bool,
) -> Result<Admitted, AdmissionError> {
    let stored = stored_bytes(&transaction);
    let bytes = usize::try_from(stored).ok();
    let bytes = bytes.filter(|bytes| *bytes <= MAX_TRANSACTION_BYTES);
    let bytes = bytes.ok_or(Refusal::TooLarge { bytes: stored })?;
    let sender = *transaction.sender();
    let list = contract_list(&transaction);
    // Skip the expensive checks if there is no room, as a ready or as a waiting transaction.
    let room = |is_waiting| pool.check_room(sender.as_bytes(), bytes, is_waiting);
    if let Err(pool_error) = room(false)
        && (list.is_none() || room(true).is_err())
    {
        // Even then, a peer that announces transactions of another chain is penalized.
        check_chain(&transaction, &head.chain_id)?;
        return Err(Refusal::PoolError(pool_error).into());
    }
    transaction.check()?;
    let mut state = state_after(source, head);
    let charge = state.check(&transaction).map_err(unreadable)??;
    let account = state.account(&sender).map_err(unreadable)?;
    let account = account.ok_or(TransactionError::NoSender { sender })?;
    if reference_followers && let Some(problem) = unsupported_by_reference(&transaction, account) {
        return Err(Refusal::ReferenceFollowers(problem).into());
    }
    let balance = account.balance.clone();
    let entry = Entry {
        id: transaction.id(),
        sender: *sender.as_bytes(),
        bytes,
        charge,
        transaction,
    };
    Ok(Admitted {
        entry,
        balance,
        list,
    })
}

/// Checks a transaction of the pool again, over the state after another head: it may have been
/// applied meanwhile, or its sender may no longer be able to pay for it.
///
/// # Errors
/// Returns [`AdmissionError`] if an atom of the state is missing, or the transaction is refused.
pub fn recheck<S: AtomSource + ?Sized>(
    source: &S,
    head: &Block,
    transaction: &Transaction,
) -> Result<(), AdmissionError> {
    state_after(source, head)
        .check(transaction)
        .map_err(unreadable)??;
    Ok(())
}

/// Returns the state after `head`. Nothing is applied to it, so it has no stakes.
fn state_after<'s, S: AtomSource + ?Sized>(source: &'s S, head: &Block) -> State<&'s S> {
    State::new(source, Position::after(head, &StakeTable::default()))
}

/// Returns the list that a transaction opens a storage contract on, if it does: applying it needs
/// the list's length in atoms and bytes.
#[must_use]
pub fn contract_list(transaction: &Transaction) -> Option<AtomId> {
    // With an amount it fails before the list is read.
    opened_list(transaction).filter(|_| transaction.amount.is_zero())
}

/// Returns the operation of a transaction that a reference node does not support. It could not
/// verify the block, and would reject the whole chain from there on as invalid.
fn unsupported_by_reference(transaction: &Transaction, sender: &Account) -> Option<&'static str> {
    let recipient = transaction.recipient;
    let operation = *transaction.data.first()?;
    if recipient == *transaction.sender()
        && operation == channel::UPDATE
        && sender.channels.is_zero()
    {
        // The reference node cannot insert into an empty trie.
        Some("cannot open the first channel of an account")
    } else if recipient == BURN && operation == contract::PAY {
        // The reference verifier does not have the height to count from.
        Some("cannot verify a payment for storage")
    } else {
        None
    }
}

fn missing(id: Option<AtomId>) -> AdmissionError {
    id.map_or_else(
        || Refusal::State("the atom store failed").into(),
        AdmissionError::Missing,
    )
}

fn unreadable<E>(error: StateError<E>) -> AdmissionError {
    match error {
        StateError::Malformed { problem, .. } => Refusal::State(problem).into(),
        source => missing(source.missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atom::MemoryStore;
    use crate::chain::{Address, Genesis, Unsigned};
    use crate::crypto::Signature;
    use crate::integer::Natural;
    use crate::trie::Scalar;

    const SENDER: Address = Address::new([1; 32]);
    const OTHER: Address = Address::new([2; 32]);

    fn refused(recipient: Address, operation: Option<u8>, channels: AtomId) -> bool {
        let unsigned = Unsigned {
            chain_id: 0_u64.into(),
            amount: 1_u64.into(),
            counter: 1_u64.into(),
            data: operation.as_slice().into(),
            recipient,
        };
        let transaction = unsigned.signed(SENDER, Signature::new([0; 64]));
        let sender = Account {
            channels,
            ..Account::default()
        };
        unsupported_by_reference(&transaction, &sender).is_some()
    }

    #[test]
    fn reference_rules_exclude_only_first_channels_and_payments() {
        let (none, some) = (AtomId::ZERO, AtomId::new([3; 32]));
        assert!(refused(SENDER, Some(channel::UPDATE), none));
        assert!(!refused(SENDER, Some(channel::UPDATE), some));
        assert!(!refused(SENDER, Some(channel::CLOSE), none));
        assert!(!refused(OTHER, Some(channel::UPDATE), none));
        assert!(!refused(SENDER, None, none));
        assert!(refused(BURN, Some(contract::PAY), none));
        assert!(!refused(BURN, Some(contract::OPEN), none));
        assert!(!refused(OTHER, Some(contract::PAY), none));
    }

    #[test]
    fn balance_equal_to_the_reserve_is_sufficient() {
        let key = crate::crypto::SigningKey::from_seed(&[7; 32]);
        let sender = Address::from(key.verifying_key());
        let unsigned = Unsigned {
            chain_id: 0_u64.into(),
            amount: 0_u64.into(),
            counter: 1_u64.into(),
            data: [].as_slice().into(),
            recipient: OTHER,
        };
        let transaction = unsigned.sign(&key);
        let outcome = |balance: Natural| {
            let mut genesis = Genesis::new(OTHER, Natural::ZERO, 5_u64.into());
            genesis.balances.insert(sender, balance);
            let mut store = MemoryStore::new();
            let head = genesis.build(&mut Scalar, &mut store).unwrap();
            recheck(&store, &head, &transaction)
        };
        let Err(AdmissionError::Refused(Refusal::Transaction(TransactionError::Balance {
            needed,
            ..
        }))) = outcome(Natural::ONE)
        else {
            panic!("{:?}", outcome(Natural::ONE));
        };
        assert!(outcome(needed.clone()).is_ok());
        let less = needed.checked_sub(&Natural::ONE).unwrap();
        assert!(outcome(less).is_err());
    }

    #[test]
    fn announcer_is_penalized_only_for_refusals_it_could_foresee() {
        let id = AtomId::new([1; 32]);
        let (transactions, bytes) = (1, 1);
        for good in [
            PoolError::Held.into(),
            PoolError::Included.into(),
            PoolError::Full {
                transactions,
                bytes,
            }
            .into(),
            Refusal::NoHead,
            Refusal::State("a node is missing"),
        ] {
            assert_eq!(good.verdict(), Verdict::Good, "{good:?}");
        }
        for bad in [
            PoolError::SenderFull {
                transactions,
                bytes,
            }
            .into(),
            Refusal::MissingAtom(id),
            TransactionError::NoSender { sender: SENDER }.into(),
        ] {
            assert_eq!(bad.verdict(), Verdict::Bad, "{bad:?}");
        }
        for bad in [
            Refusal::Transaction(TransactionError::ListTooLong { list: id }),
            TransactionError::SystemSender.into(),
        ] {
            assert_eq!(bad.verdict(), Verdict::PermanentlyBad, "{bad:?}");
        }
    }

    #[test]
    fn only_contract_openings_refer_to_a_list() {
        let list = AtomId::new([8; 32]);
        let list_of = |recipient, amount: u64, operation, rest: &[u8]| {
            let unsigned = Unsigned {
                chain_id: 0_u64.into(),
                amount: amount.into(),
                counter: 1_u64.into(),
                data: [&[operation], rest].concat().as_slice().into(),
                recipient,
            };
            contract_list(&unsigned.signed(SENDER, Signature::new([0; 64])))
        };
        let id = list.as_ref();
        assert_eq!(list_of(BURN, 0, contract::OPEN, id), Some(list));
        assert_eq!(list_of(OTHER, 0, contract::OPEN, id), None);
        assert_eq!(list_of(BURN, 1, contract::OPEN, id), None);
        assert_eq!(list_of(BURN, 0, contract::PAY, id), None);
        assert_eq!(list_of(BURN, 0, contract::OPEN, &id[1..]), None);
        assert_eq!(list_of(OTHER, 1, contract::PAY, id), None);
    }
}
