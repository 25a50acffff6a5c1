"""Builds the sdist and a wheel in two unpacked copies of an sdist, in different folders, and compares their bytes.

python packaging/check_reproducible.py [--python 3.12]
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import make_wheel


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def unpack(sdist: Path, folder: Path) -> Path:
    """The sources, beside the libraries to link against that the repository has already."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    (root / "build").mkdir()
    libraries = make_wheel.LIBRARIES.relative_to(make_wheel.ROOT)
    (root / libraries).symlink_to(make_wheel.LIBRARIES)
    return root


def build(root: Path, python: str, settings: dict[str, str]) -> dict[str, str]:
    out = root.parent / "out"
    command = [sys.executable, str(root / "packaging" / "make_wheel.py"), "--python", python, "--out", str(out)]
    subprocess.run(command, check=True, env=settings, stdout=subprocess.DEVNULL)
    return hashes(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default="{}.{}".format(*sys.version_info))
    options = parser.parse_args()
    settings = make_wheel.environment()
    make_wheel.LIBRARIES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        sdist = make_wheel.make_sdist(Path(scratch), settings)
        first, second = (build(unpack(sdist, Path(scratch, name)), options.python, settings) for name in "ab")
    for name in sorted(first | second):
        print(f"{first.get(name, '-'):64}  {name}")
    if first != second:
        differing = ", ".join(name for name in sorted(first | second) if first.get(name) != second.get(name))
        raise SystemExit(f"two builds of the same sources differ: {differing}")


if __name__ == "__main__":
    main()
