//! Storage contracts: payments to accounts that store a list.
//!
//! A contract is a record in the burn account's data trie under the id of the stored list. Its
//! fields are: owner, the block before the one that opened it, the block before the last payment,
//! the recipient of that payment, bytes, atoms. Every transaction and every receipt gets a
//! contract. Others are opened and paid by transactions to the burn account, whose data starts with
//! [`OPEN`] or [`PAY`] (source: the reference's `consensus/transaction/storage_*.py`).

use super::fields::Fields;
use super::journal::{Journal, Key, Map, StateError};
use super::{Address, BURN, Block, MAX_LIST_ATOMS, MAX_WALK_BYTES, RecordError, Transaction};
use crate::atom::{Atom, AtomId, AtomSource, ListStretch};
use crate::crypto::leading_zero_bits;
use crate::integer::Natural;

/// First byte of the data that opens a contract on the list whose id follows.
pub const OPEN: u8 = 0;
/// First byte of the data that claims a payment with a proof that the list is stored.
pub const PAY: u8 = 1;

/// Returns the list that a transaction opens a storage contract on, if it does: verification of its
/// block reads all of the list.
///
/// ```
/// use astreum_core::chain::{BURN, Unsigned, opened_list};
/// use astreum_core::atom::AtomId;
/// # use astreum_core::crypto::SigningKey;
///
/// let list = AtomId::new([7; 32]);
/// let data = [&[0], list.as_bytes().as_slice()].concat();
/// let open = Unsigned {
///     chain_id: 0_u64.into(),
///     amount: 0_u64.into(),
///     counter: 1_u64.into(),
///     data: data.as_slice().into(),
///     recipient: BURN,
/// };
/// assert_eq!(opened_list(&open.sign(&SigningKey::from_seed(&[1; 32]))), Some(list));
/// ```
#[must_use]
pub fn opened_list(transaction: &Transaction) -> Option<AtomId> {
    let (operation, list) = transaction.data.split_first()?;
    let opens = transaction.recipient == BURN && *operation == OPEN;
    AtomId::from_slice(list).filter(|_| opens)
}

/// Number of fields of a contract record.
const FIELDS: usize = 6;
const LAST_PAYMENT: usize = 2;
const BYTES: usize = 4;
const ATOMS: usize = 5;

const ID_BYTES: usize = 32;
const NONCE_BYTES: usize = 64;
const PAYMENT_BYTES: usize = ID_BYTES + NONCE_BYTES + ID_BYTES;

/// Terms of a new contract.
pub(super) struct Terms<'a> {
    pub(super) owner: &'a Address,
    /// Block before the one that opens the contract.
    pub(super) previous: &'a AtomId,
    pub(super) bytes: u64,
    pub(super) atoms: u64,
}

/// Records a contract under `key`, replacing an existing one.
pub(super) fn record<S: AtomSource>(
    journal: &mut Journal<S>,
    key: &Key,
    terms: &Terms<'_>,
) -> Result<(), StateError<S::Error>> {
    let record = Fields::new([
        terms.owner.as_ref(),
        terms.previous.as_ref(),
        terms.previous.as_ref(),
        AtomId::ZERO.as_ref(),
        &Natural::from(terms.bytes).to_bytes_le(),
        &Natural::from(terms.atoms).to_bytes_le(),
    ]);
    journal.put_record(&BURN, Map::Data, key, record)
}

/// Returns whether there is a contract under `key`.
pub(super) fn exists<S: AtomSource>(
    journal: &mut Journal<S>,
    key: &Key,
) -> Result<bool, StateError<S::Error>> {
    Ok(journal.entry(&BURN, Map::Data, key)?.is_some())
}

/// Returns the number of atoms in the contract under `key`; `None` if there is no contract.
pub(super) fn atom_count<S: AtomSource>(
    journal: &mut Journal<S>,
    key: &Key,
) -> Result<Option<Natural>, StateError<S::Error>> {
    Ok(read(journal, key)?.map(|fields| fields.number(ATOMS)))
}

fn read<S: AtomSource>(
    journal: &mut Journal<S>,
    key: &Key,
) -> Result<Option<Fields>, StateError<S::Error>> {
    let Some(value) = journal.entry(&BURN, Map::Data, key)? else {
        return Ok(None);
    };
    let record = journal.record(&value)?;
    Ok(record.and_then(|(fields, count)| (count >= FIELDS).then_some(fields)))
}

