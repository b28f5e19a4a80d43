//! Errors of evaluation with their places.
//!
//! A place is what was running: the code, which is a list, and an operation in it. Where in the
//! list that is, is found out when it is asked for, so that a program that makes many errors costs
//! no more than one that makes none.

use super::bytecode::BlockKind;
use super::compile::site;
use super::error::ErrorKind;
use super::host::HostNames;
use super::opcode::Opcode;
use crate::expr::{Expr, Symbol};
use alloc::vec::Vec;
use core::fmt;

/// Errors of one evaluation that are kept.
const KEPT_FAILURES: usize = 16;
/// Calls of one error that are kept.
pub(super) const KEPT_FRAMES: usize = 16;

/// An error that the machine made, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) symbol: Option<Symbol>,
    pub(super) is_call: bool,
    pub(super) stack: Option<StackPlace>,
    pub(super) frames: Vec<Frame>,
    pub(super) more_frames: u64,
}

/// Place in a stack program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StackPlace {
    /// The index of the token; behind the last one if the program ran to its end.
    pub token: usize,
    /// The opcode that the token spells.
    pub opcode: Option<Opcode>,
    /// How many values were on the stack.
    pub depth: usize,
}

impl Failure {
    /// An error in a program that runs without the evaluator.
    pub(super) const fn in_program(kind: ErrorKind, place: StackPlace) -> Self {
        Self {
            kind,
            symbol: None,
            is_call: false,
            stack: Some(place),
            frames: Vec::new(),
            more_frames: 0,
        }
    }

    /// What is wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The symbol that is not bound, for [`ErrorKind::UnboundSymbol`].
    #[must_use]
    pub fn symbol(&self) -> Option<&str> {
        self.symbol.as_deref()
    }

    /// Whether the symbol stands at the tail of a list, where it would be called: probably it was
    /// misspelled.
    #[must_use]
    pub const fn is_call(&self) -> bool {
        self.is_call
    }

    /// The place in the stack program that was running.
    #[must_use]
    pub const fn stack(&self) -> Option<StackPlace> {
        self.stack
    }

    /// The calls that were open, the innermost first; the last one is the expression that was
    /// evaluated, unless there are [more](Failure::more_frames).
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// How many outer calls are left out: at most 16 are kept.
    #[must_use]
    pub const fn more_frames(&self) -> u64 {
        self.more_frames
    }

    /// The path to the token of the stack program, or else to the place in the innermost frame.
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

    /// The tokens of the stack program that was running, as they stand in its body.
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

/// The message, with the symbol's name if there is one.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.symbol {
            Some(symbol) => write!(f, "{} '{}'", self.kind, crate::text::Escaped(symbol)),
            None => self.kind.fmt(f),
        }
    }
}

/// One of the calls that were open.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    pub(super) code: Expr,
    pub(super) kind: BlockKind,
    pub(super) op: usize,
    pub(super) hosts: HostNames,
    pub(super) name: Option<Symbol>,
}

impl Frame {
    /// What was running: the expression that is evaluated, or a form, `(body params fn)` or
    /// `(body sk)`. In memory it is the list that was evaluated, so that
    /// [`Script::find`](crate::text::Script::find) finds it in its source.
    #[must_use]
    pub const fn code(&self) -> &Expr {
        &self.code
    }

    /// The name by which it was called.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The path from [`Frame::code`] to what was running in it: indices of items, outermost first.
    /// Takes as long as compiling the code.
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
    /// Counts an error; it is made only if it is kept.
    #[cold]
    pub(super) fn add(&mut self, failure: impl FnOnce() -> Failure) {
        self.count = self.count.saturating_add(1);
        if self.list.len() < KEPT_FAILURES {
            self.list.push(failure());
        }
    }
}
