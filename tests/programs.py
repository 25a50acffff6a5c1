"""Runs a piece of Python in a process of its own, where TensorFlow has never been imported."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

TESTS = Path(__file__).parent


def run_python(code: str, *, timeout: float = 60, environment: dict[str, str] | None = None) -> str:
    """What the code prints; fails with its stderr where it fails or takes longer than `timeout` seconds."""
    paths = [str(TESTS), *(path for path in sys.path if path)]
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})},
        check=False,
    )
    assert result.returncode == 0, f"exit status {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout
