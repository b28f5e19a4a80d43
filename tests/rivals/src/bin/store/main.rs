//! Comparison of cold storage with LMDB, redb and the Python reference: the same million atoms, in
//! one run, on one disk. `TMPDIR` chooses the disk, `ASTREUM_REFERENCE_PYTHON` the reference's
//! interpreter.
//!
//! A get sees every write that was acknowledged before it, returns a separate copy of the atom and
//! checks its id, except in the reference, which checks none. For LMDB and redb that is a read
//! transaction per get; LMDB is also measured with one transaction for all gets, which does not see
//! later writes. An ingest puts batches of 10,000 new atoms and returns when each is on the disk;
//! the reference's is not synced. All of our atoms are collated, in the levels that resulted; the
//! reference reads the same files, and all atoms in one pair, where it is fastest. Everything is in
//! the page cache.

mod reference;

use astreum_core::atom::{Atom, AtomId};
use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use redb::{ReadableDatabase as _, TableDefinition};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const ATOMS: u64 = 1_000_000;
const BATCH: u64 = 10_000;
/// Short rounds, the fastest of which counts, because other load on the machine interrupts some.
const GETS: u64 = 5_000;
const ROUNDS: u64 = 100;
/// Number of gets of the reference, which is slow.
const REFERENCE_GETS: usize = 2_000;

type Batch = Vec<(AtomId, Atom)>;

trait Rival {
    fn put(&mut self, batch: &Batch);
    fn get(&self, id: &AtomId) -> Option<Atom>;
}

struct Ours(ColdStore);

impl Ours {
    fn open(path: &Path) -> Self {
        let options = ColdOptions {
            level_size_bytes: 10 << 20,
            limit_bytes: 0,
            sync: ColdStorageSync::Always,
            mapped: true,
            background: true,
        };
        Self(ColdStore::open(path, options).unwrap())
    }
}

impl Rival for Ours {
    fn put(&mut self, batch: &Batch) {
        self.0.put(batch).unwrap();
    }

    fn get(&self, id: &AtomId) -> Option<Atom> {
        self.0.get(id).unwrap()
    }
}

fn verified(id: &AtomId, stored: &[u8]) -> Option<Atom> {
    Atom::from_bytes(stored)
        .ok()
        .filter(|atom| atom.id() == *id)
}

struct Lmdb {
    env: heed::Env,
    database: heed::Database<heed::types::Bytes, heed::types::Bytes>,
}

impl Lmdb {
    fn open(path: &Path) -> Self {
        fs::create_dir_all(path).unwrap();
        // SAFETY: only this process opens the directory.
        let env = unsafe { heed::EnvOpenOptions::new().map_size(8 << 30).open(path) }.unwrap();
        let mut txn = env.write_txn().unwrap();
        let database = env.create_database(&mut txn, None).unwrap();
        txn.commit().unwrap();
        Self { env, database }
    }
}

impl Rival for Lmdb {
    fn put(&mut self, batch: &Batch) {
        let mut txn = self.env.write_txn().unwrap();
        for (id, atom) in batch {
            self.database
                .put(&mut txn, id.as_bytes(), &atom.to_bytes())
                .unwrap();
        }
        txn.commit().unwrap();
    }

    fn get(&self, id: &AtomId) -> Option<Atom> {
        let txn = self.env.read_txn().unwrap();
        verified(id, self.database.get(&txn, id.as_bytes()).unwrap()?)
    }
}

/// LMDB with one read transaction for all gets.
struct OneTxn<'a> {
    txn: heed::RoTxn<'a, heed::WithTls>,
    database: heed::Database<heed::types::Bytes, heed::types::Bytes>,
}

impl Rival for OneTxn<'_> {
    fn put(&mut self, _: &Batch) {
        unreachable!("the transaction is read-only");
    }

    fn get(&self, id: &AtomId) -> Option<Atom> {
        verified(id, self.database.get(&self.txn, id.as_bytes()).unwrap()?)
    }
}

struct Redb(redb::Database);

const TABLE: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("atoms");

impl Redb {
    fn open(path: &Path) -> Self {
        Self(redb::Database::create(path).unwrap())
    }
}

impl Rival for Redb {
    fn put(&mut self, batch: &Batch) {
        let txn = self.0.begin_write().unwrap();
        {
            let mut table = txn.open_table(TABLE).unwrap();
            for (id, atom) in batch {
                table.insert(id.as_bytes(), &*atom.to_bytes()).unwrap();
            }
        }
        txn.commit().unwrap();
    }

    fn get(&self, id: &AtomId) -> Option<Atom> {
        let txn = self.0.begin_read().unwrap();
        let table = txn.open_table(TABLE).unwrap();
        verified(id, table.get(id.as_bytes()).unwrap()?.value())
    }
}

fn atom(number: u64) -> (AtomId, Atom) {
    let atom = Atom::bytes(*blake3::hash(&number.to_be_bytes()).as_bytes());
    (atom.id(), atom)
}

/// Returns atoms per second, over the whole ingest.
fn ingest(rival: &mut dyn Rival) -> f64 {
    let mut seconds = 0.0;
    for first in (0..ATOMS).step_by(BATCH as usize) {
        let batch: Batch = (first..first + BATCH).map(atom).collect();
        let start = Instant::now();
        rival.put(&batch);
        seconds += start.elapsed().as_secs_f64();
    }
    ATOMS as f64 / seconds
}

/// Returns ids of atoms from `first` on, scattered over all of them and different in every round.
fn scattered(first: u64, round: u64) -> Vec<AtomId> {
    (0..GETS)
        .map(|n| atom(first + (round * 7_919 + n * 611_953) % ATOMS).0)
        .collect()
}

