//! The machine at its limits, and what its forms mean.

mod limits;
mod semantics;
