"""Parts of functional models that random ones seldom hold: masks through merging layers, attention, training=True."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from typing import Any

import h5py
import layer_cases
import model_cases
import numpy as np
import oracle
import pytest

import lstmfast
from lstmfast.layers.noise import Noise

FRAMEWORKS = ("keras", "tf_keras")
RANDOM = np.random.default_rng(0)
A, B, C = (RANDOM.uniform(-1, 1, (4, steps, 3)).astype("float32") for steps in (5, 5, 6))
A[0, :2] = A[1, 3:] = B[0, :3] = B[2, 2] = B[3] = C[1, 3:] = C[2, 2] = 0


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> Any:
    module = oracle.live_keras(request.param)
    if module is None:
        pytest.skip(f"needs TensorFlow and {request.param}")
    return module


def compare(model: Any, x: Any, folder: Any) -> None:
    """From every source: `.keras`, `.h5` and live."""
    named = [(getattr(weight, "path", weight.name), tuple(weight.shape)) for weight in model.weights]
    model.set_weights(model_cases.weights(named, 3))
    expected = layer_cases.flatten(model(x))
    for source in ("m.keras", "m.h5", None):
        if source is None:
            mine = lstmfast.from_keras(model)
        else:
            model.save(folder / source)
            mine = lstmfast.load_model(folder / source)
        for y, theirs in zip(layer_cases.flatten(mine(x)), expected, strict=True):
            oracle.assert_close(y, theirs, oracle.LOOSE * (1 + np.abs(theirs)), f"from {source}")


MERGES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("both", [True, False], ids=["both masked", "one masked"])
@pytest.mark.parametrize("name", MERGES)
def test_masks_through_merging_layers(framework, name, both, tmp_path):
    def definition(module):
        layers = module.layers
        a, b = module.Input((5, 3)), module.Input((5, 3))
        merged = getattr(layers, name)(**({"axes": 2} if name == "Dot" else {}))(
            [layers.Masking()(a), layers.Masking()(b) if both else b]
        )
        return module.Model([a, b], [merged, layers.LSTM(3, return_sequences=True)(merged)])

    model = definition(framework)
    compare(model, [A, B], tmp_path)
    if framework.__name__ == "keras":  # the same code in lstmfast, where masks propagate by themselves
        mine = definition(lstmfast)
        mine.set_weights(model.get_weights())
        for y, theirs in zip(mine([A, B]), model([A, B]), strict=True):
            oracle.assert_close(y, np.asarray(theirs), oracle.LOOSE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MERGES[:-2])
def test_merging_layers_of_different_rank(framework, name, tmp_path):
    """What has fewer axes gets them behind the rows', also where as many rows as steps make another way possible."""
    a, b, c = framework.Input((4, 3)), framework.Input((3,)), framework.Input((1, 4, 3))
    for tensors in ((a, b), (b, a), (b, c), (c, a)):
        merged = getattr(framework.layers, name)()(list(tensors))
        values = {id(a): A[:, :4], id(b): B[:, 0], id(c): B[:, None, :4]}
        model = framework.Model(list(tensors), merged)
        compare(model, [values[id(tensor)] for tensor in tensors], tmp_path)
        assert lstmfast.from_keras(model).output_shape == tuple(model.output_shape)


def masked(layers: Any, *tensors: Any) -> list[Any]:
    return [layers.Masking()(tensor) for tensor in tensors]


