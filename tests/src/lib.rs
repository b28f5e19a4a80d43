//! Test support for Astreum: oracles that are simple enough to be evidently correct, simulations,
//! and the bodies of the fuzz targets, which ordinary tests replay on a committed corpus.

extern crate alloc;

pub mod conform;
pub mod economics;
pub mod election;
pub mod follower_chain;
pub mod heap;
pub mod model;
pub mod quick_chain;
pub mod random;
pub mod reference;
pub mod sim;
pub mod target;
pub mod testkit;
