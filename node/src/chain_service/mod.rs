//! Chain service of a node: components that follow, verify and extend a chain.
//!
//! The consensus rules are core's. The components here decide when the rules are applied and to
//! which blocks. They are sans-I/O like core's engine, without threads, clock, entropy and sockets.
//! The contract with their host is core's [`consensus`](astreum_core::consensus).
//!
//! | module | contents |
//! | --- | --- |
//! | [`mempool_file`] | file that saves the mempool across restarts |
//! | [`producer`] | block producer of a validator (core's, with this machine's hasher) |
//! | [`archive`] | a chain, or its state, as one file |
//! | [`dir`] | identity, head journal and signing records on disk |
//! | [`signing_record`] | file of a signing record |
//! | [`signer`] | protocol and client of a signer |
//! | [`sync`] | sync with the heads of peers (core's, with this machine's hasher) |
//! | [`search`], [`replay`], [`recover`] | recovery of a chain from the blocks in cold storage |
//! | [`snapshot`] | thread that fetches the state of the block at which a chain was joined |
//! | [`thread`] | thread that drives the components and executes their effects |
//! | [`view`] | shared snapshot of the chain status |
//!
//! Invariants:
//! - Effects are executed in order and before the next call, so that a component finds the atoms it
//!   stored in [`Environment::atoms`].
//! - One call does a bounded amount of work. If work remains, [`Component::poll_timeout`] returns
//!   an instant in the past.
//! - The head changes only in [`Context::set_head`].

pub mod archive;
pub mod dir;
mod files;
pub mod mempool_file;
mod node;
pub mod producer;
pub mod recover;
pub mod replay;
pub mod search;
pub mod signer;
pub mod signing_record;
pub mod snapshot;
pub mod sync;
mod sync_rate;
pub mod thread;
pub mod view;

pub use astreum_core::consensus::{
    Anchor, Commit, Component, Conflict, Context, Effect, Environment, Head, HeadState, Input, Now,
    PART, PART_ATOM_BYTES, Parallel, ResumeData, SavedHead, Serial, SignedBlock, SigningRecord,
    Start, StoreFailure,
};
pub use node::Chain;
pub use sync::{ChainSync, SyncConfig, SyncProgress, SyncStatus};
pub use sync_rate::SyncRate;
pub use thread::NearlyFull;
pub use view::{ChainStatus, ChainView, ChainWatch};
