//! Table of a manifest: names, modes and sizes of its entries.
//!
//! ```text
//! entry = kind (1: 0 file, 1 directory) ‖ mode (2) ‖ size (8, files only) ‖ length of the path (2)
//!         ‖ path
//! ```
//!
//! Numbers are big-endian. The first entry is the root, with an empty path: either a single file, and
//! then the only entry, or the directory that the paths of all others are relative to. Entries are
//! in the order of their paths, component by component, as bytes: the contents of a directory follow
//! it directly.

use super::{
    MAX_DEPTH, MAX_ENTRIES, MAX_FILE_BYTES, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_TABLE_BYTES,
    ManifestError, SINGLE_FILE_MODE,
};
use alloc::string::String;
use alloc::vec::Vec;

const FILE: u8 = 0;
const DIRECTORY: u8 = 1;
/// Bits of a mode that an entry may have.
const PERMISSIONS: u16 = 0o777;

/// Kind of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// Regular file.
    File {
        /// Size in bytes.
        size: u64,
    },
    /// Directory.
    Directory,
}

/// Entry of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'t> {
    /// Path below the root; empty for the root.
    pub path: &'t str,
    /// Kind, with the size of a file.
    pub kind: EntryKind,
    /// Permission bits.
    pub mode: u16,
}

impl Entry<'_> {
    /// Returns the size of a file, or `None` for a directory.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        match self.kind {
            EntryKind::File { size } => Some(size),
            EntryKind::Directory => None,
        }
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        let kind = match self.kind {
            EntryKind::File { .. } => FILE,
            EntryKind::Directory => DIRECTORY,
        };
        out.push(kind);
        out.extend_from_slice(&self.mode.to_be_bytes());
        if let Some(size) = self.size() {
            out.extend_from_slice(&size.to_be_bytes());
        }
        // A checked path is not longer.
        let len = u16::try_from(self.path.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(self.path.as_bytes());
    }
}

/// Check of entries in their order.
#[derive(Clone, Debug, Default)]
struct Order {
    entries: usize,
    files: usize,
    bytes: u64,
    is_single: bool,
    /// Path of the last entry.
    last: String,
    /// Length of the path of the last directory that the last entry is in, or is.
    directory: usize,
}

impl Order {
    fn take(&mut self, entry: &Entry<'_>) -> Result<(), ManifestError> {
        let number = self.entries;
        if number >= MAX_ENTRIES {
            return Err(ManifestError::TooManyEntries);
        }
        if entry.mode & !PERMISSIONS != 0 {
            return Err(ManifestError::InvalidMode { entry: number });
        }
        if number == 0 {
            self.take_root(entry)?;
        } else {
            if self.is_single {
                return Err(ManifestError::InvalidRoot);
            }
            self.take_path(entry.path, number)?;
        }
        let too_large = ManifestError::TooLarge { entry: number };
        if let EntryKind::File { size } = entry.kind {
            if size > MAX_FILE_BYTES {
                return Err(too_large);
            }
            self.bytes = self.bytes.checked_add(size).ok_or(too_large)?;
            self.files += 1;
        } else {
            self.directory = entry.path.len();
        }
        self.last.clear();
        self.last.push_str(entry.path);
        self.entries += 1;
        Ok(())
    }

    fn take_root(&mut self, entry: &Entry<'_>) -> Result<(), ManifestError> {
        self.is_single = entry.size().is_some();
        if !entry.path.is_empty() || self.is_single && entry.mode != SINGLE_FILE_MODE {
            return Err(ManifestError::InvalidRoot);
        }
        Ok(())
    }

    fn take_path(&mut self, path: &str, entry: usize) -> Result<(), ManifestError> {
        let is_valid = |name: &str| {
            let len = name.len();
            (1..=MAX_NAME_BYTES).contains(&len)
                && !matches!(name, "." | "..")
                && !name.contains('\0')
        };
        if path.len() > MAX_PATH_BYTES || !path.split('/').all(is_valid) {
            return Err(ManifestError::InvalidPath { entry });
        }
        if path.split('/').count() > MAX_DEPTH {
            return Err(ManifestError::TooDeep { entry });
        }
        if !self.last.is_empty() && !self.last.split('/').lt(path.split('/')) {
            return Err(ManifestError::OutOfOrder { entry });
        }
        // In this order, the directory of an entry contains the last one, or is it.
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let directory = self.last.get(..self.directory).unwrap_or_default();
        let is_within = directory
            .strip_prefix(parent)
            .is_some_and(|rest| parent.is_empty() || rest.is_empty() || rest.starts_with('/'));
        match is_within {
            true => {
                self.directory = parent.len();
                Ok(())
            }
            false => Err(ManifestError::NoDirectory { entry }),
        }
    }
}

