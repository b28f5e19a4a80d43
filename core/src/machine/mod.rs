//! The machine: evaluates expressions and runs stack programs, metered and within limits.

mod env;
mod evaluation;
mod limits;
mod meter;
mod naive_machine;
mod naive_stack;
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
use alloc::sync::Arc;
use core::sync::atomic::AtomicBool;
use session::{Session, Stop};
use stack::StackMachine;

/// Evaluates expressions against a store of atoms.
pub struct Machine<S> {
    store: S,
    limits: Limits,
    meter_limit: Option<u64>,
    interrupt: Option<Arc<AtomicBool>>,
    stack: StackMachine,
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
            stack: StackMachine::default(),
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
        let mut meter = Meter::new(self.meter_limit);
        let scope = env.iter().map(|(name, value)| (name.into(), value.clone()));
        let mut walk = naive_machine::Walk {
            scopes: alloc::vec![scope.collect()],
            store: &mut self.store,
            meter: &mut meter,
            calls: 1000,
            exhausted: false,
        };
        let value = walk.eval(expr);
        for (name, value) in core::mem::take(&mut walk.scopes).into_iter().flatten() {
            env.set(&name, value);
        }
        Evaluation {
            value,
            used: meter.used(),
            steps: 0,
            missing: None,
        }
    }

    /// Evaluates source text, which must be one expression.
    pub fn eval_source(&mut self, source: &str, env: &mut Env) -> Evaluation {
        let _ = (source, env);
        Evaluation {
            value: Expr::error("eval", "no expression provided"),
            used: 0,
            steps: 0,
            missing: None,
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
        let value = match self.stack.run(program, &[], &mut session) {
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
