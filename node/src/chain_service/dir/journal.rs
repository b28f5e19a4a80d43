//! File of the head journal.

use super::ChainDirError;
use crate::chain_service::files::{read_file, replace_file};
use astreum_core::consensus::SavedHead;
use astreum_core::consensus::head_journal::{
    self, HeadJournal, JournalDamage, JournalHeader, MAX_JOURNAL_BYTES, MAX_JOURNAL_HEADS,
    MAX_JOURNAL_RECORDS, encode_head, encode_start,
};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Open head journal.
#[derive(Debug)]
pub struct HeadJournalFile {
    path: PathBuf,
    header: JournalHeader,
    heads: VecDeque<SavedHead>,
    records: usize,
    torn_bytes: usize,
    /// File for appending; `None` if the file has to be rewritten before the next record.
    file: Option<File>,
}

impl HeadJournalFile {
    /// Opens the journal of the chain `chain_id`; returns `None` if it does not exist.
    ///
    /// # Errors
    /// Fails if the journal is damaged or of another chain, or the disk fails.
    pub fn open(path: &Path, chain_id: u64) -> Result<Option<Self>, ChainDirError> {
        let limit = u64::try_from(MAX_JOURNAL_BYTES).unwrap_or(u64::MAX);
        let failed = |error| ChainDirError::io("read", path, error);
        let Some(bytes) = read_file(path, limit).map_err(failed)? else {
            return Ok(None);
        };
        let HeadJournal {
            header,
            heads,
            records,
            torn_bytes,
            ..
        } = head_journal::read(&bytes).map_err(|damage| match damage {
            JournalDamage::NewerVersion(found) => ChainDirError::NewerVersion {
                path: path.to_owned(),
                found: found.into(),
            },
            damage => ChainDirError::damaged(path, damage),
        })?;
        if header.chain_id != chain_id {
            return Err(ChainDirError::OtherChain {
                path: path.to_owned(),
                found: header.chain_id,
            });
        }
        // If the file cannot be opened for appending, saving the next head reports it.
        let file = File::options().append(true).open(path);
        Ok(Some(Self {
            path: path.to_owned(),
            header,
            heads,
            records,
            torn_bytes,
            file: file.ok().filter(|_| torn_bytes == 0),
        }))
    }

    /// Creates the journal with the last of these heads; replaces an existing one.
    ///
    /// # Errors
    /// Fails if the disk fails; a journal that was not replaced yet remains.
    pub fn create(path: &Path, header: JournalHeader, heads: Vec<SavedHead>) -> io::Result<Self> {
        let mut heads = VecDeque::from(heads);
        while heads.len() > MAX_JOURNAL_HEADS {
            heads.pop_front();
        }
        let mut journal = Self {
            path: path.to_owned(),
            header,
            heads,
            records: 0,
            torn_bytes: 0,
            file: None,
        };
        journal.rewrite()?;
        Ok(journal)
    }

    /// Returns the header, which identifies the chain.
    #[must_use]
    pub const fn header(&self) -> &JournalHeader {
        &self.header
    }

    /// Returns the heads, newest last.
    #[must_use]
    pub const fn heads(&self) -> &VecDeque<SavedHead> {
        &self.heads
    }

    /// Returns the bytes of an incomplete record that was found at the end of the file.
    #[must_use]
    pub const fn torn_bytes(&self) -> usize {
        self.torn_bytes
    }

    /// Appends a head and syncs the file. If the header differs, the file is rewritten.
    ///
    /// # Errors
    /// Fails if the disk fails. The head is then written together with the next one.
    pub fn append(&mut self, head: &SavedHead, header: JournalHeader) -> io::Result<()> {
        if self.heads.back() != Some(head) {
            if self.heads.len() >= MAX_JOURNAL_HEADS {
                self.heads.pop_front();
            }
            self.heads.push_back(head.clone());
        } else if self.file.is_some() && self.header == header {
            return self.check_in_place();
        }
        if self.header != header {
            self.header = header;
            self.file = None;
        }
        let Some(file) = self
            .file
            .as_mut()
            .filter(|_| self.records < MAX_JOURNAL_RECORDS)
        else {
            return self.rewrite();
        };
        let record = encode_head(head);
        let written = file.write_all(&record).and_then(|()| file.sync_data());
        // After a failure the state of the written data is unknown: the file is not appended to
        // again.
        let written = written.and_then(|()| self.check_in_place());
        match written {
            Ok(()) => self.records += 1,
            Err(_) => self.file = None,
        }
        written
    }

    /// Increases the count of records, so that a test reaches the rewrite without writing them.
    #[cfg(test)]
    pub(super) const fn add_records(&mut self, records: usize) {
        self.records += records;
    }

    /// Replaces the file by one with the heads in memory.
    fn rewrite(&mut self) -> io::Result<()> {
        self.file = None;
        let mut bytes = encode_start(&self.header);
        for head in &self.heads {
            bytes.extend(encode_head(head));
        }
        replace_file(&self.path, &bytes)?;
        self.file = Some(File::options().append(true).open(&self.path)?);
        self.records = self.heads.len();
        self.torn_bytes = 0;
        Ok(())
    }

    /// Checks that the open file is still the one at the journal's path.
    fn check_in_place(&self) -> io::Result<()> {
        let of = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let Some(file) = &self.file else {
            return Ok(());
        };
        if file.metadata().map(of)? == fs::metadata(&self.path).map(of)? {
            return Ok(());
        }
        Err(io::Error::other("the file was replaced by another"))
    }
}
