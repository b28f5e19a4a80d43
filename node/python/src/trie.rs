//! Authenticated map.

use crate::atom::{atom_id, id_bytes};
use crate::errors::node_error;
use crate::node::PyNode;
use astreum_core::atom::{Atom, AtomId, AtomSink, NoStore};
use astreum_core::trie::{self, Proof, Scalar, Trie, TrieError};
use core::convert::Infallible;
use core::fmt;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Authenticated map from bytes to bytes over the atoms of a node.
#[pyclass(name = "Trie", module = "astreum._native", frozen)]
pub(crate) struct PyTrie(Mutex<Trie>);

impl PyTrie {
    fn lock(&self) -> MutexGuard<'_, Trie> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Atoms in the order in which they are written.
#[derive(Default)]
struct Collected(Vec<Atom>);

impl AtomSink for Collected {
    type Error = Infallible;

    fn put(&mut self, _id: AtomId, atom: Atom) -> Result<(), Infallible> {
        self.0.push(atom);
        Ok(())
    }
}

fn failed<E: fmt::Display>(error: &TrieError<E>) -> PyErr {
    match error {
        TrieError::Source(_) => PyKeyError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

#[pymethods]
impl PyTrie {
    #[new]
    #[pyo3(signature = (root_hash=None))]
    fn new(root_hash: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let trie = match root_hash {
            Some(root) => Trie::open(atom_id(root)?),
            None => Trie::new(),
        };
        Ok(Self(Mutex::new(trie)))
    }

    /// Id of the root; `None` if the trie is empty.
    #[getter]
    fn root_hash<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let root = self.lock().root(&mut Scalar);
        (root != AtomId::ZERO).then(|| id_bytes(py, &root))
    }

    /// Returns the value of a key, or `None`.
    #[pyo3(signature = (node, key))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        node: Option<PyRef<'py, PyNode>>,
        key: PyBackedBytes,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let view = node
            .map(|node| Ok::<_, PyErr>(node.node()?.view()))
            .transpose()?;
        let value = match view {
            Some(view) => py.detach(|| self.lock().get(&view, &key)),
            None => self.lock().get(&NoStore, &key),
        };
        let value = value.map_err(|error| failed(&error))?;
        Ok(value.map(|value| PyBytes::new(py, &value)))
    }

    /// Sets the value of a key; an empty value removes it.
    #[pyo3(signature = (node, key, value))]
    fn put(
        &self,
        py: Python<'_>,
        node: Option<PyRef<'_, PyNode>>,
        key: PyBackedBytes,
        value: PyBackedBytes,
    ) -> PyResult<()> {
        let view = node
            .map(|node| Ok::<_, PyErr>(node.node()?.view()))
            .transpose()?;
        let stored = match view {
            Some(view) => py.detach(|| self.lock().put(&view, &key, &value)),
            None => self.lock().put(&NoStore, &key, &value),
        };
        stored.map_err(|error| failed(&error))
    }

    /// Stores the changed nodes; returns the id of the root.
    fn commit<'py>(
        &self,
        py: Python<'py>,
        node: PyRef<'py, PyNode>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let node = node.node()?;
        let committed = py.detach(|| {
            // Held throughout: a node that is changed meanwhile must not count as stored.
            let mut trie = self.lock();
            let mut changed = trie.clone();
            let mut atoms = Collected::default();
            let root = match changed.commit(&mut Scalar, &mut atoms) {
                Ok(root) => root,
                Err(never) => match never {},
            };
            node.put_atoms(atoms.0)?;
            *trie = changed;
            Ok(root)
        });
        let root = committed.map_err(|error| node_error(&error))?;
        Ok(id_bytes(py, &root))
    }

    /// Returns all keys and values of a trie whose nodes are stored.
    fn get_all<'py>(
        &self,
        py: Python<'py>,
        node: PyRef<'py, PyNode>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let root = self.lock().root(&mut Scalar);
        let view = node.node()?.view();
        let all = PyDict::new(py);
        let mut entries = trie::entries(&view, root);
        while let Some(entry) = py.detach(|| entries.next()) {
            let (key, value) = entry.map_err(|error| failed(&error))?;
            all.set_item(PyBytes::new(py, &key), PyBytes::new(py, &value))?;
        }
        Ok(all)
    }

    /// Returns a proof of the value of a key, or of its absence, of a trie whose nodes are stored.
    fn prove<'py>(
        &self,
        py: Python<'py>,
        node: PyRef<'py, PyNode>,
        key: PyBackedBytes,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let root = self.lock().root(&mut Scalar);
        let view = node.node()?.view();
        let proof = py.detach(|| Proof::prove(&view, root, &key));
        let proof = proof.map_err(|error| failed(&error))?;
        Ok(PyBytes::new(py, &proof.to_bytes()))
    }
}

/// Verifies a proof against a trusted root; returns the value, or `None` if the key is absent.
#[pyfunction]
pub(crate) fn verify_proof<'py>(
    py: Python<'py>,
    root_hash: &Bound<'py, PyAny>,
    key: PyBackedBytes,
    proof: PyBackedBytes,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let root = atom_id(root_hash)?;
    let value = Proof::from_bytes(&proof).and_then(|proof| proof.verify(root, &key));
    let value = value.map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(value.map(|value| PyBytes::new(py, &value)))
}
