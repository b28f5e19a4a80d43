//! Part of Astreum that uses `std`: sockets, storage, threads and the command line around
//! `astreum-core`.
//!
//! To embed a node, start at [`Node`]; to run one as the `astreum` command does, at [`daemon`].
//!
//! A module imports only those above it in this table:
//!
//! | module | contents |
//! | --- | --- |
//! | [`clock`] | clocks and entropy of the operating system |
//! | [`wait_limit`] | time limits and cancellation of waiting calls |
//! | [`config`] | options of a node, from raw text to checked values |
//! | [`log`] | JSON lines, rotation, rate limits |
//! | [`failure`] | panics of a node's threads |
//! | [`simd`] | BLAKE3 of many short inputs in vector registers |
//! | [`key_file`] | secret keys in files |
//! | [`store`] | bounded storage of atoms in memory and on disk, behind one facade |
//! | [`runtime`] | bounded worker threads, mailbox, parallel execution |
//! | [`net`] | event loop that drives core's engine, seeds, proof of work |
//! | [`port_mapping`] | mapping of the node's ports by a gateway |
//! | [`prune`] | removal of what is neither needed by the chain nor pinned |
//! | [`query`] | queries about the chain, answered from atoms |
//! | [`chain_service`] | thread and files of the components that follow, verify and produce blocks |
//! | [`transaction_index`] | transactions by sender, recipient, height and data |
//! | [`signer`] | process that has a validator's key and signs its blocks |
//! | [`node`] | public type of the library |
//! | [`rpc`] | typed requests and replies, control socket, HTTP and WebSocket |
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
pub mod port_mapping;
pub mod prune;
pub mod query;
pub mod rpc;
pub mod runtime;
pub mod signer;
pub mod simd;
pub mod store;
pub mod transaction_index;
pub mod wait_limit;

/// Items of the core that a program with an embedded [`Node`] needs; all of it is [`astreum_core`].
pub use astreum_core;
pub use astreum_core::atom::{Atom, AtomId};
pub use astreum_core::crypto::PublicKey;
pub use astreum_core::expr::Expr;
pub use astreum_core::machine::{Env, Evaluation};
pub use astreum_core::wire::object::PayloadType;
pub use config::{Config, Secret, Settings};
pub use key_file::NodeKeys;
pub use node::{Advertisement, Node, NodeBuilder, NodeError};
pub use wait_limit::WaitLimit;
