//! Where results go, and how a command fails.

use std::io::{self, BufWriter, Stdout, Write};

use crate::config::ConfigErrors;
use crate::control::ClientError;

/// Buffered stdout whose errors are ours to handle: `println!` would panic on a closed pipe. Not
/// locked, so that a running node's log can be mirrored there.
pub(super) struct Output(BufWriter<Stdout>);

impl Output {
    pub(super) fn stdout() -> Self {
        Self(BufWriter::new(io::stdout()))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was asked wrongly, or configured wrongly.
    Usage(String),
    /// It failed.
    Failed(String),
    /// It failed and has said so.
    Reported,
    /// Nobody reads the output any more.
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

/// A message on stderr; nobody may be reading, which is no reason to stop.
pub(super) fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "astreum: {message}");
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

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::Usage(errors.to_string())
    }
}

/// `value` as one line of JSON.
pub(super) fn json_line(out: &mut Output, value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(Failure::failed)?;
    Ok(writeln!(out, "{text}")?)
}
