//! Evaluation errors with their positions.
//!
//! A position is the code that was running, which is a list, and an operation in it. The path to
//! the operation within the list is computed on demand, so that a program with many errors costs no
//! more than one without errors.

use super::bytecode::BlockKind;
use super::compile::site;
use super::error::ErrorKind;
use super::host::HostNames;
use super::opcode::Opcode;
use crate::expr::{Expr, Symbol};
use alloc::vec::Vec;
use core::fmt;

/// Maximum number of errors recorded for one evaluation.
const MAX_RECORDED_FAILURES: usize = 16;
/// Maximum number of call frames recorded for one error.
pub(super) const MAX_RECORDED_FRAMES: usize = 16;

/// Error that the machine raised, with its position.
///
/// ```
/// use astreum_core::{atom::NoStore, machine::{Env, Machine}};
/// let evaluation = Machine::new(NoStore).eval_source("(1 2 int.ad)", &mut Env::new());
/// let failure = &evaluation.failures()[0];
/// assert_eq!(failure.to_string(), "unbound symbol 'int.ad'");
/// assert_eq!((failure.symbol(), failure.is_call()), (Some("int.ad"), true));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) symbol: Option<Symbol>,
    pub(super) is_call: bool,
    pub(super) stack: Option<StackPosition>,
    pub(super) frames: Vec<Frame>,
    pub(super) more_frames: u64,
}

/// Position in a stack program.
///
/// ```
/// use astreum_core::{atom::NoStore, machine::{Env, Machine, Opcode, StackPosition}};
/// let evaluation = Machine::new(NoStore).eval_source("(7 (($0 add) sk))", &mut Env::new());
/// let position = StackPosition { token: 1, opcode: Some(Opcode::Add), depth: 1 };
/// assert_eq!(evaluation.failures()[0].stack(), Some(position));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StackPosition {
    /// Index of the token; the number of tokens if the program ran to its end.
    pub token: usize,
    /// Opcode at that token.
    pub opcode: Option<Opcode>,
    /// Number of values on the stack.
    pub depth: usize,
}

impl Failure {
    /// Creates an error in a program that runs without the evaluator.
    pub(super) const fn in_program(kind: ErrorKind, position: StackPosition) -> Self {
        Self {
            kind,
            symbol: None,
            is_call: false,
            stack: Some(position),
            frames: Vec::new(),
            more_frames: 0,
        }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the unbound symbol, for [`ErrorKind::UnboundSymbol`].
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        self.symbol.as_deref()
    }

    /// Returns whether the symbol is at the tail of a list, where it would be called: it is
    /// probably misspelled.
    #[must_use]
    pub const fn is_call(&self) -> bool {
        self.is_call
    }

    /// Returns the position in the stack program that was running.
    #[must_use]
    pub const fn stack(&self) -> Option<StackPosition> {
        self.stack
    }

    /// Returns the open calls, innermost first; the last one is the evaluated expression, unless
    /// there are [more](Failure::more_frames).
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine}};
    /// let script = "(((x nope) (x) fn) f def) (1 f)";
    /// let evaluation = Machine::new(NoStore).eval_all(script, &mut Env::new())?;
    /// let frames = evaluation.failures()[0].frames();
    /// let names: Vec<_> = frames.iter().map(|frame| frame.name()).collect();
    /// assert_eq!(names, [Some("f"), None]);
    /// # Ok::<(), astreum_core::text::ParseError>(())
    /// ```
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Returns the number of outer calls that are not recorded: at most 16 are.
    #[must_use]
    pub const fn more_frames(&self) -> u64 {
        self.more_frames
    }

    /// Returns the path to the token of the stack program, or otherwise to the position in the
    /// innermost frame.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine}, text::Script};
    ///
    /// let source = "(1 (2 nope) 3)";
    /// let script = Script::parse(source)?;
    /// let evaluation = Machine::new(NoStore).eval(script.expr(0).unwrap(), &mut Env::new());
    /// let failure = &evaluation.failures()[0];
    /// let span = script.find(failure.frames()[0].code(), &failure.path()).unwrap();
    /// assert_eq!(&source[span], "nope");
    /// # Ok::<(), astreum_core::text::ParseError>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> Vec<usize> {
        let mut path = self.frames.first().map(Frame::path).unwrap_or_default();
        if let Some(stack) = self.stack
            && self
                .tokens()
                .is_some_and(|tokens| stack.token < tokens.len())
        {
            path.push(stack.token);
        }
        path
    }

    /// Returns the tokens of the stack program that was running, as written in its body.
    #[must_use]
    pub fn tokens(&self) -> Option<&[Expr]> {
        self.stack?;
        let frame = self.frames.first()?;
        let body = frame
            .path()
            .iter()
            .try_fold(&frame.code, |code, index| code.as_list()?.get(*index));
        body?.as_list()
    }
}

/// Formats the message, with the symbol's name if there is one.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.symbol {
            Some(symbol) => write!(f, "{} '{}'", self.kind, crate::text::Escaped(symbol)),
            None => self.kind.fmt(f),
        }
    }
}

/// Open call at the time of an error.
///
/// ```
/// use astreum_core::{atom::NoStore, machine::{Env, Machine}};
/// let script = "(((x nope) (x) fn) f def) (1 f)";
/// let evaluation = Machine::new(NoStore).eval_all(script, &mut Env::new())?;
/// let [inner, outer] = evaluation.failures()[0].frames() else {
///     panic!("one call and the expression");
/// };
/// assert_eq!(inner.code().to_string(), "((x nope) (x) fn)");
/// assert_eq!((inner.path(), outer.code().to_string()), (vec![0, 1], "(1 f)".to_owned()));
/// # Ok::<(), astreum_core::text::ParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub(super) code: Expr,
    pub(super) kind: BlockKind,
    pub(super) op: usize,
    pub(super) hosts: HostNames,
    pub(super) name: Option<Symbol>,
}

impl Frame {
    /// Returns the running code: the evaluated expression, or a special form, `(body params fn)` or
    /// `(body sk)`. It is the evaluated list itself in memory, so that
    /// [`Script::find`](crate::text::Script::find) finds it in its source.
    #[must_use]
    pub const fn code(&self) -> &Expr {
        &self.code
    }

    /// Returns the name by which it was called.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the path from [`Frame::code`] to the running operation: indices of items, outermost
    /// first. Takes as long as compiling the code.
    #[must_use]
    pub fn path(&self) -> Vec<usize> {
        match &self.code {
            Expr::List(list) => site(list, self.kind, &self.hosts, self.op),
            _ => Vec::new(),
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("name", &self.name)
            .field("code", &self.code)
            .field("op", &self.op)
            .finish_non_exhaustive()
    }
}

/// Errors of one evaluation.
#[derive(Clone, Default, Debug)]
pub(super) struct Failures {
    pub(super) list: Vec<Failure>,
    pub(super) count: u64,
}

impl Failures {
    /// Counts an error; calls `failure` only if the error is recorded.
    #[cold]
    pub(super) fn add(&mut self, failure: impl FnOnce() -> Failure) {
        self.count = self.count.saturating_add(1);
        if self.list.len() < MAX_RECORDED_FAILURES {
            self.list.push(failure());
        }
    }
}
