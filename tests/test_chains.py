"""Chains of stages, which run without Python in between, give what their layers give one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import _core, layers

Stack = Callable[[dict[str, Any]], list[Any]]  # given what all layers are
FEATURES = 5

STACKS: dict[str, Stack] = {
    "one": lambda d: [layers.LSTM(3, **d)],
    "relu": lambda d: [
        layers.LSTM(10, activation="relu", return_sequences=True, **d),
        layers.LSTM(10, **d),
        layers.Dense(7, **d),
    ],
    "cells": lambda d: [
        layers.LSTM(4, return_sequences=True, **d),
        layers.GRU(3, return_sequences=True, **d),
        layers.GRU(6, reset_after=False, return_sequences=True, **d),
        layers.SimpleRNN(2, **d),
        layers.Dense(2, activation="softmax", **d),
    ],
    "backwards": lambda d: [
        layers.GRU(9, go_backwards=True, return_sequences=True, **d),
        layers.LSTM(17, return_sequences=True, **d),
        layers.LSTM(5, return_sequences=True, **d),
    ],
    "backwards above": lambda d: [layers.LSTM(4, return_sequences=True, **d), layers.LSTM(4, go_backwards=True, **d)],
    "wide": lambda d: [layers.LSTM(40, return_sequences=True, **d), layers.LSTM(8, **d)],
    "nine levels": lambda d: [layers.LSTM(2, return_sequences=True, **d) for _ in range(9)],
    "decoder": lambda d: [
        layers.LSTM(6, **d),
        layers.RepeatVector(4, **d),
        layers.LSTM(6, return_sequences=True, **d),
        layers.TimeDistributed(layers.Dense(2, activation="tanh", **d), **d),
    ],
    "repeated": lambda d: [layers.LSTM(6, **d), layers.RepeatVector(3, **d)],
    "both": lambda d: [layers.Bidirectional(layers.LSTM(5, return_sequences=True, **d), **d), layers.Dense(3, **d)],
    "both last": lambda d: [
        layers.Bidirectional(layers.GRU(5, **d), **d),
        layers.Dropout(0.5, **d),
        layers.Dense(1, **d),
    ],
    "both added": lambda d: [layers.Bidirectional(layers.LSTM(5, **d), merge_mode="sum", **d)],
    "other layers": lambda d: [
        layers.Conv1D(4, 2, **d),
        layers.LSTM(3, return_sequences=True, **d),
        layers.MaxPooling1D(2, **d),
    ],
}


def known_model(stack: list[Any], shape: tuple[int, ...], dtype: str = "float32", inputs: Any = None) -> Any:
    """A model with weights of its own, that has seen an input of that shape."""
    model = lstmfast.Sequential([lstmfast.Input(shape, dtype=inputs or dtype), *stack])
    random = np.random.default_rng(3)
    model.set_weights([random.uniform(-1, 1, weight.shape).astype(weight.dtype) for weight in model.get_weights()])
    model(np.zeros((1, *shape), inputs or dtype))
    return model


def one_by_one(model: Any, x: Any) -> Any:
    for run in model.plan().chain:
        x = run(x)
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STACKS)
def test_a_chain_gives_what_its_layers_give(name, dtype, isa):
    model = known_model(STACKS[name]({"dtype": dtype}), (12, FEATURES), dtype)
    for rows in (1, 2, 3, 16, 17, 40):
        x = np.random.default_rng(rows).standard_normal((rows, 12, FEATURES)).astype(dtype)
        expected = one_by_one(model, x)
        found = model.plan()._fast.run(x)
        assert_same_bits(found, expected)
        assert found.flags.owndata
        if rows < 40:  # more may have to take care of memory
            assert_same_bits(model.plan().at_once(x, False), expected)
        assert_same_bits(model(x), expected)
        assert_same_bits(model.predict(x, verbose=0), expected)


def test_what_levels_hand_on_may_be_large():
    model = known_model(STACKS["wide"]({}), (300, FEATURES))
    x = np.random.default_rng(0).standard_normal((16, 300, FEATURES)).astype("float32")
    assert_same_bits(model.plan()._fast.run(x), one_by_one(model, x))


def test_a_long_stack_is_cut_into_slices():
    model = known_model(STACKS["wide"]({}), (20_000, FEATURES))
    x = np.random.default_rng(0).standard_normal((2, 20_000, FEATURES)).astype("float32")
    expected = one_by_one(model, x)
    assert_same_bits(model.plan()._fast.run(x), expected)
    assert_same_bits(model(x), expected)


@pytest.mark.parametrize("inputs", ["int32", "float32"])
@pytest.mark.parametrize("both", [False, True])
def test_a_chain_behind_an_embedding(inputs, both):
    reader = layers.LSTM(6, return_sequences=True)
    stack = [layers.Embedding(40, 3), layers.Bidirectional(reader) if both else reader, layers.Dense(2)]
    model = known_model(stack, (7,), inputs=inputs)
    random = np.random.default_rng(0)
    for rows in (1, 2, 30, 1, 2):  # the table is made on the way
        ids = random.integers(0, 40, (rows, 7)).astype("int32")
        expected = ids
        for layer in stack:
            expected = layer(expected)
        assert_same_bits(model(ids), expected)
        assert_same_bits(model(ids.astype("int64")), expected)
        assert_same_bits(model.plan().at_once(ids.astype(inputs), False), expected)
    for wrong in (40, -1):
        ids[0, 3] = wrong
        with pytest.raises(ValueError, match=rf"expected token ids in \[0, 40\), got {wrong}"):
            model(ids)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ids_that_are_floats_lose_their_fraction(dtype):
    found = _core.few_ids(np.array([[0.0, 2.9, -0.5, 6.999]], dtype), 7)
    assert found.dtype == np.int32
    assert found.tolist() == [[0, 2, 0, 6]]
    for bad in (7.0, -1.0, np.nan, np.inf, -np.inf, 1e30):
        assert _core.few_ids(np.array([1, bad], dtype), 7) is None
    assert _core.few_ids(np.array([1, 2], "complex64"), 7) is None
    assert _core.few_ids(np.array([1, 2], "uint32"), 7) is None


def test_an_input_that_is_not_known_is_not_taken():
    model = known_model(STACKS["relu"]({}), (12, FEATURES))
    at_once = model.plan().at_once
    good = np.zeros((2, 12, FEATURES), "float32")
    assert at_once(good, False) is not None
    others = (good[:, :11], good[0], good.tolist(), None, good[..., None], good.view(np.ma.MaskedArray))
    for x in (*others, good.astype("complex64"), good.astype(object), good.astype(str)):
        assert at_once(x, False) is None
    assert model.plan().at_once(np.zeros((5000, 12, FEATURES), "float32"), False) is None  # that takes care of memory


@pytest.mark.parametrize("rows", [2, 100])
def test_a_known_input_of_another_type_or_layout_is_converted(rows):
    """Up to 4096 values by the core, more by NumPy."""
    model, layer = known_model(STACKS["one"]({}), (12, FEATURES)), layers.LSTM(3)
    x = (100 * np.random.default_rng(0).standard_normal((rows, 12, FEATURES))).astype("float32")
    layer(x)
    swapped = np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2)
    for other in (
        x.astype("float64"),
        x.astype("float16"),
        x.astype("int8"),
        x > 0,
        x[:, ::-1],
        swapped,
        x.astype(">f4"),
    ):
        expected = np.array(other, "float32", order="C")
        before = other.copy()
        assert_same_bits(model(other), model(expected))
        assert_same_bits(layer(other), layer(expected))
        assert_same_bits(other, before)
        assert (model.plan().at_once(other, False) is not None) == (rows == 2)


def test_a_stateful_model_has_no_chain_of_known_inputs():
    model = lstmfast.Sequential([lstmfast.Input((4, 2), batch_size=1), layers.LSTM(3, stateful=True)])
    x = np.ones((1, 4, 2), "float32")
    first, second = model(x), model(x)
    assert model.plan().at_once(x, False) is None
    assert (first != second).any()


def test_stages_refuse_what_does_not_fit():
    def packed(features: int, units: int) -> _core.PackedLayer:
        kernel, recurrent = np.ones((features, 4 * units), "float32"), np.ones((units, 4 * units), "float32")
        return _core.PackedLayer("lstm", kernel, recurrent, None, ("tanh", 0, 0, 0), ("sigmoid", 0, 0, 0))

    def level(features: int, units: int, sequences: bool = True, backwards: bool = False) -> _core.RecurrentStage:
        return _core.RecurrentStage(abs, packed(features, units), sequences, backwards, False)

    for levels in ([], [level(2, 3), level(2, 3)], [level(2, 2, sequences=False), level(2, 3)], [level(2, 2)] * 9):
        with pytest.raises(ValueError, match="level"):
            _core.StackStage(abs, levels, 16)
    with pytest.raises(ValueError, match="in their order"):
        _core.StackStage(abs, [level(2, 2), level(2, 2, backwards=True)], 16)
    with pytest.raises(TypeError):
        _core.Chain([abs], _core.KnownInputs(np.dtype("float32")), 1, True)
    with pytest.raises(TypeError):
        _core.RecurrentStage(abs, None, True, False, False)
    with pytest.raises(ValueError, match="use run"):
        _core.DenseStage(abs, packed(2, 2)).run(np.ones((1, 2), "float32"))
    with pytest.raises(ValueError, match="features"):
        level(2, 2).run(np.ones((1, 2, 3), "float32"))
    with pytest.raises(TypeError, match="float32"):
        level(2, 2).run(np.ones((1, 2, 2)))
    assert level(2, 2).run(-1) == 1  # `general` has what C does not take


def test_a_stack_that_hands_on_more_than_can_be_counted():
    """2^56 steps of 128 values are 2^63: no memory of the stage's own is enough for them."""

    def level(features: int, units: int, sequences: bool) -> _core.RecurrentStage:
        kernel, recurrent = np.ones((features, units), "float32"), np.ones((units, units), "float32")
        packed = _core.PackedLayer("simple_rnn", kernel, recurrent, None, ("tanh", 0, 0, 0), None)
        return _core.RecurrentStage(abs, packed, sequences, False, False)

    stack = _core.StackStage(abs, [level(1, 128, True), level(128, 2, False)], 16)
    x = np.broadcast_to(np.float32(0), (1, 2**56, 1))
    with pytest.raises(ValueError, match="too big"):
        stack.run(x)


