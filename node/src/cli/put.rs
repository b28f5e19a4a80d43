//! Command `astreum put`: stores a file as atoms at the running node.

use std::fs::File;
use std::io::{self, Write as _};

use astreum_core::atom::{Atom, AtomId, HEADER_BYTES, bytes_list};
use serde_json::json;

use crate::rpc::{Client, MAX_MESSAGE_BYTES, request};

use super::args::{PutArgs, PutKind};
use super::eval_session::fetch;
use super::input::read_capped;
use super::node_args::client;
use super::output::{Failure, Output, complain, json_line};
use super::path_arg::PathArg;

/// Number of data bytes per atom of a file, which a reference node can receive.
const PIECE_BYTES: usize = 3_900;
/// Maximum size in bytes of a file; all of it is held in memory. `--help` states the number.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Maximum number of stored bytes of atoms in one request; in hex they stay below the longest line.
const REQUEST_BYTES: usize = MAX_MESSAGE_BYTES / 4;
/// Maximum number of data bytes of an atom that the network can carry.
const MAX_ATOM_BYTES: usize = crate::store::MAX_ATOM_DATA_BYTES;

pub(super) fn put(args: &PutArgs, out: &mut Output) -> Result<(), Failure> {
    let client = client(&args.at)?;
    let bytes = read(&args.file, args.kind)?;
    let len = bytes.len();
    let (id, atoms) = match args.kind {
        PutKind::Bytes => pieces(&bytes),
        PutKind::Symbol => symbol(bytes)?,
        PutKind::Expr => expr(bytes)?,
    };
    if let Some(atom) = atoms.iter().find(|atom| atom.data().len() > MAX_ATOM_BYTES) {
        let size = atom.data().len();
        return Err(Failure::Failed(format!(
            "an atom with {size} bytes of data does not fit into a datagram; the maximum is \
             {MAX_ATOM_BYTES}"
        )));
    }
    let durable = send(&client, &atoms)?;
    if !durable {
        check_kept(&client, &atoms)?;
    }
    if args.advertise {
        let advertise = request::Advertise {
            id,
            list: atoms.len() > 1,
            expires_seconds: None,
        };
        client.request(&advertise)?;
    }
    if !durable {
        complain("note: the node has no cold storage: the data is lost when it stops");
    }
    if args.json {
        let (id, atoms) = (id.to_string(), atoms.len());
        return json_line(
            out,
            &json!({"id": id, "atoms": atoms, "bytes": len, "durable": durable}),
        );
    }
    Ok(writeln!(out, "{id}")?)
}

/// Reads the input. Its length is checked first if it is known; a pipe fails as soon as it is too
/// long.
fn read(file: &PathArg, kind: PutKind) -> Result<Vec<u8>, Failure> {
    let max_bytes = match kind {
        // Includes a line end.
        PutKind::Symbol => MAX_ATOM_BYTES as u64 + 2,
        PutKind::Bytes | PutKind::Expr => MAX_FILE_BYTES,
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

/// Splits data into a list of pieces. Empty data is one empty piece, so that it has an id that can
/// be fetched.
fn pieces(bytes: &[u8]) -> (AtomId, Vec<Atom>) {
    if bytes.is_empty() {
        return bytes_list(&[[]]);
    }
    bytes_list(&bytes.chunks(PIECE_BYTES).collect::<Vec<_>>())
}

fn symbol(bytes: Vec<u8>) -> Result<(AtomId, Vec<Atom>), Failure> {
    let name = String::from_utf8(bytes)
        .map_err(|_| Failure::Failed("a symbol must be UTF-8 text".to_owned()))?;
    let atom = Atom::symbol(name.trim_end_matches(['\n', '\r']));
    Ok((atom.id(), vec![atom]))
}

fn expr(bytes: Vec<u8>) -> Result<(AtomId, Vec<Atom>), Failure> {
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::Failed("an expression must be UTF-8 text".to_owned()))?;
    let expr = astreum_core::text::parse(&text)
        .map_err(|error| Failure::Failed(format!("{error}\n{}", error.snippet(&text))))?;
    Ok(expr.to_atoms())
}

/// Checks that the last atom of a list is still stored: it was sent first, and is evicted first if
/// the node's hot storage is smaller than the list.
fn check_kept(client: &Client, atoms: &[Atom]) -> Result<(), Failure> {
    let (Some(end), true) = (atoms.last(), atoms.len() > 1) else {
        return Ok(());
    };
    match fetch(client, &end.id())? {
        Some(_) => Ok(()),
        None => Err(Failure::Failed(
            "hot storage of the node is too small: it has already evicted a part; raise \
             hot_storage_limit"
                .to_owned(),
        )),
    }
}

/// Sends the atoms, the last of the list first, so that a stored atom never lacks its successors.
/// Returns whether they survive a restart of the node.
fn send(client: &Client, atoms: &[Atom]) -> Result<bool, Failure> {
    let mut durable = true;
    let mut rest = atoms;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |atom: &&Atom| {
            bytes += atom.stored_len();
            bytes <= REQUEST_BYTES
        };
        let count = rest.iter().rev().take_while(fits).count().max(1);
        let (before, batch) = rest.split_at(rest.len().saturating_sub(count));
        let atoms = batch.iter().rev().cloned().collect();
        let reply = client.request(&request::Put { atoms })?;
        if reply.ids.len() != batch.len() {
            return Err(Failure::Failed(
                "the node has not stored every atom".to_owned(),
            ));
        }
        durable &= reply.durable;
        rest = before;
    }
    Ok(durable)
}

const _: () =
    assert!(PIECE_BYTES + HEADER_BYTES < MAX_ATOM_BYTES && 2 * REQUEST_BYTES < MAX_MESSAGE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_files_and_stores_empty_input_as_one_atom() {
        let sizes = |len: usize| {
            let (_, atoms) = pieces(&vec![7; len]);
            atoms
                .iter()
                .map(|atom| atom.data().len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(0), [0]);
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(3_900), [3_900]);
        assert_eq!(sizes(7_801), [3_900, 3_900, 1]);
    }
}
