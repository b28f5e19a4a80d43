//! Files of the index: each has the transactions of consecutive blocks, and never changes.
//!
//! Numbers are big endian. The first page has
//!
//! ```text
//! "astreum tx index" | version: u32 | chain id: u64 | lowest height: u64 | highest height: u64
//!   | number of transactions: u32 | id of the block before the lowest: 32 bytes | id of the highest block: 32 bytes
//! ```
//!
//! Five sections follow, each from the start of a page; an item is never split between pages:
//!
//! | section | item |
//! | --- | --- |
//! | blocks | id (32 bytes), timestamp (`u64`), number of transactions up to its end (`u32`), by height |
//! | transactions | [`IndexedTransaction`], in the order of the chain |
//! | by sender, by recipient, by data | number of a transaction (`u32`), ordered by that field, then by number |

mod write;

pub(super) use write::{Range, TEMPORARY, merge, write_blocks};

use super::pages::{DATA_BYTES, FileError, Key, PAGE_BYTES, first_key, read_page};
use super::record::{DataPrefix, IndexedTransaction, ROW_BYTES};
use astreum_core::atom::AtomId;
use core::sync::atomic::{AtomicBool, Ordering};
use std::fs::File;
use std::path::{Path, PathBuf};

/// End of the name of a file.
pub(super) const EXTENSION: &str = "segment";
const MAGIC: &[u8; 16] = b"astreum tx index";
const VERSION: u32 = 1;
/// Size in bytes of the record of a block.
const BLOCK_BYTES: usize = 44;

/// Section of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    Blocks,
    Transactions,
    BySender,
    ByRecipient,
    ByData,
}

impl Section {
    const ALL: [Self; 5] = [
        Self::Blocks,
        Self::Transactions,
        Self::BySender,
        Self::ByRecipient,
        Self::ByData,
    ];
    /// Sections that order the transactions by a field.
    pub(super) const ORDERS: [Self; 3] = [Self::BySender, Self::ByRecipient, Self::ByData];

    const fn item_bytes(self) -> usize {
        match self {
            Self::Blocks => BLOCK_BYTES,
            Self::Transactions => ROW_BYTES,
            Self::BySender | Self::ByRecipient | Self::ByData => 4,
        }
    }

    const fn items_per_page(self) -> u64 {
        (DATA_BYTES / self.item_bytes()) as u64
    }

    /// Returns the field that the section is ordered by.
    pub(super) fn field(self, transaction: &IndexedTransaction) -> DataPrefix {
        match self {
            Self::BySender => DataPrefix::of(transaction.sender.as_bytes()),
            Self::ByRecipient => DataPrefix::of(transaction.recipient.as_bytes()),
            Self::ByData | Self::Blocks | Self::Transactions => transaction.data,
        }
    }
}

/// Blocks and transactions of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) chain_id: u64,
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) transactions: u32,
    /// Id of the block before the lowest one; zero before a genesis.
    pub(super) previous: AtomId,
    /// Id of the highest block.
    pub(super) top: AtomId,
}

impl Header {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend(self.chain_id.to_be_bytes());
        bytes.extend(self.low.to_be_bytes());
        bytes.extend(self.high.to_be_bytes());
        bytes.extend(self.transactions.to_be_bytes());
        bytes.extend(self.previous.as_bytes());
        bytes.extend(self.top.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8], chain_id: u64) -> Result<Self, String> {
        let short = || "the header is incomplete".to_owned();
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or("not a file of a transaction index")?;
        let (version, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let version = u32::from_be_bytes(*version);
        if version != VERSION {
            return Err(format!(
                "unsupported format version {version}: expected {VERSION}"
            ));
        }
        let (chain, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let chain = u64::from_be_bytes(*chain);
        if chain != chain_id {
            return Err(format!(
                "the file belongs to chain {chain}: expected {chain_id}"
            ));
        }
        let (low, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (high, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (transactions, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (previous, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (top, _) = rest.split_first_chunk().ok_or_else(short)?;
        let header = Self {
            chain_id,
            low: u64::from_be_bytes(*low),
            high: u64::from_be_bytes(*high),
            transactions: u32::from_be_bytes(*transactions),
            previous: AtomId::new(*previous),
            top: AtomId::new(*top),
        };
        match header.low <= header.high && header.high < u64::MAX {
            true => Ok(header),
            false => Err("the heights are invalid".to_owned()),
        }
    }

    const fn items(&self, section: Section) -> u64 {
        match section {
            Section::Blocks => self.high - self.low + 1,
            _ => self.transactions as u64,
        }
    }

    /// Returns the number of the first page of a section, and with `None` that after the last one.
    fn first_page(&self, section: Option<Section>) -> u64 {
        let before = Section::ALL
            .into_iter()
            .take_while(|it| Some(*it) != section);
        let pages = before.map(|it| self.items(it).div_ceil(it.items_per_page()));
        1 + pages.sum::<u64>()
    }
}

/// Record of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockEntry {
    pub(super) id: AtomId,
    pub(super) timestamp: u64,
    /// Number of transactions of the file up to the end of the block.
    pub(super) end: u32,
}

impl BlockEntry {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.id.as_bytes().to_vec();
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.end.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (timestamp, rest) = rest.split_first_chunk()?;
        let (end, _) = rest.split_first_chunk()?;
        Some(Self {
            id: AtomId::new(*id),
            timestamp: u64::from_be_bytes(*timestamp),
            end: u32::from_be_bytes(*end),
        })
    }
}

/// Open file.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: Header,
    path: PathBuf,
    file: File,
    key: Key,
    /// Set once a page was found to be damaged or unreadable.
    is_damaged: AtomicBool,
}

impl Segment {
    /// Opens a file of this chain, and checks its first page and its length.
    pub(super) fn open(path: &Path, chain_id: u64) -> Result<Self, FileError> {
        let opened = File::open(path);
        let file = opened.map_err(|error| FileError::io("open", path, error))?;
        let first = read_page(&file, path, &first_key(), 0)?;
        let header = Header::from_bytes(&first, chain_id);
        let header = header.map_err(|problem| FileError::damaged(path, problem))?;
        let len = file.metadata().map(|metadata| metadata.len());
        let len = len.map_err(|error| FileError::io("read", path, error))?;
        let expected = header.first_page(None).saturating_mul(PAGE_BYTES as u64);
        if len != expected {
            let problem = format!("the file has {len} bytes: expected {expected}");
            return Err(FileError::damaged(path, problem));
        }
        Ok(Self::new(
            header,
            path,
            file,
            *blake3::hash(&first).as_bytes(),
        ))
    }

    fn new(header: Header, path: &Path, file: File, key: Key) -> Self {
        Self {
            header,
            path: path.to_owned(),
            file,
            key,
            is_damaged: AtomicBool::new(false),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of its pages.
    pub(super) fn pages(&self) -> u64 {
        self.header.first_page(None)
    }

    /// Returns its length in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.pages().saturating_mul(PAGE_BYTES as u64)
    }

    /// Returns whether a reader has found damage.
    pub(super) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }

    /// Reads a page and compares its checksum.
    pub(super) fn check_page(&self, number: u64) -> Result<(), FileError> {
        let key = if number == 0 { first_key() } else { self.key };
        self.marked(read_page(&self.file, &self.path, &key, number))
            .map(drop)
    }

    fn marked<T>(&self, read: Result<T, FileError>) -> Result<T, FileError> {
        if read.is_err() {
            self.is_damaged.store(true, Ordering::Relaxed);
        }
        read
    }

    /// Returns a reader, which keeps the last page of each section.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            segment: self,
            pages: [const { None }; 5],
        }
    }
}

