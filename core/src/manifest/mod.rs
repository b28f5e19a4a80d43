//! Manifests: large files, and folders of files, as atoms.
//!
//! A file of at most [`LIST_BYTES`] is a linked list of bytes atoms with [`PIECE_BYTES`] each, and
//! needs no manifest. A larger file, or a folder, is the expression
//!
//! ```text
//! (manifest 1 table content…)
//! ```
//!
//! as a linked list of list atoms. The items `manifest` (a symbol) and `1` (a byte) are the same in
//! every manifest, so that their ids identify one. `table` is a linked list of pieces, whose bytes
//! are the names, modes and sizes of all entries ([`Table`]). The contents follow in the order of the
//! files in the table, one for each: the list of pieces of a file of at most [`LIST_BYTES`], else a
//! list of list atoms, each of which holds the id of such a list, all but the last of exactly
//! [`LIST_BYTES`].
//!
//! All links are atoms of kind list or `next`, so that whoever can walk an expression reaches every
//! atom of a folder from the id of its manifest. Names and sizes are in one table, and the contents
//! in one list, so that a folder of any size is described by two lists, which move by stream, and not
//! by several atoms for each entry, which move one per round trip.
//!
//! Invariants:
//! - A manifest has one form: the same files, names and modes have the same id everywhere.
//! - What a reader accepts is bounded before it is held: [`MAX_ENTRIES`], [`MAX_TABLE_BYTES`].
//! - A path that a reader returns is relative and UTF-8, its components are neither empty nor `.` nor
//!   `..`, and without `/` and NUL; the directory that it is in is an earlier entry. No path occurs
//!   twice, and none has more than [`MAX_DEPTH`] components.
//! - Modes are permission bits, without setuid, setgid and sticky bits.
//! - Sizes are statements until the content was read: [`ContentReader`] rejects content of another
//!   size as soon as that shows.

mod content;
mod table;

pub use content::{ContentReader, list_count, list_len};
pub use table::{Entries, Entry, EntryKind, Table, TableWriter};

use crate::atom::{Atom, AtomId, AtomKind};
use alloc::vec::Vec;
use core::fmt;

/// Number of data bytes per atom of a file, which a reference node can receive.
pub const PIECE_BYTES: usize = 3_900;
/// Maximum number of pieces in a list: a quarter of what any list may have, so that the memory and
/// the time of a reference node, which holds a list as a whole, stay moderate.
pub const LIST_PIECES: u64 = 262_144;
/// Maximum number of bytes in a list of pieces.
pub const LIST_BYTES: u64 = LIST_PIECES * PIECE_BYTES as u64;
/// Maximum number of entries in a manifest.
pub const MAX_ENTRIES: usize = 262_144;
/// Maximum number of lists of a file.
pub const MAX_LISTS: u64 = 262_144;
/// Maximum size in bytes of a file: 268 TB.
pub const MAX_FILE_BYTES: u64 = MAX_LISTS * LIST_BYTES;
/// Maximum size in bytes of a table.
pub const MAX_TABLE_BYTES: usize = 16 << 20;
/// Maximum number of components of a path.
pub const MAX_DEPTH: usize = 128;
/// Maximum length in bytes of a component of a path.
pub const MAX_NAME_BYTES: usize = 255;
/// Maximum length in bytes of a path.
pub const MAX_PATH_BYTES: usize = 4_096;
/// Mode of the only entry of a manifest that is a file: the id of a file does not depend on its
/// permissions.
pub const SINGLE_FILE_MODE: u16 = 0o644;

/// Name of the first item.
const NAME: &str = "manifest";
/// Version of the format.
const VERSION: u8 = 1;
/// Number of items in front of the contents.
const ITEMS_BEFORE_CONTENTS: usize = 3;

