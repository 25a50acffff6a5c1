"""The tests' own tests: a comparison that cannot fail proves nothing, so each kind is shown something wrong."""

from __future__ import annotations

import dataclasses

import bits
import layer_cases
import numpy as np
import oracle
import pytest
from programs import run_python

from lstmfast import layers

CASE = layer_cases.Case("LSTM", 4, 6, 3, 5, 4, (("return_sequences", True), ("return_state", True)), mask="left")


@pytest.fixture(scope="module")
def expected():
    if oracle.live_keras() is None:
        pytest.skip("needs TensorFlow and Keras")
    return oracle.layer_outputs(CASE)


class Altered(layer_cases.Case):
    """CASE with something done to its weights."""

    def __init__(self, change):
        super().__init__(**{field.name: getattr(CASE, field.name) for field in dataclasses.fields(CASE)})
        object.__setattr__(self, "change", change)

    def weights(self, dtype="float32"):
        return self.change(super().weights(dtype))


def gates(weights, order):
    """The weights with their four gates in another order."""
    return [np.concatenate([np.split(weight, 4, axis=-1)[gate] for gate in order], axis=-1) for weight in weights]


def nudged(weights):
    changed = [weight.copy() for weight in weights]
    changed[1][2, 3] += 1e-4
    return changed


WRONG = {
    "gates i, c, f, o": lambda weights: gates(weights, (0, 2, 1, 3)),
    "gates i, f, o, c": lambda weights: gates(weights, (0, 1, 3, 2)),
    "no bias": lambda weights: [weights[0], weights[1], 0 * weights[2]],
    "a transposed recurrent kernel": lambda weights: [weights[0], weights[1].reshape(24, 6).T.copy(), weights[2]],
    "one recurrent weight off by 1e-4": nudged,
}


def test_the_right_answer_passes(expected):
    oracle.assert_case(CASE, layer_cases.run(layers, CASE))


@pytest.mark.parametrize("what", WRONG)
def test_wrong_weights_are_noticed(expected, what):
    with pytest.raises(AssertionError, match="values differ"):
        oracle.assert_case(CASE, layer_cases.run(layers, Altered(WRONG[what])))


def test_a_row_that_explodes_excuses_no_other():
    double = np.array([[0.5, 0.25], [1e8, 1.0]])
    single = np.array([[0.5, 0.25 + 1e-7], [1.05e8, 1.0]])
    bound = oracle.rounding(single, double)
    assert not oracle.exceeds(single, double, bound).any()
    assert oracle.exceeds(double + [[1e-4], [0]], double, bound).any()


@pytest.mark.filterwarnings("error")
def test_a_row_that_overflows_is_held_to_nothing_and_excuses_no_other():
    double = np.array([[0.5, 0.25], [np.inf, 1.0], [np.nan, 1.0], [1.0, 2.0], [1e300, -np.inf]])
    single = np.array([[0.5, 0.25], [np.inf, 1.5], [np.nan, 1.5], [np.inf, 2.0], [np.inf, -np.inf]], "float32")
    bound = oracle.rounding(single, double)
    assert np.isposinf(bound[1:]).all()
    assert not bound[0].any()


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": (*CASE.arguments, ("recurrent_activation", "hard_sigmoid"))},
        {"arguments": (*CASE.arguments, ("go_backwards", True))},
        {"arguments": (*CASE.arguments, ("zero_output_for_mask", True)), "mask": "right"},
        {"mask": None},
        {"mask": "holes"},
        {"has_state": True},
    ],
    ids=str,
)
def test_wrong_arguments_are_noticed(expected, changes):
    wrong = dataclasses.replace(CASE, **changes)
    if changes.get("mask") == "right":
        right = dataclasses.replace(CASE, mask="right")
        with pytest.raises(AssertionError, match="values differ"):
            oracle.assert_case(right, layer_cases.run(layers, wrong))
        return
    with pytest.raises(AssertionError, match="values differ"):
        oracle.assert_case(CASE, layer_cases.run(layers, wrong))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda y: y.astype("float64"),
        lambda y: y[:, :-1],
        lambda y: y[..., None],
        lambda y: y + np.float32(3e-6),
        lambda y: np.where(np.arange(y.size).reshape(y.shape) == 7, np.float32(np.nan), y),
        lambda y: np.where(np.arange(y.size).reshape(y.shape) == 7, np.float32(np.inf), y),
    ],
)
def test_spoiled_outputs_are_noticed(expected, spoil):
    outputs = layer_cases.run(layers, CASE)
    outputs[0] = spoil(outputs[0])
    with pytest.raises(AssertionError):
        oracle.assert_case(CASE, outputs)


def test_a_missing_output_is_noticed(expected):
    with pytest.raises(AssertionError, match="2 outputs, expected 3"):
        oracle.assert_case(CASE, layer_cases.run(layers, CASE)[:2])


def test_one_bit_is_noticed():
    x = np.linspace(0, 1, 10, dtype="float32")
    y = x.copy()
    y[3] = np.nextafter(y[3], np.float32(2))
    with pytest.raises(AssertionError, match="1 of 10 values differ in their bits"):
        bits.assert_same_bits(y, x)
    negative = np.zeros(3, "float32")
    with pytest.raises(AssertionError):
        bits.assert_same_bits(-negative, negative)
    with pytest.raises(AssertionError):
        bits.assert_same_bits(x.astype("float64"), x)
    with pytest.raises(AssertionError):
        bits.assert_same_bits([x, x], [x])
    bits.assert_same_bits(np.array([np.nan]), np.array([-np.nan]))


def test_a_batch_dependent_sum_would_be_noticed():
    """NumPy's own product gives a row other bits alone than in a batch; the tests of equal bits would see it."""
    x = bits.sequences(1, 64, 257)[0]
    kernel = np.random.default_rng(0).standard_normal((257, 100)).astype("float32")
    whole = x @ kernel
    alone = np.concatenate([x[row : row + 1] @ kernel for row in range(len(x))])
    with pytest.raises(AssertionError, match="values differ in their bits"):
        bits.assert_same_bits(alone, whole)


def test_cases_cover_what_they_should():
    cases = [layer_cases.random_case(seed) for seed in range(240)]
    for flag in ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask"):
        assert 10 < sum(bool(case.options.get(flag)) for case in cases) < 200, flag
    assert sum(case.options.get("use_bias") is False for case in cases) > 10
    assert {case.mask for case in cases} == {None, *layer_cases.MASKS}
    assert {case.units for case in cases} == {case.features for case in cases} == set(layer_cases.SIZES)
    assert 60 < sum(case.is_tame for case in cases) < 180
    assert len({case.options.get("activation") for case in cases}) > 25
    assert all((weight != 0).all() for case in cases[:20] for weight in case.weights())


def test_a_case_is_the_same_every_time():
    first, second = (layer_cases.random_case(17) for _ in range(2))
    assert first == second
    bits.assert_same_bits(first.weights(), second.weights())
    bits.assert_same_bits(first.inputs(), second.inputs())


def test_a_required_oracle_that_is_missing_is_an_error():
    code = """
    import sys
    sys.modules["tensorflow"] = None
    import oracle
    try:
        print(oracle.live_keras())
    except ImportError:
        print("error")
    """
    assert run_python(code, environment={"LSTMFAST_REQUIRE_TENSORFLOW": "1"}).strip() == "error"
    assert run_python(code, environment={"LSTMFAST_REQUIRE_TENSORFLOW": ""}).strip() == "None"
