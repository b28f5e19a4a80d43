//! Expressions as immutable Python objects: `Expr.Symbol`, `Expr.Bytes` and `Expr.ListExpr`.

use crate::atom::{PyAtom, atom_id};
use astreum_core::atom::{
    Atom, AtomId, AtomKind, AtomSource, MemoryStore, SourceError, collect_list,
};
use astreum_core::expr::{Expr, Visit};
use core::fmt::Write as _;
use core::hash::{Hash as _, Hasher as _};
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyModule, PyString, PyTuple};
use std::collections::BTreeMap;

/// Maximum number of atoms of an expression that is read from atoms.
const MAX_ATOMS: usize = 1 << 20;
/// Maximum nesting of lists and tuples that are converted to expressions.
const MAX_NESTING: usize = 200;
/// Length from which `repr` is cut off: a list can occur in an expression any number of times.
const MAX_REPR_BYTES: usize = 8 << 20;
/// Longest bytes that `repr` shows as a decimal number, as Python does: 4,300 digits.
const MAX_DECIMAL_BYTES: usize = 1_785;

/// Id and atoms of a pickled expression.
type Pickled<'py> = (Bound<'py, PyBytes>, Vec<Bound<'py, PyBytes>>);

/// Expression: a symbol, bytes or a list.
#[pyclass(name = "Expr", module = "astreum", subclass, frozen)]
pub(crate) struct PyExpr(pub(crate) Expr);

/// List of expressions.
#[pyclass(name = "ListExpr", module = "astreum", extends = PyExpr, frozen)]
pub(crate) struct PyList_;

/// Name.
#[pyclass(name = "Symbol", module = "astreum", extends = PyExpr, frozen)]
pub(crate) struct PySymbol;

/// Byte string.
#[pyclass(name = "Bytes", module = "astreum", extends = PyExpr, frozen)]
pub(crate) struct PyBytes_;

/// Adds the types to the module, the variants as attributes of `Expr`.
pub(crate) fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let expr = py.get_type::<PyExpr>();
    expr.setattr("ListExpr", py.get_type::<PyList_>())?;
    expr.setattr("Symbol", py.get_type::<PySymbol>())?;
    expr.setattr("Bytes", py.get_type::<PyBytes_>())?;
    module.add("Expr", expr)?;
    module.add_function(wrap_pyfunction!(expr_from_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(error_expr, module)?)
}

/// Returns the Python object of an expression.
pub(crate) fn wrap(py: Python<'_>, expr: Expr) -> PyResult<Bound<'_, PyAny>> {
    let symbol = matches!(expr, Expr::Symbol(_));
    let list = matches!(expr, Expr::List(_));
    let base = PyClassInitializer::from(PyExpr(expr));
    Ok(if list {
        Bound::new(py, base.add_subclass(PyList_))?.into_any()
    } else if symbol {
        Bound::new(py, base.add_subclass(PySymbol))?.into_any()
    } else {
        Bound::new(py, base.add_subclass(PyBytes_))?.into_any()
    })
}

/// Returns the expression of a Python object that is one.
pub(crate) fn expr_of(object: &Bound<'_, PyAny>) -> PyResult<Expr> {
    match object.cast::<PyExpr>() {
        Ok(expr) => Ok(expr.get().0.clone()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "expected an expression (Expr.ListExpr, Expr.Symbol or Expr.Bytes), not {}",
            object.get_type().name()?
        ))),
    }
}

/// Converts a value: an expression, bytes, an integer, `None` for `()`, or a list or tuple of
/// values.
pub(crate) fn to_expr(object: &Bound<'_, PyAny>) -> PyResult<Expr> {
    convert(object, 0)
}

