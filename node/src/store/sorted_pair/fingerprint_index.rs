//! Fingerprint index of a pair: finds the entries that may have an id without reading the index
//! file.
//!
//! Ids are distributed like hashes, so the leading bits of an id give its approximate position. A
//! bucket is one line of the processor's cache, and holds all that a lookup needs before it reads
//! the file:
//!
//! | bytes | bucket |
//! | --- | --- |
//! | 4 | number of its first entry |
//! | 2 | number of entries |
//! | 58 | tags: sixteen further bits of the ids of the first 29 entries |
//!
//! The target is eighteen entries per bucket; one bucket in two hundred has more than 29, and a
//! short list has the tags of those beyond. A bucket with more than 64 entries is searched in the
//! file, by bisection.
//!
//! In a file, numbers are little-endian:
//!
//! | bytes | part |
//! | --- | --- |
//! | 8 | `ASTFPRT` and a version byte |
//! | 8 each | lengths of the pair's index and data, number of buckets, number of tags beyond them |
//! | 64 each | buckets, as 32 numbers of 16 bits |
//! | 4 + 2 each | tags beyond: number of the bucket, tag |
//! | 32 | BLAKE3 of the above |

use super::{COUNT_BYTES, ENTRIES_PER_READ, ENTRY_BYTES, ENTRY_LEN, Entry, entry_offset};
use crate::store::sealed::Sealed;
use astreum_core::atom::{AtomId, ID_BYTES};
use core::cmp::Ordering;
use core::ops::Range;
use std::io;

/// Header of the form in a file.
const MAGIC: [u8; 8] = *b"ASTFPRT\x01";
/// Bytes of the magic and four numbers.
const FILE_HEADER_BYTES: usize = 8 + 4 * 8;
const BUCKET_BYTES: usize = 64;
const BEYOND_BYTES: usize = 6;
const HASH_BYTES: usize = 32;

/// Target number of entries per bucket.
const BUCKET_ENTRIES: u32 = 18;
/// Words in a bucket: two for the first entry, one for the number of entries, then the tags.
const BUCKET_WORDS: usize = 32;
const HEAD_WORDS: usize = 3;
const BUCKET_TAGS: u32 = 29;
/// Number of entries above which a bucket is searched by bisection: a peer may have created ids for
/// this bucket, and for equal tags, too. Lookups use one bit of a `u64` per entry up to this
/// number.
const BUCKET_SCAN_LIMIT: u32 = 64;

/// Bucket of one cache line; see the module.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket([u16; BUCKET_WORDS]);

impl Bucket {
    /// Adds the next entry; the number is stored for the first one only.
    fn push(&mut self, at: u32, tag: u16) {
        let [high, low, len, tags @ ..] = &mut self.0;
        if *len == 0 {
            let [a, b, c, d] = at.to_be_bytes();
            (*high, *low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        }
        if let Some(place) = tags.get_mut(usize::from(*len)) {
            *place = tag;
        }
        *len = len.saturating_add(1);
    }

    fn start(&self) -> u32 {
        let [high, low, ..] = self.0;
        u32::from(high) << 16 | u32::from(low)
    }

    fn len(&self) -> u32 {
        let [_, _, len, ..] = self.0;
        u32::from(len)
    }

    /// Returns a bit mask of the tags that equal `tag`. It has no branch per tag: branches would be
    /// predicted wrongly most of the time.
    fn matches(&self, tag: u16) -> u32 {
        let words = self.0.iter().enumerate();
        let equal = words.fold(0, |bits, (at, word)| bits | u32::from(*word == tag) << at);
        let known = (1 << self.len().min(BUCKET_TAGS)) - 1;
        equal >> HEAD_WORDS & known
    }

    /// Returns whether an id with this tag may be among the tags in the bucket; `false` is certain.
    /// It has few instructions and no branch, so that the processor requests the next bucket from
    /// memory before this one has arrived.
    #[inline]
    fn may_have(&self, tag: u16) -> bool {
        // A match of one of the header words is a rare false positive that costs one lookup.
        self.0.iter().fold(false, |any, word| any | (*word == tag))
    }

    /// Returns the range of its entries, out of `count` in the pair.
    fn range(&self, count: u32) -> Range<u32> {
        let start = self.start();
        match self.len() {
            len if len < u32::from(u16::MAX) => start..start.saturating_add(len),
            // The count is saturated.
            _ => start..count,
        }
    }
}

/// Fingerprint index; see the module.
#[derive(Debug)]
pub(super) struct FingerprintIndex {
    count: u32,
    buckets: Box<[Bucket]>,
    /// Bucket and tag of the entries that do not fit into their bucket, in their order. Entries
    /// above [`BUCKET_SCAN_LIMIT`] of a bucket are left out.
    beyond: Box<[(u32, u16)]>,
    /// Entries in the order of their ids, if the file is not in that order.
    order: Option<Box<[u32]>>,
}

impl FingerprintIndex {
    pub(super) fn build(index: &Sealed, count: u32) -> io::Result<Self> {
        let len = count.div_ceil(BUCKET_ENTRIES) as usize;
        let mut buckets = vec![Bucket::default(); len];
        let mut beyond = Vec::new();
        let mut previous: Option<AtomId> = None;
        let mut ascending = true;
        for_each_id(index, count, |at, id| {
            ascending &= previous.is_none_or(|previous| previous < id);
            let number = bucket_of(&id, len);
            if let Some(bucket) = buckets.get_mut(number) {
                if (BUCKET_TAGS..BUCKET_SCAN_LIMIT).contains(&bucket.len()) {
                    beyond.push((u32::try_from(number).unwrap_or(u32::MAX), tag_of(&id)));
                }
                bucket.push(at, tag_of(&id));
            }
            previous = Some(id);
        })?;
        let order = if ascending {
            None
        } else {
            (buckets, beyond) = Default::default();
            Some(sorted_order(index, count)?)
        };
        Ok(Self {
            count,
            buckets: buckets.into_boxed_slice(),
            beyond: beyond.into_boxed_slice(),
            order,
        })
    }

