"""The promise of equal bits: a row's result depends on the row and the weights, on nothing that runs beside it.

Held for every instruction set, float32 and float64, every cell that the core has, and whole models.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import bits
import layer_cases
import numpy as np
import pytest
from bits import assert_same_bits
from hypothesis import assume, given
from hypothesis import strategies as st

import lstmfast
from lstmfast import _core, layers

KINDS = list(bits.CORE_KINDS)
SIZES = st.sampled_from(layer_cases.SIZES)
DTYPES = st.sampled_from(["float32", "float64"])
# Row-wise activations (softmax) take a path of their own through the core.
ACTIVATIONS = st.sampled_from([name for name in _core.activation_names() if name not in ("celu", "threshold")])


@st.composite
def problems(draw: st.DrawFn, most_rows: int = 20):
    """A core layer, its input, a mask or None, and an initial state."""
    kind, dtype = draw(st.sampled_from(KINDS)), draw(DTYPES)
    features, units, seed = draw(SIZES), draw(SIZES), draw(st.integers(0, 2**16))
    batch, steps = draw(st.integers(1, most_rows)), draw(st.integers(1, 9))
    activations = {}
    if draw(st.booleans()):
        activations = {
            "activation": (draw(ACTIVATIONS), 0.3, 1.0, 0.0),
            "recurrent_activation": (draw(ACTIVATIONS), 0.3, 1.0, 0.0),
        }
    layer = bits.packed(kind, features, units, dtype, seed, **activations)
    x = bits.sequences(batch, steps, features, dtype, seed + 1)
    random = np.random.default_rng(seed + 2)
    mask = None
    if draw(st.booleans()):
        mask = layer_cases.draw_mask(random, "mixed", batch, steps)
    count = 2 if kind == "lstm" else 1
    state = tuple(random.uniform(-1, 1, (count, batch, units)).astype(dtype))
    return layer, x, mask, state


def rows_of(array, rows):
    return None if array is None else np.ascontiguousarray(array[rows])


@given(problem=problems(), data=st.data())
def test_a_row_is_the_same_in_any_batch_and_place(isa, problem, data):
    layer, x, mask, state = problem
    whole = bits.run(layer, x, mask, state)
    rows = data.draw(st.lists(st.integers(0, len(x) - 1), min_size=1, max_size=2 * len(x)))
    some = bits.run(layer, x[rows], rows_of(mask, rows), tuple(rows_of(part, rows) for part in state))
    assert_same_bits(some, [part[rows] for part in whole], f"rows {rows}")
    alone = rows[0]
    one = slice(alone, alone + 1)
    single = bits.run(layer, x[one], rows_of(mask, one), tuple(rows_of(part, one) for part in state))
    assert_same_bits(single, [part[one] for part in whole], f"row {alone} alone")


@st.composite
def narrow_problems(draw: st.DrawFn):
    """An LSTM or a GRU of few units over many rows, which may be the lanes of its vectors, and no mask."""
    kind, dtype, seed = draw(st.sampled_from(["lstm", "gru"])), draw(DTYPES), draw(st.integers(0, 2**16))
    features, units = draw(st.integers(1, 33)), draw(st.integers(1, 14))
    names = draw(st.tuples(ACTIVATIONS, ACTIVATIONS) | st.just(("tanh", "sigmoid")))
    activations = dict(zip(("activation", "recurrent_activation"), [(n, 0.3, 1.0, 0.0) for n in names], strict=True))
    layer = bits.packed(kind, features, units, dtype, seed, **activations)
    x = bits.sequences(draw(st.integers(6, 330)), draw(st.integers(4, 7)), features, dtype, seed + 1)
    states = np.random.default_rng(seed + 2).uniform(-1, 1, (2 if kind == "lstm" else 1, len(x), units))
    return layer, x, states.astype(dtype)


@given(problem=narrow_problems(), data=st.data(), backwards=st.booleans(), sequences=st.booleans())
def test_rows_as_lanes_change_nothing(isa, problem, data, backwards, sequences):
    layer, x, states = problem
    flags = {"go_backwards": backwards, "return_sequences": sequences}
    state = data.draw(st.sampled_from([tuple(states), None]))
    whole = bits.run(layer, x, None, state, threads=1, **flags)
    for threads in (2, 3):
        assert_same_bits(bits.run(layer, x, None, state, threads=threads, **flags), whole, f"{threads} threads")
    for row in data.draw(st.lists(st.integers(0, len(x) - 1), min_size=1, max_size=3)):
        one = slice(row, row + 1)
        alone = bits.run(layer, x[one], None, state and tuple(rows_of(part, one) for part in state), **flags)
        assert_same_bits(alone, [part[one] for part in whole], f"row {row} alone")
    out = np.full_like(whole[0], 7)
    view = np.empty((*x.shape[:2], x.shape[2] + 3), x.dtype)[..., 2:-1]
    view[...] = x
    assert_same_bits(bits.run(layer, view, None, state, out=out, **flags), whole, "other strides, and `out`")


@pytest.mark.parametrize("rows", [30, 64, 120, 256, 300])
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_stacks_of_few_units_are_the_same(isa, kind, rows, many_processors):
    """Whether a layer's rows are lanes, or it follows the one below step by step."""
    model = lstmfast.Sequential(
        [lstmfast.Input((50, 6)), *(kind(units, return_sequences=True) for units in (10, 4, 10, 7))]
    )
    random = np.random.default_rng(5)
    model.set_weights([0.5 * random.standard_normal(weight.shape) for weight in model.get_weights()])
    x = bits.sequences(rows, 50, 6)
    with lstmfast.threads(1):
        alone = np.concatenate([model(x[i : i + 1]) for i in range(0, rows, 29)])
    for threads in (1, 2, 3):
        with lstmfast.threads(threads):
            assert_same_bits(model(x)[::29], alone, f"{threads} threads")


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_rows_as_lanes_from_far_change_nothing(isa, kind):
    """So many that each step fetches what the next one reads and writes."""
    layer, x = bits.packed(kind, 9, 10), bits.sequences(3001, 70, 9)
    for backwards in (False, True):
        whole, *states = bits.run(layer, x, go_backwards=backwards)
        for row in (0, 1500, 3000):
            one = slice(row, row + 1)
            alone = bits.run(layer, x[one], go_backwards=backwards)
            assert_same_bits(alone, [whole[one], *(part[one] for part in states)], f"row {row} alone")


