//! What the tests of Astreum are made of: oracles that are too plain to be wrong, and the bodies of
//! the fuzz targets, which ordinary tests replay on a committed corpus.

pub mod economics;
pub mod election;
pub mod heap;
pub mod model;
pub mod program;
pub mod random;
pub mod reference;
pub mod sim;
pub mod target;
pub mod wait;