    /// Encodes the index of a pair whose files have these lengths; `None` if its ids do not ascend.
    pub(super) fn to_bytes(&self, index_len: u64, data_len: u64) -> Option<Vec<u8>> {
        if !self.is_ascending() {
            return None;
        }
        let buckets = self.buckets.len() as u64;
        let numbers = [index_len, data_len, buckets, self.beyond.len() as u64];
        let mut bytes = MAGIC.to_vec();
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        for bucket in &self.buckets {
            bytes.extend(bucket.0.iter().flat_map(|word| word.to_le_bytes()));
        }
        for (bucket, tag) in &self.beyond {
            bytes.extend(bucket.to_le_bytes());
            bytes.extend(tag.to_le_bytes());
        }
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Some(bytes)
    }

    /// Decodes the index of a pair with `count` entries whose files have these lengths; `None` if it
    /// is damaged or belongs to another pair.
    pub(super) fn from_bytes(
        bytes: &[u8],
        count: u32,
        index_len: u64,
        data_len: u64,
    ) -> Option<Self> {
        let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH_BYTES)?)?;
        if blake3::hash(content).as_bytes() != hash {
            return None;
        }
        let (header, rest) = content.split_at_checked(FILE_HEADER_BYTES)?;
        let numbers = header.strip_prefix(&MAGIC)?.as_chunks::<8>().0;
        let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let lens = (numbers.next()?, numbers.next()?);
        let buckets = usize::try_from(numbers.next()?).ok()?;
        let beyond = usize::try_from(numbers.next()?).ok()?;
        let is_of_pair =
            lens == (index_len, data_len) && buckets == count.div_ceil(BUCKET_ENTRIES) as usize;
        let (buckets, rest) = rest.split_at_checked(buckets.checked_mul(BUCKET_BYTES)?)?;
        if !is_of_pair || rest.len() != beyond.checked_mul(BEYOND_BYTES)? {
            return None;
        }
        let buckets = buckets.as_chunks::<BUCKET_BYTES>().0.iter().map(|bytes| {
            let mut bucket = Bucket::default();
            for (word, bytes) in bucket.0.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *word = u16::from_le_bytes(*bytes);
            }
            bucket
        });
        let beyond = rest.as_chunks::<BEYOND_BYTES>().0.iter();
        let beyond = beyond.map(|&[a, b, c, d, low, high]| {
            let bucket = u32::from_le_bytes([a, b, c, d]);
            (bucket, u16::from_le_bytes([low, high]))
        });
        Some(Self {
            count,
            buckets: buckets.collect(),
            beyond: beyond.collect(),
            order: None,
        })
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) const fn is_ascending(&self) -> bool {
        self.order.is_none()
    }

    pub(super) const fn memory_bytes(&self) -> u64 {
        let order = match &self.order {
            Some(order) => order.len() * size_of::<u32>(),
            None => 0,
        };
        let beyond = self.beyond.len() * size_of::<(u32, u16)>();
        (self.buckets.len() * size_of::<Bucket>() + beyond + order) as u64
    }

    /// Returns the entry at position `nth` in the order of ids.
    pub(super) fn nth(&self, nth: u32) -> Option<u32> {
        match &self.order {
            Some(order) => order.get(nth as usize).copied(),
            None => (nth < self.count).then_some(nth),
        }
    }

    /// Returns whether there may be an entry with this id; `false` is certain. The file is not
    /// read.
    #[inline]
    pub(super) fn may_have(&self, id: &AtomId) -> bool {
        let number = bucket_of(id, self.buckets.len());
        let Some(bucket) = self.buckets.get(number) else {
            return self.order.is_some();
        };
        let tag = tag_of(id);
        let mut may_have = bucket.may_have(tag);
        if bucket.len() > BUCKET_TAGS {
            may_have |= self.may_be_beyond(number, bucket, tag);
        }
        may_have
    }

    #[cold]
    fn may_be_beyond(&self, number: usize, bucket: &Bucket, tag: u16) -> bool {
        let is_it = |&(_, found): &(u32, u16)| found == tag;
        bucket.len() > BUCKET_SCAN_LIMIT || self.beyond(number).iter().any(is_it)
    }

    /// Returns the tags of the entries that do not fit into the bucket.
    fn beyond(&self, number: usize) -> &[(u32, u16)] {
        let start = self
            .beyond
            .partition_point(|&(at, _)| (at as usize) < number);
        let rest = self.beyond.get(start..).unwrap_or_default();
        let len = rest.iter().take_while(|&&(at, _)| at as usize == number);
        rest.get(..len.count()).unwrap_or_default()
    }

    /// Returns the entry with this id and its number; `entry` reads an entry of the index file.
    pub(super) fn find(
        &self,
        id: &AtomId,
        mut entry: impl FnMut(u32) -> io::Result<Entry>,
    ) -> io::Result<Option<(u32, Entry)>> {
        if self.order.is_some() {
            return self.search(id, 0..self.count, entry);
        }
        let number = bucket_of(id, self.buckets.len());
        let Some(bucket) = self.buckets.get(number) else {
            return Ok(None);
        };
        if bucket.len() > BUCKET_SCAN_LIMIT {
            return self.search(id, bucket.range(self.count), entry);
        }
        let tag = tag_of(id);
        let mut matches = u64::from(bucket.matches(tag));
        if bucket.len() > BUCKET_TAGS {
            // At most 64 bits are used.
            for (at, &(_, found)) in (BUCKET_TAGS..).zip(self.beyond(number)) {
                matches |= u64::from(found == tag) << at;
            }
        }
        while matches != 0 {
            let at = bucket.start().saturating_add(matches.trailing_zeros());
            let found = entry(at)?;
            if found.id == *id {
                return Ok(Some((at, found)));
            }
            matches &= matches - 1;
        }
        Ok(None)
    }

    /// Finds the id in the range by bisection.
    fn search(
        &self,
        id: &AtomId,
        mut range: Range<u32>,
        mut entry: impl FnMut(u32) -> io::Result<Entry>,
    ) -> io::Result<Option<(u32, Entry)>> {
        while !range.is_empty() {
            let middle = range.start + (range.end - range.start) / 2;
            let Some(at) = self.nth(middle) else { break };
            let found = entry(at)?;
            match found.id.cmp(id) {
                Ordering::Equal => return Ok(Some((at, found))),
                Ordering::Less => range.start = middle + 1,
                Ordering::Greater => range.end = middle,
            }
        }
        Ok(None)
    }
}

