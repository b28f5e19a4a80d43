//! Memory map of a sealed file; this module has all `unsafe` code of the store.
//!
//! Contract of the map: a sealed file is complete before it gets its name. While it has that name,
//! this program does not write to it or truncate it (removal does not affect the mapped pages), and
//! the directory's locks keep other nodes out.
//!
//! Other programs may still truncate a mapped file. The size cannot be checked before each access:
//! the check costs as much as the read that the map saves, and the file may shrink between check
//! and access. Instead:
//! - `Sealed::check` compares the length periodically. A file that became shorter is read by plain
//!   reads from then on, so that its remaining part is served and the rest is reported.
//! - Until then, an access beyond the new end raises SIGBUS. `bus_error` turns it into an exit with
//!   a message and an exit code; the next start finds the file too short and repairs it.
//!
//! Replacing the missing pages inside a signal handler would let the access continue. That needs a
//! process-wide handler with `unsafe` code that runs asynchronously, and conflicts with runtimes
//! that embed the node and use SIGBUS themselves; a truncated file is rare enough for a restart. A
//! library user decides about the handler: without
//! [`exit_on_bus_error`](crate::store::exit_on_bus_error), the signal kills the process if the
//! access comes before the next comparison of lengths, at most about one second later.

#![expect(
    unsafe_code,
    reason = "a memory map is unsafe by nature; this module states and keeps its contract"
)]

use core::fmt;
use std::fs::File;
use std::io;

/// File mapped into memory for reading.
pub struct Map(memmap2::Mmap);

impl Map {
    /// Maps a sealed file; the module documentation states the contract.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        // JUSTIFICATION: a read through the map costs no system call and no copy, which makes
        // cold storage as fast as memory.
        // SAFETY: a sealed file is not changed or truncated while it is mapped (see the module), so
        // the bytes behind the slice do not change under it.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(map))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Map").field(&self.0.len()).finish()
    }
}
