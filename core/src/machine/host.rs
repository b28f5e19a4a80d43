//! Host functions: names that a host binds to functions of its own.
//!
//! Invariants:
//! - A name that is bound here means the host's function wherever it is called: a definition or a
//!   parameter of that name is an error, a binding in an environment is not asked.
//! - Nothing but the name at the place of a call leads to the function: it is not a value, so a
//!   script can neither make one nor pass one on.

use super::Meter;
use super::outcome::BoxError;
use super::special_form::RESERVED;
use crate::expr::{Expr, Symbol};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::fmt;

/// A function of the host: values in, a value or the host's error out.
pub type HostFunction =
    Box<dyn FnMut(&mut HostCall<'_>) -> Result<Expr, HostFault> + Send + 'static>;

/// One call of a host function.
#[derive(Debug)]
pub struct HostCall<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a [Expr],
    pub(super) meter: &'a mut Meter,
    pub(super) refused: Option<u64>,
}

impl HostCall<'_> {
    /// The name by which it was called.
    #[must_use]
    pub const fn name(&self) -> &str {
        self.name
    }

    /// The values of its arguments, none of which is an error.
    #[must_use]
    pub const fn arguments(&self) -> &[Expr] {
        self.arguments
    }

    /// Charges `cost` to the meter.
    ///
    /// Charge before anything else has an effect: where an evaluation is suspended until more is
    /// granted, the function is called again from its start, and what it had charged is undone.
    ///
    /// # Errors
    /// When the meter's limit would be reached. Return the error from the function.
    pub const fn charge(&mut self, cost: u64) -> Result<(), HostFault> {
        if self.meter.charge(cost) {
            return Ok(());
        }
        self.refused = Some(cost);
        Err(HostFault::Meter)
    }

    /// What is left on the meter, `None` if it has no limit.
    #[must_use]
    pub const fn remaining(&self) -> Option<u64> {
        match self.meter.limit() {
            Some(limit) => Some(limit - self.meter.used()),
            None => None,
        }
    }
}

/// Reason why a host function gives no value.
///
/// An error that the program may handle is not among them: return it as a value, see
/// [`Expr::error`].
#[derive(Debug)]
#[non_exhaustive]
pub enum HostFault {
    /// The function failed: the evaluation ends, and the host finds its error at
    /// [`Machine::take_host_error`](super::Machine::take_host_error).
    Error(BoxError),
    /// The value is not there yet: the evaluation is suspended with the arguments, until the host
    /// [answers](super::Suspended::answer) or lets the function be called again. Where evaluations
    /// are not suspended it is an error of the function.
    Suspend,
    /// The meter refused a charge.
    Meter,
}

impl<E: core::error::Error + Send + Sync + 'static> From<E> for HostFault {
    fn from(error: E) -> Self {
        Self::Error(Box::new(error))
    }
}

impl HostFault {
    /// A failure with this error or text.
    pub fn error(error: impl Into<BoxError>) -> Self {
        Self::Error(error.into())
    }
}

/// Reason why a name cannot be a host function's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The name means something to the language: `def`, `ref`, `fn`, `sk` and `error`.
    Reserved,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name is reserved by the language")
    }
}

impl core::error::Error for BindError {}

/// What the host decided about the operation that an evaluation is suspended at.
#[derive(Debug)]
pub(super) enum Answer {
    /// It fails as if the evaluation could not be suspended.
    Refused,
    /// The value of the host function.
    Value(Expr),
    /// The error of the host function.
    Error(BoxError),
}

/// Names of host functions, shared by all code that was compiled with them; `None` if there are
/// none.
#[derive(Clone, Default)]
pub(super) struct HostNames(Option<Arc<BTreeSet<Symbol>>>);

impl HostNames {
    #[inline]
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|names| names.contains(name))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Symbol> {
        self.0.iter().flat_map(|names| names.iter())
    }
}

impl PartialEq for HostNames {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (None, None) => true,
            _ => false,
        }
    }
}

impl Eq for HostNames {}

/// The functions of a host.
#[derive(Default)]
pub(super) struct Functions {
    functions: BTreeMap<Symbol, HostFunction>,
    names: HostNames,
}

impl Functions {
    pub(super) fn bind(&mut self, name: &str, function: HostFunction) -> Result<(), BindError> {
        if RESERVED.contains(&name) {
            return Err(BindError::Reserved);
        }
        self.functions.insert(Symbol::new(name), function);
        self.refresh();
        Ok(())
    }

    pub(super) fn unbind(&mut self, name: &str) -> bool {
        let was_bound = self.functions.remove(name).is_some();
        self.refresh();
        was_bound
    }

    fn refresh(&mut self) {
        let names = || Arc::new(self.functions.keys().cloned().collect());
        self.names = HostNames((!self.functions.is_empty()).then(names));
    }

    pub(super) const fn names(&self) -> &HostNames {
        &self.names
    }

    /// Calls a function.
    pub(super) fn call(&mut self, name: &str, call: &mut HostCall<'_>) -> Result<Expr, HostFault> {
        match self.functions.get_mut(name) {
            Some(function) => function(call),
            None => Err(HostFault::error("not bound in this machine")),
        }
    }
}