/// Reader of a file.
#[derive(Debug)]
pub(super) struct Reader<'s> {
    segment: &'s Segment,
    pages: [Option<(u64, Vec<u8>)>; 5],
}

impl Reader<'_> {
    fn item(&mut self, section: Section, position: u64) -> Result<&[u8], FileError> {
        let segment = self.segment;
        let outside = || {
            let problem = format!("item {position} of {section:?} is missing");
            FileError::damaged(&segment.path, problem)
        };
        if position >= segment.header.items(section) {
            return segment.marked(Err(outside()));
        }
        let per_page = section.items_per_page();
        let number = segment.header.first_page(Some(section)) + position / per_page;
        let slot = self.pages.get_mut(section as usize).ok_or_else(outside)?;
        if slot.as_ref().is_none_or(|(read, _)| *read != number) {
            let read = read_page(&segment.file, &segment.path, &segment.key, number);
            *slot = Some((number, segment.marked(read)?));
        }
        let bytes = section.item_bytes();
        let index = usize::try_from(position % per_page).unwrap_or(usize::MAX);
        let start = index.saturating_mul(bytes);
        let page = slot.as_ref().map(|(_, page)| page.as_slice());
        let item = page.and_then(|page| page.get(start..start.saturating_add(bytes)));
        item.ok_or_else(outside)
    }

    fn parsed<T>(
        &mut self,
        section: Section,
        position: u64,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, FileError> {
        let segment = self.segment;
        let item = self.item(section, position)?;
        let parsed = parse(item).ok_or_else(|| {
            let problem = format!("item {position} of {section:?} is malformed");
            FileError::damaged(&segment.path, problem)
        });
        segment.marked(parsed)
    }

    /// Returns the block at a height that the file has.
    pub(super) fn block(&mut self, height: u64) -> Result<BlockEntry, FileError> {
        let position = height.wrapping_sub(self.segment.header.low);
        self.parsed(Section::Blocks, position, BlockEntry::from_bytes)
    }

    /// Returns the number of the first transaction of the block at a height, or of the end of the
    /// file for the height above its highest.
    pub(super) fn start_of(&mut self, height: u64) -> Result<u32, FileError> {
        match height <= self.segment.header.low {
            true => Ok(0),
            false => Ok(self.block(height - 1)?.end),
        }
    }

    /// Returns a transaction by its number.
    pub(super) fn transaction(&mut self, number: u32) -> Result<IndexedTransaction, FileError> {
        let position = u64::from(number);
        self.parsed(
            Section::Transactions,
            position,
            IndexedTransaction::from_bytes,
        )
    }

    /// Returns the number of the transaction at a position of an order.
    pub(super) fn ordered(&mut self, order: Section, position: u32) -> Result<u32, FileError> {
        let parse = |item: &[u8]| Some(u32::from_be_bytes(*item.first_chunk()?));
        self.parsed(order, u64::from(position), parse)
    }

    /// Returns the first position of an order from which on `is_after` is true of the number and the
    /// field of the transaction.
    pub(super) fn partition(
        &mut self,
        order: Section,
        is_after: impl Fn(u32, &DataPrefix) -> bool,
    ) -> Result<u32, FileError> {
        let (mut low, mut high) = (0, self.segment.header.transactions);
        while low < high {
            let middle = low + (high - low) / 2;
            let number = self.ordered(order, middle)?;
            let transaction = self.transaction(number)?;
            match is_after(number, &order.field(&transaction)) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok(low)
    }
}
