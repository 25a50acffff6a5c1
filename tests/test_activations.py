"""Every activation against Keras: values, NaN, infinities, zeros, the tiny and the huge; and ulp of the two that count.

The exhaustive count over all float32 values is tests/c/ulp.c (`make check-ulp`); here is a sample of it.
"""

from __future__ import annotations

import layer_cases
import numpy as np
import oracle
import pytest
from bits import assert_same_bits

from lstmfast import _core, activations

Array = np.ndarray

DTYPES = ("float32", "float64")
ROW_WISE = ("softmax", "log_softmax", "sparsemax")
# Keras on TensorFlow rounds two constants to float32 also where it computes in float64: gelu's square root of 2, and
# leaky_relu's 0.2 (tensorflow/python/ops/nn_ops.py, keras/src/activations/activations.py).
ROUNDED_CONSTANT = {"gelu": 1e-7, "leaky_relu": 1e-7}

# (lowest, highest) value over all real inputs.
BOUNDS = {
    "tanh": (-1, 1),
    "sigmoid": (0, 1),
    "hard_sigmoid": (0, 1),
    "hard_sigmoid_keras2": (0, 1),
    "sparse_sigmoid": (0, 1),
    "hard_tanh": (-1, 1),
    "softsign": (-1, 1),
    "softmax": (0, 1),
    "relu": (0, np.inf),
    "relu6": (0, 6),
    "softplus": (0, np.inf),
    "exponential": (0, np.inf),
    "log_sigmoid": (-np.inf, 0),
    "log_softmax": (-np.inf, 0),
    "elu": (-1, np.inf),
    "celu": (-1, np.inf),
}


def edge_values(dtype: str) -> Array:
    """Zeros, infinities, NaN, the largest and smallest, and both neighbours of every point where a formula changes."""
    info = np.finfo(dtype)
    scalar = np.dtype(dtype).type
    values = [0.0, -0.0, np.nan, np.inf, info.tiny, info.max, info.eps, 1e-30, 1e-10, 1e-5]
    for point in (0.5, 1, 2, 2.5, 3, 6, 9, 20, 87, 100, 104, 710, 745, 1000, 1e10, 1e20):
        values += [point, np.nextafter(scalar(point), scalar(np.inf)), np.nextafter(scalar(point), scalar(-np.inf))]
    return np.array(values + [-value for value in values], dtype)


def spread_values(dtype: str, count: int = 20000) -> Array:
    """Random values of every magnitude, most of them near one."""
    random = np.random.default_rng(0)
    near = 4 * random.standard_normal(count)
    any_size = random.standard_normal(count) * 10.0 ** random.uniform(-30, 2, count)
    return np.concatenate([near, any_size]).astype(dtype)


