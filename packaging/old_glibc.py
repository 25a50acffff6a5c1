"""A folder to link against, so that what gcc compiles here runs on glibc 2.17 and newer (manylinux2014).

    folder = old_glibc.make(Path("build/glibc-2.17"))

Symbols of glibc are bound to a version when they are linked. Zig carries the list of them for every glibc and makes
libraries of it that hold names and no code; gcc takes those before its own. The GNU OpenMP runtime that goes into the
wheel comes from a Debian old enough, for that of this machine needs this machine's glibc.
Next: make_wheel.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

GLIBC = "2.17"
PLATFORM = "manylinux2014_x86_64"
STUBS = ("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libc_nonshared.a")
LIBC_SCRIPT = "GROUP ( libc.so.6 libpthread.so.0 libc_nonshared.a )\n"

# Debian 11's: it names no glibc above 2.17, and the regions of gcc 12 need nothing newer of it.
GOMP_SUITE, GOMP_PACKAGE = "bullseye", "libgomp1=10.2.1-6"
GOMP_SHA256 = "e80b85fef97ff22f2ce71b5438ba6effada3d635498336d836df95647f7325b9"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Missing(RuntimeError):
    """What a folder for the old glibc needs is not to be had here."""


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (environment or {}))
    if run.returncode != 0:
        raise Missing(f"{' '.join(command[:4])} ... failed: {run.stderr.strip() or run.stdout.strip()}")
    return run.stdout


def _make_stubs(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "empty.c")
        source.write_text("int lstmfast_nothing;\n")
        target = f"x86_64-linux-gnu.{GLIBC}"
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-shared", str(source)]
        _run(*command, "-o", f"{scratch}/empty.so", environment={"ZIG_GLOBAL_CACHE_DIR": scratch})
        for name in STUBS:
            found = sorted(Path(scratch).glob(f"o/*/{name}"))
            if not found:
                raise Missing(f"zig made no {name}")
            shutil.copy(found[0], folder / name)
    for name in STUBS[1:4]:
        shutil.copy(folder / name, folder / f"{name.split('.so')[0]}.so")
    (folder / "libc.so").write_text(LIBC_SCRIPT)


def _debian_archive() -> str:
    """Where this machine gets its Debian packages."""
    for line in _run("apt-get", "indextargets", "--format", "$(REPO_URI)").split():
        if line.rstrip("/").endswith("/debian"):
            return line
    raise Missing("this machine has no Debian archive to get libgomp from")


def _fetch_gomp(folder: Path) -> None:
    """Debian's package, checked by apt against Debian's key, then by its own hash."""
    if not shutil.which("apt-get") or not KEYRING.is_file():
        raise Missing("no apt-get with Debian's keys")
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        top.chmod(0o755)
        for part in ("lists/partial", "cache/archives/partial", "unpacked"):
            (top / part).mkdir(parents=True)
        (top / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_debian_archive()} {GOMP_SUITE} main\n")
        (top / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{top}/sources.list";\nDir::Etc::sourceparts "-";\n'
            f'Dir::State::lists "{top}/lists";\nDir::Cache "{top}/cache";\nAPT::Architecture "amd64";\n'
        )
        environment = {"APT_CONFIG": f"{top}/apt.conf"}
        _run("apt-get", "update", environment=environment)
        _run("sh", "-c", f'cd "{top}" && apt-get download {GOMP_PACKAGE}', environment=environment)
        (package,) = top.glob("*.deb")
        _run("dpkg-deb", "-x", str(package), str(top / "unpacked"))
        (library,) = (top / "unpacked").rglob("libgomp.so.1.0.0")
        found = hashlib.sha256(library.read_bytes()).hexdigest()
        if found != GOMP_SHA256:
            raise Missing(f"libgomp has the hash {found}, expected {GOMP_SHA256}")
        shutil.copy(library, folder / "libgomp.so.1")
    shutil.copy(folder / "libgomp.so.1", folder / "libgomp.so")


def make(folder: Path) -> tuple[Path, Path]:
    """The folders (stubs of glibc, OpenMP runtime) below ``folder``, made where they are missing.

    Raises `Missing` where Zig, or apt with a Debian archive, is not to be had.
    """
    folder = folder.resolve()
    for name, fill in (("glibc", _make_stubs), ("openmp", _fetch_gomp)):
        if (folder / name).is_dir():
            continue
        unfinished = folder / f"{name}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        fill(unfinished)
        unfinished.rename(folder / name)
    return folder / "glibc", folder / "openmp"


if __name__ == "__main__":
    print(*make(Path(sys.argv[1] if len(sys.argv) > 1 else f"build/glibc-{GLIBC}")))
