//! Exceptions, and conversions of errors to them.

use astreum_core::text::ParseError;
use astreum_node::NodeError;
use pyo3::exceptions::{PyException, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

pyo3::create_exception!(
    astreum,
    AstreumError,
    PyRuntimeError,
    "Failure of a node, its storage or its network."
);
pyo3::create_exception!(
    astreum,
    Suspend,
    PyException,
    "Raised by a host function whose value is not available yet."
);

/// Converts an error of a node.
pub(crate) fn node_error(error: &NodeError) -> PyErr {
    match error {
        NodeError::Config(_) => PyValueError::new_err(error.to_string()),
        _ => AstreumError::new_err(error.to_string()),
    }
}

/// Creates an `astreum.machine.error.ParseError` with the position in `source`.
pub(crate) fn parse_error(py: Python<'_>, error: &ParseError, source: &str) -> PyErr {
    let snippet = error.snippet(source).to_string();
    // Offsets are in characters, as Python counts them.
    let offset = source
        .get(..error.offset())
        .map_or(0, |before| before.chars().count());
    let arguments = (
        error.to_string(),
        offset,
        error.line(),
        error.column(),
        snippet,
    );
    match parse_error_type(py).and_then(|class| class.call1(arguments)) {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// Creates a `ParseError` without a position.
pub(crate) fn parse_error_text(py: Python<'_>, message: &str) -> PyErr {
    match parse_error_type(py).and_then(|class| class.call1((message,))) {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

fn parse_error_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "astreum.machine.error", "ParseError")
}
