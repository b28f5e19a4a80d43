//! Deterministic, `no_std`, sans-I/O core of Astreum: formats, virtual machine, trie, consensus
//! rules and protocol engine.
//!
//! The crate needs only an allocator. It contains no `unsafe` and no recursion on the host stack.
//! Time, entropy, storage and packets are passed in as arguments, so two hosts that pass in the
//! same inputs get the same outputs, byte for byte.
//!
//! # Layers
//!
//! A module imports only modules above it in this list.
//!
//! | module | contents |
//! | --- | --- |
//! | [`time`] | instants, as numbers that the host passes in |
//! | [`integer`] | unbounded non-negative integers |
//! | [`crypto`] | hashing, key agreement, signatures, authenticated encryption |
//! | [`atom`] | content-addressed atoms: id, canonical bytes, sources and sinks |
//! | [`expr`] | expression trees and their atom form |
//! | [`text`] | tokenizer, parser and printer |
//! | [`machine`] | environment, meter, limits, evaluator and stack machine |
//! | [`trie`] | authenticated map: puts, ranges, differences, proofs |
//! | [`chain`] | records, rules, validators, blocks |
//! | [`wire`] | packets, messages, routing table and the sans-I/O protocol engine (imports only [`time`], [`crypto`] and [`atom`]) |
//! | [`consensus`] | sans-I/O node logic: following, selecting and extending a chain |

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod atom;
pub mod calendar;
pub mod chain;
pub mod consensus;
pub mod crypto;
pub mod engine;
pub mod expr;
mod hex;
pub mod integer;
pub mod machine;
pub mod text;
pub mod time;
pub mod trie;
pub mod wire;

/// Examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
