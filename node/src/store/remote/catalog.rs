//! Catalog: this node's view of the manifest, its lease, and its changes.
//!
//! Invariants:
//! - A change counts once the manifest was replaced by a compare-and-swap, with the epoch of this
//!   node's lease. A node whose lease was taken over has another epoch than the manifest, and its
//!   changes fail; what it uploaded is never referred to.
//! - A lease is a hint that keeps two nodes from doing the same work; no promise depends on it, nor
//!   on a clock. It ends when its holder gives it up, or when another node has seen the manifest
//!   unchanged for [`LEASE`] by its own clock.
//! - After a write whose outcome is not known the manifest is loaded before the next change.
//! - Objects that were uploaded and are not in the manifest are deleted by a later epoch only: once
//!   the manifest has one, no delayed write of an earlier epoch can succeed any more.

use super::manifest::{
    MANIFEST, MAX_BYTES, Manifest, PAIRS, PairEntry, Writer, epoch_of, first_number,
};
use super::objects::ObjectsError;
use super::requests::Requests;
use crate::clock;
use crate::log;
use crate::store::disk::{TURN_LIMIT, Turn};
use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Time without a change of the manifest after which the lease of another node has ended.
pub(super) const LEASE: Duration = TURN_LIMIT;
/// Part of it, as a divisor, after which this node renews its own lease.
const RENEWALS: u32 = 4;
/// Interval at which the manifest is loaded.
const REFRESH: Duration = Duration::from_secs(10);
/// Time in seconds after which the objects of a replaced pair are deleted: other nodes may read them
/// until they have loaded the manifest.
const GRACE_SECONDS: u64 = 60 * 60;
/// Interval of the search for objects that do not belong to the manifest.
const SEARCH_INTERVAL: Duration = Duration::from_hours(24);
/// Time to wait for the lease of another node after which that is a problem.
const LONG_WAIT: Duration = Duration::from_mins(15);
/// Number of attempts to write a change.
const ATTEMPTS: usize = 3;

/// View of the manifest; see the module.
#[derive(Debug)]
pub(super) struct Catalog {
    requests: Arc<Requests>,
    own: Writer,
    lease: Duration,
    state: Mutex<State>,
    /// Held while the manifest is loaded or written.
    transfer: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    manifest: Arc<Manifest>,
    /// Version of the manifest in the store; `None` if it does not exist yet.
    version: Option<String>,
    /// Lease of this node.
    lease: Option<Lease>,
    /// Version at which another node was found to have the lease, and the time of that.
    other: Option<(String, Instant)>,
    /// Time since which this node waits for a lease.
    waits_since: Option<Instant>,
    /// True if a write may or may not have been done.
    is_doubtful: bool,
    /// Time of the last load, and the reason it failed.
    loaded: Option<Instant>,
    failure: Option<String>,
    /// Description of the loss of a lease, until the next change succeeds.
    lost: Option<String>,
    /// Time of the last search for objects that do not belong to the manifest.
    searched: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    epoch: u64,
    renewed: Instant,
    next_number: u64,
}

impl State {
    fn holds_lease(&self) -> bool {
        self.lease.is_some()
    }

    /// Replaces the manifest by the one that was found in the store.
    fn install(&mut self, manifest: Manifest, version: String, own: &Writer) {
        let writer = manifest.writer.as_ref();
        let is_ours = writer.is_some_and(|writer| writer.id == own.id);
        if let Some(lease) = self.lease
            && !(is_ours && manifest.epoch == lease.epoch)
        {
            let by = writer.map_or("another node", |writer| &writer.name);
            let lost = format!(
                "the lease was lost to {by}: what this node had uploaded since is not used, and is \
                 uploaded again"
            );
            log::warn!("cold storage: object store: {lost}");
            self.lease = None;
            self.lost = Some(lost);
        }
        // The lease of another node lasts from when this content was seen first.
        let is_other = manifest.writer.is_some() && !is_ours;
        self.other = is_other.then(|| (version.clone(), Instant::now()));
        if !is_other {
            self.waits_since = None;
        }
        self.manifest = Arc::new(manifest);
        self.version = Some(version);
    }
}

