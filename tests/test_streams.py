"""Streams: a model one step at a time, with a state of its own and the bits of the whole sequence."""

from __future__ import annotations

import copy
import gc
import pickle
import tracemalloc

import bits
import layer_cases
import numpy as np
import pytest
from bits import assert_same_bits
from test_same_bits import stacked_model
from tutorial_models import build

import lstmfast
from lstmfast import Input, Sequential, _core, layers
from lstmfast._graph import flatten, map_tree

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
    "a forecast": [
        ("GRU", 5),
        ("RepeatVector", 3),
        ("LSTM", 4, {"return_sequences": True}),
        ("TimeDistributed", ("Dense", 2)),
    ],
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


MERGES = [(name, {}) for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")]


@pytest.mark.parametrize("version", [(2, 4), (3, 2), (3, 15), (3, 16)], ids=str)
@pytest.mark.parametrize(("name", "arguments"), [*MERGES, ("Concatenate", {"axis": 2})])
def test_masks_through_merging_layers_follow_the_version(name, arguments, version):
    random = np.random.default_rng(0)
    values = bits.sequences(4, STEPS, FEATURES)
    values[0, :2] = values[1, 3:] = values[2, 2] = values[3] = 0
    values[1, 1, 0] = values[2, 4, 1] = 7
    values[0, 4] = 7
    x = Input((STEPS, FEATURES))
    for other in (layers.Masking(mask_value=7.0)(x), x):
        merged = getattr(layers, name)(**arguments)([layers.Masking()(x), other])
        model = lstmfast.Model(x, layers.LSTM(5, return_sequences=True)(merged), keras_version=version)
        for mask in (None, random.random((4, STEPS)) > 0.3):
            stream = model.stream(batch_size=4)
            steps = [stream.step(values[:, t], None if mask is None else mask[:, t]) for t in range(STEPS)]
            assert_same_bits(np.stack(steps, axis=1), model(values, mask=mask))


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


def of_a_graph(keras, name):
    """A model of Keras in which operations make the mask, or stand between layers."""
    layers, ops = keras.layers, keras.ops
    x = keras.Input((None, FEATURES))
    ids = keras.Input((None,), dtype="int32")
    if name == "Masking":
        return keras.Model(x, layers.LSTM(5)(layers.Masking()(x)))
    if name == "a stack":
        y = layers.GRU(4, return_sequences=True)(layers.Masking(0.5)(x))
        y = layers.LSTM(3, return_sequences=True)(layers.Dropout(0.5)(layers.Dense(6)(y)))
        return keras.Model(x, [y, layers.SimpleRNN(4)(y)])
    if name == "Embedding":
        y = layers.LSTM(5, return_sequences=True)(layers.Embedding(9, 4, mask_zero=True)(ids))
        return keras.Model(ids, layers.TimeDistributed(layers.Dense(2))(y))
    if name == "zero_output_for_mask":
        y = layers.LSTM(5, return_sequences=True, zero_output_for_mask=True)(layers.Masking()(x))
        return keras.Model(x, layers.LayerNormalization()(y))
    if name == "cells":
        y = layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_sequences=True)(layers.Masking()(x))
        return keras.Model(x, layers.RNN(layers.SimpleRNNCell(3))(y))
    if name == "nested":
        inner = keras.Model(x, layers.LSTM(5, return_sequences=True)(layers.Masking()(x)))
        outer = keras.Input((None, FEATURES))
        return keras.Model(outer, layers.GRU(3)(inner(outer)))
    if name == "a mask of the user":
        return keras.Model(x, layers.LSTM(5)(ops.log1p(ops.abs(x)), mask=x[..., 1] > 0.5))
    assert name == "features"
    scaled = (x - np.array([0.5, 0.2, 0.1], "float32")) / np.array([0.3, 0.4, 0.5], "float32")
    hour = ops.stack([ops.sin(x[:, :, 0]), ops.cos(x[:, :, 0])], axis=-1)
    y = layers.LSTM(5)(ops.concatenate([scaled, hour, ops.clip(x, 0.1, 0.4)], axis=-1))
    return keras.Model(x, ops.softmax(layers.Dense(4)(y) * 2 + 1))


