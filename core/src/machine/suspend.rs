//! Suspended evaluations.

use super::eval::Evaluator;
use super::exec_context::Account;
use super::host::{Answer, BoxError};
use super::meter::Meter;
use super::outcome::Evaluation;
use super::reason::Reason;
use crate::expr::Expr;
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
