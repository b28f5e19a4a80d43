//! Metered virtual machine with limits: evaluator and stack machine.
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
//! | a symbol | the value that it is bound to |
//! | `(x)` | the value of `x` |
//! | `(value name def)` | the value, to which the name is bound from then on |
//! | `(id ref)` | the list of atoms that starts at `id`, the last one first |
//! | `(… body sk)`, `(… body params fn)` | itself: a special form, which can be called |
//! | `(args… form)`, `(args… name)` with the name bound to a special form | the value of the call |
//! | `(args… name)`, `name` with the name of a [host function](Machine::bind) | its value |
//! | any other list | the list of its items' values |
//!
//! A function sees the bindings of its caller. `def` binds in the innermost function that is being
//! called, or in the environment. A stack program consists of the tokens of its body, with the
//! arguments for `$0`, `$1`, … and the values of the lists in it, and is run by the stack machine;
//! see [`Machine::run`].
//!
//! # Embedding
//!
//! [`Machine::eval`] evaluates to the end and returns the outcome as a type ([`Outcome`]), with the
//! positions of errors ([`Failure`]). [`Machine::start`] and [`Machine::resume`] suspend when an
//! atom is missing, the meter or a slice of steps is used up, the host interrupts, or a host
//! function waits; the evaluation continues exactly there ([`Suspended`]). A debugger runs one
//! operation at a time with [`Machine::step`], and looks at the state with [`Suspended::inspect`].
//!
//! # Invariants
//!
//! - A program can fail, be charged and be stopped, and the result is its value: nothing panics. An
//!   error ends the calls that it is an argument of, and is an item of the lists that contain it.
//!   Exceeding a limit ends the evaluation.
//! - The host's stack does not grow with a program's nesting.
//! - The same program on the same atoms under the same limits has the same value, charge and steps:
//!   on every target, in a new machine or one that evaluated other programs, however it was parsed
//!   or read from atoms, and whether or not it was suspended in between.
//! - A machine takes no more memory than its limits allow, for as long as it lives. Between
//!   evaluations it keeps only code, at most a quarter of [`Limits::live_bytes`] and at most 16
//!   MiB. An environment and its values belong to the host.
//! - A missing atom is an ordinary error for the program, and an [`Outcome`] for the host.
//! - If the host panics in its store or functions, no state of that evaluation reaches the next
//!   one.

mod bytecode;
mod compile;
mod env;
mod error;
mod eval;
mod exec_context;
mod failure;
mod host;
mod image;
mod inspect;
mod library;
mod limits;
mod meter;
mod opcode;
mod outcome;
mod program;
mod reason;
mod run;
mod special_form;
mod stack;
mod suspend;
mod symbols;
mod task;
mod weight;
mod word;

pub use env::Env;
pub use error::ErrorKind;
pub use failure::{Failure, Frame, StackPosition};
pub use host::{BindError, BoxError, HostCall, HostFault, HostFunction};
pub use image::RestoreError;
pub use inspect::{Inspection, NextToken, Operation, StackInspection};
pub use limits::{Exceeded, LimitKind, Limits};
pub use meter::Meter;
pub use opcode::Opcode;
pub use outcome::{Evaluation, HostError, Missing, Outcome, Wanted};
pub use program::{Program, ProgramError, ProgramErrorKind};
pub use reason::Reason;
pub use suspend::{Progress, Suspended};
pub use task::{Function, Task};

use crate::arc::Arc;
use crate::atom::{AtomSink, AtomSource};
use crate::expr::{Bytes, Expr};
use crate::text::{self, ParseError, ParseErrorKind, Parser};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::AtomicBool;
use eval::Evaluator;
use exec_context::Account;
use host::Functions;
use library::Library;

/// Maximum size of the code that is kept between evaluations, in bytes.
const MAX_CACHED_CODE_BYTES: u64 = 16 << 20;
/// Maximum number of values for which stacks keep capacity between evaluations.
const MAX_RETAINED_CAPACITY: u64 = 4096;

/// Virtual machine that evaluates expressions against a store of atoms.
///
/// ```
/// use astreum_core::{atom::MemoryStore, machine::{Env, Machine, Outcome}};
///
/// let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
/// machine.set_meter_limit(Some(1_000));
/// machine.eval_source("((($0 $0 add) sk) double def)", &mut env);
/// let evaluation = machine.eval_source("((1 double) (21 double))", &mut env);
/// assert_eq!(evaluation.value().to_string(), "(2 42)");
/// assert_eq!((evaluation.outcome(), evaluation.used()), (Outcome::Finished, 4));
/// ```
pub struct Machine<S: AtomSource + AtomSink> {
    store: S,
    limits: Limits,
    meter_limit: Option<u64>,
    slice: Option<u64>,
    interrupt: Option<Arc<AtomicBool>>,
    functions: Functions,
    error: Option<HostError<<S as AtomSource>::Error, <S as AtomSink>::Error>>,
    account: Account,
    evaluator: Box<Evaluator>,
}

