//! Many nodes under faults, in virtual time: what was promised holds, and each run can be repeated.

use astreum_tests::sim::trial::{self, Settings};

/// Short trials in every run of the tests.
const SEEDS: u64 = 1_000;
/// Threads that share them.
const THREADS: usize = 2;

#[test]
fn a_thousand_seeds_of_faults_break_no_promise() {
    let worker = |first: u64| {
        let mut faults = 0;
        for seed in (first..SEEDS).step_by(THREADS) {
            let report =
                trial::run(Settings::short(seed)).unwrap_or_else(|broken| panic!("{broken}"));
            faults += report.faults;
        }
        faults
    };
    let faults: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|first| scope.spawn(move || worker(first)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a trial failed"))
            .sum()
    });
    assert!(
        faults >= 5 * SEEDS,
        "{faults} faults in {SEEDS} trials are too few to mean anything"
    );
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_another() {
    let run = |seed| trial::run(Settings::short(seed)).unwrap_or_else(|broken| panic!("{broken}"));
    assert_eq!(run(5), run(5));
    assert_ne!(run(7).trace, run(8).trace);
}