/// Limit that stopped the measurement of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Excess {
    /// The list exceeds the limit for all lists of a block together.
    List,
    /// The list exceeds the rest of the block's budget.
    Block,
}

/// Length of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Measured {
    /// Stored bytes of the atoms.
    pub(super) bytes: u64,
    /// Number of atoms.
    pub(super) atoms: u64,
}

/// Measures the list at `head` and takes its length from `left`. Stretches that the source has
/// measured are not walked.
pub(super) fn measure<S: AtomSource>(
    journal: &mut Journal<S>,
    head: AtomId,
    left: &mut WalkBudget,
) -> Result<Result<Measured, Excess>, StateError<S::Error>> {
    let mut list = WalkBudget::FULL;
    let (mut bytes, mut atoms) = (0_u64, 0_u64);
    let mut next = head;
    while !next.is_zero() {
        let known = journal.source().list_stretch(&next);
        let run = match known.filter(|known| known.atoms > 0) {
            Some(known) => known,
            None => match journal.atom(&next) {
                Ok(atom) => ListStretch {
                    atoms: 1,
                    bytes: stored_len(&atom),
                    next: atom.next(),
                },
                Err(error) => {
                    return Err(match error.missing() {
                        Some(at) => StateError::Unmeasured { list: head, at },
                        None => error,
                    });
                }
            },
        };
        if !list.take(run.atoms, run.bytes) {
            return Ok(Err(Excess::List));
        }
        if !left.take(run.atoms, run.bytes) {
            return Ok(Err(Excess::Block));
        }
        bytes += run.bytes;
        atoms += run.atoms;
        next = run.next;
    }
    Ok(Ok(Measured { bytes, atoms }))
}

fn stored_len(atom: &Atom) -> u64 {
    // A usize has at most 64 bits on every target of Rust.
    atom.stored_len() as u64
}

/// Remaining number of atoms and stored bytes of lists that the transactions of one block may look
/// at.
///
/// The reference has no such limit: there, one transaction can make every node walk a list of any
/// length for the price of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WalkBudget {
    atoms: u64,
    bytes: u64,
}

impl WalkBudget {
    pub(super) const FULL: Self = Self {
        atoms: MAX_LIST_ATOMS as u64,
        bytes: MAX_WALK_BYTES,
    };

    /// Takes `atoms` and `bytes`. If less is left, takes all of it and returns `false`.
    fn take(&mut self, atoms: u64, bytes: u64) -> bool {
        let left = self
            .atoms
            .checked_sub(atoms)
            .zip(self.bytes.checked_sub(bytes));
        let (atoms, bytes) = left.unwrap_or_default();
        *self = Self { atoms, bytes };
        left.is_some()
    }
}

/// Result of a payment claim.
pub(super) enum Payment {
    /// The sender is owed this newly minted amount.
    Due(Natural),
    /// The claim is invalid; nothing has changed.
    Refused,
    /// The walk to the challenged atom exceeds a limit.
    TooLong {
        /// Head of the list.
        list: AtomId,
        excess: Excess,
    },
}

