//! Queries of the index: transactions by account, height and data, the newest first.
//!
//! A page ends after a number of transactions, or after a number of examined records; in both cases
//! its cursor continues after the last one. The cursor names a position in the chain, so
//! that blocks that arrive meanwhile do not move later pages.

use super::coverage::{Coverage, Part, PartSource};
use super::pages::FileError;
use super::record::{IndexedBlock, IndexedTransaction, MAX_PREFIX_BYTES};
use super::segment::{Reader, Section, Segment};
use astreum_core::atom::AtomId;
use astreum_core::chain::Address;
use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;
use std::sync::Arc;

/// Maximum number of records that one query examines.
pub const MAX_SCANNED: u32 = 100_000;
/// Maximum number of transactions with a data prefix that are sorted in memory; a file with more of
/// them is read in order.
const MAX_SORTED: u32 = 65_536;
/// Number of hex digits of a block's id in a cursor.
const CURSOR_ID_DIGITS: usize = 16;

/// Position in the chain: a page continues below it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    height: u64,
    index: u32,
    /// First digits of the id of the block at the height.
    block: String,
}

impl Cursor {
    fn new(height: u64, index: u32, block: AtomId) -> Self {
        let block = block.to_string().chars().take(CURSOR_ID_DIGITS).collect();
        Self {
            height,
            index,
            block,
        }
    }
}

/// Formats height, index and the first digits of the block's id.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            height,
            index,
            block,
        } = self;
        write!(f, "{height}-{index}-{block}")
    }
}

/// Error for text that is not a [`Cursor`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseCursorError;

impl fmt::Display for ParseCursorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected the cursor of an earlier page, such as 12-0-0123456789abcdef")
    }
}

impl core::error::Error for ParseCursorError {}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, ParseCursorError> {
        let mut parts = text.split('-');
        let (Some(height), Some(index), Some(block), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseCursorError);
        };
        let is_decimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_id = block.len() == CURSOR_ID_DIGITS
            && block
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_id || !is_decimal(height) || !is_decimal(index) {
            return Err(ParseCursorError);
        }
        Ok(Self {
            height: height.parse().map_err(|_| ParseCursorError)?,
            index: index.parse().map_err(|_| ParseCursorError)?,
            block: block.to_owned(),
        })
    }
}

/// Conditions of a query. A transaction has to meet all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// Sender or recipient.
    pub account: Option<Address>,
    /// Sender.
    pub sender: Option<Address>,
    /// Recipient.
    pub recipient: Option<Address>,
    /// Heights of the blocks.
    pub heights: RangeInclusive<u64>,
    /// First bytes of the data; at most [`MAX_PREFIX_BYTES`].
    pub data_prefix: Vec<u8>,
    /// Maximum number of transactions of the page.
    pub limit: usize,
    /// Position below which the page begins.
    pub after: Option<Cursor>,
}

impl HistoryQuery {
    /// Creates a query for all transactions, with pages of this length.
    #[must_use]
    pub const fn all(limit: usize) -> Self {
        Self {
            account: None,
            sender: None,
            recipient: None,
            heights: 0..=u64::MAX,
            data_prefix: Vec::new(),
            limit,
            after: None,
        }
    }

    fn matches(&self, transaction: &IndexedTransaction) -> bool {
        let is = |wanted: &Option<Address>, key: &Address| wanted.is_none_or(|it| it == *key);
        is(&self.sender, &transaction.sender)
            && is(&self.recipient, &transaction.recipient)
            && (is(&self.account, &transaction.sender) || is(&self.account, &transaction.recipient))
            && self.heights.contains(&transaction.height)
            && transaction.data.as_bytes().starts_with(&self.data_prefix)
    }
}

/// Transaction of a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryEntry {
    /// Transaction.
    pub transaction: IndexedTransaction,
    /// Id of its block.
    pub block: AtomId,
    /// Timestamp of its block, in seconds since 1970.
    pub timestamp: u64,
}

/// Part of the result of a query.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryPage {
    /// Transactions, the newest first.
    pub entries: Vec<HistoryEntry>,
    /// Position to continue from; `None` if there is nothing below.
    pub next: Option<Cursor>,
    /// Lowest height from which on the index is complete; `None` if it has no block yet.
    pub from_height: Option<u64>,
    /// Newest block that the index has.
    pub to: Option<(u64, AtomId)>,
    /// True if the index has everything that the node keeps of the chain.
    pub is_complete: bool,
}

