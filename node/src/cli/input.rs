//! Program text from an argument, a file or stdin.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use astreum_core::text::{ParseError, Position};

use crate::config::expand_home;

use super::language_args::SourceArgs;
use super::output::Failure;

/// Maximum length in bytes of a program text.
pub(super) const MAX_SOURCE_BYTES: u64 = 256 << 20;
/// Mark that some editors write at the start of a file. It is not part of the text.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Program text and its name in messages.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
    /// Number of lines of the file or stream before the text.
    pub(super) lines_before: usize,
}

impl Source {
    /// Reads the source that the arguments give: an argument is a file if such a file exists, or if
    /// it looks like the name of one, else an expression.
    pub(super) fn read(args: &SourceArgs) -> Result<Self, Failure> {
        if let Some(path) = &args.file {
            return Self::from_file(path);
        }
        if let Some(text) = &args.expr {
            return Ok(Self::argument(text));
        }
        match args.input.as_deref() {
            Some("-") => Self::from_reader("stdin", io::stdin().lock()),
            Some(input) => Self::from_input(input),
            None => Ok(Self::argument("")),
        }
    }

    fn from_input(input: &str) -> Result<Self, Failure> {
        let path = expand_home(input.into());
        let hint = "use --expr for a symbol of that name";
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                Err(Failure::Failed(format!("{input} is a directory; {hint}")))
            }
            // Pipes are read too.
            Ok(_) => Self::from_file(&path),
            Err(_) if looks_like_a_path(input) => Err(Failure::Failed(format!(
                "file {input} does not exist; {hint}"
            ))),
            Err(_) => Ok(Self::argument(input)),
        }
    }

    fn argument(text: &str) -> Self {
        Self {
            name: "argument".to_owned(),
            text: text.to_owned(),
            lines_before: 0,
        }
    }

    pub(super) fn from_file(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
        Self::from_reader(&name, file)
    }

    fn from_reader(name: &str, reader: impl Read) -> Result<Self, Failure> {
        let bytes = read_capped(reader, MAX_SOURCE_BYTES)
            .map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..offset).unwrap_or_default();
            Failure::Failed(format!("{name}: {}", not_text(before, 0)))
        })?;
        Ok(Self {
            name: name.to_owned(),
            text: without_prefix(text),
            lines_before: 0,
        })
    }

    /// Returns the message for an error in the text: place, reason, and the line with a caret.
    pub(super) fn explain(&self, error: &ParseError) -> String {
        let opened = match error.open {
            Some(open) => {
                let open = moved(open, self.lines_before);
                format!(" (the '(' at {open} is not closed)")
            }
            None => String::new(),
        };
        let at = moved(error.at, self.lines_before);
        format!(
            "{}:{}:{}: {}{opened}\n{}",
            self.name,
            at.line,
            at.column,
            error.kind,
            at.snippet(&self.text)
        )
    }
}

/// Returns the same place in a text with more lines before it. The offset is unchanged.
pub(super) const fn moved(at: Position, lines: usize) -> Position {
    Position {
        line: at.line.saturating_add(lines),
        ..at
    }
}

/// Returns the message for invalid UTF-8 after `before`, with `lines` lines before that.
pub(super) fn not_text(before: &[u8], lines: usize) -> String {
    let start = before.iter().rposition(|&byte| byte == b'\n');
    let newlines = before.iter().filter(|&&byte| byte == b'\n').count();
    let byte = before.len() - start.map_or(0, |newline| newline + 1) + 1;
    format!(
        "line {}: invalid UTF-8 at byte {byte} of the line",
        lines + newlines + 1
    )
}

/// Removes a byte order mark from the text of a file or stream, and replaces a first line that
/// starts with `#!` by spaces, so that positions do not change.
pub(super) fn without_prefix(text: String) -> String {
    let mut text = match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    if text.starts_with("#!") {
        let end = text.find('\n').unwrap_or(text.len());
        text.replace_range(..end, &" ".repeat(end));
    }
    text
}

/// Reads all of `reader`; fails if it is longer than `max_bytes`.
pub(super) fn read_capped(reader: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("longer than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// Returns whether `input` is more likely the name of a file than an expression.
fn looks_like_a_path(input: &str) -> bool {
    let is_one_word = !input.contains(|c: char| c.is_whitespace() || "()\";".contains(c));
    let endings = [".astreum", ".asm", ".ast", ".txt"];
    is_one_word && (input.contains('/') || endings.iter().any(|ending| input.ends_with(ending)))
}
