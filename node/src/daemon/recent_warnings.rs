//! Latest warnings and errors in the log of a running node.

use crate::log;
use crate::rpc::LogReply;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Maximum number of lines that are kept.
const MAX_LINES: usize = 100;
/// Maximum number of bytes of a message that are kept.
const MAX_MESSAGE_BYTES: usize = 1_000;

/// Latest lines, oldest first.
type Lines = Mutex<VecDeque<LogReply>>;

/// Latest warnings and errors that the process has logged since this was created.
#[derive(Debug)]
pub(super) struct RecentWarnings {
    lines: Arc<Lines>,
    _watch: log::Watch,
}

impl RecentWarnings {
    pub(super) fn new() -> Self {
        let lines = Arc::new(Lines::default());
        let watch = {
            let lines = Arc::clone(&lines);
            log::Watch::of_level(::log::Level::Warn, move |line| add(&lines, line))
        };
        Self {
            lines,
            _watch: watch,
        }
    }

    /// Returns the lines, oldest first.
    pub(super) fn list(&self) -> Vec<LogReply> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}

fn add(lines: &Lines, line: &log::LogLine) {
    let mut message = line.message.clone();
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push('…');
    }
    let reply = LogReply {
        time: line.time.clone(),
        level: line.level.into(),
        module: line.module.clone(),
        message,
    };
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() == MAX_LINES {
        lines.pop_front();
    }
    lines.push_back(reply);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::LogLevel;

    #[test]
    fn number_and_length_of_lines_are_bounded() {
        let recent = RecentWarnings::new();
        let line = |message: String| log::LogLine {
            time: "2026-11-30T00:00:00.000000+00:00".to_owned(),
            level: ::log::Level::Warn,
            module: "astreum_node::net".to_owned(),
            message,
        };
        for number in 0..MAX_LINES + 5 {
            add(
                &recent.lines,
                &line(format!("{number} {}", "é".repeat(2_000))),
            );
        }
        let lines = recent.list();
        assert_eq!(lines.len(), MAX_LINES);
        // Other tests of the process may log warnings at the same time.
        let last = lines
            .iter()
            .rev()
            .find(|line| line.message.starts_with("104 "));
        let last = last.unwrap();
        assert_eq!(last.level, LogLevel::Warn);
        assert!(last.message.len() <= MAX_MESSAGE_BYTES + 3 && last.message.ends_with('…'));
        assert!(!lines.iter().any(|line| line.message.starts_with("0 ")));
    }
}
