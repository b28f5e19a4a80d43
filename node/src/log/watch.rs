//! Observers of log lines.

use super::date::Rfc3339;
use super::event::Event;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};
use log::Level;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Log line, for observers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// Time in RFC 3339.
    pub time: String,
    /// Level.
    pub level: Level,
    /// Module that logged it.
    pub module: String,
    /// Message.
    pub message: String,
}

impl From<&Event> for LogLine {
    fn from(event: &Event) -> Self {
        Self {
            time: Rfc3339(event.time).to_string(),
            level: event.level,
            module: event.module().to_owned(),
            message: event.message().to_owned(),
        }
    }
}

/// Function that is called with every line that the process logs, on the thread that logs it. It must
/// neither block nor log.
type Observer = Arc<dyn Fn(&LogLine) + Send + Sync>;

static OBSERVERS: Mutex<Vec<(usize, Observer)>> = Mutex::new(Vec::new());
/// Number of observers: without any, a line costs no lock.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn observers() -> MutexGuard<'static, Vec<(usize, Observer)>> {
    OBSERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registration of an observer, which ends when this is dropped.
pub struct Watch(usize);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.0).finish()
    }
}

impl Watch {
    /// Calls `observer` with every line from now on, on the thread that logs it. It must neither
    /// block nor log.
    #[must_use]
    pub fn new(observer: impl Fn(&LogLine) + Send + Sync + 'static) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut observers = observers();
        observers.push((number, Arc::new(observer)));
        COUNT.store(observers.len(), Ordering::Relaxed);
        Self(number)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut observers = observers();
        observers.retain(|(number, _)| *number != self.0);
        COUNT.store(observers.len(), Ordering::Relaxed);
    }
}

/// Passes a line to the observers.
pub(super) fn observe(event: &Event) {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    // Not held during the calls.
    let observers: Vec<Observer> = observers().iter().map(|(_, it)| Arc::clone(it)).collect();
    let line = LogLine::from(event);
    for observer in observers {
        observer(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn observers_see_lines_until_they_are_dropped() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watch = {
            let seen = Arc::clone(&seen);
            Watch::new(move |line| seen.lock().unwrap().push(line.clone()))
        };
        // Other tests of the process may log at the same time.
        let mine = || {
            let seen = seen.lock().unwrap();
            let mine = seen
                .iter()
                .filter(|line| line.message.ends_with("of the watch test"));
            mine.cloned().collect::<Vec<LogLine>>()
        };
        let event = |text: &str| {
            let text = format!("{text} of the watch test");
            Event::own(Duration::from_secs(1), Level::Warn, text)
        };
        observe(&event("first"));
        drop(watch);
        observe(&event("second"));
        let mine = mine();
        assert!(
            mine.len() == 1 && mine[0].message.starts_with("first"),
            "{mine:?}"
        );
        assert_eq!(mine[0].time, "1970-01-01T00:00:01.000000+00:00");
        assert_eq!(
            (mine[0].level, &*mine[0].module),
            (Level::Warn, "astreum_node::log::event")
        );
    }
}
