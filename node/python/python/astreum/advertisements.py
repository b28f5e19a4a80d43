"""Advertisements of a node, as a list of tuples."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, MutableSequence
from typing import Any

from astreum import _native

Entry = tuple[bytes, int, "float | None"]

#: Payload types: one atom, and a list of atoms.
ATOM, LIST = 1, 2


class Advertisements(MutableSequence[Entry]):
    """Tuples `(atom_id, payload_type, expires_at)` of the objects that a node advertises.

    `expires_at` is in seconds since 1970; `None` keeps an entry indefinitely. Expired entries are
    removed. Changes of the list change what the node advertises.
    """

    def __init__(self, core: _native.NodeCore, lock: threading.RLock) -> None:
        self._core = core
        self._lock = lock
        self._entries: list[Entry] = []

    def extend(self, values: Iterable[Any]) -> None:
        """Adds entries with one message to the node."""
        entries = [_checked(value) for value in values]
        with self._lock:
            self._advertise(entries)
            self._entries.extend(entries)

    def insert(self, index: int, value: Any) -> None:
        entry = _checked(value)
        with self._lock:
            self._advertise([entry])
            self._entries.insert(index, entry)

    def _advertise(self, entries: list[Entry]) -> None:
        now = time.time()
        self._core.advertise(
            [
                (atom_id, kind, None if expires_at is None else expires_at - now)
                for atom_id, kind, expires_at in entries
                if expires_at is None or expires_at > now
            ]
        )

    def _current(self) -> list[Entry]:
        now = time.time()
        self._entries = [entry for entry in self._entries if entry[2] is None or entry[2] > now]
        return self._entries

    def __getitem__(self, index):
        with self._lock:
            return self._current()[index]

    def __setitem__(self, index, value) -> None:
        with self._lock:
            current = self._current()
            if isinstance(index, slice):
                entries = [_checked(entry) for entry in value]
                removed, self._entries[index] = current[index], entries
            else:
                entries = [_checked(value)]
                removed, self._entries[index] = [current[index]], entries[0]
            self._withdraw(removed)
            self._advertise(entries)

    def __delitem__(self, index) -> None:
        with self._lock:
            current = self._current()
            removed = current[index] if isinstance(index, slice) else [current[index]]
            del current[index]
            self._withdraw(removed)

    def _withdraw(self, removed: list[Entry]) -> None:
        kept = {atom_id for atom_id, _, _ in self._entries}
        for atom_id, _, _ in removed:
            if atom_id not in kept:
                self._core.withdraw(atom_id)

    def __len__(self) -> int:
        with self._lock:
            return len(self._current())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (list, Advertisements)):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


def _checked(entry: Any) -> Entry:
    try:
        atom_id, kind, expires_at = entry
    except (TypeError, ValueError):
        raise ValueError(
            f"an advertisement is a tuple (atom_id, payload_type, expires_at), not {entry!r}"
        ) from None
    if not isinstance(atom_id, (bytes, bytearray)) or len(atom_id) != 32:
        raise ValueError(f"atom_id must be 32 bytes: {atom_id!r}")
    if kind not in (ATOM, LIST):
        raise ValueError(f"payload_type must be 1 (atom) or 2 (list): {kind!r}")
    if expires_at is not None and not isinstance(expires_at, (int, float)):
        raise ValueError(f"expires_at must be a number or None: {expires_at!r}")
    return (bytes(atom_id), int(kind), expires_at)
