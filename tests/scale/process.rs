//! Memory and processor time of a process.

use rustix::time::{ClockId, clock_gettime};
use std::fs;

const MEBIBYTE: f64 = 1_048_576.0;
const NANOSECONDS: f64 = 1e9;

/// Returns the anonymous memory of a process in MiB; 0 once it has ended.
pub(crate) fn anonymous(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
    1_024.0 * kibibytes.unwrap_or_default() / MEBIBYTE
}

/// Returns the processor time of all threads of a process that still run, in seconds.
pub(crate) fn cpu_seconds(process: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let times = threads.flatten().filter_map(|thread| {
        // A thread may end between the two reads.
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        times.split(' ').next()?.parse::<f64>().ok()
    });
    times.sum::<f64>() / NANOSECONDS
}

/// Returns the processor time of all threads of this process, including those that have ended, in
/// seconds.
pub(crate) fn own_cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / NANOSECONDS
}
