"""Machine with limits, host functions and suspension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from astreum import _native

_F = TypeVar("_F", bound=Callable[..., Any])


class Machine(_native.Machine):
    """Virtual machine over the atoms of a node, or over atoms of its own.

    A machine evaluates one program at a time;
    the GIL is released meanwhile.
    """

    def function(self, name: str, *, cost: int | Callable[..., int] | None = None) -> Callable[[_F], _F]:
        """Decorator that binds a name to a Python function, see `bind`."""

        def bind(function: _F) -> _F:
            self.bind(name, function, cost=cost)
            return function

        return bind
