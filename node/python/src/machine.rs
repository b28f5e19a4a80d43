//! Machine: evaluation with limits, host functions and suspension.

use crate::atom::{PyAtom, atom_id, id_bytes};
use crate::env::PyEnv;
use crate::errors::AstreumError;
use crate::evaluation::PyEvaluation;
use crate::expr::{PyExpr, expr_of, to_expr};
use crate::host::{Callback, host_function};
use crate::node::PyNode;
use crate::run::{self, Step};
use crate::store::{Atoms, Place};
use crate::suspended::PySuspended;
use crate::text;
use astreum_core::atom::{AtomSink as _, AtomSource as _, MemoryStore};
use astreum_core::expr::{Bytes, Expr};
use astreum_core::machine::{Env, Function, Limits, Machine, Program, Progress, Task};
use core::sync::atomic::{AtomicBool, Ordering};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyString};
use pyo3::{PyTraverseError, PyVisit};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Virtual machine. It evaluates one program at a time, without the GIL.
#[pyclass(name = "Machine", module = "astreum._native", subclass, frozen)]
pub(crate) struct PyMachine {
    machine: Mutex<Option<Box<Machine<Atoms>>>>,
    interrupt: Arc<AtomicBool>,
    /// Functions that are bound, for the garbage collector.
    callbacks: Mutex<BTreeMap<String, Arc<Callback>>>,
}

/// Machine that is taken out for an evaluation; put back when this is dropped.
struct Taken<'a> {
    slot: &'a PyMachine,
    machine: Option<Box<Machine<Atoms>>>,
}

impl Taken<'_> {
    fn get(&mut self) -> PyResult<&mut Machine<Atoms>> {
        self.machine.as_deref_mut().ok_or_else(busy)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        *self.slot.lock() = self.machine.take();
    }
}

fn busy() -> PyErr {
    PyRuntimeError::new_err("the machine is evaluating; use another machine")
}

