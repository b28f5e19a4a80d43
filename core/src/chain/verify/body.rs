//! Verification of a block's body against the state after its parent.

use super::error::{Invalid, Total, VerifyError};
use super::header::check_total;
use crate::atom::{AtomId, AtomKind, AtomSource};
use crate::chain::cost::stored_bytes;
use crate::chain::execution::{Body, Builder, REWARD};
use crate::chain::leader_election::StakeTable;
use crate::chain::{
    Account, Address, Block, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, RecordError, Transaction,
    TransactionError,
};
use crate::crypto::{Claim, SignatureError, VerifyingKey, verify_each};
use crate::trie::BatchHasher;
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Reads the transactions of a block, in order. Does not verify their signatures.
///
/// ```
/// use astreum_core::chain::{Builder, Election, Unsigned, read_transactions};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
/// let transfer = Unsigned {
///     chain_id: Natural::ZERO,
///     amount: 100_u64.into(),
///     counter: 1_u64.into(),
///     data: b"".as_slice().into(),
///     recipient: Address::new([2; 32]),
/// };
/// let transfer = transfer.sign(&key);
/// let mut builder = Builder::new(&store, &parent, &stakes);
/// assert!(builder.apply(&transfer)?.is_ok());
/// let body = builder.finish(&mut Scalar, None)?;
/// let time = &parent.timestamp + &2_u64.into();
/// let block = body.header(&parent, validator, time, Natural::ONE).sign(&key);
///
/// // The transactions and the list of their ids are stored.
/// let atoms = transfer.to_atoms().into_iter().chain(body.atoms);
/// store.extend(atoms.map(|(_, atom)| atom));
/// assert_eq!(read_transactions(&store, &block)?, [transfer]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// Fails if an atom of the list or of a transaction is missing or malformed, or if the transactions
/// are too many or too long for a block.
pub fn read_transactions<S: AtomSource + ?Sized>(
    source: &S,
    block: &Block,
) -> Result<Vec<Transaction>, VerifyError<S::Error>> {
    let ids = read_ids(source, block.transactions)?;
    let mut transactions = Vec::with_capacity(ids.len());
    let mut bytes = BlockBytes::default();
    for (index, id) in ids.into_iter().enumerate() {
        let transaction = read_transaction(source, index, id)?;
        bytes.add(&transaction)?;
        transactions.push(transaction);
    }
    Ok(transactions)
}

/// Sum of the bytes of a block's transactions, to stop reading at the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockBytes(u64);

impl BlockBytes {
    /// Adds a transaction.
    ///
    /// # Errors
    /// Fails if the sum exceeds [`MAX_BLOCK_BYTES`](crate::chain::MAX_BLOCK_BYTES).
    pub fn add(&mut self, transaction: &Transaction) -> Result<(), Invalid> {
        self.0 = self.0.saturating_add(stored_bytes(transaction));
        if self.0 > MAX_BLOCK_BYTES {
            let problem = "transactions exceed the maximum bytes of a block";
            return Err(Invalid::TransactionList { problem });
        }
        Ok(())
    }
}

/// Reads the transaction at `index` of a block. Does not verify its signature.
///
/// # Errors
/// Fails if an atom is missing or the transaction is malformed.
pub fn read_transaction<S: AtomSource + ?Sized>(
    source: &S,
    index: usize,
    id: AtomId,
) -> Result<Transaction, VerifyError<S::Error>> {
    Transaction::read(source, id).map_err(|error| match error {
        RecordError::Malformed { problem, .. } => {
            rejected(index, id, TransactionError::Malformed { problem }).into()
        }
        error => error.into(),
    })
}

/// Reads the transaction ids in the list at `head`.
///
/// ```
/// use astreum_core::atom::{AtomId, MemoryStore, bytes_list};
/// use astreum_core::chain::read_ids;
///
/// let ids = [1, 2].map(|byte| AtomId::new([byte; 32]));
/// let (head, atoms) = bytes_list(&ids);
/// let store: MemoryStore = atoms.into_iter().collect();
/// assert_eq!(read_ids(&store, head).unwrap(), ids);
/// ```
///
/// # Errors
/// Fails if an atom is missing or does not hold an id, or if there are more than
/// [`MAX_BLOCK_TRANSACTIONS`] ids.
pub fn read_ids<S: AtomSource + ?Sized>(
    source: &S,
    head: AtomId,
) -> Result<Vec<AtomId>, VerifyError<S::Error>> {
    let mut ids = Vec::new();
    let mut next = head;
    while !next.is_zero() {
        if ids.len() == MAX_BLOCK_TRANSACTIONS {
            let problem = "list exceeds the maximum length for a block";
            return Err(Invalid::TransactionList { problem }.into());
        }
        let atom = source.atom(&next).map_err(RecordError::from)?;
        let id = AtomId::from_slice(atom.data()).filter(|_| atom.kind() == AtomKind::Bytes);
        ids.push(id.ok_or(Invalid::TransactionList {
            problem: "list item is not an id",
        })?);
        next = atom.next();
    }
    Ok(ids)
}

