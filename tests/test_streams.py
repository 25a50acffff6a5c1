"""Streams: a model one step at a time, with a state of its own and the bits of the whole sequence."""

from __future__ import annotations

import copy
import pickle

import bits
import layer_cases
import numpy as np
import pytest
from bits import assert_same_bits
from test_same_bits import stacked_model
from tutorial_models import build

import lstmfast
from lstmfast import Input, Sequential, layers

STEPS, FEATURES = 7, 3
X = bits.sequences(4, STEPS, FEATURES)

# Models that can be streamed, as tutorial_models.build takes them.
STREAMED = {
    "one layer": [("LSTM", 5)],
    "a sequence": [("LSTM", 5, {"return_sequences": True})],
    "a stack": [("LSTM", 5, {"return_sequences": True}), ("LSTM", 9), ("Dense", 2)],
    "layers behind": [("LSTM", 5), ("Dense", 4, {"activation": "softmax"}), ("Dropout", 0.5), ("Activation", "tanh")],
    "layers in front": [("Dense", 6, {"activation": "relu"}), ("Activation", "elu"), ("LSTM", 5), ("Dense", 1)],
    "time distributed": [
        ("TimeDistributed", ("Dense", 6)),
        ("LSTM", 5, {"return_sequences": True}),
        ("TimeDistributed", ("Dense", 2, {"activation": "tanh"})),
    ],
    "other activations": [("LSTM", 9, {"activation": "softsign", "recurrent_activation": "hard_sigmoid"})],
    "softmax inside": [("LSTM", 9, {"activation": "softmax"})],
    "no bias": [("LSTM", 17, {"use_bias": False})],
    "GRU": [("GRU", 5, {"return_sequences": True}), ("GRU", 9, {"reset_after": False}), ("Dense", 2)],
    "SimpleRNN": [("SimpleRNN", 5, {"return_sequences": True}), ("SimpleRNN", 9), ("Dense", 2)],
    "reshaped behind": [("LSTM", 6), ("Reshape", (2, 3)), ("Flatten",), ("Dense", 2)],
}


def model_of(name: str, steps: int | None = None) -> Sequential:
    return build(lstmfast, Input((steps, FEATURES)), STREAMED[name], seed=len(name))


def outputs_so_far(model: Sequential, x: np.ndarray) -> np.ndarray:
    """(batch, steps, …): what the model gives for the first step, the first two, …; of a sequence its last step."""
    results = [model(x[:, : step + 1]) for step in range(x.shape[1])]
    if results[-1].ndim == 3 and results[0].shape != results[-1].shape:
        results = [result[:, -1] for result in results]
    return np.stack(results, axis=1)


@pytest.mark.parametrize("name", STREAMED)
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_stream_gives_the_bits_of_the_whole(isa, name, batch):
    model = model_of(name)
    x = X[:batch]
    stream = model.stream(batch_size=batch)
    steps = np.stack([np.array(stream.step(x[:, step])) for step in range(STEPS)], axis=1)
    assert_same_bits(steps, outputs_so_far(model, x), name)


def test_the_type_follows_the_model():
    for dtype in ("float32", "float64"):
        model = stacked_model(dtype=dtype)
        assert model.stream().step(np.zeros((1, 3))).dtype == dtype


@pytest.mark.parametrize("steps", [None, 7, 100])
def test_a_fixed_number_of_steps_does_not_bind_a_stream(steps):
    model = model_of("a stack", steps)
    stream = model.stream(batch_size=4)
    free = model_of("a stack")
    expected = outputs_so_far(free, X)
    for step in range(STEPS):
        assert_same_bits(stream.step(X[:, step]), expected[:, step])


def test_reset_begins_again():
    stream = model_of("a stack").stream(batch_size=4)
    first = [np.array(stream.step(X[:, step])) for step in range(STEPS)]
    carried_on = np.array(stream.step(X[:, 0]))
    assert not np.array_equal(carried_on, first[0])
    for _ in range(2):
        stream.reset()
        assert_same_bits([np.array(stream.step(X[:, step])) for step in range(STEPS)], first)


def test_states_are_saved_and_restored():
    stream = model_of("a stack").stream(batch_size=4)
    for step in range(3):
        stream.step(X[:, step])
    saved = stream.state
    after = [np.array(stream.step(X[:, step])) for step in range(3, STEPS)]
    stream.state = saved
    assert_same_bits([np.array(stream.step(X[:, step])) for step in range(3, STEPS)], after)
    # a saved state is a copy: it does not move with the stream
    stream.state = saved
    assert_same_bits([np.array(stream.step(X[:, step])) for step in range(3, STEPS)], after)
    for kept in (pickle.loads(pickle.dumps(saved)), copy.deepcopy(saved)):
        stream.state = kept
        assert_same_bits(np.array(stream.step(X[:, 3])), after[0])
    other = model_of("a stack").stream(batch_size=4)
    other.state = saved
    assert_same_bits(np.array(other.step(X[:, 3])), after[0])


