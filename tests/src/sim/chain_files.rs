//! Chain files of a simulated machine, by the rules of the node's chain directory.
//!
//! The journal is core's encoding, byte for byte. The rest is kept as values. The combinations of
//! missing files and the reaction of a start follow `node/src/chain_service/dir` and
//! `node/src/node/chain_start.rs`; the operator's recovery follows `node/src/chain_service/recover.rs`.

use super::ledger::CHAIN_ID;
use crate::random::Random;
use astreum_core::atom::AtomId;
use astreum_core::chain::{Block, RULES_VERSION};
use astreum_core::consensus::head_journal::{
    self, JournalHeader, MAX_JOURNAL_RECORDS, encode_head, encode_start,
};
use astreum_node::chain_service::replay::{Replay, replay};
use astreum_node::chain_service::search::{any_block, blocks};
use astreum_node::chain_service::{SavedHead, SignedBlock, SigningRecord};
use astreum_node::store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of chains in cold storage that a recovery verifies, highest first.
const MAX_REPLAYED: usize = 16;

/// Number of a validator's key.
pub type Key = usize;

/// Parts of a machine's files that can be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Head journal.
    Journal,
    /// All signing records.
    SigningRecords,
    /// Identity.
    Identity,
    /// Identity and signing records.
    IdentityAndSigningRecords,
    /// Mempool, with all of `state_dir`.
    StateDir,
    /// Whole chain directory.
    ChainDir,
    /// Every file: chain directory, `state_dir` and cold storage.
    Disk,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 7] = [
        Self::Journal,
        Self::SigningRecords,
        Self::Identity,
        Self::IdentityAndSigningRecords,
        Self::StateDir,
        Self::ChainDir,
        Self::Disk,
    ];

    /// Returns whether the machine loses its signing records completely, so that only peers can
    /// supply what its keys have signed.
    #[must_use]
    pub const fn needs_peers(self) -> bool {
        matches!(self, Self::ChainDir | Self::Disk)
    }
}

/// Identity of the chain.
#[derive(Clone, Debug, Default)]
struct Identity {
    genesis: Option<AtomId>,
    signing_keys: BTreeSet<Key>,
}

/// Saved state that a start found.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Head to resume from.
    pub saved: Option<SavedHead>,
    /// Signing record of the key.
    pub signed: SigningRecord,
}

/// Reason a node refuses to start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A file is missing while another file names it.
    Missing,
    /// A validator without seeds found traces of the chain but no journal, so that it could create
    /// a second chain.
    Trace,
    /// The journal is damaged.
    Damaged,
}

/// Chain files of a machine. See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct ChainFiles {
    identity: Option<Identity>,
    journal: Option<Vec<u8>>,
    records: usize,
    signed: BTreeMap<Key, SigningRecord>,
    /// Content of the mempool file.
    pub mempool: Vec<u8>,
}

