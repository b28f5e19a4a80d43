//! Output of results, and failures of commands.

use core::time::Duration;
use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};
use std::time::Instant;

use astreum_core::text::{Escaped, is_visible};

use crate::config::ConfigErrors;
use crate::rpc::{ClientError, TransferError};

/// Maximum time that a result waits for the next one to be written with it.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// Buffered stdout that handles errors itself: `println!` would panic on a closed pipe. Not locked,
/// so that the log of a running node can be mirrored there.
///
/// Output is text, some of it from peers: all invisible characters, apart from tabs and line ends,
/// are escaped. [`Output::raw`] is for data.
pub(super) struct Output {
    inner: BufWriter<Stdout>,
    is_terminal: bool,
    flushed: Instant,
}

impl Output {
    pub(super) fn stdout() -> Self {
        let stdout = io::stdout();
        Self {
            is_terminal: stdout.is_terminal(),
            inner: BufWriter::with_capacity(64 << 10, stdout),
            flushed: Instant::now(),
        }
    }

    /// Returns whether the output goes to a terminal.
    pub(super) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Returns the writer for bytes that are not escaped.
    pub(super) const fn raw(&mut self) -> &mut BufWriter<Stdout> {
        &mut self.inner
    }

    /// Flushes if a reader is waiting: at once on a terminal, else a few times a second.
    pub(super) fn flush_soon(&mut self) -> io::Result<()> {
        if self.is_terminal || self.flushed.elapsed() >= FLUSH_INTERVAL {
            return self.flush();
        }
        Ok(())
    }

    /// Writes a message to stderr, after the output so far.
    pub(super) fn complain(&mut self, message: &str) {
        let _ = self.flush();
        complain(message);
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes
            .iter()
            .all(|&byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t'))
        {
            return self.inner.write(bytes);
        }
        for chunk in bytes.utf8_chunks() {
            let is_shown = |character| is_visible(character) || matches!(character, '\n' | '\t');
            for part in chunk
                .valid()
                .split_inclusive(|character| !is_shown(character))
            {
                let end = part.chars().next_back().filter(|&last| !is_shown(last));
                let plain = part.len() - end.map_or(0, char::len_utf8);
                let (plain, hidden) = part.split_at(plain);
                self.inner.write_all(plain.as_bytes())?;
                write!(self.inner, "{}", Escaped(hidden))?;
            }
            for byte in chunk.invalid() {
                write!(self.inner, "\\x{byte:02x}")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        self.inner.flush()
    }
}

/// Reason a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Invalid usage or configuration.
    Usage(String),
    /// The operation failed.
    Failed(String),
    /// The operation failed, and the failure has been reported.
    Reported,
    /// The reader of the output has closed it.
    Closed,
}

impl Failure {
    pub(super) fn failed(error: impl ToString) -> Self {
        Self::Failed(error.to_string())
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) | Self::Reported => 1,
            Self::Closed => 0,
        }
    }

    pub(super) fn report(&self) {
        let (Self::Usage(message) | Self::Failed(message)) = self else {
            return;
        };
        complain(message);
    }
}

/// Writes a message to stderr and ignores errors. All invisible characters, apart from line ends,
/// are escaped.
pub(super) fn complain(message: &str) {
    let mut text = String::from("astreum: ");
    for (at, line) in message.split('\n').enumerate() {
        if at > 0 {
            text.push('\n');
        }
        text.push_str(&Escaped(line).to_string());
    }
    text.push('\n');
    let _ = io::stderr().write_all(text.as_bytes());
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(format!("output: {error}")),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::failed(error)
    }
}

/// For a transfer of the node.
impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let message = error.to_string();
        ClientError::BadReply { message }.into()
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Usage(errors.to_string())
    }
}

/// Writes `value` as one line of JSON.
pub(super) fn json_line(out: &mut Output, value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(Failure::failed)?;
    Ok(writeln!(out, "{}", visible_json(text))?)
}

/// Escapes all invisible characters of JSON text with `\u`: in JSON text without line ends they can
/// only occur in strings.
pub(super) fn visible_json(text: String) -> String {
    if text.chars().all(is_visible) {
        return text;
    }
    let mut visible = String::with_capacity(text.len() + 64);
    for character in text.chars() {
        if is_visible(character) {
            visible.push(character);
        } else {
            let units = &mut [0; 2];
            for unit in character.encode_utf16(units) {
                visible.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_invisible_characters_without_changing_the_json_value() {
        let value = serde_json::json!({"a\u{202e}": "\u{1b}[2J \u{9b} \u{e0041} é 日 \n"});
        let text = visible_json(value.to_string());
        assert!(text.chars().all(is_visible), "{text}");
        assert!(text.contains("\\udb40\\udc41") && text.contains('日'));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
