//! Command `astreum get`: atoms of the running node or of its peers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::expr::Expr;

use crate::rpc::{AtomReply, Client, ClientError, ErrorKind, request};

use super::args::GetArgs;
use super::eval_session::{checked_atom, get as get_atom};
use super::node_args::client;
use super::output::{Failure, Output, complain, json_line};
use super::parse;

pub(super) fn get(args: &GetArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the object", &args.id)?;
    let client = client(&args.at)?;
    let Some(path) = &args.output else {
        return walk(&client, id, args.list, &mut |atom| {
            if args.raw {
                Ok(out.raw().write_all(atom.data())?)
            } else if args.json {
                json_line(out, &AtomReply::from(atom))
            } else {
                Ok(writeln!(out, "{}", line(atom))?)
            }
        });
    };
    let mut file = Partial::create(path)?;
    walk(&client, id, args.list, &mut |atom| file.write(atom.data()))?;
    file.finish()
}

/// Passes every atom to `take`, in order.
fn walk(
    client: &Client,
    id: AtomId,
    list: bool,
    take: &mut dyn FnMut(&Atom) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !list {
        let atom = get_atom(client, &id)?;
        take(&atom)?;
        if !atom.next().is_zero() {
            complain("note: this is the first atom of a list; --list gets the whole list");
        }
        return Ok(());
    }
    let mut next = id;
    while !next.is_zero() {
        let reply = match client.request(&request::GetList { id: next }) {
            Err(ClientError::Refused(refused)) if refused.kind == ErrorKind::TooLarge => {
                return walk_singly(client, next, take);
            }
            reply => reply?,
        };
        if reply.atoms.is_empty() {
            return Err(not_found(&next));
        }
        for atom in reply.atoms {
            let atom = checked_atom(&next, atom).map_err(Failure::Failed)?;
            take(&atom)?;
            next = atom.next();
        }
    }
    Ok(())
}

/// Same as [`walk`], atom by atom, for lists that no node fetches as a whole.
fn walk_singly(
    client: &Client,
    mut next: AtomId,
    take: &mut dyn FnMut(&Atom) -> Result<(), Failure>,
) -> Result<(), Failure> {
    while !next.is_zero() {
        let atom = get_atom(client, &next)?;
        take(&atom)?;
        next = atom.next();
    }
    Ok(())
}

fn not_found(id: &AtomId) -> Failure {
    Failure::Failed(format!("atom {id} was not found locally or at any peer"))
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

/// File that appears under its name only when it is complete. An existing entry that is not a
/// regular file, such as a pipe or a device, is written to directly.
struct Partial {
    path: PathBuf,
    temporary: Option<PathBuf>,
    file: BufWriter<File>,
}

impl Partial {
    fn create(path: &Path) -> Result<Self, Failure> {
        let failed = |path: &Path, error| Failure::Failed(format!("{}: {error}", path.display()));
        // The target of a link is written, so that the link is kept.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file());
        if is_special {
            let file = OpenOptions::new().write(true).open(&path);
            return Ok(Self {
                file: BufWriter::new(file.map_err(|error| failed(&path, error))?),
                path,
                temporary: None,
            });
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = File::create_new(&temporary).map_err(|error| match error.kind() {
            // Other errors name the path that the user gave.
            io::ErrorKind::AlreadyExists => failed(&temporary, error),
            _ => failed(&path, error),
        })?;
        Ok(Self {
            path,
            temporary: Some(temporary),
            file: BufWriter::new(file),
        })
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::Failed(format!("{}: {error}", self.path.display()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .map_err(|error| self.failed(&error))
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.file.flush().map_err(|error| self.failed(&error))?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).map_err(|error| self.failed(&error))?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}
