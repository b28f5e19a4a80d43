"""Authenticated map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astreum import _native

if TYPE_CHECKING:
    from astreum.node import Node


class Trie:
    """Authenticated map from bytes to bytes: a compressed binary radix tree.

    Puts change only memory; `commit` stores the nodes. `storage_node` may be `None` as long as no
    stored node is needed.
    """

    __slots__ = ("_trie",)

    def __init__(self, root_hash: bytes | None = None) -> None:
        self._trie = _native.Trie(root_hash)

    @property
    def root_hash(self) -> bytes | None:
        """Id of the root; `None` if the trie is empty."""
        return self._trie.root_hash

    def get(self, storage_node: Node | None, key: bytes) -> bytes | None:
        """Returns the value of a key, or `None`."""
        return self._trie.get(_core(storage_node), key)

    def put(self, storage_node: Node | None, key: bytes, value: bytes) -> None:
        """Sets the value of a key; an empty value removes it."""
        self._trie.put(_core(storage_node), key, value)

    def commit(self, storage_node: Node) -> bytes:
        """Stores the changed nodes; returns the id of the root."""
        return self._trie.commit(storage_node._core)

    def get_all(self, storage_node: Node) -> dict[bytes, bytes]:
        """Returns all keys and values of a trie whose nodes are stored."""
        return self._trie.get_all(storage_node._core)

    def prove(self, storage_node: Node, key: bytes) -> bytes:
        """Returns a proof of a key's value or absence, for `astreum.verify_proof`."""
        return self._trie.prove(storage_node._core, key)


def _core(storage_node: Node | None) -> _native.NodeCore | None:
    return None if storage_node is None else storage_node._core
