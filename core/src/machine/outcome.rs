//! Results of evaluations.

use super::failure::Failure;
use super::limits::Exceeded;
use crate::atom::AtomId;
use crate::expr::{Expr, Symbol};
use crate::text::ParseError;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// How an evaluation ended.
///
/// A program cannot imitate any of these: they are told apart from its value, whatever that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The program ran to its end. Its value may be an error; then the program made it.
    Finished,
    /// A limit was reached. Of all limits but the meter's this ends the evaluation; a refused
    /// charge is an error to the program, which went on with that.
    Limit(Exceeded),
    /// The host interrupted the evaluation.
    Interrupted,
    /// An atom was missing. To the program that was an error like any other, with which it went
    /// on; a host that gets the atom can evaluate again, or [suspend](super::Machine::start)
    /// evaluations at missing atoms in the first place.
    Missing(Missing),
    /// The store or a host function failed, which ended the evaluation. The error is at
    /// [`Machine::take_host_error`](super::Machine::take_host_error).
    HostError,
}

/// An atom that an evaluation needed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Missing {
    /// Its id.
    pub id: AtomId,
    /// What is needed of it.
    pub wanted: Wanted,
}

/// What is needed of a missing atom.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wanted {
    /// The atom alone.
    Atom,
    /// The whole list that starts with it.
    List,
}

/// An error of a host function.
pub type BoxError = Box<dyn core::error::Error + Send + Sync>;

/// An error of the host, as the host made it: of the store that read or wrote, or of a function.
#[derive(Debug)]
#[non_exhaustive]
pub enum HostError<R, W> {
    /// The store could not look for an atom.
    Read(R),
    /// The store could not keep an atom.
    Write(W),
    /// A host function failed.
    Function {
        /// Its name.
        name: Symbol,
        /// Its error.
        error: BoxError,
    },
}

impl<R: fmt::Display, W: fmt::Display> fmt::Display for HostError<R, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "the store could not read an atom: {error}"),
            Self::Write(error) => write!(f, "the store could not keep an atom: {error}"),
            Self::Function { name, error } => write!(f, "host function {name} failed: {error}"),
        }
    }
}

impl<R: fmt::Debug + fmt::Display, W: fmt::Debug + fmt::Display> core::error::Error
    for HostError<R, W>
{
}

/// Value of one evaluation, how it ended, and what it took.
///
/// A program that fails is not a failure of the machine: its value is an error value, and what it
/// used was used.
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
    /// The value, which may be an error: see [`Expr::is_error`].
    #[must_use]
    pub const fn value(&self) -> &Expr {
        &self.value
    }

    /// The value, taken out.
    #[must_use]
    pub fn into_value(self) -> Expr {
        self.value
    }

    /// How it ended: the first thing that happened which its value alone does not tell.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What the meter charged.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// How many steps it took, see [`Limits::steps`](super::Limits::steps).
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The first atom that was needed and not there.
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self.outcome {
            Outcome::Missing(missing) => Some(missing.id),
            _ => None,
        }
    }

    /// The first errors that the machine made, in the order in which they happened, with their
    /// places. Some may be items of the value, some may have been replaced by later ones.
    #[must_use]
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// How many errors the machine made; [`Evaluation::failures`] holds at most 16 of them.
    #[must_use]
    pub const fn failure_count(&self) -> u64 {
        self.failure_count
    }

    /// Why the source of [`Machine::eval_source`](super::Machine::eval_source) is not an
    /// expression.
    #[must_use]
    pub const fn parse_error(&self) -> Option<&ParseError> {
        self.parse_error.as_ref()
    }
}
