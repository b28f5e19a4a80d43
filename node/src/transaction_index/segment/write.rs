//! Writing of files: of blocks in memory, and of other files.

use super::{BlockEntry, EXTENSION, Header, Reader, Section, Segment};
use crate::transaction_index::pages::{FileError, PageWriter};
use crate::transaction_index::record::{DataPrefix, IndexedBlock, IndexedTransaction};
use astreum_core::atom::AtomId;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// End of the name of a file that is being written.
pub(in crate::transaction_index) const TEMPORARY: &str = "new";
/// Number of items that are written between two calls of `should_continue`.
const ITEMS_PER_CHECK: u32 = 1_024;

/// Returns the path of the file with these blocks.
fn path_of(directory: &Path, header: &Header) -> PathBuf {
    let id: String = header.top.to_string().chars().take(16).collect();
    let Header { low, high, .. } = header;
    directory.join(format!("{low:020}-{high:020}-{id}.{EXTENSION}"))
}

/// File that is being written; not complete until it is renamed.
struct Draft {
    header: Header,
    path: PathBuf,
    temporary: PathBuf,
    out: PageWriter,
    key: super::Key,
}

impl Draft {
    fn create(directory: &Path, header: Header) -> Result<Self, FileError> {
        let path = path_of(directory, &header);
        let temporary = path.with_extension(TEMPORARY);
        let (out, key) = PageWriter::create(&temporary, &header.to_bytes())?;
        Ok(Self {
            header,
            path,
            temporary,
            out,
            key,
        })
    }

    /// Ends the file and renames it; it is on the disk when this returns.
    fn finish(self, directory: &Path) -> Result<Segment, FileError> {
        let file = self.out.finish()?;
        let renamed = fs::rename(&self.temporary, &self.path);
        renamed.map_err(|error| FileError::io("create", &self.path, error))?;
        let synced = File::open(directory).and_then(|opened| opened.sync_all());
        synced.map_err(|error| FileError::io("write", directory, error))?;
        Ok(Segment::new(self.header, &self.path, file, self.key))
    }
}

/// Writes a file; an incomplete one is removed.
fn write(
    directory: &Path,
    header: Header,
    fill: impl FnOnce(&mut PageWriter) -> Result<bool, FileError>,
) -> Result<Option<Segment>, FileError> {
    let mut draft = Draft::create(directory, header)?;
    let temporary = draft.temporary.clone();
    let result = match fill(&mut draft.out) {
        Ok(true) => draft.finish(directory).map(Some),
        Ok(false) => Ok(None),
        Err(error) => Err(error),
    };
    if !matches!(result, Ok(Some(_))) {
        // If this fails, the next start removes it.
        let _ = fs::remove_file(temporary);
    }
    result
}

/// Writes consecutive blocks, the lowest first.
pub(in crate::transaction_index) fn write_blocks(
    directory: &Path,
    chain_id: u64,
    blocks: &[Arc<IndexedBlock>],
) -> Result<Option<Segment>, FileError> {
    let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else {
        return Ok(None);
    };
    let transactions: Vec<&IndexedTransaction> = blocks
        .iter()
        .flat_map(|block| &block.transactions)
        .collect();
    let header = Header {
        chain_id,
        low: first.height,
        high: last.height,
        transactions: u32::try_from(transactions.len()).unwrap_or(u32::MAX),
        previous: first.previous,
        top: last.id,
    };
    write(directory, header, |out| {
        let mut end = 0;
        for block in blocks {
            end += block.transactions.len();
            let entry = BlockEntry {
                id: block.id,
                timestamp: block.timestamp,
                end: u32::try_from(end).unwrap_or(u32::MAX),
            };
            out.push(&entry.to_bytes())?;
        }
        out.end_section()?;
        for transaction in &transactions {
            out.push(&transaction.to_bytes())?;
        }
        out.end_section()?;
        for order in Section::ORDERS {
            let numbered = transactions.iter().zip(0_u32..);
            let mut keys: Vec<(DataPrefix, u32)> = numbered
                .map(|(it, number)| (order.field(it), number))
                .collect();
            keys.sort_unstable();
            for (_, number) in keys {
                out.push(&number.to_be_bytes())?;
            }
            out.end_section()?;
        }
        Ok(true)
    })
}

/// Blocks of a file.
#[derive(Clone, Debug)]
pub(in crate::transaction_index) struct Range {
    pub(in crate::transaction_index) segment: Arc<Segment>,
    pub(in crate::transaction_index) low: u64,
    pub(in crate::transaction_index) high: u64,
}

