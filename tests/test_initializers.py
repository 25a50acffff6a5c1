"""Fresh layers: the distributions of Keras's initial weights, the same ones from the same seed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from bits import assert_same_bits

import lstmfast
from lstmfast import initializers, layers

FEATURES, UNITS = 48, 64


def fresh(kind: str = "LSTM", **options):
    layer = getattr(layers, kind)(UNITS, **options)
    layer.build((None, None, FEATURES))
    return layer


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("SimpleRNN", 1)])
def test_defaults(kind, gates):
    layer = fresh(kind)
    kernel, recurrent, bias = layer.get_weights()
    limit = np.sqrt(6 / (FEATURES + gates * UNITS))  # Glorot & Bengio 2010
    assert np.abs(kernel).max() <= limit
    assert np.abs(kernel).max() > 0.98 * limit
    assert abs(kernel.mean()) < 5 * limit / np.sqrt(3 * kernel.size)
    assert abs(kernel.std() - limit / np.sqrt(3)) < 0.05 * limit
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(UNITS), atol=2e-5)
    assert np.abs(recurrent).max() < 0.9, "orthogonal, but not merely a permutation"
    if kind == "LSTM":
        assert (bias[UNITS : 2 * UNITS] == 1).all()
        assert (bias[:UNITS] == 0).all()
        assert (bias[2 * UNITS :] == 0).all()
    else:
        assert (bias == 0).all()
    assert {weight.dtype.name for weight in layer.get_weights()} == {"float32"}


def test_unit_forget_bias_is_an_argument():
    assert (fresh(unit_forget_bias=False).bias == 0).all()
    bias = fresh(bias_initializer={"class_name": "Constant", "config": {"value": 0.25}}).bias
    assert (bias[UNITS : 2 * UNITS] == 1).all()
    assert (bias[:UNITS] == 0.25).all()


def test_two_fresh_layers_differ():
    assert not np.array_equal(fresh().kernel, fresh().kernel)
    assert not np.array_equal(fresh().recurrent_kernel, fresh().recurrent_kernel)


def test_weights_are_drawn_once():
    layer = fresh()
    assert_same_bits(layer.get_weights(), layer.get_weights())
    x = np.ones((1, 2, FEATURES))
    first = layer(x)
    assert_same_bits(layer(x), first)


def test_a_seed_gives_the_same_weights():
    def seeded(seed: int):
        return {
            "kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": seed}},
            "recurrent_initializer": {"class_name": "Orthogonal", "config": {"seed": seed}},
        }

    assert_same_bits(fresh(**seeded(3)).get_weights(), fresh(**seeded(3)).get_weights())
    assert not np.array_equal(fresh(**seeded(3)).kernel, fresh(**seeded(4)).kernel)


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("zeros", 0, 0),
        ("ones", 1, 0),
        ("glorot_uniform", 0, np.sqrt(2 / 300)),
        ("glorot_normal", 0, np.sqrt(2 / 300)),
        ("he_uniform", 0, np.sqrt(2 / 200)),
        ("he_normal", 0, np.sqrt(2 / 200)),
        ("lecun_uniform", 0, np.sqrt(1 / 200)),
        ("lecun_normal", 0, np.sqrt(1 / 200)),
        ("random_uniform", 0, 0.05 / np.sqrt(3)),
        ("random_normal", 0, 0.05),
        ("truncated_normal", 0, 0.05 * 0.87962566),
    ],
)
def test_distributions(keras, name, mean, deviation):
    """Mean and deviation by each initializer's definition; Keras draws the same ones (another generator)."""
    for values in (initializers.get(name)((200, 100)), np.asarray(keras.initializers.get(name)((200, 100)))):
        assert values.shape == (200, 100)
        assert abs(values.mean() - mean) <= 6 * deviation / np.sqrt(values.size)
        assert abs(values.std() - deviation) <= 0.03 * deviation


@pytest.mark.parametrize("shape", [(3, 3), (5, 40), (40, 5), (1, 4), (4, 1)])
def test_orthogonal(shape):
    values = np.asarray(initializers.get("orthogonal")(shape), "float64")
    product = values @ values.T if shape[0] <= shape[1] else values.T @ values
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-6)


