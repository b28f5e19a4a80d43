//! Repair of damaged journal records: the atom is often intact when its record is not.
//!
//! A record protects its atom's bytes twice, by the checksum and by the id. If one of length,
//! checksum or id is damaged, the other two identify the atom. If the atom's bytes are damaged, the
//! id identifies the atom that is lost.

use super::{MAX_RECORD_BYTES, RECORD_HEAD_BYTES, Record, Scanned, Window, checksum};
use astreum_core::atom::{Atom, AtomId, HEADER_BYTES, ID_BYTES};
use core::ops::Range;
use std::io;

/// Reads the records with intact atoms from a damaged part of a journal, and notes the ids of the
/// others.
pub(super) fn salvage(
    window: &mut Window<'_>,
    range: Range<u64>,
    scanned: &mut Scanned,
    each: &mut impl FnMut(Record),
) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let Some(head) = Head::read(window, at, range.end)? else {
            scanned.unknown += 1;
            return Ok(());
        };
        let rest = range.end - at - RECORD_HEAD_BYTES as u64;
        // If the length is what is damaged, the record may fill the whole rest of the part.
        let lengths = [head.len_within(rest), in_bounds(rest)];
        let mut record = None;
        for len in lengths.into_iter().flatten() {
            record = record.or(head.record(window, at, len)?);
        }
        if let Some(record) = record {
            at = record.offset + u64::from(record.len);
            each(record);
            continue;
        }
        let end = head
            .len_within(rest)
            .map(|len| at + RECORD_HEAD_BYTES as u64 + u64::from(len));
        // The id is trusted if the record ends where the next one begins.
        match end {
            Some(end) if end == range.end || Head::read(window, end, range.end)?.is_some() => {
                scanned.lose(head.id);
                at = end;
            }
            _ => {
                scanned.unknown += 1;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Fields in front of a record's stored bytes.
struct Head {
    len: u32,
    checksum: u32,
    id: AtomId,
}

impl Head {
    /// Reads the fields at `at`, if a record fits between there and `end`.
    fn read(window: &mut Window<'_>, at: u64, end: u64) -> io::Result<Option<Self>> {
        let least = (RECORD_HEAD_BYTES + HEADER_BYTES) as u64;
        if end.saturating_sub(at) < least {
            return Ok(None);
        }
        let Some(bytes) = window.read(at, RECORD_HEAD_BYTES)? else {
            return Ok(None);
        };
        Ok(bytes.split_first_chunk::<8>().map(|(fields, id)| {
            let [l0, l1, l2, l3, c0, c1, c2, c3] = *fields;
            Self {
                len: u32::from_le_bytes([l0, l1, l2, l3]),
                checksum: u32::from_le_bytes([c0, c1, c2, c3]),
                id: AtomId::from_slice(id).unwrap_or_default(),
            }
        }))
    }

    /// Returns the length field, if it is valid and at most `bytes`.
    fn len_within(&self, bytes: u64) -> Option<u32> {
        in_bounds(u64::from(self.len)).filter(|&len| u64::from(len) <= bytes)
    }

    /// Returns the record with `len` stored bytes, if its atom is intact.
    fn record(&self, window: &mut Window<'_>, at: u64, len: u32) -> io::Result<Option<Record>> {
        let offset = at + RECORD_HEAD_BYTES as u64;
        let Some(stored) = window.read(offset, len as usize)? else {
            return Ok(None);
        };
        let Ok(id) = Atom::from_bytes(stored).map(|atom| atom.id()) else {
            return Ok(None);
        };
        let is_intact = id == self.id || {
            let mut body = Vec::with_capacity(ID_BYTES + stored.len());
            body.extend_from_slice(id.as_bytes());
            body.extend_from_slice(stored);
            checksum(len, &body) == self.checksum
        };
        Ok(is_intact.then_some(Record { id, offset, len }))
    }
}

fn in_bounds(len: u64) -> Option<u32> {
    let bounds = HEADER_BYTES as u64..=MAX_RECORD_BYTES as u64;
    u32::try_from(len).ok().filter(|_| bounds.contains(&len))
}
