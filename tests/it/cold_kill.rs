//! Durability of acknowledged writes across repeated kills of the writing process.
//!
//! `ASTREUM_KILLS` sets the number of kills; 200 by default.

#![expect(clippy::unwrap_used, reason = "a failed operation fails the test")]

use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use astreum_tests::random::Random;
use astreum_tests::sim::batch;
use core::time::Duration;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

const KILLS: u64 = 200;
/// Time limit for a write on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Writes from batch `first` on until it is killed, and returns the first batch that is not
/// acknowledged. The process is killed at `after` following this number of acknowledgements.
fn write_and_kill(dir: &Path, first: u64, acknowledged: usize, after: Duration) -> u64 {
    let mut writer = Command::new(env!("CARGO_BIN_EXE_cold_writer"))
        .args([dir.to_str().unwrap(), &first.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(writer.stdout.take().unwrap());
    let (sender, acknowledgements) = channel();
    let reader = std::thread::spawn(move || {
        let whole_lines = stdout.lines().map_while(Result::ok);
        whole_lines
            .filter_map(|line| line.parse::<u64>().ok())
            .inspect(|_| {
                // The receiver ends after the first ones.
                let _ = sender.send(());
            })
            .last()
    });
    for _ in 0..acknowledged {
        acknowledgements.recv_timeout(TIMEOUT).unwrap();
    }
    std::thread::sleep(after);
    writer.kill().unwrap();
    assert!(!writer.wait().unwrap().success());
    reader.join().unwrap().map_or(first, |last| last + 1)
}

#[test]
fn acknowledged_writes_survive_kills_of_the_writer() {
    let kills = match std::env::var("ASTREUM_KILLS") {
        Ok(kills) => kills.parse().unwrap(),
        Err(_) => KILLS,
    };
    let scratch = tempfile::tempdir().unwrap();
    let mut random = Random::new(kills);
    let mut next = 0;
    let (mut checked, mut levels) = (0, 0);
    for kill in 0..kills {
        let after = Duration::from_millis(5 + random.next() % 60);
        // Every second process is killed at any point, perhaps while opening the directory; the
        // others only after they have written, regardless of the speed of the disk.
        let acknowledged = if kill % 2 == 0 { 0 } else { 3 };
        next = write_and_kill(scratch.path(), next, acknowledged, after);
        // The next process opens it as well; here it is only read, and not completely every time.
        let from = if kill % 50 == 49 { 0 } else { checked };
        let store = ColdStore::open_to_read(scratch.path(), true);
        // Killed before it created any file.
        let Ok(store) = store else { continue };
        for number in from..next {
            for (id, atom) in batch(number) {
                assert_eq!(
                    store.get(&id).unwrap(),
                    Some(atom),
                    "kill {kill}, batch {number}"
                );
            }
        }
        checked = next.saturating_sub(50);
        levels = levels.max(store.stats().levels.len());
    }
    assert!(next > kills, "{next} batches were acknowledged");
    assert!(levels > 2, "only levels up to {levels} were created");
    let options = ColdOptions {
        level_size_bytes: 2_000,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: false,
    };
    let store = ColdStore::open(scratch.path(), options).unwrap();
    store.collate().unwrap();
    store.maintain().unwrap();
    assert_eq!(store.verify(&mut |_| ()).unwrap().damaged, 0);
    for number in 0..next {
        for (id, atom) in batch(number) {
            assert_eq!(store.get(&id).unwrap(), Some(atom));
        }
    }
}