/// Writer of a table.
#[derive(Clone, Debug, Default)]
pub struct TableWriter {
    order: Order,
    bytes: Vec<u8>,
}

impl TableWriter {
    /// Adds an entry.
    ///
    /// # Errors
    /// Fails if a reader would reject it at this place.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), ManifestError> {
        self.order.take(entry)?;
        entry.write_to(&mut self.bytes);
        if self.bytes.len() > MAX_TABLE_BYTES {
            return Err(ManifestError::TableTooLong);
        }
        Ok(())
    }

    /// Returns the table.
    ///
    /// # Errors
    /// Fails without entries.
    pub fn finish(self) -> Result<Table, ManifestError> {
        Table::new(self.bytes, self.order)
    }
}

/// Valid table.
///
/// ```
/// use astreum_core::manifest::{Entry, EntryKind, Table, TableWriter};
///
/// let mut writer = TableWriter::default();
/// writer.push(&Entry { path: "", kind: EntryKind::Directory, mode: 0o755 })?;
/// writer.push(&Entry { path: "a", kind: EntryKind::File { size: 5 }, mode: 0o644 })?;
/// let table = writer.finish()?;
/// assert_eq!((table.files(), table.file_bytes()), (1, 5));
/// assert_eq!(Table::parse(table.as_bytes().to_vec())?, table);
/// # Ok::<(), astreum_core::manifest::ManifestError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table {
    bytes: Vec<u8>,
    entries: usize,
    files: usize,
    file_bytes: u64,
}

impl Table {
    fn new(bytes: Vec<u8>, order: Order) -> Result<Self, ManifestError> {
        if order.entries == 0 {
            return Err(ManifestError::Truncated { entry: 0 });
        }
        Ok(Self {
            bytes,
            entries: order.entries,
            files: order.files,
            file_bytes: order.bytes,
        })
    }

    /// Reads a table.
    ///
    /// # Errors
    /// Fails unless it is the only form of its entries.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_TABLE_BYTES {
            return Err(ManifestError::TableTooLong);
        }
        let (mut order, mut rest) = (Order::default(), &bytes[..]);
        while !rest.is_empty() {
            let entry = take_entry(&mut rest, order.entries)?;
            order.take(&entry)?;
        }
        Self::new(bytes, order)
    }

    /// Returns the encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Returns `false`: a table has at least the root.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Returns the number of files.
    #[must_use]
    pub const fn files(&self) -> usize {
        self.files
    }

    /// Returns the sum of the sizes of all files.
    #[must_use]
    pub const fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Returns whether the only entry is a file.
    #[must_use]
    pub fn is_single_file(&self) -> bool {
        self.bytes.first() == Some(&FILE)
    }

    /// Returns the entries in order.
    #[must_use]
    pub fn entries(&self) -> Entries<'_> {
        Entries {
            rest: &self.bytes,
            number: 0,
        }
    }

    /// Checks that there is one content for each file.
    ///
    /// # Errors
    /// Fails if there are more or fewer.
    pub const fn check_contents(&self, contents: usize) -> Result<(), ManifestError> {
        if contents == self.files {
            return Ok(());
        }
        let files = self.files;
        Err(ManifestError::OtherCount { files, contents })
    }
}

/// Entries of a table.
#[derive(Clone, Debug)]
pub struct Entries<'t> {
    rest: &'t [u8],
    number: usize,
}

impl<'t> Iterator for Entries<'t> {
    type Item = Entry<'t>;

    fn next(&mut self) -> Option<Entry<'t>> {
        // The table is valid, so an error is its end.
        let entry = take_entry(&mut self.rest, self.number).ok()?;
        self.number += 1;
        Some(entry)
    }
}

