"""Reference node for the benchmark: `serve` answers requests for COUNT atoms, `fetch` measures.

    python reference.py serve COUNT
    python reference.py fetch ROUNDS

`serve` prints its port and public key and runs until the end of its input. `fetch` prints the
median time of fetching an atom from one reference node to another, in seconds.
"""

import contextlib
import statistics
import sys
import tempfile
import time
import os

os.environ.setdefault("XDG_STATE_HOME", tempfile.mkdtemp(prefix="astreum-bench-"))

from astreum.node import Node
from astreum.storage.models.atom import Atom, AtomKind


def start(seeds=()):
    with contextlib.redirect_stdout(sys.stderr):
        node = Node({"incoming_port": 0, "default_seed": None, "additional_seeds": list(seeds)})
        node.connect()
        node.relay_ip_address = "127.0.0.1"
    return node


def put(node, number):
    data = number.to_bytes(4, "big") + bytes(60)
    atom = Atom(data=data, kind=AtomKind.BYTES)
    node._hot_storage_set(key=atom.object_id(), value=atom)
    return atom.object_id()


def serve(count):
    node = start()
    for number in range(count):
        put(node, number)
    port = node.config["incoming_port"]
    print(port, node.config["relay_public_key_bytes"].hex(), flush=True)
    sys.stdin.read()
    node.disconnect()


def fetch(rounds):
    keeper = start()
    asking = start([f"127.0.0.1:{keeper.config['incoming_port']}"])
    deadline = time.monotonic() + 10
    while not asking.peers and time.monotonic() < deadline:
        time.sleep(0.05)
    times = []
    for number in range(rounds):
        atom_id = put(keeper, number)
        begin = time.monotonic()
        atom = asking.get_atom(atom_id)
        if atom is None:
            sys.exit("the reference did not find the atom")
        times.append(time.monotonic() - begin)
    print(statistics.median(times))
    os._exit(0)


if __name__ == "__main__":
    {"serve": serve, "fetch": fetch}[sys.argv[1]](int(sys.argv[2]))
