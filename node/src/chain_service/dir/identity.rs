//! Identity of a chain, stored on disk.

use super::{ChainDirError, IDENTITY};
use crate::chain_service::files::{read_file, replace_file};
use astreum_core::atom::AtomId;
use astreum_core::chain::RULES_VERSION;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Newest version of the file that is read; also the version that is written.
const VERSION: u32 = 1;
/// Maximum size of the file, in bytes: room for more than 10,000 keys.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Identity of a chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Chain id.
    pub chain_id: u64,
    /// Version of the consensus rules that the chain was started under.
    pub rules_version: u32,
    /// Genesis, once it is known.
    pub genesis: Option<AtomId>,
    /// Keys with a signing record.
    pub signing_keys: BTreeSet<[u8; 32]>,
}

impl Identity {
    /// Creates the identity of a chain under the rules of this program.
    #[must_use]
    pub fn new(chain_id: u64, signing_keys: impl IntoIterator<Item = [u8; 32]>) -> Self {
        Self {
            chain_id,
            rules_version: RULES_VERSION,
            genesis: None,
            signing_keys: signing_keys.into_iter().collect(),
        }
    }
}

/// Encoding in the file.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    chain_id: u64,
    rules_version: u32,
    genesis: Option<String>,
    signing_keys: Vec<String>,
}

#[derive(Debug)]
pub(super) struct IdentityFile {
    path: PathBuf,
    chain_id: u64,
}

impl IdentityFile {
    pub(super) fn new(directory: &Path, chain_id: u64) -> Self {
        Self {
            path: directory.join(IDENTITY),
            chain_id,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn load(&self) -> Result<Option<Identity>, ChainDirError> {
        let read = read_file(&self.path, MAX_FILE_BYTES);
        let read = read.map_err(|error| ChainDirError::io("read", &self.path, error))?;
        read.map(|text| self.parse(&text)).transpose()
    }

    fn parse(&self, text: &[u8]) -> Result<Identity, ChainDirError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let path = self.path.clone();
        let damaged = |what: String| ChainDirError::damaged(&self.path, what);
        let parse = |error: serde_json::Error| damaged(error.to_string());
        // The version is read first: the other fields of a newer version are unknown.
        let Version { version: found } = serde_json::from_slice(text).map_err(parse)?;
        if found > VERSION {
            return Err(ChainDirError::NewerVersion { path, found });
        }
        let record: Record = serde_json::from_slice(text).map_err(parse)?;
        if record.chain_id != self.chain_id {
            let found = record.chain_id;
            return Err(ChainDirError::OtherChain { path, found });
        }
        let genesis = record.genesis.as_deref().map(str::parse::<AtomId>);
        let keys = record.signing_keys.iter().map(|text| {
            let key = hex::decode(text)
                .ok()
                .and_then(|bytes| bytes.try_into().ok());
            key.ok_or_else(|| damaged(format!("invalid key {text:?}")))
        });
        Ok(Identity {
            chain_id: record.chain_id,
            rules_version: record.rules_version,
            genesis: genesis
                .transpose()
                .map_err(|error| damaged(error.to_string()))?,
            signing_keys: keys.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn save(&self, identity: &Identity) -> Result<(), ChainDirError> {
        let record = Record {
            version: VERSION,
            chain_id: identity.chain_id,
            rules_version: identity.rules_version,
            genesis: identity.genesis.as_ref().map(AtomId::to_string),
            signing_keys: identity.signing_keys.iter().map(hex::encode).collect(),
        };
        let text = serde_json::to_vec(&record).map_err(std::io::Error::from);
        let saved = text.and_then(|mut text| {
            text.push(b'\n');
            replace_file(&self.path, &text)
        });
        match saved {
            Ok(_) => Ok(()),
            Err(error) => Err(ChainDirError::io("write", &self.path, error)),
        }
    }
}
