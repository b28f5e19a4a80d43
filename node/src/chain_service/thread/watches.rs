//! Watches of the system clock and of the storage, run on the chain thread.

use super::storage_watch::{CHECK_INTERVAL, NearlyFull, StorageWatch, Usage};
use crate::chain_service::{ChainStatus, Head, HeadState, Input, Now};
use crate::log;
use crate::store::Store;
use astreum_core::atom::AtomId;
use astreum_core::consensus::{ClockEvent, ClockWatch};
use astreum_core::time::Instant;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// Free space above which a disk is not nearly full, whatever its used share, in bytes.
const AMPLE_DISK_BYTES: u64 = 16 << 30;

/// State of the watches.
#[derive(Debug)]
pub(super) struct Watches {
    clock: ClockWatch,
    /// Head that that was passed to the clock watch last.
    head: Option<AtomId>,
    cold: StorageWatch,
    /// Disks that the node writes to, each listed once.
    disks: Vec<(PathBuf, StorageWatch)>,
    next_check: Instant,
    nearly_full: Vec<NearlyFull>,
    /// Names of the storages that the log has reported as nearly full.
    reported: BTreeSet<String>,
}

impl Watches {
    /// Creates watches of cold storage and of the disks of these directories.
    pub(super) fn new(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut devices = BTreeSet::new();
        let is_new = |path: &PathBuf| {
            let device = fs::metadata(path).map(|data| data.dev());
            device.is_ok_and(|device| devices.insert(device))
        };
        let disks = directories.into_iter().filter(is_new).map(|path| {
            let what = format!("the disk of {}", path.display());
            (path, StorageWatch::new(what))
        });
        Self {
            clock: ClockWatch::default(),
            head: None,
            cold: StorageWatch::new("cold storage".to_owned()),
            disks: disks.collect(),
            next_check: Instant::ZERO,
            nearly_full: Vec::new(),
            reported: BTreeSet::new(),
        }
    }

    /// Passes an input to the clock watch.
    pub(super) fn input(&mut self, now: Now, input: &Input) {
        if let Input::PeerHead { group, id, .. } = input {
            self.clock.head_announced(now, *group, *id);
        }
    }

    /// Runs the checks that are due.
    pub(super) fn run(&mut self, now: Now, store: &Store, head: Option<&Head>) {
        if let Some(head) = head.filter(|head| self.head != Some(head.id())) {
            self.head = Some(head.id());
            if head.state() == HeadState::Verified {
                self.clock.head_verified(&head.id(), head.timestamp());
            }
        }
        if self.clock.poll_timeout() <= now.instant {
            self.clock.read_headers(store);
            match self.clock.tick(now) {
                Some(event @ ClockEvent::Agrees) => log::info!("{event}"),
                Some(event) => log::warn!("{event}"),
                None => {}
            }
        }
        if self.next_check <= now.instant {
            self.next_check = now.instant + CHECK_INTERVAL;
            self.check(now.instant, store);
        }
    }

    fn check(&mut self, now: Instant, store: &Store) {
        let mut full = Vec::new();
        if let Some(cold) = store.cold() {
            let stats = cold.stats();
            // Without a limit the free space of the disk counts, which is checked below.
            if stats.limit_bytes > 0 {
                let usage = Usage {
                    used: stats.used_bytes,
                    left: cold.room_bytes(),
                };
                full.extend(self.cold.check(now, usage));
            }
        }
        for (path, watch) in &mut self.disks {
            let Ok(disk) = rustix::fs::statvfs(&*path) else {
                continue;
            };
            let left = disk.f_bavail.saturating_mul(disk.f_frsize);
            let taken = disk.f_blocks.saturating_sub(disk.f_bfree);
            let used = taken.saturating_mul(disk.f_frsize);
            let found = watch.check(now, Usage { used, left });
            full.extend(found.filter(|_| left < AMPLE_DISK_BYTES));
        }
        let names: BTreeSet<String> = full.iter().map(|full| full.what.clone()).collect();
        for full in full
            .iter()
            .filter(|full| !self.reported.contains(&full.what))
        {
            log::warn!("{full}");
        }
        self.reported = names;
        self.nearly_full = full;
    }

    /// Returns the time at which [`Watches::run`] is due.
    pub(super) fn poll_timeout(&self) -> Instant {
        self.clock.poll_timeout().min(self.next_check)
    }

    /// Adds the results to a status.
    pub(super) fn add_to(&self, status: &mut ChainStatus) {
        status.clock = self.clock.offset();
        status.nearly_full.clone_from(&self.nearly_full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cold::{ColdOptions, ColdStore};
    use astreum_core::atom::Atom;
    use astreum_core::crypto::PublicKey;
    use astreum_core::wire::network_group::NetworkGroup;
    use core::time::Duration;

    #[test]
    fn future_head_shows_that_the_clock_is_behind_its_peers() {
        let mut watches = Watches::new([]);
        let store = Store::with_cold(1 << 20, None);
        let block = astreum_core::testkit::header(3, AtomId::new([1; 32]), 5_000).signed(None);
        let id = block.id();
        store.put_all(block.to_atoms()).unwrap();
        let now = |seconds| Now {
            instant: Instant::from_secs(seconds),
            unix: Duration::from_secs(4_900 + seconds),
        };
        let input = Input::PeerHead {
            peer: PublicKey::new([7; 32]),
            group: NetworkGroup::of([10, 0, 0, 1].into()),
            id,
            is_default_seed: false,
            is_seed: false,
        };
        watches.input(now(10), &input);
        for seconds in 10..20 {
            watches.run(now(seconds), &store, None);
        }
        let mut status = ChainStatus::default();
        watches.add_to(&mut status);
        let text = status.clock.unwrap().to_string();
        assert_eq!(text, "system clock is 90 s behind its peers");
    }

    #[test]
    fn cold_storage_near_its_limit_is_reported() {
        let scratch = tempfile::tempdir().unwrap();
        let options = ColdOptions {
            limit_bytes: 40_000,
            ..ColdOptions::from(&crate::config::Settings::default())
        };
        let cold = ColdStore::open(scratch.path(), options).unwrap();
        let store = Store::with_cold(1 << 20, Some(cold));
        let mut watches = Watches::new([]);
        let now = |seconds| Now {
            instant: Instant::from_secs(seconds),
            unix: Duration::from_secs(seconds),
        };
        let mut status = ChainStatus::default();
        watches.run(now(0), &store, None);
        watches.add_to(&mut status);
        assert_eq!(status.nearly_full, []);
        let mut seconds = 0_u64;
        while status.nearly_full.is_empty() {
            seconds += 11;
            let atom = Atom::bytes(seconds.to_be_bytes().repeat(125));
            let stored = store.put(atom);
            stored.expect("nearly full is shown before storage is full");
            watches.run(now(seconds), &store, None);
            watches.add_to(&mut status);
        }
        let full = &status.nearly_full[0];
        assert!((90..100).contains(&full.percent), "{full}");
    }
}