/// Returns the nanoseconds per get of one round.
fn gets(rival: &dyn Rival, ids: &[AtomId], there: bool) -> f64 {
    let start = Instant::now();
    for id in ids {
        assert_eq!(black_box(rival.get(id)).is_some(), there);
    }
    start.elapsed().as_secs_f64() * 1e9 / ids.len() as f64
}

/// Returns the nanoseconds per get, of present and of absent atoms, in the fastest rounds. Every
/// store runs once per round.
fn fastest_gets<const N: usize>(rivals: &[&dyn Rival; N]) -> [[f64; 2]; N] {
    let mut fastest = [[f64::INFINITY; 2]; N];
    for round in 0..ROUNDS {
        for (at, first) in [0, 2 * ATOMS].into_iter().enumerate() {
            let ids = scattered(first, round);
            for (rival, fastest) in rivals.iter().zip(&mut fastest) {
                fastest[at] = fastest[at].min(gets(*rival, &ids, first == 0));
            }
        }
    }
    fastest
}

fn main() -> ExitCode {
    let python = match reference::python() {
        Ok(python) => python,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    let dir: PathBuf = std::env::temp_dir().join(format!("astreum-rivals-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let reached = compare(&python, &dir);
    let _ = fs::remove_dir_all(&dir);
    match reached {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: a ratio is below its bar");
            ExitCode::FAILURE
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn compare(python: &str, dir: &Path) -> Result<bool, String> {
    let mut ours = Ours::open(&dir.join("ours"));
    let mut lmdb = Lmdb::open(&dir.join("lmdb"));
    let mut redb = Redb::open(&dir.join("redb"));
    let mut puts = [0.0; 3];
    let rivals: [&mut dyn Rival; 3] = [&mut ours, &mut lmdb, &mut redb];
    for (rival, put) in rivals.into_iter().zip(&mut puts) {
        *put = ingest(rival);
    }
    ours.0.maintain().unwrap();
    ours.0.collate().unwrap();
    let rivals: [&dyn Rival; 3] = [&ours, &lmdb, &redb];
    // Warms the page cache and the mappings before the measurement.
    for number in 0..ATOMS {
        let id = atom(number).0;
        assert!(rivals.iter().all(|rival| rival.get(&id).is_some()));
    }
    let taken = fastest_gets(&rivals);
    // A thread has at most one transaction at a time.
    let one_txn = OneTxn {
        txn: lmdb.env.read_txn().unwrap(),
        database: lmdb.database,
    };
    let [one_taken] = fastest_gets(&[&one_txn]);
    drop(one_txn);
    let stats = ours.0.stats();
    let one_pair = dir.join("one-pair");
    ours.0.export_reference(&one_pair, &mut |_| ()).unwrap();
    let there: Vec<_> = scattered(0, 0).into_iter().take(REFERENCE_GETS).collect();
    let absent: Vec<_> = scattered(2 * ATOMS, 0)
        .into_iter()
        .take(REFERENCE_GETS)
        .collect();
    let measure = |atoms: &Path, name: &str| {
        let scratch = dir.join(name);
        fs::create_dir_all(&scratch).unwrap();
        reference::measure(python, atoms, &scratch, &there, &absent)
    };
    let same = measure(&dir.join("ours"), "same")?;
    let best = measure(&one_pair, "best")?;
    let start = Instant::now();
    drop(ColdStore::open_to_read(&one_pair, true).unwrap());
    let opened = start.elapsed().as_secs_f64() * 1e3;
    let memory = stats.memory_bytes as f64 / stats.atoms as f64;
    drop((ours, lmdb, redb));

    println!("                          get          absent       ingest");
    let row = |name: &str, get: f64, absent: f64, ingest: Option<f64>| {
        let ingest = ingest.map_or(String::new(), |rate| format!("{rate:>10.0} /s"));
        println!("{name:<20} {get:>8.0} ns {absent:>10.0} ns {ingest}");
    };
    let names = ["astreum", "LMDB", "redb"];
    for ((name, [get, absent]), put) in names.into_iter().zip(taken).zip(puts) {
        row(name, get, absent, Some(put));
    }
    row("LMDB, one txn", one_taken[0], one_taken[1], None);
    row(
        "reference, one pair",
        best.get,
        best.absent,
        Some(1e9 / best.insert),
    );
    row(
        "reference, same",
        same.get,
        same.absent,
        Some(1e9 / same.insert),
    );
    let files: Vec<u64> = stats.levels.iter().map(|level| level.files).collect();
    println!(
        "files by level {files:?}, {memory:.2} bytes of memory per atom, opened in {opened:.0} ms"
    );

    let [ours, lmdb, redb] = taken;
    let inserts = 1e9 / best.insert.min(same.insert);
    let checks = [
        ("get: 130 times the reference", best.get / ours[0], 130.0),
        (
            "get: 1.5 times LMDB and redb",
            lmdb[0].min(redb[0]) / ours[0],
            1.5,
        ),
        ("absent: 100 ns", 100.0 / ours[1], 1.0),
        ("ingest: 200 times the reference", puts[0] / inserts, 200.0),
        (
            "ingest: 5 times LMDB and redb",
            puts[0] / puts[1].max(puts[2]),
            5.0,
        ),
        ("memory: 4 bytes per atom", 4.0 / memory, 1.0),
        ("open a million atoms: 100 ms", 100.0 / opened, 1.0),
    ];
    let mut reached = true;
    for (what, ratio, bar) in checks {
        println!("{what:<34} {ratio:>7.2} (bar {bar:.1})");
        reached &= ratio >= bar;
    }
    Ok(reached)
}