fn convert(object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Expr> {
    if let Ok(expr) = object.cast::<PyExpr>() {
        return Ok(expr.get().0.clone());
    }
    if object.is_none() {
        return Ok(Expr::list([]));
    }
    if let Ok(number) = object.cast::<PyInt>() {
        return integer(number);
    }
    if let Ok(bytes) = object.extract::<PyBackedBytes>() {
        return Ok(Expr::bytes(&*bytes));
    }
    let is_sequence = object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>();
    if is_sequence && depth < MAX_NESTING {
        let items = object.try_iter()?;
        let items = items.map(|item| convert(&item?, depth + 1));
        return Ok(Expr::list(items.collect::<PyResult<Vec<Expr>>>()?));
    }
    if is_sequence {
        return Err(PyValueError::new_err(format!(
            "lists are nested more than {MAX_NESTING} deep; build them with Expr.ListExpr"
        )));
    }
    let hint = if object.is_instance_of::<PyString>() {
        "; use Expr.Symbol for a name, or .encode() for text"
    } else {
        ""
    };
    Err(PyTypeError::new_err(format!(
        "expected an expression, bytes, an integer, None or a list of them, not {}{hint}",
        object.get_type().name()?
    )))
}

/// Converts an integer of any size to minimal two's complement.
fn integer(number: &Bound<'_, PyInt>) -> PyResult<Expr> {
    if let Ok(number) = number.extract::<i128>() {
        return Ok(Expr::integer(number));
    }
    let magnitude = if number.lt(0)? {
        number.call_method0("__invert__")?
    } else {
        number.clone().into_any()
    };
    let bits: usize = magnitude.call_method0("bit_length")?.extract()?;
    let signed = PyDict::new(number.py());
    signed.set_item("signed", true)?;
    let bytes = number.call_method("to_bytes", (bits / 8 + 1, "big"), Some(&signed))?;
    Ok(Expr::bytes(&*bytes.extract::<PyBackedBytes>()?))
}

#[pymethods]
impl PyExpr {
    /// Id of the expression's first atom.
    #[getter]
    fn id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, py.detach(|| self.0.id()).as_bytes())
    }

    /// Returns the id of the expression's first atom.
    fn generate_id<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.id(py)
    }

    /// Returns the id of the expression and its atoms.
    fn to_atoms<'py>(&self, py: Python<'py>) -> (Bound<'py, PyBytes>, Vec<PyAtom>) {
        let (id, atoms) = py.detach(|| self.0.to_atoms());
        let atoms = atoms.into_iter().map(PyAtom).collect();
        (PyBytes::new(py, id.as_bytes()), atoms)
    }

    /// Reads an expression from the atoms of `node`, which has a method `get_atom(id)`.
    #[staticmethod]
    fn from_atoms<'py>(
        node: &Bound<'py, PyAny>,
        root_hash: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = node.py();
        let id = atom_id(root_hash)?;
        let get_atom = node
            .getattr("get_atom")
            .map_err(|_| PyTypeError::new_err("node must provide a callable 'get_atom'"))?;
        let source = Callback { get_atom };
        match Expr::from_atoms(&source, &id, MAX_ATOMS) {
            Ok(expr) => wrap(py, expr),
            Err(astreum_core::expr::ExprError::Source(error)) => Err(error),
            Err(error) => Err(PyValueError::new_err(error.to_string())),
        }
    }

    /// Whether this is an error value: a list that starts with the symbol `error`.
    #[getter]
    fn is_error(&self) -> bool {
        self.0.is_error()
    }

    /// Topic and message of an error value, else `None`.
    #[getter]
    fn error(&self) -> Option<(String, String)> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (topic, message) = self.0.as_error()?;
        Some((text(topic), text(message)))
    }

    /// Returns source text that parses as this expression.
    fn to_source(&self) -> String {
        format!("{:#}", self.0)
    }

    fn __repr__(&self) -> String {
        reference_text(&self.0)
    }

    fn __richcmp__(
        &self,
        other: &Bound<'_, PyAny>,
        op: CompareOp,
        py: Python<'_>,
    ) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<PyExpr>() else {
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
        let mut hasher = std::hash::DefaultHasher::new();
        self.0.id().as_bytes().hash(&mut hasher);
        hasher.finish()
    }

    fn __copy__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: Bound<'py, Self>, _memo: &Bound<'py, PyAny>) -> Bound<'py, Self> {
        slf
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Pickled<'py>)> {
        let mut store = MemoryStore::new();
        let id = match self.0.write_atoms(&mut store) {
            Ok(id) => id,
            Err(never) => match never {},
        };
        let atoms = store.iter().map(|(_, atom)| atom.to_bytes());
        let atoms = atoms.map(|atom| PyBytes::new(py, &atom)).collect();
        let function = py.import("astreum._native")?.getattr("_expr_from_bytes")?;
        Ok((function, (PyBytes::new(py, id.as_bytes()), atoms)))
    }
}

