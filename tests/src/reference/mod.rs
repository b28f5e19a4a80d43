//! The unmodified Python reference beside our nodes: its environment and its processes.

pub mod environment;
mod node;

pub use environment::Environment;
pub use node::{Process, Reference, Start, nearer_to};
