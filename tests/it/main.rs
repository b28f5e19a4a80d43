//! Integration tests in one binary, a file for each subject.
//!
//! Tests that replace the allocator have binaries of their own, in `tests/tests`.

extern crate alloc;

mod accounting;
mod block_atom;
mod block_nonce;
mod cli;
mod cold;
mod cold_backup;
mod cold_crash;
mod cold_damage;
mod cold_hostile;
mod cold_kill;
mod conformance;
mod corpus;
mod current_validator;
mod deep_input;
mod docs;
mod economics;
mod election;
mod follower;
mod fork_choice;
mod function;
mod indexing;
mod merkle;
mod models;
mod nodes;
mod parse;
mod patricia;
mod prune_crash;
mod simulation;
mod stack;
mod structure;
mod support;
mod suspend;
mod three_nodes;
mod tokenize;
mod utils;
