"""Parser."""

from astreum._native import parse
from astreum.machine.error import ParseError

__all__ = ["ParseError", "parse"]