/// Range that is being merged.
struct Input<'s> {
    reader: Reader<'s>,
    low: u64,
    high: u64,
    /// Numbers of its first transaction, and of the one after its last.
    start: u32,
    end: u32,
    /// Number of its first transaction in the new file.
    offset: u32,
}

impl<'s> Input<'s> {
    fn new(range: &'s Range, offset: u32) -> Result<Self, FileError> {
        let mut reader = range.segment.reader();
        let start = reader.start_of(range.low)?;
        let end = reader.block(range.high)?.end;
        if end < start || end > range.segment.header.transactions {
            let problem = "the numbers of transactions are not ascending";
            return Err(FileError::damaged(range.segment.path(), problem));
        }
        Ok(Self {
            reader,
            low: range.low,
            high: range.high,
            start,
            end,
            offset,
        })
    }
}

/// Transactions of an input in the order of a field.
struct Ordered<'i, 's> {
    input: &'i mut Input<'s>,
    order: Section,
    position: u32,
    items: u32,
    /// Field of the next one, and its number in the new file.
    next: Option<(DataPrefix, u32)>,
}

impl Ordered<'_, '_> {
    fn advance(&mut self) -> Result<(), FileError> {
        self.next = None;
        while self.position < self.items && self.next.is_none() {
            let number = self.input.reader.ordered(self.order, self.position)?;
            self.position += 1;
            if (self.input.start..self.input.end).contains(&number) {
                let transaction = self.input.reader.transaction(number)?;
                let new = number - self.input.start + self.input.offset;
                self.next = Some((self.order.field(&transaction), new));
            }
        }
        Ok(())
    }
}

/// Merges ranges that follow each other, the lowest first, into one file. Returns `None` if
/// `should_continue` returned `false` meanwhile, or if there are more than `max` transactions.
pub(in crate::transaction_index) fn merge(
    directory: &Path,
    ranges: &[Range],
    max: u32,
    should_continue: &mut dyn FnMut() -> bool,
) -> Result<Option<Segment>, FileError> {
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else {
        return Ok(None);
    };
    let mut total = 0_u32;
    let mut inputs = Vec::new();
    for range in ranges {
        let input = Input::new(range, total)?;
        total = total.saturating_add(input.end - input.start);
        inputs.push(input);
    }
    if total > max {
        return Ok(None);
    }
    let previous = match first.low == first.segment.header.low {
        true => first.segment.header.previous,
        false => first.segment.reader().block(first.low - 1)?.id,
    };
    let header = Header {
        chain_id: first.segment.header.chain_id,
        low: first.low,
        high: last.high,
        transactions: total,
        previous,
        top: block_id(last)?,
    };
    let mut count = 0_u32;
    let mut is_wanted = move || {
        count = count.wrapping_add(1);
        !count.is_multiple_of(ITEMS_PER_CHECK) || should_continue()
    };
    write(directory, header, |out| {
        for input in &mut inputs {
            for height in input.low..=input.high {
                let block = input.reader.block(height)?;
                let end = block
                    .end
                    .saturating_sub(input.start)
                    .saturating_add(input.offset);
                out.push(&BlockEntry { end, ..block }.to_bytes())?;
            }
        }
        out.end_section()?;
        for input in &mut inputs {
            for number in input.start..input.end {
                out.push(&input.reader.transaction(number)?.to_bytes())?;
                if !is_wanted() {
                    return Ok(false);
                }
            }
        }
        out.end_section()?;
        for order in Section::ORDERS {
            if !merge_order(out, &mut inputs, order, &mut is_wanted)? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

fn block_id(range: &Range) -> Result<AtomId, FileError> {
    match range.high == range.segment.header.high {
        true => Ok(range.segment.header.top),
        false => Ok(range.segment.reader().block(range.high)?.id),
    }
}

fn merge_order(
    out: &mut PageWriter,
    inputs: &mut [Input<'_>],
    order: Section,
    is_wanted: &mut dyn FnMut() -> bool,
) -> Result<bool, FileError> {
    let mut streams = Vec::new();
    for input in inputs {
        let items = input.reader.segment.header.transactions;
        let mut stream = Ordered {
            input,
            order,
            position: 0,
            items,
            next: None,
        };
        stream.advance()?;
        streams.push(stream);
    }
    while let Some(stream) = streams
        .iter_mut()
        .filter(|stream| stream.next.is_some())
        .min_by_key(|stream| stream.next)
    {
        if let Some((_, number)) = stream.next {
            out.push(&number.to_be_bytes())?;
        }
        stream.advance()?;
        if !is_wanted() {
            return Ok(false);
        }
    }
    out.end_section()?;
    Ok(true)
}
