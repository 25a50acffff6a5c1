"""How many threads an environment variable asks for, read as ../csrc/core/threads.c reads it."""

from __future__ import annotations

import os
import warnings

MOST_THREADS = 1024


def asked_threads(variable: str) -> int:
    """A usable number of threads in an environment variable, or 0."""
    first = os.environ.get(variable, "").split(",")[0].strip().removeprefix("+")
    is_number = first.isascii() and first.isdigit() and len(first.lstrip("0")) <= len(str(MOST_THREADS))
    number = int(first) if is_number else 0
    return number if number <= MOST_THREADS else 0


def check() -> None:
    """Warn of a value of LSTMFAST_NUM_THREADS that asks for no number of threads."""
    name = "LSTMFAST_NUM_THREADS"
    text = os.environ.get(name, "").strip()
    if text not in ("", "0") and not asked_threads(name):
        warnings.warn(
            f"{name}={text[:40]!r} is no whole number from 1 to {MOST_THREADS}: it is ignored, and the "
            "default number of threads is used.",
            RuntimeWarning,
            stacklevel=3,
        )
