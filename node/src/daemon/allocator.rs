//! Limit on the arenas of the C library's allocator.
//!
//! glibc gives threads separate arenas, up to eight for each core, and memory that is freed into an
//! arena is not available to threads of other arenas. Atoms, blocks and packets move between
//! threads, so a node with a dozen threads would hold several times its live memory, and more every
//! hour.
//!
//! # Safety
//! The only unsafe operation is the call of `mallopt`, which is part of glibc, takes two integers,
//! and may be called at any time from any thread.

#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    allow(unsafe_code, reason = "see Safety above")
)]

/// Limits the number of arenas of this process; running threads keep theirs. Does nothing if the
/// allocator is not that of glibc. Only for programs: a library leaves the allocator to its host.
pub(crate) fn bound_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// `M_ARENA_MAX` of `malloc.h`.
        const ARENA_MAX: core::ffi::c_int = -8;
        /// Number of arenas: enough that verifying threads do not wait for each other at every
        /// allocation.
        const ARENAS: core::ffi::c_int = 2;

        unsafe extern "C" {
            fn mallopt(parameter: core::ffi::c_int, value: core::ffi::c_int) -> core::ffi::c_int;
        }

        // SAFETY: the signature is that of `mallopt` in glibc, which checks its arguments and takes
        // its own lock. A failure leaves the default unchanged.
        let _ = unsafe { mallopt(ARENA_MAX, ARENAS) };
    }
}
