"""Layers against Keras: recurrent ones with every argument, mask, state and size that `layer_cases` draws; what is
random with training=True; attention over any axes.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
from functools import partial
from typing import Any

import layer_cases
import numpy as np
import oracle
import pytest
from test_images import RANDOM, random_layer

import lstmfast
from lstmfast import layers
from lstmfast.layers.noise import Noise

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


def check(case: layer_cases.Case, dtype: str = "float32") -> None:
    """Compare with Keras, live or committed."""
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
    """Over 600 steps rounding does not build up."""
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


# ---- training=True -------------------------------------------------------------------------------------------------


def dropping_case(seed: int, kind: str, bidirectional: bool = False) -> layer_cases.Case:
    """A random case, whose layer drops out of its inputs, of its state or of both."""
    random = np.random.default_rng([seed, 17])
    case = layer_cases.random_case(seed, kind, bidirectional)
    arguments = {name: value for name, value in case.arguments if name not in ("unroll", "stateful")}
    for name in {"activation", "recurrent_activation"} & set(arguments):
        arguments[name] = str(random.choice(("softsign", "hard_sigmoid", "sigmoid")))  # others may explode
    arguments["dropout"], arguments["recurrent_dropout"] = ((0.3, 0.0), (0.0, 0.4), (0.3, 0.4))[random.integers(3)]
    if kind != "SimpleRNN" and not bidirectional and random.random() < 0.3:
        arguments.update(implementation=1, use_cudnn=False)  # with cuDNN, Keras broadcasts a list of masks
    return dataclasses.replace(case, arguments=tuple(sorted((arguments | {"seed": seed}).items())))


def hand_over(mine: Any, theirs: Any, *shape: int) -> None:
    """Let a cell of Keras drop in its next call what a fresh cell of lstmfast, of the same seed, drops in its first."""
    core = mine.make_dropping_core(tuple(np.asarray(value) for value in mine.get_weights()))
    places = ("_dropout_mask", "_recurrent_dropout_mask")
    for place, masks in zip(places, core.draw(*shape, np.dtype(np.float32)), strict=True):
        known = masks if masks is None or len(masks) > 1 else masks[0]
        setattr(theirs, place, known)


def call_in_training(layer: Any, case: layer_cases.Case) -> list[Any]:
    given: dict[str, Any] = {} if case.mask is None else {"mask": case.masks()[0]}
    if case.has_state:
        given["initial_state"] = case.initial_state()
    return layer_cases.flatten(layer(case.inputs()[0], training=True, **given))


@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_layers_drop_what_keras_drops(keras, kind):
    """Given the same masks, the numbers are the same: where they apply, and that they hold for all steps."""
    for seed in range(2000, 2016):
        bidirectional = seed % 4 == 0
        case = dropping_case(seed, kind, bidirectional)
        mine, fresh = layer_cases.build(layers, case), layer_cases.build(layers, case)
        theirs = layer_cases.build(keras.layers, case)
        for name in ("forward_layer", "backward_layer") if bidirectional else ("cell",):
            cell = getattr(theirs, name).cell if bidirectional else theirs.cell
            hand_over(getattr(fresh, name), cell, case.batch, case.steps, case.features)
        found, expected = call_in_training(mine, case), call_in_training(theirs, case)
        assert len(found) == len(expected)
        for y, other in zip(found, expected, strict=True):
            assert y.dtype == other.dtype == np.float32
            oracle.assert_close(y, other, 5 * oracle.LOOSE * (1 + np.abs(other)), f"{case}")


def test_stacked_cells_drop_what_keras_drops(keras):
    random = np.random.default_rng(4)
    x = random.uniform(-1, 1, (3, 5, 4)).astype("float32")

    def stack(module: Any) -> Any:
        cells = [
            module.LSTMCell(6, dropout=0.4, seed=1),
            module.GRUCell(5, dropout=0.2, recurrent_dropout=0.4, seed=2),
            module.SimpleRNNCell(3, recurrent_dropout=0.5, seed=3),
        ]
        layer = module.RNN(cells, return_sequences=True, return_state=True)
        layer.build((None, 5, 4))
        return layer

    mine, fresh, theirs = stack(layers), stack(layers), stack(keras.layers)
    weights = [random.normal(size=value.shape).astype("float32") for value in theirs.get_weights()]
    for layer in (mine, fresh, theirs):
        layer.set_weights(weights)
    for cell, other, features in zip(fresh.cell.cells, theirs.cell.cells, (4, 6, 5), strict=True):
        hand_over(cell, other, 3, 5, features)
    found, expected = (layer_cases.flatten(layer(x, training=True)) for layer in (mine, theirs))
    for y, other in zip(found, expected, strict=True):
        oracle.assert_close(y, other, oracle.LOOSE * (1 + np.abs(other)))
    assert not np.allclose(found[0], mine(x, training=True)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_recurrent_layers_are_of_the_rate_and_of_the_seed(kind):
    def make(seed: int | None) -> Any:
        layer = getattr(layers, kind)(50, dropout=0.3, recurrent_dropout=0.6, seed=seed)
        layer.build((None, 4, 40))
        return layer

    layer = make(9)
    core = layer.make_dropping_core(layer._own_weights())
    for masks, rate in zip(core.draw(200, 4, 40, np.float32), (0.3, 0.6), strict=True):
        assert len(masks) == layer.gates
        for mask in masks:
            assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / (1 - rate))}
            assert abs((mask == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / mask.size)
        assert len({mask.tobytes() for mask in masks}) == layer.gates
    x = np.random.default_rng(0).uniform(-1, 1, (6, 4, 40)).astype("float32")
    first, second = make(9), make(9)
    second.set_weights(first.get_weights())
    whole = first(x, training=True)
    assert np.array_equal(whole, np.concatenate([second(part, training=True) for part in (x[:2], x[2:])]))
    assert not np.array_equal(first(x, training=True), whole)
    assert np.array_equal(pickle.loads(pickle.dumps(first))(x, training=True), whole)
    other = make(None)
    other.set_weights(first.get_weights())
    assert not np.allclose(other(x, training=True), whole)
    assert np.array_equal(first(x), other(x))


NOISES = {
    "Dropout": ((40, 6, 8), lambda layers: layers.Dropout(0.3, seed=1)),
    "Dropout of steps": ((40, 6, 8), lambda layers: layers.Dropout(0.3, noise_shape=(None, 1, None), seed=2)),
    "Dropout of rows": ((40, 6, 8), lambda layers: layers.Dropout(0.4, noise_shape=(1, 6, 8), seed=13)),
    "Dropout of features": ((40, 6, 300), lambda layers: layers.Dropout(0.4, noise_shape=(300,), seed=4)),
    "Dropout of all": ((4, 3), lambda layers: layers.Dropout(1.0)),
    "Dropout of none": ((4, 3), lambda layers: layers.Dropout(0.0)),
    "SpatialDropout1D": ((80, 6, 8), lambda layers: layers.SpatialDropout1D(0.3, seed=5)),
    "SpatialDropout2D": ((80, 4, 3, 8), lambda layers: layers.SpatialDropout2D(0.3, seed=6)),
    "SpatialDropout2D first": (
        (80, 8, 4, 3),
        lambda layers: layers.SpatialDropout2D(0.3, data_format="channels_first", seed=7),
    ),
    "SpatialDropout3D": ((80, 2, 4, 3, 8), lambda layers: layers.SpatialDropout3D(0.3, seed=8)),
    "GaussianNoise": ((40, 6, 8), lambda layers: layers.GaussianNoise(0.5, seed=9)),
    "GaussianDropout": ((40, 6, 8), lambda layers: layers.GaussianDropout(0.3, seed=10)),
    "AlphaDropout": ((40, 6, 8), lambda layers: layers.AlphaDropout(0.3, seed=11)),
    "AlphaDropout of steps": ((40, 6, 8), lambda layers: layers.AlphaDropout(0.3, noise_shape=(None, 1, 8), seed=12)),
    "a dropout of steps": (
        (200, 6, 8),
        lambda layers: layers.TimeDistributed(layers.Dropout(0.4, noise_shape=(1, 8), seed=13)),
    ),
}


@pytest.mark.parametrize("name", NOISES)
def test_random_layers_have_the_distribution_of_keras(keras, name):
    """Of each: the axes along which it does the same, the values that it leaves, mean, spread, share of small ones."""
    shape, make = NOISES[name]
    x = np.ones(shape, "float32")
    mine, theirs = make(layers), make(keras.layers)
    found = np.stack([mine(x, training=True) for _ in range(40)])
    expected = np.stack([np.asarray(theirs(x, training=True)) for _ in range(40)])
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    shared = [axis for axis in range(found.ndim) if (expected == expected.take([0], axis)).all()]
    assert [axis for axis in range(found.ndim) if (found == found.take([0], axis)).all()] == shared
    samples = np.prod([size for axis, size in enumerate(found.shape) if axis not in shared])
    levels = np.unique(expected)
    if len(levels) < 3:
        np.testing.assert_allclose(np.unique(found), levels, rtol=1e-6, atol=1e-6)
    else:
        assert len(np.unique(found)) > samples // 2
    bound = 5 * expected.std() / np.sqrt(samples) + 1e-6
    for statistic in (np.mean, np.std, lambda y: (y < 0.5).mean()):
        assert abs(statistic(found) - statistic(expected)) < 2 * bound, (statistic, statistic(found))
    if not name.endswith(("all", "none")):
        assert np.array_equal(make(layers)(x, training=True), found[0])
        assert not np.array_equal(found[1], found[0])
        np.testing.assert_array_equal(mine(x), x)


def test_random_layers_say_what_they_cannot_do(keras):
    x = np.ones((4, 3), "float32")
    for shape in ((5, 3), (4, 3, 1), (1, 2)):
        with pytest.raises(ValueError, match=r"noise_shape.*\(4, 3\)"):
            layers.Dropout(0.5, noise_shape=shape)(x, training=True)
    for name in ("AlphaDropout", "GaussianDropout"):
        with pytest.raises(ZeroDivisionError):
            getattr(keras.layers, name)(1.0)(x, training=True)
        with pytest.raises(ValueError, match=r"rate=1\.0"):
            getattr(layers, name)(1.0)(x, training=True)
    with pytest.raises(NotImplementedError, match="call an RNN"):
        layers.LSTMCell(2, dropout=0.5)(x, [x[:, :2], x[:, :2]], training=True)
    with pytest.raises(NotImplementedError, match="inference only"):
        layers.BatchNormalization(renorm=True)(x, training=True)
    with pytest.raises(ValueError, match=r"mask.*\(4,\), inputs.*\(4, 3, 2\)"):
        layers.TimeDistributed(layers.BatchNormalization())(np.ones((4, 2, 3, 2)), mask=np.ones((4, 2)), training=True)
    assert layers.BatchNormalization(renorm=True)(x).shape == (4, 3)

    class Own(layers.Layer):
        dropout = 0.5

        def freeze(self, weights):
            return lambda inputs: inputs

    with pytest.raises(NotImplementedError, match="its class Own"):
        lstmfast.Sequential([lstmfast.Input((3,)), Own()])(x, training=True)
    assert layers.Dropout(0.5, seed=-3)(x, training=True).max() == 2


def monte_carlo(framework: Any, recurrent: dict[str, Any]) -> Any:
    """A model whose dropouts act at inference too."""
    own = framework.layers
    inputs = framework.Input((7, 4))
    x = own.SpatialDropout1D(0.2)(inputs, training=True)
    x = own.Bidirectional(own.LSTM(6, return_sequences=True))(x)
    x = own.LSTM(8, **recurrent)(x, training=True if recurrent else None)
    x = own.Dropout(0.5)(own.Dense(12, activation="relu")(x), training=True)
    return framework.Model(inputs, own.Dense(3)(own.Dropout(0.9)(x)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", ["m.keras", "m.h5"])
@pytest.mark.parametrize(
    "source", ["keras", "tf_keras", "keras, inside the recurrence", "tf_keras, inside the recurrence"]
)
def test_monte_carlo_dropout_of_a_file(source, file, request, tmp_path):
    """Outputs differ from call to call; their mean and their spread are Keras's, within what chance allows."""
    framework = request.getfixturevalue(source.split(",")[0])
    framework.utils.set_random_seed(3)
    theirs = monte_carlo(framework, {"dropout": 0.3, "recurrent_dropout": 0.4} if "," in source else {})
    random = np.random.default_rng(3)
    theirs.set_weights([random.normal(0, 0.5, value.shape).astype("float32") for value in theirs.get_weights()])
    theirs.save(tmp_path / file)
    mine = lstmfast.load_model(tmp_path / file)
    for layer in mine.layers:  # so that the test sees the same numbers each time
        if hasattr(layer, "noise"):
            layer.noise = type(layer.noise)(7)
    row = random.uniform(-1, 1, (1, 7, 4)).astype("float32")
    x = np.repeat(row, 6000, axis=0)
    found, again, expected = mine.predict(x, verbose=0), mine(x), np.asarray(theirs(x))
    assert not np.array_equal(found, again)
    for y in (found, again):
        assert len(np.unique(y.round(5), axis=0)) > 1000
        error = expected.std(axis=0) * np.sqrt(2 / len(x))
        assert (np.abs(y.mean(axis=0) - expected.mean(axis=0)) < 5 * error).all()
        np.testing.assert_allclose(y.std(axis=0), expected.std(axis=0), rtol=0.06)
    if framework.__name__ == "keras":
        mine.save(tmp_path / "n.keras")
        y = framework.models.load_model(tmp_path / "n.keras")(x)
        assert (np.abs(np.mean(y, axis=0) - expected.mean(axis=0)) < 5 * error).all()