#[pymethods]
impl PyList_ {
    #[new]
    fn new(elements: &Bound<'_, PyAny>) -> PyResult<PyClassInitializer<Self>> {
        let items = elements.try_iter()?;
        let items = items.map(|item| expr_of(&item?));
        let list = Expr::list(items.collect::<PyResult<Vec<Expr>>>()?);
        Ok(PyClassInitializer::from(PyExpr(list)).add_subclass(Self))
    }

    /// Items of the list.
    #[getter]
    fn elements(slf: PyRef<'_, Self>) -> PyResult<Bound<'_, PyTuple>> {
        let py = slf.py();
        let items = slf.as_super().0.as_list().unwrap_or_default();
        let items = items.iter().map(|item| wrap(py, item.clone()));
        PyTuple::new(py, items.collect::<PyResult<Vec<_>>>()?)
    }

    #[classattr]
    fn __match_args__() -> (&'static str,) {
        ("elements",)
    }
}

#[pymethods]
impl PySymbol {
    #[new]
    fn new(value: PyBackedStr) -> PyClassInitializer<Self> {
        PyClassInitializer::from(PyExpr(Expr::symbol(&value))).add_subclass(Self)
    }

    /// Name.
    #[getter]
    fn value(slf: PyRef<'_, Self>) -> Bound<'_, PyString> {
        let name = slf.as_super().0.as_symbol().unwrap_or_default();
        PyString::new(slf.py(), name)
    }

    #[classattr]
    fn __match_args__() -> (&'static str,) {
        ("value",)
    }
}

#[pymethods]
impl PyBytes_ {
    #[new]
    fn new(value: PyBackedBytes) -> PyClassInitializer<Self> {
        PyClassInitializer::from(PyExpr(Expr::bytes(&*value))).add_subclass(Self)
    }

