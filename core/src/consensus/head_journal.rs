//! Encoding and recovery of the head journal: the past heads of a node, newest last.
//!
//! ```text
//! journal  = magic header record*
//! header   = frame(chain_id:8 rules_version:4 genesis:optional_id checkpoint:optional_id)
//! record   = frame(id:32 height:8 timestamp:8 state:1 root:optional_id anchor:optional_anchor
//!                  checkpoint:optional_id seeds_length:2 seeds)
//! frame(p) = length(p):2 p checksum:8
//! ```
//!
//! Numbers are big-endian; an optional value is one byte 0, or one byte 1 and the value. The
//! checksum is the first 8 bytes of the BLAKE3 hash of length and payload. The host writes magic
//! and header as part of a new file that replaces the old one atomically, and appends one record at
//! a time, each synced before the next.
//!
//! Invariants:
//! - Encodings are canonical: [`read`] accepts one encoding of each value.
//! - A crash can leave at most one incomplete record, at the end. [`read`] tolerates exactly that:
//!   a tail no longer than one record that contains no valid record. Everything else that is not a
//!   valid record is damage, which is an error and never read as an empty journal.
//! - Reading allocates in proportion to the input, and keeps [`MAX_JOURNAL_HEADS`] heads.

use super::{Anchor, HeadState, MAX_ELECTION_SEEDS_BYTES, ResumeData, SavedHead};
use crate::atom::{AtomId, ID_BYTES};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

/// Number of heads that a journal keeps; older ones are dropped when it is rewritten.
pub const MAX_JOURNAL_HEADS: usize = 1_024;
/// Number of records after which a journal is rewritten with the last [`MAX_JOURNAL_HEADS`].
pub const MAX_JOURNAL_RECORDS: usize = 4 * MAX_JOURNAL_HEADS;
/// Maximum length of a record with its frame, in bytes.
pub const MAX_RECORD_BYTES: usize = FRAME_BYTES + MAX_HEAD_BYTES + MAX_ELECTION_SEEDS_BYTES;
/// Maximum length of a journal, in bytes.
pub const MAX_JOURNAL_BYTES: usize =
    MAGIC.len() + MAX_HEADER_BYTES + (MAX_JOURNAL_RECORDS + 1) * MAX_RECORD_BYTES;

const MAGIC: &[u8; 16] = b"astreum-heads\n\0\x01";
const LENGTH_BYTES: usize = 2;
const CHECKSUM_BYTES: usize = 8;
const FRAME_BYTES: usize = LENGTH_BYTES + CHECKSUM_BYTES;
const OPTIONAL_ID_BYTES: usize = 1 + ID_BYTES;
/// Maximum length of a head without its election seeds, in bytes.
const MAX_HEAD_BYTES: usize = ID_BYTES + 8 + 8 + 1 + 3 * OPTIONAL_ID_BYTES + 8 + 2;
const MAX_HEADER_BYTES: usize = FRAME_BYTES + 8 + 4 + 2 * OPTIONAL_ID_BYTES;

/// Identity of the chain that a journal belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalHeader {
    /// Chain id.
    pub chain_id: u64,
    /// Version of the consensus rules that its blocks were verified with.
    pub rules_version: u32,
    /// Genesis block of the chain, if known.
    pub genesis: Option<AtomId>,
    /// Configured checkpoint that the chain contains.
    pub checkpoint: Option<AtomId>,
}

/// Decoded journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeadJournal {
    /// Identity of the chain.
    pub header: JournalHeader,
    /// The last [`MAX_JOURNAL_HEADS`] heads, newest last.
    pub heads: VecDeque<SavedHead>,
    /// Number of records in the file.
    pub records: usize,
    /// Number of bytes up to the end of the last valid record.
    pub valid_bytes: usize,
    /// Number of bytes of an incomplete record after that.
    pub torn_bytes: usize,
}

/// Damage of a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum JournalDamage {
    /// The file does not start with the magic bytes of a journal.
    NotAJournal,
    /// The file was written by a newer version of the program.
    NewerVersion(u8),
    /// The header is invalid.
    Header,
    /// A record that is not the last one is invalid.
    Record {
        /// Offset of its first byte.
        offset: usize,
    },
}

