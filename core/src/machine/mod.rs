//! The machine: evaluates expressions and runs stack programs, metered and within limits.
//!
//! ```
//! use astreum_core::{atom::MemoryStore, machine::{Env, Machine}};
//!
//! let mut machine = Machine::new(MemoryStore::new());
//! let mut env = Env::new();
//! machine.eval_source("(((a b (($0 $1 add) sk)) (a b) fn) int.add def)", &mut env);
//! let evaluation = machine.eval_source("(1 2 int.add)", &mut env);
//! assert_eq!(evaluation.value().as_bytes(), Some(&[3][..]));
//! ```
//!
//! # The language
//!
//! | expression | value |
//! | --- | --- |
//! | bytes, `()`, `(error …)` | itself |
//! | a name | what it is bound to |
//! | `(x)` | the value of `x` |
//! | `(value name def)` | the value, which the name is bound to from then on |
//! | `(id ref)` | the chain of atoms that starts at `id`, the last one first |
//! | `(… body sk)`, `(… body params fn)` | itself: a form, which can be called |
//! | `(args… form)`, `(args… name)` with the name bound to a form | what the call comes to |
//! | any other list | the list of its items' values |
//!
//! A function sees the bindings of its caller; `def` binds in the innermost function that is being
//! called, or in the environment. A stack program is what `$0`, `$1`, … and the lists in its body
//! come to, run by the stack machine; see [`Machine::run`].
//!
//! # Invariants
//!
//! - A program can fail, be charged and be stopped, and that is its value: nothing panics. An error
//!   ends the calls that it is an argument of, and is an item of the lists that it stands in;
//!   passing a limit ends the evaluation.
//! - The host's stack does not grow with a program's nesting.
//! - The same program on the same atoms comes to the same value at the same cost, everywhere.
//! - A missing atom is an error like any other to the program, and [`Evaluation::missing`] to the
//!   host, which can get it and evaluate again.

mod code;
mod compile;
mod env;
mod eval;
mod evaluation;
mod form;
mod limits;
mod meter;
mod names;
mod opcode;
mod program;
mod session;
mod stack;
mod value;

pub use env::Env;
pub use evaluation::Evaluation;
pub use limits::Limits;
pub use meter::Meter;
pub use program::Program;

use crate::atom::{AtomSink, AtomSource};
use crate::expr::{Bytes, Expr};
use crate::text::{self, ParseErrorKind};
use alloc::sync::Arc;
use compile::Library;
use core::fmt;
use core::sync::atomic::AtomicBool;
use eval::{Abort, Evaluator};
use session::{Session, Stop};

/// Code of longer sources is not kept once they are evaluated.
const KEPT_SOURCE_BYTES: usize = 1 << 16;

/// Evaluates expressions against a store of atoms.
pub struct Machine<S> {
    store: S,
    limits: Limits,
    meter_limit: Option<u64>,
    interrupt: Option<Arc<AtomicBool>>,
    evaluator: Evaluator,
}

impl<S> fmt::Debug for Machine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("limits", &self.limits)
            .field("meter_limit", &self.meter_limit)
            .finish_non_exhaustive()
    }
}

impl<S: AtomSource + AtomSink> Machine<S> {
    /// A machine with the default limits and no limit on the meter.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::with_limits(store, Limits::DEFAULT)
    }

    /// A machine with these limits and no limit on the meter.
    #[must_use]
    pub fn with_limits(store: S, limits: Limits) -> Self {
        Self {
            store,
            limits,
            meter_limit: None,
            interrupt: None,
            evaluator: Evaluator::default(),
        }
    }

    /// The limit of the meter that each evaluation starts with.
    pub fn set_meter_limit(&mut self, limit: Option<u64>) {
        self.meter_limit = limit;
    }

    /// A flag that another thread or a signal handler may set: the evaluation then ends with
    /// `(error "eval" "interrupted")`. Whoever sets it clears it again.
    pub fn set_interrupt(&mut self, flag: Arc<AtomicBool>) {
        self.interrupt = Some(flag);
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store, to be changed between evaluations.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The store, taken out.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }

    /// Evaluates `expr` in `env`, which keeps what the expression defines.
    pub fn eval(&mut self, expr: &Expr, env: &mut Env) -> Evaluation {
        let meter = Meter::new(self.meter_limit);
        let interrupt = self.interrupt.as_deref();
        let mut session = Session::new(&mut self.store, &self.limits, meter, interrupt);
        let value = match self.evaluator.eval(expr, env, &mut session) {
            Ok(value) => value,
            Err(Abort { topic, message }) => Expr::error(topic, message),
        };
        Evaluation {
            value,
            used: session.meter.used(),
            steps: session.steps,
            missing: session.missing,
        }
    }

    /// Evaluates source text, which must be one expression.
    pub fn eval_source(&mut self, source: &str, env: &mut Env) -> Evaluation {
        match text::parse(source) {
            Ok(expr) => {
                let evaluation = self.eval(&expr, env);
                // Nobody has this expression any more: what is kept of it is worth little.
                if source.len() > KEPT_SOURCE_BYTES {
                    self.evaluator.library = Library::default();
                }
                evaluation
            }
            Err(error) => {
                let message = match error.kind {
                    ParseErrorKind::UnexpectedEnd => "no expression provided",
                    kind => kind.message(),
                };
                Evaluation {
                    value: Expr::error("eval", message),
                    used: 0,
                    steps: 0,
                    missing: None,
                }
            }
        }
    }

    /// Runs a stack program. Tokens that spell an opcode are that opcode, all others are values.
    pub fn run(&mut self, code: &[Bytes]) -> Evaluation {
        self.run_program(&Program::new(code))
    }

    /// Runs a stack program that is decoded already.
    pub fn run_program(&mut self, program: &Program) -> Evaluation {
        let meter = Meter::new(self.meter_limit);
        let interrupt = self.interrupt.as_deref();
        let mut session = Session::new(&mut self.store, &self.limits, meter, interrupt);
        let value = match self.evaluator.stack_machine.run(program, &[], &mut session) {
            Ok(value) => Expr::Bytes(value.to_bytes()),
            Err(Stop::Failed(message) | Stop::Limit(message)) => Expr::error("low_eval", message),
            Err(Stop::Interrupted) => Expr::error("low_eval", "interrupted"),
        };
        Evaluation {
            value,
            used: session.meter.used(),
            steps: session.steps,
            missing: session.missing,
        }
    }
}

#[cfg(test)]
mod tests;