def test_a_fresh_model_resembles_keras_s(keras):
    """The spread of the outputs of fresh models, over layers of both: the same within sampling error."""
    x = np.random.default_rng(0).uniform(-1, 1, (16, 10, 8)).astype("float32")

    def spread(namespace):
        results = []
        for _ in range(12):
            layer = namespace.LSTM(32)
            layer.build((None, None, 8))
            results.append(np.asarray(layer(x)).std())
        return np.mean(results)

    assert spread(layers) == pytest.approx(spread(keras.layers), rel=0.25)


def test_a_model_of_unbuilt_layers_draws_when_it_is_first_called():
    model = lstmfast.Sequential([layers.LSTM(4), layers.Dense(2)])
    y = model(np.ones((2, 3, 5)))
    assert y.shape == (2, 2)
    assert [weight.shape for weight in model.get_weights()] == [(5, 16), (4, 16), (16,), (4, 2), (2,)]


def test_parameters_by_their_place(keras):
    for name, args in (
        ("Constant", (-2,)),
        ("RandomUniform", (-0.5, 0.25)),
        ("TruncatedNormal", (0.5,)),
        ("VarianceScaling", (2.0, "fan_out", "uniform", 3)),
        ("Orthogonal", (2.0, 5)),
    ):
        mine, theirs = getattr(initializers, name)(*args), getattr(keras.initializers, name)(*args)
        assert mine.get_config() == {key: theirs.get_config()[key] for key in mine.get_config()}
    for args, options in (((1, 2, 3, 4, 5), {}), ((1,), {"value": 2})):
        with pytest.raises(TypeError, match="each once"):
            initializers.Constant(*args, **options)


def test_constructors_have_both_names_of_keras(keras):
    names = {name for name, value in vars(keras.initializers).items() if isinstance(value, type)}
    names -= {"Initializer", *(name for name in names if "stft" in name.lower())}
    assert len(names) > 25
    for name in names:
        class_name = getattr(keras.initializers, name).__name__
        assert getattr(initializers, name) is getattr(initializers, class_name)
        assert getattr(initializers, name)().class_name == class_name
        assert name in dir(initializers)
    values = initializers.glorot_uniform(seed=3)((4, 5))
    assert_same_bits(initializers.GlorotUniform(3)((4, 5)), values)
    with pytest.raises(AttributeError, match="no attribute 'glorot'"):
        _ = initializers.glorot


def kernel(module, kind, identifier):
    """That of a fresh layer, (3, 4)."""
    layer = getattr(module, "Dense" if kind == "Dense" else "LSTM")(
        4 if kind == "Dense" else 1, kernel_initializer=identifier
    )
    layer = module.Bidirectional(layer) if kind == "Bidirectional" else layer
    layer.build((None, 3) if kind == "Dense" else (None, None, 3))
    return np.asarray(layer.get_weights()[0])


DRAWN = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


class Twos:
    def __call__(self, shape, dtype=None):
        return 2 * np.ones(shape, dtype)


@pytest.mark.parametrize("identifier", [np.ones, Twos, Twos(), DRAWN])
def test_whatever_keras_takes_for_an_initializer(keras, identifier):
    expected = kernel(keras.layers, "Dense", identifier)
    for kind in ("Dense", "LSTM", "Bidirectional"):
        np.testing.assert_array_equal(kernel(layers, kind, identifier), expected)


def test_initializers_of_keras_and_their_classes(keras):
    for identifier in (keras.initializers.Ones, keras.initializers.Ones(), keras.ops.ones, initializers.Ones):
        np.testing.assert_array_equal(kernel(layers, "Bidirectional", identifier), np.ones((3, 4)))
    assert initializers.get(None) is keras.initializers.get(None) is None
    for kind in ("Dense", "LSTM"):
        assert kernel(layers, kind, None).std() > 0
    with pytest.raises(ValueError, match=r"Expected `shape` to be \(3, 4\)"):
        initializers.get(DRAWN)((4, 3))
    for bad in (3, "nonsense", {"class_name": "Nonsense"}, []):
        with pytest.raises(ValueError, match="Could not interpret"):
            initializers.get(bad)


def test_initializers_of_a_config():
    config = initializers.serialize(initializers.HeNormal(seed=2))
    for made in (initializers.deserialize(config), initializers.get(config)):
        assert made.get_config() == {"seed": 2}
    special = initializers.Constant(2.0)
    assert initializers.deserialize("mine", custom_objects={"mine": special}) is special
    assert initializers.deserialize({"class_name": "mine"}, custom_objects={"mine": special}) is special


