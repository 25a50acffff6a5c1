"""The Pythons of this machine that wheels are made for and tried with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

VERSIONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.14t"]  # t: without the GIL
_ASK = "import sys; print('{}.{}{}'.format(*sys.version_info[:2], sys.abiflags))"


def _is(python: Path, version: str) -> bool:
    try:  # a shim may be there with no Python behind it
        run = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return run.returncode == 0 and run.stdout.strip() == version


def find(versions: Sequence[str]) -> dict[str, Path]:
    """{version: interpreter} of those on PATH or below pyenv's folder; SystemExit where none is there."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = {}
    for version in versions:
        on_path = shutil.which(f"python{version}")
        places = [Path(on_path)] if on_path else []
        places += sorted(pyenv.glob(f"{version.rstrip('t')}.*/bin/python3"))
        for python in places:
            if _is(python, version):
                found[version] = python
                break
        else:
            print(f"Python {version}: not found, left out", file=sys.stderr)
    if versions and not found:
        raise SystemExit(f"none of the Pythons {', '.join(versions)} is on PATH or below {pyenv}")
    return found