/// Reason that atoms or entries are not a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ManifestError {
    /// The item is not the version of this format.
    UnknownVersion,
    /// An atom of a list of links is of another kind, or does not hold an id.
    NotALink,
    /// The list ends before the table.
    NoTable,
    /// There are more than [`MAX_ENTRIES`] entries.
    TooManyEntries,
    /// The table has more than [`MAX_TABLE_BYTES`].
    TableTooLong,
    /// The table ends within an entry, or has none.
    Truncated {
        /// Number of the entry, from 0.
        entry: usize,
    },
    /// The kind of an entry is unknown.
    UnknownKind {
        /// Number of the entry.
        entry: usize,
    },
    /// A mode has bits that are not permissions.
    InvalidMode {
        /// Number of the entry.
        entry: usize,
    },
    /// A size exceeds [`MAX_FILE_BYTES`], or all sizes together exceed the range of numbers.
    TooLarge {
        /// Number of the entry.
        entry: usize,
    },
    /// A path has a component that is not allowed, is too long or is not UTF-8.
    InvalidPath {
        /// Number of the entry.
        entry: usize,
    },
    /// A path has more than [`MAX_DEPTH`] components.
    TooDeep {
        /// Number of the entry.
        entry: usize,
    },
    /// The first entry is not the root, or a single file is not alone or has another mode.
    InvalidRoot,
    /// An entry does not follow the one before it in the order of paths, or occurs twice.
    OutOfOrder {
        /// Number of the entry.
        entry: usize,
    },
    /// The directory of an entry is not an earlier entry.
    NoDirectory {
        /// Number of the entry.
        entry: usize,
    },
    /// The number of contents is not that of the files.
    OtherCount {
        /// Number of files in the table.
        files: usize,
        /// Number of contents.
        contents: usize,
    },
    /// The content of a file has not the size that the table states, or not the form of pieces.
    OtherContent {
        /// Size that the table states.
        size: u64,
    },
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion => f.write_str("unknown version of the manifest"),
            Self::NotALink => f.write_str("an atom of the manifest is not a list atom with an id"),
            Self::NoTable => f.write_str("the manifest has no table"),
            Self::TooManyEntries => write!(f, "more than {MAX_ENTRIES} entries"),
            Self::TableTooLong => write!(
                f,
                "the names of the entries need more than {MAX_TABLE_BYTES} bytes"
            ),
            Self::Truncated { entry } => write!(f, "the table ends within entry {entry}"),
            Self::UnknownKind { entry } => write!(f, "entry {entry} has an unknown kind"),
            Self::InvalidMode { entry } => write!(
                f,
                "entry {entry} has a mode with other bits than permissions"
            ),
            Self::TooLarge { entry } => write!(
                f,
                "entry {entry}: the size exceeds the maximum of {MAX_FILE_BYTES} bytes"
            ),
            Self::InvalidPath { entry } => write!(
                f,
                "entry {entry} has an invalid path: expected UTF-8 components of 1 to \
                 {MAX_NAME_BYTES} bytes that are not . or .., and at most {MAX_PATH_BYTES} bytes"
            ),
            Self::TooDeep { entry } => {
                write!(f, "entry {entry} is more than {MAX_DEPTH} levels deep")
            }
            Self::InvalidRoot => f.write_str(
                "the first entry is neither the only file nor the directory of all others",
            ),
            Self::OutOfOrder { entry } => {
                write!(f, "entry {entry} is out of order or occurs twice")
            }
            Self::NoDirectory { entry } => {
                write!(
                    f,
                    "the directory of entry {entry} is not an entry before it"
                )
            }
            Self::OtherCount { files, contents } => {
                write!(f, "the manifest has {contents} contents for {files} files")
            }
            Self::OtherContent { size } => write!(
                f,
                "the content is not {size} bytes in pieces, as the manifest states"
            ),
        }
    }
}

impl core::error::Error for ManifestError {}

/// Returns the symbol that is the first item of every manifest.
#[must_use]
pub fn name_atom() -> Atom {
    Atom::symbol(NAME)
}

/// Returns the version that is the second item.
#[must_use]
pub fn version_atom() -> Atom {
    Atom::bytes([VERSION])
}

/// Returns the id that the link of a list atom holds.
///
/// # Errors
/// Fails if it is not a list atom with an id.
pub fn link(kind: AtomKind, data: &[u8]) -> Result<AtomId, ManifestError> {
    let id = AtomId::from_slice(data).filter(|id| kind == AtomKind::List && !id.is_zero());
    id.ok_or(ManifestError::NotALink)
}

/// Returns whether an atom is the first one of a manifest, of any version.
#[must_use]
pub fn is_manifest(kind: AtomKind, data: &[u8]) -> bool {
    link(kind, data) == Ok(name_atom().id())
}

/// Items of a manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Items {
    /// Id of the table.
    pub table: AtomId,
    /// Ids of the contents, in the order of the files.
    pub contents: Vec<AtomId>,
}

impl Items {
    /// Returns the items in the order of the list.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = AtomId> {
        let first = [name_atom().id(), version_atom().id(), self.table];
        first.into_iter().chain(self.contents.iter().copied())
    }
}

