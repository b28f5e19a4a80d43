"""Type stubs: they are installed, and name what the native module has."""

import ast
import importlib.resources
import unittest

from astreum import _native


def names(body) -> dict[str, ast.stmt]:
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {item.name: item for item in body if isinstance(item, kinds)}


def public(names_) -> set[str]:
    return {name for name in names_ if not (name.startswith("__") and name.endswith("__"))}


class Stubs(unittest.TestCase):
    def setUp(self):
        package = importlib.resources.files("astreum")
        self.assertTrue(package.joinpath("py.typed").is_file())
        text = package.joinpath("_native.pyi").read_text(encoding="utf-8")
        self.stub = names(ast.parse(text).body)

    def test_stub_names_every_function_and_class(self):
        stub = {name for name in self.stub if name != "_HasGetAtom"}
        self.assertEqual(stub, public(dir(_native)))

    def test_stub_names_every_method_and_attribute(self):
        for name, item in self.stub.items():
            if isinstance(item, ast.ClassDef) and name not in ("AstreumError", "Suspend", "_HasGetAtom"):
                members = public(vars(getattr(_native, name)))
                self.assertEqual(public(names(item.body)), members, name)

    def test_stub_names_the_parameters(self):
        import inspect

        for name, item in self.stub.items():
            if isinstance(item, ast.FunctionDef):
                parameters = list(inspect.signature(getattr(_native, name)).parameters)
                self.assertEqual([argument.arg for argument in item.args.args], parameters, name)


if __name__ == "__main__":
    unittest.main()
