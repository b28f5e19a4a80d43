//! Command `astreum store`: operations on cold storage, without a node.

use std::io::Write as _;
use std::path::Path;

use serde_json::json;

use crate::config::Settings;
use crate::rpc::{Client, ClientError, DEFAULT_TIMEOUT, request};
use crate::store::cold::{
    ColdError, ColdStats, ColdStore, Progress, SetAside, Transferred, Verified,
};
use crate::store::disk::{is_within, real_path};
use crate::store::open_cold_to_read;
use crate::store::sorted_pair::Damage;

use super::args::{StoreArgs, StoreCommand, StoreOptions};
use super::output::{Failure, Output, complain, json_line};
use super::progress::with_bar_of;
use super::store_dir::{check_path, open, open_existing, open_to_read};
use super::store_gc;

pub(super) fn store(args: StoreArgs, out: &mut Output) -> Result<(), Failure> {
    match args.command {
        StoreCommand::Stat(options) => {
            let (json, settings) = read(options)?;
            stat(&open_to_read(&settings)?.stats(), json, out)
        }
        StoreCommand::Repair(options) => {
            let (json, settings) = read(options)?;
            let store = open_existing(&settings)?;
            // Unread damage is found only by reading.
            with_bar("verifying", |progress| store.verify(progress))?;
            if !with_bar("repairing", |progress| store.repair_with(progress))? {
                complain("nothing to repair: no pair is damaged");
            }
            stat(&store.stats(), json, out)
        }
        StoreCommand::Gc(args) => store_gc::gc(args, out),
        StoreCommand::Damaged { clear, options } => damaged(options, clear, out),
        StoreCommand::Verify(options) => {
            let (json, settings) = read(options)?;
            verify(&open_to_read(&settings)?, json, out)
        }
        StoreCommand::Collate(options) => {
            let (json, settings) = read(options)?;
            let store = open_existing(&settings)?;
            if !with_bar("collating", |progress| store.collate_with(progress))? {
                complain("nothing to collate");
            }
            stat(&store.stats(), json, out)
        }
        StoreCommand::Merge { level, options } => {
            let (json, settings) = read(options)?;
            let store = open_existing(&settings)?;
            let merged = with_bar("merging", |progress| match level {
                Some(level) => store.merge_with(level, progress),
                None => store.maintain_with(progress).map(|()| true),
            })?;
            if let Some(level) = level.filter(|_| !merged) {
                complain(&format!("nothing to merge: level {level} has no pairs"));
            }
            stat(&store.stats(), json, out)
        }
        StoreCommand::Import { directory, options } => {
            let (json, settings) = read(options)?;
            refuse_itself(&directory, &settings)?;
            // A source that cannot be imported must not leave an empty store behind.
            let source = ColdStore::open_to_read(&directory, settings.cold_storage_mmap);
            drop(source.map_err(Failure::failed)?);
            let store = open(&settings)?;
            let moved = with_bar("importing", |progress| store.import(&directory, progress))?;
            with_bar("collating and merging", |progress| {
                store.maintain_with(progress)
            })?;
            store.sync().map_err(Failure::failed)?;
            transferred(moved, "imported", json, out)
        }
        StoreCommand::Export {
            directory,
            reference,
            options,
        } => {
            let (json, settings) = read(options)?;
            refuse_inside(&directory, &settings)?;
            let store = open_to_read(&settings)?;
            let moved = with_bar("exporting", |progress| {
                if reference {
                    store.export_reference(&directory, progress)
                } else {
                    store.export(&directory, progress)
                }
            })?;
            transferred(moved, "exported", json, out)
        }
    }
}

fn read(options: StoreOptions) -> Result<(bool, Settings), Failure> {
    let settings = options.run.load()?.settings;
    check_path(&settings)?;
    Ok((options.json, settings))
}

/// Lists or clears the incidents of a directory, or of the node that has it open.
fn damaged(options: StoreOptions, clear: bool, out: &mut Output) -> Result<(), Failure> {
    let json = options.json;
    let loaded = options.run.load()?;
    check_path(&loaded.settings)?;
    let path = loaded.settings.cold_directory().unwrap_or(Path::new(""));
    let incidents = match open_cold_to_read(&loaded.settings) {
        Ok(store) if !clear => store.map(|it| it.stats().set_aside).unwrap_or_default(),
        Ok(store) => {
            drop(store);
            let cleared = open(&loaded.settings)?.clear_set_aside();
            cleared.map_err(Failure::failed)?
        }
        Err(error @ ColdError::Locked { .. }) => {
            let client = Client::new(loaded.paths().control_socket, DEFAULT_TIMEOUT);
            let directory = real_path(path).to_string_lossy().into_owned();
            match client.request(&request::Damaged { directory, clear }) {
                // The directory is locked, but not by the node.
                Err(ClientError::NotRunning { .. }) => return Err(Failure::failed(error)),
                asked => asked?,
            }
        }
        Err(error) => return Err(Failure::failed(error)),
    };
    if json {
        return json_line(out, &json!({ "cleared": clear, "set_aside": incidents }));
    }
    if incidents.is_empty() {
        complain("no damaged files are set aside");
    }
    let what = if clear { "cleared" } else { "incident" };
    for incident in &incidents {
        let SetAside {
            number,
            files,
            bytes,
            problems,
            missing,
            unknown,
        } = incident;
        writeln!(out, "{what:<15} {number}")?;
        for file in files {
            writeln!(out, "{:<15} damaged/{file}", "file")?;
        }
        writeln!(out, "{:<15} {bytes}", "bytes")?;
        for problem in problems {
            writeln!(out, "{:<15} {problem}", "damage")?;
        }
        writeln!(
            out,
            "{:<15} {missing} by id, {unknown} of unknown id",
            "missing"
        )?;
        if !clear {
            writeln!(out, "{:<15} damaged/{number}_report", "report")?;
        }
    }
    Ok(())
}

