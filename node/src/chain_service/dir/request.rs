//! File of the block whose signature was requested last from a signer.
//!
//! | bytes | content |
//! | ---: | --- |
//! | 8 | `ASTRREQ1` |
//! | 4, then as many | length and compact form of the block without a signature |
//! | 4 each, then as many | length and bytes of each atom |
//! | 32 | BLAKE3 of all before |
//!
//! Lengths are big-endian.

use super::ChainDirError;
use crate::chain_service::files::{read_file, replace_file};
use crate::chain_service::producer::UnsignedBlock;
use astreum_core::atom::Atom;
use astreum_core::chain::Block;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"ASTRREQ1";
/// Maximum size of the file, in bytes: the largest block, with each atom's length.
const MAX_FILE_BYTES: u64 = 128 << 20;
const HASH_BYTES: usize = 32;

#[derive(Debug)]
pub(super) struct RequestFile {
    path: PathBuf,
}

impl RequestFile {
    pub(super) fn new(directory: &Path, chain_id: u64, key: &[u8; 32]) -> Self {
        let start: String = hex::encode(key).chars().take(16).collect();
        Self {
            path: directory.join(format!("request_{chain_id}_{start}")),
        }
    }

    /// Reads the block; returns `None` if the file does not exist.
    pub(super) fn load(&self) -> Result<Option<UnsignedBlock>, ChainDirError> {
        let read = read_file(&self.path, MAX_FILE_BYTES);
        let read = read.map_err(|error| ChainDirError::io("read", &self.path, error))?;
        let Some(bytes) = read else {
            return Ok(None);
        };
        let block = parse(&bytes);
        let block = block.ok_or_else(|| ChainDirError::damaged(&self.path, "malformed request"))?;
        Ok(Some(block))
    }

    pub(super) fn save(&self, block: &UnsignedBlock) -> Result<(), ChainDirError> {
        let saved = encode(block).and_then(|bytes| replace_file(&self.path, &bytes));
        match saved {
            Ok(_) => Ok(()),
            Err(error) => Err(ChainDirError::io("write", &self.path, error)),
        }
    }
}

fn encode(block: &UnsignedBlock) -> io::Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    let mut push = |part: &[u8]| {
        let len = u32::try_from(part.len()).map_err(io::Error::other)?;
        bytes.extend(len.to_be_bytes());
        bytes.extend(part);
        Ok::<(), io::Error>(())
    };
    push(&block.header.clone().signed(None).to_compact())?;
    for (_, atom) in &block.atoms {
        push(&atom.to_bytes())?;
    }
    bytes.extend(blake3::hash(&bytes).as_bytes());
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<UnsignedBlock> {
    let (content, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
    if blake3::hash(content) != *hash {
        return None;
    }
    let mut rest = content.strip_prefix(MAGIC)?;
    let mut next = || {
        let (len, after) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
        let (part, after) = after.split_at_checked(len)?;
        rest = after;
        Some((part, after.is_empty()))
    };
    let (header, mut is_over) = next()?;
    let block = Block::from_compact(header)?;
    let mut atoms = Vec::new();
    while !is_over {
        let (part, is_last) = next()?;
        let atom = Atom::from_bytes(part).ok()?;
        atoms.push((atom.id(), atom));
        is_over = is_last;
    }
    Some(UnsignedBlock {
        header: block.header().clone(),
        atoms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::atom::MemoryStore;
    use astreum_core::chain::{Address, Genesis};
    use astreum_core::integer::Natural;
    use astreum_core::testkit::key;
    use astreum_core::trie::Scalar;
    use std::fs;

    #[test]
    fn block_round_trips_and_damage_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let file = RequestFile::new(scratch.path(), 3, &[7; 32]);
        assert_eq!(file.load().unwrap(), None);
        let validator = Address::from(key(1).verifying_key());
        let genesis = Genesis::new(validator, Natural::ZERO, 5_u64.into());
        let mut store = MemoryStore::new();
        let block = genesis.build(&mut Scalar, &mut store).unwrap();
        let atoms = store.iter().map(|(id, atom)| (*id, atom.clone()));
        let mut request = UnsignedBlock {
            header: block.header().clone(),
            atoms: atoms.collect(),
        };
        assert!(!request.atoms.is_empty());
        file.save(&request).unwrap();
        assert_eq!(file.load().unwrap().as_ref(), Some(&request));
        let whole = fs::read(&file.path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&file.path, &damaged).unwrap();
            assert!(file.load().is_err(), "{at}");
            fs::write(&file.path, &whole[..at]).unwrap();
            assert!(file.load().is_err(), "{at}");
        }
        request.atoms.clear();
        file.save(&request).unwrap();
        assert_eq!(file.load().unwrap(), Some(request));
    }
}
