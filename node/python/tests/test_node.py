"""Node: evaluation as in the reference, storage, advertisements and network."""

import time
import unittest
import uuid

from astreum import AstreumError, Atom, AtomKind, Env, Expr, Meter, bytes_list_to_atoms
from astreum import parse_source
from support import TIMEOUT_SECONDS, ScratchCase

SUM = parse_source("(1 2 (($0 $1 add) sk))")
THREE = Expr.Bytes(b"\x03")
ALONE = {"incoming_port": 0, "default_seed": None}


class Evaluation(ScratchCase):
    def setUp(self):
        super().setUp()
        self.node, self.env_id = self.make_node(), uuid.uuid4()
        self.node.environments[self.env_id] = Env()

    def test_documented_order_gives_the_documented_list(self):
        self.assertEqual(self.node.high_eval(self.env_id, SUM), Expr.ListExpr([THREE]))
        meter = Meter()
        self.node.high_eval(self.env_id, SUM, meter)
        self.node.high_eval(self.env_id, SUM, meter=meter)
        self.assertEqual(meter.used, 4)
        # Values that are not calls, and values that are lists, stay as they are.
        self.assertEqual(self.node.high_eval(self.env_id, THREE), THREE)
        pair = Expr.ListExpr([THREE, THREE])
        self.assertEqual(self.node.high_eval(self.env_id, pair), pair)
        self.assertTrue(self.node.high_eval(self.env_id, Expr.Symbol("x")).is_error)

    def test_order_of_the_reference_gives_its_bare_value(self):
        for value in (
            self.node.high_eval_raw(SUM, self.env_id),
            self.node.high_eval(SUM, self.env_id),
            self.node.high_eval(SUM),
            self.node.high_eval(expr=SUM, env_id=self.env_id, meter=Meter()),
            self.node.script_eval("(1 2 (($0 $1 add) sk))", self.env_id),
        ):
            self.assertEqual(value, THREE)

    def test_other_arguments_are_type_errors(self):
        for arguments in ((), (self.env_id,), (self.env_id, 5), (self.env_id, SUM, None, None)):
            with self.assertRaises(TypeError):
                self.node.high_eval(*arguments)

    def test_environments_have_parents(self):
        inner_id = uuid.uuid4()
        self.node.environments[inner_id] = Env({"y": THREE}, parent_id=self.env_id)
        self.assertTrue(self.node.env_set(self.env_id, "x", SUM.elements[0]))
        self.assertFalse(self.node.env_set(uuid.uuid4(), "x", THREE))
        self.assertEqual(self.node.env_get(inner_id, "x"), SUM.elements[0])
        self.assertIsNone(self.node.env_get(self.env_id, "y"))
        self.assertIsNone(self.node.env_get(uuid.uuid4(), "y"))
        value = self.node.high_eval_raw(parse_source("((x y (($0 $1 add) sk)) z def)"), inner_id)
        self.assertEqual(value, Expr.Bytes(b"\x04"))
        self.assertEqual(sorted(self.node.environments[inner_id].data), ["y", "z"])
        self.assertEqual(list(self.node.environments[self.env_id].data), ["x"])

    def test_parents_that_form_a_circle_end(self):
        other = uuid.uuid4()
        self.node.environments[other] = Env(parent_id=self.env_id)
        self.node.environments[self.env_id].parent_id = other
        self.assertIsNone(self.node.env_get(other, "x"))
        self.assertTrue(self.node.high_eval_raw(Expr.Symbol("x"), other).is_error)

    def test_meter_is_that_of_the_reference(self):
        meter = Meter(limit=3)
        self.assertEqual(self.node.high_eval_raw(SUM, None, meter), THREE)
        self.assertEqual(meter.used, 2)
        self.assertEqual(self.node.high_eval_raw(SUM, None, meter).error, ("low_eval", "meter limit"))
        self.assertEqual(meter.used, 2)
        off = Meter(enabled=False, limit=1)
        self.assertEqual(self.node.low_eval([b"\x01", b"\x02", b"add"], off), THREE)
        self.assertEqual(off.used, 0)

    def test_sources_that_are_not_one_expression_are_error_values(self):
        for source, message in [
            ("", "no expression provided"),
            ("(a", "parse error: expected ')'"),
            ("a b", "unexpected tokens after expression"),
        ]:
            self.assertEqual(self.node.script_eval(source).error, ("eval", message))

    def test_stored_lists_are_read_as_in_the_reference(self):
        head, atoms = bytes_list_to_atoms([b"a", b"b"])
        self.node.put_atoms(atoms)
        expected = Expr.ListExpr([Expr.Bytes(b"b"), Expr.Bytes(b"a")])
        self.assertEqual(self.node.get_expr_list_from_storage(head), expected)
        self.assertIsNone(self.node.get_expr_list_from_storage(b"\x01" * 32))

    def test_machine_of_a_node_has_its_atoms_and_limits(self):
        node = self.make_node({"eval_steps": 1000})
        atom_id = node.put_atom(Atom(b"x", AtomKind.BYTES))
        machine = node.machine()
        self.assertEqual(machine.get_atom(atom_id).data, b"x")
        self.assertEqual(machine.eval("(0 (($0 jump) sk))").outcome.limit, 1000)
        made = machine.eval('(1 "abc" (($0 $1 atom_new) sk))').value
        self.assertEqual(node.get_atom(made.value).data, b"abc")