@pytest.mark.parametrize("source", ["live", "file", "written"])
@pytest.mark.parametrize(
    "name",
    ["Masking", "a stack", "Embedding", "zero_output_for_mask", "cells", "nested", "a mask of the user", "features"],
)
def test_operations_of_a_graph_run_step_by_step(keras, tmp_path, name, source):
    live = of_a_graph(keras, name)
    model = lstmfast.from_keras(live)
    if source != "live":
        (live if source == "file" else model).save(tmp_path / "m.keras")
        model = lstmfast.load_model(tmp_path / "m.keras")
    random = np.random.default_rng(len(name))
    if name == "Embedding":
        x = random.integers(0, 9, (4, STEPS)) * (random.random((4, STEPS)) > 0.3)
    else:
        x = np.where(random.random((4, STEPS, 1)) > 0.3, X, np.float32(0.5 if name == "a stack" else 0))
    x[0, :2] = x[1, 4:] = x[1, 0]
    for batch in (1, 4):
        stream = model.stream(batch_size=batch)
        twins = [stream.fork(), pickle.loads(pickle.dumps(stream))]
        for step in range(STEPS):
            expected = model(x[:batch, : step + 1])
            for one in (stream, *twins):
                y = one.step(x[:batch, step])
                for mine, whole in zip(*([a] if isinstance(a, np.ndarray) else a for a in (y, expected)), strict=True):
                    assert_same_bits(mine, whole if mine.ndim == whole.ndim else whole[:, -1], f"{name}, step {step}")


def test_operations_over_steps_are_named(keras):
    x = keras.Input((STEPS, FEATURES))
    for y, says in (
        (keras.ops.cumsum(x, axis=1), "Cumsum"),
        (x * np.ones((STEPS, 1), "float32"), "Multiply"),
        (keras.ops.flip(x, axis=1), "Flip"),
        (keras.ops.mean(x, axis=0), "Mean"),
        (x[:, 1:], "GetItem"),
    ):
        model = lstmfast.from_keras(keras.Model(x, y))
        with pytest.raises(ValueError, match=f"Operation {says} .* cannot be streamed"):
            model.stream()


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Dense(3),
        layers.Softmax,
        lambda: layers.Activation("log_softmax"),
        layers.LayerNormalization,
        layers.BatchNormalization,
        layers.Masking,
        lambda: layers.Rescaling([1.0, 2.0, 3.0, 4.0, 5.0]),
        layers.UnitNormalization,
    ],
)
def test_layers_of_a_last_axis_that_is_time_are_named(layer):
    with pytest.raises(ValueError, match="cannot be streamed"):
        Sequential([Input((5,)), layers.Dropout(0.5), layer()]).stream(batch_size=5)


def test_layers_of_single_values_take_a_last_axis_that_is_time():
    x = Input((None,))
    y = layers.Maximum()(
        [layers.Activation("tanh")(x), layers.Rescaling(0.5, 0.1)(layers.ReLU()(layers.Dropout(0.5)(x)))]
    )
    model = lstmfast.Model(x, y)
    stream = model.stream(batch_size=4)
    assert_same_bits(np.stack([stream.step(X[:, step, 0]) for step in range(STEPS)], axis=1), model(X[:, :, 0]))
    with pytest.raises(ValueError, match=r"Rescaling.* cannot be streamed"):
        Sequential([Input((STEPS, FEATURES)), layers.Rescaling(np.ones((STEPS, 1)))]).stream(batch_size=STEPS)


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


# ---- several inputs ----------------------------------------------------------------------------------------------


