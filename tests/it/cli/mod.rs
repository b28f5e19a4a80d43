//! Tests of the command line with the real binary, its output and its exit codes.
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap fails the test with its location"
)]

mod archive;
mod backup;
mod chain;
mod chain_files;
mod config_files;
mod configuration;
mod damage;
mod devnet;
mod fixtures;
mod folders;
mod formats;
mod history;
mod keys;
mod language;
mod node;
mod operations;
mod pages;
mod places;
mod private;
mod pruning;
mod reload;
mod script;
mod signer;
mod storage;
mod store;
mod tour;
mod transfers;
mod validating;
