//! The deterministic half of Astreum: everything that decides *what* is true, and nothing that
//! asks a machine for the time, for randomness, for a file or for a packet.
//!
//! `no_std`, an allocator is the only thing it needs; there is no `unsafe` and no recursion on
//! the host stack. Clock, entropy and storage come in as arguments, so that two hosts that feed
//! it the same inputs get the same outputs, byte for byte.
//!
//! # Layers
//!
//! A module imports only what stands above it in this list.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`calendar`] | dates of Unix times, for messages |
//! | [`time`] | instants, as numbers that the host hands in |
//! | [`integer`] | whole numbers without an upper bound |
//! | [`crypto`] | hashing, key agreement, signatures, sealing |
//! | [`atom`] | the content-addressed unit, its id and its canonical bytes, sources and sinks |
//! | [`expr`] | expression trees and their atom form |
//! | [`text`] | tokenizer, parser and printer |
//! | [`machine`] | environment, meter, limits, evaluator and stack machine |
//! | [`trie`] | the authenticated map: puts, ranges, differences, proofs |
//! | [`chain`] | records, rules, validators, blocks |
//! | [`wire`] | packets, messages, routing table and the sans-IO protocol engine (imports only [`time`], [`crypto`] and [`atom`]) |
//! | [`consensus`] | sans-IO node logic: following, choosing and extending a chain |

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
pub mod expr;
pub mod integer;
pub mod machine;
pub mod text;
pub mod time;
pub mod trie;
pub mod wire;
