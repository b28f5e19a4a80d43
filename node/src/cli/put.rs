//! Command `astreum put`: stores a file or a folder as atoms at the running node.
//!
//! The atom that makes an object complete is stored last: the first one of a list, and that of a
//! manifest after all lists that it leads to. A put that was interrupted leaves atoms that the next
//! one finds stored.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use astreum_core::atom::{Atom, AtomId, AtomKind};
use astreum_core::engine::limits::MAX_ADVERTISEMENTS;
use astreum_core::manifest::{
    Entry, EntryKind, Items, LIST_BYTES, PIECE_BYTES, SINGLE_FILE_MODE, Table, TableWriter,
    list_count, list_len, name_atom, version_atom,
};
use serde_json::json;

use crate::rpc::{AtomParts, Client, request};

use super::args::{PutArgs, PutKind};
use super::eval_session::fetch;
use super::folder::table_of;
use super::input::read_capped;
use super::node_args::client_of;
use super::output::{Failure, Output, complain, json_line};
use super::path_arg::PathArg;
use super::pieces::{Input, split};
use super::progress::ByteBar;
use super::upload::{Upload, Uploaded, upload};

/// Maximum size in bytes of an expression's text; all of it is held in memory.
const MAX_TEXT_BYTES: u64 = 1 << 30;
/// Maximum number of data bytes of an atom that the network can carry.
const MAX_ATOM_BYTES: usize = crate::store::MAX_ATOM_DATA_BYTES;
/// Maximum number of ids in one request, whose message is limited.
const IDS_PER_REQUEST: usize = 10_000;

/// Id of a list and its atoms, in order.
type List = (AtomId, Vec<Atom>);

/// Object that was sent.
struct Object {
    id: AtomId,
    /// Lists to advertise; none if the object is a single atom.
    lists: Vec<AtomId>,
    /// Number of bytes of the input.
    bytes: u64,
    /// Number of files, if there is a manifest.
    files: Option<usize>,
}

pub(super) fn put(args: &PutArgs, out: &mut Output) -> Result<(), Failure> {
    let loaded = args.at.load()?;
    let client = client_of(&args.at, &loaded);
    let (object, sent) = match args.kind {
        PutKind::Bytes if !args.file.is_stdin() && args.file.is_dir() => put_folder(&client, args)?,
        PutKind::Bytes => {
            let directory = loaded.settings.cold_directory();
            put_file(&client, args, directory)?
        }
        PutKind::Symbol => put_text(&client, &args.file, args.kind, symbol)?,
        PutKind::Expr => put_text(&client, &args.file, args.kind, expr)?,
    };
    let Uploaded { atoms, durable, .. } = sent;
    if !durable {
        check_kept(&client, &sent)?;
    }
    if args.advertise {
        advertise(&client, &object)?;
    }
    if !durable {
        complain("note: the node has no cold storage: the data is lost when it stops");
    }
    let Object {
        id, bytes, files, ..
    } = object;
    if args.json {
        let id = id.to_string();
        let mut value = json!({"id": id, "atoms": atoms, "bytes": bytes, "durable": durable});
        if let (Some(files), Some(value)) = (files, value.as_object_mut()) {
            value.insert("files".to_owned(), json!(files));
        }
        return json_line(out, &value);
    }
    Ok(writeln!(out, "{id}")?)
}

/// Advertises an object, with all lists that a manifest leads to: each is fetched for itself.
fn advertise(client: &Client, object: &Object) -> Result<(), Failure> {
    if object.lists.len() < 2 {
        let advertise = request::Advertise {
            id: object.id,
            list: !object.lists.is_empty(),
            expires_seconds: None,
        };
        return Ok(client.request(&advertise)?);
    }
    for ids in object.lists.chunks(IDS_PER_REQUEST) {
        let ids = ids.to_vec();
        client.request(&request::AdvertiseLists { ids })?;
    }
    Ok(())
}

/// Sends a file: a list, or a manifest with several lists.
fn put_file(
    client: &Client,
    args: &PutArgs,
    directory: Option<&Path>,
) -> Result<(Object, Uploaded), Failure> {
    let path = (!args.file.is_stdin()).then_some(&*args.file);
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", args.file.display()));
    let input = Input::open(path, directory).map_err(failed)?;
    let (size, bar) = (input.len(), byte_bar(input.len(), args));
    let (object, sent) = upload(client, &bar, |upload| {
        let mut lists = Vec::new();
        let content = put_content(upload, &input, &mut lists, &failed)?;
        if list_count(size) == 1 {
            return Ok(Object {
                id: content,
                lists,
                bytes: size,
                files: None,
            });
        }
        let mut writer = TableWriter::default();
        let entry = Entry {
            path: "",
            kind: EntryKind::File { size },
            mode: SINGLE_FILE_MODE,
        };
        writer.push(&entry).map_err(Failure::failed)?;
        let table = writer.finish().map_err(Failure::failed)?;
        input.check_unchanged().map_err(failed)?;
        put_manifest(upload, &table, vec![content], lists)
    })?;
    let is_atom = sent.atoms == 1;
    let lists = if is_atom { Vec::new() } else { object.lists };
    Ok((Object { lists, ..object }, sent))
}