def test_a_model_with_a_function_for_an_initializer_is_written(tmp_path):
    model = lstmfast.Sequential(
        [lstmfast.Input((3,)), layers.Dense(2, kernel_initializer=lambda shape, dtype: np.full(shape, 3))]
    )
    assert (model.get_weights()[0] == 3).all()
    model.save(tmp_path / "m.keras")
    assert (lstmfast.load_model(tmp_path / "m.keras").get_weights()[0] == 3).all()
    wrong = layers.Dense(2, kernel_initializer=lambda shape, dtype: np.ones(3))
    with pytest.raises(ValueError, match=r"values of shape \(3,\), expected \(3, 2\)"):
        wrong(np.ones((1, 3)))


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "lecun_uniform"])
def test_the_axes_of_an_equation_count_as_in_keras(keras, name):
    def deviations(module):
        options = {"kernel_initializer": name}
        dense = module.EinsumDense("abc,cde->abde", (None, 40, 8), **options)
        dense.build((None, 5, 30))
        joined = module.EinsumDense("abcd,cde->abe", (None, 50), **options)
        joined.build((None, 5, 20, 30))
        heads = module.MultiHeadAttention(8, 30, output_shape=40, **options)
        heads.build(*([[(None, 5, 20)] * 2] if module is layers else [(None, 5, 20), (None, 5, 20)]))
        weights = [*dense.get_weights(), *joined.get_weights(), *heads.get_weights()]
        return [np.asarray(weight).std() for weight in weights if weight.ndim == 3]

    np.testing.assert_allclose(deviations(layers), deviations(keras.layers), rtol=0.08)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("registered", [False, True])
def test_an_initializer_of_a_users(keras, registered, tmp_path):
    class Ones(keras.initializers.Initializer):
        def __init__(self, scale=1.0):
            self.scale = scale

        def __call__(self, shape, dtype=None):
            return np.full(shape, 2 * self.scale, dtype or "float32")

        def get_config(self):
            return {"scale": self.scale}

    if registered:
        keras.saving.register_keras_serializable("my", "Twos")(Ones)
    dense = keras.layers.Dense(2, kernel_initializer=Ones(1.5), bias_initializer=keras.initializers.Ones())
    theirs = keras.Sequential([keras.Input((3,)), dense])
    theirs.save(tmp_path / "m.keras")
    x = np.ones((1, 3), "float32")
    for mine in (lstmfast.load_model(tmp_path / "m.keras"), lstmfast.from_keras(theirs)):
        assert_same_bits(mine(x), np.float32([[10, 10]]))  # the weights are there
    fresh = lstmfast.model_from_json(theirs.to_json())
    for _ in range(2):
        with pytest.raises(NotImplementedError, match=r"kernel_initializer of layer 'dense.*', Ones, is not known"):
            fresh(x)
    fresh = pickle.loads(pickle.dumps(fresh))
    fresh.load_weights(tmp_path / "m.keras")
    assert_same_bits(fresh(x), np.float32([[10, 10]]))
    for supplied in (Ones, lambda shape, dtype: np.full(shape, 3, dtype)):
        for key in ("Ones", *["my>Twos"] * registered):
            again = lstmfast.model_from_json(theirs.to_json(), custom_objects={key: supplied})
            assert_same_bits(again(x), np.float32([[10, 10]]))


def test_an_unknown_initializer_of_keras_2(tf_keras):
    config = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2)]).to_json()
    text = config.replace("GlorotUniform", "Mine")
    assert text != config
    with pytest.raises(NotImplementedError, match=r"custom_objects={'Mine': a function of a shape and a dtype}"):
        lstmfast.model_from_json(text)(np.ones((1, 3)))
    mine = lstmfast.model_from_json(text, custom_objects={"Mine": "ones"})
    assert_same_bits(mine(np.ones((1, 3))), np.float32([[3, 3]]))


def test_a_layer_named_like_an_initializer(tf_keras):
    class Constant(layers.Layer):
        def call(self, inputs):
            return inputs

    dense = tf_keras.layers.Dense(2, bias_initializer=tf_keras.initializers.Constant(4.0))
    text = tf_keras.Sequential([tf_keras.Input((3,)), dense]).to_json()
    model = lstmfast.model_from_json(text, custom_objects={"Constant": Constant})
    assert_same_bits(model.layers[-1].get_weights()[1], np.float32([4, 4]))
