//! Host functions in Python.

use crate::errors::Suspend;
use crate::expr::{to_expr, wrap};
use astreum_core::expr::Expr;
use astreum_core::machine::{HostCall, HostFault};
use core::fmt;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyTraverseError, PyVisit};
use std::sync::Arc;

/// Exception of a host function.
#[derive(Debug)]
pub(crate) struct PythonError(pub(crate) PyErr);

impl fmt::Display for PythonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::error::Error for PythonError {}

/// Cost of a host function.
enum Cost {
    /// The same for each call.
    Fixed(u64),
    /// Returned by a function of the arguments.
    Computed(Py<PyAny>),
}

impl Cost {
    fn new(cost: &Bound<'_, PyAny>) -> PyResult<Self> {
        if cost.is_callable() {
            return Ok(Self::Computed(cost.clone().unbind()));
        }
        amount(cost).map(Self::Fixed)
    }
}

fn amount(cost: &Bound<'_, PyAny>) -> PyResult<u64> {
    let wrong = |_| PyValueError::new_err("a cost must be an integer from 0 to 2**64 - 1");
    cost.extract().map_err(wrong)
}

/// Python function and its cost. A machine and its host function share one, so that the garbage
/// collector sees all references.
pub(crate) struct Callback {
    function: Py<PyAny>,
    cost: Cost,
}

impl Callback {
    /// Checks the objects of a function and its cost.
    pub(crate) fn new(
        function: &Bound<'_, PyAny>,
        cost: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        if !function.is_callable() {
            return Err(PyTypeError::new_err("a host function must be callable"));
        }
        Ok(Self {
            function: function.clone().unbind(),
            cost: cost.map_or(Ok(Cost::Fixed(0)), Cost::new)?,
        })
    }

    /// Shows the references to the garbage collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Cost::Computed(cost) = &self.cost {
            visit.call(cost)?;
        }
        visit.call(&self.function)
    }
}

/// Returns the host function that calls the Python function.
pub(crate) fn host_function(
    callback: Arc<Callback>,
) -> impl FnMut(&mut HostCall<'_>) -> Result<Expr, HostFault> + Send + 'static {
    move |call| {
        let Callback { function, cost } = &*callback;
        if let Cost::Fixed(cost) = cost {
            call.charge(*cost)?;
        }
        let answer = Python::try_attach(|py| {
            let arguments = arguments(py, call).map_err(failed)?;
            if let Cost::Computed(cost) = cost {
                let cost = cost.bind(py).call1(&arguments).map_err(failed)?;
                call.charge(amount(&cost).map_err(failed)?)?;
            }
            match function.bind(py).call1(&arguments) {
                Ok(value) => to_expr(&value).map_err(failed),
                Err(error) if error.is_instance_of::<Suspend>(py) => Err(HostFault::Suspend),
                Err(error) => Err(failed(error)),
            }
        });
        answer.unwrap_or_else(|| Err(HostFault::error("the interpreter is shutting down")))
    }
}

fn arguments<'py>(py: Python<'py>, call: &HostCall<'_>) -> PyResult<Bound<'py, PyTuple>> {
    let arguments = call.arguments().iter();
    let arguments = arguments.map(|argument| wrap(py, argument.clone()));
    PyTuple::new(py, arguments.collect::<PyResult<Vec<_>>>()?)
}

fn failed(error: PyErr) -> HostFault {
    HostFault::from(PythonError(error))
}
