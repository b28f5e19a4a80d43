//! Commands `astreum chain export` and `astreum chain import`: a chain, or its state, as one file.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use clap::Args;
use core::convert::Infallible;
use serde_json::json;

use crate::chain_service::archive::{ArchiveKind, Exported, Importer, adopt, export};
use crate::chain_service::dir::{ChainDir, HeadJournalFile};
use crate::chain_service::snapshot::note_complete;
use crate::clock;
use crate::config::Settings;
use crate::store::cold::{ColdError, Progress};
use crate::store::{Store, open_cold_to_read};
use astreum_core::atom::AtomId;

use super::chain_dir::{directory, validation_key};
use super::genesis::{check_not_running, refused};
use super::node_args::RunArgs;
use super::output::{Failure, Output, complain, json_line};
use super::parse;
use super::partial::Partial;
use super::path_arg::PathArg;
use super::progress::with_bar_of;
use super::store_dir;

/// Memory for atoms while an archive is written or read, in bytes.
const HOT_BYTES: u64 = 64 << 20;
/// Number of bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// File to write, or - for stdout. An existing file is replaced once the new one is complete.
    #[arg(value_name = "FILE")]
    file: PathArg,
    /// Write the state after the block, instead of all blocks up to it.
    #[arg(long)]
    snapshot: bool,
    /// Last block, instead of the head.
    #[arg(long, value_name = "ID")]
    head: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs<true>,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// File to read, or - for stdin.
    #[arg(value_name = "FILE")]
    file: PathArg,
    /// Block of a snapshot that you trust; without it the configured checkpoint counts.
    #[arg(long, value_name = "ID")]
    trust: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    run: RunArgs<true>,
}

/// Output of an export to a file, with the reason that it has failed.
struct Target<'a> {
    file: &'a mut Partial,
    failure: Option<Failure>,
}

impl Write for Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(failure) => {
                self.failure = Some(failure);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Completed by its owner.
        Ok(())
    }
}

pub(super) fn export_chain(args: ExportArgs, out: &mut Output) -> Result<(), Failure> {
    let head = args.head.as_deref().map(|head| parse::id("--head", head));
    let head = head.transpose()?;
    let settings = args.run.load()?.settings;
    let path = directory(&settings)?;
    check_cold(&settings)?;
    // The head is read before the store: its atoms were durable when it was saved.
    let head = match head {
        Some(head) => head,
        None => saved_head(&path, &settings)?,
    };
    let cold = open_cold_to_read(&settings).map_err(not_read)?;
    let store = Store::with_cold(HOT_BYTES, cold);
    let kind = match args.snapshot {
        true => ArchiveKind::Snapshot,
        false => ArchiveKind::Chain,
    };
    let write = |target: &mut dyn Write| {
        with_bar_of(|progress| {
            export(&store, head, kind, target, &mut |unit, done, total| {
                progress("exporting", unit, Progress { done, total });
            })
        })
    };
    if args.file.is_stdin() {
        let exported = write(&mut out.raw())?;
        complain(&summary(&exported));
        return Ok(());
    }
    let mut file = Partial::create(&args.file, None)?;
    let mut target = Target {
        file: &mut file,
        failure: None,
    };
    let written = write(&mut target);
    let failure = target.failure.take();
    let (exported, result) = match written {
        Ok(exported) => (Some(exported), Ok(())),
        Err(error) => (None, Err(failure.unwrap_or(error))),
    };
    file.finish(result)?;
    let Some(exported) = exported else {
        return Err(Failure::Reported);
    };
    if args.json {
        let manifest = &exported.manifest;
        return json_line(
            out,
            &json!({
                "kind": manifest.kind,
                "chain_id": manifest.chain_id,
                "head": manifest.head.to_string(),
                "height": manifest.height,
                "blocks": exported.blocks,
                "atoms": exported.atoms,
                "bytes": exported.bytes,
            }),
        );
    }
    Ok(writeln!(out, "{}", summary(&exported))?)
}

fn not_read(error: ColdError) -> Failure {
    match error {
        ColdError::Locked { .. } => Failure::Failed(format!(
            "{error}; of a running node, export a copy: `astreum backup DIR`, and then `astreum \
             chain export` with --cold-storage-path DIR"
        )),
        error => Failure::failed(error),
    }
}

