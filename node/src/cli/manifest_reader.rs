//! Manifests and contents of the node.
//!
//! Everything that is read is bounded by what the format allows, whoever made the manifest: the
//! entries and their names by [`astreum_core::manifest`], a content by the size in the table.

use core::fmt;

use astreum_core::atom::{AtomId, AtomKind};
use astreum_core::manifest::{
    ContentReader, Items, ItemsReader, MAX_TABLE_BYTES, ManifestError, PIECE_BYTES, Table, link,
    list_count, list_len,
};

use crate::rpc::{AtomParts, Client};

use super::list_reader::read_list;
use super::output::Failure;
use super::progress::ByteBar;

/// Manifest that was read.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) table: Table,
    /// Ids of the contents, in the order of the files.
    pub(super) contents: Vec<AtomId>,
}

impl Manifest {
    /// Reads the manifest with this id.
    pub(super) fn read(client: &Client, id: AtomId, bar: &ByteBar) -> Result<Self, Failure> {
        let invalid =
            |error| Failure::Failed(format!("object {id} is not a valid manifest: {error}"));
        let mut items = ItemsReader::default();
        read_list(client, id, bar, &mut |parts| {
            items.take(parts.kind, parts.data).map_err(invalid)
        })?;
        let Items { table, contents } = items.finish().map_err(invalid)?;
        let mut bytes = Vec::new();
        read_list(client, table, bar, &mut |parts| {
            take_table(&parts, &mut bytes).map_err(invalid)
        })?;
        let table = Table::parse(bytes).map_err(invalid)?;
        table.check_contents(contents.len()).map_err(invalid)?;
        Ok(Self { table, contents })
    }

    /// Returns the content of the only file; fails for a folder.
    pub(super) fn single_file(&self, id: &AtomId) -> Result<(AtomId, u64), Failure> {
        let content = self.contents.first().copied();
        match content.filter(|_| self.table.is_single_file()) {
            Some(content) => Ok((content, self.table.file_bytes())),
            None => Err(Failure::Failed(format!(
                "object {id} is a folder: --output DIRECTORY restores it, and --files lists it"
            ))),
        }
    }
}

/// Adds a piece of a table, which is in full pieces but for the last one.
fn take_table(parts: &AtomParts<'_>, bytes: &mut Vec<u8>) -> Result<(), ManifestError> {
    let len = parts.data.len();
    let is_piece = parts.kind == AtomKind::Bytes && (1..=PIECE_BYTES).contains(&len);
    if !is_piece || !bytes.len().is_multiple_of(PIECE_BYTES) {
        let size = bytes.len() as u64;
        return Err(ManifestError::OtherContent { size });
    }
    if bytes.len() + len > MAX_TABLE_BYTES {
        return Err(ManifestError::TableTooLong);
    }
    bytes.extend_from_slice(parts.data);
    Ok(())
}

/// Returns the ids of a file's lists of pieces. `what` names the file in errors.
pub(super) fn lists_of(
    client: &Client,
    (content, size): (AtomId, u64),
    what: &dyn fmt::Display,
    bar: &ByteBar,
) -> Result<Vec<AtomId>, Failure> {
    let count = list_count(size);
    if count == 1 {
        return Ok(vec![content]);
    }
    let invalid = |error: ManifestError| Failure::Failed(format!("{what}: {error}"));
    let mut lists = Vec::new();
    read_list(client, content, bar, &mut |parts| {
        if lists.len() as u64 >= count {
            return Err(invalid(ManifestError::OtherContent { size }));
        }
        lists.push(link(parts.kind, parts.data).map_err(invalid)?);
        Ok(())
    })?;
    match lists.len() as u64 == count {
        true => Ok(lists),
        false => Err(invalid(ManifestError::OtherContent { size })),
    }
}

/// Passes the bytes of a file from list number `first` on to `take`.
pub(super) fn read_content(
    client: &Client,
    (lists, size): (&[AtomId], u64),
    first: u64,
    what: &dyn fmt::Display,
    bar: &ByteBar,
    take: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let invalid = |error: ManifestError| Failure::Failed(format!("{what}: {error}"));
    for (number, list) in (0..).zip(lists).filter(|(number, _)| *number >= first) {
        let mut reader = ContentReader::new(list_len(size, number));
        read_list(client, *list, bar, &mut |parts| {
            let len = parts.data.len();
            reader.take(parts.kind, len).map_err(invalid)?;
            bar.add(len);
            take(parts.data)
        })?;
        reader.finish().map_err(invalid)?;
    }
    Ok(())
}
