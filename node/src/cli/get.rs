//! Command `astreum get`: atoms, files and folders of the running node or of its peers.

use std::io::{IsTerminal as _, Write};
use std::path::Path;

use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::expr::Expr;
use astreum_core::manifest::{Entry, EntryKind, LIST_BYTES, is_manifest};
use serde_json::json;

use crate::WaitLimit;
use crate::rpc::{AtomParts, AtomReply, Client};

use super::args::GetArgs;
use super::eval_session::get as get_atom;
use super::list_reader::read_list;
use super::manifest_reader::{Manifest, lists_of, read_content};
use super::node_args::client;
use super::output::{Failure, Output, complain, json_line};
use super::parse;
use super::partial::{Partial, part_path};
use super::progress::ByteBar;
use super::restore::restore;

/// Message of the bar.
const GETTING: &str = "getting";

pub(super) fn get(args: &GetArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the object", &args.id)?;
    let client = client(&args.at)?;
    if args.files {
        let bar = ByteBar::new(GETTING, None, args.quiet);
        let manifest = Manifest::read(&client, id, &bar)?;
        drop(bar);
        return list_files(&manifest, args.json, out);
    }
    if let Some(path) = &args.output {
        return write_object(&client, id, (path, args.resume), args.quiet);
    }
    let is_to_terminal = std::io::stdout().is_terminal();
    // Lines of the result would break a bar.
    let is_quiet = args.quiet || is_to_terminal || !args.list;
    if args.list && args.raw {
        let first = get_atom(&client, &id)?;
        if is_manifest(first.kind(), first.data()) {
            return print_content(&client, id, is_quiet, out);
        }
    }
    let bar = ByteBar::new(GETTING, None, is_quiet);
    let mut take = |parts: AtomParts<'_>| {
        bar.add(parts.data.len());
        if args.raw {
            return Ok(out.raw().write_all(parts.data)?);
        }
        let atom = parts.to_atom();
        match args.json {
            true => json_line(out, &AtomReply::from(&atom)),
            false => Ok(writeln!(out, "{}", line(&atom))?),
        }
    };
    if args.list {
        return read_list(&client, id, &bar, &mut take);
    }
    let atom = get_atom(&client, &id)?;
    take(AtomParts::from(&atom))?;
    if is_manifest(atom.kind(), atom.data()) {
        complain(
            "note: this is a manifest; --output restores the file or folder, --files lists it",
        );
    } else if !atom.next().is_zero() {
        complain("note: this is the first atom of a list; --list gets the whole list");
    }
    Ok(())
}

/// Writes an object to a file, or a folder to a directory.
fn write_object(
    client: &Client,
    id: AtomId,
    (path, resumes): (&Path, bool),
    is_quiet: bool,
) -> Result<(), Failure> {
    let resumed = resumes.then_some(&id);
    // A place that cannot be written to is reported before anything is fetched.
    let is_directory = path.is_dir() || part_path(path, resumed).is_dir();
    let mut file = match is_directory {
        true => None,
        false => Some(Partial::create(path, resumed)?),
    };
    let limit = file.as_ref().map_or(WaitLimit::NONE, Partial::limit);
    let looked_up = limit.scope(|| {
        let first = get_atom(client, &id)?;
        if !is_manifest(first.kind(), first.data()) {
            return Ok(None);
        }
        let bar = ByteBar::new("reading the manifest", None, is_quiet);
        Manifest::read(client, id, &bar).map(Some)
    });
    let manifest = match (looked_up, file.take()) {
        (Err(error), Some(file)) => return file.finish(Err(error)),
        (looked_up, opened) => {
            file = opened;
            looked_up?
        }
    };
    let total = manifest
        .as_ref()
        .map(|manifest| manifest.table.file_bytes());
    let bar = ByteBar::new(GETTING, total, is_quiet);
    if let Some(manifest) = &manifest
        && !manifest.table.is_single_file()
    {
        if let Some(file) = file {
            file.discard();
        }
        return restore(client, (id, manifest), (path, resumes), &bar);
    }
    let Some(mut file) = file else {
        return Err(Failure::Failed(format!(
            "{}: is a directory, and the object is a file; choose the path of a file",
            path.display()
        )));
    };
    let written = limit.scope(|| match &manifest {
        Some(manifest) => write_single_file(client, (&id, manifest), path, &mut file, &bar),
        None => write_list(client, id, &mut file, &bar),
    });
    drop(bar);
    file.finish(written)
}

