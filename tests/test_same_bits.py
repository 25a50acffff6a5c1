"""The promise of equal bits: a row's result depends on the row and the weights, on nothing that runs beside it.

Held for every instruction set, float32 and float64, every cell that the core has, and whole models.
"""

from __future__ import annotations

import itertools

import bits
import layer_cases
import numpy as np
import pytest
from bits import assert_same_bits
from hypothesis import assume, given
from hypothesis import strategies as st

import lstmfast
from lstmfast import _core, layers

KINDS = [kind for kind in bits.CORE_KINDS if bits.core_supports(kind)]
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
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", THREAD_SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_thread_counts_change_nothing(isa, kind, size, dtype):
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
