//! Key and signing record of a signer.

use super::rules::{Refusal, check};
use crate::chain_service::dir::{ChainDir, ChainDirError};
use crate::chain_service::signing_record::{SigningRecordError, SigningRecordFile};
use crate::config::Secret;
use crate::simd::Lanes;
use astreum_core::chain::{Address, Block, Header, Miner};
use astreum_core::consensus::{SignedBlock, SigningRecord};
use astreum_core::crypto::SigningKey;
use astreum_core::integer::Natural;
use core::fmt;
use core::time::Duration;
use std::path::{Path, PathBuf};

/// Number of nonces that are tried before the caller is asked whether to continue: some
/// milliseconds.
const SLICE: u64 = 128;

/// Reason a signer cannot start.
#[derive(Debug)]
#[non_exhaustive]
pub enum VaultError {
    /// The directory cannot be used.
    Dir(ChainDirError),
    /// The signing record cannot be used.
    Record(SigningRecordError),
    /// There is no signing record.
    NoRecord(PathBuf),
    /// There is a signing record already.
    HasRecord(PathBuf),
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Another directory would be another record, and the key could sign twice.
            Self::Dir(ChainDirError::Locked { path }) => write!(
                f,
                "the directory of --record-dir, {}, is in use by another process: stop that \
                 process first",
                path.display()
            ),
            Self::Dir(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
            Self::NoRecord(path) => write!(
                f,
                "missing signing record {}: copy the record of the key there (the file of the same \
                 name in the chain directory of the node that has signed with it), or give \
                 --new-record if the key has never signed a block",
                path.display()
            ),
            Self::HasRecord(path) => write!(f, "{} exists: omit --new-record", path.display()),
        }
    }
}

impl core::error::Error for VaultError {}

/// Outcome of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "a signer has one at a time")]
pub enum SignOutcome {
    /// The block with nonce and signature; it is in the record on disk.
    Signed(Block),
    /// The search was ended; nothing was signed.
    NotFound,
    /// The block must not be signed.
    Refused(Refusal),
    /// The record could not be saved. The signed block is kept, and counts.
    NotSaved(String),
}

/// Key of a validator with its signing record.
pub struct Vault {
    key: SigningKey,
    address: Address,
    chain_id: u64,
    /// Holds the lock of the directory.
    _dir: ChainDir,
    file: SigningRecordFile,
    record: SigningRecord,
    last: Option<Block>,
    /// `true` if the record on disk may lack the last block.
    is_unsaved: bool,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("validator", &self.address)
            .field("chain_id", &self.chain_id)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens the signing record of a key in `directory`, which no other process may use. A new
    /// record, with its directory, is only created if `is_new`, so that a lost one is noticed.
    ///
    /// # Errors
    /// Fails if the directory is in use, or if the record cannot be used. Creates nothing if there
    /// is no record and none is to be created.
    pub fn open(
        secret: &Secret,
        chain_id: u64,
        directory: &Path,
        is_new: bool,
    ) -> Result<Self, VaultError> {
        let key = SigningKey::from_seed(secret.expose());
        let address = Address::from(key.verifying_key());
        let file = SigningRecordFile::new(directory, chain_id, address.as_bytes());
        let check = || {
            let path = file.path();
            match (is_new, path.symlink_metadata().is_ok()) {
                (true, true) => Err(VaultError::HasRecord(path.to_owned())),
                (false, false) => Err(VaultError::NoRecord(path.to_owned())),
                _ => Ok(()),
            }
        };
        // Before the directory is created, and again once it is locked.
        check()?;
        let dir = ChainDir::open_unread(directory, chain_id).map_err(VaultError::Dir)?;
        check()?;
        if is_new {
            let empty = SigningRecord::default();
            file.save(&empty).map_err(VaultError::Record)?;
        }
        let (record, last) = file.load_with_last().map_err(VaultError::Record)?;
        Ok(Self {
            key,
            address,
            chain_id,
            _dir: dir,
            file,
            record,
            last,
            is_unsaved: false,
        })
    }

    /// Returns the public key.
    #[must_use]
    pub const fn public_key(&self) -> &[u8; 32] {
        self.address.as_bytes()
    }

    /// Returns the chain id.
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Returns the path of the signing record.
    #[must_use]
    pub fn record_path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the newest entry of the signing record.
    #[must_use]
    pub fn newest(&self) -> Option<&SignedBlock> {
        self.record.last()
    }

    /// Returns the last block that was signed, once it is on disk.
    ///
    /// # Errors
    /// Fails if the record cannot be saved.
    pub fn last(&mut self) -> Result<Option<&Block>, String> {
        self.save()?;
        Ok(self.last.as_ref())
    }

    fn save(&mut self) -> Result<(), String> {
        if self.is_unsaved {
            let saved = self.file.save_with_last(&self.record, self.last.as_ref());
            saved.map_err(|error| error.to_string())?;
            self.is_unsaved = false;
        }
        Ok(())
    }

    /// Searches a nonce for a block and signs it. `should_continue` is called every few milliseconds;
    /// the search ends when it returns `false`. `now` is the time since 1970.
    pub fn sign(
        &mut self,
        block: &Block,
        previous_difficulty: &Natural,
        now: Duration,
        should_continue: &mut dyn FnMut() -> bool,
    ) -> SignOutcome {
        if let Err(problem) = self.save() {
            return SignOutcome::NotSaved(problem);
        }
        if let Some(last) = &self.last
            && is_same(last, block)
        {
            return SignOutcome::Signed(last.clone());
        }
        let (address, chain_id) = (&self.address, self.chain_id);
        let checked = check(
            block,
            previous_difficulty,
            address,
            chain_id,
            &self.record,
            now,
        );
        if let Err(refusal) = checked {
            return SignOutcome::Refused(refusal);
        }
        let header = block.header().clone();
        let mut miner = Miner::new(header, self.key.clone(), previous_difficulty);
        let mut hasher = Lanes::new();
        let signed = loop {
            if !should_continue() {
                return SignOutcome::NotFound;
            }
            if let Some(signed) = miner.try_nonces(SLICE, &mut hasher) {
                break signed;
            }
        };
        let mark = SignedBlock {
            parent: signed.previous,
            block: signed.id(),
            height: signed.height.to_u64().unwrap_or(u64::MAX),
            timestamp: signed.timestamp.to_u64().unwrap_or(u64::MAX),
        };
        if let Err(conflict) = self.record.add(mark) {
            return SignOutcome::Refused(Refusal::Conflict(conflict));
        }
        // From here on the block counts as signed, also if saving fails: the file may have been
        // replaced.
        self.last = Some(signed.clone());
        self.is_unsaved = true;
        match self.save() {
            Ok(()) => SignOutcome::Signed(signed),
            Err(problem) => SignOutcome::NotSaved(problem),
        }
    }
}

/// Returns whether `signed` is `block` with another nonce and a signature.
fn is_same(signed: &Block, block: &Block) -> bool {
    let without_nonce = |block: &Block| Header {
        nonce: Natural::ZERO,
        ..block.header().clone()
    };
    block.signature().is_none() && without_nonce(signed) == without_nonce(block)
}

#[cfg(test)]
mod tests;
