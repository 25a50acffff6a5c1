"""How many threads the core uses, and what it runs on.

Next: _core.pyi.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from lstmfast import _core
from lstmfast._environment import MOST_THREADS
from lstmfast._version import __version__


def get_num_threads() -> int:
    """The number of threads that a call may use."""
    return _core.get_num_threads()


def set_num_threads(threads: int | None) -> None:
    """Let every call of the process use at most ``threads`` threads; None or 0 returns to the default.

    The default is LSTMFAST_NUM_THREADS or, where that is not set, the smallest of OMP_NUM_THREADS, the processors that
    the affinity of the process allows, and the CPU quota of its container.

    Raises
    ------
    ValueError
        If it is negative.
    TypeError
        If it is no integer.
    """
    _set_num_threads(threads)


def _set_num_threads(threads: int | None) -> int:
    """The same; returns what was set before."""
    if threads is None:
        threads = 0
    if isinstance(threads, bool) or not hasattr(threads, "__index__"):
        raise TypeError(f"The number of threads must be an integer, got {threads!r}.")
    threads = threads.__index__()
    if threads < 0:
        raise ValueError(f"The number of threads must not be negative, got {threads}.")
    if threads > MOST_THREADS:
        raise ValueError(f"The number of threads must not be larger than {MOST_THREADS}, got {threads}.")
    return _core.set_num_threads(threads)


@contextlib.contextmanager
def threads(number: int | None) -> Iterator[None]:
    """Use at most ``number`` threads inside the ``with`` block; the setting is the whole process's.

    Examples
    --------
    >>> import lstmfast
    >>> with lstmfast.threads(1):
    ...     lstmfast.get_num_threads()
    1
    """
    before = _set_num_threads(number)
    try:
        yield
    finally:
        _core.set_num_threads(before)


def config() -> dict[str, Any]:
    """What `show_config` prints, as a dict."""
    import os
    import platform
    import sys

    import numpy

    return {
        "lstmfast": __version__,
        "isa": _core.isa(),
        "isas available": list(_core.available_isas()),
        "threads": _core.get_num_threads(),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": sys.version.split()[0],
        "numpy": numpy.__version__,
        "environment": {
            name: os.environ[name]
            for name in ("LSTMFAST_ISA", "LSTMFAST_NUM_THREADS", "OMP_NUM_THREADS")
            if name in os.environ
        },
    }


def show_config() -> None:
    """Print the version, the instruction set in use and those available, the threads and the environment."""
    for name, value in config().items():
        if isinstance(value, list):
            value = ", ".join(value)
        elif isinstance(value, dict):
            value = ", ".join(f"{key}={item}" for key, item in value.items()) or "-"
        print(f"{name:>15}: {value}")
