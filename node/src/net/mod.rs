//! The network thread: a mio loop that drains core's protocol engine.

pub mod resolve;
pub mod socket;
