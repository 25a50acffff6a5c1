"""NumPy: the reference's few lines in float32, on NumPy's own BLAS. What one writes to avoid a framework."""

from functools import partial

import numpy as np

from bench import reference
from bench.cases import Case
from bench.peers.base import Peer, Prepared


class NumpyBlas(Peer):
    """One product for all steps' inputs, then one product a step; the thread count is BLAS's."""

    name = "numpy"
    title = "NumPy"
    module = distribution = "numpy"

    def environment(self, threads: int, isa: str | None) -> dict[str, str]:
        """OpenBLAS reads its own variables."""
        variables = {"OPENBLAS_NUM_THREADS": str(threads)}
        if isa:
            variables["OPENBLAS_CORETYPE"] = {"avx2": "Haswell", "generic": "Nehalem"}[isa]
        return variables

    def unsupported(self, case: Case) -> str | None:
        """It runs everything."""
        return None

    def prepare(self, case: Case, weights: list[list[np.ndarray]], x: np.ndarray, threads: int) -> Prepared:
        """The thread count is in the environment."""
        if case.kind == "stream":
            return self._stream(case, *weights[0], x)
        call = partial(reference.forward, case, weights, x)
        return Prepared(call, call)

    @staticmethod
    def _stream(case: Case, kernel: np.ndarray, recurrent_kernel: np.ndarray, bias: np.ndarray, x: np.ndarray):
        state = [np.zeros((case.batch, case.units), case.dtype)] * 2

        def step(x_t: np.ndarray = x[:, 0]) -> np.ndarray:
            h, c = state
            state[:] = reference.lstm_step(x_t @ kernel + bias + h @ recurrent_kernel, c, "tanh")
            return state[0]

        def result() -> np.ndarray:
            state[:] = [np.zeros((case.batch, case.units), case.dtype)] * 2
            return np.stack([step(x[:, t]) for t in range(case.steps)], axis=1)

        return Prepared(step, result)
