"""Tries every wheel of a folder in a virtual environment of its own, which holds NumPy and h5py beside it.

    python packaging/check_wheel.py [--out dist] [--python 3.12 ...]

Per Python: install, see that nothing else came along, run a first model and the command, then the tests that need no
TensorFlow, which hold the wheel against committed outputs of Keras.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pythons

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {"lstmfast", "numpy", "h5py", "pip", "setuptools"}
OF_THE_TESTS = ["test_fuzz.py", "test_harness.py"]  # hold the tests' own tools, whatever the wheel
TEST_TOOLS = ["pytest", "pytest-timeout", "hypothesis", "threadpoolctl"]
SMOKE = """
import pathlib, sys
import numpy as np
import lstmfast
assert "h5py" not in sys.modules, "`import lstmfast` imports h5py"
assert "t" not in sys.abiflags or not sys._is_gil_enabled(), "`import lstmfast` switches the GIL on"
assert sys.prefix in lstmfast.__file__, lstmfast.__file__
golden = pathlib.Path(sys.argv[1])
for suffix in ("keras", "h5", "tf_keras.h5"):
    model = lstmfast.load_model(golden / f"stacked-relu.{suffix}")
    x = np.linspace(-1, 1, np.prod((3, *model.input_shape[1:]), dtype=int)).reshape(3, *model.input_shape[1:])
    with lstmfast.threads(2):
        y = model.predict(x.astype("float32"), verbose=0)
    assert np.isfinite(y).all() and np.array_equal(y[1:2], model.predict(x[1:2].astype("float32"), verbose=0))
lstmfast.show_config()
"""


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LSTMFAST_", "LD_"))}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def run(*command: str | Path, folder: Path, output: bool = False) -> str:
    stdout = subprocess.PIPE if output else None
    return subprocess.run(command, cwd=folder, env=environment(), check=True, text=True, stdout=stdout).stdout or ""


def wheel_for(out: Path, version: str) -> Path:
    abi = "cp" + version.replace(".", "")
    wheels = sorted(out.glob(f"lstmfast-*-{abi.rstrip('t')}-{abi}-*.whl"))
    if len(wheels) != 1:
        raise SystemExit(f"{out} holds {len(wheels)} wheels for Python {version}, expected 1: run `make wheel`")
    return wheels[0]


def check(version: str, interpreter: Path, wheel: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run(interpreter, "-m", "venv", "venv", folder=folder)
        python = folder / "venv/bin/python"
        install = (python, "-m", "pip", "install", "--quiet", "--only-binary=:all:")
        run(*install, wheel, folder=folder)
        listed = json.loads(run(python, "-m", "pip", "list", "--format=json", folder=folder, output=True))
        if extra := {package["name"] for package in listed} - ALLOWED:
            raise SystemExit(f"{wheel.name} brought {', '.join(sorted(extra))} along")
        run(python, "-c", SMOKE, ROOT / "tests/golden", folder=folder)
        run(folder / "venv/bin/lstmfast", "--version", folder=folder)
        run(*install, *TEST_TOOLS, folder=folder)
        # Not the repository's own folder: there the tests would find the sources in place of the wheel.
        ignored = shutil.ignore_patterns("__pycache__", *OF_THE_TESTS)
        shutil.copytree(ROOT / "tests", folder / "tests", ignore=ignored)
        options = ["-q", "-rfE", "--tb=short", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml"]
        run(python, "-m", "pytest", *options, "--rootdir", folder, "tests", folder=folder)
    print(f"Python {version}: {wheel.name} holds", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=pythons.VERSIONS, help="versions; those not found are left out")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    # What a shell runs in the background ignores Ctrl-C, and so would the programs that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failed = []
    for version, interpreter in pythons.find(options.python).items():
        try:
            check(version, interpreter, wheel_for(options.out.resolve(), version))
        except subprocess.CalledProcessError as error:
            print(f"Python {version}: {error}", file=sys.stderr, flush=True)
            failed.append(version)
    if failed:
        raise SystemExit(f"the wheels of Python {', '.join(failed)} failed")


if __name__ == "__main__":
    main()
