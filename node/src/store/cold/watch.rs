//! Detection of external changes: a removed directory, journal or pair, a truncated file, a disk
//! that became read-only, full, or usable again.
//!
//! Checked once per second, so that a problem is reported before the next write meets it, and ends
//! when its cause does.

use super::{ColdError, Inner, lock};
use crate::store::sorted_pair::Damage;

/// Name of the file that is written to test whether the disk accepts writes.
pub(super) const PROBE: &str = "probe.tmp";
/// Bytes written to the probe: a disk with less free space is full.
const PROBE_BYTES: usize = 64 << 10;

impl Inner {
    /// Checks the directory and every open file, and whether writes that failed would succeed now.
    pub(super) fn watch(&self) {
        let failure = lock(&self.log).failure.clone();
        if let Err(error) = self.check_place() {
            self.set_failure(failure, Some(error));
            return;
        }
        self.watch_journals();
        match self.disk.shared() {
            // Their files are immutable, and come and go.
            Some(shared) => self.watch_shared(shared),
            None => self.watch_pairs(),
        }
        if failure.as_ref().is_some_and(ColdError::is_of_disk) {
            self.set_failure(failure, self.probe().err());
        }
    }

    /// Finds journals that lost their names, so that they are collated while they can be read.
    fn watch_journals(&self) {
        for segment in &self.snapshot.load().segments {
            for journal in segment.journals() {
                match self.disk.identity(&journal.path) {
                    Ok(found) if found != Some(journal.id) && journal.set_displaced() => {
                        let problem = "the journal was removed or replaced while it was open; its \
                                       atoms are written to a pair";
                        crate::log::error!("cold storage: {}: {problem}", journal.path.display());
                        self.wake.notify();
                    }
                    // If the disk cannot report it now, the next check may.
                    _ => {}
                }
            }
        }
    }

    fn watch_pairs(&self) {
        for pair in self.snapshot.load().pairs() {
            if let Ok(Some(damage)) = pair.check_files(&*self.disk) {
                self.note_damage(damage);
            }
        }
    }

    fn note_damage(&self, damage: Damage) {
        self.damages.note(damage);
        self.wake.notify();
    }

    /// Tests whether the disk accepts writes.
    pub(super) fn probe(&self) -> Result<(), ColdError> {
        let path = self.root.join(PROBE);
        let written = self.disk.create(&path).and_then(|file| {
            file.write_all_at(&[0; PROBE_BYTES], 0)?;
            file.sync()
        });
        let removed = self.disk.remove(&path);
        written
            .and(removed)
            .map_err(|error| ColdError::io("write to", &self.root, &error))
    }

    /// Replaces the reason writes fail, unless a writer has just set another one.
    fn set_failure(&self, before: Option<ColdError>, now: Option<ColdError>) {
        let mut log = lock(&self.log);
        if log.failure != before {
            return;
        }
        match (&before, &now) {
            (None, Some(error)) => crate::log::error!("cold storage refuses writes: {error}"),
            (Some(_), None) => crate::log::info!("cold storage accepts writes again"),
            _ => {}
        }
        log.failure = now;
    }
}
