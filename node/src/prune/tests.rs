//! Tests of pruning on chains that are made by hand.

use super::*;
use crate::config::ColdStorageSync;
use crate::store::cold::{ColdOptions, roots_of};
use astreum_core::atom::{Atom, bytes_list};
use astreum_core::testkit::{StateChain, address, transaction};
use std::collections::BTreeSet;
use std::path::Path;

fn open(path: &Path) -> ColdStore {
    let options = ColdOptions {
        level_size_bytes: 8_192,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: false,
    };
    ColdStore::open(path, options).unwrap()
}

fn wanted(chain: &StateChain, blocks: u64) -> Wanted {
    Wanted {
        chain_id: 0,
        head: chain.blocks.last().map(Block::id),
        blocks,
        min_blocks: 1,
        bytes: None,
        fork: None,
        objects: Vec::new(),
    }
}

/// Prunes; `between` is called when everything is marked, before anything is removed.
fn prune_with(
    store: &ColdStore,
    wanted: Wanted,
    between: &mut dyn FnMut(),
) -> Result<Outcome, PruneError> {
    run(
        store,
        || wanted,
        &mut Run {
            divisor: Some(u64::MAX),
            marked: &mut |_| between(),
            progress: &mut |_| (),
            should_continue: &|| true,
        },
    )
}

fn prune(store: &ColdStore, wanted: Wanted) -> Outcome {
    prune_with(store, wanted, &mut || ()).unwrap()
}

fn stored(store: &ColdStore, chain: &StateChain) -> BTreeSet<AtomId> {
    let all = chain.store.iter().map(|(id, _)| *id);
    all.filter(|id| matches!(store.get(id), Ok(Some(_))))
        .collect()
}

/// Makes a chain of `count` blocks, each with a new balance and a transaction, and stores it.
fn stored_chain(store: &ColdStore, count: u64) -> StateChain {
    let mut chain = StateChain::default();
    for height in 0..count {
        let number = u8::try_from(height % 50).unwrap();
        let balances = [(number, 1_000 + height), (200, height)];
        let transactions = [transaction(2, address(3), 1, height, b"")];
        store.put(&chain.push(&balances, &transactions)).unwrap();
        store.maintain().unwrap();
    }
    chain
}

#[test]
fn recent_blocks_and_all_headers_are_kept_and_the_rest_is_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let chain = stored_chain(&store, 60);
    let before = store.stats().used_bytes;
    let outcome = prune(&store, wanted(&chain, 10));
    assert_eq!((outcome.horizon, outcome.blocks), (Some(50), 10));
    let recent = chain.blocks[50..].iter();
    let mut expected: BTreeSet<AtomId> = recent.flat_map(|block| chain.atoms_of(block)).collect();
    let left = stored(&store, &chain);
    assert!(left.is_superset(&expected));
    // What else is left is the headers, which are rebuilt.
    assert_headers(&store, &chain);
    let headers: Vec<AtomId> = chain.blocks.iter().map(Block::id).collect();
    expected.extend(chain.closure(&headers));
    assert!(left.is_subset(&expected));
    assert_eq!(store.pruned_below(0), 50);
    assert!(store.stats().atoms < 50 + chain.store.len() as u64 / 3);
    assert!(outcome.swept.atoms > 500 && outcome.swept.bytes > 100_000);
    assert!(store.stats().used_bytes < before - 100_000);
    // Nothing is left for another run, and the store is intact.
    drop(store);
    let store = open(scratch.path());
    let again = prune(&store, wanted(&chain, 10));
    assert_eq!(again.garbage, Extent::default());
    assert_eq!(store.verify(&mut |_| {}).unwrap().damaged, 0);
    assert_headers(&store, &chain);
}

/// Checks that all headers can be read, atom by atom.
fn assert_headers(store: &ColdStore, chain: &StateChain) {
    let source = crate::store::Store::with_cold(0, Some(store.clone()));
    for block in &chain.blocks {
        assert_eq!(Block::read(&source, block.id()).as_ref(), Ok(block));
    }
}

