//! Oracles that compute the same results as the core in the simplest code, and stores: one that
//! reports every atom as missing once, and one on top of a shared one.

pub mod evaluator;
pub mod first_miss_store;
pub mod fork_choice;
pub mod layered_store;
pub mod stack;