impl fmt::Display for JournalDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAJournal => f.write_str("not a head journal"),
            Self::NewerVersion(version) => {
                let ours = MAGIC.last().copied().unwrap_or_default();
                write!(f, "format version {version}, newer than {ours}")
            }
            Self::Header => f.write_str("invalid header"),
            Self::Record { offset } => write!(f, "invalid record at byte {offset}"),
        }
    }
}

impl core::error::Error for JournalDamage {}

/// Returns the start of a journal of this chain, to which records are appended.
#[must_use]
pub fn encode_start(header: &JournalHeader) -> Vec<u8> {
    let mut payload = Vec::with_capacity(MAX_HEADER_BYTES);
    payload.extend(header.chain_id.to_be_bytes());
    payload.extend(header.rules_version.to_be_bytes());
    put_optional_id(&mut payload, header.genesis);
    put_optional_id(&mut payload, header.checkpoint);
    let mut bytes = MAGIC.to_vec();
    put_frame(&mut bytes, &payload);
    bytes
}

/// Returns the encoded record of a head. Election seeds longer than [`MAX_ELECTION_SEEDS_BYTES`]
/// are left out.
#[must_use]
pub fn encode_head(head: &SavedHead) -> Vec<u8> {
    let mut payload = Vec::with_capacity(MAX_HEAD_BYTES);
    payload.extend(head.id.as_bytes());
    payload.extend(head.height.to_be_bytes());
    payload.extend(head.timestamp.to_be_bytes());
    payload.push(state_byte(head.state));
    put_optional_id(&mut payload, head.root);
    put_optional_id(&mut payload, head.resume.anchor.map(|anchor| anchor.id));
    if let Some(anchor) = head.resume.anchor {
        payload.extend(anchor.height.to_be_bytes());
    }
    put_optional_id(&mut payload, head.resume.checkpoint);
    let seeds = &head.resume.election_seeds;
    let seeds = if seeds.len() > MAX_ELECTION_SEEDS_BYTES {
        &[]
    } else {
        seeds.as_slice()
    };
    put_length(&mut payload, seeds.len());
    payload.extend(seeds);
    let mut bytes = Vec::with_capacity(FRAME_BYTES + payload.len());
    put_frame(&mut bytes, &payload);
    bytes
}

/// Reads a journal.
///
/// # Errors
/// Returns [`JournalDamage`] if the bytes are not a journal, or a journal that is damaged before
/// its last record.
pub fn read(bytes: &[u8]) -> Result<HeadJournal, JournalDamage> {
    let (magic, version) = MAGIC.split_at(MAGIC.len() - 1);
    let rest = bytes
        .strip_prefix(magic)
        .ok_or(JournalDamage::NotAJournal)?;
    let (&found, rest) = rest.split_first().ok_or(JournalDamage::NotAJournal)?;
    if version != [found] {
        return Err(JournalDamage::NewerVersion(found));
    }
    let (header, rest) = take_frame(rest, read_header).ok_or(JournalDamage::Header)?;
    let mut journal = HeadJournal {
        header,
        heads: VecDeque::new(),
        records: 0,
        valid_bytes: bytes.len() - rest.len(),
        torn_bytes: 0,
    };
    let mut rest = rest;
    while let Some((head, after)) = take_frame(rest, read_head) {
        if journal.heads.len() >= MAX_JOURNAL_HEADS {
            journal.heads.pop_front();
        }
        journal.heads.push_back(head);
        journal.records += 1;
        rest = after;
    }
    journal.valid_bytes = bytes.len() - rest.len();
    journal.torn_bytes = rest.len();
    if !is_torn_record(rest) {
        let offset = journal.valid_bytes;
        return Err(JournalDamage::Record { offset });
    }
    Ok(journal)
}

/// Returns whether an interrupted append can have left these bytes: they are no longer than one
/// record, and no valid record begins anywhere in them.
fn is_torn_record(rest: &[u8]) -> bool {
    let is_short = rest.len() <= MAX_RECORD_BYTES;
    let mut starts = 0..rest.len();
    is_short
        && !starts.any(|at| {
            let tail = rest.get(at..).unwrap_or_default();
            take_frame(tail, read_head).is_some()
        })
}

const fn state_byte(state: HeadState) -> u8 {
    match state {
        HeadState::Trusted => 0,
        HeadState::Verified => 1,
        HeadState::Own => 2,
    }
}