impl PyMachine {
    fn over(place: Place, limits: Limits) -> Self {
        let mut machine = Machine::with_limits(Atoms::new(place), limits);
        let interrupt = Arc::new(AtomicBool::new(false));
        machine.set_interrupt(Arc::clone(&interrupt));
        Self {
            machine: Mutex::new(Some(Box::new(machine))),
            interrupt,
            callbacks: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Machine<Atoms>>>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn callbacks(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Callback>>> {
        self.callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> PyResult<Taken<'_>> {
        let machine = self.lock().take().ok_or_else(busy)?;
        Ok(Taken {
            slot: self,
            machine: Some(machine),
        })
    }

    /// Runs a step to the end of the evaluation.
    fn finish_step(
        &self,
        py: Python<'_>,
        env: Option<&PyEnv>,
        mut scope: Env,
        step: Step<'_>,
    ) -> PyResult<PyEvaluation> {
        let mut taken = self.take()?;
        let result = run::finish(py, taken.get()?, &mut scope, step);
        // An interrupt applies to one evaluation.
        self.interrupt.store(false, Ordering::Relaxed);
        if let Some(env) = env {
            env.close(scope);
        }
        result.map(PyEvaluation)
    }

    fn eval_task(
        &self,
        py: Python<'_>,
        task: Task<'_>,
        env: Option<PyRef<'_, PyEnv>>,
    ) -> PyResult<PyEvaluation> {
        let env = env.as_deref();
        self.finish_step(py, env, scope_of(env), Step::Start(task))
    }

    /// Runs a step until the evaluation ends or is suspended.
    fn advance_step<'py>(
        &self,
        py: Python<'py>,
        env: Option<Py<PyEnv>>,
        mut scope: Env,
        step: Step<'_>,
        slice: Option<u64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut taken = self.take()?;
        let result = run::advance(py, taken.get()?, &mut scope, step, slice);
        self.interrupt.store(false, Ordering::Relaxed);
        let suspended = match result {
            Ok(Progress::Suspended(suspended)) => suspended,
            ended => {
                if let Some(env) = &env {
                    env.get().close(scope);
                }
                return match ended? {
                    Progress::Done(evaluation) => {
                        Ok(Bound::new(py, PyEvaluation(evaluation))?.into_any())
                    }
                    Progress::Suspended(_) => Err(busy()),
                };
            }
        };
        if let Some(env) = &env {
            env.get().add_definitions(&scope);
        }
        Ok(Bound::new(py, PySuspended::new(suspended, scope, env))?.into_any())
    }
}

fn scope_of(env: Option<&PyEnv>) -> Env {
    env.map_or_else(Env::new, PyEnv::open)
}

/// Returns the expression of a source or an expression.
fn program(py: Python<'_>, program: &Bound<'_, PyAny>) -> PyResult<Expr> {
    match program.cast::<PyString>() {
        Ok(source) => text::expr(py, &source.extract::<PyBackedStr>()?),
        Err(_) => expr_of(program),
    }
}

/// Reads limits from the attributes of a Python object, `astreum.Limits`.
fn limits_of(object: &Bound<'_, PyAny>) -> PyResult<Limits> {
    let mut limits = Limits::DEFAULT;
    for (name, limit) in [
        ("depth", &mut limits.depth),
        ("stack_items", &mut limits.stack_items),
        ("heap_entries", &mut limits.heap_entries),
        ("live_bytes", &mut limits.live_bytes),
        ("steps", &mut limits.steps),
        ("atoms", &mut limits.atoms),
        ("atom_bytes", &mut limits.atom_bytes),
    ] {
        let wrong = |_| {
            PyValueError::new_err(format!(
                "limit {name} must be an integer from 0 to 2**64 - 1"
            ))
        };
        *limit = object.getattr(name)?.extract().map_err(wrong)?;
    }
    Ok(limits)
}

#[pymethods]
impl PyMachine {
    #[new]
    #[pyo3(signature = (node=None, *, limits=None, meter_limit=None))]
    fn new(
        node: Option<&Bound<'_, PyAny>>,
        limits: Option<&Bound<'_, PyAny>>,
        meter_limit: Option<u64>,
    ) -> PyResult<Self> {
        let (place, default) = match node {
            Some(node) => {
                let core = node.getattr("_core")?;
                let node = core.cast::<PyNode>()?.get().node()?;
                (Place::Node(node.view()), node.settings().eval_limits())
            }
            None => (Place::Memory(MemoryStore::new()), Limits::DEFAULT),
        };
        let machine = Self::over(place, limits.map_or(Ok(default), limits_of)?);
        machine.take()?.get()?.set_meter_limit(meter_limit);
        Ok(machine)
    }

    /// Sets the limit of the meter that each evaluation starts with.
    #[pyo3(signature = (limit))]
    fn set_meter_limit(&self, limit: Option<u64>) -> PyResult<()> {
        self.take()?.get()?.set_meter_limit(limit);
        Ok(())
    }

    /// Sets the limits of later evaluations.
    fn set_limits(&self, limits: &Bound<'_, PyAny>) -> PyResult<()> {
        let limits = limits_of(limits)?;
        self.take()?.get()?.set_limits(limits);
        Ok(())
    }

    /// Evaluates an expression, or a source that is one expression.
    #[pyo3(signature = (program, env=None))]
    fn eval(
        &self,
        py: Python<'_>,
        program: &Bound<'_, PyAny>,
        env: Option<PyRef<'_, PyEnv>>,
    ) -> PyResult<PyEvaluation> {
        let expr = self::program(py, program)?;
        self.eval_task(py, Task::Expr(&expr), env)
    }

    /// Evaluates all expressions of a source, as one evaluation.
    #[pyo3(signature = (source, env=None))]
    fn eval_all(
        &self,
        py: Python<'_>,
        source: &str,
        env: Option<PyRef<'_, PyEnv>>,
    ) -> PyResult<PyEvaluation> {
        let exprs = text::exprs(py, source)?;
        self.eval_task(py, Task::Script(&exprs), env)
    }

    /// Calls a function by its name or form with values.
    #[pyo3(signature = (function, arguments, env=None))]
    fn call(
        &self,
        py: Python<'_>,
        function: &Bound<'_, PyAny>,
        arguments: Vec<Bound<'_, PyAny>>,
        env: Option<PyRef<'_, PyEnv>>,
    ) -> PyResult<PyEvaluation> {
        let arguments = arguments.iter().map(to_expr);
        let arguments = arguments.collect::<PyResult<Vec<Expr>>>()?;
        let (name, form);
        let function = if let Ok(text) = function.extract::<PyBackedStr>() {
            name = text;
            Function::Name(&name)
        } else if let Ok(expr) = function.cast::<PyExpr>() {
            form = expr.get().0.clone();
            match &form {
                Expr::Symbol(symbol) => Function::Name(symbol),
                form => Function::Form(form),
            }
        } else {
            return Err(PyTypeError::new_err(
                "a function is a name or an expression",
            ));
        };
        let arguments = arguments.as_slice();
        let task = Task::Call {
            function,
            arguments,
        };
        self.eval_task(py, task, env)
    }

    /// Runs a stack program.
    fn run(&self, py: Python<'_>, code: Vec<PyBackedBytes>) -> PyResult<PyEvaluation> {
        let program = stack_program(&code);
        let arguments = &[];
        let program = &program;
        self.eval_task(py, Task::Program { program, arguments }, None)
    }

    /// Starts an evaluation, which is suspended where it cannot continue.
    #[pyo3(signature = (program, env=None, *, slice=None))]
    fn start<'py>(
        &self,
        program: &Bound<'py, PyAny>,
        env: Option<Bound<'py, PyEnv>>,
        slice: Option<u64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = program.py();
        let expr = self::program(py, program)?;
        let scope = scope_of(env.as_ref().map(Bound::get));
        let step = Step::Start(Task::Expr(&expr));
        self.advance_step(py, env.map(Bound::unbind), scope, step, slice)
    }

    /// Resumes a suspended evaluation.
    #[pyo3(signature = (suspended, *, slice=None))]
    fn resume<'py>(
        &self,
        suspended: &Bound<'py, PySuspended>,
        slice: Option<u64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = suspended.py();
        let env = suspended.get().env().map(|env| env.clone_ref(py));
        let (suspended, scope) = suspended.get().take()?;
        self.advance_step(py, env, scope, Step::Resume(Box::new(suspended)), slice)
    }

