//! Many nodes under faults, in virtual time: the promises hold, and each run is reproducible.

use astreum_tests::sim::trial::{self, ChainReport, PruneReport, Settings};
use astreum_tests::sim::world::StreamCounts;
use std::panic::resume_unwind;

/// Number of short trials in every run of the tests.
const SEEDS: u64 = 1_000;
/// Number of threads that share them.
const THREADS: usize = 2;

/// Number of trials on paths that drop fragments.
const UNFRAGMENTED: u64 = 300;

/// Number of trials with a partitioned network. Each takes as long as twenty others. Hot storage
/// has room for a seventh of what such a node fetches by stream.
const PARTITIONS: u64 = 4;

/// Number of trials with nodes that prune. Each takes as long as ten others.
const PRUNED: u64 = 6;

#[test]
fn promises_hold_over_a_thousand_seeds_of_faults() {
    let (faults, chains, streams) = run_all(SEEDS, Settings::short);
    assert!(
        faults >= 5 * SEEDS,
        "{faults} faults in {SEEDS} trials are too few"
    );
    let streamed = [streams.opened, streams.lists, streams.faults];
    assert!(
        streamed.iter().all(|count| *count >= SEEDS / 4)
            && streams.violations >= SEEDS / 50
            && streams.requests >= SEEDS / 40,
        "too little coverage of streams: {streams:?}"
    );
    let done = [chains.clocks, chains.losses, chains.moves];
    let came_of_it = [chains.refused_starts, chains.transactions];
    assert!(
        done.iter().chain(&came_of_it).all(|count| *count >= 10)
            // Of validators that come back or move before they know the newest block of their key.
            // Two nodes that continue with one key have a test of their own.
            && chains.halts >= 5
            && chains.agreeing_pairs >= SEEDS / 2,
        "too little coverage: {chains:?}"
    );
}

#[test]
fn halves_of_a_network_that_made_200_blocks_each_agree_and_lose_no_transaction() {
    let (_, chains, _) = run_all(PARTITIONS, Settings::partition);
    assert!(chains.returned >= 10 * PARTITIONS, "{chains:?}");
}

/// Runs the trials of these seeds, and returns the sums of the faults and of the statistics.
fn run_all(seeds: u64, settings: fn(u64) -> Settings) -> (u64, ChainReport, StreamCounts) {
    let worker = |first: u64| {
        let (mut faults, mut chains) = (0, ChainReport::default());
        let mut streams = StreamCounts::default();
        for seed in (first..seeds).step_by(THREADS) {
            let report = trial::run(settings(seed)).unwrap_or_else(|broken| panic!("{broken}"));
            faults += report.faults;
            chains += report.chains;
            streams += report.streams;
        }
        (faults, chains, streams)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|first| scope.spawn(move || worker(first)))
            .collect();
        let mut all = (0, ChainReport::default(), StreamCounts::default());
        for thread in threads {
            let (faults, chains, streams) =
                thread.join().unwrap_or_else(|cause| resume_unwind(cause));
            all.0 += faults;
            all.1 += chains;
            all.2 += streams;
        }
        all
    })
}

#[test]
fn pruning_nodes_keep_what_is_needed_under_power_cuts_and_late_nodes_join() {
    let worker = |first: u64| {
        let mut pruning = PruneReport::default();
        for seed in (first..PRUNED).step_by(THREADS) {
            let settings = Settings::pruning(seed);
            let report = trial::run(settings).unwrap_or_else(|broken| panic!("{broken}"));
            if seed == 0 {
                let again = trial::run(settings).unwrap_or_else(|broken| panic!("{broken}"));
                assert_eq!(report, again, "a run is determined by its seed");
            }
            pruning += report.pruning;
        }
        pruning
    };
    let pruning = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|first| scope.spawn(move || worker(first)))
            .collect();
        let mut all = PruneReport::default();
        for thread in threads {
            all += thread.join().unwrap_or_else(|cause| resume_unwind(cause));
        }
        all
    });
    let PruneReport {
        completed,
        cuts_in_calls,
        cuts_in_pauses,
        pauses_in_sweeps,
        atoms,
        starts,
        headers,
        served_headers,
        ..
    } = pruning;
    assert!(
        completed >= PRUNED
            && cuts_in_calls >= PRUNED
            && cuts_in_pauses >= PRUNED
            && pauses_in_sweeps >= PRUNED / 2
            && atoms >= 500 * PRUNED
            && starts >= 10 * PRUNED
            && headers >= 100 * PRUNED
            && served_headers >= 50 * PRUNED,
        "too little coverage: {pruning:?}"
    );
}

#[test]
fn promises_hold_on_paths_that_drop_fragments() {
    let (_, _, streams) = run_all(UNFRAGMENTED, Settings::without_fragments);
    assert!(
        streams.objects >= UNFRAGMENTED && streams.lists > 0,
        "{streams:?}"
    );
}

#[test]
fn run_is_determined_by_its_seed() {
    let run = |seed| trial::run(Settings::short(seed)).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(run(5), run(5));
    assert_ne!(run(7).trace, run(8).trace);
}
