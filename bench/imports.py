"""What a runner costs before its first number: time to import it beyond NumPy, and the size of its package.

`import lstmfast` leaves nearly all of the package for when it is used, so it is all of its names that are timed; the
other packages import what they import.

    python -m bench.imports    # lstmfast alone, both ways
"""

import importlib.util
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.peers import Peer

_REPEATS = 5
_LONG = 1.0  # seconds: what takes longer is timed once
_SCRIPT = "import time, numpy\nstart = time.perf_counter()\n{statement}\nprint(time.perf_counter() - start)"
_STATEMENTS = {"lstmfast": "from lstmfast import *"}


def _package(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    folders = list(spec.submodule_search_locations or []) if spec else []
    return Path(folders[0]) if folders else None


def _megabytes(folder: Path) -> float:
    """The package's folder and the libraries that a wheel puts beside it, without bytecode and dependencies."""
    beside = folder.with_name(f"{folder.name}.libs")
    files = [path for top in (folder, beside) for path in top.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return sum(path.stat().st_size for path in files) / 1e6


def measure(peers: list[Peer]) -> dict[str, dict[str, Any]]:
    """{module: {"milliseconds", "megabytes"}}, the files warm in the system's cache."""
    found = {}
    for peer in peers:
        if peer.module in found or peer.module == "numpy":
            continue
        statement = _STATEMENTS.get(peer.module, f"import {peer.module}")
        milliseconds, folder = _median(statement, peer.environment(1, None)), _package(peer.module)
        if milliseconds is not None and folder:
            found[peer.module] = {"milliseconds": milliseconds, "megabytes": _megabytes(folder)}
    return found


def _median(statement: str, environment: dict[str, str], repeats: int = _REPEATS) -> float | None:
    """Milliseconds of a statement in fresh processes that have NumPy; None where it fails."""
    command = [sys.executable, "-c", _SCRIPT.format(statement=statement)]
    environment = os.environ | environment
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed comes with its bytecode
    seconds = []
    for _ in range(repeats + 1):
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if run.returncode != 0:
            return None
        seconds.append(float(run.stdout.split()[-1]))
        if len(seconds) > 1 and seconds[-1] > _LONG:
            break
    return 1e3 * statistics.median(seconds[1:])  # the first one fills the cache


def main() -> None:
    for statement in ("import lstmfast", *_STATEMENTS.values()):
        milliseconds = _median(statement, {}, repeats=21)
        if milliseconds is None:
            sys.exit(f"'{statement}' failed: is lstmfast installed?")
        print(f"{statement:<24}{milliseconds:6.1f} ms beyond NumPy")


if __name__ == "__main__":
    main()