/// Returns, for each transaction, whether its sender's signature is valid; verifies one after
/// another. A host that verifies in parallel must get the same verdicts:
/// [`Transaction::verify_signature`] decides, never a combined check of a batch.
///
/// ```
/// use astreum_core::chain::{Address, Unsigned, check_signatures};
/// use astreum_core::crypto::{Signature, SigningKey};
///
/// let transfer = Unsigned {
///     chain_id: 0_u64.into(),
///     amount: 100_u64.into(),
///     counter: 1_u64.into(),
///     data: b"".as_slice().into(),
///     recipient: Address::new([2; 32]),
/// };
/// let signed = transfer.clone().sign(&SigningKey::from_seed(&[1; 32]));
/// let forged = transfer.signed(*signed.sender(), Signature::new([0; 64]));
/// assert_eq!(check_signatures(&[signed, forged]), [true, false]);
/// ```
#[must_use]
pub fn check_signatures(transactions: &[Transaction]) -> Vec<bool> {
    let is_signed = |transaction: &Transaction| transaction.verify_signature().is_ok();
    transactions.iter().map(is_signed).collect()
}

/// Checks signatures as [`check_signatures`] does, but faster: [in a batch with individual
/// verdicts](verify_each). `key_of` returns a sender's key, or `None` if the address is not a key;
/// a host that decodes each key of a block only once saves further time. Sets one element of
/// `signed` per transaction.
///
/// ```
/// use astreum_core::chain::{Address, Unsigned, check_signatures, check_signatures_with};
/// use astreum_core::crypto::{SigningKey, VerifyingKey};
///
/// let key = SigningKey::from_seed(&[1; 32]);
/// let transfer = |counter: u64| Unsigned {
///     chain_id: 0_u64.into(),
///     amount: 100_u64.into(),
///     counter: counter.into(),
///     data: b"".as_slice().into(),
///     recipient: Address::new([2; 32]),
/// };
/// let transactions = [1, 2, 3].map(|counter| transfer(counter).sign(&key));
/// let key_of = |sender: &Address| VerifyingKey::from_bytes(sender.as_bytes()).ok();
/// let mut signed = [false; 3];
/// check_signatures_with(transactions.iter(), key_of, &mut signed);
/// assert_eq!(signed[..], check_signatures(&transactions));
/// ```
pub fn check_signatures_with<'t>(
    transactions: impl Iterator<Item = &'t Transaction>,
    key_of: impl Fn(&Address) -> Option<VerifyingKey>,
    signed: &mut [bool],
) {
    let claims: Vec<Claim<'_>> = transactions
        .map(|transaction| transaction.claim(key_of(transaction.sender())))
        .collect();
    verify_each(&claims, signed);
}