/// Reason a query has no result.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HistoryError {
    /// The node has no index.
    Off,
    /// A data prefix is longer than what is indexed.
    LongPrefix {
        /// Length in bytes.
        bytes: usize,
    },
    /// The block of the cursor was removed from the chain.
    Reorganized {
        /// Height of the block.
        height: u64,
    },
    /// A file is damaged, and is being replaced.
    Damaged(String),
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str(
                "this node has no transaction index: set transaction_index = true and restart it",
            ),
            Self::LongPrefix { bytes } => write!(
                f,
                "the data prefix has {bytes} bytes: only the first {MAX_PREFIX_BYTES} bytes of data \
                 are indexed"
            ),
            Self::Reorganized { height } => write!(
                f,
                "the block of the cursor, at height {height}, was removed by a reorganization: start \
                 again without a cursor"
            ),
            Self::Damaged(why) => {
                write!(
                    f,
                    "the transaction index is being repaired, try again: {why}"
                )
            }
        }
    }
}

impl core::error::Error for HistoryError {}

impl From<FileError> for HistoryError {
    fn from(error: FileError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Runs a query. Reads files of the index, and examines at most `max_scanned` records.
pub(super) fn run(
    coverage: &Coverage,
    query: &HistoryQuery,
    max_scanned: u32,
) -> Result<HistoryPage, HistoryError> {
    let bytes = query.data_prefix.len();
    if bytes > MAX_PREFIX_BYTES {
        return Err(HistoryError::LongPrefix { bytes });
    }
    if let Some(Cursor { height, block, .. }) = &query.after
        && let Some((id, _)) = coverage.block(*height)?
        && !id.to_string().starts_with(block.as_str())
    {
        return Err(HistoryError::Reorganized { height: *height });
    }
    let mut search = Search {
        query,
        left: max_scanned,
        page: HistoryPage {
            from_height: coverage.lowest(),
            to: coverage.top(),
            is_complete: coverage.is_complete(),
            ..HistoryPage::default()
        },
    };
    for part in &coverage.parts {
        let is_over = match &part.source {
            PartSource::Memory(blocks) => search.blocks(blocks),
            PartSource::File(segment) => search.file(part, segment)?,
        };
        if is_over {
            break;
        }
    }
    Ok(search.page)
}

struct Search<'q> {
    query: &'q HistoryQuery,
    /// Number of records that may still be examined.
    left: u32,
    page: HistoryPage,
}

impl Search<'_> {
    /// Examines a transaction. Returns `true` if the page is full, and sets its cursor.
    fn examine(
        &mut self,
        transaction: IndexedTransaction,
        block: impl FnOnce() -> Result<(AtomId, u64), FileError>,
    ) -> Result<bool, FileError> {
        self.left = self.left.saturating_sub(1);
        let is_match = self.query.matches(&transaction);
        if !is_match && self.left > 0 {
            return Ok(false);
        }
        let (block, timestamp) = block()?;
        let (height, index) = (transaction.height, transaction.index);
        if is_match {
            self.page.entries.push(HistoryEntry {
                transaction,
                block,
                timestamp,
            });
        }
        let is_over = self.left == 0 || self.page.entries.len() >= self.query.limit;
        if is_over {
            self.page.next = Some(Cursor::new(height, index, block));
        }
        Ok(is_over)
    }

    fn blocks(&mut self, blocks: &[Arc<IndexedBlock>]) -> bool {
        let after = self.query.after.as_ref();
        for block in blocks.iter().rev() {
            let is_above = after.is_some_and(|after| after.height < block.height);
            if is_above || !self.query.heights.contains(&block.height) {
                continue;
            }
            for transaction in block.transactions.iter().rev() {
                let is_above = after
                    .is_some_and(|it| it.height == block.height && it.index <= transaction.index);
                if is_above {
                    continue;
                }
                let of_block = || Ok((block.id, block.timestamp));
                let is_over = self.examine(transaction.clone(), of_block);
                if is_over.unwrap_or(true) {
                    return true;
                }
            }
        }
        false
    }