/// Sends a folder with all its files.
fn put_folder(client: &Client, args: &PutArgs) -> Result<(Object, Uploaded), Failure> {
    let root = &*args.file;
    let table = table_of(root)?;
    if args.advertise && table.files() > MAX_ADVERTISEMENTS {
        return Err(Failure::Failed(format!(
            "{}: {} files exceed the maximum of {MAX_ADVERTISEMENTS} advertisements; put it without \
             --advertise, or put several folders",
            root.display(),
            table.files()
        )));
    }
    let bar = byte_bar(table.file_bytes(), args);
    upload(client, &bar, |upload| {
        let (mut contents, mut lists) = (Vec::new(), Vec::new());
        for entry in table.entries() {
            let Some(size) = entry.size() else {
                continue;
            };
            let path = root.join(entry.path);
            let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()));
            let input = Input::open_regular(&path, size).map_err(failed)?;
            // Only the manifest is needed where nothing is advertised.
            let mut own = Vec::new();
            contents.push(put_content(upload, &input, &mut own, &failed)?);
            if args.advertise {
                lists.append(&mut own);
            }
        }
        put_manifest(upload, &table, contents, lists)
    })
}

fn byte_bar(len: u64, args: &PutArgs) -> ByteBar {
    ByteBar::new("storing", Some(len), args.quiet)
}

/// Sends the content of a file, its last list first, and adds its lists to `lists`. Returns its id.
fn put_content(
    upload: &mut Upload,
    input: &Input,
    lists: &mut Vec<AtomId>,
    failed: &dyn Fn(io::Error) -> Failure,
) -> Result<AtomId, Failure> {
    let size = input.len();
    let mut own = Vec::new();
    for list in (0..list_count(size)).rev() {
        let start = list * LIST_BYTES;
        let range = start..start + list_len(size, list);
        let mut take = |id, parts: AtomParts<'_>| upload.push_piece(id, parts);
        own.push(split(input, range, &mut take, failed)?);
    }
    let id = match own[..] {
        [id] => id,
        _ => {
            let id = put_links(upload, own.iter().copied())?;
            own.push(id);
            id
        }
    };
    lists.append(&mut own);
    Ok(id)
}

/// Sends a list of links, whose last one comes first. Returns its id.
fn put_links(
    upload: &mut Upload,
    reversed: impl Iterator<Item = AtomId>,
) -> Result<AtomId, Failure> {
    let mut next = AtomId::ZERO;
    for id in reversed {
        next = upload.push_atom(&Atom::list(id, next))?;
    }
    Ok(next)
}

/// Sends a manifest, whose first atom comes last.
fn put_manifest(
    upload: &mut Upload,
    table: &Table,
    contents: Vec<AtomId>,
    mut lists: Vec<AtomId>,
) -> Result<Object, Failure> {
    let mut next = AtomId::ZERO;
    for piece in table.as_bytes().chunks(PIECE_BYTES).rev() {
        next = upload.push_atom(&Atom::new(AtomKind::Bytes, piece, next))?;
    }
    let items = Items {
        table: next,
        contents,
    };
    upload.push_atom(&name_atom())?;
    upload.push_atom(&version_atom())?;
    let id = put_links(upload, items.ids().rev())?;
    lists.extend([next, id]);
    // Equal files are one object.
    lists.sort_unstable();
    lists.dedup();
    Ok(Object {
        id,
        lists,
        bytes: table.file_bytes(),
        files: Some(table.files()),
    })
}

/// Sends the atoms of a text.
fn put_text(
    client: &Client,
    file: &PathArg,
    kind: PutKind,
    atoms: fn(Vec<u8>) -> Result<List, Failure>,
) -> Result<(Object, Uploaded), Failure> {
    let bytes = read(file, kind)?;
    let len = bytes.len() as u64;
    let (id, atoms) = atoms(bytes)?;
    if let Some(atom) = atoms.iter().find(|atom| atom.data().len() > MAX_ATOM_BYTES) {
        let size = atom.data().len();
        return Err(Failure::Failed(format!(
            "an atom with {size} bytes of data does not fit into a datagram; the maximum is \
             {MAX_ATOM_BYTES}"
        )));
    }
    let bar = ByteBar::new("storing", None, true);
    upload(client, &bar, |upload| {
        for atom in atoms.iter().rev() {
            upload.push_atom(atom)?;
        }
        Ok(Object {
            id,
            lists: if atoms.len() > 1 {
                vec![id]
            } else {
                Vec::new()
            },
            bytes: len,
            files: None,
        })
    })
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

/// Checks that the atom that was sent first is still stored: it is evicted first if the node's hot
/// storage is smaller than the object.
fn check_kept(client: &Client, sent: &Uploaded) -> Result<(), Failure> {
    let Some(first) = sent.first.filter(|_| sent.atoms > 1) else {
        return Ok(());
    };
    match fetch(client, &first)? {
        Some(_) => Ok(()),
        None => Err(Failure::Failed(
            "hot storage of the node is too small: it has already evicted a part; raise \
             hot_storage_limit"
                .to_owned(),
        )),
    }
}
