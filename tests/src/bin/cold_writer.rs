//! Writer for the kill test of cold storage: writes numbered batches to a cold store until it is
//! killed, and prints the number of each batch after it has been acknowledged.
//!
//! Usage: `cold_writer DIR FIRST`, where FIRST is the number of the first batch.

use astreum_node::config::ColdStorageSync;
use astreum_node::store::cold::{ColdOptions, ColdStore};
use astreum_tests::sim::batch;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(first)) = (args.next(), args.next()) else {
        return ExitCode::from(2);
    };
    match write(Path::new(&dir), first.parse().unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path, first: u64) -> Result<(), Box<dyn core::error::Error>> {
    let options = ColdOptions {
        level_size_bytes: 2_000,
        limit_bytes: 0,
        sync: ColdStorageSync::Always,
        mapped: true,
        background: true,
    };
    let store = ColdStore::open(dir, options)?;
    let mut out = std::io::stdout();
    for number in first.. {
        store.put(&batch(number))?;
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    Ok(())
}
