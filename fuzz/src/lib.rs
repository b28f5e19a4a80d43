//! Shared code of the fuzz targets: their definition, and a limit of processor time for measurements.

use core::ffi::{c_int, c_long};
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Once, OnceLock};

pub use astreum_tests::target;
pub use libfuzzer_sys::fuzz_target;

/// Environment variable with the processor time after which the process ends, in seconds.
const LIMIT: &str = "FUZZ_CPU_SECONDS";
/// Number of executions between two looks at the clock, which costs as much as a short execution.
const INTERVAL: u64 = 16;

/// Defines the fuzz target with the body of this name in `astreum_tests::target`.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::fuzz_target!(|data: &[u8]| $crate::run($crate::target::$name::run, data));

        /// Options of AddressSanitizer, which asks for them by this name. Those of the environment
        /// variable `ASAN_OPTIONS` have precedence.
        #[unsafe(no_mangle)]
        pub extern "C" fn __asan_default_options() -> *const core::ffi::c_char {
            $crate::SANITIZER_OPTIONS.as_ptr()
        }
    };
}

/// Options of AddressSanitizer that spare most of its time: freed memory is reused at once instead
/// of being kept aside, no stack is recorded at each allocation, and frames are not kept after a
/// return. Accesses beyond an allocation or a frame, to freed memory that is not reused, and leaks
/// are found as before. `ASAN_OPTIONS` overrides them:
/// `quarantine_size_mb=256:malloc_context_size=30:detect_stack_use_after_return=1` has everything.
pub const SANITIZER_OPTIONS: &core::ffi::CStr = c"quarantine_size_mb=0:\
    thread_local_quarantine_size_kb=0:malloc_context_size=0:detect_stack_use_after_return=0:\
    allocator_release_to_os_interval_ms=-1";

unsafe extern "C" {
    /// Processor time of the process, in microseconds on every POSIX system.
    safe fn clock() -> c_long;
    /// Ends the process without the handlers of `exit`: those of libFuzzer report an end within an
    /// execution as a finding.
    safe fn _exit(status: c_int) -> !;
}

/// Makes the allocator of glibc keep freed memory in the process: otherwise each execution returns
/// some and gets it back as new pages. AddressSanitizer has its own allocator and ignores this, and
/// other systems do not have it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_memory() {
    unsafe extern "C" {
        safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    const TRIM_THRESHOLD: c_int = -1;
    const TOP_PAD: c_int = -2;
    const MMAP_THRESHOLD: c_int = -3;
    for (parameter, bytes) in [
        (TRIM_THRESHOLD, 1 << 30),
        (TOP_PAD, 1 << 24),
        (MMAP_THRESHOLD, 1 << 25),
    ] {
        mallopt(parameter, bytes);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_memory() {}

/// Runs one input, and ends the process if its processor time is over.
pub fn run(body: fn(&[u8]), data: &[u8]) {
    static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
    static KEPT: Once = Once::new();
    KEPT.call_once(keep_memory);
    body(data);
    let executions = EXECUTIONS.fetch_add(1, Ordering::Relaxed) + 1;
    let Some(limit) = limit_microseconds() else {
        return;
    };
    if executions.is_multiple_of(INTERVAL) && clock() >= limit {
        eprintln!("stat::executions: {executions}");
        eprintln!("stat::operations: {}", target::operations());
        _exit(0);
    }
}

fn limit_microseconds() -> Option<c_long> {
    static LIMIT_MICROSECONDS: OnceLock<Option<c_long>> = OnceLock::new();
    *LIMIT_MICROSECONDS.get_or_init(|| {
        let seconds: c_long = std::env::var(LIMIT).ok()?.parse().ok()?;
        Some(seconds * 1_000_000)
    })
}
