//! Output file that appears under its name only when it is complete.

use core::ffi::c_int;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::WaitLimit;
use crate::daemon::is_ignored;

use super::output::{Failure, complain};

/// Number of bytes that are written at once.
const BUFFER_BYTES: usize = 256 << 10;

/// Signals that end the command, once the temporary file is removed. A second one ends it at once.
struct Signals {
    is_set: Arc<AtomicBool>,
    /// Number of the last signal; 0 for none.
    number: Arc<AtomicUsize>,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        let is_set = Arc::new(AtomicBool::new(false));
        let number = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if is_ignored(signal) {
                continue;
            }
            flag::register_conditional_default(signal, Arc::clone(&is_set))?;
            let code = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&number), code)?;
            flag::register(signal, Arc::clone(&is_set))?;
        }
        Ok(Self { is_set, number })
    }

    fn received(&self) -> Option<c_int> {
        let number = self.number.load(Ordering::Relaxed);
        c_int::try_from(number).ok().filter(|&number| number != 0)
    }
}

/// File that appears under its name only when it is complete. An existing entry that is not a
/// regular file, such as a pipe or a device, is written to directly.
pub(super) struct Partial {
    path: PathBuf,
    temporary: Option<PathBuf>,
    file: BufWriter<File>,
    /// Signals that would leave the temporary file behind.
    signals: Option<Signals>,
}

impl Partial {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let failed = |path: &Path, error| Failure::Failed(format!("{}: {error}", path.display()));
        // The target of a link is written, so that the link is kept.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        if is_special {
            let file = OpenOptions::new().write(true).open(&path);
            return Ok(Self {
                file: BufWriter::new(file.map_err(|error| failed(&path, error))?),
                path,
                temporary: None,
                signals: None,
            });
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let signals = Signals::watch().map_err(|error| failed(&path, error))?;
        let file = File::create_new(&temporary).map_err(|error| match error.kind() {
            // Other errors name the path that the user gave.
            io::ErrorKind::AlreadyExists => failed(&temporary, error),
            _ => failed(&path, error),
        })?;
        Ok(Self {
            path,
            temporary: Some(temporary),
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            signals: Some(signals),
        })
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::Failed(format!("{}: {error}", self.path.display()))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.signals.as_ref().and_then(Signals::received).is_some() {
            return Err(Failure::Reported);
        }
        self.file
            .write_all(bytes)
            .map_err(|error| self.failed(&error))
    }

    /// Returns the limit that ends waits once a signal interrupts the command.
    pub(super) fn interrupt(&self) -> WaitLimit {
        match &self.signals {
            Some(signals) => WaitLimit::NONE.until(Arc::clone(&signals.is_set)),
            None => WaitLimit::NONE,
        }
    }

    /// Completes the file if all of it was written; else removes it. If a signal interrupted the
    /// command, ends the process by that signal.
    pub(super) fn finish(mut self, written: Result<(), Failure>) -> Result<(), Failure> {
        let written = written.and_then(|()| {
            let flushed = self.file.flush();
            flushed.map_err(|error| self.failed(&error))
        });
        if let Some(signal) = self.signals.as_ref().and_then(Signals::received) {
            let path = self.path.clone();
            // Removes the file.
            drop(self);
            complain(&format!("interrupted: {} was not written", path.display()));
            let _ = signal_hook::low_level::emulate_default_handler(signal);
            return Err(Failure::Reported);
        }
        written?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).map_err(|error| self.failed(&error))?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}