@given(problem=problems(), data=st.data())
def test_step_by_step_is_the_whole_sequence(isa, problem, data):
    layer, x, mask, state = problem
    # A masked step repeats the output of the call's own previous step: keep outputs of valid steps apart from it.
    y, *states = bits.run(layer, x, mask, state, zero_output_for_mask=True)
    cuts = sorted({0, x.shape[1], *data.draw(st.lists(st.integers(1, x.shape[1]), max_size=4))})
    pieces = []
    for start, stop in itertools.pairwise(cuts):
        part, *state = bits.run(
            layer,
            x[:, start:stop],
            None if mask is None else mask[:, start:stop],
            tuple(state),
            zero_output_for_mask=True,
        )
        pieces.append(part)
    assert_same_bits([np.concatenate(pieces, axis=1), *state], [y, *states], f"pieces {cuts}")


@given(problem=problems(), strides=st.sampled_from(["rows", "steps", "reversed", "transposed", "offset"]))
def test_strides_change_nothing(isa, problem, strides):
    layer, x, mask, state = problem
    expected = bits.run(layer, x, mask, state)
    batch, steps, features = x.shape
    if strides == "rows":
        view = np.repeat(x, 3, axis=0)[1::3]
    elif strides == "steps":
        view = np.repeat(x, 2, axis=1)[:, ::2]
    elif strides == "reversed":
        view = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    elif strides == "transposed":
        view = np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
    else:
        view = np.empty((batch, steps, features + 3), x.dtype)[..., 1 : features + 1]
        view[...] = x
    assert_same_bits(bits.run(layer, view, mask, state), expected, strides)


@given(problem=problems())
def test_flags_only_select(isa, problem):
    layer, x, mask, state = problem
    y, *states = bits.run(layer, x, mask, state)
    last, *last_states = bits.run(layer, x, mask, state, return_sequences=False)
    assert_same_bits(last_states, states, "states without return_sequences")
    if mask is None:
        assert_same_bits(last, y[:, -1], "last output")
        everything = np.ones(x.shape[:2], bool)
        assert_same_bits(bits.run(layer, x, everything, state), [y, *states], "a mask of ones")
    backwards = bits.run(layer, x, mask, state, go_backwards=True)
    turned = bits.run(layer, x[:, ::-1], None if mask is None else mask[:, ::-1], state)
    assert_same_bits(backwards, turned, "go_backwards against a reversed input")
    assert_same_bits(layer.run(x, mask, state, True, False, False, False, None, 0), y, "without return_state")


@given(problem=problems())
def test_one_repeated_step_is_the_same_as_its_copies(isa, problem):
    layer, x, mask, state = problem
    repeated = np.broadcast_to(x[:, :1], x.shape)
    assume(x.shape[1] > 1)
    assert repeated.strides[1] == 0
    assert_same_bits(bits.run(layer, repeated, mask, state), bits.run(layer, repeated.copy(), mask, state))


@given(problem=problems(), padding=st.integers(0, 3))
def test_out_receives_the_same_bits(isa, problem, padding):
    layer, x, mask, state = problem
    expected = bits.run(layer, x, mask, state)
    whole = np.full((len(x), x.shape[1] + padding, layer.units + padding), 7, x.dtype)
    out = whole[:, : x.shape[1], : layer.units]
    y, *states = bits.run(layer, x, mask, state, out=out)
    assert y is out
    assert_same_bits([y, *states], expected)
    out[...] = 7
    assert (whole == 7).all(), "something outside `out` was written"


@pytest.fixture
def tiny_slices():
    """Cuts every call that the core makes into slices of 16 rows and one step, as long calls are for signals."""
    before = _core.set_slice_seconds(0)
    yield
    _core.set_slice_seconds(before)


@given(problem=problems(most_rows=40), flags=st.tuples(*[st.booleans()] * 4), seconds=st.sampled_from([0, 1e-6, 1e-5]))
def test_slices_of_long_calls_change_nothing(isa, problem, flags, seconds):
    layer, x, mask, state = problem
    expected = layer.run(x, mask, state, *flags, None, 0)
    before = _core.set_slice_seconds(seconds)
    try:
        sliced = layer.run(x, mask, state, *flags, None, 0)
    finally:
        _core.set_slice_seconds(before)
    assert_same_bits(sliced, expected, f"flags {flags}")


GRIDS = [
    layers.Conv1D(5, 3, padding="causal", dilation_rate=2),
    layers.Conv1DTranspose(5, 4, strides=2, padding="same"),
    layers.Conv2DTranspose(4, 3, strides=(1, 2), activation="softmax"),
    layers.Conv2D(4, 3, strides=2, padding="same", activation="softmax"),
    layers.Conv3D(3, 2),
    layers.ConvLSTM1D(4, 3, padding="same", return_sequences=True, return_state=True),
    layers.ConvLSTM2D(3, (2, 3), return_state=True, go_backwards=True),
    layers.ConvLSTM3D(2, 2, padding="same", return_sequences=True, zero_output_for_mask=True),
]


