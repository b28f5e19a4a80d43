//! Open connections.
//!
//! If there is no room for a new connection, the one that has been idle for longest is closed, if for
//! [`DISPLACED_AFTER`]; without an idle one, that of a caller without the token which has been in use
//! for longest, by a subscription or a wait above all. So neither idle connections nor callers
//! without the token lock out others.

use super::counters::{HttpCounters, count, uncount};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Time for which a connection is idle, or in use without the token, after which it may be closed in
/// favor of a new one.
const DISPLACED_AFTER: Duration = Duration::from_secs(2);
/// Time that a connection which is closed while it is in use has for its end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Open connections.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    counters: Arc<HttpCounters>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
    is_interrupted: bool,
}

/// Open connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Set once it is closed or the node stops: work for it can end.
    gone: Arc<AtomicBool>,
    occupation: Mutex<Occupation>,
    /// Set once a caller has shown the token.
    has_token: Arc<AtomicBool>,
    close: Notify,
    /// Notified if it is closed while it is in use.
    displaced: Notify,
}

/// Activity of a connection.
#[derive(Clone, Copy, Debug)]
struct Occupation {
    /// True while anything is in progress.
    is_busy: bool,
    since: Instant,
}

/// Place of a connection among the open ones, which is free again once this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(max: usize, counters: Arc<HttpCounters>) -> Self {
        Self {
            max: max.max(1),
            counters,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a place for a connection; `None` if all are busy.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Arc<Place>> {
        let mut open = self.open();
        if open.connections.len() >= self.max && !displace(&mut open) {
            drop(open);
            count(&self.counters.refused_connections);
            return None;
        }
        let connection = Arc::new(Connection {
            gone: Arc::new(AtomicBool::new(open.is_interrupted)),
            occupation: Mutex::new(Occupation {
                is_busy: false,
                since: Instant::now(),
            }),
            has_token: Arc::default(),
            close: Notify::new(),
            displaced: Notify::new(),
        });
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, Arc::clone(&connection));
        drop(open);
        count(&self.counters.connections);
        count(&self.counters.open_connections);
        Some(Arc::new(Place {
            number,
            connection,
            connections: Arc::clone(self),
        }))
    }

    /// Ends the waits and computations of all current and future connections.
    pub(super) fn interrupt(&self) {
        let mut open = self.open();
        open.is_interrupted = true;
        for connection in open.connections.values() {
            connection.gone.store(true, Ordering::Relaxed);
        }
    }

    /// Closes all connections once nothing is in progress.
    pub(super) fn close(&self) {
        for connection in self.open().connections.values() {
            connection.close.notify_one();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        // A displaced one may still be in progress, and is not waited for.
        self.open().connections.is_empty()
    }
}

/// Closes a connection in favor of a new one; returns `false` if there is none that may be.
fn displace(open: &mut Open) -> bool {
    let long = |wanted: bool| {
        let mut found: Option<(Instant, u64)> = None;
        for (number, connection) in &open.connections {
            let Occupation { is_busy, since } = *lock(&connection.occupation);
            let is_safe = is_busy && connection.has_token.load(Ordering::Relaxed);
            if is_busy == wanted && !is_safe && since.elapsed() >= DISPLACED_AFTER {
                let this = (since, *number);
                found = Some(found.map_or(this, |other| other.min(this)));
            }
        }
        found
    };
    let longest = long(false).or_else(|| long(true));
    let Some(connection) = longest.and_then(|(_, number)| open.connections.remove(&number)) else {
        return false;
    };
    if lock(&connection.occupation).is_busy {
        connection.gone.store(true, Ordering::Relaxed);
        connection.displaced.notify_one();
    }
    connection.close.notify_one();
    true
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// States whether something is in progress for the connection.
    pub(super) fn set_busy(&self, is_busy: bool) {
        let mut occupation = lock(&self.connection.occupation);
        if occupation.is_busy != is_busy {
            *occupation = Occupation {
                is_busy,
                since: Instant::now(),
            };
        }
    }

    /// Returns the flag that is to be set once a caller of the connection has shown the token. What
    /// is executed for the connection may hold it, and not the place.
    pub(super) fn token_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.connection.has_token)
    }

    /// Waits until the connection has been closed while it was in use, and its time is over.
    pub(super) async fn overdue(&self) {
        self.connection.displaced.notified().await;
        tokio::time::sleep(FAREWELL).await;
    }

    /// Returns the flag that is set once the connection is closed.
    pub(super) fn gone(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.connection.gone)
    }

    /// Waits until the connection is to be closed.
    pub(super) async fn closing(&self) {
        self.connection.close.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.gone.store(true, Ordering::Relaxed);
        self.connections.open().connections.remove(&self.number);
        uncount(&self.connections.counters.open_connections);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the present activity of a connection old.
    fn make_old(place: &Place) {
        let long_ago = Instant::now().checked_sub(DISPLACED_AFTER).unwrap();
        lock(&place.connection.occupation).since = long_ago;
    }

    #[test]
    fn connections_in_use_make_room_unless_their_caller_has_the_token() {
        let connections = Arc::new(Connections::new(3, Arc::default()));
        let places = [(); 3].map(|()| connections.admit().unwrap());
        let [first, second, third] = &places;
        for place in &places {
            place.set_busy(true);
        }
        first.token_flag().store(true, Ordering::Relaxed);
        assert!(connections.admit().is_none(), "none has been for long");
        for place in [first, third, second] {
            make_old(place);
        }
        let fourth = connections.admit().unwrap();
        assert!(third.gone().load(Ordering::Relaxed), "the oldest");
        fourth.set_busy(true);
        let fifth = connections.admit().unwrap();
        assert!(second.gone().load(Ordering::Relaxed));
        fifth.set_busy(true);
        assert!(connections.admit().is_none());
        assert!(!first.gone().load(Ordering::Relaxed));
        // One that is idle goes first, also with the token.
        for place in [&fourth, &fifth] {
            make_old(place);
        }
        first.set_busy(false);
        make_old(first);
        assert!(connections.admit().is_some());
        for place in [&fourth, &fifth] {
            assert!(!place.gone().load(Ordering::Relaxed));
        }
    }

    #[test]
    fn idle_connections_make_room_and_busy_ones_do_not() {
        let counters = Arc::new(HttpCounters::default());
        let connections = Arc::new(Connections::new(2, Arc::clone(&counters)));
        let (one, two) = (connections.admit().unwrap(), connections.admit().unwrap());
        one.set_busy(true);
        assert!(
            connections.admit().is_none(),
            "the other one is not idle for long"
        );
        make_old(&two);
        let three = connections.admit().unwrap();
        two.set_busy(true);
        three.set_busy(true);
        assert!(connections.admit().is_none());
        let gone = one.gone();
        drop(one);
        assert!(gone.load(Ordering::Relaxed));
        let four = connections.admit().unwrap();
        let counts = counters.counts();
        assert_eq!((counts.connections, counts.refused_connections), (4, 2));
        connections.interrupt();
        assert!(four.gone().load(Ordering::Relaxed));
        drop((two, three, four));
        assert!(connections.is_empty());
        assert_eq!(counters.counts().open_connections, 0);
        let later = connections.admit().unwrap();
        assert!(later.gone().load(Ordering::Relaxed));
    }
}
