//! The side index of a pair: which entries can have an id, without touching the index file.

use super::{COUNT_BYTES, ENTRIES_A_READ, ENTRY_BYTES, ENTRY_LEN, Entry, entry_offset};
use crate::store::map::Sealed;
use astreum_core::atom::{AtomId, ID_BYTES};
use core::cmp::Ordering;
use core::ops::Range;
use std::io;

/// Buckets have this many entries or up to twice as many, where ids are as hashes are.
const BUCKET_ENTRIES: u32 = 4;
/// Tags that are compared at a time; nearly all buckets have fewer.
const WINDOW_TAGS: usize = 16;
const WINDOW: u32 = 16;
/// A bucket that is larger than this was aimed at; its entries are searched by halving.
const BUCKET_SCAN_LIMIT: usize = 64;

/// See the module above.
#[derive(Debug)]
pub(super) struct Side {
    count: u32,
    /// How many leading bits of an id name its bucket.
    bits: u32,
    /// Where each bucket begins, and after the last one the number of entries.
    buckets: Box<[u32]>,
    /// Sixteen bits of each id that its bucket does not know.
    tags: Box<[u16]>,
    /// The entries in the order of their ids, where the file does not have them so.
    order: Option<Box<[u32]>>,
}

impl Side {
    pub(super) fn build(index: &Sealed, count: u32) -> io::Result<Self> {
        let bits = (count / BUCKET_ENTRIES).checked_ilog2().unwrap_or(0);
        let mut buckets = Vec::with_capacity((1 << bits) + 1);
        let mut tags = Vec::with_capacity(count as usize + WINDOW_TAGS);
        let mut previous: Option<AtomId> = None;
        let mut ascending = true;
        for_each_id(index, count, |at, id| {
            ascending &= previous.is_none_or(|previous| previous < id);
            let bucket = bucket_of(&id, bits);
            while buckets.len() <= bucket {
                buckets.push(at);
            }
            tags.push(tag_of(&id));
            previous = Some(id);
        })?;
        let order = if ascending {
            buckets.resize((1 << bits) + 1, count);
            // So that the last bucket has a whole window, too.
            tags.resize(tags.len() + WINDOW_TAGS, 0);
            None
        } else {
            (buckets, tags) = (Vec::new(), Vec::new());
            Some(sorted_order(index, count)?)
        };
        Ok(Self {
            count,
            bits,
            buckets: buckets.into_boxed_slice(),
            tags: tags.into_boxed_slice(),
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
        let bytes = self.buckets.len() * size_of::<u32>() + self.tags.len() * 2 + order;
        bytes as u64
    }

    /// The entry that comes `nth` in the order of ids.
    pub(super) fn nth(&self, nth: u32) -> Option<u32> {
        match &self.order {
            Some(order) => order.get(nth as usize).copied(),
            None => (nth < self.count).then_some(nth),
        }
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
        let Some(mut range) = self.bucket(id) else {
            return Ok(None);
        };
        if range.len() > BUCKET_SCAN_LIMIT {
            return self.search(id, range, entry);
        }
        let tag = tag_of(id);
        while !range.is_empty() {
            let mut matches = self.matches(range.start, tag);
            while matches != 0 {
                let at = range.start + matches.trailing_zeros();
                matches &= matches - 1;
                if at >= range.end {
                    break;
                }
                let found = entry(at)?;
                if found.id == *id {
                    return Ok(Some((at, found)));
                }
            }
            range.start = range.end.min(range.start.saturating_add(WINDOW));
        }
        Ok(None)
    }

    fn bucket(&self, id: &AtomId) -> Option<Range<u32>> {
        let bucket = bucket_of(id, self.bits);
        let bounds = self.buckets.get(bucket..)?.first_chunk::<2>()?;
        let [start, end] = *bounds;
        Some(start..end)
    }

    /// A bit for each of the tags from `start` on that is this one. Always a whole window, without
    /// a branch for each: how many there are would be guessed wrongly most of the time.
    fn matches(&self, start: u32, tag: u16) -> u32 {
        let window = self
            .tags
            .get(start as usize..)
            .and_then(<[u16]>::first_chunk::<WINDOW_TAGS>);
        let equal = |window: &[u16; WINDOW_TAGS]| {
            let bits = window.iter().enumerate();
            bits.fold(0, |bits, (at, other)| bits | u32::from(*other == tag) << at)
        };
        window.map_or(0, equal)
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

/// The leading bits of the id. At most 29 of them, as a pair has less than 2^32 entries.
fn bucket_of(id: &AtomId, bits: u32) -> usize {
    let [a, b, c, d, ..] = *id.as_bytes();
    let leading = u64::from(u32::from_be_bytes([a, b, c, d]));
    // Below 2^bits, so it fits whatever can hold the buckets.
    usize::try_from(leading >> (u32::BITS - bits)).unwrap_or(usize::MAX)
}

/// Bits that come after those of the largest bucket number.
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
