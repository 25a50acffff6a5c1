"""What a runner costs before its first number: time to import it beyond NumPy, and the size of its package."""

import importlib.util
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.peers import Peer

_REPEATS = 5
_SCRIPT = "import time, numpy\nstart = time.perf_counter()\nimport {module}\nprint(time.perf_counter() - start)"


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
        command = [sys.executable, "-c", _SCRIPT.format(module=peer.module)]
        environment = os.environ | peer.environment(1, None)
        seconds = []
        for _ in range(_REPEATS + 1):
            run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if run.returncode != 0:
                break
            seconds.append(float(run.stdout.split()[-1]))
        folder = _package(peer.module)
        if len(seconds) > _REPEATS and folder:
            median = statistics.median(seconds[1:])  # the first one fills the cache
            found[peer.module] = {"milliseconds": 1e3 * median, "megabytes": _megabytes(folder)}
    return found
