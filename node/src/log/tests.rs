use std::fs;
use std::path::Path;

use super::file::LogFile;
use super::*;
use crate::config::{Config, LogFormat};

fn settings(directory: &Path) -> LogSettings {
    LogSettings {
        directory: directory.to_owned(),
        changeable: Changeable {
            retention_days: 7,
            format: LogFormat::Json,
        },
        max_file_bytes: MAX_FILE_BYTES,
        max_rotated_bytes: MAX_ROTATED_BYTES,
        pack: tidy::compress_all,
        identity: Identity {
            logger: "lib-rs.x".to_owned(),
            instance_id: "x".to_owned(),
            pid: 1,
        },
        console: None,
    }
}

fn new_logger() -> (NodeLogger, Receiver<Message>) {
    NodeLogger::new(clock::unix_time, filter(None))
}

fn log_line(logger: &NodeLogger, message: &str) {
    let mut record = Record::builder();
    record.level(log::Level::Info).target("astreum_node");
    logger.log(&record.args(format_args!("{message}")).build());
}

/// Returns the messages of the lines in `node.log`.
fn messages(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("node.log")).unwrap();
    let message = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["msg"].as_str().unwrap().to_owned()
    };
    text.lines().map(message).collect()
}

fn host() -> Host {
    Host {
        wall: clock::unix_time,
        monotonic,
        report_error: |_| (),
        health: Arc::default(),
    }
}

#[test]
fn writes_records_in_order() {
    let scratch = tempfile::tempdir().unwrap();
    let (logger, receiver) = new_logger();
    log_line(&logger, "one");
    log_line(&logger, "two");
    let dropped = Arc::clone(&logger.dropped);
    drop(logger);
    Writer::new(settings(scratch.path()), host(), dropped).run(&receiver);
    assert_eq!(messages(scratch.path()), ["one", "two"]);
}

#[test]
fn full_queue_drops_records_and_reports_their_number() {
    let scratch = tempfile::tempdir().unwrap();
    let (logger, receiver) = new_logger();
    for _ in 0..QUEUE_EVENTS + 3 {
        log_line(&logger, "x");
    }
    let dropped = Arc::clone(&logger.dropped);
    drop(logger);
    Writer::new(settings(scratch.path()), host(), dropped).run(&receiver);
    let messages = messages(scratch.path());
    assert_eq!(messages.len(), QUEUE_EVENTS + 1);
    assert!(
        messages
            .iter()
            .any(|message| message.starts_with("dropped 3 log lines"))
    );
}

#[test]
fn flush_returns_once_the_lines_are_written() {
    let scratch = tempfile::tempdir().unwrap();
    let (logger, receiver) = new_logger();
    let (settings, dropped) = (settings(scratch.path()), Arc::clone(&logger.dropped));
    let thread = thread::spawn(move || {
        Writer::new(settings, host(), dropped).run(&receiver);
    });
    log_line(&logger, "one");
    logger.flush();
    assert_eq!(messages(scratch.path()), ["one"]);
    drop(logger);
    thread.join().unwrap();
}

#[test]
fn unwritable_directory_is_reported_once_and_in_the_status() {
    static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let scratch = tempfile::tempdir().unwrap();
    let blocked = scratch.path().join("file");
    fs::write(&blocked, "in the way").unwrap();
    let (logger, receiver) = new_logger();
    let dropped = Arc::clone(&logger.dropped);
    let host = Host {
        report_error: |text| REPORTS.lock().unwrap().push(text.to_owned()),
        ..host()
    };
    let health = Arc::clone(&host.health);
    let writer = Writer::new(settings(&blocked), host, dropped);
    let thread = thread::spawn(move || writer.run(&receiver));
    for _ in 0..3 {
        log_line(&logger, "lost");
        logger.flush();
    }
    let problem = health.problem().unwrap();
    assert!(problem.contains("cannot write the log in") && problem.contains("file"));
    drop(logger);
    thread.join().unwrap();
    let reports = REPORTS.lock().unwrap();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(reports[0].ends_with("continuing without a log file"));
    assert_eq!(fs::read_to_string(&blocked).unwrap(), "in the way");
}

