//! Lists of the node, verified as they arrive.

use astreum_core::atom::{AtomId, atom_id};

use crate::rpc::{AtomParts, AtomReader, Client, ClientError, Download, TRANSFER, request};

use super::output::Failure;
use super::progress::ByteBar;

/// Passes the atoms of a list to `take` as they arrive, each after a check of its id.
pub(super) fn read_list(
    client: &Client,
    id: AtomId,
    bar: &ByteBar,
    take: &mut dyn FnMut(AtomParts<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let bad = |message: String| Failure::from(ClientError::BadReply { message });
    let (mut expected, mut received) = (id, 0);
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
                bar.fetched(progress.bytes, received);
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
            received += data.len() as u64;
            take(parts)
        })
    })?;
    reader.finish()?;
    match expected.is_zero() {
        true => Ok(()),
        false => Err(bad(format!("the list ends before atom {expected}"))),
    }
}
