//! Directory of cold storage that commands open without a node.

use crate::config::Settings;
use crate::store::cold::{ColdError, ColdStore};
use crate::store::{open_cold, open_cold_to_read};

use super::output::Failure;

/// Checks that a directory is configured.
pub(super) fn check_path(settings: &Settings) -> Result<(), Failure> {
    if settings.cold_storage_path.is_none() {
        return Err(not_set());
    }
    Ok(())
}

/// Opens the store, which is created if missing; no thread maintains it.
pub(super) fn open(settings: &Settings) -> Result<ColdStore, Failure> {
    opened(open_cold(settings, false))
}

/// Opens the store if it exists.
pub(super) fn open_existing(settings: &Settings) -> Result<ColdStore, Failure> {
    drop(open_to_read(settings)?);
    open(settings)
}

/// Opens the store for reading only.
pub(super) fn open_to_read(settings: &Settings) -> Result<ColdStore, Failure> {
    opened(open_cold_to_read(settings))
}

fn opened(opened: Result<Option<ColdStore>, ColdError>) -> Result<ColdStore, Failure> {
    opened.map_err(Failure::failed)?.ok_or_else(not_set)
}

fn not_set() -> Failure {
    let advice = "cold_storage_path is not set; give --cold-storage-path DIR or --config FILE";
    Failure::Usage(advice.into())
}
