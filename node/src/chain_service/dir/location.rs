//! Location of the chain directory.

use super::ChainDirError;
use crate::config::Settings;
use std::path::{Path, PathBuf};

/// Returns the chain directory of a node with these settings: `<chain id>` in `chain_dir`, or else
/// in `chain` of the local directory of cold storage. Returns `None` for a node without either: it
/// saves nothing of its chain, and starts without a head each time. `validates` is whether the node
/// has a validation key.
///
/// # Errors
/// Fails if a node without either is a validator.
pub fn location(settings: &Settings, validates: bool) -> Result<Option<PathBuf>, ChainDirError> {
    match candidates(settings).into_iter().next() {
        None if validates => Err(ChainDirError::NoDirectory),
        location => Ok(location),
    }
}

/// Returns whether a directory has files of a chain: identity or head journal. Returns `true` if
/// the disk fails.
#[must_use]
pub fn has_files(path: &Path) -> bool {
    let is_there = |name: &str| path.join(name).try_exists().unwrap_or(true);
    [super::HEADS, super::IDENTITY].into_iter().any(is_there)
}

/// Returns every directory in which a node with these settings may have kept its chain's files,
/// the preferred one first.
#[must_use]
pub fn candidates(settings: &Settings) -> Vec<PathBuf> {
    let configured = settings.chain_dir.clone();
    let cold = settings.cold_directory();
    let cold = cold.map(|path| path.join("chain"));
    let bases = configured.into_iter().chain(cold);
    let chain_id = settings.chain_id.to_string();
    let mut places: Vec<_> = bases.map(|base| base.join(&chain_id)).collect();
    places.dedup();
    places
}
