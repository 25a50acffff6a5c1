"""lstmfast's own kernels, one thread, per instruction set and type: `pytest bench --benchmark-only`.

For work on a kernel: `--benchmark-save=before`, change it, `--benchmark-compare`. Peers are the business of
`python -m bench`; nothing here asserts a time.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from bench.profile_case import SIGMOID, TANH, activation
from lstmfast import _core

TYPES = ("float32", "float64")
GATE_COUNTS = {"lstm": 4, "gru": 3, "gru_reset_before": 3, "simple_rnn": 1}


@pytest.fixture(params=_core.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set of this build that the CPU runs, for layers packed in the test."""
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(None)


def _random(*shape: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, shape).astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("batch", "steps", "features", "units"),
    [(1, 40, 1, 100), (32, 40, 1, 100), (1, 50, 256, 256), (4, 25, 256, 256), (64, 10, 256, 256), (1, 1, 8, 32)],
)
@pytest.mark.parametrize("kind", GATE_COUNTS)
def test_recurrent(benchmark, isa, kind, dtype, batch, steps, features, units) -> None:
    """A whole sequence of one layer."""
    columns = GATE_COUNTS[kind] * units
    bias = _random(*((2, columns) if kind == "gru" else (columns,)), dtype=dtype)
    kernel, recurrent_kernel = (_random(rows, columns, dtype=dtype) for rows in (features, units))
    try:
        layer = _core.PackedLayer(kind, kernel, recurrent_kernel, bias, TANH, None if columns == units else SIGMOID)
    except NotImplementedError as missing:
        pytest.skip(str(missing))
    x = _random(batch, steps, features, dtype=dtype)
    benchmark.group = f"{kind} {batch}x{steps}x{features}-u{units} {dtype}"
    benchmark(layer.run, x, None, None, True, False, False, False, None, 1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("rows", "features", "units"), [(1, 256, 256), (1000, 100, 1), (1000, 256, 256)])
def test_dense(benchmark, isa, dtype, rows, features, units) -> None:
    """One product with bias."""
    arrays = (_random(features, units, dtype=dtype), None, _random(units, dtype=dtype))
    layer = _core.PackedLayer("dense", *arrays, activation("linear"), None)
    benchmark.group = f"dense {rows}x{features}-u{units} {dtype}"
    benchmark(layer.apply, _random(rows, features, dtype=dtype), None, 1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "softmax", "gelu"])
def test_activation(benchmark, isa, dtype, name) -> None:
    """A vector of values that fits L1."""
    benchmark.group = f"{name} {dtype}"
    benchmark(_core.activate, activation(name), 8 * _random(1, 2048, dtype=dtype))
