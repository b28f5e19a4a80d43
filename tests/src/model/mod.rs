//! Oracles: the same answers as the core, in the plainest code that gives them.

pub mod stack;
pub mod walk;