def test_what_takes_on_a_run_s_attributes_has_no_stage():
    class Twice(layers.Dense):
        def freeze(self, weights: Any) -> Any:
            run = super().freeze(weights)

            @functools.wraps(run)
            def twice(x: Any, **options: Any) -> Any:
                return 2 * run(x, **options)

            return twice

    layer = Twice(2, activation="tanh")
    x = np.ones((1, 3), "float32")
    first = layer(x)
    assert_same_bits(layer(x), first)
    model = lstmfast.Sequential([lstmfast.Input((3,)), layer])
    for _ in range(2):
        assert_same_bits(model(x), first)


@pytest.mark.parametrize(
    "stack",
    [
        [layers.RepeatVector(4), layers.Bidirectional(layers.GRU(2, dtype="float64"))],
        [layers.LSTM(3), layers.RepeatVector(4), layers.LSTM(2, dtype="float64")],
    ],
    ids=["repeated", "encoded"],
)
def test_a_repeated_step_may_be_cast(stack):
    shape = (3,) if type(stack[0]) is layers.RepeatVector else (5, 3)
    model = known_model(stack, shape)
    x = np.random.default_rng(0).standard_normal((2, *shape)).astype("float32")
    expected = x
    for layer in stack:
        expected = layer(expected)
    assert_same_bits(model(x), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_input_of_one_row_in_memory(dtype):
    layer = layers.LSTM(4, dtype=dtype)
    x = np.broadcast_to(np.ones((1, 6, 3), "float32"), (5, 6, 3))
    expected = layer(np.array(x))
    assert_same_bits(layer(x), expected)
    fresh = lstmfast.Sequential([lstmfast.Input((6, 3)), layers.LSTM(4, dtype=dtype)])
    fresh.set_weights(layer.get_weights())
    assert_same_bits(fresh(x), expected)
    assert_same_bits(fresh(x), expected)


def inner_views() -> Any:
    inner = lstmfast.Input((5,))
    yield lambda: [lstmfast.Sequential([lstmfast.Input((5,)), layers.RepeatVector(3)])]
    yield lambda: [lstmfast.Sequential([lstmfast.Input((5,)), layers.Reshape((5, 1))])]
    yield lambda: [layers.Dense(5), lstmfast.Sequential([lstmfast.Input((5,)), layers.RepeatVector(3)])]
    yield lambda: [lstmfast.Model(inner, layers.Flatten()(inner))]
    yield lambda: [layers.Reshape((5, 1)), layers.Permute((2, 1))]
    yield lambda: [layers.Permute((1,))]
    yield lambda: [layers.Reshape((1, 5)), layers.TimeDistributed(layers.RepeatVector(2))]


@pytest.mark.parametrize("stack", list(inner_views()))
def test_outputs_are_arrays_of_their_own(stack):
    model = lstmfast.Sequential([lstmfast.Input((5,)), *stack()])
    x = np.arange(10, dtype="float32").reshape(2, 5)
    for _ in range(2):
        y = model(x)
        assert not np.shares_memory(x, y)
        assert 0 not in y.strides
        assert y.flags.writeable


def test_a_closed_gate_leaves_both_signs_their_tiny_values(isa):
    """Gates down to exp(-87), beside candidates that are negative: their quotients must not overflow on the way."""
    layer = layers.LSTM(1)
    for gate in (-60.0, -70.0, -80.0, -86.0):
        states = []
        for candidate in (100.0, -100.0):
            layer.build((None, None, 1))
            layer.set_weights([np.array([[gate, 0, candidate, 100]]), np.zeros((1, 4)), np.zeros(4)])
            states.append(float(layer(np.ones((1, 1, 1), "float32"))[0, 0]))
        assert states[0] == -states[1]
        np.testing.assert_allclose(states[0], np.exp(gate), rtol=1e-5)


@pytest.mark.parametrize("warm", [False, True])
def test_no_rows_and_no_steps_behind_an_embedding(warm):
    stack = [layers.Embedding(20, 3), layers.LSTM(4, return_sequences=True), layers.GRU(2, name="second")]
    model = lstmfast.Sequential([lstmfast.Input((None,), dtype="int32"), *stack])
    if warm:
        model(np.zeros((50, 7), "int32"))
    for _ in range(2):
        assert model(np.zeros((0, 7), "int32")).shape == (0, 2)
        with pytest.raises(ValueError, match="expected at least 1 timestep"):
            model(np.zeros((4, 0), "int32"))


@pytest.mark.parametrize(
    "kind", ["Stage", "DenseStage", "RecurrentStage", "StackStage", "PairStage", "RepeatStage", "Chain"]
)
def test_there_is_no_stage_that_was_never_made(kind):
    cls = getattr(_core, kind)
    with pytest.raises(TypeError, match="positional argument"):
        cls.__new__(cls)


def test_no_level_of_a_stack_is_none():
    with pytest.raises(TypeError, match="RecurrentStage"):
        _core.StackStage(lambda x: x, [None], 1)