    /// Resumes a suspended evaluation and runs it to its end.
    fn finish(&self, suspended: &Bound<'_, PySuspended>) -> PyResult<PyEvaluation> {
        let py = suspended.py();
        let env = suspended.get().env();
        let (suspended, scope) = suspended.get().take()?;
        let env = env.map(Py::get);
        self.finish_step(py, env, scope, Step::Resume(Box::new(suspended)))
    }

    /// Decodes `Suspended.to_bytes`; later definitions go to `env`.
    #[pyo3(signature = (data, env=None))]
    fn restore(&self, data: PyBackedBytes, env: Option<Py<PyEnv>>) -> PyResult<PySuspended> {
        let mut taken = self.take()?;
        let restored = taken.get()?.restore(&data);
        let (suspended, scope) =
            restored.map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(PySuspended::new(suspended, scope, env))
    }

    /// Interrupts the evaluation that another thread runs.
    fn interrupt(&self) {
        self.interrupt.store(true, Ordering::Relaxed);
    }

    /// Binds a name to a Python function.
    #[pyo3(signature = (name, function, *, cost=None))]
    fn bind(
        &self,
        name: &str,
        function: &Bound<'_, PyAny>,
        cost: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let callback = Arc::new(Callback::new(function, cost)?);
        let bound = self
            .take()?
            .get()?
            .bind(name, host_function(Arc::clone(&callback)));
        bound.map_err(|error| PyValueError::new_err(format!("cannot bind {name:?}: {error}")))?;
        let before = self.callbacks().insert(name.to_owned(), callback);
        // Dropped after the lock.
        drop(before);
        Ok(())
    }

    /// Removes a host function; returns whether there was one.
    fn unbind(&self, name: &str) -> PyResult<bool> {
        let was_bound = self.take()?.get()?.unbind(name);
        let before = self.callbacks().remove(name);
        drop(before);
        Ok(was_bound)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(callbacks) = self.callbacks.try_lock() else {
            // It is in use, so it is not garbage.
            return Ok(());
        };
        callbacks
            .values()
            .try_for_each(|callback| callback.traverse(&visit))
    }

    fn __clear__(&self) {
        let callbacks = core::mem::take(&mut *self.callbacks());
        let machine = self.lock().take();
        drop((callbacks, machine));
    }

    /// Discards the code that is kept for later evaluations.
    fn forget(&self) -> PyResult<()> {
        self.take()?.get()?.forget();
        Ok(())
    }

    /// Stores an atom; returns its id.
    fn put_atom<'py>(
        &self,
        py: Python<'py>,
        atom: &Bound<'py, PyAtom>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let atom = atom.get().0.clone();
        let id = atom.id();
        let stored = self.take()?.get()?.store_mut().put(id, atom);
        stored.map_err(|error| AstreumError::new_err(error.to_string()))?;
        Ok(id_bytes(py, &id))
    }

    /// Stores the atoms of an expression; returns its id.
    fn put_expr<'py>(
        &self,
        py: Python<'py>,
        expr: &Bound<'py, PyExpr>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut taken = self.take()?;
        let id = expr.get().0.write_atoms(taken.get()?.store_mut());
        let id = id.map_err(|error| AstreumError::new_err(error.to_string()))?;
        Ok(id_bytes(py, &id))
    }

    /// Returns an atom, or `None` if the store does not have it.
    fn get_atom(&self, py: Python<'_>, atom_id: &Bound<'_, PyAny>) -> PyResult<Option<PyAtom>> {
        let id = self::atom_id(atom_id)?;
        let mut taken = self.take()?;
        let store = taken.get()?.store();
        let is_node = matches!(store.place, Place::Node(_));
        let machine = taken.get()?;
        let found = if is_node {
            py.detach(|| machine.store_mut().atom(&id))
        } else {
            machine.store().atom(&id)
        };
        Ok(found.ok().map(PyAtom))
    }
}

/// Returns the stack program of these tokens.
pub(crate) fn stack_program(code: &[PyBackedBytes]) -> Program {
    let tokens: Vec<Bytes> = code.iter().map(|token| Bytes::new(token)).collect();
    Program::new(&tokens)
}