def test_streams_do_not_share_their_state():
    model = model_of("a stack")
    first, second = model.stream(), model.stream()
    expected = outputs_so_far(model, X)
    for step in range(STEPS):
        assert_same_bits(first.step(X[:1, step]), expected[:1, step])
        assert_same_bits(second.step(X[1:2, step]), expected[1:2, step])
        model.predict(X)


def test_results_of_steps_are_kept_apart():
    stream = model_of("a sequence").stream(batch_size=4)
    first = stream.step(X[:, 0])
    kept = first.copy()
    stream.step(X[:, 1])
    assert_same_bits(first, kept)
    first[...] = 9
    expected = outputs_so_far(model_of("a sequence"), X)
    assert_same_bits(stream.step(X[:, 2]), expected[:, 2])


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        lambda x: x.astype("float64"),
        lambda x: x.astype(">f4"),
        lambda x: x.tolist(),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: np.ascontiguousarray(x[::-1])[::-1],
    ],
)
def test_steps_of_any_kind_of_number(form):
    model = model_of("a stack")
    expected = outputs_so_far(model, X)
    stream = model.stream(batch_size=4)
    for step in range(STEPS):
        assert_same_bits(stream.step(form(X[:, step])), expected[:, step])


def test_a_stream_keeps_the_weights_that_it_began_with():
    model = model_of("a stack")
    expected = outputs_so_far(model, X)
    stream = model.stream(batch_size=4)
    stream.step(X[:, 0])
    model.set_weights([0 * weight for weight in model.get_weights()])
    for step in range(1, STEPS):
        assert_same_bits(stream.step(X[:, step]), expected[:, step])


@pytest.mark.parametrize(
    ("stack", "says"),
    [
        ([("LSTM", 5, {"go_backwards": True})], ("'a'", "LSTM", "backwards")),
        ([("Bidirectional", ("LSTM", 5))], ("'a'", "Bidirectional")),
        ([("LSTM", 5), ("RepeatVector", 3), ("LSTM", 4)], ("'b'", "RepeatVector")),
        ([("LSTM", 5, {"return_sequences": True}), ("Flatten",), ("Dense", 2)], ("'b'", "Flatten")),
        ([("LSTM", 5, {"return_sequences": True}), ("Reshape", (5, -1)), ("Dense", 2)], ("'b'", "Reshape")),
    ],
    ids=lambda value: value[0][0] if isinstance(value, list) else "",
)
def test_what_cannot_be_streamed_is_named(stack, says):
    model = build(lstmfast, Input((STEPS, FEATURES)), stack)
    before = model(X)
    with pytest.raises(ValueError, match="stream") as caught:
        model.stream()
    for part in says:
        assert part in str(caught.value)
    assert_same_bits(model(X), before)


def test_a_failed_step_leaves_the_state():
    stream = model_of("a stack").stream(batch_size=4)
    stream.step(X[:, 0])
    before = stream.state
    for wrong in (X[:, 0, :2], X[:2, 0], X, "text", None, [[1, 2], [3]]):
        with pytest.raises((ValueError, TypeError)):
            stream.step(wrong)
        assert_same_bits(
            [part for layer in stream.state for part in layer], [part for layer in before for part in layer]
        )


def test_a_long_stream_stays_exact():
    model = model_of("one layer")
    x = bits.sequences(1, 3000, FEATURES)
    stream = model.stream()
    for step in range(3000):
        y = stream.step(x[:, step])
    assert_same_bits(y, model(x))


@pytest.mark.parametrize("seed", range(12))
def test_random_layers_stream(isa, seed):
    case = layer_cases.random_case(seed, ("LSTM", "GRU", "SimpleRNN")[seed % 3])
    options = {
        key: value
        for key, value in case.options.items()
        if key in ("activation", "recurrent_activation", "use_bias", "reset_after")
    }
    layer = getattr(layers, case.kind)(case.units, return_sequences=True, **options)
    model = Sequential([Input((None, case.features)), layer])
    model.set_weights(case.weights())
    x = case.inputs()[0]
    y = model(x)
    stream = model.stream(batch_size=case.batch)
    for step in range(case.steps):
        assert_same_bits(np.array(stream.step(x[:, step])), y[:, step], f"{case}, step {step}")
