//! Reading of an archive into a store.

use super::frames::{Part, Reader};
use super::{ArchiveError, ArchiveKind, Manifest};
use crate::chain_service::dir::{ChainDir, ChainDirError};
use crate::chain_service::recover::record_from_chain;
use crate::chain_service::replay::{Replay, ReplayProblem, Verifier};
use crate::chain_service::{Head, HeadState, ResumeData, SavedHead};
use crate::store::{Store, StoreError};
use astreum_core::atom::AtomId;
use astreum_core::chain::{Block, Election, RecordError};
use astreum_core::consensus::snapshot::{StateFetch, StatePoll};
use core::convert::Infallible;
use core::fmt;
use std::io::Read;

/// Number of atoms that are checked between two reports of progress.
const STEPS: u32 = 4_096;

/// Archive that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// Heads to resume from, newest last; empty if no block was verified.
    pub heads: Vec<SavedHead>,
    /// Genesis, of an archive of a chain.
    pub genesis: Option<AtomId>,
}

/// Reason why an archive was not read to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// The archive cannot be read.
    Archive(ArchiveError),
    /// The store refused atoms.
    Store(StoreError),
    /// A block is not valid, or something that it needs is not in the archive.
    Block(ReplayProblem),
    /// The state of a snapshot lacks an atom.
    State {
        /// The atom.
        missing: AtomId,
    },
    /// The archive names other blocks than its manifest.
    OtherHead {
        /// Head by the manifest.
        expected: AtomId,
    },
    /// The block of a snapshot is not trusted.
    NotTrusted {
        /// The block.
        head: AtomId,
    },
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Archive(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Block(problem) => write!(f, "the archive is not a valid chain: {problem}"),
            Self::State { missing } => write!(
                f,
                "the archive lacks atom {missing} of its state: export the snapshot again"
            ),
            Self::OtherHead { expected } => write!(
                f,
                "the archive does not end in block {expected}, which its manifest names"
            ),
            Self::NotTrusted { head } => write!(
                f,
                "a snapshot is not verified from its genesis: compare block {head} with a source \
                 that you trust, and repeat with --trust {head}"
            ),
        }
    }
}

impl core::error::Error for ImportError {}

impl From<ArchiveError> for ImportError {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Makes a node resume from an imported chain. Lost signing records of `keys` are rebuilt from their
/// blocks on the chain; existing records stay as they are.
///
/// # Errors
/// Fails if the chain in the directory is not part of the imported one, or the disk fails.
pub fn adopt(
    dir: &mut ChainDir,
    store: &Store,
    imported: &Imported,
    keys: &[[u8; 32]],
) -> Result<(), AdoptError> {
    if let Some(journal) = dir.journal() {
        let (ours, theirs) = (journal.header().genesis, imported.genesis);
        if let Some((ours, other)) = ours.zip(theirs).filter(|(ours, other)| ours != other) {
            let error = ChainDirError::OtherGenesis { ours, other };
            return Err(AdoptError::Dir(error));
        }
        let last = imported.heads.last().map(|head| head.id);
        let ours = journal.heads().back();
        if let (Some(ours), Some(last)) = (ours, last)
            && !is_below(store, last, ours.id, ours.height)
        {
            let head = ours.id;
            return Err(AdoptError::NotContained { head });
        }
    }
    for key in keys {
        if !dir.signing_record_file(key).path().exists() {
            let record = record_from_chain(store, &imported.heads, key);
            if !record.blocks().is_empty() {
                dir.save_signing_record(key, &record)
                    .map_err(AdoptError::Dir)?;
            }
        }
    }
    let begun = dir.begin(imported.heads.iter(), imported.genesis);
    begun.map_err(AdoptError::Dir)
}

/// Returns whether the chain that ends in `head` contains a block at a height.
fn is_below(store: &Store, head: AtomId, wanted: AtomId, height: u64) -> bool {
    let mut next = head;
    loop {
        if next == wanted {
            return true;
        }
        match Block::read(store, next) {
            Ok(block) if block.height > height => next = block.previous,
            _ => return false,
        }
    }
}

/// Reason why an imported chain is not the one that a node resumes from.
#[derive(Debug)]
pub enum AdoptError {
    /// The chain directory cannot be used.
    Dir(ChainDirError),
    /// The node has a head that the archive does not contain.
    NotContained {
        /// The head.
        head: AtomId,
    },
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(error) => error.fmt(f),
            Self::NotContained { head } => write!(
                f,
                "the archive does not contain block {head}, this node's head: nothing was changed. \
                 Choose another cold_storage_path, or start the node and let it compare the branches"
            ),
        }
    }
}

impl core::error::Error for AdoptError {}

/// Archive that is being read.
pub struct Importer<R> {
    reader: Reader<R>,
    manifest: Manifest,
}