#[test]
fn atoms_that_a_new_block_needs_again_are_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let mut chain = StateChain::default();
    // The balance of the first account alternates, so that old states come again.
    let push = |chain: &mut StateChain, count: u64| {
        let height = chain.blocks.len() as u64;
        let atoms: Vec<_> = (0..count)
            .flat_map(|at| chain.push(&[(1, (height + at) % 2)], &[]))
            .collect();
        store.put(&atoms).unwrap();
    };
    push(&mut chain, 30);
    store.collate().unwrap();
    // Of the two states, only one is kept when the next block needs the other one.
    let kept = wanted(&chain, 1);
    let outcome = prune_with(&store, kept, &mut || push(&mut chain, 1));
    assert!(outcome.unwrap().garbage.atoms > 0);
    for block in &chain.blocks[29..] {
        for id in chain.atoms_of(block) {
            assert!(matches!(store.get(&id), Ok(Some(_))));
        }
    }
}

#[test]
fn atom_protected_by_a_read_does_not_hide_what_it_leads_to() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let chain = stored_chain(&store, 20);
    let head = chain.blocks.last().unwrap();
    let head_wanted = wanted(&chain, 1);
    let read = || {
        // After the begin, before anything is visited.
        assert!(matches!(store.get(&head.accounts), Ok(Some(_))));
        head_wanted
    };
    let mut quiet = Run {
        divisor: Some(u64::MAX),
        marked: &mut |_| (),
        progress: &mut |_| (),
        should_continue: &|| true,
    };
    run(&store, read, &mut quiet).unwrap();
    for id in chain.atoms_of(head) {
        assert!(matches!(store.get(&id), Ok(Some(_))));
    }
}

#[test]
fn pinned_and_advertised_objects_are_kept_until_they_are_unpinned() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let chain = stored_chain(&store, 5);
    let list = |text: &str| {
        let (head, atoms) = bytes_list(&[text, "of", "three"]);
        let atoms: Vec<_> = atoms.into_iter().map(|atom| (atom.id(), atom)).collect();
        store.put(&atoms).unwrap();
        (head, atoms)
    };
    let (put, put_atoms) = list("put");
    let (advertised, _) = list("advertised");
    let (contract, _) = list("contract");
    let (garbage, _) = list("garbage");
    store
        .add_pins(&roots_of(&put_atoms), PinKinds::STORED)
        .unwrap();
    store.add_pins(&[contract], PinKinds::CONTRACT).unwrap();
    // A pinned root of a state that is pruned keeps the state.
    let state = chain.blocks[1].accounts;
    store.add_pins(&[state], PinKinds::PINNED).unwrap();
    let mut kept = wanted(&chain, 1);
    kept.objects.push(advertised);
    let outcome = prune(&store, kept.clone());
    assert_eq!((outcome.pins, outcome.missing), (3, 0));
    let is_here = |id: &AtomId| matches!(store.get(id), Ok(Some(_)));
    assert!([put, advertised, contract].iter().all(is_here));
    assert!(chain.closure(&[state]).iter().all(is_here));
    assert!(!is_here(&garbage));
    assert_eq!(store.remove_pins(&[put, state]).unwrap(), 2);
    prune(&store, kept);
    assert!(!is_here(&put) && !is_here(&state) && is_here(&contract));
}

#[test]
fn lists_under_new_contracts_and_other_branches_are_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let mut chain = stored_chain(&store, 10);
    let item = Atom::bytes(*b"an item that is not part of the contract");
    let list = Atom::list(item.id(), AtomId::ZERO);
    let ids = [item.id(), list.id()];
    store.put(&[(ids[0], item), (ids[1], list)]).unwrap();
    let open_contract = [&[0][..], ids[1].as_bytes()].concat();
    let opening = transaction(2, astreum_core::chain::BURN, 0, 99, &open_contract);
    store.put(&chain.push(&[(1, 5)], &[opening])).unwrap();
    let parents = [chain.blocks[9].clone(), chain.blocks[3].clone()];
    let branches = parents.map(|parent| chain.block_on(Some(&parent), &[(7, 7)], &[]));
    for (_, atoms) in &branches {
        store.put(atoms).unwrap();
    }
    prune(&store, wanted(&chain, 2));
    let is_here = |id: &AtomId| matches!(store.get(id), Ok(Some(_)));
    assert_eq!(ids.map(|id| is_here(&id)), [false, true]);
    assert!(chain.atoms_of(&branches[0].0).iter().all(is_here));
    assert!(!is_here(&branches[1].0.id()));
}

