//! Part of Astreum that uses `std`: sockets, storage, threads and the command line around
//! `astreum-core`.
//!
//! To embed a node, start at [`Node`]; to run one as the `astreum` command does, at [`daemon`].
//!
//! | module | contents |
//! | --- | --- |
//! | [`clock`] | clocks and entropy of the operating system |
//! | [`config`], [`key_file`] | validated configuration, and secrets in files |
//! | [`log`] | JSON lines, rotation, rate limits |
//! | [`store`] | bounded storage of atoms in memory and on disk, behind one facade |
//! | [`runtime`] | bounded worker threads |
//! | [`failure`] | panics of a node's threads |
//! | [`wait_limit`] | time limits and cancellation of waiting calls |
//! | [`chain_service`] | state machines that follow, verify and produce blocks |
//! | [`net`] | event loop that drives core's engine, seeds, proof of work |
//! | [`query`] | queries about the chain, answered from atoms |
//! | [`node`] | public type of the library |
//! | [`rpc`] | local requests and replies |
//! | [`daemon`] | wiring, greeting, shutdown order |
//! | [`cli`] | commands |

pub mod chain_service;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod failure;
pub mod key_file;
pub mod log;
pub mod net;
pub mod node;
pub mod query;
pub mod rpc;
pub mod runtime;
pub mod simd;
pub mod store;
pub mod wait_limit;

/// Items of the core that a program with an embedded [`Node`] needs; all of it is [`astreum_core`].
pub use astreum_core;
pub use astreum_core::atom::{Atom, AtomId};
pub use astreum_core::crypto::PublicKey;
pub use astreum_core::expr::Expr;
pub use astreum_core::machine::{Env, Evaluation};
pub use astreum_core::wire::object::PayloadType;
pub use config::{Config, Secret};
pub use node::{Advertisement, Node, NodeBuilder, NodeError};
pub use wait_limit::WaitLimit;
