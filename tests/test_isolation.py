"""NaN, infinity and huge values: they reach what depends on them and nothing else, and come out as in Keras."""

from __future__ import annotations

import layer_cases
import numpy as np
import oracle
import pytest
from bits import assert_same_bits
from test_same_bits import stacked_model

from lstmfast import layers

POISONS = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "huge": 3e38, "tiny": 1e-42}
ACTIVATIONS = ["default", "relu", "hard_sigmoid", "softsign", "elu", "exponential", "gelu", "softmax"]


def make(namespace, units: int, activation: str, **options):
    if activation != "default":
        options |= {"activation": activation, "recurrent_activation": activation}
    layer = namespace.LSTM(units, return_sequences=True, return_state=True, **options)
    layer.build((None, None, 3))
    layer.set_weights(layer_cases.Case("LSTM", 1, units, 1, 1, 3).weights())
    return layer


def sequences() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (7, 6, 3)).astype("float32")


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("units", [5, 17])
def test_nothing_else_changes(isa, units, activation, poison):
    layer = make(layers, units, activation)
    clean = sequences()
    expected = layer(clean)
    row, step = 3, 2
    x = clean.copy()
    x[row, step, 1] = POISONS[poison]
    y, h, c = layer(x)
    others = np.arange(len(x)) != row
    assert_same_bits([y[others], h[others], c[others]], [part[others] for part in expected], "other rows")
    assert_same_bits(y[row, :step], expected[0][row, :step], "earlier steps")
    if poison == "nan":
        assert np.isnan(y[row, step:]).all()


@pytest.mark.parametrize("poison", ["nan", "inf", "-inf", "huge"])
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in ("softmax", "exponential")])
def test_non_finite_values_come_out_as_in_keras(keras, isa, activation, poison):
    """Two are left out: TensorFlow's float32 softmax writes zeros beside a NaN (see test_activations.py), and an LSTM
    of exponentials overflows by itself, one rounding sooner or later.
    """
    x = sequences()
    x[1, 2, 1] = POISONS[poison]
    x[4, 0, 0] = POISONS[poison]
    mine = make(layers, 5, activation)(x)
    theirs = [np.asarray(part) for part in make(keras.layers, 5, activation)(x)]
    for position, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        what = f"{activation} with {poison}, output {position}"
        assert np.array_equal(np.isnan(a), np.isnan(b)), what
        with np.errstate(invalid="ignore"):
            oracle.assert_close(a, b, np.where(np.isfinite(b), oracle.LOOSE * (1 + np.abs(b)), 0), what)


@pytest.mark.parametrize("place", ["kernel", "recurrent_kernel", "bias"])
def test_nan_in_a_weight_comes_out(place):
    layer = make(layers, 5, "default")
    weights = layer.get_weights()
    weights[["kernel", "recurrent_kernel", "bias"].index(place)].flat[-1] = np.nan
    layer.set_weights(weights)
    assert np.isnan(layer(sequences())[0][:, 1:]).any()


@pytest.mark.parametrize("masked", ["nan", "inf"])
def test_what_a_masked_step_holds_does_not_matter(isa, masked):
    """Keras computes a masked step and throws it away; so the value behind the mask may be anything."""
    layer = make(layers, 9, "default")
    x = sequences()
    mask = np.ones(x.shape[:2], bool)
    mask[2, 3:] = mask[5, 1] = False
    expected = layer(x, mask=mask)
    x[~mask] = POISONS[masked]
    assert_same_bits(layer(x, mask=mask), expected)


def test_nan_in_the_initial_state_stays_in_its_row(isa):
    layer = make(layers, 9, "default")
    x = sequences()
    h = np.zeros((7, 9), "float32")
    c = np.zeros((7, 9), "float32")
    expected = layer(x, initial_state=[h, c])
    h[2, 0] = np.nan
    c[4, 8] = np.inf
    result = layer(x, initial_state=[h, c])
    others = [0, 1, 3, 5, 6]
    assert_same_bits([part[others] for part in result], [part[others] for part in expected])
    assert np.isnan(result[0][2]).all()


def test_a_whole_model_keeps_rows_apart(isa):
    model = stacked_model()
    x = sequences()
    expected = model(x)
    x[3] = np.nan
    y = model(x)
    assert np.isnan(y[3]).all()
    others = np.arange(7) != 3
    assert_same_bits(y[others], expected[others])
    assert_same_bits(model.predict(x, batch_size=2)[others], expected[others])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradual_decay_reaches_zero_smoothly(isa, dtype):
    """c shrinks to 0.27 of itself each step, down to zero; what is below the normal numbers may become zero early.

    Keras on TensorFlow flushes there too. The reference is the recurrence in a wider type.
    """
    layer = layers.LSTM(3, return_sequences=True, return_state=True, activation="linear", dtype=dtype)
    layer.build((None, None, 1))
    kernel, recurrent = np.zeros((1, 12)), np.zeros((3, 12))
    bias = np.zeros(12)
    bias[3:6] = -1.0
    layer.set_weights([kernel, recurrent, bias])
    info = np.finfo(dtype)
    steps = int(np.log(float(info.smallest_subnormal)) / np.log(1 / (1 + np.e))) + 10
    ones = np.ones((2, 3), dtype)
    y, _, c = layer(np.zeros((2, steps, 1), dtype), initial_state=[ones, ones])
    assert (c == 0).all()
    wide = np.longdouble if dtype == "float64" else np.float64
    forget = wide(1) / (1 + np.exp(wide(1)))
    expected = forget ** np.arange(1, steps + 1, dtype=wide) / 2
    normal = expected > float(info.tiny) * 8
    relative = np.abs(y[0, normal, 0].astype(wide) - expected[normal]) / expected[normal]
    assert relative.max() < steps * info.eps
    assert np.abs(y[0, ~normal, 0].astype(wide) - expected[~normal]).max() <= float(info.tiny)
    assert (np.diff(y[0, :, 0]) <= 0).all()


def test_the_caller_s_rounding_of_denormals_is_left_alone():
    tiny = np.float32(1e-40)
    make(layers, 5, "default")(sequences())
    assert tiny * np.float32(0.5) > 0
    stacked_model().predict(np.repeat(sequences(), 30, axis=0))
    assert tiny * np.float32(0.5) > 0