/// Verifies the body of `block`, whose [header must be valid](crate::chain::verify_header), by
/// executing its transactions. Returns everything that execution created, to be stored. `stakes`
/// are those that `parent` left.
///
/// `transactions` are those of the block, as [`read_transactions`] returns them, and `signed` has
/// the verdict on each signature, as [`check_signatures`] returns it.
///
/// # Errors
/// Fails if the body is invalid or an atom is missing. Nothing has changed; once the missing atom
/// is available, the same call returns what it would have returned before.
///
/// # Examples
/// A validator makes an empty block, and a verifier checks it completely:
///
/// ```
/// use astreum_core::atom::MemoryStore;
/// use astreum_core::chain::{
///     Address, Builder, Election, Genesis, Miner, SLOT_SECONDS, check_signatures, difficulty,
///     read_transactions, verify_body, verify_header, write_atoms,
/// };
/// use astreum_core::crypto::SigningKey;
/// use astreum_core::integer::Natural;
/// use astreum_core::trie::Scalar;
/// use core::convert::Infallible;
///
/// let key = SigningKey::from_seed(&[1; 32]);
/// let validator = Address::from(key.verifying_key());
/// let mut store = MemoryStore::new();
/// let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// let parent = genesis.build(&mut Scalar, &mut store)?;
/// let Election { seeds, stakes } = Election::read(&store, &parent)?;
///
/// let body = Builder::new(&store, &parent, &stakes).finish(&mut Scalar, Some(validator))?;
/// let time = &parent.timestamp + &SLOT_SECONDS.into();
/// let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
/// let header = body.header(&parent, validator, time.clone(), asked);
/// let mut miner = Miner::new(header, key, &parent.difficulty);
/// let block = miner.try_nonces(1 << 20, &mut Scalar).ok_or("no nonce")?;
///
/// verify_header::<Infallible>(&block, &parent, &seeds, &stakes, &Natural::ZERO, &time)?;
/// let transactions = read_transactions(&store, &block)?;
/// let signed = check_signatures(&transactions);
/// let verified = verify_body(
///     &store, &block, &parent, &stakes, &transactions, &signed, &mut Scalar,
/// )?;
/// assert_eq!(verified.accounts, block.accounts);
/// write_atoms(verified.atoms, &mut store)?;
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub fn verify_body<S: AtomSource>(
    source: S,
    block: &Block,
    parent: &Block,
    stakes: &StakeTable,
    transactions: &[Transaction],
    signed: &[bool],
    hasher: &mut impl BatchHasher,
) -> Result<Body, VerifyError<S::Error>> {
    check_signed(transactions, signed)?;
    reexecute_body(&source, parent, stakes, transactions, hasher)?.check(block, hasher)
}

/// Checks that all signatures are valid, given the verdicts of [`check_signatures`].
///
/// ```
/// use astreum_core::chain::{Address, Invalid, Unsigned, check_signatures, check_signed};
/// use astreum_core::crypto::{Signature, SigningKey};
///
/// let transfer = Unsigned {
///     chain_id: 0_u64.into(),
///     amount: 100_u64.into(),
///     counter: 1_u64.into(),
///     data: b"".as_slice().into(),
///     recipient: Address::new([2; 32]),
/// };
/// let sender = Address::from(SigningKey::from_seed(&[1; 32]).verifying_key());
/// let forged = [transfer.signed(sender, Signature::new([0; 64]))];
/// let error = check_signed(&forged, &check_signatures(&forged));
/// assert!(matches!(error, Err(Invalid::Transaction { index: 0, .. })));
/// ```
///
/// # Errors
/// Returns [`Invalid::Transaction`] for the first invalid one.
pub fn check_signed(transactions: &[Transaction], signed: &[bool]) -> Result<(), Invalid> {
    for (index, transaction) in transactions.iter().enumerate() {
        if signed.get(index) != Some(&true) {
            let error = transaction.verify_signature().err();
            // The verdict stands, even if this call disagrees.
            let error = error.unwrap_or(SignatureError::Mismatch);
            let error = TransactionError::Signature(error);
            return Err(rejected(index, transaction.id(), error));
        }
    }
    Ok(())
}

/// Executes a block's transactions: the second half of [`verify_body`], for a host that verifies
/// their signatures in parallel. If a [signature is invalid](check_signed), that is the verdict on
/// the block, whatever this call returns.
///
/// ```
/// use astreum_core::chain::reexecute_body;
/// # use astreum_core::chain::{Builder, Election, Miner, SLOT_SECONDS, difficulty};
/// # use astreum_core::atom::MemoryStore;
/// # use astreum_core::chain::{Address, Genesis};
/// # use astreum_core::crypto::SigningKey;
/// # use astreum_core::integer::Natural;
/// # use astreum_core::trie::Scalar;
/// # let key = SigningKey::from_seed(&[1; 32]);
/// # let validator = Address::from(key.verifying_key());
/// # let mut store = MemoryStore::new();
/// # let genesis = Genesis::new(validator, Natural::ZERO, 1_700_000_000_u64.into());
/// # let parent = genesis.build(&mut Scalar, &mut store)?;
/// # let Election { seeds, stakes } = Election::read(&store, &parent)?;
/// # let body = Builder::new(&store, &parent, &stakes).finish(&mut Scalar, Some(validator))?;
/// # let time = &parent.timestamp + &SLOT_SECONDS.into();
/// # let asked = difficulty(&parent.timestamp, &time, &parent.difficulty);
/// # let header = body.header(&parent, validator, time.clone(), asked);
/// # let mut miner = Miner::new(header, key, &parent.difficulty);
/// # let block = miner.try_nonces(1 << 20, &mut Scalar).ok_or("no nonce")?;
/// // The signatures of the transactions can be verified on other threads in the meantime.
/// let executed = reexecute_body(&store, &parent, &stakes, &[], &mut Scalar)?;
/// let verified = executed.check(&block, &mut Scalar)?;
/// assert_eq!(verified.accounts, block.accounts);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
///
/// # Errors
/// As [`verify_body`].
pub fn reexecute_body<S: AtomSource>(
    source: S,
    parent: &Block,
    stakes: &StakeTable,
    transactions: &[Transaction],
    hasher: &mut impl BatchHasher,
) -> Result<ExecutedBody<S>, VerifyError<S::Error>> {
    let mut builder = Builder::new(source, parent, stakes);
    for (index, transaction) in transactions.iter().enumerate() {
        if let Err(error) = builder.apply(transaction)? {
            return Err(rejected(index, transaction.id(), error).into());
        }
    }
    let body = builder.finish(hasher, None)?;
    Ok(ExecutedBody { builder, body })
}

