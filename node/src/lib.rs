//! Part of Astreum that uses `std`: sockets, storage, threads and the command line around
//! `astreum-core`.
//!
//! To embed a node, start at [`Node`]; to run one as the `astreum` command does, at [`run`].
//!
//! | module | contents |
//! | --- | --- |
//! | [`clock`] | clocks and entropy of the operating system |
//! | [`config`], [`keys`] | validated configuration, and secrets in files |
//! | [`log`] | JSON lines, rotation, rate limits |
//! | [`store`] | bounded storage of atoms in memory and on disk, behind one facade |
//! | [`work`] | bounded worker threads |
//! | [`failure`] | panics of a node's threads |
//! | [`patience`] | time limits and cancellation of waiting calls |
//! | [`chain`] | state machines that follow, verify and produce blocks |
//! | [`net`] | event loop that drives core's engine, seeds, proof of work |
//! | [`query`] | queries about the chain, answered from atoms |
//! | [`node`] | public type of the library |
//! | [`control`] | local requests and replies |
//! | [`run`] | wiring, greeting, shutdown order |
//! | [`cli`], [`conform`] | commands, and answers to conformance requests |

pub mod chain;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conform;
pub mod control;
pub mod failure;
pub mod keys;
pub mod lanes;
pub mod log;
pub mod net;
pub mod node;
pub mod patience;
pub mod query;
pub mod run;
pub mod store;
pub mod work;

/// Items of the core that a program with an embedded [`Node`] needs; all of it is [`astreum_core`].
pub use astreum_core;
pub use astreum_core::atom::{Atom, AtomId};
pub use astreum_core::crypto::PublicKey;
pub use astreum_core::expr::Expr;
pub use astreum_core::machine::{Env, Evaluation};
pub use astreum_core::wire::object::PayloadType;
pub use config::{Config, Secret};
pub use node::{Advertisement, Node, NodeBuilder, NodeError};
pub use patience::Patience;

#[cfg(test)]
mod scratch;
