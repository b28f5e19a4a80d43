"""Kinds of atoms."""

from enum import IntEnum

ZERO32 = b"\x00" * 32


class AtomKind(IntEnum):
    """Kind of an atom."""

    SYMBOL = 0
    BYTES = 1
    LIST = 2
