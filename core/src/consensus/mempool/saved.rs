//! Byte format in which a mempool survives a restart.
//!
//! | bytes | contents |
//! | --- | --- |
//! | 16 | [`MAGIC`], the last byte is the version |
//! | then, for each transaction | |
//! | 4 | length of the payload, little-endian |
//! | 8 | first bytes of the payload's BLAKE3 hash |
//! | … | payload: flags (1), time of arrival in Unix milliseconds (8, little-endian), then for each atom its length (4, little-endian) and its stored bytes |
//!
//! Transactions are only appended. Those that were included or refused meanwhile are detected when
//! they are read again, since each is checked as if it came from a peer. The host rewrites the file
//! when most of it is obsolete (`Saving`).
//!
//! Invariants:
//! - Reading accepts any bytes, and reads at most [`MAX_BYTES`] of them.
//! - A damaged or truncated record ends the reading; the records before it are valid.

use super::admission::{MAX_TRANSACTION_BYTES, Pending};
use crate::arc::Arc;
use crate::atom::{Atom, MemoryStore};
use crate::chain::Transaction;
use alloc::vec::Vec;
use core::time::Duration;

/// Magic bytes of the format, with its version.
pub const MAGIC: [u8; 16] = *b"astreum mempool\x01";
/// Maximum number of bytes that are read: more than a mempool with the default limits takes.
pub const MAX_BYTES: usize = 192 << 20;
/// Length and hash in front of a payload, in bytes.
const PREFIX_BYTES: usize = 12;
/// Flags and time of arrival in front of the atoms of a payload, in bytes.
const FIXED_BYTES: usize = 9;
/// Maximum payload size, in bytes: a transaction with the lengths of its ten atoms.
const MAX_PAYLOAD_BYTES: usize = FIXED_BYTES + MAX_TRANSACTION_BYTES + 10 * 4;
/// Flag of a transaction that a local user sent.
const OWN: u8 = 1;
/// Interval between two appends of transactions that other nodes have as well.
pub const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// Size above which the file is rewritten, if it is also more than twice the size of its live
/// contents.
pub const REWRITE_BYTES: usize = 4 << 20;

/// Saved transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    /// The transaction.
    pub transaction: Pending,
    /// `true` if a local user sent it.
    pub is_own: bool,
    /// Time of arrival, since 1970.
    pub arrived: Duration,
}

/// Damage in a saved mempool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The magic bytes do not match this format and version.
    Format,
    /// A record is damaged or truncated. The records before it are intact.
    Record {
        /// Byte offset of its start.
        offset: usize,
    },
    /// The input is longer than [`MAX_BYTES`].
    TooLarge,
}

impl core::fmt::Display for Damage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Format => f.write_str("unknown format or version"),
            Self::Record { offset } => write!(f, "damaged record at byte {offset}"),
            Self::TooLarge => write!(f, "larger than {MAX_BYTES} bytes"),
        }
    }
}

impl core::error::Error for Damage {}

/// Appends a transaction to `out`. Returns the number of bytes appended.
pub(super) fn write(
    out: &mut Vec<u8>,
    transaction: &Transaction,
    is_own: bool,
    arrived: Duration,
) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    out.push(if is_own { OWN } else { 0 });
    let millis = u64::try_from(arrived.as_millis()).unwrap_or(u64::MAX);
    out.extend_from_slice(&millis.to_le_bytes());
    for (_, atom) in transaction.to_atoms() {
        // An atom of a transaction has at most 60,033 bytes.
        let len = u32::try_from(atom.stored_len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_le_bytes());
        atom.write_to(out);
    }
    let payload = out.get(start + PREFIX_BYTES..).unwrap_or_default();
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let hash = blake3::hash(payload);
    let prefix = len.to_le_bytes().into_iter().chain(*hash.as_bytes());
    for (place, byte) in out.iter_mut().skip(start).zip(prefix.take(PREFIX_BYTES)) {
        *place = byte;
    }
    out.len() - start
}

/// Reads records written by [`write()`] after [`MAGIC`]; on damage, returns those before it as
/// well.
pub(super) fn read(bytes: &[u8]) -> (Vec<Saved>, Option<Damage>) {
    let mut saved = Vec::new();
    if bytes.len() > MAX_BYTES {
        return (saved, Some(Damage::TooLarge));
    }
    let Some(mut rest) = bytes.strip_prefix(&MAGIC) else {
        // An empty file was created and never written to.
        let damage = (!bytes.is_empty()).then_some(Damage::Format);
        return (saved, damage);
    };
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let Some((one, after)) = read_one(rest) else {
            return (saved, Some(Damage::Record { offset }));
        };
        saved.push(one);
        rest = after;
    }
    (saved, None)
}

