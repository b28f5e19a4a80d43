//! Tools for authors of scripts: assembler, standard library, formatter, checker, traces.
//!
//! ```
//! use astreum_script::{Sources, assemble, asm::NoIncludes};
//!
//! let mut sources = Sources::new();
//! let main = sources.add("loop.asm", "(3 (($0 again: -1 add @again jump) sk))");
//! let assembled = assemble(&mut sources, main, &mut NoIncludes).unwrap();
//! assert_eq!(assembled.to_source(&sources), "(3 (($0 -1 add 1 jump) sk))\n");
//! ```
//!
//! # Layers
//!
//! A module imports only modules above it in this list.
//!
//! | module | contents |
//! | --- | --- |
//! | [`source`] | source texts and places in them |
//! | [`diagnostic`] | problems with their places |
//! | [`highlight`] | classes of the parts of a source, for editors |
//! | `suggest` | names that were probably meant |
//! | [`tree`] | parsed sources with the place of every item |
//! | [`format`](mod@format) | formatter |
//! | [`library`] | the standard library, as source text |
//! | [`asm`] | assembler: labels, constants, macros, includes |
//! | [`check`](mod@check) | problems that are found without evaluating |
//! | [`trace`] | views of an evaluation, one step at a time |
//!
//! # Invariants
//!
//! - Sources are untrusted: nothing panics, nothing recurses on the host stack, and time and memory
//!   are linear in the size of the sources up to limits that are documented as constants.
//! - The same sources give the same output on every target: no clock, no entropy, no files. Included
//!   files are read by the host, see [`asm::Loader`].
//! - A problem has a place: source, line and column, and a snippet with a caret.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod asm;
pub mod check;
pub mod diagnostic;
pub mod format;
pub mod highlight;
pub mod library;
pub mod source;
mod suggest;
pub mod trace;
pub mod tree;

pub use asm::{Assembled, Loader, assemble};
pub use check::{Options, check};
pub use diagnostic::{Diagnostic, Severity};
pub use format::format;
pub use source::{Place, Sources};
pub use suggest::{edit_distance, nearest};
pub use tree::Tree;
