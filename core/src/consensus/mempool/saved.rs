//! Byte format in which a mempool survives a restart.
//!
//! | bytes | contents |
//! | --- | --- |
//! | 16 | [`MAGIC`], the last byte is the version |
//! | then, for each transaction | |
//! | 4 | length of the payload, little-endian |
//! | 8 | beginning of the payload's BLAKE3 hash |
//! | … | payload: flags (1), time of arrival in Unix milliseconds (8, little-endian), then for each atom its length (4, little-endian) and its stored bytes |
//!
//! Transactions are only appended. Those that were included or refused meanwhile are recognized when
//! they are read again, since each is checked as if it came from a peer; the host rewrites the file
//! when most of it is of no use any more (`Saving`).
//!
//! Invariants:
//! - Whatever the bytes are, reading them gives transactions and never more than [`MAX_BYTES`] of them.
//! - A record that is damaged or cut off ends the reading; what stands before it counts.

use super::admission::{MAX_TRANSACTION_BYTES, Pending};
use crate::atom::{Atom, MemoryStore};
use crate::chain::Transaction;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// First bytes of the format, with its version.
pub const MAGIC: [u8; 16] = *b"astreum mempool\x01";
/// Most bytes that are read: more than a mempool with the default limits takes.
pub const MAX_BYTES: usize = 192 << 20;
/// Bytes in front of a payload.
const PREFIX_BYTES: usize = 12;
/// Bytes in front of the atoms in a payload.
const FIXED_BYTES: usize = 9;
/// Largest payload: a transaction with the lengths of its ten atoms.
const MAX_PAYLOAD_BYTES: usize = FIXED_BYTES + MAX_TRANSACTION_BYTES + 10 * 4;
/// The flag of a transaction that a local user sent.
const OWN: u8 = 1;
/// Time between two appends of transactions that others have as well.
pub const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// The file is rewritten when it is larger than this and more than twice what is in the mempool.
pub const REWRITE_BYTES: usize = 4 << 20;

/// A transaction as it was saved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    /// The transaction.
    pub transaction: Pending,
    /// Whether a local user sent it.
    pub is_own: bool,
    /// When it arrived: time since 1970.
    pub arrived: Duration,
}

/// Damage in a saved mempool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// The first bytes are not those of this format and version.
    Format,
    /// A record is damaged or cut off at this byte. Those before it are intact.
    Record {
        /// Where it starts.
        offset: usize,
    },
    /// There are more than [`MAX_BYTES`].
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

/// Appends a transaction to `out`. Returns how many bytes it took.
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

/// Reads what [`write()`] wrote behind [`MAGIC`].
pub(super) fn read(bytes: &[u8]) -> (Vec<Saved>, Option<Damage>) {
    let mut saved = Vec::new();
    if bytes.len() > MAX_BYTES {
        return (saved, Some(Damage::TooLarge));
    }
    let Some(mut rest) = bytes.strip_prefix(&MAGIC) else {
        // A file that was made and never written to.
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
    // Its head is written last.
    let transaction = Transaction::read(&atoms, last?).ok()?;
    let saved = Saved {
        transaction: Arc::new(transaction),
        is_own: flags & OWN != 0,
        arrived: Duration::from_millis(u64::from_le_bytes(*millis)),
    };
    Some((saved, after))
}

/// What the host has to write to the file of a mempool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Save {
    /// Append these bytes. A file that does not exist starts with [`MAGIC`].
    Append {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether a local user waits for it: force it to the disk.
        is_urgent: bool,
    },
    /// Replace the whole file by these bytes, in one step.
    Replace(Vec<u8>),
}

/// Transactions on their way to the file.
#[derive(Debug, Default)]
pub(super) struct Saving {
    unsaved: Vec<u8>,
    is_urgent: bool,
    next: Duration,
    /// Whether the file ends in something that cannot be read, so that nothing can be appended.
    is_damaged: bool,
    /// Bytes of the file, and of what is in it and in the mempool.
    file_bytes: usize,
    live_bytes: usize,
}

impl Saving {
    /// Starts with a file of this size, whose contents are read again.
    pub(super) const fn set_file(&mut self, bytes: usize, is_damaged: bool) {
        self.file_bytes = bytes;
        self.is_damaged = is_damaged;
    }

    /// Returns whether the file has to be replaced before anything is appended.
    pub(super) const fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Adds a transaction. Returns the bytes that it takes.
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

    /// Counts a transaction that is in the file already. Returns the bytes that it takes.
    pub(super) fn add_saved(&mut self, transaction: &Transaction) -> usize {
        let atoms = transaction.to_atoms();
        let atoms = atoms.iter().map(|(_, atom)| 4 + atom.stored_len());
        let bytes = PREFIX_BYTES + FIXED_BYTES + atoms.sum::<usize>();
        self.live_bytes += bytes;
        bytes
    }

    /// Notes that a transaction of so many bytes has left.
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

    /// Returns the bytes to append, if it is time for that or `is_last`.
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

    /// Notes that the whole file is replaced by these bytes.
    pub(super) fn replace(&mut self, now: Duration, bytes: Vec<u8>) -> Save {
        self.unsaved.clear();
        (self.is_urgent, self.is_damaged) = (false, false);
        self.next = now.saturating_add(SAVE_INTERVAL);
        self.file_bytes = bytes.len();
        Save::Replace(bytes)
    }

    /// Returns when [`Saving::append`] gives something.
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
    fn sizes_of_records_add_up_to_the_file_whoever_counts_them() {
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
    fn a_file_and_a_record_that_are_too_large_are_refused_before_they_are_read() {
        let (saved, damage) = read(&vec![0; MAX_BYTES + 1]);
        assert_eq!((saved.len(), damage), (0, Some(Damage::TooLarge)));
        let (_, damage) = read(&vec![0; MAX_BYTES]);
        assert_eq!(damage, Some(Damage::Format));
        // A record of a length that no transaction has, with the hash of it.
        let payload = vec![0; MAX_PAYLOAD_BYTES + 2];
        let len = u32::try_from(payload.len()).unwrap();
        let hash = *blake3::hash(&payload).as_bytes();
        let record = [&len.to_le_bytes()[..], &hash[..8], &payload].concat();
        assert!(read_one(&record).is_none());
    }

    #[test]
    fn transactions_of_users_are_saved_at_once_and_others_once_a_second() {
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
    fn a_file_is_rewritten_when_less_than_half_of_a_large_one_is_live() {
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
