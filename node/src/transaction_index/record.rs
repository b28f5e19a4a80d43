//! Records of the index: a transaction, and a block with its transactions.

use crate::query::{self, QueryError};
use astreum_core::atom::{AtomId, AtomSource};
use astreum_core::chain::{Address, Block, RecordError, Status, Transaction};
use core::cmp::Ordering;
use core::convert::Infallible;

/// Maximum number of bytes of a transaction's data that are indexed.
pub const MAX_PREFIX_BYTES: usize = 32;
/// Size in bytes of a transaction's record in a file.
pub(super) const ROW_BYTES: usize = 144;
/// Bytes of a record that are reserved, and zero.
const RESERVED: [u8; 2] = [0; 2];

/// First bytes of a transaction's data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DataPrefix {
    len: u8,
    bytes: [u8; MAX_PREFIX_BYTES],
}

impl DataPrefix {
    /// Returns the prefix of some data.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        let mut prefix = Self::default();
        for (to, from) in prefix.bytes.iter_mut().zip(data) {
            *to = *from;
            prefix.len += 1;
        }
        prefix
    }

    /// Returns its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl Ord for DataPrefix {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for DataPrefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Transaction of a block, as the index has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexedTransaction {
    /// Height of its block.
    pub height: u64,
    /// Index in the block, from 0.
    pub index: u32,
    /// Id of the transaction.
    pub id: AtomId,
    /// Sender.
    pub sender: Address,
    /// Recipient.
    pub recipient: Address,
    /// Result.
    pub status: Status,
    /// First bytes of its data.
    pub data: DataPrefix,
}

impl IndexedTransaction {
    pub(super) fn to_bytes(&self) -> [u8; ROW_BYTES] {
        let mut bytes = [0; ROW_BYTES];
        let fields: [&[u8]; 9] = [
            &self.height.to_be_bytes(),
            &self.index.to_be_bytes(),
            self.id.as_bytes(),
            self.sender.as_bytes(),
            self.recipient.as_bytes(),
            &[self.status.code()],
            &[self.data.len],
            &RESERVED,
            &self.data.bytes,
        ];
        let from = fields.into_iter().flatten();
        for (to, from) in bytes.iter_mut().zip(from) {
            *to = *from;
        }
        bytes
    }

    /// Reads a record; `None` if it is malformed.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (height, rest) = bytes.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (sender, rest) = rest.split_first_chunk()?;
        let (recipient, rest) = rest.split_first_chunk()?;
        let ([status, len], rest) = rest.split_first_chunk()?;
        let data = rest.strip_prefix(&RESERVED)?;
        let prefix = data.get(..usize::from(*len))?;
        Some(Self {
            height: u64::from_be_bytes(*height),
            index: u32::from_be_bytes(*index),
            id: AtomId::new(*id),
            sender: Address::new(*sender),
            recipient: Address::new(*recipient),
            status: Status::from_code(*status)?,
            data: DataPrefix::of(prefix),
        })
    }
}

/// Block with its transactions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct IndexedBlock {
    pub(super) id: AtomId,
    pub(super) height: u64,
    /// Id of the block before it; zero for a genesis.
    pub(super) previous: AtomId,
    /// Time in seconds since 1970.
    pub(super) timestamp: u64,
    pub(super) transactions: Vec<IndexedTransaction>,
}

impl IndexedBlock {
    /// Reads the block with this id, which has to have this height.
    pub(super) fn read<S>(source: &S, id: AtomId, height: u64) -> Result<Self, QueryError>
    where
        S: AtomSource<Error = Infallible> + ?Sized,
    {
        let malformed = |what: &str| QueryError::Malformed(format!("block {id}: {what}"));
        let block = Block::read(source, id)?;
        if block.height != height {
            let what = format!("its height is {}, expected {height}", block.height);
            return Err(malformed(&what));
        }
        let timestamp = block.timestamp.to_u64();
        let (_, included) = query::included(source, &block, 0, usize::MAX)?;
        let transactions = included.into_iter().map(|included| {
            let read = Transaction::read(source, included.transaction);
            let transaction = read.map_err(|error: RecordError<Infallible>| error.into());
            let transaction = transaction.map_err(|error: QueryError| error)?;
            let index = u32::try_from(included.index);
            Ok(IndexedTransaction {
                height,
                index: index.map_err(|_| malformed("too many transactions"))?,
                id: included.transaction,
                sender: *transaction.sender(),
                recipient: transaction.recipient,
                status: included.receipt.status,
                data: DataPrefix::of(&transaction.data),
            })
        });
        Ok(Self {
            id,
            height,
            previous: block.previous,
            timestamp: timestamp.ok_or_else(|| malformed("its timestamp exceeds 64 bits"))?,
            transactions: transactions.collect::<Result<_, QueryError>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_round_trip(
            height: u64,
            index: u32,
            ids: [[u8; 32]; 3],
            failed: bool,
            data in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let row = IndexedTransaction {
                height,
                index,
                id: AtomId::new(ids[0]),
                sender: Address::new(ids[1]),
                recipient: Address::new(ids[2]),
                status: if failed { Status::Failed } else { Status::Success },
                data: DataPrefix::of(&data),
            };
            prop_assert_eq!(row.data.as_bytes(), &data[..data.len().min(MAX_PREFIX_BYTES)]);
            prop_assert_eq!(IndexedTransaction::from_bytes(&row.to_bytes()), Some(row));
        }
    }
}