def of_several_inputs(name):
    """A model, and values for its inputs."""
    x, other = Input((None, FEATURES), name="x"), Input((None, 2), name="other_steps")
    fixed, kind = Input((4,), name="fixed"), Input((1,), dtype="int32", name="kind")
    values = {
        "x": X,
        "other_steps": bits.sequences(4, STEPS, 2),
        "fixed": bits.sequences(1, 4, 4)[0],
        "kind": np.array([[2], [0], [4], [1]]),
        "memory": bits.sequences(4, 5, 2)[:, ::-1],
        "words": np.array([[3, 1, 0, 0], [0, 2, 0, 4], [1, 1, 1, 1], [0, 0, 0, 0]]),
        "last_words": np.array([[0, 1], [2, 3], [4, 0], [0, 0]]),
        "valid": np.random.default_rng(1).random((4, 5)) > 0.3,
    }
    memory, valid = Input((5, 2), name="memory"), Input((5,), dtype="bool", name="valid")
    words, last_words = (Input((size,), dtype="int32", name=own) for own, size in (("words", 4), ("last_words", 2)))
    embedding = layers.Embedding(5, 3, mask_zero=True)
    if name == "two sequences":
        inputs = [x, other]
        y = layers.LSTM(5, return_sequences=True)(
            layers.Concatenate()([layers.GRU(4, return_sequences=True)(x), other])
        )
    elif name == "features that stay":
        inputs = [fixed, x]
        y = layers.Dense(2)(layers.Concatenate()([layers.LSTM(5)(x), layers.Dense(3, activation="tanh")(fixed)]))
    elif name == "features at each step":
        inputs = {"fixed": fixed, "x": x}
        repeated = layers.RepeatVector(STEPS)(layers.Dense(2)(fixed))
        y = layers.SimpleRNN(6, return_sequences=True)(layers.Concatenate()([x, repeated]))
    elif name == "a category":
        inputs = [x, kind]
        y = layers.Multiply()([layers.LSTM(3)(x), layers.Flatten()(layers.Embedding(5, 3)(kind))])
    elif name == "features alone too":
        inputs = [x, fixed]
        y = [layers.LSTM(3)(x), layers.Dense(3)(fixed), layers.LSTM(4, return_sequences=True)(x)]
    elif name == "a sequence that stays":
        inputs = [x, memory]
        y = layers.Concatenate()([layers.LSTM(3)(x), layers.Bidirectional(layers.GRU(2))(memory)])
    elif name == "a decoder":
        inputs = [memory, x]
        last = layers.SimpleRNN(4)(x)
        y = layers.LSTM(4, return_sequences=True)(memory, initial_state=[layers.Dense(4)(last), last])
    elif name == "a masked text":
        inputs = [x, words]
        inner = Sequential([Input((4,), dtype="int32"), embedding])
        y = layers.Concatenate()([layers.LSTM(3)(x), layers.GlobalAveragePooling1D()(inner(words))])
    elif name == "two masked texts":
        inputs = [x, words, last_words]
        both = layers.Concatenate(axis=1)([embedding(words), embedding(last_words)])
        y = layers.Concatenate()([layers.GlobalAveragePooling1D()(both), layers.LSTM(3)(x)])
    elif name == "a mask of values":
        inputs = [x, valid]
        y = layers.Softmax()(layers.LSTM(5)(x), mask=valid)
    elif name == "shared":
        inputs = [x, fixed]
        dense = layers.Dense(3)
        y = [
            layers.GRU(2)(dense(layers.LSTM(4, return_sequences=True)(x))),
            dense(layers.Add()([layers.GRU(4)(x), fixed])),
        ]
    elif name == "activations alone":
        inputs = [x, fixed]
        y = [layers.LSTM(3)(x), layers.Activation("tanh")(fixed)]
    else:
        assert name == "nested"
        inner = lstmfast.Model([x, other], layers.LSTM(4, return_sequences=True)(layers.Concatenate()([x, other])))
        x, other = Input((None, FEATURES), name="x"), Input((None, 2), name="other_steps")
        inputs = [x, other]
        y = layers.GRU(3)(inner([x, other]))
    model = lstmfast.Model(inputs, y)
    return model, [values[port] for port in model.input_names]


