//! Replies of the control socket about pins and pruning.

use super::schema::record;
use super::text;
use crate::node::{Pinned, PruneStatus};
use crate::prune::Outcome;
use crate::store::cold::PinKinds;
use astreum_core::atom::AtomId;

/// Maximum number of pins in one reply.
pub const MAX_PINS_REPLY: u64 = 4_096;

record! {
    /// Pinned object.
    pub struct PinReply {
        /// Id of its first atom.
        #[serde(with = "text")]
        pub id: AtomId,
        /// `true` if a user has stored it.
        pub stored: bool,
        /// `true` if a user has pinned it.
        pub pinned: bool,
        /// `true` if it is a list under a storage contract of a user.
        pub contract: bool,
    }
}

impl PinReply {
    /// Returns the reply about a pin.
    #[must_use]
    pub const fn new(id: AtomId, kinds: PinKinds) -> Self {
        Self {
            id,
            stored: kinds.has(PinKinds::STORED),
            pinned: kinds.has(PinKinds::PINNED),
            contract: kinds.has(PinKinds::CONTRACT),
        }
    }
}

record! {
    /// Object that was pinned.
    pub struct PinnedReply {
        /// Number of its atoms.
        pub atoms: u64,
        /// Number of those that were fetched or copied to cold storage.
        pub stored: u64,
        /// Number of ids in it that are not atoms of the node or its peers.
        pub missing: u64,
    }
}

impl From<Pinned> for PinnedReply {
    fn from(pinned: Pinned) -> Self {
        let Pinned {
            atoms,
            stored,
            missing,
        } = pinned;
        Self {
            atoms,
            stored,
            missing,
        }
    }
}

record! {
    /// Result of a garbage collection.
    pub struct PruneReply {
        /// Height of the lowest block whose state is kept; `null` without a chain.
        pub horizon: Option<u64>,
        /// Number of blocks whose state is kept.
        pub blocks: u64,
        /// Number of pins.
        pub pins: u64,
        /// Number of atoms that are pinned and not stored.
        pub missing: u64,
        /// Number of atoms that are kept.
        pub kept_atoms: u64,
        /// Bytes of those, with their index entries.
        pub kept_bytes: u64,
        /// Number of atoms that are not needed.
        pub garbage_atoms: u64,
        /// Bytes of those, with their index entries.
        pub garbage_bytes: u64,
        /// Number of atoms that were removed.
        pub removed_atoms: u64,
        /// Bytes by which the files became smaller.
        pub removed_bytes: u64,
    }
}

impl From<Outcome> for PruneReply {
    fn from(outcome: Outcome) -> Self {
        Self {
            horizon: outcome.horizon,
            blocks: outcome.blocks,
            pins: outcome.pins,
            missing: outcome.missing,
            kept_atoms: outcome.kept.atoms,
            kept_bytes: outcome.kept.bytes,
            garbage_atoms: outcome.garbage.atoms,
            garbage_bytes: outcome.garbage.bytes,
            removed_atoms: outcome.swept.atoms,
            removed_bytes: outcome.swept.bytes,
        }
    }
}

record! {
    /// State of pruning.
    #[derive(Default)]
    pub struct PruningReply {
        /// `true` while a run is under way.
        pub running: bool,
        /// Height of the lowest block that is not pruned; of those below, only headers are kept.
        pub horizon: u64,
        /// Number of pinned objects.
        pub pins: u64,
        /// Time of the last run of this process, in seconds since 1970.
        pub last_run_unix: Option<u64>,
        /// Number of atoms that runs of this process have removed.
        pub removed_atoms: u64,
        /// Bytes that they have freed.
        pub removed_bytes: u64,
    }
}

impl PruningReply {
    /// Returns the reply about the state of pruning.
    #[must_use]
    pub fn new(status: &PruneStatus, horizon: u64, pins: u64) -> Self {
        Self {
            running: status.is_running,
            horizon,
            pins,
            last_run_unix: status.last.map(|(at, _)| at),
            removed_atoms: status.removed.0,
            removed_bytes: status.removed.1,
        }
    }
}
