//! Object store in memory that fails on request.

use super::super::objects::{Listed, Objects, ObjectsError, Source};
use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Way in which requests fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// No request is executed.
    Down,
    /// Requests are executed, and their answers lost.
    LostAnswer,
    /// Writes are executed some time later; reads fail.
    Late,
    /// Reads return a part.
    Partial,
    /// The credentials do not suffice.
    Denied,
}

/// Write of an object that is executed later.
struct Delayed {
    key: String,
    bytes: Vec<u8>,
    /// Version that the object must have; `None` for any.
    expected: Option<Option<String>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    fault: Option<Fault>,
    /// Number of requests until the fault begins.
    countdown: Option<(usize, Fault)>,
    delayed: Vec<Delayed>,
    read_bytes: u64,
}

type Hook = Box<dyn Fn() + Send + Sync>;

/// Object store in memory.
#[derive(Default)]
pub(super) struct MemoryObjects {
    state: Mutex<State>,
    on_upload: Mutex<Option<std::sync::Arc<Hook>>>,
}

impl fmt::Debug for MemoryObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryObjects").finish_non_exhaustive()
    }
}

fn version_of(bytes: &[u8]) -> String {
    // As the ETag of S3: a hash of the content.
    format!("\"{}\"", blake3::hash(bytes).to_hex())
}

fn down() -> ObjectsError {
    ObjectsError::Unavailable("down".into())
}

impl State {
    fn version(&self, key: &str) -> Option<String> {
        self.objects.get(key).map(|bytes| version_of(bytes))
    }

    /// Executes a write if the object has the expected version.
    fn write(
        &mut self,
        key: &str,
        bytes: &[u8],
        expected: Option<Option<String>>,
    ) -> Result<String, ObjectsError> {
        if expected.is_some_and(|expected| expected != self.version(key)) {
            return Err(ObjectsError::Conflict);
        }
        self.objects.insert(key.to_owned(), bytes.to_vec());
        Ok(version_of(bytes))
    }
}

impl MemoryObjects {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn set(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    pub(super) fn fail_from(&self, requests: usize) {
        self.fail_as(requests, Fault::Down);
    }

    /// Lets requests fail after a number of them.
    pub(super) fn fail_as(&self, requests: usize, fault: Fault) {
        self.lock().countdown = Some((requests, fault));
    }

    pub(super) fn heal(&self) {
        let mut state = self.lock();
        (state.fault, state.countdown) = (None, None);
    }

    /// Executes the writes that are late.
    pub(super) fn deliver(&self) {
        let mut state = self.lock();
        for delayed in core::mem::take(&mut state.delayed) {
            let _ = state.write(&delayed.key, &delayed.bytes, delayed.expected);
        }
    }

    /// Calls `hook` before each upload.
    pub(super) fn on_upload(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.on_upload.lock().unwrap() = Some(std::sync::Arc::new(Box::new(hook)));
    }

    pub(super) fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().objects.get(key).cloned()
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    pub(super) fn remove(&self, key: &str) {
        self.lock().objects.remove(key);
    }

    pub(super) fn replace(&self, key: &str, bytes: Vec<u8>) {
        self.lock().objects.insert(key.to_owned(), bytes);
    }

    /// Changes a byte of every object whose key ends with `end`.
    pub(super) fn damage(&self, end: &str, at: usize) {
        for (key, bytes) in &mut self.lock().objects {
            if key.ends_with(end) {
                bytes[at] ^= 1;
            }
        }
    }

    pub(super) fn read_bytes(&self) -> u64 {
        self.lock().read_bytes
    }

    fn fault(&self) -> Option<Fault> {
        let mut state = self.lock();
        match &mut state.countdown {
            Some((0, fault)) => Some(*fault),
            Some((requests, _)) => {
                *requests -= 1;
                state.fault
            }
            None => state.fault,
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&mut State) -> Result<T, ObjectsError>,
    ) -> Result<T, ObjectsError> {
        match self.fault() {
            Some(Fault::Denied) => Err(ObjectsError::Denied("no permission".into())),
            Some(Fault::Down | Fault::LostAnswer | Fault::Late) => Err(down()),
            Some(Fault::Partial) | None => read(&mut self.lock()),
        }
    }

    fn write(
        &self,
        key: &str,
        bytes: &[u8],
        expected: Option<Option<String>>,
    ) -> Result<String, ObjectsError> {
        match self.fault() {
            Some(Fault::Down) => Err(down()),
            Some(Fault::Denied) => Err(ObjectsError::Denied("no permission".into())),
            Some(Fault::LostAnswer) => {
                let _ = self.lock().write(key, bytes, expected);
                Err(down())
            }
            Some(Fault::Late) => {
                let delayed = Delayed {
                    key: key.to_owned(),
                    bytes: bytes.to_vec(),
                    expected,
                };
                self.lock().delayed.push(delayed);
                Err(down())
            }
            Some(Fault::Partial) | None => self.lock().write(key, bytes, expected),
        }
    }
}

impl Objects for MemoryObjects {
    fn get(
        &self,
        key: &str,
        known: Option<&str>,
    ) -> Result<Option<(Vec<u8>, String)>, ObjectsError> {
        self.read(|state| {
            let found = state.objects.get(key).cloned();
            let bytes = found.ok_or_else(|| ObjectsError::NotFound(key.into()))?;
            let version = version_of(&bytes);
            if known == Some(version.as_str()) {
                return Ok(None);
            }
            state.read_bytes += bytes.len() as u64;
            Ok(Some((bytes, version)))
        })
    }

    fn get_range(&self, key: &str, offset: u64, len: u64) -> Result<Vec<u8>, ObjectsError> {
        let is_partial = self.lock().fault == Some(Fault::Partial);
        self.read(|state| {
            let found = state.objects.get(key);
            let bytes = found.ok_or_else(|| ObjectsError::NotFound(key.into()))?;
            let start = usize::try_from(offset).unwrap();
            let end = start + usize::try_from(len).unwrap();
            let part = bytes[start..end].to_vec();
            state.read_bytes += len;
            Ok(match is_partial {
                true => part[..part.len() / 2].to_vec(),
                false => part,
            })
        })
    }

    fn put_if(
        &self,
        key: &str,
        bytes: &[u8],
        expected: Option<&str>,
    ) -> Result<String, ObjectsError> {
        self.write(key, bytes, Some(expected.map(str::to_owned)))
    }

    fn upload(&self, key: &str, len: u64, source: Source<'_>) -> Result<(), ObjectsError> {
        let hook = self.on_upload.lock().unwrap().clone();
        if let Some(hook) = hook {
            hook();
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap()];
        let read = source(&mut bytes, 0);
        read.map_err(|error| ObjectsError::Refused(error.to_string()))?;
        assert!(self.object(key).is_none(), "{key} is written twice");
        self.write(key, &bytes, None).map(drop)
    }

    fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        match self.fault() {
            None | Some(Fault::Partial) => {
                self.remove(key);
                Ok(())
            }
            Some(Fault::LostAnswer) => {
                self.remove(key);
                Err(down())
            }
            Some(_) => Err(down()),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, ObjectsError> {
        self.read(|state| {
            let objects = state
                .objects
                .iter()
                .filter(|(key, _)| key.starts_with(prefix));
            let listed = objects.map(|(key, bytes)| Listed {
                key: key.clone(),
                len: bytes.len() as u64,
            });
            Ok(listed.collect())
        })
    }
}