ATTENTION = {
    "scores": lambda layers, a, c: layers.Attention()([a, c], return_attention_scores=True),
    "masks and scores": lambda layers, a, c: layers.Attention(use_scale=True)(
        masked(layers, a, c), return_attention_scores=True
    ),
    "concat": lambda layers, a, c: layers.Attention(score_mode="concat", use_scale=True)(
        [a, c, c], use_causal_mask=True
    ),
    "mask handed on": lambda layers, a, c: layers.LSTM(2)(layers.Attention()(masked(layers, a, c))),
    "additive": lambda layers, a, c: layers.AdditiveAttention()(masked(layers, a, c), return_attention_scores=True),
    "several heads": lambda layers, a, c: layers.MultiHeadAttention(2, 3, value_dim=4, output_shape=5)(
        *masked(layers, a, c)
    ),
    "heads and scores": lambda layers, a, c: layers.MultiHeadAttention(2, 3)(
        a, c, use_causal_mask=True, return_attention_scores=True
    ),
    "heads with a key": lambda layers, a, c: layers.MultiHeadAttention(2, 3, attention_axes=(1,))(
        query=a, value=c, key=layers.Dense(2)(c)
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_in_a_graph(framework, name, tmp_path):
    a, c = framework.Input((5, 3)), framework.Input((6, 3))
    compare(framework.Model([a, c], ATTENTION[name](framework.layers, a, c)), [A, C], tmp_path)


INNER_SEQUENCES = {
    "LSTM": lambda layers: layers.LSTM(4),
    "sequences": lambda layers: layers.GRU(3, return_sequences=True),
    "Bidirectional": lambda layers: layers.Bidirectional(layers.SimpleRNN(2)),
    "mean": lambda layers: layers.GlobalAveragePooling1D(),
    "Dense": lambda layers: layers.Dense(2),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", INNER_SEQUENCES)
def test_masks_of_sequences_of_sequences(framework, name, tmp_path):
    """As of the words of sentences of texts."""
    layers = framework.layers
    ids = framework.Input((3, 5), dtype="int32")
    words = layers.TimeDistributed(INNER_SEQUENCES[name](layers))(layers.Embedding(9, 4, mask_zero=True)(ids))
    behind = [layers.Flatten()(words)]
    if framework.__name__ == "tf_keras" and name in ("LSTM", "Bidirectional", "mean"):  # a mask of three axes else
        behind.append(layers.LSTM(2)(words))
    x = np.random.default_rng(0).integers(0, 9, (4, 3, 5))
    x[:, :, 3:] = x[0, 1, 1:] = x[1, 2] = 0
    x[:, 0, 0] = x[:, 1, 0] = 1
    x[1, 2, 0] = 3
    compare(framework.Model(ids, behind if len(behind) > 1 else behind[0]), x, tmp_path)


def test_a_mask_beside_those_of_the_steps(keras, tmp_path):
    ids, seen = keras.Input((5,), dtype="int32"), keras.Input((5, 5), dtype="bool")
    words = keras.layers.Embedding(9, 4, mask_zero=True)(ids)
    model = keras.Model([ids, seen], keras.layers.MultiHeadAttention(2, 3)(words, words, attention_mask=seen))
    random = np.random.default_rng(0)
    compare(model, [random.integers(0, 4, (4, 5)), random.random((4, 5, 5)) > 0.3], tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_outputs_in_any_structure(framework, tmp_path):
    layers = framework.layers
    x = framework.Input((5, 3))
    y, z, w = (layers.LSTM(units)(x) for units in (2, 3, 2))
    structures = [[y], {"b": y, "a": z}]
    if framework.__name__ == "keras":
        structures += [(y,), [{"b": y, "a": w}, z], {"b": [y, w], "a": z}, {"b": {"d": y, "c": w}, "a": [z]}]
    for struct in structures:
        model = framework.Model(x, struct)
        expected = model(A)
        mine = lstmfast.from_keras(model)
        for found in (mine(A), mine.predict(A), mine.predict(np.repeat(A, 20, axis=0), batch_size=7)):
            check_alike(found, expected)


def check_alike(mine: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert isinstance(mine, dict)
        assert set(mine) == set(theirs)
        for key, value in theirs.items():
            check_alike(mine[key], value)
    elif isinstance(theirs, (list, tuple)):
        assert isinstance(mine, (list, tuple))
        for own, other in zip(mine, theirs, strict=True):
            check_alike(own, other)
    else:
        oracle.assert_close(mine[:: len(mine) // len(A)], np.asarray(theirs), oracle.LOOSE)


def test_cells_of_one_name(keras, tmp_path):
    cells = [keras.layers.LSTMCell(4, name="c"), keras.layers.LSTMCell(4, name="c")]
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.RNN(cells)])
    model.save(tmp_path / "m.keras")  # HDF5 has no place for both
    x = np.tile(A, 2)[..., :4]
    for mine in (lstmfast.from_keras(model), lstmfast.load_model(tmp_path / "m.keras")):
        oracle.assert_close(mine(x), np.asarray(model(x)), oracle.LOOSE)


@pytest.mark.filterwarnings("ignore")
def test_layers_as_activations(framework, tmp_path):
    layers = framework.layers
    slope = {"alpha": 0.1} if framework.__name__ == "tf_keras" else {"negative_slope": 0.1}
    model = framework.Sequential(
        [
            framework.Input((5, 3)),
            layers.Dense(4, activation=layers.LeakyReLU(**slope)),
            layers.Conv1D(3, 2, activation=layers.Softmax(axis=1)),
            layers.Dense(2, activation=layers.Softmax(axis=-2)),
        ]
    )
    expected = np.asarray(model(A))
    mine = lstmfast.from_keras(model)
    oracle.assert_close(mine(A), expected, oracle.LOOSE)
    mine.save(tmp_path / "m.keras")
    oracle.assert_close(lstmfast.load_model(tmp_path / "m.keras")(A), expected, oracle.LOOSE)


def test_models_with_code_of_their_own_are_refused(keras):
    class Scaled(keras.Sequential):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training=training, mask=mask)

    with pytest.raises(NotImplementedError, match="code of its own"):
        lstmfast.from_keras(Scaled([keras.Input((3,)), keras.layers.Dense(2)]))


RANDOM_LAYERS = {
    "Dropout": lambda layers: layers.Dropout(0.5, name="r"),
    "LSTM": lambda layers: layers.LSTM(3, dropout=0.5, recurrent_dropout=0.2, name="r"),
    "BatchNormalization": lambda layers: layers.BatchNormalization(name="r"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("inner", RANDOM_LAYERS)
def test_a_nested_model_in_training(framework, inner, tmp_path):
    layers = framework.layers
    x = framework.Input((5, 3))
    nested = framework.Sequential([framework.Input((5, 3)), layers.Dense(3), RANDOM_LAYERS[inner](layers)], name="n")
    theirs = framework.Model(x, nested(x, training=True))
    theirs.save(tmp_path / "m.keras")
    mine = lstmfast.load_model(tmp_path / "m.keras")
    if inner == "BatchNormalization":
        compare(theirs, A, tmp_path)
        mine.save(tmp_path / "n.keras")
        oracle.assert_close(lstmfast.load_model(tmp_path / "n.keras")(A), mine(A), 0)
    else:
        mine.get_layer("n").get_layer("r").noise = Noise(1)
        framework.utils.set_random_seed(1)
        rows = np.repeat(A[:1], 4000, axis=0)
        found, expected = mine(rows), np.asarray(theirs(rows))
        error = expected.std(axis=0) * np.sqrt(2 / len(rows))
        assert (np.abs(found.mean(axis=0) - expected.mean(axis=0)) < 5 * error + 1e-5).all()
        np.testing.assert_allclose(found.std(axis=0), expected.std(axis=0), rtol=0.1, atol=1e-5)
        assert not np.array_equal(mine(rows), found)
        mine.save(tmp_path / "n.keras")
        assert len(np.unique(lstmfast.load_model(tmp_path / "n.keras")(rows), axis=0)) > 1
    inert = framework.Sequential([framework.Input((5, 3)), layers.Dense(3)])
    compare(framework.Model(x, inert(x, training=True)), A, tmp_path)


@pytest.mark.parametrize("inner", RANDOM_LAYERS)
def test_a_model_in_training_in_code(inner):
    layers = lstmfast.layers
    model = lstmfast.Sequential([lstmfast.Input((5, 3)), layers.Dense(3), RANDOM_LAYERS[inner](layers)], name="m")
    x = lstmfast.Input((5, 3))
    around = lstmfast.Model(x, model(x, training=True))
    with pytest.raises(ValueError, match="`lengths` and `training`"):
        model(A, training=True, lengths=[5] * len(A))
    if inner == "BatchNormalization":
        with pytest.raises(ValueError, match=r"'m'.*rows of different lengths"):
            around(A, lengths=[5, 5, 5, 5])
        x = np.tile(A, (20, 1, 1)) * np.arange(1, 81, dtype="float32")[:, None, None]
        for size in (None, 32, 50, 100):
            parts = [model(x[start : start + (size or 32)], training=True) for start in range(0, len(x), size or 32)]
            np.testing.assert_array_equal(around.predict(x, batch_size=size, verbose=0), np.concatenate(parts))
        assert not np.allclose(around(x), around.predict(x, verbose=0))
        model.trainable = False
        np.testing.assert_array_equal(around(A), model(A))
        return
    for call in (
        lambda: model(A, training=True),
        lambda: around(A),
        lambda: around.predict(A, verbose=0),
        lambda: pickle.loads(pickle.dumps(around))(A),
        lambda: layers.TimeDistributed(model)(A[:, None], training=True),
    ):
        model.get_layer("r").noise = Noise(None)
        first = call()
        model.get_layer("r").noise = Noise(None)
        assert not np.array_equal(call(), first)
        assert np.array_equal(model(A), model(A, training=False))
    quiet = model(A)
    noisy = model(A, training=True)
    model.set_weights([0 * weight for weight in model.get_weights()])
    assert not model(A, training=True).any()
    assert noisy.any()
    assert quiet.any()
    inert = lstmfast.Sequential([lstmfast.Input((5, 3)), layers.Identity(), layers.ActivityRegularization(l2=0.1)])
    np.testing.assert_array_equal(inert(A, training=True), A)


@pytest.mark.filterwarnings("ignore")
def test_batch_normalization_by_the_batch_in_a_graph(framework, tmp_path):
    """With the mask of what comes in, inside TimeDistributed, and for the batches of `predict`."""
    layers = framework.layers
    for around in ("", "TimeDistributed", "a model in TimeDistributed"):
        x = framework.Input((5, 3))
        layer = layers.BatchNormalization()
        if around.startswith("a"):
            layer = framework.Sequential([framework.Input((3,)), layer])
        layer = layers.TimeDistributed(layer) if around else layer
        theirs = framework.Model(x, layer(layers.Masking()(x), training=True))
        compare(theirs, A * np.array([1, 2, 5, 9, 20], "float32")[:, None], tmp_path)
        if framework.__name__ == "tf_keras":  # Keras 3's predict hands training=False to all layers
            rows = np.tile(A, (20, 1, 1)) * np.arange(1, 81, dtype="float32")[:, None, None]
            expected, mine = theirs.predict(rows, verbose=0), lstmfast.from_keras(theirs)
            oracle.assert_close(mine.predict(rows, verbose=0), expected, oracle.LOOSE * (1 + np.abs(expected)))


def test_files_of_early_keras_normalize_by_masked_steps_too():
    def made(version: str) -> Any:
        layers = [
            {"class_name": "Masking", "config": {"name": "m", "batch_input_shape": [None, 5, 3]}},
            {"class_name": "BatchNormalization", "config": {"name": "b"}},
        ]
        config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}, "keras_version": version}
        return lstmfast.model_from_json(json.dumps(config))(A, training=True)

    np.testing.assert_allclose(made("2.11.0").mean(axis=(0, 1)), 0, atol=1e-6)
    valid = A.any(axis=-1)
    np.testing.assert_allclose(made("2.12.0")[valid].mean(axis=0), 0, atol=1e-6)
    assert np.abs(made("2.11.0")[valid].mean(axis=0)).max() > 0.01


INNER_TYPES = {
    "Bidirectional": lambda layers, dtype: layers.Bidirectional(layers.LSTM(4, return_sequences=True, dtype=dtype)),
    "TimeDistributed": lambda layers, dtype: layers.TimeDistributed(layers.Dense(4, dtype=dtype)),
    "RNN": lambda layers, dtype: layers.RNN(layers.GRUCell(4, dtype=dtype), return_sequences=True),
}


@pytest.mark.parametrize("name", INNER_TYPES)
def test_layers_of_another_type_inside_wrappers(keras, name, tmp_path):
    layers = keras.layers
    x = keras.Input((5, 3))
    y = INNER_TYPES[name](layers, "float64")(x)
    compare(keras.Model(x, [y, layers.Dense(2)(y)]), A, tmp_path)
    mine, theirs = (INNER_TYPES[name](module, "float64")(A).dtype for module in (lstmfast.layers, layers))
    assert mine == theirs.name


def test_names_in_the_file_decide_which_layer_gets_what(keras, tmp_path):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((5, 3)), layers.LSTM(3, return_sequences=True, name="one"), layers.LSTM(3, name="two")]
    )
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as old, zipfile.ZipFile(tmp_path / "swapped.keras", "w") as new:
        buffer = io.BytesIO(old.read("model.weights.h5"))
        with h5py.File(buffer, "r+") as file:
            for source, target in (("lstm", "x"), ("lstm_1", "lstm"), ("x", "lstm_1")):
                file.move(f"layers/{source}", f"layers/{target}")
        for name in old.namelist():
            new.writestr(name, buffer.getvalue() if name == "model.weights.h5" else old.read(name))
    expected = np.asarray(model(A))
    for name in ("m.keras", "swapped.keras"):
        oracle.assert_close(lstmfast.load_model(tmp_path / name)(A), expected, oracle.STRICT, name)


def test_what_keras_3_does_not_have_is_not_written(tf_keras, tmp_path):
    layers = tf_keras.layers
    older = tf_keras.Sequential([tf_keras.Input((5, 3)), layers.LSTM(2, recurrent_activation="hard_sigmoid", name="a")])
    mine = lstmfast.from_keras(older)
    with pytest.raises(NotImplementedError, match=r"'a'.*hard_sigmoid of Keras 2"):
        mine.save(tmp_path / "m.keras")
    a, b = tf_keras.Input((5, 3)), tf_keras.Input((5, 3))
    joined = layers.Add(name="join")(masked(layers, a, b))
    mine = lstmfast.from_keras(tf_keras.Model([a, b], layers.LSTM(2)(joined)))
    with pytest.raises(NotImplementedError, match=r"'join'.*mask"):
        mine.save(tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")
def test_noise_shape_of_other_dropouts(framework, tmp_path):
    layers = framework.layers
    stack = [layers.SpatialDropout1D(0.2), layers.GaussianDropout(0.2), layers.GaussianNoise(0.1), layers.LSTM(3)]
    compare(framework.Sequential([framework.Input((5, 3)), *stack]), A, tmp_path)
    lstmfast.load_model(tmp_path / "m.keras").save(tmp_path / "n.keras")
    if framework.__name__ == "keras":
        again = framework.models.load_model(tmp_path / "n.keras")
        oracle.assert_close(np.asarray(again(A)), lstmfast.load_model(tmp_path / "n.keras")(A), oracle.LOOSE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("swapped", [False, True])
def test_a_nested_model_is_called_in_any_order(framework, swapped, tmp_path):
    """Its calls are told apart by their number, also where the file has what the second one reads behind it."""
    layers = framework.layers
    inside = framework.Input((5, 3))
    inner = framework.Model(inside, layers.Dense(3)(layers.SimpleRNN(2, return_sequences=True)(inside)))
    a, b = framework.Input((5, 3)), framework.Input((5, 3))
    calls = [
        lambda: layers.GRU(2)(layers.Dense(2)(inner(layers.Masking()(a)))),
        lambda: layers.GRU(2)(inner(layers.Dense(3)(layers.Dense(3)(b)))),
        lambda: layers.LSTM(2)(inner(inner(b))),
    ]
    parts = [call() for call in (reversed(calls) if swapped else calls)]
    compare(framework.Model([a, b], layers.Concatenate()(parts)), [A, B], tmp_path)


def masks_in_nested_models(layers: Any, model: Any, x: Any) -> list[Any]:
    """What comes of a mask behind nested models that end it, hand it on, or never had any."""
    ends = model([layers.Bidirectional(layers.SimpleRNN(2)), layers.Dense(5), layers.Reshape((5, 1))])
    hands_on = model([layers.Dense(3), layers.SimpleRNN(2, return_sequences=True)])
    pools = model([layers.GlobalAveragePooling1D(), layers.RepeatVector(5)])
    masked = layers.Masking()(x)
    return [
        layers.LSTM(3)(ends(masked)),
        layers.GRU(2)(hands_on(masked)),
        layers.LSTM(2)(pools(masked)),
        layers.Maximum()([layers.Dense(2)(layers.SimpleRNN(2)(masked)), model([layers.GRU(2)])(masked)]),
        layers.LSTM(2)(hands_on(x)),
    ]


@pytest.mark.filterwarnings("ignore")
def test_masks_through_nested_models(framework, tmp_path):
    x = framework.Input((5, 3))
    outputs = masks_in_nested_models(framework.layers, framework.Sequential, x)
    model = framework.Model(x, outputs)
    compare(model, A, tmp_path)
    if framework.__name__ == "keras":
        y = lstmfast.Input((5, 3))
        mine = lstmfast.Model(y, masks_in_nested_models(lstmfast.layers, lstmfast.Sequential, y))
        mine.set_weights(model.get_weights())
        for own, theirs in zip(mine(A), model(A), strict=True):
            oracle.assert_close(own, np.asarray(theirs), oracle.LOOSE)


@pytest.mark.filterwarnings("ignore")
def test_an_explicit_mask_ends_in_a_nested_model(framework):
    layers = framework.layers
    inner = framework.Sequential([layers.LSTM(5), layers.Reshape((5, 1))])
    model = framework.Sequential([framework.Input((5, 3)), inner, layers.LSTM(3)])
    mask = A.any(axis=-1)
    expected = np.asarray(model(A, mask=mask))
    oracle.assert_close(lstmfast.from_keras(model)(A, mask=mask), expected, oracle.LOOSE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["once", "twice", "of the same values"])
def test_attention_behind_a_nested_model_takes_its_mask_away(framework, kind, tmp_path):
    """What Keras 3 runs after it, such as the residual sum, finds no mask."""
    layers = framework.layers
    ids = framework.Input((6,))
    embedding = framework.Sequential([layers.Embedding(9, 8, mask_zero=True), layers.Dropout(0.1)])
    x = embedding(ids)
    read = layers.Dropout(0.1)(x) if kind == "of the same values" else x
    y = layers.MultiHeadAttention(2, 4)(read, read)
    if kind == "twice":
        y = layers.MultiHeadAttention(2, 4)(y, read)
    total = layers.LayerNormalization()(layers.Add()([x, y]))
    pooled = [layers.GlobalAveragePooling1D()(z) for z in (total, layers.Dense(3)(x), y)]
    tokens = np.array([[3, 4, 5, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    compare(framework.Model(ids, [*pooled, layers.LSTM(4)(total)]), tokens, tmp_path)


# ---- the order of weights, and what versions see differently ---------------------------------------------------------


def nested_chain(framework: Any, random: np.random.Generator, depth: int = 0) -> Any:
    """A chain or graph of dense and normalizing layers, and of such models, alone and over steps."""
    some = framework.layers
    x = framework.Input((4,))
    y = x
    for _ in range(random.integers(2, 4)):
        kind = random.integers(0, 5 if depth < 2 else 2)
        if kind == 0:
            y = some.Dense(4)(y)
        elif kind == 1:
            y = some.BatchNormalization()(y)
        elif kind == 2:
            y = nested_chain(framework, random, depth + 1)(y)
        elif kind == 3:
            y = some.Reshape((4,))(
                some.TimeDistributed(nested_chain(framework, random, depth + 1))(some.Reshape((1, 4))(y))
            )
        else:
            y = some.Add()([some.BatchNormalization()(some.Dense(4)(y)), some.Dense(4)(y)])
    return framework.Model(x, y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(8))
def test_weights_of_frozen_and_nested_models_keep_their_places(framework, seed, tmp_path):
    random = np.random.default_rng(seed)
    model = nested_chain(framework, random)
    left = [model]
    while left:
        layer = left.pop()
        inside = [*getattr(layer, "layers", []), *filter(None, [getattr(layer, "layer", None)])]
        if layer is not model:
            layer.trainable = bool(random.random() < 0.6)  # and of all that is inside, which may change below
        left.extend(inside)
    compare(model, random.uniform(-1, 1, (3, 4)).astype("float32"), tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("axis", [[1, -1], [-1, 1], [2, 1], [3, 1], [-2, -1]])
def test_weights_of_a_normalization_over_several_axes(framework, axis, tmp_path):
    x = framework.Input((3, 4, 5))
    model = framework.Model(x, framework.layers.LayerNormalization(axis=axis)(x))
    compare(model, np.random.default_rng(0).uniform(-1, 1, (2, 3, 4, 5)).astype("float32"), tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [1, 1e-5, 1e-8, 1e-11, 0])
def test_norms_near_zero(framework, size, tmp_path):
    """From below what an epsilon is: those of Keras 2 and 3 differ."""
    some = framework.layers
    x = framework.Input((5, 3))
    other = some.UnitNormalization(axis=1)(x)
    model = framework.Model(
        x, [some.UnitNormalization()(x), other, some.Dot(axes=(2, 1), normalize=True)([x, some.Permute((2, 1))(other)])]
    )
    compare(model, A * np.float32(size), tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_mask_of_a_softmax(framework):
    layer = framework.layers.Softmax()
    x = framework.Input((3,))
    mine = lstmfast.from_keras(framework.Model(x, framework.layers.Softmax(name="s")(x))).get_layer("s")
    values = A[:, 0] * 3
    masks: list[Any] = [values > 0, np.zeros_like(values, bool)]
    if framework.__name__ == "keras":
        masks.append(np.abs(values))
    for mask in masks:
        expected = np.asarray(layer(values, mask=mask))
        oracle.assert_close(mine(values, mask=mask), expected, oracle.LOOSE)


def models_over_steps(framework: Any) -> dict[str, Any]:
    """Models that make masks, take them or end them, to be applied to each of several sequences of tokens."""
    layers, chain = framework.layers, framework.Sequential

    def gate() -> Any:
        x = framework.Input((4,))
        return framework.Model(x, layers.Multiply()([layers.Dense(4)(x), layers.Dense(4, activation="sigmoid")(x)]))

    embedding = layers.Embedding(9, 4, mask_zero=True)
    return {
        "makes and hands on": chain([framework.Input((5,)), embedding, layers.GRU(3, return_sequences=True)]),
        "makes and ends": chain([framework.Input((5,)), embedding, layers.LSTM(3)]),
        "makes": chain([framework.Input((5,)), embedding]),
        "takes and ends": chain([framework.Input((5, 4)), layers.LSTM(3)]),
        "takes and hands on": chain([framework.Input((5, 4)), layers.Dense(3), layers.LSTM(3, return_sequences=True)]),
        "drops": chain([framework.Input((5, 4)), layers.Flatten()]),
        "a model": chain([framework.Input((5, 4)), chain([framework.Input((5, 4)), layers.LSTM(3)])]),
        "gate": chain([framework.Input((5, 4)), layers.TimeDistributed(gate())]),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", models_over_steps(lstmfast))
def test_masks_of_models_over_steps(framework, name, tmp_path):
    layers = framework.layers
    inner = models_over_steps(framework)[name]
    ids = framework.Input((3, 5), dtype="int32")
    words = ids if name.startswith("makes") else layers.Embedding(9, 4, mask_zero=True)(ids)
    if framework.__name__ == "tf_keras" and not name.startswith("makes"):
        words = layers.TimeDistributed(layers.Embedding(9, 4, mask_zero=True))(ids)
    y = layers.TimeDistributed(inner)(words)
    outputs = [layers.Reshape((-1,))(y)]
    if len(y.shape) == 4:
        y = layers.TimeDistributed(layers.LSTM(2))(y)
        outputs.append(y)
    if framework.__name__ == "tf_keras":  # a mask of three axes else
        outputs.append(layers.LSTM(2)(y))
    x = np.random.default_rng(0).integers(1, 9, (4, 3, 5))
    x[:, :, 3:] = x[0, 1, 1:] = x[1, 2] = 0
    compare(framework.Model(ids, outputs), x, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_merging_layers_of_a_model_over_masked_steps(framework, tmp_path):
    """In Keras 3 they heed the mask of the steps that TimeDistributed hands on."""
    layers = framework.layers
    x = framework.Input((3,))
    parts = [layers.Dense(4)(x), layers.Dense(4, activation="sigmoid")(x)]
    inner = framework.Model(x, layers.Concatenate()([layers.Multiply()(parts), layers.Maximum()(parts)]))
    steps = framework.Input((5, 3))
    y = layers.TimeDistributed(inner)(layers.Masking()(steps))
    compare(framework.Model(steps, [layers.Flatten()(y), layers.LSTM(2)(y)]), A, tmp_path)


def test_a_model_over_steps_streams_with_its_masks(tf_keras):
    layers = tf_keras.layers
    inner = models_over_steps(tf_keras)["makes and hands on"]
    ids = tf_keras.Input((None, 5), dtype="int32")
    y = layers.TimeDistributed(layers.LSTM(2))(layers.TimeDistributed(inner)(ids))
    mine = lstmfast.from_keras(tf_keras.Model(ids, layers.LSTM(2)(y)))
    x = np.random.default_rng(0).integers(0, 3, (4, 3, 5))
    x[1, 1] = x[0, 2] = 0
    stream = mine.stream(4)
    for step in range(3):
        last = stream.step(x[:, step])
    np.testing.assert_array_equal(last, mine(x))


@pytest.mark.filterwarnings("ignore")
def test_a_dense_layer_of_an_equation_ends_a_mask(framework, tmp_path):
    layers = framework.layers
    x = framework.Input((5, 3))
    y = layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(layers.Masking()(x))
    compare(framework.Model(x, [layers.LSTM(2)(y), layers.GlobalAveragePooling1D()(y)]), A, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_attention_that_is_causal_in_keras_2(tf_keras, tmp_path):
    """Live: its config does not say so. Files of tf.keras before 2.10 do."""
    layers = tf_keras.layers
    inner = tf_keras.Sequential([tf_keras.Input((5, 3)), layers.Dense(3)])
    x = tf_keras.Input((5, 3))
    y = inner(x)
    made = [layers.Attention(causal=True, name="a")([y, y]), layers.AdditiveAttention(causal=True, name="b")([y, x])]
    z = tf_keras.Input((5, 3))
    deep = tf_keras.Model(z, layers.Attention(causal=True, name="c")([z, z]))
    made += [deep(y), layers.TimeDistributed(deep)(layers.Reshape((1, 5, 3))(x))]
    theirs = tf_keras.Model(x, [*made, layers.Attention()([y, x])])
    mine = lstmfast.from_keras(theirs)
    for found, expected in zip(mine(A), theirs(A), strict=True):
        oracle.assert_close(found, np.asarray(expected), oracle.LOOSE)
    config = json.loads(theirs.to_json())
    for name in "abc":
        config = json.loads(
            json.dumps(config).replace(
                f'"name": "{name}", "trainable"', f'"causal": true, "name": "{name}", "trainable"'
            )
        )
    loaded = lstmfast.model_from_json(json.dumps(config))
    loaded.set_weights(mine.get_weights())
    for found, expected in zip(loaded(A), mine(A), strict=True):
        np.testing.assert_array_equal(found, expected)
    with pytest.raises(NotImplementedError, match="'a' has causal=True"):
        loaded.save(tmp_path / "m.keras")


@pytest.mark.filterwarnings("ignore")
def test_constants_of_each_feature(framework, tmp_path):
    """Which files of Keras 3 hold as arrays; tf_keras cannot write them."""
    layers = framework.layers
    scale, offset, marked = np.float32([1, 2, 3]), np.float64([0.5, 0, -1]), np.float32([0, 1, 0])
    stack = [layers.Rescaling(1 / scale, offset), layers.Masking(marked), layers.LSTM(2)]
    model = framework.Sequential([framework.Input((5, 3)), *stack])
    x = (A * scale).astype("float32")
    x[A.any(axis=-1) == 0] = ((marked - offset) * scale).astype("float32")
    expected = np.asarray(model(x))
    sources = [lstmfast.from_keras(model)]
    if framework.__name__ == "keras":
        model.save(tmp_path / "m.keras")
        sources.append(lstmfast.load_model(tmp_path / "m.keras"))
        sources[-1].save(tmp_path / "n.keras")
        sources += [lstmfast.load_model(tmp_path / "n.keras"), framework.models.load_model(tmp_path / "n.keras")]
    for mine in sources:
        oracle.assert_close(np.asarray(mine(x)), expected, oracle.LOOSE)


@pytest.mark.parametrize("dtype", ["object", "U9", "int8"])
def test_constants_that_are_no_numbers_are_refused(dtype):
    array = {"class_name": "__numpy__", "config": {"value": [1, 999, 2], "dtype": dtype}}
    entry = {"class_name": "Rescaling", "config": {"name": "r", "scale": array}}
    with pytest.raises(ValueError, match=r"layer 'r' of class Rescaling"):
        lstmfast.layers.deserialize(entry)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rank", [1, 2])
def test_masks_of_places_before_convolutional_lstms(framework, rank, tmp_path):
    layers = framework.layers
    kind = getattr(layers, f"ConvLSTM{rank}D")
    x = framework.Input((5, *(4, 3)[:rank], 2))
    y = kind(3, 3, padding="same", return_sequences=True)(layers.Masking()(x))
    model = framework.Model(x, [y, kind(2, 2, padding="same")(y)])
    values = np.random.default_rng(1).normal(size=(3, *x.shape[1:])).astype("float32")
    values[:, 3:] = values[0, 1] = values[1, :, 0] = 0
    compare(model, values, tmp_path)
    if rank == 2:
        stepped = lstmfast.from_keras(framework.Model(x, y))
        stream = stepped.stream(3)
        whole = stepped(values)
        for step in range(5):
            np.testing.assert_array_equal(stream.step(values[:, step]), whole[:, step])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "shape", "options"),
    [
        ("Conv1D", (3, 6, 4), {}),
        ("Conv1D", (2, 3, 6, 4), {"padding": "causal", "activation": "softmax"}),
        ("Conv1D", (None, 6, 4), {"strides": 2, "padding": "same"}),
        ("Conv2D", (3, 6, 5, 4), {"dilation_rate": 2}),
        ("Conv3D", (2, 3, 4, 5, 2), {}),
    ],
)
def test_convolutions_with_more_axes_of_the_batch(tf_keras, kind, shape, options, tmp_path):
    x = tf_keras.Input(shape)
    model = tf_keras.Model(x, getattr(tf_keras.layers, kind)(3, 2, **options)(x))
    sizes = [size or 3 for size in shape]
    values = np.random.default_rng(1).normal(size=(2, *sizes)).astype("float32")
    compare(model, values, tmp_path)
    mine = lstmfast.from_keras(model)
    assert mine.output_shape == tuple(model.output_shape)
    whole = mine(values)
    np.testing.assert_array_equal(mine.predict(values, batch_size=1), whole)
    with pytest.raises(ValueError, match="cannot be streamed"):
        mine.stream()
    with pytest.raises(ValueError, match="expected ndim="):
        getattr(lstmfast.layers, kind)(3, 2)(values)


@pytest.mark.filterwarnings("ignore")
def test_masks_that_replace_scores_in_keras_2(tf_keras, tmp_path):
    layers = tf_keras.layers
    x = tf_keras.Input((5, 3))
    y = layers.MultiHeadAttention(2, 3, softmax_robust_masking=True)(*[layers.Masking()(x)] * 2)
    compare(tf_keras.Model(x, [y, layers.Softmax(robust_masking=True)(x)]), A, tmp_path)
    theirs = layers.Softmax(robust_masking=True)
    mine = lstmfast.from_keras(tf_keras.Sequential([tf_keras.Input((3,)), theirs])).layers[0]
    values = A[:, 0] * 3
    for mask in (values > 0, np.zeros_like(values, bool)):
        values[0] = np.nan
        oracle.assert_close(
            mine(values, mask=mask), np.asarray(theirs(values, mask=tf_keras.backend.cast(mask, "bool"))), oracle.LOOSE
        )


@pytest.mark.filterwarnings("ignore")
def test_low_rank_additions_to_convolutions(keras, tmp_path):
    """They are in the kernel of a file already."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((5, 3)), layers.Conv1D(4, 2), layers.Dense(2)])
    for layer in model.layers:
        layer.enable_lora(2, lora_alpha=3)
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    model.save(tmp_path / "m.keras")
    oracle.assert_close(lstmfast.load_model(tmp_path / "m.keras")(A), np.asarray(model(A)), oracle.LOOSE)


@pytest.mark.filterwarnings("ignore")
def test_a_batch_normalization_of_several_machines(tf_keras, tmp_path):
    layer = tf_keras.layers.experimental.SyncBatchNormalization(epsilon=0.01)
    one = tf_keras.layers.BatchNormalization()
    theirs = tf_keras.Sequential([tf_keras.Input((5, 3)), one, layer, tf_keras.layers.LSTM(2)])
    theirs.set_weights([np.full(weight.shape, 0.3 + place) for place, weight in enumerate(theirs.get_weights())])
    files = [tmp_path / "m.h5", tmp_path / "m.keras"]
    for file in files:
        theirs.save(file)
    for mine in (lstmfast.from_keras(theirs), *map(lstmfast.load_model, files)):
        oracle.assert_close(mine(A), np.asarray(theirs(A)), oracle.LOOSE)
    mine.save(tmp_path / "n.keras")
    again = oracle.live_keras().models.load_model(tmp_path / "n.keras")
    oracle.assert_close(np.asarray(again(A)), mine(A), oracle.LOOSE)


@pytest.mark.filterwarnings("ignore")
def test_renormalizing_layers_are_written(framework, tmp_path):
    some = framework.layers
    layer = some.BatchNormalization(renorm=True, renorm_clipping={"rmax": 2.0, "dmax": 1.0}, renorm_momentum=0.5)
    model = framework.Sequential([framework.Input((5, 3)), layer, some.LSTM(4)])
    compare(model, A, tmp_path)
    mine = lstmfast.from_keras(model)
    assert len(mine.layers[0].get_weights()) == 7
    with pytest.raises(NotImplementedError, match="renorm"):
        mine(A, training=True)
    mine.save(tmp_path / "mine.keras")
    again = oracle.live_keras().models.load_model(tmp_path / "mine.keras")
    oracle.assert_close(np.asarray(again(A)), mine(A), oracle.LOOSE)
    config = again.layers[0].get_config()
    assert (config["renorm_clipping"], config["renorm_momentum"]) == ({"rmax": 2.0, "dmax": 1.0}, 0.5)
    plain = lstmfast.layers.BatchNormalization().get_config()
    assert not [key for key in plain if "renorm" in key]  # which earlier versions do not know


EQUATIONS = [
    ((4,), "ab,bc->ac", 3, {}),
    ((4,), "ab,bc->ac", (3,), {"bias_axes": "c", "activation": "relu"}),
    ((5, 4), "abc,cd->abd", (None, 3), {"bias_axes": "d"}),
    ((5, 4), "abc,cde->abde", (5, 3, 2), {"bias_axes": "de", "activation": "softmax"}),
    ((5, 4), "abc,cde->aebd", (2, None, 3), {"bias_axes": "e"}),
    ((5, 4), "abc,bd->adc", (3, 4), {"bias_axes": "d"}),
    ((5, 4), "abc,bcd->ad", 6, {"bias_axes": "d"}),
    ((5, 4), "abc,bc->abc", (5, 4), {"bias_axes": "bc"}),
    ((5, 4), "...x,xy->...y", 3, {"bias_axes": "y"}),
    ((5, 2, 4), "...xy,yz->...xz", (2, 3), {"bias_axes": "xz"}),
    ((5, 2, 4), "ab...,bc->ac...", 3, {"bias_axes": "c"}),
    ((5, 4), "ab...,b->a...", (), {}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", EQUATIONS, ids=lambda case: f"{case[1]} {case[2]}")
def test_equations_of_dense_layers(framework, case, tmp_path):
    shape, equation, output_shape, options = case
    x = framework.Input(shape)
    layer = framework.layers.EinsumDense(equation, output_shape, **options)
    model = framework.Model(x, layer(x))
    values = np.random.default_rng(2).uniform(-1, 1, (3, *shape)).astype("float32")
    compare(model, values, tmp_path)
    mine = lstmfast.from_keras(model)
    for own, theirs in zip(mine.output_shape, model.output_shape, strict=True):
        assert theirs in (own, None)  # Keras 3 does not look for it among the inputs
    whole = mine(values)
    np.testing.assert_array_equal(np.concatenate([mine(values[:1]), mine(values[1:])]), whole)
    mine.save(tmp_path / "mine.keras")
    np.testing.assert_array_equal(lstmfast.load_model(tmp_path / "mine.keras")(values), whole)


def test_a_dense_layer_of_an_equation_streams():
    layers = lstmfast.layers
    model = lstmfast.Sequential(
        [lstmfast.Input((None, 3)), layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"), layers.LSTM(2)]
    )
    stream = model.stream(len(A))
    for step in range(A.shape[1]):
        y = stream.step(A[:, step])
    np.testing.assert_array_equal(y, model(A))
    for equation, output, bias in (
        ("abc,bd->adc", (4, 3), None),
        ("abc,cd->abd", (5, 2), "bd"),
        ("abc,bc->a", (), None),
    ):
        over_time = lstmfast.Sequential([lstmfast.Input((5, 3)), layers.EinsumDense(equation, output, bias_axes=bias)])
        with pytest.raises(ValueError, match="cannot be streamed"):
            over_time.stream()
        with pytest.raises(ValueError, match="expected"):
            over_time(A[:, :1])


@pytest.mark.parametrize(
    ("shape", "equation", "output_shape", "options", "says"),
    [
        ((4,), "ab,bc", 3, {}, "Invalid einsum equation 'ab,bc'"),
        ((4,), "...b,bc->c...", 3, {}, "Invalid einsum equation"),
        ((4,), "abc,cd->abd", (5, 3), {}, r"cannot take inputs \(None, 4\)"),
        ((5, 4), "abc,cd->abd", 3, {}, "gives 3 axes, output_shape"),
        ((5, 4), "abc,cd->abd", (6, 3), {}, "do not match at shared dimension 'b'"),
        ((5, 4), "abc,cde->abd", (5, 3), {}, "Weight dimension 'e' did not have a match"),
        ((5, 4), "abc,cd->abd", (5, 3), {"bias_axes": "x"}, "Bias dimensions 'x'"),
    ],
)
def test_equations_that_will_not_do(shape, equation, output_shape, options, says):
    with pytest.raises(ValueError, match=says):
        lstmfast.layers.EinsumDense(equation, output_shape, **options)(lstmfast.Input(shape))


# Layers on integers: the shape of a sample, how many inputs, and what differs between the frameworks is left to them.
ON_INTEGERS: dict[str, tuple[tuple[int, ...], int, Any]] = {
    "layer": ((6, 4), 1, lambda layers: layers.LayerNormalization()),
    "layer over steps": ((6, 4), 1, lambda layers: layers.LayerNormalization(axis=1)),
    "layer over two": ((6, 4), 1, lambda layers: layers.LayerNormalization(axis=[1, 2])),
    "layer of each step": ((6, 4), 1, lambda layers: layers.TimeDistributed(layers.LayerNormalization())),
    "groups": ((6, 4), 1, lambda layers: layers.GroupNormalization(2)),
    "rms": ((6, 4), 1, lambda layers: layers.RMSNormalization()),
    "batch": ((6, 4), 1, lambda layers: layers.BatchNormalization()),
    "unit": ((6, 4), 1, lambda layers: layers.UnitNormalization()),
    "rescaling": ((6, 4), 1, lambda layers: layers.Rescaling(0.3, 0.5)),
    "linear": ((6, 4), 1, lambda layers: layers.Activation("linear")),
    "relu": ((6, 4), 1, lambda layers: layers.Activation("relu")),
    "relu6": ((6, 4), 1, lambda layers: layers.Activation("relu6")),
    "leaky": ((6, 4), 1, lambda layers: layers.LeakyReLU(0.3)),
    "bounded": ((6, 4), 1, lambda layers: layers.ReLU(max_value=2.5)),
    "threshold": ((6, 4), 1, lambda layers: layers.ReLU(threshold=1)),
    "relu of each step": ((6, 4), 1, lambda layers: layers.TimeDistributed(layers.ReLU())),
    "max": ((7, 4), 1, lambda layers: layers.MaxPooling1D(3, 2)),
    "max same": ((7, 4), 1, lambda layers: layers.MaxPooling1D(4, 3, "same")),
    "max 2": ((5, 4, 2), 1, lambda layers: layers.MaxPooling2D((3, 2), (1, 2), "same")),
    "max of all": ((6, 4), 1, lambda layers: layers.GlobalMaxPooling1D()),
    "max of all 2": ((4, 3, 2), 1, lambda layers: layers.GlobalMaxPooling2D(keepdims=True)),
    "mean of all": ((6, 4), 1, lambda layers: layers.GlobalAveragePooling1D()),
    "adaptive max": ((7, 4), 1, lambda layers: layers.AdaptiveMaxPooling1D(3)),
    "between": ((4, 3, 2), 1, lambda layers: layers.UpSampling2D(3, interpolation="bilinear")),
    "resizing": ((4, 3, 2), 1, lambda layers: layers.Resizing(3, 5)),
    "masking": ((6, 4), 1, lambda layers: layers.Masking(2)),
    "dropout": ((6, 4), 1, lambda layers: layers.Dropout(0.3)),
    "noise": ((6, 4), 1, lambda layers: layers.GaussianNoise(0.3)),
    "repeat": ((4,), 1, lambda layers: layers.RepeatVector(3)),
    **{
        name: ((6, 4), 3 if name not in ("Subtract",) else 2, lambda layers, name=name: getattr(layers, name)())
        for name in MERGES
        if name != "Dot"
    },
    "Dot": ((6, 4), 2, lambda layers: layers.Dot(2)),
    "dense": ((6, 4), 1, lambda layers: layers.Dense(3)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["int32", "int64", "int8", "uint32", "bool"])
@pytest.mark.parametrize("name", ON_INTEGERS)
def test_layers_on_integers(framework, name, dtype, tmp_path):
    shape, count, make = ON_INTEGERS[name]
    random = np.random.default_rng(len(name))
    inputs = [framework.Input(shape, dtype=dtype) for _ in range(count)]
    x = [random.integers(-5 if dtype[0] == "i" else 0, 6, (3, *shape)).astype(dtype) for _ in inputs]
    try:
        layer = make(framework.layers)
        model = framework.Model(inputs, layer(inputs if count > 1 else inputs[0]))
        expected = model.predict(x, verbose=0)
    except Exception:
        pytest.skip(f"{framework.__name__} refuses these")
    named = [(getattr(weight, "path", weight.name), tuple(weight.shape)) for weight in model.weights]
    model.set_weights(model_cases.weights(named, 3))
    expected = model.predict(x, verbose=0)
    for source in ("m.keras", "m.h5", None):
        if source is not None:
            model.save(tmp_path / source)
        mine = lstmfast.from_keras(model) if source is None else lstmfast.load_model(tmp_path / source)
        for y in (mine.predict(x), mine(x), mine.predict(x, out=np.empty_like(expected))):
            assert y.dtype == expected.dtype
            oracle.assert_close(y, expected, oracle.LOOSE * (1 + np.abs(expected.astype(float))), f"from {source}")
    if framework.__name__ == "keras" and name != "resizing":  # in Keras's own call of a layer it differs
        alone, given = lstmfast.from_keras(model).layers[-1], x if count > 1 else x[0]
        for y in (alone(given), alone(given)):
            assert y.dtype == expected.dtype
            oracle.assert_close(y, layer(given), oracle.LOOSE * (1 + np.abs(expected.astype(float))), "a layer alone")


@pytest.mark.filterwarnings("ignore")
def test_integers_from_layer_to_layer(framework, tmp_path):
    layers = framework.layers
    numbers = framework.Input((4,), dtype="int32")
    y = layers.RepeatVector(3)(numbers)
    y = layers.Add()([y, layers.Activation("relu")(y)])
    y = layers.LayerNormalization()(layers.Dropout(0.2)(y))
    model = framework.Model(numbers, layers.LSTM(3)(y))
    compare(model, np.random.default_rng(2).integers(-4, 9, (5, 4)).astype("int32"), tmp_path)
    steps = framework.Input((5, 4), dtype="int32")
    model = framework.Model(steps, layers.GlobalAveragePooling1D()(layers.Masking(2)(steps)))
    x = np.random.default_rng(2).integers(-4, 9, (3, 5, 4)).astype("int32")
    x[0, 1:3] = x[1, 0] = 2
    compare(model, x, tmp_path)
    assert lstmfast.from_keras(model).predict(x).dtype == model.predict(x, verbose=0).dtype == np.float64
    if framework.__name__ == "keras":
        words = framework.Input((4,), dtype="string")
        counts = layers.StringLookup(vocabulary=["a", "b", "c", "d"], output_mode="multi_hot")(words)
        model = framework.Model(words, layers.LayerNormalization()(layers.RepeatVector(2)(counts)))
        x = np.array([["a", "c", "c", "b"], ["e", "d", "d", "d"]])
        np.testing.assert_array_equal(lstmfast.from_keras(model)(x), model(framework.ops.convert_to_tensor(x)))


def test_large_integers_stay_what_they_are():
    large = np.array([[[2**24 + 1, 2**53 + 1]], [[-(2**53) - 1, 3]]])
    a = lstmfast.Input((1, 2), dtype="int64")
    for layer, expected in (
        (lstmfast.layers.Add(), 2 * large),
        (lstmfast.layers.Maximum(), large),
        (lstmfast.layers.Concatenate(), np.concatenate([large, large], -1)),
    ):
        np.testing.assert_array_equal(lstmfast.Model(a, layer([a, a])).predict(large), expected)
    pooled = lstmfast.layers.GlobalMaxPooling1D()(a)
    np.testing.assert_array_equal(lstmfast.Model(a, pooled).predict(large), large[:, 0])


def test_integers_of_a_layer_normalization_before_keras_3_11(keras, tmp_path):
    x = keras.Input((4,), dtype="int32")
    model = keras.Model(x, keras.layers.LayerNormalization()(x))
    model.save(tmp_path / "new.keras")
    given = np.array([[1, 5, -3, 2]], "int32")
    cut = lstmfast.load_model(tmp_path / "new.keras")(given)
    whole = lstmfast.load_model(tmp_path / "new.keras", keras_version="3.10")(given)
    np.testing.assert_array_equal(cut, np.trunc(whole))
    assert np.abs(whole - cut).max() > 0.1


@pytest.mark.parametrize("layer", [lstmfast.layers.Dropout(0.5), lstmfast.layers.GaussianNoise(1.0)])
def test_integers_are_not_dropped_in_training(layer):
    with pytest.raises(TypeError, match="training=True takes floats"):
        layer(np.arange(6).reshape(2, 3), training=True)