fn read_one(bytes: &[u8]) -> Option<(Saved, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    let (hash, rest) = rest.split_first_chunk::<8>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    if len > MAX_PAYLOAD_BYTES {
        return None;
    }
    let (payload, after) = rest.split_at_checked(len)?;
    if !blake3::hash(payload).as_bytes().starts_with(hash) {
        return None;
    }
    let (flags, payload) = payload.split_first()?;
    let (millis, mut payload) = payload.split_first_chunk()?;
    let mut atoms = MemoryStore::new();
    let mut last = None;
    while let Some((len, rest)) = payload.split_first_chunk() {
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (atom, rest) = rest.split_at_checked(len)?;
        last = Some(atoms.insert(Atom::from_bytes(atom).ok()?));
        payload = rest;
    }
    // The head of the transaction is written last.
    let transaction = Transaction::read(&atoms, last?).ok()?;
    let saved = Saved {
        transaction: Arc::new(transaction),
        is_own: flags & OWN != 0,
        arrived: Duration::from_millis(u64::from_le_bytes(*millis)),
    };
    Some((saved, after))
}

/// Change to the mempool file that the host has to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Save {
    /// Append these bytes. A file that does not exist starts with [`MAGIC`].
    Append {
        /// The bytes.
        bytes: Vec<u8>,
        /// `true` if a local user waits for it: the host syncs the file to disk.
        is_urgent: bool,
    },
    /// Replace the whole file by these bytes atomically.
    Replace(Vec<u8>),
}

/// Transactions to be written to the file.
#[derive(Debug, Default)]
pub(super) struct Saving {
    unsaved: Vec<u8>,
    is_urgent: bool,
    next: Duration,
    /// `true` if the file ends in unreadable bytes, so that records cannot be appended.
    is_damaged: bool,
    /// Size of the file, and of the part of it that is in the mempool, in bytes.
    file_bytes: usize,
    live_bytes: usize,
}

impl Saving {
    /// Sets the size and condition of the file at the start. Its contents are added again as they
    /// are restored.
    pub(super) const fn set_file(&mut self, bytes: usize, is_damaged: bool) {
        self.file_bytes = bytes;
        self.is_damaged = is_damaged;
    }

    /// Returns whether the file must be replaced before anything is appended.
    pub(super) const fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Adds a transaction. Returns its size in bytes.
    pub(super) fn add(
        &mut self,
        transaction: &Transaction,
        is_own: bool,
        arrived: Duration,
    ) -> usize {
        let bytes = write(&mut self.unsaved, transaction, is_own, arrived);
        self.is_urgent |= is_own;
        self.live_bytes += bytes;
        bytes
    }

    /// Counts a transaction that is already in the file. Returns its size in bytes.
    pub(super) fn add_saved(&mut self, transaction: &Transaction) -> usize {
        let atoms = transaction.to_atoms();
        let atoms = atoms.iter().map(|(_, atom)| 4 + atom.stored_len());
        let bytes = PREFIX_BYTES + FIXED_BYTES + atoms.sum::<usize>();
        self.live_bytes += bytes;
        bytes
    }

    /// Records that a transaction of this size has left the mempool.
    pub(super) const fn remove(&mut self, bytes: usize) {
        self.live_bytes = self.live_bytes.saturating_sub(bytes);
    }

    #[cfg(test)]
    pub(super) const fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Returns whether the file should be rewritten.
    pub(super) const fn is_wasteful(&self) -> bool {
        let total = self.file_bytes + self.unsaved.len();
        total > REWRITE_BYTES && total / 2 > self.live_bytes
    }

    /// Returns the bytes to append, if an append is due or `is_last`.
    pub(super) fn append(&mut self, now: Duration, is_last: bool) -> Option<Save> {
        let is_due = self.is_urgent || self.next <= now || is_last;
        if self.unsaved.is_empty() || !is_due {
            return None;
        }
        self.next = now.saturating_add(SAVE_INTERVAL);
        let is_urgent = core::mem::take(&mut self.is_urgent);
        let bytes = core::mem::take(&mut self.unsaved);
        self.file_bytes += bytes.len();
        Some(Save::Append { bytes, is_urgent })
    }

