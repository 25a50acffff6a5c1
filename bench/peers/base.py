"""What a runner of cases must offer; one file per runner beside this one, `worker.py` calls it in its own process."""

import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bench.cases import Case

# LSTMFAST_ISA's names in the words of ONEDNN_MAX_CPU_ISA and of XLA's own limit.
ONEDNN_ISA = {"avx2": "AVX2", "generic": "SSE41"}
XLA_ISA = {"avx2": "AVX2", "generic": "SSE4_2"}


class Prepared(NamedTuple):
    """A case made ready: `call` is what is timed, `result` gives what it computes in Keras's layout.

    In a stream case a call takes one step, with the state kept between calls; `result` runs all steps from zero state.
    """

    call: Callable[[], Any]
    result: Callable[[], np.ndarray]


class Peer:
    """One runner: imports its library only inside `prepare`, after `environment` has been set."""

    name: str  # as on the command line
    title: str  # as in tables and charts
    module: str  # what must be importable
    distribution: str  # whose version is recorded
    kinds = ("layer", "gru", "model", "mixed", "stream")  # kinds of cases that it has an entry for
    ours = False  # lstmfast itself: compared, not compared with
    held_to_isa = True  # can be held to an older instruction set

    def available(self) -> bool:
        """Whether the library is installed."""
        return importlib.util.find_spec(self.module) is not None

    def version(self) -> str:
        """Version of the library."""
        return importlib.metadata.version(self.distribution)

    def environment(self, threads: int, isa: str | None) -> dict[str, str]:
        """Environment variables that hold the library to a thread count and an instruction set."""
        del isa
        return {"OMP_NUM_THREADS": str(threads)}

    def unsupported(self, case: Case) -> str | None:
        """Why the library cannot run the case, or None."""
        return None if case.dtype == "float32" else f"no {case.dtype}"

    def prepare(self, case: Case, weights: list[list[np.ndarray]], x: np.ndarray, threads: int) -> Prepared:
        """Build the case's computation over x."""
        raise NotImplementedError


def time_major(x: np.ndarray) -> np.ndarray:
    """(batch, steps, ...) to (steps, batch, ...), or back, as a contiguous array."""
    return np.ascontiguousarray(np.swapaxes(x, 0, 1))
