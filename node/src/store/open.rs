//! Opening of the cold store that the settings name: a directory, or an object store.

use super::cold::{ColdError, ColdOptions, ColdStore};
use super::disk::{Disk, ReadOnlyDisk, SystemDisk};
use crate::config::{ObjectStore, Settings};
use std::sync::Arc;

/// Reason that a program without the feature `object-store` cannot open an object store, with
/// advice.
pub(crate) const NO_OBJECT_STORE: &str = "this program was built without support for object \
    stores: build it with `--features object-store`, or set cold_storage_path to a directory";

/// Opens the cold store of a node, which is created if missing; `None` if none is configured.
/// `background` is whether a thread maintains it.
///
/// # Errors
/// Same as [`ColdStore::open`]; for an object store, also fails if it cannot be reached, or this
/// program was built without support for it.
pub fn open_cold(settings: &Settings, background: bool) -> Result<Option<ColdStore>, ColdError> {
    let Some(root) = settings.cold_directory() else {
        return Ok(None);
    };
    let options = ColdOptions {
        background,
        ..ColdOptions::from(settings)
    };
    let store = match settings.object_store() {
        None => ColdStore::open(root, options),
        Some(remote) => {
            let disk = connect(&remote, Arc::new(SystemDisk), false)?;
            ColdStore::open_on(disk, root, options)
        }
    };
    store.map(Some)
}

/// Opens the existing cold store of a node for reading only; `None` if none is configured.
///
/// # Errors
/// Same as [`ColdStore::open_to_read`]; for an object store, also fails if it cannot be reached, or
/// this program was built without support for it.
pub fn open_cold_to_read(settings: &Settings) -> Result<Option<ColdStore>, ColdError> {
    let Some(root) = settings.cold_directory() else {
        return Ok(None);
    };
    let mapped = settings.cold_storage_mmap;
    let store = match settings.object_store() {
        None => ColdStore::open_to_read(root, mapped),
        Some(_) if !root.is_dir() => Err(ColdError::Nothing { path: root.into() }),
        Some(remote) => {
            let disk = connect(&remote, Arc::new(ReadOnlyDisk), true)?;
            ColdStore::open_on(disk, root, ColdOptions::to_read(mapped))
        }
    };
    store.map(Some)
}

#[cfg(feature = "object-store")]
fn connect(
    remote: &ObjectStore<'_>,
    local: Arc<dyn Disk>,
    is_read_only: bool,
) -> Result<Arc<dyn Disk>, ColdError> {
    use super::remote::{RemoteOptions, S3, S3Options, open};
    let failed = |message: String| ColdError::ObjectStore {
        url: remote.url.to_owned(),
        message,
    };
    let options = S3Options {
        bucket: remote.bucket.to_owned(),
        prefix: remote.prefix.to_owned(),
        endpoint: remote.endpoint.map(str::to_owned),
        region: remote.region.map(str::to_owned),
        allows_http: remote.allows_http,
    };
    let client = S3::new(&options).map_err(|error| failed(error.to_string()))?;
    let options = RemoteOptions {
        url: remote.url.to_owned(),
        cache_limit_bytes: remote.cache_limit_bytes,
        lease: RemoteOptions::LEASE,
        is_read_only,
    };
    let disk = open(Arc::new(client), local, remote.local, options);
    disk.map_err(|error| failed(error.to_string()))
}

#[cfg(not(feature = "object-store"))]
fn connect(
    remote: &ObjectStore<'_>,
    _: Arc<dyn Disk>,
    _: bool,
) -> Result<Arc<dyn Disk>, ColdError> {
    Err(ColdError::ObjectStore {
        url: remote.url.to_owned(),
        message: NO_OBJECT_STORE.into(),
    })
}
