//! Handling of bus errors in mapped files: exits with a message instead of dying by the signal.
//!
//! The system raises SIGBUS on access to a page of a mapped file that the file no longer has
//! because it was truncated, or that the disk cannot read. The handler only wakes a thread; the
//! access is repeated and fails again until that thread has written the message and ended the
//! process. This needs no `unsafe` code and touches no state of the faulting thread.
//!
//! The standard library has its own handler, which distinguishes stack overflows from other faults
//! and sets the default action for the latter: the repeated access would then end the process.
//! While installed, it is called before the handler here. It is therefore made to uninstall itself
//! first, by a signal that is not a stack overflow.

use super::sealed;
use core::fmt::Write as _;
use core::sync::atomic::{AtomicBool, Ordering};
use signal_hook::consts::SIGBUS;
use signal_hook::iterator::Signals;
use std::io::{self, Write as _};
use std::thread;

/// Exit code after a bus error; means that the operation failed.
const EXIT_CODE: i32 = 1;

/// Installs a handler that ends this process on a bus error, with a message on stderr and in the
/// log, and exit code 1. For programs without their own handler for SIGBUS.
///
/// # Errors
/// Fails if the system refuses the thread or the handler.
pub fn exit_on_bus_error() -> io::Result<()> {
    static CALLED: AtomicBool = AtomicBool::new(false);
    if CALLED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    if is_caught(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        signal_hook::low_level::raise(SIGBUS)?;
    }
    let mut signals = Signals::new([SIGBUS])?;
    thread::Builder::new()
        .name("bus-error".to_owned())
        .spawn(move || {
            if signals.forever().next().is_some() {
                exit();
            }
        })?;
    Ok(())
}

/// Returns whether the process has a handler for SIGBUS, according to `/proc/self/status` on Linux;
/// signal 1 is the lowest bit of the mask. Returns `false` if the system does not report it.
fn is_caught(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (SIGBUS - 1) & 1 == 1)
}

fn exit() -> ! {
    let message = message();
    crate::log::error!("{message}");
    let _ = writeln!(io::stderr(), "astreum: {message}");
    log::logger().flush();
    std::process::exit(EXIT_CODE);
}

fn message() -> String {
    let truncated = sealed::truncated();
    let mut message = String::from("stopping after a bus error (SIGBUS): ");
    match truncated.first() {
        Some(path) => {
            let _ = write!(
                message,
                "{} was truncated while it was in use; start again to repair it",
                path.display()
            );
        }
        None => message.push_str(
            "the disk could not read a mapped file, or the signal came from another process; check \
             the disk, or set cold_storage_mmap = false to have read errors reported instead",
        ),
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_handler_is_detected_in_the_signal_mask() {
        let with = |mask: u64| format!("SigIgn:\t0000000000000040\nSigCgt:\t{mask:016x}\n");
        let bit = 1 << (SIGBUS - 1);
        assert!(is_caught(&with(bit)) && is_caught(&with(u64::MAX)));
        assert!(!is_caught(&with(!bit)) && !is_caught("") && !is_caught("SigCgt:\tx"));
        // The handler of the standard library.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        assert_eq!(is_caught(&status), cfg!(target_os = "linux"));
    }
}
