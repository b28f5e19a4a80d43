//! Files that record which snapshot of a chain has begun, and which is complete.
//!
//! The configuration may change while a snapshot is under way: the block that the chain was joined at
//! does not, and the state after it is still needed.

use crate::chain_service::files::{read_file, replace_file};
use crate::log;
use crate::store::Store;
use astreum_core::atom::AtomId;
use astreum_core::chain::Block;
use std::fs;
use std::io;
use std::path::Path;

/// File in the chain directory that names the block whose state is complete.
pub const COMPLETE: &str = "snapshot";
/// File in the chain directory that names the block whose state is being fetched.
pub const BEGUN: &str = "snapshot_begun";
/// Maximum size of such a file, in bytes.
const MAX_FILE_BYTES: u64 = 1_024;

/// Records in a chain directory that the whole state after a block is stored.
///
/// # Errors
/// Fails if a file cannot be replaced or removed.
pub fn note_complete(dir: &Path, block: &AtomId) -> io::Result<()> {
    note(dir, COMPLETE, block)?;
    match fs::remove_file(dir.join(BEGUN)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Records in a chain directory that the state after a block is being fetched.
///
/// # Errors
/// Fails if the file cannot be replaced.
pub(super) fn note_begun(dir: &Path, block: &AtomId) -> io::Result<()> {
    match names(dir, BEGUN, block) {
        true => Ok(()),
        false => note(dir, BEGUN, block),
    }
}

/// Returns whether the whole state after a block is stored.
pub(super) fn is_complete(dir: &Path, block: &AtomId) -> bool {
    names(dir, COMPLETE, block)
}

/// Returns the block that a chain was joined at, if the state after it is incomplete: a snapshot was
/// interrupted. `root` is the block that the chain was verified from; `is_wanted` is whether the
/// configuration asks for a snapshot, so that any block but a genesis is one.
#[must_use]
pub fn unfinished(
    dir: &Path,
    store: &Store,
    root: Option<AtomId>,
    is_wanted: bool,
) -> Option<AtomId> {
    let root = root.filter(|root| !is_complete(dir, root))?;
    let is_begun = || names(dir, BEGUN, &root);
    let is_above = || Block::read(store, root).is_ok_and(|block| !block.is_genesis());
    (is_begun() || is_wanted && is_above()).then_some(root)
}

fn note(dir: &Path, name: &str, block: &AtomId) -> io::Result<()> {
    let path = dir.join(name);
    let replaced = replace_file(&path, text(block).as_bytes());
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    replaced.map(drop).map_err(named)
}

fn names(dir: &Path, name: &str, block: &AtomId) -> bool {
    let path = dir.join(name);
    match read_file(&path, MAX_FILE_BYTES) {
        Ok(read) => read.is_some_and(|read| read == text(block).as_bytes()),
        Err(error) => {
            log::warn!("cannot read {}: {error}", path.display());
            false
        }
    }
}

/// Returns the content of a file.
fn text(block: &AtomId) -> String {
    format!("astreum snapshot 1\n{block}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use astreum_core::testkit::StateChain;

    #[test]
    fn begun_snapshot_is_unfinished_whatever_the_configuration_until_it_is_complete() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path();
        let store = Store::with_cold(1 << 20, None);
        let (root, other) = (AtomId::new([1; 32]), AtomId::new([2; 32]));
        let find = |root, is_wanted| unfinished(dir, &store, root, is_wanted);
        assert_eq!(find(Some(root), true), None);
        note_begun(dir, &root).unwrap();
        for is_wanted in [false, true] {
            assert_eq!(find(Some(root), is_wanted), Some(root));
            assert_eq!(find(Some(other), is_wanted), None);
            assert_eq!(find(None, is_wanted), None);
        }
        note_complete(dir, &root).unwrap();
        assert_eq!(find(Some(root), true), None);
        assert!(is_complete(dir, &root) && !is_complete(dir, &other));
        assert!(!dir.join(BEGUN).exists());
    }

    #[test]
    fn chain_joined_above_its_genesis_is_unfinished_only_if_a_snapshot_is_configured() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::with_cold(1 << 20, None);
        let mut chain = StateChain::default();
        for _ in 0..2 {
            store.put_all(chain.push(&[(1, 5)], &[])).unwrap();
        }
        let [genesis, above] = [0, 1].map(|at: usize| chain.blocks[at].id());
        let find = |root, is_wanted| unfinished(scratch.path(), &store, Some(root), is_wanted);
        assert_eq!(
            (find(genesis, true), find(above, true)),
            (None, Some(above))
        );
        assert_eq!(find(above, false), None);
    }
}
