"""`lstmfast config`: what lstmfast found on this machine.

Next: ../runtime.py.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os

from lstmfast import runtime
from lstmfast._environment import asked_threads
from lstmfast.commands import DONE

_LIBRARIES = ("h5py", "keras", "tensorflow", "tf_keras", "onnxruntime", "matplotlib")


def run(options: argparse.Namespace) -> int:
    """Print it as text or JSON."""
    libraries = {name: version(name) for name in _LIBRARIES}
    if options.json:
        print(json.dumps({**runtime.config(), "threads from": threads_source(), "libraries": libraries}, indent=2))
        return DONE
    runtime.show_config()
    print(f"{'threads from':>15}: {threads_source()}")
    for name, found in libraries.items():
        print(f"{name:>15}: {found or 'not installed'}")
    return DONE


def version(distribution: str) -> str | None:
    """Version of an installed distribution; it is not imported."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def threads_source() -> str:
    """Where the default number of threads comes from."""
    threads = runtime.get_num_threads()
    if asked_threads("LSTMFAST_NUM_THREADS"):
        return "LSTMFAST_NUM_THREADS"
    cores = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    if asked_threads("OMP_NUM_THREADS") == threads and threads < allowed:
        return "OMP_NUM_THREADS"
    if threads < allowed:
        return "the CPU quota of the container"
    return "the affinity of the process" if allowed < cores else "the processors of the machine"
