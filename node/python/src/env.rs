//! Environments.
//!
//! An evaluation runs in a scope above a snapshot of the environment, and its definitions are
//! added at the end. So no lock is held while it runs, and several can run at the same time.

use crate::expr::{expr_of, wrap};
use astreum_core::expr::Expr;
use astreum_core::machine::Env;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names and their values.
#[pyclass(name = "Env", module = "astreum._native", subclass, frozen)]
#[derive(Default)]
pub(crate) struct PyEnv(Mutex<Arc<Env>>);

impl PyEnv {
    fn lock(&self) -> MutexGuard<'_, Arc<Env>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a scope above the current bindings.
    pub(crate) fn open(&self) -> Env {
        Env::with_parent(Arc::clone(&self.lock()))
    }

    /// Returns a scope above the current bindings and those of `outer`, innermost first.
    pub(crate) fn open_within(&self, outer: &[PyRef<'_, Self>]) -> Env {
        let outer = outer.iter().map(|env| Arc::clone(&env.lock()));
        let scopes: Vec<_> = core::iter::once(Arc::clone(&self.lock()))
            .chain(outer)
            .collect();
        let mut parent: Option<Arc<Env>> = None;
        for scope in scopes.into_iter().rev() {
            parent = Some(match parent {
                None => scope,
                Some(parent) => {
                    let mut inner = Env::with_parent(parent);
                    for (name, value) in scope.iter() {
                        inner.set(name, value.clone());
                    }
                    Arc::new(inner)
                }
            });
        }
        parent.map_or_else(Env::new, Env::with_parent)
    }

    /// Adds the definitions of an evaluation, which ran in `scope`.
    pub(crate) fn close(&self, scope: Env) {
        let definitions = definitions(&scope);
        // Released first, so that the bindings are changed in place.
        drop(scope);
        self.bind(definitions);
    }

    /// Adds the definitions so far of a suspended evaluation.
    pub(crate) fn add_definitions(&self, scope: &Env) {
        self.bind(definitions(scope));
    }

    fn bind(&self, definitions: Vec<(String, Expr)>) {
        if definitions.is_empty() {
            return;
        }
        let mut env = self.lock();
        let env = Arc::make_mut(&mut env);
        for (name, value) in definitions {
            env.set(&name, value);
        }
    }
}

fn definitions(scope: &Env) -> Vec<(String, Expr)> {
    let bindings = scope.iter();
    bindings
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect()
}

#[pymethods]
impl PyEnv {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyAny>, _kwargs: Option<&Bound<'_, PyAny>>) -> Self {
        Self::default()
    }

    /// Returns the value of a name, or `None`.
    fn _get<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let value = self.lock().get(name).cloned();
        value.map(|value| wrap(py, value)).transpose()
    }

    fn _set(&self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = expr_of(value)?;
        let before = Arc::make_mut(&mut self.lock()).set(name, value);
        // Dropped after the lock.
        drop(before);
        Ok(())
    }

    fn _remove(&self, name: &str) -> PyResult<()> {
        let before = Arc::make_mut(&mut self.lock()).remove(name);
        match before {
            Some(_) => Ok(()),
            None => Err(PyKeyError::new_err(name.to_owned())),
        }
    }

    fn _names(&self) -> Vec<String> {
        let env = self.lock();
        env.iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn __len__(&self) -> usize {
        self.lock().iter().count()
    }

    fn __bool__(&self) -> bool {
        true
    }
}
