//! Tests of the machine, by subject.

mod embedding;
mod failures;
mod host;
mod limits;
mod memory;
mod semantics;
mod suspend;
