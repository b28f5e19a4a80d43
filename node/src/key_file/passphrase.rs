//! Passphrases of protected key files, and the places they come from: a file, a file descriptor, or
//! a terminal without echo. Never an argument or an environment variable, which other processes can
//! read.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use zeroize::Zeroizing;

use crate::config::Settings;

use super::permissions;

/// Maximum length of a passphrase, in bytes.
pub const MAX_PASSPHRASE_BYTES: usize = 1024;
/// Byte that Ctrl-C sends.
const CTRL_C: u8 = 3;

/// Passphrase; not empty. Wiped on drop, and not shown by `Debug`.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(<redacted>)")
    }
}

impl Passphrase {
    /// Creates a passphrase from its bytes.
    ///
    /// # Errors
    /// Fails if it is empty, longer than [`MAX_PASSPHRASE_BYTES`], or contains a control character.
    pub fn new(bytes: &[u8]) -> Result<Self, PassphraseError> {
        if bytes.is_empty() {
            return Err(PassphraseError::Empty);
        }
        if bytes.len() > MAX_PASSPHRASE_BYTES {
            return Err(PassphraseError::TooLong);
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err(PassphraseError::Control);
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }

    /// Returns the bytes, for the one place that computes with them.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Reads the first line of a file that only its owner can read, or of a pipe.
    ///
    /// # Errors
    /// Fails if the file cannot be read, is accessible to other users, or does not begin with a
    /// passphrase.
    pub fn read_file(path: &Path) -> Result<Self, PassphraseError> {
        let failed = |error| PassphraseError::File(path.to_owned(), error);
        let file = File::open(path).map_err(failed)?;
        permissions::check_private(&file, path).map_err(failed)?;
        let line = first_line(file, None).map_err(failed)?;
        Self::new(&line)
    }

    /// Reads the first line from an open file descriptor.
    ///
    /// # Errors
    /// Fails if the descriptor is not open for reading, or does not begin with a passphrase.
    pub fn read_descriptor(number: u32) -> Result<Self, PassphraseError> {
        Self::read_file(Path::new(&format!("/dev/fd/{number}")))
    }

    /// Asks for a passphrase on the terminal, without echo.
    ///
    /// # Errors
    /// Fails if there is no terminal, or if the user enters none.
    pub fn ask(prompt: &str) -> Result<Self, PassphraseError> {
        // Checked so that a process in the background, which the kernel would stop, fails instead.
        let mut terminal = open_terminal().ok_or(PassphraseError::Missing)?;
        let line = ask(&mut terminal, prompt).map_err(PassphraseError::Terminal)?;
        Self::new(&line)
    }

    /// Asks twice for a new passphrase on the terminal, without echo.
    ///
    /// # Errors
    /// Same as [`Passphrase::ask`]; fails also if the entries differ.
    pub fn ask_new(prompt: &str) -> Result<Self, PassphraseError> {
        let first = Self::ask(prompt)?;
        let second = Self::ask("Repeat the passphrase: ")?;
        match first.0 == second.0 {
            true => Ok(first),
            false => Err(PassphraseError::Differ),
        }
    }
}

/// Asks for any other secret on the terminal, without echo.
///
/// # Errors
/// Same as [`Passphrase::ask`].
pub fn ask_secret(prompt: &str) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
    Passphrase::ask(prompt).map(|secret| secret.0.clone())
}

/// Reason there is no passphrase. Never quotes any part of one.
#[derive(Debug)]
pub enum PassphraseError {
    /// None is configured, and there is no terminal.
    Missing,
    /// The passphrase is empty.
    Empty,
    /// The passphrase is longer than [`MAX_PASSPHRASE_BYTES`].
    TooLong,
    /// The passphrase contains a control character.
    Control,
    /// The two entries differ.
    Differ,
    /// A file could not be read.
    File(PathBuf, io::Error),
    /// The terminal could not be read.
    Terminal(io::Error),
}

impl fmt::Display for PassphraseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "missing: give it in a file or through a file descriptor, or run the command in a \
                 terminal",
            ),
            Self::Empty => f.write_str("the passphrase is empty"),
            Self::TooLong => write!(
                f,
                "the passphrase is longer than {MAX_PASSPHRASE_BYTES} bytes"
            ),
            Self::Control => f.write_str("the passphrase contains a control character"),
            Self::Differ => f.write_str("the two entries differ"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Terminal(error) => write!(f, "terminal: {error}"),
        }
    }
}

