//! Log record on its way from the thread that logged it to the file.

use core::fmt::Write as _;
use core::time::Duration;

use log::kv::Key;
use log::{Level, Record};
use serde::Serialize;

use super::date::{ConsoleStamp, Rfc3339};

/// Maximum length in bytes of a message; the rest is cut off.
const MAX_MESSAGE_BYTES: usize = 16 << 10;
/// Key under which the macros of this module pass the function's name.
pub(super) const FUNCTION_KEY: &str = "func";

/// Log record detached from its thread.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) time: Duration,
    pub(super) level: Level,
    pub(super) target: String,
    message: String,
    thread: String,
    module: String,
    function: Option<String>,
    line: Option<u32>,
}

/// Identity of the process, the same in all of its lines.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) logger: String,
    pub(super) instance_id: String,
    pub(super) pid: u32,
}

/// Documented fields in the reference's order, and `lineno`.
#[derive(Serialize)]
struct Line<'e> {
    ts: String,
    level: &'static str,
    logger: &'e str,
    msg: &'e str,
    pid: u32,
    thread: &'e str,
    module: &'e str,
    func: Option<&'e str>,
    instance_id: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lineno: Option<u32>,
}

impl Event {
    pub(super) fn new(record: &Record<'_>, time: Duration) -> Self {
        let module = record.module_path().unwrap_or_else(|| record.target());
        let function = record
            .key_values()
            .get(Key::from_str(FUNCTION_KEY))
            .map(|value| function_name(&value.to_string()));
        Self {
            time,
            level: record.level(),
            target: record.target().to_owned(),
            message: capped(record.args()),
            thread: std::thread::current()
                .name()
                .unwrap_or("unnamed")
                .to_owned(),
            module: module.to_owned(),
            function,
            line: record.line(),
        }
    }

    pub(super) fn module(&self) -> &str {
        &self.module
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Creates a record about the log itself.
    pub(super) fn own(time: Duration, level: Level, message: String) -> Self {
        Self {
            time,
            level,
            target: module_path!().to_owned(),
            message,
            thread: "log".to_owned(),
            module: module_path!().to_owned(),
            function: None,
            line: None,
        }
    }

    /// Appends the JSON line with its newline. JSON escapes control characters.
    pub(super) fn write_json(&self, identity: &Identity, out: &mut Vec<u8>) {
        let line = Line {
            ts: Rfc3339(self.time).to_string(),
            level: python_level(self.level),
            logger: &identity.logger,
            msg: &self.message,
            pid: identity.pid,
            thread: &self.thread,
            module: &self.module,
            func: self.function.as_deref(),
            instance_id: &identity.instance_id,
            lineno: self.line,
        };
        let start = out.len();
        if serde_json::to_writer(&mut *out, &line).is_ok() {
            out.push(b'\n');
        } else {
            // Strings and numbers always serialize; otherwise no partial line may stay.
            out.truncate(start);
        }
    }

    /// Appends a line of text with its newline: time, level, module and message, without characters
    /// that a terminal would interpret.
    pub(super) fn write_text(&self, out: &mut Vec<u8>) {
        let (level, module) = (python_level(self.level), &self.module);
        let mut line = format!("{} {level:<7} {module}: ", Rfc3339(self.time));
        push_visible(&mut line, &self.message);
        line.push('\n');
        out.extend_from_slice(line.as_bytes());
    }

    /// Returns `[YYYY-MM-DD-HH-MM-SS] [level] msg`, without characters that a terminal would
    /// interpret.
    pub(super) fn console_line(&self) -> String {
        let level = python_level(self.level).to_ascii_lowercase();
        let mut line = format!("[{}] [{level}] ", ConsoleStamp(self.time));
        push_visible(&mut line, &self.message);
        line
    }
}

/// Appends text; characters that a terminal would interpret are escaped.
fn push_visible(line: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() || is_direction_mark(character) {
            let _ = write!(line, "{}", character.escape_unicode());
        } else {
            line.push(character);
        }
    }
}

/// Returns whether a character makes a terminal change the direction of text.
const fn is_direction_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the level's name in Python's `logging`.
const fn python_level(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// Returns the function's name: the part of a path such as `astreum_node::daemon::start::here`
/// before `here`.
fn function_name(path: &str) -> String {
    let mut parts = path
        .rsplit("::")
        .skip(1)
        .filter(|part| *part != "{{closure}}");
    parts.next().unwrap_or(path).to_owned()
}

/// Formats a message up to the maximum length; formatting stops there.
fn capped(arguments: &core::fmt::Arguments<'_>) -> String {
    struct Capped(String);

    impl core::fmt::Write for Capped {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            let room = MAX_MESSAGE_BYTES.saturating_sub(self.0.len());
            let end = text.floor_char_boundary(room.min(text.len()));
            let (kept, cut) = text.split_at(end);
            self.0.push_str(kept);
            if cut.is_empty() {
                return Ok(());
            }
            self.0.push('…');
            Err(core::fmt::Error)
        }
    }

    let mut message = Capped(String::new());
    let _ = message.write_fmt(*arguments);
    message.0
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn identity() -> Identity {
        Identity {
            logger: "lib-rs.0123456789abcdef".to_owned(),
            instance_id: "0123456789abcdef".to_owned(),
            pid: 7,
        }
    }

    fn event(message: &str) -> Event {
        let pairs = [(FUNCTION_KEY, "a::b::start::{{closure}}::here")];
        let mut record = Record::builder();
        record.level(Level::Warn).target("a").line(Some(12));
        record.module_path(Some("a::b")).key_values(&pairs);
        let time = Duration::new(1_795_352_924, 937_795_999);
        Event::new(&record.args(format_args!("{message}")).build(), time)
    }

    #[test]
    fn line_has_the_documented_fields_in_order() {
        let mut out = Vec::new();
        event("hello").write_json(&identity(), &mut out);
        let thread = std::thread::current().name().unwrap().to_owned();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "{{\"ts\":\"2026-11-22T13:08:44.937795+00:00\",\"level\":\"WARNING\",\
                 \"logger\":\"lib-rs.0123456789abcdef\",\"msg\":\"hello\",\"pid\":7,\
                 \"thread\":\"{thread}\",\"module\":\"a::b\",\"func\":\"start\",\
                 \"instance_id\":\"0123456789abcdef\",\"lineno\":12}}\n"
            )
        );
    }

    #[test]
    fn escapes_line_breaks_and_terminal_control_characters() {
        let event = event("a\nb\u{1b}[2J\u{9b}31m\u{202e}x");
        let mut out = Vec::new();
        event.write_json(&identity(), &mut out);
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["msg"], "a\nb\u{1b}[2J\u{9b}31m\u{202e}x");
        assert_eq!(
            event.console_line(),
            "[2026-11-22-13-08-44] [warning] a\\u{a}b\\u{1b}[2J\\u{9b}31m\\u{202e}x"
        );
        let mut text = Vec::new();
        event.write_text(&mut text);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "2026-11-22T13:08:44.937795+00:00 WARNING a::b: \
             a\\u{a}b\\u{1b}[2J\\u{9b}31m\\u{202e}x\n"
        );
    }

    #[test]
    fn cuts_long_messages_at_a_character_boundary() {
        let long = "é".repeat(MAX_MESSAGE_BYTES);
        let event = event(&long);
        assert!(event.message.len() <= MAX_MESSAGE_BYTES + '…'.len_utf8());
        assert!(event.message.ends_with("é…"));
    }
}
