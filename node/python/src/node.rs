//! Node with storage and network.

use crate::atom::{PyAtom, atom_id, id_bytes};
use crate::env::PyEnv;
use crate::errors::{AstreumError, node_error};
use crate::expr::{PyExpr, expr_of, wrap};
use crate::machine::stack_program;
use crate::run::{self, Step};
use crate::store::{Atoms, Place};
use astreum_core::atom::{Atom, collect_list};
use astreum_core::expr::Expr;
use astreum_core::machine::{Env, Evaluation, Machine, Task};
use astreum_core::text::{self, ParseErrorKind};
use astreum_core::wire::object::PayloadType;
use astreum_node::config::{
    Config, ConfigError, ConfigErrors, DisplayValue, Inputs, KEYS, Key, Settings,
};
use astreum_node::node::MAX_LIST_ATOMS;
use astreum_node::{Advertisement, Node, NodeBuilder};
use core::time::Duration;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of machines that are kept for later evaluations.
const MAX_IDLE_MACHINES: usize = 8;

/// Node of the library, without the environments, which the package has.
#[pyclass(name = "NodeCore", module = "astreum._native", frozen)]
pub(crate) struct PyNode {
    /// `None` once the node is closed.
    node: Mutex<Option<Arc<Node>>>,
    /// Machines that are not in use; they keep compiled code.
    machines: Mutex<Vec<Machine<Atoms>>>,
}

/// Configuration: names of keys, and the values as text, several for a list.
type Texts = Vec<(String, Vec<String>)>;

fn load(texts: Texts) -> PyResult<Settings> {
    let mut flags = Vec::new();
    for (name, values) in texts {
        let key = Key::find(&name);
        let key = key.ok_or_else(|| PyValueError::new_err(format!("unknown key {name:?}")))?;
        flags.push((key, values));
    }
    let inputs = Inputs {
        flags,
        ..Inputs::default()
    };
    let loaded = inputs.load().map_err(|errors| config_error(&errors))?;
    Ok(loaded.settings)
}

/// Converts the errors of a configuration; a dictionary has no sources to name.
fn config_error(errors: &ConfigErrors) -> PyErr {
    let texts = errors.as_slice().iter().map(|error| match error {
        ConfigError::NotAllowed {
            key, value, reason, ..
        } => {
            let value = value.as_deref().unwrap_or("(not shown)");
            let reason = reason
                .map(|reason| format!("{reason}; "))
                .unwrap_or_default();
            format!(
                "invalid value {value} for {}: {reason}expected {}",
                key.name, key.allowed
            )
        }
        ConfigError::Conflict {
            first: (first, _),
            second: (second, _),
            advice,
        } => format!("{first} and {second} conflict; {advice}"),
        error => error.to_string(),
    });
    let texts: Vec<String> = texts.collect();
    PyValueError::new_err(texts.join("\n"))
}

/// Returns name, type and default of every configuration key; a value that is derived from other
/// keys has no default.
#[pyfunction]
pub(crate) fn config_keys(py: Python<'_>) -> PyResult<Vec<(String, String, Bound<'_, PyAny>)>> {
    let defaults = Config::default();
    let keys = KEYS.iter().map(|key| {
        let default = shown(py, key.show_raw(&defaults))?;
        Ok((
            key.name.to_owned(),
            key.allowed.type_name().to_owned(),
            default,
        ))
    });
    keys.collect()
}

/// Returns a key's value as a Python object; a secret is `"<redacted>"`.
fn shown(py: Python<'_>, value: DisplayValue) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        DisplayValue::Unset => py.None().into_bound(py),
        DisplayValue::Whole(number) => number.into_pyobject(py)?.into_any(),
        DisplayValue::Real(number) => number.into_pyobject(py)?.into_any(),
        DisplayValue::Switch(value) => value.into_pyobject(py)?.to_owned().into_any(),
        DisplayValue::Text(text) => text.into_pyobject(py)?.into_any(),
        DisplayValue::Texts(texts) => texts.into_pyobject(py)?.into_any(),
        DisplayValue::Redacted => "<redacted>".into_pyobject(py)?.into_any(),
    })
}

