//! Command `astreum put`: stores a file as atoms at the running node.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;

use astreum_core::atom::{Atom, AtomId};
use serde_json::json;

use crate::rpc::{AtomParts, Client, StoredReply, TRANSFER, request};

use super::args::{PutArgs, PutKind};
use super::eval_session::fetch;
use super::input::read_capped;
use super::node_args::client_of;
use super::output::{Failure, Output, complain, json_line};
use super::path_arg::PathArg;
use super::pieces::{Input, Parts, Sent, data_bytes, split};
use super::progress::ByteBar;

/// Maximum size in bytes of an expression's text; all of it is held in memory.
const MAX_TEXT_BYTES: u64 = 1 << 30;
/// Maximum number of data bytes of an atom that the network can carry.
const MAX_ATOM_BYTES: usize = crate::store::MAX_ATOM_DATA_BYTES;
/// Number of parts of the transfer that may wait to be sent.
const WAITING_PARTS: usize = 4;

/// Id of a list and its atoms, in order.
type List = (AtomId, Vec<Atom>);

pub(super) fn put(args: &PutArgs, out: &mut Output) -> Result<(), Failure> {
    let loaded = args.at.load()?;
    let client = client_of(&args.at, &loaded);
    let (len, sent, reply) = match args.kind {
        PutKind::Bytes => {
            let directory = loaded.settings.cold_storage_path.as_deref();
            put_file(&client, args, directory)?
        }
        PutKind::Symbol => put_text(&client, &args.file, args.kind, symbol)?,
        PutKind::Expr => put_text(&client, &args.file, args.kind, expr)?,
    };
    let Sent {
        head: id, atoms, ..
    } = sent;
    if reply.atoms != atoms {
        return Err(Failure::Failed(
            "the node has not stored every atom".to_owned(),
        ));
    }
    let durable = reply.durable;
    if !durable {
        check_kept(&client, &sent)?;
    }
    if args.advertise {
        let advertise = request::Advertise {
            id,
            list: atoms > 1,
            expires_seconds: None,
        };
        client.request(&advertise)?;
    }
    if !durable {
        complain("note: the node has no cold storage: the data is lost when it stops");
    }
    if args.json {
        let id = id.to_string();
        return json_line(
            out,
            &json!({"id": id, "atoms": atoms, "bytes": len, "durable": durable}),
        );
    }
    Ok(writeln!(out, "{id}")?)
}

/// Sends a file, which another thread reads and hashes. Returns its length.
fn put_file(
    client: &Client,
    args: &PutArgs,
    directory: Option<&Path>,
) -> Result<(u64, Sent, StoredReply), Failure> {
    let path = (!args.file.is_stdin()).then_some(&*args.file);
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", args.file.display()));
    let input = Input::open(path, directory).map_err(failed)?;
    let bar = ByteBar::new("storing", Some(input.len()), args.quiet);
    let (sender, parts) = sync_channel(WAITING_PARTS);
    thread::scope(|scope| {
        let input = &input;
        let reader = thread::Builder::new()
            .name("reader".to_owned())
            .spawn_scoped(scope, move || {
                let sent = split(input, &mut |part| sender.send(Ok(part)).is_ok());
                sent.unwrap_or_else(|error| {
                    let _ = sender.send(Err(error));
                    None
                })
            })
            .map_err(failed)?;
        let request = request::PutAtoms { transfer: TRANSFER };
        let reply = client.upload(&request, &mut || match parts.recv() {
            Ok(Ok(part)) => {
                bar.add(data_bytes(part.len()));
                Ok(Some(part))
            }
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Ok(None),
        });
        // Ends the thread if the transfer has failed.
        drop(parts);
        let sent = reader.join();
        let reply = reply?;
        match sent {
            Ok(Some(sent)) => Ok((input.len(), sent, reply)),
            _ => Err(Failure::Failed(format!(
                "{}: the file was not read to its end",
                args.file.display()
            ))),
        }
    })
}

