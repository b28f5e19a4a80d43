//! Atoms.

use astreum_core::atom::{Atom, AtomId, AtomKind, bytes_list};
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

/// Size of an id, in bytes.
const ID_BYTES: usize = 32;

/// Atom: kind, data, and the id of the next atom of its list.
#[pyclass(name = "Atom", module = "astreum", frozen)]
pub(crate) struct PyAtom(pub(crate) Atom);

/// Returns the id of a bytes-like object.
pub(crate) fn atom_id(object: &Bound<'_, PyAny>) -> PyResult<AtomId> {
    let bytes: PyBackedBytes = object
        .extract()
        .map_err(|_| PyTypeError::new_err("an atom id must be bytes-like"))?;
    let wrong = || {
        let len = bytes.len();
        PyValueError::new_err(format!("an atom id has {ID_BYTES} bytes, not {len}"))
    };
    AtomId::from_slice(&bytes).ok_or_else(wrong)
}

/// Returns an id as bytes.
pub(crate) fn id_bytes<'py>(py: Python<'py>, id: &AtomId) -> Bound<'py, PyBytes> {
    PyBytes::new(py, id.as_bytes())
}

fn kind_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "astreum.storage.models.kind", "AtomKind")
}

fn kind_of(code: u8) -> PyResult<AtomKind> {
    let unknown = || PyValueError::new_err(format!("unknown atom kind: {code}"));
    AtomKind::from_code(code).ok_or_else(unknown)
}

#[pymethods]
impl PyAtom {
    #[new]
    #[pyo3(signature = (data, kind, next_id=None))]
    fn new(data: PyBackedBytes, kind: u8, next_id: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let next = next_id.map_or(Ok(AtomId::ZERO), atom_id)?;
        Ok(Self(Atom::new(kind_of(kind)?, &*data, next)))
    }

    /// Data of the atom.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.data())
    }

    /// Kind of the atom, an `AtomKind`.
    #[getter]
    fn kind<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        kind_type(py)?.call1((self.0.kind().code(),))
    }

    /// Id of the next atom of the list, or 32 zero bytes.
    #[getter]
    fn next_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        id_bytes(py, &self.0.next())
    }

    /// Size of the data in bytes.
    #[getter]
    fn size(&self) -> usize {
        self.0.data().len()
    }

    /// Returns the id of the atom.
    fn object_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        id_bytes(py, &self.0.id())
    }

    /// Returns the id of the atom.
    fn generate_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.object_id(py)
    }

    /// Returns the stored form: next id, kind, data.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// Decodes the stored form.
    #[staticmethod]
    fn from_bytes(buf: PyBackedBytes) -> PyResult<Self> {
        let atom = Atom::from_bytes(&buf);
        atom.map(Self)
            .map_err(|error| PyValueError::new_err(error.to_string()))
    }

    fn __repr__(&self) -> String {
        let kind = format!("{:?}", self.0.kind()).to_uppercase();
        let (id, size) = (self.0.id(), self.0.data().len());
        format!("<Atom {kind} {id} of {size} bytes>")
    }

    fn __richcmp__(
        &self,
        other: &Bound<'_, PyAny>,
        op: CompareOp,
        py: Python<'_>,
    ) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<Self>() else {
            return Ok(py.NotImplemented());
        };
        let is_equal = match op {
            CompareOp::Eq => self.0 == other.get().0,
            CompareOp::Ne => self.0 != other.get().0,
            _ => return Ok(py.NotImplemented()),
        };
        Ok(is_equal.into_pyobject(py)?.to_owned().into_any().unbind())
    }

    fn __hash__(&self) -> u64 {
        let id = self.0.id();
        let start = id.as_bytes().first_chunk();
        start.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn __reduce__<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        let from_bytes = py.get_type::<Self>().getattr("from_bytes")?;
        Ok((from_bytes, (self.to_bytes(py),)))
    }
}

/// Returns the id of the first atom of a list of bytes atoms, and the atoms.
#[pyfunction]
pub(crate) fn bytes_list_to_atoms(
    py: Python<'_>,
    values: Vec<PyBackedBytes>,
) -> (Bound<'_, PyBytes>, Vec<PyAtom>) {
    let (id, atoms) = bytes_list(&values);
    (id_bytes(py, &id), atoms.into_iter().map(PyAtom).collect())
}