#[test]
fn full_disk_is_reported_once_and_retried_less_often() {
    static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static NOW: AtomicU64 = AtomicU64::new(0);
    let scratch = tempfile::tempdir().unwrap();
    let current = scratch.path().join("node.log");
    std::os::unix::fs::symlink("/dev/full", &current).unwrap();
    let (logger, receiver) = new_logger();
    let dropped = Arc::clone(&logger.dropped);
    let host = Host {
        monotonic: || Duration::from_millis(NOW.load(Ordering::Relaxed)),
        report_error: |text| REPORTS.lock().unwrap().push(text.to_owned()),
        ..host()
    };
    let health = Arc::clone(&host.health);
    let writer = Writer::new(settings(scratch.path()), host, dropped);
    let thread = thread::spawn(move || writer.run(&receiver));
    let log_after = |millis| {
        NOW.fetch_add(millis, Ordering::Relaxed);
        log_line(&logger, "line");
        logger.flush();
    };
    for _ in 0..4 {
        log_after(1_000);
    }
    assert!(health.problem().unwrap().contains("No space left"));
    fs::remove_file(&current).unwrap();
    log_after(101);
    assert!(!current.exists(), "the delay has not grown");
    log_after(10_000);
    assert_eq!(health.problem(), None);
    let written = messages(scratch.path());
    assert_eq!(written[..2], ["line", "line"], "{written:?}");
    assert_eq!(REPORTS.lock().unwrap().len(), 1);
    drop(logger);
    thread.join().unwrap();
}

#[test]
fn lines_are_kept_until_the_log_can_be_written() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("log");
    fs::write(&directory, "in the way").unwrap();
    let (logger, receiver) = new_logger();
    let dropped = Arc::clone(&logger.dropped);
    let host = Host {
        monotonic: || Duration::from_millis(NOW.load(Ordering::Relaxed)),
        ..host()
    };
    let health = Arc::clone(&host.health);
    let writer = Writer::new(settings(&directory), host, dropped);
    let thread = thread::spawn(move || writer.run(&receiver));
    log_line(&logger, "first");
    logger.flush();
    fs::remove_file(&directory).unwrap();
    log_line(&logger, "too early");
    logger.flush();
    assert!(!directory.exists() && health.problem().is_some());
    NOW.fetch_add(101, Ordering::Relaxed);
    log_line(&logger, "in time");
    logger.flush();
    assert_eq!(messages(&directory), ["first", "too early", "in time"]);
    assert_eq!(health.problem(), None);
    drop(logger);
    thread.join().unwrap();
}

#[test]
fn lines_beyond_the_buffer_are_counted_while_there_is_no_log() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("log");
    fs::write(&directory, "in the way").unwrap();
    let (logger, receiver) = new_logger();
    let dropped = Arc::clone(&logger.dropped);
    let host = Host {
        monotonic: || Duration::from_millis(NOW.load(Ordering::Relaxed)),
        ..host()
    };
    let writer = Writer::new(settings(&directory), host, dropped);
    let thread = thread::spawn(move || writer.run(&receiver));
    let long = "x".repeat(10_000);
    for _ in 0..250 {
        log_line(&logger, &long);
        logger.flush();
    }
    fs::remove_file(&directory).unwrap();
    NOW.fetch_add(31_000, Ordering::Relaxed);
    log_line(&logger, "last");
    logger.flush();
    let messages = messages(&directory);
    let lost: usize = messages
        .iter()
        .find_map(|message| {
            let message = message.strip_prefix("failed to write ")?;
            message.strip_suffix(" log lines")
        })
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(messages.len() - 1 + lost, 251);
    assert!(lost > 0 && messages.iter().any(|message| message == "last"));
    drop(logger);
    thread.join().unwrap();
}

/// A node starts while the previous run is about to end: its log waits for the lock, and no problem
/// is reported.
#[test]
fn restart_during_the_shutdown_of_the_previous_run_loses_no_lines() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    let scratch = tempfile::tempdir().unwrap();
    let held = LogFile::open(scratch.path(), MAX_FILE_BYTES, clock::unix_time()).unwrap();
    let (logger, receiver) = new_logger();
    let dropped = Arc::clone(&logger.dropped);
    let host = Host {
        monotonic: || Duration::from_millis(NOW.load(Ordering::Relaxed)),
        report_error: |text| panic!("{text}"),
        ..host()
    };
    let health = Arc::clone(&host.health);
    let writer = Writer::new(settings(scratch.path()), host, dropped);
    let thread = thread::spawn(move || writer.run(&receiver));
    log_line(&logger, "started");
    for _ in 0..3 {
        NOW.fetch_add(150, Ordering::Relaxed);
        logger.flush();
    }
    assert_eq!(health.problem(), None);
    drop(held);
    NOW.fetch_add(1_000, Ordering::Relaxed);
    logger.flush();
    assert_eq!(messages(scratch.path()), ["started"]);
    drop(logger);
    thread.join().unwrap();
}

