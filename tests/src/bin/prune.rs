//! Disk usage of an idle chain whose old blocks are pruned.
//!
//! A chain of empty blocks is made without proof of work and without waiting for its slots, stored
//! in cold storage with the default options, and pruned as a node does: whenever the kept blocks
//! have grown by a quarter. The program prints the bytes of all files at intervals, their maximum,
//! and what a pruned block takes; the exit code is 1 if a bar is missed: 1 GiB in total, 350 bytes
//! for each pruned block.

use astreum_core::atom::{Atom, AtomId, AtomSource, MemoryStore, SourceError};
use astreum_core::chain::{Block, Builder, Election, Genesis, RecordAtoms, SLOT_SECONDS};
use astreum_core::integer::Natural;
use astreum_core::testkit::{BEGINNING, address, key};
use astreum_core::trie::Scalar;
use astreum_node::config::{ColdStorageSync, Settings};
use astreum_node::prune::{self, Run, Wanted};
use astreum_node::store::cold::{ColdOptions, ColdStore};
use clap::Parser;
use core::convert::Infallible;
use core::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Maximum bytes of all files.
const TOTAL_BAR_BYTES: u64 = 1 << 30;
/// Maximum bytes that a pruned block takes.
const BLOCK_BAR_BYTES: u64 = 350;
/// Part of a pair that has to be garbage for it to be rewritten, as in a node.
const GARBAGE_DIVISOR: u64 = 10;
/// Number of blocks that are stored with one write.
const BATCH_BLOCKS: usize = 64;

/// Measures the disk usage of an idle chain that is pruned.
#[derive(Parser)]
#[command(name = "prune")]
struct Arguments {
    /// Number of blocks of the chain.
    #[arg(long, default_value_t = 1_000_000)]
    blocks: u64,
    /// Number of blocks whose state is kept.
    #[arg(long, default_value_t = 50_000)]
    keep: u64,
    /// Directory of cold storage, which is created; a temporary one if omitted.
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Returns the bytes of all files below a directory.
fn bytes_of(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_of(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// Atoms of the chain: those of blocks that are not stored yet, else those of cold storage.
struct Source<'s> {
    recent: &'s MemoryStore,
    cold: &'s ColdStore,
}

impl AtomSource for Source<'_> {
    type Error = Infallible;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<Infallible>> {
        let recent = self.recent.atom(id).ok();
        let atom = recent.or_else(|| self.cold.get(id).ok()?);
        atom.ok_or(SourceError::Missing(*id))
    }
}

fn measure(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let directory = match &arguments.directory {
        Some(directory) => directory.clone(),
        None => scratch.path().join("cold"),
    };
    let options = ColdOptions {
        sync: ColdStorageSync::Never,
        background: false,
        ..ColdOptions::from(&Settings::default())
    };
    let cold = ColdStore::open(&directory, options)?;
    let mut recent = MemoryStore::new();
    let genesis = Genesis::new(address(1), Natural::ZERO, BEGINNING.into());
    let mut parent = genesis.build(&mut Scalar, &mut recent)?;
    let mut batch: RecordAtoms = recent
        .iter()
        .map(|(id, atom)| (*id, atom.clone()))
        .collect();
    let stakes = Election::read(&recent, &parent)?.stakes;
    let (began, mut largest, mut in_batch) = (Instant::now(), 0, 0);
    for height in 1..arguments.blocks {
        let source = Source {
            recent: &recent,
            cold: &cold,
        };
        let mut builder = Builder::new(&source, &parent, &stakes);
        let body = builder.finish(&mut Scalar, Some(address(1)));
        let body = body.map_err(|error| error.to_string())?;
        drop(builder);
        let time = Natural::from(BEGINNING + SLOT_SECONDS * height);
        let header = body.header(&parent, address(1), time, Natural::ONE);
        let block = header.sign(&key(1));
        let atoms = body.atoms.into_iter().chain(block.to_atoms());
        for (id, atom) in atoms {
            recent.extend([atom.clone()]);
            batch.push((id, atom));
        }
        parent = block;
        in_batch += 1;
        if in_batch < BATCH_BLOCKS && height + 1 < arguments.blocks {
            continue;
        }
        in_batch = 0;
        cold.put(&batch)?;
        batch.clear();
        recent = MemoryStore::new();
        cold.maintain()?;
        let span = height - cold.pruned_below(0);
        if span > arguments.keep + arguments.keep / 4 {
            prune_to(&cold, &parent, arguments.keep)?;
            let bytes = bytes_of(&directory);
            let seconds = began.elapsed().as_secs();
            println!("height {height}: {bytes} bytes after pruning, {seconds} s");
        } else {
            largest = largest.max(bytes_of(&directory));
        }
    }
    prune_to(&cold, &parent, arguments.keep)?;
    let total = bytes_of(&directory);
    let stats = cold.stats();
    let each = stats.header_bytes.checked_div(stats.headers).unwrap_or(0);
    println!("files after the last run  {total} bytes");
    println!("files before a run        {largest} bytes at most, the bar is {TOTAL_BAR_BYTES}");
    println!(
        "pruned blocks             {} of {}, {each} bytes each, the bar is {BLOCK_BAR_BYTES}",
        stats.headers, arguments.blocks
    );
    let kept = arguments.blocks - stats.headers;
    println!(
        "kept blocks               {kept}, {} bytes each",
        (total - stats.header_bytes).checked_div(kept).unwrap_or(0)
    );
    // The first and the last pruned header are read as a peer would.
    for height in [0, stats.headers - 1] {
        let header = cold.header_at(0, height)?.ok_or("a header is missing")?;
        let source = Source {
            recent: &recent,
            cold: &cold,
        };
        if Block::read(&source, header.id())? != header {
            return Err("a header is not rebuilt".into());
        }
    }
    Ok(largest <= TOTAL_BAR_BYTES && each <= BLOCK_BAR_BYTES)
}

fn prune_to(cold: &ColdStore, head: &Block, keep: u64) -> Result<(), Box<dyn Error>> {
    let wanted = Wanted {
        chain_id: 0,
        head: Some(head.id()),
        blocks: keep,
        min_blocks: 1,
        bytes: None,
        fork: None,
        objects: Vec::new(),
    };
    let mut run = Run {
        divisor: Some(GARBAGE_DIVISOR),
        marked: &mut |_| (),
        progress: &mut |_| (),
        should_continue: &|| true,
    };
    prune::run(cold, || wanted, &mut run)?;
    Ok(())
}
