//! Regression test of fuzzing: every committed input runs through its target.

use astreum_tests::target::{TARGETS, differential, mempool, producer, proofs, stream, transition};
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

#[test]
fn every_input_of_the_corpora_keeps_its_promise() {
    for (name, run) in TARGETS {
        let inputs = files(&fuzz().join("corpus").join(name));
        assert!(
            inputs.len() >= 10,
            "the corpus of {name} has {} inputs",
            inputs.len()
        );
        for input in inputs {
            println!("{}", input.display());
            run(&std::fs::read(&input).unwrap());
        }
    }
}

/// Runs a target with each input of its corpus.
fn over_corpus<T>(name: &str, run: impl Fn(&[u8]) -> T) -> Vec<T> {
    let inputs = files(&fuzz().join("corpus").join(name)).into_iter();
    let read = |input| std::fs::read(input).unwrap_or_else(|error| panic!("{name}: {error}"));
    inputs.map(|input: PathBuf| run(&read(input))).collect()
}

#[test]
fn seeds_of_transactions_reach_every_operation() {
    let runs = over_corpus("transition", transition::reached);
    let sum = |count: fn(&transition::Reached) -> usize| runs.iter().map(count).sum::<usize>();
    assert!(sum(|run| run.transfers) >= 5);
    assert!(sum(|run| run.updates) > 0, "money in channels");
    assert!(sum(|run| run.withdrawals) > 0, "claims on channels");
    assert!(sum(|run| run.closings) > 0, "channels closed");
    assert!(sum(|run| run.contracts) > 0, "contracts opened");
    assert!(sum(|run| run.payments) > 0, "payments for storage");
}

#[test]
fn seeds_of_the_mempool_reach_its_bounds_and_leave_branches() {
    let runs = over_corpus("mempool", mempool::reached);
    let most = |count: fn(&mempool::Reached) -> usize| runs.iter().map(count).max().unwrap();
    assert!(most(|run| run.ready) >= 16, "as many as fit");
    assert!(
        most(|run| run.waiting) >= 4,
        "the share of waiting transactions"
    );
    assert!(most(|run| run.displaced) > 0);
    assert!(most(|run| run.expired) > 0);
    assert!(most(|run| run.included) > 0);
    assert!(most(|run| run.restored) > 0);
    assert!(
        runs.iter().any(|run| run.returned > 0),
        "from an abandoned branch"
    );
}

#[test]
fn seeds_of_the_producer_make_blocks_and_reach_its_halts() {
    let runs = over_corpus("producer", producer::reached);
    let sum = |count: fn(&producer::Reached) -> usize| runs.iter().map(count).sum::<usize>();
    assert!(sum(|run| run.blocks) >= 3 * runs.len(), "some in each run");
    assert!(sum(|run| run.transactions) > 0);
    assert!(sum(|run| run.halts) > 0 && sum(|run| run.resumptions) > 0);
    assert!(sum(|run| run.missed) > 0);
    assert!(sum(|run| run.not_stored) > 0);
    assert!(sum(|run| run.crashes) > 0);
    assert!(sum(|run| run.foreign) > 0);
}

#[test]
fn seeds_of_the_differential_target_run_every_joined_operation() {
    let runs = over_corpus("differential", differential::reached);
    for kind in 0..8 {
        let sum: usize = runs.iter().map(|run| run.sequences[kind]).sum();
        assert!(sum > 0, "no program runs sequences of kind {kind}");
    }
    assert!(runs.iter().any(|run| run.values > 0), "a value");
    assert!(runs.iter().any(|run| run.slices > 4), "slices");
}

#[test]
fn seeds_of_proofs_are_accepted_and_rejected() {
    let runs = over_corpus("proofs", proofs::reached);
    assert!(runs.iter().any(|run| run.accepted > 0));
    assert!(runs.iter().filter(|run| run.rejected > 0).count() >= 10);
}

#[test]
fn seeds_of_streams_reach_every_end_of_a_request() {
    let runs = over_corpus("stream", stream::reached);
    let sum = |count: fn(&stream::Reached) -> usize| runs.iter().map(count).sum::<usize>();
    assert!(sum(|run| run.frames) > 0, "frames in bytes");
    assert!(sum(|run| run.completed) > 0);
    assert!(sum(|run| run.ended) > 0);
    assert!(sum(|run| run.grants) > 0, "further credit");
    assert!(sum(|run| run.lies) > 0, "lying servers");
    assert!(sum(|run| run.excesses) > 0, "servers without credit");
    assert!(sum(|run| run.refusals) > 0);
    assert!(
        sum(|run| run.violations) > 0,
        "clients against the protocol"
    );
}

#[test]
fn every_regression_stays_fixed() {
    for (name, run) in TARGETS {
        let folder = fuzz().join("regressions").join(name);
        if folder.exists() {
            for input in files(&folder) {
                println!("{}", input.display());
                run(&std::fs::read(&input).unwrap());
            }
        }
    }
}

#[test]
fn cargo_fuzz_knows_every_target_and_no_other() {
    let known: Vec<String> = files(&fuzz().join("fuzz_targets"))
        .iter()
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(known, names);
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in names {
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} has no binary"
        );
    }
}
