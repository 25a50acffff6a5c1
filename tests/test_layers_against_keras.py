"""Random recurrent layers against Keras: every argument, mask, state and size that `layer_cases` draws."""

from __future__ import annotations

import dataclasses

import layer_cases
import numpy as np
import oracle
import pytest

from lstmfast import layers

KINDS = ("LSTM", "GRU", "SimpleRNN")
# Of each kind, those that run in the ordinary tests. The first GOLDEN have committed outputs, unless these are large.
RANDOM_CASES = {
    kind: [layer_cases.random_case(seed, kind) for seed in range(count)]
    for kind, count in (("LSTM", 240), ("GRU", 80), ("SimpleRNN", 60))
}
GOLDEN = 24
MASK_CASES = [
    layer_cases.Case(
        "LSTM",
        seed=11,
        units=3,
        batch=5,
        steps=5,
        features=2,
        arguments=(
            ("go_backwards", backwards),
            ("return_sequences", True),
            ("return_state", True),
            ("zero_output_for_mask", zero),
        ),
        mask=mask,
        has_state=has_state,
    )
    for mask in layer_cases.MASKS
    for backwards in (False, True)
    for zero in (False, True)
    for has_state in (False, True)
]
ACTIVATION_CASES = [
    layer_cases.Case(
        "LSTM", 7, units=5, batch=2, steps=4, features=3, arguments=((argument, name), ("return_sequences", True))
    )
    for argument in ("activation", "recurrent_activation")
    for name in layer_cases.ACTIVATIONS
]
LONG_BLOCK, LONG_BLOCKS = 100, 30


def supported(kind: str) -> bool:
    """Whether the core has the cell yet."""
    try:
        layer = getattr(layers, kind)(1)
        layer(np.zeros((1, 1, 1)))
    except NotImplementedError:
        return False
    return True


SUPPORTED = {kind: supported(kind) for kind in KINDS}


def check(case: layer_cases.Case, dtype: str = "float32") -> None:
    """Compare with Keras, live or committed."""
    if not SUPPORTED[case.kind]:
        pytest.skip(f"the core has no {case.kind} yet")
    oracle.assert_case(case, layer_cases.run(layers, case, dtype), dtype)


@pytest.mark.parametrize("case", [case for kind in KINDS for case in RANDOM_CASES[kind]], ids=lambda case: case.name)
def test_random_layer(case):
    check(case)


@pytest.mark.parametrize(
    "case",
    [layer_cases.random_case(seed, kind, bidirectional=True) for kind in KINDS for seed in range(1000, 1020)],
    ids=lambda c: f"{c.name}-{c.merge_mode}",
)
def test_random_bidirectional(case):
    check(case)


@pytest.mark.parametrize("seed", range(0, 40, 2))
def test_random_lstm_in_float64(seed):
    check(layer_cases.random_case(seed), "float64")


@pytest.mark.parametrize("case", ACTIVATION_CASES, ids=lambda case: "=".join(case.arguments[0]))
def test_every_activation_inside_the_cell(case):
    check(case)


@pytest.mark.parametrize("size", layer_cases.SIZES)
def test_sizes_that_straddle_the_lanes(isa, size):
    for units, features, batch in ((size, 5, 3), (6, size, 3), (6, 5, size)):
        check(
            layer_cases.Case(
                "LSTM", size, units, batch, 4, features, (("return_sequences", True), ("return_state", True))
            )
        )


@pytest.mark.parametrize("case", MASK_CASES, ids=lambda case: f"{case.mask}-{case.has_state}-{case.options}")
def test_masks(case):
    check(case)


def test_the_mask_example_of_a_row_without_a_valid_step():
    """Steps before the first valid one emit 0, not h0; a row without one keeps its state (Keras 3 on TensorFlow)."""
    layer = layers.LSTM(2, return_sequences=True, return_state=True)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 5, 3)).astype("float32")
    mask = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0]], bool)
    ones = np.ones((2, 2), "float32")
    y, h, c = layer(x, mask=mask, initial_state=[ones, ones])
    assert (y[0, :2] == 0).all()
    assert (y[0, 3] == y[0, 4]).all()
    assert (h[0] == y[0, 3]).all()
    assert (y[1] == 0).all()
    assert (h[1] == 1).all()
    assert (c[1] == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_long_sequences(kind):
    """2000 steps: rounding does not build up."""
    if not SUPPORTED[kind]:
        pytest.skip(f"the core has no {kind} yet")
    if oracle.live_keras() is None:
        pytest.skip("needs TensorFlow and Keras")
    check(layer_cases.Case(kind, 5, units=12, batch=2, steps=600, features=2, arguments=(("return_sequences", True),)))


def test_stateful_layers_check_their_batch_and_reset():
    case = layer_cases.Case("LSTM", 3, 5, 4, 3, 2, (("stateful", True),))
    check(case)
    layer = layer_cases.build(layers, case)
    x = case.inputs()[0]
    first, second = layer(x), layer(x)
    assert not np.array_equal(first, second)
    layer.reset_state()
    assert np.array_equal(layer(x), first)
    layer.reset_states()
    assert np.array_equal(layer(x), first)


def test_unroll_and_dropout_arguments_change_nothing():
    base = layer_cases.Case("LSTM", 2, 7, 3, 5, 4, (("return_sequences", True),))
    expected = layer_cases.run(layers, base)[0]
    for extra in (
        {"unroll": True},
        {"dropout": 0.5, "recurrent_dropout": 0.5},
        {"use_cudnn": False},
        {"seed": 3},
        {"kernel_regularizer": "l2"},
        {"unit_forget_bias": False},
        {"implementation": 1},
    ):
        case = dataclasses.replace(base, arguments=(*base.arguments, *extra.items()))
        assert np.array_equal(layer_cases.run(layers, case)[0], expected), extra


@pytest.mark.long
@pytest.mark.parametrize("block", range(LONG_BLOCKS))
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_random_layers(kind, block):
    start = 10_000 + block * LONG_BLOCK
    for seed in range(start, start + LONG_BLOCK):
        check(layer_cases.random_case(seed, kind))
        if seed % 4 == 0:
            check(layer_cases.random_case(seed, kind, bidirectional=True))
