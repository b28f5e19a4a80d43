//! Creation of the directory of a node's own files.

use crate::log;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Creates the state directory with access for its owner only, wherever logs and socket are. A
/// failure is only logged: the files that need the directory report their own errors.
pub(crate) fn create_state_dir(state_dir: &Path) {
    let mut builder = std::fs::DirBuilder::new();
    if let Err(error) = builder.recursive(true).mode(0o700).create(state_dir) {
        log::warn!("cannot create state_dir {}: {error}", state_dir.display());
    }
}
