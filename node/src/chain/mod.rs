//! The chain as a node lives it: state machines that follow, verify and make blocks.
//!
//! The rules are core's. What is here decides when they are applied and to what, and it is sans-IO
//! like core's engine: there is no thread, no clock, no entropy and no socket in it. The
//! contract with their host is core's [`consensus`](astreum_core::consensus).
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`mempool_file`] | the file in which a mempool survives a restart |
//! | [`producer`] | block producer of a validator (core's, with this machine's hasher) |
//! | [`dir`] | identity, head journal and signing records on disk |
//! | [`signed`] | file of a signing record |
//! | [`sync`] | follows the heads of peers and verifies every block (core's, with this machine's hasher) |
//! | [`search`], [`replay`], [`recover`] | blocks in cold storage, verified and resumed from |
//! | [`view`] | what other threads see of the chain |
//!
//! Invariants:
//! - Effects are carried out in their order and before the next call, so that a machine finds in
//!   [`Environment::atoms`] what it stored.
//! - One call does a bounded piece of work. What is left over makes [`Component::poll_timeout`] name
//!   an instant that has passed.
//! - The head changes in one place, [`Context::set_head`].

pub mod dir;
pub mod mempool_file;
mod node;
pub mod producer;
pub mod recover;
pub mod replay;
pub mod search;
pub mod signed;
pub mod sync;
pub mod view;

pub use astreum_core::consensus::{
    Anchor, Commit, Component, Conflict, Context, Effect, Environment, Head, HeadState, Input, Now,
    PART, PART_ATOM_BYTES, Parallel, ResumeData, SavedHead, Serial, SignedBlock, SigningRecord,
    Start, StoreFailure,
};
pub use node::Chain;
pub use sync::{ChainSync, SyncConfig, SyncStatus};
pub use view::{ChainStatus, ChainView};

#[cfg(test)]
pub(crate) mod samples;
