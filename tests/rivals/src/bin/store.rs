//! Cold storage beside LMDB and redb: the same million atoms, in one run, on one disk.
//!
//! A get gives the atom and checks its id, in all three. An ingest puts batches of 10,000 new atoms
//! and returns when each is on the disk. `TMPDIR` chooses the disk.

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
const GETS: u64 = 20_000;
const ROUNDS: u64 = 10;
/// What the reference takes, which is measured elsewhere: a get in nanoseconds, atoms a second.
const REFERENCE_GET_NS: f64 = 113_000.0;
const REFERENCE_INGEST: f64 = 3_300.0;

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
        // SAFETY: nobody else opens the directory.
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

/// Atoms a second, over the whole of the ingest.
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

/// Nanoseconds a get, the fastest round.
fn gets(rival: &dyn Rival, first: u64, there: bool) -> f64 {
    let mut fastest = f64::INFINITY;
    for round in 0..ROUNDS {
        let ids: Vec<AtomId> = (0..GETS)
            .map(|n| atom(first + (round * 7_919 + n * 611_953) % ATOMS).0)
            .collect();
        let start = Instant::now();
        for id in &ids {
            assert_eq!(black_box(rival.get(id)).is_some(), there);
        }
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e9 / GETS as f64);
    }
    fastest
}

fn main() -> ExitCode {
    let dir: PathBuf = std::env::temp_dir().join(format!("astreum-rivals-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let mut ours = Ours::open(&dir.join("ours"));
    let mut lmdb = Lmdb::open(&dir.join("lmdb"));
    let mut redb = Redb::open(&dir.join("redb"));
    let names = ["astreum", "LMDB", "redb"];
    let mut rivals: [&mut dyn Rival; 3] = [&mut ours, &mut lmdb, &mut redb];
    let mut puts = [0.0; 3];
    for (rival, put) in rivals.iter_mut().zip(&mut puts) {
        *put = ingest(*rival);
    }
    let mut there = [0.0; 3];
    let mut absent = [0.0; 3];
    for round in 0..2 {
        // The first round is there to bring the files into memory.
        for (at, rival) in rivals.iter().enumerate() {
            there[at] = gets(*rival, 0, true);
            absent[at] = gets(*rival, 2 * ATOMS, false);
        }
        if round == 0 {
            for number in 0..ATOMS {
                assert!(
                    rivals
                        .iter()
                        .all(|rival| rival.get(&atom(number).0).is_some())
                );
            }
        }
    }
    println!("                 get, verified   absent       durable ingest");
    for (at, name) in names.iter().enumerate() {
        println!(
            "{name:<16} {:>8.0} ns {:>8.0} ns {:>14.0} /s",
            there[at], absent[at], puts[at]
        );
    }
    println!(
        "reference        {REFERENCE_GET_NS:>8.0} ns              {REFERENCE_INGEST:>14.0} /s"
    );
    let fastest = |times: [f64; 3]| times[1].min(times[2]);
    let checks = [
        (
            "get: 130 times the reference",
            REFERENCE_GET_NS / there[0],
            130.0,
        ),
        (
            "get: 1.5 times LMDB and redb",
            fastest(there) / there[0],
            1.5,
        ),
        ("absent: 100 ns", 100.0 / absent[0], 1.0),
        (
            "ingest: 200 times the reference",
            puts[0] / REFERENCE_INGEST,
            200.0,
        ),
        (
            "ingest: 5 times LMDB and redb",
            puts[0] / puts[1].max(puts[2]),
            5.0,
        ),
    ];
    let mut reached = true;
    for (what, ratio, bar) in checks {
        println!("{what:<34} {ratio:>7.1} (bar {bar:.1})");
        reached &= ratio >= bar;
    }
    drop((ours, lmdb, redb));
    let _ = fs::remove_dir_all(&dir);
    if reached {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
