//! Tests of when a node prunes.

use super::*;
use crate::chain_service::{Head, HeadState};
use crate::config::ColdStorageSync;
use crate::store::cold::ColdOptions;
use astreum_core::atom::{Atom, AtomId};
use astreum_core::chain::fork_choice::{Cause, Contest, Fork};
use astreum_core::testkit::{StateChain, address, transaction};
use std::path::Path;

/// Node without threads, with a chain that is stored and published.
struct Bench {
    pruner: Pruner,
    chain: StateChain,
}

impl Bench {
    fn new(path: &Path, blocks: u64, min_blocks: u64) -> Self {
        let options = ColdOptions {
            level_size_bytes: 8_192,
            limit_bytes: 0,
            sync: ColdStorageSync::Never,
            mapped: true,
            background: false,
        };
        let cold = ColdStore::open(path, options).unwrap();
        let settings = Settings::default();
        let store = Store::with_cold(1 << 20, Some(cold));
        let pruner = Pruner::new(&settings, store, ChainView::default(), Arc::default());
        *lock(&pruner.limits) = Limits {
            blocks,
            min_blocks,
            bytes: None,
        };
        Self {
            pruner,
            chain: StateChain::default(),
        }
    }

    fn cold(&self) -> &ColdStore {
        self.pruner.store.cold().unwrap()
    }

    /// Adds blocks and publishes the head, with these contests.
    fn add(&mut self, count: u64, contests: Vec<Contest>) {
        for _ in 0..count {
            let height = self.chain.blocks.len() as u64;
            let balances = [(1, height), (2, height % 3)];
            let transactions = [transaction(2, address(3), 1, height, b"")];
            let atoms = self.chain.push(&balances, &transactions);
            self.cold().put(&atoms).unwrap();
        }
        let head = self.chain.blocks.last().unwrap().clone();
        let mut status = ChainStatus {
            head: Head::new(head, HeadState::Trusted),
            ..ChainStatus::default()
        };
        status.sync.contests = contests;
        self.pruner.chain.publish(status);
    }

    fn check(&self) {
        assert!(self.pruner.run_if_due(&|| true));
    }

    fn status(&self) -> PruneStatus {
        lock(&self.pruner.status).clone()
    }
}

#[test]
fn run_is_due_when_the_kept_blocks_have_grown_by_a_quarter() {
    let scratch = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(scratch.path(), 20, 8);
    bench.check();
    assert_eq!(bench.status(), PruneStatus::default());
    bench.add(26, Vec::new());
    bench.check();
    assert_eq!(bench.status().last, None, "25 blocks and the head");
    bench.add(1, Vec::new());
    bench.check();
    assert_eq!(bench.cold().pruned_below(0), 7);
    let (_, outcome) = bench.status().last.unwrap();
    assert_eq!((outcome.horizon, outcome.blocks), (Some(7), 20));
    assert!(bench.status().removed.0 > 0);
    bench.add(6, Vec::new());
    bench.check();
    assert_eq!(bench.cold().pruned_below(0), 7);
    bench.add(1, Vec::new());
    bench.check();
    assert_eq!(bench.cold().pruned_below(0), 14);
}

#[test]
fn archive_keeps_everything_and_a_full_store_fewer_blocks() {
    let scratch = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(scratch.path(), 0, 8);
    bench.add(50, Vec::new());
    bench.check();
    assert_eq!(bench.cold().pruned_below(0), 0);
    // Far more blocks than fit are wanted.
    lock(&bench.pruner.limits).blocks = 1_000;
    bench.check();
    assert_eq!(bench.cold().pruned_below(0), 0);
    let limit_bytes = bench.cold().stats().used_bytes;
    bench.cold().set_limit(limit_bytes);
    lock(&bench.pruner.limits).bytes = Some(limit_bytes / 4);
    bench.check();
    let horizon = bench.cold().pruned_below(0);
    assert!((15..42).contains(&horizon), "{horizon}");
}

#[test]
fn store_that_other_atoms_have_filled_is_swept_again_after_an_hour() {
    let scratch = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(scratch.path(), 20, 8);
    bench.add(30, Vec::new());
    bench.check();
    let (swept_at, _) = bench.status().last.unwrap();
    // Lists of peers, for example, which nothing keeps.
    let atoms = (0..200_u32).map(|n| Atom::bytes(n.to_be_bytes().repeat(100)));
    let atoms: Vec<_> = atoms.map(|atom| (atom.id(), atom)).collect();
    bench.cold().put(&atoms).unwrap();
    bench.cold().set_limit(bench.cold().stats().used_bytes);
    let block = Atom::bytes(*b"the next block");
    let block = [(block.id(), block)];
    assert!(bench.cold().put(&block).is_err());
    bench.check();
    assert!(bench.cold().put(&block).is_err(), "it was swept just now");
    if let Some((at, _)) = &mut lock(&bench.pruner.status).last {
        *at = swept_at - FULL_INTERVAL_SECONDS;
    }
    bench.check();
    bench.cold().put(&block).unwrap();
}

#[test]
fn waiting_fork_and_unknown_pins_are_reported_as_obstacles() {
    let scratch = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(scratch.path(), 10, 4);
    let contest = |cause| Contest {
        fork: Fork {
            block: AtomId::new([7; 32]),
            height: 3,
            total: None,
            ours: None,
            others: Vec::new(),
        },
        cause,
    };
    bench.add(40, vec![contest(Cause::NeedsOperator)]);
    bench.check();
    let obstacle = bench.status().obstacle.unwrap();
    assert!(
        obstacle.contains("height 3") && obstacle.contains("chain forks"),
        "{obstacle}"
    );
    assert_eq!(bench.cold().pruned_below(0), 0);
    // A run that a user starts keeps the state from the fork on.
    bench.pruner.run(Some(1), &|| true).unwrap();
    assert_eq!(bench.cold().pruned_below(0), 3);
    bench.cold().set_pins_complete(false).unwrap();
    bench.add(1, vec![contest(Cause::Light)]);
    bench.check();
    let obstacle = bench.status().obstacle.unwrap();
    assert!(obstacle.contains("--accept-unpinned"), "{obstacle}");
    bench.cold().set_pins_complete(true).unwrap();
    bench.check();
    assert_eq!(bench.status().obstacle, None);
    assert_eq!(bench.cold().pruned_below(0), 31);
}

#[test]
fn fork_saved_by_an_earlier_run_is_kept_before_fork_choice_finds_it() {
    let scratch = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(scratch.path(), 10, 4);
    bench.add(40, Vec::new());
    let mut status = bench.pruner.chain.status();
    status.waiting_forks = vec![WaitingFork {
        block: AtomId::new([7; 32]),
        height: 3,
        ours: Some(AtomId::new([8; 32])),
        others: vec![AtomId::new([9; 32])],
    }];
    bench.pruner.chain.publish(status);
    bench.check();
    let obstacle = bench.status().obstacle.unwrap();
    assert!(obstacle.contains(&"09".repeat(32)), "{obstacle}");
    assert_eq!(bench.cold().pruned_below(0), 0);
    bench.pruner.run(Some(1), &|| true).unwrap();
    assert_eq!(bench.cold().pruned_below(0), 3);
}
