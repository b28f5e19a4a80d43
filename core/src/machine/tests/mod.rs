//! The machine against models of it that are too plain to be wrong, and at its limits.

mod limits;
mod model_machine;
mod model_stack;
mod models;
mod semantics;
