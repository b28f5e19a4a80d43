//! Host functions: names that a host binds to its own functions.
//!
//! Invariants:
//! - A name that is bound here refers to the host's function wherever it is called: a definition or
//!   a parameter with that name is an error, and a binding in an environment is ignored.
//! - Only the name at a call site refers to the function. It is not a value, so a script can
//!   neither create one nor pass one on.

use super::Meter;
use super::special_form::RESERVED;
use crate::arc::Arc;
use crate::expr::{Expr, Symbol};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// Error of a host function.
pub type BoxError = Box<dyn core::error::Error + Send + Sync>;

/// Error of the machine itself in place of a host function's.
///
/// The standard library's conversion of a string keeps the code that escapes strings, which is two
/// kilobytes.
#[derive(Debug)]
pub(super) struct Message(Box<str>);

impl Message {
    pub(super) fn boxed(text: &str) -> BoxError {
        Box::new(Self(text.into()))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Message {}

/// Function of the host: takes values, returns a value or the host's error.
pub type HostFunction =
    Box<dyn FnMut(&mut HostCall<'_>) -> Result<Expr, HostFault> + Send + 'static>;

/// Call of a host function.
///
/// ```
/// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, HostFault, Machine}};
///
/// let mut machine = Machine::new(NoStore);
/// machine.bind("first", |call| match call.arguments() {
///     [first, ..] => Ok(first.clone()),
///     [] => Err(HostFault::error(format!("{} needs an argument", call.name()))),
/// })?;
/// let evaluation = machine.eval_source("(1 2 first)", &mut Env::new());
/// assert_eq!(evaluation.value().as_integer(), Some(1));
/// # Ok::<(), astreum_core::machine::BindError>(())
/// ```
#[derive(Debug)]
pub struct HostCall<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a [Expr],
    pub(super) meter: &'a mut Meter,
    pub(super) refused: Option<u64>,
}

impl HostCall<'_> {
    /// Returns the name by which the function was called.
    #[must_use]
    pub const fn name(&self) -> &str {
        self.name
    }

    /// Returns the values of the arguments; none of them is an error.
    #[must_use]
    pub const fn arguments(&self) -> &[Expr] {
        self.arguments
    }

    /// Charges `cost` to the meter.
    ///
    /// Charge before any other effect: if the evaluation is suspended until more is granted, the
    /// function is called again from its start, and its earlier charges are undone.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine, Outcome}};
    ///
    /// let mut machine = Machine::new(NoStore);
    /// machine.bind("costly", |call| {
    ///     call.charge(10)?;
    ///     Ok(Expr::integer(1))
    /// })?;
    /// assert_eq!(machine.eval_source("(costly)", &mut Env::new()).used(), 10);
    /// machine.set_meter_limit(Some(10));
    /// let evaluation = machine.eval_source("(costly)", &mut Env::new());
    /// assert!(evaluation.value().is_error());
    /// assert!(matches!(evaluation.outcome(), Outcome::Limit(_)));
    /// # Ok::<(), astreum_core::machine::BindError>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`HostFault::Meter`] if the charge would reach the meter's limit. The function must
    /// return this error.
    pub const fn charge(&mut self, cost: u64) -> Result<(), HostFault> {
        if self.meter.charge(cost) {
            return Ok(());
        }
        self.refused = Some(cost);
        Err(HostFault::Meter)
    }

    /// Returns the limit of the meter minus the amount charged, or `None` if there is no limit. A
    /// charge must be below this number.
    ///
    /// ```
    /// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, Machine}};
    ///
    /// let mut machine = Machine::new(NoStore);
    /// machine.set_meter_limit(Some(7));
    /// machine.bind("left", |call| Ok(Expr::integer(call.remaining().unwrap_or(u64::MAX))))?;
    /// let evaluation = machine.eval_source("(left)", &mut Env::new());
    /// assert_eq!(evaluation.value().as_integer(), Some(7));
    /// # Ok::<(), astreum_core::machine::BindError>(())
    /// ```
    #[must_use]
    pub const fn remaining(&self) -> Option<u64> {
        match self.meter.limit() {
            Some(limit) => Some(limit - self.meter.used()),
            None => None,
        }
    }
}

/// Reason a host function did not return a value.
///
/// An error that the program may handle is not included: return it as a value, see [`Expr::error`].
///
/// ```
/// use astreum_core::{atom::NoStore, expr::Expr, machine::{Env, HostFault, Machine, Outcome}};
///
/// let mut machine = Machine::new(NoStore);
/// machine.bind("parse", |call| {
///     let bytes = call.arguments().first().and_then(Expr::as_bytes).unwrap_or_default();
///     let number: u32 = core::str::from_utf8(bytes)?.parse()?; // Ends the evaluation.
///     match number {
///         0 => Ok(Expr::error("parse", "zero")), // An error that the program may handle.
///         number => Ok(Expr::integer(number)),
///     }
/// })?;
/// let evaluation = machine.eval_source("(\"x\" parse)", &mut Env::new());
/// assert_eq!(evaluation.outcome(), Outcome::HostError);
/// # Ok::<(), astreum_core::machine::BindError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum HostFault {
    /// The function failed. The evaluation ends, and the error is available from
    /// [`Machine::take_host_error`](super::Machine::take_host_error).
    Error(BoxError),
    /// The value is not available yet. The evaluation is suspended with the arguments until the
    /// host [answers](super::Suspended::answer) or lets the function be called again. If the
    /// evaluation cannot be suspended, this is an error of the function.
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
    /// Creates a failure with this error or text.
    pub fn error(error: impl Into<BoxError>) -> Self {
        Self::Error(error.into())
    }
}

