//! Bars of scale, each measured beside its rival in one run: files through the control socket; long
//! lists, joining a chain and fetching a state, on loopback and through a proxy that delays every
//! packet; a node that has run for long.
//!
//! `scale [--json] [--large] [CASE…]`: without `--large`, small sizes that continuous integration
//! can run. The exit code is 1 if a bar is missed; small sizes have no bars of time.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a harness that cannot continue panics with the place"
)]

mod at_once;
mod files;
mod join;
mod lists;
mod node_home;
mod process;
mod rpc;
mod running;
mod snapshot;
mod table;

use clap::Parser;
use std::process::ExitCode;
use table::Table;

/// Measures the bars of scale.
#[derive(Parser, Debug)]
struct Options {
    /// Print the table as JSON.
    #[arg(long)]
    json: bool,
    /// Measure the sizes of the bars.
    #[arg(long)]
    large: bool,
    /// Cases to run; all by default.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(CASES.iter().map(|case| case.0)))]
    cases: Vec<String>,
}

type Case = (&'static str, fn(bool, &mut Table));

const CASES: &[Case] = &[
    ("files", files::files),
    ("folders", files::folders),
    ("long-journal", files::long_journal),
    ("lists", lists::lists),
    ("at-once", at_once::at_once),
    ("join-empty", join::empty_blocks),
    ("join-transfers", join::transfers),
    ("snapshot", snapshot::snapshot),
    ("rpc", rpc::rpc),
    ("running", running::running),
];

fn main() -> ExitCode {
    let options = Options::parse();
    let mut table = Table::default();
    for (name, run) in CASES {
        if options.cases.is_empty() || options.cases.iter().any(|case| case == name) {
            run(options.large, &mut table);
        }
    }
    if options.json {
        println!("{}", table.json());
    } else {
        print!("{table}");
    }
    if table.is_missed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