@pytest.mark.parametrize("layer", GRIDS, ids=lambda layer: layer.name)
def test_slices_of_long_calls_over_grids_change_nothing(layer):
    recurrent = "lstm" in layer.name
    rank = layer.rank
    random = np.random.default_rng(rank)
    x = random.uniform(-1, 1, (5, *((4,) if recurrent else ()), *(33, 9, 7)[:rank], 2)).astype("float32")
    masks = [None, random.random(x.shape[:2]) < 0.6] if recurrent else [None]
    for mask in masks:
        options = {} if mask is None else {"mask": mask}
        expected = layer(x, **options)
        alone = [layer(x[i : i + 1], **{key: value[i : i + 1] for key, value in options.items()}) for i in range(5)]
        parts = [layer_cases.flatten(one) for one in alone]
        assert_same_bits([np.concatenate(rows) for rows in zip(*parts, strict=True)], expected, "alone")
        for seconds in (0, 1e-6, 1e-5, 1e-4):
            before = _core.set_slice_seconds(seconds)
            try:
                sliced = layer(x, **options)
            finally:
                _core.set_slice_seconds(before)
            assert_same_bits(sliced, expected, f"slices of {seconds} s")


PAGE = 1 << 21


@pytest.fixture(scope="module")
def pages():
    """Memory for 40 rows in pages of their own, and its first byte that is a multiple of 2 MiB."""
    memory = np.empty(42 * PAGE, "uint8")
    return memory, -memory.ctypes.data % PAGE


@given(
    problem=problems(most_rows=40),
    backwards=st.booleans(),
    zero=st.booleans(),
    seconds=st.sampled_from([0, 1e-5]),
    step=st.integers(0, 8),
)
def test_slices_that_begin_pages_change_nothing(isa, pages, problem, backwards, zero, seconds, step):
    """All rows begin a page at the same step: that slice is run some rows at a time."""
    layer, x, mask, state = problem
    memory, first = pages
    flags = {"go_backwards": backwards, "zero_output_for_mask": zero}
    expected = bits.run(layer, x, mask, state, **flags)
    rows, steps, units = expected[0].shape
    first += PAGE - step * units * x.itemsize
    out = memory[first : first + 40 * PAGE].view(x.dtype).reshape(40, -1)[:rows, : steps * units]
    out = out.reshape(rows, steps, units)
    assert np.shares_memory(out, memory)
    out[...] = 7
    before = _core.set_slice_seconds(seconds)
    try:
        _, *states = layer.run(x, mask, state, True, True, backwards, zero, out, 0)
    finally:
        _core.set_slice_seconds(before)
    assert_same_bits([out, *states], expected)


@given(
    dtype=DTYPES,
    features=SIZES,
    units=SIZES,
    rows=st.integers(1, 40),
    data=st.data(),
    name=st.sampled_from(["linear", "relu", "tanh", "sigmoid", "softmax"]),
)
def test_dense_rows_are_independent(isa, dtype, features, units, rows, data, name):
    layer = bits.packed("dense", features, units, dtype, rows, activation=(name, 0.0, np.inf, 0.0))
    x = bits.sequences(1, rows, features, dtype)[0]
    whole = layer.apply(x, None, 0)
    some = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=rows))
    assert_same_bits(layer.apply(x[some], None, 0), whole[some])
    for threads in (1, 2, 3):
        assert_same_bits(layer.apply(x, None, threads), whole)