/// Takes an entry from the start of `bytes`, without a check of its place.
fn take_entry<'t>(bytes: &mut &'t [u8], entry: usize) -> Result<Entry<'t>, ManifestError> {
    let truncated = ManifestError::Truncated { entry };
    let [kind] = take(bytes).ok_or(truncated)?;
    let mode = u16::from_be_bytes(take(bytes).ok_or(truncated)?);
    let kind = match kind {
        FILE => EntryKind::File {
            size: u64::from_be_bytes(take(bytes).ok_or(truncated)?),
        },
        DIRECTORY => EntryKind::Directory,
        _ => return Err(ManifestError::UnknownKind { entry }),
    };
    let len = usize::from(u16::from_be_bytes(take(bytes).ok_or(truncated)?));
    let (path, rest) = bytes.split_at_checked(len).ok_or(truncated)?;
    *bytes = rest;
    let path = core::str::from_utf8(path).map_err(|_| ManifestError::InvalidPath { entry })?;
    Ok(Entry { path, kind, mode })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOT: Entry<'static> = directory("");

    const fn directory(path: &str) -> Entry<'_> {
        Entry {
            path,
            kind: EntryKind::Directory,
            mode: 0o755,
        }
    }

    const fn file(path: &str, size: u64) -> Entry<'_> {
        Entry {
            path,
            kind: EntryKind::File { size },
            mode: 0o644,
        }
    }

    fn write(entries: &[Entry<'_>]) -> Result<Table, ManifestError> {
        let mut writer = TableWriter::default();
        entries.iter().try_for_each(|entry| writer.push(entry))?;
        writer.finish()
    }

    /// Encodes entries without checks.
    fn raw(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in entries {
            entry.write_to(&mut bytes);
        }
        bytes
    }

    #[test]
    fn entries_round_trip_in_the_order_of_a_walk() {
        let entries = [
            ROOT,
            file(".hidden", 0),
            directory("a"),
            directory("a/b"),
            file("a/b/c", 7),
            file("a/c", 1),
            // `a b` sorts after `a/b` by components, although its bytes sort before.
            file("a b", 2),
            directory("é"),
        ];
        let table = write(&entries).unwrap();
        assert_eq!((table.len(), table.files(), table.file_bytes()), (8, 4, 10));
        assert!(table.entries().eq(entries) && !table.is_single_file());
        assert_eq!(Table::parse(table.as_bytes().to_vec()), Ok(table.clone()));
        assert!(table.check_contents(4).is_ok() && table.check_contents(3).is_err());
        let single = write(&[file("", 9)]).unwrap();
        assert!(single.is_single_file());
        assert_eq!(single.as_bytes(), b"\0\x01\xa4\0\0\0\0\0\0\0\x09\0\0");
    }

    #[test]
    fn hostile_tables_are_rejected_with_their_entry() {
        use ManifestError::{
            InvalidMode, InvalidPath, InvalidRoot, NoDirectory, OutOfOrder, TooDeep, TooLarge,
        };
        let deep = ["d"; MAX_DEPTH + 1].join("/");
        let (long, long_path) = ("n".repeat(256), ["n"; 2_050].join("/"));
        let setuid = Entry {
            mode: 0o4_755,
            ..file("a", 1)
        };
        let other_mode = Entry {
            mode: 0o600,
            ..file("", 1)
        };
        let entry = 1;
        for (entries, error) in [
            (&[file("a", 1)][..], InvalidRoot),
            (&[directory("a")], InvalidRoot),
            (&[other_mode], InvalidRoot),
            (&[file("", 1), file("a", 1)], InvalidRoot),
            (&[ROOT, ROOT], InvalidPath { entry }),
            (&[ROOT, file("/etc/passwd", 1)], InvalidPath { entry }),
            (&[ROOT, file("..", 1)], InvalidPath { entry }),
            (&[ROOT, file("a/../b", 1)], InvalidPath { entry }),
            (&[ROOT, file("./a", 1)], InvalidPath { entry }),
            (&[ROOT, file("a/", 1)], InvalidPath { entry }),
            (&[ROOT, file("a//b", 1)], InvalidPath { entry }),
            (&[ROOT, file("a\0", 1)], InvalidPath { entry }),
            (&[ROOT, file(&long, 1)], InvalidPath { entry }),
            (&[ROOT, file(&long_path, 1)], InvalidPath { entry }),
            (&[ROOT, directory(&deep)], TooDeep { entry }),
            (&[ROOT, setuid], InvalidMode { entry }),
            (&[ROOT, file("a", u64::MAX)], TooLarge { entry }),
            (&[ROOT, file("a/b", 1)], NoDirectory { entry }),
            (
                &[ROOT, file("a", 1), file("a/b", 1)],
                NoDirectory { entry: 2 },
            ),
            (
                &[ROOT, directory("a"), file("ab/c", 1)],
                NoDirectory { entry: 2 },
            ),
            (
                &[ROOT, directory("ab"), file("b", 1), file("ab/c", 1)],
                OutOfOrder { entry: 3 },
            ),
            (&[ROOT, file("b", 1), file("a", 1)], OutOfOrder { entry: 2 }),
            (&[ROOT, file("a", 1), file("a", 1)], OutOfOrder { entry: 2 }),
            (
                &[ROOT, directory("a"), file("a", 1)],
                OutOfOrder { entry: 2 },
            ),
            (
                &[ROOT, directory("a"), file("b", 1), file("a/c", 1)],
                OutOfOrder { entry: 3 },
            ),
        ] {
            assert_eq!(Table::parse(raw(entries)), Err(error), "{entries:?}");
            assert_eq!(write(entries), Err(error), "{entries:?}");
        }
        let bytes = raw(&[ROOT, file("a", 1)]);
        for len in 0..bytes.len() {
            // A table that ends behind the root is valid.
            let truncated = Table::parse(bytes[..len].to_vec());
            assert_eq!(truncated.is_ok(), len == raw(&[ROOT]).len(), "{len}");
        }
        let mut unknown = bytes.clone();
        unknown[raw(&[ROOT]).len()] = 2;
        let error = ManifestError::UnknownKind { entry: 1 };
        assert_eq!(Table::parse(unknown), Err(error));
        let mut not_utf8 = bytes;
        *not_utf8.last_mut().unwrap() = 0xff;
        assert_eq!(Table::parse(not_utf8), Err(InvalidPath { entry: 1 }));
    }

    #[test]
    fn sizes_and_numbers_are_limited() {
        let names: Vec<String> = (0..70_000).map(|n| alloc::format!("{n:06}")).collect();
        let mut writer = TableWriter::default();
        writer.push(&ROOT).unwrap();
        // Each is allowed, and all together exceed the range of numbers.
        let all = names
            .iter()
            .try_for_each(|name| writer.push(&file(name, MAX_FILE_BYTES)));
        assert!(matches!(all, Err(ManifestError::TooLarge { .. })));
        let mut writer = TableWriter::default();
        writer.push(&ROOT).unwrap();
        let all =
            (0..MAX_ENTRIES).try_for_each(|n| writer.push(&file(&alloc::format!("{n:06}"), 0)));
        assert_eq!(all, Err(ManifestError::TooManyEntries));
        let mut writer = TableWriter::default();
        writer.push(&ROOT).unwrap();
        let pad = "x".repeat(200);
        let all = names
            .iter()
            .chain(&names)
            .enumerate()
            .try_for_each(|(n, _)| writer.push(&file(&alloc::format!("{n:06}{pad}"), 0)));
        assert_eq!(all, Err(ManifestError::TableTooLong));
    }

    proptest! {
        #[test]
        fn every_accepted_table_is_canonical(
            bytes in proptest::collection::vec(prop_oneof![0..3_u8, any::<u8>()], 0..80),
            paths in proptest::collection::vec("[ab./]{0,4}", 0..6),
        ) {
            if let Ok(table) = Table::parse(bytes.clone()) {
                let entries: Vec<Entry<'_>> = table.entries().collect();
                prop_assert_eq!(raw(&entries), bytes);
            }
            let mut entries = Vec::from([ROOT]);
            entries.extend(paths.iter().map(|path| directory(path)));
            let parsed = Table::parse(raw(&entries));
            prop_assert_eq!(&parsed, &write(&entries));
            if parsed.is_ok() {
                for entry in &entries[1..] {
                    prop_assert!(entry.path.split('/').all(|it| !matches!(it, "" | "." | "..")));
                    let parent = entry.path.rsplit_once('/').map_or("", |(it, _)| it);
                    prop_assert!(entries.iter().any(|it| it.path == parent));
                }
            }
        }
    }
}
