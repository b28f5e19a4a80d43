//! Oracles: the same answers as the core, in the plainest code that gives them; and a store that makes
//! one ask twice.

pub mod forgetful;
pub mod fork_choice;
pub mod stack;
pub mod walk;