# Large enough for the core to use the threads: by rows, and by units where there are few rows.
THREAD_SIZES = [
    (1, 30, 64, 256),
    (1, 12, 1, 512),
    (2, 20, 7, 300),
    (5, 25, 3, 200),
    (17, 9, 33, 129),
    (64, 12, 16, 100),
    (70, 200, 8, 10),  # the rows of an LSTM and a GRU are lanes, for some of these counts
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", THREAD_SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_thread_counts_change_nothing(isa, kind, size, dtype, many_processors):
    batch, steps, features, units = size
    layer = bits.packed(kind, features, units, dtype)
    x = bits.sequences(batch, steps, features, dtype)
    mask = layer_cases.draw_mask(np.random.default_rng(3), "mixed", batch, steps)
    for given_mask in (None, mask):
        alone = bits.run(layer, x, given_mask, threads=1)
        for threads in (2, 3, 4, 5):
            assert_same_bits(bits.run(layer, x, given_mask, threads=threads), alone, f"{threads} threads")
    assert_same_bits(bits.run(layer, x[-1:], threads=1)[0], bits.run(layer, x, threads=5)[0][-1:], "last row alone")


@pytest.mark.parametrize("isa_name", _core.available_isas())
def test_instruction_sets_agree_up_to_rounding(isa_name):
    x = bits.sequences(5, 7, 9)
    results = []
    for name in (isa_name, "generic"):
        before = _core.isa()
        _core.select_isa(name)
        layer = bits.packed("lstm", 9, 33)
        _core.select_isa(before)
        assert layer.isa == name
        results.append(bits.run(layer, x))
    for mine, reference in zip(*results, strict=True):
        np.testing.assert_allclose(mine, reference, rtol=0, atol=2e-6)


# ---- models -----------------------------------------------------------------------------------------------------


def stacked_model(units: int = 33, dtype: str = "float32") -> lstmfast.Sequential:
    """Two LSTMs, a Dense on every step, and one on the last."""
    model = lstmfast.Sequential(
        [
            lstmfast.Input((None, 3), dtype=dtype),
            layers.LSTM(units, return_sequences=True, dtype=dtype),
            layers.TimeDistributed(layers.Dense(7, activation="relu", dtype=dtype), dtype=dtype),
            layers.LSTM(units + 4, dtype=dtype),
            layers.Dense(5, activation="softmax", dtype=dtype),
        ]
    )
    random = np.random.default_rng(5)
    model.set_weights([0.3 * random.standard_normal(weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(params=["float32", "float64"])
def model_and_input(isa, request):
    return stacked_model(dtype=request.param), bits.sequences(71, 11, 3, request.param)


def test_predict_slices_change_nothing(model_and_input):
    model, x = model_and_input
    expected = model(x)
    assert expected.dtype == x.dtype
    for batch_size in (None, 1, 2, 7, 16, 31, 32, 70, 71, 1000):
        assert_same_bits(model.predict(x, batch_size=batch_size, verbose=0), expected, f"batch_size={batch_size}")
    for start, stop in ((0, 1), (70, 71), (3, 20), (16, 48)):
        assert_same_bits(model.predict(x[start:stop]), expected[start:stop], f"rows {start}:{stop}")
    assert_same_bits(model.predict(x, steps=2, batch_size=9), expected[:18], "steps=2")


def test_predict_in_large_slices_changes_nothing(isa, monkeypatch):
    model, x = stacked_model(), bits.sequences(200, 11, 3)
    expected = model(x)
    from lstmfast import models

    monkeypatch.setattr(models, "SLICE_BYTES", 1 << 12)
    assert_same_bits(model.predict(x, verbose=0), expected)
    assert_same_bits(model.predict(x, batch_size=13, verbose=0), expected)


def test_set_num_threads_changes_nothing(model_and_input, thread_count):
    model, x = model_and_input
    x = np.concatenate([x] * 4)
    expected = model(x)
    for threads in (1, 2, 3, 4, 5):
        thread_count(threads)
        assert_same_bits(model.predict(x), expected, f"{threads} threads")


SEQUENCES = {"return_sequences": True}

# Recurrent layers on top of each other, which the core runs one step behind each other where that is sooner.
STACKS: dict[str, Callable[[], list[layers.Layer]]] = {
    "two": lambda: [layers.LSTM(50, **SEQUENCES), layers.LSTM(50)],
    "cells": lambda: [layers.GRU(64, **SEQUENCES), layers.SimpleRNN(70, **SEQUENCES), layers.LSTM(40, **SEQUENCES)],
    "backwards": lambda: [
        layers.LSTM(60, go_backwards=True, **SEQUENCES),
        layers.LSTM(60, **SEQUENCES),
        layers.LSTM(60, go_backwards=True),
    ],
    "ten": lambda: [*[layers.LSTM(33, **SEQUENCES) for _ in range(10)], layers.Dense(2)],
    "states": lambda: [layers.LSTM(50, **SEQUENCES), layers.LSTM(50, return_sequences=True, return_state=True)],
}


@pytest.mark.parametrize("batch", [1, 3, 40])
@pytest.mark.parametrize("name", STACKS)
def test_stacks_give_the_bits_of_one_layer_after_the_other(isa, name, batch, thread_count):
    x = bits.sequences(batch, 60, 5)
    stack = STACKS[name]()
    tensor = inputs = lstmfast.Input((60, 5))
    for layer in stack:
        tensor = layer(tensor)
    model = lstmfast.Model(inputs, tensor)
    thread_count(1)
    expected: Any = x
    for layer in stack:
        expected = layer(expected)
    for threads in (1, 2, 3, 8):
        thread_count(threads)
        for mine, right in zip(layer_cases.flatten(model(x)), layer_cases.flatten(expected), strict=True):
            assert_same_bits(mine, right, f"{threads} threads")
        if isinstance(expected, np.ndarray):
            out = np.full_like(expected, 7)
            assert model.predict(x, out=out, verbose=0) is out
            assert_same_bits(out, expected, f"{threads} threads, out")


def test_a_stack_behind_an_embedding(isa, thread_count):
    model = lstmfast.Sequential(
        [
            lstmfast.Input((50,)),
            layers.Embedding(30, 8),
            layers.LSTM(60, **SEQUENCES),
            layers.LSTM(60, **SEQUENCES),
            layers.LSTM(20),
        ]
    )
    ids = np.random.default_rng(0).integers(0, 30, (2, 50))
    thread_count(1)
    expected = model(ids)
    for threads in (2, 3, 4):
        thread_count(threads)
        for _ in range(3):  # the table of projected rows is made once it pays
            assert_same_bits(model(ids), expected, f"{threads} threads")
    with pytest.raises(ValueError, match="30"):
        model(np.full((1, 50), 30))


IDS = np.random.default_rng(1).integers(0, 30, (5, 40))


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("dropout", [layers.Dropout, layers.SpatialDropout1D, layers.GaussianNoise])
def test_an_embedding_is_looked_up_behind_dropout(mask_zero, dropout):
    """A recurrent layer gets the ids of an Embedding also where layers that do nothing stand between the two."""
    chain = lstmfast.Sequential(
        [
            lstmfast.Input((40,), dtype="int32"),
            layers.Embedding(30, 8, mask_zero=mask_zero),
            dropout(0.2),
            layers.Dropout(0.1),
            layers.Bidirectional(layers.LSTM(6)),
        ]
    )
    plain = lstmfast.Sequential([lstmfast.Input((40,), dtype="int32"), chain.layers[-4], chain.layers[-1]])
    operations = chain.plan().operations
    assert operations[0].call is operations[0].run.look_up
    for _ in range(3):
        assert_same_bits(chain(IDS), plain(IDS))

    inputs = lstmfast.Input((40,), dtype="int32")
    words = layers.Embedding(30, 8, mask_zero=mask_zero)(inputs)
    dropped = dropout(0.2)(words)
    both = [layers.LSTM(6)(words), layers.GRU(4)(dropped)]
    model = lstmfast.Model(inputs, both)
    operations = model.plan().operations
    assert operations[0].call is operations[0].run.look_up
    read = lstmfast.Model(inputs, [*both, layers.GlobalMaxPooling1D()(dropped)])  # one who needs the numbers
    shown = lstmfast.Model(inputs, [*both, dropped])
    for other in (read, shown):
        operations = other.plan().operations
        assert operations[0].call is operations[0].run
        for _ in range(3):
            for mine, right in zip(model(IDS), other(IDS), strict=False):
                assert_same_bits(mine, right)
    np.testing.assert_array_equal(shown(IDS)[2], words.history[0].get_weights()[0][IDS])


def test_calls_are_noted_and_run_once():
    first, second = bits.packed("lstm", 4, 8), bits.packed("lstm", 8, 8)
    x = bits.sequences(2, 5, 4)
    flags = (None, None, True, False, False, False, None)
    expected = second.run(first.run(x, *flags, 1), *flags, 1)
    stack = _core.Stack()
    y = stack.run(second, stack.run(first, x, *flags), *flags)
    stack.finish()
    assert_same_bits(y, expected)
    for calls in (stack, _core.Stack(), _core.Pair(0)):
        with pytest.raises(ValueError, match=r"a (stack|pair) has"):
            calls.finish()
    with pytest.raises(ValueError, match="room for 8"):
        stack.run(first, x, *flags)
    apart = _core.Stack()
    apart.run(first, x, *flags)
    apart.run(second, bits.sequences(2, 5, 8), *flags)  # does not read what the first gives
    with pytest.raises(ValueError, match="invalid arguments"):
        apart.finish()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_directions_write_the_halves_of_one_array(isa, kind, sequences, states, dtype, thread_count, many_processors):
    make, options = getattr(layers, kind), {"return_sequences": sequences, "return_state": states, "dtype": dtype}
    layer = layers.Bidirectional(make(5, **options), backward_layer=make(18, go_backwards=True, **options), dtype=dtype)
    x = bits.sequences(7, 9, 6, dtype)
    mask = layer_cases.draw_mask(np.random.default_rng(3), "mixed", 7, 9)
    layer.build(x.shape)
    for threads, given_mask in itertools.product((1, 2, 4), (None, mask)):
        thread_count(threads)
        forward = layer_cases.flatten(layer.forward_layer(x, mask=given_mask))
        backward = layer_cases.flatten(layer.backward_layer(x, mask=given_mask))
        reversed_ = backward[0][:, ::-1] if sequences else backward[0]
        expected = [np.concatenate([forward[0], reversed_], axis=-1), *forward[1:], *backward[1:]]
        assert_same_bits(layer_cases.flatten(layer(x, mask=given_mask)), expected, f"{threads} threads")
        if not states:
            out = np.full((7, *expected[0].shape[1:-1], 30), np.nan, dtype)[..., 2:25]
            assert layer(x, mask=given_mask, out=out) is out
            assert_same_bits(out, expected[0], f"out, {threads} threads")
        apart = layers.Bidirectional(layer.forward_layer, None, backward_layer=layer.backward_layer, dtype=dtype)
        apart.build(x.shape)
        apart.set_weights(layer.get_weights())
        expected = [forward[0], reversed_, *forward[1:], *backward[1:]]
        assert_same_bits(layer_cases.flatten(apart(x, mask=given_mask)), expected, f"apart, {threads} threads")


def test_halves_have_to_fit():
    small, large, double = (bits.packed("lstm", 4, 3), bits.packed("lstm", 4, 8), bits.packed("lstm", 4, 8, "float64"))
    x, flags = bits.sequences(2, 5, 4), (None, None, True, False, False, False, None)
    with pytest.raises(ValueError, match="width"):
        _core.Pair(-1)
    pair = _core.Pair(11)
    y = pair.run(small, x, *flags)
    for layer, given_x in ((small, x), (double, x.astype("float64")), (large, bits.sequences(2, 6, 4))):
        with pytest.raises(ValueError, match=r"second call's outputs|do not fit"):
            pair.run(layer, given_x, *flags)
    assert pair.run(large, x, *flags) is y
    pair.finish()
    assert_same_bits(y[..., :3], small.run(x, *flags, 1))
    assert_same_bits(y[:, ::-1, 3:], large.run(x, *flags, 1))
    with pytest.raises(ValueError, match="do not fit"):
        _core.Pair(7).run(large, x, *flags)
    out = np.empty((2, 5, 11), "float32")
    for wrong in (out[:, :4], out.astype("float64"), out[..., ::-1]):
        with pytest.raises((ValueError, TypeError), match="out: expected"):
            _core.Pair(11, wrong).run(small, x, *flags)
    with pytest.raises(ValueError, match="width"):
        _core.Pair(0, out)
    with pytest.raises(ValueError, match="overlaps"):
        _core.Pair(11, out).run(small, out[..., :4], *flags)


@st.composite
def lengths_as_mask(draw: st.DrawFn, batch: int, steps: int):
    """Rows that end early or begin late, sorted or not, some empty, perhaps with a hole."""
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    time, lengths = np.arange(steps), random.integers(0, steps + 1, (batch, 1))
    lengths = draw(st.sampled_from([lengths, np.sort(lengths, axis=0), np.sort(lengths, axis=0)[::-1]]))
    padding = draw(st.sampled_from(["behind", "before", "both", "none"]))
    late = time >= steps - lengths
    mask = {"behind": time < lengths, "before": late, "both": late & (time < steps - 1), "none": late | True}[padding]
    if draw(st.booleans()):
        mask[random.integers(0, batch), random.integers(0, steps)] ^= True
    return mask


@given(data=st.data())
def test_rows_that_a_mask_leaves_out_change_nothing(isa, data, many_processors):
    kind, dtype, seed = data.draw(st.sampled_from(KINDS)), data.draw(DTYPES), data.draw(st.integers(0, 2**16))
    features, units = data.draw(SIZES), data.draw(SIZES)
    batch, steps = data.draw(st.integers(2, 40)), data.draw(st.integers(1, 12))
    layer, x = bits.packed(kind, features, units, dtype, seed), bits.sequences(batch, steps, features, dtype, seed)
    mask = data.draw(lengths_as_mask(batch, steps))
    count = 2 if kind == "lstm" else 1
    state = tuple(np.random.default_rng(seed).uniform(-1, 1, (count, batch, units)).astype(dtype))
    state = data.draw(st.sampled_from([None, state]))
    flags = {name: data.draw(st.booleans()) for name in ("return_sequences", "go_backwards", "zero_output_for_mask")}
    y = bits.run(layer, x, mask, state, **flags, threads=data.draw(st.integers(1, 4)))
    for row in range(batch):
        rows = slice(row, row + 1)
        own = None if state is None else tuple(rows_of(array, rows) for array in state)
        alone = bits.run(layer, rows_of(x, rows), rows_of(mask, rows), own, **flags, threads=1)
        assert_same_bits([array[rows] for array in y], alone, f"row {row}")


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru", "simple_rnn"])
def test_inputs_that_are_fetched_ahead_change_nothing(isa, kind, backwards, many_processors):
    """More rows and steps than a core's own cache holds, in a layer that reads few values of each."""
    layer = bits.packed(kind, 20, 6)
    x = bits.sequences(701, 60, 20)
    for threads in (1, 2):
        y = bits.run(layer, x, go_backwards=backwards, threads=threads)
        for rows in (slice(0, 1), slice(350, 353), slice(696, 701)):
            alone = bits.run(layer, np.ascontiguousarray(x[rows]), go_backwards=backwards, threads=1)
            assert_same_bits([array[rows] for array in y], alone, f"{threads} threads, {rows}")


@pytest.mark.parametrize("units", [1, 18, 64, 100])
@pytest.mark.parametrize("kind", ["lstm", "gru", "simple_rnn"])
def test_tables_of_any_size_give_the_bits_of_their_rows(isa, kind, units, many_processors):
    """Small ones, and one of many times a core's own cache, of which the next step's rows are fetched ahead."""
    random = np.random.default_rng(units)
    layer = bits.packed(kind, 3, units)
    for entries, batch, steps in ((5, 1, 7), (5, 3, 7), (30, 13, 7), (17000, 190, 90)):
        if entries > 30 and units != 64:
            continue
        vectors = random.standard_normal((entries, 3)).astype("float32")
        ids = random.integers(0, entries, (batch, steps)).astype("int32")
        table, mask = layer.project(vectors), layer_cases.draw_mask(random, "mixed", batch, steps)
        mask[:, 2:4] = False  # steps that no row takes
        lengths = np.arange(steps) < random.integers(0, steps + 1, (batch, 1))
        for given_mask, backwards, threads in itertools.product((None, mask, lengths), (False, True), (1, 2, 3)):
            flags = (given_mask, None, True, True, backwards, False, None, threads)
            got, expected = layer.run_indexed(ids, table, *flags), layer.run(vectors[ids], *flags)
            assert_same_bits(got, expected, f"{entries} entries, {threads} threads")


def test_streams_give_the_bits_of_the_whole_sequence(model_and_input):
    model, x = model_and_input
    expected = np.stack([model(x[:, : step + 1]) for step in range(x.shape[1])], axis=1)
    for rows in (1, 2, 5):
        stream = model.stream(batch_size=rows)
        steps = [np.array(stream.step(x[:rows, step])) for step in range(x.shape[1])]
        assert_same_bits(np.stack(steps, axis=1), expected[:rows], f"{rows} rows")


@given(seed=st.integers(0, 10**6))
def test_random_layers_do_not_see_their_neighbours(isa, seed):
    case = layer_cases.random_case(seed)
    assume(not case.options.get("stateful"))
    layer = layer_cases.build(layers, case)
    x, mask, state = case.inputs()[0], case.masks()[0], case.initial_state()

    def call(rows):
        return layer_cases.flatten(
            layer(
                x[rows],
                mask=rows_of(mask, rows),
                initial_state=None if state is None else [part[rows] for part in state],
            )
        )

    whole = call(slice(None))
    for row in {0, case.batch // 2, case.batch - 1}:
        one = slice(row, row + 1)
        assert_same_bits(call(one), [part[one] for part in whole], f"{case}, row {row}")


@pytest.mark.parametrize(
    "moved", [layers.Flatten(), layers.Reshape((12,)), layers.Reshape((3, 4)), layers.Permute((2, 1))]
)
@pytest.mark.parametrize("features", [1, 3])
def test_a_repeated_step_may_be_moved(moved, features):
    """Behind a RepeatVector the steps are one in memory; NumPy's views of that may have any strides."""
    if isinstance(moved, layers.Reshape):
        moved = layers.Reshape((*moved.target_shape[:-1], moved.target_shape[-1] * features))
    moved = type(moved).from_config(moved.get_config())
    source = lstmfast.Input((features,))
    repeated = moved(layers.RepeatVector(12)(source))
    head = layers.Dense(2)(repeated)
    model = lstmfast.Model(source, [repeated, head])
    x = bits.sequences(1, 1, features)[0]
    whole = np.repeat(x[:, None], 12, axis=1)
    whole = whole.transpose(0, 2, 1) if isinstance(moved, layers.Permute) else whole.reshape(1, *repeated.shape[1:])
    y, on_top = model(x)
    assert_same_bits(y, np.ascontiguousarray(whole))
    assert_same_bits(on_top, model.layers[-1](np.ascontiguousarray(whole)))


def test_tiny_slices_change_no_model(model_and_input, tiny_slices):
    model, x = model_and_input
    sliced = model(x)
    _core.set_slice_seconds(1)
    assert_same_bits(model(x), sliced)


# ---- out= and rows of different lengths ----------------------------------------------------------------------------


def test_models_and_layers_put_the_same_bits_into_out(model_and_input):
    model, x = model_and_input
    expected = model(x)
    for call in (model, model.predict, lambda x, out: model.predict(x, batch_size=7, verbose=0, out=out)):
        whole = np.full((len(x) + 2, expected.shape[1] + 3), 7, expected.dtype)
        out = whole[1:-1, :-3]
        assert call(x, out=out) is out
        assert_same_bits(out, expected)
        out[...] = 7
        assert (whole == 7).all(), "something outside `out` was written"
    assert_same_bits(model.predict(x, batch_size=9, steps=2, out=np.empty_like(expected[:18])), expected[:18])


@given(seed=st.integers(0, 10**6))
def test_random_layers_put_the_same_bits_into_out(isa, seed):
    case = layer_cases.random_case(seed)
    assume(not case.options.get("stateful"))
    layer = layer_cases.build(layers, case)
    x, mask, state = case.inputs()[0], case.masks()[0], case.initial_state()
    expected = layer_cases.flatten(layer(x, mask=mask, initial_state=state))
    out = [np.full_like(part, 7) for part in expected]
    result = layer(x, mask=mask, initial_state=state, out=out if len(out) > 1 else out[0])
    assert all(mine is given for mine, given in zip(layer_cases.flatten(result), out, strict=True))
    assert_same_bits(out, expected, str(case))


@given(seed=st.integers(0, 10**6), data=st.data())
def test_a_row_of_any_length_is_the_row_alone(isa, seed, data):
    case = layer_cases.random_case(seed)
    assume(not case.options.get("stateful"))
    layer = layer_cases.build(layers, case)
    x, state = case.inputs()[0], case.initial_state()
    lengths = data.draw(st.lists(st.integers(1, case.steps), min_size=case.batch, max_size=case.batch))
    together = layer_cases.flatten(layer(x, lengths=lengths, initial_state=state))
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        alone = layer(x[one, :length], initial_state=None if state is None else [part[one] for part in state])
        for mine, expected in zip(together, layer_cases.flatten(alone), strict=True):
            if expected.ndim == 3:
                assert_same_bits(mine[one, :length], expected, f"{case}, row {row} of {lengths}")
                assert not mine[row, length:].any(), "no zeros behind the end"
            else:
                assert_same_bits(mine[one], expected, f"{case}, row {row} of {lengths}")


RAGGED_STACKS: dict[str, Callable[[], list[layers.Layer]]] = {
    "last step": lambda: [layers.LSTM(5), layers.Dense(3, activation="softmax")],
    "sequences": lambda: [layers.Dense(4), layers.GRU(5, **SEQUENCES), layers.LSTM(4, **SEQUENCES), layers.Dense(2)],
    "both directions": lambda: [
        layers.Bidirectional(layers.LSTM(5, **SEQUENCES)),
        layers.Bidirectional(layers.SimpleRNN(3), merge_mode="ave"),
    ],
    "backwards": lambda: [layers.LSTM(5, go_backwards=True, **SEQUENCES), layers.LayerNormalization()],
    "cells": lambda: [layers.RNN([layers.LSTMCell(4), layers.GRUCell(5)], **SEQUENCES), layers.RNN(layers.LSTMCell(3))],
    "convolution": lambda: [layers.Conv1D(4, 3, padding="same"), layers.LSTM(5, **SEQUENCES)],
    "mask": lambda: [layers.Masking(0.0), layers.LSTM(4)],
    "pooled": lambda: [layers.LSTM(4, **SEQUENCES), layers.GlobalAveragePooling1D(), layers.Dense(2)],
    "float16": lambda: [layers.LSTM(4, dtype="mixed_float16", **SEQUENCES)],
}


@pytest.mark.parametrize("name", RAGGED_STACKS)
@pytest.mark.parametrize("slice_bytes", [1 << 21, 1])
def test_models_take_rows_of_different_lengths(monkeypatch, name, slice_bytes):
    from lstmfast import models

    monkeypatch.setattr(models, "SLICE_BYTES", slice_bytes)
    model = lstmfast.Sequential([lstmfast.Input((None, 3)), *RAGGED_STACKS[name]()])
    x = bits.sequences(80, 9, 3)
    lengths = np.random.default_rng(2).integers(1, 10, 80)
    padded, listed = model.predict(x, lengths=lengths), model.predict([x[row, :n] for row, n in enumerate(lengths)])
    assert isinstance(listed, list) == (padded.ndim == 3)
    assert_same_bits(model(x, lengths=lengths), padded)
    assert_same_bits(model.predict(x, lengths=lengths, out=np.full_like(padded, 7)), padded)
    for row, length in enumerate(lengths):
        alone = model(x[row : row + 1, :length])[0]
        assert_same_bits(listed[row], alone, f"row {row}")
        assert_same_bits(padded[row, :length] if padded.ndim == 3 else padded[row], alone, f"row {row}")
    if padded.ndim == 3:
        assert not padded[np.arange(9) >= lengths[:, None]].any(), "no zeros behind the ends"


def test_rows_of_different_lengths_of_every_kind():
    model = stacked_model()
    x = bits.sequences(3, 6, 3)
    expected = [model(x[:1, :2])[0], model(x[1:2])[0], model(x[2:, :4])[0]]
    rows = [x[0, :2], x[1], x[2, :4]]
    for some in (rows, tuple(rows), [row.astype("float64") for row in rows], [np.asfortranarray(row) for row in rows]):
        assert_same_bits(model.predict(some), np.stack(expected))
    for lengths in ([2, 6, 4], (2, 6, 4), np.array([2, 6, 4], "uint8"), np.array([2, 6, 4], ">i8")):
        for form in (x, x.tolist(), np.asfortranarray(x), x.astype("float64")):
            assert_same_bits(model.predict(form, lengths=lengths), np.stack(expected))
    words = lstmfast.Sequential([lstmfast.Input((None,)), layers.Embedding(9, 3), layers.LSTM(4)])
    ids = np.arange(12).reshape(2, 6) % 9
    assert_same_bits(words.predict([ids[0, :3], ids[1]]), np.concatenate([words(ids[:1, :3]), words(ids[1:])]))
    assert_same_bits(words.predict(ids, lengths=[3, 6]), np.concatenate([words(ids[:1, :3]), words(ids[1:])]))
    assert model.predict(x[:0], lengths=np.zeros(0, int)).shape == (0, 5)


def test_functions_of_every_cell():
    x = bits.sequences(4, 6, 3)
    lengths = [1, 6, 3, 4]
    for function, kind in (
        (lstmfast.lstm, layers.LSTM),
        (lstmfast.gru, layers.GRU),
        (lstmfast.simple_rnn, layers.SimpleRNN),
    ):
        layer = kind(5, return_sequences=True, return_state=True)
        expected = layer(x)
        weights = layer.get_weights()
        assert_same_bits(function(x, *weights, return_sequences=True, return_state=True), expected)
        out = [np.empty_like(part) for part in expected]
        function(x, *weights, return_sequences=True, return_state=True, out=out)
        assert_same_bits(out, expected)
        assert_same_bits(function(x, *weights, lengths=lengths), layer(x, lengths=lengths)[1])


def calls_with_out(rows: int) -> dict[str, Callable[[], object]]:
    x = bits.sequences(rows, 20, 4)
    sequences, states, heads = (np.empty(shape, "float32") for shape in ((rows, 20, 16), (rows, 16), (rows, 20, 8)))
    step = x[:, 0].copy()
    layer = layers.LSTM(16, return_sequences=True)
    with_state = layers.GRU(16, return_sequences=True, return_state=True)
    dense = layers.Dense(8)
    model = lstmfast.Sequential([lstmfast.Input((None, 4)), layers.LSTM(16, return_sequences=True), layers.Dense(8)])
    stream = lstmfast.Sequential([lstmfast.Input((None, 4)), layers.LSTM(16)]).stream(rows)
    return {
        "layer": lambda: layer(x, out=sequences),
        "layer and state": lambda: with_state(x, out=(sequences, states)),
        "dense": lambda: dense(x, out=heads),
        "model": lambda: model(x, out=heads),
        "predict": lambda: model.predict(x, verbose=0, out=heads),
        "stream": lambda: stream.step(step, out=states),
    }


def peak_of(call: Callable[[], object]) -> int:
    """Bytes that a call holds at most beside what was there before."""
    call()  # once, for what is made at the first call
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_call_with_out_allocates_nothing_that_grows_with_the_data(thread_count):
    thread_count(1)
    few, many = ({what: peak_of(call) for what, call in calls_with_out(rows).items()} for rows in (400, 8000))
    between_layers = 4 << 20  # a slice of predict, in and out of a layer; the sequences of all rows are 10 MB
    for what in few:
        allowed = few[what] + (between_layers if what in ("model", "predict") else 1 << 15)
        assert many[what] < allowed, f"{what}: {few[what]} bytes, and {many[what]} for 20 times the rows"


class Indexed:
    """As a keras.utils.PyDataset: batches by number, and no end of its own."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return 3

    def __getitem__(self, place):
        return self.x[5 * place : 5 * place + 5], None


def test_predict_takes_batches_from_iterables():
    model, x = stacked_model(), bits.sequences(15, 6, 3)
    expected = model(x)
    parts = [x[:5], x[5:10], x[10:]]
    for batches in (iter(parts), ((part, 0) for part in parts), ([part, 0] for part in parts), Indexed(x)):
        assert_same_bits(model.predict(batches, verbose=0), expected)
    assert_same_bits(model.predict(iter(parts), steps=2, verbose=0), expected[:10])
