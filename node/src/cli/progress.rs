//! Progress of long operations: a bar on a terminal, else lines or nothing.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use indicatif::{ProgressBar, ProgressStyle};

use crate::store::cold::Progress;

use super::output::Failure;

/// Receiver of the progress of a stage, with the stage's name and the unit counted.
type Report<'r> = dyn FnMut(&'static str, &'static str, Progress) + 'r;

/// Interval between progress lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Schedule of progress lines.
struct ProgressLines {
    last: Instant,
}

impl ProgressLines {
    const fn new(start: Instant) -> Self {
        Self { last: start }
    }

    fn is_due(&mut self, now: Instant, at: Progress) -> bool {
        let is_end = at.done >= at.total;
        let is_due = is_end || now.duration_since(self.last) >= LINE_INTERVAL;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

/// Runs a long operation of named stages and shows the progress of each: a bar on a terminal, else
/// at most one line every [`LINE_INTERVAL`], and one at the end of each stage.
pub(super) fn with_bar_of<T, E: ToString>(
    work: impl FnOnce(&mut Report<'_>) -> Result<T, E>,
) -> Result<T, Failure> {
    let bar = std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(0);
        let template = "{msg} {wide_bar} {pos}/{len} {prefix}, {eta} left";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()),
        );
        bar
    });
    let mut lines = ProgressLines::new(Instant::now());
    let result = work(&mut |what, unit, at| {
        if let Some(bar) = &bar {
            bar.set_message(what);
            bar.set_prefix(unit);
            bar.set_length(at.total);
            bar.set_position(at.done);
            return;
        }
        if lines.is_due(Instant::now(), at) {
            let _ = writeln!(
                std::io::stderr(),
                "{what}: {} of {} {unit}",
                at.done,
                at.total
            );
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    result.map_err(Failure::failed)
}

/// Progress of bytes on a terminal: a bar with rate and time left, or without a total a count with
/// the rate. Several threads may count. Removed when dropped; shows nothing without a terminal.
pub(super) struct ByteBar {
    bar: Option<ProgressBar>,
    what: &'static str,
    /// Message on the terminal.
    shown: Mutex<&'static str>,
    /// Number of bytes that are done.
    bytes: AtomicU64,
}

/// Message while the node fetches what it will send.
const FETCHING: &str = "fetching from peers";

impl ByteBar {
    pub(super) fn new(what: &'static str, total: Option<u64>, is_quiet: bool) -> Self {
        let is_shown = !is_quiet && std::io::stderr().is_terminal();
        let bar = is_shown.then(|| {
            let (bar, template) = match total {
                Some(total) => (
                    ProgressBar::new(total),
                    "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
                ),
                None => (ProgressBar::no_length(), "{msg} {bytes}, {bytes_per_sec}"),
            };
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
            bar.set_message(what);
            bar
        });
        Self {
            bar,
            what,
            shown: Mutex::new(what),
            bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        if let Some(bar) = &self.bar {
            let bytes = bytes as u64;
            let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.show(bar, self.what, before + bytes);
        }
    }

    /// Shows how much of one list the node has, of which it sends the rest once it is fetched; `sent`
    /// bytes of the list are done.
    pub(super) fn fetched(&self, bytes: u64, sent: u64) {
        if let Some(bar) = &self.bar {
            let rest = bytes.saturating_sub(sent);
            self.show(bar, FETCHING, self.bytes.load(Ordering::Relaxed) + rest);
        }
    }

    fn show(&self, bar: &ProgressBar, what: &'static str, bytes: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if core::mem::replace(&mut *shown, what) != what {
            bar.set_message(what);
            // The rate of the other stage does not count.
            bar.reset_eta();
        }
        bar.set_position(bytes);
    }
}

impl Drop for ByteBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_without_terminal_prints_every_five_seconds_and_at_the_end() {
        let start = Instant::now();
        let mut lines = ProgressLines::new(start);
        let written = (0..=1_000_u64).filter(|done| {
            let now = start + Duration::from_millis(17 * done);
            let total = 1_000;
            lines.is_due(now, Progress { done: *done, total })
        });
        assert_eq!(written.count(), 4);
    }
}
