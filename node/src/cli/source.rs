//! Program text from an argument, a file or stdin.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use astreum_core::expr::Expr;
use astreum_core::text::{ParseError, Parser};

use super::args::SourceArgs;
use super::output::Failure;

/// The longest program text that is read.
pub(super) const MAX_SOURCE_BYTES: u64 = 256 << 20;

/// A text and what messages call it.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    /// What the arguments name: an argument is a file if such a file exists, else an expression.
    pub(super) fn read(args: &SourceArgs) -> Result<Self, Failure> {
        if let Some(path) = &args.file {
            return Self::from_file(path);
        }
        if let Some(text) = &args.expr {
            return Ok(Self::argument(text));
        }
        match args.input.as_deref() {
            Some("-") => Self::from_reader("stdin", io::stdin().lock()),
            Some(input) if Path::new(input).is_file() => Self::from_file(Path::new(input)),
            Some(input) if Path::new(input).is_dir() && looks_like_a_path(input) => {
                Err(Failure::Usage(format!("{input} is a directory")))
            }
            Some(input) if looks_like_a_path(input) => Err(Failure::Usage(format!(
                "there is no file {input}; use --expr to evaluate a symbol of that name"
            ))),
            input => Ok(Self::argument(input.unwrap_or_default())),
        }
    }

    fn argument(text: &str) -> Self {
        Self {
            name: "argument".to_owned(),
            text: text.to_owned(),
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
            Failure::Failed(format!("{name}: not UTF-8 text at byte {offset}"))
        })?;
        let name = name.to_owned();
        // Some editors begin a file with this mark, which is no part of the text.
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        Ok(Self { name, text })
    }

    /// All its expressions.
    pub(super) fn parse(&self) -> Result<Vec<Expr>, ParseError> {
        Parser::new(&self.text).collect()
    }

    /// The message for an error in it: place, reason, and the line with a caret.
    pub(super) fn explain(&self, error: &ParseError) -> String {
        let (line, column) = (error.line(), error.column());
        let opened = match error.open {
            Some(open) => format!(" (the '(' at {open} is not closed)"),
            None => String::new(),
        };
        format!(
            "{}:{line}:{column}: {}{opened}\n{}",
            self.name,
            error.kind,
            error.snippet(&self.text)
        )
    }
}

/// Everything that `reader` gives, unless that is more than `max_bytes`.
pub(super) fn read_capped(reader: impl Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("longer than {max_bytes} bytes")));
    }
    Ok(bytes)
}

/// Whether somebody who wrote this meant a file.
fn looks_like_a_path(input: &str) -> bool {
    let is_one_word = !input.contains(|c: char| c.is_whitespace() || "()\";".contains(c));
    is_one_word && (input.contains('/') || input.ends_with(".astreum") || input.ends_with(".txt"))
}
