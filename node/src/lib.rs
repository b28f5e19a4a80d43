//! The std half of Astreum: sockets, storage, threads and the command line around `astreum-core`.

pub mod cli;
pub mod clock;
pub mod config;
pub mod conform;
pub mod control;
pub mod keys;
pub mod log;
pub mod net;
pub mod node;
pub mod run;
pub mod store;
pub mod work;

pub use node::Node;

#[cfg(test)]
mod scratch;
