"""Language and virtual machine."""

from astreum.machine.error import ParseError
from astreum.machine.machine import Machine
from astreum.machine.models.environment import Env
from astreum.machine.models.expression import Expr, error_expr
from astreum.machine.models.meter import Meter
from astreum.machine.parser import parse
from astreum.machine.tokenizer import tokenize

__all__ = [
    "Env",
    "Expr",
    "Machine",
    "Meter",
    "ParseError",
    "error_expr",
    "parse",
    "tokenize",
]