SEVERAL = (
    "two sequences,features that stay,features at each step,a category,features alone too,a sequence that stays,"
    "a decoder,a masked text,two masked texts,a mask of values,shared,activations alone,nested"
).split(",")


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", SEVERAL)
def test_a_stream_of_several_inputs_gives_the_bits_of_the_whole(name, batch):
    model, values = of_several_inputs(name)
    values = [value[:batch] for value in values]
    stream = model.stream(batch_size=batch)
    assert [port for port, timed in zip(model.input_names, stream.timed, strict=True) if timed] == [
        port for port in model.input_names if port in ("x", "other_steps")
    ]
    twins = [stream.fork(), pickle.loads(pickle.dumps(stream))]
    # RepeatVector's own number of steps lets no shorter sequence through
    by_prefix = name != "features at each step"
    so_far = model(values)
    for step in range(STEPS):
        given = list(zip(values, stream.timed, strict=True))
        inputs = [value[:, step] if timed else value for value, timed in given]
        if by_prefix:
            so_far = model([value[:, : step + 1] if timed else value for value, timed in given])
        for one in (stream, *twins):
            found = one.step(inputs)
            pairs = zip(found, so_far, strict=True) if isinstance(found, list) else [(found, so_far)]
            for y, expected in pairs:
                place = -1 if by_prefix else step
                assert_same_bits(y, expected[:, place] if expected.ndim > y.ndim else expected, f"{name}, step {step}")
    named = dict(zip(model.input_names, inputs, strict=True))
    last = stream.step(named, out=np.empty_like(found)) if isinstance(found, np.ndarray) else stream.step(named)
    last = last if isinstance(last, list) else [last]
    twin = twins[0].step([value[0] if batch == 1 else value for value in inputs])
    for y, other in zip(last, twin if isinstance(twin, list) else [twin], strict=True):
        assert_same_bits(y, other)


def outputs_of(name):
    """A model of one sequence, whose outputs are of this structure."""
    x = Input((None, FEATURES), name="x")
    y = layers.LSTM(4, return_sequences=True)(x)
    last = layers.GRU(3)(y)
    outputs = {
        "a dict": {"b": y, "a": last},
        "a dict of one": {"y": last},
        "a list": [last, y],
        "a tuple": (y, last),
        "nested": {"states": [last, {"z": y, "c": last}], "all": y},
    }[name]
    return lstmfast.Model({"x": x} if name == "a dict of one" else x, outputs)


class TwoAnswers(lstmfast.Model):
    per_step = True

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4)

    def call(self, x):
        y = self.dense(x["second"] - x["first"])
        return {"y": y, "twice": 2 * y}


