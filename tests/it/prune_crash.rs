//! Pruning under power cuts: at every call that changes something, and with failures of single
//! calls, on a disk that loses, tears and reorders unsynced data. What has to be kept is there
//! afterwards: the state of the recent blocks, all headers, and what users have stored. A balance
//! that changes and changes back makes new blocks need atoms that are garbage.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed operation fails the test"
)]

use astreum_core::atom::{Atom, AtomId, bytes_list};
use astreum_core::chain::{Block, RecordAtoms};
use astreum_core::testkit::StateChain;
use astreum_node::config::ColdStorageSync;
use astreum_node::prune::{self, PruneError, Run, Wanted};
use astreum_node::store::Store;
use astreum_node::store::cold::{ColdError, ColdOptions, ColdStore, PinKinds, roots_of};
use astreum_tests::random::Random;
use astreum_tests::sim::disk::{Fault, SimDisk};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

const ROOT: &str = "/store";
/// Number of blocks whose state is kept.
const KEPT: u64 = 2;
/// Number of blocks between two runs.
const BLOCKS_PER_RUN: usize = 5;
const RUNS: usize = 3;

fn open(disk: &SimDisk) -> Result<ColdStore, ColdError> {
    let options = ColdOptions {
        level_size_bytes: 2_000,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: false,
        background: false,
    };
    ColdStore::open_on(Arc::new(disk.clone()), Path::new(ROOT), options)
}

/// Blocks and objects to store, made once for all cuts.
struct Script {
    chain: StateChain,
    /// Atoms of each block.
    atoms: Vec<RecordAtoms>,
    /// Objects that a user stores, one for each run.
    objects: Vec<Vec<(AtomId, Atom)>>,
}

impl Script {
    fn new() -> Self {
        let mut chain = StateChain::default();
        // One balance alternates between two values, another one returns after five blocks; both
        // were garbage for a while.
        let blocks = 0..(RUNS + 1) * (BLOCKS_PER_RUN + 1);
        let atoms = blocks.map(|at| {
            let at = at as u64;
            chain.push(&[(1, at % 2), (2, at % 5), (3, 7)], &[])
        });
        let atoms = atoms.collect();
        let objects = (0..RUNS).map(|run| {
            let (_, atoms) = bytes_list(&[format!("object {run}"), "of a user".to_owned()]);
            atoms.into_iter().map(|atom| (atom.id(), atom)).collect()
        });
        Self {
            chain,
            atoms,
            objects: objects.collect(),
        }
    }
}

/// Acknowledged work.
#[derive(Clone, Copy, Default)]
struct Acknowledged {
    blocks: usize,
    objects: usize,
}

/// Returns what a run with this head keeps.
fn wanted(script: &Script, blocks: usize) -> Wanted {
    Wanted {
        chain_id: 0,
        head: Some(script.chain.blocks[blocks - 1].id()),
        blocks: KEPT,
        min_blocks: 1,
        bytes: None,
        fork: None,
        objects: Vec::new(),
    }
}

/// Prunes; `between` is called when everything is marked, before anything is removed.
fn prune(store: &ColdStore, wanted: Wanted, between: &mut dyn FnMut()) -> Result<(), PruneError> {
    let mut run = Run {
        divisor: Some(u64::MAX),
        marked: &mut |_| between(),
        progress: &mut |_| (),
        should_continue: &|| true,
    };
    prune::run(store, || wanted, &mut run).map(drop)
}

fn put_block(
    store: &ColdStore,
    script: &Script,
    acknowledged: &mut Acknowledged,
) -> Result<(), ColdError> {
    store.put(&script.atoms[acknowledged.blocks])?;
    acknowledged.blocks += 1;
    Ok(())
}

/// Stores some blocks and an object, and prunes; a block is stored while the run is under way.
fn round(
    store: &ColdStore,
    script: &Script,
    object: &[(AtomId, Atom)],
    acknowledged: &mut Acknowledged,
) -> Result<(), PruneError> {
    for _ in 0..BLOCKS_PER_RUN {
        put_block(store, script, acknowledged)?;
        store.maintain()?;
    }
    store.add_pins(&roots_of(object), PinKinds::STORED)?;
    store.put(object)?;
    store.sync_pins()?;
    acknowledged.objects += 1;
    let mut stored = Ok(());
    prune(store, wanted(script, acknowledged.blocks), &mut || {
        stored = put_block(store, script, acknowledged);
    })?;
    Ok(stored?)
}

