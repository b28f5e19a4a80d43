use core::sync::atomic::AtomicUsize;
use std::fs;
use std::path::Path;

use crate::scratch::Scratch;

use super::*;

fn settings(directory: &Path) -> Settings {
    Settings {
        directory: directory.to_owned(),
        retention_days: 7,
        identity: Identity {
            logger: "lib-rs.x".to_owned(),
            instance_id: "x".to_owned(),
            pid: 1,
        },
        console: None,
    }
}

fn say(logger: &NodeLogger, message: &str) {
    let mut record = Record::builder();
    record.level(log::Level::Info).target("astreum_node");
    logger.log(&record.args(format_args!("{message}")).build());
}

/// The messages of the lines in `node.log`.
fn messages(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("node.log")).unwrap();
    let message = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["msg"].as_str().unwrap().to_owned()
    };
    text.lines().map(message).collect()
}

fn quiet(_: &str) {}

#[test]
fn records_reach_the_file_in_order() {
    let scratch = Scratch::new("log-order");
    let (logger, receiver) = NodeLogger::new(clock::unix_time);
    say(&logger, "one");
    say(&logger, "two");
    let dropped = Arc::clone(&logger.dropped);
    drop(logger);
    Writer::new(settings(scratch.path()), clock::unix_time, dropped, quiet).run(&receiver);
    assert_eq!(messages(scratch.path()), ["one", "two"]);
}

#[test]
fn a_full_queue_drops_at_once_and_the_log_says_so() {
    let scratch = Scratch::new("log-full");
    let (logger, receiver) = NodeLogger::new(clock::unix_time);
    for _ in 0..QUEUE_EVENTS + 3 {
        say(&logger, "x");
    }
    let dropped = Arc::clone(&logger.dropped);
    drop(logger);
    Writer::new(settings(scratch.path()), clock::unix_time, dropped, quiet).run(&receiver);
    let messages = messages(scratch.path());
    assert_eq!(messages.len(), QUEUE_EVENTS + 1);
    assert!(
        messages
            .iter()
            .any(|message| message.starts_with("3 log lines were dropped"))
    );
}

#[test]
fn a_flush_is_answered_when_the_lines_are_there() {
    let scratch = Scratch::new("log-flush");
    let (logger, receiver) = NodeLogger::new(clock::unix_time);
    let (settings, dropped) = (settings(scratch.path()), Arc::clone(&logger.dropped));
    let thread = thread::spawn(move || {
        Writer::new(settings, clock::unix_time, dropped, quiet).run(&receiver);
    });
    say(&logger, "one");
    logger.flush();
    assert_eq!(messages(scratch.path()), ["one"]);
    drop(logger);
    thread.join().unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_is_complained_about_once() {
    static COMPLAINTS: AtomicUsize = AtomicUsize::new(0);
    let scratch = Scratch::new("log-unwritable");
    let blocked = scratch.path().join("file");
    fs::write(&blocked, "in the way").unwrap();
    let (logger, receiver) = NodeLogger::new(clock::unix_time);
    let dropped = Arc::clone(&logger.dropped);
    let complain = |_: &str| {
        COMPLAINTS.fetch_add(1, Ordering::Relaxed);
    };
    let writer = Writer::new(settings(&blocked), clock::unix_time, dropped, complain);
    let thread = thread::spawn(move || writer.run(&receiver));
    for _ in 0..3 {
        say(&logger, "lost");
        logger.flush();
    }
    drop(logger);
    thread.join().unwrap();
    assert_eq!(COMPLAINTS.load(Ordering::Relaxed), 1);
    assert_eq!(fs::read_to_string(&blocked).unwrap(), "in the way");
}

#[test]
fn a_log_that_can_be_written_again_goes_on_and_counts_what_it_lost() {
    static NOW: AtomicU64 = AtomicU64::new(1_795_352_924);
    fn now() -> Duration {
        Duration::from_secs(NOW.load(Ordering::Relaxed))
    }
    let scratch = Scratch::new("log-again");
    let directory = scratch.path().join("log");
    fs::write(&directory, "in the way").unwrap();
    let (logger, receiver) = NodeLogger::new(now);
    let dropped = Arc::clone(&logger.dropped);
    let writer = Writer::new(settings(&directory), now, dropped, quiet);
    let thread = thread::spawn(move || writer.run(&receiver));
    say(&logger, "lost");
    logger.flush();
    fs::remove_file(&directory).unwrap();
    say(&logger, "too early");
    logger.flush();
    assert!(!directory.exists());
    NOW.fetch_add(31, Ordering::Relaxed);
    say(&logger, "kept");
    logger.flush();
    assert_eq!(
        messages(&directory),
        ["kept", "2 log lines could not be written"]
    );
    drop(logger);
    thread.join().unwrap();
}

#[test]
fn reasons_are_limited_for_the_whole_process() {
    let allowed = (0..50).filter(|_| limited("test reason").is_some()).count();
    assert!((1..=6).contains(&allowed), "{allowed}");
}
