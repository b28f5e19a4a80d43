"""Environments."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, MutableMapping

from astreum import _native
from astreum.machine.models.expression import Expr


class EnvData(MutableMapping[str, Expr]):
    """Bindings of an environment, as a mapping that changes them."""

    __slots__ = ("_env",)

    def __init__(self, env: Env) -> None:
        self._env = env

    def __getitem__(self, name: str) -> Expr:
        value = self._env._get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: Expr) -> None:
        self._env._set(name, value)

    def __delitem__(self, name: str) -> None:
        self._env._remove(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._env._names())

    def __len__(self) -> int:
        return len(self._env)

    def __repr__(self) -> str:
        return repr(dict(self))


class Env(_native.Env):
    """Names and their values.

    A name that is not bound here is looked up in the environment of the node that has the id
    `parent_id`.
    """

    def __init__(
        self,
        data: Mapping[str, Expr] | None = None,
        parent_id: uuid.UUID | None = None,
    ) -> None:
        self.parent_id = parent_id
        for name, value in (data or {}).items():
            self._set(name, value)

    @property
    def data(self) -> EnvData:
        """Bindings."""
        return EnvData(self)

    @data.setter
    def data(self, data: Mapping[str, Expr]) -> None:
        bindings = dict(data)
        self.data.clear()
        self.data.update(bindings)

    def get(self, name: str, default: Expr | None = None) -> Expr | None:
        """Returns the value of a name that is bound here, else `default`."""
        value = self._get(name)
        return default if value is None else value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._get(name) is not None

    def __getitem__(self, name: str) -> Expr:
        return self.data[name]

    def __setitem__(self, name: str, value: Expr) -> None:
        self._set(name, value)

    def __delitem__(self, name: str) -> None:
        self._remove(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __repr__(self) -> str:
        parent = "" if self.parent_id is None else f", parent_id={self.parent_id!r}"
        return f"Env({dict(self.data)!r}{parent})"

    def __reduce__(self):
        return (type(self), (dict(self.data), self.parent_id))