def of_keras_2(layer: Any, shape: tuple[int, ...], version: str) -> Any:
    """What a file of that version gives for a layer of tf_keras, which is called with ``training=True``."""
    config = {"class_name": type(layer).__name__, "config": layer.get_config(), "name": layer.name}
    config["inbound_nodes"] = [[["x", 0, 0, {"training": True}]]]
    inputs = {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": shape}, "name": "x"}
    model = {"name": "m", "layers": [{**inputs, "inbound_nodes": []}, config], "input_layers": [["x", 0, 0]]}
    model["output_layers"] = [[layer.name, 0, 0]]
    text = json.dumps({"class_name": "Functional", "config": model, "keras_version": version, "backend": "tensorflow"})
    mine = lstmfast.model_from_json(text).layers[1]
    mine.set_weights(layer.get_weights())
    return mine


def hand_over_to_keras_2(mine: Any, theirs: Any, x: Any) -> None:
    """As `hand_over`, for a layer of tf_keras."""
    masks = mine.make_dropping_core(mine._own_weights()).draw(*x.shape, np.dtype(np.float32))
    for name, drawn in zip(("get_dropout_mask_for_cell", "get_recurrent_dropout_mask_for_cell"), masks, strict=True):
        known = drawn if drawn is None or mine.gates == 1 else drawn * (mine.gates // len(drawn))
        known = known[0] if drawn is not None and mine.gates == 1 else known
        for owner in (theirs, theirs.cell):
            setattr(owner, name, lambda *args, known=known, **kwargs: known)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_recurrent_layers_of_keras_2_drop_what_it_drops(tf_keras, kind):
    """As the same test of Keras 3; tf.keras draws for each step where it could have used cuDNN."""
    ways = set()
    for seed in range(24):
        random = np.random.default_rng([seed, 23])
        x = random.uniform(-1, 1, (3, 5, 4)).astype("float32")
        rates = ((0.4, 0.0), (0.4, 0.0), (0.0, 0.4), (0.3, 0.4))[seed % 4]
        options: dict[str, Any] = {"dropout": rates[0], "recurrent_dropout": rates[1], "return_sequences": True}
        options["go_backwards"] = bool(random.integers(2))
        if kind != "SimpleRNN":
            options["implementation"] = int(random.integers(1, 3))
            other = {"activation": "relu", "recurrent_activation": "hard_sigmoid", "use_bias": False, "unroll": True}
            if kind == "GRU":
                other["reset_after"] = False
            if random.random() < 0.5:
                name = str(random.choice(sorted(other)))
                options[name] = other[name]
        bidirectional = seed % 3 == 0
        theirs = getattr(tf_keras.layers, kind)(6, **options)
        if bidirectional:
            theirs = tf_keras.layers.Bidirectional(theirs)
        theirs.build((None, 5, 4))
        theirs.set_weights([random.normal(0, 0.6, value.shape).astype("float32") for value in theirs.get_weights()])
        mine, fresh = (of_keras_2(theirs, (None, 5, 4), "2.21.0") for _ in range(2))
        for name in ("forward_layer", "backward_layer") if bidirectional else ("",):
            one, two, three = (getattr(layer, name) if name else layer for layer in (mine, fresh, theirs))
            one.noise, two.noise = Noise(seed), Noise(seed)
            hand_over_to_keras_2(two, three, x)
            core = two.make_dropping_core(two._own_weights())
            ways.add((core.rules.each_step, core.masks_count))
        expected = np.asarray(theirs(x, training=True))
        oracle.assert_close(mine(x, training=True), expected, 5 * oracle.LOOSE * (1 + np.abs(expected)), f"{options}")
        assert not np.allclose(mine(x), expected)
    assert ways == {"LSTM": {(True, 1), (False, 1), (False, 4)}, "GRU": {(True, 1), (False, 1), (False, 3)}}.get(
        kind, {(False, 1)}
    )


@pytest.mark.parametrize("version", ["1.2.2", "2.0.8", "2.2.4"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers_of_early_keras_drop_one_state(kind, version):
    """Where the gates are computed together there is one mask of the state; a GRU of 2.1 to 2.3 forgets the rest."""
    random = np.random.default_rng(5)
    x, gates = random.uniform(-1, 1, (3, 5, 4)), 4 if kind == "LSTM" else 3
    names = {"units": 6, "recurrent_dropout": 0.4, "implementation": 2}
    if version < "2":
        names = {"output_dim": 6, "dropout_U": 0.4, "consume_less": "gpu"}
    entry = {"class_name": kind, "config": {"name": "r", **names, "batch_input_shape": [None, 5, 4]}}
    config = [entry] if version < "2" else {"layers": [entry]}
    text = json.dumps({"class_name": "Sequential", "config": config, "keras_version": version})
    mine, fresh = (lstmfast.model_from_json(text).layers[-1] for _ in range(2))
    weights = [random.normal(0, 0.6, shape) for shape in ((4, 6 * gates), (6, 6 * gates), (6 * gates,))]
    for layer in (mine, fresh):
        layer.set_weights(weights)
        layer.noise = Noise(3)
    inputs, state_masks = fresh.make_dropping_core(fresh._own_weights()).draw(3, 5, 4, np.dtype(np.float32))
    assert inputs is None
    (mask,) = state_masks
    h, c = np.zeros((2, 3, 6))
    inner = fresh.recurrent_activation.run
    for step in range(5):
        sums = np.split(x[:, step] @ weights[0] + weights[2], gates, axis=1)
        kernels, left = np.split(weights[1], gates, axis=1), h * mask
        if kind == "LSTM":
            i, f, g, o = (one + left @ kernel for one, kernel in zip(sums, kernels, strict=True))
            c = inner(f) * c + inner(i) * np.tanh(g)
            h = inner(o) * np.tanh(c)
        else:
            z, r = (inner(one + left @ kernel) for one, kernel in zip(sums[:2], kernels[:2], strict=True))
            candidate = np.tanh(sums[2] + (r * left) @ kernels[2])
            h = z * (left if version == "2.2.4" else h) + (1 - z) * candidate
    oracle.assert_close(mine(x, training=True), h, 1e-5 * np.ones_like(h))
    if version < "2":
        entry["config"]["consume_less"] = "cpu"
        assert lstmfast.model_from_json(text).layers[-1].implementation == 2
        apart = lstmfast.model_from_json(text.replace("gpu", "mem")).layers[-1]
        assert apart.make_dropping_core(apart._own_weights()).masks_count == gates


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 4])
def test_groups_of_channels_under_windows_of_one(keras, rank, size):
    """A group's channels lie apart from each other in memory, even where there is but one place."""
    kind = f"Conv{rank}D"
    x = np.random.default_rng([rank, size]).uniform(-1, 1, (3, *(size,) * rank, 6)).astype("float32")
    mine, theirs = (getattr(module, kind)(9, 1, groups=3) for module in (layers, keras.layers))
    theirs.build(x.shape)
    mine.build(x.shape)
    mine.set_weights([np.asarray(weight) for weight in theirs.get_weights()])
    oracle.assert_close(mine(x), np.asarray(theirs(x)), 1e-6 * np.ones((3, *(size,) * rank, 9)))


def test_other_names_are_those_of_keras(keras):
    """Every name that a class of Keras has beside its own is one of the same class here."""
    found = [
        (name, cls.__name__)
        for name, cls in vars(keras.layers).items()
        if isinstance(cls, type) and cls.__name__ != name and hasattr(layers, cls.__name__)
    ]
    assert len(found) == 20
    for name, own in found:
        assert getattr(layers, name) is getattr(layers, own), name
        assert name in layers.__all__


CONVOLUTIONAL = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_convolutional_lstms(keras, kind, seed):
    rank = int(kind[-2])
    random = np.random.default_rng([seed, rank])

    def either(*values):
        return values[random.integers(len(values))]

    sizes = [int(random.integers(4, (40, 12, 6)[rank - 1])) for _ in range(rank)]
    arguments = {
        "filters": int(random.integers(1, 9)),
        "kernel_size": [int(random.integers(1, 4)) for _ in range(rank)],
        "padding": either("same", "valid"),
        "activation": either("tanh", "relu", "softsign"),
        "recurrent_activation": either("sigmoid", "hard_sigmoid"),
        "use_bias": either(True, True, False),
        "return_sequences": either(True, False),
        "go_backwards": either(True, False),
        "return_state": True,
        **either({}, {"strides": 2}, {"dilation_rate": 2, "padding": "same"}),
    }
    batch, steps, channels = int(random.integers(1, 6)), int(random.integers(1, 6)), int(random.integers(1, 4))
    x = random.uniform(-1, 1, (batch, steps, *sizes, channels)).astype("float32")
    mask = either(None, random.random((batch, steps)) < 0.7)
    mine, first = (getattr(layers, kind)(**arguments, data_format=form) for form in ("channels_last", "channels_first"))
    theirs = getattr(keras.layers, kind)(**arguments)
    theirs.build(x.shape)
    weights = [random.normal(0, 0.4, value.shape).astype("float32") for value in theirs.get_weights()]
    mine.build(x.shape)
    for layer in (mine, theirs):
        layer.set_weights(weights)
    state = None
    if random.random() < 0.5:
        state = list(random.uniform(-1, 1, (2, *mine(x)[1].shape)).astype("float32"))
    found = mine(x, mask=mask, initial_state=state)
    expected = layer_cases.flatten(theirs(x, mask=mask, initial_state=state))
    for y, other in zip(found, expected, strict=True):
        oracle.assert_close(y, other, 5 * oracle.LOOSE * (1 + np.abs(other)), f"{arguments}")
    swapped = np.ascontiguousarray(np.moveaxis(x, -1, 2))
    first.build(swapped.shape)
    first.set_weights(weights)
    if state is not None:
        state = [np.moveaxis(array, -1, 1) for array in state]
    for y, other in zip(first(swapped, mask=mask, initial_state=state), found, strict=True):
        np.testing.assert_array_equal(np.moveaxis(y, 2 if y.ndim == x.ndim else 1, -1), other)


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_convolutional_lstms_drop_what_keras_drops(keras, kind):
    """Each gate has masks of its own, which hold for all steps."""
    rank = int(kind[-2])
    shape = (3, 4, *(6, 5, 5)[:rank], 2)
    for seed, (rates, options) in enumerate(
        (
            ((0.4, 0.0), {"padding": "same", "return_sequences": True}),
            ((0.0, 0.5), {"strides": 2, "recurrent_activation": "hard_sigmoid"}),
            ((0.3, 0.4), {"dilation_rate": 2, "go_backwards": True, "use_bias": False}),
        )
    ):
        random = np.random.default_rng([seed, rank])
        x, mask = random.uniform(-1, 1, shape).astype("float32"), random.random(shape[:2]) < 0.7
        arguments = {"dropout": rates[0], "recurrent_dropout": rates[1], "return_state": True, "seed": seed, **options}
        mine, fresh, theirs = (getattr(module, kind)(3, 2, **arguments) for module in (layers, layers, keras.layers))
        theirs.build((None, *shape[1:]))
        weights = [random.normal(0, 0.6, value.shape).astype("float32") for value in theirs.get_weights()]
        for layer in (mine, fresh, theirs):
            layer.build((None, *shape[1:]))
            layer.set_weights(weights)
        places = ("_dropout_mask", "_recurrent_dropout_mask")
        drawn = fresh.make_dropping_core(fresh._own_weights()).draw((3, *shape[2:]), np.dtype(np.float32))
        for place, masks, rate in zip(places, drawn, rates, strict=True):
            setattr(theirs.cell, place, masks if rate else None)
            assert len({mask.tobytes() for mask in masks if rate}) == (4 if rate else 0)
            for one in masks if rate else ():
                assert set(np.unique(one)) == {np.float32(0), np.float32(1 / (1 - rate))}
                assert abs((one == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / one.size)
        found = mine(x, mask=mask, training=True)
        for y, other in zip(found, theirs(x, mask=mask, training=True), strict=True):
            oracle.assert_close(y, np.asarray(other), 5 * oracle.LOOSE * (1 + np.abs(other)), f"{options}")
        assert not np.allclose(mine(x, mask=mask, training=True)[0], found[0])
        inert = layer_cases.flatten(theirs(x, mask=mask))
        for y, other in zip(mine(x, mask=mask), inert, strict=True):
            oracle.assert_close(y, other, 5 * oracle.LOOSE * (1 + np.abs(other)))
        first = getattr(layers, kind)(3, 2, data_format="channels_first", **arguments)
        first.build((None, 4, 2, *shape[2:-1]))
        first.set_weights(weights)
        swapped = first(np.moveaxis(x, -1, 2), mask=mask, training=True)
        for y, other in zip(swapped, found, strict=True):
            np.testing.assert_array_equal(np.moveaxis(y, y.ndim - 1 - rank, -1), other)


ATTENTIONS = {
    "Attention": lambda layers, rate: layers.Attention(score_mode="concat", dropout=rate, seed=3),
    "AdditiveAttention": lambda layers, rate: layers.AdditiveAttention(dropout=rate, seed=3),
    "MultiHeadAttention": lambda layers, rate: layers.MultiHeadAttention(2, 3, dropout=rate, seed=3),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_drops_weights_as_keras_does(keras, name):
    """What is left of each weight and of how many; the output is linear in them, so that its mean is the inert one."""
    random, rate = np.random.default_rng(8), 0.4
    query, value = (np.repeat(random.normal(size=(1, n, 4)), 3000, axis=0).astype("float32") for n in (3, 5))
    mine, same, inert, theirs = (
        ATTENTIONS[name](module, share)
        for module, share in ((layers, rate), (layers, rate), (layers, 0.0), (keras.layers, rate))
    )

    def call(layer: Any, **options: Any) -> list[Any]:
        inputs = (query, value) if name == "MultiHeadAttention" else ([query, value],)
        return [np.asarray(one) for one in layer(*inputs, return_attention_scores=True, **options)]

    call(theirs)
    weights = [random.normal(0, 0.7, one.shape).astype("float32") for one in theirs.get_weights()]
    for layer in (mine, same, inert):
        call(layer)
    for layer in (mine, same, inert, theirs):
        layer.set_weights(weights)
    (quiet, kept), (found, scores), (expected, their_scores) = (
        call(inert),
        call(mine, training=True),
        call(theirs, training=True),
    )
    for y, other in zip((quiet, kept), call(theirs), strict=True):
        oracle.assert_close(y, other, oracle.LOOSE * (1 + np.abs(other)))
    for layer in (mine, inert):
        assert np.array_equal(call(layer)[0], quiet)
    assert np.array_equal(call(inert, training=True)[0], quiet)
    if name == "MultiHeadAttention":  # which returns the weights as they were
        oracle.assert_close(their_scores, kept, oracle.LOOSE * (1 + kept))
        np.testing.assert_array_equal(scores, kept)
    else:
        for one in (scores, their_scores):
            left = one / kept
            np.testing.assert_allclose(left[left > 0], 1 / (1 - rate), rtol=1e-4)
            assert abs((left == 0).mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / left.size)
        oracle.assert_close(found, scores @ value, 5 * oracle.LOOSE * (1 + np.abs(found)))
        assert (scores[0] != scores[1]).any()
    error = expected.std(axis=0) / np.sqrt(len(query))
    assert (np.abs(found.mean(axis=0) - quiet[0]) < 5 * error).all()
    assert (np.abs(expected.mean(axis=0) - quiet[0]) < 5 * error).all()
    np.testing.assert_allclose(found.std(axis=0), expected.std(axis=0), rtol=0.1)
    np.testing.assert_array_equal(call(same, training=True)[0], found)
    assert not np.array_equal(call(mine, training=True)[0], found)
    np.testing.assert_array_equal(call(pickle.loads(pickle.dumps(mine)), training=True)[0], found)


@pytest.mark.parametrize(
    ("shape", "axis"), [((9, 4), -1), ((7, 5, 4), -1), ((7, 5, 4), 1), ((3, 5, 4, 2), 2), ((3, 5, 1), -1)], ids=str
)
def test_batch_normalization_by_the_batch(keras, shape, axis):
    random = np.random.default_rng(2)
    x = random.normal(3, 2, shape).astype("float32")
    for options in ({}, {"center": False}, {"scale": False, "epsilon": 0.1}, {"trainable": False}):
        mine, theirs = (module.BatchNormalization(axis, **options) for module in (layers, keras.layers))
        for layer in (mine, theirs):
            layer.build((None, *shape[1:]))
        weights = [random.uniform(0.5, 2, one.shape).astype("float32") for one in theirs.get_weights()]
        some, few = random.random(shape[:-1]) < 0.6, np.zeros(shape[:-1], bool)
        few[:2] = True
        for mask in (None, some, few, np.zeros_like(some)):
            for layer in (mine, theirs):
                layer.set_weights(weights)
            expected = np.asarray(theirs(x, training=True, mask=mask))
            found = mine(x, training=True, mask=mask)
            oracle.assert_close(found, expected, 5 * oracle.LOOSE * (1 + np.abs(expected)), f"{options}")
        for weight, before in zip(mine.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(weight, before)
        theirs.set_weights(weights)
        oracle.assert_close(mine(x), np.asarray(theirs(x)), oracle.LOOSE * (1 + np.abs(x)))
        wrapped = layers.TimeDistributed(mine) if len(shape) == 3 and axis == -1 else None
        if wrapped is not None:
            wrapped.trainable = False
            np.testing.assert_array_equal(mine(x, training=True), mine(x))


# ---- attention over any axes ---------------------------------------------------------------------------------------

HEADS: list[tuple[int, Any, Any]] = [  # rank, attention_axes, output_shape
    (3, 1, (2, 3)),
    (4, None, 5),
    (4, (1,), None),
    (4, (2,), (3, 2)),
    (4, (2, 1), None),
    (5, (1, 3), 4),
    (5, (-2,), (2,)),
]


@pytest.mark.parametrize(("rank", "axes", "output"), HEADS, ids=str)
def test_attention_over_any_axes(keras, rank, axes, output):
    random = np.random.default_rng([rank, len(str(axes))])
    chosen = tuple(range(1, rank - 1)) if axes is None else tuple(axis % rank for axis in np.atleast_1d(axes))
    for number in range(4):
        has_scores, masked, gated = number % 2 == 0, number > 1, number in (0, 3)
        queries = random.integers(2, 5, rank - 2)
        keys = [random.integers(2, 5) if axis + 1 in chosen else size for axis, size in enumerate(queries)]
        query, value, key = (
            random.uniform(-1, 1, (3, *sizes, features)).astype("float32")
            for sizes, features in ((queries, 4), (keys, 5), (keys, 6))
        )
        mine, theirs = (
            module.MultiHeadAttention(
                2, 3, value_dim=4, use_bias=number < 3, output_shape=output, attention_axes=axes, use_gate=gated
            )
            for module in (layers, keras.layers)
        )
        call: dict[str, Any] = {"key": key, "return_attention_scores": has_scores}
        if masked:
            apart = [query.shape[axis] for axis in range(1, rank - 1) if axis not in chosen]
            sizes = [x.shape[axis] for x in (query, key) for axis in chosen]
            call["attention_mask"] = random.random((3, *apart, *sizes)) < 0.6
            call["attention_mask"][0] = False
        theirs(query, value, **call)
        weights = [random.uniform(-1, 1, weight.shape).astype("float32") for weight in theirs.get_weights()]
        mine.build([query.shape, value.shape, key.shape])
        for layer in (mine, theirs):
            layer.set_weights(weights)
        expected = theirs(query, value, **call)
        for y, other in zip(*map(layer_cases.flatten, (mine(query, value, **call), expected)), strict=True):
            oracle.assert_close(y, other, oracle.LOOSE * (1 + np.abs(other)))
        shapes = mine.compute_output_shape([query.shape, value.shape]), mine.score_shape([query.shape, value.shape])
        assert list(shapes[: 1 + has_scores]) == [tuple(array.shape) for array in layer_cases.flatten(expected)]
        alone = mine(query[1:2], value[1:2], key=key[1:2])
        assert np.array_equal(alone, mine(query, value, key=key)[1:2])


@pytest.mark.parametrize("seed", range(16))
def test_heads_that_share_keys_and_values(keras, seed):
    random = np.random.default_rng([seed, 21])
    groups, repeats = (int(number) for number in random.integers(1, 4, 2))
    options: dict[str, Any] = {"use_bias": bool(seed % 3), "use_gate": seed % 4 == 1}
    options |= {"sliding_window": 2} if seed % 5 == 0 else {}
    mine, theirs = (
        module.GroupQueryAttention(3, groups * repeats, groups, **options) for module in (layers, keras.layers)
    )
    query, value, key = (random.normal(size=(3, steps, 4)).astype("float32") for steps in (5, 6, 6))
    call: dict[str, Any] = {"return_attention_scores": seed % 2 == 0, "use_causal_mask": seed % 7 < 3}
    call |= {"key": key} if seed % 3 else {}
    for name, shape in (("query_mask", (3, 5)), ("value_mask", (3, 6)), ("attention_mask", (3, 5, 6))):
        call |= {name: random.random(shape) < 0.6} if random.random() < 0.4 else {}
    theirs(query, value, **call)
    weights = [random.uniform(-1, 1, weight.shape).astype("float32") for weight in theirs.get_weights()]
    mine.build([query.shape, value.shape, key.shape])
    for layer in (mine, theirs):
        layer.set_weights(weights)
    found, expected = (layer_cases.flatten(layer(query, value, **call)) for layer in (mine, theirs))
    for y, other in zip(found, expected, strict=True):
        oracle.assert_close(y, np.asarray(other), oracle.LOOSE * (1 + np.abs(other)), f"{options} {list(call)}")
    config = theirs.get_config()
    assert set(config) <= set(mine.get_config())
    for name in ("head_dim", "num_query_heads", "num_key_value_heads", *options):
        assert mine.get_config()[name] == config[name]
    alone = mine(query[1:2], value[1:2])
    assert np.array_equal(alone, mine(query, value)[1:2])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("gated", [False, True])
def test_shared_heads_and_masks_of_a_file(keras, tmp_path, gated):
    inputs = keras.Input((6,))
    x = keras.layers.Embedding(9, 4, mask_zero=True)(inputs)
    y = keras.layers.GroupQueryAttention(3, 4, 2, use_gate=gated)(x, x)
    theirs = keras.Model(inputs, keras.layers.LSTM(3)(keras.layers.Add()([x, y])))
    ids = np.random.default_rng(1).integers(0, 9, (8, 6)) * (np.arange(6) < 4)
    expected = np.asarray(theirs(ids))
    for suffix in (".keras", ".h5"):
        theirs.save(tmp_path / f"m{suffix}")
    mine = lstmfast.load_model(tmp_path / "m.keras")
    mine.save(tmp_path / "n.keras")
    again = keras.models.load_model(tmp_path / "n.keras")
    for model in (mine, again, lstmfast.load_model(tmp_path / "m.h5"), lstmfast.from_keras(theirs)):
        oracle.assert_close(np.asarray(model(ids)), expected, oracle.LOOSE)


def test_heads_that_cannot_be_shared(keras):
    for module in (layers, keras.layers):
        with pytest.raises(ValueError, match="must be divisible"):
            module.GroupQueryAttention(3, 4, 3)


@pytest.mark.filterwarnings("ignore")
def test_attention_over_several_axes_of_a_file(keras, tmp_path):
    inputs = keras.Input((3, 4, 5))
    y = keras.layers.MultiHeadAttention(2, 3, attention_axes=(1, 2), output_shape=(2, 3), use_gate=True)(inputs, inputs)
    z = keras.layers.MultiHeadAttention(2, 3, sliding_window=2)(inputs[:, 0], inputs[:, 1], use_causal_mask=True)
    theirs = keras.Model(inputs, [y, z])
    x = np.random.default_rng(1).uniform(-1, 1, (2, 3, 4, 5)).astype("float32")
    theirs.save(tmp_path / "m.keras")
    mine = lstmfast.load_model(tmp_path / "m.keras")
    mine.save(tmp_path / "n.keras")
    for model in (mine, keras.models.load_model(tmp_path / "n.keras"), lstmfast.from_keras(theirs)):
        for found, expected in zip(model(x), theirs(x), strict=True):
            oracle.assert_close(found, np.asarray(expected), oracle.LOOSE)


def test_attention_over_axes_that_are_not_there_is_refused():
    x = np.ones((2, 3, 4, 5), "float32")
    for axes in (0, 3, (1, 1), (1, -3)):
        with pytest.raises(ValueError, match="attention_axes"):
            layers.MultiHeadAttention(2, 3, attention_axes=axes)(x, x)
    with pytest.raises(ValueError, match="have to agree"):
        layers.MultiHeadAttention(2, 3, attention_axes=2)(x, x[:, :2])
    with pytest.raises(ValueError, match="equal rank"):
        layers.MultiHeadAttention(2, 3)(x, x[:, 0])


# ---- what layers are called with -----------------------------------------------------------------------------------

# The arguments of classes that need some.
NEEDED: dict[str, Any] = {
    "Activation": ("relu",),
    "CategoryEncoding": (3,),
    "Discretization": ([0.0],),
    "Dense": (2,),
    "EinsumDense": ("abc,cd->abd", (None, 2)),
    "Embedding": (5, 2),
    "InputLayer": ((3,),),
    "Lambda": (lambda x: x,),
    "GroupQueryAttention": (2, 4, 2),
    "HashedCrossing": (3,),
    "Hashing": (3,),
    "MultiHeadAttention": (2, 3),
    "Permute": ((2, 1),),
    "RepeatVector": (2,),
    "Rescaling": (2.0,),
    "Reshape": ((2, 3),),
    "Dot": (1,),
    **dict.fromkeys(("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise"), (0.1,)),
    **{f"SpatialDropout{rank}D": (0.1,) for rank in (1, 2, 3)},
    **dict.fromkeys((*KINDS, *(f"{kind}Cell" for kind in KINDS)), (2,)),
    **{name: (2, 2) for name in layers.__all__ if name.startswith(("Conv", "Separable"))},
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), (2,)),
    **{name: (2,) for name in layers.__all__ if name.startswith(("Adaptive", "AveragePool", "AvgPool", "MaxPool"))},
    **dict.fromkeys(("CenterCrop", "Resizing"), (2, 2)),
}
AROUND: dict[str, Any] = {
    "Bidirectional": lambda module: module.Bidirectional(module.LSTM(2)),
    "RNN": lambda module: module.RNN(module.LSTMCell(2)),
    "StackedRNNCells": lambda module: module.StackedRNNCells([module.LSTMCell(2)]),
    "TimeDistributed": lambda module: module.TimeDistributed(module.Dense(2)),
}


# Of those that hand on nothing in any case: a function's, what begins a model, and the mean, whose mask is none.
OF_NO_MASK = ("GlobalAveragePooling1D", "GlobalAvgPool1D", "Input", "InputLayer", "Lambda", "Layer")


@pytest.mark.parametrize(
    "name", [name for name in layers.__all__ if isinstance(getattr(layers, name), type) and name not in OF_NO_MASK]
)
def test_masks_end_where_keras_lets_them_end(keras, tf_keras, name):
    make = AROUND.get(name, lambda module: getattr(module, name)(*NEEDED.get(name, ())))
    if name in RANDOM:
        make = partial(random_layer, name=name)
    mine = make(layers)
    if hasattr(keras.layers, name):
        assert mine.supports_masking == make(keras.layers).supports_masking
    if hasattr(tf_keras.layers, name):
        assert (mine.supports_masking and not mine.stops_mask_before_3) == make(tf_keras.layers).supports_masking


CONFIGURED: dict[str, Any] = {
    "ConvLSTM2D": lambda: layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True, zero_output_for_mask=True),
    "LSTM": lambda: layers.LSTM(3, time_major=True, zero_output_for_mask=True),
    "RNN": lambda: layers.RNN(layers.GRUCell(3), time_major=True),
    "Attention": lambda: layers.Attention(causal=True),
    "AdditiveAttention": lambda: layers.AdditiveAttention(causal=True),
    "BatchNormalization": lambda: layers.BatchNormalization(
        renorm=True, renorm_clipping={"rmax": 2.0}, renorm_momentum=0.5
    ),
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_configs_keep_what_changes_results(name):
    layer = CONFIGURED[name]()
    again = layers.deserialize(json.loads(json.dumps(layers.serialize(layer))))
    for argument in ("zero_output_for_mask", "time_major", "causal", "renorm", "renorm_clipping", "renorm_momentum"):
        assert getattr(again, argument, None) == getattr(layer, argument, None)


@pytest.mark.parametrize("name", ["LSTM", "RNN", "Attention", "AdditiveAttention"])
def test_arguments_of_keras_2_are_not_written(name, tmp_path):
    x = lstmfast.Input((5, 3), batch_size=4)
    layer = CONFIGURED[name]()
    model = lstmfast.Model(x, layer([x, x] if "Attention" in name else x))
    argument = "causal" if "Attention" in name else "time_major"
    with pytest.raises(NotImplementedError, match=rf"'{layer.name}' has {argument}=True"):
        model.save(tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


def test_a_mask_of_the_query_is_the_querys_own(keras):
    """Keras looks at none that a call is given."""
    random = np.random.default_rng(2)
    query, value = (random.normal(size=(3, steps, 4)).astype("float32") for steps in (5, 6))
    mask = random.random((3, 5)) < 0.5
    mine, theirs = (module.MultiHeadAttention(2, 3) for module in (layers, keras.layers))
    theirs(query, value)
    mine.build([query.shape, value.shape])
    mine.set_weights(theirs.get_weights())
    expected = np.asarray(theirs(query, value, query_mask=mask))
    oracle.assert_close(mine(query, value, query_mask=mask), expected, oracle.LOOSE)
    with pytest.raises(ValueError, match="mask"):
        mine(query, value, query_mask=mask[:, :3])


def test_padding_that_is_no_number_stays_out_of_attention(keras):
    random = np.random.default_rng(2)
    query, value = (random.normal(size=(3, 5, 4)).astype("float32") for _ in range(2))
    mask = np.arange(5) < np.array([5, 3, 2])[:, None]
    query[~mask] = np.nan
    for name in ("Attention", "AdditiveAttention"):
        mine, theirs = (getattr(module, name)() for module in (layers, keras.layers))
        expected = np.asarray(theirs([query, value], mask=[mask, mask]))
        mine.build([query.shape, value.shape])
        mine.set_weights(theirs.get_weights())
        oracle.assert_close(mine([query, value], mask=[mask, mask]), expected, oracle.LOOSE)
        assert (expected[~mask] == 0).all()


@pytest.mark.parametrize("value", [0.0, -1, -999.0, 0.1, 1e-3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_float16", "float16"])
def test_masking_compares_as_keras_does(keras, dtype, value):
    x = np.random.default_rng(1).normal(size=(3, 5, 2)).astype("float32")
    x[:, 3:] = value
    x[0, 1] = np.float16(value)
    mine = lstmfast.Sequential([lstmfast.Input((5, 2)), layers.Masking(value, dtype=dtype), layers.LSTM(2)])
    theirs = keras.Sequential([keras.Input((5, 2)), keras.layers.Masking(value, dtype=dtype), keras.layers.LSTM(2)])
    theirs.set_weights(mine.get_weights())
    layer = theirs.layers[0]
    kept = np.asarray(layer.compute_mask(keras.ops.cast(x, layer.compute_dtype)))
    np.testing.assert_array_equal(mine.layers[0].compute_mask(x.astype(mine.layers[0].policy.real)), kept)
    np.testing.assert_array_equal(mine.layers[0](x), np.asarray(layer(x)))
    # Keras makes float32 of what `predict` gets
    for given in (x, x.astype("float64")) if "16" not in dtype else ():
        oracle.assert_close(mine.predict(given), theirs.predict(given, verbose=0), oracle.LOOSE)


def test_masking_of_keras_2_compares_in_the_type_of_its_inputs(tf_keras):
    x = np.full((1, 2, 3), 0.1)
    for dtype in ("float32", "float64", "float16"):
        theirs = tf_keras.layers.Masking(0.1, dtype=dtype)
        mine = lstmfast.from_keras(tf_keras.Sequential([tf_keras.Input((2, 3), dtype=dtype), theirs])).layers[0]
        np.testing.assert_array_equal(mine(x), np.asarray(theirs(x.astype(dtype))))
        assert not mine(x).any()


def test_masking_and_rescaling_of_each_feature_say_what_does_not_fit():
    x = np.ones((2, 4, 3), "float32")
    for bad in ("a", {"a": 1}, None):
        with pytest.raises(ValueError, match="mask_value"):
            layers.Masking(bad)
        with pytest.raises(ValueError, match="scale"):
            layers.Rescaling(bad)
    with pytest.raises(NotImplementedError, match="mask_value"):
        layers.Masking(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"'m' has a mask_value for 2 features"):
        layers.Masking([1, 2], name="m")(x)
    with pytest.raises(ValueError, match=r"'r' has offset of shape \(2,\)"):
        layers.Rescaling(2.0, [1, 2], name="r")(x)
    y = layers.Masking([1, 1, 1])(x)
    assert not y.any()


@pytest.mark.parametrize("axes", [[-1], [-2], [0], [1, -1], [1, 2], None], ids=str)
def test_axes_that_share_a_slope(keras, axes):
    x = np.random.default_rng(3).normal(size=(2, 3, 4, 5)).astype("float32")
    mine, theirs = (module.PReLU(alpha_initializer="uniform", shared_axes=axes) for module in (layers, keras.layers))
    expected = np.asarray(theirs(x))
    mine.build(x.shape)
    mine.set_weights(theirs.get_weights())
    theirs.set_weights(mine.get_weights())
    oracle.assert_close(mine(x), expected, oracle.STRICT)


def test_axes_that_are_none_share_no_slope():
    with pytest.raises(ValueError, match=r"'p' has shared_axes=\[4\]"):
        layers.PReLU(shared_axes=4, name="p")(np.ones((2, 3, 4)))


def test_spatial_dropout_takes_its_arguments_in_keras_s_order(keras):
    for rank in (1, 2, 3):
        args = (0.3, 7) if rank == 1 else (0.3, "channels_first", 7)
        mine, theirs = (getattr(module, f"SpatialDropout{rank}D")(*args) for module in (layers, keras.layers))
        assert mine.seed == 7
        assert mine.get_config()["rate"] == theirs.get_config()["rate"]
        assert mine.data_format == getattr(theirs, "data_format", None) or rank == 1
    assert layers.Dropout(np.float32(0.5)).get_config()["rate"] == 0.5


@pytest.mark.parametrize("kind", ["GRU", "SimpleRNN"])
def test_a_cell_gives_its_state_as_it_got_it(keras, kind):
    random = np.random.default_rng(3)
    x, h = random.normal(size=(4, 3)).astype("float32"), random.normal(size=(4, 2)).astype("float32")
    mine, theirs = (getattr(module, f"{kind}Cell")(2) for module in (layers, keras.layers))
    expected = theirs(x, h)
    mine.build(x.shape)
    mine.set_weights(theirs.get_weights())
    a, b = lstmfast.Input((3,)), lstmfast.Input((2,))
    bare, listed = mine(a, b), mine(a, [b])
    assert isinstance(bare[1], type(bare[0]))
    assert isinstance(listed[1], list)
    graph = lstmfast.Model([a, b], [*bare, listed[1][0]])
    for found in (*mine(x, h), mine(x, [h])[1][0], *graph([x, h])):
        oracle.assert_close(found, np.asarray(expected[1]), oracle.LOOSE)
    assert isinstance(mine(x, h)[1], np.ndarray)
    assert isinstance(mine(x, [h])[1], list)


@pytest.mark.parametrize("name", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"])
def test_merging_layers_take_a_tuple(name):
    random = np.random.default_rng(3)
    arrays = tuple(random.normal(size=(4, 3)).astype("float32") for _ in range(2))
    layer = getattr(layers, name)(*([1] if name == "Dot" else []))
    tensors = tuple(lstmfast.Input((3,)) for _ in arrays)
    np.testing.assert_array_equal(lstmfast.Model(tensors, layer(tensors))(list(arrays)), layer(arrays))


MOVING: dict[str, Any] = {
    "Flatten": lambda module: module.Flatten(),
    "Reshape": lambda module: module.Reshape((-1,)),
    "Permute": lambda module: module.Permute((2, 1)),
    "Cropping1D": lambda module: module.Cropping1D(1),
    "ZeroPadding1D": lambda module: module.ZeroPadding1D(1),
    "UpSampling1D": lambda module: module.UpSampling1D(2),
    "Identity": lambda module: module.Identity(),
    "ActivityRegularization": lambda module: module.ActivityRegularization(),
    "TimeDistributed": lambda module: module.TimeDistributed(module.RepeatVector(2)),
}


@pytest.mark.parametrize("dtype", ["int32", "int64", "bool", "uint8"])
@pytest.mark.parametrize("name", MOVING)
def test_layers_that_move_values_keep_integers(keras, name, dtype):
    x = (np.arange(24).reshape(2, 4, 3) + (2**24 + 1 if dtype.startswith("int") else 0)).astype(dtype)
    mine, theirs = MOVING[name](layers), MOVING[name](keras.layers)
    expected = np.asarray(theirs(x))
    for _ in range(3):
        found = mine(x)
        assert found.dtype == expected.dtype == dtype
        np.testing.assert_array_equal(found, expected)
    inputs = lstmfast.Input((4, 3), dtype=dtype)
    model = lstmfast.Model(inputs, MOVING[name](layers)(inputs))
    np.testing.assert_array_equal(model.predict(x), expected)
    assert model.predict(x).dtype == dtype
    out = np.empty(expected.shape, dtype)
    assert mine(x, out=out) is out
    np.testing.assert_array_equal(out, expected)
    values = x.astype("float64") + 0.5
    assert mine(values).dtype == np.float32
    behind = lstmfast.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    assert behind(x).dtype == np.float32


def test_layers_over_the_rows_get_the_batches_of_keras(keras):
    x, y = (np.random.default_rng(3).normal(size=(6, 3)).astype("float32") for _ in range(2))
    for name, options in (("Softmax", {"axis": 0}), ("Softmax", {"axis": [-2, 1]}), ("UnitNormalization", {"axis": 0})):
        model = keras.Sequential([keras.Input((3,)), getattr(keras.layers, name)(**options)])
        mine = lstmfast.from_keras(model)
        for size in (2, 4, None):
            expected = model.predict(x, batch_size=size, verbose=0)
            oracle.assert_close(mine.predict(x, batch_size=size), expected, oracle.LOOSE)
    across = keras.layers.EinsumDense("ab,ac->cb", output_shape=(3,))
    model = keras.Sequential([keras.Input(batch_shape=(2, 3)), across])
    expected = model.predict(x, batch_size=2, verbose=0)
    oracle.assert_close(lstmfast.from_keras(model).predict(x, batch_size=2), expected, oracle.LOOSE)
    inputs = [keras.Input((3,)), keras.Input((3,))]
    model = keras.Model(inputs, keras.layers.Concatenate(axis=0)(inputs))
    mine = lstmfast.from_keras(model)
    np.testing.assert_array_equal(mine.predict([x, y]), model.predict([x, y], verbose=0))
    with pytest.raises(ValueError, match="gives 4 rows for 2"):
        mine.predict([x, y], batch_size=2)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), None], ids=str)
def test_normalization_adapts_to_data(keras, axis):
    data = np.random.default_rng(5).normal(2, 3, (10, 5, 4)).astype("float32")
    for given in (data, [data[:3], data[3:4], data[4:]], (part for part in (data[:6], data[6:]))):
        mine, theirs = (module.Normalization(axis=axis) for module in (layers, keras.layers))
        given = list(given) if not isinstance(given, (list, np.ndarray)) else given
        mine.adapt(given if isinstance(given, (list, np.ndarray)) else iter(given))
        theirs.adapt(given)
        for found, expected in zip(mine.get_weights(), theirs.get_weights(), strict=True):
            oracle.assert_close(found, expected, oracle.STRICT * (1 + np.abs(expected)))
        oracle.assert_close(mine(data), np.asarray(theirs(data)), oracle.LOOSE)


def test_normalization_adapts_to_all_or_nothing():
    data = np.random.default_rng(5).normal(2, 3, (10, 5, 4)).astype("float32")
    adapted = layers.Normalization()
    adapted.adapt(data)
    before = adapted.get_weights()
    for bad, error in (([], ValueError), ([data, data[..., :3]], ValueError), ([[1.0]], TypeError), ("ab", TypeError)):
        fresh = layers.Normalization()
        with pytest.raises(error):
            fresh.adapt(bad)
        assert not fresh.built
        with pytest.raises(error):
            adapted.adapt(bad)
        for found, expected in zip(adapted.get_weights(), before, strict=True):
            np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="were given"):
        layers.Normalization(mean=0.0, variance=1.0).adapt(data)
    with pytest.raises(ValueError, match="`mean`, expected numbers"):
        layers.Normalization(mean={"a": 1}, variance=1.0)


CONV_MASKS = {
    "places": (2, 5, 4, 3),
    "rows of places": (2, 5, 4),
    "steps": (2, 5),
}


@pytest.mark.parametrize("shape", CONV_MASKS.values(), ids=CONV_MASKS)
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_masks_of_the_places_of_a_convolutional_lstm(keras, shape, backwards, zero):
    random = np.random.default_rng(4)
    x, mask = random.normal(size=(2, 5, 4, 3, 2)).astype("float32"), random.random(shape) < 0.6
    mask[0, :2] = False
    for has_state in (False, True):
        mine, theirs = (
            module.ConvLSTM2D(
                3, 3, padding="same", return_sequences=True, return_state=True, go_backwards=backwards,
                zero_output_for_mask=zero,
            )
            for module in (layers, keras.layers)
        )  # fmt: skip
        theirs.build(x.shape)
        mine.build(x.shape)
        mine.set_weights(theirs.get_weights())
        state = list(random.normal(size=(2, 2, 4, 3, 3)).astype("float32")) if has_state else None
        if len(shape) == 3:  # which Keras's loop takes for one of features
            expected = mine(x, mask=np.broadcast_to(mask[..., None], (2, 5, 4, 3)), initial_state=state)
        else:
            expected = theirs(x, mask=mask, initial_state=state)
        for found, other in zip(mine(x, mask=mask, initial_state=state), expected, strict=True):
            oracle.assert_close(found, np.asarray(other), oracle.LOOSE)
    whole = mine(x, mask=np.ones(shape, bool), initial_state=state)
    for found, other in zip(mine(x, initial_state=state), whole, strict=True):
        np.testing.assert_array_equal(found, other)


def test_masks_of_places_that_have_no_output_are_refused():
    x = np.ones((2, 5, 4, 4, 2), "float32")
    for options in ({}, {"padding": "same", "strides": 2}):
        model = lstmfast.Sequential(
            [lstmfast.Input(x.shape[1:]), layers.Masking(), layers.ConvLSTM2D(3, 3, name="c", **options)]
        )
        with pytest.raises(ValueError, match=r"'c' got a mask of places, \(2, 4, 4\)"):
            model(x)
    with pytest.raises(ValueError, match=r"mask of layer 'c'"):
        layers.ConvLSTM2D(3, 3, padding="same", name="c")(x, mask=np.ones((2, 5, 3, 4)))


def test_places_that_are_masked_in_training(keras):
    x = np.random.default_rng(4).normal(size=(2, 3, 4, 2)).astype("float32")
    mask = np.random.default_rng(5).random((2, 3, 4)) < 0.5
    mine = layers.ConvLSTM1D(3, 2, padding="same", dropout=1e-12, return_sequences=True)
    quiet = layers.ConvLSTM1D(3, 2, padding="same", return_sequences=True)
    for layer in (mine, quiet):
        layer.build(x.shape)
    quiet.set_weights(mine.get_weights())
    oracle.assert_close(mine(x, mask=mask, training=True), quiet(x, mask=mask), oracle.LOOSE)


@pytest.mark.long
@pytest.mark.parametrize("block", range(LONG_BLOCKS))
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_random_layers(kind, block):
    start = 10_000 + block * LONG_BLOCK
    for seed in range(start, start + LONG_BLOCK):
        check(layer_cases.random_case(seed, kind))
        if seed % 4 == 0:
            check(layer_cases.random_case(seed, kind, bidirectional=True))
