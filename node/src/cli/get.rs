//! Command `astreum get`: atoms of the running node or of its peers.

use std::io::{IsTerminal as _, Write};

use astreum_core::atom::{Atom, AtomId, AtomKind, atom_id};
use astreum_core::expr::Expr;

use crate::rpc::{
    AtomParts, AtomReader, AtomReply, Client, ClientError, Download, TRANSFER, request,
};

use super::args::GetArgs;
use super::eval_session::get as get_atom;
use super::node_args::client;
use super::output::{Failure, Output, complain, json_line};
use super::parse;
use super::partial::Partial;
use super::progress::ByteBar;

pub(super) fn get(args: &GetArgs, out: &mut Output) -> Result<(), Failure> {
    let id = parse::id("the object", &args.id)?;
    let client = client(&args.at)?;
    let is_to_terminal = args.output.is_none() && std::io::stdout().is_terminal();
    // Lines of the result would break a bar.
    let bar = ByteBar::new("getting", None, args.quiet || is_to_terminal || !args.list);
    let Some(path) = &args.output else {
        return walk(&client, (id, args.list), &bar, &mut |parts| {
            bar.add(parts.data.len());
            if args.raw {
                return Ok(out.raw().write_all(parts.data)?);
            }
            let atom = parts.to_atom();
            match args.json {
                true => json_line(out, &AtomReply::from(&atom)),
                false => Ok(writeln!(out, "{}", line(&atom))?),
            }
        });
    };
    let mut file = Partial::create(path)?;
    let interrupt = file.interrupt();
    let walked = interrupt.scope(|| {
        walk(&client, (id, args.list), &bar, &mut |parts| {
            bar.add(parts.data.len());
            file.write(parts.data)
        })
    });
    drop(bar);
    file.finish(walked)
}

/// Passes every atom to `take`, in order.
fn walk(
    client: &Client,
    (id, list): (AtomId, bool),
    bar: &ByteBar,
    take: &mut dyn FnMut(AtomParts<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if list {
        return walk_list(client, id, bar, take);
    }
    let atom = get_atom(client, &id)?;
    take(AtomParts::from(&atom))?;
    if !atom.next().is_zero() {
        complain("note: this is the first atom of a list; --list gets the whole list");
    }
    Ok(())
}

/// Passes the atoms of a list to `take` as they arrive, each after a check of its id.
fn walk_list(
    client: &Client,
    id: AtomId,
    bar: &ByteBar,
    take: &mut dyn FnMut(AtomParts<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bad = |message: String| Failure::from(ClientError::BadReply { message });
    let (mut expected, mut sent) = (id, 0);
    let mut reader = AtomReader::new(u64::MAX);
    let request = request::GetAtoms {
        id,
        transfer: TRANSFER,
        progress: true,
    };
    client.download(&request, &mut |part| {
        let bytes = match part {
            Download::Bytes(bytes) => bytes,
            Download::Progress(progress) => {
                bar.fetched(progress.bytes, sent);
                return Ok(());
            }
        };
        reader.read(bytes, &mut |parts| {
            let AtomParts { kind, next, data } = parts;
            if expected.is_zero() {
                return Err(bad("more atoms than the list has".to_owned()));
            }
            if atom_id(kind, data, next) != expected {
                return Err(bad(format!("another atom instead of {expected}")));
            }
            expected = next;
            sent += data.len() as u64;
            take(parts)
        })
    })?;
    reader.finish()?;
    match expected.is_zero() {
        true => Ok(()),
        false => Err(bad(format!("the list ends before atom {expected}"))),
    }
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
