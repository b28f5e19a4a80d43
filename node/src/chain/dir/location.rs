//! Where a node keeps the files of its chain.

use super::ChainDirError;
use crate::config::Config;
use std::path::{Path, PathBuf};

/// Returns the chain directory of a node with this configuration: `<chain id>` in `chain_dir`, else
/// in `chain` of `cold_storage_path`. `None` for a node that has neither: it keeps nothing of its
/// chain, and begins as a newcomer at each start.
///
/// # Errors
/// If such a node validates.
pub fn location(config: &Config) -> Result<Option<PathBuf>, ChainDirError> {
    let validates =
        config.validation_secret_key.is_some() || config.validation_secret_key_file.is_some();
    match candidates(config).into_iter().next() {
        None if validates => Err(ChainDirError::NoDirectory),
        location => Ok(location),
    }
}

/// Returns whether a directory holds the files of a chain, or did: identity or head journal.
#[must_use]
pub fn has_files(path: &Path) -> bool {
    let is_there = |name: &str| path.join(name).try_exists().unwrap_or(true);
    [super::HEADS, super::IDENTITY].into_iter().any(is_there)
}

/// Returns every place in which a node with this configuration may have kept its chain's files, the
/// one to use first.
#[must_use]
pub fn candidates(config: &Config) -> Vec<PathBuf> {
    let named = config.chain_dir.clone();
    let cold = config.cold_storage_path.as_ref();
    let cold = cold.map(|path| path.join("chain"));
    let bases = named.into_iter().chain(cold);
    let chain_id = config.chain_id().to_string();
    let mut places: Vec<_> = bases.map(|base| base.join(&chain_id)).collect();
    places.dedup();
    places
}
