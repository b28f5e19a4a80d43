//! Files and folders through the control socket of a node process, beside a plain append and a plain
//! copy of the same bytes in the same run; the start of a node with a long journal.

use super::process::anonymous;
use super::table::{Bar, Table};
use astreum_core::atom::Atom;
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use astreum_tests::testkit::{Home, NodeProcess};
use core::time::Duration;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

/// Number of tries of each measurement; the best counts.
const TRIES: u8 = 2;
/// Number of bytes that a node writes with one sync.
const SYNCED_BYTES: usize = 8 << 20;
/// Maximum anonymous memory of the client, and of the node over an idle one.
const MAX_MEBIBYTES: f64 = 64.0;
const NODE: [&str; 9] = [
    "run",
    "--incoming-port",
    "0",
    "--default-seed",
    "none",
    "--cold-storage-path",
    "cold",
    "--cold-storage-sync",
    "always",
];

pub(crate) fn files(large: bool, table: &mut Table) {
    // More than one list, so that there is a manifest.
    let megabytes = if large { 1_030 } else { 24 };
    let bar = |kind, value| large.then_some((kind, value));
    let mut best = Figures::default();
    for number in 0..TRIES {
        best.merge(&measure(megabytes, number));
    }
    let what = format!("{megabytes} MB");
    let append = best.append;
    table.add(
        format!("plain append of {what}, a sync per 8 MiB"),
        append,
        "MB/s",
        None,
    );
    let least = f64::min(200.0, 0.6 * append);
    table.add(
        format!("put {what}, sync always"),
        best.put,
        "MB/s",
        bar(Bar::AtLeast, least),
    );
    table.add(
        format!("put {what} again, all of it stored"),
        best.again,
        "MB/s",
        None,
    );
    let grown = format!("put {what} again: atoms that are added");
    table.add(grown, best.grown, "%", Some((Bar::AtMost, 0.1)));
    table.add(
        format!("plain copy of {what}, warm"),
        best.copy,
        "MB/s",
        None,
    );
    table.add(
        format!("get {what} to a file, warm"),
        best.get,
        "MB/s",
        bar(Bar::AtLeast, 400.0),
    );
    let space = format!("cold storage of {what} in atoms of 3,900 bytes");
    table.add(space, best.space, "x", bar(Bar::AtMost, 1.06));
    for (who, memory) in [("client", best.client), ("node over idle", best.node)] {
        let name = format!("anonymous memory of the {who}, {what}");
        table.add(name, memory, "MiB", Some((Bar::AtMost, MAX_MEBIBYTES)));
    }
}

pub(crate) fn folders(large: bool, table: &mut Table) {
    let count: u32 = if large { 20_000 } else { 500 };
    let home = Home::new("folders");
    let node = home.start(&NODE);
    for number in 0..count {
        let directory = home.path().join(format!("in/{}", number / 100));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(number.to_string()), noise(1_000, number)).unwrap();
    }
    let started = Instant::now();
    let id = home.run(&["put", "in"]).lines()[0].to_owned();
    let rate = f64::from(count) / started.elapsed().as_secs_f64();
    table.add(
        format!("put a folder of {count} files of 1 KB"),
        rate,
        "files/s",
        None,
    );
    let started = Instant::now();
    home.run(&["get", &id, "-o", "out"]).lines();
    let rate = f64::from(count) / started.elapsed().as_secs_f64();
    table.add(
        format!("get a folder of {count} files of 1 KB"),
        rate,
        "files/s",
        None,
    );
    let same = fs::read(home.path().join("in/3/333")).unwrap();
    assert!(fs::read(home.path().join("out/3/333")).unwrap() == same);
    assert_eq!(node.interrupt().0, Some(0));
}

/// Start with a journal of small atoms that a level of 1 GiB does not collate.
pub(crate) fn long_journal(large: bool, table: &mut Table) {
    let count = if large { 1_000_000 } else { 50_000 };
    let level_size_bytes = 1 << 30;
    let home = Home::new("journal");
    let path = home.path().join("cold");
    let options = ColdOptions {
        level_size_bytes,
        limit_bytes: 0,
        sync: ColdStorageSync::Never,
        mapped: true,
        background: false,
    };
    let store = ColdStore::open(&path, options).unwrap();
    for batch in 0..count / 10_000 {
        let atoms = (0..10_000).map(|n: u64| {
            let mut data = [7; 64];
            data[..8].copy_from_slice(&(10_000 * batch + n).to_be_bytes());
            let atom = Atom::bytes(data);
            (atom.id(), atom)
        });
        store.put(&atoms.collect::<Vec<_>>()).unwrap();
    }
    drop(store);
    let open = || {
        let started = Instant::now();
        let store = ColdStore::open(&path, options).unwrap();
        let took = started.elapsed().as_secs_f64();
        assert_eq!(store.stats().levels[0].atoms, count);
        took
    };
    let took = (0..2 * TRIES).map(|_| open()).fold(f64::MAX, f64::min);
    let name = format!("open a journal of {count} atoms of 64 bytes");
    table.add(name, took, "s", large.then_some((Bar::AtMost, 0.2)));
}