/// Compression of a large file takes long, and must run beside the log.
#[test]
fn lines_are_written_while_a_file_is_compressed() {
    static MAY_END: Mutex<bool> = Mutex::new(false);
    static STARTED: AtomicU64 = AtomicU64::new(0);
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("node-2020-01-01.log"), "old").unwrap();
    let (logger, receiver) = new_logger();
    let dropped = Arc::clone(&logger.dropped);
    let settings = LogSettings {
        changeable: Changeable {
            retention_days: u32::MAX,
            format: LogFormat::Json,
        },
        pack: |directory, stop| {
            STARTED.fetch_add(1, Ordering::Relaxed);
            while !*MAY_END.lock().unwrap() {
                thread::yield_now();
            }
            tidy::compress_all(directory, stop)
        },
        ..settings(scratch.path())
    };
    let writer = Writer::new(settings, host(), dropped);
    let thread = thread::spawn(move || writer.run(&receiver));
    for line in ["one", "two", "three"] {
        log_line(&logger, line);
        logger.flush();
    }
    assert_eq!(messages(scratch.path()), ["one", "two", "three"]);
    // The thread that compresses may not have run yet.
    while STARTED.load(Ordering::Relaxed) == 0 {
        thread::yield_now();
    }
    assert_eq!(STARTED.load(Ordering::Relaxed), 1);
    let packed = scratch.path().join("node-2020-01-01.log.gz");
    assert!(!packed.exists());
    *MAY_END.lock().unwrap() = true;
    while !packed.exists() {
        thread::yield_now();
    }
    drop(logger);
    thread.join().unwrap();
}

/// Pair of names that once disabled the log: a file of a day beside its interrupted compression.
#[test]
fn interrupted_compression_does_not_disable_the_log() {
    for day in 1..=28 {
        let scratch = tempfile::tempdir().unwrap();
        let plain = format!("node-2026-10-{day:02}.log");
        fs::write(scratch.path().join(&plain), "old").unwrap();
        fs::write(scratch.path().join(format!("{plain}.gz.tmp")), "half").unwrap();
        let (logger, receiver) = new_logger();
        log_line(&logger, "line");
        let dropped = Arc::clone(&logger.dropped);
        drop(logger);
        Writer::new(settings(scratch.path()), host(), dropped).run(&receiver);
        assert_eq!(messages(scratch.path()), ["line"], "{plain}");
    }
}

#[test]
fn rate_limits_hold_for_the_whole_process() {
    let allowed = (0..50).filter(|_| limited("test reason").is_some()).count();
    assert!((1..=6).contains(&allowed), "{allowed}");
}

#[test]
fn level_format_and_file_change_while_the_log_is_open() {
    let scratch = tempfile::tempdir().unwrap();
    let (logger, receiver) = new_logger();
    let (settings, dropped) = (settings(scratch.path()), Arc::clone(&logger.dropped));
    let thread = thread::spawn(move || {
        Writer::new(settings, host(), dropped).run(&receiver);
    });
    log_line(&logger, "one");
    logger.flush();
    let of = |levels: &str| {
        let config = Config {
            log_level: LogFilter::new(levels),
            log_format: LogFormat::Text,
            ..Config::default()
        };
        config.resolve().unwrap()
    };
    logger.reconfigure(&of("warn"));
    log_line(&logger, "hidden");
    logger.reconfigure(&of("off,astreum_node=info"));
    log_line(&logger, "two");
    logger.flush();
    let (path, aside) = (
        scratch.path().join("node.log"),
        scratch.path().join("aside"),
    );
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with('{'), "{text}");
    assert!(lines[1].ends_with(" INFO    astreum_node: two"), "{text}");
    fs::rename(&path, &aside).unwrap();
    deliver(&logger.sender, Message::Reopen);
    logger.flush();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    log_line(&logger, "three");
    logger.flush();
    assert!(fs::read_to_string(&path).unwrap().ends_with("three\n"));
    assert_eq!(fs::read_to_string(&aside).unwrap(), text);
    drop(logger);
    thread.join().unwrap();
}