impl ChainFiles {
    /// Returns whether the files contain no chain.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.journal.is_none() && self.identity.is_none()
    }

    /// Begins a chain with these heads, newest last.
    pub fn begin<'h>(
        &mut self,
        heads: impl Iterator<Item = &'h SavedHead>,
        genesis: Option<AtomId>,
    ) {
        let mut bytes = encode_start(&JournalHeader {
            chain_id: CHAIN_ID,
            rules_version: RULES_VERSION,
            genesis,
            checkpoint: None,
        });
        self.records = 0;
        for head in heads {
            bytes.extend(encode_head(head));
            self.records += 1;
        }
        self.journal = Some(bytes);
        self.complete_identity(genesis);
    }

    fn complete_identity(&mut self, genesis: Option<AtomId>) {
        let signing_keys = self.signed.keys().copied().collect();
        let identity = self.identity.get_or_insert(Identity {
            genesis: None,
            signing_keys,
        });
        identity.genesis = identity.genesis.or(genesis);
    }

    /// Appends a head to the journal, or begins the journal with it if it is missing.
    pub fn save_head(&mut self, head: &SavedHead, genesis: Option<AtomId>) {
        let read = self.journal.as_deref().map(head_journal::read);
        match (&mut self.journal, read) {
            (Some(bytes), Some(Ok(read)))
                if read.torn_bytes == 0 && self.records < MAX_JOURNAL_RECORDS =>
            {
                bytes.extend(encode_head(head));
                self.records += 1;
            }
            (_, Some(Ok(read))) => {
                let genesis = read.header.genesis.or(genesis);
                self.begin(read.heads.iter().chain([head]), genesis);
            }
            _ => self.begin(core::iter::once(head), genesis),
        }
    }

    /// Replaces the signing record of a key.
    pub fn save_signed(&mut self, key: Key, record: SigningRecord) {
        self.signed.insert(key, record);
        if let Some(identity) = &mut self.identity {
            identity.signing_keys.insert(key);
        }
    }

    /// Opens the files for a start with this key.
    ///
    /// # Errors
    /// Fails if the node refuses to start.
    pub fn open(
        &mut self,
        key: Option<Key>,
        has_seeds: bool,
        store: &Store,
    ) -> Result<Start, Refusal> {
        if self.identity.is_some() && self.journal.is_none() {
            return Err(Refusal::Missing);
        }
        let journal = self.journal.as_deref().map(head_journal::read).transpose();
        let journal = journal.map_err(|_| Refusal::Damaged)?;
        match &journal {
            Some(journal) => self.complete_identity(journal.header.genesis),
            None if key.is_some() && !has_seeds && self.has_trace(store) => {
                return Err(Refusal::Trace);
            }
            None => {}
        }
        let is_here = |head: &&SavedHead| Block::read(store, head.id).is_ok();
        let heads = journal.as_ref().map(|journal| &journal.heads);
        let saved = heads.and_then(|heads| heads.iter().rev().find(is_here).or(heads.back()));
        let signed = match key {
            Some(key) => self.signing_record(key)?,
            None => SigningRecord::default(),
        };
        let saved = saved.cloned();
        Ok(Start { saved, signed })
    }

    /// Returns the head that was saved last, whether it can be read or not.
    #[must_use]
    pub fn newest_head(&self) -> Option<AtomId> {
        let journal = self.journal.as_deref().map(head_journal::read)?.ok()?;
        journal.heads.back().map(|head| head.id)
    }

    fn has_trace(&self, store: &Store) -> bool {
        let has_block = |cold| any_block(cold, CHAIN_ID).is_ok_and(|block| block.is_some());
        !self.signed.is_empty() || store.cold().is_some_and(has_block)
    }

    fn signing_record(&self, key: Key) -> Result<SigningRecord, Refusal> {
        let identity = self.identity.as_ref();
        let has_signed = identity.is_some_and(|identity| identity.signing_keys.contains(&key));
        match self.signed.get(&key) {
            None if has_signed => Err(Refusal::Missing),
            record => Ok(record.cloned().unwrap_or_default()),
        }
    }

    /// Loses a part, except for cold storage.
    pub fn lose(&mut self, part: Part) {
        match part {
            Part::Journal => self.journal = None,
            Part::SigningRecords => self.signed.clear(),
            Part::Identity => self.identity = None,
            Part::IdentityAndSigningRecords => {
                self.identity = None;
                self.signed.clear();
            }
            Part::StateDir => self.mempool.clear(),
            Part::ChainDir => {
                let mempool = core::mem::take(&mut self.mempool);
                *self = Self {
                    mempool,
                    ..Self::default()
                };
            }
            Part::Disk => *self = Self::default(),
        }
    }

    /// Appends the beginning of another record to the journal, as a crash in the middle of an
    /// append does.
    pub fn tear(&mut self, random: &mut Random) {
        let read = self.journal.as_deref().map(head_journal::read);
        if let (Some(bytes), Some(Ok(read))) = (&mut self.journal, read)
            && read.torn_bytes == 0
            && let Some(head) = read.heads.back()
        {
            let record = encode_head(head);
            let len = random.below(record.len());
            bytes.extend(record.get(..len).unwrap_or_default());
        }
    }

    /// Recovers missing files from the blocks in cold storage, as `astreum chain recover --adopt`
    /// does. Returns whether a chain was adopted.
    pub fn recover(&mut self, key: Option<Key>, store: &Store, latest_unix_seconds: u64) -> bool {
        let Some(chain) = self.best_chain(store, latest_unix_seconds) else {
            return false;
        };
        let named = self.identity.iter().flat_map(|it| it.signing_keys.iter());
        let keys: BTreeSet<Key> = named.copied().chain(key).collect();
        for key in keys {
            if !self.signed.contains_key(&key) {
                let record = record_from_chain(store, &chain, key);
                if !record.blocks().is_empty() {
                    self.save_signed(key, record);
                }
            }
        }
        self.begin(chain.heads.iter(), chain.genesis);
        true
    }

    /// Returns the highest verified chain in cold storage that begins with the known genesis.
    fn best_chain(&self, store: &Store, latest_unix_seconds: u64) -> Option<Replay> {
        let journal = self.journal.as_deref().map(head_journal::read);
        let journal = journal.and_then(Result::ok);
        let of_journal = journal.and_then(|journal| journal.header.genesis);
        let genesis = self.identity.as_ref().and_then(|it| it.genesis);
        let genesis = genesis.or(of_journal);
        let found = blocks(store.cold()?, CHAIN_ID, &mut |_| ()).ok()?;
        let height = |replay: &Replay| replay.heads.back().map(|head| head.height);
        let mut best: Option<Replay> = None;
        for (id, found) in found.heads().into_iter().take(MAX_REPLAYED) {
            if best.as_ref().and_then(height) >= Some(found.height) {
                break;
            }
            let replay = replay(
                store,
                id,
                (CHAIN_ID, latest_unix_seconds),
                store.cold(),
                &mut |_, _| (),
            );
            let is_ours = genesis.is_none_or(|ours| replay.genesis == Some(ours));
            if is_ours && height(&replay) > best.as_ref().and_then(height) {
                best = Some(replay);
            }
        }
        best
    }
}

/// Returns the signing record of a key, as far as the last blocks of the chain show.
fn record_from_chain(store: &Store, chain: &Replay, key: Key) -> SigningRecord {
    let mut record = SigningRecord::default();
    for head in &chain.heads {
        let block = Block::read(store, head.id).ok();
        let address = super::ledger::validator_address(key);
        let own = block.filter(|block| block.validator == address && !block.is_genesis());
        if let Some(block) = own {
            // Errors cannot occur: a verified chain has one block per parent, each later than its
            // parent.
            let _ = record.add(SignedBlock {
                parent: block.previous,
                block: head.id,
                height: head.height,
                timestamp: head.timestamp,
            });
        }
    }
    record
}