fn summary(exported: &Exported) -> String {
    let Exported {
        manifest,
        blocks,
        atoms,
        bytes,
    } = exported;
    let (height, head) = (manifest.height, manifest.head);
    match manifest.kind {
        ArchiveKind::Chain => {
            format!("exported {blocks} blocks up to {height}, {head}: {atoms} atoms, {bytes} bytes")
        }
        ArchiveKind::Snapshot => format!(
            "exported the state after block {height}, {head}, and {blocks} headers: {atoms} atoms, \
             {bytes} bytes"
        ),
    }
}

fn check_cold(settings: &Settings) -> Result<(), Failure> {
    match settings.cold_directory() {
        Some(_) => Ok(()),
        None => Err(Failure::Usage(
            "cold_storage_path is not set: an archive is made from cold storage, and read into it; \
             give --config FILE or --cold-storage-path DIR"
                .to_owned(),
        )),
    }
}

/// Returns the saved head of a node.
fn saved_head(path: &std::path::Path, settings: &Settings) -> Result<AtomId, Failure> {
    let journal = HeadJournalFile::open(&path.join("heads"), settings.chain_id);
    let journal = journal.map_err(Failure::failed)?;
    let head = journal.as_ref().and_then(|journal| journal.heads().back());
    head.map(|head| head.id).ok_or_else(|| {
        Failure::Failed(format!(
            "{}: no chain with chain_id {}; --head ID exports one that the node does not follow",
            path.display(),
            settings.chain_id
        ))
    })
}

pub(super) fn import_chain(args: ImportArgs, out: &mut Output) -> Result<(), Failure> {
    let trust = args.trust.as_deref().map(|id| parse::id("--trust", id));
    let trust = trust.transpose()?;
    let options = args.run.options();
    let loaded = args.run.load()?;
    let (settings, paths) = (&loaded.settings, loaded.paths());
    let path = directory(settings)?;
    check_cold(settings)?;
    check_not_running(&paths)?;
    let input: Box<dyn Read> = if args.file.is_stdin() {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(&*args.file);
        let failed = |error| Failure::Failed(format!("{}: {error}", args.file.display()));
        Box::new(opened.map_err(failed)?)
    };
    let input = BufReader::with_capacity(BUFFER_BYTES, input);
    let importer = Importer::new(input, settings.chain_id).map_err(Failure::failed)?;
    let manifest = importer.manifest().clone();
    let mut dir =
        ChainDir::open(&path, settings.chain_id).map_err(|error| refused(&error, &options))?;
    let ours = dir.journal().and_then(|it| it.heads().back()).cloned();
    if let Some(ours) =
        ours.filter(|ours| manifest.kind == ArchiveKind::Snapshot || ours.height >= manifest.height)
    {
        return Err(Failure::Failed(format!(
            "{}: this node is at block {}, {} already; an archive that ends at block {} adds \
             nothing to it. Choose another cold_storage_path to read it",
            path.display(),
            ours.height,
            ours.id,
            manifest.height
        )));
    }
    let cold = store_dir::open(settings)?;
    let store = Store::with_cold(HOT_BYTES, Some(cold.clone()));
    let latest = clock::unix_time().as_secs();
    let latest = latest.saturating_add(settings.verification_max_future_skew);
    let trust = trust.or(settings.checkpoint);
    let (imported, error) = with_bar_of(|progress| {
        let done = importer.import(&store, trust, latest, &mut |unit, done, total| {
            progress("importing", unit, Progress { done, total });
        });
        Ok::<_, Infallible>(done)
    })?;
    let Some(head) = imported.heads.last() else {
        return Err(match error {
            Some(error) => Failure::failed(error),
            None => Failure::Failed("the archive has no block".to_owned()),
        });
    };
    let (id, height) = (head.id, head.height);
    adopt(&mut dir, &store, &imported, &validation_key(settings)).map_err(Failure::failed)?;
    if manifest.kind == ArchiveKind::Snapshot {
        note_complete(dir.path(), &id).map_err(Failure::failed)?;
    }
    // The start of the node is quick if nothing waits to be sorted.
    cold.collate_with(&mut |_| ()).map_err(Failure::failed)?;
    if args.json {
        json_line(
            out,
            &json!({
                "kind": manifest.kind,
                "chain_id": manifest.chain_id,
                "head": id.to_string(),
                "height": height,
                "genesis": imported.genesis.map(|id| id.to_string()),
                "complete": error.is_none(),
            }),
        )?;
    } else {
        writeln!(out, "imported: the node resumes from block {height}, {id}")?;
    }
    match error {
        None => Ok(()),
        Some(error) => Err(Failure::Failed(format!(
            "the rest of the archive was not imported: {error}"
        ))),
    }
}
