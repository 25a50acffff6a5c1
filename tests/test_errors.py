"""Mistakes of every kind: each raises the right error, says what was expected and what came, and changes nothing.

A `Mistake` acts on a fresh subject; `says` lists what its message has to hold. What the subject computes and keeps is
compared bit by bit before and after.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import bits
import numpy as np
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import Input, Model, Sequential, _core, layers

BATCH, STEPS, FEATURES, UNITS = 2, 5, 3, 4
X = bits.sequences(BATCH, STEPS, FEATURES)
STATE = [np.full((BATCH, UNITS), 0.5, "float32"), np.full((BATCH, UNITS), 0.25, "float32")]


# ---- subjects: what a mistake is made with, and what must not change ----------------------------------------------


def lstm(**options: Any) -> layers.LSTM:
    layer = layers.LSTM(UNITS, name="memory", **options)
    layer.build((BATCH if options.get("stateful") else None, None, FEATURES))
    layer.set_weights(random_weights(layer))
    return layer


def stateful() -> layers.LSTM:
    layer = lstm(stateful=True)
    layer(X)
    return layer


def dense() -> layers.Dense:
    layer = layers.Dense(UNITS, name="wide")
    layer.build((None, FEATURES))
    layer.set_weights(random_weights(layer))
    return layer


def model(batch: int | None = None, **options: Any) -> lstmfast.Sequential:
    net = lstmfast.Sequential(
        [lstmfast.Input((STEPS, FEATURES), batch_size=batch), lstm_of_a_model(**options), layers.Dense(2, name="head")],
        name="net",
    )
    net.set_weights(random_weights(net))
    return net


def fixed_model() -> lstmfast.Model:
    """The same as a graph, which takes no other number of steps."""
    net = model()
    return lstmfast.Model(net.inputs, net.outputs)


def two_inputs() -> lstmfast.Model:
    a, b = lstmfast.Input((STEPS, FEATURES), name="a"), lstmfast.Input((STEPS, FEATURES), name="b")
    return lstmfast.Model([a, b], layers.Add()([a, b]), name="pair")


def lstm_of_a_model(**options: Any) -> layers.LSTM:
    return layers.LSTM(UNITS, name="memory", **options)


def stateful_model() -> lstmfast.Sequential:
    net = model(BATCH, stateful=True)
    net(X)
    return net


def stream() -> Any:
    opened = model().stream(batch_size=BATCH)
    opened.step(X[:, 0])
    return opened


def nothing() -> None:
    return None


def core() -> _core.PackedLayer:
    return bits.packed("lstm", FEATURES, UNITS)


def run_indexed(layer: _core.PackedLayer, indices: np.ndarray, vectors: np.ndarray) -> Any:
    return layer.run_indexed(indices, layer.project(vectors), None, None, False, False, False, False, None, 1)


def random_weights(owner: Any) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(0.4 * random.standard_normal(weight.shape)).astype("float32") for weight in owner.get_weights()]


def observe(subject: Any) -> list[np.ndarray]:
    """Everything about a subject that a mistake must not change."""
    if subject is None:
        return [np.array(lstmfast.get_num_threads()), np.array(_core.available_isas().index(_core.isa()))]
    if isinstance(subject, _core.PackedLayer):
        return list(bits.run(subject, X))
    if hasattr(subject, "step"):
        return [np.array(part) for part in flatten(subject.state)]
    kept = [weight.copy() for weight in subject.get_weights()]
    states = [
        np.array(part)
        for layer in [subject, *getattr(subject, "layers", ())]
        for part in (getattr(layer, "states", None) or ())
    ]
    if states:  # a call would change them
        return kept + states
    x = X[:, 0] if isinstance(subject, layers.Dense) else X
    return [*kept, np.array(subject(x))]


def flatten(tree: Any) -> list[Any]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [leaf for value in tree for leaf in flatten(value)]
    return [tree]


@dataclasses.dataclass(frozen=True)
class Mistake:
    what: str
    subject: Callable[[], Any]
    act: Callable[[Any], Any]
    error: type[Exception] | tuple[type[Exception], ...]
    says: tuple[str, ...]


class Strange:
    """An object that is no number."""

    def __repr__(self) -> str:
        return "<strange>"


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


def weights_with(place: int, *shape: int) -> list[np.ndarray]:
    changed = random_weights(lstm())
    changed[place] = zeros(*shape)
    return changed


RAGGED = [[[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]
PADDINGS = ("Conv1D", "casual", "valid", "same", "causal")
POSITIVE = "expected a positive integer"

CALLS = [
    # (what, input, error, what the message says)
    ("two axes", X[0], ValueError, ("expected ndim=3", "found ndim=2", "Full shape received: (5, 3)", "memory")),
    ("one axis", X[0, 0], ValueError, ("expected ndim=3", "found ndim=1", "(3,)")),
    ("a scalar", 1.0, ValueError, ("expected ndim=3", "found ndim=0")),
    ("four axes", X[None], ValueError, ("expected ndim=3", "found ndim=4", "(1, 2, 5, 3)")),
    ("more features", zeros(2, 5, 4), ValueError, ("3", "4", "memory", "(2, 5, 4)")),
    ("fewer features", zeros(2, 5, 2), ValueError, ("3", "2", "memory", "(2, 5, 2)")),
    ("no features", zeros(2, 5, 0), ValueError, ("3", "0", "(2, 5, 0)")),
    ("no steps", zeros(2, 0, 3), ValueError, ("1 timestep", "0", "(2, 0, 3)")),
    ("no rows and no steps", zeros(0, 0, 3), ValueError, ("1 timestep", "(0, 0, 3)")),
    ("ragged lists", RAGGED, ValueError, ("inhomogeneous",)),
    ("strings", [[["a", "b", "c"]]], TypeError, ("numbers", "<U1")),
    ("objects", np.full((2, 5, 3), Strange()), TypeError, ("numbers", "object")),
    ("None inside", [[[None, 1.0, 2.0]]], TypeError, ("numbers", "object")),
    ("complex numbers", X.astype("complex64"), TypeError, ("numbers", "complex64")),
    ("dates", np.zeros((2, 5, 3), "datetime64[s]"), TypeError, ("numbers", "datetime64")),
    ("bytes", b"abc", TypeError, ("numbers", "|S3")),
    ("None", None, (TypeError, ValueError), ("number",)),
    ("a dict", {"x": 1}, (TypeError, ValueError), ("number",)),
    ("a strange object", Strange(), (TypeError, ValueError), ("number",)),
]

MISTAKES = [
    *(
        Mistake(f"call a layer with {what}", lstm, lambda layer, x=x: layer(x), error, says)
        for what, x, error, says in CALLS
    ),
    # ---- further arguments of a call
    Mistake(
        "mask of the wrong length",
        lstm,
        lambda layer: layer(X, mask=np.ones((2, 4), bool)),
        ValueError,
        ("(2, 4)", "(2, 5)", "memory"),
    ),
    Mistake(
        "mask of the wrong batch",
        lstm,
        lambda layer: layer(X, mask=np.ones((3, 5), bool)),
        ValueError,
        ("(3, 5)", "(2, 5)"),
    ),
    Mistake(
        "mask of three axes",
        lstm,
        lambda layer: layer(X, mask=np.ones((2, 5, 3), bool)),
        ValueError,
        ("(2, 5, 3)", "(2, 5)"),
    ),
    Mistake("mask of one axis", lstm, lambda layer: layer(X, mask=np.ones(5, bool)), ValueError, ("(5,)", "(2, 5)")),
    Mistake("mask of strings", lstm, lambda layer: layer(X, mask=[["a"] * 5] * 2), TypeError, ("mask", "numbers")),
    Mistake("ragged mask", lstm, lambda layer: layer(X, mask=[[1], [1, 0]]), ValueError, ("mask",)),
    Mistake(
        "one state instead of two",
        lstm,
        lambda layer: layer(X, initial_state=STATE[:1]),
        ValueError,
        ("2 states", "holds 1", "memory"),
    ),
    Mistake(
        "three states",
        lstm,
        lambda layer: layer(X, initial_state=[*STATE, STATE[0]]),
        ValueError,
        ("2 states", "holds 3"),
    ),
    Mistake(
        "a bare array as states",
        lstm,
        lambda layer: layer(X, initial_state=STATE[0]),
        ValueError,
        ("2 states", "holds 1"),
    ),
    Mistake(
        "state of the wrong units",
        lstm,
        lambda layer: layer(X, initial_state=[zeros(2, 4), zeros(2, 5)]),
        ValueError,
        ("(2, 5)", "(2, 4)", "memory"),
    ),
    Mistake(
        "state of the wrong batch",
        lstm,
        lambda layer: layer(X, initial_state=[zeros(3, 4), zeros(3, 4)]),
        ValueError,
        ("(3, 4)", "(2, 4)"),
    ),
    Mistake(
        "state without a batch",
        lstm,
        lambda layer: layer(X, initial_state=[zeros(4), zeros(4)]),
        ValueError,
        ("(4,)", "(2, 4)"),
    ),
    Mistake(
        "state of strings",
        lstm,
        lambda layer: layer(X, initial_state=["a", "b"]),
        (TypeError, ValueError),
        ("state", "memory"),
    ),
    Mistake("unknown call argument", lstm, lambda layer: layer(X, masks=None), TypeError, ("masks",)),
    Mistake("too many call arguments", lstm, lambda layer: layer(X, None, None, False, 1), TypeError, ("5", "4")),
    Mistake("an argument twice", lstm, lambda layer: layer(X, sequences=X), TypeError, ("sequences",)),
    Mistake("no input", lstm, lambda layer: layer(mask=np.ones((2, 5))), TypeError, ("input",)),
    # ---- stateful layers
    Mistake(
        "another batch to a stateful layer",
        stateful,
        lambda layer: layer(zeros(3, 5, 3)),
        ValueError,
        ("must be the same as the batch size of", "Expected batch size: 2", "Received batch size: 3"),
    ),
    Mistake(
        "wrong features to a stateful layer", stateful, lambda layer: layer(zeros(2, 5, 4)), ValueError, ("3", "4")
    ),
    Mistake(
        "no steps to a stateful layer", stateful, lambda layer: layer(zeros(2, 0, 3)), ValueError, ("timestep", "0")
    ),
    Mistake(
        "wrong mask to a stateful layer",
        stateful,
        lambda layer: layer(X, mask=np.ones((2, 9))),
        ValueError,
        ("(2, 9)", "(2, 5)"),
    ),
    Mistake(
        "wrong states to a stateful layer",
        stateful,
        lambda layer: layer(X, initial_state=[zeros(2, 4)]),
        ValueError,
        ("2 states", "1"),
    ),
    Mistake(
        "reset to states of the wrong shape",
        stateful,
        lambda layer: layer.reset_states([zeros(2, 5)] * 2),
        ValueError,
        ("(2, 5)", "(2, 4)"),
    ),
    Mistake(
        "reset to too few states",
        stateful,
        lambda layer: layer.reset_states([zeros(2, 4)]),
        ValueError,
        ("2 states", "1"),
    ),
    Mistake(
        "stateful without a batch size",
        nothing,
        lambda _: layers.LSTM(4, stateful=True).build((None, 5, 3)),
        ValueError,
        ("batch size", "static"),
    ),
    # ---- weights
    Mistake(
        "two weights of three",
        lstm,
        lambda layer: layer.set_weights(random_weights(layer)[:2]),
        ValueError,
        ("set_weights(weights)", "'memory'", "length 2", "expecting 3 weights"),
    ),
    Mistake(
        "four weights of three",
        lstm,
        lambda layer: layer.set_weights([*random_weights(layer), 1]),
        ValueError,
        ("length 4", "expecting 3 weights"),
    ),
    Mistake("no weights", lstm, lambda layer: layer.set_weights([]), ValueError, ("length 0", "expecting 3")),
    Mistake(
        "kernel of the wrong shape",
        lstm,
        lambda layer: layer.set_weights(weights_with(0, 2, 16)),
        ValueError,
        ("memory", "(3, 16)", "(2, 16)", "not compatible"),
    ),
    Mistake(
        "recurrent kernel of the wrong shape",
        lstm,
        lambda layer: layer.set_weights(weights_with(1, 4, 4)),
        ValueError,
        ("(4, 16)", "(4, 4)"),
    ),
    Mistake(
        "bias of the wrong shape",
        lstm,
        lambda layer: layer.set_weights(weights_with(2, 4)),
        ValueError,
        ("(16,)", "(4,)"),
    ),
    Mistake(
        "a transposed kernel",
        lstm,
        lambda layer: layer.set_weights(weights_with(0, 16, 3)),
        ValueError,
        ("(3, 16)", "(16, 3)"),
    ),
    Mistake(
        "weights of strings",
        lstm,
        lambda layer: layer.set_weights(["a", "b", "c"]),
        (TypeError, ValueError),
        ("weight", "memory"),
    ),
    Mistake("ragged weights", lstm, lambda layer: layer.set_weights([[[1], [1, 2]], 0, 0]), ValueError, ("memory",)),
    Mistake("weights that are no list", lstm, lambda layer: layer.set_weights(3), TypeError, ("int",)),
    Mistake(
        "weights of a layer that is not built",
        nothing,
        lambda _: layers.LSTM(4).set_weights([1, 2, 3]),
        ValueError,
        ("length 3", "expecting 0"),
    ),
    Mistake(
        "too few weights of a model",
        model,
        lambda net: net.set_weights(random_weights(net)[:4]),
        ValueError,
        ("'net'", "length 4", "expecting 5"),
    ),
    Mistake(
        "a wrong last weight of a model",
        model,
        lambda net: net.set_weights([*random_weights(net)[:4], zeros(3)]),
        ValueError,
        ("head", "(2,)", "(3,)"),
    ),
    Mistake(
        "a layer's weights through the model",
        model,
        lambda net: net.get_layer("memory").set_weights([zeros(1, 1)] * 3),
        ValueError,
        ("(3, 16)", "(1, 1)"),
    ),
    Mistake("writing into a weight", lstm, lambda layer: layer.kernel.fill(0), ValueError, ("read-only",)),
    Mistake("writing into a gate's view", lstm, lambda layer: layer.kernel_f.fill(0), ValueError, ("read-only",)),
    # ---- constructors
    *(
        Mistake(
            f"units={value!r}",
            nothing,
            lambda _, value=value: layers.LSTM(value),
            ValueError,
            ("`units`", POSITIVE, f"got {value}"),
        )
        for value in (0, -1, 1.5, "4", None, True)
    ),
    Mistake("units of Dense", nothing, lambda _: layers.Dense(0), ValueError, ("`units`", POSITIVE, "got 0")),
    Mistake("units of GRU", nothing, lambda _: layers.GRU(-3), ValueError, ("`units`", POSITIVE, "got -3")),
    Mistake("units of SimpleRNN", nothing, lambda _: layers.SimpleRNN(0), ValueError, ("`units`", POSITIVE)),
    Mistake("no units", nothing, lambda _: layers.LSTM(), TypeError, ("units",)),
    Mistake(
        "unknown activation",
        nothing,
        lambda _: layers.LSTM(4, activation="tahn"),
        ValueError,
        ("Could not interpret activation", "tahn"),
    ),
    Mistake(
        "unknown recurrent activation",
        nothing,
        lambda _: layers.LSTM(4, recurrent_activation=7),
        ValueError,
        ("Could not interpret activation", "7"),
    ),
    Mistake(
        "unknown argument",
        nothing,
        lambda _: layers.LSTM(4, return_sequence=True),
        ValueError,
        ("Unrecognized keyword", "return_sequence", "Did you mean 'return_sequences'"),
    ),
    Mistake(
        "unknown argument of a cell",
        nothing,
        lambda _: layers.LSTMCell(4, recurent_activation="tanh"),
        ValueError,
        ("Unrecognized keyword", "LSTMCell", "Did you mean 'recurrent_activation'"),
    ),
    Mistake("padding of a wrong name", nothing, lambda _: layers.Conv1D(2, 2, padding="casual"), ValueError, PADDINGS),
    Mistake("a number for a cell", nothing, lambda _: layers.RNN(3), ValueError, ("Expected a layer", "3")),
    Mistake("nothing to a layer", lstm, lambda layer: layer(None), TypeError, ("'memory'", "None")),
    Mistake("text to a layer", lstm, lambda layer: layer(np.full((2, 5, 3), "a")), TypeError, ("'memory'", "<U1")),
    *(
        Mistake(
            f"states between layers of a chain: {type(layer).__name__}",
            nothing,
            lambda _, layer=layer: lstmfast.Sequential(
                [lstmfast.Input((5, 3)), layers.LSTM(4, return_sequences=True, return_state=True), layer]
            ),
            ValueError,
            ('"wide"', "expects 1 input(s)", "3 input tensors", "((None, 5, 4), (None, 4), (None, 4))"),
        )
        for layer in (
            layers.Dense(2, name="wide"),
            layers.GRU(2, name="wide"),
            layers.TimeDistributed(layers.Dense(2), name="wide"),
        )
    ),
    Mistake("unknown dtype", nothing, lambda _: layers.LSTM(4, dtype="float33"), (TypeError, ValueError), ("float33",)),
    Mistake(
        "dtype of strings", nothing, lambda _: layers.LSTM(4, dtype="string"), (TypeError, ValueError), ("string",)
    ),
    Mistake("name that is no text", nothing, lambda _: layers.LSTM(4, name=7), ValueError, ("name", "7")),
    Mistake("unknown initializer", nothing, lambda _: layers.LSTM(4, kernel_initializer="ons"), ValueError, ("ons",)),
    Mistake(
        "a Python function inside the recurrence",
        nothing,
        lambda _: layers.LSTM(4, activation=lambda x: x)(X),
        NotImplementedError,
        ("lambda", "recurrence"),
    ),
    Mistake("repeat zero times", nothing, lambda _: layers.RepeatVector(0), ValueError, ("n", "0")),
    Mistake(
        "repeat half a time", nothing, lambda _: layers.RepeatVector(0.5), (TypeError, ValueError), ("`n`", "float")
    ),
    Mistake("rate above one", nothing, lambda _: layers.Dropout(1.5), ValueError, ("rate", "1.5")),
    Mistake("rate below zero", nothing, lambda _: layers.Dropout(-0.1), ValueError, ("rate", "-0.1")),
    Mistake(
        "TimeDistributed of no layer",
        nothing,
        lambda _: layers.TimeDistributed(3),
        ValueError,
        ("TimeDistributed", "3"),
    ),
    Mistake(
        "a shape that does not fit", nothing, lambda _: layers.Reshape((7, 2))(X), ValueError, ("(7, 2)", "(5, 3)")
    ),
    Mistake(
        "features that are not known",
        nothing,
        lambda _: layers.LSTM(4).build((None, None, None)),
        ValueError,
        ("(None, None, None)",),
    ),
    Mistake(
        "no features to build for",
        nothing,
        lambda _: layers.LSTM(4).build((None, None, 0)),
        ValueError,
        (POSITIVE, "0"),
    ),
    Mistake("a negative size", nothing, lambda _: layers.LSTM(4).build((None, -5, 3)), ValueError, ("-5",)),
    Mistake(
        "a size that is no number",
        nothing,
        lambda _: layers.LSTM(4).build((None, "a", 3)),
        (TypeError, ValueError),
        ("'a'",),
    ),
    Mistake(
        "a shape of two sizes",
        nothing,
        lambda _: layers.LSTM(4).build((None, 3)),
        ValueError,
        ("expected ndim=3", "found ndim=2"),
    ),
    Mistake("parameters before building", nothing, lambda _: layers.LSTM(4).count_params(), ValueError, ("built",)),
    # ---- Dense
    Mistake("wrong features to Dense", dense, lambda layer: layer(zeros(2, 4)), ValueError, ("3", "4", "wide")),
    Mistake("a vector to Dense", dense, lambda layer: layer(zeros(3)), ValueError, ("min_ndim=2", "found ndim=1")),
    # ---- models
    Mistake(
        "wrong features to a model",
        model,
        lambda net: net.predict(zeros(2, 5, 4)),
        ValueError,
        ("(None, None, 3)", "(2, 5, 4)", "net"),
    ),
    Mistake(
        "wrong steps to a model",
        fixed_model,
        lambda net: net.predict(zeros(2, 6, 3)),
        ValueError,
        ("(None, 5, 3)", "(2, 6, 3)"),
    ),
    Mistake("wrong rank to a model", model, lambda net: net.predict(zeros(2, 5)), ValueError, ("ndim=3", "ndim=2")),
    Mistake(
        "strings to a model", model, lambda net: net.predict(np.full((2, 5, 3), "a")), TypeError, ("numbers", "<U1")
    ),
    Mistake("ragged lists to a model", model, lambda net: net.predict(RAGGED), ValueError, ("inhomogeneous",)),
    Mistake("nothing to a model", model, lambda net: net.predict(None), (TypeError, ValueError), ()),
    Mistake(
        "three inputs to a model of one",
        model,
        lambda net: net.predict([X, X, X]),
        ValueError,
        ('"net"', "expects 1 input(s)", "3 input tensors"),
    ),
    Mistake(
        "one input to a model of two",
        nothing,
        lambda _: two_inputs()(X),
        ValueError,
        ('"pair"', "expects 2 input(s)", "1 input tensors", "['a', 'b']"),
    ),
    *(
        Mistake(
            f"{name} of a model", model, lambda net, name=name: getattr(net, name), AttributeError, (name, "from_keras")
        )
        for name in ("fit", "evaluate", "train_on_batch", "test_on_batch")
    ),
    Mistake("an input by the wrong name", model, lambda net: net.predict({"other": X}), ValueError, ("other",)),
    Mistake(
        "model called on the wrong shape",
        model,
        lambda net: net(zeros(2, 5, 4)),
        ValueError,
        ("(None, None, 3)", "(2, 5, 4)"),
    ),
    *(
        Mistake(
            f"batch_size={value!r}",
            model,
            lambda net, value=value: net.predict(X, batch_size=value),
            ValueError,
            ("`batch_size`", POSITIVE, f"got {value}"),
        )
        for value in (0, -2, 1.5, "8")
    ),
    *(
        Mistake(
            f"steps={value!r}",
            model,
            lambda net, value=value: net.predict(X, steps=value),
            ValueError,
            ("`steps`", POSITIVE, f"got {value}"),
        )
        for value in (0, -1, 2.5)
    ),
    Mistake("unknown verbose", model, lambda net: net.predict(X, verbose=3), ValueError, ("verbose", "3")),
    Mistake("callbacks", model, lambda net: net.predict(X, callbacks=[print]), NotImplementedError, ("allbacks",)),
    Mistake("no such layer", model, lambda net: net.get_layer("memroy"), ValueError, ("memroy", "memory", "head")),
    Mistake("no such index", model, lambda net: net.get_layer(index=9), ValueError, ("9", "2")),
    Mistake("neither name nor index", model, lambda net: net.get_layer(), ValueError, ("name", "index")),
    Mistake("both name and index", model, lambda net: net.get_layer("memory", 0), ValueError, ("name", "index")),
    Mistake("a model of no layer", nothing, lambda _: lstmfast.Sequential([3]), ValueError, ("Layer", "3")),
    Mistake(
        "two layers of one name",
        nothing,
        lambda _: lstmfast.Sequential([layers.Dense(1, name="a"), layers.Dense(1, name="a")]),
        ValueError,
        ("unique", "'a'"),
    ),
    Mistake(
        "an Input in the middle",
        nothing,
        lambda _: lstmfast.Sequential([layers.Dense(1), lstmfast.Input((3,))]),
        ValueError,
        ("first",),
    ),
    Mistake("an empty model", nothing, lambda _: lstmfast.Sequential([]).predict(X), ValueError, ("layer",)),
    Mistake(
        "layers that do not fit each other",
        nothing,
        lambda _: lstmfast.Sequential([lstmfast.Input((5, 3)), layers.LSTM(4), layers.LSTM(4)]),
        ValueError,
        ("expected ndim=3", "found ndim=2"),
    ),
    Mistake("an Input of a negative size", nothing, lambda _: lstmfast.Input((5, -3)), ValueError, ("-3",)),
    Mistake("an Input without a shape", nothing, lambda _: lstmfast.Input(), ValueError, ("shape",)),
    Mistake(
        "another batch to a stateful model",
        stateful_model,
        lambda net: net.predict(zeros(3, 5, 3)),
        ValueError,
        ("Expected batch size: 2", "Received batch size"),
    ),
    Mistake(
        "wrong features to a stateful model",
        stateful_model,
        lambda net: net.predict(zeros(2, 5, 9)),
        ValueError,
        ("(2, 5, 9)",),
    ),
    Mistake("from_keras of something else", nothing, lambda _: lstmfast.from_keras(3), TypeError, ("Keras", "int")),
    # ---- streams
    Mistake(
        "step of the wrong features", stream, lambda opened: opened.step(zeros(2, 4)), ValueError, ("(2, 3)", "(2, 4)")
    ),
    Mistake(
        "step of the wrong batch", stream, lambda opened: opened.step(zeros(3, 3)), ValueError, ("(2, 3)", "(3, 3)")
    ),
    Mistake("step of three axes", stream, lambda opened: opened.step(X), ValueError, ("(2, 3)", "(2, 5, 3)")),
    Mistake("step of strings", stream, lambda opened: opened.step([["a"] * 3] * 2), TypeError, ("numbers",)),
    Mistake("step of a ragged list", stream, lambda opened: opened.step([[1, 2, 3], [1]]), ValueError, ()),
    Mistake("state of another model", stream, lambda opened: setattr(opened, "state", 3), (TypeError, ValueError), ()),
    Mistake(
        "state of another batch",
        stream,
        lambda opened: setattr(opened, "state", model().stream(batch_size=3).state),
        ValueError,
        ("(3, 4)", "(2, 4)"),
    ),
    *(
        Mistake(
            f"stream of batch_size={value!r}",
            model,
            lambda net, value=value: net.stream(batch_size=value),
            ValueError,
            ("`batch_size`", POSITIVE, f"got {value}"),
        )
        for value in (0, -1, 1.5)
    ),
    Mistake(
        "stream of a backward layer",
        lambda: model(go_backwards=True),
        lambda net: net.stream(),
        ValueError,
        ("memory", "LSTM", "backwards"),
    ),
    # ---- functions
    Mistake(
        "lstm of two axes",
        nothing,
        lambda _: lstmfast.lstm(X[0], zeros(3, 16), zeros(4, 16)),
        ValueError,
        ("(5, 3)", "(batch, steps, features)"),
    ),
    Mistake(
        "lstm with a wrong kernel",
        nothing,
        lambda _: lstmfast.lstm(X, zeros(2, 16), zeros(4, 16)),
        ValueError,
        ("(3, 16)", "(2, 16)"),
    ),
    Mistake(
        "lstm with a wrong recurrent kernel",
        nothing,
        lambda _: lstmfast.lstm(X, zeros(3, 16), zeros(4, 12)),
        ValueError,
        ("(4, 12)", "4 * units"),
    ),
    Mistake(
        "lstm with a wrong bias",
        nothing,
        lambda _: lstmfast.lstm(X, zeros(3, 16), zeros(4, 16), zeros(4)),
        ValueError,
        ("(16,)", "(4,)"),
    ),
    Mistake("negative threads", nothing, lambda _: lstmfast.set_num_threads(-1), ValueError, ("-1",)),
    Mistake(
        "too many threads",
        nothing,
        lambda _: lstmfast.set_num_threads(10**6),
        ValueError,
        ("1000000", "1024"),
    ),
    Mistake(
        "threads beyond any integer",
        nothing,
        lambda _: lstmfast.set_num_threads(10**30),
        ValueError,
        ("1024",),
    ),
    Mistake("half a thread", nothing, lambda _: lstmfast.set_num_threads(1.5), TypeError, ("integer", "1.5")),
    Mistake("threads of a text", nothing, lambda _: lstmfast.set_num_threads("2"), TypeError, ("integer", "'2'")),
    Mistake(
        "an instruction set that is not there",
        nothing,
        lambda _: _core.select_isa("sse9"),
        ValueError,
        ("sse9", "generic"),
    ),
    # ---- the core's own boundary
    Mistake(
        "core: x of another type",
        core,
        lambda layer: bits.run(layer, X.astype("float64")),
        TypeError,
        ("float32", "float64"),
    ),
    Mistake("core: x of integers", core, lambda layer: bits.run(layer, X.astype(int)), TypeError, ("float32", "int64")),
    Mistake("core: x of two axes", core, lambda layer: bits.run(layer, X[0]), ValueError, ("ndim=3", "(5, 3)")),
    Mistake(
        "core: x of other features",
        core,
        lambda layer: bits.run(layer, zeros(2, 5, 4)),
        ValueError,
        ("3 features", "(2, 5, 4)"),
    ),
    Mistake(
        "core: x without steps", core, lambda layer: bits.run(layer, zeros(2, 0, 3)), ValueError, ("step", "(2, 0, 3)")
    ),
    Mistake(
        "core: x in the wrong byte order",
        core,
        lambda layer: bits.run(layer, X.astype(">f4")),
        TypeError,
        ("byte order",),
    ),
    Mistake(
        "core: mask of other steps",
        core,
        lambda layer: bits.run(layer, X, np.ones((2, 4), bool)),
        ValueError,
        ("(2, 5)", "(2, 4)"),
    ),
    Mistake(
        "core: mask of numbers", core, lambda layer: bits.run(layer, X, np.ones((2, 5))), TypeError, ("mask", "bool")
    ),
    Mistake(
        "core: states in a list", core, lambda layer: bits.run(layer, X, None, STATE), TypeError, ("tuple", "list")
    ),
    Mistake("core: one state", core, lambda layer: bits.run(layer, X, None, (STATE[0],)), ValueError, ("2", "1")),
    Mistake(
        "core: state of other units",
        core,
        lambda layer: bits.run(layer, X, None, (zeros(2, 5), zeros(2, 4))),
        ValueError,
        ("(2, 4)", "(2, 5)"),
    ),
    Mistake(
        "core: out of another shape",
        core,
        lambda layer: bits.run(layer, X, out=zeros(2, 5, 5)),
        ValueError,
        ("out", "(2, 5, 4)", "(2, 5, 5)"),
    ),
    Mistake(
        "core: out of another type",
        core,
        lambda layer: bits.run(layer, X, out=np.zeros((2, 5, 4))),
        TypeError,
        ("out", "float32", "float64"),
    ),
    Mistake(
        "core: out that is read-only",
        core,
        lambda layer: bits.run(layer, X, out=np.broadcast_to(zeros(1, 1, 4), (2, 5, 4))),
        ValueError,
        ("read-only",),
    ),
    Mistake(
        "core: steps of a dense layer",
        lambda: bits.packed("dense", 3, 4, activation=("linear", 0.0, 0.0, 0.0)),
        lambda layer: bits.run(layer, X),
        ValueError,
        ("apply",),
    ),
    Mistake(
        "core: an index behind the table",
        core,
        lambda layer: run_indexed(layer, np.full((2, 5), 4, "int32"), zeros(4, FEATURES)),
        ValueError,
        ("indices", "0 to 3"),
    ),
    Mistake(
        "core: a table without rows",
        core,
        lambda layer: run_indexed(layer, np.zeros((2, 5), "int32"), zeros(0, FEATURES)),
        ValueError,
        ("table", "at least one row", "(0, "),
    ),
    Mistake("core: apply of a recurrent layer", core, lambda layer: layer.apply(X[0], None, 0), ValueError, ("run",)),
    Mistake(
        "core: an unknown activation",
        nothing,
        lambda _: _core.activate(("tahn", 0, 0, 0), X),
        ValueError,
        ("tahn", "tanh"),
    ),
    Mistake("core: an unknown kind", nothing, lambda _: bits.packed("lstn", 3, 4), ValueError, ("lstn", "lstm")),
]


def test_there_are_enough_of_them():
    assert len(MISTAKES) >= 60
    assert len({mistake.what for mistake in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_is_explained_and_changes_nothing(mistake):
    subject = mistake.subject()
    if isinstance(subject, _core.PackedLayer) and subject.kind == "dense":
        before = []
    else:
        before = observe(subject)
    with pytest.raises(mistake.error) as caught:
        mistake.act(subject)
    message = str(caught.value)
    for part in mistake.says:
        assert re.search(rf"(?<!\d){re.escape(part)}", message), f"{part!r} is not in: {message}"
    if before:
        assert_same_bits(observe(subject), before, "after the mistake")


def test_absurd_sizes_are_refused_before_memory_is_taken():
    layer = layers.LSTM(1 << 40)
    with pytest.raises((MemoryError, ValueError)):
        layer(zeros(1, 1, 1))
    # (rows of one and the same value take no memory themselves; their outputs would take 2**50 bytes)
    rows = np.broadcast_to(zeros(1, 1, 3), (1 << 44, 4, 3))
    with pytest.raises((MemoryError, ValueError)):
        bits.run(core(), rows)
    with pytest.raises((MemoryError, ValueError, OverflowError)):
        layers.RepeatVector(1 << 62)(zeros(2, 3))
    with pytest.raises((MemoryError, ValueError, OverflowError)):
        layers.LSTM(1 << 70)(zeros(1, 1, 1))


def test_a_closed_door_stays_closed():
    """A PackedLayer cannot be used before it is made, nor made twice."""
    blank = _core.PackedLayer.__new__(_core.PackedLayer)
    with pytest.raises(ValueError, match="never initialised"):
        bits.run(blank, X)
    made = core()
    with pytest.raises(TypeError, match="immutable"):
        made.__init__("lstm", zeros(3, 16), zeros(4, 16), None, ("tanh", 0, 0, 0), ("sigmoid", 0, 0, 0))


# ---- out= and lengths= -------------------------------------------------------------------------------------------


def two_outputs() -> lstmfast.Model:
    entry = lstmfast.Input((STEPS, FEATURES))
    sequence = lstm_of_a_model(return_sequences=True)(entry)
    net = lstmfast.Model(entry, {"all": sequence, "last": layers.GRU(UNITS, name="last")(sequence)}, name="net")
    net.set_weights(random_weights(net))
    return net


def ready_model() -> lstmfast.Sequential:
    net = lstmfast.Sequential([lstmfast.Input((None, FEATURES)), lstm_of_a_model()], name="net")
    net.set_weights(random_weights(net))
    net.predict(X)
    return net


# What makes a subject, and a call of it that returns one (BATCH, UNITS) array of float32 for X.
CALLERS: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "a layer": (lstm, lambda layer, x, out: layer(x, out=out)),
    "a stateful layer": (stateful, lambda layer, x, out: layer(x, out=out)),
    "a layer around one": (
        lambda: layers.Bidirectional(layers.LSTM(UNITS), merge_mode="sum"),
        lambda layer, x, out: layer(x, out=out),
    ),
    "a model": (ready_model, lambda net, x, out: net(x, out=out)),
    "predict": (ready_model, lambda net, x, out: net.predict(x, out=out)),
    "predict with lengths": (ready_model, lambda net, x, out: net.predict(x, lengths=[3, 5], out=out)),
    "a function": (lambda: random_weights(lstm()), lambda weights, x, out: lstmfast.lstm(x, *weights, out=out)),
    "a stream": (lambda: ready_model().stream(BATCH), lambda opened, x, out: opened.step(x[:, 0], out=out)),
}


def misaligned(*shape: int) -> np.ndarray:
    return np.full(4 * int(np.prod(shape)) + 1, 7, "uint8")[1:].view("float32").reshape(shape)


def read_only(*shape: int) -> np.ndarray:
    array = zeros(*shape)
    array.flags.writeable = False
    return array


# (what, out for the input x, error, what the message says)
BAD_OUTS = [
    ("too many rows", lambda x: zeros(3, 4), ValueError, ("out", "(2, 4)", "(3, 4)")),
    ("too many units", lambda x: zeros(2, 5), ValueError, ("out", "(2, 4)", "(2, 5)")),
    ("one axis more", lambda x: zeros(2, 1, 4), ValueError, ("out", "(2, 4)", "(2, 1, 4)")),
    ("one axis less", lambda x: zeros(8), ValueError, ("out", "(2, 4)", "(8,)")),
    ("float64", lambda x: np.zeros((2, 4)), TypeError, ("out", "float32", "float64")),
    ("integers", lambda x: zeros(2, 4, dtype="int32"), TypeError, ("out", "float32", "int32")),
    ("the other byte order", lambda x: zeros(2, 4, dtype=">f4"), TypeError, ("out", "float32", ">f4")),
    ("a list", lambda x: [[0.0] * 4] * 2, (TypeError, ValueError), ("out",)),
    ("two arrays", lambda x: (zeros(2, 4), zeros(2, 4)), ValueError, ("out",)),
    ("text", lambda x: "out", TypeError, ("out", "str")),
    ("a read-only array", lambda x: read_only(2, 4), ValueError, ("out", "read-only")),
    ("misaligned memory", lambda x: misaligned(2, 4), ValueError, ("out", "aligned")),
    ("Fortran order", lambda x: np.zeros((2, 4), "float32", order="F"), ValueError, ("out", "contiguous last axis")),
    ("rows backwards", lambda x: zeros(2, 4)[::-1], ValueError, ("out", "backwards")),
    (
        "rows upon each other",
        lambda x: np.lib.stride_tricks.as_strided(zeros(8), (2, 4), (8, 4)),
        ValueError,
        ("out", "overlap"),
    ),
    ("the input's memory", lambda x: x.reshape(-1)[2:10].reshape(2, 4), ValueError, ("out", "overlaps an input")),
]


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(
    ("what", "make", "error", "says"), BAD_OUTS, ids=lambda value: value if type(value) is str else ""
)
def test_an_out_that_will_not_do_is_refused_and_left_alone(caller, what, make, error, says):
    prepare, call = CALLERS[caller]
    subject = prepare()
    for _ in range(2):  # the first call of its kind, and one like an earlier one
        x = X.copy()
        out = make(x)
        arrays = [part for part in flatten(out) if isinstance(part, np.ndarray)]
        before = [part.tobytes() for part in arrays]
        with pytest.raises(error) as caught:
            call(subject, x, out)
        for part in says:
            assert part in str(caught.value), f"{part!r} is not in: {caught.value}"
        assert [part.tobytes() for part in arrays] == before
        assert_same_bits(x, X)
        good = zeros(2, 4)
        assert call(subject, x, good) is good, "the failed call has broken it"


def test_a_refused_out_keeps_the_state_of_what_is_stateful():
    layer, opened = stateful(), stream()
    for subject, call in ((layer, lambda out: layer(X, out=out)), (opened, lambda out: opened.step(X[:, 1], out=out))):
        before = observe(subject)
        for out in (zeros(9, 9), np.zeros((2, 4)), np.zeros((2, 2))):
            with pytest.raises((ValueError, TypeError), match="out"):
                call(out)
        assert_same_bits(observe(subject), before)


def test_outs_of_several_outputs_are_checked_together():
    net = two_outputs()
    good = {"all": zeros(2, 5, 4), "last": zeros(2, 4)}
    assert net(X, out=good)["all"] is good["all"]
    assert_same_bits(flatten(net.predict(X)), flatten(good))
    for wrong, says in (
        ({"all": good["all"]}, "dict"),
        ({**good, "more": zeros(1)}, "dict"),
        ([good["all"], good["last"]], "dict"),
        (good["all"], "dict"),
        ({"all": good["all"], "last": good["all"][:, 0]}, "overlaps"),
        ({"all": good["all"], "last": zeros(2, 3)}, "(2, 3)"),
    ):
        kept = good["all"].copy()
        for call in (net, net.predict):
            with pytest.raises(ValueError, match=re.escape(says)):
                call(X, out=wrong)
        assert_same_bits(good["all"], kept)


def test_outs_of_states_are_checked_together():
    layer = lstm(return_state=True)
    good = (zeros(2, 4), zeros(2, 4), zeros(2, 4))
    result = layer(X, out=list(good))
    assert all(mine is given for mine, given in zip(result, good, strict=True))
    assert_same_bits(good, layer(X))
    for wrong in (
        good[:2],
        good[0],
        (*good, zeros(2, 4)),
        (good[0], good[1], good[1]),
        (good[0], zeros(2, 5), good[2]),
    ):
        with pytest.raises(ValueError, match="out"):
            layer(X, out=wrong)
    state = [zeros(2, 4), zeros(2, 4)]
    with pytest.raises(ValueError, match="overlaps"):
        layer(X, initial_state=state, out=(zeros(2, 4), state[0], zeros(2, 4)))


BAD_LENGTHS = [
    ("a length of 0", [0, 5], ValueError, ("1 to 5", "got 0", "row 0")),
    ("a length beyond the steps", [5, 6], ValueError, ("1 to 5", "got 6", "row 1")),
    ("a negative length", [5, -1], ValueError, ("1 to 5", "got -1")),
    ("too few lengths", [5], ValueError, ("(2,)", "(1,)")),
    ("too many lengths", [5, 5, 5], ValueError, ("(2,)", "(3,)")),
    ("lengths of two axes", [[5, 5]], ValueError, ("(2,)", "(1, 2)")),
    ("fractions", [5.0, 2.5], TypeError, ("integers", "float64")),
    ("bools", [True, True], TypeError, ("integers", "bool")),
    ("text", ["5", "5"], TypeError, ("numbers",)),
]


@pytest.mark.parametrize(
    ("what", "lengths", "error", "says"), BAD_LENGTHS, ids=lambda value: value if type(value) is str else ""
)
def test_lengths_that_will_not_do(what, lengths, error, says):
    net, layer = ready_model(), lstm()
    for call in (net, net.predict, layer):
        with pytest.raises(error) as caught:
            call(X, lengths=lengths)
        for part in says:
            assert part in str(caught.value)


def test_where_lengths_have_no_meaning():
    for call, says in (
        (lambda: dense()(X, lengths=[1, 1]), "lengths"),
        (lambda: stateful()(X, lengths=[1, 1]), "stateful"),
        (lambda: stateful_model().predict(X, lengths=[1, 1]), "stateful"),
        (lambda: lstm()(X, lengths=[1, 1], mask=np.ones((2, 5))), "mask"),
        (lambda: ready_model()(X, lengths=[1, 1], mask=np.ones((2, 5))), "mask"),
        (lambda: ready_model().predict(X, lengths=[1, 1], steps=1), "steps"),
        (lambda: fixed_model().predict(X, lengths=[5, 4]), "(1, 4, 3)"),  # it was built for 5 steps
        (lambda: ready_model().predict([X[0], X[1, :0]]), "at least 1 step"),
        (lambda: ready_model().predict([X[0], X[1, :, :2]]), "(5, 2)"),
        (lambda: ready_model().predict([X[0].astype(str), X[1, :3]]), "numbers"),
        (
            lambda: lstmfast.Sequential([lstmfast.Input((3,)), layers.Dense(2)]).predict(X[:, 0], lengths=[1, 1]),
            "(None, 3)",
        ),
        (lambda: ready_model().predict(iter([X]), lengths=[1, 1]), "iterable"),
        (lambda: ready_model().predict(iter([X]), out=zeros(2, 4)), "iterable"),
    ):
        with pytest.raises((ValueError, TypeError), match=re.escape(says)):
            call()


def test_out_may_not_overlap_the_input():
    buffer = zeros(2, 5, 4)
    layer = bits.packed("lstm", 4, 4)
    buffer[...] = bits.sequences(2, 5, 4)
    expected = bits.run(layer, buffer.copy())[0]
    try:
        result = bits.run(layer, buffer, out=buffer)[0]
    except ValueError as error:
        result = error
    if isinstance(result, ValueError):
        assert "overlap" in str(result)
    else:
        assert_same_bits(result, expected, "out is x")


def test_one_sample_without_a_batch_axis():
    model = Sequential([Input((5, 3)), layers.LSTM(2, return_sequences=True), layers.Flatten(), layers.Dense(2)])
    longer = Sequential([Input((None, 3)), layers.LSTM(2)])
    narrow = Sequential([Input((5, 1)), layers.Flatten(), layers.Dense(2)])
    said = "expected ndim=3, found ndim=2. Full shape received: (5, 3). The model takes "
    hint = ": one sample x is passed as x[None]"
    for call in (model, model.predict):
        with pytest.raises(ValueError, match=re.escape(f"{said}(None, 5, 3){hint}")):
            call(X[0])
    with pytest.raises(ValueError, match=re.escape(f"{said}(None, None, 3){hint}")):
        longer.predict(X[0])
    with pytest.raises(ValueError, match=re.escape(f"expected shape=(None, 5, 1), found shape=(5, 1){hint}")):
        narrow.predict(X[0, :, :1])  # the batch, and then a last axis of 1, as in Keras
    assert model.predict(X[0][None]).shape == (1, 2)
    for wrong in (X[0, :4, :2], X[0, 0], X[None]):
        with pytest.raises(ValueError, match=r"expected ndim=3, found ndim=\d.* The model takes \(None, 5, 3\)$"):
            model.predict(wrong)


@pytest.mark.parametrize("name", ["fit", "evaluate", "train_on_batch", "test_on_batch", "loss", "metrics", "optimizer"])
def test_what_trains_says_what_to_do(name):
    class Own(Model):
        def call(self, inputs):
            return inputs

    class Trained(Own):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            setattr(self, name, "mine")

    x = Input((5, 3))
    for model in (Model(x, layers.Dense(2)(x)), Sequential([x]), Sequential(), Own()):
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match=f"no attribute '{name}': lstmfast only predicts.*from_keras"):
            getattr(model, name)
    assert getattr(Trained(), name) == "mine"


@pytest.mark.parametrize(
    ("layer", "shape", "error", "says"),
    [
        (layers.Dense(2), (2, 5), TypeError, "unexpected call argument 'mask'"),
        (layers.Dropout(0.1), (2, 5), TypeError, "unexpected call argument 'mask'"),
        (layers.Conv1D(2, 2), (2, 4), TypeError, "unexpected call argument 'mask'"),
        (layers.LayerNormalization(), (2, 5), TypeError, "unexpected call argument 'mask'"),
        (
            layers.TimeDistributed(layers.Dense(2)),
            (2, 4),
            ValueError,
            r"mask of shape \(2, 5, ...\). Received: \(2, 4\)",
        ),
        (layers.TimeDistributed(layers.Dense(2)), (5,), ValueError, "Received: \\(5,\\)"),
        (layers.BatchNormalization(), (2, 5, 3), ValueError, "one axis less than its inputs"),
        (layers.GlobalAveragePooling1D(), (2, 4), ValueError, r"has shape \(2, 4\), expected \(2, 5\)"),
        (layers.GlobalAveragePooling1D(), (), ValueError, r"has shape \(\)"),
    ],
)
def test_masks_that_nothing_reads(layer, shape, error, says, keras):
    x, mask = np.ones((2, 5, 3), "float32"), np.ones(shape, bool)
    twin = keras.layers.deserialize(layers.serialize(layer))
    with pytest.raises(Exception):  # noqa: B017, PT011 (TensorFlow's own types among them)
        twin(x, mask=keras.ops.convert_to_tensor(mask))
    with pytest.raises(error, match=says):
        layer(x, mask=mask)


@pytest.mark.parametrize("value", ["x" * 100_000, [[1] * 100_000], {"a": "x" * 100_000}], ids=["text", "rows", "dict"])
def test_values_that_are_long_are_not_repeated_whole(value):
    with pytest.raises((ValueError, NotImplementedError)) as raised:
        layers.Masking(value)
    assert "mask_value" in str(raised.value)
    assert len(str(raised.value)) < 250


def test_a_long_mask_value_is_not_repeated_whole():
    long = layers.Hashing(5, mask_value="x" * 100_000)
    with pytest.raises((ValueError, TypeError), match="mask_value") as raised:
        long(np.array([[1, 2]]))
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize("given", [[1], ("Mix",), "Mix", 3, {layers.Dense}])
def test_custom_objects_that_are_no_dict(given, tmp_path):
    model = Sequential([Input((4, 3)), layers.LSTM(2)])
    model.save(tmp_path / "m.keras")
    for read in (
        lambda: lstmfast.load_model(tmp_path / "m.keras", custom_objects=given),
        lambda: lstmfast.model_from_json(model.to_json(), custom_objects=given),
        lambda: lstmfast.explain(tmp_path / "m.keras", custom_objects=given),
        lambda: Sequential.from_config(model.get_config(), custom_objects=given),
        lambda: layers.deserialize(layers.serialize(layers.Dense(2)), custom_objects=given),
        lambda: lstmfast.activations.deserialize("relu", custom_objects=given),
        lambda: lstmfast.initializers.deserialize("zeros", custom_objects=given),
    ):
        with pytest.raises(TypeError, match="`custom_objects` must be a dict"):
            read()


def test_inputs_of_tensorflow_that_are_no_arrays(keras):
    import tensorflow

    model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(2)])
    with pytest.raises(TypeError, match="`custom_objects` must be a dict"):
        lstmfast.from_keras(model, custom_objects=[1])
    mine = lstmfast.from_keras(model)
    x = np.random.default_rng(2).normal(size=(3, 4, 3)).astype("float32")
    ragged = tensorflow.RaggedTensor.from_tensor(x, lengths=[1, 4, 2])
    for call in (mine, mine.predict, mine.predict_on_batch, mine.layers[0]):
        with pytest.raises(TypeError, match=r"to be an array, got a RaggedTensor of shape \(3, None, 3\): its rows"):
            call(ragged)
        with pytest.raises(TypeError, match="got a SparseTensor"):
            call(tensorflow.sparse.from_dense(x))
    rows = mine.predict([row.numpy() for row in ragged])
    for row, steps in enumerate((1, 4, 2)):
        np.testing.assert_array_equal(rows[row], mine.predict(x[row : row + 1, :steps])[0])


def test_buffers_are_arrays():
    model = Sequential([Input((4, 3)), layers.LSTM(2)])
    x = np.random.default_rng(2).normal(size=(3, 4, 3)).astype("float32")
    for call in (model, model.predict, model.predict_on_batch):
        np.testing.assert_array_equal(call(memoryview(x)), model(x))
    with pytest.raises(ValueError, match="expected ndim=3, found ndim=1"):
        model.predict(memoryview(x.ravel()))
