//! Tests that need a whole small chain.

mod money;
mod rules;
mod verify;
mod world;