/// Writes the file of a manifest.
fn write_single_file(
    client: &Client,
    (id, manifest): (&AtomId, &Manifest),
    path: &Path,
    file: &mut Partial,
    bar: &ByteBar,
) -> Result<(), Failure> {
    let (content, size) = manifest.single_file(id)?;
    file.check_room(size)?;
    let what = path.display();
    let lists = lists_of(client, (content, size), &what, bar)?;
    let kept = file.keep_verified(&lists, Some(size))?;
    bar.add(usize::try_from(kept).unwrap_or_default());
    let first = kept.div_ceil(LIST_BYTES);
    read_content(client, (&lists, size), first, &what, bar, &mut |bytes| {
        file.write(bytes)
    })
}

/// Writes the data of a list.
fn write_list(
    client: &Client,
    id: AtomId,
    file: &mut Partial,
    bar: &ByteBar,
) -> Result<(), Failure> {
    if file.keep_verified(&[id], None)? > 0 {
        // It was complete, but did not have its name yet.
        return Ok(());
    }
    read_list(client, id, bar, &mut |parts| {
        bar.add(parts.data.len());
        file.write(parts.data)
    })
}

/// Writes the content of a single file to stdout.
fn print_content(
    client: &Client,
    id: AtomId,
    is_quiet: bool,
    out: &mut Output,
) -> Result<(), Failure> {
    let bar = ByteBar::new(GETTING, None, is_quiet);
    let (content, size) = Manifest::read(client, id, &bar)?.single_file(&id)?;
    let what = format!("object {id}");
    let lists = lists_of(client, (content, size), &what, &bar)?;
    read_content(client, (&lists, size), 0, &what, &bar, &mut |bytes| {
        Ok(out.raw().write_all(bytes)?)
    })
}

/// Prints the entries of a manifest.
fn list_files(manifest: &Manifest, is_json: bool, out: &mut Output) -> Result<(), Failure> {
    let mut contents = manifest.contents.iter();
    for Entry { path, kind, mode } in manifest.table.entries() {
        let content = match kind {
            EntryKind::File { .. } => contents.next(),
            EntryKind::Directory => None,
        };
        let mode = format!("{mode:04o}");
        let (name, size) = match kind {
            EntryKind::File { size } => ("file", Some(size)),
            EntryKind::Directory => ("directory", None),
        };
        if is_json {
            let id = content.map(ToString::to_string);
            let entry = json!({"path": path, "kind": name, "mode": mode, "bytes": size, "id": id});
            json_line(out, &entry)?;
            continue;
        }
        match (size, path) {
            (Some(size), "") => writeln!(out, "{mode} {size:>15}")?,
            (Some(size), path) => writeln!(out, "{mode} {size:>15} {path}")?,
            (None, path) => writeln!(out, "{mode} {:>15} {path}/", "-")?,
        }
    }
    Ok(())
}

/// Formats kind, data and link in human-readable form.
fn line(atom: &Atom) -> String {
    let next = match atom.next() {
        AtomId::ZERO => String::new(),
        next => format!("  next {next}"),
    };
    let data = atom.data();
    let text = match (atom.kind(), core::str::from_utf8(data)) {
        (AtomKind::Symbol, Ok(name)) => format!("symbol {:#}", Expr::symbol(name)),
        (AtomKind::List, _) => match AtomId::from_slice(data) {
            Some(child) => format!("list of {child}"),
            None => "list, empty".to_owned(),
        },
        _ => format!("bytes {}", Expr::bytes(data)),
    };
    text + &next
}
