//! Suspended evaluations.

use super::eval::Evaluator;
use super::exec_context::Account;
use super::host::Answer;
use super::meter::Meter;
use super::outcome::{BoxError, Evaluation, Missing};
use crate::expr::{Expr, Symbol};
use alloc::boxed::Box;
use core::fmt;

/// Progress of an evaluation.
#[derive(Debug)]
pub enum Progress {
    /// The evaluation ended.
    Done(Evaluation),
    /// The evaluation is suspended.
    Suspended(Suspended),
}

impl Progress {
    /// Returns the result if the evaluation ended.
    #[must_use]
    pub fn done(self) -> Option<Evaluation> {
        match self {
            Self::Done(evaluation) => Some(evaluation),
            Self::Suspended(_) => None,
        }
    }
}

/// Reason an evaluation is suspended.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The slice of steps is used up, see [`Machine::set_slice`](super::Machine::set_slice). It can
    /// be resumed at any time.
    Slice,
    /// The host interrupted it. It continues when it is resumed with the flag cleared.
    Interrupted,
    /// An atom is missing. It continues when it is resumed and the store has the atom.
    Missing(Missing),
    /// The meter refused a charge. It continues when it is resumed after a
    /// [grant](Suspended::grant).
    Meter {
        /// Amount of the charge.
        cost: u64,
    },
    /// A host function has no value yet. It is called again when the evaluation is resumed, unless
    /// the host [answers](Suspended::answer) for it.
    HostFunction {
        /// Name of the function.
        name: Symbol,
    },
    /// The store or a host function failed; the error is available from
    /// [`Machine::take_host_error`](super::Machine::take_host_error). The operation is retried when
    /// the evaluation is resumed.
    HostError,
}

/// Suspended evaluation: the complete state to continue exactly where it stopped, except the
/// environment.
///
/// It can be sent to another thread, resumed by another machine, and [encoded as
/// bytes](Suspended::to_bytes). To end the evaluation, drop it: its definitions outside of
/// functions are in the environment.
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
    pub fn refuse(&mut self) {
        self.account.answer = match self.reason {
            Reason::Missing(_) | Reason::Meter { .. } | Reason::HostError => Some(Answer::Refused),
            Reason::HostFunction { .. } => Some(Answer::Error("no value".into())),
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