fn rejected(index: usize, id: AtomId, error: TransactionError) -> Invalid {
    let error = Box::new(error);
    Invalid::Transaction { index, id, error }
}

/// Result of executing a block's transactions, before the comparison with the block.
pub struct ExecutedBody<S> {
    builder: Builder<S>,
    body: Body,
}

impl<S: AtomSource> ExecutedBody<S> {
    /// Compares the result with the header of `block` and returns it, to be stored.
    ///
    /// # Errors
    /// As [`verify_body`].
    pub fn check(
        self,
        block: &Block,
        hasher: &mut impl BatchHasher,
    ) -> Result<Body, VerifyError<S::Error>> {
        let Self {
            mut builder,
            mut body,
        } = self;
        check_lists(block, &body)?;
        check_totals(block, &body)?;
        if block.accounts == body.accounts {
            return Ok(body);
        }
        let computed = body.accounts;
        builder.claim(hasher, block.validator, &mut body)?;
        if block.accounts == body.accounts {
            return Ok(body);
        }
        let claimed = other_claim(block, &mut builder, hasher)?;
        Err(claimed
            .unwrap_or(Invalid::Accounts {
                stated: block.accounts,
                computed,
            })
            .into())
    }
}

fn check_lists(block: &Block, body: &Body) -> Result<(), Invalid> {
    if block.transactions != body.transactions {
        return Err(Invalid::Transactions {
            stated: block.transactions,
            computed: body.transactions,
        });
    }
    if block.receipts != body.receipts {
        return Err(Invalid::Receipts {
            stated: block.receipts,
            computed: body.receipts,
        });
    }
    Ok(())
}

fn check_totals(block: &Block, body: &Body) -> Result<(), Invalid> {
    for (total, stated, expected) in [
        (Total::Fees, &block.total_fees, &body.total_fees),
        (
            Total::CumulativeFees,
            &block.cumulative_total_fees,
            &body.cumulative_total_fees,
        ),
        (
            Total::CumulativeMint,
            &block.cumulative_mint,
            &body.cumulative_mint,
        ),
        (
            Total::CumulativeStake,
            &block.cumulative_stake,
            &body.cumulative_stake,
        ),
        (
            Total::CumulativeBurn,
            &block.cumulative_burn,
            &body.cumulative_burn,
        ),
    ] {
        check_total(total, stated, expected)?;
    }
    Ok(())
}

/// Returns [`Invalid::Reward`] if the accounts differ only by a wrong reward, as far as the
/// available atoms show it; the block is invalid in any case.
fn other_claim<S: AtomSource>(
    block: &Block,
    builder: &mut Builder<S>,
    hasher: &mut impl BatchHasher,
) -> Result<Option<Invalid>, VerifyError<S::Error>> {
    let validator = &block.validator;
    let Ok(Some(stated)) = Account::find(builder.source(), block.accounts, validator) else {
        return Ok(None);
    };
    // The balance already includes the reward.
    let credited = builder.balance(validator)?;
    let Some(more) = stated.balance.checked_sub(&credited) else {
        return Ok(None);
    };
    let root = builder.credit(hasher, validator, &more)?;
    let claimed = REWARD + more;
    Ok((root == block.accounts).then_some(Invalid::Reward { claimed }))
}
