//! The std half of Astreum: sockets, storage, threads and the command line around `astreum-core`.
//!
//! To embed a node, start at [`Node`]; to run one as the `astreum` command does, at [`run`].
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`clock`] | the one read of time and entropy |
//! | [`config`], [`keys`] | raw text to validated values, and secrets in files |
//! | [`log`] | JSON lines, rotation, rate limits |
//! | [`store`] | atoms in memory, bounded, behind one facade |
//! | [`work`] | bounded worker threads |
//! | [`failure`] | panics of a node's threads |
//! | [`patience`] | how long calls wait, and when they give up |
//! | [`chain`] | state machines that follow, verify and make blocks |
//! | [`net`] | the event loop that drains core's engine, seeds, proof of work |
//! | [`query`] | questions about the chain, answered from atoms |
//! | [`node`] | the library's public type |
//! | [`control`] | local requests and replies |
//! | [`run`] | wiring, greeting, order of stopping |
//! | [`cli`], [`conform`] | the commands, and answers to conformance requests |

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

/// What a program that embeds a [`Node`] needs of the core; the whole of it is [`astreum_core`].
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
