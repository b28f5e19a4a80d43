"""Atoms."""

from astreum._native import Atom, bytes_list_to_atoms
from astreum.storage.models.kind import ZERO32, AtomKind

__all__ = ["ZERO32", "Atom", "AtomKind", "bytes_list_to_atoms"]
