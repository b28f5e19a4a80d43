//! Evaluator and stack machine, metered and within limits.
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
//! | a symbol | what it is bound to |
//! | `(x)` | the value of `x` |
//! | `(value name def)` | the value, which the name is bound to from then on |
//! | `(id ref)` | the list of atoms that starts at `id`, the last one first |
//! | `(… body sk)`, `(… body params fn)` | itself: a form, which can be called |
//! | `(args… form)`, `(args… name)` with the name bound to a form | the value of the call |
//! | `(args… name)`, `name` with the name of a [host function](Machine::bind) | its value |
//! | any other list | the list of its items' values |
//!
//! A function sees the bindings of its caller; `def` binds in the innermost function that is being
//! called, or in the environment. A stack program is the tokens of its body, with the arguments for
//! `$0`, `$1`, … and the values of the lists in it, run by the stack machine; see [`Machine::run`].
//!
//! # Embedding
//!
//! [`Machine::eval`] evaluates to the end and tells by type how it ended ([`Outcome`]), with the
//! places of errors ([`Failure`]). [`Machine::start`] and [`Machine::resume`] suspend where an atom
//! is missing, the meter or a slice of steps is used up, the host interrupts, or a host function
//! waits; the evaluation goes on exactly there ([`Suspended`]).
//!
//! # Invariants
//!
//! - A program can fail, be charged and be stopped, and that is its value: nothing panics. An error
//!   ends the calls that it is an argument of, and is an item of the lists that it stands in;
//!   passing a limit ends the evaluation.
//! - The host's stack does not grow with a program's nesting.
//! - The same program on the same atoms under the same limits has the same value, charge and steps:
//!   on every target, in a new machine or one that evaluated other programs, however it was parsed
//!   or read from atoms, and whether or not it was suspended in between.
//! - A machine takes no more memory than its limits allow, for as long as it lives. What it keeps
//!   from one evaluation to the next is code, at most a quarter of [`Limits::live_bytes`] and
//!   16 MiB of it. An environment and what is bound in it belong to the host.
//! - A missing atom is an error like any other to the program, and an [`Outcome`] to the host.
//! - A host that panics in its store or functions leaves nothing of that evaluation to the next.

mod bytecode;
mod compile;
mod env;
mod error;
mod eval;
mod exec_context;
mod failure;
mod host;
mod image;
mod library;
mod limits;
mod meter;
mod opcode;
mod outcome;
mod program;
mod special_form;
mod stack;
mod suspend;
mod symbols;
mod task;
mod weight;
mod word;

pub use env::Env;
pub use error::ErrorKind;
pub use failure::{Failure, Frame, StackPlace};
pub use host::{BindError, HostCall, HostFault, HostFunction};
pub use image::RestoreError;
pub use limits::{Exceeded, LimitKind, Limits};
pub use meter::Meter;
pub use opcode::Opcode;
pub use outcome::{BoxError, Evaluation, HostError, Missing, Outcome, Wanted};
pub use program::{Program, ProgramError, ProgramErrorKind};
pub use suspend::{Progress, Reason, Suspended};
pub use task::{Function, Task};

use crate::atom::{AtomSink, AtomSource};
use crate::expr::{Bytes, Expr};
use crate::text::{self, ParseError, ParseErrorKind, Parser};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::AtomicBool;
use eval::Evaluator;
use exec_context::{Account, Session, Stop};
use host::Functions;
use library::Library;

/// The most that code takes which is kept between evaluations.
const KEPT_CODE_BYTES: u64 = 16 << 20;
/// Values that stacks keep room for between evaluations, at most.
const KEPT_ITEMS: u64 = 4096;

