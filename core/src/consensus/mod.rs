//! Node logic without I/O: following, choosing and extending a chain.
//!
//! The rules of a chain are in [`chain`](crate::chain). This module decides when they are applied
//! and to which blocks. It has no threads, clock, entropy, sockets or logs: a host lends each
//! [`Component`] an [`Environment`] for one call and then carries out its [`Effect`]s, so that a
//! simulator can run many nodes in one thread and reproduce a run from its seed.
//!
//! | module | contents |
//! | --- | --- |
//! | [`clock_watch`] | jumps of the system clock, and disagreement with peers |
//! | [`contract`] | inputs and effects of components |
//! | [`event`] | events for logs and subscribers |
//! | [`head`] | the head of a chain |
//! | [`head_journal`] | encoding of the heads that a restart resumes from |
//! | [`signing_record`] | blocks a validator has signed (slashing protection) |
//! | [`mempool`] | transactions waiting for inclusion in a block |
//! | [`producer`] | block producer of a validator |
//! | [`snapshot`] | fetch of a whole state |
//! | [`sync`] | headers-first sync and choice of the head |
//!
//! Invariants:
//! - Effects are carried out in order and before the next call, so that a component finds the atoms
//!   it stored in [`Environment::atoms`].
//! - One call does a bounded amount of work. If work remains, [`Component::poll_timeout`] returns
//!   an instant in the past.

pub mod clock_watch;
pub mod contract;
pub mod event;
pub mod head;
pub mod head_journal;
pub mod mempool;
pub mod producer;
pub mod signing_record;
pub mod snapshot;
pub mod sync;

pub use clock_watch::{ClockEvent, ClockOffset, ClockWatch};
pub use contract::{
    Commit, Component, Context, Effect, Environment, ForkDecisions, Input, Now, PART,
    PART_ATOM_BYTES, Parallel, Serial, StoreFailure, StreamObject, StreamRequest,
};
pub use event::{Event, Level};
pub use head::{Anchor, Head, HeadState, MAX_ELECTION_SEEDS_BYTES, ResumeData, SavedHead};
pub use signing_record::{Conflict, SignedBlock, SigningRecord, Start};
