//! Problems that are found without evaluating.
//!
//! | code | problem |
//! | --- | --- |
//! | `parse`, `too-large` | the source cannot be parsed |
//! | `unbound-name`, `early-use` | a name that nothing binds, or only a later expression |
//! | `arity`, `placeholder` | a call with too many or too few arguments; `$` without a number |
//! | `def-shape`, `fn-shape`, `sk-shape`, `ref-shape` | a malformed special form |
//! | `ignored-items` | items of a special form that nothing uses |
//! | `hex-literal` | `0x…` in a stack program, where it is text |
//! | `misspelled-opcode` | text in a stack program that is nearly an opcode |
//! | `executed-text` | a string or an argument that spells an opcode, and is executed as it |
//! | `bad-jump`, `endless-loop`, `unreachable` | a jump out of the program; tokens that run for ever, or never |
//! | `underflow`, `bad-stack` | an opcode without operands; a program that does not leave one value |
//!
//! The checks of stack programs follow the tokens as long as the targets of the jumps are literals. A
//! function sees the bindings of its caller: in a function, a name that any function of the source
//! binds counts as bound.

mod names;
mod program;

use crate::asm::Expansion;
use crate::diagnostic::{Diagnostic, Severity};
use crate::library;
use crate::source::Sources;
use crate::tree::{NodeId, Tree};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use astreum_core::text::Parser;

/// Maximum number of problems that are reported.
pub const MAX_PROBLEMS: usize = 1_000;

/// Bindings of the environment in which a source will be evaluated.
#[derive(Clone, Default, Debug)]
pub struct Options {
    bound: BTreeMap<String, Option<usize>>,
}

impl Options {
    /// Creates options without bindings.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bound: BTreeMap::new(),
        }
    }

    /// Adds a name that is bound, with the number of arguments if it is a function.
    pub fn bind(&mut self, name: impl Into<String>, arguments: Option<usize>) {
        self.bound.insert(name.into(), arguments);
    }

    /// Adds the names of the standard library.
    ///
    /// ```
    /// use astreum_script::{Options, Sources, Tree, check};
    /// let mut sources = Sources::new();
    /// let file = sources.add("file", "(1 2 int.sub) (1 int.sub)");
    /// let tree = Tree::parse(&sources, file).unwrap();
    /// let mut options = Options::new();
    /// options.bind_library();
    /// let problems = check(&sources, &tree, &[], &options);
    /// assert_eq!(problems.len(), 1);
    /// assert_eq!(problems[0].message, "'int.sub' takes 2 arguments, and 1 is given");
    /// ```
    pub fn bind_library(&mut self) {
        for definition in Parser::new(library::SOURCE).filter_map(Result::ok) {
            let Some([value, name, _]) = definition.as_list() else {
                continue;
            };
            let arguments = match value.as_list() {
                Some([_, params, tail]) if tail.as_symbol() == Some("fn") => {
                    params.as_list().map(<[_]>::len)
                }
                _ => None,
            };
            if let Some(name) = name.as_symbol() {
                self.bind(name, arguments);
            }
        }
    }
}

/// Returns the problems of a source in the order of the text, at most [`MAX_PROBLEMS`].
///
/// `expansions` are those of an assembled source.
///
/// ```
/// use astreum_script::{Options, Sources, Tree, check};
/// let mut sources = Sources::new();
/// let file = sources.add("file", "(1 ((a $0 heap_set a haep_get) sk))");
/// let tree = Tree::parse(&sources, file).unwrap();
/// let problems = check(&sources, &tree, &[], &Options::new());
/// let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
/// assert_eq!(codes, ["bad-stack", "misspelled-opcode"]);
/// assert_eq!(problems[1].hint.as_deref(), Some("did you mean 'heap_get'?"));
/// ```
#[must_use]
pub fn check(
    sources: &Sources,
    tree: &Tree,
    expansions: &[Expansion],
    options: &Options,
) -> Vec<Diagnostic> {
    let mut report = Report {
        tree,
        expansions,
        problems: Vec::new(),
    };
    names::check(sources, tree, options, &mut report);
    let mut problems = report.problems;
    problems.sort_by(|a, b| (a.place, a.code).cmp(&(b.place, b.code)));
    problems.dedup();
    problems
}

/// Problems so far.
struct Report<'t> {
    tree: &'t Tree,
    expansions: &'t [Expansion],
    problems: Vec<Diagnostic>,
}

impl Report<'_> {
    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        node: NodeId,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let mut problem = Diagnostic::new(severity, code, self.tree.place(node), message);
        problem.hint = hint;
        let expansion = self.tree.node(node).and_then(|node| node.expansion);
        self.problems
            .push(crate::asm::explained(problem, self.expansions, expansion));
    }

    fn error(&mut self, code: &'static str, node: NodeId, message: impl Into<String>) {
        self.add(Severity::Error, code, node, message, None);
    }

    fn warn(
        &mut self,
        code: &'static str,
        node: NodeId,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.add(Severity::Warning, code, node, message, hint);
    }
}

#[cfg(test)]
mod tests;
