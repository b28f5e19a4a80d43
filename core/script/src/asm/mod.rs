//! Assembler: labels, constants, macros and includes.
//!
//! The source is that of the language, with names that start with `%`, and labels:
//!
//! | form | effect |
//! | --- | --- |
//! | `("file" %include)` | inserts the expressions of a file, once |
//! | `(value name %const)` | `%name` stands for the value from then on |
//! | `((items…) (parameters…) name %macro)` | `(arguments… %name)` stands for the items; without parameters, `%name` does |
//! | `%parameter` in a macro | the argument; the items of a list are inserted without its parentheses |
//! | `name:` in a stack program | label of the next token; takes no token itself |
//! | `@name` in a stack program | index of the token after the label |
//! | `@a-b` in a stack program | difference of two labels |
//!
//! The three directives stand at the top level, before their uses. A label belongs to the stack
//! program that contains it; a label that is defined in a macro belongs to one use of the macro, and
//! an argument keeps the labels of the place where it is written. `std` and `std/macros` are included
//! without a file: the standard library, and the macros that it is written with.
//!
//! The output is plain source without comments, which `eval` accepts.

mod expand;
mod labels;

use crate::diagnostic::Diagnostic;
use crate::format::lay_out;
use crate::source::{Place, Sources};
use crate::tree::{Step, Tree};
use alloc::string::String;
use alloc::vec::Vec;

/// Maximum depth of includes.
pub const MAX_INCLUDE_DEPTH: usize = 16;
/// Maximum number of included files.
pub const MAX_INCLUDES: usize = 256;
/// Maximum number of bytes of all sources together.
pub const MAX_TOTAL_BYTES: usize = 16 << 20;
/// Maximum depth of macros that use other macros.
pub const MAX_MACRO_DEPTH: usize = 64;
/// Maximum number of parameters of a macro.
pub const MAX_PARAMS: usize = 64;
/// Maximum number of uses of macros and constants.
pub const MAX_EXPANSIONS: usize = 1 << 18;
/// Maximum number of items in the output.
pub const MAX_ITEMS: usize = 1 << 20;
/// Maximum number of steps of the expansion.
pub const MAX_STEPS: usize = 1 << 22;

/// Included file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// Name of the file in messages; the same for the same file however it is included.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Reader of included files.
pub trait Loader {
    /// Reads the file `name` that the source `from` includes.
    ///
    /// # Errors
    /// Returns the reason the file is not available.
    fn load(&mut self, name: &str, from: &str) -> Result<Loaded, String>;
}

/// Loader that has no files.
#[derive(Clone, Copy, Debug)]
pub struct NoIncludes;

impl Loader for NoIncludes {
    fn load(&mut self, _: &str, _: &str) -> Result<Loaded, String> {
        Err("files cannot be included here".into())
    }
}

/// Use of a macro or constant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expansion {
    /// Name without `%`.
    pub name: String,
    /// Place of the use.
    pub place: Place,
    /// Index of the expansion that contains the use.
    pub parent: Option<usize>,
}

/// Output of the assembler.
#[derive(Debug)]
pub struct Assembled {
    /// Expressions; their places are those of the sources that they come from.
    pub tree: Tree,
    /// Uses of macros, to which [`Node::expansion`](crate::tree::Node::expansion) refers.
    pub expansions: Vec<Expansion>,
}

/// Assembles a source.
///
/// ```
/// use astreum_script::{Sources, assemble, asm::NoIncludes};
/// let mut sources = Sources::new();
/// let text = "((%name heap_get) (name) get %macro) (((n 7 heap_set (n %get)) sk) seven def)";
/// let main = sources.add("main.asm", text);
/// let assembled = assemble(&mut sources, main, &mut NoIncludes).unwrap();
/// let expected = "(((n 7 heap_set n heap_get) sk) seven def)\n";
/// assert_eq!(assembled.to_source(&sources), expected);
/// ```
///
/// # Errors
/// Returns the first problem, with the macros and includes that lead to it.
pub fn assemble(
    sources: &mut Sources,
    main: usize,
    loader: &mut dyn Loader,
) -> Result<Assembled, Diagnostic> {
    expand::Expander::new(sources, loader).run(main)
}

impl Assembled {
    /// Returns the output as formatted source text, one line or more for each expression.
    #[must_use]
    pub fn to_source(&self, sources: &Sources) -> String {
        let mut text = String::new();
        for root in &self.tree.roots {
            let mut is_first = true;
            for step in self.tree.steps(*root) {
                if !is_first && !matches!(step, Step::Close(_)) {
                    text.push(' ');
                }
                is_first = matches!(step, Step::Open(_));
                match step {
                    Step::Open(_) => text.push('('),
                    Step::Close(_) => text.push(')'),
                    Step::Item(id) => text.push_str(self.tree.text(sources, id)),
                }
            }
            text.push('\n');
        }
        let text = lay_out(&text);
        // Otherwise the first line would be skipped as that of an executable file.
        if text.starts_with("#!") {
            return alloc::format!("\n{text}");
        }
        text
    }

    /// Adds the macros that an item comes from to a problem.
    #[must_use]
    pub fn explain(&self, problem: Diagnostic, expansion: Option<usize>) -> Diagnostic {
        explained(problem, &self.expansions, expansion)
    }
}

/// Maximum number of macros that a problem lists.
const MAX_NOTES: usize = 8;

pub(crate) fn explained(
    mut problem: Diagnostic,
    expansions: &[Expansion],
    mut at: Option<usize>,
) -> Diagnostic {
    for _ in 0..MAX_NOTES {
        let Some(expansion) = at.and_then(|at| expansions.get(at)) else {
            break;
        };
        let message = alloc::format!("in '%{}', used", expansion.name);
        problem = problem.with_note(expansion.place, message);
        at = expansion.parent;
    }
    problem
}

#[cfg(test)]
mod tests;
