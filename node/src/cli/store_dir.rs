//! Directory of cold storage that commands open without a node.

use crate::config::Settings;
use crate::store::cold::{ColdOptions, ColdStore};

use super::output::Failure;

/// Checks that a directory is configured.
pub(super) fn check_path(settings: &Settings) -> Result<(), Failure> {
    if settings.cold_storage_path.is_none() {
        return Err(Failure::Usage(
            "cold_storage_path is not set; give --cold-storage-path DIR or --config FILE".into(),
        ));
    }
    Ok(())
}

/// Opens the store, which is created if missing; no thread maintains it.
pub(super) fn open(settings: &Settings) -> Result<ColdStore, Failure> {
    let path = settings.cold_storage_path.clone().unwrap_or_default();
    let options = ColdOptions {
        background: false,
        ..ColdOptions::from(settings)
    };
    ColdStore::open(&path, options).map_err(Failure::failed)
}

/// Opens the store if it exists.
pub(super) fn open_existing(settings: &Settings) -> Result<ColdStore, Failure> {
    drop(open_to_read(settings)?);
    open(settings)
}

/// Opens the store for reading only.
pub(super) fn open_to_read(settings: &Settings) -> Result<ColdStore, Failure> {
    let path = settings.cold_storage_path.clone().unwrap_or_default();
    let mapped = settings.cold_storage_mmap;
    ColdStore::open_to_read(&path, mapped).map_err(Failure::failed)
}
