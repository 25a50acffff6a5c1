"""Sequences that decay through the subnormal numbers, beside ordinary ones: python -m bench.decaying

Both run the same layer over as many steps; the decaying one has no input and begins just above the subnormal numbers,
so that a core that computed with them would do so in every step that follows. The table gives microseconds a call and
the ratio; the last column is that of NumPy's product of such numbers, which no one shields from them.
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np

from bench.profile_case import SIGMOID, TANH
from bench.timing import per_call
from lstmfast import _core

_BATCH, _STEPS, _FEATURES, _UNITS = 16, 100, 32, 128
_GATES = {"lstm": 4, "gru": 3, "gru_reset_before": 3, "simple_rnn": 1}
_KEEPS = {"lstm": 1, "gru": 0, "gru_reset_before": 0}  # the gate that keeps the state from step to step


def layer(kind: str, dtype: str) -> _core.PackedLayer:
    """A layer that loses a twentieth of its state, or less, with each step, and adds nothing of its own."""
    random = np.random.default_rng(0)
    columns = _GATES[kind] * _UNITS
    kernel = random.uniform(-0.1, 0.1, (_FEATURES, columns)).astype(dtype)
    recurrent = np.zeros((_UNITS, columns), dtype)
    bias = np.zeros((2, columns) if kind == "gru" else columns, dtype)
    if kind == "simple_rnn":
        recurrent[...] = 0.95 * np.eye(_UNITS)[random.permutation(_UNITS)]
    else:
        gate = _KEEPS[kind]
        (bias[0] if kind == "gru" else bias)[gate * _UNITS : (gate + 1) * _UNITS] = 3
    return _core.PackedLayer(kind, kernel, recurrent, bias, TANH, None if kind == "simple_rnn" else SIGMOID)


def calls(kind: str, dtype: str) -> dict[str, Callable[[], object]]:
    """One call over ordinary numbers, and one over those that decay."""
    packed = layer(kind, dtype)
    ordinary = np.random.default_rng(1).uniform(-1, 1, (_BATCH, _STEPS, _FEATURES)).astype(dtype)
    size = 4 * np.finfo(dtype).tiny
    state = tuple(np.full((_BATCH, _UNITS), size, dtype) for _ in range(2 if kind == "lstm" else 1))
    options = (True, False, False, False, None, 1)
    return {
        "ordinary": partial(packed.run, ordinary, None, None, *options),
        "decaying": partial(packed.run, np.zeros_like(ordinary), None, state, *options),
    }


def numpy_ratio(dtype: str, seconds: float) -> float:
    """How many times longer a NumPy product takes where all of its results are subnormal."""
    ordinary = np.full(4096, 0.5, dtype)
    tiny = np.full(4096, np.finfo(dtype).tiny, dtype)
    out = np.empty_like(tiny)
    slow, fast = (per_call(partial(np.multiply, values, ordinary, out), seconds)[0] for values in (tiny, ordinary))
    return slow / fast


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="per figure")
    options = parser.parse_args()
    print(f"{_BATCH} x {_STEPS} x {_FEATURES}, {_UNITS} units, one thread\n")
    print("| cell | type | ISA | ordinary | decaying | ratio | NumPy's |\n|---|---|---|---|---|---|---|")
    for dtype in ("float32", "float64"):
        unshielded = numpy_ratio(dtype, options.seconds)
        for isa in _core.available_isas():
            _core.select_isa(isa)
            for kind in _GATES:
                times = {name: per_call(call, options.seconds)[0] for name, call in calls(kind, dtype).items()}
                ratio = times["decaying"] / times["ordinary"]
                figures = f"{times['ordinary'] / 1e3:.0f} | {times['decaying'] / 1e3:.0f} | {ratio:.2f}"
                print(f"| {kind} | {dtype} | {isa} | {figures} | {unshielded:.2f} |", flush=True)


if __name__ == "__main__":
    main()
