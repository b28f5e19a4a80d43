//! File of the operator's decisions on forks.

use super::ChainDirError;
use crate::chain_service::files::{read_file, replace_file};
use astreum_core::atom::AtomId;
use astreum_core::consensus::ForkDecisions;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Newest version of the file that is read; also the version that is written.
const VERSION: u32 = 1;
/// Maximum size of the file, in bytes: room for more than 10,000 blocks.
const MAX_FILE_BYTES: u64 = 1 << 20;
const NAME: &str = "decisions.json";

/// Encoding in the file.
#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    adopted: Option<String>,
    avoided: Vec<String>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Debug)]
pub(super) struct DecisionsFile {
    path: PathBuf,
}

impl DecisionsFile {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            path: directory.join(NAME),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the decisions; returns `None` if the file does not exist.
    pub(super) fn load(&self) -> Result<Option<ForkDecisions>, ChainDirError> {
        let read = read_file(&self.path, MAX_FILE_BYTES);
        let read = read.map_err(|error| ChainDirError::io("read", &self.path, error))?;
        read.map(|text| self.parse(&text)).transpose()
    }

    fn parse(&self, text: &[u8]) -> Result<ForkDecisions, ChainDirError> {
        let damaged = |what: String| ChainDirError::damaged(&self.path, what);
        let malformed = |error: serde_json::Error| damaged(error.to_string());
        // Alone at first: the fields of a newer version are not known.
        let Version { version: found } = serde_json::from_slice(text).map_err(malformed)?;
        if found > VERSION {
            return Err(ChainDirError::NewerVersion {
                path: self.path.clone(),
                found,
            });
        }
        let record: Record = serde_json::from_slice(text).map_err(malformed)?;
        let parse = |text: &String| {
            text.parse::<AtomId>()
                .map_err(|error| damaged(error.to_string()))
        };
        Ok(ForkDecisions {
            adopted: record.adopted.as_ref().map(parse).transpose()?,
            avoided: record.avoided.iter().map(parse).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn save(&self, decisions: &ForkDecisions) -> Result<(), ChainDirError> {
        let record = Record {
            version: VERSION,
            adopted: decisions.adopted.as_ref().map(AtomId::to_string),
            avoided: decisions.avoided.iter().map(AtomId::to_string).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_round_trip_and_damage_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = DecisionsFile::new(directory.path());
        assert_eq!(file.load().unwrap(), None);
        let decisions = ForkDecisions {
            adopted: Some(AtomId::new([1; 32])),
            avoided: vec![AtomId::new([2; 32]), AtomId::new([3; 32])],
        };
        file.save(&decisions).unwrap();
        assert_eq!(file.load().unwrap(), Some(decisions));
        std::fs::write(
            &file.path,
            b"{\"version\":1,\"adopted\":\"zz\",\"avoided\":[]}",
        )
        .unwrap();
        assert!(matches!(file.load(), Err(ChainDirError::Damaged { .. })));
        for newer in [
            &br#"{"version":2,"adopted":null,"avoided":[]}"#[..],
            br#"{"version":2,"branches":{}}"#,
        ] {
            std::fs::write(&file.path, newer).unwrap();
            assert!(matches!(
                file.load(),
                Err(ChainDirError::NewerVersion { found: 2, .. })
            ));
        }
    }
}