/// Pays the sender for storing a list since the last payment, if `payload` proves that it does.
pub(super) fn pay<S: AtomSource>(
    journal: &mut Journal<S>,
    sender: &Address,
    height: &Natural,
    previous: &AtomId,
    payload: &[u8],
    left: &mut WalkBudget,
) -> Result<Payment, StateError<S::Error>> {
    let Some(claim) = Claim::parse(payload) else {
        return Ok(Payment::Refused);
    };
    let Some(contract) = read(journal, claim.list)? else {
        return Ok(Payment::Refused);
    };
    let atoms = contract.number(ATOMS);
    let Some(last_payment) = AtomId::from_slice(contract.get(LAST_PAYMENT)) else {
        return Ok(Payment::Refused);
    };
    let Some(index) = claim.challenged_index(&last_payment, &atoms) else {
        return Ok(Payment::Refused);
    };
    if !claim.has_work(&last_payment, sender) {
        return Ok(Payment::Refused);
    }
    let list = AtomId::new(*claim.list);
    let mut atom = journal.atom(&list)?;
    let mut way = WalkBudget::FULL;
    let mut hops = Natural::ZERO;
    // Atoms before the challenged one count, and its bytes count as well.
    loop {
        let is_there = hops >= index;
        let (atoms, bytes) = (u64::from(!is_there), stored_len(&atom));
        if !way.take(atoms, bytes) {
            let excess = Excess::List;
            return Ok(Payment::TooLong { list, excess });
        }
        if !left.take(atoms, bytes) {
            let excess = Excess::Block;
            return Ok(Payment::TooLong { list, excess });
        }
        if is_there {
            break;
        }
        if atom.next().is_zero() {
            return Ok(Payment::Refused);
        }
        atom = journal.atom(&atom.next())?;
        hops += Natural::ONE;
    }
    if blake3::hash(atom.data()).as_bytes() != claim.data_hash {
        return Ok(Payment::Refused);
    }
    let Some(last_height) = height_of(journal, last_payment)? else {
        return Ok(Payment::Refused);
    };
    let bytes = contract.number(BYTES);
    let due = match height.checked_sub(&last_height) {
        Some(blocks) => &bytes * &blocks,
        None => Natural::ZERO,
    };
    if due.is_zero() {
        return Ok(Payment::Refused);
    }
    let field = |index| contract.get(index);
    let record = Fields::new([
        field(0),
        field(1),
        previous.as_ref(),
        sender.as_ref(),
        field(BYTES),
        field(ATOMS),
    ]);
    journal.put_record(&BURN, Map::Data, claim.list, record)?;
    Ok(Payment::Due(due))
}

/// Returns the height of the block with this id; `None` if it is not a block.
fn height_of<S: AtomSource>(
    journal: &Journal<S>,
    id: AtomId,
) -> Result<Option<Natural>, StateError<S::Error>> {
    match Block::read(journal.source(), id) {
        Ok(block) => Ok(Some(block.height.clone())),
        Err(RecordError::Malformed { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Data of a payment claim.
struct Claim<'d> {
    list: &'d Key,
    nonce: &'d [u8; NONCE_BYTES],
    data_hash: &'d [u8; ID_BYTES],
}

impl<'d> Claim<'d> {
    /// Parses the data after [`PAY`]; the payload may start with a second [`PAY`] byte.
    fn parse(payload: &'d [u8]) -> Option<Self> {
        let payload = match payload.len() {
            len if len == PAYMENT_BYTES + 1 => payload.strip_prefix(&[PAY])?,
            _ => payload,
        };
        let (list, rest) = payload.split_first_chunk()?;
        let (nonce, data_hash) = rest.split_first_chunk()?;
        let data_hash = data_hash.try_into().ok()?;
        Some(Self {
            list,
            nonce,
            data_hash,
        })
    }

    /// Returns the index of the challenged atom in the list; `None` for a list without atoms.
    fn challenged_index(&self, last_payment: &AtomId, atoms: &Natural) -> Option<Natural> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(last_payment.as_ref());
        hasher.update(self.list);
        let seed = hasher.finalize();
        let low = seed
            .as_bytes()
            .first_chunk()
            .copied()
            .map(u64::from_le_bytes)?;
        Natural::from(low).checked_rem(atoms)
    }

    /// Returns whether the nonce has the proof of work that the sender's distance from the list
    /// requires.
    fn has_work(&self, last_payment: &AtomId, sender: &Address) -> bool {
        let mut hasher = blake3::Hasher::new();
        for part in [
            last_payment.as_ref(),
            sender.as_ref(),
            self.list,
            self.data_hash,
            self.nonce,
        ] {
            hasher.update(part);
        }
        leading_zero_bits(hasher.finalize().as_bytes()) >= self.required_bits(sender)
    }

    /// Returns the required leading zero bits: the bit length of the distance (XOR) between sender
    /// and list minus 1, at least 0.
    fn required_bits(&self, sender: &Address) -> u32 {
        let mut distance = [0; ID_BYTES];
        for ((distance, key), list) in distance.iter_mut().zip(sender.as_bytes()).zip(self.list) {
            *distance = key ^ list;
        }
        (256 - leading_zero_bits(&distance)).saturating_sub(1)
    }
}
