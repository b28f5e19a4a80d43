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
///
/// ```
/// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine, Outcome}};
/// // The value of a program does not distinguish a limit from its own error, but the outcome does.
/// let source = "(error \"low_eval\" \"meter limit\")";
/// let evaluation = Machine::new(NoStore).eval_source(source, &mut Env::new());
/// assert_eq!(*evaluation.value(), Expr::error("low_eval", "meter limit"));
/// assert_eq!(evaluation.outcome(), Outcome::Finished);
/// ```
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
///
/// ```
/// use astreum_core::atom::{AtomId, NoStore};
/// use astreum_core::machine::{Env, Machine, Missing, Outcome, Wanted};
/// let id = AtomId::new([7; 32]);
/// let evaluation = Machine::new(NoStore).eval_source(&format!("(0x{id} ref)"), &mut Env::new());
/// let missing = Missing { id, wanted: Wanted::List };
/// assert_eq!(evaluation.outcome(), Outcome::Missing(missing));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Missing {
    /// Id of the atom.
    pub id: AtomId,
    /// Part that is needed.
    pub wanted: Wanted,
}

/// Part of a missing atom that is needed.
///
/// ```
/// use astreum_core::atom::{AtomId, NoStore};
/// use astreum_core::expr::Bytes;
/// use astreum_core::machine::{Machine, Outcome, Wanted};
///
/// // Loads one byte of an atom.
/// let id = AtomId::new([7; 32]);
/// let code = [id.as_bytes().as_slice(), &[0], &[1], b"atom_load"];
/// let evaluation = Machine::new(NoStore).run(&code.map(Bytes::new));
/// let Outcome::Missing(missing) = evaluation.outcome() else {
///     panic!("the store is empty");
/// };
/// assert_eq!((missing.id, missing.wanted), (id, Wanted::Atom));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wanted {
    /// The atom alone.
    Atom,
    /// The whole list that starts with it.
    List,
}

/// Error of the host in its original type: of a read or write of the store, or of a function.
///
/// ```
/// use astreum_core::atom::{Atom, AtomId, AtomSink, AtomSource, SourceError};
/// use astreum_core::machine::{Env, HostError, Machine};
///
/// struct Disk;
///
/// impl AtomSource for Disk {
///     type Error = &'static str;
///
///     fn atom(&self, _: &AtomId) -> Result<Atom, SourceError<&'static str>> {
///         Err(SourceError::Failed("no disk"))
///     }
/// }
///
/// impl AtomSink for Disk {
///     type Error = &'static str;
///
///     fn put(&mut self, _: AtomId, _: Atom) -> Result<(), &'static str> {
///         Err("disk is full")
///     }
/// }
///
/// let mut machine = Machine::new(Disk);
/// machine.eval_source("(1 ((1 \"data\" atom_new) sk))", &mut Env::new());
/// assert!(matches!(machine.take_host_error(), Some(HostError::Write("disk is full"))));
/// ```
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
///
/// ```
/// use astreum_core::{atom::NoStore, machine::{Env, Machine, Outcome}};
/// let evaluation = Machine::new(NoStore).eval_source("(1 (nope) 3)", &mut Env::new());
/// // The error is an item of the value.
/// assert!(!evaluation.value().is_error());
/// assert_eq!(evaluation.outcome(), Outcome::Finished);
/// assert_eq!((evaluation.used(), evaluation.failure_count()), (0, 1));
/// ```
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
    ///
    /// ```
    /// use astreum_core::atom::{AtomId, NoStore};
    /// use astreum_core::machine::{Env, Machine};
    /// let id = AtomId::new([7; 32]);
    /// let source = format!("(0x{id} ref)");
    /// let evaluation = Machine::new(NoStore).eval_source(&source, &mut Env::new());
    /// assert_eq!(evaluation.missing(), Some(id));
    /// ```
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        match self.outcome {
            Outcome::Missing(missing) => Some(missing.id),
            _ => None,
        }
    }

    /// Returns the first errors that the machine raised, in order of occurrence, with their
    /// positions. Some may be items of the value, some may have been replaced by later ones.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, ErrorKind, Machine}};
    /// let evaluation = Machine::new(NoStore).eval_source("((a) (b))", &mut Env::new());
    /// let names: Vec<_> = evaluation.failures().iter().map(|failure| failure.symbol()).collect();
    /// assert_eq!(names, [Some("a"), Some("b")]);
    /// assert_eq!(evaluation.failures()[0].kind(), ErrorKind::UnboundSymbol);
    /// ```
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
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, machine::{Env, Machine}};
    /// let evaluation = Machine::new(NoStore).eval_source("(1\n )) 2", &mut Env::new());
    /// let error = evaluation.parse_error().unwrap();
    /// assert_eq!((error.line(), error.column()), (2, 3));
    /// ```
    #[must_use]
    pub const fn parse_error(&self) -> Option<&ParseError> {
        self.parse_error.as_ref()
    }
}
