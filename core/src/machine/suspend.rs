//! Evaluations that are suspended and go on later.

use super::eval::Evaluator;
use super::exec_context::Account;
use super::host::Answer;
use super::meter::Meter;
use super::outcome::{BoxError, Evaluation, Missing};
use crate::expr::{Expr, Symbol};
use alloc::boxed::Box;
use core::fmt;

/// How far an evaluation came.
#[derive(Debug)]
pub enum Progress {
    /// It ended.
    Done(Evaluation),
    /// It waits for something.
    Suspended(Suspended),
}

impl Progress {
    /// The result, if the evaluation ended.
    #[must_use]
    pub fn done(self) -> Option<Evaluation> {
        match self {
            Self::Done(evaluation) => Some(evaluation),
            Self::Suspended(_) => None,
        }
    }
}

/// What a suspended evaluation waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing: the slice of steps is used up, see
    /// [`Machine::set_slice`](super::Machine::set_slice).
    Slice,
    /// The host interrupted it. It goes on when it is resumed with the flag cleared.
    Interrupted,
    /// An atom is missing. It goes on when it is resumed and the store has the atom.
    Missing(Missing),
    /// The meter refused a charge. It goes on when it is resumed after a
    /// [grant](Suspended::grant).
    Meter {
        /// The charge.
        cost: u64,
    },
    /// A host function has no value yet. It is called again when the evaluation is resumed, unless
    /// the host [answers](Suspended::answer) for it.
    HostFunction {
        /// Its name.
        name: Symbol,
    },
    /// The store or a host function failed; the error is at
    /// [`Machine::take_host_error`](super::Machine::take_host_error). It is tried again when the
    /// evaluation is resumed.
    HostError,
}

/// An evaluation that is suspended: everything that it needs to go on exactly where it stopped,
/// but the environment.
///
/// It can be sent to another thread, resumed by another machine, and
/// [written down](Suspended::to_bytes). To end the evaluation, drop it: what it defined outside of
/// functions is in the environment.
pub struct Suspended {
    pub(super) evaluator: Box<Evaluator>,
    pub(super) account: Account,
    pub(super) reason: Reason,
}

impl Suspended {
    /// What it waits for.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The meter.
    #[must_use]
    pub const fn meter(&self) -> Meter {
        self.account.meter
    }

    /// How many steps it took so far.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.account.steps
    }

    /// Raises the limit of the meter by `n`.
    pub const fn grant(&mut self, n: u64) {
        self.account.meter.grant(n);
    }

    /// Decides that what it waits for will not come: the operation fails as it does in
    /// [`Machine::eval`](super::Machine::eval). The error of a missing atom or a refused charge is
    /// the program's, which goes on with it; the host's own ends the evaluation.
    pub fn refuse(&mut self) {
        self.account.answer = match self.reason {
            Reason::Missing(_) | Reason::Meter { .. } | Reason::HostError => Some(Answer::Refused),
            Reason::HostFunction { .. } => Some(Answer::Error("no value".into())),
            Reason::Slice | Reason::Interrupted => None,
        };
    }

    /// The host function that it waits for, and its arguments.
    #[must_use]
    pub fn host_call(&self) -> Option<(&str, &[Expr])> {
        let Reason::HostFunction { name } = &self.reason else {
            return None;
        };
        Some((name, self.evaluator.host_arguments()))
    }

    /// Gives the value of the host function that it waits for, or its error. Does nothing if it
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
