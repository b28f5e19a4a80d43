"""Times the reference's cold storage: nanoseconds of a get, of an absent get, and of an insert.

Arguments: a directory with atoms, a file with their ids, one with ids that are absent (32 bytes
each), an empty directory, and the number of atoms to insert there.
"""

import sys
import threading
import time
from pathlib import Path

from astreum.storage.cold.get import get_atom_from_cold_storage
from astreum.storage.cold.insert import insert_atom_into_cold_storage
from astreum.storage.models.atom import Atom, AtomKind

ROUNDS = 5


class Node:
    """Part of a node that cold storage uses."""

    def __init__(self, path):
        self.config = {"cold_storage_path": path, "cold_storage_base_size": 10 << 20}
        self.cold_storage_lock = threading.RLock()
        self.cold_storage_level_0_size = 0


def ids_in(path):
    content = Path(path).read_bytes()
    return [content[at:at + 32] for at in range(0, len(content), 32)]


def fastest(node, ids, there):
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for atom_id in ids:
            assert (get_atom_from_cold_storage(node, atom_id) is not None) == there
        best = min(best, time.perf_counter() - start)
    return best * 1e9 / len(ids)


directory, present, absent, empty, inserts = sys.argv[1:6]
node = Node(directory)
print(fastest(node, ids_in(present), True))
print(fastest(node, ids_in(absent), False))
(Path(empty) / "level_0").mkdir(parents=True)
node = Node(empty)
atoms = [Atom(number.to_bytes(32, "big"), AtomKind.BYTES) for number in range(int(inserts))]
start = time.perf_counter()
for atom in atoms:
    assert insert_atom_into_cold_storage(node, atom)
print((time.perf_counter() - start) * 1e9 / len(atoms))
