"""Public conformance cases of language, atoms and tries, through the module."""

import json
import unittest
from pathlib import Path

from astreum import Atom, AtomKind, Env, Expr, LimitExceeded, Limits, Machine, Trie
from astreum import bytes_list_to_atoms
from astreum import parse, tokenize
from support import HERE, ScratchCase

VECTORS = HERE.parents[2] / "tests" / "vectors"
HEX = bytes.fromhex


def to_json(expr):
    match expr:
        case Expr.Symbol(name):
            return {"sym": name}
        case Expr.Bytes(value):
            return {"bytes": value.hex()}
        case Expr.ListExpr(items):
            return {"list": [to_json(item) for item in items]}


def from_json(value):
    if "sym" in value:
        return Expr.Symbol(value["sym"])
    if "bytes" in value:
        return Expr.Bytes(HEX(value["bytes"]))
    return Expr.ListExpr([from_json(item) for item in value["list"]])


def machine(given):
    limit = given.get("limit")
    limits = Limits(**given["limits"]) if "limits" in given else None
    made = Machine(limits=limits, meter_limit=None if limit is None else max(limit, 0))
    for atom in given.get("atoms", []):
        made.put_atom(Atom.from_bytes(HEX(atom)))
    return made


def result(given, evaluation):
    found = {"expr": to_json(evaluation.value), "used": evaluation.used}
    if "limits" in given:
        found["steps"] = evaluation.steps
        match evaluation.outcome:
            case LimitExceeded(kind, limit, used):
                found["outcome"] = {"limit": kind, "max": limit, "used": used}
            case _:
                found["outcome"] = "finished"
    return found


class Store:
    def __init__(self, atoms):
        self.atoms = {atom.object_id(): atom for atom in map(Atom.from_bytes, map(HEX, atoms))}

    def get_atom(self, atom_id):
        return self.atoms.get(atom_id)


class Cases(ScratchCase):
    def setUp(self):
        super().setUp()
        self.node = self.make_node()

    def check(self, op, answer, suffix="", count=60):
        path = VECTORS / f"{op}{suffix}.jsonl"
        # Not `splitlines`, which also splits at separators within the strings.
        lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
        self.assertEqual(len(lines), count)
        for line in lines:
            case = json.loads(line)
            with self.subTest(case["id"]):
                self.assertEqual(case["op"], op)
                if "error" in case["out"]:
                    with self.assertRaises(ValueError):
                        answer(case["in"])
                else:
                    self.assertEqual(answer(case["in"]), case["out"])

    def test_tokenize(self):
        self.check("tokenize", lambda given: {"tokens": tokenize(given["source"])})

    def test_parse(self):
        def answer(given):
            expr, rest = parse(tokenize(given["source"]))
            return {"expr": to_json(expr), "rest": rest}

        self.check("parse", answer)

    def test_eval(self):
        def answer(given):
            env = Env({name: from_json(value) for name, value in given["env"].items()})
            try:
                return result(given, machine(given).eval(given["source"], env))
            except ValueError:
                # A source that is not one expression: the node's entry has an error value.
                return {"expr": to_json(self.node.script_eval(given["source"])), "used": 0}

        self.check("eval", answer)
        self.check("eval", answer, "_limits", 173)

    def test_low_eval(self):
        def answer(given):
            return result(given, machine(given).run([HEX(token) for token in given["code"]]))

        self.check("low_eval", answer)
        self.check("low_eval", answer, "_limits", 101)

    def test_atom(self):
        def answer(given):
            atom = Atom(HEX(given["data"]), AtomKind(given["kind"]), HEX(given["next"]))
            return {"id": atom.object_id().hex(), "bytes": atom.to_bytes().hex()}

        self.check("atom", answer)

    def test_atom_decode(self):
        def answer(given):
            atom = Atom.from_bytes(HEX(given["bytes"]))
            return {"kind": atom.kind, "data": atom.data.hex(), "next": atom.next_id.hex()}

        self.check("atom_decode", answer)

    def test_bytes_list(self):
        def answer(given):
            head, atoms = bytes_list_to_atoms([HEX(value) for value in given["values"]])
            return {"id": head.hex(), "atoms": [atom.to_bytes().hex() for atom in atoms]}

        self.check("bytes_list", answer)

    def test_expr_atoms(self):
        def answer(given):
            head, atoms = from_json(given["expr"]).to_atoms()
            return {"id": head.hex(), "atoms": [atom.to_bytes().hex() for atom in atoms]}

        self.check("expr_atoms", answer)

    def test_expr_from_atoms(self):
        def answer(given):
            return {"expr": to_json(Expr.from_atoms(Store(given["atoms"]), HEX(given["id"])))}

        self.check("expr_from_atoms", answer)

    def test_trie(self):
        def answer(given):
            root = None
            for key, value in given["puts"]:
                trie = Trie(root)
                trie.put(self.node, HEX(key), HEX(value))
                root = trie.commit(self.node)
            values = [Trie(root).get(self.node, HEX(key)) for key in given["gets"]]
            return {
                "root": None if root is None else root.hex(),
                "values": [None if value is None else value.hex() for value in values],
            }

        self.check("trie", answer)


if __name__ == "__main__":
    unittest.main()
