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

/// Observer with its number and the least severe level that it sees.
type Registered = (usize, Level, Observer);

static OBSERVERS: Mutex<Vec<Registered>> = Mutex::new(Vec::new());
/// Number of the least severe level that an observer sees; 0 without any. Other lines cost no lock.
static LEVEL: AtomicUsize = AtomicUsize::new(0);

fn observers() -> MutexGuard<'static, Vec<Registered>> {
    OBSERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the level after a change.
fn set_level(observers: &[Registered]) {
    let levels = observers.iter().map(|(_, level, _)| *level as usize);
    LEVEL.store(levels.max().unwrap_or(0), Ordering::Relaxed);
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
        Self::of_level(Level::Trace, observer)
    }

    /// Like [`Watch::new`], for lines of this level and more severe ones.
    #[must_use]
    pub fn of_level(level: Level, observer: impl Fn(&LogLine) + Send + Sync + 'static) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut observers = observers();
        observers.push((number, level, Arc::new(observer)));
        set_level(&observers);
        Self(number)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut observers = observers();
        observers.retain(|(number, _, _)| *number != self.0);
        set_level(&observers);
    }
}

/// Passes a line to the observers.
pub(super) fn observe(event: &Event) {
    if event.level as usize > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    // Not held during the calls.
    let observers: Vec<Observer> = observers()
        .iter()
        .filter(|(_, level, _)| event.level <= *level)
        .map(|(_, _, observer)| Arc::clone(observer))
        .collect();
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
    fn observers_of_a_level_do_not_see_others() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watch = {
            let seen = Arc::clone(&seen);
            Watch::of_level(Level::Warn, move |line| {
                seen.lock().unwrap().push(line.message.clone());
            })
        };
        for level in [Level::Info, Level::Warn, Level::Error] {
            observe(&Event::own(
                Duration::ZERO,
                level,
                format!("{level} of the level test"),
            ));
        }
        drop(watch);
        let mut seen = seen.lock().unwrap().clone();
        seen.retain(|message| message.ends_with("of the level test"));
        assert_eq!(seen, ["WARN of the level test", "ERROR of the level test"]);
    }

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