fn put_optional_id(bytes: &mut Vec<u8>, id: Option<AtomId>) {
    bytes.push(u8::from(id.is_some()));
    if let Some(id) = id {
        bytes.extend(id.as_bytes());
    }
}

/// Appends a length, which is far below 65,536 for every caller.
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
}

fn put_frame(bytes: &mut Vec<u8>, payload: &[u8]) {
    let start = bytes.len();
    put_length(bytes, payload.len());
    bytes.extend(payload);
    let framed = bytes.get(start..).unwrap_or_default();
    let checksum = checksum(framed);
    bytes.extend(checksum);
}

fn checksum(framed: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = *blake3::hash(framed).as_bytes();
    hash.first_chunk().copied().unwrap_or_default()
}

/// Reads a frame at the start of `bytes`, whose whole payload `read` must consume, and returns the
/// value and the bytes after the frame.
fn take_frame<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Option<(T, &[u8])> {
    let length = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
    let (framed, rest) = bytes.split_at_checked(LENGTH_BYTES + length)?;
    let (stated, rest) = rest.split_at_checked(CHECKSUM_BYTES)?;
    if stated != checksum(framed) {
        return None;
    }
    let mut fields = Fields(framed.get(LENGTH_BYTES..)?);
    let value = read(&mut fields)?;
    fields.0.is_empty().then_some((value, rest))
}

fn read_header(fields: &mut Fields<'_>) -> Option<JournalHeader> {
    Some(JournalHeader {
        chain_id: fields.u64()?,
        rules_version: u32::from_be_bytes(fields.take()?),
        genesis: fields.optional_id()?,
        checkpoint: fields.optional_id()?,
    })
}

fn read_head(fields: &mut Fields<'_>) -> Option<SavedHead> {
    let (id, height, timestamp) = (AtomId::new(fields.take()?), fields.u64()?, fields.u64()?);
    let [state] = fields.take()?;
    let mut states = HeadState::ALL.into_iter();
    let state = states.find(|known| state_byte(*known) == state)?;
    let root = fields.optional_id()?;
    let anchor = match fields.optional_id()? {
        Some(id) => Some(Anchor {
            id,
            height: fields.u64()?,
        }),
        None => None,
    };
    let checkpoint = fields.optional_id()?;
    let length = usize::from(u16::from_be_bytes(fields.take()?));
    let (seeds, rest) = fields.0.split_at_checked(length)?;
    fields.0 = rest;
    (length <= MAX_ELECTION_SEEDS_BYTES).then(|| SavedHead {
        id,
        height,
        timestamp,
        state,
        root,
        resume: ResumeData {
            election_seeds: seeds.to_vec(),
            anchor,
            checkpoint,
        },
    })
}