/// Reader of the list atoms of a manifest, in order.
///
/// ```
/// use astreum_core::atom::{AtomId, AtomKind, MemoryStore, collect_list};
/// use astreum_core::manifest::{Items, ItemsReader};
///
/// let items = Items { table: AtomId::new([1; 32]), contents: vec![AtomId::new([2; 32])] };
/// let mut reader = ItemsReader::default();
/// for id in items.ids() {
///     reader.take(AtomKind::List, id.as_bytes())?;
/// }
/// assert_eq!(reader.finish(), Ok(items));
/// # Ok::<(), astreum_core::manifest::ManifestError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ItemsReader {
    seen: usize,
    table: Option<AtomId>,
    contents: Vec<AtomId>,
}

impl ItemsReader {
    /// Takes the next atom.
    ///
    /// # Errors
    /// Fails if the list is not a manifest of this version, or has too many entries.
    pub fn take(&mut self, kind: AtomKind, data: &[u8]) -> Result<(), ManifestError> {
        let id = link(kind, data)?;
        match self.seen {
            0 if id != name_atom().id() => return Err(ManifestError::NotALink),
            1 if id != version_atom().id() => return Err(ManifestError::UnknownVersion),
            2 => self.table = Some(id),
            0 | 1 => {}
            seen if seen >= ITEMS_BEFORE_CONTENTS + MAX_ENTRIES => {
                return Err(ManifestError::TooManyEntries);
            }
            _ => self.contents.push(id),
        }
        self.seen += 1;
        Ok(())
    }

    /// Returns the items at the end of the list.
    ///
    /// # Errors
    /// Fails if the list ends before the table.
    pub fn finish(self) -> Result<Items, ManifestError> {
        let Self {
            table, contents, ..
        } = self;
        let table = table.ok_or(ManifestError::NoTable)?;
        Ok(Items { table, contents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Expr;

    fn id(n: u8) -> AtomId {
        AtomId::new([n; 32])
    }

    fn read(ids: &[AtomId]) -> Result<Items, ManifestError> {
        let mut reader = ItemsReader::default();
        for id in ids {
            reader.take(AtomKind::List, id.as_bytes())?;
        }
        reader.finish()
    }

    #[test]
    fn items_are_those_of_the_expression() {
        let (table, content) = (Expr::bytes(*b"t"), Expr::bytes(*b"c"));
        let expr = Expr::list([
            Expr::symbol("manifest"),
            Expr::bytes([1]),
            table.clone(),
            content.clone(),
        ]);
        let items = Items {
            table: table.to_atoms().0,
            contents: [content.to_atoms().0].to_vec(),
        };
        let mut next = AtomId::ZERO;
        for item in items.ids().rev() {
            next = Atom::list(item, next).id();
        }
        assert_eq!(next, expr.to_atoms().0);
        let ids: Vec<AtomId> = items.ids().collect();
        assert_eq!(read(&ids), Ok(items));
    }

    #[test]
    fn other_lists_are_not_manifests() {
        let (name, version) = (name_atom().id(), version_atom().id());
        assert_eq!(read(&[]), Err(ManifestError::NoTable));
        assert_eq!(read(&[name, version]), Err(ManifestError::NoTable));
        assert_eq!(read(&[version]), Err(ManifestError::NotALink));
        let later = Atom::bytes([2]).id();
        assert_eq!(read(&[name, later]), Err(ManifestError::UnknownVersion));
        assert_eq!(
            read(&[name, version, AtomId::ZERO]),
            Err(ManifestError::NotALink)
        );
        let mut reader = ItemsReader::default();
        let bytes = name.as_bytes();
        assert!(is_manifest(AtomKind::List, bytes) && !is_manifest(AtomKind::Bytes, bytes));
        assert!(reader.take(AtomKind::Bytes, bytes).is_err());
        assert!(reader.take(AtomKind::List, &bytes[1..]).is_err());
    }

    #[test]
    fn number_of_contents_is_limited_before_they_are_held() {
        let mut reader = ItemsReader::default();
        for id in [name_atom().id(), version_atom().id(), id(1)] {
            reader.take(AtomKind::List, id.as_bytes()).unwrap();
        }
        for _ in 0..MAX_ENTRIES {
            reader.take(AtomKind::List, id(2).as_bytes()).unwrap();
        }
        let more = reader.take(AtomKind::List, id(2).as_bytes());
        assert_eq!(more, Err(ManifestError::TooManyEntries));
    }
}
