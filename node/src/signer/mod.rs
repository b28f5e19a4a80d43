//! Signer: has a validator's key instead of the node, and signs at most one block for each slot,
//! height and parent, whatever a node requests.
//!
//! | module | contents |
//! | --- | --- |
//! | [`rules`] | reasons to refuse a block |
//! | [`vault`] | key and signing record |
//! | [`server`] | Unix socket and connections |
//!
//! The protocol is that of [`chain_service::signer`](crate::chain_service::signer).
//!
//! Invariants:
//! - A signature leaves the process only after the block is in the signing record on disk. A crash
//!   at any point loses at most a block that no other process has received.
//! - The record decides: a request for the last block again returns the same signature, and every
//!   other request must be for a later slot and a greater height than all of the record.

pub mod rules;
pub mod server;
pub mod vault;

pub use rules::Refusal;
pub use server::{ServeError, Server, ServerOptions, Socket};
pub use vault::{SignOutcome, Vault, VaultError};
