//! Native part of the Python module `astreum`; the package `python/astreum` has the public API.
//!
//! | module | contents |
//! | --- | --- |
//! | `expr` | expressions as immutable Python objects |
//! | `atom`, `trie` | atoms, and the authenticated map |
//! | `env` | environments |
//! | `text` | tokenizer and parser |
//! | `store`, `run` | atoms of a machine, and evaluation without the GIL |
//! | `machine`, `host`, `suspended`, `evaluation` | machine, host functions, results |
//! | `node` | node with storage and network |
//! | `errors` | exceptions |
//!
//! Invariants:
//! - The GIL is released while a program is evaluated and while a node waits for disk or network.
//! - No lock is held while Python code runs, so that callbacks can use every object.

mod atom;
mod env;
mod errors;
mod evaluation;
mod expr;
mod host;
mod machine;
mod node;
mod run;
mod store;
mod suspended;
mod text;
mod trie;

use pyo3::prelude::*;
use pyo3::types::PyModule;

/// Adds all types and functions to the module.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    expr::add(module)?;
    module.add_class::<atom::PyAtom>()?;
    module.add_class::<env::PyEnv>()?;
    module.add_class::<evaluation::PyEvaluation>()?;
    module.add_class::<machine::PyMachine>()?;
    module.add_class::<node::PyNode>()?;
    module.add_class::<suspended::PySuspended>()?;
    module.add_class::<trie::PyTrie>()?;
    module.add("AstreumError", py.get_type::<errors::AstreumError>())?;
    module.add("Suspend", py.get_type::<errors::Suspend>())?;
    module.add_function(wrap_pyfunction!(atom::bytes_list_to_atoms, module)?)?;
    module.add_function(wrap_pyfunction!(text::tokenize, module)?)?;
    module.add_function(wrap_pyfunction!(text::parse, module)?)?;
    module.add_function(wrap_pyfunction!(text::parse_source, module)?)?;
    module.add_function(wrap_pyfunction!(text::parse_all, module)?)?;
    module.add_function(wrap_pyfunction!(trie::verify_proof, module)?)?;
    module.add_function(wrap_pyfunction!(node::config_keys, module)?)?;
    module.add_function(wrap_pyfunction!(node::check_config, module)?)?;
    module.add_function(wrap_pyfunction!(node::instance_id, module)?)?;
    Ok(())
}