/// Stores blocks and objects and prunes, with restarts. Ends at the first error.
fn work(
    disk: &SimDisk,
    script: &Script,
    acknowledged: &mut Acknowledged,
) -> Result<(), PruneError> {
    for object in &script.objects {
        round(&open(disk)?, script, object, acknowledged)?;
    }
    drop(open(disk)?);
    Ok(())
}

/// Checks that everything that has to be kept can be read.
fn assert_kept(store: &ColdStore, script: &Script, acknowledged: Acknowledged, what: &str) {
    let source = Store::with_cold(0, Some(store.clone()));
    let blocks = &script.chain.blocks[..acknowledged.blocks];
    for block in blocks {
        let read = Block::read(&source, block.id());
        assert_eq!(
            read.as_ref(),
            Ok(block),
            "{what}: header of {}",
            block.height
        );
    }
    let recent = blocks.len().saturating_sub(usize::try_from(KEPT).unwrap());
    for block in &blocks[recent..] {
        for id in script.chain.closure(&[block.accounts]) {
            let found = store.get(&id);
            assert!(
                matches!(found, Ok(Some(_))),
                "{what}: state of {}",
                block.height
            );
        }
    }
    for (id, atom) in script.objects[..acknowledged.objects].iter().flatten() {
        assert_eq!(store.get(id).as_ref(), Ok(&Some(atom.clone())), "{what}");
    }
}

#[test]
fn kept_atoms_survive_a_power_cut_at_every_call_of_pruning() {
    let script = Script::new();
    let disk = SimDisk::new();
    let mut all = Acknowledged::default();
    work(&disk, &script, &mut all).unwrap();
    let calls = disk.changes();
    assert!(calls > 200, "{calls}");
    let store = open(&disk).unwrap();
    assert_kept(&store, &script, all, "without a cut");
    // Pruning has had an effect.
    assert!(store.pruned_below(0) > 0);
    let old = script.chain.closure(&[script.chain.blocks[0].accounts]);
    let gone = old.iter().filter(|id| matches!(store.get(id), Ok(None)));
    assert!(gone.count() > 0);
    for cut in 0..calls {
        let what = format!("cut at call {cut} of {calls}");
        let mut random = Random::new(cut);
        let disk = SimDisk::new();
        disk.set_fault(Some(Fault::PowerCut(cut)));
        let mut acknowledged = Acknowledged::default();
        // The cut may occur in a call whose failure is only reported.
        let worked = work(&disk, &script, &mut acknowledged);
        assert!(worked.is_err() || disk.is_off(), "{what}");
        let disk = disk.after_power_cut(&mut random);
        disk.set_fault(None);
        let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_kept(&store, &script, acknowledged, &what);
        assert!(store.are_pins_complete(), "{what}");
        // A run after the interruption keeps the same, and completes what was interrupted.
        if acknowledged.blocks > 0 {
            prune(&store, wanted(&script, acknowledged.blocks), &mut || ())
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_kept(&store, &script, acknowledged, &what);
            assert_eq!(store.verify(&mut |_| ()).unwrap().damaged, 0, "{what}");
        }
    }
}

/// Every call fails once; what was kept is there, and a later run succeeds.
#[test]
fn failed_call_of_pruning_loses_nothing() {
    let script = Script::new();
    let clean = SimDisk::new();
    work(&clean, &script, &mut Acknowledged::default()).unwrap();
    let changes = (0..clean.changes()).map(|at| Fault::Change(at, ErrorKind::StorageFull));
    let syncs = (0..clean.changes() / 2).map(|at| Fault::Sync(at, ErrorKind::Other));
    for fault in changes.chain(syncs) {
        let what = format!("{fault:?}");
        let disk = SimDisk::new();
        disk.set_fault(Some(fault));
        let mut acknowledged = Acknowledged::default();
        let worked = work(&disk, &script, &mut acknowledged);
        disk.set_fault(None);
        let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_kept(&store, &script, acknowledged, &what);
        drop(store);
        // What is left of the script follows, with further runs.
        if worked.is_err() && acknowledged.blocks + 2 < BLOCKS_PER_RUN {
            work(&disk, &script, &mut acknowledged)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let store = open(&disk).unwrap();
            assert_kept(&store, &script, acknowledged, &what);
        }
    }
}