    fn file(&mut self, part: &Part, segment: &Segment) -> Result<bool, FileError> {
        let reader = &mut segment.reader();
        let low = part.low.max(*self.query.heights.start());
        let high = part.high.min(*self.query.heights.end());
        if low > high {
            return Ok(false);
        }
        let start = reader.start_of(low)?;
        let mut end = reader.block(high)?.end;
        match &self.query.after {
            Some(after) if after.height < low => return Ok(false),
            Some(after) if after.height <= high => {
                let of_block = reader.start_of(after.height)?;
                end = end.min(of_block.saturating_add(after.index));
            }
            _ => {}
        }
        if start >= end {
            return Ok(false);
        }
        let HistoryQuery {
            account,
            sender,
            recipient,
            ..
        } = *self.query;
        let numbers = |reader: &mut Reader<'_>, order, account: Address| {
            Descending::new(reader, order, account.as_bytes(), start, end)
        };
        if let Some(account) = account {
            let mut sent = numbers(reader, Section::BySender, account)?;
            let mut received = numbers(reader, Section::ByRecipient, account)?;
            // A transfer to the sender itself is in both.
            while let Some(number) = sent.next.max(received.next) {
                for numbers in [&mut sent, &mut received] {
                    if numbers.next == Some(number) {
                        numbers.advance(reader)?;
                    }
                }
                if self.number(reader, number)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let by_key = match (sender, recipient) {
            (Some(sender), _) => Some((Section::BySender, sender)),
            (None, Some(recipient)) => Some((Section::ByRecipient, recipient)),
            (None, None) => None,
        };
        if let Some((order, key)) = by_key {
            let mut numbers = numbers(reader, order, key)?;
            while let Some(number) = numbers.next {
                numbers.advance(reader)?;
                if self.number(reader, number)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        if let Some(numbers) = self.with_prefix(reader, start, end)? {
            for number in numbers.into_iter().rev() {
                if self.number(reader, number)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        for number in (start..end).rev() {
            if self.number(reader, number)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the numbers of the transactions with the data prefix in ascending order; `None` if
    /// there is no prefix, or if so many have it that reading all transactions is faster.
    fn with_prefix(
        &self,
        reader: &mut Reader<'_>,
        start: u32,
        end: u32,
    ) -> Result<Option<Vec<u32>>, FileError> {
        let prefix = self.query.data_prefix.as_slice();
        if prefix.is_empty() {
            return Ok(None);
        }
        let is_in_or_after = |_, data: &super::record::DataPrefix| data.as_bytes() >= prefix;
        let from = reader.partition(Section::ByData, is_in_or_after)?;
        let to = reader.partition(Section::ByData, |_, data| {
            let data = data.as_bytes();
            data > prefix && !data.starts_with(prefix)
        })?;
        if to.saturating_sub(from) > MAX_SORTED {
            return Ok(None);
        }
        let mut numbers = Vec::new();
        for position in from..to {
            let number = reader.ordered(Section::ByData, position)?;
            if (start..end).contains(&number) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(Some(numbers))
    }

    fn number(&mut self, reader: &mut Reader<'_>, number: u32) -> Result<bool, FileError> {
        let transaction = reader.transaction(number)?;
        let height = transaction.height;
        self.examine(transaction, || {
            let block = reader.block(height)?;
            Ok((block.id, block.timestamp))
        })
    }
}

/// Numbers of an account's transactions in a file, the highest first.
struct Descending {
    order: Section,
    /// Positions that are left.
    first: u32,
    position: u32,
    next: Option<u32>,
}

impl Descending {
    /// Finds the numbers from `start` up to `end`.
    fn new(
        reader: &mut Reader<'_>,
        order: Section,
        key: &[u8],
        start: u32,
        end: u32,
    ) -> Result<Self, FileError> {
        let at_least = |wanted: u32| {
            move |number: u32, field: &super::record::DataPrefix| {
                (field.as_bytes(), number) >= (key, wanted)
            }
        };
        let mut descending = Self {
            order,
            first: reader.partition(order, at_least(start))?,
            position: reader.partition(order, at_least(end))?,
            next: None,
        };
        descending.advance(reader)?;
        Ok(descending)
    }

    fn advance(&mut self, reader: &mut Reader<'_>) -> Result<(), FileError> {
        self.next = match self.position > self.first {
            true => {
                self.position -= 1;
                Some(reader.ordered(self.order, self.position)?)
            }
            false => None,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_have_one_text() {
        let cursor = Cursor::new(12, 3, AtomId::new([0xab; 32]));
        assert_eq!(cursor.to_string(), "12-3-abababababababab");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in [
            "",
            "12",
            "12-3",
            "12-3-abababababababa",
            "12-3-ABABABABABABABAB",
            "+12-3-abababababababab",
            "12--abababababababab",
            "12-4294967296-abababababababab",
            "12-3-abababababababab-",
            "-12-3-abababababababab",
        ] {
            assert_eq!(wrong.parse::<Cursor>(), Err(ParseCursorError), "{wrong}");
        }
    }
}
