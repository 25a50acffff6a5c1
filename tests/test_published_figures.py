"""Figures that others have published: the expectations of Keras's own recurrent tests, and of ONNX's node tests.

Keras: keras/src/layers/rnn/{lstm,gru,simple_rnn,bidirectional}_test.py, keras-team/keras, Apache-2.0. All layers
there have the kernel 0.01, the recurrent kernel 0.02 and the bias 0.03, on sequences of consecutive integers; the
tolerance is theirs.
ONNX: onnx/backend/test/case/node/lstm.py, onnx/onnx, Apache-2.0, whose expectations are a NumPy loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lstmfast import layers

BOUND = 1e-5  # of keras.src.testing.TestCase.assertAllClose there


def constants(kernel: float = 0.01, recurrent: float = 0.02, bias: float = 0.03) -> dict[str, Any]:
    return {
        f"{name}_initializer": {"class_name": "Constant", "config": {"value": value}}
        for name, value in (("kernel", kernel), ("recurrent", recurrent), ("bias", bias))
    }


def integers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype("float32")


def same_columns(*values: float, columns: int = 3) -> np.ndarray:
    return np.repeat(np.array(values)[:, None], columns, axis=1)


def check(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=BOUND, atol=BOUND)


@pytest.mark.parametrize(
    ("kind", "options", "values"),
    [
        ("LSTM", {}, (0.6288687, 0.86899155, 0.9460773)),
        ("LSTM", {"implementation": 1}, (0.6288687, 0.86899155, 0.9460773)),
        ("LSTM", {"go_backwards": True}, (0.35622165, 0.74789524, 0.8872726)),
        ("LSTM", {"unroll": True}, (0.6288687, 0.86899155, 0.9460773)),
        ("LSTM", {"unit_forget_bias": False}, (0.57019705, 0.8661914, 0.9459622)),
        ("LSTM", {"use_bias": False}, (0.54986924, 0.86226785, 0.9443936)),
        ("GRU", {}, (0.5217289, 0.6371659, 0.39384964)),
        ("GRU", {"go_backwards": True}, (0.24406259, 0.611516, 0.3928808)),
        ("GRU", {"unroll": True}, (0.5217289, 0.6371659, 0.39384964)),
        ("GRU", {"reset_after": False}, (0.51447755, 0.6426879, 0.40208298)),
        ("GRU", {"use_bias": False}, (0.49988455, 0.64701194, 0.4103359)),
    ],
)
def test_correctness(kind, options, values):
    layer = getattr(layers, kind)(3, **constants(), **options)
    check(layer(integers(3, 6, 4)), same_columns(*values))


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({}, (0.405432, 0.73605347)),
        ({"unroll": True}, (0.405432, 0.73605347)),
        ({"go_backwards": True}, (0.11144729, 0.5528889)),
        ({"go_backwards": True, "unroll": True}, (0.11144729, 0.5528889)),
    ],
)
def test_correctness_of_simple_rnn(options, values):
    check(layers.SimpleRNN(4, **constants(), **options)(integers(2, 3, 4)), same_columns(*values, columns=4))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("LSTM", (0.3124785, 0.6863672)),
        ("GRU", (0.29542392, 0.5885018)),
        ("SimpleRNN", (0.40559256, 0.7361247)),
    ],
)
def test_statefulness(kind, values):
    layer = getattr(layers, kind)(4, stateful=True, **constants())
    sequence = integers(2, 3, 4)
    layer(sequence)
    check(layer(sequence), same_columns(*values, columns=4))
    layer.reset_state()
    layer(sequence)
    check(layer(sequence), same_columns(*values, columns=4))


@pytest.mark.parametrize(
    ("kind", "backwards", "expected"),
    [
        ("LSTM", False, [[0.20574439, 0.3558822], [0.64930826, 0.66276]]),
        ("LSTM", True, [[0.13281618, 0.2790356], [0.5839337, 0.5992567]]),
        ("GRU", False, [[0.23774096, 0.33508456], [0.83659905, 1.0227708]]),
        ("GRU", True, [[0.13486053, 0.23261218], [0.78257304, 0.9691353]]),
    ],
)
def test_pass_initial_state(kind, backwards, expected):
    layer = getattr(layers, kind)(2, go_backwards=backwards, return_state=True, **constants())
    state = integers(2, 2)
    output, *states = layer(integers(2, 4, 3), initial_state=[state, state] if kind == "LSTM" else state)
    check(output, expected)
    check(states[0], expected)


@pytest.mark.parametrize(("backwards", "values"), [(False, (0.33621645, 0.6262637)), (True, (0.07344437, 0.43043602))])
def test_pass_initial_state_of_simple_rnn(backwards, values):
    layer = layers.SimpleRNN(4, go_backwards=backwards, **constants())
    check(layer(integers(2, 4, 3), initial_state=integers(2, 4)), same_columns(*values, columns=4))


def test_masking_of_lstm():
    sequence = integers(2, 4, 3)
    mask = np.array([[True, True, True, False], [True, True, False, False]])
    check(
        layers.LSTM(2, unroll=True, **constants())(sequence, mask=mask), same_columns(0.11755939, 0.28556206, columns=2)
    )
    y = layers.LSTM(2, return_sequences=True, **constants())(sequence, mask=mask)
    check(y[0], same_columns(0.01588910, 0.05552048, 0.11755939, 0.11755939, columns=2))
    check(y[1], same_columns(0.14185596, 0.28556206, 0.28556206, 0.28556206, columns=2))
    y = layers.LSTM(2, return_sequences=True, zero_output_for_mask=True, **constants())(sequence, mask=mask)
    check(y[0], same_columns(0.01588910, 0.05552048, 0.11755939, 0, columns=2))
    check(y[1], same_columns(0.14185596, 0.28556206, 0, 0, columns=2))
    backwards = np.array([[False, True, True, True], [False, False, True, True]])
    y = layers.LSTM(2, go_backwards=True, **constants())(sequence, mask=backwards)
    check(y, same_columns(0.15341201, 0.3844719, columns=2))


HOLES = np.array([[True, True, False, True], [True, False, False, True]])


@pytest.mark.parametrize(
    ("kind", "last", "first_row", "second_row", "backwards"),
    [
        (
            "GRU",
            (0.19393763, 0.30818558),
            (0.03606692, 0.09497581, 0.09497581, 0.19393763),
            (0.16051409, 0.16051409, 0.16051409, 0.30818558),
            (0.11669192, 0.28380975),
        ),
        (
            "SimpleRNN",
            (0.32394567, 0.608085),
            (0.0599281, 0.15122814, 0.15122814, 0.32394567),
            (0.3969304, 0.3969304, 0.3969304, 0.608085),
            None,
        ),
    ],
)
def test_masking_with_holes(kind, last, first_row, second_row, backwards):
    sequence = integers(2, 4, 3)
    make = getattr(layers, kind)
    check(make(2, unroll=True, **constants())(sequence, mask=HOLES), same_columns(*last, columns=2))
    y = make(2, return_sequences=True, **constants())(sequence, mask=HOLES)
    check(y[0], same_columns(*first_row, columns=2))
    check(y[1], same_columns(*second_row, columns=2))
    y = make(2, return_sequences=True, zero_output_for_mask=True, **constants())(sequence, mask=HOLES)
    check(y[0], same_columns(*first_row, columns=2) * HOLES[0][:, None])
    check(y[1], same_columns(*second_row, columns=2) * HOLES[1][:, None])
    if backwards:
        y = make(2, go_backwards=True, **constants())(sequence, mask=HOLES)
        check(y, same_columns(*backwards, columns=2))


def test_masking_of_simple_rnn_of_four_units():
    sequence = integers(2, 4, 3)
    y = layers.SimpleRNN(4, unroll=True, **constants())(sequence, mask=HOLES)
    check(y, same_columns(0.32951632, 0.61799484, columns=4))
    y = layers.SimpleRNN(4, go_backwards=True, **constants())(sequence, mask=HOLES)
    check(y, same_columns(0.07376196, 0.43645123, columns=4))


def test_bidirectional():
    sequence = integers(2, 3, 4)
    forward, backward = same_columns(0.39687276, 0.7237238, columns=2), same_columns(0.10004295, 0.53391594, columns=2)
    make = lambda **options: layers.Bidirectional(layers.SimpleRNN(2, **constants()), **options)  # noqa: E731
    check(make()(sequence), np.concatenate([forward, backward], axis=1))
    check(make(merge_mode="ave")(sequence), same_columns(0.24845785, 0.6288199, columns=2))
    first, second = make(merge_mode=None)(sequence)
    check(first, forward)
    check(second, backward)
    other = layers.SimpleRNN(2, go_backwards=True, **constants(0.03, 0.02, 0.01))
    y = make(backward_layer=other, merge_mode="mul")(sequence)
    check(y, same_columns(0.08374989, 0.6740834, columns=2))
    y = layers.Bidirectional(layers.GRU(2, return_sequences=True, **constants()), merge_mode="sum")(sequence)
    check(y[0], same_columns(0.20937867, 0.34462988, 0.40290534, columns=2))
    check(y[1], same_columns(0.59829646, 0.6734641, 0.6479671, columns=2))


def test_bidirectional_states():
    sequence = integers(2, 4, 3)
    layer = layers.Bidirectional(layers.LSTM(2, stateful=True, **constants()))
    expected = np.array(
        [[0.26234663, 0.26234663, 0.16959146, 0.16959146], [0.6137073, 0.6137073, 0.5381646, 0.5381646]]
    )
    for _ in range(2):
        layer(sequence)
        check(layer(sequence), expected)
        layer.reset_state()
    layer = layers.Bidirectional(layers.LSTM(2, **constants()))
    state = [integers(2, 2) * factor for factor in (1, 2, 3, 4)]
    check(
        layer(sequence, initial_state=state),
        [[0.20794602, 0.4577124, 0.14046375, 0.48191673], [0.6682636, 0.6711909, 0.60943645, 0.60950446]],
    )
    layer = layers.Bidirectional(layers.LSTM(2, return_state=True, **constants()))
    output, h1, c1, h2, c2 = layer(sequence)
    forward, backward = same_columns(0.1990008, 0.52335435, columns=2), same_columns(0.12659755, 0.44717982, columns=2)
    check(output, np.concatenate([forward, backward], axis=1))
    for actual, expected_state in (
        (h1, forward),
        (c1, same_columns(0.35567185, 1.0492687, columns=2)),
        (h2, backward),
        (c2, same_columns(0.2501858, 0.941473, columns=2)),
    ):
        check(actual, expected_state)


def test_bidirectional_masking():
    layer = layers.Bidirectional(layers.GRU(2, **constants()))
    check(
        layer(integers(2, 4, 3), mask=HOLES),
        [[0.19393763, 0.19393763, 0.11669192, 0.11669192], [0.30818558, 0.30818558, 0.28380975, 0.28380975]],
    )


@pytest.mark.parametrize(
    ("x", "units", "weight", "bias", "expected"),
    [
        # test_lstm_defaults, test_lstm_with_initial_bias, test_lstm_batchwise: one step, constant weights
        ([[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]], 3, 0.1, 0.0, [0.09524119, 0.25606443, 0.40323774]),
        (
            [[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]], [[7.0, 8.0, 9.0]]],
            4,
            0.1,
            0.1,
            [0.25606443, 0.53672777, 0.66721325],
        ),
        ([[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]], 7, 0.3, 0.0, [0.3336926, 0.62239318, 0.71857896]),
    ],
)
def test_onnx_node_tests(x, units, weight, bias, expected):
    layer = layers.LSTM(units, unit_forget_bias=False, **constants(weight, weight, bias))
    np.testing.assert_allclose(layer(np.array(x)), same_columns(*expected, columns=units), atol=2e-7)


# ONNX Runtime: onnxruntime/test/providers/cpu/rnn/deep_cpu_lstm_op_test.cc, microsoft/onnxruntime, MIT. Tests
# {Forward,Reverse,Bidirectional}SimpleWeightsNoBiasTwoRows, MixedSequenceLengths,
# BatchParallelFalseSeqLengthGreaterThanOne.
# X is (steps, rows, 1); W holds the gates in the order i, o, f, c; every recurrent weight is 0.1; there is no bias.
ROWS = np.array([[[1.0], [10.0]], [[2.0], [11.0]]], "float32")
FORWARD_Y = [
    [[0.28828835, 0.36581863, 0.45679406], [0.84196719, 0.89402526, 0.91073048]],
    [[0.34526032, 0.47220859, 0.55850911], [0.85882828, 0.90703777, 0.92382453]],
]
FORWARD_C = [[1.27731147, 1.44181041, 1.53179041], [1.3249796, 1.51063104, 1.61451544]]
REVERSE_Y = [
    [[0.55391603, 0.69201493, 0.82696019], [0.61249432, 0.70678632, 0.74094619]],
    [[0.64046413, 0.82303363, 0.91610711], [0.62759886, 0.71640738, 0.74624585]],
]
REVERSE_C = [[1.27850552, 1.46799496, 1.57641257], [1.34960834, 1.54772296, 1.65633056]]


def from_onnx(units: int) -> list[np.ndarray]:
    """Keras's kernel and recurrent kernel of the tests' W and R."""
    weights = [0.1, 0.2, 0.3, 0.4, 1, 2, 3, 4, 10, 11, 12, 13] if units == 3 else [0.1, 0.2, 0.3, 0.4, 1, 2, 3, 4]
    input_gate, output_gate, forget_gate, candidate = np.split(np.array(weights, "float32"), 4)
    kernel = np.concatenate([input_gate, forget_gate, candidate, output_gate])[None]
    return [kernel, np.full((units, 4 * units), 0.1, "float32")]


def onnx_lstm(units: int = 3, **options: Any) -> layers.LSTM:
    return layers.LSTM(units, use_bias=False, return_sequences=True, return_state=True, **options)


def with_weights(layer: Any, weights: list[np.ndarray]) -> Any:
    layer.build((None, None, 1))
    layer.set_weights(weights)
    return layer


def test_onnx_runtime_forward_and_reverse():
    y, h, c = with_weights(onnx_lstm(), from_onnx(3))(ROWS)
    check(y, FORWARD_Y)
    check(h, np.array(FORWARD_Y)[:, -1])
    check(c, FORWARD_C)
    y, h, c = with_weights(onnx_lstm(go_backwards=True), from_onnx(3))(ROWS)
    check(y[:, ::-1], REVERSE_Y)  # ONNX gives the reversed sequence in the input's order
    check(h, np.array(REVERSE_Y)[:, 0])
    check(c, REVERSE_C)


def test_onnx_runtime_bidirectional():
    layer = with_weights(layers.Bidirectional(onnx_lstm()), from_onnx(3) * 2)
    y, h1, c1, h2, c2 = layer(ROWS)
    check(y, np.concatenate([FORWARD_Y, REVERSE_Y], axis=-1))
    for actual, expected in ((h1, np.array(FORWARD_Y)[:, -1]), (c1, FORWARD_C), (h2, np.array(REVERSE_Y)[:, 0])):
        check(actual, expected)
    check(c2, REVERSE_C)


@pytest.mark.parametrize(
    ("short", "c"),
    [(0, [0.52497941, 0.54983425, 0.5744428]), (1, [0.54983425, 0.59868795, 0.64565659])],
)
def test_onnx_runtime_mixed_sequence_lengths(short, c):
    mask = np.ones((2, 2), bool)
    mask[short, 1] = False
    y, h, cells = with_weights(onnx_lstm(zero_output_for_mask=True), from_onnx(3))(ROWS, mask=mask)
    expected, last_c = np.array(FORWARD_Y), np.array(FORWARD_C)
    expected[short, 1] = 0
    last_c[short] = c
    check(y, expected)
    check(h[short], FORWARD_Y[short][0])
    check(cells, last_c)


def test_onnx_runtime_one_row_of_two_units():
    y, _, c = with_weights(onnx_lstm(2), from_onnx(2))(np.array([[[1.0], [2.0]]]))
    check(y, [[[0.27546653, 0.29941525], [0.50903179, 0.57476457]]])
    check(c, [[1.02721067, 1.15254318]])
