//! Sealed pairs that several nodes read and write.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the file that marks a directory whose sealed pairs are in an object store.
pub const OBJECT_STORE: &str = "OBJECT_STORE";

/// Time after its last change of the shared pairs at which the turn of a node has ended, also if it
/// was killed.
pub const TURN_LIMIT: Duration = Duration::from_mins(2);

/// Outcome of [`Shared::begin`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Turn {
    /// This node may change the shared pairs.
    Ready,
    /// Another node changes them now; its name.
    Busy(String),
}

/// State of shared pairs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SharedStatus {
    /// Conditions on which an operator has to act.
    pub problems: Vec<String>,
    /// Counters by name.
    pub counters: BTreeMap<String, u64>,
}

/// Part of a [`Disk`](super::Disk) whose sealed pairs are shared with other nodes. All other files
/// of such a disk belong to one node.
///
/// - The files of a pair are immutable and appear together: the [`sync_dir`](super::Disk::sync_dir)
///   of a level that follows the renaming of an index makes the pair visible to all nodes, or fails.
///   A pair disappears with the `sync_dir` that follows the renaming of its index away.
/// - The number of a pair is never used again, in any level.
/// - A read of a file that has disappeared fails with [`io::ErrorKind::NotFound`] at some time.
pub trait Shared: Send + Sync {
    /// Takes the right to change the shared pairs, for a limited time, and loads their current list.
    /// It is renewed while a pair is written.
    ///
    /// # Errors
    /// Fails if the pairs cannot be reached.
    fn begin(&self) -> io::Result<Turn>;

    /// Gives up that right, if this node has it.
    fn end(&self);

    /// Returns the number of the next new pair.
    ///
    /// # Errors
    /// Fails without the right to change the pairs.
    fn pair_number(&self) -> io::Result<u64>;

    /// Loads the current list of pairs: at once if `now` is set, else if the last time was a while
    /// ago.
    ///
    /// # Errors
    /// Fails if the list cannot be reached.
    fn refresh(&self, now: bool) -> io::Result<()>;

    /// Returns level and number of every pair in the list that was loaded last.
    fn pairs(&self) -> Vec<(u32, u64)>;

    /// Returns a local file for what was computed from the index with this path, so that the index
    /// need not be read again. It may exist already.
    fn side_file(&self, index: &Path) -> Option<PathBuf>;

    /// Returns problems and counters.
    fn status(&self) -> SharedStatus;
}
