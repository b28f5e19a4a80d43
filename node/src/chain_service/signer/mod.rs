//! Signer of a validator: protocol and client.
//!
//! A signer is a process that has the validator's secret key, its own signing record, and a Unix
//! socket. The node never sees the key; see core's
//! [`producer`](astreum_core::consensus::producer) for the division of work, and
//! [`signer`](crate::signer) for the signer of this package.

pub mod client;
pub mod protocol;

pub use client::{SignerClient, SignerConfig};
