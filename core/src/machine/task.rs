//! Tasks for a machine.

use super::Program;
use crate::expr::{Bytes, Expr};

/// Task to evaluate, see [`Machine::start`](super::Machine::start).
///
/// ```
/// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine, Task}, text::Script};
///
/// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
/// let script = Script::parse("((($0 $0 add) sk) double def) (21 double)").unwrap();
/// let exprs: Vec<Expr> = script.exprs().cloned().collect();
/// let evaluation = machine.start(Task::Script(&exprs), &mut env).done().unwrap();
/// assert_eq!(evaluation.value().as_integer(), Some(42));
/// let task = Task::Call { function: "double".into(), arguments: &[Expr::integer(4)] };
/// let evaluation = machine.start(task, &mut env).done().unwrap();
/// assert_eq!(evaluation.value().as_integer(), Some(8));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Task<'a> {
    /// One expression.
    Expr(&'a Expr),
    /// Expressions in order, as one evaluation with one meter. Its value is that of the last
    /// expression, or of the first one that is an error, which ends it. Without expressions it is
    /// `()`.
    Script(&'a [Expr]),
    /// A call.
    Call {
        /// Function to call.
        function: Function<'a>,
        /// Values of the arguments.
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

/// Function or stack program that a host calls.
///
/// ```
/// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Function, Machine}, text};
/// let sum = text::parse("(($0 $1 add) sk)").unwrap();
/// let arguments = [Expr::integer(1), Expr::integer(2)];
/// let mut machine = Machine::new(NoStore);
/// let evaluation = machine.call(Function::Form(&sum), &arguments, &mut Env::new());
/// assert_eq!(evaluation.value().as_integer(), Some(3));
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Function<'a> {
    /// The special form that this name is bound to in the environment.
    Name(&'a str),
    /// The special form itself, `(body params fn)` or `(body sk)`. Its code is reused as long as
    /// the list is the same one in memory.
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
