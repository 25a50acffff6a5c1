"""`models.clone_model` and `models.save_model`, against live Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import Input, Model, Sequential, layers
from lstmfast._graph import flatten
from lstmfast.models import clone_model, save_model

X = np.random.default_rng(1).uniform(-1, 1, (4, 5, 3)).astype("float32")


def chain(module: Any) -> Any:
    L = module.layers
    return module.Sequential(
        [
            module.Input((5, 3), name="x"),
            L.Masking(name="masking"),
            L.Bidirectional(L.LSTM(4, return_sequences=True, name="lstm"), name="both"),
            L.TimeDistributed(L.Dense(3, activation="tanh", name="inner"), name="each"),
            L.GRU(2, name="gru"),
            L.Dense(2, name="dense"),
        ],
        name="chain",
    )


def graph(module: Any) -> Any:
    L = module.layers
    x = module.Input((5, 3), name="x")
    shared = L.Dense(4, activation="relu", name="shared")
    h, state, cell = L.LSTM(4, return_state=True, name="encoder")(shared(x))
    y = L.LSTM(4, return_sequences=True, name="decoder")(shared(x) * 2.0, initial_state=[state, cell])
    return module.Model(x, {"y": (y, h + state), "z": [L.Dense(1, name="last")(cell)]}, name="graph")


def nested(module: Any) -> Any:
    inner, x, z = chain(module), module.Input((5, 3), name="a"), module.Input((5, 3), name="b")
    y = module.layers.Concatenate(name="joined")([inner(x), inner(z)])
    return module.Model([x, z], module.layers.Dense(2, name="end")(y), name="outer")


def cells(module: Any) -> Any:
    L = module.layers
    rnn = L.RNN([L.LSTMCell(3, name="c"), L.GRUCell(2, name="d")], return_sequences=True, name="rnn")
    return module.Sequential([module.Input((5, 3), name="x"), rnn, L.BatchNormalization(name="norm")], name="cells")


def inputs_of(model: Any) -> Any:
    return [X, X[::-1]] if len(model.inputs) > 1 else X


def assert_like(mine: Any, theirs: Any) -> None:
    assert [layer.name for layer in mine.layers] == [layer.name for layer in theirs.layers]
    assert [type(layer).__name__ for layer in mine.layers] == [type(layer).__name__ for layer in theirs.layers]
    assert mine.name == theirs.name
    assert [one.shape for one in mine.get_weights()] == [one.shape for one in theirs.get_weights()]
    random = np.random.default_rng(3)
    values = [random.uniform(0.1, 0.6, one.shape) for one in theirs.get_weights()]
    for one in (mine, theirs):
        one.set_weights(values)
    found, expected = mine(inputs_of(mine)), theirs(inputs_of(theirs))
    assert type(found) is type(expected) or isinstance(found, np.ndarray)
    for one, other in zip(flatten(found), flatten(expected), strict=True):
        oracle.assert_close(one, np.asarray(other), oracle.LOOSE)


def widened(module: Any) -> Any:
    """A clone_function: LSTMs become bidirectional, other layers are made from their configs."""

    def function(layer: Any) -> Any:
        if isinstance(layer, module.layers.GRU):
            return module.layers.Bidirectional(type(layer).from_config(layer.get_config()), name="wide")
        return layer.__class__.from_config(layer.get_config())

    return function


def dropping(module: Any) -> Any:
    """A call_function: something comes behind each Dense."""

    def function(layer: Any, *args: Any, **kwargs: Any) -> Any:
        y = layer(*args, **kwargs)
        return module.layers.ReLU(name=f"relu_{layer.name}")(y) if layer.name in ("last", "end") else y

    return function


CASES: dict[str, tuple[Any, Any]] = {
    "chain": (chain, lambda module: {}),
    "graph": (graph, lambda module: {}),
    "nested": (nested, lambda module: {}),
    "cells": (cells, lambda module: {}),
    "recursive": (nested, lambda module: {"recursive": True}),
    "other layers": (chain, lambda module: {"clone_function": widened(module)}),
    "other layers inside": (nested, lambda module: {"clone_function": widened(module), "recursive": True}),
    "other calls": (graph, lambda module: {"call_function": dropping(module)}),
    "other calls around": (nested, lambda module: {"call_function": dropping(module), "recursive": False}),
    "tensor": (chain, lambda module: {"input_tensors": module.Input((5, 3), name="new")}),
    "tensor in a list": (chain, lambda module: {"input_tensors": [module.Input((5, 3), name="new")]}),
    "tensors": (nested, lambda module: {"input_tensors": [module.Input((5, 3), name=name) for name in "cd"]}),
    "tensor of a graph": (graph, lambda module: {"input_tensors": module.Input((5, 3), name="new")}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_clones(keras, case):
    make, options = CASES[case]
    theirs = make(keras)
    for mine in (make(lstmfast), lstmfast.from_keras(theirs)):
        before = mine.get_weights()
        clone = clone_model(mine, **options(lstmfast))
        assert not set(map(id, mine.layers)) & set(map(id, clone.layers))
        assert_like(clone, keras.models.clone_model(theirs, **options(keras)))
        assert_same_bits(mine.get_weights(), before)
        if not options(lstmfast):
            clone.set_weights(before)
            assert_same_bits(flatten(clone(inputs_of(mine))), flatten(mine(inputs_of(mine))))


def test_weights_of_a_clone_are_drawn_anew():
    model = chain(lstmfast)
    clone = clone_model(model)
    same = [np.array_equal(*pair) for pair in zip(model.get_weights(), clone.get_weights(), strict=True)]
    assert same == [one.ndim == 1 or (one.shape[0] == 2 and (one[:, 0] == 0).all()) for one in model.get_weights()]


def test_a_clone_of_layers_that_stay():
    model = graph(lstmfast)
    clone = clone_model(model, clone_function=lambda layer: layer)
    assert all(one is other for one, other in zip(model.layers[1:], clone.layers[1:], strict=True))
    assert_same_bits(flatten(clone(X)), flatten(model(X)))


@pytest.mark.filterwarnings("ignore")
def test_a_clone_goes_by_the_rules_of_its_keras(tf_keras):
    L = tf_keras.layers
    net = tf_keras.Sequential([tf_keras.Input((5, 3)), L.Masking(), L.LSTM(4, recurrent_activation="hard_sigmoid")])
    net.add(L.BatchNormalization())
    model = lstmfast.from_keras(net)
    clone = clone_model(model)
    assert clone.keras_version == model.keras_version
    assert all(layer.of_keras_2 for layer in clone.layers)
    clone.set_weights(model.get_weights())
    assert_same_bits(clone(X), model(X))
    oracle.assert_close(clone(X), np.asarray(net(X)), oracle.LOOSE)


class Mix(layers.Layer):
    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = layers.Dense(units)

    def call(self, inputs: Any) -> Any:
        return self.inner(inputs)


class Pair(Model):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units
        self.mix, self.lstm = Mix(units), layers.LSTM(2)

    def call(self, inputs: Any) -> Any:
        return self.lstm(self.mix(inputs))


class Named(Model):
    pass


def test_clones_with_classes_of_ones_own():
    x = Input((5, 3))
    named = Named(x, layers.TimeDistributed(Mix(3))(Mix(2)(x)))
    pair = Pair(4)
    pair(X)
    for model in (named, pair, Sequential([Input((5, 3)), Mix(2), layers.LSTM(2)])):
        clone = clone_model(model)
        assert type(clone) is type(model)
        clone.set_weights(model.get_weights())
        assert_same_bits(clone(X), model(X))
    for argument in ("clone_function", "input_tensors", "call_function"):
        with pytest.raises(ValueError, match=rf"{argument}.* functional models only. Received model of type 'Pair'"):
            clone_model(pair, **{argument: lambda layer: layer})


@pytest.mark.parametrize(
    ("make", "options", "says"),
    [
        (chain, {"call_function": print}, "`call_function` argument is not supported with Sequential models"),
        (chain, {"clone_function": 3}, "Expected `clone_function` argument to be a callable"),
        (chain, {"input_tensors": X}, "must be a KerasTensor"),
        (chain, {"input_tensors": [Input((5, 3)), Input((5, 3))]}, "must contain a single tensor"),
        (graph, {"input_tensors": X}, "must be KerasTensors"),
        (nested, {"input_tensors": [Input((5, 3))]}, "must have the same structure as model.input"),
        (chain, {"colour": 1}, r"Unexpected keyword argument\(s\): \('colour',\)"),
    ],
)
def test_mistakes_with_clones(keras, make, options, says):
    mine = make(lstmfast)
    with pytest.raises(ValueError, match=says):
        clone_model(mine, **options)
    with pytest.raises(ValueError, match="Expected `model` to be a model of lstmfast"):
        clone_model(make(keras))


def test_save_model(keras, tmp_path):
    model = chain(lstmfast)
    save_model(model, tmp_path / "m.keras", include_optimizer=False)
    assert_same_bits(lstmfast.load_model(tmp_path / "m.keras")(X), model(X))
    oracle.assert_close(model(X), np.asarray(keras.models.load_model(tmp_path / "m.keras")(X)), oracle.LOOSE)
    with pytest.raises(FileExistsError):
        save_model(model, tmp_path / "m.keras", overwrite=False)
    with pytest.raises(ValueError, match="has to end in"):
        save_model(model, tmp_path / "m.h5")
    with pytest.raises(ValueError, match=r"not supported: \['colour'\]"):
        save_model(model, tmp_path / "m.keras", colour=1)
    with pytest.raises(TypeError, match="Expected `model` to be a model of lstmfast"):
        save_model(keras.Sequential([keras.Input((3,))]), tmp_path / "m.keras")
