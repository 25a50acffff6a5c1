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
    return _run(["-c", textwrap.dedent(code)], timeout, environment or {})


def run_script(path: Path, *arguments: str, timeout: float = 60) -> str:
    """The same for a file: what multiprocessing's spawn imports again has to be one."""
    return _run([str(path), *arguments], timeout, {})


def _run(command: list[str], timeout: float, environment: dict[str, str]) -> str:
    paths = [str(TESTS), *(path for path in sys.path if path)]
    result = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        check=False,
    )
    assert result.returncode == 0, f"exit status {result.returncode}\n{result.stdout}\n{result.stderr}"
    return result.stdout