impl Catalog {
    /// Loads the manifest, of which this node has seen version `seen` before.
    pub(super) fn open(
        requests: Arc<Requests>,
        own: Writer,
        lease: Duration,
        seen: u64,
    ) -> Result<Self, ObjectsError> {
        let catalog = Self {
            requests,
            own,
            lease,
            state: Mutex::default(),
            transfer: Mutex::default(),
        };
        catalog.load()?;
        let found = catalog.manifest().version;
        if found < seen {
            let found = match found {
                0 => "missing".to_owned(),
                found => format!("at version {found}"),
            };
            return Err(ObjectsError::Refused(format!(
                "{MANIFEST} is {found}, and this node has seen version {seen}: another program has \
                 deleted or replaced it; put the newest one back"
            )));
        }
        Ok(catalog)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.state().manifest)
    }

    /// Loads the manifest if it was not for a while, or `now`.
    pub(super) fn refresh(&self, now: bool) -> Result<(), ObjectsError> {
        let loaded = self.state().loaded;
        if !now && loaded.is_some_and(|at| at.elapsed() < REFRESH) {
            return Ok(());
        }
        self.load()
    }

    fn load(&self) -> Result<(), ObjectsError> {
        let _transfer = lock(&self.transfer);
        self.load_locked()
    }

    /// Loads the manifest; the caller holds `transfer`.
    fn load_locked(&self) -> Result<(), ObjectsError> {
        let known = self.state().version.clone();
        let found = self.requests.get(MANIFEST, known.as_deref());
        let loaded = self.take(found, known.is_some());
        let mut state = self.state();
        state.loaded = Some(Instant::now());
        state.failure = loaded.as_ref().err().map(ToString::to_string);
        if loaded.is_ok() {
            state.is_doubtful = false;
        }
        loaded
    }

    fn take(
        &self,
        found: Result<Option<(Vec<u8>, String)>, ObjectsError>,
        exists: bool,
    ) -> Result<(), ObjectsError> {
        let (bytes, version) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(ObjectsError::NotFound(_)) if !exists => return Ok(()),
            Err(ObjectsError::NotFound(_)) => {
                return Err(ObjectsError::Refused(format!(
                    "{MANIFEST} is missing: another program has deleted it; put it back"
                )));
            }
            Err(error) => return Err(error),
        };
        let refused = |why| ObjectsError::Refused(format!("{MANIFEST} cannot be used: {why}"));
        let manifest = Manifest::parse(&bytes).map_err(refused)?;
        let mut state = self.state();
        if manifest.version < state.manifest.version {
            let (old, new) = (state.manifest.version, manifest.version);
            return Err(refused(format!(
                "it went back from version {old} to {new}: another program has replaced it; put \
                 the newest one back"
            )));
        }
        state.install(manifest, version, &self.own);
        Ok(())
    }

    /// Takes the lease, unless another node has it.
    pub(super) fn acquire(&self) -> Result<Turn, ObjectsError> {
        {
            let state = self.state();
            if state.holds_lease() && !state.is_doubtful {
                drop(state);
                match self.renew() {
                    Err(error @ ObjectsError::Unavailable(_)) => return Err(error),
                    // A lease that was lost is taken again below.
                    _ if self.state().holds_lease() => return Ok(Turn::Ready),
                    _ => {}
                }
            }
        }
        self.load()?;
        if let Some(name) = self.other_holder() {
            return Ok(Turn::Busy(name));
        }
        if self.state().version.is_none() && !self.requests.list(PAIRS)?.is_empty() {
            return Err(ObjectsError::Refused(format!(
                "there are pairs, but no {MANIFEST}, which lists them: put it back, or choose \
                 another prefix"
            )));
        }
        let taken = self.replace(|state, manifest| {
            if state.other_holder(&self.own, self.lease).is_some() {
                return Err(ObjectsError::Conflict);
            }
            manifest.epoch += 1;
            manifest.writer = Some(self.own.clone());
            Ok(())
        });
        let epoch = match taken {
            Ok(epoch) => epoch,
            Err(ObjectsError::Conflict) => {
                self.load()?;
                let name = self.other_holder();
                return Ok(Turn::Busy(name.unwrap_or_else(|| "another node".into())));
            }
            Err(error) => return Err(error),
        };
        let mut state = self.state();
        state.lease = Some(Lease {
            epoch,
            renewed: Instant::now(),
            next_number: first_number(epoch),
        });
        (state.other, state.waits_since) = (None, None);
        Ok(Turn::Ready)
    }

    /// Returns the name of another node that has the lease.
    fn other_holder(&self) -> Option<String> {
        let mut state = self.state();
        let name = state.other_holder(&self.own, self.lease);
        match &name {
            None => state.waits_since = None,
            Some(_) => {
                state.waits_since.get_or_insert_with(Instant::now);
            }
        }
        name
    }

    /// Renews the lease if that is due. Without one it has no effect.
    pub(super) fn renew(&self) -> Result<(), ObjectsError> {
        let due = self.state().lease;
        match due.is_some_and(|lease| lease.renewed.elapsed() > self.lease / RENEWALS) {
            true => self.change(|_| ()),
            false => Ok(()),
        }
    }

    /// Like [`Self::renew`]; a store that is not available now is not an error: what counts is whether
    /// the next change succeeds.
    pub(super) fn keep_lease(&self) -> Result<(), ObjectsError> {
        match self.renew() {
            Err(ObjectsError::Unavailable(_)) => Ok(()),
            renewed => renewed,
        }
    }

    /// Returns the number of the next pair; `None` without the lease.
    pub(super) fn next_number(&self) -> Option<u64> {
        let mut state = self.state();
        let lease = state.lease.as_mut()?;
        let number = lease.next_number;
        lease.next_number += 1;
        Some(number)
    }

    /// Changes the manifest. Once this returns, the change counts for all nodes.
    ///
    /// # Errors
    /// Fails without the lease, or if the manifest cannot be written. In the latter case it may have
    /// been changed; the next load shows it.
    pub(super) fn change(&self, change: impl Fn(&mut Manifest)) -> Result<(), ObjectsError> {
        let is_ours = |manifest: &Manifest, lease: Lease| {
            let writer = manifest.writer.as_ref();
            manifest.epoch == lease.epoch && writer.is_some_and(|it| it.id == self.own.id)
        };
        self.replace(|state, manifest| match state.lease {
            Some(lease) if is_ours(manifest, lease) => {
                change(manifest);
                Ok(())
            }
            _ => Err(ObjectsError::Refused(match &state.lost {
                Some(lost) => lost.clone(),
                None => "this node does not have the lease".into(),
            })),
        })?;
        let mut state = self.state();
        state.lost = None;
        if let Some(lease) = &mut state.lease {
            lease.renewed = Instant::now();
        }
        Ok(())
    }

    /// Writes a changed manifest by compare-and-swap; returns its epoch. `change` is called again if
    /// another attempt is needed.
    fn replace(
        &self,
        change: impl Fn(&State, &mut Manifest) -> Result<(), ObjectsError>,
    ) -> Result<u64, ObjectsError> {
        let _transfer = lock(&self.transfer);
        for _ in 0..ATTEMPTS {
            if self.state().is_doubtful {
                self.load_locked()?;
            }
            let (manifest, expected) = {
                let state = self.state();
                let mut manifest = Manifest::clone(&state.manifest);
                change(&state, &mut manifest)?;
                manifest.version += 1;
                (manifest, state.version.clone())
            };
            let bytes = manifest.to_bytes();
            if bytes.len() > MAX_BYTES {
                let why = format!("{MANIFEST} would exceed the maximum of {MAX_BYTES} bytes");
                return Err(ObjectsError::Refused(why));
            }
            match self.requests.put_if(MANIFEST, &bytes, expected.as_deref()) {
                Ok(version) => {
                    let epoch = manifest.epoch;
                    let mut state = self.state();
                    state.manifest = Arc::new(manifest);
                    state.version = Some(version);
                    return Ok(epoch);
                }
                Err(ObjectsError::Conflict) => {
                    // Another writer, or an earlier attempt of this one.
                    self.load_locked()?;
                    if *self.state().manifest == manifest {
                        return Ok(manifest.epoch);
                    }
                }
                Err(error) => {
                    self.state().is_doubtful = true;
                    return Err(error);
                }
            }
        }
        Err(ObjectsError::Conflict)
    }

    /// Gives up the lease, after old objects were deleted. A failure is harmless: the lease ends by
    /// itself.
    pub(super) fn release(&self) {
        let holds = {
            let state = self.state();
            state.holds_lease() && !state.is_doubtful
        };
        if !holds {
            self.state().lease = None;
            return;
        }
        let deleted = self.delete_old().unwrap_or_default();
        let released = self.change(|manifest| {
            manifest.writer = None;
            manifest
                .retired
                .retain(|retired| !deleted.contains(&retired.pair));
        });
        if let Err(error) = released {
            log::debug!("cold storage: object store: failed to release the lease: {error}");
        }
        self.state().lease = None;
    }

    /// Gives up the lease that a process has left which had the local directory open before. A failure
    /// is harmless, like that of [`Self::release`].
    pub(super) fn release_left(&self) {
        let is_left = |state: &State, manifest: &Manifest| {
            let writer = manifest.writer.as_ref();
            writer.is_some_and(|it| it.id == self.own.id) && !state.holds_lease()
        };
        {
            let state = self.state();
            if !is_left(&state, &state.manifest) {
                return;
            }
        }
        let released = self.replace(|state, manifest| {
            if !is_left(state, manifest) {
                return Err(ObjectsError::Conflict);
            }
            manifest.writer = None;
            Ok(())
        });
        if let Err(error) = released {
            log::debug!("cold storage: object store: failed to release an old lease: {error}");
        }
    }

    /// Deletes the objects of pairs that were replaced a while ago; returns the pairs. Once a day,
    /// also deletes what interrupted uploads of earlier epochs have left.
    fn delete_old(&self) -> Result<Vec<PairEntry>, ObjectsError> {
        let manifest = self.manifest();
        let now = clock::unix_time().as_secs();
        let old = manifest.retired.iter();
        let old = old.filter(|retired| retired.since.saturating_add(GRACE_SECONDS) <= now);
        let old: Vec<PairEntry> = old.map(|retired| retired.pair.clone()).collect();
        for pair in &old {
            for key in pair.keys() {
                self.requests.delete(&key)?;
            }
        }
        let searched = self.state().searched;
        if searched.is_none_or(|at| at.elapsed() >= SEARCH_INTERVAL) {
            self.state().searched = Some(Instant::now());
            self.delete_orphans(&manifest)?;
        }
        Ok(old)
    }

    fn delete_orphans(&self, manifest: &Manifest) -> Result<(), ObjectsError> {
        let known = manifest.keys();
        for object in self.requests.list(PAIRS)? {
            let is_old = epoch_of(&object.key).is_some_and(|epoch| epoch < manifest.epoch);
            if is_old && !known.contains(&object.key) {
                log::info!(
                    "cold storage: object store: deleting what an interrupted upload has left: \
                     key={} bytes={}",
                    object.key,
                    object.len
                );
                self.requests.delete(&object.key)?;
            }
        }
        Ok(())
    }

    /// Returns the conditions on which an operator has to act.
    pub(super) fn problems(&self) -> Vec<String> {
        let state = self.state();
        let mut problems = Vec::new();
        problems.extend(state.failure.as_ref().map(|failure| {
            format!(
                "{failure}; atoms that are not in the local cache cannot be read, and nothing is \
                 uploaded"
            )
        }));
        problems.extend(state.lost.clone());
        let long = state.waits_since.filter(|_| state.other.is_some());
        let long = long.filter(|at| at.elapsed() >= LONG_WAIT);
        problems.extend(long.map(|at| {
            let writer = state.manifest.writer.as_ref();
            format!(
                "waiting for the lease of {} for {} minutes; the journals grow meanwhile",
                writer.map_or("another node", |writer| &writer.name),
                at.elapsed().as_secs() / 60
            )
        }));
        problems
    }
}

impl State {
    /// Returns the name of another node whose lease has not ended.
    fn other_holder(&self, own: &Writer, lease: Duration) -> Option<String> {
        let writer = self.manifest.writer.as_ref();
        let writer = writer.filter(|writer| writer.id != own.id)?;
        let seen = self.other.as_ref();
        let seen = seen.filter(|(version, _)| Some(version) == self.version.as_ref());
        let has_ended = seen.is_some_and(|(_, at)| at.elapsed() >= lease);
        (!has_ended).then(|| writer.name.clone())
    }
}

/// Locks a mutex. A poisoned one can only mean that memory ran out; the guarded data is changed
/// last.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