/// Returns the bucket of an id, by its leading bits.
fn bucket_of(id: &AtomId, buckets: usize) -> usize {
    let [a, b, c, d, ..] = *id.as_bytes();
    let leading = u64::from(u32::from_be_bytes([a, b, c, d]));
    // There are fewer than 2^32 buckets, so nothing wraps, and the result is below their number.
    let scaled = leading.wrapping_mul(buckets as u64) >> u32::BITS;
    usize::try_from(scaled).unwrap_or(usize::MAX)
}

/// Returns the tag of an id: the 16 bits after those that select the bucket.
const fn tag_of(id: &AtomId) -> u16 {
    let [_, _, _, _, high, low, ..] = *id.as_bytes();
    u16::from_be_bytes([high, low])
}

fn for_each_id(index: &Sealed, count: u32, mut each: impl FnMut(u32, AtomId)) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < count {
        let entries = ENTRIES_PER_READ.min(count - at);
        let bytes = index.read(
            entry_offset(at),
            u64::from(entries) * ENTRY_LEN,
            &mut buffer,
        )?;
        for entry in bytes.as_chunks::<ENTRY_BYTES>().0 {
            let (id, _) = entry.split_at(ID_BYTES);
            each(at, AtomId::from_slice(id).unwrap_or_default());
            at += 1;
        }
    }
    debug_assert_eq!(entry_offset(at), COUNT_BYTES + u64::from(count) * ENTRY_LEN);
    Ok(())
}

fn sorted_order(index: &Sealed, count: u32) -> io::Result<Box<[u32]>> {
    let mut ids = Vec::with_capacity(count as usize);
    for_each_id(index, count, |at, id| ids.push((id, at)))?;
    ids.sort_unstable();
    Ok(ids.into_iter().map(|(_, at)| at).collect())
}