/// Sends the atoms of a text. Returns its length.
fn put_text(
    client: &Client,
    file: &PathArg,
    kind: PutKind,
    atoms: fn(Vec<u8>) -> Result<List, Failure>,
) -> Result<(u64, Sent, StoredReply), Failure> {
    let bytes = read(file, kind)?;
    let len = bytes.len() as u64;
    let (head, atoms) = atoms(bytes)?;
    if let Some(atom) = atoms.iter().find(|atom| atom.data().len() > MAX_ATOM_BYTES) {
        let size = atom.data().len();
        return Err(Failure::Failed(format!(
            "an atom with {size} bytes of data does not fit into a datagram; the maximum is \
             {MAX_ATOM_BYTES}"
        )));
    }
    let mut parts = Some(Parts::default());
    let (mut rest, mut sent) = (atoms.iter().rev(), None);
    let request = request::PutAtoms { transfer: TRANSFER };
    let reply = client.upload(&request, &mut || {
        let Some(collected) = &mut parts else {
            return Ok::<_, Failure>(None);
        };
        for atom in rest.by_ref() {
            let part = collected.push(atom.id(), AtomParts::from(atom));
            if part.is_some() {
                return Ok(part);
            }
        }
        let last = parts.take().map(|parts| parts.finish(head));
        Ok(last.map(|(part, summary)| {
            sent = Some(summary);
            part
        }))
    })?;
    let sent = sent.ok_or_else(|| Failure::Failed("the node ended the transfer".to_owned()))?;
    Ok((len, sent, reply))
}

/// Reads a text. Its length is checked first if it is known; a pipe fails as soon as it is too long.
fn read(file: &PathArg, kind: PutKind) -> Result<Vec<u8>, Failure> {
    let max_bytes = match kind {
        // Includes a line end.
        PutKind::Symbol => MAX_ATOM_BYTES as u64 + 2,
        PutKind::Bytes | PutKind::Expr => MAX_TEXT_BYTES,
    };
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", file.display()));
    let check_len = |stat: rustix::fs::Stat| {
        let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        match u64::try_from(stat.st_size) {
            Ok(len) if is_file && len > max_bytes => Err(io::Error::other(format!(
                "{len} bytes exceed the maximum of {max_bytes} bytes for one put; put the data in \
                 parts"
            ))),
            _ => Ok(()),
        }
    };
    if file.is_stdin() {
        let stdin = io::stdin();
        let stat = rustix::fs::fstat(&stdin).map_err(|error| failed(error.into()))?;
        check_len(stat).map_err(failed)?;
        return read_capped(stdin.lock(), max_bytes).map_err(failed);
    }
    let opened = File::open(&**file).map_err(failed)?;
    let stat = rustix::fs::fstat(&opened).map_err(|error| failed(error.into()))?;
    check_len(stat).map_err(failed)?;
    read_capped(opened, max_bytes).map_err(failed)
}

fn symbol(bytes: Vec<u8>) -> Result<List, Failure> {
    let name = String::from_utf8(bytes)
        .map_err(|_| Failure::Failed("a symbol must be UTF-8 text".to_owned()))?;
    let atom = Atom::symbol(name.trim_end_matches(['\n', '\r']));
    Ok((atom.id(), vec![atom]))
}

fn expr(bytes: Vec<u8>) -> Result<List, Failure> {
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::Failed("an expression must be UTF-8 text".to_owned()))?;
    let expr = astreum_core::text::parse(&text)
        .map_err(|error| Failure::Failed(format!("{error}\n{}", error.snippet(&text))))?;
    Ok(expr.to_atoms())
}

/// Checks that the last atom of a list is still stored: it was sent first, and is evicted first if
/// the node's hot storage is smaller than the list.
fn check_kept(client: &Client, sent: &Sent) -> Result<(), Failure> {
    if sent.atoms < 2 {
        return Ok(());
    }
    match fetch(client, &sent.end)? {
        Some(_) => Ok(()),
        None => Err(Failure::Failed(
            "hot storage of the node is too small: it has already evicted a part; raise \
             hot_storage_limit"
                .to_owned(),
        )),
    }
}
