//! Upload of atoms to the node, in constant memory.
//!
//! A thread makes the atoms while another one sends them. They are sent in the order in which they
//! are made, in transfers of at most [`MAX_LIST_ATOMS`]; the next transfer begins once the node has
//! stored the one before, so that an atom that is made last is stored last.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use astreum_core::atom::{Atom, AtomId, HEADER_BYTES, MAX_LIST_ATOMS};

use crate::rpc::{
    AtomParts, Client, MAX_TRANSFER_BYTES, StoredReply, TRANSFER, push_atom, request,
};

use super::output::Failure;
use super::progress::ByteBar;

/// Number of parts that may wait to be sent.
const WAITING_PARTS: usize = 4;
/// Maximum size in bytes of an atom in a transfer.
const MAX_RECORD_BYTES: usize = 4 + HEADER_BYTES + crate::store::MAX_ATOM_DATA_BYTES;

/// Bytes of whole atoms that fit into a frame.
#[derive(Debug, Default)]
struct Part {
    bytes: Vec<u8>,
    atoms: u64,
    /// Number of bytes of files in it.
    file_bytes: usize,
}

/// Receiver of the atoms of an upload.
#[derive(Debug)]
pub(super) struct Upload {
    part: Part,
    sender: SyncSender<Result<Part, Failure>>,
    first: Option<AtomId>,
    atoms: u64,
}

impl Upload {
    /// Adds a piece of a file, whose bytes count as progress.
    pub(super) fn push_piece(&mut self, id: AtomId, parts: AtomParts<'_>) -> Result<(), Failure> {
        self.push(id, parts)?;
        self.part.file_bytes += parts.data.len();
        Ok(())
    }

    /// Adds an atom.
    pub(super) fn push_atom(&mut self, atom: &Atom) -> Result<AtomId, Failure> {
        let id = atom.id();
        self.push(id, AtomParts::from(atom))?;
        Ok(id)
    }

    fn push(&mut self, id: AtomId, parts: AtomParts<'_>) -> Result<(), Failure> {
        self.first.get_or_insert(id);
        self.atoms += 1;
        if self.part.bytes.len() + MAX_RECORD_BYTES > MAX_TRANSFER_BYTES {
            self.flush()?;
        }
        push_atom(parts, &mut self.part.bytes);
        self.part.atoms += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let empty = Part {
            bytes: Vec::with_capacity(MAX_TRANSFER_BYTES),
            ..Part::default()
        };
        let part = core::mem::replace(&mut self.part, empty);
        // The other thread reports why the transfer has ended.
        self.sender.send(Ok(part)).map_err(|_| Failure::Reported)
    }
}

/// Result of an upload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Uploaded {
    /// Id of the first atom that was sent, if there was any.
    pub(super) first: Option<AtomId>,
    /// Number of atoms.
    pub(super) atoms: u64,
    /// `true` if they survive a restart of the node.
    pub(super) durable: bool,
}

/// Uploads the atoms that `make` adds, and returns its result.
pub(super) fn upload<T: Send>(
    client: &Client,
    bar: &ByteBar,
    make: impl FnOnce(&mut Upload) -> Result<T, Failure> + Send,
) -> Result<(T, Uploaded), Failure> {
    let (sender, parts) = sync_channel(WAITING_PARTS);
    thread::scope(|scope| {
        let reader = thread::Builder::new()
            .name("reader".to_owned())
            .spawn_scoped(scope, move || {
                let mut upload = Upload {
                    part: Part::default(),
                    sender,
                    first: None,
                    atoms: 0,
                };
                let made = make(&mut upload).and_then(|made| upload.flush().map(|()| made));
                match made {
                    Ok(made) => Some((made, upload.first, upload.atoms)),
                    Err(error) => {
                        let _ = upload.sender.send(Err(error));
                        None
                    }
                }
            })
            .map_err(Failure::failed)?;
        let sent = send_all(client, &mut || match parts.recv() {
            Ok(Ok(part)) => {
                bar.add(part.file_bytes);
                Ok(Some(part))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(None),
        });
        // Ends the thread if the transfer has failed.
        drop(parts);
        let made = reader.join();
        let reply = sent?;
        let Ok(Some((made, first, atoms))) = made else {
            return Err(Failure::Failed(
                "the data was not read to its end".to_owned(),
            ));
        };
        if reply.atoms != atoms {
            return Err(Failure::Failed(
                "the node has not stored every atom".to_owned(),
            ));
        }
        let durable = reply.durable;
        let uploaded = Uploaded {
            first,
            atoms,
            durable,
        };
        Ok((made, uploaded))
    })
}

/// Sends parts in transfers, up to the end.
fn send_all(
    client: &Client,
    next: &mut dyn FnMut() -> Result<Option<Part>, Failure>,
) -> Result<StoredReply, Failure> {
    let mut stored = StoredReply {
        atoms: 0,
        bytes: 0,
        durable: true,
    };
    // Part that does not fit into the transfer before.
    let mut waiting = None;
    loop {
        let mut atoms = 0;
        let request = request::PutAtoms { transfer: TRANSFER };
        let reply = client.upload(&request, &mut || {
            let part = match waiting.take() {
                Some(part) => Some(part),
                None => next()?,
            };
            let Some(part) = part else {
                return Ok::<_, Failure>(None);
            };
            if atoms + part.atoms > MAX_LIST_ATOMS as u64 {
                waiting = Some(part);
                return Ok(None);
            }
            atoms += part.atoms;
            Ok(Some(part.bytes))
        })?;
        stored.atoms += reply.atoms;
        stored.bytes += reply.bytes;
        stored.durable &= reply.durable;
        if waiting.is_none() {
            return Ok(stored);
        }
    }
}
