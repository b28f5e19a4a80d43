//! Background fetch of atoms that were lost in damaged files of cold storage.
//!
//! Cold storage lists their ids. A few are requested at a time, with pauses that grow while no peer
//! has them, so that a long list costs little network traffic. Atoms that are found are stored and
//! leave the list.

use crate::failure::Failure;
use crate::log;
use crate::net::{FetchFailure, NetworkHandle};
use crate::store::Store;
use astreum_core::wire::object::PayloadType;
use core::time::Duration;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Number of atoms requested in one round.
const ATOMS_PER_ROUND: usize = 8;
/// Pause after a round in which every atom was found.
const AFTER_SUCCESS: Duration = Duration::from_millis(100);
/// Pause after a round in which an atom was not found.
const AFTER_MISS: Duration = Duration::from_secs(10);
/// Pause while there is nothing to fetch, or no peer is connected.
const IDLE: Duration = Duration::from_secs(5);
/// Pause after a pass through all atoms; doubles while none is found.
const FIRST_PASS_PAUSE: Duration = Duration::from_mins(1);
const MAX_PASS_PAUSE: Duration = Duration::from_mins(10);

/// Running refetch thread. Dropping it waits for the thread, which ends once the network has
/// stopped.
#[derive(Debug)]
pub(super) struct Refetch {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for this time, or until the flag is set; returns `true` if it is set.
    fn wait(&self, time: Duration) -> bool {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(is_set, time, |is_set| !*is_set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Refetch {
    pub(super) fn start(
        store: Store,
        network: NetworkHandle,
        failure: &Failure,
    ) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        let failure = failure.clone();
        let thread = thread::Builder::new()
            .name("refetch".to_owned())
            .spawn(move || {
                let _ = failure.watch(|| run(&store, &network, &stopped));
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Lets the thread end after the current fetch.
    pub(super) fn stop(&self) {
        self.stop.set();
    }
}

impl Drop for Refetch {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported already.
            let _ = thread.join();
        }
    }
}

/// Results so far of one pass through the list.
#[derive(Default)]
struct Pass {
    found: u64,
    missed: u64,
}

fn run(store: &Store, network: &NetworkHandle, stop: &Stop) {
    let mut pass = Pass::default();
    let mut pass_pause = FIRST_PASS_PAUSE;
    let mut pause = IDLE;
    while !stop.wait(pause) {
        pause = IDLE;
        let Some(cold) = store.cold().filter(|cold| cold.has_lost()) else {
            continue;
        };
        let peers = network.status().map_or(0, |status| status.peers);
        if peers == 0 {
            continue;
        }
        match cold.next_lost(ATOMS_PER_ROUND) {
            Ok(Some(ids)) => {
                let missed = pass.missed;
                for id in ids {
                    match network.fetch(id, PayloadType::ATOM) {
                        Ok(atoms) => {
                            let atoms = atoms.into_iter().map(|atom| (atom.id(), atom));
                            match store.put_all(atoms.collect()) {
                                Ok(_) => pass.found += 1,
                                Err(error) => {
                                    pass.missed += 1;
                                    if let Some(more) = log::limited("lost atom not stored") {
                                        log::error!(
                                            "failed to store a fetched atom: {error}{more}"
                                        );
                                    }
                                }
                            }
                        }
                        Err(FetchFailure::Stopped) => return,
                        Err(FetchFailure::Network(_) | FetchFailure::Abandoned) => pass.missed += 1,
                    }
                }
                pause = match pass.missed == missed {
                    true => AFTER_SUCCESS,
                    false => AFTER_MISS,
                };
            }
            Ok(None) => {
                let Pass { found, missed } = core::mem::take(&mut pass);
                log::info!("lost atoms: {found} fetched again, {missed} not found");
                pass_pause = match found {
                    0 => (pass_pause * 2).min(MAX_PASS_PAUSE),
                    _ => FIRST_PASS_PAUSE,
                };
                // Found atoms leave the list in the next pass.
                pause = if missed == 0 {
                    AFTER_SUCCESS
                } else {
                    pass_pause
                };
            }
            Err(error) => {
                if let Some(more) = log::limited("lost atoms") {
                    log::error!("failed to read the list of lost atoms: {error}{more}");
                }
                pause = pass_pause;
            }
        }
    }
}