def inputs(name: str, dtype: str) -> Array:
    if name not in ROW_WISE:
        return np.concatenate([edge_values(dtype), spread_values(dtype)])
    # Rows of 5; one row each for NaN and the infinities, which spread over their whole row.
    special = np.tile(spread_values(dtype, 5)[:5], (4, 1))
    special[0, 2], special[1, 3], special[2, 0], special[3, :] = np.nan, np.inf, -np.inf, -np.inf
    if name == "sparsemax":  # Keras sorts these rows in an order that NaN leaves open
        special = special[:0]
    finite = edge_values(dtype)
    finite = finite[np.isfinite(finite) & (np.abs(finite) < 1e4)]
    values = np.concatenate([finite[: len(finite) // 5 * 5], spread_values(dtype)])
    return np.concatenate([special, values.reshape(-1, 5)])


def keras_values(name: str, dtype: str) -> tuple[Array, Array]:
    """Inputs and what Keras makes of them; live, or committed for a part of them."""
    keras = oracle.live_keras()
    if keras is not None:
        x = inputs(name, dtype)
        y = np.array(keras.activations.get(name)(x))
        if name == "softmax":  # one NaN makes a row NaN; TensorFlow's float32 kernel alone writes zeros beside it
            y[np.isnan(y).any(axis=-1)] = np.nan
        return x, y
    known = oracle.golden("activations")
    return known[f"{name}/{dtype}/x"], known[f"{name}/{dtype}/y"]


def assert_like_keras(actual: Array, expected: Array, bound: float, what: str) -> None:
    """As oracle.assert_close, relative to 1 + |y|."""
    with np.errstate(invalid="ignore"):
        limit = bound * (1 + np.abs(expected))
    oracle.assert_close(actual, expected, np.where(np.isfinite(limit), limit, 0), what)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", layer_cases.ACTIVATIONS)
def test_values_are_those_of_keras(isa, name, dtype):
    x, expected = keras_values(name, dtype)
    bound = 2e-6 if dtype == "float32" else ROUNDED_CONSTANT.get(name, 1e-14)
    actual = activations.get(name).run(np.ascontiguousarray(x))
    assert_like_keras(actual, expected, bound, f"{name} in {dtype}")
    inside_a_list = activations.get(name)(x.tolist())  # Python numbers are float64
    assert inside_a_list.dtype == np.float64


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("relu", {"negative_slope": 0.25}),
        ("relu", {"max_value": 2.0}),
        ("relu", {"threshold": 0.5}),
        ("relu", {"negative_slope": 0.5, "max_value": 1.5, "threshold": -0.25}),
        ("leaky_relu", {"negative_slope": 0.5}),
        ("elu", {"alpha": 0.25}),
        ("celu", {"alpha": 2.0}),
        ("gelu", {"approximate": True}),
        ("squareplus", {"b": 2.0}),
        ("soft_shrink", {"threshold": 1.25}),
        ("hard_shrink", {"threshold": 1.25}),
        ("threshold", {"threshold": 0.5, "default_value": -3.0}),
        ("softmax", {"axis": 0}),
        ("log_softmax", {"axis": 0}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(f"{key}={v}" for key, v in value.items()),
)
def test_parameters_are_those_of_keras(keras, isa, name, parameters, dtype):
    x = inputs(name, dtype)
    if "axis" in parameters:
        x = np.ascontiguousarray(x[4:40].T)
    expected = np.asarray(getattr(keras.activations, name)(x, **parameters))
    actual = getattr(activations, name)(x, **parameters)
    assert_like_keras(actual, expected, 2e-6 if dtype == "float32" else 1e-7, f"{name} {parameters}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_hard_sigmoid_of_keras_2(isa, dtype):
    """Keras 1 and 2: 0.2 x + 0.5 between 0 and 1 (tf_keras/src/backend.py, hard_sigmoid)."""
    x = np.concatenate([edge_values(dtype), spread_values(dtype)])
    with np.errstate(over="ignore"):
        expected = np.clip(x * np.dtype(dtype).type(0.2) + np.dtype(dtype).type(0.5), 0, 1)
    actual = _core.activate(("hard_sigmoid_keras2", 0.0, 0.0, 0.0), x)
    oracle.assert_close(actual, expected, 2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_hold_exactly(isa, name, dtype):
    lowest, highest = BOUNDS[name]
    x = inputs(name, dtype)
    y = _core.activate((name, *_defaults(name)), np.ascontiguousarray(x))
    finite = y[~np.isnan(y)]
    assert finite.min() >= lowest
    assert finite.max() <= highest
    if name not in ROW_WISE:
        assert np.isnan(y[np.isnan(x)]).all(), "NaN in, NaN out"
        assert not np.isnan(y[np.isfinite(x)]).any(), "NaN from a finite value"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in _core.activation_names() if name not in ROW_WISE])
def test_a_value_does_not_depend_on_its_lane(isa, name, dtype):
    x = np.concatenate([edge_values(dtype), spread_values(dtype, 100)])
    description = (name, *_defaults(name))
    whole = _core.activate(description, x)
    for length in (1, 2, 3, 5, 7, 9, 15, 17, 31):
        pieces = [_core.activate(description, x[start : start + length]) for start in range(0, len(x), length)]
        assert_same_bits(np.concatenate(pieces), whole, f"pieces of {length}")


@pytest.mark.parametrize("name", ROW_WISE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", layer_cases.SIZES)
def test_rows_of_any_length(isa, name, dtype, columns):
    keras = oracle.live_keras()
    if keras is None:
        pytest.skip("needs TensorFlow and Keras")
    x = (3 * np.random.default_rng(columns).standard_normal((6, columns))).astype(dtype)
    actual = _core.activate((name, 0.0, 0.0, 0.0), x)
    expected = np.asarray(keras.activations.get(name)(x))
    assert_like_keras(actual, expected, 4e-6 if dtype == "float32" else 1e-14, name)
    for row in (0, 5):
        assert_same_bits(_core.activate((name, 0.0, 0.0, 0.0), x[row : row + 1]), actual[row : row + 1])


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_ulp_of_float32(isa, name):
    """At most 4 ulp where the result is normal, FLT_MIN below (what is measured: `make check-ulp`)."""
    bits = np.random.default_rng(7).integers(0, 2**32, 1 << 20, dtype=np.uint32)
    x = bits.view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], spread_values("float32", 1 << 18)])
    with np.errstate(over="ignore", under="ignore"):
        exact = np.tanh(x.astype(np.float64)) if name == "tanh" else 1 / (1 + np.exp(-x.astype(np.float64)))
    actual = _core.activate((name, 0.0, 0.0, 0.0), x).astype(np.float64)
    normal = np.abs(exact) >= np.finfo(np.float32).tiny
    ulp = np.spacing(np.abs(exact[normal]).astype(np.float32)).astype(np.float64)
    assert (np.abs(actual - exact)[normal] / ulp).max() <= 4
    assert np.abs(actual - exact)[~normal].max() <= np.finfo(np.float32).tiny


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="long double is no wider than double here")
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_ulp_of_float64(isa, name):
    x = spread_values("float64", 1 << 17)
    wide = x.astype(np.longdouble)
    exact = np.tanh(wide) if name == "tanh" else 1 / (1 + np.exp(-wide))
    actual = _core.activate((name, 0.0, 0.0, 0.0), x).astype(np.longdouble)
    ulp = np.spacing(np.abs(exact).astype(np.float64)).astype(np.longdouble)
    assert (np.abs(actual - exact) / ulp).max() <= 4


