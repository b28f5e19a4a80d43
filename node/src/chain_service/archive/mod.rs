//! Archive of a chain: one file from which a node without peers gets a chain, or its state.
//!
//! | bytes | contents |
//! | ---: | --- |
//! | 8 | `ASTCHAIN` |
//! | 1 | version of the format, 1 |
//! | … | frames |
//!
//! A frame is a kind (1), the length of its body (4, big-endian, at most [`MAX_BODY_BYTES`]), and the
//! body:
//!
//! | kind | body |
//! | ---: | --- |
//! | 1 | [`Manifest`] as JSON; the first frame |
//! | 2 | atoms: each a length (4, big-endian) and its stored form |
//! | 3 | id of a block: everything that its verification needs is in the frames before it |
//! | 4 | BLAKE3 hash of all bytes before this frame; the last frame |
//!
//! A chain has every block from the genesis on, in order: the state of the genesis, and of each
//! later block the header, the transactions, and the lists that its transactions open storage
//! contracts on. The states between follow from verification, and are not in the file. A snapshot has
//! the headers that the leader election after its block needs, and the state after that block.
//!
//! Invariants:
//! - An atom has no id in the file: the reader computes it, so a changed atom is another one that
//!   nothing refers to.
//! - A chain is verified while it is read, by all rules; the part before the first damage is a chain.
//! - A snapshot is complete or refused. Its block has to be trusted apart from the file.
//! - The order of frames depends on the chain alone: equal chains give equal bytes.

mod export;
mod frames;
mod import;
#[cfg(test)]
mod tests;

pub use export::{ExportError, Exported, export};
pub use frames::{ArchiveError, MAX_BODY_BYTES};
pub use import::{AdoptError, ImportError, Imported, Importer, adopt};

use astreum_core::atom::AtomId;
use astreum_core::chain::RULES_VERSION;
use serde::{Deserialize, Serialize};

/// Contents of an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveKind {
    /// All blocks from the genesis on.
    Chain,
    /// The state after one block.
    Snapshot,
}

/// Description of an archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Contents.
    pub kind: ArchiveKind,
    /// Chain id.
    pub chain_id: u64,
    /// Version of the consensus rules.
    pub rules_version: u32,
    /// Last block.
    pub head: AtomId,
    /// Its height.
    pub height: u64,
    /// Its timestamp, in seconds since 1970.
    pub timestamp: u64,
}

impl Manifest {
    /// Checks that the archive is of the chain with this id, under the rules of this program.
    ///
    /// # Errors
    /// Returns what differs.
    pub fn check(&self, chain_id: u64) -> Result<(), ArchiveError> {
        if self.chain_id != chain_id {
            let (found, expected) = (self.chain_id, chain_id);
            return Err(ArchiveError::OtherChain { found, expected });
        }
        if self.rules_version != RULES_VERSION {
            let found = self.rules_version;
            return Err(ArchiveError::OtherRules { found });
        }
        Ok(())
    }
}
