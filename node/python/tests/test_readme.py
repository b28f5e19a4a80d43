"""Every Python block of the README of `astreum` 0.3.71, and what its tables and text promise."""

import json
import re
import unittest
from pathlib import Path

import astreum
from support import HERE, ScratchCase

README = (HERE / "readme-0.3.71.txt").read_text(encoding="utf-8")


def block(first: str, last: str) -> str:
    """Returns the text of the README from one line to another."""
    start = README.index(first)
    return README[start : README.index(last, start) + len(last)] + "\n"


class Blocks(ScratchCase):
    def test_configuration_example_runs_unchanged(self):
        source = block("from astreum.node import Node\n\nconfig = {", "# … your code …")
        done = self.run_script(source + "print(node.config['incoming_port'], node.is_connected)\n")
        self.assertEqual(done.stdout, "52780 False\n")
        self.assertTrue((self.scratch / "data" / "node1").is_dir())
        # Its placeholders are not keys.
        self.assertIn("invalid value for relay_secret_key", done.stderr)
        self.assertNotIn("ab…cd", done.stderr.replace("\n", ""))

    def test_quickstart_prints_three(self):
        source = block("import uuid\nfrom astreum import Node, Env, Expr", "# [3]")
        self.assertEqual(self.run_script(source).stdout, "[3]\n")

    def test_error_handling_example_runs_unchanged(self):
        example = block("try:\n    tokens = tokenize(bad_source)", 'print("Parse failed:", e)')
        for bad_source, problem in [
            ('(a "b', "unterminated string"),
            ("(a", "expected ')'"),
            (")", "unexpected ')'"),
        ]:
            source = (
                "from astreum.machine import tokenize, parse\n"
                "from astreum.machine.error import ParseError\n"
                f"bad_source = {bad_source!r}\n" + example
            )
            output = self.run_script(source).stdout
            self.assertTrue(output.startswith("Parse failed:") and problem in output, output)

    def test_every_python_block_is_tested(self):
        # The page has no fences: blocks are recognized by lines that only Python has.
        imports = re.findall(r"^(?:from|import) .*$", README, re.MULTILINE)
        self.assertEqual(
            imports,
            ["from astreum.node import Node", "import uuid", "from astreum import Node, Env, Expr"],
        )
        self.assertEqual(len(re.findall(r"^try:$", README, re.MULTILINE)), 1)


