//! Pseudoterminals.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{File, OpenOptions};

/// Opens a pseudoterminal: the side of the user, and the path of that of the program. No program
/// inherits the side of the user, so that dropping it hangs up.
pub(crate) fn open() -> (File, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let user = openpt(flags).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let path = ptsname(&user, Vec::new()).unwrap();
    (user.into(), path.into_string().unwrap())
}

/// Opens both sides of a pseudoterminal: that of the user and that of the program.
pub(crate) fn open_both() -> (File, File) {
    let (user, path) = open();
    let program = OpenOptions::new().read(true).write(true).open(path);
    (user, program.unwrap())
}
