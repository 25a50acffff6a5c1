"""The `lstmfast` program for tests: inside this process, where that will do, or as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lstmfast.cli import main

COMMAND = [sys.executable, "-m", "lstmfast"]


class Ended(NamedTuple):
    """How a run ended."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what went wrong."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"not one line: {self.err!r}"
        assert lines[0].startswith("lstmfast: error: "), self.err
        return lines[0]


def inside(capsys: Any, *arguments: Any) -> Ended:
    """Run the command line in this process."""
    capsys.readouterr()
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = 0 if end.code is None else int(end.code)
    return Ended(status, *capsys.readouterr())


def environment(**changes: str) -> dict[str, str]:
    """That of a process which finds this lstmfast."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **changes}


def program(*arguments: Any, cwd: Path | None = None, timeout: float = 120, **changes: str) -> Ended:
    """Run the command line as a program."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=environment(**changes),
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def start(arguments: Sequence[Any], **options: Any) -> subprocess.Popen[str]:
    """Begin to run the command line as a program."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        **options,
    )