def assert_same_tree(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert_same_bits(found, expected[:, -1] if expected.ndim > found.ndim else expected)
        return
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = found.values(), expected.values()
    for one, other in zip(found, expected, strict=True):
        assert_same_tree(one, other)


@pytest.mark.parametrize("name", ["a dict", "a dict of one", "a list", "a tuple", "nested"])
def test_a_step_gives_the_structure_of_the_outputs(name):
    model = outputs_of(name)
    stream, twin = model.stream(batch_size=4), model.stream(batch_size=4)
    for step in range(3):
        expected = model(X[:, : step + 1])
        x = {"x": X[:, step]} if step and name == "a dict of one" else X[:, step]
        found = stream.step(x)
        assert_same_tree(found, expected)
        out = map_tree(np.zeros_like, found)
        into = twin.step(x, out=out)
        assert_same_tree(into, expected)
        assert all(one is other for one, other in zip(flatten(into), flatten(out), strict=True))
    other = {"a list": lambda: dict(enumerate(out)), "a tuple": lambda: out[:1]}.get(name, lambda: flatten(out))()
    with pytest.raises(ValueError, match="out: expected what model"):
        twin.step(X[:, 3], out=other)
    shared = map_tree(lambda array: np.zeros((4, 4), "float32")[:, : array.shape[1]], found)
    assert_same_tree(twin.step(X[:, 3], out=shared), model(X[:, :4]))


def test_a_model_of_ones_own_streams_its_structures():
    model = TwoAnswers()
    whole = {"second": X, "first": X[:, ::-1].copy()}
    expected = model(whole)
    stream = model.stream(batch_size=4)
    for step in range(STEPS):
        found = stream.step({name: array[:, step] for name, array in whole.items()})
    assert_same_tree(found, expected)
    assert_same_bits(model.predict(whole)["twice"], expected["twice"])


def test_masks_of_several_inputs():
    model, (x, other) = of_several_inputs("two sequences")
    first, second = np.random.default_rng(0).random((2, 4, STEPS)) > 0.4
    for masks in ([first, None], [None, second], [first, second]):
        stream = model.stream(batch_size=4)
        whole = model([x, other], mask=masks)
        for step in range(STEPS):
            own = [None if mask is None else mask[:, step] for mask in masks]
            assert_same_bits(stream.step([x[:, step], other[:, step]], own), whole[:, step])
    before = stream.state
    for wrong in (first[:, 0], [first[:, 0]], [first[:, 0], second]):
        with pytest.raises(ValueError, match="mask"):
            stream.step([x[:, 0], other[:, 0]], wrong)
    for wrong in (x[:, 0], [x[:, 0]], [other[:, 0], x[:, 0]], [x[:, 0], other[:, 0], x[:, 0]], {"x": x[:, 0]}):
        with pytest.raises(ValueError, match=r"input|shape"):
            stream.step(wrong)
    assert_same_bits([part for own in stream.state for part in own], [part for own in before for part in own])


def test_a_mask_of_an_input_that_stays():
    model, (x, memory) = of_several_inputs("a sequence that stays")
    there = np.random.default_rng(0).random((4, 5)) > 0.4
    stream = model.stream(batch_size=4)
    for step in range(STEPS):
        expected = model([x[:, : step + 1], memory], mask=[None, there])
        assert_same_bits(stream.step([x[:, step], memory], [None, there]), expected)
    with pytest.raises(ValueError, match=r"mask .* expected \(4, 5\)"):
        stream.step([x[:, 0], memory], [None, there[:, 1:]])


def test_many_inputs():
    ports = [Input((None, 2), name=f"x{number}") for number in range(7)] + [Input((3,), name="fixed")]
    y = layers.Concatenate()([layers.LSTM(4)(layers.Concatenate()(ports[:-1])), layers.Dense(2)(ports[-1])])
    model = lstmfast.Model(ports, y)
    values = [*(bits.sequences(4, STEPS, 2) + number for number in range(7)), bits.sequences(1, 4, 3)[0]]
    stream = model.stream(batch_size=4)
    for step in range(STEPS):
        y = stream.step([*(value[:, step] for value in values[:-1]), values[-1]])
    assert_same_bits(y, model(values))


def test_nested_models_of_half_precision():
    inner = Sequential([Input((None, FEATURES)), layers.LSTM(4, return_sequences=True, dtype="mixed_float16")])
    x = Input((None, FEATURES))
    model = lstmfast.Model(x, layers.Activation("tanh", dtype="mixed_float16")(inner(x)))
    stream = model.stream(batch_size=4)
    whole = model(X)
    for step in range(STEPS):
        assert_same_bits(stream.step(X[:, step]), whole[:, step])


def test_a_stateful_model_streams_with_a_state_of_its_own():
    model = Sequential(
        [
            Input(batch_shape=(2, None, FEATURES)),
            layers.GRU(4, stateful=True, return_sequences=True),
            layers.LSTM(3, stateful=True),
        ]
    )
    x = X[:2]
    whole = model(x)
    kept = [layer.states for layer in model.layers]
    stream = model.stream(batch_size=2)
    for step in range(x.shape[1]):
        y = stream.step(x[:, step])
    assert_same_bits(y, whole)
    for layer, states in zip(model.layers, kept, strict=True):
        assert layer.states is states


def test_what_joins_a_sequence_is_named():
    x, fixed = Input((STEPS, FEATURES)), Input((5,))
    last = layers.LSTM(5)(x)
    repeated = layers.RepeatVector(STEPS)(fixed)
    kept = layers.LSTM(2, return_sequences=True)(x)
    stateful = Sequential([Input(batch_shape=(1, 4, 2)), layers.Bidirectional(layers.LSTM(3, stateful=True))])
    memory = Input((4, 2))
    for inputs, y, says in (
        (x, layers.Concatenate()([x, layers.RepeatVector(STEPS)(last)]), "after its last step only"),
        (x, layers.LSTM(5)(x, initial_state=[last, last]), "after its last step only"),
        ([x, fixed], layers.LSTM(5)(x, initial_state=[fixed, fixed]), "joins a sequence with what is none"),
        ([x, fixed], [layers.Dense(2)(fixed), layers.Bidirectional(layers.LSTM(5))(x)], "Bidirectional"),
        ([x, fixed], layers.Concatenate()([layers.Dense(2)(fixed), layers.Flatten()(x)]), "Flatten"),
        ([x, fixed], [layers.LSTM(3)(x), layers.LSTM(3)(repeated)], "a number of steps of its own"),
        ([x, memory], [layers.LSTM(3)(x), stateful(memory)], "is stateful"),
        ([x, memory], layers.Concatenate(axis=1)([x, layers.Dense(3)(memory)]), "Concatenate"),
        (fixed, layers.Dense(2)(fixed), "Dense"),
        (x, layers.Dense(2)(lstmfast.Model(x, [kept, last])(x)[1]), "inside another model"),
        (x, layers.Add()([x, np.ones((1, STEPS, FEATURES), "float32")]), "is called on a constant"),
        (x, layers.RNN(layers.LSTMCell(3, dtype="float64"))(x), "cells of another dtype"),
        (Input(()), None, "no input with a time axis"),
    ):
        model = lstmfast.Model(inputs, inputs if y is None else y)
        with pytest.raises(ValueError, match="cannot be streamed") as caught:
            model.stream()
        assert says in str(caught.value)


def test_sequences_of_different_rank_are_not_streamed():
    x, levels = Input((None, FEATURES)), Input((None,))
    model = lstmfast.Model([x, levels], layers.Multiply()([x, levels]))
    with pytest.raises(ValueError, match="joins sequences of different rank"):
        model.stream()


# ---- copies, and many of them ------------------------------------------------------------------------------------

CAUSAL = {
    "cells": lambda: [layers.GRU(5, return_sequences=True), layers.LSTM(4), layers.Dense(2)],
    "window": lambda: [layers.Conv1D(4, 3, padding="causal"), layers.LSTM(5, return_sequences=True)],
    "stacked cells": lambda: [layers.RNN([layers.LSTMCell(4), layers.GRUCell(4), layers.LSTMCell(4)])],
    "nested": lambda: [
        Sequential([Input((None, FEATURES)), layers.LSTM(4, return_sequences=True)]),
        layers.SimpleRNN(3),
    ],
}


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize(
    "duplicate",
    [lambda stream: stream.fork(), copy.copy, copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))],
    ids=["fork", "copy", "deepcopy", "pickle"],
)
def test_a_copy_goes_on_from_there_alone(name, duplicate):
    model = Sequential([Input((None, FEATURES)), *CAUSAL[name]()])
    stream = model.stream(batch_size=4)
    for step in range(3):
        stream.step(X[:, step])
    twin = duplicate(stream)
    went_on = [np.array(stream.step(X[:, step])) for step in range(3, STEPS)]
    assert_same_bits([np.array(twin.step(X[:, step])) for step in range(3, STEPS)], went_on)
    assert twin.batch_size == 4
    twin.reset()
    assert_same_bits(twin.step(X[:, 0]), model.stream(batch_size=4).step(X[:, 0]))


