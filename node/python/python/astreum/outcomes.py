"""Limits, outcomes and failures of evaluations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one evaluation, in addition to the meter.

    An evaluation that exceeds one of them ends, and its outcome is `LimitExceeded`.
    """

    depth: int = 1 << 16
    stack_items: int = 1 << 21
    heap_entries: int = 1 << 18
    live_bytes: int = 256 << 20
    steps: int = 1 << 28
    atoms: int = 1 << 18
    atom_bytes: int = 64 << 20


@dataclass(frozen=True)
class Finished:
    """The program ran to its end; its value may be an error value."""


@dataclass(frozen=True)
class LimitExceeded:
    """A limit was reached: a field of `Limits`, or "meter"."""

    kind: str
    limit: int
    used: int


@dataclass(frozen=True)
class Interrupted:
    """`Machine.interrupt` ended the evaluation."""


@dataclass(frozen=True)
class Missing:
    """An atom was missing: alone ("atom"), or as the first of a list ("list")."""

    id: bytes
    wanted: str


@dataclass(frozen=True)
class StorageFailed:
    """The storage did not take an atom."""


@dataclass(frozen=True)
class Failure:
    """Error that the machine raised, with its position.

    `path` is the path of item indices to the position in the code that was running; `token`,
    `opcode` and `depth` describe the stack program, if one was running; `calls` are the names of
    the open calls, innermost first.
    """

    topic: str
    message: str
    symbol: str | None
    path: tuple[int, ...]
    token: int | None
    opcode: str | None
    depth: int | None
    calls: tuple[str | None, ...]
