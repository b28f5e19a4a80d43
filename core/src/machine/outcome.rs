//! Results of evaluations.

use super::failure::Failure;
use super::host::BoxError;
use super::limits::Exceeded;
use crate::atom::AtomId;
use crate::expr::{Expr, Symbol};
use crate::text::ParseError;
use alloc::vec::Vec;
use core::fmt;

/// Way in which an evaluation ended.
///
/// A program cannot forge an outcome: it is separate from the value, whatever the value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The program ran to its end. Its value may be an error, which the program then produced.
    Finished,
    /// A limit was reached. Every limit except the meter's ends the evaluation; a refused charge is
    /// an error value, with which the program continued.
    Limit(Exceeded),
    /// The host interrupted the evaluation.
    Interrupted,
    /// An atom was missing. For the program that was an ordinary error, with which it continued. A
    /// host that gets the atom can evaluate again, or [suspend](super::Machine::start) evaluations
    /// at missing atoms in the first place.
    Missing(Missing),
    /// The store or a host function failed, which ended the evaluation. The error is available from
    /// [`Machine::take_host_error`](super::Machine::take_host_error).
    HostError,
}

/// Atom that an evaluation needed but the store did not have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Missing {
    /// Id of the atom.
    pub id: AtomId,
    /// Part that is needed.
    pub wanted: Wanted,
}

/// Part of a missing atom that is needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wanted {
    /// The atom alone.
    Atom,
    /// The whole list that starts with it.
    List,
}

/// Error of the host in its original type: of a read or write of the store, or of a function.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostError<R, W> {
    /// The store failed to look up an atom.
    Read(R),
    /// The store failed to store an atom.
    Write(W),
    /// A host function failed.
    Function {
        /// Name of the function.
        name: Symbol,
        /// Error of the function.
        error: BoxError,
    },
}

impl<R: fmt::Display, W: fmt::Display> fmt::Display for HostError<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "failed to read an atom: {error}"),
            Self::Write(error) => write!(f, "failed to store an atom: {error}"),
            Self::Function { name, error } => write!(f, "host function {name} failed: {error}"),
        }
    }
}

impl<R: fmt::Debug + fmt::Display, W: fmt::Debug + fmt::Display> core::error::Error
    for HostError<R, W>
{
}

/// Result of an evaluation: value, outcome and usage.
///
/// A program that fails is not a failure of the machine: its value is an error value, and its usage
/// is reported as usual.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evaluation {
    pub(super) value: Expr,
    pub(super) outcome: Outcome,
    pub(super) used: u64,
    pub(super) steps: u64,
    pub(super) failures: Vec<Failure>,
    pub(super) failure_count: u64,
    pub(super) parse_error: Option<ParseError>,
}

impl Evaluation {
    /// Returns the value, which may be an error: see [`Expr::is_error`].
    #[must_use]
    pub const fn value(&self) -> &Expr {
        &self.value
    }

    /// Consumes the evaluation and returns its value.
    #[must_use]
    pub fn into_value(self) -> Expr {
        self.value
    }

    /// Returns the outcome: the first event that the value alone does not show.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Returns the amount charged to the meter.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Returns the number of steps, see [`Limits::steps`](super::Limits::steps).
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the id of the first missing atom, if the outcome is [`Outcome::Missing`].
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self.outcome {
            Outcome::Missing(missing) => Some(missing.id),
            _ => None,
        }
    }

    /// Returns the first errors that the machine raised, in order of occurrence, with their
    /// positions. Some may be items of the value, some may have been replaced by later ones.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// Returns the number of errors that the machine raised; [`Evaluation::failures`] has at most
    /// 16 of them.
    #[must_use]
    pub const fn failure_count(&self) -> u64 {
        self.failure_count
    }

    /// Returns the reason the source of [`Machine::eval_source`](super::Machine::eval_source) is
    /// not an expression.
    #[must_use]
    pub const fn parse_error(&self) -> Option<&ParseError> {
        self.parse_error.as_ref()
    }
}