/// Figures of one try; rates in MB/s, memory in MiB.
#[derive(Default)]
struct Figures {
    append: f64,
    put: f64,
    again: f64,
    /// Growth of the number of atoms in percent.
    grown: f64,
    copy: f64,
    get: f64,
    /// Bytes of cold storage per byte of the file.
    space: f64,
    client: f64,
    node: f64,
}

impl Figures {
    /// Takes the best rate and the worst use of each.
    fn merge(&mut self, other: &Self) {
        for (rate, other) in [
            (&mut self.append, other.append),
            (&mut self.put, other.put),
            (&mut self.again, other.again),
            (&mut self.copy, other.copy),
            (&mut self.get, other.get),
            (&mut self.grown, other.grown),
            (&mut self.space, other.space),
            (&mut self.client, other.client),
            (&mut self.node, other.node),
        ] {
            *rate = rate.max(other);
        }
    }
}

fn measure(megabytes: usize, seed: u8) -> Figures {
    let home = Home::new("files");
    let bytes = megabytes as f64 * 1e6;
    let rate = |took: Duration| bytes / 1e6 / took.as_secs_f64();
    let input = home.path().join("in");
    make_input(&input, megabytes, seed);
    let append = rate(plain_append(&input, &home.path().join("append")));
    let node = home.start(&NODE);
    let idle = anonymous(node.process_id());
    // Not the bytes: merges continue in the background.
    let stored = || {
        let status = home.run(&["status", "--json"]).json();
        status["counters"]["cold_atoms"].as_f64().unwrap()
    };
    let (id, put) = timed(&home, &node, &["put", "in"]);
    let id = id.trim().to_owned();
    let after = stored();
    let (_, again) = timed(&home, &node, &["put", "in"]);
    let grown = 100.0 * (stored() - after) / after;
    let (_, get) = timed(&home, &node, &["get", &id, "-o", "out"]);
    assert_eq!(hash(&home.path().join("out")), hash(&input));
    fs::remove_file(home.path().join("out")).unwrap();
    let started = Instant::now();
    plain_copy(&input, &home.path().join("out"));
    let copy = started.elapsed();
    assert_eq!(node.interrupt().0, Some(0));
    Figures {
        append,
        put: rate(put.took),
        again: rate(again.took),
        grown,
        copy: rate(copy),
        get: rate(get.took),
        space: bytes_in(&home.path().join("cold")) as f64 / bytes,
        client: put.client.max(get.client),
        node: put.node.max(get.node).max(again.node) - idle,
    }
}

fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_be_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn make_input(path: &Path, megabytes: usize, seed: u8) {
    let mut file = File::create(path).unwrap();
    let mut bytes = blake3::Hasher::new().update(&[seed]).finalize_xof();
    let mut buffer = vec![0; 1_000_000];
    for _ in 0..megabytes {
        bytes.fill(&mut buffer);
        file.write_all(&buffer).unwrap();
    }
    // Writing it back is not part of what follows.
    file.sync_all().unwrap();
}

pub(crate) fn hash(path: &Path) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path).unwrap()).unwrap();
    hasher.finalize()
}

/// Appends a file to another with a sync after as many bytes as a node writes with one.
fn plain_append(from: &Path, to: &Path) -> Duration {
    let mut from = File::open(from).unwrap();
    let mut to_file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(to)
        .unwrap();
    let mut buffer = vec![0; SYNCED_BYTES];
    let started = Instant::now();
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match from.read(&mut buffer[filled..]).unwrap() {
                0 => break,
                len => filled += len,
            }
        }
        if filled == 0 {
            break;
        }
        to_file.write_all(&buffer[..filled]).unwrap();
        to_file.sync_data().unwrap();
    }
    let took = started.elapsed();
    fs::remove_file(to).unwrap();
    took
}

fn plain_copy(from: &Path, to: &Path) {
    let (mut from, mut to) = (File::open(from).unwrap(), File::create(to).unwrap());
    let mut buffer = vec![0; 256 << 10];
    loop {
        match from.read(&mut buffer).unwrap() {
            0 => return,
            len => to.write_all(&buffer[..len]).unwrap(),
        }
    }
}

fn bytes_in(path: &Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_in(&entry.path()),
        data => data.map_or(0, |data| data.len()),
    });
    sizes.sum()
}

/// Time of a command, and the maximum anonymous memory of it and of the node meanwhile.
struct Timed {
    took: Duration,
    client: f64,
    node: f64,
}

fn timed(home: &Home, node: &NodeProcess, arguments: &[&str]) -> (String, Timed) {
    let started = Instant::now();
    let child = home.command(arguments).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let mut timed = Timed {
        took: Duration::ZERO,
        client: 0.0,
        node: 0.0,
    };
    let code = loop {
        timed.client = timed.client.max(anonymous(child.id()));
        timed.node = timed.node.max(anonymous(node.process_id()));
        if let Some(code) = child.try_wait().unwrap() {
            break code;
        }
        thread::sleep(Duration::from_millis(5));
    };
    timed.took = started.elapsed();
    assert!(code.success(), "{arguments:?}: {code}");
    let mut text = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    stdout.read_to_string(&mut text).unwrap();
    (text, timed)
}
