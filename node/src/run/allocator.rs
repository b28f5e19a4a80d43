//! Bound on the arenas of the C library's allocator.
//!
//! glibc gives threads arenas of their own, up to eight for each core, and memory that one thread
//! frees into an arena is not used by threads of the others. Atoms, blocks and packets go from thread
//! to thread, so that a node with a dozen threads would hold several times the memory that is alive,
//! and more of it with every hour.
//!
//! # Safety
//! The only `unsafe` is the call of `mallopt`, which is part of glibc, takes two integers, and may be
//! called at any time from any thread.

#![cfg_attr(
    all(target_os = "linux", target_env = "gnu"),
    allow(unsafe_code, reason = "see Safety above")
)]

/// Bounds the arenas of this process; threads that already run keep theirs. Does nothing where the
/// allocator is not glibc's. For programs: a library leaves the allocator to its host.
pub(crate) fn bound_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// `M_ARENA_MAX` of `malloc.h`.
        const ARENA_MAX: core::ffi::c_int = -8;
        /// So many that threads which verify do not wait for each other at every allocation.
        const ARENAS: core::ffi::c_int = 2;

        unsafe extern "C" {
            fn mallopt(parameter: core::ffi::c_int, value: core::ffi::c_int) -> core::ffi::c_int;
        }

        // SAFETY: the signature is that of `mallopt` in glibc, which checks its arguments and takes its
        // own lock. A failure leaves the default.
        let _ = unsafe { mallopt(ARENA_MAX, ARENAS) };
    }
}
