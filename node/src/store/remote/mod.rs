//! Sealed pairs in an object store that several nodes share.
//!
//! [`open`] returns a [`Disk`] for a [`ColdStore`](super::cold::ColdStore): its sealed pairs are
//! objects under unique names, listed by a manifest; everything else is in a local directory of the
//! node. `node/docs/object-store.md` states what is guaranteed.
//!
//! | in the object store | content |
//! | --- | --- |
//! | `manifest.json` | list of the pairs that count, and the node that may change it; see `manifest.rs` |
//! | `pairs/<level>-<nonce>-<number>_index`, `_data`, `_lengths` | files of a sealed pair |
//! | `pairs/<level>-<nonce>-<number>_fingerprints` | fingerprint index of the pair, which nodes copy |
//!
//! Invariants:
//! - **A write is acknowledged by the local journal.** The journal is removed after its atoms are in
//!   a pair that the manifest lists.
//! - **A pair counts once the manifest lists it**, which changes by compare-and-swap only.
//! - **A read that fails for the network is an error**, never the absence of an atom: the
//!   fingerprint index of every listed pair is local before the pair is used.
//! - Nothing that is in the object store is ever written to again, except the manifest.
//!
//! The operations of the object store are behind [`Objects`]; `s3.rs`, with the feature
//! `object-store`, is the client of an S3-compatible store.

mod cache;
mod catalog;
mod disk;
mod file;
mod manifest;
mod objects;
mod requests;
#[cfg(feature = "object-store")]
mod s3;

pub use objects::{Listed, Objects, ObjectsError, Source};
#[cfg(feature = "object-store")]
pub use s3::{S3, S3Options};

use super::disk::{Disk, DiskFile, OBJECT_STORE};
use crate::clock;
use cache::Cache;
use catalog::Catalog;
use core::fmt;
use core::sync::atomic::AtomicU64;
use core::time::Duration;
use disk::{FINGERPRINTS, RemoteDisk};
use manifest::Writer;
use requests::Requests;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// First line of the file that marks the local directory.
const MARK: &str = "astreum object store 1";
/// Maximum length of that file in bytes.
const MAX_MARK_BYTES: u64 = 4_096;
/// Name of the file with the version of the manifest that was seen last, in the local directory.
const SEEN: &str = "MANIFEST_VERSION";
/// Name of the cache's directory.
const CACHE: &str = "cache";

/// Options of an object store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemoteOptions {
    /// Address, for messages, and to recognize a local directory of another store.
    pub url: String,
    /// Maximum bytes of the local read cache.
    pub cache_limit_bytes: u64,
    /// Time without a sign of life of another writer after which its lease has ended.
    pub lease: Duration,
    /// True if nothing may be changed.
    pub is_read_only: bool,
}

impl RemoteOptions {
    /// Time after which the lease of another writer ends, unless it is renewed.
    pub const LEASE: Duration = catalog::LEASE;
}

