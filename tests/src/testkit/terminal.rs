//! Pseudoterminals.

#![expect(clippy::unwrap_used, reason = "documented panics")]

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};

/// Opens a pseudoterminal: the side of the user, and the path of that of the program. No program
/// inherits the side of the user, so that dropping it hangs up.
///
/// # Panics
/// Panics if the system has no pseudoterminal left.
#[must_use]
pub fn open() -> (File, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let user = openpt(flags).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let path = ptsname(&user, Vec::new()).unwrap();
    (user.into(), path.into_string().unwrap())
}

/// Opens both sides of a pseudoterminal: that of the user and that of the program.
///
/// # Panics
/// Panics if the system has no pseudoterminal left.
#[must_use]
pub fn open_both() -> (File, File) {
    let (user, path) = open();
    let program = OpenOptions::new().read(true).write(true).open(path);
    (user, program.unwrap())
}

/// Sets the size of a pseudoterminal in characters.
///
/// # Panics
/// Panics if the file is not a terminal.
pub fn set_size(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}
