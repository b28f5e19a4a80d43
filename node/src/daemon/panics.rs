//! Panic hook of the process.

use crate::log;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, Write as _};
use std::panic::PanicHookInfo;

/// Exit code after a panic; the same as in the standard library.
pub const PANIC_EXIT_CODE: i32 = 101;
/// Maximum time for reporting a panic.
const REPORT_TIMEOUT: Duration = Duration::from_secs(15);

/// `true` once a panic is being reported.
static IS_REPORTED: AtomicBool = AtomicBool::new(false);

/// Makes a panic of any thread end the process: with a message on stderr and in the log, which is
/// flushed, and exit code 101. A thread that died silently would leave a process that looks alive
/// and that no supervisor restarts.
pub fn exit_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        if IS_REPORTED.swap(true, Ordering::SeqCst) {
            // Another thread reports its panic, and ends the process.
            std::thread::sleep(REPORT_TIMEOUT);
        } else {
            report(panic);
        }
        std::process::exit(PANIC_EXIT_CODE);
    }));
}

fn report(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(|place| format!(" at {place}"));
    let place = place.unwrap_or_default();
    let text = format!("the thread {name:?} panicked{place}: {message}; this is a bug");
    // Stderr may be closed, which must not prevent the exit.
    let _ = writeln!(io::stderr(), "astreum: {text}");
    // The log's own thread cannot write its own panic.
    if name != log::THREAD_NAME {
        log::error!("{text}");
        ::log::logger().flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Paths};
    use crate::log;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    const DIRECTORY: &str = "ASTREUM_TEST_PANIC_DIRECTORY";
    const NAME: &str = "daemon::panics::tests::panic_of_any_thread_ends_the_process_with_code_101";

    /// Body of the process under test: logs, then panics in a thread.
    fn panic_in_a_thread(directory: &Path) {
        let config = Config {
            state_dir: Some(directory.to_owned()),
            ..Config::default()
        };
        let settings = config.resolve().unwrap();
        let paths = Paths::new(&settings, directory);
        exit_on_panic();
        let _log = log::init(&settings, &paths).unwrap();
        let thread = std::thread::Builder::new().name("worker".to_owned());
        let thread = thread.spawn(|| {
            // Lines that are not yet written when the thread panics.
            for number in 0..5_000 {
                log::info!("line {number}");
            }
            panic!("on purpose");
        });
        let thread = thread.unwrap();
        // The hook ends the process before the thread does.
        let _ = thread.join();
        std::process::exit(3);
    }

    fn log_below(directory: &Path) -> Option<String> {
        let mut entries = std::fs::read_dir(directory).ok()?.flatten();
        entries.find_map(|entry| {
            let path: PathBuf = entry.path();
            match path.is_dir() {
                true => log_below(&path),
                false => (path.file_name()? == "node.log")
                    .then(|| std::fs::read_to_string(path).ok())
                    .flatten(),
            }
        })
    }

    #[test]
    fn release_builds_check_for_overflow() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for profile in ["release", "bench"] {
            let checks = &manifest["profile"][profile]["overflow-checks"];
            assert_eq!(checks.as_bool(), Some(true), "{profile}");
        }
    }

    #[test]
    fn panic_of_any_thread_ends_the_process_with_code_101() {
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            return panic_in_a_thread(Path::new(&directory));
        }
        let scratch = tempfile::tempdir().unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture", "--test-threads", "1"])
            .env(DIRECTORY, scratch.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(PANIC_EXIT_CODE), "{output:?}");
        assert!(stderr.contains("astreum: the thread \"worker\" panicked at"));
        assert!(stderr.contains(": on purpose"), "{stderr}");
        let log = log_below(scratch.path()).unwrap();
        let last = log.lines().last().unwrap();
        assert!(
            last.contains("\"ERROR\"") && last.contains("on purpose"),
            "{log}"
        );
    }
}