class OwnReadme(ScratchCase):
    def test_python_blocks_print_what_their_comments_say(self):
        text = (HERE.parent / "README.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.assertEqual(len(blocks), 3)
        for source in blocks:
            expected = re.findall(r"print\(.*\)  # (.*)$", source, re.MULTILINE)
            self.assertTrue(expected)
            self.assertEqual(self.run_script(source).stdout.splitlines(), expected)


class Configuration(ScratchCase):
    #: Name, type and default in the rows of the README's tables.
    ROWS = re.findall(
        r"^([a-z0-9_]+) (int|string|float|bool|hex string|list\[str\]) (\S+) [A-Z]", README, re.MULTILINE
    )
    #: Values of each type that the keys accept.
    EXAMPLES = {"int": 7, "float": 1.5, "bool": False, "list[str]": ["127.0.0.1:7374"]}

    def example(self, name: str, kind: str):
        if kind == "hex string":
            return "ab" * 32
        if name == "cold_storage_path":
            return str(self.scratch / "cold")
        if name == "default_seed":
            return "127.0.0.1:7375"
        return 1 if name == "chain_id" else self.EXAMPLES[kind]

    def test_tables_are_read_whole(self):
        self.assertEqual(len(self.ROWS), 23)

    def test_defaults_are_those_of_the_tables(self):
        node = self.make_node({})
        for name, _, default in self.ROWS:
            if default == "Auto-generated":
                self.assertEqual(len(node.relay_public_key_bytes), 32)
                continue
            expected = {"None": None, "False": False, "[]": []}.get(default, default.strip('"'))
            if isinstance(expected, str) and re.fullmatch(r"[0-9.]+", expected):
                expected = float(expected)
            self.assertEqual(node.config[name], expected, name)

    def test_every_key_is_accepted_and_kept(self):
        for name, kind, _ in self.ROWS:
            value = self.example(name, kind)
            self.assertEqual(self.make_node({name: value}).config[name], value, name)

    def test_values_of_wrong_types_are_errors_that_name_the_key(self):
        for name, kind, _ in self.ROWS:
            for wrong in (object(), {"a": 1}, b"\xff\xfe"):
                with self.assertRaisesRegex(ValueError, name):
                    self.make_node({name: wrong})
            if kind in ("int", "float", "bool"):
                with self.assertRaisesRegex(ValueError, name):
                    self.make_node({name: "many"})
            if kind in ("int", "float"):
                with self.assertRaisesRegex(ValueError, name):
                    self.make_node({name: -1})

    def test_none_disables_the_default_seed(self):
        self.assertIsNone(self.make_node({"default_seed": None}).config["default_seed"])

    def test_unknown_keys_are_ignored_as_in_the_reference(self):
        self.assertEqual(self.make_node({"no_such_key": 1}).config["no_such_key"], 1)
        with self.assertRaisesRegex(ValueError, "default_seeds is no longer supported"):
            self.make_node({"default_seeds": []})

    def test_given_dictionary_is_not_changed(self):
        config = {"peer_timeout": "30"}
        self.assertEqual(self.make_node(config).config["peer_timeout"], 30)
        self.assertEqual(config, {"peer_timeout": "30"})

    def test_malformed_secret_key_is_an_error_when_it_is_used(self):
        with self.assertWarnsRegex(UserWarning, "validation_secret_key"):
            node = self.make_node({"validation_secret_key": "12…34"})
        with self.assertRaisesRegex(ValueError, "validation_secret_key"):
            node.connect()
        self.assertIsNone(node.incoming_port)

    def test_config_must_be_a_dictionary(self):
        with self.assertRaisesRegex(TypeError, "config must be a dictionary"):
            self.make_node(["hot_storage_limit"])


class Logging(ScratchCase):
    def test_log_is_where_the_readme_says_and_starts_with_the_banner(self):
        script = "from astreum import Node\nnode = Node()\nprint(node.log_dir)\n"
        directory = Path(self.run_script(script).stdout.strip())
        self.assertEqual(directory.parent, self.scratch / "state" / "Astreum" / "lib-py" / "logs")
        self.assertRegex(directory.name, r"^[0-9a-f]{16}$")
        lines = (directory / "node.log").read_text(encoding="utf-8").splitlines()
        events = [json.loads(line) for line in lines]
        self.assertEqual(events[0]["msg"], "Starting Astreum Node")
        self.assertEqual(events[0]["instance_id"], directory.name)

    def test_entry_points_have_logs_of_their_own(self):
        script = "from astreum import Node\nnode = Node()\nprint(node.log_dir)\n"
        names = {self.run_script(script, name=name).stdout for name in ("a.py", "b.py")}
        self.assertEqual(len(names), 2)

    def test_verbose_mirrors_the_log_to_stdout(self):
        output = self.run_script("from astreum import Node\nnode = Node({'verbose': True})\n").stdout
        self.assertRegex(output, r"\[info\] Starting Astreum Node")


class ImportPaths(unittest.TestCase):
    def test_paths_of_the_reference_name_the_same_objects(self):
        from astreum.machine import Env, Expr, Meter, ParseError, parse, tokenize
        from astreum.machine.error import ParseError as documented
        from astreum.machine.evaluations.high_evaluation import high_eval
        from astreum.machine.evaluations.low_evaluation import low_eval
        from astreum.machine.evaluations.script_evaluation import script_eval
        from astreum.machine.models.environment import Env as env
        from astreum.machine.models.expression import ZERO32, Expr as expr, error_expr
        from astreum.machine.models.meter import Meter as meter
        from astreum.machine.parser import ParseError as parser_error, parse as parser_parse
        from astreum.machine.tokenizer import tokenize as tokenizer_tokenize
        from astreum.storage.models.atom import Atom, AtomKind, bytes_list_to_atoms
        from astreum.storage.models.trie import Trie

        self.assertIs(documented, ParseError)
        self.assertIs(parser_error, ParseError)
        self.assertIs(env, Env)
        self.assertIs(expr, Expr)
        self.assertIs(meter, Meter)
        self.assertIs(parser_parse, parse)
        self.assertIs(tokenizer_tokenize, tokenize)
        self.assertTrue(all(map(callable, (high_eval, low_eval, script_eval, error_expr))))
        self.assertTrue(all((Atom, AtomKind, bytes_list_to_atoms, Trie, ZERO32)))

    def test_all_public_names_exist(self):
        for name in astreum.__all__:
            self.assertTrue(hasattr(astreum, name), name)


if __name__ == "__main__":
    unittest.main()