@pytest.mark.parametrize("name", ["cells", "stacked cells", "nested"])
def test_masked_steps_repeat_the_output(name):
    model = Sequential([Input((None, FEATURES)), *CAUSAL[name]()])
    mask = np.random.default_rng(0).random((4, STEPS)) > 0.4
    stream = model.stream(batch_size=4)
    for step in range(STEPS):
        expected = model(X[:, : step + 1], mask=mask[:, : step + 1])
        assert_same_bits(stream.step(X[:, step], mask[:, step]), expected, f"step {step}")


@pytest.mark.parametrize("name", CAUSAL)
def test_copies_keep_the_weights_that_the_stream_began_with(name):
    model = Sequential([Input((None, FEATURES)), *CAUSAL[name]()])
    stream = model.stream(batch_size=4)
    twins = [model.stream(batch_size=4)]
    model.set_weights([0.5 * weight for weight in model.get_weights()])
    changed = model(X)
    twins += [stream.fork(), pickle.loads(pickle.dumps(stream))]
    expected = stream.step(X[:, 0])
    for twin in twins:
        assert_same_bits(twin.step(X[:, 0]), expected)
    assert not np.array_equal(model.stream(batch_size=4).step(X[:, 0]), expected)
    assert_same_bits(model(X), changed)


def test_a_model_and_its_streams_stay_together_in_a_pickle():
    model = model_of("a stack")
    streams = [model.stream() for _ in range(20)]
    for number, stream in enumerate(streams):
        stream.step(X[number % 4 : number % 4 + 1, 0])
    text = pickle.dumps((model, streams))
    assert len(text) < len(pickle.dumps(model)) + 20 * 1500, "the weights are in it more than once"
    again, twins = pickle.loads(text)
    assert_same_bits(again(X), model(X))
    for stream, twin in zip(streams, twins, strict=True):
        assert_same_bits(twin.step(X[:1, 1]), stream.step(X[:1, 1]))


