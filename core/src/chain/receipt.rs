//! Transaction receipts.

use super::record::{Reader, RecordAtoms, RecordError, VERSION, link, write_atoms};
use crate::atom::{Atom, AtomId, AtomKind, AtomSink, AtomSource, atom_id, id_from_parts};
use crate::integer::Natural;
use alloc::vec;

/// Type name of the record, as atom data.
const NAME: &[u8] = b"receipt";

/// Result of a transaction that is part of a block. A rejected transaction has no receipt.
///
/// ```
/// use astreum_core::chain::Status;
/// assert_eq!(Status::from_code(1), Some(Status::Failed));
/// assert_eq!((Status::Success.code(), Status::from_code(2)), (0, None));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Status {
    /// The transaction took effect.
    Success = 0,
    /// The transaction paid for its place in the block but did not take effect.
    Failed = 1,
}

impl Status {
    /// Returns the status with this code; `None` if the code is unknown.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::Failed),
            _ => None,
        }
    }

    /// Returns the code that a receipt contains.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
        }
    }

    /// Returns the code as it is stored.
    pub(super) const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Success => &[0],
            Self::Failed => &[1],
        }
    }
}

/// Receipt of a transaction.
///
/// ```
/// use astreum_core::atom::{AtomId, MemoryStore};
/// use astreum_core::chain::{Receipt, Status, cost::FEE};
///
/// let receipt = Receipt {
///     transaction: AtomId::new([7; 32]),
///     status: Status::Success,
///     cost: FEE,
///     logs: AtomId::ZERO,
/// };
/// let mut store = MemoryStore::new();
/// let id = receipt.write(&mut store).unwrap();
/// assert_eq!(Receipt::read(&store, id).unwrap(), receipt);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Id of the transaction.
    pub transaction: AtomId,
    /// Result of the transaction.
    pub status: Status,
    /// Fee that the sender paid; amount and storage are not included.
    pub cost: Natural,
    /// Id of a list of logs; [`AtomId::ZERO`] if there is none.
    pub logs: AtomId,
}

impl Receipt {
    /// Returns the receipt's id and its atoms.
    #[must_use]
    pub fn to_atoms(&self) -> (AtomId, RecordAtoms) {
        let list = |id: &AtomId| (AtomKind::List, (*id.as_bytes()).into());
        let (id, mut atoms) = link(vec![
            (AtomKind::Symbol, (*b"receipt").into()),
            (AtomKind::Bytes, VERSION.into()),
            list(&self.transaction),
            (AtomKind::Bytes, [self.status.code()].into()),
            (AtomKind::Bytes, self.cost.to_bytes_be().into()),
            list(&self.logs),
        ]);
        // The reference lists the head last.
        atoms.rotate_left(2);
        let end = atoms.len();
        atoms.swap(end - 2, end - 1);
        (id, atoms)
    }

    /// Writes the atoms to `sink` and returns the receipt's id.
    ///
    /// # Errors
    /// Fails if the sink fails.
    pub fn write<K: AtomSink + ?Sized>(&self, sink: &mut K) -> Result<AtomId, K::Error> {
        let (id, atoms) = self.to_atoms();
        write_atoms(atoms, sink)?;
        Ok(id)
    }

    /// Reads the receipt with this id.
    ///
    /// # Errors
    /// Fails if an atom is missing or the record is malformed.
    pub fn read<S: AtomSource + ?Sized>(
        source: &S,
        id: AtomId,
    ) -> Result<Self, RecordError<S::Error>> {
        let reader = Reader { source, record: id };
        let [head, version, transaction, status, cost, logs] = reader.exactly(id)?;
        reader.name(&head, "receipt")?;
        reader.version(&version)?;
        let code = match status.data() {
            [code] if status.kind() == AtomKind::Bytes => Status::from_code(*code),
            _ => None,
        };
        Ok(Self {
            transaction: reader.link(&transaction, "transaction is not a list id")?,
            status: code.ok_or_else(|| reader.malformed("status is neither 0 nor 1"))?,
            cost: reader.integer_be(&cost, "cost is not a canonical integer")?,
            logs: reader.link(&logs, "logs are not a list id")?,
        })
    }
}

/// Computation of the ids of receipts with the same cost and logs, as all receipts of a block have.
///
/// Shared parts are hashed once, so an id takes four hashes instead of twelve.
pub(super) struct ReceiptIds {
    /// Head of the rest of the list from the status on, for each status.
    tails: [AtomId; 2],
    version_hash: [u8; 32],
    name_hash: [u8; 32],
}

impl ReceiptIds {
    pub(super) fn new(cost: &Natural, logs: AtomId) -> Self {
        let logs = Atom::list(logs, AtomId::ZERO).id();
        let cost = atom_id(AtomKind::Bytes, &cost.to_bytes_be(), logs);
        let tail = |status: Status| atom_id(AtomKind::Bytes, status.bytes(), cost);
        Self {
            tails: [Status::Success, Status::Failed].map(tail),
            version_hash: *blake3::hash(&VERSION).as_bytes(),
            name_hash: *blake3::hash(NAME).as_bytes(),
        }
    }

    /// Returns the id of the receipt of this transaction.
    pub(super) fn id(&self, transaction: AtomId, status: Status) -> AtomId {
        let [success, failed] = self.tails;
        let tail = match status {
            Status::Success => success,
            Status::Failed => failed,
        };
        let transaction = atom_id(AtomKind::List, transaction.as_ref(), tail);
        let version = id_from_parts(AtomKind::Bytes, &self.version_hash, transaction, 1);
        id_from_parts(
            AtomKind::Symbol,
            &self.name_hash,
            version,
            NAME.len() as u64,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipt_id_shortcut_matches_the_encoding() {
        for (cost, logs) in [(1_u64, AtomId::ZERO), (70_000, AtomId::new([3; 32]))] {
            let ids = ReceiptIds::new(&cost.into(), logs);
            for status in [Status::Success, Status::Failed] {
                let transaction = AtomId::new([9; 32]);
                let cost = cost.into();
                let receipt = Receipt {
                    transaction,
                    status,
                    cost,
                    logs,
                };
                assert_eq!(ids.id(transaction, status), receipt.to_atoms().0);
            }
        }
    }
}
