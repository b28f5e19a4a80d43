//! Tests that need a small chain.

mod channels;
mod money;
mod rules;
mod stakes;
mod verify;
mod walks;
mod world;

pub(super) use world::{World, address_of, key, natural, unsigned};
