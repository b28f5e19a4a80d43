"""Expressions, text, atoms and tries."""

import copy
import pickle
import unittest

from astreum import (
    ZERO32,
    Atom,
    AtomKind,
    Expr,
    ParseError,
    Trie,
    bytes_list_to_atoms,
    error_expr,
    parse,
    parse_all,
    parse_source,
    tokenize,
    verify_proof,
)
from support import ScratchCase

A, B = Expr.Symbol("a"), Expr.Bytes(b"\x01\x00")


class Expressions(unittest.TestCase):
    def test_variants_have_their_values(self):
        self.assertEqual(A.value, "a")
        self.assertEqual(B.value, b"\x01\x00")
        self.assertEqual(Expr.ListExpr([A, B]).elements, (A, B))
        self.assertEqual(Expr.Bytes(bytearray(b"x")).value, b"x")
        self.assertEqual(Expr.ListExpr(iter([])).elements, ())
        self.assertIsInstance(A, Expr)
        self.assertNotIsInstance(A, Expr.Bytes)

    def test_equality_is_structural_and_agrees_with_hash(self):
        same = Expr.ListExpr([Expr.Symbol("a"), Expr.Bytes(b"\x01\x00")])
        self.assertEqual(Expr.ListExpr([A, B]), same)
        self.assertEqual(hash(Expr.ListExpr([A, B])), hash(same))
        self.assertNotEqual(Expr.Symbol("a"), Expr.Bytes(b"a"))
        self.assertNotEqual(A, "a")
        self.assertEqual(len({A, Expr.Symbol("a"), B}), 2)

    def test_repr_is_that_of_the_reference(self):
        expr = Expr.ListExpr([A, B, Expr.ListExpr([]), Expr.Bytes(b""), Expr.Bytes(b"\xff" * 9)])
        self.assertEqual(repr(expr), "(a 256 () 0 4722366482869645213695)")
        number = bytes(range(1, 200))
        self.assertEqual(repr(Expr.Bytes(number)), str(int.from_bytes(number, "big")))

    def test_source_form_parses_as_the_same_expression(self):
        expr = Expr.ListExpr([A, B, Expr.Bytes(b"hello"), Expr.ListExpr([])])
        self.assertEqual(parse_source(expr.to_source()), expr)

    def test_pickle_and_copy_keep_the_expression(self):
        deep = Expr.ListExpr([])
        for _ in range(50_000):
            deep = Expr.ListExpr([deep])
        shared = Expr.Bytes(b"x")
        for _ in range(60):
            shared = Expr.ListExpr([shared, shared])
        for expr in (A, B, Expr.ListExpr([A, B]), deep, shared):
            self.assertEqual(pickle.loads(pickle.dumps(expr)), expr)
            self.assertEqual(copy.deepcopy(expr), expr)

    def test_other_types_are_refused(self):
        for make in (
            lambda: Expr.ListExpr([1]),
            lambda: Expr.ListExpr(5),
            lambda: Expr.Symbol(b"a"),
            lambda: Expr.Bytes("a"),
            lambda: Expr(),
        ):
            with self.assertRaises(TypeError):
                make()
        with self.assertRaises(AttributeError):
            A.value = "b"

    def test_repr_of_a_list_with_2_to_the_60_items_is_cut_off(self):
        shared = A
        for _ in range(60):
            shared = Expr.ListExpr([shared, shared])
        self.assertTrue(repr(shared).endswith("…"))

    def test_patterns_match_the_variants(self):
        match Expr.ListExpr([A]):
            case Expr.ListExpr((Expr.Symbol(name),)):
                self.assertEqual(name, "a")
            case other:
                self.fail(other)

    def test_errors_are_recognized(self):
        error = error_expr("eval", "arity mismatch")
        self.assertTrue(error.is_error)
        self.assertEqual(error.error, ("eval", "arity mismatch"))
        self.assertIsNone(A.error)

    def test_atoms_form_the_expression_again(self):
        expr = Expr.ListExpr([A, B, Expr.ListExpr([])])
        head, atoms = expr.to_atoms()
        self.assertEqual(head, expr.id)
        self.assertEqual(Expr.to_atoms(expr)[0], expr.generate_id())

        class Store:
            found = {atom.object_id(): atom for atom in atoms}

            def get_atom(self, atom_id):
                return self.found.get(atom_id)

        self.assertEqual(Expr.from_atoms(Store(), head), expr)
        with self.assertRaises(ValueError):
            Expr.from_atoms(Store(), b"\x01" * 32)
        with self.assertRaises(TypeError):
            Expr.from_atoms(object(), head)

        class Broken:
            def get_atom(self, atom_id):
                raise LookupError("disk")

        with self.assertRaisesRegex(LookupError, "disk"):
            Expr.from_atoms(Broken(), head)