/// Unread part of a payload.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    /// Reads an optional id; the outer `None` is an invalid encoding.
    fn optional_id(&mut self) -> Option<Option<AtomId>> {
        match self.take()? {
            [0] => Some(None),
            [1] => Some(Some(AtomId::new(self.take()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const HEADER: JournalHeader = JournalHeader {
        chain_id: 7,
        rules_version: 2,
        genesis: Some(AtomId::new([1; 32])),
        checkpoint: None,
    };

    fn head(number: u64) -> SavedHead {
        let [.., byte] = number.to_be_bytes();
        SavedHead {
            id: AtomId::new([byte; 32]),
            height: number,
            timestamp: 1_800_000_000 + number,
            state: HeadState::ALL[usize::from(byte) % 3],
            root: number.is_multiple_of(2).then_some(AtomId::new([1; 32])),
            resume: ResumeData {
                election_seeds: vec![byte; usize::from(byte % 3) * 96],
                anchor: number.is_multiple_of(5).then_some(Anchor {
                    id: AtomId::new([5; 32]),
                    height: number / 2,
                }),
                checkpoint: number.is_multiple_of(7).then_some(AtomId::new([6; 32])),
            },
        }
    }

    fn journal(count: u64) -> Vec<u8> {
        let mut bytes = encode_start(&HEADER);
        for number in 0..count {
            bytes.extend(encode_head(&head(number)));
        }
        bytes
    }

    #[test]
    fn keeps_the_newest_heads_in_order() {
        let read = read(&journal(3_000)).unwrap();
        assert_eq!(read.header, HEADER);
        assert_eq!((read.records, read.torn_bytes), (3_000, 0));
        assert_eq!(read.heads.len(), MAX_JOURNAL_HEADS);
        let expected: VecDeque<_> = (3_000 - 1_024..3_000).map(head).collect();
        assert_eq!(read.heads, expected);
    }

    #[test]
    fn tolerates_only_one_incomplete_record_at_the_end() {
        let start = encode_start(&HEADER).len();
        let whole = journal(6);
        let last = encode_head(&head(5)).len();
        for len in 0..whole.len() {
            let cut = read(&whole[..len]);
            if len < start {
                assert!(cut.is_err(), "{len}");
                continue;
            }
            // Wherever it is cut, complete records are read.
            let cut = cut.unwrap();
            assert_eq!(cut.valid_bytes + cut.torn_bytes, len);
            assert_eq!(
                cut.heads,
                (0..cut.records as u64).map(head).collect::<VecDeque<_>>()
            );
        }
        // The file's length was written and its bytes were not.
        let mut unwritten = whole.clone();
        unwritten[whole.len() - last..].fill(0);
        assert_eq!(read(&unwritten).unwrap().records, 5);
        // Two records of zeros do not come from one append.
        unwritten.extend(vec![0; MAX_RECORD_BYTES]);
        let offset = whole.len() - last;
        assert_eq!(read(&unwritten), Err(JournalDamage::Record { offset }));
        assert_eq!(read(&[]), Err(JournalDamage::NotAJournal));
        assert_eq!(read(&vec![0; 4_096]), Err(JournalDamage::NotAJournal));
    }

    #[test]
    fn damage_before_the_last_record_is_an_error() {
        let whole = journal(6);
        let last = whole.len() - encode_head(&head(5)).len();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            match read(&damaged) {
                Err(_) => assert!(at < last, "{at}"),
                // Indistinguishable from an interrupted append.
                Ok(read) => assert!(at >= last && read.records == 5, "{at}"),
            }
        }
        let mut newer = whole;
        newer[MAGIC.len() - 1] = 9;
        assert_eq!(read(&newer), Err(JournalDamage::NewerVersion(9)));
    }

    #[test]
    fn record_encoding_is_canonical_and_bounded() {
        let mut largest = head(0);
        largest.resume = ResumeData {
            election_seeds: vec![3; MAX_ELECTION_SEEDS_BYTES],
            anchor: Some(Anchor {
                id: AtomId::new([2; 32]),
                height: u64::MAX,
            }),
            checkpoint: Some(AtomId::new([3; 32])),
        };
        largest.root = Some(AtomId::new([4; 32]));
        assert_eq!(encode_head(&largest).len(), MAX_RECORD_BYTES);
        let full = JournalHeader {
            checkpoint: Some(AtomId::ZERO),
            ..HEADER
        };
        assert_eq!(encode_start(&full).len(), MAGIC.len() + MAX_HEADER_BYTES);
        // A payload with trailing bytes, or an unknown state, is not a record.
        for change in [0, 1] {
            let mut payload = encode_head(&head(1));
            payload.truncate(payload.len() - CHECKSUM_BYTES);
            payload.drain(..LENGTH_BYTES);
            match change {
                0 => payload.push(0),
                _ => payload[ID_BYTES + 16] = 9,
            }
            let mut bytes = encode_start(&HEADER);
            put_frame(&mut bytes, &payload);
            assert_eq!(read(&bytes).unwrap().records, 0);
        }
        largest.resume.election_seeds.push(0);
        let mut bytes = encode_start(&HEADER);
        bytes.extend(encode_head(&largest));
        let read = read(&bytes).unwrap();
        assert!(read.heads[0].resume.election_seeds.is_empty());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_valid_prefixes_round_trip(
            count in 0_u64..20,
            tail in proptest::collection::vec(any::<u8>(), 0..2_000),
        ) {
            let mut bytes = journal(count);
            let whole = bytes.len();
            bytes.extend(&tail);
            if let Ok(read) = read(&bytes) {
                prop_assert!(read.valid_bytes >= whole);
                let mut again = encode_start(&read.header);
                for head in &read.heads {
                    again.extend(encode_head(head));
                }
                prop_assert_eq!(again.as_slice(), &bytes[..read.valid_bytes]);
            } else {
                prop_assert!(tail.len() > MAX_RECORD_BYTES);
            }
        }
    }
}
