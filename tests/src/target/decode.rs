//! Fuzz target of all decoders of bytes from the network or from a store: no input panics, and
//! accepted input re-encodes without change of meaning.

use astreum_core::atom::{Atom, AtomId, HashedAtom, MemoryStore};
use astreum_core::crypto::SharedKey;
use astreum_core::expr::Expr;
use astreum_core::manifest::{EntryKind, Table, TableWriter};
use astreum_core::wire::message::{Body, Message};
use astreum_core::wire::object::{Contact, Found, Request, Response};
use astreum_core::wire::object::{write_found_atom, write_found_list};
use astreum_core::wire::packet::Packet;
use astreum_core::wire::ping::Ping;
use astreum_core::wire::route_message::{AddressFamily, RouteTable, decode_entries, write_entry};
use std::collections::BTreeSet;

/// Maximum number of atoms that an expression is read from.
const MAX_ATOMS: usize = 1_000;

/// Passes `data` to every decoder.
pub fn run(data: &[u8]) {
    super::count_operations(1);
    atom(data);
    expression(data);
    found(data);
    packet(data);
    objects(data);
    routes(data);
    manifest(data);
    if let Ok(ping) = Ping::decode(data) {
        assert_eq!(ping.encode(), data, "a ping");
    }
}

/// Reads `data` as the table of a manifest, whose paths are then safe to write.
fn manifest(data: &[u8]) {
    let Ok(table) = Table::parse(data.to_vec()) else {
        return;
    };
    let mut writer = TableWriter::default();
    let mut directories = BTreeSet::new();
    for entry in table.entries() {
        assert_eq!(writer.push(&entry), Ok(()), "an entry that was read");
        assert!(entry.mode <= 0o777, "permissions only");
        if !entry.path.is_empty() {
            let mut names = entry.path.split('/');
            assert!(
                names.all(|name| !matches!(name, "" | "." | "..")),
                "a safe path"
            );
            let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
            assert!(directories.contains(parent), "the directory comes first");
        }
        if entry.kind == EntryKind::Directory {
            assert!(directories.insert(entry.path), "each path once");
        }
    }
    let written = writer
        .finish()
        .map(|it| it == table && it.as_bytes() == data);
    assert_eq!(written, Ok(true), "a table has one form");
}

fn atom(data: &[u8]) {
    if let Ok(atom) = Atom::from_bytes(data) {
        assert_eq!(atom.to_bytes(), data, "stored form of the atom");
    }
}

/// Reads `data` as a store: (length u16 BE, an atom's stored bytes)…; the last atom is the root.
fn expression(mut data: &[u8]) {
    let mut root = None;
    let mut store = MemoryStore::new();
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (stored, rest) = rest.split_at(len);
        data = rest;
        if let Ok(atom) = Atom::from_bytes(stored) {
            root = Some(store.insert(atom));
        }
    }
    let Some(root) = root else { return };
    if let Ok(expr) = Expr::from_atoms(&store, &root, MAX_ATOMS) {
        // The links of symbols and values are ignored, so the id may differ while the expression is
        // the same.
        let mut written = MemoryStore::new();
        let Ok(id) = expr.write_atoms(&mut written);
        assert!(
            Expr::from_atoms(&written, &id, MAX_ATOMS) == Ok(expr),
            "an expression"
        );
    }
}

/// Decodes `data` as a found object, for the id of its first atom.
fn found(data: &[u8]) {
    assert!(
        Found::decode(&AtomId::ZERO, data).is_err(),
        "no atom has the id zero"
    );
    let first = match data {
        [1, stored @ ..] => Atom::from_bytes(stored).ok(),
        [2, rest @ ..] => rest.split_first_chunk::<4>().and_then(|(len, rest)| {
            let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
            Atom::from_bytes(rest.get(..len)?).ok()
        }),
        _ => None,
    };
    let Some(first) = first else { return };
    let Ok(found) = Found::decode(&first.id(), data) else {
        return;
    };
    let decoded = found.atoms().first().map(HashedAtom::atom);
    assert_eq!(decoded, Some(&first));
    let mut again = Vec::new();
    match &found {
        Found::Atom(atom) => write_found_atom(&mut again, atom.atom()),
        Found::List(atoms) => {
            let written = write_found_list(&mut again, atoms.iter().map(HashedAtom::atom));
            assert_eq!(written, Ok(()), "a decoded list is short enough to encode");
        }
    }
    assert_eq!(again, data, "a hit");
}

fn packet(data: &[u8]) {
    if let Ok(packet) = Packet::decode(data) {
        assert_eq!(packet.check_work(packet.work()), Ok(()));
        message(packet.message());
    }
    message(data);
}

fn message(data: &[u8]) {
    if let Ok(message) = Message::decode(data)
        && let Body::Sealed(sealed) = message.body
    {
        let key = SharedKey::from_bytes([7; 32]);
        let mut out = Vec::new();
        assert!(
            sealed.open(&key, &mut out).is_err(),
            "the key is unknown to the sender"
        );
        assert!(out.len() <= data.len(), "an opened message is not longer");
    }
}

fn objects(data: &[u8]) {
    let mut again = Vec::new();
    if let Ok(request) = Request::decode(data) {
        request.write(&mut again);
        assert_eq!(again, data, "a request");
    }
    again.clear();
    if let Ok(response) = Response::decode(data) {
        response.write(&mut again);
        assert_eq!(again, data, "a response");
    }
    if let Ok(contact) = Contact::decode(data) {
        assert!(data.starts_with(&contact.encode()), "a contact");
    }
}

fn routes(data: &[u8]) {
    if let Ok(table) = RouteTable::decode(data) {
        assert!(data.starts_with(&table.encode()), "a route request");
    }
    for family in [AddressFamily::V4, AddressFamily::V6] {
        if let Ok(entries) = decode_entries(data, family) {
            let mut again = Vec::new();
            for entry in entries {
                write_entry(&mut again, &entry);
            }
            assert_eq!(again, data, "a route response");
        }
    }
}