impl core::error::Error for PassphraseError {}

/// Place that passphrases come from. A file is read at most once, and only if a key file needs it.
#[derive(Debug, Default)]
pub struct PassphraseSource {
    place: Place,
    read: OnceLock<Passphrase>,
}

#[derive(Debug, Default)]
enum Place {
    #[default]
    Nowhere,
    File(PathBuf),
    Descriptor(u32),
    Terminal,
}

impl From<Place> for PassphraseSource {
    fn from(place: Place) -> Self {
        Self {
            place,
            read: OnceLock::new(),
        }
    }
}

impl PassphraseSource {
    /// Returns the source without passphrases: protected files cannot be opened.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Returns a file as the source.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        Place::File(path).into()
    }

    /// Returns an open file descriptor as the source.
    #[must_use]
    pub fn descriptor(number: u32) -> Self {
        Place::Descriptor(number).into()
    }

    /// Returns the terminal as the source; each file has its own prompt.
    #[must_use]
    pub fn terminal() -> Self {
        Place::Terminal.into()
    }

    /// Returns the configured file, if there is one.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let file = settings.key_passphrase_file.clone();
        file.map_or_else(Self::none, Self::file)
    }

    /// Returns the configured file, or without one the terminal.
    #[must_use]
    pub fn of_or_terminal(settings: &Settings) -> Self {
        let file = settings.key_passphrase_file.clone();
        file.map_or_else(Self::terminal, Self::file)
    }

    /// Returns the passphrase of the key file at `path`.
    ///
    /// # Errors
    /// Fails if the source does not have one.
    pub fn passphrase(&self, path: &Path) -> Result<Passphrase, PassphraseError> {
        if let Some(passphrase) = self.read.get() {
            return Ok(passphrase.clone());
        }
        let passphrase = match &self.place {
            Place::Nowhere => return Err(PassphraseError::Missing),
            Place::Terminal => {
                return Passphrase::ask(&format!("Passphrase of {}: ", path.display()));
            }
            Place::File(file) => Passphrase::read_file(file)?,
            Place::Descriptor(number) => Passphrase::read_descriptor(*number)?,
        };
        Ok(self.read.get_or_init(|| passphrase).clone())
    }

    /// Returns a new passphrase for the key file at `path`; a terminal asks twice.
    ///
    /// # Errors
    /// Fails if the source does not have one.
    pub fn new_passphrase(&self, path: &Path) -> Result<Passphrase, PassphraseError> {
        match self.place {
            Place::Terminal => {
                Passphrase::ask_new(&format!("New passphrase of {}: ", path.display()))
            }
            _ => self.passphrase(path),
        }
    }
}

/// Reads up to the first line feed, and removes a carriage return before it. The byte `interrupt`
/// ends the input with an error.
fn first_line(mut file: File, interrupt: Option<u8>) -> io::Result<Zeroizing<Vec<u8>>> {
    // With room for everything, so that no part stays behind in freed memory.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE_BYTES + 2));
    let mut byte = Zeroizing::new([0]);
    // Byte by byte: the reader of a pipe after this one gets what follows.
    while line.len() < MAX_PASSPHRASE_BYTES + 2 {
        match file.read(&mut *byte) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let [read] = *byte;
        match read {
            b'\n' => break,
            read if Some(read) == interrupt => return Err(io::Error::other("interrupted")),
            read => line.push(read),
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// Opens the controlling terminal if this process is in its foreground.
fn open_terminal() -> Option<File> {
    let noctty = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).custom_flags(noctty);
    let terminal = options.open("/dev/tty").ok()?;
    let foreground = rustix::termios::tcgetpgrp(&terminal).ok()?;
    (foreground == rustix::process::getpgrp()).then_some(terminal)
}

/// Terminal without echo, until it is dropped.
struct Silent<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Silent<'t> {
    fn new(terminal: &'t File) -> io::Result<Self> {
        let before = rustix::termios::tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG;
        silent.local_modes |= LocalModes::ICANON;
        // Without signals the echo is always restored: Ctrl-C ends the line, and the entry.
        silent.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        rustix::termios::tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

fn ask(terminal: &mut File, prompt: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut screen = terminal.try_clone()?;
    let silent = Silent::new(terminal)?;
    write!(screen, "{prompt}")?;
    let line = first_line(terminal.try_clone()?, Some(CTRL_C));
    drop(silent);
    writeln!(screen)?;
    line
}
