"""Times the reference: nanoseconds of an iteration, a nand and a call, one per line."""

import importlib.util
import sys
import threading
import time

import astreum.machine.evaluations.low_evaluation as low
from astreum.machine.evaluations.high_evaluation import high_eval
from astreum.machine.models.environment import Env, env_get, env_set
from astreum.machine.models.expression import Expr
from astreum.machine.models.meter import Meter

COUNT, NANDS, CALLS = (int(argument) for argument in sys.argv[1:4])


def with_add():
    """Returns the stack machine with the opcode that the package has commented out."""
    with open(low.__file__, encoding="utf-8") as file:
        before, rest = file.read().split("# ---------- ADD ----------", 1)
    add, after = rest.split("# ---------- NAND ----------", 1)
    # Comments inside the commented-out block would be uncommented as well: they are removed first.
    lines = [line for line in add.splitlines() if "#     #" not in line]
    source = before + "\n".join(line.replace("# ", "", 1) for line in lines) + after
    spec = importlib.util.spec_from_loader(low.__name__, loader=None)
    module = importlib.util.module_from_spec(spec)
    exec(compile(source, low.__file__, "exec"), module.__dict__)
    return module.low_eval


class Host:
    """Part of a node that the evaluators use."""

    high_eval = high_eval
    env_get = env_get
    env_set = env_set
    low_eval = with_add()

    def __init__(self):
        self.environments = {}
        self.machine_environments_lock = threading.RLock()


def fastest(run, items, rounds=5):
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best * 1e9 / items


host = Host()
loop = [COUNT.to_bytes(2, "big"), b"\x0d", b"heap_set", b"i", b"i", b"heap_get", b"\x00\x01",
        b"add", b"heap_set", b"i", b"heap_get", b"heap_get", b"jump", b"done"]
nands = [b"\x5a" * 32] + [b"\xff" * 32, b"nand"] * NANDS
x = Expr.Symbol("x")
function = Expr.ListExpr([Expr.ListExpr([x]), Expr.ListExpr([x]), Expr.Symbol("fn")])
calls = Expr.Bytes(b"\x01")
for _ in range(CALLS):
    calls = Expr.ListExpr([calls, function])

assert host.low_eval(loop, Meter()).value == b"done"
assert host.low_eval(nands, Meter()).value == b"\x5a" * 32
assert host.high_eval(calls).value == b"\x01"
print(fastest(lambda: host.low_eval(loop, Meter()), COUNT))
print(fastest(lambda: host.low_eval(nands, Meter()), NANDS))
print(fastest(lambda: [host.high_eval(calls) for _ in range(20)], 20 * CALLS))
