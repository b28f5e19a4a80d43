//! What a machine can be asked to evaluate.

use super::Program;
use crate::expr::{Bytes, Expr};

/// Something to evaluate, see [`Machine::start`](super::Machine::start).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Task<'a> {
    /// One expression.
    Expr(&'a Expr),
    /// Expressions in order, as one evaluation with one meter: its value is that of the last one,
    /// or of the first one that is an error, which ends it. Without expressions it is `()`.
    Script(&'a [Expr]),
    /// A call.
    Call {
        /// What is called.
        function: Function<'a>,
        /// The values that it is called with.
        arguments: &'a [Expr],
    },
    /// A stack program, without the evaluator.
    Program {
        /// The program.
        program: &'a Program,
        /// Its arguments.
        arguments: &'a [Bytes],
    },
}

impl<'a> From<&'a Expr> for Task<'a> {
    fn from(expr: &'a Expr) -> Self {
        Self::Expr(expr)
    }
}

/// A function or stack form that a host calls.
#[derive(Clone, Copy, Debug)]
pub enum Function<'a> {
    /// The form that this name is bound to in the environment.
    Name(&'a str),
    /// The form itself, `(body params fn)` or `(body sk)`. Its code is kept as long as the list is
    /// the same one in memory.
    Form(&'a Expr),
}

impl<'a> From<&'a str> for Function<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a Expr> for Function<'a> {
    fn from(form: &'a Expr) -> Self {
        Self::Form(form)
    }
}
