//! Suspended evaluations.

use super::eval::Evaluator;
use super::exec_context::Account;
use super::host::{Answer, BoxError, Message};
use super::meter::Meter;
use super::outcome::Evaluation;
use super::reason::Reason;
use crate::expr::Expr;
use alloc::boxed::Box;
use core::fmt;

/// Progress of an evaluation.
///
/// ```
/// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress}, text};
///
/// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
/// let expr = text::parse("(1 2 (($0 $1 add) sk))").unwrap();
/// match machine.start(&expr, &mut env) {
///     Progress::Done(evaluation) => assert_eq!(evaluation.value().as_integer(), Some(3)),
///     Progress::Suspended(suspended) => panic!("suspended: {:?}", suspended.reason()),
/// }
/// ```
#[derive(Debug)]
pub enum Progress {
    /// The evaluation ended.
    Done(Evaluation),
    /// The evaluation is suspended.
    Suspended(Suspended),
}

impl Progress {
    /// Returns the result if the evaluation ended.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine}};
    /// let progress = Machine::new(NoStore).start(&Expr::integer(7), &mut Env::new());
    /// assert_eq!(progress.done().unwrap().value().as_integer(), Some(7));
    /// ```
    #[must_use]
    pub fn done(self) -> Option<Evaluation> {
        match self {
            Self::Done(evaluation) => Some(evaluation),
            Self::Suspended(_) => None,
        }
    }
}

/// Suspended evaluation: the complete state to continue exactly where it stopped, except the
/// environment.
///
/// It can be sent to another thread, resumed by another machine, and [encoded as
/// bytes](Suspended::to_bytes). To end the evaluation, drop it: its definitions outside of
/// functions are in the environment.
///
/// ```
/// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress, Reason}, text};
///
/// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
/// machine.set_meter_limit(Some(3));
/// let expr = text::parse("((1 (($0 $0 add) sk)) (2 (($0 $0 add) sk)))").unwrap();
/// let Progress::Suspended(mut suspended) = machine.start(&expr, &mut env) else {
///     panic!("the meter refuses the second addition");
/// };
/// assert_eq!(*suspended.reason(), Reason::Meter { cost: 2 });
/// assert_eq!(suspended.meter().used(), 2);
/// suspended.grant(2);
/// let evaluation = machine.resume(suspended, &mut env).done().unwrap();
/// assert_eq!(evaluation.value().to_string(), "(2 4)");
/// ```
pub struct Suspended {
    pub(super) evaluator: Box<Evaluator>,
    pub(super) account: Account,
    pub(super) reason: Reason,
}

impl Suspended {
    /// Returns the reason it is suspended.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Returns the meter.
    #[must_use]
    pub const fn meter(&self) -> Meter {
        self.account.meter
    }

    /// Returns the number of steps so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.account.steps
    }

    /// Raises the limit of the meter by `n`.
    pub const fn grant(&mut self, n: u64) {
        self.account.meter.grant(n);
    }

    /// Decides that the awaited data will not be available: the operation fails as it does in
    /// [`Machine::eval`](super::Machine::eval). A missing atom or a refused charge is then an error
    /// of the program, which continues with it; an error of the host ends the evaluation.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine, Progress}, text};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// machine.set_meter_limit(Some(1));
    /// let expr = text::parse("(7 (1 (($0 $0 add) sk)))").unwrap();
    /// let Progress::Suspended(mut suspended) = machine.start(&expr, &mut env) else {
    ///     panic!("the meter refuses the addition");
    /// };
    /// suspended.refuse();
    /// let evaluation = machine.resume(suspended, &mut env).done().unwrap();
    /// assert_eq!(evaluation.value().to_string(), "(7 (error \"low_eval\" \"meter limit\"))");
    /// ```
    pub fn refuse(&mut self) {
        self.account.answer = match self.reason {
            Reason::Missing(_) | Reason::Meter { .. } | Reason::HostError => Some(Answer::Refused),
            Reason::HostFunction { .. } => Some(Answer::Error(Message::boxed("no value"))),
            Reason::Slice | Reason::Interrupted => None,
        };
    }

    /// Returns the name of the host function that it waits for, and the arguments.
    #[must_use]
    pub fn host_call(&self) -> Option<(&str, &[Expr])> {
        let Reason::HostFunction { name } = &self.reason else {
            return None;
        };
        Some((name, self.evaluator.host_arguments()))
    }

    /// Supplies the value of the host function that it waits for, or its error. Does nothing if it
    /// waits for something else.
    ///
    /// ```
    /// use astreum_core::atom::NoStore;
    /// use astreum_core::expr::Expr;
    /// use astreum_core::machine::{Env, HostFault, Machine, Progress};
    ///
    /// let (mut machine, mut env) = (Machine::new(NoStore), Env::new());
    /// machine.bind("fetch", |_| Err(HostFault::Suspend)).unwrap();
    /// let expr = astreum_core::text::parse("(1 (7 fetch))").unwrap();
    /// let Progress::Suspended(mut suspended) = machine.start(&expr, &mut env) else {
    ///     panic!("the function waits");
    /// };
    /// assert_eq!(suspended.host_call(), Some(("fetch", &[Expr::integer(7)][..])));
    /// suspended.answer(Ok(Expr::bytes("answer")));
    /// let evaluation = machine.resume(suspended, &mut env).done().unwrap();
    /// assert_eq!(evaluation.value().to_string(), "(1 \"answer\")");
    /// ```
    pub fn answer(&mut self, result: Result<Expr, BoxError>) {
        if matches!(self.reason, Reason::HostFunction { .. }) {
            self.account.answer = Some(match result {
                Ok(value) => Answer::Value(value),
                Err(error) => Answer::Error(error),
            });
        }
    }
}

impl fmt::Debug for Suspended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspended")
            .field("reason", &self.reason)
            .field("used", &self.account.meter.used())
            .field("steps", &self.account.steps)
            .finish_non_exhaustive()
    }
}
