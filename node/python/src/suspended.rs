//! Suspended evaluations.

use crate::env::PyEnv;
use crate::evaluation::missing;
use crate::expr::{to_expr, wrap};
use crate::host::PythonError;
use astreum_core::machine::{Env, Reason, Suspended};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Suspended evaluation; `Machine.resume` continues it.
#[pyclass(name = "Suspended", module = "astreum", frozen)]
pub(crate) struct PySuspended {
    state: Mutex<Option<(Suspended, Env)>>,
    /// Environment that gets the definitions.
    env: Option<Py<PyEnv>>,
}

fn resumed() -> PyErr {
    PyRuntimeError::new_err("the evaluation was already resumed")
}

impl PySuspended {
    pub(crate) const fn new(suspended: Suspended, scope: Env, env: Option<Py<PyEnv>>) -> Self {
        Self {
            state: Mutex::new(Some((suspended, scope))),
            env,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Suspended, Env)>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the evaluation and its scope, to resume it.
    pub(crate) fn take(&self) -> PyResult<(Suspended, Env)> {
        self.lock().take().ok_or_else(resumed)
    }

    pub(crate) const fn env(&self) -> Option<&Py<PyEnv>> {
        self.env.as_ref()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Suspended, &Env) -> T) -> PyResult<T> {
        match &mut *self.lock() {
            Some((suspended, scope)) => Ok(work(suspended, scope)),
            None => Err(resumed()),
        }
    }
}

#[pymethods]
impl PySuspended {
    /// Reason: "missing", "meter", "slice", "interrupted", "host_function" or "storage".
    #[getter]
    fn reason(&self) -> PyResult<&'static str> {
        self.with(|suspended, _| match suspended.reason() {
            Reason::Missing(_) => "missing",
            Reason::Meter { .. } => "meter",
            Reason::Slice => "slice",
            Reason::Interrupted => "interrupted",
            Reason::HostFunction { .. } => "host_function",
            _ => "storage",
        })
    }

    /// Missing atom, if that is the reason.
    #[getter]
    fn missing<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let found = self.with(|suspended, _| match suspended.reason() {
            Reason::Missing(missing) => Some(*missing),
            _ => None,
        })?;
        found.map(|found| missing(py, found)).transpose()
    }

    /// Charge that the meter refused, if that is the reason.
    #[getter]
    fn cost(&self) -> PyResult<Option<u64>> {
        self.with(|suspended, _| match suspended.reason() {
            Reason::Meter { cost } => Some(*cost),
            _ => None,
        })
    }

    /// Name and arguments of the host function that it waits for, if that is the reason.
    #[getter]
    fn host_call<'py>(&self, py: Python<'py>) -> PyResult<Option<(String, Bound<'py, PyTuple>)>> {
        let call = self.with(|suspended, _| {
            let (name, arguments) = suspended.host_call()?;
            Some((name.to_owned(), arguments.to_vec()))
        })?;
        let Some((name, arguments)) = call else {
            return Ok(None);
        };
        let arguments = arguments.into_iter().map(|argument| wrap(py, argument));
        let arguments = arguments.collect::<PyResult<Vec<_>>>()?;
        Ok(Some((name, PyTuple::new(py, arguments)?)))
    }

    /// Amount charged so far.
    #[getter]
    fn used(&self) -> PyResult<u64> {
        self.with(|suspended, _| suspended.meter().used())
    }

    /// Number of steps so far.
    #[getter]
    fn steps(&self) -> PyResult<u64> {
        self.with(|suspended, _| suspended.steps())
    }

    /// Raises the limit of the meter.
    fn grant(&self, amount: u64) -> PyResult<()> {
        self.with(|suspended, _| suspended.grant(amount))
    }

    /// Decides that what it waits for will not be available: the operation fails.
    fn refuse(&self) -> PyResult<()> {
        self.with(|suspended, _| suspended.refuse())
    }

    /// Supplies the value of the host function that it waits for.
    fn answer(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = to_expr(value)?;
        self.with(|suspended, _| suspended.answer(Ok(value)))
    }

    /// Supplies the exception of the host function that it waits for.
    fn fail(&self, error: Bound<'_, PyAny>) -> PyResult<()> {
        let error = PythonError(PyErr::from_value(error));
        self.with(|suspended, _| suspended.answer(Err(Box::new(error))))
    }

    /// Encodes the evaluation and its environment, for `Machine.restore`.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = self.with(|suspended, scope| suspended.to_bytes(scope))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn __repr__(&self) -> String {
        match self.with(|suspended, _| format!("{suspended:?}")) {
            Ok(text) => format!("<{text}>"),
            Err(_) => "<Suspended, already resumed>".to_owned(),
        }
    }
}