impl<S: AtomSource + AtomSink> fmt::Debug for Machine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("limits", &self.limits)
            .field("meter_limit", &self.meter_limit)
            .finish_non_exhaustive()
    }
}

impl<S: AtomSource + AtomSink> Machine<S> {
    /// Creates a machine with the default limits and an unlimited meter.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::with_limits(store, Limits::DEFAULT)
    }

    /// Creates a machine with these limits and an unlimited meter.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Limits, Machine, Outcome}};
    /// let limits = Limits { steps: 1_000, ..Limits::DEFAULT };
    /// let mut machine = Machine::with_limits(NoStore, limits);
    /// let evaluation = machine.eval_source("(1 ((0 jump) sk))", &mut Env::new());
    /// assert!(matches!(evaluation.outcome(), Outcome::Limit(_)));
    /// ```
    #[must_use]
    pub fn with_limits(store: S, limits: Limits) -> Self {
        let functions = Functions::default();
        let library = Library::new(functions.names().clone());
        Self {
            store,
            limits,
            meter_limit: None,
            slice: None,
            interrupt: None,
            functions,
            error: None,
            account: Account::new(),
            evaluator: Box::new(Evaluator::new(library)),
        }
    }

    /// Sets the limit of the meter that each evaluation starts with.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine}};
    /// let mut machine = Machine::new(NoStore);
    /// machine.set_meter_limit(Some(3));
    /// // The second addition would reach the limit; the program continues.
    /// let source = "((1 (($0 $0 add) sk)) (2 (($0 $0 add) sk)) 3)";
    /// let evaluation = machine.eval_source(source, &mut Env::new());
    /// assert_eq!(evaluation.value().to_string(), "(2 (error \"low_eval\" \"meter limit\") 3)");
    /// ```
    pub const fn set_meter_limit(&mut self, limit: Option<u64>) {
        self.meter_limit = limit;
    }

    /// Sets the number of steps after which [`Machine::start`] and [`Machine::resume`] suspend an
    /// evaluation, at the next point where that is possible; `None` means unlimited.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress, Reason}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// machine.set_slice(Some(1_000));
    /// let endless = text::parse("(1 ((0 jump) sk))").unwrap();
    /// let Progress::Suspended(suspended) = machine.start(&endless, &mut env) else {
    ///     panic!("it never ends");
    /// };
    /// assert_eq!(*suspended.reason(), Reason::Slice);
    /// ```
    pub const fn set_slice(&mut self, steps: Option<u64>) {
        self.slice = steps;
    }

    /// Sets a flag that another thread or a signal handler may set to interrupt an evaluation:
    /// [`Machine::eval`] then ends with `(error "eval" "interrupted")`, [`Machine::start`] and
    /// [`Machine::resume`] suspend. The machine never clears the flag.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Outcome}};
    /// use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
    ///
    /// let flag = Arc::new(AtomicBool::new(false));
    /// let mut machine = Machine::new(NoStore);
    /// machine.set_interrupt(Arc::clone(&flag));
    /// flag.store(true, Ordering::Relaxed); // From another thread, usually.
    /// let evaluation = machine.eval_source("(1 ((0 jump) sk))", &mut Env::new());
    /// assert_eq!(evaluation.outcome(), Outcome::Interrupted);
    /// ```
    pub fn set_interrupt(&mut self, flag: Arc<AtomicBool>) {
        self.interrupt = Some(flag);
    }

    /// Returns the limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Sets the limits of evaluations that start from now on.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Returns the store.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// Returns the store for changes between evaluations.
    ///
    /// ```
    /// use astreum_core::atom::{Atom, MemoryStore};
    /// use astreum_core::machine::{Env, Machine};
    ///
    /// let mut machine = Machine::new(MemoryStore::new());
    /// let id = machine.store_mut().insert(Atom::bytes(*b"hello"));
    /// let evaluation = machine.eval_source(&format!("(0x{id} ref)"), &mut Env::new());
    /// assert_eq!(evaluation.value().to_string(), "(\"hello\")");
    /// ```
    pub const fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Consumes the machine and returns the store.
    ///
    /// ```
    /// use astreum_core::atom::{Atom, AtomSource, MemoryStore};
    /// use astreum_core::machine::{Env, Machine};
    ///
    /// // The program creates an atom of kind 1 (bytes).
    /// let mut machine = Machine::new(MemoryStore::new());
    /// machine.eval_source("(1 ((1 \"data\" atom_new) sk))", &mut Env::new());
    /// let store = machine.into_store();
    /// assert!(store.atom(&Atom::bytes(*b"data").id()).is_ok());
    /// ```
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }

    /// Binds a name to a function of the host. It is called by `(args… name)`, or without arguments
    /// by the name alone, and gets the values of its arguments. A script can neither bind the name
    /// nor obtain the function as a value.
    ///
    /// Discards all code that was compiled before.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine}};
    ///
    /// let mut machine = Machine::new(NoStore);
    /// machine.bind("length", |call| {
    ///     call.charge(1)?;
    ///     let bytes = call.arguments().iter().filter_map(Expr::as_bytes);
    ///     Ok(Expr::integer(bytes.map(<[u8]>::len).sum::<usize>() as u64))
    /// })?;
    /// let evaluation = machine.eval_source("(\"hello\" \"you\" length)", &mut Env::new());
    /// assert_eq!(evaluation.value().as_integer(), Some(8));
    /// assert_eq!(evaluation.used(), 1);
    /// # Ok::<(), astreum_core::machine::BindError>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`BindError::Reserved`] if the name is reserved by the language.
    pub fn bind<F>(&mut self, name: &str, function: F) -> Result<(), BindError>
    where
        F: FnMut(&mut HostCall<'_>) -> Result<Expr, HostFault> + Send + 'static,
    {
        self.functions.bind(name, Box::new(function))?;
        self.forget();
        Ok(())
    }

    /// Removes a host function; returns `false` if none has this name.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine}};
    /// let mut machine = Machine::new(NoStore);
    /// machine.bind("one", |_| Ok(Expr::integer(1)))?;
    /// assert!(machine.unbind("one") && !machine.unbind("one"));
    /// assert!(machine.eval_source("(one)", &mut Env::new()).value().is_error());
    /// # Ok::<(), astreum_core::machine::BindError>(())
    /// ```
    pub fn unbind(&mut self, name: &str) -> bool {
        let was_bound = self.functions.unbind(name);
        self.forget();
        was_bound
    }

    /// Takes the error that ended or suspended the last evaluation, in the original type of the
    /// store or host function.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, HostError, HostFault, Machine, Outcome}};
    ///
    /// let mut machine = Machine::new(NoStore);
    /// machine.bind("fail", |_| Err(HostFault::error("no disk")))?;
    /// let evaluation = machine.eval_source("(fail)", &mut Env::new());
    /// assert_eq!(evaluation.outcome(), Outcome::HostError);
    /// let Some(HostError::Function { name, error }) = machine.take_host_error() else {
    ///     panic!("another error");
    /// };
    /// assert_eq!((name.as_str(), error.to_string()), ("fail", "no disk".to_owned()));
    /// # Ok::<(), astreum_core::machine::BindError>(())
    /// ```
    pub const fn take_host_error(
        &mut self,
    ) -> Option<HostError<<S as AtomSource>::Error, <S as AtomSink>::Error>> {
        self.error.take()
    }

    /// Discards all code that is kept for later evaluations and releases its memory.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine}};
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// machine.eval_source("((($0 $0 add) sk) double def)", &mut env);
    /// machine.forget();
    /// // Definitions are in the environment: the code is compiled again.
    /// assert_eq!(machine.eval_source("(4 double)", &mut env).value().as_integer(), Some(8));
    /// ```
    pub fn forget(&mut self) {
        let library = Library::new(self.functions.names().clone());
        *self.evaluator = Evaluator::new(library);
    }

    /// Notes that `expr` will not be evaluated again, so that memory for its code is released in
    /// time. A host that drops each expression after its evaluation keeps less memory by calling it.
    pub fn release(&mut self, expr: &Expr) {
        self.evaluator.library.count_dropped(expr);
    }

    /// Evaluates `expr` in `env`, which keeps the definitions of the expression.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine}};
    /// let pair = Expr::list([Expr::symbol("x"), Expr::integer(2)]);
    /// let mut env = Env::new();
    /// env.set("x", Expr::integer(1));
    /// let evaluation = Machine::new(NoStore).eval(&pair, &mut env);
    /// assert_eq!(evaluation.value().to_string(), "(1 2)");
    /// ```
    pub fn eval(&mut self, expr: &Expr, env: &mut Env) -> Evaluation {
        self.eval_task(expr, env)
    }

    /// Evaluates a task to its end: [`Machine::eval`] for every kind of task.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Task}, text::Script};
    ///
    /// let script = Script::parse("20 22")?;
    /// let exprs: Vec<_> = script.exprs().cloned().collect();
    /// let evaluation = Machine::new(NoStore).eval_task(Task::Script(&exprs), &mut Env::new());
    /// assert_eq!(evaluation.value().as_integer(), Some(22));
    /// # Ok::<(), astreum_core::text::ParseError>(())
    /// ```
    pub fn eval_task<'a>(&mut self, task: impl Into<Task<'a>>, env: &mut Env) -> Evaluation {
        let result = self.begin::<false>(task.into(), env, false);
        self.evaluation(result)
    }

    /// Evaluates source text, which must be one expression.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine}};
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// let evaluation = machine.eval_source("(1 2 (($0 $1 add) sk))", &mut env);
    /// assert_eq!(evaluation.value().as_integer(), Some(3));
    /// let evaluation = machine.eval_source("(1 2", &mut env);
    /// assert!(evaluation.parse_error().is_some() && evaluation.value().is_error());
    /// ```
    pub fn eval_source(&mut self, source: &str, env: &mut Env) -> Evaluation {
        match text::parse(source) {
            Ok(expr) => {
                let evaluation = self.eval_task(Task::Expr(&expr), env);
                // Functions that it defined live on.
                self.release(&expr);
                evaluation
            }
            Err(error) => {
                let message = match error.kind {
                    ParseErrorKind::UnexpectedEnd => "no expression provided",
                    kind => kind.message(),
                };
                Evaluation {
                    value: Expr::error("eval", message),
                    outcome: Outcome::Finished,
                    used: 0,
                    steps: 0,
                    failures: Vec::new(),
                    failure_count: 0,
                    parse_error: Some(error),
                }
            }
        }
    }

    /// Evaluates all expressions of a source text in order, as one evaluation with one meter: see
    /// [`Task::Script`].
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine}};
    ///
    /// let script = "((($0 $0 add) sk) double def) (21 double)";
    /// let evaluation = Machine::new(NoStore).eval_all(script, &mut Env::new())?;
    /// assert_eq!(evaluation.value().as_integer(), Some(42));
    /// # Ok::<(), astreum_core::text::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// Returns the parse error of the first malformed expression; no expression is evaluated then.
    pub fn eval_all(&mut self, source: &str, env: &mut Env) -> Result<Evaluation, ParseError> {
        let exprs = Parser::new(source).collect::<Result<Vec<_>, _>>()?;
        Ok(self.eval_task(Task::Script(&exprs), env))
    }

    /// Calls a function or stack program with values, as `(args… name)` would in a program. Code
    /// that was compiled for an earlier call is reused.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine}};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// machine.eval_source("((($0 $1 add) sk) sum def)", &mut env);
    /// let arguments = [Expr::integer(20), Expr::integer(22)];
    /// let evaluation = machine.call("sum", &arguments, &mut env);
    /// assert_eq!(evaluation.value().as_integer(), Some(42));
    /// ```
    pub fn call<'f>(
        &mut self,
        function: impl Into<Function<'f>>,
        arguments: &[Expr],
        env: &mut Env,
    ) -> Evaluation {
        let function = function.into();
        self.eval_task(
            Task::Call {
                function,
                arguments,
            },
            env,
        )
    }

    /// Runs a stack program. Tokens equal to the name of an opcode are that opcode, all others are
    /// literals.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::{Bytes, Expr}, machine::Machine};
    /// let code: [&[u8]; 3] = [&[20], &[22], b"add"];
    /// let evaluation = Machine::new(NoStore).run(&code.map(Bytes::new));
    /// assert_eq!(*evaluation.value(), Expr::bytes([42]));
    /// ```
    pub fn run(&mut self, code: &[Bytes]) -> Evaluation {
        self.run_program(&Program::new(code), &[])
    }

    /// Runs a decoded stack program, with arguments for its placeholders.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Bytes, machine::{Machine, Program}, text};
    /// let body = text::parse("($0 1 add)")?;
    /// let increment = Program::with_arguments(body.as_list().unwrap(), 1)?;
    /// let evaluation = Machine::new(NoStore).run_program(&increment, &[Bytes::new(&[41])]);
    /// assert_eq!(evaluation.value().as_integer(), Some(42));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    pub fn run_program(&mut self, program: &Program, arguments: &[Bytes]) -> Evaluation {
        self.eval_task(Task::Program { program, arguments }, &mut Env::new())
    }
}

#[cfg(test)]
mod tests;
