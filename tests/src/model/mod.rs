//! Oracles that compute the same results as the core in the simplest code, and a store that reports
//! every atom as missing once.

pub mod evaluator;
pub mod first_miss_store;
pub mod fork_choice;
pub mod stack;