    /// The bytes.
    #[getter]
    fn value(slf: PyRef<'_, Self>) -> Bound<'_, PyBytes> {
        let bytes = slf.as_super().0.as_bytes().unwrap_or_default();
        PyBytes::new(slf.py(), bytes)
    }

    #[classattr]
    fn __match_args__() -> (&'static str,) {
        ("value",)
    }
}

/// Restores a pickled expression.
#[pyfunction(name = "_expr_from_bytes")]
fn expr_from_bytes<'py>(
    py: Python<'py>,
    id: &Bound<'py, PyAny>,
    atoms: Vec<PyBackedBytes>,
) -> PyResult<Bound<'py, PyAny>> {
    let id = atom_id(id)?;
    let mut store = MemoryStore::new();
    for atom in atoms {
        let atom = Atom::from_bytes(&atom).map_err(|e| PyValueError::new_err(e.to_string()))?;
        store.insert(atom);
    }
    match rebuild(&store, id) {
        Some(expr) => wrap(py, expr),
        None => Err(PyValueError::new_err("malformed pickle of an expression")),
    }
}

/// Returns the expression with this id. Lists that occur several times are in memory once, so that
/// it takes no more memory than the atoms.
fn rebuild(store: &MemoryStore, root: AtomId) -> Option<Expr> {
    let mut done: BTreeMap<AtomId, Expr> = BTreeMap::new();
    let mut pending = vec![root];
    while let Some(id) = pending.last().copied() {
        let atom = store.atom(&id).ok()?;
        let expr = match atom.kind() {
            AtomKind::Symbol => Expr::symbol(core::str::from_utf8(atom.data()).ok()?),
            AtomKind::Bytes => Expr::bytes(atom.data()),
            AtomKind::List => {
                let items = collect_list(store, id, store.len()).ok()?;
                // The empty list is an atom without an item.
                let items = items.iter().filter(|item| !item.data().is_empty());
                let items = items.map(|item| AtomId::from_slice(item.data()));
                let items = items.collect::<Option<Vec<AtomId>>>()?;
                let missing = items.iter().filter(|item| !done.contains_key(*item));
                let before = pending.len();
                pending.extend(missing.copied());
                if pending.len() > before {
                    continue;
                }
                let items = items.iter().map(|item| done.get(item).cloned());
                Expr::list(items.collect::<Option<Vec<Expr>>>()?)
            }
        };
        done.insert(id, expr);
        pending.pop();
    }
    done.remove(&root)
}

/// Returns the error value `(error topic message)`.
#[pyfunction]
fn error_expr<'py>(py: Python<'py>, topic: &str, message: &str) -> PyResult<Bound<'py, PyAny>> {
    wrap(py, Expr::error(topic, message))
}

/// Atoms that a Python function returns.
struct Callback<'py> {
    get_atom: Bound<'py, PyAny>,
}

impl AtomSource for Callback<'_> {
    type Error = PyErr;

    fn atom(&self, id: &AtomId) -> Result<Atom, SourceError<PyErr>> {
        let py = self.get_atom.py();
        let found = self.get_atom.call1((PyBytes::new(py, id.as_bytes()),));
        let found = found.map_err(SourceError::Failed)?;
        if found.is_none() {
            return Err(SourceError::Missing(*id));
        }
        match found.cast::<PyAtom>() {
            Ok(atom) => Ok(atom.get().0.clone()),
            Err(_) => Err(SourceError::Failed(PyTypeError::new_err(
                "get_atom must return an Atom or None",
            ))),
        }
    }
}

/// Returns the text that the reference's `repr` returns: bytes as unsigned decimal numbers. A very
/// long one is cut off.
fn reference_text(expr: &Expr) -> String {
    let (mut text, mut space) = (String::new(), "");
    for step in expr.visit() {
        if text.len() > MAX_REPR_BYTES {
            text.push('…');
            break;
        }
        let close = matches!(step, Visit::Close);
        text.push_str(if close { "" } else { space });
        space = " ";
        match step {
            Visit::Symbol(symbol) => text.push_str(symbol),
            Visit::Bytes(bytes) => text.push_str(&unsigned(bytes)),
            Visit::Open(_) => {
                text.push('(');
                space = "";
            }
            Visit::Close => text.push(')'),
        }
    }
    text
}

/// Returns the unsigned big-endian number in decimal digits, or in hex if it is very long.
fn unsigned(bytes: &[u8]) -> String {
    const LIMB: u64 = 1_000_000_000;
    if bytes.len() > MAX_DECIMAL_BYTES {
        let mut text = String::from("0x");
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        return text;
    }
    // Limbs of nine digits, least significant first.
    let mut limbs: Vec<u64> = vec![0];
    for byte in bytes {
        let mut carry = u64::from(*byte);
        for limb in &mut limbs {
            let value = *limb * 256 + carry;
            *limb = value % LIMB;
            carry = value / LIMB;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    let mut text = String::new();
    let mut limbs = limbs.iter().rev();
    if let Some(first) = limbs.next() {
        let _ = write!(text, "{first}");
    }
    for limb in limbs {
        let _ = write!(text, "{limb:09}");
    }
    text
}
