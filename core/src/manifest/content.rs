//! Content of a file: lists of pieces.

use super::{LIST_BYTES, ManifestError, PIECE_BYTES};
use crate::atom::AtomKind;

/// Returns the number of lists of a file.
#[must_use]
pub const fn list_count(size: u64) -> u64 {
    if size == 0 {
        // Empty content is one empty piece, so that it has an id that can be fetched.
        return 1;
    }
    size.div_ceil(LIST_BYTES)
}

/// Returns the number of bytes in a list of a file, which are 0 behind the last list.
///
/// ```
/// use astreum_core::manifest::{LIST_BYTES, list_count, list_len};
///
/// let size = LIST_BYTES + 5;
/// assert_eq!((list_count(size), list_len(size, 0), list_len(size, 1)), (2, LIST_BYTES, 5));
/// ```
#[must_use]
pub const fn list_len(size: u64, list: u64) -> u64 {
    let rest = size.saturating_sub(list.saturating_mul(LIST_BYTES));
    if rest < LIST_BYTES { rest } else { LIST_BYTES }
}

/// Reader of the pieces of one list, whose size is known.
#[derive(Clone, Copy, Debug)]
pub struct ContentReader {
    size: u64,
    left: u64,
    is_started: bool,
}

impl ContentReader {
    /// Creates a reader of a list with so many bytes.
    #[must_use]
    pub const fn new(size: u64) -> Self {
        Self {
            size,
            left: size,
            is_started: false,
        }
    }

    /// Takes the kind and the length of the next atom's data.
    ///
    /// # Errors
    /// Fails unless it is the next piece of content of this size.
    pub fn take(&mut self, kind: AtomKind, len: usize) -> Result<(), ManifestError> {
        let (size, len) = (self.size, len as u64);
        let expected = self.left.min(PIECE_BYTES as u64);
        let is_surplus = self.left == 0 && self.is_started;
        if kind != AtomKind::Bytes || len != expected || is_surplus {
            return Err(ManifestError::OtherContent { size });
        }
        self.left -= len;
        self.is_started = true;
        Ok(())
    }

    /// Checks that the content is complete.
    ///
    /// # Errors
    /// Fails if pieces are missing.
    pub const fn finish(self) -> Result<(), ManifestError> {
        if self.left > 0 || !self.is_started {
            return Err(ManifestError::OtherContent { size: self.size });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(size: u64, lens: &[usize]) -> bool {
        let mut reader = ContentReader::new(size);
        let taken = lens
            .iter()
            .try_for_each(|len| reader.take(AtomKind::Bytes, *len));
        taken.and_then(|()| reader.finish()).is_ok()
    }

    #[test]
    fn content_has_exactly_the_stated_size_in_full_pieces() {
        assert!(read(0, &[0]) && read(1, &[1]) && read(3_900, &[3_900]));
        assert!(read(3_901, &[3_900, 1]) && read(7_800, &[3_900, 3_900]));
        for (size, lens) in [
            (0, &[][..]),
            (0, &[0, 0]),
            (0, &[1]),
            (1, &[]),
            (1, &[1, 0]),
            (3_900, &[3_900, 0]),
            (3_901, &[1, 3_900]),
            (3_901, &[3_900]),
            (3_901, &[3_901]),
            (7_800, &[3_900, 3_900, 1]),
        ] {
            assert!(!read(size, lens), "{size} {lens:?}");
        }
        let mut reader = ContentReader::new(1);
        assert!(reader.take(AtomKind::Symbol, 1).is_err());
    }

    #[test]
    fn lists_divide_a_file_without_gaps() {
        for size in [
            0,
            1,
            LIST_BYTES - 1,
            LIST_BYTES,
            LIST_BYTES + 1,
            7 * LIST_BYTES + 9,
        ] {
            let lists = list_count(size);
            let sum: u64 = (0..lists).map(|list| list_len(size, list)).sum();
            assert_eq!((sum, list_len(size, lists)), (size, 0));
            assert!(size == 0 || list_len(size, lists - 1) > 0);
        }
    }
}
