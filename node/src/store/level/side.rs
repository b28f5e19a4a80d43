//! The side index of a pair: which entries can have an id, without touching the index file.
//!
//! Ids are as hashes are, so the leading bits of an id say about where it is. A bucket is one line
//! of the processor's cache, and holds all that a lookup needs before it touches the file:
//!
//! | bytes | bucket |
//! | --- | --- |
//! | 4 | the entry that it begins with |
//! | 2 | how many entries it has |
//! | 58 | sixteen further bits of the ids of the first 29 of them |
//!
//! A bucket is meant to have eighteen entries; one in two hundred has more than 29, and a short list
//! has the bits of those beyond them. A bucket that is far too full is searched in the file, by
//! halving.

use super::{COUNT_BYTES, ENTRIES_A_READ, ENTRY_BYTES, ENTRY_LEN, Entry, entry_offset};
use crate::store::map::Sealed;
use astreum_core::atom::{AtomId, ID_BYTES};
use core::cmp::Ordering;
use core::ops::Range;
use std::io;

/// Entries that a bucket is meant to have.
const BUCKET_ENTRIES: u32 = 18;
/// Words in a bucket: two for the first entry, one for the number, then the tags.
const BUCKET_WORDS: usize = 32;
const HEAD_WORDS: usize = 3;
const BUCKET_TAGS: u32 = 29;
/// A bucket that is larger than this was aimed at; its tags may be aimed at, too. A bit each of a
/// `u64`.
const BUCKET_SCAN_LIMIT: u32 = 64;

/// One cache line; see the module.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket([u16; BUCKET_WORDS]);

impl Bucket {
    /// Takes in the next entry; only the first one's number is kept.
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

    /// A bit for each of the tags that is this one, without a branch for each: how many there are
    /// would be guessed wrongly most of the time.
    fn matches(&self, tag: u16) -> u32 {
        let words = self.0.iter().enumerate();
        let equal = words.fold(0, |bits, (at, word)| bits | u32::from(*word == tag) << at);
        let known = (1 << self.len().min(BUCKET_TAGS)) - 1;
        equal >> HEAD_WORDS & known
    }

    /// Whether an id with this tag may be among those that it has the tags of; `false` is certain.
    /// Few instructions and no branch, so that the processor asks memory for the next bucket before
    /// this one came.
    #[inline]
    fn may_have(&self, tag: u16) -> bool {
        // Now and then it is the head that is equal, which costs a lookup and no more.
        self.0.iter().fold(false, |any, word| any | (*word == tag))
    }

    /// The entries that it has, of `count` in all.
    fn range(&self, count: u32) -> Range<u32> {
        let start = self.start();
        match self.len() {
            len if len < u32::from(u16::MAX) => start..start.saturating_add(len),
            // Not all were counted.
            _ => start..count,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Side {
    count: u32,
    buckets: Box<[Bucket]>,
    /// Bucket and tag of the entries that a bucket has no room for, in their order; not those of a
    /// bucket past [`BUCKET_SCAN_LIMIT`].
    beyond: Box<[(u32, u16)]>,
    /// The entries in the order of their ids, where the file does not have them so.
    order: Option<Box<[u32]>>,
}

impl Side {
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

    /// The entry that comes `nth` in the order of ids.
    pub(super) fn nth(&self, nth: u32) -> Option<u32> {
        match &self.order {
            Some(order) => order.get(nth as usize).copied(),
            None => (nth < self.count).then_some(nth),
        }
    }

    /// Whether there may be an entry with this id; `false` is certain. The file is not touched.
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

    /// Of the entries that the bucket has no room for.
    fn beyond(&self, number: usize) -> &[(u32, u16)] {
        let start = self
            .beyond
            .partition_point(|&(at, _)| (at as usize) < number);
        let rest = self.beyond.get(start..).unwrap_or_default();
        let len = rest.iter().take_while(|&&(at, _)| at as usize == number);
        rest.get(..len.count()).unwrap_or_default()
    }

    /// The entry with this id; `entry` reads one.
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
            // There are fewer than 64 in all.
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

    /// Halves the range until the id is found.
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

/// Where in so many buckets the id is, by its leading bits.
fn bucket_of(id: &AtomId, buckets: usize) -> usize {
    let [a, b, c, d, ..] = *id.as_bytes();
    let leading = u64::from(u32::from_be_bytes([a, b, c, d]));
    // There are less than 2^32 buckets, so nothing wraps, and the result is below their number.
    let scaled = leading.wrapping_mul(buckets as u64) >> u32::BITS;
    usize::try_from(scaled).unwrap_or(usize::MAX)
}

/// Bits that come after those that a bucket is chosen by.
const fn tag_of(id: &AtomId) -> u16 {
    let [_, _, _, _, high, low, ..] = *id.as_bytes();
    u16::from_be_bytes([high, low])
}

fn for_each_id(index: &Sealed, count: u32, mut each: impl FnMut(u32, AtomId)) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < count {
        let entries = ENTRIES_A_READ.min(count - at);
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
