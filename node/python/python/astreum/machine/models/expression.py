"""Expressions."""

from astreum._native import Expr, error_expr
from astreum.storage.models.kind import ZERO32

ERROR_SYMBOL = "error"

__all__ = ["ERROR_SYMBOL", "ZERO32", "Expr", "error_expr"]
