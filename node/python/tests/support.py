"""Helpers of the tests: scripts in processes of their own, and scratch directories."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from astreum import Node

HERE = Path(__file__).resolve().parent
#: Generous, because a test must not depend on the speed of the machine.
TIMEOUT_SECONDS = 300


class ScratchCase(unittest.TestCase):
    """Test case whose state and logs are in a scratch directory."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = Path(scratch.name)
        before = os.environ.get("XDG_STATE_HOME")
        os.environ["XDG_STATE_HOME"] = str(self.scratch / "state")

        def restore() -> None:
            if before is None:
                os.environ.pop("XDG_STATE_HOME", None)
            else:
                os.environ["XDG_STATE_HOME"] = before

        self.addCleanup(restore)

    def make_node(self, config=None) -> Node:
        """Creates a node that is closed before its directory is removed."""
        node = Node(config)
        self.addCleanup(node.close)
        return node

    def run_script(self, source: str, *, name: str = "script.py") -> subprocess.CompletedProcess:
        """Runs a script in the scratch directory; fails if it does."""
        path = self.scratch / name
        path.write_text(source, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(path)],
            cwd=self.scratch,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
            timeout=TIMEOUT_SECONDS,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done