/// Evaluates expressions against a store of atoms.
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
    /// A machine with the default limits and no limit on the meter.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::with_limits(store, Limits::DEFAULT)
    }

    /// A machine with these limits and no limit on the meter.
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
    pub const fn set_meter_limit(&mut self, limit: Option<u64>) {
        self.meter_limit = limit;
    }

    /// Sets the number of steps after which [`Machine::start`] and [`Machine::resume`] suspend an
    /// evaluation, at the next place where it can be; `None` for no such number.
    pub const fn set_slice(&mut self, steps: Option<u64>) {
        self.slice = steps;
    }

    /// Sets a flag that another thread or a signal handler may set to interrupt an evaluation:
    /// [`Machine::eval`] then ends with `(error "eval" "interrupted")`, [`Machine::start`] and
    /// [`Machine::resume`] suspend. The flag is never cleared here.
    pub fn set_interrupt(&mut self, flag: Arc<AtomicBool>) {
        self.interrupt = Some(flag);
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Sets the limits of evaluations that start from now on.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The store, to be changed between evaluations.
    pub const fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The store, taken out.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }

    /// Binds a name to a function of the host. It is called by `(args… name)`, or without
    /// arguments by the name alone, and gets the values of its arguments. A script can neither
    /// bind the name nor get hold of the function.
    ///
    /// Code that was compiled before is forgotten.
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
    /// When the name means something to the language.
    pub fn bind<F>(&mut self, name: &str, function: F) -> Result<(), BindError>
    where
        F: FnMut(&mut HostCall<'_>) -> Result<Expr, HostFault> + Send + 'static,
    {
        self.functions.bind(name, Box::new(function))?;
        self.forget();
        Ok(())
    }

    /// Removes a host function; `false` if there was none of this name.
    pub fn unbind(&mut self, name: &str) -> bool {
        let was_bound = self.functions.unbind(name);
        self.forget();
        was_bound
    }

    /// The error that ended or suspended the last evaluation, as the store or a host function
    /// made it.
    pub const fn take_host_error(
        &mut self,
    ) -> Option<HostError<<S as AtomSource>::Error, <S as AtomSink>::Error>> {
        self.error.take()
    }

    /// Forgets all code that is kept for later evaluations, and gives its memory back.
    pub fn forget(&mut self) {
        let library = Library::new(self.functions.names().clone());
        *self.evaluator = Evaluator::new(library);
    }

    /// Evaluates `expr` in `env`, which keeps what the expression defines.
    pub fn eval(&mut self, expr: &Expr, env: &mut Env) -> Evaluation {
        self.finish_task(Task::Expr(expr), env)
    }

    /// Evaluates source text, which must be one expression.
    pub fn eval_source(&mut self, source: &str, env: &mut Env) -> Evaluation {
        match text::parse(source) {
            Ok(expr) => {
                let evaluation = self.finish_task(Task::Expr(&expr), env);
                // The expression is gone; functions that it defined live on.
                self.evaluator.library.note_gone(&expr);
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
    /// When an expression cannot be parsed; then none is evaluated.
    pub fn eval_all(&mut self, source: &str, env: &mut Env) -> Result<Evaluation, ParseError> {
        let exprs = Parser::new(source).collect::<Result<Vec<_>, _>>()?;
        Ok(self.finish_task(Task::Script(&exprs), env))
    }

    /// Calls a function or stack form with values, as `(args… name)` would in a program. What was
    /// compiled for an earlier call is not compiled again.
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
        self.finish_task(
            Task::Call {
                function,
                arguments,
            },
            env,
        )
    }

    /// Runs a stack program. Tokens that spell an opcode are that opcode, all others are literals.
    pub fn run(&mut self, code: &[Bytes]) -> Evaluation {
        self.run_program(&Program::new(code), &[])
    }

    /// Runs a stack program that is decoded already, with arguments for its placeholders.
    pub fn run_program(&mut self, program: &Program, arguments: &[Bytes]) -> Evaluation {
        self.finish_task(Task::Program { program, arguments }, &mut Env::new())
    }

    /// Starts an evaluation that is suspended where it cannot go on at once: at a missing atom, a
    /// refused charge, the end of a slice, an interrupt, or a host function that waits or fails.
    ///
    /// ```
    /// use astreum_core::atom::{Atom, AtomId, MemoryStore};
    /// use astreum_core::expr::Expr;
    /// use astreum_core::machine::{Env, Machine, Progress, Reason};
    /// use astreum_core::text;
    ///
    /// let atom = Atom::bytes(*b"data");
    /// let expr = text::parse(&format!("(0x{} ref)", atom.id()))?;
    /// let (mut machine, mut env) = (Machine::new(MemoryStore::new()), Env::new());
    /// let mut progress = machine.start(&expr, &mut env);
    /// let evaluation = loop {
    ///     progress = match progress {
    ///         Progress::Done(evaluation) => break evaluation,
    ///         Progress::Suspended(suspended) => {
    ///             if let Reason::Missing(missing) = suspended.reason() {
    ///                 assert_eq!(missing.id, atom.id());
    ///                 // Fetched somehow.
    ///                 machine.store_mut().insert(atom.clone());
    ///             }
    ///             machine.resume(suspended, &mut env)
    ///         }
    ///     };
    /// };
    /// assert_eq!(*evaluation.value(), Expr::list([Expr::bytes("data")]));
    /// # Ok::<(), text::ParseError>(())
    /// ```
    pub fn start<'a>(&mut self, task: impl Into<Task<'a>>, env: &mut Env) -> Progress {
        let result = self.begin(task.into(), env, true);
        self.progress(result)
    }

    /// Goes on with an evaluation that was suspended, by this machine or another one with the same
    /// host functions. It has to get the environment that it was started with; what it defined
    /// outside of functions is in there.
    pub fn resume(&mut self, suspended: Suspended, env: &mut Env) -> Progress {
        let result = self.go_on(suspended, env, true);
        self.progress(result)
    }

    /// Goes on with an evaluation that was suspended, to its end: what suspends in
    /// [`Machine::resume`] is handled as in [`Machine::eval`].
    pub fn finish(&mut self, suspended: Suspended, env: &mut Env) -> Evaluation {
        let result = self.go_on(suspended, env, false);
        self.evaluation(result)
    }

    /// Reads an evaluation that was [written down](Suspended::to_bytes), and the environment that
    /// it was started in, to go on with it in this machine.
    ///
    /// Bytes from a stranger can claim any charge and any values. They cannot make the machine
    /// panic, nor take more than its limits and about fifty times their own length.
    ///
    /// # Errors
    /// When the bytes are not a suspended evaluation, when its limits are over those of this
    /// machine, or when it was suspended in a machine with other host functions.
    pub fn restore(&self, bytes: &[u8]) -> Result<(Suspended, Env), RestoreError> {
        image::restore(bytes, &self.limits, self.functions.names())
    }

    fn finish_task(&mut self, task: Task<'_>, env: &mut Env) -> Evaluation {
        let result = self.begin(task, env, false);
        self.evaluation(result)
    }

    fn begin(&mut self, task: Task<'_>, env: &mut Env, suspends: bool) -> Result<Expr, Stop> {
        // A host that panicked may have left something.
        self.evaluator.clear(self.kept_items());
        let meter = Meter::new(self.meter_limit);
        self.account.begin(&self.limits, meter, suspends);
        self.account.begin_slice(self.slice);
        self.error = None;
        let mut session = Session {
            store: &mut self.store,
            functions: &mut self.functions,
            interrupt: self.interrupt.as_deref(),
            error: &mut self.error,
            account: &mut self.account,
        };
        self.evaluator.evaluate(task, env, &mut session)
    }

    fn go_on(&mut self, suspended: Suspended, env: &mut Env, suspends: bool) -> Result<Expr, Stop> {
        self.evaluator = suspended.evaluator;
        self.account = suspended.account;
        self.account.suspends = suspends;
        self.account.begin_slice(self.slice);
        self.error = None;
        let mut session = Session {
            store: &mut self.store,
            functions: &mut self.functions,
            interrupt: self.interrupt.as_deref(),
            error: &mut self.error,
            account: &mut self.account,
        };
        self.evaluator.go_on(env, &mut session)
    }

    fn progress(&mut self, result: Result<Expr, Stop>) -> Progress {
        let is_suspended = matches!(result, Err(Stop::Pause | Stop::Retry));
        match self.account.reason.take().filter(|_| is_suspended) {
            Some(reason) => {
                let library = Library::new(self.functions.names().clone());
                let fresh = Box::new(Evaluator::new(library));
                Progress::Suspended(Suspended {
                    evaluator: core::mem::replace(&mut self.evaluator, fresh),
                    account: core::mem::replace(&mut self.account, Account::new()),
                    reason,
                })
            }
            None => Progress::Done(self.evaluation(result)),
        }
    }

    /// The result of an evaluation that ended.
    fn evaluation(&mut self, result: Result<Expr, Stop>) -> Evaluation {
        let account = &mut self.account;
        let topic = if account.in_stack { "low_eval" } else { "eval" };
        let noted = account.noted.unwrap_or(Outcome::Finished);
        let (value, outcome) = match (result, account.exceeded) {
            (Ok(value), _) => (value, noted),
            (Err(Stop::Failed(kind)), _) => (Expr::error(kind.topic(), kind.message()), noted),
            (Err(Stop::Limit), Some(exceeded)) => (
                Expr::error(topic, exceeded.kind.message()),
                Outcome::Limit(exceeded),
            ),
            (Err(Stop::Host), _) => {
                let message = match self.error {
                    Some(HostError::Function { .. }) => "host error",
                    _ => "storage error",
                };
                (Expr::error(topic, message), Outcome::HostError)
            }
            // Nothing else stops an evaluation that is not suspended.
            (Err(_), _) => {
                let topic = self.evaluator.topic();
                (Expr::error(topic, "interrupted"), Outcome::Interrupted)
            }
        };
        let failures = core::mem::take(&mut account.failures);
        let (used, steps) = (account.meter.used(), account.steps);
        self.evaluator.clear(self.kept_items());
        if self.evaluator.library.hosts == *self.functions.names() {
            self.evaluator.library.trim(self.kept_code_bytes());
        } else {
            // It was suspended in a machine with other functions.
            self.forget();
        }
        Evaluation {
            value,
            outcome,
            used,
            steps,
            failures: failures.list,
            failure_count: failures.count,
            parse_error: None,
        }
    }

    /// Bytes that code may take between evaluations.
    fn kept_code_bytes(&self) -> u64 {
        (self.limits.live_bytes / 4).min(KEPT_CODE_BYTES)
    }

    /// Values that stacks keep room for between evaluations.
    fn kept_items(&self) -> usize {
        let items = (self.limits.live_bytes / 1024).clamp(16, KEPT_ITEMS);
        usize::try_from(items).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