fn refuse_itself(directory: &Path, settings: &Settings) -> Result<(), Failure> {
    let path = settings.cold_directory().unwrap_or(Path::new(""));
    let real = |path: &Path| path.canonicalize().ok();
    if real(directory).is_some_and(|directory| Some(directory) == real(path)) {
        return Err(Failure::Usage(format!(
            "{} is cold_storage_path itself; give another directory",
            directory.display()
        )));
    }
    Ok(())
}

/// Refuses a directory in cold storage, where a node would take files of the copy for its own.
fn refuse_inside(directory: &Path, settings: &Settings) -> Result<(), Failure> {
    refuse_itself(directory, settings)?;
    let mut path = settings.cold_directory().into_iter();
    if path.any(|path| is_within(directory, path)) {
        return Err(Failure::Usage(format!(
            "{} is in cold_storage_path; give a directory outside of it",
            directory.display()
        )));
    }
    Ok(())
}

fn stat(stats: &ColdStats, json: bool, out: &mut Output) -> Result<(), Failure> {
    let damages = texts(&stats.damages);
    if json {
        let level = |level: &crate::store::cold::LevelStats| {
            json!({
                "level": level.level,
                "files": level.files,
                "atoms": level.atoms,
                "bytes": level.bytes,
            })
        };
        let levels: Vec<_> = stats.levels.iter().map(level).collect();
        return json_line(
            out,
            &json!({
                "levels": levels,
                "atoms": stats.atoms,
                "used_bytes": stats.used_bytes,
                "memory_bytes": stats.memory_bytes,
                "damages": damages,
                "further_damages": stats.further_damages,
                "set_aside": stats.set_aside.clone(),
                "interrupted": texts(&stats.interrupted),
            }),
        );
    }
    writeln!(
        out,
        "{:>5} {:>7} {:>12} {:>15}",
        "level", "files", "atoms", "bytes"
    )?;
    for level in &stats.levels {
        let number = level.level;
        let (files, atoms, bytes) = (level.files, level.atoms, level.bytes);
        writeln!(out, "{number:>5} {files:>7} {atoms:>12} {bytes:>15}")?;
    }
    writeln!(out, "atoms           {}", stats.atoms)?;
    writeln!(out, "bytes           {}", stats.used_bytes)?;
    writeln!(
        out,
        "memory          {} bytes for lookups",
        stats.memory_bytes
    )?;
    places(stats, out)
}

fn texts(places: &[Damage]) -> Vec<String> {
    places.iter().map(ToString::to_string).collect()
}

/// Writes a line for each damaged place and each incident.
fn places(stats: &ColdStats, out: &mut Output) -> Result<(), Failure> {
    for damage in &stats.damages {
        writeln!(out, "damaged         {damage}")?;
    }
    if stats.further_damages > 0 {
        let further = stats.further_damages;
        writeln!(out, "damaged         {further} further places")?;
    }
    for incident in &stats.set_aside {
        writeln!(out, "set aside       {incident}")?;
    }
    for left in &stats.interrupted {
        writeln!(out, "interrupted     {left}")?;
    }
    Ok(())
}

fn verify(store: &ColdStore, json: bool, out: &mut Output) -> Result<(), Failure> {
    let Verified { atoms, damaged } = with_bar("verifying", |progress| store.verify(progress))?;
    let stats = store.stats();
    if json {
        let report = json!({
            "atoms": atoms,
            "damaged": damaged,
            "damages": texts(&stats.damages),
            "further_damages": stats.further_damages,
            "set_aside": stats.set_aside.clone(),
            "interrupted": texts(&stats.interrupted),
        });
        json_line(out, &report)?;
    } else {
        writeln!(out, "{atoms} atoms, {damaged} damaged")?;
        places(&stats, out)?;
    }
    // Leftovers of interruptions are not damage: no acknowledged data is lost.
    if damaged > 0 || !stats.damages.is_empty() || !stats.set_aside.is_empty() {
        return Err(Failure::Reported);
    }
    Ok(())
}

fn transferred(
    moved: Transferred,
    what: &str,
    json: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    let Transferred { atoms, damaged } = moved;
    if json {
        json_line(out, &json!({ "atoms": atoms, "damaged": damaged }))?;
    } else {
        writeln!(out, "{atoms} atoms {what}")?;
    }
    if damaged > 0 {
        complain(&format!(
            "skipped {damaged} damaged atoms; see `astreum store verify`"
        ));
        return Err(Failure::Reported);
    }
    Ok(())
}

/// Runs a long operation and shows its progress.
fn with_bar<T, E: ToString>(
    what: &'static str,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> Result<T, E>,
) -> Result<T, Failure> {
    with_bar_of(|progress| work(&mut |at| progress(what, "atoms", at)))
}
