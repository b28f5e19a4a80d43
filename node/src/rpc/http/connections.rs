//! Open connections.
//!
//! A connection that has been idle for [`DISPLACED_AFTER`] is closed in favor of a new one if there is
//! no room: idle connections do not lock out clients.

use super::counters::{HttpCounters, count, uncount};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;

/// Idle time after which a connection may be closed in favor of a new one.
const DISPLACED_AFTER: Duration = Duration::from_secs(2);

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
    /// Time since which nothing is in progress.
    idle_since: Mutex<Option<Instant>>,
    close: Notify,
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
            idle_since: Mutex::new(Some(Instant::now())),
            close: Notify::new(),
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

/// Closes the connection that has been idle for longest, if for at least [`DISPLACED_AFTER`];
/// returns `false` if there is none.
fn displace(open: &mut Open) -> bool {
    let idle = open.connections.iter().filter_map(|(number, connection)| {
        let since = (*lock(&connection.idle_since))?;
        (since.elapsed() >= DISPLACED_AFTER).then_some((since, *number))
    });
    let longest = idle.min().map(|(_, number)| number);
    let longest = longest.and_then(|number| open.connections.remove(&number));
    if let Some(connection) = &longest {
        connection.close.notify_one();
    }
    longest.is_some()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// States whether something is in progress for the connection.
    pub(super) fn set_busy(&self, is_busy: bool) {
        let mut idle_since = lock(&self.connection.idle_since);
        if is_busy {
            *idle_since = None;
        } else {
            idle_since.get_or_insert_with(Instant::now);
        }
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
        let long_ago = Instant::now().checked_sub(DISPLACED_AFTER).unwrap();
        *lock(&two.connection.idle_since) = Some(long_ago);
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