/// Checks a configuration; returns all keys with their values.
#[pyfunction]
pub(crate) fn check_config(py: Python<'_>, texts: Texts) -> PyResult<Bound<'_, PyDict>> {
    let settings = load(texts)?;
    let all = PyDict::new(py);
    for key in KEYS {
        all.set_item(key.name, shown(py, key.show(&settings))?)?;
    }
    Ok(all)
}

/// Returns the 16 hex digits that distinguish the logs of different entry points.
#[pyfunction]
pub(crate) fn instance_id(path: PathBuf) -> String {
    astreum_node::config::instance_id(&path)
}

impl PyNode {
    /// Returns the node, unless it is closed.
    pub(crate) fn node(&self) -> PyResult<Arc<Node>> {
        let node = self.lock().clone();
        node.ok_or_else(|| AstreumError::new_err("the node is closed"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Node>>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Machine<Atoms>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a task on a machine of this node.
    fn run(
        &self,
        py: Python<'_>,
        task: Task<'_>,
        scope: &mut Env,
        limit: Option<u64>,
    ) -> PyResult<Evaluation> {
        let node = self.node()?;
        let place = Place::Node(node.view());
        let idle = self.idle().pop();
        let mut machine = match idle {
            Some(mut machine) => {
                // The node may have connected or disconnected since.
                machine.store_mut().place = place;
                machine
            }
            None => Machine::with_limits(Atoms::new(place), node.settings().eval_limits()),
        };
        machine.set_meter_limit(limit);
        let evaluation = run::finish(py, &mut machine, scope, Step::Start(task));
        let is_open = self.lock().is_some();
        let mut idle = self.idle();
        if is_open && idle.len() < MAX_IDLE_MACHINES {
            idle.push(machine);
        }
        evaluation
    }

    fn run_in<'py>(
        &self,
        py: Python<'py>,
        expr: &Expr,
        env: Option<PyRef<'py, PyEnv>>,
        outer: Option<Vec<PyRef<'py, PyEnv>>>,
        limit: Option<u64>,
    ) -> PyResult<(Bound<'py, PyAny>, u64)> {
        let mut scope = match (&env, &outer) {
            (Some(env), None) => env.open(),
            (Some(env), Some(outer)) => env.open_within(outer),
            (None, _) => Env::new(),
        };
        let evaluation = self.run(py, Task::Expr(expr), &mut scope, limit);
        if let Some(env) = env {
            env.close(scope);
        }
        let evaluation = evaluation?;
        let used = evaluation.used();
        Ok((wrap(py, evaluation.into_value())?, used))
    }
}

#[pymethods]
impl PyNode {
    #[new]
    fn new(py: Python<'_>, texts: Texts, entry_point: PathBuf, has_log: bool) -> PyResult<Self> {
        let builder = NodeBuilder::new(load(texts)?).entry_point(&entry_point);
        let builder = if has_log {
            builder
        } else {
            builder.without_log()
        };
        let node = py.detach(|| builder.open());
        let node = node.map_err(|error| node_error(&error))?;
        Ok(Self {
            node: Mutex::new(Some(Arc::new(node))),
            machines: Mutex::default(),
        })
    }

    /// Evaluates an expression; returns its value and the amount charged.
    #[pyo3(signature = (expr, env=None, outer=None, limit=None))]
    fn evaluate<'py>(
        &self,
        expr: &Bound<'py, PyAny>,
        env: Option<PyRef<'py, PyEnv>>,
        outer: Option<Vec<PyRef<'py, PyEnv>>>,
        limit: Option<u64>,
    ) -> PyResult<(Bound<'py, PyAny>, u64)> {
        let program = expr_of(expr)?;
        self.run_in(expr.py(), &program, env, outer, limit)
    }

    /// Evaluates a source; a source that is not one expression has an error value.
    #[pyo3(signature = (source, env=None, outer=None, limit=None))]
    fn evaluate_source<'py>(
        &self,
        py: Python<'py>,
        source: &str,
        env: Option<PyRef<'py, PyEnv>>,
        outer: Option<Vec<PyRef<'py, PyEnv>>>,
        limit: Option<u64>,
    ) -> PyResult<(Bound<'py, PyAny>, u64)> {
        match text::parse(source) {
            Ok(expr) => self.run_in(py, &expr, env, outer, limit),
            Err(error) => {
                let message = match error.kind {
                    ParseErrorKind::UnexpectedEnd => "no expression provided",
                    kind => kind.message(),
                };
                Ok((wrap(py, Expr::error("eval", message))?, 0))
            }
        }
    }

    /// Runs a stack program; returns its value and the amount charged.
    #[pyo3(signature = (code, limit=None))]
    fn run_code<'py>(
        &self,
        py: Python<'py>,
        code: Vec<PyBackedBytes>,
        limit: Option<u64>,
    ) -> PyResult<(Bound<'py, PyAny>, u64)> {
        let program = stack_program(&code);
        let task = Task::Program {
            program: &program,
            arguments: &[],
        };
        let evaluation = self.run(py, task, &mut Env::new(), limit)?;
        let used = evaluation.used();
        Ok((wrap(py, evaluation.into_value())?, used))
    }

    /// Opens the socket and joins the network.
    fn connect(&self, py: Python<'_>) -> PyResult<()> {
        let node = self.node()?;
        let connected = py.detach(|| node.connect());
        connected.map_err(|error| node_error(&error))
    }

    /// Leaves the network.
    fn disconnect(&self, py: Python<'_>) {
        let node = self.lock().clone();
        py.detach(|| {
            if let Some(node) = node {
                node.disconnect();
            }
        });
    }

    /// Leaves the network, and closes storage and log.
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let node = self.lock().take();
            let idle = core::mem::take(&mut *self.idle());
            drop(idle);
            drop(node);
        });
    }

    /// Starts a handshake with an address.
    fn contact(&self, py: Python<'_>, host: String, port: u16) -> PyResult<String> {
        let node = self.node()?;
        let address = py.detach(|| node.contact((host.as_str(), port)));
        let address = address.map_err(|error| node_error(&error))?;
        Ok(address.to_string())
    }

    /// Bound UDP port, if the node is connected.
    #[getter]
    fn port(&self) -> Option<u16> {
        self.lock().as_ref()?.port()
    }

    /// Public key of the relay.
    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.node()?.public_key().as_bytes()))
    }

    /// Directory of the node's log, if it has its own.
    #[getter]
    fn log_dir(&self) -> Option<PathBuf> {
        self.lock().as_ref()?.log_dir().map(Path::to_path_buf)
    }

    /// Id of the head of the chain, if the node follows one.
    #[getter]
    fn head<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let head = self.lock().as_ref()?.chain().head()?;
        Some(id_bytes(py, &head.id()))
    }

    /// Returns public key and address of each authenticated peer, and whether the address is
    /// validated.
    fn peers<'py>(&self, py: Python<'py>) -> PyResult<Vec<(Bound<'py, PyBytes>, String, bool)>> {
        let node = self.node()?;
        let peers = py.detach(|| node.peers());
        let peers = peers.map_err(|error| node_error(&error))?.into_iter();
        let peers = peers.map(|peer| {
            let key = PyBytes::new(py, peer.public_key.as_bytes());
            (key, peer.address.to_string(), peer.is_validated)
        });
        Ok(peers.collect())
    }

    /// Returns an atom from the storage, else from the network.
    fn get_atom(&self, py: Python<'_>, id: &Bound<'_, PyAny>) -> PyResult<Option<PyAtom>> {
        let id = atom_id(id)?;
        let node = self.node()?;
        let atom = py.detach(|| node.get_atom(id));
        Ok(atom.map_err(|error| node_error(&error))?.map(PyAtom))
    }

    /// Returns an atom from the storage alone.
    fn local_atom(&self, py: Python<'_>, id: &Bound<'_, PyAny>) -> PyResult<Option<PyAtom>> {
        let id = atom_id(id)?;
        let node = self.node()?;
        Ok(py.detach(|| node.store().get(&id)).map(PyAtom))
    }

    /// Returns an atom from the memory alone.
    fn hot_atom(&self, id: &Bound<'_, PyAny>) -> PyResult<Option<PyAtom>> {
        let id = atom_id(id)?;
        Ok(self.node()?.store().get_in_memory(&id).map(PyAtom))
    }

    /// Returns an atom from cold storage alone.
    fn cold_atom(&self, py: Python<'_>, id: &Bound<'_, PyAny>) -> PyResult<Option<PyAtom>> {
        let id = atom_id(id)?;
        let node = self.node()?;
        let Some(cold) = node.store().cold() else {
            return Ok(None);
        };
        let atom = py.detach(|| cold.get(&id));
        let atom = atom.map_err(|error| AstreumError::new_err(error.to_string()))?;
        Ok(atom.map(PyAtom))
    }

    /// Returns a list of atoms from the storage, else from the network.
    fn get_list(&self, py: Python<'_>, head: &Bound<'_, PyAny>) -> PyResult<Option<Vec<PyAtom>>> {
        let head = atom_id(head)?;
        let node = self.node()?;
        let atoms = py.detach(|| node.get_atom_list(head));
        let atoms = atoms.map_err(|error| node_error(&error))?;
        Ok(atoms.map(|atoms| atoms.into_iter().map(PyAtom).collect()))
    }

    /// Returns a list of atoms from the storage alone.
    fn local_list(&self, py: Python<'_>, head: &Bound<'_, PyAny>) -> PyResult<Option<Vec<PyAtom>>> {
        let head = atom_id(head)?;
        let node = self.node()?;
        let atoms = py.detach(|| collect_list(node.store(), head, MAX_LIST_ATOMS));
        Ok(atoms
            .ok()
            .map(|atoms| atoms.into_iter().map(PyAtom).collect()))
    }

    /// Keeps an atom in memory; returns `False` if there is no room for it.
    fn keep(&self, atom: &Bound<'_, PyAtom>) -> PyResult<bool> {
        let atom: Atom = atom.get().0.clone();
        Ok(self.node()?.store().keep(atom.id(), atom).is_ok())
    }

    /// Writes an atom to cold storage; returns `False` if there is none.
    fn put_cold(&self, py: Python<'_>, atom: &Bound<'_, PyAtom>) -> PyResult<bool> {
        let atom: Atom = atom.get().0.clone();
        let node = self.node()?;
        let Some(cold) = node.store().cold() else {
            return Ok(false);
        };
        let stored = py.detach(|| cold.put(&[(atom.id(), atom)]));
        stored.map_err(|error| AstreumError::new_err(error.to_string()))?;
        Ok(true)
    }

    /// Stores atoms in memory and cold storage, with one write to the disk; returns their ids.
    fn put_atoms<'py>(
        &self,
        py: Python<'py>,
        atoms: Vec<Bound<'py, PyAtom>>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let atoms: Vec<Atom> = atoms.iter().map(|atom| atom.get().0.clone()).collect();
        let node = self.node()?;
        let stored = py.detach(|| node.put_atoms(atoms));
        let (ids, _) = stored.map_err(|error| node_error(&error))?;
        Ok(ids.iter().map(|id| id_bytes(py, id)).collect())
    }

    /// Stores the atoms of an expression; returns its id.
    fn put_expr<'py>(
        &self,
        py: Python<'py>,
        expr: &Bound<'py, PyExpr>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let expr = expr.get().0.clone();
        let node = self.node()?;
        let stored = py.detach(|| node.put_expr(&expr));
        let stored = stored.map_err(|error| node_error(&error))?;
        Ok(id_bytes(py, &stored.id))
    }

    /// Advertises objects: id, payload type, and lifetime in seconds.
    fn advertise(
        &self,
        py: Python<'_>,
        entries: Vec<(Bound<'_, PyAny>, u8, Option<f64>)>,
    ) -> PyResult<()> {
        let mut advertisements = Vec::new();
        for (id, kind, lifetime) in entries {
            let lifetime = lifetime.map(|seconds| {
                // Longer than any clock runs.
                Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
            });
            advertisements.push(Advertisement {
                id: atom_id(&id)?,
                kind: PayloadType::new(kind),
                lifetime,
            });
        }
        let node = self.node()?;
        let advertised = py.detach(|| node.advertise_all(&advertisements));
        advertised.map_err(|error| node_error(&error))
    }

    /// Ends an advertisement; returns whether there was one.
    fn withdraw(&self, py: Python<'_>, id: &Bound<'_, PyAny>) -> PyResult<bool> {
        let id = atom_id(id)?;
        let node = self.node()?;
        let ended = py.detach(|| node.withdraw(id));
        ended.map_err(|error| node_error(&error))
    }

    /// Returns the ids of the advertised objects.
    fn advertised<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let advertised = self.node()?.advertised();
        Ok(advertised.iter().map(|it| id_bytes(py, &it.id)).collect())
    }
}
