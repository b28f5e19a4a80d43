//! Results of evaluations. Outcomes and failures are the classes of `astreum.outcomes`.

use crate::atom::id_bytes;
use crate::expr::wrap;
use astreum_core::machine::{Evaluation, Exceeded, Failure, Missing, Outcome, Wanted};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// Result of an evaluation: value, outcome and usage.
#[pyclass(name = "Evaluation", module = "astreum", frozen)]
pub(crate) struct PyEvaluation(pub(crate) Evaluation);

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("astreum.outcomes")?.getattr(name)
}

/// Returns a missing atom as a Python object.
pub(crate) fn missing<'py>(py: Python<'py>, missing: Missing) -> PyResult<Bound<'py, PyAny>> {
    let wanted = match missing.wanted {
        Wanted::Atom => "atom",
        Wanted::List => "list",
    };
    class(py, "Missing")?.call1((id_bytes(py, &missing.id), wanted))
}

#[pymethods]
impl PyEvaluation {
    /// Value; may be an error value.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        wrap(py, self.0.value().clone())
    }

    /// Way in which the evaluation ended.
    #[getter]
    fn outcome<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.0.outcome() {
            Outcome::Finished => class(py, "Finished")?.call0(),
            Outcome::Limit(Exceeded { kind, limit, used }) => {
                class(py, "LimitExceeded")?.call1((kind.name(), limit, used))
            }
            Outcome::Interrupted => class(py, "Interrupted")?.call0(),
            Outcome::Missing(id) => missing(py, id),
            _ => class(py, "StorageFailed")?.call0(),
        }
    }

    /// Whether the program ran to its end and its value is not an error value.
    #[getter]
    fn ok(&self) -> bool {
        self.0.outcome() == Outcome::Finished && !self.0.value().is_error()
    }

    /// Amount charged to the meter.
    #[getter]
    const fn used(&self) -> u64 {
        self.0.used()
    }

    /// Number of steps.
    #[getter]
    const fn steps(&self) -> u64 {
        self.0.steps()
    }

    /// First errors that the machine raised, with their positions.
    #[getter]
    fn failures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let class = class(py, "Failure")?;
        let failures = self.0.failures().iter();
        let failures = failures.map(|failure| failure_object(&class, failure));
        PyTuple::new(py, failures.collect::<PyResult<Vec<_>>>()?)
    }

    /// Number of errors that the machine raised.
    #[getter]
    const fn failure_count(&self) -> u64 {
        self.0.failure_count()
    }

    fn __repr__(&self) -> String {
        let outcome = match self.0.outcome() {
            Outcome::Finished => "finished".to_owned(),
            Outcome::Limit(exceeded) => exceeded.to_string(),
            Outcome::Interrupted => "interrupted".to_owned(),
            Outcome::Missing(missing) => format!("missing {}", missing.id),
            _ => "storage failed".to_owned(),
        };
        format!(
            "<Evaluation {} ({outcome}), used {}, steps {}>",
            astreum_core::text::to_text(self.0.value(), 200),
            self.0.used(),
            self.0.steps()
        )
    }
}

fn failure_object<'py>(
    class: &Bound<'py, PyAny>,
    failure: &Failure,
) -> PyResult<Bound<'py, PyAny>> {
    let stack = failure.stack();
    let frames = failure.frames().iter();
    let calls: Vec<Option<String>> = frames
        .map(|frame| frame.name().map(str::to_owned))
        .collect();
    let path = PyTuple::new(class.py(), failure.path())?;
    let calls = PyTuple::new(class.py(), calls)?;
    class.call1((
        failure.kind().topic(),
        failure.to_string(),
        failure.symbol().map(str::to_owned),
        path,
        stack.map(|stack| stack.token),
        stack.and_then(|stack| Some(stack.opcode?.name())),
        stack.map(|stack| stack.depth),
        calls,
    ))
}
