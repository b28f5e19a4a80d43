//! Hostile peers and their measured effect: the live node under floods on loopback, and the engine
//! in virtual time where the network of an address matters (loopback is exempt from the limits per
//! network). Whole nodes with a chain run in virtual time too (`network`). Every case prints its
//! figure with its bar.
//!
//! `hostile [--seconds N] [CASE…]`: each flood lasts N seconds, 60 by default. The exit code is 1
//! if a bar is missed.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a harness that cannot continue panics with the place"
)]

mod blocks;
mod cold_reads;
mod cores;
mod figures;
mod heads;
mod lists;
mod live;
mod mempool;
mod network;
mod peer;
mod poisoners;
mod process;
mod raw_peer;
mod unknown_peers;
mod user;
mod validator;
mod world;

use core::time::Duration;
use figures::Figures;
use std::process::ExitCode;
use std::time::Instant;

/// Settings of a case.
pub(crate) struct Settings {
    /// Duration of a flood.
    pub(crate) flood: Duration,
    /// Path of our node's program.
    pub(crate) node: std::path::PathBuf,
}

type Case = (&'static str, fn(&Settings, &mut Figures));

const CASES: &[Case] = &[
    ("amplification", unknown_peers::amplification),
    ("fresh-keys", unknown_peers::fresh_keys),
    ("one-network", unknown_peers::one_network),
    ("one-group", unknown_peers::one_group),
    ("ten-groups", unknown_peers::ten_groups),
    ("forged-handshakes", poisoners::forged_handshakes),
    ("dead-records", poisoners::dead_records),
    ("index-flood", poisoners::index_flood),
    ("false-address", poisoners::false_address),
    ("moving-ports", poisoners::moving_ports),
    ("random-heads", heads::random_heads),
    ("stale-head", heads::stale_head),
    ("withheld-headers", heads::withheld_headers),
    ("silent-peers", heads::silent_peers),
    ("missing-data", mempool::missing_data),
    ("silent-announcers", mempool::silent_announcers),
    ("large-list", lists::large_list),
    ("long-lists", lists::long_lists),
    ("cold-reads", cold_reads::cold_reads),
    ("malformed", live::malformed),
    ("takeover", live::takeover),
    ("difficulty", live::difficulty),
    ("other-user", user::other_user),
    ("abandoned-evaluations", user::abandoned_evaluations),
    ("validator", validator::floods),
    ("blocks", blocks::bad_blocks),
    ("flood", live::flood),
];

fn main() -> ExitCode {
    let mut seconds = 60;
    let mut wanted = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => match arguments.next().and_then(|text| text.parse().ok()) {
                Some(number) => seconds = number,
                None => return usage("--seconds requires a number"),
            },
            name if CASES.iter().any(|(case, _)| *case == name) => wanted.push(argument),
            _ => return usage(&format!("unknown case {argument}")),
        }
    }
    let node = match astreum_tests::testkit::program::build() {
        Ok(node) => node,
        Err(error) => return usage(&error),
    };
    let settings = Settings {
        flood: Duration::from_secs(seconds),
        node,
    };
    let mut missed = 0;
    for (name, run) in CASES {
        if !wanted.is_empty() && !wanted.iter().any(|case| case == name) {
            continue;
        }
        let started = Instant::now();
        let mut figures = Figures::default();
        run(&settings, &mut figures);
        missed += figures.print(name, started.elapsed());
    }
    println!("hostile: {missed} bars missed");
    ExitCode::from(u8::from(missed > 0))
}

fn usage(error: &str) -> ExitCode {
    let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).collect();
    eprintln!("hostile: {error}; cases are {}", names.join(", "));
    ExitCode::from(2)
}
