//! Operations that an object store has to offer.

use core::fmt;
use std::io;

/// Reason an operation on an object store failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectsError {
    /// The object does not exist.
    NotFound(String),
    /// The object is not the expected one: it was replaced, or exists already.
    Conflict,
    /// The credentials are missing, wrong, or do not permit the operation.
    Denied(String),
    /// The store did not answer in time, answered with a failure of its own, or with a part only.
    /// A write may have been done.
    Unavailable(String),
    /// The store refused the request.
    Refused(String),
}

impl fmt::Display for ObjectsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(what) => write!(f, "object not found: {what}"),
            Self::Conflict => f.write_str("the object was changed by another writer"),
            Self::Denied(why) => write!(f, "access denied: {why}"),
            Self::Unavailable(why) => write!(f, "the object store is not available: {why}"),
            Self::Refused(why) => write!(f, "the object store refused the request: {why}"),
        }
    }
}

impl core::error::Error for ObjectsError {}

impl From<ObjectsError> for io::Error {
    fn from(error: ObjectsError) -> Self {
        let kind = match &error {
            ObjectsError::NotFound(_) => io::ErrorKind::NotFound,
            // Not `PermissionDenied`, which means that a local disk is read-only.
            ObjectsError::Unavailable(_) => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Object in a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Key, without the prefix of the store.
    pub key: String,
    /// Length in bytes.
    pub len: u64,
}

/// Reader of the bytes to upload: fills the buffer with the bytes from an offset on.
pub type Source<'a> = &'a mut dyn FnMut(&mut [u8], u64) -> io::Result<()>;

/// Store of objects with unique keys below one prefix. Every operation ends after a bounded time.
pub trait Objects: Send + Sync + fmt::Debug {
    /// Returns an object and its version, or `None` if its version is still `known`.
    ///
    /// # Errors
    /// Fails if there is no such object, or the store cannot be read.
    fn get(
        &self,
        key: &str,
        known: Option<&str>,
    ) -> Result<Option<(Vec<u8>, String)>, ObjectsError>;

    /// Returns `len` bytes of an object from `offset` on, all of them.
    ///
    /// # Errors
    /// Fails if the object does not exist or is shorter, or the store cannot be read.
    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Vec<u8>, ObjectsError>;

    /// Writes an object if its version is `expected`; with `None`, if it does not exist. Returns its
    /// new version.
    ///
    /// # Errors
    /// Returns [`ObjectsError::Conflict`] if the version is another one. After another failure the
    /// object may or may not have been written, or may still be.
    fn put_if(
        &self,
        key: &str,
        bytes: &[u8],
        expected: Option<&str>,
    ) -> Result<String, ObjectsError>;

    /// Uploads `len` bytes under a new key. The object exists completely or not at all.
    ///
    /// # Errors
    /// Fails if the source fails, or the store cannot be written to.
    fn upload(&self, key: &str, len: u64, source: Source<'_>) -> Result<(), ObjectsError>;

    /// Deletes an object. One that does not exist is not an error.
    ///
    /// # Errors
    /// Fails if the store cannot be written to.
    fn delete(&self, key: &str) -> Result<(), ObjectsError>;

    /// Lists the objects whose keys begin with `prefix`.
    ///
    /// # Errors
    /// Fails if the store cannot be read.
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, ObjectsError>;
}