class Storage(ScratchCase):
    def test_atoms_are_in_hot_and_cold_storage(self):
        path = self.scratch / "cold"
        atom = Atom(b"kept", AtomKind.BYTES)
        key = atom.object_id()
        node = self.make_node({"cold_storage_path": str(path)})
        self.assertIsNone(node.get_atom(key))
        self.assertEqual(node.put_atom(atom), key)
        for read in (
            node.get_atom,
            node.get_atom_from_local_storage,
            node.hot_storage_get,
            node._hot_storage_get,
            node.cold_storage_get,
        ):
            self.assertEqual(read(key), atom)
        other = Atom(b"cold alone", AtomKind.BYTES)
        self.assertTrue(node.cold_storage_set(other.object_id(), other))
        self.assertIsNone(node.hot_storage_get(other.object_id()))
        with self.assertRaisesRegex(AstreumError, "cold storage"):
            self.make_node({"cold_storage_path": str(path)})
        node.close()
        with self.assertRaisesRegex(AstreumError, "closed"):
            node.get_atom(key)
        again = self.make_node({"cold_storage_path": path})
        self.assertIsNone(again.hot_storage_get(key))
        self.assertEqual(again.get_atom(key), atom)
        self.assertEqual(again.get_atom(other.object_id()), other)

    def test_hot_storage_has_its_limit(self):
        node = self.make_node({"hot_storage_limit": 10_000})
        large = Atom(b"x" * 20_000, AtomKind.BYTES)
        self.assertFalse(node.hot_storage_set(large.object_id(), large))
        small = Atom(b"x", AtomKind.BYTES)
        self.assertTrue(node._hot_storage_set(key=small.object_id(), value=small))
        self.assertFalse(node.cold_storage_set(small.object_id(), small))
        with self.assertRaisesRegex(ValueError, "id of the atom"):
            node.hot_storage_set(b"\x01" * 32, small)

    def test_lists_are_read_whole_or_not_at_all(self):
        node = self.make_node()
        head, atoms = bytes_list_to_atoms([b"a", b"b", b"c"])
        for atom in atoms[:2]:
            node.put_atom(atom)
        self.assertIsNone(node.get_atom_list(head))
        node.put_atom(atoms[2])
        for read in (
            node.get_atom_list,
            node.get_atom_list_from_local_storage,
            node.get_atom_list_from_storage,
        ):
            self.assertEqual(read(head), atoms)

    def test_expressions_are_stored(self):
        node = self.make_node()
        self.assertEqual(Expr.from_atoms(node, node.put_expr(SUM)), SUM)

    def test_malformed_ids_are_refused(self):
        with self.assertRaises(ValueError):
            self.make_node().get_atom(b"short")
        with self.assertRaises(TypeError):
            self.make_node().get_atom("text")


class Advertisements(ScratchCase):
    def test_entries_are_kept_until_they_expire(self):
        node, later = self.make_node(), time.time() + 86_400
        a, b, c = (bytes([i]) * 32 for i in (1, 2, 3))
        node.add_atom_advertisement(a, 1)
        node.add_atom_advertisements([(b, 2, later), (c, 1, 1.0)])
        self.assertEqual(node.atom_advertisments, [(a, 1, None), (b, 2, later)])
        self.assertEqual(sorted(node._core.advertised()), [a, b])
        node.atom_advertisments.remove((a, 1, None))
        node.atom_advertisments.append((c, 2, None))
        self.assertEqual([entry[0] for entry in node.atom_advertisments], [b, c])
        self.assertEqual(sorted(node._core.advertised()), [b, c])
        node.atom_advertisments = [(a, 1, None)]
        self.assertEqual(node._core.advertised(), [a])
        node.atom_advertisments[0] = (b, 1, None)
        self.assertEqual(node._core.advertised(), [b])

    def test_malformed_entries_are_refused(self):
        node = self.make_node()
        for entry in ((b"short", 1, None), (b"\x01" * 32, 3, None), (b"\x01" * 32, 1, "x"), (1,)):
            with self.assertRaises(ValueError):
                node.add_atom_advertisements([entry])
        self.assertEqual(node.atom_advertisments, [])


class Network(ScratchCase):
    def test_atoms_are_fetched_from_another_node(self):
        alice, bob = self.make_node({**ALONE, "relay_secret_key": "11" * 32}), self.make_node(ALONE)
        atom = Atom(b"from alice", AtomKind.BYTES)
        alice.put_atom(atom)
        with alice, bob:
            alice.connect()
            bob.connect()
            bob.connect()
            self.assertTrue(alice.is_connected and bob.incoming_port)
            bob.contact("127.0.0.1", alice.incoming_port)
            deadline = time.monotonic() + TIMEOUT_SECONDS
            found = None
            while found is None and time.monotonic() < deadline:
                found = bob.get_atom(atom.object_id())
            self.assertEqual(found, atom)
            self.assertIn(alice.relay_public_key_bytes, bob.peers)
            value = bob.script_eval(f"(0x{atom.object_id().hex()} ref)")
            self.assertEqual(value, Expr.ListExpr([Expr.Bytes(b"from alice")]))
        self.assertFalse(alice.is_connected)
        self.assertIsNone(alice.incoming_port)

    def test_port_in_use_is_an_error(self):
        with self.make_node(ALONE) as first:
            first.connect()
            second = self.make_node({**ALONE, "incoming_port": first.incoming_port})
            with self.assertRaises(AstreumError):
                second.connect()
            self.assertFalse(second.is_connected)


if __name__ == "__main__":
    unittest.main()
