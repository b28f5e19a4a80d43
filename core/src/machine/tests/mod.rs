//! Tests of the machine, by subject.

mod embedding;
mod failures;
mod host;
mod inspect;
mod limits;
mod memory;
mod semantics;
mod suspend;