impl<R> fmt::Debug for Importer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Importer")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Importer<R> {
    /// Reads the manifest, and checks it against the chain id of the node.
    ///
    /// # Errors
    /// Fails if the input is not an archive, or is of another chain.
    pub fn new(input: R, chain_id: u64) -> Result<Self, ArchiveError> {
        let (reader, manifest) = Reader::new(input)?;
        manifest.check(chain_id)?;
        Ok(Self { reader, manifest })
    }

    /// Returns the manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Stores the contents of the archive; a chain is verified by all rules. `trust` is the block of
    /// a snapshot that the operator trusts, and `latest_unix_seconds` the latest timestamp that is
    /// accepted. `progress` is called with what is counted, and how many of how many.
    ///
    /// Everything is on the disk when this returns, as far as the store is durable. After an error the
    /// verified part of a chain is returned with it.
    pub fn import(
        mut self,
        store: &Store,
        trust: Option<AtomId>,
        latest_unix_seconds: u64,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) -> (Imported, Option<ImportError>) {
        let nothing = Imported {
            heads: Vec::new(),
            genesis: None,
        };
        let head = self.manifest.head;
        if self.manifest.kind == ArchiveKind::Snapshot && trust != Some(head) {
            return (nothing, Some(ImportError::NotTrusted { head }));
        }
        let (imported, error) = match self.manifest.kind {
            ArchiveKind::Chain => self.chain(store, latest_unix_seconds, progress),
            ArchiveKind::Snapshot => match self.snapshot(store, progress) {
                Ok(imported) => (imported, None),
                Err(error) => (nothing.clone(), Some(error)),
            },
        };
        match store.sync() {
            Ok(()) => (imported, error),
            // What is not durable is not a chain to resume from.
            Err(failure) => (nothing, Some(ImportError::Store(failure))),
        }
    }

    fn chain(
        &mut self,
        store: &Store,
        latest_unix_seconds: u64,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) -> (Imported, Option<ImportError>) {
        let chain_id = self.manifest.chain_id;
        let mut verifier = Verifier::new(store, chain_id, latest_unix_seconds);
        let error = self.blocks(store, &mut verifier, progress).err();
        let Replay { genesis, heads, .. } = verifier.finish();
        let heads: Vec<SavedHead> = heads.into();
        let last = heads.last().map(|head| head.id);
        let expected = self.manifest.head;
        let error = error
            .or_else(|| (last != Some(expected)).then_some(ImportError::OtherHead { expected }));
        (Imported { heads, genesis }, error)
    }

    fn blocks(
        &mut self,
        store: &Store,
        verifier: &mut Verifier<'_, Store>,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) -> Result<(), ImportError> {
        let mut blocks = 0;
        loop {
            match self.reader.part()? {
                Part::Atoms(atoms) => store.put_streamed_deferred(atoms)?,
                Part::Block(id) => {
                    let atoms = verifier.verify(id).map_err(ImportError::Block)?;
                    store.put_streamed_deferred(atoms)?;
                    blocks += 1;
                    let total = self.manifest.height.saturating_add(1);
                    progress("blocks", blocks, total);
                }
                Part::End => return Ok(()),
            }
        }
    }

    fn snapshot(
        &mut self,
        store: &Store,
        progress: &mut dyn FnMut(&'static str, u64, u64),
    ) -> Result<Imported, ImportError> {
        let expected = self.manifest.head;
        let mut last = None;
        loop {
            match self.reader.part()? {
                Part::Atoms(atoms) => store.put_streamed_deferred(atoms)?,
                Part::Block(id) => last = Some(id),
                Part::End => break,
            }
            progress("bytes", self.reader.bytes(), 0);
        }
        if last != Some(expected) {
            return Err(ImportError::OtherHead { expected });
        }
        let invalid = |error: RecordError<Infallible>| {
            ImportError::Block(ReplayProblem {
                block: expected,
                height: Some(self.manifest.height),
                is_invalid: error.missing().is_none(),
                why: error.to_string(),
            })
        };
        let source = store.served();
        let block = Block::read(&source, expected).map_err(invalid)?;
        let is_of_chain = block.chain_id == self.manifest.chain_id;
        let head = Head::new(block.clone(), HeadState::Verified).filter(|_| is_of_chain);
        let head = head.ok_or(ImportError::OtherHead { expected })?;
        let mut state = StateFetch::new([block.accounts]);
        let mut checked = 0;
        loop {
            match state.poll(&source, STEPS) {
                Ok(StatePoll::Complete) => break,
                Ok(StatePoll::Request(wanted)) => {
                    let missing = wanted.lists.first().copied().unwrap_or_default();
                    return Err(ImportError::State { missing });
                }
                Ok(StatePoll::Busy | StatePoll::Waiting | StatePoll::Refused) => {
                    checked += u64::from(STEPS);
                    progress("atoms of the state", checked, 0);
                }
                Err(never) => match never {},
            }
        }
        let election = Election::read(&source, &block).map_err(invalid)?;
        let resume = ResumeData {
            election_seeds: election.seeds.to_bytes().to_vec(),
            ..ResumeData::default()
        };
        let saved = SavedHead {
            resume,
            ..head.saved(Some(expected))
        };
        Ok(Imported {
            heads: vec![saved],
            genesis: None,
        })
    }
}