def test_every_name_of_keras_is_known(keras):
    known = {name for name in vars(keras.activations) if not name.startswith("_")}
    known -= {"get", "serialize", "deserialize", "glu", "threshold"}  # see layer_cases.ACTIVATIONS
    assert known <= set(layer_cases.ACTIVATIONS)
    for name in layer_cases.ACTIVATIONS:
        assert activations.get(name).core is not None
        assert activations.get(getattr(keras.activations, name)).core == activations.get(name).core
    assert activations.get(None).is_linear


def _defaults(name: str) -> tuple[float, float, float]:
    return (0.0, 0.0, 0.0) if name == "gelu_tanh" else activations.get(name).core[1:]


def test_parameters_by_their_place(keras):
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32") * 3
    for name, args in (
        ("relu", (0.1,)),
        ("relu", (0.1, 2.0, 0.5)),
        ("leaky_relu", (0.3,)),
        ("elu", (0.5,)),
        ("softmax", (0,)),
        ("log_softmax", (-1,)),
        ("gelu", (True,)),
        ("threshold", (0.5, 2.0)),
    ):
        expected = np.asarray(getattr(keras.activations, name)(x, *args))
        assert_like_keras(getattr(activations, name)(x, *args), expected, 2e-6, f"{name}{args}")
    for call in (lambda: activations.elu(x, 1.0, 2.0), lambda: activations.elu(x, 1.0, alpha=2.0)):
        with pytest.raises(TypeError, match="alpha, each once"):
            call()
    with pytest.raises(TypeError, match="each once"):
        activations.tanh(x, 1.0)


def test_the_gated_linear_unit(keras):
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32") * 3
    for args in ((), (0,), (-2,)):
        assert_like_keras(activations.glu(x, *args), np.asarray(keras.activations.glu(x, *args)), 2e-6, f"glu{args}")


def test_activations_of_a_config():
    relu = activations.get("relu")
    assert activations.deserialize("relu") is relu
    assert activations.deserialize({"class_name": "function", "config": "relu"}) is relu
    assert activations.deserialize("mine", custom_objects={"mine": np.sign}) is np.sign