class Text(unittest.TestCase):
    def test_tokens_are_parsed_one_expression_at_a_time(self):
        tokens = tokenize('(a 1 ; note\n "x y") b')
        self.assertEqual(tokens, ["(", "a", "1", '"x y"', ")", "b"])
        expr, rest = parse(tokens)
        self.assertEqual(expr, Expr.ListExpr([A, Expr.Bytes(b"\x01"), Expr.Bytes(b"x y")]))
        self.assertEqual(rest, ["b"])

    def test_hand_made_tokens_are_symbols_as_in_the_reference(self):
        for token in ("a b", "a;b", "", "a(b", "#;"):
            self.assertEqual(parse([token])[0], Expr.Symbol(token))

    def test_errors_have_positions(self):
        source = "(λ\n  b))"
        with self.assertRaises(ParseError) as caught:
            parse_source(source)
        error = caught.exception
        self.assertEqual((error.offset, error.line, error.column), (7, 2, 5))
        self.assertTrue(error.snippet.endswith("^"))
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((str(again), again.offset), (str(error), 7))

    def test_all_expressions_of_a_source_are_parsed(self):
        self.assertEqual(parse_all("a a"), [A, A])
        self.assertEqual(parse_all(""), [])

    def test_deep_nesting_is_parsed(self):
        depth = 100_000
        expr = parse_source("(" * depth + ")" * depth)
        self.assertEqual(parse(["("] * depth + [")"] * depth)[0], expr)


class Atoms(unittest.TestCase):
    def test_atom_has_the_api_of_the_reference(self):
        atom = Atom(data=b"abc", kind=AtomKind.SYMBOL, next_id=b"\x07" * 32)
        self.assertEqual((atom.data, atom.size, atom.next_id), (b"abc", 3, b"\x07" * 32))
        self.assertIs(atom.kind, AtomKind.SYMBOL)
        self.assertEqual(atom.to_bytes(), b"\x07" * 32 + b"\x00abc")
        self.assertEqual(Atom.from_bytes(atom.to_bytes()), atom)
        self.assertEqual(atom.object_id(), atom.generate_id())
        self.assertEqual(pickle.loads(pickle.dumps(atom)), atom)
        self.assertEqual(Atom(b"", AtomKind.BYTES).next_id, ZERO32)

    def test_malformed_atoms_are_refused(self):
        for make in (
            lambda: Atom(b"", 3),
            lambda: Atom(b"", AtomKind.BYTES, b"short"),
            lambda: Atom.from_bytes(b"short"),
            lambda: Atom.from_bytes(b"\x00" * 32 + b"\x09"),
        ):
            with self.assertRaises(ValueError):
                make()

    def test_values_become_a_list(self):
        head, atoms = bytes_list_to_atoms([b"a", b"b"])
        self.assertEqual(head, atoms[0].object_id())
        self.assertEqual(atoms[0].next_id, atoms[1].object_id())
        self.assertEqual(bytes_list_to_atoms([]), (ZERO32, []))


class Tries(ScratchCase):
    def test_trie_keeps_values_and_proves_them(self):
        node, trie = self.make_node(), Trie()
        self.assertIsNone(trie.root_hash)
        pairs = {bytes([i, 255 - i]): b"value %d" % i for i in range(40)}
        for key, value in pairs.items():
            trie.put(node, key, value)
        root = trie.commit(node)
        self.assertEqual(root, trie.root_hash)
        self.assertEqual(trie.get_all(node), pairs)
        opened = Trie(root)
        key = bytes([7, 248])
        self.assertEqual(opened.get(node, key), b"value 7")
        proof = opened.prove(node, key)
        self.assertEqual(verify_proof(root, key, proof), b"value 7")
        self.assertIsNone(verify_proof(root, b"absent", opened.prove(node, b"absent")))
        with self.assertRaises(ValueError):
            verify_proof(root, key, proof[:-1])
        opened.put(node, key, b"")
        self.assertIsNone(opened.get(node, key))

    def test_missing_nodes_are_key_errors(self):
        with self.assertRaises(KeyError):
            Trie(b"\x05" * 32).get(self.make_node(), b"a")
        with self.assertRaises(KeyError):
            Trie(b"\x05" * 32).put(None, b"a", b"b")


if __name__ == "__main__":
    unittest.main()
