"""Node: storage, network, environments and evaluation."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import uuid
import warnings
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, overload

from astreum import _native, config as _config
from astreum._native import Atom, Expr
from astreum.advertisements import Advertisements
from astreum.machine.machine import Machine
from astreum.machine.models.environment import Env
from astreum.machine.models.meter import Meter

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_nodes: weakref.WeakSet[Node] = weakref.WeakSet()


class Peer(NamedTuple):
    """Authenticated peer."""

    public_key: bytes
    address: str
    is_validated: bool


class Node:
    """Node with the API of the reference's README.

    `Node()` is a stand-alone virtual machine with storage in memory; `connect` joins the network.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        given = {} if config is None else config
        texts, self._malformed = _config.settings(given)
        entry_point = _caller()
        texts.setdefault("log_dir", [str(_log_dir(entry_point))])
        values = _native.check_config(list(texts.items()))
        for problem in self._malformed.values():
            warnings.warn(f"{problem}; connect() will fail", stacklevel=2)
        #: Configuration: what was given, and every key with its value.
        self.config: dict[str, Any] = {**given, **values}
        for name in _config.SECRETS:
            self.config[name] = given.get(name)
        self.config["chain"] = "main" if values["chain_id"] == 1 else "test"
        self._core = _native.NodeCore(list(texts.items()), entry_point, True)
        #: Environments by id.
        self.environments: dict[uuid.UUID, Env] = {}
        self.machine_environments_lock = threading.RLock()
        self.atom_advertisments_lock = threading.RLock()
        self._advertisements = Advertisements(self._core, self.atom_advertisments_lock)
        self.is_connected = False
        _nodes.add(self)

    # Network

    def connect(self) -> None:
        """Opens the socket and joins the network; has no effect if the node is connected.

        Raises `ValueError` for a malformed secret key, and `AstreumError` if the port is in use.
        """
        if self._malformed:
            raise ValueError("\n".join(self._malformed.values()))
        self._core.connect()
        self.is_connected = True

    def disconnect(self) -> None:
        """Leaves the network and closes the socket."""
        self._core.disconnect()
        self.is_connected = False

    def close(self) -> None:
        """Leaves the network, and closes storage and log; the node is not usable any more.

        Without this, they are closed when the node and its machines are garbage.
        """
        self._core.close()
        self.is_connected = False

    def contact(self, host: str, port: int) -> str:
        """Starts a handshake with an address; returns the address with its IP."""
        return self._core.contact(host, port)

    @property
    def incoming_port(self) -> int | None:
        """Bound UDP port; `None` if the node is not connected."""
        return self._core.port

    @property
    def relay_public_key_bytes(self) -> bytes:
        """Public key of the relay."""
        return self._core.public_key

    @property
    def peers(self) -> dict[bytes, Peer]:
        """Authenticated peers by public key."""
        return {key: Peer(key, address, ok) for key, address, ok in self._core.peers()}

    @property
    def latest_block_hash(self) -> bytes | None:
        """Id of the head of the chain, if the node follows one."""
        return self._core.head

    @property
    def log_dir(self) -> Path | None:
        """Directory of the node's log."""
        found = self._core.log_dir
        return None if found is None else Path(found)

    # Environments and evaluation

    def env_set(self, env_id: uuid.UUID, key: str, value: Expr) -> bool:
        """Binds a name in an environment; returns `False` if the environment does not exist."""
        env = self.environments.get(env_id)
        if env is None:
            return False
        env._set(key, value)
        return True

    def env_get(self, env_id: uuid.UUID, key: str) -> Expr | None:
        """Returns the value of a name in an environment or the nearest parent that binds it."""
        env, outer = self._scopes(env_id)
        for scope in () if env is None else (env, *(outer or ())):
            value = scope._get(key)
            if value is not None:
                return value
        return None

    def _scopes(self, env_id: uuid.UUID | None) -> tuple[Env | None, list[Env] | None]:
        """Returns an environment, and its parents if it has some, the nearest first."""
        env = self.environments.get(env_id)  # type: ignore[arg-type]
        if env is None or env.parent_id is None:
            return env, None
        seen: set[uuid.UUID | None] = {env_id}
        outer: list[Env] = []
        parent_id: uuid.UUID | None = env.parent_id
        while parent_id is not None and parent_id not in seen:
            seen.add(parent_id)
            parent = self.environments.get(parent_id)
            if parent is None:
                break
            outer.append(parent)
            parent_id = parent.parent_id
        return env, outer

    @overload
    def high_eval(
        self, env_id: uuid.UUID | None, expr: Expr, meter: Meter | None = None, /
    ) -> Expr: ...
    @overload
    def high_eval(
        self, expr: Expr, env_id: uuid.UUID | None = None, meter: Meter | None = None
    ) -> Expr: ...
    def high_eval(
        self,
        *arguments: Any,
        expr: Expr | None = None,
        env_id: uuid.UUID | None = None,
        meter: Meter | None = None,
    ) -> Expr:
        """Evaluates an expression in an environment.

        `high_eval(env_id, expr, meter=None)` is the documented form: a list whose value is bytes,
        such as the call of a stack program, has a list with these bytes as its value. The order of
        0.3.71 itself, `high_eval(expr, env_id, meter)`, and keywords give what 0.3.71 gives, see
        `high_eval_raw`.
        """
        if arguments and not isinstance(arguments[0], Expr):
            if len(arguments) > 3:
                raise TypeError("high_eval takes at most 3 arguments: env_id, expr, meter")
            env_id = arguments[0]
            if len(arguments) > 1:
                expr = arguments[1]
            if len(arguments) > 2:
                meter = arguments[2]
            if not isinstance(expr, Expr):
                raise TypeError("high_eval takes an environment's id and an expression")
            value = self.high_eval_raw(expr, env_id, meter)
            if isinstance(value, Expr.Bytes) and isinstance(expr, Expr.ListExpr):
                return Expr.ListExpr([value])
            return value
        given = dict(zip(("expr", "env_id", "meter"), arguments))
        expr = given.get("expr", expr)
        if expr is None or len(arguments) > 3:
            raise TypeError("high_eval takes an environment's id and an expression")
        return self.high_eval_raw(expr, given.get("env_id", env_id), given.get("meter", meter))

    def high_eval_raw(
        self,
        expr: Expr,
        env_id: uuid.UUID | None = None,
        meter: Meter | None = None,
    ) -> Expr:
        """Evaluates an expression as 0.3.71 does: its argument order, and the bare value."""
        env, outer = self._scopes(env_id)
        if meter is None:
            return self._core.evaluate(expr, env, outer)[0]
        value, used = self._core.evaluate(expr, env, outer, meter.remaining())
        meter.add(used)
        return value

    def script_eval(
        self,
        source: str,
        env_id: uuid.UUID | None = None,
        meter: Meter | None = None,
    ) -> Expr:
        """Evaluates source text, which must be one expression; the value is as in 0.3.71."""
        env, outer = self._scopes(env_id)
        limit = None if meter is None else meter.remaining()
        value, used = self._core.evaluate_source(source, env, outer, limit)
        if meter is not None:
            meter.add(used)
        return value

    def low_eval(self, code: Iterable[bytes], meter: Meter | None = None) -> Expr:
        """Runs a stack program; tokens equal to the name of an opcode are that opcode."""
        limit = None if meter is None else meter.remaining()
        value, used = self._core.run_code(list(code), limit)
        if meter is not None:
            meter.add(used)
        return value

    def machine(self) -> Machine:
        """Returns a machine over this node's atoms, with the limits of its configuration."""
        return Machine(self)

    # Storage

    def get_atom(self, atom_id: bytes) -> Atom | None:
        """Returns an atom from the storage, else from the network."""
        return self._core.get_atom(atom_id)

    def get_atom_from_local_storage(self, atom_id: bytes) -> Atom | None:
        """Returns an atom from hot or cold storage."""
        return self._core.local_atom(atom_id)

    def get_atom_list(self, root_hash: bytes) -> list[Atom] | None:
        """Returns a list of atoms from the storage, else from the network."""
        return self._core.get_list(root_hash)

    get_atom_list_from_storage = get_atom_list

    def get_atom_list_from_local_storage(self, root_hash: bytes) -> list[Atom] | None:
        """Returns a list of atoms from hot and cold storage."""
        return self._core.local_list(root_hash)

    def get_expr_list_from_storage(self, key: bytes) -> Expr | None:
        """Returns the value of `(key ref)`: the list of atoms, the last one first."""
        if self.get_atom_list(key) is None:
            return None
        value = self.high_eval_raw(Expr.ListExpr([Expr.Bytes(key), Expr.Symbol("ref")]))
        return None if value.is_error else value

    def put_atom(self, atom: Atom) -> bytes:
        """Stores an atom, in cold storage too if there is one; returns its id."""
        return self._core.put_atoms([atom])[0]

    def put_atoms(self, atoms: Iterable[Atom]) -> list[bytes]:
        """Stores atoms with one write to the disk; returns their ids."""
        return self._core.put_atoms(list(atoms))

    def put_expr(self, expr: Expr) -> bytes:
        """Stores the atoms of an expression; returns its id."""
        return self._core.put_expr(expr)

    def hot_storage_get(self, key: bytes) -> Atom | None:
        """Returns an atom from hot storage."""
        return self._core.hot_atom(key)

    def hot_storage_set(self, key: bytes, value: Atom) -> bool:
        """Keeps an atom in hot storage; returns `False` if there is no room for it."""
        if value.object_id() != key:
            raise ValueError("the key is not the id of the atom")
        return self._core.keep(value)

    def cold_storage_get(self, key: bytes) -> Atom | None:
        """Returns an atom from cold storage."""
        return self._core.cold_atom(key)

    def cold_storage_set(self, key: bytes, value: Atom) -> bool:
        """Writes an atom to cold storage; returns `False` if there is none."""
        if value.object_id() != key:
            raise ValueError("the key is not the id of the atom")
        return self._core.put_cold(value)

    _hot_storage_get = hot_storage_get
    _hot_storage_set = hot_storage_set

    # Advertisements

    @property
    def atom_advertisments(self) -> Advertisements:
        """Tuples `(atom_id, payload_type, expires_at)` of the advertised objects."""
        return self._advertisements

    @atom_advertisments.setter
    def atom_advertisments(self, entries: Iterable[Any]) -> None:
        self._advertisements[:] = list(entries)

    def add_atom_advertisement(
        self,
        atom_id: bytes,
        payload_type: int,
        expires_at: float | None = None,
    ) -> None:
        """Advertises an object until `expires_at` (seconds since 1970), or indefinitely."""
        self._advertisements.append((atom_id, payload_type, expires_at))

    def add_atom_advertisements(self, entries: Iterable[Any]) -> None:
        """Advertises several objects."""
        self._advertisements.extend(entries)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        port = self.incoming_port
        return f"<Node {'not connected' if port is None else f'port {port}'}>"


def _caller() -> str:
    """Returns the file that creates the node: the nearest one outside of this package."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file and not os.path.abspath(file).startswith(_PACKAGE + os.sep):
            return os.path.abspath(file)
        frame = frame.f_back  # type: ignore[assignment]
    return os.getcwd()


def _log_dir(entry_point: str) -> Path:
    """Returns the documented directory of the log."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home())
    else:
        state = os.environ.get("XDG_STATE_HOME")
        base = Path(state) if state else Path.home() / ".local" / "state"
    return base.absolute() / "Astreum" / "lib-py" / "logs" / _native.instance_id(entry_point)


@atexit.register
def _close_all() -> None:
    for node in list(_nodes):
        node.close()