    /// Records that the whole file is replaced by these bytes.
    pub(super) fn replace(&mut self, now: Duration, bytes: Vec<u8>) -> Save {
        self.unsaved.clear();
        (self.is_urgent, self.is_damaged) = (false, false);
        self.next = now.saturating_add(SAVE_INTERVAL);
        self.file_bytes = bytes.len();
        Save::Replace(bytes)
    }

    /// Returns when [`Saving::append`] is due next.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let is_empty = self.unsaved.is_empty() && !self.is_damaged;
        let next = match self.is_urgent {
            true => Duration::ZERO,
            false => self.next,
        };
        (!is_empty).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Address, Unsigned};
    use crate::crypto::SigningKey;
    use alloc::vec;

    fn transaction(counter: u64) -> Transaction {
        let key = SigningKey::from_seed(&[1; 32]);
        let unsigned = Unsigned {
            chain_id: 0_u64.into(),
            amount: 1_u64.into(),
            counter: counter.into(),
            data: [].as_slice().into(),
            recipient: Address::new([2; 32]),
        };
        unsigned.sign(&key)
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn record_sizes_sum_to_the_file_size() {
        let mut file = MAGIC.to_vec();
        let mut saving = Saving::default();
        let mut sum = MAGIC.len();
        for counter in 0..3 {
            let one = transaction(counter);
            let bytes = write(&mut file, &one, counter == 1, at(counter));
            assert_eq!(bytes, saving.add_saved(&one));
            sum += bytes;
        }
        assert_eq!(file.len(), sum);
        assert_eq!(saving.live_bytes(), sum - MAGIC.len());
        let (saved, damage) = read(&file);
        assert_eq!((saved.len(), damage), (3, None));
        assert!(saved[1].is_own && !saved[0].is_own);
    }

    #[test]
    fn rejects_oversized_files_and_records_before_reading() {
        let (saved, damage) = read(&vec![0; MAX_BYTES + 1]);
        assert_eq!((saved.len(), damage), (0, Some(Damage::TooLarge)));
        let (_, damage) = read(&vec![0; MAX_BYTES]);
        assert_eq!(damage, Some(Damage::Format));
        // A record of a length that a transaction cannot have, with a valid hash.
        let payload = vec![0; MAX_PAYLOAD_BYTES + 2];
        let len = u32::try_from(payload.len()).unwrap();
        let hash = *blake3::hash(&payload).as_bytes();
        let record = [&len.to_le_bytes()[..], &hash[..8], &payload].concat();
        assert!(read_one(&record).is_none());
    }

    #[test]
    fn saves_own_transactions_immediately_and_others_every_second() {
        let mut saving = Saving::default();
        saving.add(&transaction(1), false, at(10));
        assert_eq!(saving.deadline(), Some(at(0)), "the first");
        let first = saving.append(at(10), false).unwrap();
        let Save::Append { bytes, is_urgent } = first else {
            panic!("{first:?}");
        };
        assert!(!is_urgent && !bytes.is_empty());
        saving.add(&transaction(2), false, at(10));
        assert_eq!(saving.append(at(10), false), None, "not yet due");
        assert_eq!(saving.deadline(), Some(at(10) + SAVE_INTERVAL));
        saving.add(&transaction(3), true, at(10));
        assert_eq!(saving.deadline(), Some(at(0)));
        let second = saving.append(at(10), false);
        let urgent = |save: &Save| {
            matches!(
                save,
                Save::Append {
                    is_urgent: true,
                    ..
                }
            )
        };
        assert!(second.is_some_and(|save| urgent(&save)));
        assert_eq!(saving.append(at(99), true), None, "nothing is left");
        saving.add(&transaction(4), false, at(10));
        assert!(saving.append(at(10), true).is_some(), "the last call");
        assert_eq!(saving.deadline(), None);
    }

    #[test]
    fn rewrites_a_large_file_when_less_than_half_is_live() {
        let mut saving = Saving::default();
        saving.set_file(REWRITE_BYTES, false);
        assert!(!saving.is_wasteful(), "small");
        saving.set_file(REWRITE_BYTES + 2, false);
        assert!(saving.is_wasteful());
        saving.live_bytes = REWRITE_BYTES / 2 + 1;
        assert!(!saving.is_wasteful(), "half of it");
        saving.remove(1);
        assert!(saving.is_wasteful());
        let Save::Replace(bytes) = saving.replace(at(1), vec![1, 2]) else {
            panic!("a file is replaced as a whole");
        };
        assert_eq!((bytes.len(), saving.is_wasteful()), (2, false));
    }
}
