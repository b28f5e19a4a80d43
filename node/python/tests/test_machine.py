"""Machine: outcomes, limits, host functions, suspension, threads and signals."""

import gc
import pickle
import threading
import unittest
import weakref

from astreum import (
    Atom,
    AtomKind,
    Env,
    Evaluation,
    Expr,
    Finished,
    Interrupted,
    LimitExceeded,
    Limits,
    Machine,
    Missing,
    Suspend,
    Suspended,
    error_expr,
    parse_source,
)
from support import ScratchCase

#: Program that never ends, apart from the limit of steps.
FOREVER = "(0 (($0 jump) sk))"
UNLIMITED = Limits(steps=(1 << 64) - 1)


def number(value: int) -> Expr:
    return Expr.Bytes(value.to_bytes(max((value.bit_length() + 8) // 8, 1), "big", signed=True))


class Evaluations(unittest.TestCase):
    def test_value_charge_and_outcome(self):
        evaluation = Machine().eval("(1 2 (($0 $1 add) sk))")
        self.assertIsInstance(evaluation, Evaluation)
        self.assertEqual(evaluation.value, number(3))
        self.assertEqual((evaluation.used, evaluation.outcome, evaluation.ok), (2, Finished(), True))
        self.assertGreater(evaluation.steps, 0)

    def test_definitions_stay_in_the_environment(self):
        machine, env = Machine(), Env()
        machine.eval("((($0 $0 add) sk) double def)", env)
        self.assertEqual(list(env.data), ["double"])
        self.assertEqual(machine.eval("(21 double)", env).value, number(42))
        self.assertEqual(machine.call("double", [4], env).value, number(8))
        self.assertEqual(machine.call(env["double"], [b"\x05"]).value, number(10))
        self.assertEqual(machine.eval_all("(1 one def) (one one (($0 $1 add) sk))").value, number(2))

    def test_bindings_are_a_mapping(self):
        env = Env({"a": number(1)})
        env.data["b"] = number(2)
        self.assertEqual(env.data, {"a": number(1), "b": number(2)})
        del env.data["a"]
        self.assertEqual((list(env), len(env), "a" in env, env.get("a")), (["b"], 1, False, None))
        env.data = {"c": number(3)}
        self.assertEqual(dict(pickle.loads(pickle.dumps(env)).data), {"c": number(3)})
        with self.assertRaises(KeyError):
            env.data["missing"]
        with self.assertRaises(TypeError):
            env.data["d"] = 5

    def test_limits_are_outcomes_that_a_program_cannot_forge(self):
        machine = Machine(limits=Limits(steps=1000), meter_limit=5)
        evaluation = machine.eval(FOREVER)
        self.assertEqual(evaluation.outcome.kind, "meter")
        machine.set_meter_limit(None)
        match machine.eval(FOREVER).outcome:
            case LimitExceeded("steps", 1000, used):
                self.assertGreater(used, 1000)
            case other:
                self.fail(other)
        forged = machine.eval(error_expr("eval", "step limit"))
        self.assertEqual((forged.outcome, forged.ok), (Finished(), False))

    def test_missing_atoms_are_outcomes(self):
        evaluation = Machine().eval(f"(0x{'07' * 32} ref)")
        self.assertEqual(evaluation.outcome, Missing(b"\x07" * 32, "list"))
        self.assertEqual(evaluation.value.error, ("eval", "ref target not found"))

    def test_failures_have_positions(self):
        evaluation = Machine().eval("(1 (($0 add) sk))")
        failure = evaluation.failures[0]
        self.assertEqual((failure.topic, failure.message), ("low_eval", "underflow"))
        self.assertEqual((failure.token, failure.opcode, failure.depth), (1, "add", 1))
        self.assertEqual(evaluation.failure_count, 1)

    def test_limits_out_of_range_are_refused(self):
        with self.assertRaisesRegex(ValueError, "limit depth"):
            Machine(limits=Limits(depth=-1))


class HostFunctions(unittest.TestCase):
    def setUp(self):
        self.machine = Machine()

    def test_function_gets_values_and_its_result_is_a_value(self):
        @self.machine.function("length", cost=3)
        def length(*values):
            return sum(len(value.value) for value in values)

        evaluation = self.machine.eval('("hello" "you" length)')
        self.assertEqual((evaluation.value, evaluation.used), (number(8), 3))
        self.assertEqual(length(Expr.Bytes(b"ab")), 2)

    def test_results_are_converted(self):
        big = -(1 << 200)
        for result, value in [
            (b"x", Expr.Bytes(b"x")),
            (-129, Expr.Bytes(b"\xff\x7f")),
            (big, Expr.Bytes(big.to_bytes(26, "big", signed=True))),
            (1 << 127, Expr.Bytes((1 << 127).to_bytes(17, "big", signed=True))),
            (None, Expr.ListExpr([])),
            ([1, (b"y",)], Expr.ListExpr([number(1), Expr.ListExpr([Expr.Bytes(b"y")])])),
            (Expr.Symbol("s"), Expr.Symbol("s")),
        ]:
            self.machine.bind("f", lambda: result)
            self.assertEqual(self.machine.eval("f").value, value)
        for wrong in ("text", 1.5, object()):
            self.machine.bind("f", lambda: wrong)
            with self.assertRaisesRegex(TypeError, "expected an expression"):
                self.machine.eval("f")
        nested = []
        nested.append(nested)
        self.machine.bind("f", lambda: nested)
        with self.assertRaisesRegex(ValueError, "nested"):
            self.machine.eval("f")

    def test_cost_can_depend_on_the_arguments(self):
        self.machine.bind("f", lambda value: value, cost=lambda value: len(value.value))
        self.assertEqual(self.machine.eval('("12345" f)').used, 5)
        self.machine.set_meter_limit(5)
        evaluation = self.machine.eval('("12345" f)')
        self.assertEqual(evaluation.outcome, LimitExceeded("meter", 5, 5))
        with self.assertRaisesRegex(ValueError, "cost"):
            self.machine.bind("f", print, cost=-1)

    def test_exception_is_kept(self):
        error = LookupError("no such account")

        def fail():
            raise error

        self.machine.bind("f", fail)
        with self.assertRaises(LookupError) as caught:
            self.machine.eval("(1 (f))")
        self.assertIs(caught.exception, error)
        with self.assertRaises(LookupError):
            self.machine.start("f")
        # The machine is usable afterwards.
        self.assertEqual(self.machine.eval("7").value, number(7))

    def test_names_cannot_be_shadowed_and_some_are_reserved(self):
        self.machine.bind("f", lambda: 1)
        env = Env({"f": number(5)})
        self.assertEqual(self.machine.eval("f", env).value, number(1))
        self.assertTrue(self.machine.eval("(2 f def)", env).value.is_error)
        self.assertTrue(self.machine.unbind("f"))
        self.assertEqual(self.machine.eval("f", env).value, number(5))
        with self.assertRaisesRegex(ValueError, "reserved"):
            self.machine.bind("def", print)
        with self.assertRaises(TypeError):
            self.machine.bind("f", 5)

    def test_function_can_use_the_environment_and_other_machines(self):
        env, other = Env({"x": number(1)}), Machine()

        def f():
            env.data["y"] = number(2)
            with self.assertRaisesRegex(RuntimeError, "evaluating"):
                self.machine.eval("1")
            return other.eval("(x y (($0 $1 add) sk))", env).value

        self.machine.bind("f", f)
        self.assertEqual(self.machine.eval("((f) z def)", env).value, number(3))
        self.assertEqual(sorted(env.data), ["x", "y", "z"])

    def test_machine_in_a_circle_with_its_function_is_collected(self):
        class Value:
            pass

        def circle():
            machine, value = Machine(), Value()
            machine.bind("f", lambda: (machine, value), cost=lambda: bool(machine))
            machine.eval("7")
            return weakref.ref(value)

        value = circle()
        gc.collect()
        self.assertIsNone(value())


class Suspension(unittest.TestCase):
    def test_missing_atom_is_supplied_and_nothing_is_repeated(self):
        machine, env, calls = Machine(), Env(), []
        machine.bind("once", lambda: calls.append(1))
        atom = Atom(b"data", AtomKind.BYTES)
        source = f"((once) (1 before def) (0x{atom.object_id().hex()} ref))"
        suspended = machine.start(source, env)
        self.assertIsInstance(suspended, Suspended)
        self.assertEqual(suspended.reason, "missing")
        self.assertEqual(suspended.missing, Missing(atom.object_id(), "list"))
        self.assertEqual(env.get("before"), number(1))
        machine.put_atom(atom)
        evaluation = machine.resume(suspended)
        self.assertEqual(evaluation.value.elements[2], Expr.ListExpr([Expr.Bytes(b"data")]))
        self.assertEqual((calls, evaluation.outcome), ([1], Finished()))
        with self.assertRaisesRegex(RuntimeError, "already resumed"):
            machine.resume(suspended)

    def test_refused_atom_is_an_error_of_the_program(self):
        machine = Machine()
        suspended = machine.start(f"(0x{'07' * 32} ref)")
        suspended.refuse()
        evaluation = machine.resume(suspended)
        self.assertEqual(evaluation.outcome, Missing(b"\x07" * 32, "list"))

    def test_meter_is_granted(self):
        machine = Machine(meter_limit=2)
        suspended = machine.start("(1 2 (($0 $1 add) sk))")
        self.assertEqual((suspended.reason, suspended.cost, suspended.used), ("meter", 2, 0))
        suspended.grant(1)
        self.assertEqual(machine.resume(suspended).value, number(3))

    def test_slices_change_nothing(self):
        expr = parse_source('(1 2 (("i" 3 heap_set "i" heap_get $0 add $1 add) sk))')
        whole = Machine().eval(expr)
        machine, slices = Machine(), 0
        step = machine.start(expr, slice=1)
        while isinstance(step, Suspended):
            self.assertEqual(step.reason, "slice")
            slices += 1
            step = machine.resume(step, slice=1)
        self.assertGreater(slices, 0)
        self.assertEqual((step.value, step.used, step.steps), (whole.value, whole.used, whole.steps))

    def test_host_function_is_answered_later(self):
        machine = Machine()

        def later(value):
            raise Suspend

        machine.bind("later", later)
        suspended = machine.start("((5 later) 2 (($0 $1 add) sk))")
        self.assertEqual(suspended.reason, "host_function")
        self.assertEqual(suspended.host_call, ("later", (number(5),)))
        suspended.answer(40)
        self.assertEqual(machine.resume(suspended).value, number(42))
        suspended = machine.start("(5 later)")
        suspended.fail(OSError("gone"))
        with self.assertRaisesRegex(OSError, "gone"):
            machine.resume(suspended)

    def test_suspended_evaluation_is_resumed_elsewhere(self):
        machine, env = Machine(), Env({"x": number(1)})
        atom = Atom(b"\x05", AtomKind.BYTES)
        suspended = machine.start(f"(x (0x{atom.object_id().hex()} ref) (2 y def))", env)
        image, other, definitions = suspended.to_bytes(), Machine(), Env()
        other.put_atom(atom)
        evaluation = other.finish(other.restore(image, definitions))
        expected = Expr.ListExpr([number(1), Expr.ListExpr([number(5)]), number(2)])
        self.assertEqual(evaluation.value, expected)
        self.assertEqual(definitions.data, {"y": number(2)})
        for damaged in (b"", b"nonsense", image[:-1]):
            with self.assertRaises(ValueError):
                other.restore(damaged)


class Threads(ScratchCase):
    def test_other_threads_run_during_an_evaluation(self):
        # With the GIL held, this would never get to the interrupt: the process would time out.
        done = self.run_script(
            f"""
import threading
from astreum import Interrupted, Limits, Machine

machine, result, started = Machine(limits=Limits(steps=2**64 - 1)), [], threading.Event()
machine.bind("started", started.set)
source = "((started) {FOREVER})"
thread = threading.Thread(target=lambda: result.append(machine.eval(source)))
thread.start()
started.wait()
count = 0
while count < 100_000:
    count += 1
assert thread.is_alive()
machine.interrupt()
thread.join()
assert result[0].outcome == Interrupted(), result
print(machine.eval("7").outcome)
"""
        )
        self.assertEqual(done.stdout, "Finished()\n")

    def test_ctrl_c_interrupts_an_evaluation(self):
        done = self.run_script(
            f"""
import os, signal, threading
from astreum import Env, Limits, Machine, Node

def press(started):
    started.wait()
    os.kill(os.getpid(), signal.SIGINT)

# A process in the background of a shell inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
started = threading.Event()
threading.Thread(target=press, args=(started,)).start()
machine, env = Machine(limits=Limits(steps=2**64 - 1)), Env()
machine.bind("started", started.set)
try:
    machine.eval("((1 x def) (started) {FOREVER})", env)
except KeyboardInterrupt:
    print("interrupted", "x" in env, machine.eval("x", env).ok)
"""
        )
        self.assertEqual(done.stdout, "interrupted True True\n")

    def test_interrupted_evaluation_can_be_resumed(self):
        machine = Machine(limits=UNLIMITED)
        started = threading.Event()
        machine.bind("started", started.set)
        steps = []
        source = f"((started) {FOREVER})"
        thread = threading.Thread(target=lambda: steps.append(machine.start(source)))
        thread.start()
        started.wait()
        machine.interrupt()
        thread.join()
        self.assertEqual(steps[0].reason, "interrupted")
        again = machine.resume(steps[0], slice=1000)
        self.assertEqual(again.reason, "slice")

    def test_machines_evaluate_at_the_same_time_in_one_environment(self):
        env = Env()

        def work(name):
            machine = Machine()
            for index in range(200):
                machine.eval(f"({index} {name}{index} def)", env)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(env), 800)


class InterruptedOutcome(unittest.TestCase):
    def test_interrupt_before_an_evaluation_ends_it(self):
        machine = Machine(limits=UNLIMITED)
        machine.interrupt()
        self.assertEqual(machine.eval(FOREVER).outcome, Interrupted())


if __name__ == "__main__":
    unittest.main()
