//! Support code of several tests.

pub(crate) mod programs;
