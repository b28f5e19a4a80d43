//! What an evaluation came to.

use crate::atom::AtomId;
use crate::expr::Expr;

/// What came out of one evaluation, and what it took.
///
/// A program that fails is not a failure of the machine: its value is an error value, and what it
/// used was used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evaluation {
    pub(super) value: Expr,
    pub(super) used: u64,
    pub(super) steps: u64,
    pub(super) missing: Option<AtomId>,
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

    /// The first atom that was asked for and not there. A host that can get it puts it in the
    /// store and evaluates again.
    #[must_use]
    pub const fn missing(&self) -> Option<AtomId> {
        self.missing
    }
}