#[test]
fn horizon_obeys_bytes_minimum_and_waiting_forks() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let chain = stored_chain(&store, 60);
    let dry = |kept: Wanted| {
        let mut quiet = Run {
            divisor: None,
            marked: &mut |_| (),
            progress: &mut |_| (),
            should_continue: &|| true,
        };
        run(&store, || kept, &mut quiet).unwrap()
    };
    let all = dry(wanted(&chain, 1_000));
    assert_eq!(
        (all.horizon, all.blocks, all.garbage.atoms),
        (Some(0), 60, 0)
    );
    let mut few = wanted(&chain, 1_000);
    few.bytes = Some(all.kept.bytes / 4);
    let fitting = dry(few.clone());
    assert!((8..30).contains(&fitting.blocks), "{fitting:?}");
    few.min_blocks = 40;
    assert_eq!(dry(few.clone()).blocks, 40);
    few.fork = Some(7);
    assert_eq!(dry(few).horizon, Some(7));
    // Nothing has been removed.
    assert_eq!(stored(&store, &chain).len(), chain.store.len());
}

#[test]
fn nothing_is_removed_without_a_head_or_complete_pins() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let chain = stored_chain(&store, 5);
    let mut kept = wanted(&chain, 1);
    let head = kept.head.take();
    let refused = prune_with(&store, kept.clone(), &mut || ());
    assert!(
        matches!(refused, Err(PruneError::NoHead { .. })),
        "{refused:?}"
    );
    // All of another chain is kept.
    kept.chain_id = 7;
    let outcome = prune(&store, kept.clone());
    assert_eq!(outcome.swept.atoms, 0);
    store.set_pins_complete(false).unwrap();
    (kept.chain_id, kept.head) = (0, head);
    let refused = prune_with(&store, kept, &mut || ());
    assert_eq!(refused, Err(PruneError::Unpinned));
    assert_eq!(stored(&store, &chain).len(), chain.store.len());
}

#[test]
fn merges_wait_and_readers_and_writers_continue() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let mut chain = stored_chain(&store, 60);
    let kept = wanted(&chain, 10);
    let levels = |store: &ColdStore| store.stats().levels.len();
    let before = levels(&store);
    let outcome = prune_with(&store, kept, &mut || {
        for height in 60..120_u64 {
            store.put(&chain.push(&[(9, height)], &[])).unwrap();
            store.maintain().unwrap();
        }
        assert!(!store.merge_with(1, &mut |_| ()).unwrap());
        assert_eq!(levels(&store), before);
    });
    assert!(outcome.unwrap().swept.pairs > 0);
    for block in &chain.blocks[50..] {
        for id in chain.atoms_of(block) {
            assert!(matches!(store.get(&id), Ok(Some(_))));
        }
    }
    store.maintain().unwrap();
    assert_eq!(store.verify(&mut |_| {}).unwrap().damaged, 0);
}

#[test]
fn cancelled_run_removes_only_garbage() {
    let scratch = tempfile::tempdir().unwrap();
    let store = open(scratch.path());
    let chain = stored_chain(&store, 60);
    let mut cancelled = Run {
        divisor: Some(u64::MAX),
        marked: &mut |_| (),
        progress: &mut |_| (),
        should_continue: &|| false,
    };
    // Small pairs are swept between two questions.
    let result = run(&store, || wanted(&chain, 5), &mut cancelled);
    assert!(result.is_ok() || result == Err(PruneError::Cold(ColdError::Cancelled)));
    for block in &chain.blocks[55..] {
        for id in chain.atoms_of(block) {
            assert!(matches!(store.get(&id), Ok(Some(_))));
        }
    }
    // A later run is possible.
    prune(&store, wanted(&chain, 5));
}
