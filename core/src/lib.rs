//! Deterministic, `no_std`, sans-I/O core of Astreum: formats, virtual machine, trie, consensus
//! rules and protocol engine.
//!
//! The crate needs only an allocator. It contains no `unsafe` and no recursion on the host stack.
//! Time, entropy, storage and packets are passed in as arguments, so two hosts that pass in the
//! same inputs get the same outputs, byte for byte.
//!
//! # Embedding
//!
//! A machine evaluates expressions over a store of atoms, within limits, and calls functions of its
//! host:
//!
//! ```
//! use astreum_core::atom::MemoryStore;
//! use astreum_core::expr::Expr;
//! use astreum_core::machine::{BindError, Env, Machine, Outcome};
//!
//! fn main() -> Result<(), BindError> {
//!     let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
//!     machine.set_meter_limit(Some(1_000));
//!     machine.bind("seven", |_| Ok(Expr::integer(7)))?;
//!     machine.eval_source("(((a b (($0 $1 add) sk)) (a b) fn) int.add def)", &mut env);
//!     let evaluation = machine.eval_source("((seven) 35 int.add)", &mut env);
//!     assert_eq!(evaluation.value().as_integer(), Some(42));
//!     assert_eq!(evaluation.outcome(), Outcome::Finished);
//!     Ok(())
//! }
//! ```
//!
//! | to embed | start at | with |
//! | --- | --- | --- |
//! | the machine | [`machine`] | an [`AtomSource`](atom::AtomSource) and [`AtomSink`](atom::AtomSink) |
//! | the trie | [`trie`] | the same; verification of a proof needs no store |
//! | a light client | `chain::HeaderVerifier`, `chain::AccountProof` | headers and proofs |
//! | a peer of the network | `engine::Engine` | datagrams and time |
//! | a node | `consensus` | datagrams, time and a store |
//!
//! # Layers
//!
//! A module imports only modules above it in this list. The modules of a feature are left out of
//! builds without that feature; all features are on by default.
//!
//! | module | feature | contents |
//! | --- | --- | --- |
//! | [`arc`] | | reference counter, also on targets without compare-and-swap |
//! | `hex` | | hexadecimal text of ids and keys |
//! | `sorted_map` | | ordered map of little machine code |
//! | [`time`] | `engine` | instants, as numbers that the host passes in |
//! | [`integer`], [`calendar`] | `chain` | unbounded non-negative integers; dates |
//! | [`crypto`] | `chain`, `wire` | hashing, key agreement, signatures, authenticated encryption |
//! | [`atom`] | | content-addressed atoms: id, canonical bytes, sources and sinks |
//! | [`expr`] | | expression trees and their atom form |
//! | [`text`] | | tokenizer, parser and printer |
//! | [`trie`] | | authenticated map: puts, ranges, differences, proofs |
//! | [`manifest`] | | large files and folders as atoms |
//! | [`machine`] | | environment, meter, limits, evaluator and stack machine |
//! | [`chain`] | `chain` | records, rules, validators, blocks |
//! | `serde_text` | `serde` | ids, addresses and amounts as the text that they display |
//! | [`wire`] | `wire` | packets, messages, frames of the stream, routing table |
//! | [`stream`] | `wire` | sans-I/O client and server of the stream beside the datagrams |
//! | [`engine`] | `engine` | sans-I/O protocol engine |
//! | [`consensus`] | `consensus` | sans-I/O node logic: following, selecting and extending a chain |
//!
//! [`consensus`] stands last: it asks for objects with the types of [`engine`], whose events its
//! host passes on to it.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod arc;
pub mod atom;
#[cfg(feature = "chain")]
pub mod calendar;
#[cfg(feature = "chain")]
pub mod chain;
#[cfg(feature = "consensus")]
pub mod consensus;
#[cfg(any(feature = "chain", feature = "wire"))]
pub mod crypto;
#[cfg(feature = "engine")]
pub mod engine;
pub mod expr;
mod hex;
#[cfg(feature = "chain")]
pub mod integer;
pub mod machine;
pub mod manifest;
#[cfg(feature = "serde")]
mod serde_text;
mod sorted_map;
#[cfg(feature = "wire")]
pub mod stream;
#[cfg(all(feature = "consensus", any(test, feature = "testkit")))]
#[doc(hidden)]
pub mod testkit;
pub mod text;
#[cfg(feature = "engine")]
pub mod time;
pub mod trie;
#[cfg(feature = "wire")]
pub mod wire;

/// Examples of the README, as tests.
#[cfg(all(doctest, feature = "consensus"))]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
