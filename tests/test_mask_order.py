"""The order of layers, and so of weights, in models whose masks Keras makes operations of."""

from __future__ import annotations

import inspect
import random
from typing import Any

import numpy as np
import oracle
import pytest

import lstmfast
from lstmfast import Input, Model, layers
from lstmfast._mask_order import takes_mask


def build(module: Any, seed: int) -> Any:
    """A random graph of layers that make masks, join them and are called with them."""
    draw, some = random.Random(seed), module.layers
    inputs, known = [], []
    for _ in range(draw.randint(1, 3)):
        if draw.random() < 0.6:
            inputs.append(module.Input((5,), dtype="int32"))
            for _ in range(draw.randint(1, 2)):
                known.append(some.Embedding(9, 4, mask_zero=draw.random() < 0.6)(inputs[-1]))
        else:
            inputs.append(module.Input((5, 4)))
            known += [inputs[-1], some.Masking()(inputs[-1])]
    shared = [some.Dense(4), some.LSTM(4, return_sequences=True)]
    for _ in range(draw.randint(3, 9)):
        a, b, c = (draw.choice(known) for _ in range(3))
        kind = draw.choice(["one", "one", "join", "join", "merge", "attention", "shared", "states"])
        if kind == "one":
            one = [
                some.Dense(4),
                some.LSTM(4, return_sequences=True),
                some.Bidirectional(some.GRU(2, return_sequences=True)),
                some.LayerNormalization(),
                some.BatchNormalization(),
                some.TimeDistributed(some.Dense(4)),
                some.Dropout(0.1),
            ]
            y = draw.choice(one)(a)
        elif kind == "join":
            y = some.Dense(4)(some.Concatenate()([a, b] if draw.random() < 0.7 else [a, b, c]))
        elif kind == "merge":
            y = draw.choice([some.Add, some.Multiply, some.Average, some.Maximum, some.Subtract])()([a, b])
        elif kind == "attention":
            y = some.Attention()([a, b])
        elif kind == "shared":
            y = draw.choice(shared)(a)
        else:
            y, state = some.GRU(4, return_sequences=True, return_state=True)(a)
            y = some.GRU(4, return_sequences=True)(b, initial_state=state) if draw.random() < 0.6 else y
        known.append(y)
    ends = [some.LSTM(3), some.GlobalAveragePooling1D(), some.Dense(2)]
    return module.Model(inputs, [draw.choice(ends)(y) for y in known[-2:]])


def described(model: Any) -> list[Any]:
    return [(type(one).__name__, [tuple(w.shape) for w in one.weights]) for one in model.layers if one.weights]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(40))
def test_weights_come_in_the_order_of_keras(keras, seed, tmp_path):
    live, ours = build(keras, seed), build(lstmfast, seed)
    assert described(ours) == described(live)
    values = np.random.default_rng(seed)
    live.set_weights(
        [
            np.abs(values.normal(size=w.shape)) + 0.1 if "variance" in w.path else values.normal(0, 0.4, w.shape)
            for w in live.weights
        ]
    )
    ours.set_weights(live.get_weights())
    x: Any = [
        values.integers(0, 9, (3, 5))
        if len(tensor.shape) == 2
        else (values.normal(size=(3, 5, 4)) * (values.random((3, 5, 1)) < 0.6)).astype("float32")
        for tensor in live.inputs
    ]
    expected = [np.asarray(y) for y in live(x if len(x) > 1 else x[0])]
    for y, other in zip(ours(x if len(x) > 1 else x[0]), expected, strict=True):
        oracle.assert_close(y, other, oracle.LOOSE * (1 + np.abs(other)))
    if seed % 4 == 0:
        ours.save(tmp_path / "m.keras")
        again = keras.models.load_model(tmp_path / "m.keras")
        for y, other in zip(again(x if len(x) > 1 else x[0]), expected, strict=True):
            oracle.assert_close(np.asarray(y), other, oracle.LOOSE * (1 + np.abs(other)))


def test_a_layer_called_like_an_operation_on_masks(keras, tmp_path):
    """Keras calls the operation that joins masks concatenate, and refuses two of one name."""
    keras.backend.clear_session()
    a, b = Input((5,)), Input((5,))
    y = layers.Concatenate(name="concatenate")([layers.Embedding(9, 4)(a), layers.Embedding(9, 4, mask_zero=True)(b)])
    model = Model([a, b], layers.LSTM(3)(y))
    model.save(tmp_path / "m.keras")
    assert model.layers[4].name == "concatenate"
    ids = np.random.default_rng(0).integers(0, 9, (3, 5))
    live = keras.models.load_model(tmp_path / "m.keras")
    oracle.assert_close(np.asarray(live([ids, ids])), model([ids, ids]), oracle.LOOSE)


def test_layers_that_keras_calls_with_masks(keras):
    """Those here take one, or are known to there."""
    takes = {
        name
        for name in layers.__all__
        if inspect.isclass(getattr(keras.layers, name, None))
        and "mask" in inspect.signature(getattr(keras.layers, name).call).parameters
    }
    own = {
        name for name in layers.__all__ if isinstance(getattr(layers, name), type) and takes_mask(getattr(layers, name))
    }
    assert takes - {"Lambda"} <= own | {"RNN"}
