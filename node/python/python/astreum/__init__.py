"""Astreum: virtual machine, atom storage and network node.

The API is that of the package ``astreum`` 0.3.71 as its README documents it, on the Rust
implementation. `Machine` offers what that API cannot: host functions, limits, suspension.
"""

from astreum._native import AstreumError, Evaluation, Suspend, Suspended, parse_all, parse_source
from astreum._native import verify_proof
from astreum.machine import Env, Expr, Machine, Meter, ParseError, error_expr, parse, tokenize
from astreum.node import Node
from astreum.outcomes import (
    Failure,
    Finished,
    Interrupted,
    LimitExceeded,
    Limits,
    Missing,
    StorageFailed,
)
from astreum.storage.models.atom import ZERO32, Atom, AtomKind, bytes_list_to_atoms
from astreum.storage.models.trie import Trie

__version__ = "0.1.0"

__all__ = [
    "Node",
    "Env",
    "Expr",
    "Machine",
    "Meter",
    "Limits",
    "Evaluation",
    "Suspended",
    "Suspend",
    "Finished",
    "LimitExceeded",
    "Interrupted",
    "Missing",
    "StorageFailed",
    "Failure",
    "Atom",
    "AtomKind",
    "ZERO32",
    "bytes_list_to_atoms",
    "Trie",
    "verify_proof",
    "parse",
    "parse_all",
    "parse_source",
    "tokenize",
    "error_expr",
    "ParseError",
    "AstreumError",
]