/// Reason a name cannot be bound to a host function.
///
/// ```
/// use astreum_core::{atom::NoStore, expr::Expr, machine::{BindError, Machine}};
/// let bound = Machine::new(NoStore).bind("def", |_| Ok(Expr::list([])));
/// assert_eq!(bound, Err(BindError::Reserved));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum BindError {
    /// The name is reserved by the language: `def`, `ref`, `fn`, `sk` and `error`.
    Reserved,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name is reserved by the language")
    }
}

impl core::error::Error for BindError {}

/// Decision of the host about the operation at which an evaluation is suspended.
#[derive(Debug)]
pub(super) enum Answer {
    /// The operation fails as it does if the evaluation cannot be suspended.
    Refused,
    /// Value of the host function.
    Value(Expr),
    /// Error of the host function.
    Error(BoxError),
}

/// Names of host functions in order, shared by all code that was compiled with them; `None` if
/// there are none.
#[derive(Clone, Default)]
pub(super) struct HostNames(Option<Arc<[Symbol]>>);

impl HostNames {
    #[inline]
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|names| {
            names
                .binary_search_by(|known| known.as_str().cmp(name))
                .is_ok()
        })
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

/// Functions of a host.
#[derive(Default)]
pub(super) struct Functions {
    /// In the order of their names.
    functions: Vec<(Symbol, HostFunction)>,
    names: HostNames,
}

impl Functions {
    pub(super) fn bind(&mut self, name: &str, function: HostFunction) -> Result<(), BindError> {
        if RESERVED.contains(&name) {
            return Err(BindError::Reserved);
        }
        match self.find(name) {
            Ok(index) => {
                if let Some((_, bound)) = self.functions.get_mut(index) {
                    *bound = function;
                }
            }
            Err(index) => self.functions.insert(index, (Symbol::new(name), function)),
        }
        self.refresh();
        Ok(())
    }

    pub(super) fn unbind(&mut self, name: &str) -> bool {
        let found = self.find(name);
        if let Ok(index) = found {
            drop(self.functions.remove(index));
            self.refresh();
        }
        found.is_ok()
    }

    /// Returns the index of a function, or the one at which to insert it.
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.functions
            .binary_search_by(|(known, _)| known.as_str().cmp(name))
    }

    fn refresh(&mut self) {
        let names = || {
            self.functions
                .iter()
                .map(|(name, _)| name.clone())
                .collect()
        };
        self.names = HostNames((!self.functions.is_empty()).then(names));
    }

    pub(super) const fn names(&self) -> &HostNames {
        &self.names
    }

    /// Calls a function.
    pub(super) fn call(&mut self, name: &str, call: &mut HostCall<'_>) -> Result<Expr, HostFault> {
        let found = self.find(name).ok();
        match found.and_then(|index| self.functions.get_mut(index)) {
            Some((_, function)) => function(call),
            None => Err(HostFault::Error(Message::boxed(
                "not bound in this machine",
            ))),
        }
    }
}
