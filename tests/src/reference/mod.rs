//! The unmodified Python reference beside our nodes: where it is, and one process of it.

pub mod environment;
mod node;

pub use environment::Environment;
pub use node::{Process, Reference, Start, nearer_to};
