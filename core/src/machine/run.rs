//! Running, suspending and ending the evaluations of a machine.

use super::eval::Evaluator;
use super::exec_context::{Account, Session, Stop};
use super::library::Library;
use super::{
    Env, Evaluation, HostError, MAX_CACHED_CODE_BYTES, MAX_RETAINED_CAPACITY, Machine, Meter,
    Outcome, Progress, RestoreError, Suspended, Task, image,
};
use crate::atom::{AtomSink, AtomSource};
use crate::expr::Expr;
use alloc::boxed::Box;

impl<S: AtomSource + AtomSink> Machine<S> {
    /// Starts an evaluation that is suspended when it cannot continue immediately: at a missing
    /// atom, a refused charge, the end of a slice, an interrupt, or a host function that waits or
    /// fails.
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
        let result = self.begin::<false>(task.into(), env, true);
        self.progress(result)
    }

    /// Starts an evaluation, suspended before its first operation, for [`Machine::step`]. An
    /// evaluation without operations, such as that of bytes, ends immediately.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// let expr = text::parse("(1 2 (($0 $1 add) sk))")?;
    /// let mut progress = machine.start_stepping(&expr, &mut env);
    /// let mut depths = Vec::new();
    /// while let Progress::Suspended(suspended) = progress {
    ///     depths.extend(suspended.inspect().stack().map(|stack| stack.values().len()));
    ///     progress = machine.step(suspended, &mut env);
    /// }
    /// // Before each of the three tokens.
    /// assert_eq!(depths, [0, 1, 2]);
    /// assert_eq!(progress.done().unwrap().value().as_integer(), Some(3));
    /// # Ok::<(), text::ParseError>(())
    /// ```
    pub fn start_stepping<'a>(&mut self, task: impl Into<Task<'a>>, env: &mut Env) -> Progress {
        let result = self.begin::<true>(task.into(), env, true);
        self.progress(result)
    }

    /// Resumes an evaluation that was suspended by this machine or by another one with the same
    /// host functions. `env` must be the environment in which it was started; its definitions
    /// outside of functions are in there.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// machine.set_slice(Some(1));
    /// let expr = text::parse("((1 2 (($0 $1 add) sk)) (3))")?;
    /// let mut progress = machine.start(&expr, &mut env);
    /// let mut slices = 1;
    /// while let Progress::Suspended(suspended) = progress {
    ///     progress = machine.resume(suspended, &mut env);
    ///     slices += 1;
    /// }
    /// assert_eq!(progress.done().unwrap().value().to_string(), "(3 3)");
    /// assert!(slices > 1);
    /// # Ok::<(), text::ParseError>(())
    /// ```
    pub fn resume(&mut self, suspended: Suspended, env: &mut Env) -> Progress {
        let result = self.resume_with::<false>(suspended, env, true);
        self.progress(result)
    }

    /// Resumes a suspended evaluation for one operation of the evaluator or one token of a stack
    /// program, see [`Suspended::inspect`]. It is then suspended for [`Reason::Slice`], or for
    /// another reason before the operation took effect, as in [`Machine::resume`].
    ///
    /// The value, charge and steps of an evaluation do not depend on how it was stepped. Steps are
    /// counted in blocks, so that their number does not change at each operation.
    ///
    /// [`Reason::Slice`]: super::Reason::Slice
    pub fn step(&mut self, suspended: Suspended, env: &mut Env) -> Progress {
        let result = self.resume_with::<true>(suspended, env, true);
        self.progress(result)
    }

    /// Resumes a suspended evaluation and runs it to its end: events that suspend in
    /// [`Machine::resume`] are handled as in [`Machine::eval`].
    ///
    /// ```
    /// use astreum_core::{atom::{AtomId, NoStore}, machine::{Env, Machine, Progress}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// let expr = text::parse(&format!("(0x{} ref)", AtomId::new([7; 32])))?;
    /// let Progress::Suspended(suspended) = machine.start(&expr, &mut env) else {
    ///     panic!("the atom is missing");
    /// };
    /// // The atom will not come: the program gets an error.
    /// let evaluation = machine.finish(suspended, &mut env);
    /// assert!(evaluation.value().is_error());
    /// # Ok::<(), text::ParseError>(())
    /// ```
    pub fn finish(&mut self, suspended: Suspended, env: &mut Env) -> Evaluation {
        let result = self.resume_with::<false>(suspended, env, false);
        self.evaluation(result)
    }

    /// Decodes an evaluation that was [encoded as bytes](Suspended::to_bytes), and the environment
    /// in which it was started, to resume it in this machine.
    ///
    /// Untrusted bytes can claim any charge and any values. They cannot make the machine panic, or
    /// take more than its limits and about fifty times their own length.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// machine.set_meter_limit(Some(1));
    /// let expr = text::parse("(1 (($0 $0 add) sk))")?;
    /// let Progress::Suspended(suspended) = machine.start(&expr, &mut env) else {
    ///     panic!("the meter refuses the charge");
    /// };
    /// let bytes = suspended.to_bytes(&env);
    ///
    /// // In another process, with a higher limit of the meter:
    /// let mut machine = Machine::new(NoStore);
    /// let (mut suspended, mut env) = machine.restore(&bytes)?;
    /// suspended.grant(10);
    /// let evaluation = machine.finish(suspended, &mut env);
    /// assert_eq!(evaluation.value().as_integer(), Some(2));
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`RestoreError::Malformed`] if the bytes are not a suspended evaluation,
    /// [`RestoreError::Limits`] if its limits exceed those of this machine, and
    /// [`RestoreError::HostFunctions`] if it was suspended in a machine with other host functions.
    pub fn restore(&self, bytes: &[u8]) -> Result<(Suspended, Env), RestoreError> {
        image::restore(bytes, &self.limits, self.functions.names())
    }

    pub(super) fn begin<const STEP: bool>(
        &mut self,
        task: Task<'_>,
        env: &mut Env,
        suspends: bool,
    ) -> Result<Expr, Stop> {
        // A host that panicked may have left state behind.
        self.evaluator.clear(self.retained_capacity());
        let meter = Meter::new(self.meter_limit);
        self.account.begin(&self.limits, meter, suspends);
        self.account.begin_slice(self.slice.filter(|_| !STEP));
        self.account.step_is_done = STEP;
        self.error = None;
        let mut session = Session {
            store: &mut self.store,
            functions: &mut self.functions,
            interrupt: self.interrupt.as_deref(),
            error: &mut self.error,
            account: &mut self.account,
        };
        self.evaluator.evaluate::<S, STEP>(task, env, &mut session)
    }

    pub(super) fn resume_with<const STEP: bool>(
        &mut self,
        suspended: Suspended,
        env: &mut Env,
        suspends: bool,
    ) -> Result<Expr, Stop> {
        self.evaluator = suspended.evaluator;
        self.account = suspended.account;
        self.account.suspends = suspends;
        self.account.begin_slice(self.slice.filter(|_| !STEP));
        self.account.step_is_done = false;
        self.error = None;
        let mut session = Session {
            store: &mut self.store,
            functions: &mut self.functions,
            interrupt: self.interrupt.as_deref(),
            error: &mut self.error,
            account: &mut self.account,
        };
        self.evaluator.resume::<S, STEP>(env, &mut session)
    }

    pub(super) fn progress(&mut self, result: Result<Expr, Stop>) -> Progress {
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

    /// Returns the result of an evaluation that ended.
    pub(super) fn evaluation(&mut self, result: Result<Expr, Stop>) -> Evaluation {
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
            // Only an interrupt remains, because the evaluation is not suspended here.
            (Err(_), _) => {
                let topic = self.evaluator.topic();
                (Expr::error(topic, "interrupted"), Outcome::Interrupted)
            }
        };
        let failures = core::mem::take(&mut account.failures);
        let (used, steps) = (account.meter.used(), account.steps);
        self.evaluator.clear(self.retained_capacity());
        if self.evaluator.library.hosts == *self.functions.names() {
            self.evaluator.library.trim(self.max_cached_code_bytes());
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

    /// Returns the maximum size of code that is kept between evaluations, in bytes.
    pub(super) fn max_cached_code_bytes(&self) -> u64 {
        (self.limits.live_bytes / 4).min(MAX_CACHED_CODE_BYTES)
    }

    /// Returns the number of values for which stacks keep capacity between evaluations.
    pub(super) fn retained_capacity(&self) -> usize {
        let items = (self.limits.live_bytes / 1024).clamp(16, MAX_RETAINED_CAPACITY);
        usize::try_from(items).unwrap_or_default()
    }
}
