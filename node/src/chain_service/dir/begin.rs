//! Start of a new chain on disk.

use super::{ChainDir, ChainDirError};
use crate::store::cold::{ColdError, ColdStore};
use astreum_core::atom::{Atom, AtomId};
use astreum_core::chain::Block;
use astreum_core::consensus::{Head, HeadState};
use core::fmt;

/// Reason a chain was not started.
#[derive(Debug)]
#[non_exhaustive]
pub enum BeginError {
    /// Cold storage did not accept the genesis.
    Store(ColdError),
    /// The chain directory cannot be used.
    Dir(ChainDirError),
    /// Height or timestamp of the block exceed 64 bits.
    OutOfRange,
}

impl fmt::Display for BeginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "cold storage: {error}"),
            Self::Dir(error) => error.fmt(f),
            Self::OutOfRange => f.write_str("genesis timestamp is out of range"),
        }
    }
}

impl core::error::Error for BeginError {}

/// Stores the atoms of a genesis, then makes it the head of the chain in `dir`. In this order a
/// head never lacks its atoms.
///
/// # Errors
/// Fails if the disk fails, the limit of cold storage is reached, or height or timestamp exceed 64
/// bits.
pub fn begin_chain(
    cold: &ColdStore,
    dir: &mut ChainDir,
    genesis: &Block,
    atoms: &[(AtomId, Atom)],
) -> Result<(), BeginError> {
    let head = Head::new(genesis.clone(), HeadState::Own).ok_or(BeginError::OutOfRange)?;
    cold.put(atoms).map_err(BeginError::Store)?;
    cold.sync().map_err(BeginError::Store)?;
    let saved = head.saved(Some(genesis.id()));
    dir.begin(core::iter::once(&saved), Some(genesis.id()))
        .map_err(BeginError::Dir)
}
