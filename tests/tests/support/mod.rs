//! Support for several tests.

pub(crate) mod programs;
