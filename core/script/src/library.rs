//! The standard library, as source text.
//!
//! [`SOURCE`] is a program of definitions that every evaluator accepts; it is the output of the
//! assembler for [`ASSEMBLER_SOURCE`]. The guide lists the functions with their costs.

use alloc::string::String;
use alloc::vec::Vec;
use astreum_core::text::Parser;

/// Definitions of the library, without comments.
///
/// ```
/// use astreum_core::{atom::MemoryStore, machine::{Env, Machine}};
/// use astreum_script::library;
///
/// let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
/// machine.eval_all(library::SOURCE, &mut env)?;
/// let evaluation = machine.eval_source("(-7 2 int.div)", &mut env);
/// assert_eq!(evaluation.value().as_integer(), Some(-4));
/// # Ok::<(), astreum_core::text::ParseError>(())
/// ```
pub const SOURCE: &str = include_str!("../std/std.astreum");
/// Commented source of the library, for the assembler.
pub const ASSEMBLER_SOURCE: &str = include_str!("../std/std.asm");
/// Macros of the library, for the assembler.
pub const MACROS: &str = include_str!("../std/macros.asm");

/// Returns the text of a file that is included without a file: `std` or `std/macros`.
#[must_use]
pub fn included(name: &str) -> Option<&'static str> {
    match name {
        "std" => Some(SOURCE),
        "std/macros" => Some(MACROS),
        _ => None,
    }
}

/// Returns the names that the library defines, in the order of their definitions.
///
/// ```
/// let names = astreum_script::library::names();
/// assert!(names.iter().any(|name| name == "int.div"));
/// ```
#[must_use]
pub fn names() -> Vec<String> {
    let definitions = Parser::new(SOURCE).filter_map(Result::ok);
    let name = |definition: astreum_core::expr::Expr| match definition.as_list()? {
        [_, name, _] => name.as_symbol().map(String::from),
        _ => None,
    };
    definitions.filter_map(name).collect()
}
