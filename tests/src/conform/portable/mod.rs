//! Operations of the conformance interface that need no operating system.
//!
//! The program on the board includes this module by its path: it depends on nothing but the core,
//! `alloc` and serde_json.

mod address;
mod apply;
mod chain;
mod integers;
mod machine;
mod messages;
mod objects;
mod routes;

pub(crate) use machine::{OpError, OpTable, answer, fields};

/// Tables of these operations.
pub(crate) const TABLES: [OpTable; 9] = {
    let [language, atoms, tries] = machine::TABLES;
    [
        language,
        atoms,
        tries,
        messages::OPS,
        objects::OPS,
        routes::OPS,
        integers::OPS,
        apply::OPS,
        chain::OPS,
    ]
};