def test_thousands_of_streams_share_one_set_of_weights():
    count, units = 5000, 64
    model = Sequential(
        [Input((None, 3)), layers.LSTM(units, return_sequences=True), layers.LSTM(units), layers.Dense(2)]
    )
    x = bits.sequences(count, 3, 3)
    expected = np.stack([model(x[:, : step + 1]) for step in range(3)], axis=1)
    weights = sum(weight.nbytes for weight in model.weights)
    model.stream().step(x[:1, 0])
    gc.collect()
    tracemalloc.start()
    first = model.stream()
    streams = [first, *(model.stream() for _ in range(count // 2)), *(first.fork() for _ in range(count // 2 - 1))]
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    states = 2 * 4 * units * 4  # a step reads one set of h and c of both layers and writes another
    assert taken / count < states + 6000 < weights / 10, f"{taken / count:.0f} bytes a stream"
    for step in range(3):
        for number, stream in enumerate(streams):
            if step < 2 or number % 50 == 0:
                y = stream.step(x[number : number + 1, step])
                assert_same_bits(y, expected[number : number + 1, step])


def test_a_batch_of_streams_is_put_together_and_taken_apart():
    model = model_of("a stack")
    singles = [model.stream() for _ in range(4)]
    for number, stream in enumerate(singles):
        stream.step(X[number : number + 1, 0])
    batch = model.stream(batch_size=4)
    states = [stream.state for stream in singles]
    batch.state = [
        tuple(np.concatenate([state[layer][part] for state in states]) for part in range(len(states[0][layer])))
        for layer in range(len(states[0]))
    ]
    together = batch.step(X[:, 1])
    for number, stream in enumerate(singles):
        assert_same_bits(together[number : number + 1], stream.step(X[number : number + 1, 1]))
        stream.state = [tuple(part[number : number + 1] for part in state) for state in batch.state]
        assert_same_bits(stream.step(X[:1, 2]), outputs_after(model, [X[number, 0], X[number, 1], X[0, 2]]))


def outputs_after(model: Sequential, steps: list[np.ndarray]) -> np.ndarray:
    return model(np.stack(steps)[None])


@pytest.mark.parametrize("name", STREAMED)
def test_a_step_into_out(name):
    model = model_of(name)
    stream, other = model.stream(batch_size=4), model.stream(batch_size=4)
    for step in range(3):
        expected = other.step(X[:, step])
        out = np.full_like(expected, 7)
        assert stream.step(X[:, step], out=out) is out
        assert_same_bits(out, expected)
    mask = np.array([True, False, True, True])
    expected = other.step(X[:, 3], mask)
    assert_same_bits(stream.step(X[:, 3], mask, out=out), expected)


def test_a_chain_makes_a_step_whole_or_not_at_all():
    """As where Ctrl-C comes between two layers."""

    def interrupted(x):
        raise KeyboardInterrupt

    steppers = [
        _core.Stepper(bits.packed(kind, 3, 3, seed=seed), 2, 0)
        for seed, kind in enumerate(("lstm", "gru", "simple_rnn"))
    ]
    x = bits.sequences(1, 2, 3)[0]
    good = _core.StepChain(steppers)
    good.step(x)
    before = [part for stepper in steppers for part in stepper.get_state()]
    for runs in ([interrupted, *steppers], [steppers[0], interrupted, *steppers[1:]], [*steppers, interrupted]):
        with pytest.raises(KeyboardInterrupt):
            _core.StepChain(runs).step(x)
        assert_same_bits([part for stepper in steppers for part in stepper.get_state()], before)
    good.step(x)
    assert not np.array_equal(steppers[0].get_state()[0], before[0])


def test_a_stream_of_a_model_that_has_grown_since():
    net = Sequential([Input((5, 3)), layers.LSTM(4)])
    stream = net.stream()
    stream.step(np.ones((1, 3)))
    net.add(layers.Dense(2))
    assert stream.step(np.ones((1, 3))).shape == (1, 4)
    with pytest.raises(ValueError, match="other layers than when its stream was made"):
        pickle.dumps(stream)
