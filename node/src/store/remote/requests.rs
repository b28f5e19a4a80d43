//! Requests to an object store: counted, and refused at once for a short time after a failure, so
//! that readers do not all wait for a store that does not answer.

use super::objects::{Listed, Objects, ObjectsError, Source};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Time after a failure in which reads of pairs fail with the same reason.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 5_000 });

/// Requests to one store; see the module.
#[derive(Debug)]
pub(super) struct Requests {
    objects: Arc<dyn Objects>,
    failed: Mutex<Option<(Instant, ObjectsError)>>,
    gets: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    lists: AtomicU64,
    failures: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Requests {
    pub(super) fn new(objects: Arc<dyn Objects>) -> Self {
        Self {
            objects,
            failed: Mutex::default(),
            gets: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
        }
    }

    /// Remembers a failure of the store, or its end.
    fn note<T>(&self, result: Result<T, ObjectsError>) -> Result<T, ObjectsError> {
        let failed = match &result {
            Err(error @ (ObjectsError::Unavailable(_) | ObjectsError::Denied(_))) => {
                add(&self.failures, 1);
                Some((Instant::now(), error.clone()))
            }
            _ => None,
        };
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        result
    }

    /// Like [`Objects::get`].
    pub(super) fn get(
        &self,
        key: &str,
        known: Option<&str>,
    ) -> Result<Option<(Vec<u8>, String)>, ObjectsError> {
        add(&self.gets, 1);
        let found = self.note(self.objects.get(key, known));
        if let Ok(Some((bytes, _))) = &found {
            add(&self.read_bytes, bytes.len() as u64);
        }
        found
    }

    /// Like [`Objects::get_range`]; fails at once shortly after a failure.
    pub(super) fn get_range(
        &self,
        key: &str,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>, ObjectsError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, error)) = &*failed
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        drop(failed);
        add(&self.gets, 1);
        let found = self.objects.get_range(key, offset, len);
        let found = found.and_then(|bytes| match bytes.len() as u64 == len {
            true => Ok(bytes),
            false => Err(ObjectsError::Unavailable(format!(
                "{key}: {} of {len} bytes from {offset} on arrived",
                bytes.len()
            ))),
        });
        let found = self.note(found);
        add(&self.read_bytes, found.as_ref().map_or(0, Vec::len) as u64);
        found
    }

    /// Like [`Objects::put_if`].
    pub(super) fn put_if(
        &self,
        key: &str,
        bytes: &[u8],
        expected: Option<&str>,
    ) -> Result<String, ObjectsError> {
        add(&self.puts, 1);
        add(&self.written_bytes, bytes.len() as u64);
        self.note(self.objects.put_if(key, bytes, expected))
    }

    /// Like [`Objects::upload`].
    pub(super) fn upload(
        &self,
        key: &str,
        len: u64,
        source: Source<'_>,
    ) -> Result<(), ObjectsError> {
        add(&self.puts, 1);
        add(&self.written_bytes, len);
        self.note(self.objects.upload(key, len, source))
    }

    /// Like [`Objects::delete`].
    pub(super) fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        add(&self.deletes, 1);
        self.note(self.objects.delete(key))
    }

    /// Like [`Objects::list`].
    pub(super) fn list(&self, prefix: &str) -> Result<Vec<Listed>, ObjectsError> {
        add(&self.lists, 1);
        self.note(self.objects.list(prefix))
    }

    /// Returns the last failure, if no request has succeeded since.
    pub(super) fn failure(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map(|(_, error)| error.to_string())
    }

    pub(super) fn counters(&self) -> BTreeMap<String, u64> {
        let counters = [
            ("gets", &self.gets),
            ("puts", &self.puts),
            ("deletes", &self.deletes),
            ("lists", &self.lists),
            ("failures", &self.failures),
            ("read_bytes", &self.read_bytes),
            ("written_bytes", &self.written_bytes),
        ];
        let named = counters.into_iter().map(|(name, counter)| {
            let count = counter.load(Ordering::Relaxed);
            (format!("object_store_{name}"), count)
        });
        named.collect()
    }
}