/// Reason an object store could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum RemoteError {
    /// The local directory cannot be used.
    Local(io::Error),
    /// The local directory belongs to another object store.
    OtherStore {
        /// Address of that store.
        url: String,
    },
    /// The local directory has sealed pairs of its own, which would be hidden.
    HasPairs {
        /// Name of a level that has pairs.
        level: String,
    },
    /// The object store cannot be read.
    Objects(ObjectsError),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(error) => write!(f, "cannot use the local directory: {error}"),
            Self::OtherStore { url } => write!(
                f,
                "the local directory belongs to the object store {url}; choose another \
                 cold_storage_local_path"
            ),
            Self::HasPairs { level } => write!(
                f,
                "the local directory has pairs of its own in {level}: choose another \
                 cold_storage_local_path, and copy the pairs with `astreum store import`"
            ),
            Self::Objects(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RemoteError {}

/// Opens a disk whose sealed pairs are in an object store, and whose other files are below `root` on
/// a local disk.
///
/// # Errors
/// Fails if the object store cannot be reached, or the local directory belongs to another store.
pub fn open(
    objects: Arc<dyn Objects>,
    local: Arc<dyn Disk>,
    root: &Path,
    options: RemoteOptions,
) -> Result<Arc<dyn Disk>, RemoteError> {
    let RemoteOptions {
        url,
        cache_limit_bytes,
        lease,
        is_read_only,
    } = options;
    if !is_read_only {
        local.create_dir(root).map_err(RemoteError::Local)?;
    }
    check_levels(&*local, root)?;
    let id = identify(&*local, root, &url, is_read_only)?;
    let requests = Arc::new(Requests::new(objects));
    let own = Writer { id, name: name() };
    let seen = read_seen(&*local, root).map_err(RemoteError::Local)?;
    let catalog = Catalog::open(Arc::clone(&requests), own, lease, seen);
    if !is_read_only {
        let made = local.create_dir(&root.join(FINGERPRINTS));
        made.map_err(RemoteError::Local)?;
    }
    let disk = RemoteDisk {
        cache: Arc::new(Cache::open(&root.join(CACHE), cache_limit_bytes)),
        local,
        root: root.to_owned(),
        url,
        is_read_only,
        requests,
        catalog: Arc::new(catalog.map_err(RemoteError::Objects)?),
        pending: Default::default(),
        seen: AtomicU64::new(seen),
    };
    disk.tidy();
    Ok(Arc::new(disk))
}

/// Checks that the local directory has no sealed pairs, which would be hidden.
fn check_levels(local: &dyn Disk, root: &Path) -> Result<(), RemoteError> {
    let entries = local.list(root).map_err(RemoteError::Local)?;
    let is_level = |name: &str| name.starts_with("level_") && name != "level_0";
    for entry in entries.iter().filter(|entry| is_level(&entry.name)) {
        let files = local.list(&root.join(&entry.name));
        let mut files = files.map_err(RemoteError::Local)?.into_iter();
        if files.any(|file| file.name.ends_with("_index")) {
            let level = entry.name.clone();
            return Err(RemoteError::HasPairs { level });
        }
    }
    Ok(())
}

/// Returns the id of the local directory, which is created with the mark.
fn identify(
    local: &dyn Disk,
    root: &Path,
    url: &str,
    is_read_only: bool,
) -> Result<String, RemoteError> {
    let path = root.join(OBJECT_STORE);
    match local.open(&path) {
        Ok(file) => {
            let text = read_mark(&*file).map_err(RemoteError::Local)?;
            let mut lines = text.lines();
            let (first, found, id) = (lines.next(), lines.next(), lines.next());
            return match (first, found, id) {
                (Some(MARK), Some(found), Some(id)) if found == url => Ok(id.to_owned()),
                (Some(MARK), Some(found), Some(_)) => Err(RemoteError::OtherStore {
                    url: found.to_owned(),
                }),
                _ => Err(RemoteError::Local(io::Error::other(format!(
                    "{} is damaged; write the lines {MARK:?}, {url:?} and a random word to it",
                    path.display()
                )))),
            };
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(RemoteError::Local(error)),
    }
    let random = clock::entropy().map_err(RemoteError::Local)?;
    let id = hex::encode(random.split_at(8).0);
    if is_read_only {
        return Ok(id);
    }
    let write = || {
        let temporary = path.with_extension("tmp");
        let file = local.create(&temporary)?;
        file.write_all_at(format!("{MARK}\n{url}\n{id}\n").as_bytes(), 0)?;
        file.sync()?;
        local.rename(&temporary, &path)?;
        local.sync_dir(root)
    };
    write().map_err(RemoteError::Local)?;
    Ok(id)
}

fn read_mark(file: &dyn DiskFile) -> io::Result<String> {
    let len = file.len()?.min(MAX_MARK_BYTES);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the version of the manifest that was seen last; 0 if none was. A file that is damaged
/// counts as none.
fn read_seen(local: &dyn Disk, root: &Path) -> io::Result<u64> {
    match local.open(&root.join(SEEN)) {
        Ok(file) => Ok(read_mark(&*file)?.trim().parse().unwrap_or(0)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Returns a name of this node for people: host and process.
fn name() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy().into_owned();
    format!("{host} (process {})", std::process::id())
}

#[cfg(test)]
mod tests;
