//! The std half of Astreum: sockets, storage, threads and the command line around `astreum-core`.

pub mod cli;
pub mod clock;
pub mod config;
pub mod conform;
pub mod control;
pub mod keys;
pub mod log;
pub mod net;
pub mod store;
pub mod work;

#[cfg(test)]
mod scratch;
